// What a person sees of a job that runs: a block of lines for a terminal, one line a change elsewhere. Pure functions:
// no terminal, clock or coordinator is asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire.pb.h"

namespace hone {

// --- a picture of candidates -----------------------------------------------------------------------------------

struct SketchPoint {
  enum class Kind { infeasible, feasible, front, baseline, best };   // Later ones are drawn over earlier ones.
  double x = 0;
  double y = 0;
  Kind kind = Kind::feasible;
};

// The first objective over the accuracy lost, else over the second objective, else over the size.
struct SketchAxes {
  std::string x;
  std::string y;                 // "": the job has one figure alone, and there is no picture.
  std::optional<double> limit;   // Largest y that a constraint lets in.
};
SketchAxes AxesOf(const proto::JobSummary& job);
// nullopt where the trial lacks one of the figures.
std::optional<SketchPoint> PointOf(const SketchAxes& axes, const proto::TrialSummary& trial, SketchPoint::Kind kind);
// `height` lines of at most `width` columns, axes included; none where nothing can be drawn.
std::vector<std::string> SketchLines(const SketchAxes& axes, const std::vector<SketchPoint>& points, size_t width,
                                     size_t height, bool utf8);

// --- time ------------------------------------------------------------------------------------------------------

// How long the rest takes: 10 to 90 % of what the gaps between the trials so far let expect.
struct Forecast {
  int64_t ms = 0;
  int64_t low_ms = 0;
  int64_t high_ms = 0;
};
// `finished_ms`: when trials ended, in order. nullopt before 5 of them.
std::optional<Forecast> TimeLeft(const std::vector<int64_t>& finished_ms, uint64_t trials_left, int64_t now_ms);
// By the trials of the last minutes; nullopt before 3.
std::optional<double> TrialsPerMinute(const std::vector<int64_t>& finished_ms, int64_t now_ms);
// "no trial finished for 3m10s (usual: 12 s)"; "" while all is usual.
std::string StallText(const std::vector<int64_t>& finished_ms, int64_t now_ms);

// --- the block -------------------------------------------------------------------------------------------------

struct ProgressState {
  proto::JobSummary job;
  std::vector<std::string> work;         // What workers do now, one each.
  std::vector<int64_t> finished_ms;      // When trials ended, by the coordinator's clock.
  std::vector<SketchPoint> points;       // Of trials, without baseline and best.
  int64_t now_ms = 0;                    // By the coordinator's clock.
  uint64_t missed = 0;                   // Events that the coordinator no longer had.
  std::string remark;                    // "reconnecting ...", or "".
};

// Trials that will have run at the end, as far as is known: the smaller of budget and space; 0 unknown.
uint64_t ExpectedTrials(const proto::JobSummary& job);
uint32_t FinishedTrials(const proto::JobSummary& job);

struct ViewSize {
  size_t width = 80;
  size_t rows = 24;
  bool utf8 = false;
};
// At most `rows` lines, each narrower than `width`: the last column stays free, so that no terminal wraps.
std::vector<std::string> ProgressLines(const ProgressState& state, const ViewSize& size);

// --- lines -----------------------------------------------------------------------------------------------------

using LogFields = std::vector<std::pair<std::string, std::string>>;
// "2026-11-20T05:00:41Z job=42 event=best trial=3 text=\"...\"": logfmt, one line, safe for a terminal.
std::string LogLine(int64_t unix_ms, uint64_t job, const std::string& event, const LogFields& fields);
std::string EventLine(const proto::Event& event, bool several_targets);
// A candidate that became a study's best.
std::string BestLine(int64_t unix_ms, const proto::JobSummary& job, const proto::StudySummary& study);
// A sign of life.
std::string ProgressLine(const ProgressState& state);
// The one last line: state, exit code, the best, and what to type next.
std::string EndLine(int64_t unix_ms, const proto::JobSummary& job, int exit_code);
// The same where the watch ends before the job does.
std::string GoesOnLine(int64_t unix_ms, uint64_t job, int exit_code);
// What is told of events that the coordinator has dropped.
std::string GapText(uint64_t events);
// Whether an event is worth a line (starts and reuses are not).
bool IsWorthALine(const proto::Event& event);
// What a short log keeps: lost workers, failures, the job's own turns.
bool IsWorthAShortLog(const proto::Event& event);
// Whether it tells that a trial has ended for the first time.
bool EndsATrial(const proto::Event& event);

// Text for people at the end: verdict, best and the next command.
std::string VerdictText(const proto::JobSummary& job);
// The exit code that a finished job means: 0 with a best for every study, 1 without, 4, 11.
int JobExitCode(const proto::JobSummary& job);

}  // namespace hone
