// Samples are spread over threads that run one tapped model. What commutes exactly (ranges, counts) is folded into one
// total as it comes. What does not (sums of floats) is folded in the order of samples: a sample's part of it is kept
// until the samples before it are done, for a bounded number of samples; and the rows of a Gram matrix are added by the
// thread that sees them, which waits until the sample before has been there. Threads thus follow each other through the
// model, and no rows are copied.
#include "worker/calibration/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "common/base/strings.h"
#include "kernels/half.h"
#include "kernels/moments.h"
#include "kernels/range.h"
#include "worker/calibration/gram.h"
#include "worker/calibration/histogram.h"
#include "worker/calibration/tapped_model.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr double kMovingAverage = 0.01;
// Values that are looked at twice, for their range and for their bins, while they are in the second cache.
constexpr size_t kChunk = 131072;
// Samples a thread may be ahead of the oldest one that is not done.
constexpr size_t kAhead = 4;
constexpr size_t kMaxNamesTold = 5;

std::string Quoted(std::string_view name) { return fmt::format("'{}'", Printable(name, 200)); }

// The values of a tensor as float, in place where they are.
class FloatView {
 public:
  explicit FloatView(const TappedValue& tensor) : size_(tensor.elements) {
    if (tensor.type == onnx::TensorProto::FLOAT) {
      data_ = static_cast<const float*>(tensor.data);
      return;
    }
    converted_.resize(size_);
    const auto* halves = static_cast<const uint16_t*>(tensor.data);
    if (tensor.type == onnx::TensorProto::FLOAT16) {
      kernels::HalfToFloat(halves, size_, converted_.data());
    } else if (tensor.type == onnx::TensorProto::BFLOAT16) {
      kernels::BfloatToFloat(halves, size_, converted_.data());
    } else {
      const auto* bytes = static_cast<const std::byte*>(tensor.data);
      converted_ = ToFloats({{}, tensor.type, tensor.dims, {bytes, bytes + size_ * ElementBytes(tensor.type)}});
      size_ = converted_.size();
    }
    data_ = converted_.data();
  }

  const float* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  const float* data_ = nullptr;
  std::vector<float> converted_;
};

struct ChannelSums {
  std::vector<float> low, high;
  std::vector<double> sum, magnitude;
  std::vector<uint64_t> finite;

  ChannelSums() = default;
  explicit ChannelSums(size_t channels)
      : low(channels, std::numeric_limits<float>::infinity()),
        high(channels, -std::numeric_limits<float>::infinity()),
        sum(channels),
        magnitude(channels),
        finite(channels) {}

  kernels::ChannelMoments View() { return {low.data(), high.data(), sum.data(), magnitude.data(), finite.data()}; }
  void Add(const ChannelSums& other) {
    for (size_t c = 0; c < low.size(); ++c) {
      low[c] = std::min(low[c], other.low[c]);
      high[c] = std::max(high[c], other.high[c]);
      sum[c] += other.sum[c];
      magnitude[c] += other.magnitude[c];
      finite[c] += other.finite[c];
    }
  }
};

// What one sample says of one tensor, to be folded in its turn.
struct SamplePart {
  kernels::FloatRange range;
  ChannelSums channels;
};

// Everything of one tensor. Visit may be called by several threads at once, Commit by one at a time.
class Accumulator {
 public:
  explicit Accumulator(StatisticsRequest request) : request_(std::move(request)) {}

  const StatisticsRequest& request() const { return request_; }

  Result<> Visit(const TappedValue& tensor, const FloatView& values, SamplePart& part) {
    if (request_.channel_axis != StatisticsRequest::kNoChannels) {
      TRY(SumChannels(tensor, values, part));
    }
    if (!request_.histogram) {
      part.range = kernels::Range(values.data(), values.size());
      return {};
    }
    for (size_t begin = 0; begin < values.size(); begin += kChunk) {
      const size_t size = std::min(kChunk, values.size() - begin);
      const kernels::FloatRange range = kernels::Range(values.data() + begin, size);
      part.range.Merge(range);
      if (range.finite == 0) continue;
      const std::lock_guard lock(mutex_);
      histogram_.Add(values.data() + begin, size, range.low, range.high);
    }
    return {};
  }

  // In the order of samples.
  void Commit(const SamplePart& part) {
    range_.Merge(part.range);
    if (part.range.finite > 0) {
      const double low = part.range.low;
      const double high = part.range.high;
      sum_low_ += low;
      sum_high_ += high;
      moving_low_ = samples_ == 0 ? low : moving_low_ + kMovingAverage * (low - moving_low_);
      moving_high_ = samples_ == 0 ? high : moving_high_ + kMovingAverage * (high - moving_high_);
      ++samples_;
    }
    if (request_.channel_axis == StatisticsRequest::kNoChannels) return;
    if (channels_.low.empty()) channels_ = ChannelSums(part.channels.low.size());
    channels_.Add(part.channels);
  }

  TensorStatistics Finish() {
    TensorStatistics result;
    result.values = range_.finite + range_.non_finite;
    result.non_finite = range_.non_finite;
    result.samples = samples_;
    if (range_.finite > 0) {
      result.low = range_.low;
      result.high = range_.high;
      result.mean_low = sum_low_ / static_cast<double>(samples_);
      result.mean_high = sum_high_ / static_cast<double>(samples_);
      result.moving_low = moving_low_;
      result.moving_high = moving_high_;
    }
    result.histogram = histogram_.Finish();
    for (size_t c = 0; c < channels_.low.size(); ++c) {
      const bool any = channels_.finite[c] > 0;
      const double count = any ? static_cast<double>(channels_.finite[c]) : 1;
      result.channels.low.push_back(any ? channels_.low[c] + 0.0f : 0);
      result.channels.high.push_back(any ? channels_.high[c] + 0.0f : 0);
      result.channels.mean.push_back(channels_.sum[c] / count);
      result.channels.mean_magnitude.push_back(channels_.magnitude[c] / count);
    }
    if (gram) {
      result.gram = gram->Finish();
      result.gram_rows = gram->rows();
    }
    return result;
  }

  // Of the collector, guarded by its turns.
  std::optional<GramBuilder> gram;
  size_t gram_turn = 0;

 private:
  Result<> SumChannels(const TappedValue& tensor, const FloatView& values, SamplePart& part) {
    const auto rank = static_cast<int64_t>(tensor.dims.size());
    const int64_t axis = request_.channel_axis < 0 ? request_.channel_axis + rank : request_.channel_axis;
    if (axis < 0 || axis >= rank) {
      return Fail(ErrorCode::kRejected, fmt::format("{} has {} dimensions and none for channels at {}",
                                                    Quoted(request_.tensor), rank, request_.channel_axis));
    }
    const auto channels = static_cast<size_t>(tensor.dims[static_cast<size_t>(axis)]);
    size_t known = 0;
    if (!channel_count_.compare_exchange_strong(known, channels + 1) && known != channels + 1) {
      return Fail(ErrorCode::kRejected, fmt::format("{} has {} channels in one sample and {} in another",
                                                    Quoted(request_.tensor), known - 1, channels));
    }
    size_t outer = 1;
    size_t inner = 1;
    for (int64_t i = 0; i < rank; ++i) {
      if (i != axis) (i < axis ? outer : inner) *= static_cast<size_t>(tensor.dims[static_cast<size_t>(i)]);
    }
    part.channels = ChannelSums(channels);
    if (values.size() > 0) kernels::AddChannelMoments(values.data(), outer, channels, inner, part.channels.View());
    return {};
  }

  const StatisticsRequest request_;
  std::atomic<size_t> channel_count_{0};  // And one; 0 while no sample was seen.
  std::mutex mutex_;
  HistogramBuilder histogram_;  // Guarded by mutex_.
  // Of Commit.
  kernels::FloatRange range_;
  uint64_t samples_ = 0;
  double sum_low_ = 0, sum_high_ = 0, moving_low_ = 0, moving_high_ = 0;
  ChannelSums channels_;
};

// Puts a sample's tensors into the order of the model's inputs; a sample whose tensors have no names is in order
// already.
Result<std::vector<Tensor>> Arrange(std::vector<Tensor> sample, const std::vector<InputSignature>& inputs) {
  std::vector<Tensor> arranged;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto found =
        std::find_if(sample.begin(), sample.end(), [&](const Tensor& tensor) { return tensor.name == inputs[i].name; });
    if (found == sample.end() && i < sample.size() && sample[i].name.empty())
      found = sample.begin() + static_cast<std::ptrdiff_t>(i);
    if (found == sample.end())
      return Fail(ErrorCode::kRejected, fmt::format("calibration data has no input {}", Quoted(inputs[i].name)));
    arranged.push_back(std::move(*found));
    arranged.back().name = inputs[i].name;
  }
  return arranged;
}

struct RequestedTensors {
  std::vector<std::unique_ptr<Accumulator>> all;
  std::vector<Accumulator*> taps;  // In the order of tap_names.
  std::vector<std::string> tap_names;
  std::vector<std::pair<size_t, Accumulator*>> inputs;  // Place among the model's inputs.
};

// One request a tensor, wanting all that any of its requests wants.
Result<std::vector<StatisticsRequest>> Merged(const std::vector<StatisticsRequest>& requests) {
  std::vector<StatisticsRequest> merged;
  std::unordered_map<std::string, size_t> places;
  for (const StatisticsRequest& request : requests) {
    const auto [place, added] = places.emplace(request.tensor, merged.size());
    if (added) {
      merged.push_back(request);
      continue;
    }
    StatisticsRequest& known = merged[place->second];
    known.histogram |= request.histogram;
    known.gram |= request.gram;
    if (request.channel_axis == StatisticsRequest::kNoChannels) continue;
    if (known.channel_axis != StatisticsRequest::kNoChannels && known.channel_axis != request.channel_axis) {
      return Fail(ErrorCode::kRejected, fmt::format("channels of {} are wanted along two dimensions, {} and {}",
                                                    Quoted(request.tensor), known.channel_axis, request.channel_axis));
    }
    known.channel_axis = request.channel_axis;
  }
  return merged;
}

Result<RequestedTensors> Resolve(const onnx::GraphProto& graph, const std::vector<StatisticsRequest>& requests) {
  std::unordered_map<std::string, size_t> inputs;
  for (const auto* input : RealInputs(graph)) inputs.emplace(input->name(), inputs.size());
  std::set<std::string_view> computed;
  for (const auto& node : graph.node()) computed.insert(node.output().begin(), node.output().end());
  computed.erase("");

  TRY_ASSIGN(std::vector<StatisticsRequest> merged, Merged(requests));
  RequestedTensors tensors;
  for (StatisticsRequest& request : merged) {
    const std::string name = request.tensor;
    const auto input = inputs.find(name);
    if (input == inputs.end() && !computed.contains(name))
      return Fail(ErrorCode::kRejected, fmt::format("the graph does not compute {}", Quoted(name)));
    tensors.all.push_back(std::make_unique<Accumulator>(std::move(request)));
    if (input != inputs.end()) {
      tensors.inputs.emplace_back(input->second, tensors.all.back().get());
    } else {
      tensors.taps.push_back(tensors.all.back().get());
      tensors.tap_names.push_back(name);
    }
  }
  return tensors;
}

class Collector {
 public:
  Collector(TappedModel& model, RequestedTensors& tensors, const DataSet& data, const CollectOptions& options)
      : model_(model),
        tensors_(tensors),
        data_(data),
        gram_bytes_left_(options.gram_bytes),
        threads_(std::min(data.size(), static_cast<size_t>(std::max(1, options.threads)))) {
    for (size_t i = 0; i < tensors.all.size(); ++i) places_[tensors.all[i].get()] = i;
  }

  Result<> Run() {
    std::optional<OneBlasThread> one_thread;
    for (const auto& tensor : tensors_.all) {
      if (tensor->request().gram && !one_thread) one_thread.emplace();
    }
    {
      std::vector<std::jthread> helpers;
      for (size_t i = 1; i < threads_; ++i) helpers.emplace_back([this] { Work(); });
      Work();
    }
    if (failure_) return FailWith(fmt::format("calibration sample {}", failed_at_), std::move(*failure_));
    return {};
  }

 private:
  using SampleParts = std::vector<SamplePart>;

  // What a run shows goes to the accumulators.
  class Visitor : public TapVisitor {
   public:
    Visitor(Collector& collector, size_t sample, SampleParts& parts)
        : collector_(collector), sample_(sample), parts_(parts) {}
    Result<> Visit(size_t tap, const TappedValue& tensor) override {
      return collector_.Take(*collector_.tensors_.taps[tap], tensor, sample_, parts_);
    }

   private:
    Collector& collector_;
    const size_t sample_;
    SampleParts& parts_;
  };

  void Work() {
    for (;;) {
      size_t sample = 0;
      {
        std::unique_lock lock(mutex_);
        sample = next_;
        if (sample >= data_.size() || failure_) return;
        ++next_;
        changed_.wait(lock, [&] { return sample < committed_ + kAhead * threads_ || StoppedBefore(sample); });
        if (StoppedBefore(sample)) return;
      }
      SampleParts parts(tensors_.all.size());
      Result<> outcome = RunSample(sample, parts);
      const std::lock_guard lock(mutex_);
      if (!outcome) {
        if (!failure_ || sample < failed_at_) {
          failed_at_ = sample;
          failure_ = std::move(outcome.error());
        }
      } else if (!failure_ || sample < failed_at_) {
        waiting_.emplace(sample, std::move(parts));
        CommitWaiting();
      }
      changed_.notify_all();
    }
  }

  // Threads only ever wait for earlier samples, so of several that would fail it is the first that is told.
  bool StoppedBefore(size_t sample) const { return failure_ && failed_at_ < sample; }

  void CommitWaiting() {
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == committed_;) {
      for (size_t i = 0; i < tensors_.all.size(); ++i) tensors_.all[i]->Commit(first->second[i]);
      first = waiting_.erase(first);
      ++committed_;
    }
  }

  Result<> RunSample(size_t sample, SampleParts& parts) try {
    TRY_ASSIGN(std::vector<Tensor> tensors, data_.Get(sample));
    TRY_ASSIGN(const std::vector<Tensor> inputs, Arrange(std::move(tensors), model_.inputs()));
    for (const auto& [place, accumulator] : tensors_.inputs) {
      const Tensor& input = inputs[place];
      const int64_t elements = input.Elements();
      if (elements < 0 || static_cast<uint64_t>(elements) * ElementBytes(input.type) != input.bytes.size()) {
        return Fail(ErrorCode::kRejected, fmt::format("input {} is broken", Quoted(input.name)));
      }
      TRY(Take(*accumulator, {input.type, input.dims, input.bytes.data(), static_cast<size_t>(elements)}, sample,
               parts));
    }
    Visitor visitor(*this, sample, parts);
    TRY(model_.Run(inputs, visitor));
    if (sample == 0) return CheckGrams();
    return {};
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kExhausted, "not enough memory");
  }

  Result<> Take(Accumulator& accumulator, const TappedValue& tensor, size_t sample, SampleParts& parts) {
    const FloatView values(tensor);
    if (values.size() != tensor.elements) {
      return Fail(ErrorCode::kRejected, fmt::format("{} holds {} elements, which are no numbers",
                                                    Quoted(accumulator.request().tensor), ElementName(tensor.type)));
    }
    TRY(accumulator.Visit(tensor, values, parts[places_.at(&accumulator)]));
    return accumulator.request().gram ? AddRows(accumulator, tensor, values, sample) : Result<>();
  }

  Result<> AddRows(Accumulator& accumulator, const TappedValue& tensor, const FloatView& values, size_t sample) {
    const size_t width = tensor.dims.empty() ? 1 : static_cast<size_t>(tensor.dims.back());
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return accumulator.gram_turn == sample || StoppedBefore(sample); });
      if (accumulator.gram_turn != sample) return Fail(ErrorCode::kCancelled, "an earlier sample failed");
      if (sample == 0) ReserveGram(accumulator, width);
    }
    // Alone on this builder until the turn is given on.
    if (accumulator.gram) {
      if (accumulator.gram->width() != width) {
        return Fail(ErrorCode::kRejected,
                    fmt::format("the last dimension of {} is {} in one sample and {} in another",
                                Quoted(accumulator.request().tensor), accumulator.gram->width(), width));
      }
      if (width > 0) accumulator.gram->Add(values.data(), values.size() / width);
    }
    {
      const std::lock_guard lock(mutex_);
      ++accumulator.gram_turn;
    }
    changed_.notify_all();
    return {};
  }

  void ReserveGram(Accumulator& accumulator, size_t width) {
    const uint64_t bytes =
        width > (uint64_t{1} << 30) ? std::numeric_limits<uint64_t>::max() : GramBuilder::Bytes(width);
    if (bytes > gram_bytes_left_) {
      refused_.push_back(Quoted(accumulator.request().tensor));
      return;
    }
    gram_bytes_left_ -= bytes;
    accumulator.gram.emplace(width);
  }

  // After the first sample: every tensor has shown its width.
  Result<> CheckGrams() {
    const std::lock_guard lock(mutex_);
    if (refused_.empty()) return {};
    const size_t told = std::min(refused_.size(), kMaxNamesTold);
    std::string names = Join({refused_.begin(), refused_.begin() + static_cast<std::ptrdiff_t>(told)}, ", ");
    if (told < refused_.size()) names += fmt::format(" and {} more", refused_.size() - told);
    return Fail(ErrorCode::kExhausted, fmt::format("there is no memory left for the input products of {}", names),
                "Collect them in parts, or allow more memory.");
  }

  TappedModel& model_;
  RequestedTensors& tensors_;
  const DataSet& data_;
  uint64_t gram_bytes_left_;  // Guarded by mutex_, as refused_ is.
  std::vector<std::string> refused_;
  const size_t threads_;
  std::unordered_map<const Accumulator*, size_t> places_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  size_t next_ = 0;
  size_t committed_ = 0;
  std::map<size_t, SampleParts> waiting_;
  size_t failed_at_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<Statistics> CollectStatistics(const onnx::ModelProto& model, const std::vector<StatisticsRequest>& requests,
                                     const DataSet& data, const CollectOptions& options) {
  if (data.size() == 0) return Fail(ErrorCode::kRejected, "the calibration data is empty");
  if (requests.empty()) return Statistics();
  TRY_ASSIGN(RequestedTensors tensors, Resolve(model.graph(), requests));
  TRY_ASSIGN(const std::unique_ptr<TappedModel> tapped, TappedModel::Open(model, tensors.tap_names));
  Collector collector(*tapped, tensors, data, options);
  TRY(collector.Run());
  Statistics statistics;
  for (const auto& tensor : tensors.all) statistics[tensor->request().tensor] = tensor->Finish();
  return statistics;
}

}  // namespace hone
