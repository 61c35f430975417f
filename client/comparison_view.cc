#include "client/comparison_view.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "client/table.h"
#include "client/text_output.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

std::string IntervalText(const std::string& name, const proto::Metric* metric) {
  if (metric == nullptr || !metric->has_low() || !metric->has_high()) return "";
  proto::Metric low, high;
  low.set_value(metric->low());
  high.set_value(metric->high());
  return fmt::format("[{}, {}]", MetricText(name, &low), MetricText(name, &high));
}

// "-59.1 %", "+0.4 %"; "" where a figure is missing or not positive.
std::string RelativeText(const proto::Metric* before, const proto::Metric* after) {
  if (before == nullptr || after == nullptr || !(before->value() > 0) || !(after->value() > 0)) return "";
  return fmt::format("{:+.1f} %", (after->value() / before->value() - 1) * 100);
}

using Metrics = google::protobuf::RepeatedPtrField<proto::Metric>;

// In a narrow window: a metric, then a line for each of the two.
std::string StackedFigures(const std::string& name_a, const Metrics& a, const std::string& name_b, const Metrics& b,
                           const std::set<std::string>& names) {
  const size_t widest = std::max(name_a.size(), name_b.size());
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("{}  {}\n", name, RelativeText(FindMetric(a, name), FindMetric(b, name)));
    for (const auto& [side, metrics] : {std::pair{&name_a, &a}, std::pair{&name_b, &b}}) {
      const proto::Metric* metric = FindMetric(*metrics, name);
      text += fmt::format("  {:<{}}  {} {}\n", *side, widest, MetricText(name, metric), IntervalText(name, metric));
    }
  }
  return text;
}

// Figures of both with their intervals.
std::string FiguresTable(const std::string& name_a, const Metrics& a, const std::string& name_b, const Metrics& b,
                         size_t width) {
  std::set<std::string> names;
  for (const auto& metric : a) names.insert(metric.name());
  for (const auto& metric : b) names.insert(metric.name());
  constexpr size_t kTable = 90;
  if (width > 0 && width < kTable) return StackedFigures(name_a, a, name_b, b, names);
  Table table({{"", Align::left, false},
               {name_a, Align::right, false},
               {"99 %", Align::left, false},
               {name_b, Align::right, false},
               {"99 %", Align::left, false},
               {"change", Align::right, false}});
  for (const std::string& name : names) {
    const proto::Metric* before = FindMetric(a, name);
    const proto::Metric* after = FindMetric(b, name);
    table.Row({name, MetricText(name, before), IntervalText(name, before), MetricText(name, after),
               IntervalText(name, after), RelativeText(before, after)});
  }
  return table.Text();
}

Comparison ComparisonOf(const NamedTrial& a, const NamedTrial& b, const FreshComparison* fresh) {
  return fresh != nullptr ? CompareFresh(*fresh) : Compare(a.trial, b.trial);
}

std::string VerdictLine(const NamedTrial& a, const NamedTrial& b, const Comparison& comparison) {
  const std::string_view verdict = comparison.verdict;
  const char sign = verdict == "faster" ? '+' : verdict == "slower" ? '-' : '?';
  std::string text = fmt::format(
      "{} {} is {}", sign, b.name,
      verdict == "undecided" ? "not told apart from " + a.name : fmt::format("{} than {}", verdict, a.name));
  if (comparison.low)
    text += fmt::format(": {:.2f}x [{:.2f}, {:.2f}]", *comparison.speedup, *comparison.low, *comparison.high);
  return text + "\n";
}

}  // namespace

Comparison CompareFresh(const FreshComparison& fresh) {
  Comparison comparison;
  if (!(fresh.speedup.value() > 0)) return comparison;
  comparison.speedup = fresh.speedup.value();
  if (!fresh.speedup.has_low() || !fresh.speedup.has_high()) return comparison;
  comparison.low = fresh.speedup.low();
  comparison.high = fresh.speedup.high();
  if (*comparison.low > 1) comparison.verdict = "faster";
  if (*comparison.high < 1) comparison.verdict = "slower";
  return comparison;
}

Json SideBySideJson(const NamedTrial& a, const NamedTrial& b, const FreshComparison* fresh) {
  Json document = ComparisonJson(a.trial, b.trial);
  document["fresh"] = nullptr;
  if (fresh == nullptr) return document;
  const Comparison comparison = CompareFresh(*fresh);
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  document["b_over_a"] = {{"speedup", or_null(comparison.speedup)},
                          {"low", or_null(comparison.low)},
                          {"high", or_null(comparison.high)},
                          {"verdict", comparison.verdict}};
  document["fresh"] = {{"a", MetricsJson(fresh->a)},
                       {"b", MetricsJson(fresh->b)},
                       {"intervals_a", IntervalsJson(fresh->a)},
                       {"intervals_b", IntervalsJson(fresh->b)},
                       {"pairs", fresh->speedup.samples()},
                       {"machine", fresh->machine},
                       {"wall_s", fresh->wall_s}};
  return document;
}

std::string SideBySideText(const NamedTrial& a, const NamedTrial& b, const FreshComparison* fresh, size_t width) {
  std::string text;
  for (const NamedTrial* side : {&a, &b}) {
    const std::string line = fmt::format("{:<12} {}  {}", side->name, StateName(side->trial.state()),
                                         CandidateText(side->trial.candidate()));
    text += (width > 0 ? CutEnd(line, width) : line) + "\n";
    if (side->trial.has_speedup()) text += fmt::format("{:<12} {} over its baseline\n", "", SpeedupText(side->trial));
  }
  text += "\n" + (fresh != nullptr ? FiguresTable(a.name, fresh->a, b.name, fresh->b, width)
                                   : FiguresTable(a.name, a.trial.metrics(), b.name, b.trial.metrics(), width));
  text += "\n" + VerdictLine(a, b, ComparisonOf(a, b, fresh));
  if (fresh != nullptr)
    return text + fmt::format("  {} interleaved pairs on {}, {:.0f} s\n", fresh->speedup.samples(), fresh->machine,
                              fresh->wall_s);
  if (a.trial.fingerprint() != b.trial.fingerprint())
    text += "  measured on machines that differ; the speed-ups are each against their own baseline\n";
  return text + fmt::format("  by speed-ups over the baselines; against each other: hone compare {} {} --fresh\n",
                            a.name, b.name);
}

}  // namespace hone
