#include "client/nightly/alerts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "client/json_output.h"
#include "client/nightly/report.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"

namespace hone {
namespace {

constexpr std::chrono::seconds kHookTime{60};
constexpr size_t kMaxOutputBytes = 4096;

std::string PlaceOf(const SeriesKey& key) { return fmt::format("{} of {} on {}", key.metric, key.model, key.target); }

bool IsAbout(const Alert& alert, const SeriesResult& result) {
  return alert.key.model == result.key.model && alert.key.target == result.key.target &&
         alert.key.metric == result.key.metric;
}

bool IsJudged(NightVerdict verdict) { return IsFinding(verdict) || verdict == NightVerdict::equivalent; }

Result<> RunHook(std::vector<std::string> arguments, const std::string& document) {
  ProcessOptions options;
  options.arguments = std::move(arguments);
  options.environment["HONE_ALERT"] = document;
  TRY_ASSIGN(const CommandOutput output, RunCommand(options, kHookTime, kMaxOutputBytes));
  if (output.status.code == 0 && output.status.signal == 0) return {};
  const std::string said(Trim(output.err));
  return Fail(ErrorCode::kFailed,
              fmt::format("{} ended with {}{}{}", options.arguments[0], output.status.signal != 0 ? "signal" : "status",
                          output.status.signal != 0 ? output.status.signal : output.status.code,
                          said.empty() ? "" : ": " + Printable(said, 500)));
}

Result<> Deliver(const Suite& suite, const NightRecord& night, const AlertEvent& event) {
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-alert-"));
  const std::string document = (folder.path() / "alert.json").string();
  TRY(WriteFile(document, AlertJson(night, event).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  if (!suite.command.empty()) {
    std::vector<std::string> arguments = suite.command;
    // A program that lies beside the suite is named as the suite's other files are.
    if (arguments[0].starts_with("./")) arguments[0] = suite.Beside(arguments[0]).string();
    arguments.push_back(document);
    TRY(RunHook(std::move(arguments), document));
  }
  if (suite.webhook.empty()) return {};
  return RunHook({"curl", "--fail", "--silent", "--show-error", "--max-time", "30", "--header",
                  "Content-Type: application/json", "--data-binary", "@" + document, "--", suite.webhook},
                 document);
}

}  // namespace

Result<std::vector<AlertEvent>> AlertsOf(NightHistory& history, const NightRecord& night) {
  TRY_ASSIGN(const std::vector<Alert> open, history.OpenAlerts(night.suite));
  std::vector<AlertEvent> events;
  for (const SeriesResult& result : night.results) {
    const auto known =
        std::find_if(open.begin(), open.end(), [&](const Alert& alert) { return IsAbout(alert, result); });
    const bool regressed = result.judgement.verdict == NightVerdict::regression;
    const bool other_level = known != open.end() && !result.accepted.empty() && known->accepted != result.accepted;
    const bool gone = known != open.end() && (other_level || (IsJudged(result.judgement.verdict) && !regressed));
    if (gone) {
      Alert alert = *known;
      alert.open = false;
      events.push_back({alert, fmt::format("{}: the regression of {} went away{}", PlaceOf(result.key), alert.since,
                                           other_level ? ": another artifact was accepted" : "")});
    }
    if (!regressed || result.muted || (known != open.end() && !gone)) continue;
    Alert alert{result.key, night.id, result.accepted, result.judgement.verdict, result.judgement.effect, true};
    events.push_back({alert, fmt::format("{}: worse by {} ({})", PlaceOf(result.key),
                                         EffectText(result.judgement.effect, result.absolute), EvidenceText(result))});
  }
  return events;
}

Json AlertJson(const NightRecord& night, const AlertEvent& event) {
  const SeriesKey& key = event.alert.key;
  return {{"schema", "hone.nightly.alert/1"},
          {"event", event.alert.open ? "regression" : "gone"},
          {"suite", night.suite},
          {"night", night.id},
          {"since", event.alert.since},
          {"model", key.model},
          {"target", key.target},
          {"metric", key.metric},
          {"runtime", key.runtime},
          {"fingerprint", key.fingerprint},
          {"accepted", event.alert.accepted},
          {"effect", event.alert.effect},
          {"text", event.text}};
}

Result<std::vector<std::string>> SendAlerts(const Suite& suite, NightHistory& history, const NightRecord& night) {
  TRY_ASSIGN(const std::vector<AlertEvent> events, AlertsOf(history, night));
  std::vector<std::string> failures;
  for (const AlertEvent& event : events) {
    const Result<> delivered = Deliver(suite, night, event);
    if (delivered) {
      TRY(history.SaveAlert(night.suite, event.alert));
    } else {
      failures.push_back(fmt::format("{}: {}", event.text, delivered.error().message));
    }
  }
  return failures;
}

}  // namespace hone
