// The night's page: tables and, for each series, its history as a picture drawn here (SVG). Nothing is fetched, nothing
// runs: a mail program or a CI system that strips scripts shows the same page.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "client/nightly/markup.h"
#include "client/nightly/report.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr double kWidth = 640;
constexpr double kHeight = 140;
constexpr double kLeft = 52;
constexpr double kRight = 10;
constexpr double kTop = 12;
constexpr double kBottom = 22;
constexpr size_t kMostPoints = 365;

constexpr const char* kNightStyle = R"css(
.regression,.error{color:#c62828;font-weight:600}.improvement{color:#2e7d32;font-weight:600}
.inconclusive,.environment{color:#b26a00}
)css";

std::string Day(int64_t unix_ms) {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)));
}

const char* Color(NightVerdict verdict) {
  switch (verdict) {
    case NightVerdict::regression:
    case NightVerdict::error:
      return "#c62828";
    case NightVerdict::improvement:
      return "#2e7d32";
    case NightVerdict::inconclusive:
    case NightVerdict::environment:
      return "#b26a00";
    case NightVerdict::equivalent:
      break;
  }
  return "#1565c0";
}

// The picture of a series: a point a night with its interval, the band that does not matter, level changes, notes of
// people.
class Chart {
 public:
  Chart(std::vector<HistoryPoint> points, const SeriesResult& result) : points_(std::move(points)), result_(result) {
    low_ = -2 * result.threshold;
    high_ = 2 * result.threshold;
    for (const HistoryPoint& point : points_) {
      low_ = std::min({low_, point.effect, std::max(point.interval.low, point.effect - 4 * result.threshold)});
      high_ = std::max({high_, point.effect, std::min(point.interval.high, point.effect + 4 * result.threshold)});
    }
  }

  std::string Svg(const std::vector<Annotation>& annotations) const {
    std::string svg = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"history of {}\">", kWidth,
                                  kHeight, Html(result_.key.metric));
    svg += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"{}\" height=\"{:.1f}\" fill=\"#1565c022\"/>", kLeft,
                       Y(result_.threshold), kWidth - kLeft - kRight, Y(-result_.threshold) - Y(result_.threshold));
    for (const double level : {-result_.threshold, 0.0, result_.threshold}) {
      svg += fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#8886\"/>", kLeft,
                         kWidth - kRight, Y(level), Y(level));
      svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 4, Y(level) + 4,
                         EffectText(level, result_.absolute));
    }
    for (const size_t change : LevelChanges(points_))
      svg += Mark(X(change) - Step() / 2, "#c62828", "the level changed here");
    for (const Annotation& annotation : annotations) svg += Note(annotation);
    for (size_t i = 0; i < points_.size(); ++i) svg += Point(i);
    svg += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>", kLeft, kHeight - 5, Day(points_.front().unix_ms));
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text></svg>\n", kWidth - kRight, kHeight - 5,
                       Day(points_.back().unix_ms));
    return svg;
  }

 private:
  double Step() const { return (kWidth - kLeft - kRight) / static_cast<double>(points_.size()); }
  double X(size_t i) const { return kLeft + Step() * (static_cast<double>(i) + 0.5); }
  double Y(double effect) const {
    const double share = (std::clamp(effect, low_, high_) - low_) / (high_ - low_);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }

  std::string Point(size_t i) const {
    const HistoryPoint& point = points_[i];
    return fmt::format(
        "<g stroke=\"{0}\" fill=\"{0}\"><line x1=\"{1:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{3:.1f}\" "
        "stroke-opacity=\".5\"/>"
        "<circle cx=\"{1:.1f}\" cy=\"{4:.1f}\" r=\"2.5\"><title>{5}: {6}, {7}</title></circle></g>",
        Color(point.verdict), X(i), Y(point.interval.high), Y(point.interval.low), Y(point.effect), Html(point.night),
        EffectText(point.effect, result_.absolute), NameOf(point.verdict));
  }

  static std::string Mark(double x, const char* color, const std::string& title) {
    return fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"{3}\" stroke-width=\"2\" "
        "stroke-dasharray=\"3 3\">"
        "<title>{4}</title></line>",
        x, kTop, kHeight - kBottom, color, Html(title));
  }

  // Between the nights before and after it.
  std::string Note(const Annotation& annotation) const {
    const SeriesKey& key = result_.key;
    const bool about = (annotation.model.empty() || annotation.model == key.model) &&
                       (annotation.target.empty() || annotation.target == key.target) &&
                       (annotation.metric.empty() || annotation.metric == key.metric);
    if (!about) return {};
    const auto after = std::find_if(points_.begin(), points_.end(),
                                    [&](const HistoryPoint& point) { return point.unix_ms >= annotation.unix_ms; });
    const double x = X(static_cast<size_t>(after - points_.begin())) - Step() / 2;
    return Mark(std::min(x, kWidth - kRight), "#6a1b9a",
                annotation.text + (annotation.author.empty() ? "" : " (" + annotation.author + ")"));
  }

  std::vector<HistoryPoint> points_;
  const SeriesResult& result_;
  double low_ = 0;
  double high_ = 0;
};

std::string ResultRows(const NightRecord& night) {
  std::string rows;
  for (const SeriesResult& result : night.results) {
    const bool has_figures = result.judgement.pairs > 0;
    rows += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td><td class=\"n\">{}</td>"
        "<td>{}{}{}</td></tr>\n",
        Html(result.key.model), Html(result.key.target), Html(result.key.metric), NameOf(result.judgement.verdict),
        NameOf(result.judgement.verdict), result.muted ? " <span class=\"soft\">muted</span>" : "",
        has_figures ? EffectText(result.judgement.effect, result.absolute) : "",
        has_figures ? HumanNumber(result.accepted_median) : "", has_figures ? HumanNumber(result.tonight_median) : "",
        has_figures ? EvidenceText(result) : "", has_figures && !result.reason.empty() ? "; " : "",
        Html(result.reason));
  }
  return rows;
}

std::string Histories(const NightReport& report) {
  std::string text;
  for (const SeriesResult& result : report.night.results) {
    const auto found = report.history.find(result.key);
    if (found == report.history.end() || found->second.empty()) continue;
    std::vector<HistoryPoint> points = found->second;
    if (points.size() > kMostPoints)
      points.erase(points.begin(), points.end() - static_cast<std::ptrdiff_t>(kMostPoints));
    text += fmt::format("<h3>{} on {}: {} <span class=\"soft\">{} nights, {}</span></h3>\n", Html(result.key.model),
                        Html(result.key.target), Html(result.key.metric), points.size(), Html(result.key.runtime));
    text += Chart(std::move(points), result).Svg(report.annotations);
  }
  return text;
}

std::string Machines(const NightRecord& night) {
  std::string rows;
  for (const MachineHealth& machine : night.health) {
    rows += fmt::format(
        "<tr><td>{}</td><td>{}</td><td class=\"soft\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
        Html(machine.target), Html(machine.worker), Html(machine.fingerprint.substr(0, 19)), machine.launches,
        machine.disturbed, machine.canary_ms > 0 ? fmt::format("{:.3f} ms", machine.canary_ms) : "-",
        Html(Join(machine.notes, "; ")));
  }
  return rows;
}

std::string Notes(const std::vector<Annotation>& annotations) {
  std::string rows;
  for (const Annotation& note : annotations) {
    const bool link = note.link.starts_with("http://") || note.link.starts_with("https://");
    rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", Day(note.unix_ms), Html(note.text),
                        Html(note.author),
                        link ? fmt::format("<a href=\"{0}\">{0}</a>", Html(note.link)) : Html(note.link));
  }
  return rows.empty() ? rows : "<h2>Annotations</h2>\n<table>" + rows + "</table>\n";
}

}  // namespace

std::string NightHtml(const NightReport& report) {
  const NightRecord& night = report.night;
  std::string page = PageBegin(fmt::format("{} {}", night.suite, night.id), kNightStyle);
  page += fmt::format("<h1>{}: {}</h1>\n<p class=\"soft\">Night {}. {}.</p>\n", Html(night.suite), CountsText(night),
                      Html(night.id), ControlText(report.control));
  page +=
      "<table><thead><tr><th>model</th><th>target</th><th>metric</th><th>verdict</th><th>effect</th><th>accepted</"
      "th><th>tonight</th><th>evidence</th></tr>"
      "</thead><tbody>\n" +
      ResultRows(night) + "</tbody></table>\n";
  page +=
      "<h2>History</h2>\n<p class=\"soft\">Each night's ratio to what was accepted, with its 99 % interval. The band "
      "is the threshold; a red line is a change "
      "of level, a violet one a person's note.</p>\n" +
      Histories(report);
  page += Notes(report.annotations);
  page +=
      "<h2>Machines</h2>\n<table><thead><tr><th>target</th><th>worker</th><th>fingerprint</th><th>launches</"
      "th><th>disturbed</th><th>canary</th><th>notes</th></tr></thead>"
      "<tbody>\n" +
      Machines(night) + "</tbody></table>\n";
  return page + PageEnd();
}

}  // namespace hone
