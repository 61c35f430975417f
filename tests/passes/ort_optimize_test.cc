// ort_optimize: what is kept of ONNX Runtime's optimization, the same every time.
#include "tests/passes/transformer.h"

namespace hone::test {
namespace {

class OrtOptimizeTest : public PassTest {};

TEST_F(OrtOptimizeTest, ExtendedFusesAndComputesTheSame) {
  ModelBuilder b(17, 6);
  b.Input("x", {2, 8}).Output("y", {2, 16});
  b.Weight("w", {8, 16}, 0.5F).Weight("bias", {16}, 0.1F);
  b.Constant("root", {}, {1.41421356F}).Constant("one", {}, {1}).Constant("half", {}, {0.5F});
  b.Node("MatMul", {"x", "w"}, {"m"});
  b.Node("Add", {"m", "bias"}, {"h"});
  b.Node("Div", {"h", "root"}, {"scaled"});
  b.Node("Erf", {"scaled"}, {"erf"});
  b.Node("Add", {"erf", "one"}, {"shifted"});
  b.Node("Mul", {"h", "shifted"}, {"product"});
  b.Node("Mul", {"product", "half"}, {"y"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"x", NormalArray({3, 2, 8}, 4)}});
  const auto built = Apply(model, "ort_optimize");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_LT(built->model.graph().node_size(), 4);
  EXPECT_TRUE(built->HasNote("7 nodes became"));
  const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", Path("data.npz"));
  const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
  ASSERT_TRUE(wanted && got);
  for (size_t i = 0; i < wanted->size(); ++i) ASSERT_NEAR((*wanted)[i], (*got)[i], 1e-4) << i;
}

TEST_F(OrtOptimizeTest, BasicKeepsOnnxOperatorsAlone) {
  const auto built = Apply(Save(Encoder()), "ort_optimize", {{"level", TextValue("basic")}});
  ASSERT_TRUE(built) << built.error().message;
  for (const auto& node : built->model.graph().node()) EXPECT_TRUE(node.domain().empty()) << node.op_type();
  EXPECT_EQ(built->model.opset_import_size(), 1);
}

TEST_F(OrtOptimizeTest, TheSameBytesEveryTime) {
  const fs::path model = Save(Encoder());
  const auto first = Apply(model, "ort_optimize");
  const auto second = Apply(model, "ort_optimize");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*DigestOfFile(first->file), *DigestOfFile(second->file));
}

TEST_F(OrtOptimizeTest, AnOlderOpsetIsRaisedToWhereFusedOperatorsAreStandard) {
  ModelBuilder b(13, 2);
  b.Input("x", {2, 8}).Output("y", {2, 8});
  b.Constant("two", {}, {2}).Constant("small", {}, {1e-5F}).Weight("g", {8}, 1.0F).Weight("h", {8}, 1.0F);
  ModelBuilder::Ints(b.Node("ReduceMean", {"x"}, {"mean"}), "axes", {-1});
  b.Node("Sub", {"x", "mean"}, {"centred"});
  b.Node("Pow", {"centred", "two"}, {"squared"});
  ModelBuilder::Ints(b.Node("ReduceMean", {"squared"}, {"variance"}), "axes", {-1});
  b.Node("Add", {"variance", "small"}, {"safe"});
  b.Node("Sqrt", {"safe"}, {"deviation"});
  b.Node("Div", {"centred", "deviation"}, {"normal"});
  b.Node("Mul", {"normal", "g"}, {"scaled"});
  b.Node("Add", {"scaled", "h"}, {"y"});
  const auto built = Apply(Save(b), "ort_optimize");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(OpsetVersion(built->model), 17);
  EXPECT_EQ(built->Count("LayerNormalization"), 1);
  EXPECT_EQ(built->model.graph().node_size(), 1);
}

}  // namespace
}  // namespace hone::test
