#include "common/recipe/metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"

namespace hone {
namespace {

constexpr double kAnything = 1e300;

std::vector<std::string> Names(bool accuracy_only) {
  std::vector<std::string> names;
  for (const MetricInfo& metric : MetricCatalogue()) {
    if (!accuracy_only || metric.is_accuracy) names.emplace_back(metric.name);
  }
  return names;
}

}  // namespace

const std::vector<MetricInfo>& MetricCatalogue() {
  static const std::vector<MetricInfo> metrics = {
      {"latency_ms_p50", false, "median time of one inference"},
      {"latency_ms_p90", false, "time that nine of ten inferences keep within", false, false, 0, kAnything, 100},
      {"latency_ms_p99", false, "time that 99 of 100 inferences keep within", false, false, 0, kAnything, 1000},
      {"speedup", true, "how many times faster than the baseline, measured beside it"},
      {"throughput_per_s", true, "inferences a second with several in flight"},
      {"prompt_tokens_per_s", true, "tokens of a prompt that a language model reads in a second"},
      {"decode_tokens_per_s", true, "tokens that a language model writes in a second, one after the other"},
      {"time_to_first_token_ms", false, "time from a language model's prompt to the first token of its answer"},
      {"size_bytes", false, "bytes of the model's files"},
      {"memory_bytes", false, "peak memory of the process that holds the model"},
      {"load_ms", false, "time from the files to a model that can run"},
      {"accuracy", true, "the recipe's accuracy metric of the candidate", false, false, -kAnything, kAnything},
      {"accuracy_drop", false, "how much worse than the baseline, in the accuracy metric's own unit", false, false, 0,
       kAnything},
      {"cosine", true, "mean cosine similarity of a sample's outputs to the original's", true, false, -1, 1},
      {"sqnr_db", true, "signal to quantization-noise ratio against the original", true, false, -kAnything, kAnything},
      {"max_error", false, "largest absolute error against the original", true},
      {"mse", false, "mean squared error against the original", true},
      {"top1_agreement", true, "share of rows whose largest output is the original's", true, false, 0, 1},
      {"perplexity", false, "how surprised a language model is at each token of a text: exp of the mean", true, false,
       1},
      {"greedy_agreement", true,
       "share of a language model's greedy tokens before the first that is not the original's", true, false, 0, 1},
      {"top1", true, "share of samples whose label is the largest output", true, true, 0, 1},
      {"top5", true, "share of samples whose label is among the five largest outputs", true, true, 0, 1},
      {"f1", true, "macro F1 over the classes", true, true, 0, 1},
  };
  return metrics;
}

const MetricInfo* FindMetric(std::string_view name) {
  const auto& metrics = MetricCatalogue();
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const MetricInfo& metric) { return name == metric.name; });
  return found == metrics.end() ? nullptr : &*found;
}

Result<const MetricInfo*> RequireMetric(std::string_view name) {
  if (const MetricInfo* metric = FindMetric(name)) return metric;
  const std::vector<std::string> names = Names(false);
  return Fail(ErrorCode::kRejected,
              fmt::format("unknown metric '{}'{}", Printable(name, 80), DidYouMean(WordKind::metric, name, names)),
              "Metrics are " + Join(names, ", "));
}

Result<const MetricInfo*> RequireAccuracyMetric(std::string_view name) {
  const MetricInfo* metric = FindMetric(name);
  if (metric != nullptr && metric->is_accuracy) return metric;
  const std::vector<std::string> names = Names(true);
  return Fail(ErrorCode::kRejected,
              metric != nullptr
                  ? fmt::format("'{}' is no accuracy metric", name)
                  : fmt::format("unknown accuracy metric '{}'{}", Printable(name, 80),
                                DidYouMean(WordKind::metric, name, names)),
              "Accuracy metrics are " + Join(names, ", "));
}

bool LargerIsBetter(const MetricInfo& metric, std::string_view accuracy_metric) {
  if (std::string_view(metric.name) != "accuracy") return metric.larger_is_better;
  const MetricInfo* chosen = FindMetric(accuracy_metric);
  return chosen == nullptr || chosen->larger_is_better;
}

}  // namespace hone
