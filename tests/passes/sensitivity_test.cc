// Sensitivity: groups measured alone in one compiled model are what building them alone gives.
#include "worker/sensitivity/sensitivity.h"

#include <fstream>

#include "client/sensitivity_file.h"
#include "tests/passes/transformer.h"
#include "worker/passes/layer_groups.h"
#include "worker/sensitivity/groups.h"

namespace hone::test {
namespace {

class SensitivityTest : public PassTest {
 protected:
  proto::SensitivityTask Task(const fs::path& model, const fs::path& data,
                              const std::vector<std::pair<std::string, Parameters>>& steps) {
    proto::SensitivityTask task;
    *task.mutable_model() = LocalFile(model, "onnx");
    *task.mutable_evaluation()->mutable_data() = LocalFile(data, "npz");
    *task.mutable_calibration()->mutable_data() = LocalFile(data, "npz");
    for (const auto& [pass, parameters] : steps) {
      auto* step = task.add_steps();
      step->set_pass(pass);
      for (const auto& [name, value] : parameters) {
        auto* parameter = step->add_parameters();
        parameter->set_name(name);
        *parameter->mutable_value() = value;
      }
    }
    task.set_threads(2);
    return task;
  }

  static const proto::SensitivityResult::Group* Find(const proto::SensitivityResult& result, const std::string& name) {
    for (const auto& group : result.group()) {
      if (group.name() == name) return &group;
    }
    return nullptr;
  }

  // The cosine of the model that the pass makes with everything but these nodes excluded.
  double CosineAlone(const fs::path& model, const fs::path& data, const std::string& pass, Parameters parameters,
                     const std::vector<std::string>& others) {
    parameters["exclude"] = TextValue(NamesExpression(others));
    const auto built = Apply(model, pass, parameters, data);
    EXPECT_TRUE(built) << built.error().message;
    const auto wanted = Outputs(LocalFile(model, "onnx"), "onnxruntime", data);
    const auto got = Outputs(built->bundle, "onnxruntime", data);
    // As the metric counts: the mean over samples.
    const size_t samples = 12;
    const size_t size = wanted->size() / samples;
    double sum = 0;
    for (size_t i = 0; i < samples; ++i) {
      const auto part = [&](const std::vector<float>& all) {
        return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(i * size),
                                  all.begin() + static_cast<std::ptrdiff_t>((i + 1) * size));
      };
      sum += CosineOf(part(*wanted), part(*got)) / samples;
    }
    return sum;
  }
};

// Three products in a row; the first has weights that int4 cannot hold: one of each column dwarfs the others.
ModelBuilder Chain() {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 32}).Output("y", {1, 32});
  for (const std::string name : {"a", "b", "c"}) b.Weight("w" + name, {32, 32}, 0.2F);
  auto* values = reinterpret_cast<float*>(b.graph()->mutable_initializer(0)->mutable_raw_data()->data());
  for (int column = 0; column < 32; ++column) values[column] = 2;
  b.Node("MatMul", {"x", "wa"}, {"a"});
  b.Node("Tanh", {"a"}, {"at"});
  b.Node("MatMul", {"at", "wb"}, {"b"});
  b.Node("Tanh", {"b"}, {"bt"});
  b.Node("MatMul", {"bt", "wc"}, {"y"});
  return b;
}

TEST_F(SensitivityTest, TheWorstLayerComesFirstAndLossesAreThoseOfBuildingItAlone) {
  const fs::path model = Save(Chain());
  WriteNpz(Path("data.npz"), {{"x", NormalArray({12, 32}, 2)}});
  const auto result = MeasureSensitivity(Task(model, Path("data.npz"), {{"weights_int4", {}}}));
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->group_size(), 3);
  EXPECT_EQ(result->metric(), "cosine");
  EXPECT_EQ(result->group(0).name(), "a_node");
  EXPECT_GE(result->group(1).losses(0).loss(), result->group(2).losses(0).loss());
  EXPECT_EQ(result->samples(), 12U);
  EXPECT_EQ(result->sessions(), 1U);
  EXPECT_EQ(result->inferences(), 12U * (3 + 2));
  EXPECT_EQ(result->group(0).parameters(), 1024U);
  std::vector<std::string> names = {"a_node", "b_node", "y_node"};
  for (const auto& group : result->group()) {
    std::vector<std::string> others;
    for (const auto& name : names) {
      if (name != group.name()) others.push_back(name);
    }
    const double alone = CosineAlone(model, Path("data.npz"), "weights_int4", {}, others);
    EXPECT_NEAR(1 - group.losses(0).loss(), alone, 0.02 * (1 - alone) + 1e-4) << group.name();
  }
}

TEST_F(SensitivityTest, StaticInt8GroupsAreCalibratedOnce) {
  const fs::path model = Save(ConvNet(16, 8));
  WriteNpz(Path("data.npz"), {{"image", NormalArray({6, 3, 16, 16}, 2)}});
  auto task = Task(model, Path("data.npz"), {{"static_int8", {}}, {"weights_int8", {}}});
  task.set_groups("node");
  const auto result = MeasureSensitivity(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->whole_size(), 2);
  EXPECT_EQ(result->sessions(), 2U);
  const auto* conv = Find(*result, "d_node");
  ASSERT_NE(conv, nullptr);
  ASSERT_EQ(conv->losses_size(), 2);
  // Weights alone lose less than weights and activations.
  EXPECT_LT(conv->losses(1).loss(), conv->losses(0).loss());
  EXPECT_GT(conv->losses(0).sqnr_db(), 15);
  for (const auto& whole : result->whole()) EXPECT_GT(whole.sqnr_db(), 10);
}

TEST_F(SensitivityTest, TimeIsTakenOfEachFormOfAGroup) {
  const fs::path model = Save(Mlp(1, 256, 512));
  WriteNpz(Path("data.npz"), {{"x", NormalArray({4, 256}, 2)}});
  auto task = Task(model, Path("data.npz"), {{"dynamic_int8", {}}});
  task.set_time(true);
  const auto result = MeasureSensitivity(task);
  ASSERT_TRUE(result) << result.error().message;
  for (const auto& group : result->group()) EXPECT_TRUE(group.losses(0).has_gain_ms()) << group.name();
}

TEST_F(SensitivityTest, BlocksAreToldByTheNumbersInNames) {
  EXPECT_EQ(BlockOf("/encoder/layer.3/attention/self/query/MatMul"), "encoder/layer.3");
  EXPECT_EQ(BlockOf("model/blocks/12/mlp/fc1/MatMul_7"), "model/blocks/12");
  EXPECT_EQ(BlockOf("features.4.conv.0"), "features.4");
  EXPECT_EQ(BlockOf("block_2/Conv"), "block_2");
  EXPECT_EQ(BlockOf("MatMul_12"), "");
  EXPECT_EQ(BlockOf(""), "");
  const fs::path model = Save(Encoder());
  WriteEncoderData(Path("data.npz"), 2);
  auto task = Task(model, Path("data.npz"), {{"dynamic_int8", {{"embeddings", BoolValue(false)}}}});
  task.set_groups("block");
  const auto result = MeasureSensitivity(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->groups(), "block");
  ASSERT_NE(Find(*result, "layer.0"), nullptr);
  ASSERT_NE(Find(*result, "layer.1"), nullptr);
  EXPECT_EQ(Find(*result, "layer.0")->nodes_size(), 6);
}

TEST_F(SensitivityTest, HalfPrecisionShowsTheLayerThatOverflows) {
  ModelBuilder b(17, 5);
  b.Input("x", {1, 8}).Output("y", {1, 8});
  b.Weight("wide", {8, 8}, 50000).Weight("down", {8, 8}, 1e-4F);
  b.Node("MatMul", {"x", "wide"}, {"h"});
  b.Node("MatMul", {"h", "down"}, {"d"});
  b.Node("Tanh", {"d"}, {"y"});
  WriteNpz(Path("data.npz"), {{"x", NormalArray({6, 8}, 2)}});
  const auto result = MeasureSensitivity(Task(Save(b), Path("data.npz"), {{"fp16", {}}}));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(Find(*result, "h_node")->losses(0).loss(), 0.01);
  EXPECT_LT(Find(*result, "y_node")->losses(0).loss(), 1e-5);
}

TEST_F(SensitivityTest, GroupsOfTheStepsOwnParametersAreThoseThatThePassBuilds) {
  EncoderOptions options;
  options.layers = 3;
  const fs::path model = Save(Encoder(options));
  WriteEncoderData(Path("data.npz"), 12);
  const auto layers = [](std::vector<const char*> values) {
    Parameters parameters = {{"embeddings", BoolValue(false)}};
    for (size_t k = 0; k < values.size(); ++k) parameters[LayerGroupName(k)] = TextValue(values[k]);
    return parameters;
  };
  auto task = Task(model, Path("data.npz"), {{"dynamic_int8", layers({"quantized", "quantized", "quantized"})}});
  const auto result = MeasureSensitivity(task);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->groups(), "given");
  ASSERT_EQ(result->group_size(), 3);
  for (size_t k = 0; k < 3; ++k) {
    const auto* group = Find(*result, LayerGroupName(k));
    ASSERT_NE(group, nullptr) << k;
    EXPECT_EQ(group->nodes_size(), 6) << k;   // As many products as an encoder's layer has weights.
    EXPECT_TRUE(group->nodes(0).starts_with("layer." + std::to_string(k) + "/")) << group->nodes(0);
    // What the pass makes with the same group alone loses as much.
    std::vector<const char*> alone(3, "float");
    alone[k] = "quantized";
    const auto built = Apply(model, "dynamic_int8", layers(alone), Path("data.npz"));
    ASSERT_TRUE(built) << built.error().message;
    std::vector<std::string> others;
    for (const auto& other : result->group()) {
      if (other.name() != group->name()) others.insert(others.end(), other.nodes().begin(), other.nodes().end());
    }
    Parameters excluding = {{"embeddings", BoolValue(false)}, {"exclude", TextValue(NamesExpression(others))}};
    const auto excluded = Apply(model, "dynamic_int8", excluding, Path("data.npz"));
    ASSERT_TRUE(excluded) << excluded.error().message;
    EXPECT_EQ(built->bundle.bundle().files(0).digest(), excluded->bundle.bundle().files(0).digest()) << k;
  }
  // No more samples than asked for.
  task.set_samples(5);
  EXPECT_EQ(MeasureSensitivity(task)->samples(), 5u);
}

TEST_F(SensitivityTest, WhatCannotBeMeasuredIsRefused) {
  const fs::path model = Save(Chain());
  WriteNpz(Path("data.npz"), {{"x", NormalArray({2, 32}, 2)}});
  EXPECT_EQ(MeasureSensitivity(Task(model, Path("data.npz"), {})).error().code, ErrorCode::kRejected);
  EXPECT_EQ(MeasureSensitivity(Task(model, Path("data.npz"), {{"no_such_pass", {}}})).error().code,
            ErrorCode::kRejected);
  EXPECT_EQ(MeasureSensitivity(Task(model, Path("data.npz"), {{"fix_shapes", {}}})).error().code, ErrorCode::kRejected);
  auto grouped = Task(model, Path("data.npz"), {{"weights_int8", {}}});
  grouped.set_groups("layers");
  EXPECT_EQ(MeasureSensitivity(grouped).error().code, ErrorCode::kRejected);
  auto labelled = Task(model, Path("data.npz"), {{"weights_int8", {}}});
  labelled.mutable_accuracy()->set_against_labels(true);
  EXPECT_EQ(MeasureSensitivity(labelled).error().code, ErrorCode::kRejected);
}

TEST_F(SensitivityTest, TheWorstGroupsOfADocumentBecomeAnExclusion) {
  std::ofstream(Path("s.json")) << R"json({"schema": "hone.sensitivity/1", "groups": [
    {"name": "a", "losses": [{"pass": "static_int8", "loss": 0.1, "nodes": ["/a/x.1", "b,c"]}]},
    {"name": "b", "losses": [{"pass": "static_int8", "loss": null, "nodes": ["(d)"]},
                                {"pass": "fp16", "loss": 0, "nodes": ["e"]}]}]})json";
  std::vector<std::string> words = {"per_channel=true", "exclude=@" + Path("s.json").string() + ":2"};
  ASSERT_TRUE(FillExclusions("static_int8", words));
  EXPECT_EQ(words[1], "exclude=\\(d\\)|/a/x\\.1|b\\x2cc");
  EXPECT_EQ(WorstNodes(Path("s.json"), "static_int8", 3).error().code, ErrorCode::kRejected);
  EXPECT_EQ(WorstNodes(Path("s.json"), "weights_int4", 1).error().code, ErrorCode::kRejected);
  EXPECT_FALSE(WorstNodes(Path("none.json"), "fp16", 1));
  std::ofstream(Path("t.json")) << "[1, 2";
  EXPECT_EQ(WorstNodes(Path("t.json"), "fp16", 1).error().code, ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone::test
