#include "client/benchmark_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "client/table.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// Operators of a profile that the text shows; the documents hold all of them.
constexpr int kOperatorsShown = 12;
// From so many runs on they are rows of one table.
constexpr size_t kRunsOfATable = 3;

const proto::Metric* MetricOf(const BenchmarkRun& run, const char* name) {
  return FindMetric(run.figures.metrics(), name);
}

std::string IntervalText(const proto::Metric& metric) {
  return metric.has_low() && metric.has_high()
             ? fmt::format("{:.3f}x [{:.3f}, {:.3f}]", metric.value(), metric.low(), metric.high())
             : fmt::format("{:.3f}x", metric.value());
}

Json ProfileJson(const proto::Profile& profile) {
  Json operators = Json::array();
  for (const proto::OperatorTime& row : profile.operators()) {
    operators.push_back({{"name", row.name()},
                         {"type", row.type()},
                         {"precision", row.precision().empty() ? Json(nullptr) : Json(row.precision())},
                         {"kernel", row.kernel().empty() ? Json(nullptr) : Json(row.kernel())},
                         {"ms", row.ms()},
                         {"calls", row.calls()}});
  }
  return {{"runs", profile.runs()}, {"run_ms", profile.run_ms()}, {"operators", operators}};
}

Json RunJson(const BenchmarkRun& run) {
  const proto::BenchmarkResult::Run& figures = run.figures;
  Json document = SideJson(run.side, figures.metrics(), figures.has_execution() ? &figures.execution() : nullptr);
  document["reference"] = run.reference;
  document["speedup"] = figures.has_speedup() ? SpeedupJson(figures.speedup()) : Json(nullptr);
  document["missing"] = Json(std::vector<std::string>(figures.missing().begin(), figures.missing().end()));
  Json samples = Json::object();
  for (const proto::Samples& series : figures.samples())
    samples[series.series()] = Json(std::vector<double>(series.values().begin(), series.values().end()));
  document["samples"] = samples;
  document["profile"] = figures.has_profile() ? ProfileJson(figures.profile()) : Json(nullptr);
  return document;
}

Json FiguresJson(const BenchmarkRun& run) {
  return SideJson(run.side, run.figures.metrics(), run.figures.has_execution() ? &run.figures.execution() : nullptr);
}

std::string ProfileText(const proto::Profile& profile, size_t width) {
  double sum_ms = 0;
  for (const proto::OperatorTime& row : profile.operators()) sum_ms += row.ms();
  Table table({{"  operator", Align::left, true},
               {"type"},
               {"precision"},
               {"kernel", Align::left, true},
               {"ms", Align::right},
               {"share", Align::right}});
  for (int i = 0; i < std::min(profile.operators_size(), kOperatorsShown); ++i) {
    const proto::OperatorTime& row = profile.operators(i);
    table.Row({"  " + Printable(row.name(), 200), row.type(), row.precision(), row.kernel(),
               fmt::format("{:.4f}", row.ms()), sum_ms > 0 ? fmt::format("{:.1f} %", 100 * row.ms() / sum_ms) : ""});
  }
  std::string text = table.Text(width);
  if (profile.operators_size() > kOperatorsShown)
    text += fmt::format("  and {} more\n", profile.operators_size() - kOperatorsShown);
  return text + fmt::format("  {:.4f} ms in operators, {:.4f} ms an inference with the profiler on, {} inferences\n",
                            sum_ms, profile.run_ms(), profile.runs());
}

std::string RunTable(const BenchmarkReport& report, size_t width) {
  Table table({{"", Align::left, true},
               {"p50", Align::right},
               {"p99", Align::right},
               {"throughput", Align::right},
               {"load", Align::right},
               {"memory", Align::right},
               {"speed-up", Align::right}});
  const std::vector<std::string> labels = RunLabels(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const BenchmarkRun& run = report.runs[i];
    std::vector<std::string> cells{labels[i]};
    for (const char* name : {"latency_ms_p50", "latency_ms_p99", "throughput_per_s", "load_ms", "memory_bytes"}) {
      cells.push_back(MetricText(name, MetricOf(run, name)));
    }
    cells.push_back(run.reference ? "reference" : IntervalText(run.figures.speedup()));
    table.Row(std::move(cells));
  }
  return table.Text(width);
}

std::string MissingText(const BenchmarkReport& report) {
  // By the figure's name, with the first run's reason: runs differ in their counts alone.
  std::map<std::string, std::string> missing;
  for (const BenchmarkRun& run : report.runs) {
    for (const std::string& what : run.figures.missing()) missing.emplace(what.substr(0, what.find(':')), what);
  }
  std::string text;
  for (const auto& [name, what] : missing) text += "not told: " + Printable(what) + "\n";
  return text;
}

std::string VerdictText(const BenchmarkReport& report) {
  if (!report.verdict) return "";
  std::string text;
  const proto::Metric& speedup = report.model().figures.speedup();
  if (report.model().figures.has_speedup()) {
    text = fmt::format("speed-up {} with 99 % confidence, {} pairs\n", IntervalText(speedup), speedup.samples());
  }
  return text + fmt::format("verdict: {} (equal within {:.1f} %)\n", VerdictName(*report.verdict), report.delta * 100);
}

}  // namespace

const BenchmarkRun* BenchmarkReport::first_other() const {
  const auto found = std::find_if(runs.begin(), runs.end(), [](const BenchmarkRun& run) { return run.other; });
  return found == runs.end() ? nullptr : &*found;
}

std::vector<double> SamplesOf(const proto::BenchmarkResult::Run& run, const std::string& series) {
  for (const proto::Samples& samples : run.samples()) {
    if (samples.series() == series) return {samples.values().begin(), samples.values().end()};
  }
  return {};
}

std::vector<std::string> RunLabels(const std::vector<BenchmarkRun>& runs) {
  const auto varied = [&](const auto& text_of) {
    return std::any_of(runs.begin(), runs.end(),
                       [&](const BenchmarkRun& run) { return text_of(run) != text_of(runs.front()); });
  };
  const auto model = [](const BenchmarkRun& run) { return run.side.model.path.string(); };
  const auto backend = [](const BenchmarkRun& run) { return run.side.subject.backend(); };
  const auto settings = [](const BenchmarkRun& run) { return SettingsText(run.side.subject.settings()); };
  const bool models = varied(model), backends = varied(backend), settings_vary = varied(settings);
  std::vector<std::string> labels;
  for (const BenchmarkRun& run : runs) {
    std::vector<std::string> words;
    if (models) words.push_back(Printable(model(run), 200));
    if (backends) words.push_back(backend(run));
    if (settings_vary) words.push_back(settings(run));
    labels.push_back(words.empty() ? Printable(model(run), 200) : Join(words, " "));
  }
  return labels;
}

Json BenchmarkJson(const BenchmarkReport& report) {
  const BenchmarkRun& model = report.model();
  const BenchmarkRun* other = report.first_other();
  Json document = {{"schema", "hone.benchmark/1"}};
  document.update(FiguresJson(model));
  Json digests = {{"model", BundleId(model.side.model.local.bundle())}};
  if (other != nullptr) digests["other"] = BundleId(other->side.model.local.bundle());
  if (!report.data.empty()) digests["data"] = report.data;
  document["digests"] = digests;
  document["synthetic_inputs"] = report.result.synthetic_inputs();
  document["wall_s"] = report.wall_s;
  document["peak_memory_bytes"] = report.peak_memory_bytes;
  document["fingerprint"] = FingerprintJson(report.result.fingerprint());
  document["notes"] = Json(std::vector<std::string>(report.result.notes().begin(), report.result.notes().end()));
  document["vs"] = other == nullptr ? Json(nullptr) : FiguresJson(*other);
  document["speedup"] = model.figures.has_speedup() ? SpeedupJson(model.figures.speedup()) : Json(nullptr);
  document["verdict"] = report.verdict ? Json(VerdictName(*report.verdict)) : Json(nullptr);
  document["delta"] = report.verdict ? Json(report.delta) : Json(nullptr);
  document["expect"] = report.expect.empty() ? Json(nullptr) : Json(report.expect);
  document["expectation_met"] = report.expectation_met ? Json(*report.expectation_met) : Json(nullptr);
  document["rate_per_s"] = report.rate_per_s ? Json(*report.rate_per_s) : Json(nullptr);
  Json runs = Json::array();
  for (const BenchmarkRun& run : report.runs) runs.push_back(RunJson(run));
  document["runs"] = runs;
  return document;
}

std::string BenchmarkText(const BenchmarkReport& report, size_t width) {
  std::string text;
  if (report.runs.size() >= kRunsOfATable) {
    text = RunTable(report, width);
  } else {
    for (const BenchmarkRun& run : report.runs) {
      text += (run.other ? "against " : "") + SideText(run.side, run.figures.metrics());
    }
    if (report.runs.size() == 2 && !report.verdict) text += RunTable(report, width);
  }
  const std::vector<std::string> labels = RunLabels(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    if (!report.runs[i].figures.has_profile()) continue;
    text += fmt::format("{}: time by operator\n{}", labels[i], ProfileText(report.runs[i].figures.profile(), width));
  }
  return text + MissingText(report) + NotesText(report.result.notes()) + VerdictText(report);
}

}  // namespace hone
