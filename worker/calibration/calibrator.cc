#include "worker/calibration/calibrator.h"

#include "worker/calibration/statistics.h"

namespace hone {

Result<std::map<std::string, TensorRange>> CollectRanges(const onnx::ModelProto& model,
                                                         const std::vector<std::string>& tensors, const DataSet& data,
                                                         int threads) {
  std::vector<StatisticsRequest> requests(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) requests[i].tensor = tensors[i];
  CollectOptions options;
  options.threads = threads;
  TRY_ASSIGN(const Statistics statistics, CollectStatistics(model, requests, data, options));
  std::map<std::string, TensorRange> ranges;
  for (const auto& [name, tensor] : statistics)
    ranges[name] = {tensor.low, tensor.high, tensor.values, tensor.non_finite};
  return ranges;
}

}  // namespace hone
