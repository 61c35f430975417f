#include "worker/evaluation/generation.h"

#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <string>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr const char* kPast = "past_key_values.";
constexpr const char* kPresent = "present.";

Ort::Env& GenerationEnvironment() {
  static Ort::Env* const environment = new Ort::Env(ORT_LOGGING_LEVEL_ERROR, "hone");
  return *environment;
}

int64_t MostLikely(const float* row, int64_t count) { return std::max_element(row, row + count) - row; }

// Surprise at a token, in nats.
double Surprise(const float* row, int64_t count, int64_t token) {
  const double largest = *std::max_element(row, row + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return largest + std::log(sum) - static_cast<double>(row[token]);
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double MiddleOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

struct Generator::State {
  // An input of keys or values: its type, its shape without tokens, and the output that it comes from.
  struct CachePort {
    std::string input;
    std::string output;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    std::vector<int64_t> empty_shape;
  };

  Ort::Session session{nullptr};
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<CachePort> ports;
  bool wants_positions = false;
  int64_t vocabulary = 0;
  int64_t length = 0;
  std::vector<Ort::Value> cache;  // One a port.
  Ort::Value logits{nullptr};

  Result<> FindPorts();
  void Empty();
  Result<> Run(const std::vector<int64_t>& tokens);
};

Result<> Generator::State::FindPorts() {
  std::map<std::string, bool> outputs;
  for (size_t i = 0; i < session.GetOutputCount(); ++i)
    outputs[session.GetOutputNameAllocated(i, allocator).get()] = true;
  bool ids = false, mask = false;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    const std::string name = session.GetInputNameAllocated(i, allocator).get();
    ids = ids || name == "input_ids";
    mask = mask || name == "attention_mask";
    wants_positions = wants_positions || name == "position_ids";
    if (name == "input_ids" || name == "attention_mask" || name == "position_ids") continue;
    const Ort::TypeInfo type = session.GetInputTypeInfo(i);
    const auto info = type.GetTensorTypeAndShapeInfo();
    const std::string output = kPresent + (name.starts_with(kPast) ? name.substr(std::string_view(kPast).size()) : "");
    std::vector<int64_t> shape = info.GetShape();
    if (!outputs.contains(output) || shape.size() != 4 || shape[1] < 1 || shape[3] < 1)
      return Fail(ErrorCode::kRejected,
                  fmt::format("the input '{}' is none of a decoder with a cache", Printable(name, 200)));
    ports.push_back({name, output, info.GetElementType(), {1, shape[1], 0, shape[3]}});
  }
  if (!ids || !mask || ports.empty() || !outputs.contains("logits"))
    return Fail(ErrorCode::kRejected,
                "the model is no decoder with a cache: it lacks input_ids, attention_mask, past_key_values or logits");
  return {};
}

void Generator::State::Empty() {
  cache.clear();
  for (const CachePort& port : ports)
    cache.push_back(Ort::Value::CreateTensor(allocator, port.empty_shape.data(), port.empty_shape.size(), port.type));
  length = 0;
}

Result<> Generator::State::Run(const std::vector<int64_t>& tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<int64_t> ids = tokens, mask(static_cast<size_t>(length + count), 1), positions(tokens.size());
  for (int64_t i = 0; i < count; ++i) positions[static_cast<size_t>(i)] = length + i;
  std::vector<const char*> inputs = {"input_ids", "attention_mask"}, outputs = {"logits"};
  std::vector<Ort::Value> values;
  const auto add = [&](std::vector<int64_t>& numbers) {
    const int64_t shape[] = {1, static_cast<int64_t>(numbers.size())};
    values.push_back(Ort::Value::CreateTensor<int64_t>(memory, numbers.data(), numbers.size(), shape, 2));
  };
  add(ids);
  add(mask);
  if (wants_positions) {
    inputs.push_back("position_ids");
    add(positions);
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    inputs.push_back(ports[i].input.c_str());
    outputs.push_back(ports[i].output.c_str());
    values.push_back(std::move(cache[i]));
  }
  std::vector<Ort::Value> results =
      session.Run(Ort::RunOptions{}, inputs.data(), values.data(), values.size(), outputs.data(), outputs.size());
  logits = std::move(results.front());
  for (size_t i = 0; i < ports.size(); ++i) cache[i] = std::move(results[i + 1]);
  const auto info = logits.GetTensorTypeAndShapeInfo();
  const std::vector<int64_t> shape = info.GetShape();
  if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || shape.size() != 3 || shape[1] != count)
    return Fail(ErrorCode::kRejected, "the model's logits are no float32 row for each token");
  vocabulary = shape[2];
  length += count;
  return {};
}

Generator::Generator(std::unique_ptr<State> state) : state_(std::move(state)) {}
Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

Result<Generator> Generator::Open(const std::filesystem::path& model, int threads) try {
  auto state = std::make_unique<State>();
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(threads);
  options.AddConfigEntry("session.intra_op.allow_spinning", "0");
  state->session = Ort::Session(GenerationEnvironment(), model.c_str(), options);
  TRY(state->FindPorts());
  state->Empty();
  return Generator(std::move(state));
} catch (const std::exception& error) {
  return Fail(ErrorCode::kFailed, fmt::format("load {}: {}", model.string(), Printable(error.what(), 1000)));
}

int64_t Generator::vocabulary() const { return state_->vocabulary; }
int64_t Generator::length() const { return state_->length; }
void Generator::Reset() { state_->Empty(); }

Result<const float*> Generator::Step(const std::vector<int64_t>& tokens) try {
  CHECK_THAT(!tokens.empty());
  TRY(state_->Run(tokens));
  return state_->logits.GetTensorData<float>();
} catch (const std::exception& error) {
  state_->Empty();
  return Fail(ErrorCode::kFailed, fmt::format("run the model: {}", Printable(error.what(), 1000)));
}

Result<std::vector<int64_t>> GenerateGreedily(Generator& generator, const std::vector<int64_t>& prompt, size_t count,
                                              const std::vector<int64_t>& ends) {
  generator.Reset();
  std::vector<int64_t> made;
  std::vector<int64_t> next = prompt;
  while (made.size() < count) {
    TRY_ASSIGN(const float* logits, generator.Step(next));
    const int64_t vocabulary = generator.vocabulary();
    made.push_back(MostLikely(logits + static_cast<int64_t>(next.size() - 1) * vocabulary, vocabulary));
    if (std::find(ends.begin(), ends.end(), made.back()) != ends.end()) break;
    next = {made.back()};
  }
  return made;
}

Result<double> Perplexity(Generator& generator, const std::vector<int64_t>& tokens, size_t window) {
  double surprise = 0;
  size_t counted = 0;
  for (size_t first = 0; first + 1 < tokens.size(); first += window) {
    const size_t last = std::min(first + window, tokens.size());
    const std::vector<int64_t> part(tokens.begin() + static_cast<std::ptrdiff_t>(first),
                                    tokens.begin() + static_cast<std::ptrdiff_t>(last));
    if (part.size() < 2) break;
    generator.Reset();
    TRY_ASSIGN(const float* logits, generator.Step(part));
    const int64_t vocabulary = generator.vocabulary();
    for (size_t i = 1; i < part.size(); ++i, ++counted) {
      if (part[i] < 0 || part[i] >= vocabulary)
        return Fail(ErrorCode::kRejected,
                    fmt::format("the token {} is beyond the model's {} tokens", part[i], vocabulary));
      surprise += Surprise(logits + static_cast<int64_t>(i - 1) * vocabulary, vocabulary, part[i]);
    }
  }
  if (counted == 0) return Fail(ErrorCode::kUnsure, "a perplexity takes two tokens at least");
  return std::exp(surprise / static_cast<double>(counted));
}

Result<GenerationTimes> TimeGeneration(Generator& generator, const std::vector<int64_t>& prompt, size_t count,
                                       int repeats) {
  std::vector<double> first_s, token_s;
  for (int run = 0; run <= repeats; ++run) {
    generator.Reset();
    auto start = std::chrono::steady_clock::now();
    TRY_ASSIGN(const float* logits, generator.Step(prompt));
    int64_t token =
        MostLikely(logits + static_cast<int64_t>(prompt.size() - 1) * generator.vocabulary(), generator.vocabulary());
    const double to_first = SecondsSince(start);
    start = std::chrono::steady_clock::now();
    for (size_t i = 1; i < count; ++i) {
      TRY_ASSIGN(logits, generator.Step({token}));
      token = MostLikely(logits, generator.vocabulary());
    }
    if (run == 0) continue;
    first_s.push_back(to_first);
    token_s.push_back(SecondsSince(start) / static_cast<double>(std::max<size_t>(1, count - 1)));
  }
  GenerationTimes times;
  const double to_first = MiddleOf(first_s);
  times.first_token_ms = to_first * 1000;
  times.prompt_tokens_per_s = static_cast<double>(prompt.size()) / to_first;
  times.generation_tokens_per_s = 1 / MiddleOf(token_s);
  return times;
}

}  // namespace hone
