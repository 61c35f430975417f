// Surgeons that build a graph of their own, against what the operators mean.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr int64_t kBatch = 2, kHeads = 2, kLength = 7, kSize = 8;

// What attention within each of the packed sequences gives, as [batch, length, heads, size].
std::vector<float> Attended(const std::vector<Tensor>& inputs, const std::vector<int64_t>& starts, float scale) {
  const auto at = [&](int input, int64_t batch, int64_t head, int64_t row, int64_t i) {
    const int64_t index = ((batch * kHeads + head) * kLength + row) * kSize + i;
    return inputs[static_cast<size_t>(input)].data<float>()[index];
  };
  std::vector<float> out;
  for (int64_t batch = 0; batch < kBatch; ++batch) {
    for (int64_t row = 0; row < kLength; ++row) {
      for (int64_t head = 0; head < kHeads; ++head) {
        size_t segment = 0;
        while (starts[segment + 1] <= row) ++segment;
        std::vector<double> weights;
        double sum = 0;
        for (int64_t other = starts[segment]; other < starts[segment + 1]; ++other) {
          double product = 0;
          for (int64_t i = 0; i < kSize; ++i)
            product += double{at(0, batch, head, row, i)} * double{at(1, batch, head, other, i)};
          weights.push_back(std::exp(product * scale));
          sum += weights.back();
        }
        for (int64_t i = 0; i < kSize; ++i) {
          double value = 0;
          for (size_t n = 0; n < weights.size(); ++n)
            value += weights[n] / sum * double{at(2, batch, head, starts[segment] + static_cast<int64_t>(n), i)};
          out.push_back(static_cast<float>(value));
        }
      }
    }
  }
  return out;
}

TEST(SurgeonsTest, PackedAttentionBecomesALoopOverItsSequences) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17, "custom" : 1]>
      g (float[2,2,7,8] q, float[2,2,7,8] k, float[2,2,7,8] v) => (float[2,7,2,8] y) {
        y = custom.PackedAttention <scale = 0.25, num_heads = 2> (q, k, v, starts)
      })");
  *model.mutable_graph()->add_initializer() =
      MakeTensor("starts", onnx::TensorProto::INT32, {4}, std::vector<int32_t>{0, 2, 3, 7});
  const auto made = Apply(model, "graph_surgeries", {{"surgeries", "PackedAttentionToLoopMHA"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(CountOps(made->model, "MultiHeadAttention"), 1);
  EXPECT_EQ(OpsetVersion(made->model, "custom"), 0);
  for (uint32_t seed = 1; seed <= 2; ++seed) {
    const auto inputs = RandomInputs(model, seed);
    const auto got = RunModel(made->model, inputs);
    ASSERT_TRUE(got) << got.error().message;
    const std::vector<float> want = Attended(inputs, {0, 2, 3, 7}, 0.25F);
    const std::vector<float> values = ToFloats(got->front());
    ASSERT_EQ(values.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(values[i], want[i], 1e-5) << i;
  }
}

// A table of 20 rows of 32 as an embedding and as the last product, the product's own weights with `noise` added.
onnx::ModelProto TiedModel(float noise) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      g (int64[2,3] ids) => (float[2,3,20] logits) {
        e = Gather(table, ids)
        h = Tanh(e)
        logits = MatMul(h, head)
      })");
  const onnx::TensorProto table = RandomWeights("table", {20, 32}, 1);
  const auto read = ReadTensor(table);
  std::vector<float> head(20 * 32);
  for (size_t i = 0; i < head.size(); ++i) head[i] = read->data<float>()[i % 20 * 32 + i / 20] + noise;
  *model.mutable_graph()->add_initializer() = table;
  *model.mutable_graph()->add_initializer() = MakeTensor("head", onnx::TensorProto::FLOAT, {32, 20}, head);
  return model;
}

TEST(SurgeonsTest, LastProductReadsTheTableOfTheEmbedding) {
  const auto quantized = Apply(TiedModel(0), "weights_int4", {{"embeddings", "int8"}});
  ASSERT_TRUE(quantized) << quantized.error().message;
  ASSERT_EQ(CountOps(quantized->model, "GatherBlockQuantized"), 1);
  const auto shared = Apply(quantized->model, "graph_surgeries", {{"surgeries", "ShareEmbeddingLmHead"}});
  ASSERT_TRUE(shared) << shared.error().message;
  EXPECT_EQ(CountOps(shared->model, "MatMulNBits"), 1);
  EXPECT_EQ(CountOps(shared->model, "Reshape"), 1);
  EXPECT_LT(shared->model.ByteSizeLong(), quantized->model.ByteSizeLong());
  // 8 bits are nearer to the floats than the 4 that stood there.
  const auto inputs = RandomInputs(TiedModel(0), 4);
  const auto exact = RunModel(TiedModel(0), inputs);
  const auto four = RunModel(quantized->model, inputs);
  const auto eight = RunModel(shared->model, inputs);
  ASSERT_TRUE(exact && four && eight);
  const auto error = [&](const std::vector<Tensor>& outputs) {
    const auto a = ToFloats(exact->front()), b = ToFloats(outputs.front());
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
  };
  EXPECT_LT(error(*eight), error(*four));
  const auto again = Apply(shared->model, "graph_surgeries", {{"surgeries", "ShareEmbeddingLmHead"}});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_THAT(again->notes, Contains("ShareEmbeddingLmHead: found nothing"));
}

TEST(SurgeonsTest, ProductWithOtherWeightsKeepsThem) {
  const auto quantized = Apply(TiedModel(0.7F), "weights_int4", {{"embeddings", "int8"}});
  ASSERT_TRUE(quantized) << quantized.error().message;
  const auto kept = Apply(quantized->model, "graph_surgeries", {{"surgeries", "ShareEmbeddingLmHead"}});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(CountOps(kept->model, "Reshape"), 0);
  EXPECT_THAT(kept->notes, Contains(HasSubstr("has other weights than GatherBlockQuantized")));
}

}  // namespace
}  // namespace hone::test
