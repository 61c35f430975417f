// The questions that passes ask about a graph.
#include <gmock/gmock.h>

#include "common/base/digest.h"
#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// x feeds an If whose branch takes `kept` from outside.
onnx::ModelProto WithSubgraph() {
  return Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y) {
      kept = Relu(x)
      unused = Sigmoid(x)
      y = If(c) <then_branch = t () => (float[2] a) { dead = Neg(unused) a = Identity(kept) },
        else_branch = e () => (float[2] b) { b = Abs(x) }>
    })");
}

TEST(GraphIndexTest, UsesInSubgraphsCountAsUsesOfTheirNode) {
  const onnx::ModelProto model = WithSubgraph();
  const GraphIndex index(model.graph());
  ASSERT_EQ(index.Consumers("kept").size(), 1U);
  EXPECT_EQ(index.Consumers("kept")[0].node, 2);
  EXPECT_EQ(index.Consumers("kept")[0].input, -1);
  EXPECT_EQ(index.Consumers("x").size(), 3U);
  EXPECT_EQ(index.Producer("y"), 2);
  EXPECT_EQ(index.Producer("x"), -1);
  EXPECT_TRUE(index.IsGraphOutput("y"));
  EXPECT_TRUE(index.IsGraphInput("c"));
  EXPECT_THAT(CapturedNames(model.graph().node(2)), ElementsAre("kept", "unused", "x"));
}

TEST(GraphIndexTest, FreshNamesAvoidNamesInSubgraphs) {
  const onnx::ModelProto model = WithSubgraph();
  GraphIndex index(model.graph());
  EXPECT_EQ(index.FreshName("new"), "new");
  EXPECT_EQ(index.FreshName("new"), "new_1");
  EXPECT_EQ(index.FreshName("a"), "a_1");
  EXPECT_EQ(index.FreshName("a"), "a_2");
}

TEST(RemoveUnusedTest, WhatOnlyADeadPartOfASubgraphNeedsGoes) {
  onnx::ModelProto model = WithSubgraph();
  EXPECT_EQ(RemoveUnused(*model.mutable_graph()), 2);
  EXPECT_EQ(CountOps(model, "Sigmoid"), 0);
  EXPECT_EQ(CountOps(model, "Neg"), 0);
  EXPECT_EQ(CountOps(model, "Relu"), 1);
  EXPECT_TRUE(CheckModel(model));
}

TEST(RemoveUnusedTest, UnusedInitializerTakesItsInputAlongAndRealInputsStay) {
  onnx::ModelProto model = Parse(
      R"(<ir_version: 3, opset_import: ["" : 11]>
        g (float[2] x, float[2] idle, float[2] w) => (float[2] y) { y = Relu(x) })");
  *model.mutable_graph()->add_initializer() = RandomWeights("w", {2}, 1);
  RemoveUnused(*model.mutable_graph());
  EXPECT_EQ(model.graph().initializer_size(), 0);
  ASSERT_EQ(model.graph().input_size(), 2);
  EXPECT_EQ(model.graph().input(1).name(), "idle");
}

TEST(SortNodesTest, OrderFollowsUsesAndCapturesAndIsOtherwiseKept) {
  onnx::ModelProto model = WithSubgraph();
  auto& nodes = *model.mutable_graph()->mutable_node();
  nodes.SwapElements(0, 2);
  EXPECT_FALSE(CheckModel(model));
  ASSERT_TRUE(SortNodes(*model.mutable_graph()));
  EXPECT_TRUE(CheckModel(model));
  const std::string sorted = model.SerializeAsString();
  ASSERT_TRUE(SortNodes(*model.mutable_graph()));
  EXPECT_EQ(model.SerializeAsString(), sorted);
}

TEST(SortNodesTest, CycleIsRejectedByName) {
  onnx::ModelProto model = Parse(
      R"(<ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { a = Add(x, b) b = Relu(a) y = Neg(b) })");
  const auto result = SortNodes(*model.mutable_graph());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_THAT(result.error().message, HasSubstr("cycle through Add 'a'"));
}

TEST(SortNodesTest, ValueComputedTwiceIsRejected) {
  onnx::ModelProto model =
      Parse(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) y = Neg(x) })");
  EXPECT_FALSE(SortNodes(*model.mutable_graph()));
}

TEST(ReadTensorTest, EveryFieldGivesTheSameBytes) {
  const std::vector<int64_t> numbers = {-3, 0, 7};
  onnx::TensorProto typed;
  typed.set_data_type(onnx::TensorProto::INT64);
  typed.add_dims(3);
  for (const int64_t number : numbers) typed.add_int64_data(number);
  const auto a = ReadTensor(typed);
  const auto b = ReadTensor(MakeTensor("t", onnx::TensorProto::INT64, {3}, numbers));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->bytes, b->bytes);

  onnx::TensorProto small;
  small.set_data_type(onnx::TensorProto::INT8);
  small.add_dims(2);
  small.add_int32_data(-1);
  small.add_int32_data(5);
  const auto c = ReadTensor(small);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->data<int8_t>()[0], -1);
  EXPECT_EQ(c->bytes.size(), 2U);

  onnx::TensorProto half;
  half.set_data_type(onnx::TensorProto::FLOAT16);
  half.add_int32_data(0x3C00);
  const auto d = ReadTensor(half);
  ASSERT_TRUE(d);
  EXPECT_EQ(ToFloats(*d), std::vector<float>{1.0F});
}

TEST(ReadTensorTest, SubByteAndTextElementsAreRefused) {
  onnx::TensorProto tensor;
  tensor.set_data_type(onnx::TensorProto::INT4);
  tensor.add_dims(2);
  tensor.set_raw_data("\x21");
  EXPECT_FALSE(ReadTensor(tensor));
  tensor.set_data_type(onnx::TensorProto::STRING);
  EXPECT_FALSE(ReadTensor(tensor));
}

TEST(TensorBytesTest, SubByteElementsArePacked) {
  EXPECT_EQ(TensorBytes(onnx::TensorProto::INT4, {3}).value(), 2U);
  EXPECT_EQ(TensorBytes(onnx::TensorProto::UINT2, {5}).value(), 2U);
  EXPECT_EQ(TensorBytes(onnx::TensorProto::FLOAT, {}).value(), 4U);
  EXPECT_EQ(TensorBytes(onnx::TensorProto::FLOAT, {0, 5}).value(), 0U);
  EXPECT_FALSE(TensorBytes(onnx::TensorProto::DOUBLE, {int64_t{1} << 62}));
  EXPECT_FALSE(TensorBytes(onnx::TensorProto::STRING, {1}));
}

TEST(OpsetTest, DefaultDomainHasTwoNames) {
  onnx::ModelProto model;
  SetOpset(model, "ai.onnx", 13);
  EXPECT_EQ(OpsetVersion(model), 13);
  SetOpset(model, "", 17);
  EXPECT_EQ(model.opset_import_size(), 1);
  EXPECT_EQ(OpsetVersion(model, "ai.onnx"), 17);
  EXPECT_EQ(OpsetVersion(model, "com.microsoft"), 0);
}

TEST(SaveOnnxTest, SameModelGivesSameBytesAndTheirDigest) {
  onnx::ModelProto model = WithSubgraph();
  const Folder a;
  const Folder b;
  const auto first = SaveOnnx(model, a.path());
  const auto second = SaveOnnx(model, b.path());
  ASSERT_TRUE(first && second);
  ASSERT_EQ(first->files_size(), 1);
  EXPECT_EQ(first->main(), "model.onnx");
  EXPECT_EQ(first->format(), "onnx");
  EXPECT_EQ(first->SerializeAsString(), second->SerializeAsString());
  EXPECT_EQ(first->files(0).digest(), DigestOfFile(a.path() / "model.onnx").value());
  EXPECT_EQ(first->files(0).size_bytes(), fs::file_size(a.path() / "model.onnx"));
  const auto loaded = LoadOnnx(a.path() / "model.onnx");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->SerializeAsString(), model.SerializeAsString());
}

TEST(SaveOnnxTest, FolderThatIsNotThereFails) {
  const Folder folder;
  EXPECT_FALSE(SaveOnnx(WithSubgraph(), folder.path() / "none"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace hone::test
