// fuse_transformer: what is fused, what is left, and that the results stay.
#include "tests/passes/transformer.h"

namespace hone::test {
namespace {

class FuseTest : public PassTest {
 protected:
  // Applies the pass and compares outputs in both runtimes.
  void ExpectFused(const EncoderOptions& options, int attentions, int skips) {
    const fs::path model = Save(Encoder(options));
    const fs::path data = Path("data.npz");
    WriteEncoderData(data, 4, options.mask, options.free_shapes ? 1 : 2);
    const auto built = Apply(model, "fuse_transformer", {{"attention", BoolValue(true)}});
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_EQ(built->Count("Attention"), attentions);
    EXPECT_EQ(built->Count("SkipLayerNormalization"), skips);
    EXPECT_EQ(built->Count("Softmax"), options.layers - attentions);
    const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", data);
    const auto got = Outputs(built->bundle, "onnxruntime", data);
    ASSERT_TRUE(wanted) << wanted.error().message;
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(wanted->size(), got->size());
    for (size_t i = 0; i < wanted->size(); ++i) ASSERT_NEAR((*wanted)[i], (*got)[i], 2e-4) << i;
    const auto elsewhere = Outputs(built->bundle, "openvino", data, {{"inference_precision", TextValue("f32")}});
    ASSERT_TRUE(elsewhere) << elsewhere.error().message;
    for (size_t i = 0; i < wanted->size(); ++i) ASSERT_NEAR((*wanted)[i], (*elsewhere)[i], 1e-3) << i;
  }
};

TEST_F(FuseTest, EncoderWithFreeShapesIsFusedAndComputesTheSame) { ExpectFused({}, 2, 4); }

TEST_F(FuseTest, EncoderWithConstantShapesIsFusedAndComputesTheSame) {
  EncoderOptions options;
  options.free_shapes = false;
  ExpectFused(options, 2, 4);
}

TEST_F(FuseTest, EncoderWithoutMaskIsFused) {
  EncoderOptions options;
  options.mask = false;
  ExpectFused(options, 2, 4);
}

TEST_F(FuseTest, AnUnusualScaleGoesIntoTheQueries) {
  EncoderOptions options;
  options.divisor = 3;
  ExpectFused(options, 2, 4);
}

TEST_F(FuseTest, AMaskOfMinusInfinityStaysFinite) {
  EncoderOptions options;
  options.mask_value = std::numeric_limits<float>::lowest();
  ExpectFused(options, 2, 4);
}

TEST_F(FuseTest, AWeakPenaltyIsNoMask) {
  EncoderOptions options;
  options.mask_value = -2;
  // What follows an attention that stays is not known to keep its shape.
  ExpectFused(options, 0, 2);
}

TEST_F(FuseTest, AttentionWhoseProbabilitiesAreAnOutputIsLeft) {
  ModelBuilder b = Encoder();
  b.Output("layer.0/soft", {-1, 4, -1, -1});
  const auto built = Apply(Save(b), "fuse_transformer", {{"attention", BoolValue(true)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("Attention"), 1);
}

TEST_F(FuseTest, AResidualSumThatIsReadElsewhereIsGivenByTheFusedNode) {
  ModelBuilder b = Encoder();
  b.Output("layer.0/attention_norm_sum", {-1, -1, 16});
  const fs::path model = Save(b);
  WriteEncoderData(Path("data.npz"), 2);
  const auto built = Apply(model, "fuse_transformer", {{"attention", BoolValue(true)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("SkipLayerNormalization"), 4);
  const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", Path("data.npz"));
  const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
  ASSERT_TRUE(wanted && got);
  for (size_t i = 0; i < wanted->size(); ++i) ASSERT_NEAR((*wanted)[i], (*got)[i], 2e-4) << i;
}

TEST_F(FuseTest, AttentionIsLeftUnlessAskedFor) {
  const auto built = Apply(Save(Encoder()), "fuse_transformer");
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("Attention"), 0);
  EXPECT_EQ(built->Count("Softmax"), 2);
}

TEST_F(FuseTest, AModelWithoutAttentionIsLeftAsItIs) {
  const auto built = Apply(Save(Mlp()), "fuse_transformer", {{"attention", BoolValue(true)}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("Gemm"), 2);
  EXPECT_TRUE(built->HasNote("0 Attention"));
}

}  // namespace
}  // namespace hone::test
