// What a language model loses: its perplexity on texts beside the original's, and how often both expect the same token.
//
// Without evaluation data the original writes the texts itself, from the task's seed, by its own probabilities: on
// those its perplexity is as low as the model's own uncertainty, and what a candidate adds is its distance from the
// original (in expectation the exponential of the Kullback-Leibler divergence).
#pragma once

#include <cstdint>
#include <functional>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/data/data_set.h"
#include "worker/evaluation/player.h"

namespace hone {

// The longest text that the model in this bundle can take, as its genai_config.json tells; of one that tells nothing
// the length of a window of token ids.
Result<int64_t> ContextOf(const proto::LocalBundle& model);

struct TextTask {
  const proto::MeasureTask& task;
  const DataSet* data = nullptr;          // nullptr: the original writes.
  int64_t context = 0;
  Player& candidate;
  Player* original = nullptr;             // nullptr: the candidate is the original.
  std::function<Result<>()> load_original;
};
// perplexity, top1_agreement, greedy_agreement (over the 32 tokens after each text's first half, at most 16 texts),
// accuracy and accuracy_drop of the candidate, perplexity and accuracy of the original, and
// one sample of accuracy for each text. The original's part is kept in the task's cache folder. kRejected where the
// task's accuracy is none of texts.
Result<> EvaluateTexts(const TextTask& texts, proto::MeasureResult& result);

}  // namespace hone
