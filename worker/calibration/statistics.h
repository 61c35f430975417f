// Calibration statistics: what a float model's tensors hold while a data set runs through it. Collected once and read
// by every pass that quantizes activations (ranges under any observer), smooths, corrects biases, or fits weights to
// their inputs.
//
// Memory does not grow with the number of samples: every sample is folded in as soon as it is there. The result is the
// same bits for the same samples, whatever the number of threads, the batching and the order in which sessions finish.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

// What is wanted of one float tensor: a graph input or a value that the main graph computes.
struct StatisticsRequest {
  std::string tensor;
  bool histogram = false;  // Of the values, for percentile, entropy and mse.
  // Dimension whose indices are channels (-1 the last one): per-channel low, high, mean and mean magnitude.
  // kNoChannels: none. The size of that dimension must be the same in every sample.
  static constexpr int kNoChannels = 1 << 20;
  int channel_axis = kNoChannels;
  bool gram = false;  // X^T X over the last dimension K: K * K float32.
};

// Counts of values in bins of equal width; bin i holds [ (first + i) * width, (first + i + 1) * width ). Width is a
// power of two and the bins are aligned to zero, so widening merges whole bins and the counts do not depend on the
// order of the values.
struct Histogram {
  static constexpr int kMaxBins = 4096;  // Per sign.
  double width = 0;                      // 0: no finite value but zero was seen.
  int64_t first = 0;
  std::vector<uint64_t> counts;
};

struct ChannelStatistics {
  std::vector<float> low, high;  // Finite values alone.
  std::vector<double> mean, mean_magnitude;
};

struct TensorStatistics {
  float low = 0, high = 0;  // Of finite values alone; 0 where there was none.
  uint64_t values = 0;
  uint64_t non_finite = 0;                 // NaN and infinities: counted, in nothing else.
  uint64_t samples = 0;                    // With at least one finite value.
  double mean_low = 0, mean_high = 0;      // Mean over samples of their minimum and maximum.
  double moving_low = 0, moving_high = 0;  // Exponential moving average over samples in their order, constant 0.01.
  Histogram histogram;
  ChannelStatistics channels;
  std::vector<float> gram;  // K * K, row-major, the sum over rows of x x^T; empty where not asked for.
  uint64_t gram_rows = 0;
};
using Statistics = std::map<std::string, TensorStatistics>;

struct CollectOptions {
  int threads = 1;
  uint64_t gram_bytes = uint64_t{1} << 30;  // Above it kExhausted, naming the tensors: collect in parts.
};

// Runs every sample of `data` through the model. kRejected for an empty data set, a tensor that the graph does not
// compute, channels whose number changes between samples.
Result<Statistics> CollectStatistics(const onnx::ModelProto& model, const std::vector<StatisticsRequest>& requests,
                                     const DataSet& data, const CollectOptions& options);

// One file, bounded and checked when read (kRejected, saying what is broken). Same statistics, same bytes.
Result<> SaveStatistics(const Statistics& statistics, const std::filesystem::path& file);
Result<Statistics> LoadStatistics(const std::filesystem::path& file);

}  // namespace hone
