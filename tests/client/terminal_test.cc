// The command on a terminal, in 40 columns, without colour, in a pipe; the keys of a watch, and a terminal that is as
// it was at whatever end.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>

#include "client/table.h"
#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/client/terminal.h"
#include "tests/support/programs.h"
#include "tests/support/small_search.h"

namespace hone::test {
namespace {

using Variables = std::map<std::string, std::string>;

bool Holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t WidestOf(const std::vector<std::string>& lines) {
  size_t widest = 0;
  for (const std::string& line : lines) widest = std::max(widest, DisplayWidth(line));
  return widest;
}

// A job that runs until it is cancelled, or told to end.
class RunningJob {
 public:
  Variables environment(Variables more = {}) const {
    more["HONE_COORDINATOR"] = service_.endpoint();
    more["HONE_KEYS"] = "";
    more["LC_ALL"] = "C.UTF-8";
    return more;
  }
  void Finish() { state_ = proto::JOB_COMPLETE; }
  int cancels() const { return cancels_; }

 private:
  void Answer(const proto::Frame& request, proto::Frame& reply) {
    if (request.has_ping()) reply.mutable_ping_reply();
    if (request.has_get_job()) {
      proto::JobSummary& job = *reply.mutable_get_job_reply()->mutable_job();
      job = FinishedJob();
      job.set_state(static_cast<proto::JobState>(state_.load()));
      job.mutable_studies(0)->set_budget(40);
    }
    if (request.has_list_workers()) {
      proto::WorkerSummary& worker = *reply.mutable_list_workers_reply()->add_workers();
      worker.set_name("a-worker-with-a-very-long-name");
      worker.set_work("measure the accuracy of static_int8(observer=entropy)");
    }
    if (request.has_list_trials()) *reply.mutable_list_trials_reply()->add_trials() = Trial(0, proto::TRIAL_COMPLETE);
    if (request.has_cancel_job()) {
      ++cancels_;
      state_ = proto::JOB_CANCELLED;
      reply.mutable_cancel_job_reply()->set_was_running(true);
    }
    if (request.has_watch_events())
      reply.mutable_watch_events_reply()->set_state(static_cast<proto::JobState>(state_.load()));
  }

  std::atomic<int> state_{proto::JOB_RUNNING};
  std::atomic<int> cancels_{0};
  FakeService service_{[this](const proto::Frame& request, proto::Frame& reply) { Answer(request, reply); }};
};

// --- colour ----------------------------------------------------------------------------------------------------------

struct Coloring {
  const char* what;
  Variables environment;
  std::vector<std::string> flags;
  bool on_terminal;
  bool in_pipe;
};

TEST(ColorTest, FlagsVariablesAndStreamsDecideTogether) {
  const Coloring rows[] = {
      {"nothing said", {}, {}, true, false},
      {"NO_COLOR", {{"NO_COLOR", "1"}}, {}, false, false},
      {"an empty NO_COLOR", {{"NO_COLOR", ""}}, {}, true, false},
      {"--color never", {}, {"--color", "never"}, false, false},
      {"--color always", {}, {"--color", "always"}, true, true},
      {"NO_COLOR and --color always", {{"NO_COLOR", "1"}}, {"--color", "always"}, true, true},
      {"a dumb terminal", {{"TERM", "dumb"}}, {}, false, false},
      {"CLICOLOR_FORCE", {{"CLICOLOR_FORCE", "1"}}, {}, true, true},
      {"NO_COLOR and CLICOLOR_FORCE", {{"NO_COLOR", "1"}, {"CLICOLOR_FORCE", "1"}}, {}, false, false}};
  for (const Coloring& row : rows) {
    std::vector<std::string> words = {"status", "first"};
    words.insert(words.end(), row.flags.begin(), row.flags.end());
    OnTerminal terminal(words, {}, row.environment);
    EXPECT_EQ(terminal.End(), 2) << row.what;
    EXPECT_TRUE(Holds(terminal.text(), "'first' is no job number")) << row.what << terminal.text();
    EXPECT_EQ(HasColor(terminal.text()), row.on_terminal) << row.what;
    Variables in_pipe = {{"NO_COLOR", ""}, {"CLICOLOR_FORCE", ""}, {"FORCE_COLOR", ""}, {"TERM", "xterm"}};
    for (const auto& [name, value] : row.environment) in_pipe[name] = value;
    EXPECT_EQ(HasColor(Hone(words, 60, in_pipe).err), row.in_pipe) << row.what;
  }
}

// --- watch -----------------------------------------------------------------------------------------------------------

TEST(WatchOnTerminalTest, FitsFortyColumnsWithoutColor) {
  RunningJob job;
  OnTerminal terminal({"watch", "3"}, {40, 20}, job.environment({{"NO_COLOR", "1"}}));
  ASSERT_TRUE(terminal.Shows("q leave")) << terminal.text();
  job.Finish();
  EXPECT_EQ(terminal.End(), 0) << terminal.text();
  EXPECT_FALSE(HasColor(terminal.text()));
  const std::vector<std::string> lines = FrameLines(terminal.text());
  EXPECT_GT(lines.size(), 5U);
  EXPECT_LT(WidestOf(lines), 40U);
  EXPECT_TRUE(terminal.IsAsBefore());
}

TEST(WatchOnTerminalTest, APipeOrPlainOrADumbTerminalGetsLinesAlone) {
  RunningJob job;
  job.Finish();
  const Ran piped = Hone({"watch", "3"}, 60, job.environment());
  EXPECT_EQ(piped.code, 0) << piped.err;
  EXPECT_FALSE(Holds(piped.out + piped.err, "\x1b")) << piped.out;
  EXPECT_TRUE(Holds(piped.out, "event=end"));
  for (const auto& [words, term] : {std::pair(std::vector<std::string>{"watch", "3", "--plain"}, "xterm"),
                                    {std::vector<std::string>{"watch", "3"}, "dumb"}}) {
    OnTerminal terminal(words, {}, job.environment({{"TERM", term}}));
    EXPECT_EQ(terminal.End(), 0);
    EXPECT_FALSE(Holds(terminal.text(), "\x1b")) << terminal.text();
    EXPECT_TRUE(terminal.IsAsBefore());
  }
}

// --- keys ------------------------------------------------------------------------------------------------------------

class WatchKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(terminal_.Shows("q leave, the job goes on  p pause  c cancel")) << terminal_.text();
    ASSERT_TRUE(terminal_.ReadsKeys());
  }
  // Nothing a test does may leave the terminal changed.
  int EndRestored() {
    const int code = terminal_.End();
    EXPECT_TRUE(terminal_.IsAsBefore()) << terminal_.text();
    return code;
  }

  RunningJob job_;
  OnTerminal terminal_{{"watch", "3"}, {100, 30}, job_.environment()};
};

TEST_F(WatchKeysTest, QLeavesTheJobGoingOn) {
  terminal_.Press("q");
  EXPECT_EQ(EndRestored(), 130);
  EXPECT_TRUE(Holds(terminal_.text(), "job 3 goes on: hone watch 3")) << terminal_.text();
  EXPECT_EQ(job_.cancels(), 0);
}

TEST_F(WatchKeysTest, PPausesTheViewAndGoesOn) {
  terminal_.Press("p");
  EXPECT_TRUE(terminal_.Shows("paused  p go on")) << terminal_.text();
  terminal_.Press("p");
  EXPECT_TRUE(terminal_.Shows("p pause")) << terminal_.text();
  job_.Finish();
  EXPECT_EQ(EndRestored(), 0);
}

TEST_F(WatchKeysTest, CAsksAndYCancels) {
  terminal_.Press("c");
  EXPECT_TRUE(terminal_.Shows("cancel job 3?")) << terminal_.text();
  EXPECT_EQ(job_.cancels(), 0);
  terminal_.Press("y");
  EXPECT_EQ(EndRestored(), 11);
  EXPECT_EQ(job_.cancels(), 1);
}

TEST_F(WatchKeysTest, AnyOtherKeyTakesTheQuestionBack) {
  for (const char* key : {"n", "q", "\r"}) {
    terminal_.Press("c");
    EXPECT_TRUE(terminal_.Shows("cancel job 3?")) << terminal_.text();
    terminal_.Press(key);
    EXPECT_TRUE(terminal_.Shows("p pause")) << key << terminal_.text();
  }
  job_.Finish();
  EXPECT_EQ(EndRestored(), 0);
  EXPECT_EQ(job_.cancels(), 0);
}

TEST_F(WatchKeysTest, CtrlCLeavesTheTerminalAsItWas) {
  terminal_.Press("\x03");
  EXPECT_EQ(EndRestored(), 130);
  EXPECT_TRUE(Holds(terminal_.text(), "job 3 goes on"));
}

// Sanitizers turn some of these into exits of their own; the terminal is what matters.
TEST(WatchEndsTest, SignalsAndCrashesLeaveTheTerminalAsItWas) {
  for (const int number : {SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGBUS, SIGABRT, SIGFPE}) {
    RunningJob job;
    OnTerminal terminal({"watch", "3"}, {80, 24}, job.environment());
    ASSERT_TRUE(terminal.Shows("q leave")) << terminal.text();
    ASSERT_TRUE(terminal.ReadsKeys());
    terminal.Signal(number);
    EXPECT_NE(terminal.End(), 0) << number;
    EXPECT_TRUE(terminal.IsAsBefore()) << number;
  }
}

TEST(WatchEndsTest, AStoppedWatchGivesTheTerminalBackAndTakesItAgain) {
  RunningJob job;
  OnTerminal terminal({"watch", "3"}, {80, 24}, job.environment());
  ASSERT_TRUE(terminal.Shows("q leave")) << terminal.text();
  terminal.Signal(SIGTSTP);
  EXPECT_TRUE(Eventually([&] { return terminal.IsAsBefore(); }));
  terminal.Signal(SIGCONT);
  EXPECT_TRUE(Eventually([&] { return terminal.ReadsKeys(); }));
  terminal.Press("q");
  EXPECT_EQ(terminal.End(), 130);
  EXPECT_TRUE(terminal.IsAsBefore());
}

// --- a long search into a pipe ---------------------------------------------------------------------------------------

constexpr uint64_t kTrials = 10'000;

// Its job of 10,000 trials, three events each; every hundredth is a new best, and workers come and go.
proto::Event LongEvent(uint64_t sequence) {
  static const char* const kKinds[] = {"build.done", "trial.started", "trial.complete"};
  proto::Event event;
  event.set_sequence(sequence);
  event.set_job(3);
  event.set_unix_ms(1'700'000'000'000 + sequence * 1000);
  event.set_trial((sequence + 2) / 3);
  event.set_kind(kKinds[sequence % 3]);
  if (sequence % 100 == 0) event.set_trial(0), event.set_kind("worker.lost");
  event.set_text(fmt::format("event {}", sequence));
  return event;
}

void LongSearch(const proto::Frame& request, proto::Frame& reply, std::atomic<uint64_t>& told) {
  constexpr uint64_t kLast = 3 * kTrials;
  if (request.has_ping()) reply.mutable_ping_reply();
  if (request.has_get_job()) {
    proto::JobSummary& job = *reply.mutable_get_job_reply()->mutable_job();
    job = FinishedJob();
    job.set_state(told >= kLast ? proto::JOB_COMPLETE : proto::JOB_RUNNING);
    job.mutable_studies(0)->mutable_best()->set_trial(1 + told / 300);
  }
  if (!request.has_watch_events()) return;
  proto::WatchEventsReply& events = *reply.mutable_watch_events_reply();
  const uint64_t after = request.watch_events().after();
  for (uint64_t sequence = after + 1; sequence <= std::min(after + request.watch_events().limit(), kLast); ++sequence)
    *events.add_events() = LongEvent(sequence);
  told = std::min(after + request.watch_events().limit(), kLast);
  events.set_last(kLast);
  events.set_state(proto::JOB_COMPLETE);
}

TEST(LongWatchTest, TenThousandTrialsAreAtMost400LinesWithOneEnd) {
  std::atomic<uint64_t> told{0};
  FakeService service([&](const proto::Frame& request, proto::Frame& reply) { LongSearch(request, reply, told); });
  for (const std::vector<std::string>& words : {std::vector<std::string>{"watch", "3"}, {"watch", "3", "--compact"}}) {
    told = 0;
    const Ran ran = Hone(words, 60, {{"HONE_COORDINATOR", service.endpoint()}, {"HONE_KEYS", ""}});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(told.load(), 3 * kTrials);
    const auto lines = std::count(ran.out.begin(), ran.out.end(), '\n');
    EXPECT_GT(lines, 20) << words.size();
    EXPECT_LE(lines, 400) << words.size();
    const size_t end = ran.out.find(" event=end ");
    ASSERT_NE(end, std::string::npos);
    EXPECT_EQ(ran.out.find(" event=end ", end + 1), std::string::npos);
    EXPECT_EQ(ran.out.find('\n', end), ran.out.size() - 1) << "it is the last line";
    EXPECT_EQ(ran.err, "");
  }
}

// --- optimize --------------------------------------------------------------------------------------------------------

TEST(OptimizeOnTerminalTest, FortyColumnsWithoutColorAndAPipe) {
  TempFolder folder;
  const SmallSearch search(folder.path());
  const std::vector<std::string> words = {"optimize", search.model().string(), "--recipe", search.recipe().string(),
                                          "--trials", "2", "-o"};
  std::vector<std::string> shown = words, piped = words;
  shown.push_back((folder / "shown").string());
  piped.push_back((folder / "piped").string());
  OnTerminal terminal(shown, {40, 20}, {{"NO_COLOR", "1"}, {"LC_ALL", "C.UTF-8"}});
  EXPECT_EQ(terminal.End(), 0) << terminal.text();
  EXPECT_FALSE(HasColor(terminal.text()));
  EXPECT_FALSE(FrameLines(terminal.text()).empty());
  EXPECT_LT(WidestOf(FrameLines(terminal.text())), 40U);
  EXPECT_TRUE(terminal.IsAsBefore());
  const Ran ran = Hone(piped);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_FALSE(Holds(ran.out + ran.err, "\x1b")) << ran.err;
}

}  // namespace
}  // namespace hone::test
