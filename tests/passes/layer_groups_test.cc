// Groups of layers: which layer is in which, and that passes leave those alone that they are told to.
#include "worker/passes/layer_groups.h"

#include "tests/passes/transformer.h"

namespace hone::test {
namespace {

// So many products in a row, named by `name`.
onnx::GraphProto ProductChain(int layers, const std::function<std::string(int)>& name) {
  ModelBuilder b;
  b.Input("x0", {1, 8}).Output("x" + std::to_string(layers), {1, 8});
  b.Weight("w", {8, 8}, 0.3F);
  for (int i = 0; i < layers; ++i) {
    const std::string from = "x" + std::to_string(i);
    b.Node("MatMul", {from, "w"}, {"m" + std::to_string(i)})->set_name(name(i));
    b.Node("Tanh", {"m" + std::to_string(i)}, {"x" + std::to_string(i + 1)});
  }
  return *b.graph();
}

// How many layers each group of a chain has.
std::vector<size_t> Sizes(const onnx::GraphProto& graph, size_t groups) {
  const auto group_of = CutIntoLayerGroups(graph, groups, LayerTypes());
  EXPECT_TRUE(group_of) << group_of.error().message;
  std::vector<size_t> sizes(groups, 0);
  for (int n = 0; group_of && n < graph.node_size(); ++n) {
    if (graph.node(n).op_type() == "MatMul") ++sizes[(*group_of)[static_cast<size_t>(n)]];
  }
  return sizes;
}

proto::PassStep StepWith(std::initializer_list<const char*> names) {
  proto::PassStep step;
  for (const char* name : names) step.add_parameters()->set_name(name);
  return step;
}

TEST(LayerGroupsTest, LayersThatFollowOneAnotherAreCutEvenly) {
  const auto unnamed = [](int) { return std::string(); };
  EXPECT_EQ(Sizes(ProductChain(6, unnamed), 3), (std::vector<size_t>{2, 2, 2}));
  EXPECT_EQ(Sizes(ProductChain(7, unnamed), 3), (std::vector<size_t>{2, 3, 2}));
  EXPECT_EQ(Sizes(ProductChain(5, unnamed), 5), (std::vector<size_t>(5, 1)));
  EXPECT_EQ(Sizes(ProductChain(5, unnamed), 1), (std::vector<size_t>{5}));
}

TEST(LayerGroupsTest, CutsMoveToTheBordersOfBlocksThatAreNear) {
  // A stem, three blocks of four, a head.
  const auto named = [](int i) {
    return i == 0 ? std::string("stem") : i > 12 ? "head" : "/layer." + std::to_string((i - 1) / 4) + "/MatMul";
  };
  EXPECT_EQ(Sizes(ProductChain(14, named), 3), (std::vector<size_t>{5, 4, 5}));
  // One block alone has no border to move to.
  EXPECT_EQ(Sizes(ProductChain(8, [](int) { return std::string("/layer.0/MatMul"); }), 2), (std::vector<size_t>{4, 4}));
}

TEST(LayerGroupsTest, OtherNodesBelongToTheLayerBeforeThem) {
  const auto group_of = CutIntoLayerGroups(ProductChain(4, [](int) { return std::string(); }), 2, LayerTypes());
  ASSERT_TRUE(group_of);
  EXPECT_EQ(*group_of, (std::vector<size_t>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST(LayerGroupsTest, LayersAreOfTheTypesThatThePassQuantizes) {
  const onnx::GraphProto graph = ProductChain(3, [](int) { return std::string(); });
  EXPECT_TRUE(CutIntoLayerGroups(graph, 3, {"MatMul", "Tanh"}));
  EXPECT_FALSE(CutIntoLayerGroups(graph, 1, {"Conv", "Tanh"}));
}

TEST(LayerGroupsTest, FewerLayersThanGroupsIsRejectedWithBothNumbers) {
  const auto group_of = CutIntoLayerGroups(ProductChain(2, [](int) { return std::string(); }), 3, LayerTypes());
  ASSERT_FALSE(group_of);
  EXPECT_EQ(group_of.error().code, ErrorCode::kRejected);
  EXPECT_NE(group_of.error().message.find("3 groups, and the model has 2 layers for this pass"), std::string::npos)
      << group_of.error().message;
}

TEST(LayerGroupsTest, GivenGroupsHaveNoGaps) {
  EXPECT_EQ(*LayerGroupsGiven(StepWith({"exclude"})), 0u);
  EXPECT_EQ(*LayerGroupsGiven(StepWith({"exclude", "layers.0", "layers.1"})), 2u);
  EXPECT_EQ(LayerGroupsGiven(StepWith({"layers.0", "layers.2"})).error().code, ErrorCode::kRejected);
}

struct Quantizer {
  const char* pass;
  std::map<std::string, proto::Value> parameters;
};

class LayerGroupsPassTest : public PassTest {
 protected:
  Result<Built> Run(const Quantizer& quantizer, const fs::path& model, std::initializer_list<const char*> layers) {
    Parameters parameters;
    for (const auto& [name, value] : quantizer.parameters) parameters[name] = value;
    size_t group = 0;
    for (const char* value : layers) parameters[LayerGroupName(group++)] = TextValue(value);
    return Apply(model, quantizer.pass, parameters, Path("data.npz"));
  }

  // Plain products of the layer that are left.
  static int Plain(const onnx::ModelProto& model, const std::string& layer) {
    int count = 0;
    for (const auto& node : model.graph().node()) {
      const bool ours = node.name().starts_with(layer) && node.op_type() == "MatMul";
      // A product whose inputs are dequantized is not plain.
      const auto is_dequantized = [&](const std::string& input) {
        return std::any_of(model.graph().node().begin(), model.graph().node().end(), [&](const auto& other) {
          return other.op_type() == "DequantizeLinear" && other.output(0) == input;
        });
      };
      count += ours && std::none_of(node.input().begin(), node.input().end(), is_dequantized) ? 1 : 0;
    }
    return count;
  }
};

TEST_F(LayerGroupsPassTest, EveryQuantizingPassLeavesTheGroupsInFloatThatItIsTold) {
  const fs::path model = Save(Encoder());
  WriteEncoderData(Path("data.npz"), 4);
  for (const Quantizer& quantizer :
       {Quantizer{"static_int8", {}}, Quantizer{"dynamic_int8", {}}, Quantizer{"weights_int8", {}},
        Quantizer{"weights_int4", {{"group_size", IntValue(16)}}}}) {
    SCOPED_TRACE(quantizer.pass);
    const auto half = Run(quantizer, model, {"float", "quantized"});
    ASSERT_TRUE(half) << half.error().message;
    EXPECT_EQ(Plain(half->model, "layer.0/"), 8);
    EXPECT_LE(Plain(half->model, "layer.1/"), 2);
    // All of them is what no group at all is.
    const auto whole = Run(quantizer, model, {"quantized", "quantized"}), plain = Run(quantizer, model, {});
    ASSERT_TRUE(whole && plain);
    EXPECT_EQ(whole->bundle.bundle().files(0).digest(), plain->bundle.bundle().files(0).digest());
    const auto none = Run(quantizer, model, {"float", "float"});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::kRejected);
    EXPECT_NE(none.error().message.find("nothing is left to quantize"), std::string::npos) << none.error().message;
    const auto many = Run(quantizer, model,
                          {"float", "quantized", "quantized", "quantized", "quantized", "quantized", "quantized",
                           "quantized", "quantized", "quantized", "quantized", "quantized", "quantized"});
    ASSERT_FALSE(many);
    EXPECT_NE(many.error().message.find("13 groups, and the model has 12 layers"), std::string::npos)
        << many.error().message;
  }
}

}  // namespace
}  // namespace hone::test
