#include "worker/evaluation/decoding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "worker/data/tokens.h"

namespace hone {
namespace {

constexpr std::string_view kCacheIn = "past_key_values.";
constexpr std::string_view kCacheOut = "present.";
constexpr const char* kLogits = "logits";
constexpr ElementType kFloat32 = 1;

bool IsCache(const InputSignature& input) { return input.name.starts_with(kCacheIn); }

// "present.0.key" of "past_key_values.0.key".
std::string OutputOf(const InputSignature& cache) {
  return std::string(kCacheOut) + cache.name.substr(kCacheIn.size());
}

double LogSum(const float* row, int64_t count) {
  const double largest = *std::max_element(row, row + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return largest + std::log(sum);
}

int64_t Likeliest(const float* row, int64_t count) { return std::max_element(row, row + count) - row; }

// The token at the place `share` of the probabilities' sum.
int64_t Drawn(const float* row, int64_t count, double share) {
  const double log_sum = LogSum(row, count);
  double left = share;
  for (int64_t token = 0; token < count; ++token) {
    left -= std::exp(static_cast<double>(row[token]) - log_sum);
    if (left < 0) return token;
  }
  return Likeliest(row, count);
}

Result<> RequireDecoder(const Session& session) {
  if (IsDecoder(session.inputs(), session.outputs())) return {};
  return Fail(ErrorCode::kRejected,
              "the model is no decoder with a cache: it lacks input_ids, past_key_values, present or logits");
}

Error UnknownToken(int64_t token, int64_t vocabulary) {
  return Error{ErrorCode::kRejected, fmt::format("the token {} is beyond the model's {} tokens", token, vocabulary),
               "give token ids of this model's own tokenizer"};
}

// Why a model failed on a text: a runtime's own word, or that there is no such token, which runtimes tell in many ways.
Error ReadingError(Session& session, const std::vector<int64_t>& text, Error told) {
  TextRun run(session);
  const int64_t largest = *std::max_element(text.begin(), text.end());
  if (!run.Step({0}) || largest < run.vocabulary()) return told;
  return UnknownToken(largest, run.vocabulary());
}

}  // namespace

bool IsDecoder(const std::vector<InputSignature>& inputs, const std::vector<std::string>& outputs) {
  const auto gives = [&](const std::string& name) {
    return std::find(outputs.begin(), outputs.end(), name) != outputs.end();
  };
  size_t caches = 0;
  for (const InputSignature& input : inputs) {
    if (!IsCache(input)) {
      // One sequence of any length.
      if (input.dims.size() != 2 || input.dims[0] > 1 || input.dims[1] >= 0) return false;
      continue;
    }
    ++caches;
    const bool fits = input.dims.size() == 4 && input.dims[0] <= 1 && input.dims[1] > 0 && input.dims[2] < 0 &&
                      input.dims[3] > 0;
    if (!fits || !gives(OutputOf(input))) return false;
  }
  return TakesTokens(inputs) && caches > 0 && gives(kLogits);
}

Result<std::vector<Tensor>> DecoderSample(const std::vector<InputSignature>& inputs, int64_t tokens, int64_t length) {
  // Every vocabulary has so many.
  constexpr int64_t kIds = 8;
  std::vector<int64_t> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i) % kIds;
  std::vector<Tensor> sample;
  for (const InputSignature& input : inputs) {
    TRY_ASSIGN(sample.emplace_back(), TokenInput(input, ids, length));
  }
  return sample;
}

Result<const float*> TextRun::Step(const std::vector<int64_t>& tokens) {
  std::vector<Tensor> inputs;
  for (const InputSignature& input : session_.inputs()) {
    const auto kept = cache_.find(input.name);
    if (kept != cache_.end()) {
      inputs.push_back(std::move(kept->second));
    } else {
      TRY_ASSIGN(inputs.emplace_back(), TokenInput(input, tokens, IsCache(input) ? 0 : length_));
    }
  }
  cache_.clear();
  TRY_ASSIGN(std::vector<Tensor> outputs, session_.Run(inputs));
  for (Tensor& output : outputs) {
    if (output.name == kLogits) {
      logits_ = std::move(output);
    } else if (output.name.starts_with(kCacheOut)) {
      const std::string input = std::string(kCacheIn) + output.name.substr(kCacheOut.size());
      output.name = input;
      cache_[input] = std::move(output);
    }
  }
  const auto count = static_cast<int64_t>(tokens.size());
  length_ += count;
  if (logits_.type != kFloat32 || logits_.dims.size() != 3 || logits_.dims[1] != count || logits_.dims[2] < 1)
    return Fail(ErrorCode::kRejected, "the model's logits are no float32 row for each token");
  return logits_.data<float>();
}

Result<std::vector<TokenScore>> ReadText(Session& session, const std::vector<int64_t>& text, size_t part) {
  TRY(RequireDecoder(session));
  if (text.size() < 2) return Fail(ErrorCode::kRejected, "a text has two tokens at least");
  if (part == 0) part = text.size();
  TextRun run(session);
  std::vector<TokenScore> scores;
  for (size_t first = 0; first < text.size(); first += part) {
    const size_t last = std::min(first + part, text.size());
    auto rows = run.Step({text.begin() + static_cast<std::ptrdiff_t>(first),
                          text.begin() + static_cast<std::ptrdiff_t>(last)});
    if (!rows) return Fail(ReadingError(session, text, std::move(rows.error())));
    const float* row = *rows;
    // A row tells of the token behind its own.
    for (size_t i = first; i < last && i + 1 < text.size(); ++i, row += run.vocabulary()) {
      if (text[i + 1] < 0 || text[i + 1] >= run.vocabulary())
        return Fail(UnknownToken(text[i + 1], run.vocabulary()));
      const double surprise = LogSum(row, run.vocabulary()) - static_cast<double>(row[text[i + 1]]);
      scores.push_back({surprise, Likeliest(row, run.vocabulary())});
    }
  }
  return scores;
}

double PerplexityOf(const std::vector<TokenScore>& scores) {
  double sum = 0;
  for (const TokenScore& score : scores) sum += score.surprise;
  return std::exp(sum / static_cast<double>(scores.size()));
}

Result<std::vector<int64_t>> ContinueText(Session& session, const std::vector<int64_t>& prompt, size_t count) {
  TRY(RequireDecoder(session));
  if (prompt.empty()) return Fail(ErrorCode::kRejected, "a prompt has one token at least");
  TextRun run(session);
  std::vector<int64_t> text, next = prompt;
  while (text.size() < count) {
    TRY_ASSIGN(const float* rows, run.Step(next));
    const float* last = rows + (static_cast<int64_t>(next.size()) - 1) * run.vocabulary();
    next = {Likeliest(last, run.vocabulary())};
    text.push_back(next.front());
  }
  return text;
}

Result<std::vector<int64_t>> WriteText(Session& session, size_t count, uint64_t seed) {
  TRY(RequireDecoder(session));
  std::mt19937_64 random(seed);
  // How many tokens there are, only logits tell.
  TextRun first(session);
  TRY(first.Step({0}));
  TextRun run(session);
  std::vector<int64_t> text = {static_cast<int64_t>(random() % static_cast<uint64_t>(first.vocabulary()))};
  while (text.size() < count) {
    TRY_ASSIGN(const float* row, run.Step({text.back()}));
    // 53 bits, the same on every machine.
    text.push_back(Drawn(row, run.vocabulary(), static_cast<double>(random() >> 11) * 0x1p-53));
  }
  return text;
}

}  // namespace hone
