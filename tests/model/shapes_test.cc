// Pins, inference, and the passes fix_shapes and convert_opset.
#include <gmock/gmock.h>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

onnx::ModelProto TwoInputs() {
  return Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x, float[N,M] z) => (float[N,K] y) {
      s = Relu(x)
      y = Concat<axis = 1>(s, z)
    })");
}

google::protobuf::RepeatedPtrField<proto::InputShape> PinsOf(const Pins& pins) {
  google::protobuf::RepeatedPtrField<proto::InputShape> list;
  for (const auto& [name, dims] : pins) {
    auto* pin = list.Add();
    pin->set_name(name);
    for (const int64_t dim : dims) pin->add_dims(dim);
  }
  return list;
}

std::string PinError(const Pins& pins) {
  onnx::ModelProto model = TwoInputs();
  const auto result = PinInputs(model, PinsOf(pins));
  if (result) return "";
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  return result.error().message;
}

TEST(PinInputsTest, PinReachesEveryUseOfTheSymbol) {
  onnx::ModelProto model = TwoInputs();
  ASSERT_TRUE(PinInputs(model, PinsOf({{"x", {4, 3}}})));
  EXPECT_EQ(DimsOf(model.graph().input(0)), (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(DimsOf(model.graph().input(1)), (std::vector<int64_t>{4, -1}));
  EXPECT_EQ(DimsOf(model.graph().output(0)), (std::vector<int64_t>{4, -1}));
}

TEST(PinInputsTest, MinusOneKeepsADimensionFree) {
  onnx::ModelProto model = TwoInputs();
  ASSERT_TRUE(PinInputs(model, PinsOf({{"z", {-1, 5}}})));
  EXPECT_EQ(DimsOf(model.graph().input(1)), (std::vector<int64_t>{-1, 5}));
}

TEST(PinInputsTest, ContradictionsAreRejected) {
  EXPECT_THAT(PinError({{"xx", {1, 3}}}), HasSubstr("no input 'xx'"));
  EXPECT_THAT(PinError({{"x", {1, 3, 3}}}), HasSubstr("has 2 dimensions"));
  EXPECT_THAT(PinError({{"x", {1, 4}}}), HasSubstr("the model fixes it at 3"));
  EXPECT_THAT(PinError({{"x", {1, 3}}, {"z", {2, 2}}}), HasSubstr("'N' was already pinned to 1"));
  EXPECT_THAT(PinError({{"x", {0, 3}}}), HasSubstr("cannot be 0"));
  EXPECT_EQ(PinError({{"x", {2, 3}}, {"z", {2, 2}}}), "");
}

TEST(ReinferShapesTest, TracedShapesDoNotSurvive) {
  onnx::ModelProto model = TwoInputs();
  auto* stale = model.mutable_graph()->add_value_info();
  stale->set_name("s");
  stale->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  for (const int dim : {7, 3})
    stale->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(dim);
  ReinferShapes(model);
  ASSERT_EQ(model.graph().value_info_size(), 1);
  EXPECT_EQ(DimsOf(model.graph().value_info(0)), (std::vector<int64_t>{-1, 3}));
}

TEST(FixShapesTest, EveryShapeFollowsFromThePins) {
  const auto made = Apply(TwoInputs(), "fix_shapes", {}, {{"x", {2, 3}}, {"z", {2, 5}}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(DimsOf(made->model.graph().output(0)), (std::vector<int64_t>{2, 8}));
  ASSERT_EQ(made->model.graph().value_info_size(), 1);
  EXPECT_EQ(DimsOf(made->model.graph().value_info(0)), (std::vector<int64_t>{2, 3}));
  ExpectSameResults(made->model, TwoInputs(), 0);
}

TEST(FixShapesTest, RemainingFreeDimensionIsRejectedByName) {
  const auto made = Apply(TwoInputs(), "fix_shapes", {}, {{"x", {2, 3}}});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
  EXPECT_THAT(made.error().message, HasSubstr("z[1]"));
  EXPECT_THAT(made.error().remedy, HasSubstr("--input"));
}

TEST(FixShapesTest, TextAngleRunsAtItsPinnedShape) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  const auto made = Apply(*original, "fix_shapes", {}, {{"x", {1, 3, 48, 192}}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(DimsOf(made->model.graph().output(0)), (std::vector<int64_t>{1, 2}));
  ExpectSameResults(made->model, *original, 0);
}

TEST(ConvertOpsetTest, NodesTakeTheFormOfTheNewOpset) {
  // Squeeze took its axes as an attribute until opset 12.
  const onnx::ModelProto model = Parse(
      R"(<ir_version: 7, opset_import: ["" : 11]>
        g (float[2,1,3] x) => (float[2,3] y) { y = Squeeze<axes = [1]>(x) })");
  const auto newer = Apply(model, "convert_opset", {{"version", "17"}});
  ASSERT_TRUE(newer) << newer.error().message;
  EXPECT_EQ(OpsetVersion(newer->model), 17);
  ExpectSameResults(model, newer->model, 0);
  const auto back = Apply(newer->model, "convert_opset", {{"version", "11"}});
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(OpsetVersion(back->model), 11);
  ExpectSameResults(model, back->model, 0);
}

TEST(ConvertOpsetTest, TextAngleStaysTheSameFunction) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  const auto made = Apply(*original, "convert_opset", {{"version", "21"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_GE(made->model.ir_version(), 10);
  ExpectSameResults(*original, made->model, 1e-6, 48);
}

TEST(ConvertOpsetTest, OperatorWithoutAnOlderFormIsNamed) {
  const onnx::ModelProto model = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,4] x, float[4] s) => (float[2,4] y) { y = LayerNormalization(x, s) })");
  const auto made = Apply(model, "convert_opset", {{"version", "11"}});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
  EXPECT_THAT(made.error().message, HasSubstr("LayerNormalization"));
  EXPECT_EQ(made.error().message.find(".cc"), std::string::npos);
}

TEST(ConvertOpsetTest, EveryOperatorWithoutAnOlderFormIsNamed) {
  const onnx::ModelProto model = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,4] x, float[4] s) => (float[2,4] y) {
          [first] a = HardSwish(x)
          [second] b = LayerNormalization(a, s)
          [third] c = HardSwish(b)
          [last] y = Relu(c)
        })");
  const auto made = Apply(model, "convert_opset", {{"version", "13"}});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
  EXPECT_THAT(made.error().message, HasSubstr("HardSwish 'first' and 1 more, LayerNormalization 'second'"));
}

TEST(ConvertOpsetTest, DownwardConversionKeepsTheFunction) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  const auto up = Apply(*original, "convert_opset", {{"version", "19"}});
  ASSERT_TRUE(up) << up.error().message;
  for (const char* version : {"18", "17", "16"}) {
    const auto down = Apply(up->model, "convert_opset", {{"version", version}});
    ASSERT_TRUE(down) << version << ": " << down.error().message;
    EXPECT_EQ(std::to_string(OpsetVersion(down->model)), version);
    ExpectSameResults(*original, down->model, 1e-6, 48);
  }
}

TEST(ConvertOpsetTest, OperatorsOfOtherDomainsAreCarriedOver) {
  const onnx::ModelProto model = Parse(R"(
    <ir_version: 7, opset_import: ["" : 11, "com.microsoft" : 1]> g (float[2,1,4] x) => (float[2,4] y) {
      s = Squeeze<axes = [1]>(x)
      y = com.microsoft.Gelu(s)
    })");
  const auto made = Apply(model, "convert_opset", {{"version", "17"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(OpsetVersion(made->model, "com.microsoft"), 1);
  EXPECT_EQ(made->model.graph().node(made->model.graph().node_size() - 1).domain(), "com.microsoft");
  ExpectSameResults(model, made->model, 0);
}

TEST(ConvertOpsetTest, VersionOutsideTheRangeIsRejected) {
  for (const char* version : {"6", "99", "eleven"}) {
    const auto made = Apply(TwoInputs(), "convert_opset", {{"version", version}});
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ErrorCode::kRejected);
  }
}

}  // namespace
}  // namespace hone::test
