// The real program over its wire: bytes in, bytes out, signals, exit codes.
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/subprocess.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr milliseconds kDeadline{60'000};

class WireTest : public ::testing::Test {
 protected:
  WireTest() {
    auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-wire-");
    EXPECT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    endpoint_ = "ipc://" + (folder_->path() / "socket").string();
  }

  std::vector<std::string> Arguments() const {
    return {std::string(HONE_BIN_DIR) + "/hone-coordinator", "--listen",     endpoint_,
            "--data",                                        Data().string(), "--ready-file",
            Ready().string(),                                "--lease-ms",    "1000"};
  }
  std::filesystem::path Data() const { return folder_->path() / "data"; }
  std::filesystem::path Ready() const { return folder_->path() / "ready.json"; }

  void Start() {
    std::filesystem::remove(Ready());
    ProcessOptions options;
    options.arguments = Arguments();
    options.stderr_file = folder_->path() / "log";
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(std::move(*process));
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    // The file appears once requests are served; a process that ended will not write it.
    while (!std::filesystem::exists(Ready())) {
      const auto ended = process_->Wait(milliseconds(10));
      ASSERT_TRUE(ended && !*ended) << "hone-coordinator ended early";
      ASSERT_LT(std::chrono::steady_clock::now(), end);
    }
    std::ifstream file(Ready());
    const auto ready = nlohmann::json::parse(file);
    EXPECT_EQ(ready.at("pid").get<int>(), process_->pid());
    endpoint_ = ready.at("endpoint").get<std::string>();
  }
  void Kill() {
    process_->Signal(SIGKILL);
    ASSERT_TRUE(process_->Wait(kDeadline));
    process_.reset();
  }
  // Runs to the end with the given arguments.
  CommandOutput RunToEnd(std::vector<std::string> arguments) {
    ProcessOptions options;
    options.arguments = std::move(arguments);
    auto output = RunCommand(options, kDeadline);
    EXPECT_TRUE(output);
    return output ? *output : CommandOutput();
  }

  Ask Connect() {
    auto dialer = Dialer::Connect(endpoint_);
    EXPECT_TRUE(dialer);
    std::shared_ptr<Dialer> shared = std::move(*dialer);
    return [shared](proto::Frame frame) { return shared->Call(std::move(frame), kDeadline); };
  }
  uint64_t Submit(const Ask& ask, const std::string& yaml = kRecipe) {
    const auto model = UploadModel(ask, "the model");
    const auto reply = ask(FrameOf([&](auto& frame) {
      *frame.mutable_submit_job()->mutable_recipe() = Recipe(yaml);
      *frame.mutable_submit_job()->mutable_model() = model;
    }));
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? reply->submit_job_reply().job() : 0;
  }
  proto::JobSummary Job(const Ask& ask, uint64_t job) {
    const auto reply = ask(FrameOf([&](auto& frame) { frame.mutable_get_job()->set_job(job); }));
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? reply->get_job_reply().job() : proto::JobSummary();
  }
  // Waits inside the coordinator for the next event of a kind.
  bool AwaitEvent(const Ask& ask, uint64_t job, const std::string& kind) {
    uint64_t after = 0;
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < end) {
      const auto reply = ask(FrameOf([&](auto& frame) {
        frame.mutable_watch_events()->set_job(job);
        frame.mutable_watch_events()->set_after(after);
        frame.mutable_watch_events()->set_wait_ms(5000);
      }));
      if (!reply) return false;
      for (const auto& event : reply->watch_events_reply().events()) {
        if (event.kind() == kind) return true;
        after = event.sequence();
      }
    }
    return false;
  }

  std::optional<ScopedFolder> folder_;
  std::string endpoint_;
  std::optional<Process> process_;
};

TEST_F(WireTest, SearchRunsToItsEndOverTcp) {
  endpoint_ = "tcp://127.0.0.1:0";
  Start();
  EXPECT_THAT(endpoint_, ::testing::MatchesRegex("tcp://127.0.0.1:[1-9][0-9]*"));
  const Ask client = Connect();
  FakeWorker worker(Connect(), "one");
  ASSERT_TRUE(worker.Hello());
  const auto pong = client(FrameOf([](auto& frame) { frame.mutable_ping(); }));
  ASSERT_TRUE(pong);
  EXPECT_EQ(pong->ping_reply().workers(), 1U);
  EXPECT_EQ(pong->ping_reply().protocol(), kProtocol);
  const uint64_t job = Submit(client);
  worker.Work();
  EXPECT_EQ(Job(client, job).state(), proto::JOB_COMPLETE);
  EXPECT_EQ(Job(client, job).studies(0).counts().complete(), kCandidates);
}

// Under an expired lease a failure changes nothing, and a result that there is no other of is taken.
TEST_F(WireTest, ReportUnderAnExpiredLeaseCountsWhereItIsTheOnlyResult) {
  Start();
  const Ask client = Connect();
  FakeWorker one(Connect(), "one");
  ASSERT_TRUE(one.Hello());
  const uint64_t job = Submit(client);
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  ASSERT_TRUE(AwaitEvent(client, job, "attempt.worker_lost"));
  one.held.clear();
  const auto report = [&](proto::Report::Outcome outcome) {
    one.reports[lease->id()] = outcome == proto::Report::DONE ? one.Do(*lease) : ReportOf(*lease, outcome);
    const auto reply = one.Sync(0);
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->acknowledged(), ElementsAre(lease->id()));
  };
  report(proto::Report::CRASHED);
  EXPECT_EQ(Job(client, job).studies(0).baseline().state(), proto::TRIAL_WAITING);
  EXPECT_EQ(Job(client, job).studies(0).baseline().metrics_size(), 0);
  report(proto::Report::DONE);
  EXPECT_EQ(Job(client, job).studies(0).baseline().state(), proto::TRIAL_COMPLETE);
}

// A report sent twice is accepted once.
TEST_F(WireTest, ReportSentTwiceIsAcceptedOnce) {
  Start();
  const Ask client = Connect();
  FakeWorker one(Connect(), "one");
  ASSERT_TRUE(one.Hello());
  const uint64_t job = Submit(client);
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  const auto report = one.Do(*lease);
  one.held.clear();
  for (int i = 0; i < 2; ++i) {
    one.reports[lease->id()] = report;
    const auto reply = one.Sync(0);
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->acknowledged(), ElementsAre(lease->id()));
  }
  EXPECT_EQ(Job(client, job).studies(0).baseline().state(), proto::TRIAL_COMPLETE);
  EXPECT_EQ(Job(client, job).studies(0).baseline().attempts(), 1U);
}

TEST_F(WireTest, KilledCoordinatorGoesOnWithTheSameJobAndWork) {
  Start();
  FakeWorker one(Connect(), "one");
  ASSERT_TRUE(one.Hello());
  const uint64_t job = Submit(Connect());
  one.Work(3);
  const auto lease = one.Take();
  ASSERT_TRUE(lease);
  Kill();
  Start();
  const auto sync = one.Sync(0);
  ASSERT_TRUE(sync) << sync.error().message;
  EXPECT_TRUE(sync->unknown());
  ASSERT_TRUE(one.Hello());
  one.Finish(*lease);
  one.Work();
  const auto summary = Job(Connect(), job);
  EXPECT_EQ(summary.state(), proto::JOB_COMPLETE);
  EXPECT_EQ(summary.studies(0).counts().complete(), kCandidates);
}

TEST_F(WireTest, LargeArtifactGoesUpAndDownInChunksAndResumesAfterAKill) {
  Start();
  std::string bytes(5'000'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
  const std::string file = (folder_->path() / "large").string();
  ASSERT_TRUE(WriteFile(file, bytes));
  {
    const Ask ask = Connect();
    const auto first = ask(FrameOf([&](auto& frame) {
      frame.mutable_put_chunk()->set_digest(DigestOf(bytes));
      frame.mutable_put_chunk()->set_size_bytes(bytes.size());
      frame.mutable_put_chunk()->set_data(bytes.substr(0, kChunkBytes));
    }));
    ASSERT_TRUE(first);
    EXPECT_EQ(first->put_chunk_reply().received_bytes(), kChunkBytes);
  }
  Kill();
  Start();
  auto dialer = Dialer::Connect(endpoint_);
  ASSERT_TRUE(dialer);
  const auto up = UploadFile(**dialer, file, DigestOf(bytes), bytes.size());
  ASSERT_TRUE(up) << up.error().message;
  const std::string copy = (folder_->path() / "copy").string();
  const auto down = DownloadFile(**dialer, DigestOf(bytes), copy);
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_EQ(*ReadFile(copy, 10'000'000), bytes);
}

TEST_F(WireTest, SecondCoordinatorOnTheFolderIsRefusedAndNamesTheFirst) {
  Start();
  auto arguments = Arguments();
  arguments[2] = "tcp://127.0.0.1:0";
  const auto output = RunToEnd(arguments);
  EXPECT_EQ(output.status.code, 9);
  EXPECT_THAT(output.err, HasSubstr(std::to_string(process_->pid())));
  EXPECT_THAT(output.err, HasSubstr("in use"));
}

TEST_F(WireTest, TerminationEndsWellAndTakesTheReadyFileAway) {
  Start();
  for (const int signal : {SIGTERM, SIGINT}) {
    process_->Signal(signal);
    const auto ended = process_->Wait(kDeadline);
    ASSERT_TRUE(ended && *ended);
    EXPECT_EQ((*ended)->code, 0);
    EXPECT_EQ((*ended)->signal, 0);
    EXPECT_FALSE(std::filesystem::exists(Ready()));
    if (signal == SIGTERM) Start();
  }
}

TEST_F(WireTest, UnfitConfigurationEndsWith78) {
  const auto run = [&](const std::string& listen, const std::string& data) {
    return RunToEnd(
        {std::string(HONE_BIN_DIR) + "/hone-coordinator", "--listen", listen, "--data", data, "--log-level", "off"});
  };
  EXPECT_EQ(run("nonsense", Data().string()).status.code, 78);
  EXPECT_EQ(run("tcp://0.0.0.0:0", Data().string()).status.code, 78);
  ASSERT_TRUE(WriteFile(folder_->path() / "file", "x"));
  EXPECT_EQ(run("tcp://127.0.0.1:0", (folder_->path() / "file" / "data").string()).status.code, 78);

  Start();
  const auto taken = run(endpoint_, (folder_->path() / "other").string());
  EXPECT_EQ(taken.status.code, 78);
  EXPECT_THAT(taken.err, HasSubstr("socket"));
  Kill();

  ASSERT_TRUE(WriteFile(Data() / "hone.db", std::string(20'000, 'x')));
  const auto damaged = run(endpoint_, Data().string());
  EXPECT_EQ(damaged.status.code, 78);
  EXPECT_THAT(damaged.err, HasSubstr("hone.db"));
  EXPECT_EQ(RunToEnd({std::string(HONE_BIN_DIR) + "/hone-coordinator", "--what"}).status.code, 2);
}

TEST_F(WireTest, OneFailedRequestLeavesTheOthersAlone) {
  Start();
  const Ask ask = Connect();
  const auto bad = ask(FrameOf([](auto& frame) { frame.mutable_get_chunk()->set_digest("../../etc/passwd"); }));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::kRejected);
  const auto missing = ask(FrameOf([](auto& frame) { frame.mutable_get_chunk()->set_digest(DigestOf("missing")); }));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(ask(FrameOf([](auto& frame) { frame.mutable_ping(); })));
}

}  // namespace
}  // namespace hone::test
