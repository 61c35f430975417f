#include "worker/passes/openvino_taps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <openvino/openvino.hpp>

#include "worker/backends/openvino_ports.h"
#include "worker/passes/openvino_graph.h"

namespace hone {
namespace {

// Requests beyond the threads, so that none waits for the calling thread to hand on what is ready.
constexpr int kSpareRequests = 1;

// Means of finite values by channel, in shape [outer, channels, inner].
void ChannelMeans(const float* values, size_t outer, size_t channels, size_t inner, TapSample& sample) {
  std::vector<double>& means = sample.channel_means;
  means.assign(channels, 0);
  for (size_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      const float* row = values + (o * channels + c) * inner;
      const bool all_finite = sample.channels[c].non_finite == 0;
      for (size_t i = 0; i < inner; ++i)
        means[c] += all_finite || std::isfinite(row[i]) ? static_cast<double>(row[i]) : 0.0;
    }
  }
  for (size_t c = 0; c < channels; ++c) {
    if (sample.channels[c].finite > 0) means[c] /= static_cast<double>(sample.channels[c].finite);
  }
}

// Rows without energy, or with NaN or infinities, tell nothing.
void RowShares(const float* values, size_t rows, size_t channels, TapSample& sample) {
  sample.channel_shares.assign(channels, 0);
  size_t counted = 0;
  for (size_t r = 0; r < rows; ++r) {
    const float* row = values + r * channels;
    double energy = 0;
    for (size_t c = 0; c < channels; ++c) energy += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    if (!(energy > 0) || !std::isfinite(energy)) continue;
    ++counted;
    const double inverse = 1 / energy;
    sample.inverse_energy += inverse;
    for (size_t c = 0; c < channels; ++c)
      sample.channel_shares[c] += static_cast<double>(row[c]) * static_cast<double>(row[c]) * inverse;
  }
  if (counted == 0) return;
  sample.inverse_energy /= static_cast<double>(counted);
  for (double& share : sample.channel_shares) share /= static_cast<double>(counted);
}

TapSample Reduce(const ov::Tensor& tensor, const std::optional<int64_t>& axis) {
  TapSample sample;
  const float* values = tensor.data<float>();
  if (!axis) {
    sample.range = kernels::Range(values, tensor.get_size());
    return sample;
  }
  const ov::Shape shape = tensor.get_shape();
  const auto at = static_cast<size_t>(*axis);
  size_t outer = 1, inner = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i < at) outer *= shape[i];
    if (i > at) inner *= shape[i];
  }
  sample.channels.resize(shape[at]);
  kernels::ChannelRanges(values, outer, shape[at], inner, sample.channels.data());
  ChannelMeans(values, outer, shape[at], inner, sample);
  if (inner == 1) RowShares(values, outer, shape[at], sample);
  for (const auto& channel : sample.channels) sample.range.Merge(channel);
  return sample;
}

// A request with the sample that it works on.
struct Slot {
  ov::InferRequest request;
  std::vector<Tensor> inputs;  // Borrowed by the request while it runs.
  std::vector<TapSample> taps;
  std::exception_ptr failure;
};

class TapRunner {
 public:
  TapRunner(const std::vector<Tap>& taps, const DataSet& data) : taps_(taps), data_(data) {}

  // Each distinct source is computed once.
  void Compile(const std::shared_ptr<ov::Model>& model, int threads) {
    ov::ResultVector results;
    std::map<ov::Output<ov::Node>, size_t> known;
    for (const Tap& tap : taps_) {
      const auto [found, is_new] = known.emplace(tap.source, results.size());
      if (is_new) results.push_back(std::make_shared<ov::op::v0::Result>(tap.source));
      outputs_.push_back(found->second);
    }
    const auto tapped = std::make_shared<ov::Model>(results, model->get_parameters(), "taps");
    ov::AnyMap properties = {{ov::hint::inference_precision.name(), ov::element::f32},
                             {ov::inference_num_threads.name(), threads},
                             {ov::num_streams.name(), ov::streams::Num(threads)},
                             {ov::hint::enable_cpu_pinning.name(), false}};
    compiled_ = ov::Core().compile_model(tapped, "CPU", properties);
  }

  void MakeSlots(size_t count) {
    slots_ = std::vector<Slot>(count);
    for (Slot& slot : slots_) {
      slot.request = compiled_.create_infer_request();
      slot.request.set_callback([this, &slot](const std::exception_ptr& failure) { Finish(slot, failure); });
    }
  }

  Result<> Start(Slot& slot, size_t index) {
    TRY_ASSIGN(slot.inputs, data_.Get(index));
    slot.failure = nullptr;
    return CallOpenvino("run the model", [&] {
             for (size_t i = 0; i < slot.inputs.size(); ++i) {
               slot.request.set_input_tensor(
                   i, slot.inputs[i].bytes.empty() ? CopyTensor(slot.inputs[i]) : BorrowTensor(slot.inputs[i]));
             }
             slot.request.start_async();
             return 0;
           })
        .map([](int) {});
  }

  Result<> Wait(Slot& slot) {
    return CallOpenvino("run the model", [&] {
             slot.request.wait();
             if (slot.failure) std::rethrow_exception(slot.failure);
             return 0;
           })
        .map([](int) {});
  }

  Result<> Run(const FoldSample& fold) {
    const size_t samples = data_.size();
    size_t started = 0;
    const auto end = [&](Result<> result) {
      // Callbacks write into slots, so none may be on its way when they go.
      for (size_t i = 0; i < started && i < slots_.size(); ++i) (void)Wait(slots_[i]);
      return result;
    };
    for (size_t next = 0; next < samples; ++next) {
      for (; started < samples && started < next + slots_.size(); ++started) {
        if (auto ok = Start(slots_[started % slots_.size()], started); !ok)
          return end(FailWith(fmt::format("calibration sample {}", started), std::move(ok.error())));
      }
      Slot& slot = slots_[next % slots_.size()];
      if (auto ok = Wait(slot); !ok)
        return end(FailWith(fmt::format("calibration sample {}", next), std::move(ok.error())));
      if (auto ok = fold(next, slot.taps); !ok)
        return end(FailWith(fmt::format("calibration sample {}", next), std::move(ok.error())));
    }
    return end({});
  }

 private:
  void Finish(Slot& slot, const std::exception_ptr& failure) {
    slot.failure = failure;
    if (failure) return;
    try {
      slot.taps.clear();
      for (size_t i = 0; i < taps_.size(); ++i)
        slot.taps.push_back(Reduce(slot.request.get_output_tensor(outputs_[i]), taps_[i].channel_axis));
    } catch (...) {
      slot.failure = std::current_exception();
    }
  }

  const std::vector<Tap>& taps_;
  const DataSet& data_;
  std::vector<size_t> outputs_;  // Of the compiled model, one a tap.
  ov::CompiledModel compiled_;
  std::vector<Slot> slots_;
};

}  // namespace

Result<std::vector<InputSignature>> SignatureOfModel(ov::Model& model) {
  std::vector<DeclaredInput> declared;
  for (const auto& port : model.inputs()) declared.push_back(Declare(port));
  return PinSignature(declared, {});
}

Result<> RunTaps(const std::shared_ptr<ov::Model>& model, const std::vector<Tap>& taps, const DataSet& data,
                 int threads, const FoldSample& fold) {
  if (data.size() == 0) return Fail(ErrorCode::kRejected, "the calibration data is empty");
  TapRunner runner(taps, data);
  TRY(CallOpenvino("compile the model for calibration", [&] {
    runner.Compile(model, threads);
    runner.MakeSlots(std::min(data.size(), static_cast<size_t>(threads + kSpareRequests)));
    return 0;
  }));
  return runner.Run(fold);
}

}  // namespace hone
