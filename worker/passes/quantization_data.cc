#include "worker/passes/quantization_data.h"

#include <fmt/format.h>

#include <algorithm>

namespace hone {
namespace {

// Whether stored statistics hold what is asked for.
bool Serves(const TensorStatistics& statistics, const StatisticsRequest& request) {
  const bool channels =
      request.channel_axis == StatisticsRequest::kNoChannels || !statistics.channels.low.empty();
  const bool histogram = !request.histogram || !statistics.histogram.counts.empty() ||
                         statistics.values == statistics.non_finite || (statistics.low == 0 && statistics.high == 0);
  const bool gram = !request.gram || !statistics.gram.empty();
  return channels && histogram && gram;
}

}  // namespace

const char kStatisticsFile[] = "statistics.bin";

std::vector<InputSignature> SignatureOf(const onnx::GraphProto& graph, const PassContext& context) {
  std::vector<InputSignature> signature;
  for (const auto* input : RealInputs(graph)) {
    signature.push_back(
        {input->name(), input->type().tensor_type().elem_type(), DimsOf(*input).value_or(std::vector<int64_t>())});
    for (const auto& pin : context.task->inputs()) {
      if (pin.name() == input->name()) signature.back().dims.assign(pin.dims().begin(), pin.dims().end());
    }
  }
  return signature;
}

std::map<std::string, int> ChannelAxes(const QuantizationGraph& graph) {
  std::map<std::string, int> axes;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const auto& node = graph.Node(i);
    const bool product = node.op_type() == "MatMul" || node.op_type() == "Gemm";
    if (!IsStandard(node) || (!product && node.op_type() != "Conv") || node.input_size() < 2) continue;
    const onnx::TensorProto* weight = graph.FloatWeight(node.input(1));
    if (weight == nullptr || weight->dims_size() < 2 || !graph.IsFloat(node.input(0)) ||
        graph.FloatWeight(node.input(0)) != nullptr)
      continue;
    if (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) != 0) continue;
    const auto [at, added] = axes.emplace(node.input(0), product ? -1 : 1);
    if (product) at->second = -1;
  }
  return axes;
}

Result<StatisticsSource> StatisticsSource::Open(PassContext& context) {
  StatisticsSource source(context);
  const proto::LocalBundle& model = context.task->model();
  const auto& files = model.bundle().files();
  const bool stored =
      std::any_of(files.begin(), files.end(), [](const proto::File& file) { return file.path() == kStatisticsFile; });
  if (!stored) return source;
  TRY_ASSIGN(source.stored_, LoadStatistics(std::filesystem::path(model.folder()) / kStatisticsFile));
  return source;
}

Result<> StatisticsSource::Add(const onnx::ModelProto& model, const std::vector<StatisticsRequest>& requests,
                               Statistics& known) {
  std::vector<StatisticsRequest> missing;
  size_t taken = 0;
  for (const StatisticsRequest& request : requests) {
    if (stored_) {
      const auto found = stored_->find(request.tensor);
      if (found != stored_->end() && Serves(found->second, request)) {
        known[request.tensor] = found->second;
        ++taken;
        continue;
      }
    }
    missing.push_back(request);
  }
  if (taken > 0)
    context_->notes.push_back(fmt::format("statistics of {} tensors taken from {}", taken, kStatisticsFile));
  if (missing.empty()) return {};
  if (data_ == nullptr) {
    TRY_ASSIGN(data_, OpenDataSet(context_->task->calibration(), SignatureOf(model.graph(), *context_),
                                  &context_->task->model()));
  }
  CollectOptions options;
  options.threads = context_->threads;
  TRY_ASSIGN(Statistics collected, CollectStatistics(model, missing, *data_, options));
  context_->notes.push_back(fmt::format("{} tensors measured on {} samples", missing.size(), data_->size()));
  for (auto& [name, statistics] : collected) known[name] = std::move(statistics);
  return {};
}

void StatisticsSource::Forget(const std::set<std::string>& names) {
  if (!stored_) return;
  for (const auto& name : names) stored_->erase(name);
}

}  // namespace hone
