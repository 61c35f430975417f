// dynamic_int8 on attention and recurrent layers.
#include "tests/passes/transformer.h"

namespace hone::test {
namespace {

class DynamicTest : public PassTest {};

TEST_F(DynamicTest, FusedAttentionIsQuantizedAndStaysClose) {
  const fs::path model = Save(Encoder());
  WriteEncoderData(Path("data.npz"), 6);
  const auto fused = Apply(model, "fuse_transformer", {{"attention", BoolValue(true)}});
  ASSERT_TRUE(fused) << fused.error().message;
  const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", Path("data.npz"));
  for (const bool per_channel : {false, true}) {
    for (const char* weights : {"int8", "uint8"}) {
      const auto built = Apply(fused->file, "dynamic_int8",
                               {{"per_channel", BoolValue(per_channel)}, {"weights", TextValue(weights)}});
      ASSERT_TRUE(built) << built.error().message;
      EXPECT_EQ(built->Count("QAttention"), 2);
      EXPECT_EQ(built->Count("Attention"), 0);
      EXPECT_EQ(built->Count("MatMulInteger"), 6);
      const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
      ASSERT_TRUE(wanted && got) << got.error().message;
      EXPECT_GT(CosineOf(*wanted, *got), 0.998) << per_channel << weights;
    }
  }
}

TEST_F(DynamicTest, OneQuantizerServesAllReadersOfAnActivation) {
  const auto built = Apply(Save(Encoder()), "dynamic_int8", {{"embeddings", BoolValue(false)}});
  ASSERT_TRUE(built) << built.error().message;
  // Of each layer: the input of Q, K and V; of the output; of the two feed-forward products.
  EXPECT_EQ(built->Count("DynamicQuantizeLinear"), 8);
  EXPECT_EQ(built->Count("MatMulInteger"), 12);
}

ModelBuilder Recurrent(int64_t directions, bool bias) {
  constexpr int64_t kInputs = 6, kHidden = 5;
  ModelBuilder b(17, 3);
  b.Input("x", {7, 1, kInputs}).Output("y", {7, directions, 1, kHidden});
  b.Weight("w", {directions, 4 * kHidden, kInputs}, 0.4F).Weight("r", {directions, 4 * kHidden, kHidden}, 0.4F);
  b.Weight("b", {directions, 8 * kHidden}, 0.1F);
  std::vector<std::string> inputs = {"x", "w", "r"};
  if (bias) inputs.emplace_back("b");
  auto* node = b.Node("LSTM", inputs, {"y"});
  SetIntAttribute(*node, "hidden_size", kHidden);
  if (directions == 2) {
    auto* attribute = node->add_attribute();
    attribute->set_name("direction");
    attribute->set_type(onnx::AttributeProto::STRING);
    attribute->set_s("bidirectional");
  }
  return b;
}

TEST_F(DynamicTest, RecurrentLayersAreQuantizedAndStayClose) {
  for (const int64_t directions : {1, 2}) {
    for (const bool per_channel : {false, true}) {
      const fs::path model = Save(Recurrent(directions, per_channel));
      WriteNpz(Path("data.npz"), {{"x", NormalArray({3, 7, 1, 6}, 4)}});
      const auto built = Apply(model, "dynamic_int8", {{"per_channel", BoolValue(per_channel)}});
      ASSERT_TRUE(built) << built.error().message;
      EXPECT_EQ(built->Count("DynamicQuantizeLSTM"), 1);
      const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", Path("data.npz"));
      const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
      ASSERT_TRUE(wanted) << wanted.error().message;
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_GT(CosineOf(*wanted, *got), 0.999) << directions << per_channel;
    }
  }
}

TEST_F(DynamicTest, ARecurrentLayerWithTheBatchFirstIsLeft) {
  ModelBuilder b = Recurrent(1, true);
  SetIntAttribute(*b.graph()->mutable_node(0), "layout", 1);
  const auto built = Apply(Save(b), "dynamic_int8");
  ASSERT_FALSE(built);
  EXPECT_NE(built.error().message.find("layout"), std::string::npos) << built.error().message;
}

TEST_F(DynamicTest, LstmBytesEqualOnnxRuntimes) {
  if (!HavePeers()) GTEST_SKIP() << "HONE_PEERS names no Python environment; ops/setup makes it";
  std::vector<std::string> arguments;
  int number = 0;
  for (const int64_t directions : {1, 2}) {
    for (const bool per_channel : {false, true}) {
      const std::string name = "lstm" + std::to_string(++number);
      const fs::path model = Save(Recurrent(directions, true), name + ".onnx");
      const auto built = Apply(model, "dynamic_int8", {{"per_channel", BoolValue(per_channel)}});
      ASSERT_TRUE(built) << built.error().message;
      arguments.insert(arguments.end(), {model.string(), built->file.string(), per_channel ? "1" : "0"});
    }
  }
  for (const bool per_channel : {false, true}) {
    const auto fused = Apply(Save(Encoder(), "encoder.onnx"), "fuse_transformer", {{"attention", BoolValue(true)}});
    ASSERT_TRUE(fused) << fused.error().message;
    const auto built =
        Apply(fused->file, "dynamic_int8", {{"per_channel", BoolValue(per_channel)}, {"embeddings", BoolValue(false)}});
    ASSERT_TRUE(built) << built.error().message;
    arguments.insert(arguments.end(), {fused->file.string(), built->file.string(), per_channel ? "1" : "0"});
  }
  RunScript("../passes/compare_contrib.py", arguments);
}

}  // namespace
}  // namespace hone::test
