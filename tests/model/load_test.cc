// Files that nobody vouches for.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/model/support.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<onnx::ModelProto> LoadExternal(const Folder& folder, const Entries& entries) {
  return LoadOnnx(folder.Write("m/model.onnx", ExternalSum(entries).SerializeAsString()));
}

void ExpectRejected(const Result<onnx::ModelProto>& result, const std::string& part) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected) << result.error().message;
  EXPECT_THAT(result.error().message, HasSubstr(part));
}

TEST(LoadOnnxTest, MissingFileIsNotFound) {
  const Folder folder;
  const auto result = LoadOnnx(folder.path() / "no.onnx");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
}

TEST(LoadOnnxTest, FolderIsRejected) {
  const Folder folder;
  const auto result = LoadOnnx(folder.path());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
}

TEST(LoadOnnxTest, FileThatIsSomethingElseIsNotAnOnnxFile) {
  const Folder folder;
  ExpectRejected(LoadOnnx(folder.Write("a.onnx", "")), "the file is empty");
  for (const char* text :
       {"hello world\n", "This is not a model", "{\"a\": 1}", "\n\n\n", "<html></html>", "import onnx\n",
        "\x7f"
        "ELF\x02\x01\x01",
        "\x89PNG\r\n\x1a\n", "x"}) {
    ExpectRejected(LoadOnnx(folder.Write("b.onnx", text)), "not an ONNX file");
  }
  ExpectRejected(LoadOnnx(folder.Write("c.onnx", std::string(4096, '\0'))), "not an ONNX file");
  ExpectRejected(LoadOnnx(folder.Write("d.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n")),
                 "Git LFS pointer");
}

TEST(LoadOnnxTest, EveryTruncationIsRejected) {
  const Folder folder;
  onnx::ModelProto model = SmallSum();
  model.set_producer_name("pytorch");
  const std::string bytes = model.SerializeAsString();
  for (size_t size = 1; size < bytes.size(); ++size) {
    const auto result = LoadOnnx(folder.Write("model.onnx", bytes.substr(0, size)));
    ASSERT_FALSE(result.has_value()) << size;
    EXPECT_EQ(result.error().code, ErrorCode::kRejected) << size;
  }
  ExpectRejected(LoadOnnx(folder.Write("model.onnx", bytes.substr(0, bytes.size() / 2))), "truncated");
}

TEST(LoadOnnxTest, DamageInsideTheGraphIsTold) {
  const Folder folder;
  onnx::ModelProto model = SmallSum();
  std::string bytes = model.SerializeAsString();
  const size_t at = bytes.find("Add");
  bytes.replace(at - 2, 2, "\xff\xff");
  ExpectRejected(LoadOnnx(folder.Write("model.onnx", bytes)), "damaged");
}

TEST(LoadOnnxTest, DeepNestingIsRejected) {
  onnx::ModelProto model = SmallSum();
  onnx::GraphProto graph = model.graph();
  for (int depth = 0; depth < 200; ++depth) {
    onnx::GraphProto outer;
    auto* attribute = outer.add_node()->add_attribute();
    attribute->mutable_g()->Swap(&graph);
    graph.Swap(&outer);
  }
  model.mutable_graph()->Swap(&graph);
  const Folder folder;
  const auto result = LoadOnnx(folder.Write("model.onnx", model.SerializeAsString()));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
}

TEST(LoadOnnxTest, ModelWithoutGraphOrOpsetIsRejected) {
  const Folder folder;
  onnx::ModelProto model = SmallSum();
  model.clear_opset_import();
  ExpectRejected(LoadOnnx(folder.Write("a.onnx", model.SerializeAsString())), "no opset");
  model.clear_graph();
  ExpectRejected(LoadOnnx(folder.Write("b.onnx", model.SerializeAsString())), "no graph");
}

TEST(LoadOnnxTest, TensorSizesMustFit) {
  const Folder folder;
  const auto load = [&](const std::function<void(onnx::TensorProto&)>& change) {
    onnx::ModelProto model = SmallSum();
    change(*model.mutable_graph()->mutable_initializer(0));
    return LoadOnnx(folder.Write("model.onnx", model.SerializeAsString()));
  };
  ExpectRejected(load([](auto& tensor) { tensor.mutable_raw_data()->pop_back(); }), "tensor 'w' needs 24 bytes");
  ExpectRejected(load([](auto& tensor) { tensor.set_dims(0, -2); }), "impossible shape");
  ExpectRejected(load([](auto& tensor) {
                   tensor.set_dims(0, int64_t{1} << 33);
                   tensor.set_dims(1, int64_t{1} << 33);
                 }),
                 "impossible shape");
  ExpectRejected(load([](auto& tensor) { tensor.set_data_type(99); }), "element type 99");
  ExpectRejected(load([](auto& tensor) {
                   tensor.clear_raw_data();
                   tensor.add_float_data(1);
                 }),
                 "needs 6 values");
  ExpectRejected(load([](auto& tensor) { tensor.clear_raw_data(); }), "needs 6 values");
}

TEST(LoadOnnxTest, TensorInASubgraphIsCheckedToo) {
  onnx::ModelProto model = Parse(R"(
    <ir_version: 8, opset_import: ["" : 17]> g (bool c, float[1] x) => (float[1] y) {
      y = If(c) <then_branch = t () => (float[1] a) { a = Identity(x) },
        else_branch = e () => (float[1] b) { b = Constant<value = float[1] {1}>() }>
    })");
  VisitGraphs(*model.mutable_graph(), [](onnx::GraphProto& graph) {
    for (auto& node : *graph.mutable_node()) {
      if (node.op_type() == "Constant") node.mutable_attribute(0)->mutable_t()->set_dims(0, 1000);
    }
  });
  const Folder folder;
  ExpectRejected(LoadOnnx(folder.Write("model.onnx", model.SerializeAsString())), "needs 1000 values");
}

TEST(LoadOnnxTest, ExternalDataIsBroughtIn) {
  const Folder folder;
  std::string data(64, '\0');
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::memcpy(data.data() + 16, values.data(), 24);
  folder.Write("m/w.bin", data);
  folder.Write("m/sub/w.bin", data);
  for (const char* location : {"w.bin", "./w.bin", "sub/w.bin"}) {
    const auto model = LoadExternal(folder, {{"location", location}, {"offset", "16"}, {"length", "24"}});
    ASSERT_TRUE(model) << model.error().message;
    const auto tensor = ReadTensor(model->graph().initializer(0));
    ASSERT_TRUE(tensor) << tensor.error().message;
    EXPECT_EQ(ToFloats(*tensor), values);
  }
  const auto files =
      ExternalFiles(folder.Write("m/model.onnx", ExternalSum({{"location", "./sub/w.bin"}}).SerializeAsString()));
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_THAT(*files, ElementsAre("sub/w.bin"));
}

TEST(LoadOnnxTest, ExternalDataOutsideTheFolderIsRejected) {
  const Folder folder;
  folder.Write("secret", std::string(64, 's'));
  folder.Write("m/w.bin", std::string(64, 'w'));
  fs::create_directories(folder.path() / "other");
  fs::create_symlink("../secret", folder.path() / "m/link");
  fs::create_symlink(folder.path() / "secret", folder.path() / "m/absolute_link");
  fs::create_symlink("w.bin", folder.path() / "m/inner_link");
  fs::create_symlink("..", folder.path() / "m/up");
  ASSERT_EQ(::mkfifo((folder.path() / "m/pipe").c_str(), 0600), 0);
  for (const auto& location :
       std::vector<std::string>{"../secret", (folder.path() / "secret").string(), "sub/../../secret", ".."}) {
    ExpectRejected(LoadExternal(folder, {{"location", location}}), "outside the model's folder");
  }
  for (const char* location : {"link", "absolute_link", "inner_link", "up/secret"})
    ExpectRejected(LoadExternal(folder, {{"location", location}}), "through a link");
  ExpectRejected(LoadExternal(folder, {{"location", "pipe"}}), "not a regular file");
  ExpectRejected(LoadExternal(folder, {{"location", "."}}), "external data");
  ExpectRejected(LoadExternal(folder, {{"location", "gone.bin"}}), "is missing");
  ExpectRejected(LoadExternal(folder, {{"offset", "0"}}), "without a location");
  const auto files =
      ExternalFiles(folder.Write("m/model.onnx", ExternalSum({{"location", "up/secret"}}).SerializeAsString()));
  EXPECT_FALSE(files.has_value());
}

TEST(LoadOnnxTest, ExternalPlacesMustFitTheFileAndTheTensor) {
  const Folder folder;
  folder.Write("m/w.bin", std::string(64, 'w'));
  ExpectRejected(LoadExternal(folder, {{"location", "w.bin"}, {"offset", "41"}}), "beyond the end");
  ExpectRejected(LoadExternal(folder, {{"location", "w.bin"}, {"offset", "18446744073709551615"}}), "beyond the end");
  ExpectRejected(LoadExternal(folder, {{"location", "w.bin"}, {"offset", "-1"}}), "offset '-1'");
  ExpectRejected(LoadExternal(folder, {{"location", "w.bin"}, {"length", "25"}}), "declares 25");
  ExpectRejected(LoadExternal(folder, {{"location", "w.bin"}, {"length", "12 "}}), "length '12 '");
  onnx::ModelProto huge = ExternalSum({{"location", "w.bin"}});
  huge.mutable_graph()->mutable_initializer(0)->set_dims(0, int64_t{1} << 40);
  ExpectRejected(LoadOnnx(folder.Write("m/model.onnx", huge.SerializeAsString())), "more than");
}

TEST(LoadOnnxTest, ExternalWeightsCanBeLeftWhereTheyAre) {
  const Folder folder;
  const auto model = LoadOnnx(folder.Write("m/model.onnx", ExternalSum({{"location", "w.bin"}}).SerializeAsString()),
                              Weights::leave_external);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_FALSE(ReadTensor(model->graph().initializer(0)).has_value());
}

TEST(LoadOnnxTest, NamelessDimensionsAreFreeAndUnrelated) {
  const auto model = LoadOnnx(TextAngle());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(DimsOf(model->graph().input(0)), (std::vector<int64_t>{-1, 3, -1, -1}));
  EXPECT_FALSE(model->graph().input(0).type().tensor_type().shape().dim(2).has_dim_param());
}

TEST(CheckModelTest, InvalidModelsAreRejectedInOneLine) {
  EXPECT_TRUE(CheckModel(SmallSum()));
  onnx::ModelProto model = SmallSum();
  model.mutable_graph()->mutable_node(0)->set_op_type("NoSuchOperator");
  const auto result = CheckModel(model);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::kRejected);
  EXPECT_THAT(result.error().message, HasSubstr("NoSuchOperator"));
  EXPECT_EQ(result.error().message.find('\n'), std::string::npos);
}

TEST(CheckModelTest, OpsetOfTheFutureIsRejected) {
  onnx::ModelProto model = SmallSum();
  SetOpset(model, "", 99);
  const auto result = CheckModel(model);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().message, HasSubstr("opset 99"));
}

TEST(CheckModelTest, OperatorsOfOtherDomainsPassWhereTheDomainIsImported) {
  onnx::ModelProto model = SmallSum();
  model.mutable_graph()->mutable_node(0)->set_domain("com.microsoft");
  model.mutable_graph()->mutable_node(0)->set_op_type("BiasGelu");
  EXPECT_FALSE(CheckModel(model));
  SetOpset(model, "com.microsoft", 1);
  EXPECT_TRUE(CheckModel(model));
}

}  // namespace
}  // namespace hone::test
