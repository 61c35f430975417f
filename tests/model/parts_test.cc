// A model cut into several files and joined again: every part is valid by itself, runs, and the whole gives the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Four products with a skip around the second, a mask that two far nodes read, and a weight that two products share.
onnx::ModelProto Chain() {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      chain (float[N,16] x, float[N,16] mask) => (float[N,16] y, float[N,16] h2) {
        h1 = MatMul(x, w1)
        m1 = Mul(h1, mask)
        h2 = MatMul(m1, w2)
        s = Add(h2, m1)
        r = Relu(s)
        h3 = MatMul(r, w1)
        m3 = Mul(h3, mask)
        y = MatMul(m3, w4)
      })");
  for (const char* name : {"w1", "w2", "w4"})
    *model.mutable_graph()->add_initializer() = RandomWeights(name, {16, 16}, static_cast<uint32_t>(name[1]), 0.3F);
  return model;
}

struct Parts {
  Folder folder;
  proto::BuildResult result;
  nlohmann::json manifest;
  std::vector<onnx::ModelProto> models;
};

Result<Parts> SplitInto(const onnx::ModelProto& model, const Parameters& parameters) {
  const Folder input;
  input.Write("model.onnx", model.SerializeAsString());
  Parts parts;
  TRY_ASSIGN(parts.result, RunPass(TaskFor("split", input.path(), parts.folder.path(), parameters)));
  std::ifstream file(parts.folder.path() / "parts.json");
  parts.manifest = nlohmann::json::parse(file);
  for (const auto& part : parts.manifest["parts"]) {
    TRY_ASSIGN(onnx::ModelProto made, LoadOnnx(parts.folder.path() / part["model"].get<std::string>()));
    TRY(CheckModel(made));
    parts.models.push_back(std::move(made));
  }
  return parts;
}

// Runs the parts one after the other, each on what it reads, and gives all values by name.
std::map<std::string, Tensor> RunInOrder(const std::vector<onnx::ModelProto>& models, std::vector<Tensor> inputs) {
  std::map<std::string, Tensor> values;
  for (Tensor& input : inputs) values[input.name] = input;
  for (const onnx::ModelProto& model : models) {
    std::vector<Tensor> fed;
    for (const auto* input : RealInputs(model.graph())) {
      EXPECT_TRUE(values.contains(input->name())) << input->name();
      fed.push_back(values[input->name()]);
    }
    const auto given = RunModel(model, fed);
    EXPECT_TRUE(given) << given.error().message;
    if (!given) return values;
    for (const Tensor& tensor : *given) values[tensor.name] = tensor;
  }
  return values;
}

void ExpectPartsGiveTheWhole(const onnx::ModelProto& whole, const std::vector<onnx::ModelProto>& parts) {
  const auto inputs = RandomInputs(whole, 3);
  const auto want = RunModel(whole, inputs);
  ASSERT_TRUE(want) << want.error().message;
  const auto values = RunInOrder(parts, inputs);
  for (const Tensor& tensor : *want) {
    ASSERT_TRUE(values.contains(tensor.name)) << tensor.name;
    EXPECT_EQ(ToFloats(values.at(tensor.name)), ToFloats(tensor)) << tensor.name;
  }
}

// A task for a folder of parts as `hone apply` and workers give it.
Result<onnx::ModelProto> Joined(const fs::path& folder, std::vector<std::string>* notes = nullptr) {
  const Folder output;
  proto::BuildTask task = TaskFor("compose", folder, output.path());
  const auto bundle = BundleOfModel(folder, {});
  if (!bundle) return Fail(bundle.error());
  *task.mutable_model()->mutable_bundle() = *bundle;
  TRY_ASSIGN(const proto::BuildResult result, RunPass(task));
  if (notes != nullptr) notes->assign(result.notes().begin(), result.notes().end());
  return LoadOnnx(output.path() / result.model().main());
}

std::vector<std::string> Names(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& values) {
  std::vector<std::string> names;
  for (const auto& value : values) names.push_back(value.name());
  return names;
}

TEST(SplitTest, NamedCutsGivePartsThatTheManifestPutsInOrder) {
  const auto parts = SplitInto(Chain(), {{"at", "m1+r"}, {"part", "all"}});
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_TRUE(CheckBundle(parts->result.model()));
  EXPECT_EQ(parts->result.model().main(), "part_0/model.onnx");
  ASSERT_EQ(parts->models.size(), 3U);
  EXPECT_THAT(Names(parts->models[0].graph().input()), ElementsAre("x", "mask"));
  EXPECT_THAT(Names(parts->models[0].graph().output()), ElementsAre("m1"));
  EXPECT_THAT(Names(parts->models[1].graph().output()), ElementsAre("h2", "r"));
  EXPECT_THAT(Names(parts->models[2].graph().input()), ElementsAre("mask", "r"));
  EXPECT_EQ(parts->manifest["parts"][1]["inputs"], nlohmann::json({"m1"}));
  EXPECT_EQ(parts->manifest["outputs"], nlohmann::json({"y", "h2"}));
  ExpectPartsGiveTheWhole(Chain(), parts->models);
}

TEST(SplitTest, PartsOfEqualWeightHaveEqualShares) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      g (float[1,32] x) => (float[1,32] y) {
        a = MatMul(x, w0) b = Relu(a) c = MatMul(b, w1) d = Relu(c)
        e = MatMul(d, w2) f = Relu(e) g = MatMul(f, w3) y = Relu(g)
      })");
  for (int i = 0; i < 4; ++i)
    *model.mutable_graph()->add_initializer() =
        RandomWeights("w" + std::to_string(i), {32, 32}, static_cast<uint32_t>(i), 0.3F);
  const auto parts = SplitInto(model, {{"parts", "4"}});
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(parts->models.size(), 4U);
  for (const auto& part : parts->manifest["parts"]) EXPECT_EQ(part["weight_bytes"], 32 * 32 * 4);
  ExpectPartsGiveTheWhole(model, parts->models);
  const auto joined = Joined(parts->folder.path());
  ASSERT_TRUE(joined) << joined.error().message;
  ExpectSameResults(model, *joined, 0);
}

TEST(SplitTest, CutsByWeightStandWhereFewValuesCross) {
  // Half of the weight ends before s, where two values cross; behind it, it is one.
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      g (float[1,32] x) => (float[1,64] y) {
        p = MatMul(x, w0) q = MatMul(x, w1) s = Add(p, q) y = MatMul(s, w2)
      })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w0", {32, 32}, 1);
  *model.mutable_graph()->add_initializer() = RandomWeights("w1", {32, 32}, 2);
  *model.mutable_graph()->add_initializer() = RandomWeights("w2", {32, 64}, 3);
  const auto parts = SplitInto(model, {{"parts", "2"}});
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_THAT(Names(parts->models[1].graph().input()), ElementsAre("s"));
  ExpectPartsGiveTheWhole(model, parts->models);
}

TEST(SplitTest, WeightsThatAreNodesWeighWhatOthersDo) {
  const auto original = LoadOnnx(TextAngle());
  ASSERT_TRUE(original);
  ASSERT_GT(CountOps(*original, "Constant"), 0);
  const auto parts = SplitInto(*original, {{"parts", "2"}});
  ASSERT_TRUE(parts) << parts.error().message;
  for (const auto& part : parts->manifest["parts"]) EXPECT_GT(part["weight_bytes"], 200'000);
  const auto joined = Joined(parts->folder.path());
  ASSERT_TRUE(joined) << joined.error().message;
  ExpectSameResults(*original, *joined, 0, 48);
}

TEST(SplitTest, DequantizedWeightsAreCopiedIntoThePartsThatReadThem) {
  const auto quantized = Apply(Chain(), "weights_int8");
  ASSERT_TRUE(quantized) << quantized.error().message;
  const auto parts = SplitInto(quantized->model, {{"at", "m1+r"}, {"part", "all"}});
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_THAT(Names(parts->models[2].graph().input()), ElementsAre("mask", "r"));
  EXPECT_EQ(CountOps(parts->models[0], "DequantizeLinear"), 1);
  EXPECT_EQ(CountOps(parts->models[2], "DequantizeLinear"), 2);
  ExpectPartsGiveTheWhole(quantized->model, parts->models);
}

TEST(SplitTest, ValuesThatSubgraphsTakeCrossToo) {
  onnx::ModelProto model = Parse(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      g (float[2] x, bool c) => (float[2] y) {
        a = Relu(x)
        b = Neg(a)
        y = If (c) <then_branch = then () => (float[2] t) { t = Add(a, b) },
                    else_branch = other () => (float[2] e) { e = Identity(b) }>
      })");
  const auto parts = SplitInto(model, {{"at", "b"}, {"part", "all"}});
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_THAT(Names(parts->models[1].graph().input()), ElementsAre("c", "b", "a"));
  ExpectPartsGiveTheWhole(model, parts->models);
  const auto joined = Joined(parts->folder.path());
  ASSERT_TRUE(joined) << joined.error().message;
  ExpectSameResults(model, *joined, 0);
}

TEST(SplitTest, WrongCutsAreRefusedWithTheirNames) {
  const std::pair<Parameters, const char*> rows[] = {
      {{}, "at names no value"},
      {{{"at", "m1"}, {"parts", "2"}}, "two ways"},
      {{{"at", "r+m1"}, {"part", "all"}}, "'r' lies behind another value of the cut"},
      {{{"at", "y"}, {"part", "all"}}, "nothing is left behind the cut"},
      {{{"at", "w1"}, {"part", "all"}}, "no node gives a value 'w1'"},
      {{{"parts", "60"}}, "8 nodes are too few for 60 parts"},
      {{{"parts", "65"}}, "parts"},
      {{{"at", "h2"}}, "these values cross the cut too: m1"},
  };
  for (const auto& [parameters, message] : rows) {
    const auto parts = SplitInto(Chain(), parameters);
    ASSERT_FALSE(parts) << message;
    EXPECT_EQ(parts.error().code, ErrorCode::kRejected);
    EXPECT_THAT(parts.error().message, HasSubstr(message));
  }
}

TEST(ComposeTest, PartsBecomeTheModelThatTheyWere) {
  for (const Parameters& parameters :
       {Parameters{{"at", "m1+r"}, {"part", "all"}}, Parameters{{"parts", "3"}}, Parameters{{"parts", "8"}}}) {
    const auto parts = SplitInto(Chain(), parameters);
    ASSERT_TRUE(parts) << parts.error().message;
    const auto joined = Joined(parts->folder.path());
    ASSERT_TRUE(joined) << joined.error().message;
    EXPECT_THAT(Names(joined->graph().input()), ElementsAre("x", "mask"));
    EXPECT_THAT(Names(joined->graph().output()), ElementsAre("y", "h2"));
    EXPECT_EQ(joined->graph().node_size(), 8);
    // The weight that two parts had is one again.
    EXPECT_EQ(joined->graph().initializer_size(), 3);
    ExpectSameResults(Chain(), *joined, 0);
  }
}

// A folder with models as parts and nothing but their order told.
class Stack {
 public:
  void Add(const onnx::ModelProto& model) {
    const std::string name = "part_" + std::to_string(parts_.size()) + "/model.onnx";
    folder_.Write(name, model.SerializeAsString());
    parts_.push_back({{"model", name}});
    folder_.Write("parts.json", nlohmann::json({{"parts", parts_}}).dump());
  }
  const fs::path& path() const { return folder_.path(); }

 private:
  Folder folder_;
  nlohmann::json parts_ = nlohmann::json::array();
};

onnx::ModelProto Small(const std::string& text, int opset = 17) {
  onnx::ModelProto model =
      Parse("<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]> g " + text);
  return model;
}

TEST(ComposeTest, ModelsOfOtherNamesFollowOneAnotherAndNamesAreMadeUnique) {
  Stack stack;
  onnx::ModelProto first = Small("(float[2,4] x) => (float[2,4] y) { h = MatMul(x, w) y = Relu(h) }");
  *first.mutable_graph()->add_initializer() = RandomWeights("w", {4, 4}, 1);
  onnx::ModelProto second = Small("(float[N,4] x) => (float[N,4] y) { h = MatMul(x, w) y = Neg(h) }", 13);
  *second.mutable_graph()->add_initializer() = RandomWeights("w", {4, 4}, 2);
  stack.Add(first);
  stack.Add(second);
  std::vector<std::string> notes;
  const auto joined = Joined(stack.path(), &notes);
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_THAT(notes, ::testing::Contains(HasSubstr("part_1/model.onnx takes y -> x")));
  EXPECT_EQ(OpsetVersion(*joined), 17);
  EXPECT_EQ(joined->graph().initializer_size(), 2);
  EXPECT_THAT(Names(joined->graph().output()), ElementsAre("y"));
  onnx::ModelProto inferred = *joined;
  InferShapes(inferred);
  const auto inputs = RandomInputs(first, 5);
  const auto middle = RunModel(first, inputs);
  ASSERT_TRUE(middle);
  Tensor fed = middle->front();
  fed.name = "x";
  const auto want = RunModel(second, {fed});
  const auto got = RunModel(*joined, inputs);
  ASSERT_TRUE(want && got);
  EXPECT_EQ(ToFloats(want->front()), ToFloats(got->front()));
}

TEST(ComposeTest, WhatDoesNotGoTogetherIsRefused) {
  Stack shapes;
  shapes.Add(Small("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }"));
  shapes.Add(Small("(float[2,5] y) => (float[2,5] z) { z = Relu(y) }"));
  auto joined = Joined(shapes.path());
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr("'y' is float32[2,4] in part_0/model.onnx and float32[2,5]"));
  Stack strangers;
  strangers.Add(Small("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }"));
  strangers.Add(Small("(float[2,4] a, float[2,4] b) => (float[2,4] z) { z = Add(a, b) }"));
  joined = Joined(strangers.path());
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr("no input of part_1/model.onnx takes an output"));
}

TEST(ComposeTest, BrokenManifestsAreRefused) {
  const std::pair<const char*, const char*> rows[] = {
      {"{", "parts.json"},
      {"{}", "no list 'parts'"},
      {R"({"parts": []})", "lists 0 parts"},
      {R"({"parts": [{"model": 3}]})", "a part has no 'model'"},
      {R"({"parts": [{"model": "../part_0/model.onnx"}]})", "there is no file"},
      {R"({"parts": [{"model": "part_0/model.onnx"}], "outputs": ["q"]})", "no part gives 'q'"},
      {R"({"parts": [{"model": "part_0/model.onnx"}], "inputs": [1]})", "'inputs' is no list of names"},
  };
  for (const auto& [text, message] : rows) {
    Stack stack;
    stack.Add(Small("(float[2] x) => (float[2] y) { y = Relu(x) }"));
    std::ofstream(stack.path() / "parts.json") << text;
    const auto joined = Joined(stack.path());
    ASSERT_FALSE(joined) << text;
    EXPECT_EQ(joined.error().code, ErrorCode::kRejected) << text;
    EXPECT_THAT(joined.error().message, HasSubstr(message)) << text;
  }
  const auto alone = Apply(Chain(), "compose");
  ASSERT_FALSE(alone);
  EXPECT_THAT(alone.error().message, HasSubstr("has no parts.json"));
}

}  // namespace
}  // namespace hone::test
