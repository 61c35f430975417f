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
// Greedy continuations that are compared, and their length.
constexpr int kAnswers = 16;
constexpr int64_t kAnswerTokens = 32;
constexpr const char* kWrittenNote =
    "the texts were written by the original itself (seeded): no evaluation data was given";

using Ids = google::protobuf::RepeatedField<int64_t>;

// How a model goes on after the first half of a text; both fit into what it can take.
Result<std::vector<int64_t>> Answer(Instance& model, const Ids& text, int64_t context) {
  return model.ContinueText({text.begin(), text.begin() + text.size() / 2},
                            static_cast<uint32_t>(std::min(kAnswerTokens, context / 2)));
}

// The share of tokens before the first that differs.
double SharedBeginning(const std::vector<int64_t>& answer, const Ids& original) {
  const auto parting = std::mismatch(answer.begin(), answer.end(), original.begin(), original.end()).first;
  return static_cast<double>(parting - answer.begin()) / static_cast<double>(answer.size());
}

// The texts, what the original expected in them, and how it went on.
class ReferenceTexts {
 public:
  ReferenceTexts(const TextTask& task, std::string data)
      : task_(task), path_(ReferencePath(task.task, "reference texts 2", data)) {}

  Result<const proto::ReferenceTexts*> Get() {
    if (Find()) return &texts_;
    if (task_.original != nullptr) TRY(task_.load_original());
    Instance& original = (task_.original == nullptr ? task_.candidate : *task_.original).instance();
    TRY(GatherTexts(original));
    for (const auto& text : texts_.texts()) {
      TRY_ASSIGN(*texts_.add_reads(), original.ReadText({text.ids().begin(), text.ids().end()}, kPart));
      if (texts_.answers_size() == kAnswers) continue;
      TRY_ASSIGN(const auto answer, Answer(original, text.ids(), task_.context));
      texts_.add_answers()->mutable_ids()->Add(answer.begin(), answer.end());
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
                       texts_.texts_size() == texts_.reads_size() &&
                       texts_.answers_size() == std::min(texts_.texts_size(), kAnswers);
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
  double shared = 0;    // Of answers.
  uint64_t answers = 0;
  double surprise = 0;
  uint64_t agreeing = 0;
  uint64_t tokens = 0;

  void Add(const TextRead& read, const TextRead& original) {
    for (const double one : read.surprise()) surprise += one;
    for (int i = 0; i < read.likeliest_size() && i < original.likeliest_size(); ++i)
      agreeing += read.likeliest(i) == original.likeliest(i) ? 1 : 0;
    tokens += static_cast<uint64_t>(read.surprise_size());
  }
  void Add(double shared_beginning) {
    shared += shared_beginning;
    ++answers;
  }
  double Greedy() const { return shared / static_cast<double>(answers); }
  double Perplexity() const { return std::exp(surprise / static_cast<double>(tokens)); }
  double Agreement() const { return static_cast<double>(agreeing) / static_cast<double>(tokens); }
  double Value(std::string_view metric) const {
    if (metric == kGreedyAgreement) return Greedy();
    return metric == kAgreement ? Agreement() : Perplexity();
  }
};

Result<const AccuracyMetric*> ChooseTextAccuracy(const proto::Accuracy& accuracy) {
  const std::string name = accuracy.metric().empty() ? kPerplexity : accuracy.metric();
  const auto& all = AccuracyMetrics();
  const auto found = std::find_if(all.begin(), all.end(), [&](const AccuracyMetric& metric) {
    return name == metric.name && (name == kPerplexity || name == kAgreement || name == kGreedyAgreement);
  });
  if (found != all.end() && !accuracy.against_labels()) return &*found;
  return Fail(ErrorCode::kRejected,
              fmt::format("a language model on texts is not judged by '{}'", Printable(name, 80)),
              fmt::format("use {}, {} or {}", kPerplexity, kAgreement, kGreedyAgreement));
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
    Instance& model = texts.candidate.instance();
    TRY_ASSIGN(const TextRead read, model.ReadText({ids.begin(), ids.end()}, kPart));
    Sums own;
    own.Add(read, expected->reads(i));
    candidate.Add(read, expected->reads(i));
    original.Add(expected->reads(i), expected->reads(i));
    if (i < expected->answers_size()) {
      TRY_ASSIGN(const auto answer, Answer(model, ids, texts.context));
      own.Add(SharedBeginning(answer, expected->answers(i).ids()));
      candidate.Add(own.Greedy());
      original.Add(1);
    }
    if (own.answers > 0 || chosen->name != std::string_view(kGreedyAgreement))
      per_text.push_back(own.Value(chosen->name));
  }
  result.set_synthetic_inputs(texts.data == nullptr);
  if (texts.data == nullptr) result.add_notes(kWrittenNote);
  auto& metrics = *result.mutable_metrics();
  auto& of_original = *result.mutable_baseline_metrics();
  const double value = candidate.Value(chosen->name), before = original.Value(chosen->name);
  AddMetric(metrics, kPerplexity, candidate.Perplexity(), candidate.tokens);
  AddMetric(metrics, kAgreement, candidate.Agreement(), candidate.tokens);
  AddMetric(metrics, kGreedyAgreement, candidate.Greedy(), candidate.answers);
  AddMetric(metrics, "accuracy", value, candidate.tokens);
  AddMetric(metrics, "accuracy_drop", AccuracyDrop(*chosen, before, value), candidate.tokens);
  AddMetric(of_original, kPerplexity, original.Perplexity(), original.tokens);
  AddMetric(of_original, "accuracy", before, original.tokens);
  AddSamples(*result.mutable_samples(), "accuracy", per_text);
  return {};
}

}  // namespace hone
