// One measurement, in this order: load the candidate; accuracy against the original's outputs (kept from an earlier
// measurement where the cache has them) or labels, of language models on texts; stop there if a constraint is broken;
// then, alone on the machine, latency interleaved with the baseline (of language models first of a prompt, then of one
// token with a cache); throughput; memory.
#include "worker/evaluation/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/recipe/metrics.h"
#include "common/recipe/value.h"
#include "common/statistics/statistics.h"
#include "proto/instance.pb.h"
#include "worker/backends/backend.h"
#include "worker/data/data_set.h"
#include "worker/evaluation/accuracy.h"
#include "worker/evaluation/canary.h"
#include "worker/evaluation/claims.h"
#include "worker/evaluation/decoding.h"
#include "worker/evaluation/early_rejection.h"
#include "worker/evaluation/figures.h"
#include "worker/evaluation/instance.h"
#include "worker/evaluation/player.h"
#include "worker/evaluation/text_accuracy.h"
#include "worker/evaluation/timing.h"

namespace hone {
namespace {

constexpr uint32_t kDefaultPairs = 10;
// Reference outputs larger than this are not kept: the baseline runs beside the candidate instead.
constexpr uint64_t kMaxReferenceBytes = uint64_t{512} << 20;
constexpr double kThroughputMs = 150;
// Tokens of a timed prompt, and of the cache of a timed step; half of what a model can take, where that is less.
constexpr int64_t kPromptTokens = 128;

// The original's outputs on the evaluation data: from the cache folder, or computed and kept there.
class Reference {
 public:
  Reference(const proto::MeasureTask& task, const DataSet& data)
      : data_(data), path_(ReferencePath(task, "reference outputs 1", data.digest())) {}

  // Whether all outputs are there without the baseline.
  bool Find() {
    if (path_.empty()) return false;
    const auto bytes = ReadFile(path_, 2 * kMaxReferenceBytes);
    if (!bytes || !outputs_.ParseFromString(*bytes) || outputs_.samples_size() != static_cast<int>(data_.size())) {
      outputs_.Clear();
      return false;
    }
    return found_ = true;
  }

  // The outputs for one sample; `run` computes them where they are not known.
  template <class Run>
  Result<std::vector<Tensor>> Get(size_t index, const Run& run) {
    if (found_) {
      std::vector<Tensor> tensors;
      for (const proto::TensorData& tensor : outputs_.samples(static_cast<int>(index)).tensors())
        tensors.push_back(FromProto(tensor));
      return tensors;
    }
    TRY_ASSIGN(std::vector<Tensor> tensors, run());
    for (const Tensor& tensor : tensors) bytes_ += tensor.bytes.size();
    if (!path_.empty() && bytes_ <= kMaxReferenceBytes && outputs_.samples_size() == static_cast<int>(index)) {
      proto::TensorList& list = *outputs_.add_samples();
      for (const Tensor& tensor : tensors) *list.add_tensors() = ToProto(tensor);
    }
    return tensors;
  }

  // Keeps what was computed. Failing to is no failure of the measurement: the next one computes it again.
  void Keep() {
    if (path_.empty() || found_ || outputs_.samples_size() != static_cast<int>(data_.size())) return;
    if (MakeFolder(path_.parent_path())) (void)WriteFile(path_, outputs_.SerializeAsString());
  }

 private:
  const DataSet& data_;
  const std::filesystem::path path_;
  proto::ReferenceOutputs outputs_;
  uint64_t bytes_ = 0;
  bool found_ = false;
};

class Measurement {
 public:
  explicit Measurement(const proto::MeasureTask& task) : task_(task) {}

  Result<proto::MeasureResult> Run() {
    // Both processes are forked before anything here could start a thread.
    TRY_ASSIGN(Player candidate, Player::Start("candidate", task_.candidate()));
    candidate_ = &candidate;
    std::optional<Player> baseline;
    if (task_.has_baseline()) {
      TRY_ASSIGN(Player player, Player::Start("baseline", task_.baseline()));
      baseline_ = &baseline.emplace(std::move(player));
    }
    TRY(Lock(&MachineLock::Shared));
    TRY(Timed(load_ms_, [&] { return candidate.Load(task_.inputs()); }));
    TRY_ASSIGN(*result_.mutable_execution(), candidate.instance().Execution());
    CheckExecution();
    TRY(OpenData());
    AddMetric(*result_.mutable_metrics(), "size_bytes",
              static_cast<double>(BundleBytes(task_.candidate().model().bundle())), 1);
    AddMetric(*result_.mutable_metrics(), "load_ms", candidate.load_ms(), 1);
    if (task_.has_accuracy() && !result_.infeasible()) {
      const uint64_t load_before_ms = load_ms_;
      TRY(Timed(accuracy_ms_, [&] { return text_ ? EvaluateText() : EvaluateAccuracy(); }));
      // The baseline may have been loaded meanwhile; that is told as loading alone.
      accuracy_ms_ -= std::min(accuracy_ms_, load_ms_ - load_before_ms);
    }
    if (!result_.infeasible()) CheckConstraints();
    if (!result_.infeasible()) {
      if (task_.time()) TRY(Performance());
      if (task_.baseline_execution() && baseline_ != nullptr) {
        TRY(baseline_->Load(task_.inputs()));
        TRY_ASSIGN(*result_.mutable_baseline_execution(), baseline_->instance().Execution());
      }
    }
    result_.set_accuracy_ms(accuracy_ms_);
    result_.set_load_ms(load_ms_);
    result_.set_timing_ms(timing_ms_);
    result_.set_wait_ms(wait_ms_);
    return std::move(result_);
  }

 private:

  Result<> Lock(Result<> (MachineLock::*how)(const std::function<bool()>&)) {
    return TakeLock(task_.exclusive_lock(), how, lock_, wait_ms_);
  }

  // Before anything is measured: a candidate that does not run as its passes claim is not worth it. That is found once
  // and holds on this machine, so it is a finding about the candidate and no failure of the work.
  void CheckExecution() {
    std::vector<std::string> notes;
    const Result<> kept = CheckClaims(task_.claims(), result_.execution(), notes);
    for (const auto& note : notes) result_.add_notes(note);
    if (kept) return;
    result_.set_infeasible(true);
    result_.set_infeasible_reason(kept.error().message);
  }

  // A language model with a cache is read with texts; where somebody gave arrays for its inputs, it is a model like any
  // other.
  Result<> OpenData() {
    const bool decoder = IsDecoder(candidate_->Signature(), candidate_->Outputs());
    if (decoder) {
      TRY_ASSIGN(context_, ContextOf(candidate_->subject().model()));
    }
    text_ = decoder && !task_.has_evaluation();
    if (text_) return {};
    TRY_ASSIGN(data_, OpenInputs(task_, candidate_->Signature(), candidate_->subject().model()));
    text_ = decoder && !data_->Tokens(0).empty();
    result_.set_synthetic_inputs(!task_.has_evaluation());
    if (!task_.has_evaluation()) result_.add_notes(kSyntheticNote);
    return {};
  }

  Result<> EvaluateText() {
    const auto load = [&] { return Timed(load_ms_, [&] { return baseline_->Load(task_.inputs()); }); };
    return EvaluateTexts({task_, data_.get(), context_, *candidate_, baseline_, load}, result_);
  }

  Result<> EvaluateAccuracy() {
    const std::vector<int64_t>& labels = data_->labels();
    TRY_ASSIGN(const AccuracyMetric* chosen, ChooseAccuracy(task_.accuracy(), !labels.empty()));
    Reference reference(task_, *data_);
    const bool known = reference.Find();
    if (!known && baseline_ != nullptr) {
      TRY(Timed(load_ms_, [&] { return baseline_->Load(task_.inputs()); }));
    }
    AccuracyAccumulator accumulator(task_.accuracy().output());
    AccuracyAccumulator original(task_.accuracy().output());
    const auto label_of = [&](size_t index, const std::vector<Tensor>& answer) -> std::optional<int64_t> {
      if (labels.empty() || (!chosen->needs_labels && !Labelled(answer))) return std::nullopt;
      return labels[index];
    };
    std::optional<double> baseline_value;
    if (!chosen->needs_labels) baseline_value = 1;  // Against itself.
    if (chosen->needs_labels && known) {
      AccuracyAccumulator whole(task_.accuracy().output());
      for (size_t index = 0; index < data_->size(); ++index) {
        TRY_ASSIGN(const std::vector<Tensor> expected,
                   reference.Get(index, [] { return Result<std::vector<Tensor>>(); }));
        TRY(whole.Add(expected, expected, label_of(index, expected)));
      }
      const auto values = whole.Values();
      if (const auto found = values.find(chosen->name); found != values.end()) baseline_value = found->second;
    }
    EarlyRejection early(*chosen, task_.constraints(), data_->size(), baseline_value);
    for (size_t index = 0; index < data_->size(); ++index) {
      TRY_ASSIGN(const std::vector<Tensor> sample, data_->Get(index));
      TRY_ASSIGN(const std::vector<Tensor> answer, candidate_->Infer(sample));
      TRY_ASSIGN(const std::vector<Tensor> expected, reference.Get(index, [&]() -> Result<std::vector<Tensor>> {
        // Measured alone, the candidate is the original.
        if (baseline_ == nullptr) return answer;
        return baseline_->Infer(sample);
      }));
      TRY(accumulator.Add(expected, answer, label_of(index, answer)));
      TRY(original.Add(expected, expected, label_of(index, expected)));
      if (const auto reason = early.Check(accumulator.PerSample(chosen->name))) {
        result_.set_infeasible(true);
        result_.set_infeasible_reason(*reason);
        break;
      }
    }
    reference.Keep();
    return Report(*chosen, accumulator, original);
  }

  // Whether labels can be held against the first output; where they are not what was asked for, they are left out if
  // not.
  static bool Labelled(const std::vector<Tensor>& outputs) {
    if (outputs.empty() || outputs.front().dims.empty()) return false;
    return outputs.front().dims.back() >= 2 && outputs.front().Elements() == outputs.front().dims.back();
  }

  Result<> Report(const AccuracyMetric& chosen, const AccuracyAccumulator& accumulator,
                  const AccuracyAccumulator& original) {
    const std::map<std::string, double> values = accumulator.Values();
    const std::map<std::string, double> baselines = original.Values();
    const uint64_t samples = accumulator.samples();
    auto& metrics = *result_.mutable_metrics();
    for (const auto& [name, value] : values) AddMetric(metrics, name, value, samples);
    const auto value = values.find(chosen.name);
    const auto baseline = baselines.find(chosen.name);
    if (value != values.end()) AddMetric(metrics, "accuracy", value->second, samples);
    if (baseline != baselines.end())
      AddMetric(*result_.mutable_baseline_metrics(), "accuracy", baseline->second, samples);
    if (value != values.end() && baseline != baselines.end()) {
      AddMetric(metrics, "accuracy_drop", AccuracyDrop(chosen, baseline->second, value->second), samples);
    }
    if (accumulator.broken_samples() > 0) {
      result_.add_notes(fmt::format("{} of {} samples gave NaN or infinity where the original did not",
                                    accumulator.broken_samples(), samples));
    }
    const std::vector<double>& per_sample = accumulator.PerSample(chosen.name);
    if (!per_sample.empty()) AddSamples(*result_.mutable_samples(), "accuracy", per_sample);
    return {};
  }

  // Every constraint whose metric is known before timing.
  void CheckConstraints() {
    if (result_.infeasible()) return;
    for (const proto::Constraint& constraint : task_.constraints()) {
      const auto& metrics = result_.metrics();
      const auto found = std::find_if(metrics.begin(), metrics.end(),
                                      [&](const proto::Metric& m) { return m.name() == constraint.metric(); });
      std::string reason;
      if (found == metrics.end()) {
        // A broken output has no error figure at all; it cannot keep an accuracy constraint.
        const auto& table = AccuracyMetrics();
        const bool about_accuracy = constraint.metric() == "accuracy" || constraint.metric() == "accuracy_drop" ||
                                    std::any_of(table.begin(), table.end(),
                                                [&](const AccuracyMetric& m) { return constraint.metric() == m.name; });
        // Without noise there is no ratio: sqnr_db is absent because it is unbounded.
        const bool exact = Exact();
        if (!task_.has_accuracy() || !about_accuracy || exact) continue;
        reason = fmt::format("{} could not be computed", constraint.metric());
      } else if (constraint.has_maximum() && found->value() > constraint.maximum()) {
        reason = fmt::format("{} is {:.6g}, allowed is at most {:.6g}", constraint.metric(), found->value(),
                             constraint.maximum());
      } else if (constraint.has_minimum() && found->value() < constraint.minimum()) {
        reason = fmt::format("{} is {:.6g}, allowed is at least {:.6g}", constraint.metric(), found->value(),
                             constraint.minimum());
      }
      if (reason.empty()) continue;
      result_.set_infeasible(true);
      result_.set_infeasible_reason(reason);
      return;
    }
  }

  bool Exact() const {
    for (const proto::Metric& metric : result_.metrics()) {
      if (metric.name() == "max_error") return metric.value() == 0;
    }
    return false;
  }

  Result<> Performance() {
    if (baseline_ != nullptr) TRY(Timed(load_ms_, [&] { return baseline_->Load(task_.inputs()); }));
    if (!text_) {
      TRY_ASSIGN(const std::vector<Tensor> sample, data_->Get(0));
      TRY(BindEach([&](const Player&) { return Result<std::vector<Tensor>>(sample); }));
    }
    TRY(Lock(&MachineLock::Exclusive));
    TRY(Timed(timing_ms_, [&] { return MeasureAlone(); }));
    return Lock(&MachineLock::Shared);
  }

  Result<> BindEach(const std::function<Result<std::vector<Tensor>>(const Player&)>& sample) {
    for (Player* player : {baseline_, candidate_}) {
      if (player == nullptr) continue;
      TRY_ASSIGN(const std::vector<Tensor> inputs, sample(*player));
      TRY(player->Bind(inputs));
    }
    return {};
  }

  // The next of these is a run of a decoder that goes on with `tokens` tokens after `length` others.
  Result<> BindTokens(int64_t tokens, int64_t length) {
    return BindEach([&](const Player& player) { return DecoderSample(player.Signature(), tokens, length); });
  }

  // A prompt, from an empty cache to the logits of the answer's first token.
  Result<> TimePrompts(const std::vector<Instance*>& instances, TimingOptions options) {
    const int64_t tokens = std::min(kPromptTokens, context_ / 2);
    TRY(BindTokens(tokens, 0));
    options.pairs = std::max(3U, options.pairs / 2);
    options.runs = 0;
    TRY_ASSIGN(const Rounds timing, TimeRounds(instances, options));
    for (const std::string& note : timing.notes) result_.add_notes("prompts: " + note);
    const auto add = [&](Metrics& metrics, const char* who, const Rounds::Series& series) {
      const double median_ms = Median(series.runs_ms);
      AddMedianLatency(metrics, series.runs_ms, series.blocks_ms, task_.seed(), "time_to_first_token_ms");
      AddMetric(metrics, "prompt_tokens_per_s", static_cast<double>(tokens) * 1000 / median_ms, series.runs_ms.size());
      AddSamples(*result_.mutable_samples(), fmt::format("{}.time_to_first_token_ms", who), series.runs_ms);
    };
    add(*result_.mutable_metrics(), "candidate", timing.series.back());
    if (instances.size() > 1) add(*result_.mutable_baseline_metrics(), "baseline", timing.series.front());
    return {};
  }

  // Then a step with a cache is what is timed.
  Result<> PrepareSteps(const std::vector<Instance*>& instances, const TimingOptions& options) {
    if (!text_) return {};
    TRY(TimePrompts(instances, options));
    const int64_t length = std::min(kPromptTokens, context_ / 2);
    result_.add_notes(fmt::format(
        "an inference is one token after a cache of {}; a prompt has {} tokens", length, length));
    return BindTokens(1, length);
  }

  Result<> MeasureAlone() {
    TimingOptions options;
    options.pairs = task_.pairs() > 0 ? task_.pairs() : kDefaultPairs;
    options.runs = task_.runs();
    options.budget_ms = task_.budget_ms();
    options.seed = task_.seed();
    Instance* baseline = baseline_ == nullptr ? nullptr : &baseline_->instance();
    // The baseline first: a round's others are compared with the first.
    std::vector<Instance*> instances{&candidate_->instance()};
    if (baseline != nullptr) instances.insert(instances.begin(), baseline);
    std::vector<double> canary_ms = CanaryTimes();
    TRY(PrepareSteps(instances, options));
    TRY_ASSIGN(const Rounds timing, TimeRounds(instances, options));
    const std::vector<double> canary_after_ms = CanaryTimes();
    canary_ms.insert(canary_ms.end(), canary_after_ms.begin(), canary_after_ms.end());
    AddSamples(*result_.mutable_samples(), kCanarySeries, canary_ms);
    for (const std::string& note : timing.notes) result_.add_notes(note);

    auto& metrics = *result_.mutable_metrics();
    AddLatency(metrics, "candidate", timing.series.back());
    TRY_ASSIGN(const uint64_t memory, candidate_->instance().PeakMemory());
    AddMetric(metrics, "memory_bytes", static_cast<double>(memory), 1);
    if (baseline != nullptr) {
      auto& of_baseline = *result_.mutable_baseline_metrics();
      AddLatency(of_baseline, "baseline", timing.series.front());
      TRY_ASSIGN(const uint64_t baseline_memory, baseline->PeakMemory());
      baseline->Pause();
      AddMetric(of_baseline, "memory_bytes", static_cast<double>(baseline_memory), 1);
      AddMetric(of_baseline, "load_ms", baseline_->load_ms(), 1);
      AddMetric(of_baseline, "size_bytes", static_cast<double>(BundleBytes(task_.baseline().model().bundle())), 1);
      *result_.mutable_speedup() =
          SpeedupOf(timing.series.front().blocks_ms, timing.series.back().blocks_ms, task_.seed());
    }
    if (Median(timing.series.back().runs_ms) <= kThroughputLongestRunMs) {
      TRY_ASSIGN(const proto::InstanceReply::Throughput throughput,
                 candidate_->instance().Throughput(static_cast<uint32_t>(kThroughputMs)));
      AddMetric(metrics, "throughput_per_s", static_cast<double>(throughput.inferences()) / throughput.seconds(),
                throughput.inferences());
    }
    return {};
  }

  void AddLatency(google::protobuf::RepeatedPtrField<proto::Metric>& metrics, const std::string& who,
                  const Rounds::Series& series) {
    AddMedianLatency(metrics, series.runs_ms, series.blocks_ms, task_.seed());
    static constexpr std::pair<const char*, double> kTails[] = {{"latency_ms_p90", 0.9}, {"latency_ms_p99", 0.99}};
    const size_t runs = series.runs_ms.size();
    for (const auto& [name, share] : kTails) {
      if (runs >= FindMetric(name)->runs) AddMetric(metrics, name, Quantile(series.runs_ms, share), runs);
    }
    if (text_) AddMetric(metrics, "decode_tokens_per_s", 1000 / Median(series.runs_ms), runs);
    AddSamples(*result_.mutable_samples(), who + ".latency_ms", series.runs_ms);
    AddSamples(*result_.mutable_samples(), who + ".block_latency_ms", series.blocks_ms);
  }

  const proto::MeasureTask& task_;
  proto::MeasureResult result_;
  Player* candidate_ = nullptr;
  Player* baseline_ = nullptr;
  std::unique_ptr<DataSet> data_;   // nullptr where a decoder writes its own texts.
  bool text_ = false;             // The candidate is a language model, and texts are what it is read with.
  int64_t context_ = 0;             // Of that: the longest text.
  std::optional<MachineLock> lock_;
  uint64_t load_ms_ = 0, accuracy_ms_ = 0, timing_ms_ = 0, wait_ms_ = 0;
};

}  // namespace

Result<proto::MeasureResult> RunMeasure(const proto::MeasureTask& task) { return Measurement(task).Run(); }

}  // namespace hone
