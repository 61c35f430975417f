// Feeds every target its corpus and seeded mutations of it.
//
//   HONE_FUZZ_SECONDS=60 HONE_FUZZ_SEED=7 build/dev/bin/fuzz_tests --gtest_filter='*/model'      (ops/fuzz runs all of
//   them so)
//
// Without them: a second a target, seed 1. The input under way lies in $HONE_FUZZ_KEEP/input-of-<target> (default: the
// temporary folder), so that one that ends the process is there to be replayed: HONE_FUZZ_INPUT=FILE runs that file
// alone. What was found becomes a file of tests/fuzz/corpus/<target>.
#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>

#include "common/base/file.h"
#include "tests/fuzz/targets.h"
#include "tests/support/setting.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

constexpr size_t kLargest = 1 << 18;

std::string Content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, uint64_t seed) : corpus_(std::move(corpus)), random_(seed) {}
  std::string Next() {
    std::string bytes = corpus_[Below(corpus_.size())];
    for (size_t i = 0, changes = 1 + Below(6); i < changes; ++i) Change(bytes);
    if (bytes.size() > kLargest) bytes.resize(kLargest);
    return bytes;
  }

 private:
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  void Change(std::string& bytes) {
    static constexpr uint8_t kEdges[] = {0, 1, 0x7f, 0x80, 0xff, '.', '/', '\n', '-', '"'};
    const size_t at = Below(bytes.size() + 1);
    const size_t length = 1 + Below(16);
    switch (Below(8)) {
      case 0: if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8))); break;
      case 1: if (at < bytes.size()) bytes[at] = static_cast<char>(kEdges[Below(std::size(kEdges))]); break;
      case 2: bytes.insert(at, std::string(length, static_cast<char>(random_()))); break;
      case 3: bytes.erase(at, length); break;
      case 4: bytes.resize(at); break;
      case 5: bytes.insert(at, bytes.substr(Below(bytes.size() + 1), 4 * length)); break;
      case 6: {
        const std::string& other = corpus_[Below(corpus_.size())];
        bytes = bytes.substr(0, at) + other.substr(Below(other.size() + 1));
        break;
      }
      default:
        for (size_t i = at; i < std::min(bytes.size(), at + length); ++i) bytes[i] = static_cast<char>(random_());
    }
  }

  const std::vector<std::string> corpus_;
  std::mt19937_64 random_;
};

class FuzzTest : public ::testing::TestWithParam<FuzzTarget> {};

TEST_P(FuzzTest, HoldsWhateverTheBytesAre) {
  spdlog::set_level(spdlog::level::off);
  google::protobuf::SetLogHandler(nullptr);
  const FuzzTarget& target = GetParam();
  const fs::path fast = fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
  auto folder = ScopedFolder::Make(fast, "hone-fuzz-");
  ASSERT_TRUE(folder);
  if (const char* input = std::getenv("HONE_FUZZ_INPUT"); input != nullptr)
    return target.run(Content(input), folder->path());
  std::vector<std::string> corpus = target.seeds(folder->path());
  const fs::path kept = fs::path(HONE_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / target.name;
  if (fs::is_directory(kept)) {
    for (const auto& entry : fs::directory_iterator(kept)) corpus.push_back(Content(entry.path()));
  }
  ASSERT_FALSE(corpus.empty());
  const char* keep = std::getenv("HONE_FUZZ_KEEP");
  const fs::path under_way =
      (keep != nullptr ? fs::path(keep) : folder->path()) / fmt::format("input-of-{}", target.name);
  const auto run = [&](const std::string& bytes) {
    std::ofstream(under_way, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    target.run(bytes, folder->path());
  };
  for (const std::string& bytes : corpus) run(bytes);
  Mutator mutator(corpus, Setting("HONE_FUZZ_SEED", 1));
  const auto end = Steady::now() + std::chrono::seconds(Setting("HONE_FUZZ_SECONDS", 1));
  uint64_t runs = corpus.size();
  for (; Steady::now() < end; ++runs) run(mutator.Next());
  fs::remove(under_way);
  fmt::print("{}: {} inputs\n", target.name, runs);
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzTest, ::testing::ValuesIn(FuzzTargets().begin(), FuzzTargets().end()),
                         [](const ::testing::TestParamInfo<FuzzTarget>& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace hone::test
