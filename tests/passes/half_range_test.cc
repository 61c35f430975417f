// fp16: nodes that float16 has not the range for, by data and without.
#include "tests/quantization/pass_fixture.h"

namespace hone::test {
namespace {

class HalfRangeTest : public PassTest {
 protected:
  // x -> MatMul -> Relu -> MatMul -> y, the values in the middle about `factor`.
  static ModelBuilder Hot(float factor) {
    ModelBuilder b(17, 5);
    b.Input("x", {1, 8}).Output("y", {1, 8});
    b.Weight("up", {8, 8}, factor).Weight("down", {8, 8}, 1 / factor).Weight("last", {8, 8}, 0.4F);
    b.Node("MatMul", {"x", "up"}, {"h"});
    b.Node("Relu", {"h"}, {"r"});
    b.Node("MatMul", {"r", "down"}, {"d"});
    b.Node("MatMul", {"d", "last"}, {"y"});
    return b;
  }
  static bool IsHalf(const Built& built, const std::string& weight) {
    const auto* tensor = built.Initializer(weight);
    return tensor != nullptr && tensor->data_type() == onnx::TensorProto::FLOAT16;
  }
  void ExpectFinite(const Built& built) {
    const auto got = Outputs(built.bundle, "onnxruntime", Path("data.npz"));
    ASSERT_TRUE(got) << got.error().message;
    for (const float value : *got) EXPECT_TRUE(std::isfinite(value));
  }
};

TEST_F(HalfRangeTest, DataShowWhichActivationsOverflow) {
  WriteNpz(Path("data.npz"), {{"x", NormalArray({16, 8}, 1)}});
  const auto built = Apply(Save(Hot(40000)), "fp16", {}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_FALSE(IsHalf(*built, "up"));
  EXPECT_FALSE(IsHalf(*built, "down"));
  EXPECT_TRUE(IsHalf(*built, "last"));
  EXPECT_TRUE(built->HasNote("3 nodes kept in float32"));
  ExpectFinite(*built);
}

TEST_F(HalfRangeTest, DataWithinRangeKeepNothing) {
  WriteNpz(Path("data.npz"), {{"x", NormalArray({16, 8}, 1)}});
  const auto built = Apply(Save(Hot(10)), "fp16", {}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(IsHalf(*built, "up") && IsHalf(*built, "down") && IsHalf(*built, "last"));
}

TEST_F(HalfRangeTest, HeadroomAndIgnoreDecide) {
  WriteNpz(Path("data.npz"), {{"x", NormalArray({16, 8}, 1)}});
  const fs::path model = Save(Hot(1000));
  const auto wide = Apply(model, "fp16", {{"headroom", RealValue(1)}}, Path("data.npz"));
  const auto narrow = Apply(model, "fp16", {{"headroom", RealValue(1024)}}, Path("data.npz"));
  const auto ignored =
      Apply(model, "fp16", {{"headroom", RealValue(1024)}, {"overflow", TextValue("ignore")}}, Path("data.npz"));
  ASSERT_TRUE(wide && narrow && ignored);
  EXPECT_TRUE(IsHalf(*wide, "up"));
  EXPECT_FALSE(IsHalf(*narrow, "up"));
  EXPECT_TRUE(IsHalf(*ignored, "up"));
}

TEST_F(HalfRangeTest, WithoutDataAVarianceStaysInFloat32UntilItsRoot) {
  ModelBuilder b(17, 2);
  b.Input("x", {2, 8}).Output("y", {2, 8});
  b.Constant("two", {}, {2}).Constant("small", {}, {1e-5F}).Weight("w", {8, 8}, 1.0F);
  b.Node("MatMul", {"x", "w"}, {"m"});
  ModelBuilder::Ints(b.Node("ReduceMean", {"m"}, {"mean"}), "axes", {-1});
  b.Node("Sub", {"m", "mean"}, {"centred"});
  b.Node("Pow", {"centred", "two"}, {"squared"});
  ModelBuilder::Ints(b.Node("ReduceMean", {"squared"}, {"variance"}), "axes", {-1});
  b.Node("Add", {"variance", "small"}, {"safe"});
  b.Node("Sqrt", {"safe"}, {"deviation"});
  b.Node("Div", {"centred", "deviation"}, {"y"});
  // 300 squared is beyond float16.
  std::vector<float> values(16 * 2);
  for (size_t i = 0; i < values.size(); ++i) values[i] = (i % 2 == 0 ? 300.0F : -300.0F) + static_cast<float>(i);
  WriteNpz(Path("data.npz"), {{"x", FloatArray({2, 2, 8}, values)}});
  const auto built = Apply(Save(b), "fp16");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->HasNote("4 nodes kept in float32: its results"));
  EXPECT_TRUE(IsHalf(*built, "w"));
  ExpectFinite(*built);
}

TEST_F(HalfRangeTest, WithoutDataASoftmaxByHandIsConverted) {
  ModelBuilder b(18, 2);
  b.Input("x", {2, 8}).Output("y", {2, 8});
  b.ConstantInt64("axes", {-1});
  b.Node("ReduceMax", {"x", "axes"}, {"top"});
  b.Node("Sub", {"x", "top"}, {"below"});
  b.Node("Exp", {"below"}, {"e"});
  b.Node("ReduceSum", {"e", "axes"}, {"sum"});
  b.Node("Div", {"e", "sum"}, {"y"});
  const auto built = Apply(Save(b), "fp16");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_FALSE(built->HasNote("kept in float32"));
}

TEST_F(HalfRangeTest, AMaskStaysInFloat16AndALargeFactorDoesNot) {
  ModelBuilder b(17, 2);
  b.Input("x", {1, 8}).Input("mask", {1, 8}).Output("y", {1, 8}).Output("z", {1, 8});
  b.Constant("closed", {}, {-3.4e38F}).Constant("large", {}, {1e6F});
  b.Node("Mul", {"mask", "closed"}, {"penalty"});
  b.Node("Add", {"x", "penalty"}, {"masked"});
  b.Node("Softmax", {"masked"}, {"y"});
  b.Node("Mul", {"x", "large"}, {"z"});
  const auto built = Apply(Save(b), "fp16");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(IsHalf(*built, "closed"));
  EXPECT_FALSE(IsHalf(*built, "large"));
}

}  // namespace
}  // namespace hone::test
