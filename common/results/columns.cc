#include "common/results/columns.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <unordered_map>

#include "common/results/messages.h"

namespace hone {
namespace {

// The ends of an interval are not known better.
constexpr int kIntervalDigits = 4;

std::string Dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Numbers for things that repeat, in the order they came.
class Dictionary {
 public:
  int64_t Of(const std::string& text) {
    const auto [place, fresh] = numbers_.emplace(text, static_cast<int64_t>(list_.size()));
    if (fresh) list_.push_back(text);
    return place->second;
  }
  std::string Texts() const {
    std::string text;
    for (const std::string& item : list_) text += (text.empty() ? "" : ",") + Dumped(item);
    return "[" + text + "]";
  }
  // Of things that are JSON already.
  std::string Things() const {
    std::string text;
    for (const std::string& item : list_) text += (text.empty() ? "" : ",") + item;
    return "[" + text + "]";
  }

 private:
  std::unordered_map<std::string, int64_t> numbers_;
  std::vector<std::string> list_;
};

// One column as it grows; what is never set is null.
class Column {
 public:
  void Pad(size_t rows) {
    while (rows_ < rows) Put("null");
  }
  void Whole(uint64_t value) { Put(std::to_string(value)); }
  void Real(double value, int digits = 6) {
    Put(std::isfinite(value) ? fmt::format("{:.{}g}", value, digits) : "null");
  }
  void Seconds(uint64_t unix_ms) {
    Put(unix_ms == 0 ? "null" : fmt::format("{:.3f}", static_cast<double>(unix_ms) / 1000));
  }
  void Word(Dictionary& words, const std::string& text) { Put(text.empty() ? "null" : std::to_string(words.Of(text))); }
  std::string Text(size_t rows) {
    Pad(rows);
    return "[" + text_ + "]";
  }

 private:
  void Put(std::string_view value) {
    if (rows_++ > 0) text_ += ',';
    text_ += value;
  }
  std::string text_;
  size_t rows_ = 0;
};

class ColumnTable {
 public:
  ColumnTable() = default;
  explicit ColumnTable(std::initializer_list<const char*> names) {
    for (const char* name : names) (void)(*this)[name];
  }
  Column& operator[](const std::string& name) {
    const auto [place, fresh] = columns_.try_emplace(name);
    if (fresh) order_.push_back(name);
    return place->second;
  }
  // "name":[...], joined by commas.
  std::string Text(size_t rows) {
    std::string text;
    for (const std::string& name : order_) {
      text += (text.empty() ? "" : ",") + Dumped(name) + ":" + columns_[name].Text(rows);
    }
    return text;
  }

 private:
  std::map<std::string, Column> columns_;
  std::vector<std::string> order_;
};

struct MetricColumns {
  ColumnTable value, low, high;

  void Put(size_t row, const std::string& name, const proto::Metric& metric) {
    value[name].Pad(row);
    value[name].Real(metric.value());
    if (!metric.has_low() || !metric.has_high()) return;
    low[name].Pad(row);
    low[name].Real(metric.low(), kIntervalDigits);
    high[name].Pad(row);
    high[name].Real(metric.high(), kIntervalDigits);
  }
};

}  // namespace

std::string TrialColumns(const std::vector<const proto::TrialSummary*>& trials,
                         const std::set<std::pair<uint32_t, uint64_t>>& front, ColumnSet columns) {
  Dictionary words, pipelines, settings;
  ColumnTable table(
      {"trial", "study", "trial_state", "pipeline", "backend", "settings", "worker", "reason", "wall_s", "pareto"});
  MetricColumns metrics;
  for (size_t i = 0; i < trials.size(); ++i) {
    const proto::TrialSummary& trial = *trials[i];
    table["trial"].Whole(trial.trial());
    table["study"].Whole(trial.study());
    table["trial_state"].Word(words, StateName(trial.state()));
    table["pipeline"].Whole(static_cast<uint64_t>(pipelines.Of(Dumped(PipelineJson(trial.candidate())))));
    table["backend"].Word(words, trial.candidate().backend());
    table["settings"].Whole(static_cast<uint64_t>(settings.Of(Dumped(ParametersJson(trial.candidate().settings())))));
    table["worker"].Word(words, trial.worker());
    table["reason"].Word(words, trial.reason());
    table["wall_s"].Real(static_cast<double>(trial.wall_ms()) / 1000);
    table["pareto"].Whole(front.count({trial.study(), trial.trial()}));
    for (const proto::Metric& metric : trial.metrics()) metrics.Put(i, metric.name(), metric);
    if (trial.has_speedup()) metrics.Put(i, "speedup", trial.speedup());
    if (columns == ColumnSet::brief) continue;
    table["phase"].Word(words, trial.phase());
    table["attempts"].Whole(trial.attempts());
    table["created_s"].Seconds(trial.created_unix_ms());
    table["ended_s"].Seconds(trial.ended_unix_ms());
  }
  if (columns == ColumnSet::all) {
    for (const char* name : {"phase", "attempts", "created_s", "ended_s"}) (void)table[name];
  }
  const size_t rows = trials.size();
  return fmt::format(
      "\"rows\":{},\"words\":{},\"pipelines\":{},\"settings_list\":{},{},\"metrics\":{{{}}},\"low\":{{{}}},\"high\":{{{"
      "}}}",
      rows, words.Texts(), pipelines.Things(), settings.Things(), table.Text(rows), metrics.value.Text(rows),
      metrics.low.Text(rows), metrics.high.Text(rows));
}

std::string AttemptColumns(const std::vector<proto::ListAttemptsReply::Attempt>& attempts) {
  Dictionary words;
  ColumnTable table({"attempt", "kind", "worker", "outcome", "study", "trial", "pass", "started_s", "ended_s",
                     "accuracy_s", "timing_s", "wait_s"});
  const auto seconds = [](uint64_t ms) { return static_cast<double>(ms) / 1000; };
  for (const auto& attempt : attempts) {
    table["attempt"].Whole(attempt.attempt());
    table["kind"].Word(words, attempt.kind());
    table["worker"].Word(words, attempt.worker());
    table["outcome"].Word(words, attempt.outcome());
    table["study"].Whole(attempt.study());
    table["trial"].Whole(attempt.trial());
    table["pass"].Word(words, attempt.pass());
    table["started_s"].Seconds(attempt.started_unix_ms());
    table["ended_s"].Seconds(attempt.ended_unix_ms());
    table["accuracy_s"].Real(seconds(attempt.accuracy_ms()));
    table["timing_s"].Real(seconds(attempt.timing_ms()));
    table["wait_s"].Real(seconds(attempt.wait_ms()));
  }
  return fmt::format("\"rows\":{},\"words\":{},{}", attempts.size(), words.Texts(), table.Text(attempts.size()));
}

}  // namespace hone
