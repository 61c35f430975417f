// openvino_int8: what it quantizes runs in int8, close to the original, in the same bytes for any number of threads.
#include "tests/openvino/fixture.h"
#include "worker/passes/openvino_ranges.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;

class OpenvinoInt8Test : public OpenvinoPassTest {};

TEST_F(OpenvinoInt8Test, ConvolutionsRunInInt8AndStayClose) {
  const fs::path model = Save(ConvNet(16, 8));
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({16, 3, 16, 16}, 9)}});
  const auto made = Make(LocalFile(model, "onnx"), "openvino_int8", {}, data);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->bundle.bundle().format(), "openvino_ir");
  const auto execution = ExecutionOf(made->bundle);
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_GT(Count(*execution, "Convolution", "u8") + Count(*execution, "Convolution", "i8"), 0U)
      << execution->DebugString();
  EXPECT_EQ(Count(*execution, "Convolution", "f32"), 0U) << execution->DebugString();
  EXPECT_GT(SqnrDb(model, made->bundle, data), 20);
}

TEST_F(OpenvinoInt8Test, TransformersRunTheirProductsInInt8) {
  const fs::path model = Golden("transformer.onnx");
  const fs::path data = Golden("transformer.npz");
  for (const char* attention : {"none", "scores", "all"}) {
    const auto made = Make(LocalFile(model, "onnx"), "openvino_int8", {{"attention", TextValue(attention)}}, data);
    ASSERT_TRUE(made) << made.error().message;
    const auto execution = ExecutionOf(made->bundle);
    ASSERT_TRUE(execution) << execution.error().message;
    const uint32_t narrow = Count(*execution, "FullyConnected", "u8") + Count(*execution, "FullyConnected", "i8");
    EXPECT_EQ(narrow, 12U) << execution->DebugString();
    EXPECT_GT(SqnrDb(model, made->bundle, data), 18) << attention;
  }
}

TEST_F(OpenvinoInt8Test, TablesAreLookedUpAsCodes) {
  const auto made = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_int8", {}, Golden("transformer.npz"));
  ASSERT_TRUE(made) << made.error().message;
  const auto execution = ExecutionOf(made->bundle);
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(Count(*execution, "Gather", "i8"), 1U) << execution->DebugString();
}

TEST_F(OpenvinoInt8Test, AnyNumberOfThreadsGivesTheSameBytes) {
  std::string first;
  for (const uint32_t threads : {1U, 2U, 3U}) {
    const auto made =
        Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_int8", {}, Golden("transformer.npz"), threads);
    ASSERT_TRUE(made) << made.error().message;
    if (first.empty()) first = made->bundle.bundle().SerializeAsString();
    EXPECT_EQ(made->bundle.bundle().SerializeAsString(), first) << threads << " threads";
  }
}

TEST_F(OpenvinoInt8Test, AMaskOfTheLeastFloatDoesNoHarm) {
  const fs::path model = Save(Transformer(-3.4e38F));
  const fs::path data = Path("tokens.npz");
  WriteTokens(data, 12, 16, 5, 3);
  const auto made = Make(LocalFile(model, "onnx"), "openvino_int8", {}, data);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_GT(SqnrDb(model, made->bundle, data), 18);
}

TEST_F(OpenvinoInt8Test, InfinitiesAreLeftOutOfRangesAndTold) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 32}).Output("y", {1, 16});
  b.Weight("w", {32, 16}, 0.5F);
  b.Node("MatMul", {"x", "w"}, {"y"});
  Array values = NormalArray({8, 32}, 5);
  reinterpret_cast<float*>(values.bytes.data())[7] = -std::numeric_limits<float>::infinity();
  reinterpret_cast<float*>(values.bytes.data())[40] = std::numeric_limits<float>::quiet_NaN();
  WriteNpz(Path("data.npz"), {{"x", values}});
  const auto made = Make(LocalFile(Save(b), "onnx"), "openvino_int8", {}, Path("data.npz"));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->notes, Contains("'x' held 2 NaN or infinite values, which were left out of its range"));
}

TEST_F(OpenvinoInt8Test, ExcludedLayersStayInFloatAndAreTold) {
  const auto made = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_int8",
                         {{"exclude", TextValue("l0_.*_mm, l1_up_mm")}}, Golden("transformer.npz"));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->notes, Contains("7 MatMul left in float: excluded by name"));
  const auto broken = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_int8",
                           {{"exclude", TextValue("(")}}, Golden("transformer.npz"));
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().code, ErrorCode::kRejected);
}

TEST_F(OpenvinoInt8Test, IrIsTakenTooAndAQuantizedOneIsRejected) {
  const auto ir = Make(LocalFile(Golden("convnet.onnx"), "onnx"), "openvino_ir");
  ASSERT_TRUE(ir) << ir.error().message;
  const auto made = Make(ir->bundle, "openvino_int8", {}, Golden("convnet.npz"));
  ASSERT_TRUE(made) << made.error().message;
  const auto again = Make(made->bundle, "openvino_int8", {}, Golden("convnet.npz"));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kRejected);
  EXPECT_THAT(again.error().message, HasSubstr("quantized already"));
}

TEST_F(OpenvinoInt8Test, OutlierChannelsAreSpreadOverCopiesAndEveryRowLosesLess) {
  // One hidden channel is huge in the first row alone, as that of a sentence's first token in real transformers.
  constexpr size_t rows = 8, inputs = 32, hidden = 64, outputs = 24, samples = 24;
  ModelBuilder b(17, 3);
  b.Input("x", {1, rows, inputs}).Output("y", {1, rows, outputs});
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> up(inputs * hidden);
  for (size_t i = 0; i < up.size(); ++i) up[i] = i < hidden ? (i == 7 ? 60.0F : 0.0F) : 0.3F * normal(random);
  b.Constant("up_w", {inputs, hidden}, up).Weight("up_b", {hidden}, 0.2F);
  b.Weight("down_w", {hidden, outputs}, 0.5F).Weight("down_b", {outputs}, 0.1F);
  b.Node("MatMul", {"x", "up_w"}, {"up"});
  b.Node("Add", {"up_b", "up"}, {"hidden"});
  b.Node("Relu", {"hidden"}, {"active"});
  b.Node("MatMul", {"active", "down_w"}, {"down"});
  b.Node("Add", {"down", "down_b"}, {"y"});
  const fs::path model = Save(b);
  std::vector<float> values(samples * rows * inputs);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % inputs > 0 ? normal(random) : ((i / inputs) % rows == 0 ? 1.0F : 0.0F);
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"x", FloatArray({samples, rows, inputs}, values)}});
  const auto error_of = [&](bool spread) {
    const auto made = Make(LocalFile(model, "onnx"), "openvino_int8",
                           {{"model_type", TextValue("transformer")},
                            {"exclude", TextValue("up_node")},  // Its own rounding would hide the second product's.
                            {"spread_outliers", BoolValue(spread)}},
                           data);
    EXPECT_TRUE(made) << made.error().message;
    if (spread) {
      EXPECT_THAT(made->notes, Contains("outlier channels of 1 activations spread over 16 copies each"));
    }
    const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", data);
    const auto got = Outputs(made->bundle, "openvino", data, {{"inference_precision", TextValue("f32")}});
    EXPECT_TRUE(wanted && got);
    double error = 0;
    for (size_t i = 0; i < wanted->size(); ++i) {
      const auto difference = static_cast<double>((*got)[i] - (*wanted)[i]);
      error += difference * difference;
    }
    return error;
  };
  EXPECT_LT(error_of(true), 0.5 * error_of(false));
}

TEST_F(OpenvinoInt8Test, BiasCorrectionBringsTheMeanBack) {
  // One product whose inputs are far from zero: rounding the weights shifts every output the same way.
  ModelBuilder b(17, 3);
  b.Input("x", {1, 4, 64}).Output("y", {1, 4, 8});
  b.Weight("w", {64, 8}, 1.0F).Constant("b", {8}, {0, 1, 0, 1, 0, 1, 0, 1});
  b.Node("MatMul", {"x", "w"}, {"product"});
  b.Node("Add", {"product", "b"}, {"y"});
  const fs::path model = Save(b);
  std::vector<float> values(32 * 4 * 64);
  std::mt19937 random(4);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 3.0F + static_cast<float>(i % 64) / 16 + 0.05F * static_cast<float>(random() % 10);
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"x", FloatArray({32, 4, 64}, values)}});
  const auto mean_error = [&](bool correct) {
    const auto made = Make(LocalFile(model, "onnx"), "openvino_int8", {{"bias_correction", BoolValue(correct)}}, data);
    EXPECT_TRUE(made) << made.error().message;
    const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", data);
    const auto got = Outputs(made->bundle, "openvino", data, {{"inference_precision", TextValue("f32")}});
    EXPECT_TRUE(wanted && got);
    std::vector<double> errors(8, 0);
    for (size_t i = 0; i < wanted->size(); ++i) errors[i % 8] += static_cast<double>((*got)[i] - (*wanted)[i]);
    double sum = 0;
    for (const double error : errors) sum += std::fabs(error) / (static_cast<double>(wanted->size()) / 8);
    return sum;
  };
  EXPECT_LT(mean_error(true), mean_error(false) / 2);
}

TEST(OpenvinoRangesTest, SymmetricLimitsFollowTheSign) {
  const auto both = ActivationLimits(Scheme::symmetric, {-1.0F}, {2.0F});
  EXPECT_THAT(both.high, ElementsAre(2.0F));
  EXPECT_FLOAT_EQ(both.low[0], -2.0F * 256 / 254);
  EXPECT_THAT(ActivationLimits(Scheme::symmetric, {0.0F}, {2.0F}).low, ElementsAre(0.0F));
}

TEST(OpenvinoRangesTest, AsymmetricLimitsHoldZeroOnACode) {
  for (const auto& [low, high] : {std::pair(-1.0F, 3.0F), {0.5F, 2.0F}, {-4.0F, -1.0F}, {0.0F, 0.0F}, {-0.3F, 0.01F}}) {
    const auto limits = ActivationLimits(Scheme::asymmetric, {low}, {high});
    EXPECT_LE(limits.low[0], std::min(low, 0.0F) + 1e-6F);
    EXPECT_GE(limits.high[0], std::max(high, 0.0F) - 1e-6F);
    const double zero = -static_cast<double>(limits.low[0]) * 255 /
                        (static_cast<double>(limits.high[0]) - static_cast<double>(limits.low[0]));
    EXPECT_NEAR(zero, std::nearbyint(zero), 1e-4) << low << " " << high;
  }
}

TEST(OpenvinoRangesTest, AChannelOfZerosGetsAFloor) {
  EXPECT_THAT(WeightLimits({4.0F, 0.0F}), ElementsAre(4.0F, 0.04F));
  EXPECT_THAT(WeightLimits({0.0F}), ElementsAre(8e-5F));
  EXPECT_THAT(WeightCode(5.0F, 4.0F), Eq(127));
  EXPECT_THAT(WeightCode(-5.0F, 4.0F), Eq(-127));
  EXPECT_THAT(WeightCode(0.0F, 4.0F), Eq(0));
}

}  // namespace
}  // namespace hone::test
