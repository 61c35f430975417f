// Weights in blocks as MatMulNBits and as DequantizeLinear pairs: the same outputs, and the same bytes after there and
// back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Blocks {
  const char* name;
  const char* pass;
  Parameters parameters;
};
void PrintTo(const Blocks& blocks, std::ostream* out) { *out << blocks.name; }

// Two products of 64 rows, the second with a bias behind it.
onnx::ModelProto TwoProducts(int64_t rows = 64) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 10, opset_import: ["" : 21]>
      g (float[2,)" + std::to_string(rows) + R"(] x) => (float[2,24] y) {
        h = MatMul(x, w1)
        r = Relu(h)
        p = MatMul(r, w2)
        y = Add(p, b)
      })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w1", {rows, 64}, 1);
  *model.mutable_graph()->add_initializer() = RandomWeights("w2", {64, 24}, 2);
  *model.mutable_graph()->add_initializer() = RandomWeights("b", {24}, 3);
  return model;
}

// The constants of a model by shape, type and bytes, in order: names may differ.
std::vector<std::string> ConstantBytes(const onnx::ModelProto& model) {
  std::vector<std::string> all;
  for (const auto& tensor : model.graph().initializer()) {
    std::string text = ElementName(tensor.data_type());
    for (const int64_t dim : tensor.dims()) text += " " + std::to_string(dim);
    all.push_back(text + ":" + std::string(ViewTensor(tensor)->bytes()));
  }
  std::sort(all.begin(), all.end());
  return all;
}

class LayoutRoundTripTest : public ::testing::TestWithParam<Blocks> {};

TEST_P(LayoutRoundTripTest, ThereAndBackGivesTheSameOutputsAndTheSameBytes) {
  const auto quantized = Apply(TwoProducts(), GetParam().pass, GetParam().parameters);
  ASSERT_TRUE(quantized) << quantized.error().message;
  const bool pairs = CountOps(quantized->model, "DequantizeLinear") > 0;
  const std::string there = pairs ? "qdq_to_matmulnbits" : "matmulnbits_to_qdq";
  const std::string back = pairs ? "matmulnbits_to_qdq" : "qdq_to_matmulnbits";
  const auto turned = Apply(quantized->model, there);
  ASSERT_TRUE(turned) << turned.error().message;
  EXPECT_EQ(CountOps(turned->model, "MatMulNBits"), pairs ? 2 : 0);
  EXPECT_EQ(CountOps(turned->model, "DequantizeLinear"), pairs ? 0 : 2);
  ExpectSameResults(quantized->model, turned->model, 2e-5);
  const auto restored = Apply(turned->model, back);
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(ConstantBytes(restored->model), ConstantBytes(quantized->model));
  ExpectSameResults(quantized->model, restored->model, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Forms, LayoutRoundTripTest,
    ::testing::Values(
        Blocks{"FourBits", "weights_int4", {{"group_size", "32"}}},
        Blocks{"FourBitsWithZeroPoints", "weights_int4", {{"group_size", "16"}, {"symmetric", "false"}}},
        Blocks{"EightBits", "weights_int8", {{"form", "matmulnbits"}, {"group_size", "32"}}},
        Blocks{"WholeColumnInABlock", "weights_int4", {{"group_size", "64"}}},
        Blocks{"BlockLongerThanTheColumn", "weights_int4", {{"group_size", "128"}}},
        Blocks{"Pairs", "weights_int4", {{"group_size", "32"}, {"form", "dequantize"}}},
        Blocks{"PairsWithZeroPoints",
               "weights_int4",
               {{"group_size", "16"}, {"form", "dequantize"}, {"symmetric", "false"}}},
        Blocks{"OneScaleAColumn", "weights_int4", {{"group_size", "0"}, {"form", "dequantize"}}}),
    [](const auto& made) { return std::string(made.param.name); });

TEST(LayoutTest, BlocksThatDoNotDivideTheRowsKeepTheirCodes) {
  const auto quantized = Apply(TwoProducts(72), "weights_int4", {{"group_size", "32"}, {"symmetric", "false"}});
  ASSERT_TRUE(quantized) << quantized.error().message;
  const auto turned = Apply(quantized->model, "matmulnbits_to_qdq");
  ASSERT_TRUE(turned) << turned.error().message;
  ExpectSameResults(quantized->model, turned->model, 2e-5);
  const auto restored = Apply(turned->model, "qdq_to_matmulnbits");
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(ConstantBytes(restored->model), ConstantBytes(quantized->model));
}

TEST(LayoutTest, UnsignedPairsWithZeroPointsAreWrittenWhereTheyAreAskedFor) {
  const auto quantized = Apply(TwoProducts(), "weights_int4", {{"group_size", "32"}});
  ASSERT_TRUE(quantized) << quantized.error().message;
  const auto turned = Apply(quantized->model, "matmulnbits_to_qdq", {{"zero_points", "true"}});
  ASSERT_TRUE(turned) << turned.error().message;
  for (const auto& node : turned->model.graph().node()) {
    if (node.op_type() != "DequantizeLinear") continue;
    ASSERT_EQ(node.input_size(), 3);
    EXPECT_EQ(FindInitializer(turned->model, node.input(0))->data_type(), onnx::TensorProto::UINT4);
    EXPECT_EQ(FindInitializer(turned->model, node.input(2))->data_type(), onnx::TensorProto::UINT4);
  }
  ExpectSameResults(quantized->model, turned->model, 2e-5);
}

// A MatMulNBits written by hand: 3 columns of 20 rows in one block of 32, with 8-bit zero points, a bias, and float16.
TEST(LayoutTest, BiasBecomesAnAddition) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
      g (float[2,20] x) => (float[2,3] y) {
        y = com.microsoft.MatMulNBits <K = 20, N = 3, bits = 8, block_size = 32> (x, w, s, z, , b)
      })");
  std::vector<uint8_t> codes(3 * 32, 0);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = i % 32 < 20 ? static_cast<uint8_t>(i * 37) : uint8_t{0};
  auto& graph = *model.mutable_graph();
  *graph.add_initializer() = MakeTensor("w", onnx::TensorProto::UINT8, {3, 1, 32}, codes);
  *graph.add_initializer() = MakeTensor("s", onnx::TensorProto::FLOAT, {3}, std::vector<float>{0.1F, 0.2F, -0.3F});
  *graph.add_initializer() = MakeTensor("z", onnx::TensorProto::UINT8, {3}, std::vector<uint8_t>{128, 7, 0});
  *graph.add_initializer() = MakeTensor("b", onnx::TensorProto::FLOAT, {3}, std::vector<float>{1, 2, 3});
  const auto turned = Apply(model, "matmulnbits_to_qdq");
  ASSERT_TRUE(turned) << turned.error().message;
  EXPECT_EQ(CountOps(turned->model, "Add"), 1);
  EXPECT_EQ(OpsetVersion(turned->model), 21);
  ExpectSameResults(model, turned->model, 1e-5);
}

// codes [2, 64] of signed bytes read turned, by Gemm's transB and through a Transpose.
onnx::ModelProto TurnedWeights(const std::string& nodes) {
  onnx::ModelProto model =
      Parse(R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2,64] x) => (float[2,2] y) {)" + nodes + "}");
  std::vector<int8_t> codes(128);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(i * 29);
  auto& graph = *model.mutable_graph();
  *graph.add_initializer() = MakeTensor("q", onnx::TensorProto::INT8, {2, 64}, codes);
  *graph.add_initializer() = RandomWeights("s", {2, 2}, 5);
  *graph.add_initializer() = RandomWeights("column_scales", {2}, 6);
  *graph.add_initializer() = RandomWeights("c", {2}, 7);
  *graph.add_initializer() = MakeTensor("one", onnx::TensorProto::FLOAT, {}, std::vector<float>{0.25F});
  return model;
}

TEST(LayoutTest, TurnedWeightsOfGemmAndTransposeAreTakenAsTheyLie) {
  for (const char* nodes :
       {"w = DequantizeLinear <axis = 1, block_size = 32> (q, s) y = Gemm <transB = 1> (x, w, c)",
        "w = DequantizeLinear <axis = -1, block_size = 32> (q, s) t = Transpose <perm = [1, 0]> (w) y = MatMul(x, t)",
        "w = DequantizeLinear <axis = 0> (q, column_scales) y = Gemm <transB = 1> (x, w)",
        "w = DequantizeLinear(q, one) t = Transpose(w) y = MatMul(x, t)"}) {
    const onnx::ModelProto model = TurnedWeights(nodes);
    const auto turned = Apply(model, "qdq_to_matmulnbits");
    ASSERT_TRUE(turned) << turned.error().message;
    EXPECT_EQ(CountOps(turned->model, "MatMulNBits"), 1) << nodes;
    EXPECT_EQ(CountOps(turned->model, "DequantizeLinear") + CountOps(turned->model, "Transpose"), 0) << nodes;
    ExpectSameResults(model, turned->model, 2e-5);
  }
}

TEST(LayoutTest, WhatMatMulNBitsCannotHoldStaysAndIsNamed) {
  struct Row {
    const char* nodes;
    const char* why;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"w = DequantizeLinear <axis = 0, block_size = 2> (q, s2) y = Gemm <transB = 1> (x, w)",
            "its blocks lie along the outputs"},
           {"w = DequantizeLinear <axis = 1, block_size = 8> (q, s8) y = Gemm <transB = 1> (x, w)",
            "blocks of 8 rows"},
           {"w = DequantizeLinear(q, one) t = Transpose(w) a = MatMul(x, t) n = ReduceSum(w) y = Add(a, n)",
            "ReduceSum reads its weight"},
           {"w = DequantizeLinear(q, one) y = Gemm <transB = 1, alpha = 2.0> (x, w)", "alpha is not 1"},
           {"u = DequantizeLinear(qx, one) w = DequantizeLinear(q, one) y = Gemm <transB = 1> (u, w)",
            "its input is quantized too"}}) {
    onnx::ModelProto model = TurnedWeights(row.nodes);
    auto& graph = *model.mutable_graph();
    *graph.add_initializer() = RandomWeights("s2", {1, 64}, 5);
    *graph.add_initializer() = RandomWeights("s8", {2, 8}, 5);
    *graph.add_initializer() = MakeTensor("qx", onnx::TensorProto::INT8, {2, 64}, std::vector<int8_t>(128, 3));
    const auto kept = Apply(model, "qdq_to_matmulnbits");
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(CountOps(kept->model, "MatMulNBits"), 0) << row.nodes;
    EXPECT_THAT(kept->notes, Contains(HasSubstr(row.why)));
  }
}

TEST(LayoutTest, WhatPairsCannotHoldStaysAndIsNamed) {
  const auto two = Apply(TwoProducts(), "weights_int4", {{"bits", "2"}});
  ASSERT_TRUE(two) << two.error().message;
  const auto kept = Apply(two->model, "matmulnbits_to_qdq");
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(CountOps(kept->model, "MatMulNBits"), 2);
  EXPECT_THAT(kept->notes, Contains(HasSubstr("2 left, because it has codes of 2 bits")));
  const auto four = Apply(TwoProducts(), "weights_int4");
  ASSERT_TRUE(four) << four.error().message;
  std::string name;
  for (const auto& node : four->model.graph().node()) name = node.op_type() == "MatMulNBits" ? node.name() : name;
  const auto excluded = Apply(four->model, "matmulnbits_to_qdq", {{"exclude", name}});
  ASSERT_TRUE(excluded) << excluded.error().message;
  EXPECT_EQ(CountOps(excluded->model, "MatMulNBits"), 1);
  EXPECT_THAT(excluded->notes, Contains(HasSubstr("it is excluded")));
  const auto none = Apply(TwoProducts(), "matmulnbits_to_qdq");
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_THAT(none->notes, ElementsAre("the model has no MatMulNBits"));
}

}  // namespace
}  // namespace hone::test
