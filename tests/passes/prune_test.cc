// prune: which weights become zero, exactly.
#include "tests/quantization/pass_fixture.h"

namespace hone::test {
namespace {

class PruneTest : public PassTest {
 protected:
  static std::vector<float> Values(const Built& built, const std::string& name) {
    const auto tensor = ReadTensor(*built.Initializer(name));
    return {tensor->data<float>(), tensor->data<float>() + tensor->Elements()};
  }
  static ModelBuilder OneProduct(const std::vector<int64_t>& dims, const std::vector<float>& values) {
    ModelBuilder b(17, 1);
    b.Input("x", {1, dims[0]}).Output("y", {1, dims[1]});
    b.Constant("w", dims, values);
    b.Node("MatMul", {"x", "w"}, {"y"});
    return b;
  }
};

TEST_F(PruneTest, TheSmallestMagnitudesGoEarlierOnesFirstAmongEquals) {
  const auto built =
      Apply(Save(OneProduct({4, 2}, {1, -2, 0.5F, -1, 1, 3, -1, 4})), "prune", {{"sparsity", RealValue(0.5)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(Values(*built, "w"), (std::vector<float>{0, -2, 0, 0, 0, 3, -1, 4}));
  EXPECT_TRUE(built->HasNote("4 of 8 weights are zero (50.0 %)"));
  EXPECT_TRUE(built->HasNote("neither runtime"));
}

TEST_F(PruneTest, TwoOfFourAreKeptAlongTheSummedDimension) {
  // Columns of a [5, 2] matrix; the fifth row is left over.
  const auto built =
      Apply(Save(OneProduct({5, 2}, {1, 9, -2, 8, 3, 7, -4, 6, 0.1F, 0.2F})), "prune", {{"pattern", TextValue("2:4")}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(Values(*built, "w"), (std::vector<float>{0, 9, 0, 8, 3, 0, -4, 0, 0.1F, 0.2F}));
}

TEST_F(PruneTest, ConvolutionsArePrunedAlongTheirInputChannels) {
  ModelBuilder b(17, 2);
  b.Input("x", {1, 8, 5, 5}).Output("y", {1, 3, 3, 3});
  b.Weight("k", {3, 8, 3, 3}, 1.0F);
  b.Node("Conv", {"x", "k"}, {"y"});
  const auto built = Apply(Save(b), "prune", {{"pattern", TextValue("2:4")}});
  ASSERT_TRUE(built) << built.error().message;
  const auto values = Values(*built, "k");
  for (size_t o = 0; o < 3; ++o) {
    for (size_t place = 0; place < 9; ++place) {
      for (size_t four = 0; four < 2; ++four) {
        int zeros = 0;
        for (size_t k = 0; k < 4; ++k) zeros += values[(o * 8 + four * 4 + k) * 9 + place] == 0 ? 1 : 0;
        EXPECT_EQ(zeros, 2);
      }
    }
  }
}

TEST_F(PruneTest, AllTogetherTakesFromTheLayerWithSmallWeights) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 8}).Output("y", {1, 8});
  b.Weight("small", {8, 8}, 0.01F).Weight("large", {8, 8}, 10.0F);
  b.Node("MatMul", {"x", "small"}, {"h"});
  b.Node("MatMul", {"h", "large"}, {"y"});
  const auto built = Apply(Save(b), "prune", {{"scope", TextValue("global")}, {"sparsity", RealValue(0.4)}});
  ASSERT_TRUE(built) << built.error().message;
  const auto small = Values(*built, "small");
  const auto large = Values(*built, "large");
  EXPECT_EQ(std::count(small.begin(), small.end(), 0.0F), 51);
  EXPECT_EQ(std::count(large.begin(), large.end(), 0.0F), 0);
}

TEST_F(PruneTest, ATiedEmbeddingAndAWeightWithNaNAreLeft) {
  ModelBuilder b(17, 4);
  b.Input("ids", {1, 3}, onnx::TensorProto::INT64).Output("y", {1, 3, 8});
  b.Weight("table", {8, 8}, 1.0F).Weight("broken", {8, 8}, 1.0F).Weight("fine", {8, 8}, 1.0F);
  reinterpret_cast<float*>(b.graph()->mutable_initializer(1)->mutable_raw_data()->data())[3] = std::nanf("");
  b.Node("Gather", {"table", "ids"}, {"a"});
  b.Node("MatMul", {"a", "table"}, {"b"});
  b.Node("MatMul", {"b", "broken"}, {"c"});
  b.Node("MatMul", {"c", "fine"}, {"y"});
  const auto built = Apply(Save(b), "prune");
  ASSERT_TRUE(built) << built.error().message;
  const auto table = Values(*built, "table");
  EXPECT_EQ(std::count(table.begin(), table.end(), 0.0F), 0);
  EXPECT_TRUE(built->HasNote("also serves Gather"));
  EXPECT_TRUE(built->HasNote("holds NaN"));
  const auto fine = Values(*built, "fine");
  EXPECT_EQ(std::count(fine.begin(), fine.end(), 0.0F), 32);
}

TEST_F(PruneTest, NothingToPruneIsRefused) {
  ModelBuilder b;
  b.Input("x", {4}).Output("y", {4});
  b.Node("Relu", {"x"}, {"y"});
  const auto built = Apply(Save(b), "prune");
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kRejected);
}

TEST_F(PruneTest, OpenVinoTakesTheRateOfSparseWeights) {
  const fs::path model = Save(Mlp());
  WriteNpz(Path("data.npz"), {{"x", NormalArray({2, 64}, 1)}});
  const auto got =
      Outputs(LocalFile(model, "onnx"), "openvino", Path("data.npz"), {{"sparse_weights_rate", RealValue(0.5)}});
  EXPECT_TRUE(got) << got.error().message;
}

}  // namespace
}  // namespace hone::test
