// openvino_weights: codes stay compressed in the compiled model, and the file is as small as promised.
#include "tests/openvino/fixture.h"
#include "worker/passes/openvino_codes.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class OpenvinoWeightsTest : public OpenvinoPassTest {};

TEST_F(OpenvinoWeightsTest, EveryModeStaysCompressedInTheCompiledModel) {
  const fs::path model = Golden("transformer.onnx");
  const struct {
    const char* mode;
    const char* precision;
    double sqnr;
  } cases[] = {{"int8_asym", "u8", 30},
               {"int8_sym", "i8", 30},
               {"int4_asym", "u4", 12},
               {"int4_sym", "i4", 10},
               {"nf4", "nf4", 12}};
  for (const auto& one : cases) {
    const auto made =
        Make(LocalFile(model, "onnx"), "openvino_weights",
             {{"mode", TextValue(one.mode)}, {"group_size", IntValue(16)}, {"all_layers", BoolValue(true)}});
    ASSERT_TRUE(made) << made.error().message;
    const auto execution = ExecutionOf(made->bundle);
    ASSERT_TRUE(execution) << execution.error().message;
    EXPECT_EQ(Count(*execution, "FullyConnected", one.precision), 12U) << one.mode << execution->DebugString();
    EXPECT_GT(SqnrDb(model, made->bundle, Golden("transformer.npz")), one.sqnr) << one.mode;
  }
}

TEST_F(OpenvinoWeightsTest, TablesAndTheLastProductStayIn8BitsUnlessAskedFor) {
  const auto made = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_weights",
                         {{"mode", TextValue("int4_sym")}, {"group_size", IntValue(32)}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->notes,
              Contains("11 weights as int4_sym in groups of 32").Times(0));  // A whole row is one group here.
  const auto execution = ExecutionOf(made->bundle);
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(Count(*execution, "FullyConnected", "i4"), 11U) << execution->DebugString();
  EXPECT_EQ(Count(*execution, "FullyConnected", "u8"), 1U) << execution->DebugString();
  EXPECT_EQ(Count(*execution, "Gather", "u8"), 1U) << execution->DebugString();
}

TEST_F(OpenvinoWeightsTest, RatioKeepsTheProductsThatLoseMostIn8Bits) {
  const auto made = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_weights",
                         {{"mode", TextValue("int4_asym")}, {"group_size", IntValue(16)}, {"ratio", RealValue(0.5)}});
  ASSERT_TRUE(made) << made.error().message;
  const auto execution = ExecutionOf(made->bundle);
  ASSERT_TRUE(execution) << execution.error().message;
  const uint32_t narrow = Count(*execution, "FullyConnected", "u4");
  const uint32_t wide = Count(*execution, "FullyConnected", "u8");
  EXPECT_EQ(narrow + wide, 12U);
  EXPECT_GE(narrow, 3U);
  EXPECT_GE(wide, 5U);
}

TEST_F(OpenvinoWeightsTest, RowsThatNoGroupDividesGoTo8Bits) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 37}).Output("y", {1, 24});
  b.Weight("w1", {37, 48}, 0.5F).Weight("w2", {48, 24}, 0.5F);
  b.Node("MatMul", {"x", "w1"}, {"h"});
  b.Node("MatMul", {"h", "w2"}, {"y"});
  const fs::path model = Save(b);
  const auto made = Make(LocalFile(model, "onnx"), "openvino_weights",
                         {{"mode", TextValue("int4_sym")}, {"all_layers", BoolValue(true)}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->notes, Contains("1 weights as int8_asym"));
  EXPECT_THAT(made->notes, Contains("1 weights as int4_sym in groups of 16"));
}

TEST_F(OpenvinoWeightsTest, WeightsThatCannotBeCompressedAreToldOrRejected) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 32}).Output("y", {1, 1});
  b.Weight("w", {32, 1}, 0.5F);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const auto alone = Make(LocalFile(Save(b), "onnx"), "openvino_weights");
  ASSERT_FALSE(alone.has_value());
  EXPECT_EQ(alone.error().code, ErrorCode::kRejected);
  EXPECT_THAT(alone.error().message, HasSubstr("single output"));
  const auto once = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_weights");
  ASSERT_TRUE(once) << once.error().message;
  const auto twice = Make(once->bundle, "openvino_weights");
  ASSERT_FALSE(twice.has_value());
  EXPECT_THAT(twice.error().message, HasSubstr("already"));
}

TEST(OpenvinoCodesTest, SingleSignGroupsKeepZeroInTheirRange) {
  std::vector<float> values(16);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 10.0F + static_cast<float>(i) / 16;
  const CodeFormat asymmetric = {4, false, false};
  const EncodedWeights encoded = EncodeWeights(values.data(), 16, 16, asymmetric);
  EXPECT_EQ(encoded.zero_points[0], 0);
  EXPECT_LT(EncodingNoise(values.data(), 16, asymmetric, encoded), 0.001);
  const std::vector<float> zeros(37, 0.0F);
  const CodeFormat symmetric = {4, true, false};
  EXPECT_EQ(EncodingNoise(zeros.data(), 37, symmetric, EncodeWeights(zeros.data(), 37, 37, symmetric)), 0);
  EXPECT_EQ(PackNibbles({1, 2, 0xff}), (std::vector<uint8_t>{0x21, 0x0f}));
}

}  // namespace
}  // namespace hone::test
