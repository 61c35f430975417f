// Following a job: a live view on a terminal, a line an event elsewhere.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/console.h"

namespace hone {

// What the live view shows.
struct ProgressState {
  proto::JobSummary job;
  std::vector<std::string> work;   // What workers do now, one each.
  int64_t elapsed_ms = 0;          // Since this program began to watch.
  uint32_t done_at_start = 0;      // Trials that were finished by then.
  uint64_t missed = 0;             // Events that the coordinator no longer had.
  std::string remark;              // "reconnecting ...", or "".
};

// Trials that will have run at the end, as far as is known: the smaller of budget and space; 0 unknown.
uint64_t ExpectedTrials(const proto::JobSummary& job);
uint32_t FinishedTrials(const proto::JobSummary& job);
// Milliseconds left by the pace so far; -1 before 3 trials finished while watching, or where the end is unknown.
int64_t RemainingMs(const ProgressState& state);
// At most `rows` lines of at most `width` columns.
std::vector<std::string> ProgressLines(const ProgressState& state, size_t width, size_t rows, bool utf8);
// "11/40 trials, best 2.10x, about 2m left".
std::string ProgressSentence(const ProgressState& state);
// "12:01:03  text", local time.
std::string EventLine(const proto::Event& event, bool several_targets);
// What is told of events that the coordinator has dropped.
std::string GapText(uint64_t events);
// Whether an event is worth a line of a log (starts and reuses are not).
bool IsWorthALine(const proto::Event& event);

struct FollowOptions {
  std::function<void(const std::string&)> line;        // Takes lines where there is no live view; may be empty.
  std::function<Result<>()> tend;                      // Called between looks; an error ends the watch.
  std::chrono::milliseconds timeout{0};                // 0: none. kTimeout.
  std::chrono::milliseconds lost_for{60'000};          // Without an answer for this long: kUnreachable.
  uint64_t after = 0;                                  // Event number to go on from.
  bool live = false;                                   // Draw on stderr.
};
// Until the job is over; its last summary. kInterrupted on Ctrl-C.
Result<proto::JobSummary> FollowJob(Client& client, uint64_t job, Console& console, const FollowOptions& options);

// The exit code that a finished job means: 0 with a best for every study, 1 without, 4, 11.
int JobExitCode(const proto::JobSummary& job);

}  // namespace hone
