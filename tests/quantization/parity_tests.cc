// The passes against the peers' own quantizers on the same models and data: codes, scales, zero points and placement,
// bit for bit.
#include <algorithm>

#include "tests/quantization/pass_fixture.h"

namespace hone::test {
namespace {

class ParityTest : public PassTest {
 protected:
  void SetUp() override {
    if (!HavePeers()) GTEST_SKIP() << "HONE_PEERS names no Python environment; ops/setup makes it";
    PassTest::SetUp();
  }

  static std::string Json(const Parameters& parameters) {
    std::string json = "{";
    for (const auto& [name, value] : parameters) {
      const bool text = value.kind_case() == proto::Value::kText;
      json += (json.size() > 1 ? ", \"" : "\"") + name + "\": " + (text ? "\"" + value.text() + "\"" : ToText(value));
    }
    return json + "}";
  }

  void CompareStatic(const fs::path& model, const fs::path& data, Parameters parameters) {
    parameters["coverage"] = TextValue("all");
    SCOPED_TRACE(Json(parameters));
    const auto built = Apply(model, "static_int8", parameters, data);
    ASSERT_TRUE(built) << built.error().message;
    RunScript("compare_static.py", {model, built->file, data, Json(parameters)});
  }
  // What compare_openvino.py is told to compare: layout openvino, on the statistics that NNCF takes unless others are
  // named.
  void AddOpenvinoCase(const fs::path& model, const fs::path& data, Parameters parameters,
                       std::vector<std::string>& arguments) {
    parameters["layout"] = TextValue("openvino");
    parameters.emplace("observer", TextValue("mean_minmax"));
    const auto built = Apply(model, "static_int8", parameters, data);
    ASSERT_TRUE(built) << built.error().message;
    arguments.insert(arguments.end(), {model.string(), built->file.string(), data.string(), Json(parameters)});
  }
  void CompareDynamic(const fs::path& model, const Parameters& parameters, const std::string& op_types = "") {
    SCOPED_TRACE(Json(parameters));
    const auto built = Apply(model, "dynamic_int8", parameters);
    ASSERT_TRUE(built) << built.error().message;
    std::string options = Json(parameters);
    if (!op_types.empty())
      options.insert(options.size() - 1, std::string(parameters.empty() ? "" : ", ") + "\"op_types\": " + op_types);
    RunScript("compare_dynamic.py", {model, built->file, options});
  }
  void CompareNBits(const fs::path& model, const std::string& pass, const Parameters& parameters,
                    const Parameters& theirs) {
    SCOPED_TRACE(Json(theirs));
    const auto built = Apply(model, pass, parameters);
    ASSERT_TRUE(built) << built.error().message;
    RunScript("compare_nbits.py", {model, built->file, Json(theirs)});
  }
};

// Every operator that the QDQ placement knows, in one graph, with weights of odd sizes.
ModelBuilder ManyOperators() {
  ModelBuilder b(17, 5);
  b.Input("image", {1, 3, 12, 12})
      .Input("side", {1, 6})
      .Output("scores", {1, 5})
      .Output("best", {1, 1, 9}, onnx::TensorProto::INT64);
  b.Output("turned", {1, 36, 6});
  b.Weight("k1", {6, 3, 3, 3}, 0.3f).Weight("c1", {6}, 0.2f);
  ModelBuilder::Ints(b.Node("Conv", {"image", "k1", "c1"}, {"a"}), "pads", {1, 1, 1, 1});
  b.Node("Relu", {"a"}, {"ar"});
  b.Weight("k2", {6, 1, 3, 3}, 0.3f).Weight("c2", {6}, 0.2f);
  auto* depthwise = b.Node("Conv", {"ar", "k2", "c2"}, {"d"});
  ModelBuilder::Ints(depthwise, "pads", {1, 1, 1, 1});
  SetIntAttribute(*depthwise, "group", 6);
  b.Constant("clip_low", {}, {0.0f}).Constant("clip_high", {}, {1.5f});
  b.Node("Clip", {"d", "clip_low", "clip_high"}, {"dc"});
  b.Node("Add", {"dc", "ar"}, {"sum"});
  ModelBuilder::Ints(b.Node("MaxPool", {"sum"}, {"pool"}), "kernel_shape", {2, 2});
  b.graph()->mutable_node(b.graph()->node_size() - 1)->add_attribute()->CopyFrom([] {
    onnx::AttributeProto strides;
    strides.set_name("strides");
    strides.set_type(onnx::AttributeProto::INTS);
    strides.add_ints(2);
    strides.add_ints(2);
    return strides;
  }());
  b.Weight("kt", {6, 4, 2, 2}, 0.3f).Weight("ct", {4}, 0.1f);
  b.Node("ConvTranspose", {"pool", "kt", "ct"}, {"up"});
  b.Node("Sigmoid", {"up"}, {"gate"});
  b.Node("Mul", {"up", "gate"}, {"swish"});
  b.Weight("bn_scale", {4}, 1.0f).Weight("bn_bias", {4}, 0.3f).Weight("bn_mean", {4}, 0.1f);
  b.Constant("bn_var", {4}, {1.0f, 0.5f, 2.0f, 1.5f});
  b.Node("BatchNormalization", {"swish", "bn_scale", "bn_bias", "bn_mean", "bn_var"}, {"normed"});
  b.Node("LeakyRelu", {"normed"}, {"leaky"});
  b.ConstantInt64("pads", {0, 0, 0, 0, 0, 0, 1, 1});
  b.Node("Pad", {"leaky", "pads"}, {"padded"});
  b.ConstantInt64("starts", {0, 0}).ConstantInt64("ends", {6, 6}).ConstantInt64("axes", {2, 3});
  b.Node("Slice", {"padded", "starts", "ends", "axes"}, {"cut"});
  auto* average = b.Node("AveragePool", {"cut"}, {"avg"});
  ModelBuilder::Ints(average, "kernel_shape", {2, 2});
  ModelBuilder::Ints(average, "strides", {2, 2});
  b.ConstantInt64("halves", {2, 2});
  b.Node("Split", {"avg", "halves"}, {"left", "right"});
  SetIntAttribute(*b.graph()->mutable_node(b.graph()->node_size() - 1), "axis", 1);
  b.Node("Mul", {"left", "right"}, {"product"});
  b.Node("Sigmoid", {"product"}, {"bounded"});
  // A Concat of one value and itself: what it gives has the range of what it reads. Parts of different ranges are the
  // one placement where we differ on purpose (static_int8_tests.cc).
  SetIntAttribute(*b.Node("Concat", {"bounded", "bounded"}, {"doubled"}), "axis", 1);
  b.ConstantInt64("rows_shape", {1, 4, 9});
  b.Node("Reshape", {"doubled", "rows_shape"}, {"rows"});
  SetIntAttribute(*b.Node("ArgMax", {"rows"}, {"best"}), "axis", 1);
  ModelBuilder::Ints(b.Node("Transpose", {"rows"}, {"columns"}), "perm", {0, 2, 1});
  b.Node("MatMul", {"columns", "rows"}, {"gram"});
  SetIntAttribute(*b.Node("Softmax", {"gram"}, {"soft"}), "axis", -1);
  b.Weight("wm", {9, 6}, 0.4f);
  b.Node("MatMul", {"soft", "wm"}, {"mixed"});
  b.Weight("ln_scale", {6}, 1.0f).Weight("ln_bias", {6}, 0.2f);
  b.Node("LayerNormalization", {"mixed", "ln_scale", "ln_bias"}, {"normal"});
  b.ConstantInt64("unsqueeze_axes", {0});
  b.Weight("table", {7, 6}, 1.0f).ConstantInt64("picks", {1, 4, 6, 0, 2, 3, 5, 1, 1});
  b.Node("Gather", {"table", "picks"}, {"picked"});
  b.Node("Unsqueeze", {"picked", "unsqueeze_axes"}, {"picked3"});
  b.Node("Add", {"normal", "picked3"}, {"enriched"});
  b.ConstantInt64("turned_shape", {1, 9, 6});
  b.Node("Reshape", {"enriched", "turned_shape"}, {"shaped"});
  b.ConstantInt64("tile", {1, 4, 1});
  b.Node("Tile", {"shaped", "tile"}, {"turned"});
  b.Node("GlobalAveragePool", {"normed"}, {"global"});
  b.Node("Flatten", {"global"}, {"flat"});
  b.Weight("w1", {10, 4}, 0.5f).Weight("b1", {10}, 0.1f);
  SetIntAttribute(*b.Node("Gemm", {"flat", "w1", "b1"}, {"hidden"}), "transB", 1);
  b.Node("Relu", {"hidden"}, {"active"});
  b.Weight("w2", {10, 6}, 0.5f).Weight("b2", {6}, 0.1f);
  b.Node("Gemm", {"active", "w2", "b2"}, {"logits6"});
  b.Node("Add", {"logits6", "side"}, {"joined"});
  b.Weight("w3", {6, 5}, 0.5f);
  b.Node("MatMul", {"joined", "w3"}, {"scores"});
  return b;
}

void WriteManyOperatorsData(const fs::path& path, int64_t samples) {
  WriteNpz(path, {{"image", NormalArray({samples, 3, 12, 12}, 7)}, {"side", NormalArray({samples, 6}, 8)}});
}

TEST_F(ParityTest, StaticEqualsOnnxRuntimeOnEveryOperator) {
  const fs::path model = Save(ManyOperators());
  const fs::path data = Path("data.npz");
  WriteManyOperatorsData(data, 6);
  CompareStatic(model, data, {});
  CompareStatic(model, data, {{"per_channel", BoolValue(true)}});
  CompareStatic(model, data, {{"activations", TextValue("int8")}, {"reduce_range", BoolValue(true)}});
  CompareStatic(model, data,
                {{"activations", TextValue("int8")},
                 {"symmetric_activations", BoolValue(true)},
                 {"per_channel", BoolValue(true)}});
  CompareStatic(model, data, {{"weights", TextValue("uint8")}});
}

TEST_F(ParityTest, StaticEqualsOnnxRuntimeWithSixteenBitActivations) {
  const fs::path model = Save(ManyOperators());
  const fs::path data = Path("data.npz");
  WriteManyOperatorsData(data, 4);
  CompareStatic(model, data, {{"activations", TextValue("uint16")}, {"per_channel", BoolValue(true)}});
  CompareStatic(model, data,
                {{"activations", TextValue("int16")}, {"symmetric_activations", BoolValue(true)}});
}

TEST_F(ParityTest, StaticEqualsOnnxRuntimeOnConvolutions) {
  const fs::path model = Save(ConvNet(16, 8));
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({8, 3, 16, 16}, 9)}});
  CompareStatic(model, data, {});
  CompareStatic(model, data, {{"per_channel", BoolValue(true)}, {"reduce_range", BoolValue(true)}});
}

TEST_F(ParityTest, StaticRaisesWeightScalesForLargeBiasesAsOnnxRuntimeDoes) {
  // Tiny inputs and weights under a large bias: int32 could not hold it at the product of their scales.
  ModelBuilder b(17, 2);
  b.Input("x", {1, 8}).Output("y", {1, 4});
  b.Weight("w", {8, 4}, 1e-7f).Constant("bias", {4}, {30.0f, -0.5f, 1e-9f, 2.0f});
  b.Node("Gemm", {"x", "w", "bias"}, {"y"});
  const fs::path model = Save(b);
  Array inputs = NormalArray({4, 8}, 3);
  std::vector<float> values(32);
  std::memcpy(values.data(), inputs.bytes.data(), inputs.bytes.size());
  for (float& value : values) value *= 1e-4f;
  WriteNpz(Path("data.npz"), {{"x", FloatArray({4, 8}, values)}});
  CompareStatic(model, Path("data.npz"), {});
  CompareStatic(model, Path("data.npz"), {{"per_channel", BoolValue(true)}});
}

TEST_F(ParityTest, StaticEqualsOnnxRuntimeOnTheTextAngleModel) {
  if (std::getenv("HONE_MODELS") == nullptr) GTEST_SKIP() << "HONE_MODELS is not set; ops/setup fetches the models";
  RunScript("prepare_text_angle.py", {std::getenv("HONE_MODELS"), Path("").string(), "16"});
  CompareStatic(Path("model.onnx"), Path("data.npz"), {});
}

// NNCF averages minima and maxima over samples, for a symmetric range the larger magnitudes, which we keep no mean of:
// that case is compared on the extremes of all samples. Without SmoothQuant and bias correction, which change the
// model.
TEST_F(ParityTest, OpenvinoRangesEqualThoseOfNncf) {
  const fs::path model = Save(ConvNet(16, 8), "conv.onnx");
  const fs::path mlp = Save(Mlp(), "mlp.onnx");
  WriteNpz(Path("data.npz"), {{"image", NormalArray({8, 3, 16, 16}, 9)}});
  WriteNpz(Path("x.npz"), {{"x", NormalArray({8, 64}, 9)}});
  std::vector<std::string> cases;
  AddOpenvinoCase(model, Path("data.npz"), {}, cases);
  AddOpenvinoCase(model, Path("data.npz"),
                  {{"symmetric_activations", BoolValue(true)}, {"observer", TextValue("minmax")}}, cases);
  AddOpenvinoCase(mlp, Path("x.npz"), {}, cases);
  RunScript("compare_openvino.py", cases, Python::bench);
}

TEST_F(ParityTest, DynamicEqualsOnnxRuntime) {
  const fs::path model = Save(Transformer(-10000));
  for (const bool per_channel : {false, true}) {
    for (const char* weights : {"int8", "uint8"}) {
      CompareDynamic(model, {{"per_channel", BoolValue(per_channel)}, {"weights", TextValue(weights)}},
                     "[\"MatMul\", \"Gather\"]");
    }
  }
  CompareDynamic(model, {{"reduce_range", BoolValue(true)}}, "[\"MatMul\", \"Gather\"]");
}

TEST_F(ParityTest, DynamicTakesGemmApartAsOnnxRuntimeDoes) {
  ModelBuilder b = Mlp();
  for (auto& node : *b.graph()->mutable_node()) {
    if (node.op_type() == "Gemm" && node.output(0) == "y") SetIntAttribute(node, "transB", 0);
  }
  CompareDynamic(Save(b), {{"per_channel", BoolValue(true)}});
}

TEST_F(ParityTest, FourBitBytesEqualMlas) {
  ModelBuilder b(17, 4);
  b.Input("x", {1, 70}).Output("y", {1, 5}).Output("z", {1, 33});
  b.Weight("w1", {70, 33}, 0.1f).Weight("w2", {33, 5}, 0.3f);
  b.Node("MatMul", {"x", "w1"}, {"z"});
  b.Node("MatMul", {"z", "w2"}, {"y"});
  // A block of zeros, one of a single sign.
  float* values = reinterpret_cast<float*>(b.graph()->mutable_initializer(0)->mutable_raw_data()->data());
  for (int row = 0; row < 32; ++row) values[row * 33] = 0;
  for (int row = 0; row < 32; ++row) values[row * 33 + 1] = 10 + 0.01f * static_cast<float>(row);
  const fs::path model = Save(b);
  for (const int64_t group : {16, 32, 128}) {
    for (const bool symmetric : {true, false}) {
      CompareNBits(
          model, "weights_int4",
          {{"group_size", IntValue(group)}, {"symmetric", BoolValue(symmetric)}, {"accuracy_level", IntValue(4)}},
          {{"group_size", IntValue(group)}, {"symmetric", BoolValue(symmetric)}, {"accuracy_level", IntValue(4)}});
      CompareNBits(
          model, "weights_int8",
          {{"form", TextValue("matmulnbits")}, {"group_size", IntValue(group)}, {"symmetric", BoolValue(symmetric)}},
          {{"bits", IntValue(8)}, {"group_size", IntValue(group)}, {"symmetric", BoolValue(symmetric)}});
    }
  }
}

TEST_F(ParityTest, FourBitBytesOfHalfWeightsEqualMlas) {
  ModelBuilder b(17, 4);
  b.Input("x", {1, 64}, onnx::TensorProto::FLOAT16).Output("y", {1, 24}, onnx::TensorProto::FLOAT16);
  b.Weight("w", {64, 24}, 0.1f);
  onnx::TensorProto& weight = *b.graph()->mutable_initializer(0);
  std::vector<uint16_t> halves(64 * 24);
  kernels::FloatToHalf(reinterpret_cast<const float*>(weight.raw_data().data()), halves.size(), kernels::Clamp::no,
                       halves.data());
  weight.set_data_type(onnx::TensorProto::FLOAT16);
  weight.set_raw_data(halves.data(), halves.size() * 2);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  for (const bool symmetric : {true, false}) {
    CompareNBits(model, "weights_int4", {{"symmetric", BoolValue(symmetric)}},
                 {{"group_size", IntValue(32)}, {"symmetric", BoolValue(symmetric)}});
  }
}

}  // namespace
}  // namespace hone::test
