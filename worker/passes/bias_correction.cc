#include "worker/passes/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "kernels/quantize.h"
#include "worker/passes/qdq_builder.h"

namespace hone {
namespace {

// An Add is worth its time where the mean shift holds this share of the error's energy.
constexpr double kNoticeable = 0.1;

// What rounding the weight does to the mean of the outputs.
struct Shift {
  std::vector<double> values;  // One an output.
  double energy = 0;           // Sum of squares.
  double noise = 0;            // Expected energy of the error if inputs were independent and centred.
};

class Corrector {
 public:
  Corrector(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options, const Statistics& statistics)
      : graph_(graph), options_(options), statistics_(statistics) {
    for (const QdqTensor& tensor : plan.tensors) {
      if (tensor.weight) weights_[tensor.name] = &tensor;
    }
  }

  Result<CorrectionReport> Run() {
    for (int i = 0; i < graph_.NodeCount(); ++i) {
      if (!IsWeightedProduct(graph_, graph_.Node(i))) continue;
      TRY_ASSIGN(const auto shift, ShiftOf(graph_.Node(i)));
      if (!shift || shift->energy == 0) continue;
      TRY(Correct(i, *shift));
    }
    return report_;
  }

 private:
  // nullopt where the layer's form is not one of ours, its weight is not quantized or its input was not measured.
  Result<std::optional<Shift>> ShiftOf(const onnx::NodeProto& node) const {
    const auto planned = weights_.find(node.input(1));
    const auto found = statistics_.find(node.input(0));
    const bool gemm = node.op_type() == "Gemm";
    if (planned == weights_.end() || found == statistics_.end() || node.op_type() == "ConvTranspose" ||
        (gemm && IntAttribute(node, "transA", 0) != 0))
      return std::optional<Shift>();
    TRY_ASSIGN(const Tensor weight, ReadTensor(*graph_.FloatWeight(node.input(1))));
    if (node.op_type() != "Conv" && weight.dims.size() != 2) return std::optional<Shift>();
    TRY_ASSIGN(const auto error, ErrorOf(weight, *planned->second));
    if (error.empty()) return std::optional<Shift>();
    const bool transposed = node.op_type() == "MatMul" || (gemm && IntAttribute(node, "transB", 0) == 0);
    const int64_t groups = node.op_type() == "Conv" ? std::max<int64_t>(1, IntAttribute(node, "group", 1)) : 1;
    return Fold(weight.dims, error, transposed, static_cast<size_t>(groups), found->second.channels);
  }

  // W - W^, or nothing where the weight has no scales.
  Result<std::vector<float>> ErrorOf(const Tensor& weight, const QdqTensor& planned) const {
    const WeightScheme scheme = SchemeOf(planned, options_);
    const float* values = weight.data<float>();
    const auto scales = WeightScales(values, weight.dims, scheme);
    if (scales.empty()) return std::vector<float>();
    const auto codes = WeightCodes(values, weight.dims, scheme, scales);
    const size_t count = codes.size();  // Weights have codes of one byte.
    size_t inner = 1;
    size_t channels = 1;
    if (scheme.axis) {
      channels = static_cast<size_t>(weight.dims[static_cast<size_t>(*scheme.axis)]);
      for (size_t i = static_cast<size_t>(*scheme.axis) + 1; i < weight.dims.size(); ++i)
        inner *= static_cast<size_t>(weight.dims[i]);
    } else {
      inner = count;
    }
    std::vector<float> error(count);
    for (size_t i = 0; i < count; ++i) {
      const ScaleZero& entry = scales[scheme.axis ? i / inner % channels : 0];
      const int32_t code = scheme.type == CodeType::u8 ? codes[i] : static_cast<int8_t>(codes[i]);
      error[i] = values[i] - static_cast<float>(code - entry.zero_point) * entry.scale;
    }
    return error;
  }

  std::optional<Shift> Fold(const std::vector<int64_t>& dims, const std::vector<float>& error, bool transposed,
                            size_t groups, const ChannelStatistics& channels) const {
    const size_t outputs = static_cast<size_t>(dims[transposed ? 1 : 0]);
    const size_t inputs = static_cast<size_t>(dims[transposed ? 0 : 1]);
    size_t positions = 1;
    for (size_t i = 2; i < dims.size(); ++i) positions *= static_cast<size_t>(dims[i]);
    if (outputs == 0 || outputs % groups != 0 || channels.mean.size() != inputs * groups ||
        channels.mean_magnitude.size() != channels.mean.size())
      return std::nullopt;
    Shift shift;
    shift.values.assign(outputs, 0);
    for (size_t output = 0; output < outputs; ++output) {
      for (size_t input = 0; input < inputs; ++input) {
        const size_t channel = output / (outputs / groups) * inputs + input;
        const size_t at = transposed ? input * outputs + output : (output * inputs + input) * positions;
        double sum = 0;
        double squares = 0;
        for (size_t i = 0; i < positions; ++i) {
          sum += error[at + i];
          squares += static_cast<double>(error[at + i]) * error[at + i];
        }
        shift.values[output] += sum * channels.mean[channel];
        shift.noise += squares * channels.mean_magnitude[channel] * channels.mean_magnitude[channel];
      }
      shift.energy += shift.values[output] * shift.values[output];
    }
    if (!std::isfinite(shift.energy)) return std::nullopt;
    return shift;
  }

  Result<> Correct(int index, const Shift& shift) {
    onnx::NodeProto& node = graph_.Node(index);
    if (node.op_type() == "MatMul") return CorrectBehind(index, shift);
    double factor = 1;
    if (node.op_type() == "Gemm") {
      const auto* alpha = FindAttribute(node, "alpha");
      if (alpha != nullptr) factor = alpha->f();
    }
    const bool has_bias = node.input_size() > 2 && !node.input(2).empty();
    if (!has_bias) return AddBias(node, shift, factor);
    if (node.op_type() == "Gemm") {
      const auto* beta = FindAttribute(node, "beta");
      if (beta != nullptr && beta->f() == 0) return {};
      if (beta != nullptr) factor /= beta->f();
    }
    return CorrectConstant(node, 2, shift, factor);
  }

  Result<> AddBias(onnx::NodeProto& node, const Shift& shift, double factor) {
    std::vector<float> values;
    for (const double value : shift.values) values.push_back(static_cast<float>(value * factor));
    const std::string name = graph_.AddConstant(node.output(0) + "_correction", onnx::TensorProto::FLOAT,
                                                {static_cast<int64_t>(values.size())}, values);
    if (node.input_size() > 2) {
      node.set_input(2, name);
    } else {
      node.add_input(name);
    }
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "beta" && node.op_type() == "Gemm") attribute.set_f(1.0f);
    }
    ++report_.corrected;
    return {};
  }

  bool IsVector(const std::string& name, size_t outputs) const {
    const onnx::TensorProto* constant = graph_.FloatWeight(name);
    if (constant == nullptr || constant->dims_size() == 0) return false;
    for (int i = 0; i + 1 < constant->dims_size(); ++i) {
      if (constant->dims(i) != 1) return false;
    }
    return constant->dims(constant->dims_size() - 1) == static_cast<int64_t>(outputs);
  }

  // A constant that other nodes read too stays for them.
  Result<> CorrectConstant(onnx::NodeProto& node, int input, const Shift& shift, double factor) {
    if (!IsVector(node.input(input), shift.values.size())) return {};
    TRY_ASSIGN(Tensor constant, ReadTensor(*graph_.FloatWeight(node.input(input))));
    float* values = constant.data<float>();
    for (size_t i = 0; i < shift.values.size(); ++i)
      values[i] = static_cast<float>(values[i] + shift.values[i] * factor);
    const std::string name = graph_.AddConstant(node.input(input) + "_corrected", onnx::TensorProto::FLOAT,
                                                constant.dims, constant.bytes);
    node.set_input(input, name);
    ++report_.corrected;
    return {};
  }

  Result<> CorrectBehind(int index, const Shift& shift) {
    const std::string product = graph_.Node(index).output(0);
    const auto& uses = graph_.index().Consumers(product);
    if (!graph_.index().IsGraphOutput(product) && uses.size() == 1 && uses[0].input >= 0) {
      onnx::NodeProto& next = graph_.Node(uses[0].node);
      if (next.op_type() == "Add" && IsStandard(next) && IsVector(next.input(1 - uses[0].input), shift.values.size()))
        return CorrectConstant(next, 1 - uses[0].input, shift, 1);
    }
    if (shift.energy < kNoticeable * shift.noise) return {};
    std::vector<float> values(shift.values.begin(), shift.values.end());
    const std::string correction = graph_.AddConstant(product + "_correction", onnx::TensorProto::FLOAT,
                                                      {static_cast<int64_t>(values.size())}, values);
    const std::string raw = graph_.FreshName(product + "_uncorrected");
    graph_.Node(index).set_output(0, raw);
    graph_.AddNode("Add", product + "_correction_Add", {raw, correction}, {product});
    ++report_.corrected;
    ++report_.added;
    return {};
  }

  QuantizationGraph& graph_;
  const QdqOptions& options_;
  const Statistics& statistics_;
  std::unordered_map<std::string, const QdqTensor*> weights_;
  CorrectionReport report_;
};

}  // namespace

Result<CorrectionReport> CorrectBiases(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options,
                                       const Statistics& statistics) {
  return Corrector(graph, plan, options, statistics).Run();
}

}  // namespace hone
