#include "client/result_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

void Write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(NewFolderTest, WhatWasMadeGoesUnlessKept) {
  TempFolder folder;
  {
    const auto made = NewFolder::Make(folder / "a/b/c");
    ASSERT_TRUE(made) << made.error().message;
    Write(folder / "a/b/c/file", "x");
  }
  EXPECT_FALSE(fs::exists(folder / "a"));
  {
    auto made = NewFolder::Make(folder / "a/b");
    ASSERT_TRUE(made);
    made->Keep();
  }
  EXPECT_TRUE(fs::exists(folder / "a/b"));
}

TEST(NewFolderTest, FolderThatWasThereStaysWithItsFiles) {
  TempFolder folder;
  Write(folder / "out/mine.txt", "x");
  {
    const auto made = NewFolder::Make(folder / "out");
    const auto state = NewFolder::Make(folder / "out/.hone");
    ASSERT_TRUE(made && state);
  }
  EXPECT_TRUE(fs::exists(folder / "out/mine.txt"));
  EXPECT_FALSE(fs::exists(folder / "out/.hone"));
}

TEST(NewFolderTest, FileInTheWayIsRejected) {
  TempFolder folder;
  Write(folder / "out", "x");
  const auto made = NewFolder::Make(folder / "out");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kRejected);
}

TEST(PlaceModelTest, FilesGetTheirOutputNames) {
  TempFolder folder;
  proto::Bundle bundle;
  bundle.set_format("openvino_ir");
  bundle.set_main("net.xml");
  *bundle.add_files() = FileOf("net.bin");
  *bundle.add_files() = FileOf("net.xml");
  Write(folder / "from/net.bin", "weights");
  Write(folder / "from/net.xml", "graph");
  const auto written = PlaceModel(bundle, folder / "from", folder / "to");
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(written->path, (folder / "to/model.xml").string());
  EXPECT_EQ(written->files.size(), 2U);
  EXPECT_EQ(*ReadFile(folder / "to/model.bin", 100), "weights");
}

}  // namespace
}  // namespace hone::test
