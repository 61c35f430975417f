#include "worker/evaluation/accuracy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/base/strings.h"

namespace hone {
namespace {

bool IsNumeric(const Tensor& tensor) { return ElementBytes(tensor.type) > 0; }

std::string Shape(const Tensor& tensor) {
  std::vector<std::string> dims;
  for (int64_t dim : tensor.dims) dims.push_back(std::to_string(dim));
  return "[" + Join(dims, ",") + "]";
}

// First of the largest; NaN never wins.
size_t ArgMax(const float* row, size_t width) {
  size_t best = 0;
  for (size_t i = 1; i < width; ++i) {
    if (row[i] > row[best] || (std::isnan(row[best]) && !std::isnan(row[i]))) best = i;
  }
  return best;
}

// How many elements of the row are larger than row[place], ties counted by place.
size_t Rank(const float* row, size_t width, size_t place) {
  size_t rank = 0;
  for (size_t i = 0; i < width; ++i) {
    if (i != place && (row[i] > row[place] || (row[i] == row[place] && i < place))) ++rank;
  }
  return rank;
}

}  // namespace

const std::vector<AccuracyMetric>& AccuracyMetrics() {
  static const std::vector<AccuracyMetric> metrics = {
      {"cosine", false, true, "mean cosine similarity of a sample's outputs to the original's"},
      {"sqnr_db", false, true, "signal to quantization-noise ratio against the original, in dB"},
      {"mse", false, false, "mean squared error against the original"},
      {"max_error", false, false, "largest absolute error against the original"},
      {"top1_agreement", false, true, "share of rows whose largest output is the original's"},
      {kPerplexity, false, false, "exp of the mean surprise at each token of the text"},
      {kGreedyAgreement, false, true, "share of the greedy tokens before the first that is not the original's"},
      {"top1", true, true, "share of samples whose label is the largest output"},
      {"top5", true, true, "share of samples whose label is among the five largest outputs"},
      {"f1", true, true, "macro F1 over the classes"},
  };
  return metrics;
}

Result<const AccuracyMetric*> ChooseAccuracy(const proto::Accuracy& accuracy, bool has_labels) {
  if (accuracy.against_labels() && !has_labels) {
    return Fail(ErrorCode::kRejected, "accuracy is wanted against labels, and the evaluation data has none",
                "add an array 'labels' to the .npz, or class folders or a labels.csv to the pictures");
  }
  std::string name = accuracy.metric();
  if (name.empty()) name = has_labels ? "top1" : "cosine";
  if (name == kPerplexity || name == kGreedyAgreement) {
    return Fail(ErrorCode::kRejected, name + " is told of language models with a cache of keys and values, on texts",
                "give a checkpoint, or a model with input_ids, attention_mask and past_key_values, and texts");
  }
  std::vector<std::string> names;
  for (const AccuracyMetric& metric : AccuracyMetrics()) {
    names.push_back(metric.name);
    if (name != metric.name) continue;
    if (metric.needs_labels && !has_labels) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("accuracy metric '{}' needs labels, and the evaluation data has none", name),
                  "add an array 'labels' to the .npz, or class folders or a labels.csv to the pictures");
    }
    if (accuracy.against_labels() && !metric.needs_labels) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("accuracy metric '{}' compares with the original, not with labels", name),
                  "use top1, top5 or f1 against labels");
    }
    return &metric;
  }
  return Fail(ErrorCode::kRejected, fmt::format("unknown accuracy metric '{}'{}", name, DidYouMean(name, names)),
              "there are " + Join(names, ", "));
}

Result<std::vector<size_t>> AccuracyAccumulator::Chosen(const std::vector<Tensor>& candidate) const {
  std::vector<size_t> chosen;
  std::vector<std::string> names;
  for (size_t i = 0; i < candidate.size(); ++i) {
    names.push_back(candidate[i].name);
    if (!IsNumeric(candidate[i])) continue;
    if (output_.empty() || candidate[i].name == output_) chosen.push_back(i);
  }
  if (!chosen.empty()) return chosen;
  if (output_.empty()) return Fail(ErrorCode::kRejected, "the model has no numeric output to compare");
  return Fail(ErrorCode::kRejected,
              fmt::format("accuracy names the output '{}', which the model does not have{}", output_,
                          DidYouMean(output_, names)),
              "its outputs are " + Join(names, ", "));
}

Result<> AccuracyAccumulator::Add(const std::vector<Tensor>& reference, const std::vector<Tensor>& candidate,
                                  std::optional<int64_t> label) {
  TRY_ASSIGN(const std::vector<size_t> chosen, Chosen(candidate));
  ++samples_;
  if (!reference.empty()) TRY(AddReference(reference, candidate, chosen));
  if (label) TRY(AddLabel(candidate[chosen.front()], *label));
  return {};
}

Result<> AccuracyAccumulator::AddReference(const std::vector<Tensor>& reference, const std::vector<Tensor>& candidate,
                                           const std::vector<size_t>& chosen) {
  double rr = 0, cc = 0, rc = 0;
  bool broken = false;
  uint64_t rows = 0, agreeing = 0;
  for (size_t at : chosen) {
    const Tensor& answer = candidate[at];
    const auto original =
        std::find_if(reference.begin(), reference.end(), [&](const Tensor& t) { return t.name == answer.name; });
    if (original == reference.end()) {
      return Fail(ErrorCode::kRejected, fmt::format("the original has no output named '{}'", answer.name));
    }
    if (original->dims != answer.dims) {
      return Fail(ErrorCode::kRejected, fmt::format("output '{}' has shape {} and the original's has {}", answer.name,
                                                    Shape(answer), Shape(*original)));
    }
    const std::vector<float> r = ToFloats(*original);
    const std::vector<float> c = ToFloats(answer);
    for (size_t i = 0; i < r.size(); ++i) {
      const double a = r[i], b = c[i];
      if (!std::isfinite(a) || !std::isfinite(b)) {
        const bool same = a == b || (std::isnan(a) && std::isnan(b));
        broken = broken || !same;
        continue;
      }
      rr += a * a;
      cc += b * b;
      rc += a * b;
      const double error = a - b;
      signal_ += a * a;
      noise_ += error * error;
      largest_ = std::max(largest_, std::fabs(error));
      ++elements_;
    }
    const size_t width = answer.dims.empty() ? 0 : static_cast<size_t>(answer.dims.back());
    if (at == chosen.front() && width >= 2) {
      for (size_t row = 0; (row + 1) * width <= r.size(); ++row) {
        ++rows;
        if (ArgMax(&r[row * width], width) == ArgMax(&c[row * width], width)) ++agreeing;
      }
    }
  }
  if (broken) ++broken_samples_;
  const double norms = std::sqrt(rr) * std::sqrt(cc);
  const double cosine = broken ? 0 : norms > 0 ? std::clamp(rc / norms, -1.0, 1.0) : (rr == cc ? 1 : 0);
  per_sample_["cosine"].push_back(cosine);
  if (rows > 0) {
    per_sample_["top1_agreement"].push_back(broken ? 0 : static_cast<double>(agreeing) / static_cast<double>(rows));
  }
  return {};
}

Result<> AccuracyAccumulator::AddLabel(const Tensor& output, int64_t label) {
  const std::vector<float> scores = ToFloats(output);
  const size_t width = output.dims.empty() ? 0 : static_cast<size_t>(output.dims.back());
  if (width < 2 || scores.size() != width) {
    return Fail(ErrorCode::kRejected,
                fmt::format("labels need an output of shape [1, classes], and '{}' has {}", output.name, Shape(output)),
                "name the output that holds the class scores as accuracy.output");
  }
  if (label < 0 || static_cast<size_t>(label) >= width) {
    return Fail(ErrorCode::kRejected,
                fmt::format("label {} is outside the {} classes of output '{}'", label, width, output.name));
  }
  const auto wanted = static_cast<size_t>(label);
  const size_t answer = ArgMax(scores.data(), width);
  const bool scored = !std::isnan(scores[wanted]);
  per_sample_["top1"].push_back(scored && answer == wanted ? 1 : 0);
  per_sample_["top5"].push_back(scored && Rank(scores.data(), width, wanted) < 5 ? 1 : 0);
  ++classes_[label].labels;
  ++classes_[static_cast<int64_t>(answer)].answers;
  if (answer == wanted) ++classes_[label].hits;
  return {};
}

std::map<std::string, double> AccuracyAccumulator::Values() const {
  std::map<std::string, double> values;
  for (const auto& [name, samples] : per_sample_) {
    double sum = 0;
    for (double sample : samples) sum += sample;
    values[name] = sum / static_cast<double>(samples.size());
  }
  if (elements_ > 0 && broken_samples_ == 0) {
    values["mse"] = noise_ / static_cast<double>(elements_);
    values["max_error"] = largest_;
    if (noise_ > 0 && signal_ > 0) values["sqnr_db"] = 10 * std::log10(signal_ / noise_);
  }
  if (!classes_.empty()) {
    double sum = 0;
    for (const auto& [label, counts] : classes_) {
      sum += 2.0 * static_cast<double>(counts.hits) / static_cast<double>(counts.answers + counts.labels);
    }
    values["f1"] = sum / static_cast<double>(classes_.size());
  }
  return values;
}

const std::vector<double>& AccuracyAccumulator::PerSample(const std::string& metric) const {
  static const std::vector<double> none;
  const auto found = per_sample_.find(metric);
  return found == per_sample_.end() ? none : found->second;
}

double AccuracyDrop(const AccuracyMetric& metric, double baseline, double candidate) {
  if (std::string_view(metric.name) == kPerplexity) return candidate / baseline - 1;
  return metric.larger_is_better ? baseline - candidate : candidate - baseline;
}

}  // namespace hone
