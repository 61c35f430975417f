// fp16: which tensors become half, and where the Casts stand.
#include <gmock/gmock.h>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr double kHalfTolerance = 4e-3;  // A few units of float16's 2^-11.

onnx::ModelProto Converted(const onnx::ModelProto& model, const Parameters& parameters = {},
                           double tolerance = kHalfTolerance, int64_t free = 2) {
  auto made = Apply(model, "fp16", parameters);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  if (!made) return {};
  ExpectSameResults(model, made->model, tolerance, free);
  return std::move(made->model);
}

onnx::ModelProto TwoMatMuls() {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,8] x) => (float[2,8] y) { a = MatMul(x, w) b = Relu(a) y = MatMul(b, w) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {8, 8}, 1, 0.3F);
  return model;
}

TEST(Fp16Test, CastsStandAtTheEdgesAloneAndWeightsHalve) {
  const auto model = Converted(TwoMatMuls());
  EXPECT_EQ(CountOps(model, "Cast"), 2);
  ASSERT_NE(FindInitializer(model, "w"), nullptr);
  EXPECT_EQ(FindInitializer(model, "w")->data_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(FindInitializer(model, "w")->raw_data().size(), 128U);
  // Sorted: the Cast of the input comes first, that of the output last.
  EXPECT_EQ(model.graph().node(0).op_type(), "Cast");
  EXPECT_EQ(model.graph().node(model.graph().node_size() - 1).op_type(), "Cast");
}

TEST(Fp16Test, InputsAndOutputsCanBecomeHalfToo) {
  const auto made = Apply(TwoMatMuls(), "fp16", {{"keep_io_types", "false"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(CountOps(made->model, "Cast"), 0);
  EXPECT_EQ(made->model.graph().input(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(made->model.graph().output(0).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  EXPECT_TRUE(RunModel(made->model, RandomInputs(made->model, 1)));
}

TEST(Fp16Test, OneCastServesAllUsers) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,8] x) => (float[2,8] y)
    { a = Relu(x) b = CumSum(a, axis) c = Min(b, a) d = Exp(a) e = Add(d, c) y = Add(e, b) })");
  *model.mutable_graph()->add_initializer() = MakeTensor("axis", onnx::TensorProto::INT64, {}, std::vector<int64_t>{1});
  const auto made = Converted(model, {{"overflow", "ignore"}});
  // x down; a up for CumSum and Min; b and c down for the two Adds; y up.
  EXPECT_EQ(CountOps(made, "Cast"), 5);
}

TEST(Fp16Test, WeightsAreClampedAndInfinitiesStay) {
  onnx::ModelProto model =
      Parse(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[6] x) => (float[6] y) { y = Mul(x, w) })");
  const float infinity = std::numeric_limits<float>::infinity();
  *model.mutable_graph()->add_initializer() =
      MakeTensor("w", onnx::TensorProto::FLOAT, {6}, std::vector<float>{1e9F, -1e9F, 1e-12F, -infinity, 0, 0.5F});
  const auto made = Apply(model, "fp16");
  ASSERT_TRUE(made) << made.error().message;
  const auto weights = ReadTensor(*FindInitializer(made->model, "w"));
  ASSERT_TRUE(weights);
  const auto* bits = weights->data<uint16_t>();
  EXPECT_THAT(std::vector<uint16_t>(bits, bits + 6),
              ::testing::ElementsAre(0x7BFF, 0xFBFF, 0x0001, 0xFC00, 0x0000, 0x3800));
  EXPECT_THAT(made->notes, Contains(HasSubstr("2 weights beyond the range")));
}

TEST(Fp16Test, OperatorsOutsideFloat16StayInFloat32) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,1,4,4] x) => (float[1,1,8,8] y, float[1,1,8,2] t, int64[1,1,8,2] i)
    <float[4] scales = {1, 1, 2, 2}, int64[1] k = {2}> {
      a = Relu(x)
      y = Resize<mode = "nearest">(a, , scales)
      t, i = TopK(y, k)
    })");
  const auto made = Converted(model);
  // The scales of Resize are float32 by definition.
  ASSERT_NE(FindInitializer(made, "scales"), nullptr);
  EXPECT_EQ(FindInitializer(made, "scales")->data_type(), onnx::TensorProto::FLOAT);
}

TEST(Fp16Test, UserCanKeepOperatorsAndNodes) {
  onnx::ModelProto model = TwoMatMuls();
  for (int i = 0; i < model.graph().node_size(); ++i)
    model.mutable_graph()->mutable_node(i)->set_name("n" + std::to_string(i));
  const auto kept = Apply(model, "fp16", {{"keep_ops", "MatMul, Relu"}});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(CountOps(kept->model, "Cast"), 0);
  EXPECT_EQ(FindInitializer(kept->model, "w")->data_type(), onnx::TensorProto::FLOAT);
  const auto one = Converted(model, {{"keep_nodes", "n2"}});
  // The weight is wanted in both widths.
  EXPECT_EQ(one.graph().initializer_size(), 2);
  const auto unknown = Apply(model, "fp16", {{"keep_nodes", "n9"}});
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, ErrorCode::kRejected);
}

TEST(Fp16Test, CastsAndConstantsGiveTheWidthThatIsWanted) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (int64[4] x) => (float[4] y, float[4] z) <int64 axis = {0}> {
      f = Cast<to = 1>(x)
      c = Constant<value_float = 3.0>()
      s = CumSum(f, axis)
      z = Add(s, c)
      y = Mul(f, c)
    })");
  const auto made = Converted(model);
  for (const auto& node : made.graph().node()) {
    // No float is rounded on its way from the integers to float32.
    if (node.op_type() != "CumSum") continue;
    EXPECT_EQ(node.input(0), "f");
  }
  EXPECT_EQ(CountOps(made, "Constant"), 1);
}

TEST(Fp16Test, FillsAreConverted) {
  const auto made = Converted(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) {
      s = Shape(x)
      a = ConstantOfShape<value = float[1] {2.5}>(s)
      b = ConstantOfShape(s)
      c = Mul(x, a)
      y = Add(c, b)
    })"));
  EXPECT_EQ(CountOps(made, "Cast"), 2);
}

TEST(Fp16Test, SubgraphsStayInFloat32AndFindTheirValues) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}> {
      a = MatMul(x, w)
      b = If(c) <then_branch = t () => (float[2,2] r) { r = Mul(a, w) },
        else_branch = e () => (float[2,2] r) { r = Neg(a) }>
      y = Relu(b)
    })");
  Converted(model);
  Converted(model, {{"keep_io_types", "true"}});
  EXPECT_TRUE(Apply(model, "fp16", {{"keep_io_types", "false"}}));
}

TEST(Fp16Test, QuantizedNeighbourhoodIsLeftAlone) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,2] x) => (float[2,2] y) <int8[2,2] w = {10, -20, 30, 40}, float s = {0.05}, int8 z = {0}> {
      q = QuantizeLinear(x, s, z)
      d = DequantizeLinear(q, s, z)
      v = DequantizeLinear(w, s, z)
      m = MatMul(d, v)
      o = QuantizeLinear(m, s, z)
      p = DequantizeLinear(o, s, z)
      r = Relu(p)
      y = Exp(r)
    })");
  const auto made = Converted(model);
  for (const auto& node : made.graph().node()) {
    if (node.op_type() != "MatMul") continue;
    EXPECT_EQ(node.input(0), "d");
    EXPECT_EQ(node.input(1), "v");
  }
  EXPECT_EQ(FindInitializer(made, "s")->data_type(), onnx::TensorProto::FLOAT);
}

TEST(Fp16Test, OperatorsOfOtherDomainsStayInFloat32) {
  const auto made = Converted(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g (float[2,3] x) => (float[2,3] y) {
      a = Relu(x)
      b = com.microsoft.Gelu(a)
      y = Neg(b)
    })"));
  // x down, a up, b down, y up.
  EXPECT_EQ(CountOps(made, "Cast"), 4);
}

TEST(Fp16Test, OldModelsWithDeclaredInitializersStayValid) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 3, opset_import: ["" : 11]>
    g (float[2,4] x, float[4,4] w) => (float[2,4] y) { a = MatMul(x, w) y = MatMul(a, w) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {4, 4}, 1, 0.3F);
  Converted(model);
}

TEST(Fp16Test, TextAngleStaysCloseAtHalfTheSize) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  const auto made = Converted(*original, {}, 2e-2, 48);
  EXPECT_LT(made.ByteSizeLong(), original->ByteSizeLong() * 2 / 3);
}

}  // namespace
}  // namespace hone::test
