#include "worker/evaluation/text_accuracy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/metrics.h"
#include "proto/instance.pb.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/json_text.h"
#include "worker/data/tokens.h"
#include "worker/evaluation/accuracy.h"
#include "worker/evaluation/figures.h"

namespace hone {
namespace {

using TextRead = proto::InstanceReply::TextRead;

constexpr uint64_t kMostReferenceBytes = uint64_t{512} << 20;
// Tokens that are read at once; logits of so many are in memory.
constexpr uint32_t kPart = 128;
// What the original writes where there is no data.
constexpr size_t kWrittenTexts = 8;
constexpr int64_t kWrittenTokens = 64;
constexpr const char* kAgreement = "top1_agreement";
constexpr const char* kWrittenNote =
    "the texts were written by the original itself (seeded): no evaluation data was given";

// The texts and what the original expected in them.
class ReferenceTexts {
 public:
  ReferenceTexts(const TextTask& task, std::string data)
      : task_(task), path_(ReferencePath(task.task, "reference texts 1", data)) {}

  Result<const proto::ReferenceTexts*> Get() {
    if (Find()) return &texts_;
    if (task_.original != nullptr) TRY(task_.load_original());
    Instance& original = (task_.original == nullptr ? task_.candidate : *task_.original).instance();
    TRY(GatherTexts(original));
    for (const auto& text : texts_.texts()) {
      TRY_ASSIGN(*texts_.add_reads(), original.ReadText({text.ids().begin(), text.ids().end()}, kPart));
    }
    // Failing to keep them is no failure of the measurement: the next one computes them again.
    if (!path_.empty() && MakeFolder(path_.parent_path())) (void)WriteFile(path_, texts_.SerializeAsString());
    return &texts_;
  }

 private:
  bool Find() {
    if (path_.empty()) return false;
    const auto bytes = ReadFile(path_, kMostReferenceBytes);
    const bool sound = bytes && texts_.ParseFromString(*bytes) && texts_.texts_size() > 0 &&
                       texts_.texts_size() == texts_.reads_size();
    if (!sound) texts_.Clear();
    return sound;
  }

  Result<> GatherTexts(Instance& original) {
    if (task_.data == nullptr) {
      const auto tokens = static_cast<uint32_t>(std::min(kWrittenTokens, task_.context));
      for (size_t i = 0; i < kWrittenTexts; ++i) {
        TRY_ASSIGN(const auto ids, original.WriteText(tokens, task_.task.seed() + i));
        texts_.add_texts()->mutable_ids()->Add(ids.begin(), ids.end());
      }
      return {};
    }
    for (size_t i = 0; i < task_.data->size(); ++i) AddInPieces(task_.data->Tokens(i));
    if (texts_.texts().empty()) return Fail(ErrorCode::kRejected, "the evaluation data holds no text of two tokens");
    return {};
  }

  // As long as the model can take; a piece of a single token says nothing.
  void AddInPieces(const std::vector<int64_t>& text) {
    const auto most = static_cast<size_t>(task_.context);
    for (size_t first = 0; first + 1 < text.size(); first += most) {
      const size_t last = std::min(first + most, text.size());
      for (size_t i = first; i < last; ++i) {
        if (i == first) texts_.add_texts();
        texts_.mutable_texts(texts_.texts_size() - 1)->add_ids(text[i]);
      }
    }
  }

  const TextTask& task_;
  const std::filesystem::path path_;
  proto::ReferenceTexts texts_;
};

struct Sums {
  double surprise = 0;
  uint64_t agreeing = 0;
  uint64_t tokens = 0;

  void Add(const TextRead& read, const TextRead& original) {
    for (const double one : read.surprise()) surprise += one;
    for (int i = 0; i < read.likeliest_size() && i < original.likeliest_size(); ++i)
      agreeing += read.likeliest(i) == original.likeliest(i) ? 1 : 0;
    tokens += static_cast<uint64_t>(read.surprise_size());
  }
  double Perplexity() const { return std::exp(surprise / static_cast<double>(tokens)); }
  double Agreement() const { return static_cast<double>(agreeing) / static_cast<double>(tokens); }
  double Value(std::string_view metric) const { return metric == kAgreement ? Agreement() : Perplexity(); }
};

Result<const AccuracyMetric*> ChooseTextAccuracy(const proto::Accuracy& accuracy) {
  const std::string name = accuracy.metric().empty() ? kPerplexity : accuracy.metric();
  const auto& all = AccuracyMetrics();
  const auto found = std::find_if(all.begin(), all.end(), [&](const AccuracyMetric& metric) {
    return name == metric.name && (name == kPerplexity || name == kAgreement);
  });
  if (found != all.end() && !accuracy.against_labels()) return &*found;
  return Fail(ErrorCode::kRejected,
              fmt::format("a language model on texts is not judged by '{}'", Printable(name, 80)),
              fmt::format("use {} or {}", kPerplexity, kAgreement));
}

}  // namespace

Result<int64_t> ContextOf(const proto::LocalBundle& model) {
  constexpr auto kUntold = static_cast<int64_t>(kTokenWindow);
  TRY_ASSIGN(const nlohmann::json config, ReadBundledJson(model, "genai_config.json"));
  const auto section = config.find("model");
  if (section == config.end()) return kUntold;
  JsonReader reader(*section, "genai_config.json");
  const int64_t context = reader.Int("context_length", kUntold, 2, int64_t{1} << 31);
  TRY(reader.status());
  return context;
}

Result<> EvaluateTexts(const TextTask& texts, proto::MeasureResult& result) {
  TRY_ASSIGN(const AccuracyMetric* chosen, ChooseTextAccuracy(texts.task.accuracy()));
  const std::string data = texts.data == nullptr ? fmt::format("written from seed {}", texts.task.seed())
                                                 : texts.data->digest();
  ReferenceTexts reference(texts, data + fmt::format(" context {}", texts.context));
  TRY_ASSIGN(const proto::ReferenceTexts* expected, reference.Get());
  Sums candidate, original;
  std::vector<double> per_text;
  for (int i = 0; i < expected->texts_size(); ++i) {
    const auto& ids = expected->texts(i).ids();
    TRY_ASSIGN(const TextRead read, texts.candidate.instance().ReadText({ids.begin(), ids.end()}, kPart));
    candidate.Add(read, expected->reads(i));
    original.Add(expected->reads(i), expected->reads(i));
    Sums own;
    own.Add(read, expected->reads(i));
    per_text.push_back(own.Value(chosen->name));
  }
  result.set_synthetic_inputs(texts.data == nullptr);
  if (texts.data == nullptr) result.add_notes(kWrittenNote);
  auto& metrics = *result.mutable_metrics();
  auto& of_original = *result.mutable_baseline_metrics();
  const double value = candidate.Value(chosen->name), before = original.Value(chosen->name);
  AddMetric(metrics, kPerplexity, candidate.Perplexity(), candidate.tokens);
  AddMetric(metrics, kAgreement, candidate.Agreement(), candidate.tokens);
  AddMetric(metrics, "accuracy", value, candidate.tokens);
  AddMetric(metrics, "accuracy_drop", AccuracyDrop(*chosen, before, value), candidate.tokens);
  AddMetric(of_original, kPerplexity, original.Perplexity(), original.tokens);
  AddMetric(of_original, "accuracy", before, original.tokens);
  AddSamples(*result.mutable_samples(), "accuracy", per_text);
  return {};
}

}  // namespace hone
