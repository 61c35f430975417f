// What quantizing passes know of a model's activations: statistics that a `calibrate` step left beside the model, or
// that are collected now.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/calibration/statistics.h"
#include "worker/passes/pass.h"
#include "worker/passes/quantization_graph.h"

namespace hone {

// Name of the file in a bundle, and of what it holds: statistics of this very model, with histograms and channels, of
// every float activation. Every other pass leaves it behind, because it changes the model.
extern const char kStatisticsFile[];

// What the data must feed: the model's inputs with the task's pins.
std::vector<InputSignature> SignatureOf(const onnx::GraphProto& graph, const PassContext& context);

// A value's channels, where a product with a constant weight reads it: the last dimension for MatMul and Gemm,
// dimension 1 for convolutions. kNoChannels elsewhere.
std::map<std::string, int> ChannelAxes(const QuantizationGraph& graph);

// Hands out statistics, running the model only for what is not known yet.
class StatisticsSource {
 public:
  // Reads the file of the bundle, if there is one. kRejected if it is broken.
  static Result<StatisticsSource> Open(PassContext& context);

  // Adds the requested tensors of the model to `known`. Those that the file holds are taken from it; the others are
  // collected. Notes tell of both.
  Result<> Add(const onnx::ModelProto& model, const std::vector<StatisticsRequest>& requests, Statistics& known);
  // From now on these are no longer what the file says.
  void Forget(const std::set<std::string>& names);

 private:
  explicit StatisticsSource(PassContext& context) : context_(&context) {}

  PassContext* context_;
  std::optional<Statistics> stored_;
  std::unique_ptr<DataSet> data_;  // Opened when it is first needed.
};

}  // namespace hone
