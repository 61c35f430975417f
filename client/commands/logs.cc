// hone logs and retry: what attempts at a trial left behind, and failed trials taken up again.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/command.h"
#include "client/remote.h"
#include "client/text_output.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct LogOptions {
  std::string job;
  CoordinatorFlags coordinator;
  std::optional<uint64_t> target;

  uint32_t study() const { return static_cast<uint32_t>(target.value_or(1) - 1); }
};

struct TrialLog {
  uint32_t study = 0;
  uint64_t trial = 0;
  proto::GetLogReply log;
};

// Trials of a job whose log is shown where none is named.
constexpr size_t kTrialsShown = 10;

Json AttemptJson(const proto::GetLogReply::Attempt& attempt) {
  return {{"attempt", attempt.attempt()},
          {"kind", attempt.kind()},
          {"pass", attempt.pass()},
          {"worker", attempt.worker()},
          {"outcome", attempt.outcome()},
          {"error", attempt.error()},
          {"signal", attempt.signal()},
          {"exit_status", attempt.exit_status()},
          {"wall_ms", attempt.wall_ms()},
          {"peak_memory_bytes", attempt.peak_memory_bytes()},
          {"started_unix_ms", attempt.started_unix_ms()},
          {"late_reports", attempt.late_reports()},
          {"output", attempt.output_tail()}};
}

std::string AttemptText(const proto::GetLogReply::Attempt& attempt) {
  const std::string what = attempt.pass().empty() ? attempt.kind() : attempt.kind() + " " + attempt.pass();
  std::string text =
      fmt::format("attempt {}: {} on {}: {} after {}", attempt.attempt(), Printable(what), Printable(attempt.worker()),
                  attempt.outcome(), HumanDuration(static_cast<int64_t>(attempt.wall_ms())));
  if (attempt.signal() != 0) text += fmt::format(", signal {}", attempt.signal());
  if (attempt.peak_memory_bytes() != 0)
    text += fmt::format(", peak memory {}", HumanBytes(attempt.peak_memory_bytes()));
  text += "\n";
  if (!attempt.error().empty()) text += fmt::format("  {}\n", Printable(attempt.error(), attempt.error().size()));
  for (const std::string& line : Split(attempt.output_tail(), '\n')) {
    if (!line.empty()) text += fmt::format("  | {}\n", Printable(line, line.size()));
  }
  return text;
}

std::string LogText(const TrialLog& one) {
  std::string text = fmt::format("trial {} of target {}\n", one.trial, one.study + 1);
  for (const auto& attempt : one.log.attempts()) text += AttemptText(attempt);
  if (one.log.attempts_size() == 0) text += "no attempt was made at it: what it needed was known already\n";
  return text + "to repeat it: " + one.log.command() + "\n";
}

// The one trial that was named, or those of the job that failed.
Result<std::vector<TrialLog>> Logs(Client& client, const LogOptions& options) {
  TRY_ASSIGN(const JobReference reference, ParseJobReference(options.job));
  std::vector<TrialLog> logs;
  if (reference.trial) {
    logs.push_back({options.study(), *reference.trial, {}});
  } else {
    const auto study = options.target ? std::optional<uint32_t>(options.study()) : std::nullopt;
    TRY_ASSIGN(const auto trials, client.Trials(reference.job, study));
    for (const proto::TrialSummary& trial : trials) {
      if (trial.state() == proto::TRIAL_FAILED && logs.size() < kTrialsShown)
        logs.push_back({trial.study(), trial.trial(), {}});
    }
  }
  for (TrialLog& one : logs) {
    TRY_ASSIGN(one.log, client.Log(reference.job, one.study, one.trial));
  }
  return logs;
}

Result<int> ShowLogs(const LogOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const auto logs, Logs(client, options));
  if (console.json) {
    Json trials = Json::array();
    for (const TrialLog& one : logs) {
      Json attempts = Json::array();
      for (const auto& attempt : one.log.attempts()) attempts.push_back(AttemptJson(attempt));
      trials.push_back(
          {{"target", one.study + 1}, {"trial", one.trial}, {"attempts", attempts}, {"command", one.log.command()}});
    }
    TRY(console.PrintJson({{"schema", "hone.logs/1"}, {"trials", trials}}));
    return 0;
  }
  if (logs.empty()) {
    TRY(console.Print("no trial failed; name one: hone logs JOB/TRIAL\n"));
    return 0;
  }
  std::string text;
  for (const TrialLog& one : logs) text += (text.empty() ? "" : "\n") + LogText(one);
  TRY(console.Print(text));
  return 0;
}

Result<int> Retry(const LogOptions& options, Console& console) {
  TRY_ASSIGN(const JobReference reference, ParseJobReference(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  const bool one_study = options.target.has_value() || reference.trial.has_value();
  TRY_ASSIGN(const uint32_t trials,
             client.Retry(reference.job, one_study ? std::optional<uint32_t>(options.study()) : std::nullopt,
                          reference.trial));
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.retry/1"}, {"job", std::to_string(reference.job)}, {"trials", trials}}));
  } else {
    TRY(console.Print(
        fmt::format("job {}: {} failed trial{} tried again\n", reference.job, trials, trials == 1 ? " is" : "s are")));
  }
  return 0;
}

std::shared_ptr<LogOptions> Declare(Flags& flags) {
  auto options = std::make_shared<LogOptions>();
  flags.Argument("JOB", "JOB (its failed trials) or JOB/TRIAL", options->job);
  flags.Count("--target", "N", "of target number N (for a trial: default 1)", options->target, 1, 1000);
  AddCoordinatorFlag(flags, options->coordinator);
  return options;
}

}  // namespace

Run DefineLogs(Flags& flags) {
  const auto options = Declare(flags);
  return [options](Console& console) { return ShowLogs(*options, console); };
}

Run DefineRetry(Flags& flags) {
  const auto options = Declare(flags);
  return [options](Console& console) { return Retry(*options, console); };
}

}  // namespace hone
