// The named tensors are made outputs of the model, unoptimized (a fused operator would hide its inside and round
// differently), and every sample's values are folded into a range as soon as they exist, so memory holds one sample a
// worker, however many samples there are.
//
// Samples are spread over sessions of one thread each. A sample's values do not depend on the session that computes it,
// and ranges are merged by operations that commute exactly, so the result depends on nothing but the samples.
#include "worker/calibration/calibrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "kernels/range.h"
#include "worker/backends/backend.h"
#include "worker/model/model.h"

namespace hone {
namespace {

// Copies of the weights that the sessions together may hold, beyond the first.
constexpr uint64_t kMaxWeightBytes = 2'000'000'000;
// What protobuf can serialize in one piece, with room for the outputs that are added.
constexpr uint64_t kMaxMessageBytes = 1'900'000'000;

using Ranges = std::unordered_map<std::string, kernels::FloatRange>;

std::set<std::string> ComputedNames(const onnx::GraphProto& graph) {
  std::set<std::string> names;
  for (const auto& node : graph.node()) names.insert(node.output().begin(), node.output().end());
  names.erase("");
  return names;
}

// The bytes of the model with more outputs: a message's bytes followed by those of another parse as the two merged.
std::string WithOutputs(const onnx::ModelProto& model, const std::vector<std::string>& names) {
  onnx::ModelProto more;
  for (const auto& name : names) more.mutable_graph()->add_output()->set_name(name);
  std::string bytes;
  bytes.reserve(model.ByteSizeLong() + more.ByteSizeLong());
  model.AppendToString(&bytes);
  more.AppendToString(&bytes);
  return bytes;
}

// Opens as many sessions as it is asked for on the same model with more outputs.
class SessionSource {
 public:
  static Result<SessionSource> Make(const onnx::ModelProto& model, const std::vector<std::string>& outputs) {
    SessionSource source;
    if (model.ByteSizeLong() <= kMaxMessageBytes) {
      source.bytes_ = WithOutputs(model, outputs);
      return source;
    }
    TRY_ASSIGN(ScopedFolder folder, ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-calibration-"));
    onnx::ModelProto larger = model;
    for (const auto& name : outputs) larger.mutable_graph()->add_output()->set_name(name);
    TRY_ASSIGN(const proto::Bundle bundle, SaveOnnx(std::move(larger), folder.path()));
    source.file_ = folder.path() / bundle.main();
    source.folder_.emplace(std::move(folder));
    return source;
  }

  Result<std::unique_ptr<Session>> Open() const {
    return folder_ ? LoadOnnxFile(file_, 1, false) : LoadOnnxBytes(bytes_, 1, false);
  }
  void DropBytes() { bytes_ = std::string(); }

 private:
  std::string bytes_;
  std::optional<ScopedFolder> folder_;
  std::filesystem::path file_;
};

kernels::FloatRange RangeOf(const Tensor& tensor) {
  if (tensor.type == onnx::TensorProto::FLOAT)
    return kernels::Range(tensor.data<float>(), static_cast<size_t>(tensor.Elements()));
  const std::vector<float> values = ToFloats(tensor);
  return kernels::Range(values.data(), values.size());
}

// Puts a sample's tensors into the order of the session's inputs; a sample whose tensors have no names is in order
// already.
Result<std::vector<Tensor>> Arrange(std::vector<Tensor> sample, const std::vector<InputSignature>& inputs) {
  std::vector<Tensor> arranged;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto found =
        std::find_if(sample.begin(), sample.end(), [&](const Tensor& tensor) { return tensor.name == inputs[i].name; });
    if (found == sample.end() && i < sample.size() && sample[i].name.empty())
      found = sample.begin() + static_cast<std::ptrdiff_t>(i);
    if (found == sample.end())
      return Fail(ErrorCode::kRejected, fmt::format("calibration data has no input '{}'", inputs[i].name));
    arranged.push_back(std::move(*found));
    arranged.back().name = inputs[i].name;
  }
  return arranged;
}

// Runs one sample and folds what it gives into the ranges.
Result<> Observe(Session& session, const DataSet& data, size_t index, const std::set<std::string>& fed,
                 const std::set<std::string>& computed, Ranges& ranges) try {
  TRY_ASSIGN(std::vector<Tensor> sample, data.Get(index));
  TRY_ASSIGN(const std::vector<Tensor> inputs, Arrange(std::move(sample), session.inputs()));
  for (const Tensor& input : inputs) {
    if (fed.contains(input.name)) ranges[input.name].Merge(RangeOf(input));
  }
  TRY_ASSIGN(const std::vector<Tensor> outputs, session.Run(inputs));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = session.outputs()[i];
    if (computed.contains(name)) ranges[name].Merge(RangeOf(outputs[i]));
  }
  return {};
} catch (const std::bad_alloc&) {
  return Fail(ErrorCode::kExhausted, "not enough memory");
}

// The failure of the first sample that failed, whichever thread came upon it first.
struct FirstFailure {
  std::mutex mutex;
  size_t index = 0;  // Guarded by mutex, as error is.
  std::optional<Error> error;

  void Report(size_t at, Error what) {
    const std::lock_guard lock(mutex);
    if (error && index <= at) return;
    index = at;
    error = std::move(what);
  }
};

}  // namespace

Result<std::map<std::string, TensorRange>> CollectRanges(const onnx::ModelProto& model,
                                                         const std::vector<std::string>& tensors, const DataSet& data,
                                                         int threads) {
  if (data.size() == 0) return Fail(ErrorCode::kRejected, "the calibration data is empty");
  const std::set<std::string> available = ComputedNames(model.graph());
  std::set<std::string> inputs;
  for (const auto* input : RealInputs(model.graph())) inputs.insert(input->name());
  std::set<std::string> outputs;
  for (const auto& output : model.graph().output()) outputs.insert(output.name());

  std::set<std::string> fed;
  std::set<std::string> computed;
  std::vector<std::string> added;
  for (const auto& name : tensors) {
    if (inputs.contains(name)) {
      fed.insert(name);
    } else if (!available.contains(name)) {
      return Fail(ErrorCode::kRejected, fmt::format("the graph does not compute '{}'", Printable(name, 200)));
    } else if (computed.insert(name).second && !outputs.contains(name)) {
      added.push_back(name);
    }
  }

  const uint64_t model_bytes = std::max<uint64_t>(1, model.ByteSizeLong());
  const size_t by_memory = static_cast<size_t>(1 + kMaxWeightBytes / model_bytes);
  const size_t workers = std::min({static_cast<size_t>(std::max(1, threads)), data.size(), by_memory});
  TRY_ASSIGN(SessionSource source, SessionSource::Make(model, added));
  std::vector<std::unique_ptr<Session>> sessions;
  for (size_t i = 0; i < workers; ++i) {
    TRY_ASSIGN(std::unique_ptr<Session> session, source.Open());
    sessions.push_back(std::move(session));
  }
  source.DropBytes();

  std::vector<Ranges> partial(workers);
  std::atomic<size_t> next{0};
  FirstFailure failure;
  const auto work = [&](size_t worker) {
    for (size_t index = next++; index < data.size(); index = next++) {
      auto observed = Observe(*sessions[worker], data, index, fed, computed, partial[worker]);
      if (observed) continue;
      failure.Report(index, std::move(observed.error()));
      next = data.size();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < workers; ++i) helpers.emplace_back(work, i);
    work(0);
  }
  if (failure.error) return FailWith(fmt::format("calibration sample {}", failure.index), std::move(*failure.error));

  std::map<std::string, TensorRange> result;
  for (const auto& name : tensors) {
    kernels::FloatRange range;
    for (const Ranges& part : partial) {
      if (const auto found = part.find(name); found != part.end()) range.Merge(found->second);
    }
    TensorRange& entry = result[name];
    entry.values = range.finite + range.non_finite;
    entry.non_finite = range.non_finite;
    if (range.finite > 0) {
      entry.low = range.low;
      entry.high = range.high;
    }
  }
  return result;
}

}  // namespace hone
