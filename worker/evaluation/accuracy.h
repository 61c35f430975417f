// Accuracy of a candidate: against the original's outputs, or against labels. Accumulated sample by sample in constant
// memory.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/recipe.pb.h"
#include "worker/model/tensor.h"

namespace hone {

// A row of the table of accuracy metrics. Every row says how to read its value and what to compare with the baseline.
struct AccuracyMetric {
  const char* name;
  bool needs_labels;
  bool larger_is_better;
  const char* help;
};
const std::vector<AccuracyMetric>& AccuracyMetrics();

// Of language models on texts (evaluation/text_accuracy.h); no other outputs give it.
inline constexpr const char* kPerplexity = "perplexity";
inline constexpr const char* kGreedyAgreement = "greedy_agreement";

// The metric a recipe names; "" means top1 where labels decide, else cosine. kRejected with the names there are, or
// where labels are wanted and the data has none.
Result<const AccuracyMetric*> ChooseAccuracy(const proto::Accuracy& accuracy, bool has_labels);

// Definitions, over the outputs chosen (all numeric ones, or the one named), elements where both sides are the same
// infinity or both NaN left out:
//   cosine          mean over samples of <r,c>/(|r||c|) of the sample's outputs as one vector; 1 if both are zero, 0 if
//   one is sqnr_db         10 log10(sum r^2 / sum (r-c)^2) over all elements; absent if the outputs are equal mse,
//   max_error  mean of (r-c)^2; largest |r-c| top1_agreement  share of rows (last axis, at least 2 wide) whose largest
//   element has the same place; first chosen output top1, top5, f1  against labels, from the first chosen output as
//   [rows, classes] with one row a sample; f1 is the macro mean over
//                   the classes that occur as label or answer
// A non-finite element on one side alone makes the sample's cosine 0, counts as disagreement, and makes sqnr_db, mse
// and max_error absent.
class AccuracyAccumulator {
 public:
  explicit AccuracyAccumulator(std::string output) : output_(std::move(output)) {}

  // One sample. reference may be empty (labels alone). kRejected if outputs do not match in number, name or shape.
  Result<> Add(const std::vector<Tensor>& reference, const std::vector<Tensor>& candidate,
               std::optional<int64_t> label);

  // By metric name; only those that the samples support.
  std::map<std::string, double> Values() const;
  // One value a sample of the metric: cosine, top1_agreement, top1 and top5 (0 or 1); empty for the others.
  const std::vector<double>& PerSample(const std::string& metric) const;
  uint64_t samples() const { return samples_; }
  uint64_t broken_samples() const { return broken_samples_; }   // With a one-sided non-finite element.

 private:
  Result<std::vector<size_t>> Chosen(const std::vector<Tensor>& candidate) const;
  Result<> AddReference(const std::vector<Tensor>& reference, const std::vector<Tensor>& candidate,
                        const std::vector<size_t>& chosen);
  Result<> AddLabel(const Tensor& output, int64_t label);

  std::string output_;
  uint64_t samples_ = 0;
  uint64_t broken_samples_ = 0;
  double signal_ = 0, noise_ = 0, largest_ = 0;
  uint64_t elements_ = 0;
  std::map<std::string, std::vector<double>> per_sample_;
  struct ClassCounts {
    uint64_t hits = 0, answers = 0, labels = 0;
  };
  std::map<int64_t, ClassCounts> classes_;
};

// accuracy_drop: how much worse the candidate is, in the metric's own unit; negative where it is better. Of perplexity,
// whose unit differs from text to text, the share by which it rose.
double AccuracyDrop(const AccuracyMetric& metric, double baseline, double candidate);

}  // namespace hone
