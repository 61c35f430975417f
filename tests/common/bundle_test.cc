#include "common/artifact/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "common/base/digest.h"
#include "tests/common/scratch.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class BundleTest : public Scratch {
 protected:
  static std::vector<std::string> Paths(const proto::Bundle& bundle) {
    std::vector<std::string> paths;
    for (const proto::File& file : bundle.files()) paths.push_back(file.path());
    return paths;
  }
  static proto::Bundle Made(const std::vector<std::string>& paths) {
    proto::Bundle bundle;
    for (const std::string& path : paths) {
      proto::File& file = *bundle.add_files();
      file.set_path(path);
      file.set_digest(DigestOf(path));
      file.set_size_bytes(path.size() + 1);
    }
    return bundle;
  }
};

TEST_F(BundleTest, SafePathsAreRelativePlainAndBounded) {
  for (const std::string& safe :
       std::vector<std::string>{"a", "a/b.c", "..a/b..", ".hidden", "a b", "\xc3\xa9", std::string(255, 'x')}) {
    EXPECT_TRUE(IsSafeRelativePath(safe)) << safe;
  }
  const std::string long_path = std::string(255, 'a') + "/" + std::string(255, 'b') + "/" + std::string(255, 'c') +
                                "/" + std::string(255, 'd') + "/e";
  for (const std::string& unsafe :
       std::vector<std::string>{"", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a\nb",
                                "a\x7f", std::string("a\0b", 3), "\xff", std::string(256, 'x'), long_path}) {
    EXPECT_FALSE(IsSafeRelativePath(unsafe)) << unsafe;
  }
}

TEST_F(BundleTest, IdOfOneFileIsItsDigestAndOfSeveralTheirListsDigest) {
  EXPECT_EQ(BundleId(Made({"a"})), DigestOf("a"));
  proto::Bundle bundle = Made({"a", "b"});
  EXPECT_EQ(BundleId(bundle), DigestOf("a " + DigestOf("a") + " 2\nb " + DigestOf("b") + " 2\n"));
  EXPECT_EQ(BundleId(bundle), BundleId(Made({"b", "a"})));
  bundle.set_format("onnx");
  EXPECT_EQ(BundleId(bundle), BundleId(Made({"a", "b"})));
  EXPECT_EQ(BundleBytes(bundle), 4u);
}

TEST_F(BundleTest, CheckRefusesWhatCannotLieInAFolder) {
  EXPECT_TRUE(CheckBundle(Made({"a", "a-b", "a.b/c"})));
  for (const auto& paths : std::vector<std::vector<std::string>>{
           {}, {"b", "a"}, {"a", "a"}, {"../a"}, {"a", "a-b", "a/b"}, {"a/b", "a/b/c"}}) {
    EXPECT_EQ(CodeOf(CheckBundle(Made(paths))), ErrorCode::kRejected);
  }
  proto::Bundle bundle = Made({"a", "b"});
  bundle.set_main("b");
  EXPECT_TRUE(CheckBundle(bundle));
  bundle.set_main("c");
  EXPECT_EQ(CodeOf(CheckBundle(bundle)), ErrorCode::kRejected);
  bundle = Made({"a", "b"});
  bundle.mutable_files(1)->set_digest("sha256:123");
  EXPECT_EQ(CodeOf(CheckBundle(bundle)), ErrorCode::kRejected);
  bundle = Made({"a", "b"});
  bundle.mutable_files(1)->set_size_bytes(0);
  EXPECT_EQ(CodeOf(CheckBundle(bundle)), ErrorCode::kRejected);
  bundle.mutable_files(1)->set_size_bytes(UINT64_MAX);
  EXPECT_EQ(CodeOf(CheckBundle(bundle)), ErrorCode::kRejected);
}

TEST_F(BundleTest, CheckRefusesTooManyFiles) {
  std::vector<std::string> paths;
  for (int i = 0; i <= 100'000; ++i) paths.push_back(std::to_string(1'000'000 + i));
  EXPECT_EQ(CodeOf(CheckBundle(Made(paths))), ErrorCode::kRejected);
  paths.pop_back();
  EXPECT_TRUE(CheckBundle(Made(paths)));
}

TEST_F(BundleTest, OnnxFileStandsAlone) {
  Write("model.onnx", "graph");
  const auto bundle = BundleOfModel(Path("model.onnx"), {});
  ASSERT_TRUE(bundle);
  EXPECT_EQ(bundle->format(), "onnx");
  EXPECT_EQ(bundle->main(), "model.onnx");
  EXPECT_THAT(Paths(*bundle), ElementsAre("model.onnx"));
  EXPECT_EQ(BundleId(*bundle), DigestOf("graph"));
  EXPECT_EQ(bundle->files(0).size_bytes(), 5u);
  EXPECT_EQ(PathIn(Path("."), bundle->files(0)), fs::absolute(Path(".")) / "model.onnx");
}

TEST_F(BundleTest, ExternalDataBelongsToItsModel) {
  Write("m/model.onnx", "graph");
  Write("m/weights/w0", "0");
  Write("m/a.bin", "1");
  const auto external = [](const std::vector<std::string>& files) {
    return [files](const fs::path&) -> Result<std::vector<std::string>> { return files; };
  };
  const auto bundle = BundleOfModel(Path("m/model.onnx"), external({"weights/w0", "a.bin", "weights/w0"}));
  ASSERT_TRUE(bundle);
  EXPECT_THAT(Paths(*bundle), ElementsAre("a.bin", "model.onnx", "weights/w0"));
  EXPECT_TRUE(CheckBundle(*bundle));

  Write("secret", "s");
  fs::create_symlink(Path("secret"), Path("m/link"));
  fs::create_directory_symlink(Path("."), Path("m/out"));
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"), external({"../secret"}))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"), external({Path("secret").string()}))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"), external({"link"}))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"), external({"out/secret"}))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"), external({"gone"}))), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("m/model.onnx"),
                                 [](const fs::path&) -> Result<std::vector<std::string>> {
                                   return Fail(ErrorCode::kFailed, "crashed");
                                 })),
            ErrorCode::kFailed);
}

TEST_F(BundleTest, FormatsBringTheirCompanions) {
  Write("x.xml", "<net/>");
  EXPECT_EQ(CodeOf(BundleOfModel(Path("x.xml"), {})), ErrorCode::kNotFound);
  EXPECT_THAT(MessageOf(BundleOfModel(Path("x.xml"), {})), HasSubstr("x.bin"));
  Write("x.bin", "");
  EXPECT_THAT(Paths(BundleOfModel(Path("x.xml"), {}).value()), ElementsAre("x.xml"));
  Write("x.bin", "weights");
  const auto ir = BundleOfModel(Path("x.xml"), {});
  EXPECT_THAT(Paths(*ir), ElementsAre("x.bin", "x.xml"));
  EXPECT_EQ(ir->main(), "x.xml");
  EXPECT_EQ(ir->format(), "openvino_ir");

  Write("p.pdmodel", "program");
  Write("p.pdiparams", "weights");
  EXPECT_EQ(BundleOfModel(Path("p.pdmodel"), {})->format(), "paddle");
  Write("t.tflite", "flat");
  EXPECT_EQ(BundleOfModel(Path("t.tflite"), {})->format(), "tflite");
  Write("f.PB", "frozen");
  EXPECT_EQ(BundleOfModel(Path("f.PB"), {})->format(), "tensorflow");
}

TEST_F(BundleTest, SavedModelIsItsFolder) {
  Write("saved/saved_model.pb", "graph");
  Write("saved/variables/variables.index", "i");
  Write("saved/.DS_Store", "junk");
  const auto bundle = BundleOfModel(Path("saved/"), {});
  ASSERT_TRUE(bundle);
  EXPECT_EQ(bundle->format(), "tensorflow");
  EXPECT_EQ(bundle->main(), "");
  EXPECT_THAT(Paths(*bundle), ElementsAre("saved_model.pb", "variables/variables.index"));
  fs::create_symlink(Path("saved/saved_model.pb"), Path("saved/variables/link"));
  EXPECT_EQ(CodeOf(BundleOfModel(Path("saved"), {})), ErrorCode::kRejected);
}

TEST_F(BundleTest, ModelsThatAreNoneAreRefused) {
  EXPECT_EQ(CodeOf(BundleOfModel(Path("gone.onnx"), {})), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(BundleOfModel(Write("x.txt", "x"), {})), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Write("noextension", "x"), {})), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Write("empty.onnx", ""), {})), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("."), {})), ErrorCode::kRejected);
  ASSERT_EQ(mkfifo(Path("pipe.onnx").c_str(), 0600), 0);
  EXPECT_EQ(CodeOf(BundleOfModel(Path("pipe.onnx"), {})), ErrorCode::kRejected);
  Write("x.onnx", "x");
  fs::create_symlink(Path("x.onnx"), Path("link.onnx"));
  const auto link = BundleOfModel(Path("link.onnx"), {});  // Whoever named it meant it.
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(link->main(), "link.onnx");
  EXPECT_EQ(BundleId(*link), BundleId(BundleOfModel(Path("x.onnx"), {}).value()));
  fs::create_symlink(Path("nowhere"), Path("dangling.onnx"));
  EXPECT_EQ(CodeOf(BundleOfModel(Path("dangling.onnx"), {})), ErrorCode::kRejected);
}

TEST_F(BundleTest, DataSetsAreKnownByTheirShape) {
  const auto npz = BundleOfData(Write("d.npz", "zip"));
  ASSERT_TRUE(npz);
  EXPECT_EQ(npz->format(), "npz");
  EXPECT_EQ(npz->main(), "d.npz");

  Write("onnx/model.onnx", "graph");
  Write("onnx/test_data_set_0/input_0.pb", "i");
  Write("onnx/test_data_set_0/output_0.pb", "o");
  Write("onnx/test_data_set_0/notes.txt", "n");
  Write("onnx/test_data_set_10/input_0.pb", "i");
  const auto tests = BundleOfData(Path("onnx"));
  ASSERT_TRUE(tests);
  EXPECT_EQ(tests->format(), "onnx_test_data");
  EXPECT_EQ(tests->main(), "");
  EXPECT_THAT(Paths(*tests),
              ElementsAre("test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb", "test_data_set_10/input_0.pb"));
}

TEST_F(BundleTest, ImagesComeWithClassFoldersOrLabels) {
  Write("classes/1/b.PNG", "b");
  Write("classes/0/a.jpg", "a");
  Write("classes/0/readme.md", "r");
  Write("classes/.thumbnails/a.jpg", "t");
  const auto classes = BundleOfData(Path("classes"));
  ASSERT_TRUE(classes);
  EXPECT_EQ(classes->format(), "images");
  EXPECT_THAT(Paths(*classes), ElementsAre("0/a.jpg", "1/b.PNG"));

  Write("labelled/a.bmp", "a");
  Write("labelled/labels.csv", "a.bmp,0");
  EXPECT_THAT(Paths(BundleOfData(Path("labelled")).value()), ElementsAre("a.bmp", "labels.csv"));

  fs::create_symlink(Path("labelled/a.bmp"), Path("labelled/b.bmp"));
  EXPECT_EQ(CodeOf(BundleOfData(Path("labelled"))), ErrorCode::kRejected);
}

TEST_F(BundleTest, DataThatIsNoneIsRefused) {
  EXPECT_EQ(CodeOf(BundleOfData(Path("gone"))), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(BundleOfData(Write("x.csv", "x"))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(BundleOfData(Write("e.npz", ""))), ErrorCode::kRejected);
  fs::create_directories(Path("bare"));
  EXPECT_EQ(CodeOf(BundleOfData(Path("bare"))), ErrorCode::kRejected);
  Write("csv/labels.csv", "a,0");
  EXPECT_EQ(CodeOf(BundleOfData(Path("csv"))), ErrorCode::kRejected);
  Write("hollow/a.png", "");
  EXPECT_EQ(CodeOf(BundleOfData(Path("hollow"))), ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone
