// External data that somebody made to get at other files, and models that somebody damaged. The cases are those of
// onnx's own history: CVE-2022-25882 and CVE-2024-27318 (dots), CVE-2026-27489 (links, linked parents), CVE-2026-34446
// (hard links), CVE-2026-34445 (keys, sizes).
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "tests/model/support.h"
#include "tests/support/setting.h"
#include "worker/model/survey.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

constexpr char kSecret[] = "the secret bytes, 24 all";
constexpr size_t kWeightBytes = 24;
static_assert(sizeof kSecret - 1 == kWeightBytes);

class AttackTest : public testing::Test {
 protected:
  AttackTest() {
    folder_.Write("secret", kSecret);
    folder_.Write("m/w.bin", std::string(kWeightBytes, 'w'));
  }

  // Every way in: the intake of a person's model, its bundle, and loading.
  void ExpectRefused(const Entries& entries) {
    const fs::path file = folder_.Write("m/model.onnx", ExternalSum(entries).SerializeAsString());
    const auto named = ExternalFiles(file, HardLinks::refuse);
    EXPECT_FALSE(named.has_value()) << entries.front().second;
    if (!named) {
      EXPECT_EQ(named.error().code, ErrorCode::kRejected) << named.error().message;
    }
    const auto bundle =
        BundleOfModel(file, [](const fs::path& model) { return ExternalFiles(model, HardLinks::refuse); });
    EXPECT_FALSE(bundle.has_value());
  }
  void ExpectNotLoaded(const Entries& entries) {
    const auto model = LoadOnnx(folder_.Write("m/model.onnx", ExternalSum(entries).SerializeAsString()));
    ASSERT_FALSE(model.has_value()) << entries.front().second;
    EXPECT_EQ(model.error().code, ErrorCode::kRejected);
  }

  Folder folder_;
};

TEST_F(AttackTest, PathsThatLeadOutAreRefused) {
  fs::create_symlink("../secret", folder_.path() / "m/link");
  fs::create_symlink("..", folder_.path() / "m/up");
  fs::create_symlink("w.bin", folder_.path() / "m/inner");
  fs::create_directories(folder_.path() / "m/a");
  fs::create_symlink("../..", folder_.path() / "m/a/out");
  ASSERT_EQ(mkfifo((folder_.path() / "m/pipe").c_str(), 0600), 0);
  const std::vector<std::string> locations = {"../secret",
                                              "a/../../secret",
                                              "a/../w.bin",
                                              "./../secret",
                                              "..",
                                              ".",
                                              "",
                                              "/etc/passwd",
                                              (folder_.path() / "secret").string(),
                                              "..\\secret",
                                              "C:\\secret",
                                              "C:secret",
                                              "a//w.bin",
                                              "w.bin/",
                                              std::string("w.bin\0.png", 10),
                                              "link",
                                              "inner",
                                              "up/secret",
                                              "a/out/secret",
                                              "pipe",
                                              "a",
                                              "/dev/zero",
                                              "/proc/self/environ",
                                              "/proc/self/fd/0",
                                              std::string(2000, 'x'),
                                              "gone.bin",
                                              "w\nbin"};
  for (const std::string& location : locations) {
    ExpectRefused({{"location", location}});
    ExpectNotLoaded({{"location", location}});
  }
}

TEST_F(AttackTest, HardLinkIsRefusedInAPersonsFolder) {
  fs::create_hard_link(folder_.path() / "secret", folder_.path() / "m/hard");
  ExpectRefused({{"location", "hard"}});
  // Not even where whoever listed the files did not look.
  const fs::path file = folder_.Write("m/model.onnx", ExternalSum({{"location", "hard"}}).SerializeAsString());
  const auto bundle = BundleOfModel(file, [](const fs::path&) { return Result<std::vector<std::string>>({"hard"}); });
  ASSERT_FALSE(bundle.has_value());
  EXPECT_THAT(bundle.error().message, HasSubstr("hard links"));
}

TEST_F(AttackTest, PlacesBeyondTheFileAndUnknownKeysAreRefused) {
  const std::vector<Entries> cases = {
      {{"location", "w.bin"}, {"offset", "-1"}},
      {{"location", "w.bin"}, {"length", "-1"}},
      {{"location", "w.bin"}, {"offset", "18446744073709551615"}, {"length", "24"}},
      {{"location", "w.bin"}, {"offset", "18446744073709551592"}, {"length", "24"}},
      {{"location", "w.bin"}, {"offset", "99999999999999999999999"}},
      {{"location", "w.bin"}, {"length", "9223372036854775807"}},
      {{"location", "w.bin"}, {"offset", "1"}, {"length", "24"}},
      {{"location", "w.bin"}, {"offset", "0x0"}},
      {{"location", "w.bin"}, {"location", "../secret"}},
      {{"location", "w.bin"}, {"__class__", "x"}},
      {{"location", "w.bin"}, {"basepath", "/etc"}},
      {{"offset", "0"}},
  };
  for (const Entries& entries : cases) {
    ExpectRefused(entries);
    ExpectNotLoaded(entries);
  }
}

// A message field that is given twice is merged: the first half says that the data lie elsewhere, the second says
// where.
TEST_F(AttackTest, PlaceInTheSecondHalfOfASplitTensorIsSeen) {
  const auto bytes_of = [](const onnx::TensorProto& tensor) {
    onnx::AttributeProto half;
    *half.mutable_t() = tensor;
    return half.SerializeAsString();
  };
  onnx::TensorProto first = ExternalSum({{"location", "w.bin"}}).graph().initializer(0);
  onnx::TensorProto second;
  auto* entry = second.add_external_data();
  entry->set_key("location");
  entry->set_value("../secret");
  onnx::AttributeProto attribute;
  ASSERT_TRUE(attribute.ParseFromString(bytes_of(first) + bytes_of(second)));
  ASSERT_EQ(attribute.t().external_data_size(), 2);  // The parser does merge.
  onnx::AttributeProto name;
  name.set_name("value");
  name.set_type(onnx::AttributeProto::TENSOR);
  const std::string merged = name.SerializeAsString() + bytes_of(first) + bytes_of(second);
  // Node { op_type, attribute } and so on, by hand: serializing again would merge.
  const auto field = [](char number, const std::string& payload) {
    std::string text(1, static_cast<char>(number << 3 | 2));
    size_t size = payload.size();
    for (; size >= 128; size >>= 7) text += static_cast<char>(size | 128);
    return text + static_cast<char>(size) + payload;
  };
  onnx::NodeProto node;
  node.set_op_type("Constant");
  node.add_output("c");
  const std::string graph =
      SmallSum().graph().SerializeAsString() + field(1, node.SerializeAsString() + field(5, merged));
  onnx::ModelProto shell = SmallSum();
  shell.clear_graph();
  const fs::path file = folder_.Write("m/model.onnx", shell.SerializeAsString() + field(7, graph));
  EXPECT_FALSE(ExternalFiles(file).has_value());
  EXPECT_FALSE(LoadOnnx(file).has_value());
}

// Somebody swaps the file of weights between itself and ways to the secret while the model is taken in again and again.
TEST_F(AttackTest, RacerWhoSwapsLinksGetsNothingOut) {
  const fs::path folder = folder_.path() / "m";
  const fs::path file =
      folder_.Write("m/model.onnx", ExternalSum({{"location", "d/w.bin"}, {"length", "24"}}).SerializeAsString());
  folder_.Write("m/d/w.bin", std::string(kWeightBytes, 'w'));
  folder_.Write("elsewhere/w.bin", kSecret);
  folder_.Write("good", std::string(kWeightBytes, 'w'));
  const std::string secret_digest = DigestOf(kSecret);
  // Loading takes hard links, as hone's own folders are made of them, so links alone are swapped while it is tried.
  std::atomic<bool> hard_links{true};
  std::atomic<bool> links_ended{false};
  std::atomic<bool> done{false};
  std::thread racer([&] {
    std::error_code ignored;
    for (unsigned turn = 0; !done; ++turn) {
      const fs::path swapped = folder / "swap";
      if (turn % 4 == 0) fs::create_symlink("../../secret", swapped, ignored);
      if (turn % 4 == 2 && hard_links) fs::create_hard_link(folder_.path() / "secret", swapped, ignored);
      if (turn % 4 == 1) fs::copy_file(folder_.path() / "good", swapped, ignored);
      if (turn % 4 != 3) {
        fs::rename(swapped, folder / "d/w.bin", ignored);
      } else {
        // The folder itself, for a moment.
        fs::rename(folder / "d", folder / "real", ignored);
        fs::create_directory_symlink("../elsewhere", folder / "d", ignored);
        fs::remove(folder / "d", ignored);
        fs::rename(folder / "real", folder / "d", ignored);
      }
      fs::remove(swapped, ignored);
      // Told by the racer itself: it makes no more of them from here on.
      if (!hard_links) links_ended = true;
    }
  });
  using Clock = std::chrono::steady_clock;
  const auto half = std::chrono::milliseconds(500 * Setting("HONE_RACE_SECONDS", 2));
  size_t looks = 0, taken = 0, loaded = 0, taken_secrets = 0, loaded_secrets = 0;
  for (const auto end = Clock::now() + half; Clock::now() < end; ++looks) {
    const auto bundle =
        BundleOfModel(file, [](const fs::path& model) { return ExternalFiles(model, HardLinks::refuse); });
    if (bundle) {
      ++taken;
      for (const proto::File& described : bundle->files()) taken_secrets += described.digest() == secret_digest;
    }
  }
  hard_links = false;
  while (!links_ended || fs::hard_link_count(folder_.path() / "secret") != 1) std::this_thread::yield();
  for (const auto end = Clock::now() + half; Clock::now() < end; ++looks) {
    const auto model = LoadOnnx(file);
    if (!model) continue;
    ++loaded;
    loaded_secrets += model->graph().initializer(0).raw_data().find("secret") != std::string::npos ? 1 : 0;
  }
  done = true;
  racer.join();
  fmt::print("{} looks, {} bundles and {} models taken\n", looks, taken, loaded);
  EXPECT_EQ(taken_secrets, 0u);
  EXPECT_EQ(loaded_secrets, 0u);
  EXPECT_GT(looks, 10u);
}

// What was damaged is refused by name, or is a model all the same: never a crash.
TEST_F(AttackTest, EveryMutationIsRejectedByNameOrIsAModel) {
  const std::string bytes = ReadFile(TextAngle(), 64 << 20).value();
  const size_t mutations = Setting("HONE_MUTATIONS", 300);
  std::mt19937_64 random(20261121);
  size_t rejected = 0, equal = 0, other = 0;
  for (size_t i = 0; i < mutations; ++i) {
    std::string changed = bytes;
    if (i < 100) {
      changed.resize(bytes.size() * i / 100);
    } else if (i % 3 == 0) {
      for (int flips = 0; flips < 1 + static_cast<int>(random() % 8); ++flips)
        changed[random() % changed.size()] ^= static_cast<char>(1U << random() % 8);
    } else if (i % 3 == 1) {  // A size that lies, near the beginning, where the structure is.
      changed[random() % std::min<size_t>(changed.size(), 20000)] = static_cast<char>(0xff);
    } else {
      const size_t at = random() % changed.size();
      changed.erase(at, 1 + random() % 64);
    }
    const auto model = LoadOnnx(folder_.Write("m/model.onnx", changed));
    if (!model) {
      ++rejected;
      EXPECT_EQ(model.error().code, ErrorCode::kRejected) << model.error().message;
      EXPECT_FALSE(model.error().message.empty());
    } else if (changed == bytes) {
      ++equal;
    } else {
      ++other;  // A model of another digest: nobody takes it for this one.
      EXPECT_NE(DigestOf(changed), DigestOf(bytes));
    }
  }
  fmt::print("{} mutations: {} rejected, {} equal, {} other models\n", mutations, rejected, equal, other);
  EXPECT_GE(rejected, std::min<size_t>(mutations, 100) - 1);
}

// --- bounds
// ----------------------------------------------------------------------------------------------------------------------------

Result<std::optional<Survey>> SurveyOf(const Folder& folder, const onnx::ModelProto& model, const ModelBounds& bounds) {
  const std::string bytes = model.SerializeAsString();
  const RegularFile file = OpenRegular(folder.Write("m/model.onnx", bytes)).value();
  return SurveyModel(file.descriptor.get(), bytes.size(), bounds);
}

TEST_F(AttackTest, EveryBoundIsNamedWhereItIsPassed) {
  onnx::ModelProto model = SmallSum();
  model.mutable_graph()->add_node()->set_op_type("Relu");
  model.mutable_graph()->mutable_node(0)->add_attribute()->set_name("a");
  model.mutable_graph()->mutable_node(0)->add_attribute()->set_name("b");
  *model.mutable_graph()->add_initializer() = RandomWeights("v", {1}, 1);
  struct Row {
    uint64_t ModelBounds::* bound;
    const char* text;
  };
  for (const Row& row : {Row{&ModelBounds::nodes, "nodes"}, Row{&ModelBounds::tensors, "tensors"},
                         Row{&ModelBounds::attributes, "attributes"}, Row{&ModelBounds::values, "described values"},
                         Row{&ModelBounds::messages, "messages"}, Row{&ModelBounds::names, "names"},
                         Row{&ModelBounds::name_bytes, "bytes in one text"},
                         Row{&ModelBounds::depth, "messages within messages"}, Row{&ModelBounds::bytes, "more than"}}) {
    ModelBounds bounds;
    bounds.*row.bound = 1;
    const auto survey = SurveyOf(folder_, model, bounds);
    ASSERT_FALSE(survey.has_value()) << row.text;
    EXPECT_EQ(survey.error().code, ErrorCode::kRejected);
    EXPECT_THAT(survey.error().message, HasSubstr(row.text));
  }
  const auto survey = SurveyOf(folder_, model, {});
  ASSERT_TRUE(survey && *survey);
  EXPECT_EQ((*survey)->nodes, 2u);
  EXPECT_EQ((*survey)->tensors, 2u);
}

TEST_F(AttackTest, FileOfAMillionEmptyNodesIsRefusedBeforeItIsParsed) {
  std::string graph;
  for (int i = 0; i < 1'100'000; ++i) graph += std::string("\x0a\x00", 2);
  std::string bytes = "\x08\x08\x3a";
  size_t size = graph.size();
  for (; size >= 128; size >>= 7) bytes += static_cast<char>(size | 128);
  bytes += static_cast<char>(size) + graph;
  const auto model = LoadOnnx(folder_.Write("m/model.onnx", bytes));
  ASSERT_FALSE(model.has_value());
  EXPECT_THAT(model.error().message, HasSubstr("at most 1000000"));
}

}  // namespace
}  // namespace hone::test
