#include "client/watch_view.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "client/json_output.h"
#include "client/table.h"
#include "client/text_output.h"
#include "common/base/result.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr size_t kTrialsForForecast = 5;
constexpr size_t kTrialsForRate = 3;
// Gaps further back tell of another mood of the search.
constexpr size_t kGapsLookedAt = 60;
constexpr double kTenToNinety = 1.2816;
constexpr int64_t kStallAtLeastMs = 30'000;
constexpr size_t kWidestSketch = 78;
constexpr size_t kTallestSketch = 9;
// What the block needs beside the picture.
constexpr size_t kRowsBesideSketch = 10;

std::string Bar(uint64_t done, uint64_t total, size_t width, bool utf8) {
  const size_t full = total == 0 ? 0 : static_cast<size_t>(std::min<uint64_t>(done, total) * width / total);
  std::string bar;
  for (size_t i = 0; i < width; ++i) bar += i < full ? (utf8 ? "█" : "#") : (utf8 ? "░" : ".");
  return utf8 ? bar : "[" + bar + "]";
}

// Gaps between the last trials, in milliseconds.
std::vector<double> GapsOf(const std::vector<int64_t>& finished) {
  std::vector<double> gaps;
  const size_t first = finished.size() > kGapsLookedAt ? finished.size() - kGapsLookedAt : 1;
  for (size_t i = std::max<size_t>(first, 1); i < finished.size(); ++i)
    gaps.push_back(static_cast<double>(std::max<int64_t>(0, finished[i] - finished[i - 1])));
  return gaps;
}

double MeanOf(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// "5.07 ms, baseline 12.4 ms" of the first objective.
std::string AgainstBaseline(const proto::JobSummary& job, const proto::StudySummary& study) {
  if (job.objectives_size() == 0) return "";
  const std::string& metric = job.objectives(0).metric();
  const proto::Metric* best = FindMetric(study.best().metrics(), metric);
  if (best == nullptr) return "";
  std::string text = MetricText(metric, best);
  if (metric.find("_ms") == std::string::npos && metric.find("_bytes") == std::string::npos) text = metric + " " + text;
  const proto::Metric* baseline = FindMetric(study.baseline().metrics(), metric);
  return baseline == nullptr ? text : fmt::format("{}, baseline {}", text, MetricText(metric, baseline));
}

// The counts that are not 0: a line has to fit.
std::string HappenedText(const proto::Counts& counts) {
  std::string text = fmt::format("{} complete", counts.complete());
  if (counts.infeasible() > 0) text += fmt::format(", {} infeasible", counts.infeasible());
  if (counts.pruned() > 0) text += fmt::format(", {} pruned", counts.pruned());
  if (counts.failed() > 0) text += fmt::format(", {} failed", counts.failed());
  return text;
}

struct Totals {
  proto::Counts counts;
  uint32_t run = 0;
  uint32_t reused = 0;
};

Totals TotalsOf(const proto::JobSummary& job) {
  Totals totals;
  for (const proto::StudySummary& study : job.studies()) {
    totals.run += study.builds_run();
    totals.reused += study.builds_reused();
    totals.counts.set_complete(totals.counts.complete() + study.counts().complete());
    totals.counts.set_infeasible(totals.counts.infeasible() + study.counts().infeasible());
    totals.counts.set_pruned(totals.counts.pruned() + study.counts().pruned());
    totals.counts.set_failed(totals.counts.failed() + study.counts().failed());
  }
  return totals;
}

uint64_t TrialsLeft(const proto::JobSummary& job) {
  const uint64_t total = ExpectedTrials(job);
  const uint64_t finished = FinishedTrials(job);
  return total > finished ? total - finished : 0;
}

std::string ForecastText(const Forecast& forecast) {
  return fmt::format("about {} left ({} to {})", HumanDuration(forecast.ms), HumanDuration(forecast.low_ms),
                     HumanDuration(forecast.high_ms));
}

std::vector<std::string> HeadLines(const ProgressState& state, const ViewSize& size) {
  const proto::JobSummary& job = state.job;
  const uint64_t total = ExpectedTrials(job);
  const uint32_t finished = FinishedTrials(job);
  const int64_t elapsed = std::max<int64_t>(0, state.now_ms - static_cast<int64_t>(job.created_unix_ms()));
  std::vector<std::string> lines;
  const std::string time = fmt::format("{}, {}", StateName(job.state()), HumanDuration(elapsed));
  const size_t room = size.width > time.size() + 20 ? size.width - time.size() - 12 : 8;
  lines.push_back(fmt::format("job {}  {}  {}", job.job(), CutMiddle(Printable(job.name(), 200), room), time));
  std::string pace = total > 0 ? fmt::format("{}/{} trials", finished, total) : fmt::format("{} trials", finished);
  if (const auto rate = TrialsPerMinute(state.finished_ms, state.now_ms))
    pace += fmt::format(", {} a minute", HumanNumber(*rate));
  const auto forecast = TimeLeft(state.finished_ms, TrialsLeft(job), state.now_ms);
  const std::string left = forecast ? ForecastText(*forecast) : "";
  const size_t bar = std::min<size_t>(30, size.width / 3);
  // What does not fit one line takes two.
  const bool one_line = bar + 4 + DisplayWidth(pace) + 2 + DisplayWidth(left) < size.width;
  lines.push_back((total > 0 ? Bar(finished, total, bar, size.utf8) + "  " : "") +
                  (one_line && !left.empty() ? pace + ", " + left : ""));
  if (!one_line || left.empty()) {
    if (bar + 4 + DisplayWidth(pace) < size.width) {
      lines.back() += pace;
    } else {
      lines.push_back(pace);
    }
    if (!left.empty()) lines.push_back(left);
  }
  return lines;
}

std::vector<std::string> BestLines(const ProgressState& state, size_t width) {
  std::vector<std::string> lines;
  for (const proto::StudySummary& study : state.job.studies()) {
    const std::string target = state.job.studies_size() > 1 ? fmt::format(" {}", study.study() + 1) : "";
    if (!study.has_best()) {
      lines.push_back(fmt::format("best{}   none yet", target));
      continue;
    }
    const std::string figures =
        fmt::format("best{}   {}  {}", target, SpeedupText(study.best()), AgainstBaseline(state.job, study));
    const std::string what = fmt::format("trial {}  {}", study.best().trial(), CandidateText(study.best().candidate()));
    const std::string against = AgainstBaseline(state.job, study);
    if (DisplayWidth(figures) + 2 + DisplayWidth(what) < width) {
      lines.push_back(figures + "  " + what);
    } else {
      // Figures are never cut: what does not fit stands in lines of its own.
      const bool fits = DisplayWidth(figures) < width;
      lines.push_back(fits ? figures : fmt::format("best{}   {}", target, SpeedupText(study.best())));
      if (!fits && !against.empty()) lines.push_back("       " + against);
      lines.push_back("       " + CutEnd(what, width > 8 ? width - 8 : width));
    }
  }
  return lines;
}

std::vector<std::string> Picture(const ProgressState& state, const ViewSize& size) {
  if (size.rows < kRowsBesideSketch + 4 || size.width < 44 || state.job.studies_size() != 1) return {};
  const SketchAxes axes = AxesOf(state.job);
  const proto::StudySummary& study = state.job.studies(0);
  std::vector<SketchPoint> points = state.points;
  const auto add = [&](const proto::TrialSummary& trial, SketchPoint::Kind kind) {
    if (const auto point = PointOf(axes, trial, kind)) points.push_back(*point);
  };
  for (const proto::TrialSummary& trial : study.pareto()) add(trial, SketchPoint::Kind::front);
  if (study.has_baseline()) add(study.baseline(), SketchPoint::Kind::baseline);
  if (study.has_best()) add(study.best(), SketchPoint::Kind::best);
  const size_t height = std::min(kTallestSketch, size.rows - kRowsBesideSketch);
  return SketchLines(axes, points, std::min(kWidestSketch, size.width - 1), height, size.utf8);
}

std::string Quote(const std::string& value) {
  const std::string safe = Printable(value, 500);
  if (!safe.empty() && safe.find_first_of(" \"=") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
  return quoted + "\"";
}

void AddBest(const proto::JobSummary& job, const proto::StudySummary& study, LogFields& fields) {
  const proto::TrialSummary& best = study.best();
  if (job.studies_size() > 1) fields.emplace_back("target", std::to_string(study.study() + 1));
  fields.emplace_back("best", fmt::format("{}/{}", job.job(), best.trial()));
  if (best.has_speedup()) {
    fields.emplace_back("speedup", fmt::format("{:.3f}", best.speedup().value()));
    if (best.speedup().has_low())
      fields.emplace_back("ci99", fmt::format("{:.3f}..{:.3f}", best.speedup().low(), best.speedup().high()));
  }
  for (const proto::Objective& objective : job.objectives()) {
    const proto::Metric* metric = FindMetric(best.metrics(), objective.metric());
    if (metric != nullptr) fields.emplace_back(objective.metric(), HumanNumber(metric->value()));
  }
  if (const proto::Metric* drop = FindMetric(best.metrics(), "accuracy_drop"))
    fields.emplace_back("accuracy_drop", HumanNumber(drop->value()));
}

// Where a value falls among `cells`; nullopt beyond them.
std::optional<size_t> CellOf(double value, double low, double high, size_t cells) {
  const double place = high > low ? (value - low) / (high - low) : 0.5;
  if (!(place >= 0) || place > 1) return std::nullopt;
  return std::min(cells - 1, static_cast<size_t>(place * static_cast<double>(cells)));
}

struct Range {
  double low = 0;
  double high = 0;
};

// All but what lies far outside: a few slow candidates must not squeeze the rest into a corner.
Range RangeOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double low = values.front();
  const double most = values[std::min(values.size() - 1, values.size() * 95 / 100)];
  return {low, most > low ? most : values.back()};
}

const char* MarkOf(SketchPoint::Kind kind, bool utf8) {
  static constexpr const char* kMarks[][2] = {{"x", "×"}, {"o", "•"}, {"O", "●"}, {"B", "◆"}, {"*", "★"}};
  return kMarks[static_cast<size_t>(kind)][utf8 ? 1 : 0];
}

}  // namespace

// --- a picture of candidates -------------------------------------------------------------------------------------

SketchAxes AxesOf(const proto::JobSummary& job) {
  SketchAxes axes;
  axes.x = job.objectives_size() > 0 ? job.objectives(0).metric() : "latency_ms_p50";
  bool accuracy = false;
  for (const proto::Constraint& constraint : job.constraints())
    accuracy = accuracy || constraint.metric() == "accuracy_drop";
  for (const proto::StudySummary& study : job.studies()) {
    accuracy = accuracy || FindMetric(study.best().metrics(), "accuracy_drop") != nullptr;
  }
  axes.y = accuracy ? "accuracy_drop" : job.objectives_size() > 1 ? job.objectives(1).metric() : "size_bytes";
  if (axes.y == axes.x) axes.y = axes.x == "latency_ms_p50" ? "size_bytes" : "latency_ms_p50";
  for (const proto::Constraint& constraint : job.constraints()) {
    if (constraint.metric() == axes.y && constraint.has_maximum()) axes.limit = constraint.maximum();
  }
  return axes;
}

std::optional<SketchPoint> PointOf(const SketchAxes& axes, const proto::TrialSummary& trial, SketchPoint::Kind kind) {
  const proto::Metric* x = FindMetric(trial.metrics(), axes.x);
  const proto::Metric* y = FindMetric(trial.metrics(), axes.y);
  if (x == nullptr || !std::isfinite(x->value())) return std::nullopt;
  // The baseline loses nothing, and has no figure that says so.
  const bool nothing_lost = y == nullptr && trial.trial() == 0 && axes.y == "accuracy_drop";
  if (!nothing_lost && (y == nullptr || !std::isfinite(y->value()))) return std::nullopt;
  return SketchPoint{x->value(), nothing_lost ? 0 : y->value(), kind};
}

std::vector<std::string> SketchLines(const SketchAxes& axes, const std::vector<SketchPoint>& points, size_t width,
                                     size_t height, bool utf8) {
  constexpr size_t kLeastWidth = 24, kLeastHeight = 4;
  if (points.size() < 2 || width < kLeastWidth || height < kLeastHeight) return {};
  std::vector<double> xs, ys;
  for (const SketchPoint& point : points) {
    xs.push_back(point.x);
    ys.push_back(point.y);
  }
  const Range x = RangeOf(xs);
  Range y = RangeOf(ys);
  if (axes.limit) y.high = std::max(y.high, *axes.limit);

  const auto label = [&](double value) {
    proto::Metric metric;
    metric.set_value(value);
    return MetricText(axes.y, &metric);
  };
  const std::string top = label(y.high), bottom = label(y.low);
  const size_t margin = std::max(DisplayWidth(top), DisplayWidth(bottom)) + 1;
  const size_t columns = width > margin + 12 ? width - margin - 2 : 10;
  const size_t rows = height - 2;
  std::vector<std::vector<std::string>> cells(rows, std::vector<std::string>(columns, " "));
  if (const auto limit = axes.limit ? CellOf(*axes.limit, y.low, y.high, rows) : std::nullopt) {
    for (std::string& cell : cells[rows - 1 - *limit]) cell = utf8 ? "╌" : "-";
  }
  std::vector<SketchPoint> ordered = points;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const SketchPoint& a, const SketchPoint& b) { return a.kind < b.kind; });
  for (const SketchPoint& point : ordered) {
    const auto column = CellOf(point.x, x.low, x.high, columns);
    const auto row = CellOf(point.y, y.low, y.high, rows);
    if (column && row) cells[rows - 1 - *row][*column] = MarkOf(point.kind, utf8);
  }

  std::vector<std::string> lines;
  for (size_t r = 0; r < rows; ++r) {
    const std::string& text = r == 0 ? top : r + 1 == rows ? bottom : "";
    std::string line = std::string(margin - 1 - DisplayWidth(text), ' ') + text + (utf8 ? " │" : " |");
    for (const std::string& cell : cells[r]) line += cell;
    lines.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
  }
  std::string axis = std::string(margin, ' ') + (utf8 ? "└" : "+");
  for (size_t c = 0; c < columns; ++c) axis += utf8 ? "─" : "-";
  lines.push_back(axis);
  proto::Metric least, most;
  least.set_value(x.low);
  most.set_value(x.high);
  const std::string names =
      fmt::format("{} by {}   {} best  {} baseline", axes.y, axes.x, MarkOf(SketchPoint::Kind::best, utf8),
                  MarkOf(SketchPoint::Kind::baseline, utf8));
  const std::string left = MetricText(axes.x, &least), right = MetricText(axes.x, &most);
  std::string legend = left + "   " + names;
  const size_t used = DisplayWidth(legend) + DisplayWidth(right);
  legend += used < columns ? std::string(columns - used, ' ') + right : "";
  lines.push_back(CutEnd(std::string(margin + 1, ' ') + legend, width));
  return lines;
}

// --- time ----------------------------------------------------------------------------------------------------------

std::optional<Forecast> TimeLeft(const std::vector<int64_t>& finished_ms, uint64_t trials_left, int64_t now_ms) {
  if (finished_ms.size() < kTrialsForForecast || trials_left == 0) return std::nullopt;
  const std::vector<double> gaps = GapsOf(finished_ms);
  const double mean = MeanOf(gaps);
  double squares = 0;
  for (const double gap : gaps) squares += (gap - mean) * (gap - mean);
  const auto known = static_cast<double>(gaps.size());
  const double deviation = known > 1 ? std::sqrt(squares / (known - 1)) : mean;
  const auto left = static_cast<double>(trials_left);
  // The sum of the gaps to come varies by itself, and by how well the mean is known.
  const double spread = kTenToNinety * deviation * std::sqrt(left + left * left / known);
  const auto since = static_cast<double>(std::max<int64_t>(0, now_ms - finished_ms.back()));
  const double expected = std::max(left * mean - since, (left - 1) * mean);
  Forecast forecast;
  forecast.ms = std::llround(std::max(expected, 0.0));
  forecast.low_ms = std::llround(std::max(expected - spread, 0.0));
  forecast.high_ms = std::llround(expected + spread);
  return forecast;
}

std::optional<double> TrialsPerMinute(const std::vector<int64_t>& finished_ms, int64_t now_ms) {
  if (finished_ms.size() < kTrialsForRate) return std::nullopt;
  const size_t first = finished_ms.size() > kGapsLookedAt ? finished_ms.size() - kGapsLookedAt : 0;
  // A search that stands still slows down before one's eyes.
  const int64_t usual = static_cast<int64_t>(MeanOf(GapsOf(finished_ms)));
  const int64_t idle = std::max<int64_t>(0, now_ms - finished_ms.back() - usual);
  const int64_t span = finished_ms.back() - finished_ms[first] + idle;
  if (span <= 0) return std::nullopt;
  return static_cast<double>(finished_ms.size() - 1 - first) * 60'000.0 / static_cast<double>(span);
}

std::string StallText(const std::vector<int64_t>& finished_ms, int64_t now_ms) {
  if (finished_ms.size() < kTrialsForForecast) return "";
  const double usual = MeanOf(GapsOf(finished_ms));
  const int64_t since = now_ms - finished_ms.back();
  if (since < kStallAtLeastMs || static_cast<double>(since) < 5 * usual) return "";
  return fmt::format("no trial finished for {} (usual: {})", HumanDuration(since), HumanDuration(std::llround(usual)));
}

// --- the block -----------------------------------------------------------------------------------------------------

uint64_t ExpectedTrials(const proto::JobSummary& job) {
  uint64_t total = 0;
  for (const proto::StudySummary& study : job.studies()) {
    const uint64_t budget = study.budget();
    const uint64_t space = study.candidates();
    const uint64_t expected = budget == 0 || space == 0 ? std::max(budget, space) : std::min(budget, space);
    if (expected == 0) return 0;
    total += expected;
  }
  return total;
}

uint32_t FinishedTrials(const proto::JobSummary& job) {
  uint32_t finished = 0;
  for (const proto::StudySummary& study : job.studies()) finished += Finished(study.counts());
  return finished;
}

std::vector<std::string> ProgressLines(const ProgressState& state, const ViewSize& size) {
  std::vector<std::string> lines = HeadLines(state, size);
  for (std::string& line : BestLines(state, size.width)) lines.push_back(std::move(line));
  const Totals totals = TotalsOf(state.job);
  const std::string happened = "so far " + HappenedText(totals.counts),
                    builds = fmt::format("builds {} run, {} reused", totals.run, totals.reused);
  if (DisplayWidth(happened) + 2 + DisplayWidth(builds) < size.width) {
    lines.push_back(happened + "; " + builds);
  } else {
    lines.push_back(happened);
    lines.push_back("       " + builds);
  }
  for (std::string& line : Picture(state, size)) lines.push_back(std::move(line));
  const std::string stall = StallText(state.finished_ms, state.now_ms);
  if (!stall.empty()) lines.push_back(stall);
  if (state.missed > 0) lines.push_back(GapText(state.missed));
  if (!state.remark.empty()) lines.push_back(state.remark);
  // Workers come last: of a large fleet, those that do not fit are counted.
  const size_t room = size.rows > lines.size() ? size.rows - lines.size() : 0;
  const size_t shown = state.work.size() <= room ? state.work.size() : room - (room > 0 ? 1 : 0);
  for (size_t i = 0; i < shown; ++i) lines.push_back("now    " + state.work[i]);
  if (shown < state.work.size() && room > 0)
    lines.push_back(fmt::format("       and {} more", state.work.size() - shown));
  if (lines.size() > size.rows && size.rows > 0) lines.resize(size.rows);
  for (std::string& line : lines) line = CutEnd(line, size.width > 1 ? size.width - 1 : size.width);
  return lines;
}

// --- lines -----------------------------------------------------------------------------------------------------------

std::string LogLine(int64_t unix_ms, uint64_t job, const std::string& event, const LogFields& fields) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::string line = fmt::format("{:%Y-%m-%dT%H:%M:%S}Z job={} event={}", utc, job, event);
  for (const auto& [key, value] : fields) line += fmt::format(" {}={}", key, Quote(value));
  return line;
}

std::string EventLine(const proto::Event& event, bool several_targets) {
  LogFields fields;
  const bool of_trial = event.kind().compare(0, 6, "trial.") == 0 || event.kind().compare(0, 8, "attempt.") == 0;
  if (several_targets && event.kind().compare(0, 4, "job.") != 0)
    fields.emplace_back("target", std::to_string(event.study() + 1));
  if (of_trial) fields.emplace_back("trial", std::to_string(event.trial()));
  if (!event.text().empty()) fields.emplace_back("text", event.text());
  return LogLine(static_cast<int64_t>(event.unix_ms()), event.job(), Printable(event.kind(), 60), fields);
}

std::string BestLine(int64_t unix_ms, const proto::JobSummary& job, const proto::StudySummary& study) {
  LogFields fields;
  AddBest(job, study, fields);
  fields.emplace_back("candidate", CandidateText(study.best().candidate()));
  return LogLine(unix_ms, job.job(), "best", fields);
}

std::string ProgressLine(const ProgressState& state) {
  const uint64_t total = ExpectedTrials(state.job);
  LogFields fields = {{"done", std::to_string(FinishedTrials(state.job))}};
  if (total > 0) fields.emplace_back("total", std::to_string(total));
  fields.emplace_back("failed", std::to_string(TotalsOf(state.job).counts.failed()));
  for (const proto::StudySummary& study : state.job.studies()) {
    if (study.has_best()) AddBest(state.job, study, fields);
  }
  if (const auto left = TimeLeft(state.finished_ms, TrialsLeft(state.job), state.now_ms)) {
    fields.emplace_back("eta_s", std::to_string(left->ms / 1000));
    fields.emplace_back("eta_range_s", fmt::format("{}..{}", left->low_ms / 1000, left->high_ms / 1000));
  }
  const std::string stall = StallText(state.finished_ms, state.now_ms);
  if (!stall.empty()) fields.emplace_back("note", stall);
  if (!state.remark.empty()) fields.emplace_back("note", state.remark);
  return LogLine(state.now_ms, state.job.job(), "progress", fields);
}

std::string EndLine(int64_t unix_ms, const proto::JobSummary& job, int exit_code) {
  const Totals totals = TotalsOf(job);
  LogFields fields = {{"state", StateName(job.state())}, {"exit", std::to_string(exit_code)}};
  for (const proto::StudySummary& study : job.studies()) {
    if (study.has_best()) AddBest(job, study, fields);
  }
  fields.emplace_back("complete", std::to_string(totals.counts.complete()));
  fields.emplace_back("infeasible", std::to_string(totals.counts.infeasible()));
  fields.emplace_back("failed", std::to_string(totals.counts.failed()));
  if (!job.error().empty()) fields.emplace_back("error", job.error());
  fields.emplace_back("next", exit_code == 0 ? fmt::format("hone get {} -o out", job.job())
                                             : fmt::format("hone explain {}", job.job()));
  return LogLine(unix_ms, job.job(), "end", fields);
}

std::string GoesOnLine(int64_t unix_ms, uint64_t job, int exit_code) {
  return LogLine(
      unix_ms, job, "end",
      {{"state", "running"}, {"exit", std::to_string(exit_code)}, {"next", fmt::format("hone watch {}", job)}});
}

std::string GapText(uint64_t events) {
  return fmt::format("{} earlier event{} no longer kept by the coordinator; counts and best are as of now", events,
                     events == 1 ? " is" : "s are");
}

bool IsWorthALine(const proto::Event& event) {
  for (const std::string_view end : {".started", ".reused", ".leased", ".shared", ".duplicate"}) {
    const std::string& kind = event.kind();
    if (kind.size() >= end.size() && kind.compare(kind.size() - end.size(), end.size(), end) == 0) return false;
  }
  return true;
}

bool IsWorthAShortLog(const proto::Event& event) {
  const std::string& kind = event.kind();
  for (const std::string_view begin : {"job.", "worker.lost", "study.failed", "trial.failed", "build.failed"}) {
    if (kind.compare(0, begin.size(), begin) == 0) return true;
  }
  return false;
}

bool EndsATrial(const proto::Event& event) {
  if (event.trial() == 0) return false;
  static constexpr std::string_view kKinds[] = {"trial.complete", "trial.infeasible", "trial.pruned", "trial.failed"};
  return std::find(std::begin(kKinds), std::end(kKinds), event.kind()) != std::end(kKinds);
}

std::string VerdictText(const proto::JobSummary& job) {
  std::string text = fmt::format("job {} {}", job.job(), StateName(job.state()));
  if (!job.error().empty()) text += ": " + Printable(job.error());
  for (const proto::StudySummary& study : job.studies()) {
    text += study.has_best() ? fmt::format("; best trial {}, {}", study.best().trial(), SpeedupText(study.best()))
                             : "; no feasible candidate";
  }
  const bool any = JobExitCode(job) == 0;
  return text + (any ? fmt::format("\n  hone get {} -o out      hone explain {}\n", job.job(), job.job())
                     : fmt::format("\n  hone explain {}      hone logs {}\n", job.job(), job.job()));
}

int JobExitCode(const proto::JobSummary& job) {
  if (job.state() == proto::JOB_FAILED) return ExitCode(ErrorCode::kFailed);
  if (job.state() == proto::JOB_CANCELLED) return ExitCode(ErrorCode::kCancelled);
  if (job.studies_size() == 0) return ExitCode(ErrorCode::kNo);
  for (const proto::StudySummary& study : job.studies()) {
    if (!study.has_best()) return ExitCode(ErrorCode::kNo);
  }
  return 0;
}

}  // namespace hone
