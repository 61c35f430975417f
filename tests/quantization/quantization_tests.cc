// The quantizing passes on small models: what they change, what they leave, and that both runtimes run the result near
// the original.
#include <limits>

#include "tests/quantization/pass_fixture.h"
#include "worker/calibration/statistics.h"

namespace hone::test {
namespace {

using QuantizationTest = PassTest;

// Scale of the QuantizeLinear node of a tensor; negative where there is none.
float ScaleOf(const Built& built, const std::string& tensor) {
  for (const auto& node : built.model.graph().node()) {
    if (node.op_type() != "QuantizeLinear" || node.name() != tensor + "_QuantizeLinear") continue;
    return *ReadTensor(*built.Initializer(node.input(1)))->data<float>();
  }
  return -1;
}

struct ConvData : QuantizationTest {
  void SetUp() override {
    QuantizationTest::SetUp();
    model = Save(ConvNet(16, 8));
    data = Path("data.npz");
    WriteNpz(data, {{"image", NormalArray({8, 3, 16, 16}, 9)}});
  }
  fs::path model;
  fs::path data;
};

struct TransformerData : QuantizationTest {
  void SetUp() override {
    QuantizationTest::SetUp();
    data = Path("tokens.npz");
    open_data = Path("open.npz");
    WriteTokens(data, 8, 16, 5, 1);
    WriteTokens(open_data, 8, 16, 0, 2);
  }
  fs::path data;
  fs::path open_data;  // Nothing is masked.
};

// ---- dynamic_int8

TEST_F(TransformerData, DynamicRunsNearTheOriginalInBothRuntimes) {
  const fs::path model = Save(Transformer(-10000));
  for (const bool per_channel : {false, true}) {
    const auto built = Apply(model, "dynamic_int8", {{"per_channel", BoolValue(per_channel)}});
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_EQ(built->Count("MatMulInteger"), 8);
    EXPECT_TRUE(built->HasNote("8 of 12 MatMul quantized")) << Join(built->notes, "\n");
    EXPECT_TRUE(built->HasNote("4 MatMul left in float: no constant"));
    EXPECT_TRUE(built->HasNote("1 of 1 Gather quantized"));
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 28) << per_channel;
    EXPECT_GT(Sqnr(model, *built, "openvino", data), 28) << per_channel;
  }
}

TEST_F(QuantizationTest, DynamicQuantizesAnActivationOnceForAllItsReaders) {
  const auto built = Apply(Save(Transformer(-10000)), "dynamic_int8", {{"embeddings", BoolValue(false)}});
  ASSERT_TRUE(built) << built.error().message;
  // x0 and norma feed three products each; mixeda and mixedb one.
  EXPECT_EQ(built->Count("DynamicQuantizeLinear"), 4);
}

TEST_F(QuantizationTest, DynamicConvertsConvolutionsOnlyWhenAsked) {
  const fs::path model = Save(ConvNet(16, 8));
  const auto plain = Apply(model, "dynamic_int8");
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->Count("Conv"), 2);
  EXPECT_EQ(plain->Count("MatMulInteger"), 1);
  const auto built = Apply(model, "dynamic_int8", {{"conv", BoolValue(true)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("ConvInteger"), 2);
  WriteNpz(Path("data.npz"), {{"image", NormalArray({4, 3, 16, 16}, 9)}});
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 25);
  EXPECT_GT(Sqnr(model, *built, "openvino", Path("data.npz")), 25);
}

TEST_F(QuantizationTest, DynamicHandlesBatchesOfMatricesPerChannel) {
  ModelBuilder b;
  b.Input("x", {3, 4, 8}).Output("y", {3, 4, 6});
  b.Weight("w", {3, 8, 6}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({3, 4, 8}, 9)}});
  for (const bool per_channel : {false, true}) {
    const auto built = Apply(model, "dynamic_int8", {{"per_channel", BoolValue(per_channel)}});
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 30);
  }
}

TEST_F(QuantizationTest, NodesAreLeftOutByNameAndType) {
  const fs::path model = Save(Mlp());
  const auto built = Apply(model, "dynamic_int8", {{"exclude", TextValue("nothing, y_.*")}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("MatMulInteger"), 1);
  EXPECT_EQ(built->Count("Gemm"), 1);
  EXPECT_TRUE(built->HasNote("1 Gemm left in float: excluded"));
  const auto all = Apply(model, "dynamic_int8", {{"exclude", TextValue(".*")}});
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, ErrorCode::kRejected);
  const auto types = Apply(model, "dynamic_int8", {{"op_types", TextValue("MatMul")}});
  ASSERT_FALSE(types);
  const auto broken = Apply(model, "dynamic_int8", {{"exclude", TextValue("(")}});
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::kRejected);
  EXPECT_NE(broken.error().message.find("exclude"), std::string::npos);
}

TEST_F(QuantizationTest, SharedWeightsAreQuantizedOnceAndKeepAFloatCopyForOthers) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 8}).Output("z", {1, 8}).Output("s", {8, 8});
  b.Weight("w", {8, 8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"y"});
  b.Node("MatMul", {"y", "w"}, {"z"});
  b.Node("Sigmoid", {"w"}, {"s"});
  const fs::path model = Save(b);
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4"}) {
    const auto built = Apply(model, pass);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_NE(built->Initializer("w"), nullptr) << pass;
    int codes = 0;
    for (const auto& tensor : built->model.graph().initializer()) {
      codes += tensor.data_type() != onnx::TensorProto::FLOAT && tensor.dims_size() >= 2 ? 1 : 0;
    }
    EXPECT_EQ(codes, 1) << pass;
  }
}

TEST_F(QuantizationTest, NamesThatAreTakenAreNotTakenTwice) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 8});
  b.Weight("w", {8, 8}, 0.3f).Weight("w_scale", {8}, 0.3f).Weight("w_quantized", {8}, 0.3f).Weight("w_Q4", {8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"x_scale"});
  b.Node("Add", {"x_scale", "w_scale"}, {"x_quantized"});
  b.Node("Add", {"x_quantized", "w_Q4"}, {"t"});
  b.Node("Add", {"t", "w_quantized"}, {"y"});
  const fs::path model = Save(b);
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"x", NormalArray({4, 8}, 9)}});
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4", "static_int8"}) {
    const auto built = Apply(model, pass, {}, std::string(pass) == "static_int8" ? data : fs::path());
    ASSERT_TRUE(built) << pass << ": " << built.error().message;
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 15) << pass;
  }
}

TEST_F(QuantizationTest, ModelsWithNothingToQuantizeAreRejectedWithTheReason) {
  ModelBuilder b;
  b.Input("x", {4, 4}).Output("y", {4, 4});
  b.Node("MatMul", {"x", "x"}, {"y"});
  const fs::path products = Save(b);
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4"}) {
    const auto built = Apply(products, pass);
    ASSERT_FALSE(built) << pass;
    EXPECT_EQ(built.error().code, ErrorCode::kRejected);
    EXPECT_NE(built.error().message.find("nothing to quantize: 1 MatMul left in float"), std::string::npos)
        << built.error().message;
  }
  ModelBuilder sine;
  sine.Input("x", {4, 4}).Output("y", {4, 4});
  sine.Node("Sin", {"x"}, {"y"});
  WriteNpz(Path("data.npz"), {{"x", NormalArray({8, 4}, 1)}});
  const auto built = Apply(Save(sine), "static_int8", {}, Path("data.npz"));
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kRejected);
  EXPECT_NE(built.error().message.find("nothing to quantize"), std::string::npos);
}

TEST_F(QuantizationTest, WeightsThatAreNotFiniteStayInFloat) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 8});
  b.Weight("w1", {8, 8}, 0.3f).Weight("w2", {8, 8}, 0.3f);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(b.graph()->mutable_initializer(0)->mutable_raw_data()->data() + 16, &nan, 4);
  b.Node("MatMul", {"x", "w2"}, {"h"});
  b.Node("MatMul", {"h", "w1"}, {"y"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({4, 8}, 1)}});
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4"}) {
    const auto built = Apply(model, pass);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("NaN or infinities")) << pass;
    EXPECT_TRUE(built->HasNote("1 of 2 MatMul quantized")) << pass;
  }
  const auto built = Apply(model, "static_int8", {}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_NE(built->Initializer("w1"), nullptr);
  EXPECT_EQ(built->Initializer("w2"), nullptr);
}

// ---- weights_int8 and weights_int4

TEST_F(TransformerData, WeightOnlyFormsRunNearTheOriginalInBothRuntimes) {
  const fs::path model = Save(Transformer(-10000));
  struct Case {
    const char* pass;
    Parameters parameters;
    double sqnr_db;
  };
  const std::vector<Case> cases = {
      {"weights_int8", {}, 35},
      {"weights_int8", {{"symmetric", BoolValue(false)}}, 35},
      {"weights_int8", {{"per_channel", BoolValue(false)}}, 30},
      {"weights_int8", {{"form", TextValue("matmulnbits")}, {"group_size", IntValue(32)}}, 35},
      {"weights_int4", {}, 13},
      {"weights_int4", {{"symmetric", BoolValue(false)}, {"group_size", IntValue(16)}}, 13},
  };
  for (const Case& one : cases) {
    const auto built = Apply(model, one.pass, one.parameters);
    ASSERT_TRUE(built) << built.error().message;
    for (const char* backend : {"onnxruntime", "openvino"}) {
      EXPECT_GT(Sqnr(model, *built, backend, data), one.sqnr_db)
          << one.pass << " " << Join(built->notes, "; ") << " in " << backend;
    }
  }
}

TEST_F(ConvData, WeightsOfConvolutionsShrinkToAQuarter) {
  const auto built = Apply(model, "weights_int8");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->HasNote("2 of 2 Conv quantized"));
  EXPECT_TRUE(built->HasNote("1 of 1 Gemm quantized"));
  EXPECT_LT(fs::file_size(built->file), fs::file_size(model) / 2);
  for (const char* backend : {"onnxruntime", "openvino"}) EXPECT_GT(Sqnr(model, *built, backend, data), 35) << backend;
}

TEST_F(QuantizationTest, WeightsInt8RaisesAnOldOpsetForTheAxis) {
  ModelBuilder b(11);
  b.Input("x", {1, 8}).Output("y", {1, 4});
  b.Weight("w", {8, 4}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  const auto raised = Apply(model, "weights_int8");
  ASSERT_TRUE(raised) << raised.error().message;
  EXPECT_EQ(OpsetVersion(raised->model), 13);
  EXPECT_TRUE(raised->HasNote("opset 11 converted to 13"));
  const auto kept = Apply(model, "weights_int8", {{"per_channel", BoolValue(false)}});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(OpsetVersion(kept->model), 11);
}

TEST_F(QuantizationTest, FourBitTakesGemmWithItsBiasAndTransposedWeights) {
  ModelBuilder b;
  b.Input("x", {2, 64}).Output("y", {2, 10});
  b.Weight("w1", {48, 64}, 0.2f).Weight("b1", {48}, 0.5f).Weight("w2", {48, 10}, 0.2f);
  SetIntAttribute(*b.Node("Gemm", {"x", "w1", "b1"}, {"h"}), "transB", 1);
  b.Node("Gemm", {"h", "w2"}, {"y"});
  const fs::path model = Save(b);
  const auto built = Apply(model, "weights_int4", {{"group_size", IntValue(16)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("MatMulNBits"), 2);
  EXPECT_EQ(built->Count("Gemm"), 0);
  EXPECT_EQ(built->Initializer("w1_transposed"), nullptr);
  EXPECT_EQ(OpsetVersion(built->model, "com.microsoft"), 1);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({2, 64}, 9)}});
  for (const char* backend : {"onnxruntime", "openvino"})
    EXPECT_GT(Sqnr(model, *built, backend, Path("data.npz")), 15) << backend;
}

TEST_F(QuantizationTest, FourBitLeavesWhatItWouldChange) {
  ModelBuilder b;
  b.Input("x", {2, 16}).Output("y", {3, 2, 8}).Output("z", {2, 8}).Output("v", {2});
  b.Weight("batch", {3, 16, 8}, 0.2f).Weight("w", {16, 8}, 0.2f).Weight("vector", {16}, 0.2f);
  b.Node("MatMul", {"x", "batch"}, {"y"});
  b.Node("MatMul", {"x", "vector"}, {"v"});
  auto* gemm = b.Node("Gemm", {"x", "w"}, {"z"});
  auto* alpha = gemm->add_attribute();
  alpha->set_name("alpha");
  alpha->set_type(onnx::AttributeProto::FLOAT);
  alpha->set_f(2);
  const auto built = Apply(Save(b), "weights_int4");
  ASSERT_FALSE(built);
  for (const char* reason : {"batch of matrices", "vector", "alpha is not 1"}) {
    EXPECT_NE(built.error().message.find(reason), std::string::npos) << built.error().message;
  }
}

TEST_F(QuantizationTest, GroupSizesOutsideTheListAreRejected) {
  const auto built = Apply(Save(Mlp()), "weights_int4", {{"group_size", IntValue(512)}});
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kRejected);
}

TEST_F(QuantizationTest, EveryPassGivesTheSameBytesTwiceAndForAnyThreadCount) {
  const fs::path model = Save(Transformer(-10000));
  WriteTokens(Path("data.npz"), 6, 16, 5, 1);
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4", "static_int8"}) {
    const fs::path data = std::string(pass) == "static_int8" ? Path("data.npz") : fs::path();
    const auto one = Apply(model, pass, {}, data, 1);
    const auto two = Apply(model, pass, {}, data, 3);
    ASSERT_TRUE(one && two) << pass;
    EXPECT_EQ(*ReadFile(one->file, 1 << 30), *ReadFile(two->file, 1 << 30)) << pass;
  }
}

TEST_F(QuantizationTest, NodesInsideBranchesAreToldAndLeft) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Input("which", {}, onnx::TensorProto::BOOL).Output("y", {1, 8});
  b.Weight("w", {8, 8}, 0.3f).Weight("v", {8, 8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.If("which", "y", {"MatMul", {"h", "v"}}, {"MatMul", {"h", "v"}});
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4"}) {
    const auto built = Apply(Save(b), pass);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("2 nodes inside If, Loop or Scan left in float")) << pass;
    EXPECT_NE(built->Initializer("v"), nullptr);
  }
}

TEST_F(QuantizationTest, NodesInsideLoopsAndScansAreToldAndLeft) {
  const fs::path model = Save(LoopAndScan(3));
  WriteNpz(Path("x.npz"), {{"x", NormalArray({32, 8}, 5)}});
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4", "fp16"}) {
    const auto built = Apply(model, pass);
    ASSERT_TRUE(built) << pass << ": " << built.error().message;
    if (std::string_view(pass) != "fp16") {
      EXPECT_TRUE(built->HasNote("2 nodes inside If, Loop or Scan left in float")) << pass << Join(built->notes, "\n");
    }
    for (const char* backend : {"onnxruntime", "openvino"}) {
      EXPECT_GT(Sqnr(model, *built, backend, Path("x.npz")), 12) << pass << " in " << backend;
    }
  }
}

// ---- static_int8

TEST_F(ConvData, StaticRunsNearTheOriginalInBothRuntimesAndLayouts) {
  for (const char* layout : {"onnxruntime", "openvino"}) {
    const auto built =
        Apply(model, "static_int8", {{"layout", TextValue(layout)}, {"per_channel", BoolValue(true)}}, data);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("2 of 2 Conv quantized")) << Join(built->notes, "\n");
    EXPECT_TRUE(built->HasNote("on 8 samples"));
    for (const char* backend : {"onnxruntime", "openvino"})
      EXPECT_GT(Sqnr(model, *built, backend, data), 22) << layout << " in " << backend;
  }
}

TEST_F(ConvData, OpenvinoExecutesTheOpenvinoLayoutInIntegers) {
  const auto built = Apply(model, "static_int8", {{"layout", TextValue("openvino")}}, data);
  ASSERT_TRUE(built) << built.error().message;
  const auto backend = FindBackend("openvino");
  ASSERT_TRUE(backend);
  const auto session = (*backend)->load(built->bundle, {});
  ASSERT_TRUE(session) << session.error().message;
  const auto execution = (*session)->Execution();
  ASSERT_TRUE(execution) << execution.error().message;
  int integer = 0;
  int products = 0;
  for (const auto& kernel : execution->kernels()) {
    if (kernel.type() != "Convolution" && kernel.type() != "FullyConnected") continue;
    products += static_cast<int>(kernel.count());
    if (kernel.precision() == "u8" || kernel.precision() == "i8") integer += static_cast<int>(kernel.count());
  }
  EXPECT_EQ(products, 3) << execution->DebugString();
  EXPECT_EQ(integer, products) << execution->DebugString();
}

TEST_F(ConvData, OpenvinoLayoutQuantizesInputsAndWeightsAlone) {
  const auto built = Apply(model, "static_int8", {{"layout", TextValue("openvino")}}, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("QuantizeLinear"), 3)
      << Join(built->notes, "\n");  // image, the first Relu's output, the pooled features before Flatten.
  EXPECT_GE(ScaleOf(*built, "g"), 0);
  EXPECT_LT(ScaleOf(*built, "f"), 0);
  EXPECT_EQ(built->Count("Relu"), 2);
  EXPECT_NE(built->Initializer("c1"), nullptr);  // Biases stay float.
  const auto rejected =
      Apply(model, "static_int8", {{"layout", TextValue("openvino")}, {"weights", TextValue("uint8")}}, data);
  ASSERT_FALSE(rejected);
  EXPECT_EQ(rejected.error().code, ErrorCode::kRejected);
}

TEST_F(ConvData, StaticWithoutDataIsRejectedWithTheRemedy) {
  const auto built = Apply(model, "static_int8");
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kRejected);
  EXPECT_NE(built.error().remedy.find("calibration"), std::string::npos);
}

TEST_F(ConvData, StaticRejectsTypesThatNoRuntimeExecutes) {
  const auto built =
      Apply(model, "static_int8", {{"activations", TextValue("int8")}, {"weights", TextValue("uint8")}}, data);
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kRejected);
}

// ONNX Runtime's quantizer spreads one scale over [-3.4e38, 10] and loses the scores.
TEST_F(TransformerData, MasksStayInFloatHoweverTheyAreWritten) {
  for (const float mask : {-10000.0f, -std::numeric_limits<float>::max(), -1e30f}) {
    const fs::path model = Save(Transformer(mask));
    for (const char* layout : {"onnxruntime", "openvino"}) {
      const auto built = Apply(model, "static_int8", {{"layout", TextValue(layout)}}, data);
      ASSERT_TRUE(built) << built.error().message;
      for (const char* masked : {"penalty", "penalty2", "maskeda", "maskedb"})
        EXPECT_LT(ScaleOf(*built, masked), 0) << masked;
      EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 15) << mask << " " << layout;
      EXPECT_GT(Sqnr(model, *built, "openvino", data), 15) << mask << " " << layout;
    }
  }
}

// Calibration sees the mask as [0, 0]; its range says nothing about what it does.
TEST_F(TransformerData, MaskThatCalibrationNeverClosesStillWorks) {
  for (const float mask : {-10000.0f, -std::numeric_limits<float>::max()}) {
    const fs::path model = Save(Transformer(mask));
    const auto built = Apply(model, "static_int8", {}, open_data);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 15) << mask;
  }
}

TEST_F(QuantizationTest, MaskAsAnInputIsKnownByItsRange) {
  ModelBuilder b;
  b.Input("x", {1, 8, 8}).Input("bias", {1, 8, 8}).Output("y", {1, 8, 8});
  b.Weight("w", {8, 8}, 0.5f);
  b.Node("MatMul", {"x", "w"}, {"scores"});
  b.Node("Add", {"scores", "bias"}, {"masked"});
  b.Node("Softmax", {"masked"}, {"y"});
  const fs::path model = Save(b);
  for (const float closed : {-10000.0f, -std::numeric_limits<float>::infinity()}) {
    std::vector<float> bias(4 * 64, 0);
    for (size_t i = 0; i < bias.size(); i += 3) bias[i] = closed;
    WriteNpz(Path("data.npz"), {{"x", NormalArray({4, 8, 8}, 3)}, {"bias", FloatArray({4, 8, 8}, bias)}});
    const auto built = Apply(model, "static_int8", {}, Path("data.npz"));
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_LT(ScaleOf(*built, "bias"), 0);
    EXPECT_LT(ScaleOf(*built, "masked"), 0);
    EXPECT_GE(ScaleOf(*built, "x"), 0);
    EXPECT_TRUE(built->HasNote("'bias' left in float")) << Join(built->notes, "\n");
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 20);
  }
}

// Scale 1 and zero point 0 of an all-zero range hold negative codes of int8: the Relu must stay. ONNX Runtime's
// quantizer drops it.
TEST_F(QuantizationTest, ReluThatCalibrationNeverOpensIsKept) {
  ModelBuilder b;
  b.Input("x", {1, 4}).Output("y", {1, 4});
  b.Constant("w", {4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.Node("Relu", {"h"}, {"y"});
  WriteNpz(Path("data.npz"), {{"x", FloatArray({2, 4}, {-1, -2, -3, -4, -5, -6, -7, -8})}});
  const fs::path model = Save(b);
  const auto built = Apply(model, "static_int8", {{"activations", TextValue("int8")}}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("Relu"), 1);
  const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
  ASSERT_TRUE(got) << got.error().message;
  for (const float value : *got) EXPECT_EQ(value, 0);
}

TEST_F(ConvData, ReluIsAbsorbedWhereCodesSaturateAtZero) {
  const auto absorbed = Apply(model, "static_int8", {}, data);
  ASSERT_TRUE(absorbed) << absorbed.error().message;
  EXPECT_EQ(absorbed->Count("Relu"), 0);
  const auto kept = Apply(model, "static_int8", {{"symmetric_activations", BoolValue(true)}}, data);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->Count("Relu"), 2);
}

// ONNX Runtime's quantizer sets beta to 1 and forgets the factor.
TEST_F(QuantizationTest, GemmKeepsTheFactorOfItsBias) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 4});
  b.Weight("w", {8, 4}, 0.3f).Constant("bias", {4}, {1, -2, 3, -4});
  auto* gemm = b.Node("Gemm", {"x", "w", "bias"}, {"y"});
  auto* beta = gemm->add_attribute();
  beta->set_name("beta");
  beta->set_type(onnx::AttributeProto::FLOAT);
  beta->set_f(0.25f);
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({8, 8}, 3)}});
  const auto built = Apply(model, "static_int8", {}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 30);
}

// ONNX Runtime's quantizer fails on the first and writes an axis that the bias does not have for the second.
TEST_F(QuantizationTest, BiasThatPerChannelScalesDoNotFitStaysInFloat) {
  ModelBuilder b;
  b.Input("x", {1, 4, 5, 5}).Output("y", {1, 4, 6, 6}).Input("v", {1, 8}).Output("z", {1, 4});
  b.Weight("k", {4, 2, 2, 2}, 0.3f).Weight("c", {4}, 0.3f);
  SetIntAttribute(*b.Node("ConvTranspose", {"x", "k", "c"}, {"y"}), "group", 2);
  b.Weight("w", {8, 4}, 0.3f).Weight("row", {1, 4}, 0.3f);
  b.Node("Gemm", {"v", "w", "row"}, {"z"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({4, 4, 5, 5}, 3)}, {"v", NormalArray({4, 8}, 4)}});
  const auto built = Apply(model, "static_int8", {{"per_channel", BoolValue(true)}}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->HasNote("bias 'c' left in float")) << Join(built->notes, "\n");
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 25);
}

// ONNX Runtime's quantizer scales dimension 1, the summed one here, and its kernel then refuses the model.
TEST_F(QuantizationTest, BatchOfMatricesHasOneScale) {
  ModelBuilder b;
  b.Input("x", {3, 4, 8}).Output("y", {3, 4, 6});
  b.Weight("w", {3, 8, 6}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"y"});
  WriteNpz(Path("data.npz"), {{"x", NormalArray({6, 4, 8}, 9)}});
  const fs::path model = Save(b);
  const auto built = Apply(model, "static_int8", {{"per_channel", BoolValue(true)}}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Initializer("w_scale")->dims_size(), 0);
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 25);
}

TEST_F(QuantizationTest, ConstantNodesAreWeights) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 4});
  b.Weight("w", {8, 4}, 0.3f);
  onnx::TensorProto weight;
  weight.Swap(b.graph()->mutable_initializer(0));
  b.graph()->clear_initializer();
  auto* constant = b.Node("Constant", {}, {"w"});
  auto* value = constant->add_attribute();
  value->set_name("value");
  value->set_type(onnx::AttributeProto::TENSOR);
  *value->mutable_t() = weight;
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({8, 8}, 3)}});
  for (const char* pass : {"dynamic_int8", "weights_int8", "weights_int4", "static_int8"}) {
    const auto built = Apply(model, pass, {}, std::string(pass) == "static_int8" ? Path("data.npz") : fs::path());
    ASSERT_TRUE(built) << pass << ": " << built.error().message;
    EXPECT_EQ(built->Count("Constant"), 0);
    EXPECT_EQ(built->Initializer("w"), nullptr) << pass;
  }
}

TEST_F(QuantizationTest, ModelThatIsQuantizedAlreadyIsNotQuantizedTwice) {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 4});
  b.Weight("w", {8, 16}, 0.3f).Weight("v", {16, 4}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.Node("MatMul", {"h", "v"}, {"y"});
  WriteNpz(Path("data.npz"), {{"x", NormalArray({8, 8}, 3)}});
  const auto once = Apply(Save(b), "static_int8", {}, Path("data.npz"));
  ASSERT_TRUE(once) << once.error().message;
  const auto twice = Apply(once->file, "static_int8", {}, Path("data.npz"));
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("nothing to quantize"), std::string::npos) << twice.error().message;
}

TEST_F(QuantizationTest, TextAngleModelKeepsItsAnswers) {
  if (!HavePeers() || std::getenv("HONE_MODELS") == nullptr)
    GTEST_SKIP() << "HONE_MODELS and HONE_PEERS are not set; ops/setup fetches them";
  RunScript("prepare_text_angle.py", {std::getenv("HONE_MODELS"), Path("").string(), "64"});
  const fs::path original = fs::path(std::getenv("HONE_MODELS")) / "text_angle.onnx";
  const auto wanted = Outputs(LocalFile(original, "onnx"), "onnxruntime", Path("data.npz"));
  ASSERT_TRUE(wanted) << wanted.error().message;
  const auto simple = Apply(original, "simplify");
  ASSERT_TRUE(simple) << simple.error().message;
  struct Case {
    const char* pass;
    Parameters parameters;
    size_t agreements;  // Of 64.
  };
  const std::vector<Case> cases = {{"weights_int8", {}, 63},
                                   {"static_int8", {{"per_channel", BoolValue(true)}}, 62},
                                   {"static_int8", {{"layout", TextValue("openvino")}}, 62}};
  for (const Case& one : cases) {
    const auto built = Apply(simple->file, one.pass, one.parameters,
                             std::string(one.pass) == "static_int8" ? Path("data.npz") : fs::path());
    ASSERT_TRUE(built) << built.error().message;
    for (const char* backend : {"onnxruntime", "openvino"}) {
      const auto got = Outputs(built->bundle, backend, Path("data.npz"));
      ASSERT_TRUE(got) << backend << ": " << got.error().message;
      ASSERT_EQ(got->size(), wanted->size());
      size_t same = 0;
      for (size_t i = 0; i < got->size(); i += 2)
        same += ((*got)[i] > (*got)[i + 1]) == ((*wanted)[i] > (*wanted)[i + 1]) ? 1 : 0;
      EXPECT_GE(same, one.agreements) << one.pass << " in " << backend << ": " << Join(built->notes, "\n");
    }
  }
}

// ---- the calibrator

// Samples in memory, in any order.
class MemoryData : public DataSet {
 public:
  explicit MemoryData(std::vector<std::vector<Tensor>> samples) : samples_(std::move(samples)) {}
  size_t size() const override { return samples_.size(); }
  Result<std::vector<Tensor>> Get(size_t index) const override { return samples_[index]; }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string digest() const override { return DigestOf("memory"); }

 private:
  std::vector<std::vector<Tensor>> samples_;
  std::vector<int64_t> labels_;
};

Tensor FloatTensor(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& values) {
  Tensor tensor;
  tensor.name = name;
  tensor.type = onnx::TensorProto::FLOAT;
  tensor.dims = dims;
  tensor.bytes.resize(values.size() * sizeof(float));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

std::vector<std::vector<Tensor>> RandomSamples(size_t count, int64_t width) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 1);
  std::vector<std::vector<Tensor>> samples;
  for (size_t i = 0; i < count; ++i) {
    std::vector<float> values(static_cast<size_t>(width));
    for (float& value : values) value = normal(random) * static_cast<float>(1 + i % 7);
    samples.push_back({FloatTensor("x", {1, width}, values)});
  }
  return samples;
}

Result<Statistics> CollectRanges(const onnx::ModelProto& model, const std::vector<std::string>& tensors,
                                 const DataSet& data, int threads) {
  std::vector<StatisticsRequest> requests(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) requests[i].tensor = tensors[i];
  CollectOptions options;
  options.threads = threads;
  return CollectStatistics(model, requests, data, options);
}

TEST(CalibratorTest, RangesDoNotDependOnThreadsOrOrder) {
  const ModelBuilder builder = Mlp();
  const onnx::ModelProto model = const_cast<ModelBuilder&>(builder).model();
  auto samples = RandomSamples(23, 64);
  const std::vector<std::string> tensors = {"x", "h", "r", "y"};
  const auto one = CollectRanges(model, tensors, MemoryData(samples), 1);
  std::reverse(samples.begin(), samples.end());
  const auto four = CollectRanges(model, tensors, MemoryData(samples), 4);
  ASSERT_TRUE(one && four);
  for (const auto& name : tensors) {
    EXPECT_EQ(one->at(name).low, four->at(name).low);
    EXPECT_EQ(one->at(name).high, four->at(name).high);
    EXPECT_EQ(one->at(name).values, four->at(name).values);
  }
  EXPECT_EQ(one->at("r").low, 0);
  EXPECT_EQ(one->at("h").values, 23u * 128u);
}

TEST(CalibratorTest, NonFiniteValuesAreCountedAndLeftOut) {
  ModelBuilder b;
  b.Input("x", {1, 4}).Output("y", {1, 4});
  b.Node("Log", {"x"}, {"y"});
  const float inf = std::numeric_limits<float>::infinity();
  const MemoryData data({{FloatTensor("x", {1, 4}, {1, 0, -1, 2})}, {FloatTensor("x", {1, 4}, {inf, 4, 1, 1})}});
  const auto ranges = CollectRanges(b.model(), {"x", "y"}, data, 2);
  ASSERT_TRUE(ranges) << ranges.error().message;
  EXPECT_EQ(ranges->at("y").non_finite, 3u);  // log 0, log -1, log inf.
  EXPECT_EQ(ranges->at("y").low, 0);
  EXPECT_NEAR(ranges->at("y").high, std::log(4.0f), 1e-6);
  EXPECT_EQ(ranges->at("x").non_finite, 1u);
  EXPECT_EQ(ranges->at("x").high, 4);
}

TEST(CalibratorTest, SamplesMayDifferInShape) {
  ModelBuilder b;
  b.Input("x", {-1, 4}).Output("y", {-1, 4});
  b.Node("Neg", {"x"}, {"y"});
  const MemoryData data(
      {{FloatTensor("x", {1, 4}, {1, 2, 3, 4})}, {FloatTensor("x", {2, 4}, {5, 6, 7, 8, 9, 10, 11, 12})}});
  const auto ranges = CollectRanges(b.model(), {"y"}, data, 1);
  ASSERT_TRUE(ranges) << ranges.error().message;
  EXPECT_EQ(ranges->at("y").low, -12);
  EXPECT_EQ(ranges->at("y").high, -1);
}

TEST(CalibratorTest, UnknownTensorsAndEmptyDataAreRejected) {
  const onnx::ModelProto model = Mlp().model();
  const auto unknown = CollectRanges(model, {"nowhere"}, MemoryData(RandomSamples(1, 64)), 1);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kRejected);
  EXPECT_NE(unknown.error().message.find("nowhere"), std::string::npos);
  const auto empty = CollectRanges(model, {"h"}, MemoryData({}), 1);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code, ErrorCode::kRejected);
}

TEST(CalibratorTest, FailureNamesTheFirstSampleThatFailed) {
  auto samples = RandomSamples(6, 64);
  samples[3] = {FloatTensor("x", {1, 3}, {1, 2, 3})};
  const auto ranges = CollectRanges(Mlp().model(), {"h"}, MemoryData(samples), 2);
  ASSERT_FALSE(ranges);
  EXPECT_NE(ranges.error().message.find("calibration sample 3"), std::string::npos) << ranges.error().message;
}

}  // namespace
}  // namespace hone::test
