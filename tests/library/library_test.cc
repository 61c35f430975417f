// libhone as somebody else meets it: installed into a folder, found by CMake and by pkg-config, linked into a program
// that searches and measures.
#include <gtest/gtest.h>

#include "tests/support/programs.h"
#include "tests/support/small_search.h"

namespace hone::test {
namespace {

CommandOutput Shell(const std::string& line) {
  ProcessOptions options;
  options.arguments = {"/bin/sh", "-ec", line};
  options.environment = {{"HONE_KEYS", ""},
                         {"PATH", Program("hone").parent_path().string() + ":" + std::getenv("PATH")}};
  auto output = RunCommand(options, Deadline(120));
  EXPECT_TRUE(output) << line;
  if (!output) return {};
  EXPECT_EQ(output->status.code, 0) << line << "\n" << output->out << output->err;
  return *output;
}

class LibraryTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef HONE_SANITIZED
    GTEST_SKIP() << "a sanitized library wants a program that is sanitized too";
#endif
    for (const char* component : {"libhone", "libhone-dev"}) {
      Shell(fmt::format("{} --install {} --prefix {} --component {}", HONE_CMAKE, HONE_BUILD_DIR, prefix(), component));
    }
  }
  std::string prefix() const { return (folder_ / "tree").string(); }
  TempFolder folder_;
};

TEST_F(LibraryTest, AProgramFindsItByCMakeSearchesAndMeasures) {
  const std::string build = (folder_ / "build").string();
  Shell(fmt::format("{0} -S {1}/tests/library/consumer -B {2} -G Ninja -DCMAKE_PREFIX_PATH={3} && {0} --build {2}",
                    HONE_CMAKE, HONE_SOURCE_DIR, build, prefix()));
  const SmallSearch search(folder_.path());
  Coordinator coordinator(folder_.path());
  Worker worker(folder_.path(), "lab-1", coordinator.endpoint());
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1));
  const CommandOutput ran =
      Shell(fmt::format("{}/consumer {} {} {} {}", build, coordinator.endpoint(), search.model().string(),
                        search.recipe().string(), (folder_ / "out").string()));
  EXPECT_NE(ran.out.find("state=complete"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("verdict="), std::string::npos) << ran.out;
  EXPECT_TRUE(fs::exists(folder_ / "out/model.onnx"));
}

TEST_F(LibraryTest, PkgConfigTellsHowToLinkAndOnlyVersionedNamesAreExported) {
  Shell(
      fmt::format("cd {0} && c++ -std=c++17 {1}/tests/library/consumer/consumer.cc $(PKG_CONFIG_PATH={2}/lib/pkgconfig "
                  "pkg-config --cflags --libs hone) "
                  "-o by-pkg-config",
                  folder_.path().string(), HONE_SOURCE_DIR, prefix()));
  const CommandOutput names = Shell(fmt::format("nm -DC --defined-only {}/lib/libhone.so", prefix()));
  std::stringstream lines(names.out);
  size_t api = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("HONE_1") == line.size() - 6 && line.find("@@") == std::string::npos)
      continue;  // The version itself.
    EXPECT_NE(line.find("hone::sdk::v1::"), std::string::npos) << line;
    EXPECT_NE(line.find("@@HONE_1"), std::string::npos) << line;
    ++api;
  }
  EXPECT_GT(api, 8U);
}

}  // namespace
}  // namespace hone::test
