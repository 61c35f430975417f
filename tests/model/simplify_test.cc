// simplify: less to compute, the same results.
#include <gmock/gmock.h>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Simplifies, checks that results are equal, and returns what became of the model.
onnx::ModelProto Simplified(const onnx::ModelProto& model, double tolerance = 0, const Parameters& parameters = {},
                            int64_t free = 2) {
  auto made = Apply(model, "simplify", parameters);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  if (!made) return {};
  ExpectSameResults(model, made->model, tolerance, free);
  return std::move(made->model);
}

int NodesLeft(const std::string& text) { return Simplified(Parse(text)).graph().node_size(); }

TEST(SimplifyTest, ConstantSubgraphBecomesAnInitializer) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) <float[3] a = {1, 2, 3}> {
      two = Constant<value_float = 2.0>()
      b = Mul(a, two)
      c = Sqrt(b)
      y = Add(x, c)
    })"));
  ASSERT_EQ(model.graph().node_size(), 1);
  ASSERT_EQ(model.graph().initializer_size(), 1);
}

TEST(SimplifyTest, ShapeArithmeticBecomesAConstant) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4,6] x) => (float[N,24] y)
    <int64 one = {1}, int64 two = {2}, int64[1] zero = {0}, int64[1] batch = {-1}> {
      s = Shape(x)
      h = Gather<axis = 0>(s, one)
      w = Gather<axis = 0>(s, two)
      n = Mul(h, w)
      m = Unsqueeze(n, zero)
      t = Concat<axis = 0>(batch, m)
      y = Reshape(x, t)
    })"));
  EXPECT_EQ(model.graph().node_size(), 1);
}

TEST(SimplifyTest, FreeDimensionsAreNotGuessed) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4] x, float[M,4] z) => (float[A,B] y) <int64[1] zero = {0}, int64[1] last = {-1}> {
      s = Shape(x)
      n = Gather<axis = 0>(s, zero)
      t = Concat<axis = 0>(n, last)
      r = Reshape(z, t)
      y = Relu(r)
    })"));
  EXPECT_EQ(CountOps(model, "Shape"), 1);
  EXPECT_EQ(CountOps(model, "Reshape"), 1);
}

TEST(SimplifyTest, NodesThatChangeNothingGo) {
  const std::string head = R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,3,4] x) => (float[2,3,4] y) )";
  EXPECT_EQ(NodesLeft(head + "{ a = Relu(x) b = Identity(a) y = Neg(b) }"), 2);
  EXPECT_EQ(NodesLeft(head + "{ a = Relu(x) b = Cast<to = 1>(a) y = Neg(b) }"), 2);
  EXPECT_EQ(NodesLeft(head + "{ a = Relu(x) b = Dropout(a) y = Neg(b) }"), 2);
  EXPECT_EQ(NodesLeft(head + "{ a = Transpose<perm = [0,1,2]>(x) y = Neg(a) }"), 1);
  EXPECT_EQ(NodesLeft(head + "<int64[3] s = {0, -1, 4}> { a = Reshape(x, s) y = Neg(a) }"), 1);
  EXPECT_EQ(NodesLeft(head + "<int64[3] s = {2, 3, 4}> { a = Expand(x, s) y = Neg(a) }"), 1);
  EXPECT_EQ(NodesLeft(head + "<int64[3] s = {1, 1, 1}> { a = Tile(x, s) y = Neg(a) }"), 1);
  EXPECT_EQ(NodesLeft(head + "<int64[6] s = {0, 0, 0, 0, 0, 0}> { a = Pad(x, s) y = Neg(a) }"), 1);
  EXPECT_EQ(
      NodesLeft(head + "<int64[1] b = {0}, int64[1] e = {100}, int64[1] a = {1}> { s = Slice(x, b, e, a) y = Neg(s) }"),
      1);
  EXPECT_EQ(NodesLeft(head + "<float one = {1}> { a = Mul(one, x) b = Div(a, one) y = Neg(b) }"), 1);
  EXPECT_EQ(NodesLeft(head + "<float[4] zero = {0, 0, 0, 0}> { a = Sub(x, zero) y = Neg(a) }"), 1);
  EXPECT_EQ(NodesLeft(head + "{ a = Concat<axis = 1>(x) y = Neg(a) }"), 1);
}

TEST(SimplifyTest, NodesThatOnlySeemToChangeNothingStay) {
  const std::string head = R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,3,4] x) => )";
  // Another type, a reversed axis, a larger shape, a signed zero.
  EXPECT_EQ(NodesLeft(head + "(int64[2,3,4] y) { a = Relu(x) y = Cast<to = 7>(a) }"), 2);
  EXPECT_EQ(NodesLeft(head + "(float[2,3,4] y) <int64[1] b = {-1}, int64[1] e = {-100}, int64[1] a = {1}, int64[1] s = "
                             "{-1}> { r = Slice(x, b, e, a, s) y = Neg(r) }"),
            2);
  EXPECT_EQ(NodesLeft(head + "(float[1,2,3,4] y) <float[1,1,1,1] one = {1}> { a = Mul(x, one) y = Neg(a) }"), 2);
  EXPECT_EQ(NodesLeft(head + "(float[2,3,4] y) <float zero = {0}> { a = Add(x, zero) y = Neg(a) }"), 2);
  EXPECT_EQ(NodesLeft(head + "(float[2,4,3] y) <int64[3] s = {2, 4, 3}> { a = Reshape(x, s) y = Neg(a) }"), 2);
}

TEST(SimplifyTest, GraphOutputsKeepTheirNames) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] p, float[2] q, float[2] through) {
      a = Relu(x)
      p = Identity(a)
      q = Identity(a)
      through = Identity(x)
    })"));
  EXPECT_EQ(CountOps(model, "Relu"), 1);
  EXPECT_EQ(model.graph().node_size(), 3);
  EXPECT_EQ(model.graph().node(0).output(0), "p");
}

TEST(SimplifyTest, TransposesAndReshapesMergeInPairs) {
  const std::string head = R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,3,4] x) => )";
  EXPECT_EQ(
      NodesLeft(head +
                "(float[2,3,4] y) { a = Transpose<perm = [2,0,1]>(x) b = Transpose<perm = [1,2,0]>(a) y = Neg(b) }"),
      1);
  EXPECT_EQ(
      NodesLeft(head +
                "(float[3,4,2] y) { a = Transpose<perm = [2,0,1]>(x) b = Transpose<perm = [2,0,1]>(a) y = Neg(b) }"),
      2);
  EXPECT_EQ(NodesLeft(head + "(float[12,2] y) <int64[1] flat = {-1}, int64[2] s = {12, 2}> { a = Reshape(x, flat) b = "
                             "Reshape(a, s) y = Neg(b) }"),
            2);
}

// Graphs of which neighbours become one: what each is left with.
struct NeighbourRow {
  const char* what;
  const char* text;
  int nodes;
};

TEST(SimplifyTest, NeighboursThatDoWhatOneCanBecomeOne) {
  const NeighbourRow rows[] = {
      {"a wider cast and back", R"(g (float[2,3] x) => (float[2,3] y) {
         a = Cast<to = 11>(x) b = Cast<to = 1>(a) y = Neg(b) })", 1},
      {"a whole number's wider cast", R"(g (int64[4] x) => (float[4] y) {
         a = Cast<to = 6>(x) b = Cast<to = 7>(a) c = Cast<to = 6>(b) y = Cast<to = 1>(c) })", 2},
      {"rounding twice", R"(g (float[2,3] x) => (float[2,3] y) { a = Floor(x) b = Floor(a) y = Floor(b) })", 1},
      {"Unsqueeze and Squeeze", R"(g (float[2,3] x) => (float[2,3] y) <int64[1] one = {1}> {
         a = Unsqueeze(x, one) b = Squeeze(a, one) y = Neg(b) })", 1},
      {"Concat of Concat", R"(g (float[2,3] x, float[2,3] z) => (float[6,3] y) {
         a = Concat<axis = 0>(x, z) y = Concat<axis = 0>(z, a) })", 1},
      {"a reduction that is unsqueezed", R"(g (float[2,3] x) => (float[2,1] y) <int64[1] one = {1}> {
         a = ReduceMean<axes = [1], keepdims = 0>(x) y = Unsqueeze(a, one) })", 1},
      {"Transpose before Gemm", R"(g (float[3,2] x) => (float[2,3] y) <float[3,3] w = {1,2,3,4,5,6,7,8,9}> {
         t = Transpose<perm = [1, 0]>(x) y = Gemm(t, w) })", 1},
      {"zeros before Conv", R"(g (float[1,1,4,4] x) => (float[1,1,6,5] y)
         <int64[8] pads = {0,0,1,0,0,0,2,1}, float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}> {
         a = Pad(x, pads) y = Conv<pads = [0, 1, 1, 1]>(a, w) })", 1},
      {"a bias behind Conv", R"(g (float[1,2,3,3] x) => (float[1,2,3,3] y)
         <float[2,2,1,1] w = {1,2,3,4}, float[2] c = {1,2}, float[2,1,1] b = {10, 20}> {
         a = Conv(x, w, c) y = Add(b, a) })", 1},
      {"one number behind Conv", R"(g (float[1,2,3,3] x) => (float[1,2,3,3] y)
         <float[2,2,1,1] w = {1,2,3,4}, float b = {0.5}> { a = Conv(x, w) y = Add(a, b) })", 1},
      {"Split into one", R"(g (float[2,3] x) => (float[2,3] y) { a = Split<axis = 0, num_outputs = 1>(x) y = Neg(a) })",
       1},
  };
  for (const NeighbourRow& row : rows) {
    std::string text = R"(<ir_version: 8, opset_import: ["" : 17]> )";
    if (std::string(row.what) == "Split into one") text.replace(text.find("17"), 2, "18");
    text += row.text;
    const auto made = Simplified(Parse(text), 1e-6);
    EXPECT_EQ(made.graph().node_size(), row.nodes) << row.what;
  }
}

TEST(SimplifyTest, NeighboursThatOnlySeemToDoTheSameStay) {
  const NeighbourRow rows[] = {
      {"a narrower cast and back", R"(g (float[2,3] x) => (float[2,3] y) {
         a = Cast<to = 10>(x) b = Cast<to = 1>(a) y = Neg(b) })", 3},
      {"a cast through whole numbers", R"(g (float[2,3] x) => (float[2,3] y) {
         a = Cast<to = 7>(x) b = Cast<to = 1>(a) y = Neg(b) })", 3},
      {"other axes", R"(g (float[2,1] x) => (float[1,2] y) <int64[1] zero = {0}, int64[1] last = {2}> {
         a = Unsqueeze(x, zero) b = Squeeze(a, last) y = Neg(b) })", 3},
      {"Concat along another axis", R"(g (float[2,3] x) => (float[4,6] y) {
         a = Concat<axis = 1>(x, x) y = Concat<axis = 0>(a, a) })", 2},
      {"ones before Conv", R"(g (float[1,1,4,4] x) => (float[1,1,4,4] y)
         <int64[8] pads = {0,0,1,1,0,0,1,1}, float one = {1}, float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}> {
         a = Pad(x, pads, one) y = Conv(a, w) })", 2},
      {"a bias along the width", R"(g (float[1,2,3,2] x) => (float[1,2,3,2] y)
         <float[2,2,1,1] w = {1,2,3,4}, float[2] b = {10, 20}> { a = Conv(x, w) y = Add(a, b) })", 2},
      {"a convolution that is read twice", R"(g (float[1,2,3,3] x) => (float[1,2,3,3] y)
         <float[2,2,1,1] w = {1,2,3,4}, float[2,1,1] b = {10, 20}> { a = Conv(x, w) c = Add(a, b) y = Mul(c, a) })", 3},
  };
  for (const NeighbourRow& row : rows) {
    const auto made =
        Simplified(Parse(std::string("<ir_version: 8, opset_import: [\"\" : 17]> ") + row.text), 1e-6);
    EXPECT_EQ(made.graph().node_size(), row.nodes) << row.what;
  }
}

TEST(SimplifyTest, RoundingCastsGoWhereThatIsAskedFor) {
  const auto model = Parse(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) {
         a = Cast<to = 10>(x) b = Cast<to = 1>(a) y = Neg(b) })");
  EXPECT_EQ(Simplified(model, 1e-3, {{"cast_chains", "true"}}).graph().node_size(), 1);
}

TEST(SimplifyTest, EqualNodesAndInitializersMerge) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,2] x) => (float[2,2] y) <float[2,2] v = {1, 2, 3, 4}, float[2,2] w = {1, 2, 3, 4}> {
      a = MatMul(x, v)
      b = MatMul(x, w)
      c = Relu(a)
      d = Relu(b)
      y = Add(c, d)
    })"));
  EXPECT_EQ(model.graph().node_size(), 3);
  EXPECT_EQ(model.graph().initializer_size(), 1);
}

TEST(SimplifyTest, RandomNodesAreNeitherMergedNorFolded) {
  const auto made = Apply(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
      a = RandomNormalLike(w)
      b = RandomNormalLike(w)
      c = Add(a, b)
      y = Add(x, c)
    })"),
                          "simplify");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(CountOps(made->model, "RandomNormalLike"), 2);
}

TEST(SimplifyTest, QuantizedWeightsStayQuantized) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,2] x) => (float[2,2] y) <int8[2,2] w = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}> {
      a = DequantizeLinear(w, s, z)
      b = DequantizeLinear(w, s, z)
      c = MatMul(x, a)
      y = MatMul(c, b)
    })"),
                                1e-6);
  EXPECT_EQ(CountOps(model, "DequantizeLinear"), 2);
}

TEST(SimplifyTest, LargeConstantIsFoldedOnlyIfTheModelDoesNotGrow) {
  const std::string text = R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[64,64] x) => (float[64,64] y) <int64[2] s = {64, 64}, float one = {3}> {
      e = Expand(one, s)
      y = Mul(x, e)
    })";
  EXPECT_EQ(CountOps(Simplified(Parse(text), 0, {{"max_fold_bytes", "1000"}}), "Expand"), 1);
  EXPECT_EQ(CountOps(Simplified(Parse(text)), "Expand"), 0);
  // A transposed weight replaces the weight; one that is used elsewhere too would be stored twice.
  onnx::ModelProto alone = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[8,64] x) => (float[8,64] y) { t = Transpose(w) y = MatMul(x, t) })");
  *alone.mutable_graph()->add_initializer() = RandomWeights("w", {64, 64}, 5);
  EXPECT_EQ(CountOps(Simplified(alone, 1e-5, {{"max_fold_bytes", "1000"}}), "Transpose"), 0);
  onnx::ModelProto tied = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[8,64] x) => (float[8,64] y) { a = MatMul(x, w) t = Transpose(w) y = MatMul(a, t) })");
  *tied.mutable_graph()->add_initializer() = RandomWeights("w", {64, 64}, 5);
  EXPECT_EQ(CountOps(Simplified(tied, 1e-5, {{"max_fold_bytes", "1000"}}), "Transpose"), 1);
}

TEST(SimplifyTest, HugeConstantIsNeverComputed) {
  // 4 TiB of ones.
  const auto made = Apply(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y) <int64[2] s = {1048576, 1048576}> {
      big = ConstantOfShape(s)
      sum = ReduceSum<keepdims = 0>(big)
      y = Add(x, sum)
    })"),
                          "simplify", {{"max_fold_bytes", "9000000000000000"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(CountOps(made->model, "ConstantOfShape"), 1);
}

TEST(SimplifyTest, BatchNormalizationGoesIntoTheConvolution) {
  for (const bool transposed : {false, true}) {
    onnx::ModelProto model = Parse(transposed ? R"(
        <ir_version: 8, opset_import: ["" : 17]> g (float[1,4,5,5] x) => (float[1,6,H,W] y) {
          c = ConvTranspose<group = 2>(x, w)
          y = BatchNormalization<epsilon = 0.001>(c, scale, shift, mean, variance)
        })"
                                              : R"(
        <ir_version: 8, opset_import: ["" : 17]> g (float[1,4,5,5] x) => (float[1,6,H,W] y) {
          c = Conv<group = 2, pads = [1,1,1,1]>(x, w, bias)
          y = BatchNormalization<epsilon = 0.001>(c, scale, shift, mean, variance)
        })");
    auto& graph = *model.mutable_graph();
    *graph.add_initializer() =
        RandomWeights("w", transposed ? std::vector<int64_t>{4, 3, 3, 3} : std::vector<int64_t>{6, 2, 3, 3}, 1);
    if (!transposed) *graph.add_initializer() = RandomWeights("bias", {6}, 2);
    *graph.add_initializer() = RandomWeights("scale", {6}, 3);
    *graph.add_initializer() = RandomWeights("shift", {6}, 4);
    *graph.add_initializer() = RandomWeights("mean", {6}, 5);
    *graph.add_initializer() =
        MakeTensor("variance", onnx::TensorProto::FLOAT, {6}, std::vector<float>{0.5F, 1, 2, 0.1F, 0.7F, 3});
    const auto made = Simplified(model, 1e-5);
    EXPECT_EQ(made.graph().node_size(), 1) << transposed;
    EXPECT_EQ(made.graph().node(0).output(0), "y");
  }
}

TEST(SimplifyTest, ConvolutionThatOthersUseKeepsItsBatchNormalization) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,5,5] x) => (float[1,2,H,W] y, float[1,2,H,W] c) <float[2] one = {1, 2}, float[2] zero = {0, 1}> {
      c = Conv(x, w)
      y = BatchNormalization(c, one, zero, zero, one)
    })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {2, 2, 3, 3}, 1);
  EXPECT_EQ(CountOps(Simplified(model, 1e-6), "BatchNormalization"), 1);
}

TEST(SimplifyTest, BranchWithAKnownConditionIsInlined) {
  // Both branches and the outer graph use the same names.
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y, float[2] z) <bool yes = {1}, bool no = {0}> {
      k = Relu(x)
      y = If(yes) <then_branch = a () => (float[2] r) { t = Neg(k) r = Abs(t) },
        else_branch = b () => (float[2] r) { r = Sigmoid(k) }>
      z = If(no) <then_branch = c () => (float[2] r) { r = Neg(k) },
        else_branch = d () => (float[2] k2) { t = Exp(x) k2 = Add(t, k) }>
    })"),
                                1e-6);
  EXPECT_EQ(CountOps(model, "If"), 0);
  EXPECT_EQ(model.graph().node_size(), 5);
}

TEST(SimplifyTest, BranchThatGivesBackAnOuterValueIsInlined) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) <bool yes = {1}> {
      k = Relu(x)
      t = If(yes) <then_branch = a () => (float[2] r) { r = Identity(k) },
        else_branch = b () => (float[2] r) { r = Neg(k) }>
      y = Exp(t)
    })"),
                                1e-6);
  EXPECT_EQ(model.graph().node_size(), 2);
}

TEST(SimplifyTest, SubgraphsStillFindWhatTheyCapture) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y) <float[2] one = {1, 1}> {
      k = Relu(x)
      i = Identity(k)
      f = Add(one, one)
      y = If(c) <then_branch = a () => (float[2] r) { r = Mul(i, f) },
        else_branch = b () => (float[2] r) { r = Sub(i, f) }>
    })"));
  EXPECT_EQ(CountOps(model, "If"), 1);
  EXPECT_EQ(CountOps(model, "Identity"), 0);
  EXPECT_EQ(CountOps(model, "Add"), 0);
}

TEST(SimplifyTest, OverridableInitializersAreNotConstants) {
  onnx::ModelProto model = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x, float[2] w) => (float[2] y) { s = Sqrt(w) y = Mul(x, s) })");
  *model.mutable_graph()->add_initializer() = MakeTensor("w", onnx::TensorProto::FLOAT, {2}, std::vector<float>{1, 4});
  EXPECT_EQ(CountOps(Simplified(model), "Sqrt"), 1);
  // Before IR version 4 there was no other way to have an initializer.
  model.set_ir_version(3);
  EXPECT_EQ(CountOps(Simplified(model), "Sqrt"), 0);
}

TEST(SimplifyTest, OperatorsOfOtherDomainsStay) {
  const auto model = Simplified(Parse(R"(
    <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g (float[2,3] x) => (float[2,3] y) {
      a = Identity(x)
      b = com.microsoft.Gelu(a)
      y = Identity(b)
    })"),
                                1e-6);
  EXPECT_EQ(model.graph().node_size(), 1);
}

// Attention as exporters write it: shapes read at run time, scales computed, masks expanded.
TEST(SimplifyTest, AttentionBlockComputesTheSame) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (int64[B,S] ids, int64[B,S] mask) => (float[B,S,8] hidden)
    <int64 i0 = {0}, int64 i1 = {1}, int64[1] a0 = {0}, int64[1] heads = {2},
    int64[1] size = {4}, int64[1] all = {8}, int64[2] mid = {1, 2}, float lowest = {-3.4e38}> {
      e = Gather(table, ids)
      s = Shape(e)
      b = Gather(s, i0)
      l = Gather(s, i1)
      b1 = Unsqueeze(b, a0)
      l1 = Unsqueeze(l, a0)
      split = Concat<axis = 0>(b1, l1, heads, size)
      join = Concat<axis = 0>(b1, l1, all)
      q0 = MatMul(e, wq)
      q1 = Reshape(q0, split)
      q = Transpose<perm = [0,2,1,3]>(q1)
      k0 = MatMul(e, wk)
      k1 = Reshape(k0, split)
      k = Transpose<perm = [0,2,3,1]>(k1)
      v0 = MatMul(e, wv)
      v1 = Reshape(v0, split)
      v = Transpose<perm = [0,2,1,3]>(v1)
      d = Constant<value_float = 4.0>()
      root = Sqrt(d)
      raw = MatMul(q, k)
      scaled = Div(raw, root)
      bit = Min(mask, i1)
      f = Cast<to = 1>(bit)
      one = Constant<value_float = 1.0>()
      inverse = Sub(one, f)
      m0 = Mul(inverse, lowest)
      m = Unsqueeze(m0, mid)
      masked = Add(scaled, m)
      p = Softmax<axis = -1>(masked)
      pd = Dropout(p)
      o = MatMul(pd, v)
      o1 = Transpose<perm = [0,2,1,3]>(o)
      o2 = Reshape(o1, join)
      r = Add(o2, e)
      hidden = LayerNormalization<axis = -1>(r, gain, shift)
    })");
  auto& graph = *model.mutable_graph();
  *graph.add_initializer() = RandomWeights("table", {7, 8}, 1);
  for (const char* name : {"wq", "wk", "wv"})
    *graph.add_initializer() = RandomWeights(name, {8, 8}, static_cast<uint32_t>(name[1]));
  *graph.add_initializer() = RandomWeights("gain", {8}, 2);
  *graph.add_initializer() = RandomWeights("shift", {8}, 3);
  const auto made = Simplified(model, 1e-5, {}, 5);
  EXPECT_LT(made.graph().node_size(), model.graph().node_size());
  EXPECT_EQ(CountOps(made, "Constant") + CountOps(made, "Dropout") + CountOps(made, "Sqrt"), 0);
}

TEST(SimplifyTest, TextAngleLosesItsBatchNormalizationsAndComputesTheSame) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  const auto made = Simplified(*original, 1e-5, {}, 48);
  EXPECT_EQ(CountOps(made, "BatchNormalization"), 0);
  EXPECT_EQ(CountOps(made, "Constant"), 0);
  // A second time there is nothing left to do.
  const auto again = Apply(made, "simplify");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->model.graph().SerializeAsString(), made.graph().SerializeAsString());
}

}  // namespace
}  // namespace hone::test
