// hone nightly: regression runs. The suite says what; client/nightly does it.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "client/command.h"
#include "client/model_file.h"
#include "client/nightly/alerts.h"
#include "client/nightly/bisect.h"
#include "client/nightly/fleet_bench.h"
#include "client/nightly/night.h"
#include "client/nightly/report.h"
#include "client/remote.h"
#include "client/table.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

struct NightlyOptions {
  CoordinatorFlags coordinator;
  std::string action;
  std::string suite;
  std::string history;
  std::string model, target, metric;
  std::string night;
  std::vector<std::string> artifacts;
  std::string backend;
  std::string text, author, link;
  std::string until;
  std::string file;
  std::string junit, markdown, html;
  bool no_control = false;
};

// What every action works on.
struct Desk {
  const NightlyOptions& options;
  Suite suite;
  NightHistory history;
  Console& console;
};

fs::path HistoryFile(const NightlyOptions& options, const Suite& suite) {
  if (!options.history.empty()) return options.history;
  return suite.file.parent_path() / (suite.file.stem().string() + ".history.db");
}

fs::path ArtifactsOf(const NightlyOptions& options, const Suite& suite) {
  return HistoryFile(options, suite).string() + ".artifacts";
}

Result<Desk> OpenDesk(const NightlyOptions& options, Console& console) {
  TRY_ASSIGN(Suite suite, ReadSuite(options.suite));
  TRY_ASSIGN(NightHistory history, NightHistory::Open(HistoryFile(options, suite)));
  return Desk{options, std::move(suite), std::move(history), console};
}

// kNotFound for a model or target that the suite does not have.
Result<> CheckNames(const Desk& desk) {
  const auto check = [](const char* what, const std::string& name, const auto& rows) -> Result<> {
    std::vector<std::string> names;
    for (const auto& row : rows) names.push_back(row.name);
    if (name.empty() || std::find(names.begin(), names.end(), name) != names.end()) return {};
    return Fail(ErrorCode::kNotFound,
                fmt::format("the suite has no {} '{}'{}", what, Printable(name, 100), DidYouMean(name, names)));
  };
  TRY(check("model", desk.options.model, desk.suite.models));
  TRY(check("target", desk.options.target, desk.suite.targets));
  if (desk.options.metric.empty() || FindNightMetric(desk.options.metric) != nullptr) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("there is no metric '{}'", Printable(desk.options.metric, 100)));
}

// Every model and target that the flags leave.
template <class Visit>
Result<> EachSeries(const Desk& desk, const Visit& visit) {
  for (const SuiteModel& model : desk.suite.models) {
    if (!desk.options.model.empty() && desk.options.model != model.name) continue;
    for (const SuiteTarget* target : desk.suite.TargetsOf(model)) {
      if (!desk.options.target.empty() && desk.options.target != target->name) continue;
      TRY(visit(model, *target));
    }
  }
  return {};
}

Result<NightReport> ReportOf(Desk& desk, NightRecord night) {
  NightReport report;
  TRY_ASSIGN(report.history, desk.history.Series(desk.suite.name));
  for (auto& [key, points] : report.history) {
    std::erase_if(points, [&](const HistoryPoint& point) { return point.unix_ms > night.started_unix_ms; });
  }
  TRY_ASSIGN(report.annotations, desk.history.Annotations(desk.suite.name));
  TRY_ASSIGN(report.control, desk.history.ControlAlarms(desk.suite.name));
  report.night = std::move(night);
  return report;
}

Result<> WriteReports(const Desk& desk, const NightReport& report) {
  const NightlyOptions& options = desk.options;
  if (!options.junit.empty()) TRY(WriteFile(options.junit, JUnitXml(report)));
  if (!options.markdown.empty()) TRY(WriteFile(options.markdown, NightMarkdown(report)));
  if (!options.html.empty()) TRY(WriteFile(options.html, NightHtml(report)));
  return desk.console.json ? desk.console.PrintJson(NightJson(report))
                           : desk.console.Print(NightText(report, desk.console.table_width()));
}

Result<int> RunAction(Desk& desk) {
  TRY_ASSIGN(Client client, ConnectTo(desk.options.coordinator));
  FleetBench bench(desk.suite, client, desk.console, ArtifactsOf(desk.options, desk.suite));
  NightOptions options;
  options.model = desk.options.model;
  options.target = desk.options.target;
  options.control = !desk.options.no_control;
  options.note = [&desk](const std::string& line) { desk.console.Note(line); };
  TRY_ASSIGN(NightRecord night, RunNight(desk.suite, desk.history, bench, SystemClock(), options));
  TRY_ASSIGN(const std::vector<std::string> failures, SendAlerts(desk.suite, desk.history, night));
  for (const std::string& failure : failures) desk.console.Note("alert not delivered: " + failure);
  TRY(desk.history.DropSamples(night.started_unix_ms - static_cast<int64_t>(desk.suite.keep_samples_ms)));
  TRY_ASSIGN(const NightReport report, ReportOf(desk, std::move(night)));
  TRY(WriteReports(desk, report));
  return report.night.exit_code;
}

Result<int> ReportAction(Desk& desk) {
  TRY_ASSIGN(NightRecord night, desk.history.Night(desk.suite.name, desk.options.night));
  TRY_ASSIGN(const NightReport report, ReportOf(desk, std::move(night)));
  TRY(WriteReports(desk, report));
  return report.night.exit_code;
}

Result<int> Tell(Desk& desk, const char* what, const Json& details, const std::string& text) {
  Json json = {{"schema", "hone.nightly.change/1"}, {"change", what}, {"suite", desk.suite.name}};
  json.update(details);
  TRY(desk.console.json ? desk.console.PrintJson(json) : desk.console.Print(text));
  return 0;
}

// What was measured last becomes what the next nights are measured against.
Result<int> AcceptAction(Desk& desk) {
  TRY_ASSIGN(Client client, ConnectTo(desk.options.coordinator));
  FleetBench bench(desk.suite, client, desk.console, ArtifactsOf(desk.options, desk.suite));
  Json accepted = Json::array();
  std::string text;
  const auto accept = [&](const SuiteModel& model, const SuiteTarget& target) -> Result<> {
    TRY_ASSIGN(const auto tonight, desk.history.Tonight(desk.suite.name, model.name, target.name));
    if (!tonight) return {};
    TRY(bench.Keep(*tonight));
    TRY(desk.history.Accept(desk.suite.name, model.name, target.name, *tonight, desk.options.text,
                            SystemClock().UnixMs()));
    accepted.push_back({{"model", model.name}, {"target", target.name}, {"artifact", tonight->Identity()}});
    text += fmt::format("{} on {}: accepted {}\n", model.name, target.name, tonight->Identity());
    return {};
  };
  TRY(EachSeries(desk, accept));
  if (accepted.empty()) return Fail(ErrorCode::kNotFound, "no night has measured that yet", "hone nightly run SUITE");
  return Tell(desk, "accept", {{"accepted", accepted}}, text);
}

// A file of --artifact, run as the flags or the suite say.
NightArtifact GivenArtifact(const ModelFile& file, const SuiteModel& model, const NightlyOptions& options) {
  NightArtifact artifact{file.local.bundle(), options.backend.empty() ? model.backend : options.backend, {}};
  if (artifact.backend.empty()) artifact.backend = "onnxruntime";
  return artifact;
}

// A file becomes what the next nights are measured against.
Result<int> PinAction(Desk& desk) {
  const NightlyOptions& options = desk.options;
  if (options.artifacts.size() != 1 || options.model.empty())
    return Fail(ErrorCode::kUsage, "hone nightly pin needs --model M and one --artifact FILE");
  TRY_ASSIGN(const ModelFile file, OpenModel(options.artifacts[0]));
  Json pinned = Json::array();
  std::string text;
  const auto pin = [&](const SuiteModel& model, const SuiteTarget& target) -> Result<> {
    const NightArtifact artifact = GivenArtifact(file, model, options);
    TRY(CopyArtifact(file.local, ArtifactsOf(options, desk.suite)));
    TRY(desk.history.Accept(desk.suite.name, model.name, target.name, artifact, options.text, SystemClock().UnixMs()));
    pinned.push_back({{"model", model.name}, {"target", target.name}, {"artifact", artifact.Identity()}});
    text += fmt::format("{} on {}: pinned {}\n", model.name, target.name, artifact.Identity());
    return {};
  };
  TRY(EachSeries(desk, pin));
  return Tell(desk, "pin", {{"accepted", pinned}}, text);
}

Result<int> AnnotateAction(Desk& desk) {
  const NightlyOptions& options = desk.options;
  if (options.text.empty()) return Fail(ErrorCode::kUsage, "hone nightly annotate needs --text TEXT");
  const Annotation note{SystemClock().UnixMs(), options.model,  options.target, options.metric,
                        options.text,           options.author, options.link};
  TRY(desk.history.Annotate(desk.suite.name, note));
  return Tell(desk, "annotate", {{"text", note.text}}, "noted\n");
}

// "2026-12-01" (the day's beginning, UTC) or a time from now.
Result<int64_t> ParseUntil(const std::string& text) {
  struct tm day = {};
  int used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &day.tm_year, &day.tm_mon, &day.tm_mday, &used) == 3 &&
      static_cast<size_t>(used) == text.size()) {
    const int month = day.tm_mon;
    const int of_month = day.tm_mday;
    day.tm_year -= 1900;
    day.tm_mon -= 1;
    const time_t seconds = timegm(&day);
    if (day.tm_mon + 1 == month && day.tm_mday == of_month) return int64_t{seconds} * 1000;
    return Fail(ErrorCode::kUsage, fmt::format("--until: there is no day {}", Printable(text, 40)));
  }
  const auto duration = ParseDuration(text);
  if (!duration)
    return Fail(ErrorCode::kUsage,
                fmt::format("--until: '{}' is no day like 2026-12-01 and no duration like 72h", Printable(text, 40)));
  return SystemClock().UnixMs() + *duration;
}

Result<int> MuteAction(Desk& desk) {
  const NightlyOptions& options = desk.options;
  if (options.until.empty())
    return Fail(ErrorCode::kUsage, "hone nightly mute needs --until DAY: nothing is silent for ever");
  TRY_ASSIGN(const int64_t until, ParseUntil(options.until));
  TRY(desk.history.AddMute(desk.suite.name, {options.model, options.target, options.metric, until, options.text}));
  return Tell(desk, "mute", {{"until_unix_ms", until}}, "muted until " + options.until + "\n");
}

Result<int> HistoryAction(Desk& desk) {
  TRY_ASSIGN(const auto series, desk.history.Series(desk.suite.name));
  Json list = Json::array();
  Table table({{"model"},
               {"target"},
               {"metric"},
               {"runtime"},
               {"nights", Align::right},
               {"last"},
               {"effect", Align::right},
               {"changes", Align::left, true}});
  for (const auto& [key, points] : series) {
    const auto wanted = [](const std::string& flag, const std::string& value) { return flag.empty() || flag == value; };
    if (!wanted(desk.options.model, key.model) || !wanted(desk.options.target, key.target) ||
        !wanted(desk.options.metric, key.metric))
      continue;
    std::vector<std::string> changes;
    for (const size_t change : LevelChanges(points)) changes.push_back(points[change].night);
    Json nights = Json::array();
    for (const HistoryPoint& point : points) {
      nights.push_back({{"night", point.night},
                        {"verdict", NameOf(point.verdict)},
                        {"effect", point.effect},
                        {"ci99", {point.interval.low, point.interval.high}},
                        {"accepted", point.accepted},
                        {"accepted_median", point.accepted_median},
                        {"tonight_median", point.tonight_median}});
    }
    list.push_back({{"model", key.model},
                    {"target", key.target},
                    {"metric", key.metric},
                    {"recipe", key.recipe},
                    {"fingerprint", key.fingerprint},
                    {"runtime", key.runtime},
                    {"changes", changes},
                    {"nights", nights}});
    table.Row({key.model, key.target, key.metric, key.runtime, std::to_string(points.size()),
               std::string(NameOf(points.back().verdict)),
               EffectText(points.back().effect,
                          FindNightMetric(key.metric) != nullptr && FindNightMetric(key.metric)->absolute),
               Join(changes, ", ")});
  }
  const Json json = {{"schema", "hone.nightly.history/1"}, {"suite", desk.suite.name}, {"series", list}};
  TRY(desk.console.json
          ? desk.console.PrintJson(json)
          : desk.console.Print(table.empty() ? "no night is known\n" : table.Text(desk.console.table_width())));
  return 0;
}

Result<int> ExportAction(Desk& desk) {
  if (desk.options.file.empty()) return Fail(ErrorCode::kUsage, "hone nightly export needs -o FILE");
  TRY(desk.history.ExportTo(desk.options.file));
  return Tell(desk, "export", {{"file", desk.options.file}}, fmt::format("wrote {}\n", desk.options.file));
}

Result<int> ImportAction(Desk& desk) {
  if (desk.options.file.empty())
    return Fail(ErrorCode::kUsage, "hone nightly import needs -o FILE, which export wrote");
  TRY_ASSIGN(const uint64_t nights, desk.history.ImportFrom(desk.options.file));
  return Tell(desk, "import", {{"nights", nights}}, fmt::format("{} nights came from {}\n", nights, desk.options.file));
}

// The one model and target that a bisection is about.
Result<std::pair<const SuiteModel*, const SuiteTarget*>> OnlySeries(const Desk& desk) {
  std::vector<std::pair<const SuiteModel*, const SuiteTarget*>> found;
  TRY(EachSeries(desk, [&](const SuiteModel& model, const SuiteTarget& target) -> Result<> {
    found.emplace_back(&model, &target);
    return {};
  }));
  if (found.size() == 1) return found[0];
  return Fail(ErrorCode::kUsage,
              fmt::format("hone nightly bisect is about one model on one target; the flags leave {}", found.size()),
              "Give --model M and --target T.");
}

SuiteMetric BisectedMetric(const Desk& desk) {
  const std::string name = desk.options.metric.empty() ? "latency_ms_p50" : desk.options.metric;
  for (const SuiteMetric& metric : desk.suite.metrics) {
    if (metric.metric->name == name) return metric;
  }
  const NightMetric* metric = FindNightMetric(name);
  return {metric, metric->threshold};
}

Json StepsJson(const BisectResult& result) {
  Json steps = Json::array();
  for (const BisectStep& step : result.steps) {
    const Judgement& judgement = step.judgement;
    steps.push_back({{"artifact", step.artifact},
                     {"effect", judgement.effect},
                     {"ci99", {judgement.interval.low, judgement.interval.high}},
                     {"pairs", judgement.pairs},
                     {"changed", step.decided ? Json(step.changed) : Json(nullptr)}});
  }
  return steps;
}

// Between the first and the last of --artifact, in the order given: which one brought the change?
Result<int> BisectAction(Desk& desk) {
  const NightlyOptions& options = desk.options;
  TRY_ASSIGN(const auto series, OnlySeries(desk));
  const auto& [model, target] = series;
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  FleetBench bench(desk.suite, client, desk.console, ArtifactsOf(options, desk.suite));
  std::vector<NightArtifact> artifacts;
  for (const std::string& path : options.artifacts) {
    TRY_ASSIGN(const ModelFile file, OpenModel(path));
    TRY(CopyArtifact(file.local, ArtifactsOf(options, desk.suite)));
    artifacts.push_back(GivenArtifact(file, *model, options));
  }
  TRY(bench.Prepare(*model, *target));
  BisectOptions how;
  how.metric = BisectedMetric(desk);
  how.note = [&desk](const std::string& line) { desk.console.Note(line); };
  TRY_ASSIGN(const BisectResult result, Bisect(desk.suite, *model, *target, bench, artifacts, how));

  const bool absolute = how.metric.metric->absolute;
  std::string text;
  for (const BisectStep& step : result.steps) {
    text += fmt::format("{}: {} ({} to {}; {} pairs)\n", options.artifacts[step.artifact],
                        EffectText(step.judgement.effect, absolute), EffectText(step.judgement.interval.low, absolute),
                        EffectText(step.judgement.interval.high, absolute), step.judgement.pairs);
  }
  const std::string& last = options.artifacts[result.last_unchanged];
  const std::string& first = options.artifacts[result.first_changed];
  text += result.complete() ? fmt::format("{} brought the change of {}\n", first, how.metric.metric->name)
                            : fmt::format("between {} and {} the data cannot decide\n", last, first);
  const Json json = {{"schema", "hone.nightly.bisect/1"},
                     {"suite", desk.suite.name},
                     {"model", model->name},
                     {"target", target->name},
                     {"metric", how.metric.metric->name},
                     {"complete", result.complete()},
                     {"last_unchanged", last},
                     {"first_changed", first},
                     {"steps", StepsJson(result)}};
  TRY(desk.console.json ? desk.console.PrintJson(json) : desk.console.Print(text));
  return result.complete() ? 0 : ExitCode(ErrorCode::kUnsure);
}

struct NightlyActionRow {
  const char* name;
  Result<int> (*run)(Desk& desk);
};
constexpr NightlyActionRow kNightlyActions[] = {
    {"run", RunAction},       {"report", ReportAction},     {"accept", AcceptAction}, {"pin", PinAction},
    {"bisect", BisectAction}, {"annotate", AnnotateAction}, {"mute", MuteAction},     {"history", HistoryAction},
    {"export", ExportAction}, {"import", ImportAction}};

Result<int> Nightly(const NightlyOptions& options, Console& console) {
  const auto row = std::find_if(std::begin(kNightlyActions), std::end(kNightlyActions),
                                [&](const NightlyActionRow& one) { return options.action == one.name; });
  if (row == std::end(kNightlyActions)) {
    std::vector<std::string> names;
    for (const NightlyActionRow& one : kNightlyActions) names.emplace_back(one.name);
    return Fail(ErrorCode::kUsage,
                fmt::format("hone nightly has no action '{}'{}", Printable(options.action, 40),
                            DidYouMean(options.action, names)),
                fmt::format("one of: {}", Join(names, ", ")));
  }
  TRY_ASSIGN(Desk desk, OpenDesk(options, console));
  TRY(CheckNames(desk));
  return row->run(desk);
}

}  // namespace

Run DefineNightly(Flags& flags) {
  auto options = std::make_shared<NightlyOptions>();
  flags.Argument("ACTION", "run, report, accept, pin, bisect, annotate, mute, history, export or import",
                 options->action);
  flags.Argument("SUITE", "the suite (YAML)", options->suite);
  flags.Text("--history", "FILE", "the history (default: beside the suite, .history.db)", options->history);
  flags.Text("--model", "M", "this model of the suite alone", options->model);
  flags.Text("--target", "T", "this target alone", options->target);
  flags.Text("--metric", "M", "of annotate, mute, history and bisect: this metric alone", options->metric);
  flags.Text("--night", "ID", "of report: which night (default: the last)", options->night);
  flags.Text("--junit", "FILE", "of run and report: JUnit XML", options->junit);
  flags.Text("--markdown", "FILE", "of run and report: Markdown for a pull request", options->markdown);
  flags.Text("--html", "FILE", "of run and report: one page that needs nothing else", options->html);
  flags.Toggle("--no-control", "of run: do not measure what is accepted against itself", options->no_control);
  flags.List("--artifact", "FILE",
             "of pin: the model that is accepted from now on; of bisect: one of a row, oldest first",
             options->artifacts);
  flags.Text("--backend", "B", "of pin and bisect: the backend it runs on", options->backend);
  flags.Text("--text", "TEXT", "of annotate: what happened; of accept, pin and mute: why", options->text);
  flags.Text("--author", "NAME", "of annotate", options->author);
  flags.Text("--link", "URL", "of annotate", options->link);
  flags.Text("--until", "DAY", "of mute: 2026-12-01, or a time like 72h", options->until);
  flags.Text("-o,--output", "FILE", "of export and import: the file", options->file);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Nightly(*options, console); };
}

}  // namespace hone
