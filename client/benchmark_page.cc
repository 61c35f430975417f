// The page of a benchmark: figures as a table, and the raw samples as pictures drawn here (SVG) on axes that all runs
// share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "client/benchmark_report.h"
#include "client/nightly/markup.h"
#include "client/text_output.h"
#include "common/base/strings.h"
#include "common/statistics/statistics.h"

namespace hone {
namespace {

constexpr double kPictureWidth = 760;
constexpr double kPictureLeft = 48;
constexpr double kPictureRight = 12;
constexpr double kPictureTop = 8;
constexpr double kPictureBottom = 22;
constexpr size_t kBins = 90;
constexpr size_t kMostEcdfPoints = 400;
constexpr int kOperatorRows = 60;
// The axis ends where this share of all samples lies; what is beyond is counted in words.
constexpr double kAxisShare = 0.98;

constexpr const char* kBenchmarkStyle = R"css(
:root{--c0:#1565c0;--c1:#c2410c;--c2:#2e7d32;--c3:#7b1fa2;--c4:#b71c1c;--c5:#00695c;--c6:#8d6e00;--c7:#455a64}
@media (prefers-color-scheme:dark){:root{--c0:#64b5f6;--c1:#ffa270;--c2:#81c784;--c3:#ce93d8;
--c4:#ef9a9a;--c5:#4db6ac;--c6:#ffd54f;--c7:#b0bec5}}
.bar{display:inline-block;height:.7rem;background:var(--c0);opacity:.7}
.key{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;vertical-align:-1px}
.scroll{overflow-x:auto}
)css";

std::string ColorOf(size_t run) { return fmt::format("var(--c{})", run % 8); }

struct Series {
  std::string label;
  std::string color;
  std::vector<double> values;
};

std::vector<Series> SeriesOf(const BenchmarkReport& report, const std::string& name) {
  std::vector<Series> all;
  const std::vector<std::string> labels = RunLabels(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    std::vector<double> values = SamplesOf(report.runs[i].figures, name);
    if (!values.empty()) all.push_back({labels[i], ColorOf(i), std::move(values)});
  }
  return all;
}

// A linear axis with round steps.
class Axis {
 public:
  Axis(double low, double high, double from, double to)
      : low_(low), high_(high > low ? high : low + 1), from_(from), to_(to) {}

  double At(double value) const {
    return from_ + (std::clamp(value, low_, high_) - low_) / (high_ - low_) * (to_ - from_);
  }
  double low() const { return low_; }
  double high() const { return high_; }

  std::vector<double> Ticks(double wanted) const {
    const double rough = (high_ - low_) / wanted;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double digit = rough / power;
    const double step = power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
    std::vector<double> ticks;
    for (double tick = std::ceil(low_ / step) * step; tick <= high_ + step * 1e-9; tick += step)
      ticks.push_back(std::abs(tick) < step * 1e-9 ? 0 : tick);
    return ticks;
  }

 private:
  double low_, high_, from_, to_;
};

// A picture with a time axis at its foot.
class Picture {
 public:
  Picture(double height, Axis x, std::string_view name) : height_(height), x_(x) {
    svg_ = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kPictureWidth, height, Html(name));
  }
  void Add(const std::string& shape) { svg_ += shape; }
  double floor() const { return height_ - kPictureBottom; }
  const Axis& x() const { return x_; }

  void TicksX(const char* unit) {
    for (const double tick : x_.Ticks(8)) {
      svg_ += fmt::format(
          "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2:.1f}\" stroke=\"#8884\"/>"
          "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4:g}{5}</text>",
          x_.At(tick), kPictureTop, floor(), height_ - 6, tick, unit);
    }
  }
  void TickY(double y, const std::string& text) {
    svg_ += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#8884\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>",
        kPictureLeft, kPictureWidth - kPictureRight, y, kPictureLeft - 4, y + 4, text);
  }
  std::string Text() const { return svg_ + "</svg>\n"; }

 private:
  double height_;
  Axis x_;
  std::string svg_;
};

// The range that all series share, and how many values lie above it.
struct Range {
  double low = 0;
  double high = 1;
  size_t beyond = 0;
};

Range SharedRange(const std::vector<Series>& all) {
  std::vector<double> values;
  double high = 0;
  for (const Series& series : all) {
    values.insert(values.end(), series.values.begin(), series.values.end());
    // No series is cut by the many values of another.
    high = std::max(high, Quantile(series.values, kAxisShare));
  }
  const double low = *std::min_element(values.begin(), values.end());
  const double room = std::max({(high - low) * 0.03, high * 1e-4, 1e-9});
  Range range{std::max(0.0, low - room), high + room, 0};
  range.beyond = static_cast<size_t>(
      std::count_if(values.begin(), values.end(), [&](double value) { return value > range.high; }));
  return range;
}

std::string MedianMark(const Picture& picture, double value, const std::string& color) {
  return fmt::format(
      "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2:.1f}\" stroke=\"{3}\" stroke-width=\"2\"><title>median "
      "{4:.5g} ms</title></line>",
      picture.x().At(value), kPictureTop, picture.floor(), color, value);
}

std::string Histogram(const Series& series, const Range& range) {
  Picture picture(96, Axis(range.low, range.high, kPictureLeft, kPictureWidth - kPictureRight),
                  "distribution of " + series.label);
  std::vector<size_t> counts(kBins, 0);
  for (const double value : series.values) {
    if (value > range.high) continue;
    const double place = (value - range.low) / (range.high - range.low) * static_cast<double>(kBins);
    ++counts[std::min(static_cast<size_t>(std::max(place, 0.0)), kBins - 1)];
  }
  picture.TicksX(" ms");
  const size_t most = std::max<size_t>(1, *std::max_element(counts.begin(), counts.end()));
  const double step = (kPictureWidth - kPictureLeft - kPictureRight) / static_cast<double>(kBins);
  std::string path;
  for (size_t i = 0; i < kBins; ++i) {
    if (counts[i] == 0) continue;
    const double height = static_cast<double>(counts[i]) / static_cast<double>(most) * (picture.floor() - kPictureTop);
    path += fmt::format("M{:.1f} {:.1f}v{:.1f}h{:.1f}v{:.1f}z", kPictureLeft + step * static_cast<double>(i),
                        picture.floor(), -height, step, height);
  }
  picture.Add(fmt::format("<path d=\"{}\" fill=\"{}\" fill-opacity=\".55\"/>", path, series.color));
  picture.Add(MedianMark(picture, Median(series.values), series.color));
  return picture.Text();
}

// Share of values up to x, of all series in one picture.
std::string CumulativePicture(const std::vector<Series>& all, const Range& range) {
  Picture picture(220, Axis(range.low, range.high, kPictureLeft, kPictureWidth - kPictureRight),
                  "cumulative distributions");
  const Axis y(0, 1, picture.floor(), kPictureTop);
  picture.TicksX(" ms");
  for (const double share : {0.0, 0.5, 0.9, 0.99}) picture.TickY(y.At(share), fmt::format("{:g} %", share * 100));
  for (const Series& series : all) {
    std::vector<double> sorted = series.values;
    std::sort(sorted.begin(), sorted.end());
    const size_t step = std::max<size_t>(1, sorted.size() / kMostEcdfPoints);
    std::string points;
    for (size_t i = 0; i < sorted.size(); i += step) {
      if (sorted[i] > range.high) break;
      points += fmt::format("{:.1f},{:.1f} ", picture.x().At(sorted[i]),
                            y.At(static_cast<double>(i + 1) / static_cast<double>(sorted.size())));
    }
    picture.Add(fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"><title>{}</title></polyline>", points,
        series.color, Html(series.label)));
  }
  return picture.Text();
}

// Medians of blocks in the order in which they were measured: drift and steps show here.
std::string Timeline(const std::vector<Series>& all) {
  const Range range = SharedRange(all);
  size_t most = 1;
  for (const Series& series : all) most = std::max(most, series.values.size());
  Picture picture(170, Axis(0, static_cast<double>(most - 1), kPictureLeft, kPictureWidth - kPictureRight),
                  "medians of blocks in order");
  const Axis y(range.low, range.high, picture.floor(), kPictureTop);
  for (const double tick : y.Ticks(5)) picture.TickY(y.At(tick), fmt::format("{:g}", tick));
  picture.TicksX("");
  for (const Series& series : all) {
    std::string circles;
    for (size_t i = 0; i < series.values.size(); ++i) {
      circles += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.2\"/>", picture.x().At(static_cast<double>(i)),
                             y.At(series.values[i]));
    }
    picture.Add(fmt::format("<g fill=\"{}\" fill-opacity=\".8\">{}</g>", series.color, circles));
  }
  return picture.Text();
}

std::string Keys(const std::vector<Series>& all) {
  std::string keys;
  for (const Series& series : all) {
    keys += fmt::format("<span><span class=\"key\" style=\"background:{}\"></span>{}</span> &nbsp; ", series.color,
                        Html(series.label));
  }
  return "<p>" + keys + "</p>\n";
}

std::string Distributions(const std::vector<Series>& all) {
  const Range range = SharedRange(all);
  std::string text;
  for (const Series& series : all) {
    const double least = *std::min_element(series.values.begin(), series.values.end());
    const double most = *std::max_element(series.values.begin(), series.values.end());
    text += fmt::format(
        "<h3><span class=\"key\" style=\"background:{}\"></span>{} <span class=\"soft\">n = {}, {:.4g} to {:.4g} ms, "
        "median {:.4g}</span></h3>\n",
        series.color, Html(series.label), series.values.size(), least, most, Median(series.values));
    text += Histogram(series, range);
  }
  if (range.beyond > 0)
    text += fmt::format("<p class=\"soft\">{} samples lie beyond the right edge.</p>\n", range.beyond);
  return text + CumulativePicture(all, range);
}

struct FigureColumn {
  const char* title;
  const char* metric;
};
constexpr FigureColumn kColumns[] = {{"p50", "latency_ms_p50"},          {"p90", "latency_ms_p90"},
                                     {"p99", "latency_ms_p99"},          {"p99.9", "latency_ms_p999"},
                                     {"throughput", "throughput_per_s"}, {"load", "load_ms"},
                                     {"cold start", "cold_start_ms"},    {"memory", "memory_bytes"}};

std::string SpeedupCell(const BenchmarkRun& run) {
  if (!run.figures.has_speedup()) return fmt::format("<td class=\"n\">{}</td>", run.reference ? "reference" : "-");
  const proto::Metric& ratio = run.figures.speedup();
  return fmt::format("<td class=\"n\">{:.3f}x<br><span class=\"soft\">{:.3f} to {:.3f}</span></td>", ratio.value(),
                     ratio.low(), ratio.high());
}

std::string FigureCell(const proto::Metric* metric, const char* name) {
  std::string title;
  if (metric != nullptr && metric->has_low() && metric->has_high()) {
    title = fmt::format(" title=\"99 % interval {:.5g} to {:.5g}, n = {}\"", metric->low(), metric->high(),
                        metric->samples());
  } else if (metric != nullptr && metric->has_high()) {
    title = fmt::format(" title=\"at most {:.5g} with 99 % confidence, n = {}\"", metric->high(), metric->samples());
  }
  return fmt::format("<td class=\"n\"{}>{}</td>", title,
                     metric == nullptr ? "<span class=\"soft\">n too small</span>" : Html(MetricText(name, metric)));
}

std::string FigureTable(const BenchmarkReport& report) {
  std::string head = "<th></th><th class=\"n\">speed-up</th>";
  for (const FigureColumn& column : kColumns) head += fmt::format("<th class=\"n\">{}</th>", column.title);
  std::string rows;
  const std::vector<std::string> labels = RunLabels(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const BenchmarkRun& run = report.runs[i];
    std::string cells =
        fmt::format("<td><span class=\"key\" style=\"background:{}\"></span>{}</td>", ColorOf(i), Html(labels[i])) +
        SpeedupCell(run);
    for (const FigureColumn& column : kColumns) {
      const proto::Metric* metric = FindMetric(run.figures.metrics(), column.metric);
      const bool percentile = std::string_view(column.metric).starts_with("latency");
      cells += metric != nullptr || percentile ? FigureCell(metric, column.metric) : "<td class=\"n\">-</td>";
    }
    rows += "<tr>" + cells + "</tr>\n";
  }
  return fmt::format("<div class=\"scroll\"><table><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>\n", head,
                     rows);
}

std::string ProfileTable(const proto::Profile& profile) {
  double sum_ms = 0, most_ms = 0;
  for (const proto::OperatorTime& row : profile.operators()) {
    sum_ms += row.ms();
    most_ms = std::max(most_ms, row.ms());
  }
  std::string rows;
  for (int i = 0; i < std::min(profile.operators_size(), kOperatorRows); ++i) {
    const proto::OperatorTime& row = profile.operators(i);
    rows += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"soft\">{}</td><td class=\"n\">{:.4f}</td><td "
        "class=\"n\">{:.1f} %</td>"
        "<td><span class=\"bar\" style=\"width:{:.2f}rem\"></span></td></tr>\n",
        Html(row.name()), Html(row.type()), Html(row.precision()), Html(row.kernel()), row.ms(),
        sum_ms > 0 ? 100 * row.ms() / sum_ms : 0, most_ms > 0 ? 8 * row.ms() / most_ms : 0);
  }
  const int left_out = profile.operators_size() - kOperatorRows;
  return fmt::format(
      "<p class=\"soft\">{:.4f} ms in {} operators; {:.4f} ms an inference with the profiler on, {} "
      "inferences.{}</p>\n<div class=\"scroll\"><table>"
      "<thead><tr><th>operator</th><th>type</th><th>executed in</th><th>kernel</th><th class=\"n\">ms</th><th "
      "class=\"n\">share</th><th></th></tr></thead>"
      "<tbody>\n{}</tbody></table></div>\n",
      sum_ms, profile.operators_size(), profile.run_ms(), profile.runs(),
      left_out > 0 ? fmt::format(" The {} shortest are left out here.", left_out) : "", rows);
}

std::string Profiles(const BenchmarkReport& report) {
  std::string text;
  const std::vector<std::string> labels = RunLabels(report.runs);
  for (size_t i = 0; i < report.runs.size(); ++i) {
    if (!report.runs[i].figures.has_profile()) continue;
    text += fmt::format("<h3>{}</h3>\n{}", Html(labels[i]), ProfileTable(report.runs[i].figures.profile()));
  }
  return text.empty() ? text : "<h2>Time by operator</h2>\n" + text;
}

std::string Remarks(const BenchmarkReport& report) {
  std::string items;
  for (const std::string& note : report.result.notes()) items += "<li>" + Html(note) + "</li>\n";
  std::map<std::string, size_t> missing;
  for (const BenchmarkRun& run : report.runs) {
    for (const std::string& what : run.figures.missing()) ++missing[what];
  }
  for (const auto& [what, count] : missing) items += "<li>not told: " + Html(what) + "</li>\n";
  return items.empty() ? items : "<h2>Notes</h2>\n<ul>\n" + items + "</ul>\n";
}

std::string Machine(const BenchmarkReport& report) {
  const proto::Fingerprint& machine = report.result.fingerprint();
  std::vector<std::string> versions;
  for (const BenchmarkRun& run : report.runs) {
    const std::string version = run.figures.execution().backend() + " " + run.figures.execution().version();
    if (std::find(versions.begin(), versions.end(), version) == versions.end()) versions.push_back(version);
  }
  return fmt::format("<p class=\"soft\">{}, {} cores, {}; {}; inputs: {}.</p>\n", Html(machine.cpu_model()),
                     machine.cores_allowed(), HumanBytes(machine.memory_bytes()), Html(Join(versions, ", ")),
                     report.data.empty() ? "synthetic" : Html(report.data.substr(0, 19)));
}

}  // namespace

std::string BenchmarkHtml(const BenchmarkReport& report) {
  const std::string title = "benchmark of " + report.model().side.model.path.string();
  std::string page = PageBegin(title, kBenchmarkStyle) + fmt::format("<h1>{}</h1>\n", Html(title)) + Machine(report);
  if (report.verdict)
    page += fmt::format("<p><b>{}</b> (equal within {:.1f} %)</p>\n", VerdictName(*report.verdict), report.delta * 100);
  page += FigureTable(report);
  const std::vector<Series> latency = SeriesOf(report, "latency_ms");
  if (!latency.empty()) {
    page += "<h2>Latency, one inference after the other</h2>\n" + Distributions(latency);
    page += "<h3>Medians of blocks, in the order in which they were measured</h3>\n" + Keys(latency) +
            Timeline(SeriesOf(report, "block_latency_ms"));
  }
  const std::vector<Series> open_loop = SeriesOf(report, "open_loop_ms");
  if (!open_loop.empty() && report.rate_per_s) {
    page +=
        fmt::format("<h2>Latency at {:g} requests a second, from the scheduled arrival</h2>\n", *report.rate_per_s) +
        Distributions(open_loop);
  }
  return page + Profiles(report) + Remarks(report) + PageEnd();
}

}  // namespace hone
