#include "worker/runner/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/subprocess.h"
#include "worker/runner/catalogue.h"
#include "worker/runner/well_formed.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;

TEST(WellFormedTest, BytesThatAreNoTextBecomeQuestionMarks) {
  struct Row {
    const char* given;
    const char* wanted;
  };
  constexpr Row rows[] = {
      {"plain", "plain"},
      {"gr\xc3\xb6\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x99\x82", "gr\xc3\xb6\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x99\x82"},
      {"\xff", "?"},
      {"a\xc3", "a?"},
      {"\xc0\xaf", "??"},              // Overlong.
      {"\xed\xa0\x80", "???"},         // A surrogate.
      {"\xf4\x90\x80\x80", "????"},    // Past the last character.
      {"\xe2\x82", "??"},
  };
  for (const Row& row : rows) {
    proto::TaskResult result;
    result.mutable_error()->set_message(row.given);
    result.mutable_error()->mutable_position()->set_file(row.given);
    MakeWellFormed(result);
    EXPECT_EQ(result.error().message(), row.wanted);
    EXPECT_EQ(result.error().position().file(), row.wanted);
  }
}

TEST(WellFormedTest, RepeatedTextAndMessagesAreReached) {
  proto::TaskResult result;
  result.mutable_build()->add_notes("\xff");
  result.mutable_build()->mutable_model()->add_files()->set_path("\xfe.onnx");
  MakeWellFormed(result);
  EXPECT_EQ(result.build().notes(0), "?");
  EXPECT_EQ(result.build().model().files(0).path(), "?.onnx");
}

TEST(RunTaskTest, TaskWithoutAKindIsRejected) {
  const proto::TaskResult result = RunTask({});
  EXPECT_EQ(result.error().code(), proto::Error::REJECTED);
}

TEST(RunTaskTest, UnknownPassIsAnErrorOfTheWork) {
  proto::Task task;
  task.mutable_build()->mutable_step()->set_pass("no_such_pass");
  const proto::TaskResult result = RunTask(task);
  ASSERT_TRUE(result.has_error());
  EXPECT_THAT(result.error().message(), HasSubstr("no_such_pass"));
}

TEST(CatalogueTest, PassesBackendsTagsAndFingerprintAreThere) {
  const proto::Catalogue catalogue = AssembleCatalogue();
  EXPECT_GT(catalogue.passes_size(), 0);
  std::set<std::string> backends;
  for (const proto::BackendInfo& backend : catalogue.backends()) backends.insert(backend.name());
  EXPECT_EQ(backends, (std::set<std::string>{"onnxruntime", "openvino"}));
  EXPECT_THAT(catalogue.tags(), Contains("cpu"));
  EXPECT_THAT(catalogue.tags(), Contains("ort.cpu"));
  EXPECT_THAT(catalogue.tags(), Contains("openvino.cpu"));
  EXPECT_EQ(catalogue.fingerprint().versions_size(), catalogue.backends_size());
  EXPECT_TRUE(IsDigest(catalogue.fingerprint().digest()));
  EXPECT_EQ(MachineFingerprint().digest(), catalogue.fingerprint().digest());
}

// --- the program
// ---------------------------------------------------------------------------------------------------------------

class WorkerProgramTest : public testing::Test {
 protected:
  WorkerProgramTest() : folder_(ScopedFolder::Make(fs::temp_directory_path(), "worker-").value()) {}
  CommandOutput Run(std::vector<std::string> arguments) const {
    ProcessOptions options;
    options.arguments = std::move(arguments);
    options.arguments.insert(options.arguments.begin(), HONE_BIN_DIR "/hone-worker");
    const auto output = RunCommand(options, std::chrono::seconds(60));
    EXPECT_TRUE(output) << output.error().message;
    return output.value_or(CommandOutput{});
  }
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }
  ScopedFolder folder_;
};

TEST_F(WorkerProgramTest, RunWritesAResultEvenForAnErrorOfTheWork) {
  proto::Task task;
  task.mutable_inspect()->mutable_model()->mutable_bundle()->set_format("onnx");
  ASSERT_TRUE(WriteFile(Path("request"), task.SerializeAsString()));
  const CommandOutput output = Run({"run", "--request", Path("request"), "--result", Path("result")});
  EXPECT_EQ(output.status.code, 0) << output.err;
  proto::TaskResult result;
  ASSERT_TRUE(result.ParseFromString(ReadFile(Path("result"), 1 << 20).value()));
  EXPECT_TRUE(result.has_error());
}

TEST_F(WorkerProgramTest, UnreadableRequestIsAUsageError) {
  EXPECT_EQ(Run({"run", "--request", Path("missing"), "--result", Path("result")}).status.code, 2);
  ASSERT_TRUE(WriteFile(Path("request"), "\xff\xff\xff"));
  EXPECT_EQ(Run({"run", "--request", Path("request"), "--result", Path("result")}).status.code, 2);
  EXPECT_FALSE(fs::exists(Path("result")));
}

TEST_F(WorkerProgramTest, WrongFlagsAreUsageErrors) {
  EXPECT_EQ(Run({"--coordinate", "x"}).status.code, 2);
  EXPECT_EQ(Run({}).status.code, 2);
  EXPECT_EQ(Run({"--coordinator", "tcp://127.0.0.1:1", "--data", Path("data"), "--memory", "much"}).status.code, 2);
  EXPECT_EQ(Run({"--coordinator", "nowhere", "--data", Path("data")}).status.code, 2);
}

TEST_F(WorkerProgramTest, CatalogueIsJsonOnRequest) {
  const CommandOutput output = Run({"catalogue", "--json"});
  EXPECT_EQ(output.status.code, 0) << output.err;
  EXPECT_EQ(output.out.front(), '{');
  EXPECT_THAT(output.out, HasSubstr("\"openvino\""));
}

TEST_F(WorkerProgramTest, FolderInUseEndsWithStatusNineAndTheOwner) {
  ProcessOptions options;
  options.arguments = {HONE_BIN_DIR "/hone-worker", "--coordinator", "ipc://" + Path("nobody.sock"), "--data",
                       Path("data")};
  options.stderr_file = Path("log");
  auto first = Process::Start(options);
  ASSERT_TRUE(first);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!fs::exists(Path("data/spool")) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  const CommandOutput second = Run({"--coordinator", "ipc://" + Path("nobody.sock"), "--data", Path("data")});
  EXPECT_EQ(second.status.code, 9) << second.err;
  EXPECT_THAT(second.err, HasSubstr(std::to_string(first->pid())));
  const ExitStatus stopped = first->Stop(std::chrono::seconds(20));
  EXPECT_EQ(stopped.code, 0);
  EXPECT_EQ(stopped.signal, 0);
}

}  // namespace
}  // namespace hone
