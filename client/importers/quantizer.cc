// ONNX Runtime's quantizer: the parameters of quantize_static and quantize_dynamic with their extra_options, which
// Olive hands through and which `hone import onnxruntime` takes by themselves.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "client/importers/draft.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

// What static quantization takes where nothing else is said.
constexpr const char* kQuantizedTypes[] = {"Add",
                                           "ArgMax",
                                           "AveragePool",
                                           "BatchNormalization",
                                           "Clip",
                                           "Concat",
                                           "Conv",
                                           "ConvTranspose",
                                           "CumSum",
                                           "Flatten",
                                           "Gather",
                                           "GatherElements",
                                           "Gemm",
                                           "GlobalAveragePool",
                                           "InstanceNormalization",
                                           "LayerNormalization",
                                           "LeakyRelu",
                                           "MatMul",
                                           "MaxPool",
                                           "Mul",
                                           "Pad",
                                           "Relu",
                                           "Reshape",
                                           "Resize",
                                           "Sigmoid",
                                           "Slice",
                                           "Softmax",
                                           "Split",
                                           "Squeeze",
                                           "TopK",
                                           "Transpose",
                                           "Unsqueeze",
                                           "Where"};

Result<> WithoutTypes(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> without, TextsOf(node));
  std::vector<std::string> types;
  for (const char* type : kQuantizedTypes) {
    if (std::find(without.begin(), without.end(), type) == without.end()) types.emplace_back(type);
  }
  if (types.size() == std::size(kQuantizedTypes)) {
    draft.ledger.Tell(node, Fate::ignored, fmt::format("{} takes none of them anyway", draft.row.pass));
    return {};
  }
  draft.SetIfAbsent("op_types", TextValue(Join(types, ",")));
  draft.ledger.Tell(node, Fate::changed, fmt::format("{}: op_types, which names the others", draft.row.pass));
  return {};
}

Result<> AsPreprocess(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  bool any = false;
  for (const ConfigNode* each : ValuesOf(node)) {
    TRY_ASSIGN(const bool wanted, BoolOf(*each));
    any = any || wanted;
  }
  draft.ledger.Tell(node, any ? Fate::changed : Fate::done, any ? "pass simplify before it" : "no pass before it");
  return {};
}

Result<> AsQuantFormat(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  bool pairs = true;
  for (const ConfigNode* each : ValuesOf(node)) {
    TRY_ASSIGN(const Converted format, ToWord(*each, {{"QDQ", "QDQ"},
                                                      {"QOperator", "QOperator"},
                                                      {"QuantFormat.QDQ", "QDQ"},
                                                      {"QuantFormat.QOperator", "QOperator"},
                                                      {"0", "QOperator"},
                                                      {"1", "QDQ"}}));
    pairs = pairs && format.value.text() == "QDQ";
  }
  draft.ledger.Tell(
      node, pairs ? Fate::done : Fate::changed,
      pairs ? "hone writes QuantizeLinear and DequantizeLinear"
            : "hone writes QuantizeLinear and DequantizeLinear, of which ONNX Runtime makes the same integer kernels");
  return {};
}

Result<> AsMovingAverage(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const bool wanted, BoolOf(node));
  if (wanted) draft.Set("observer", TextValue("moving_average"));
  draft.ledger.Tell(node, Fate::done, wanted ? "static_int8: observer=moving_average" : "observer as it is");
  return {};
}

Result<> AsSmoothQuant(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const bool wanted, BoolOf(node));
  if (wanted) draft.SetIfAbsent("smooth_alpha", RealValue(0.5));
  draft.ledger.Tell(node, Fate::done, wanted ? "static_int8: smooth_alpha" : "no smoothing");
  return {};
}

Result<> AsQuantMode(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  for (const ConfigNode* each : ValuesOf(node)) TRY(ToWord(*each, {{"static", "static"}, {"dynamic", "dynamic"}}));
  draft.ledger.Tell(node, Fate::done, "decides between static_int8 and dynamic_int8");
  return {};
}

constexpr const char* kSamplesOnce = "Python does not run in hone: make the samples once, as an .npz";

const ParameterRules kExtraOptions = {
    {"ActivationSymmetric", AsBool, "symmetric_activations"},
    {"ActivationRestrictedAsymmetric", Refuse, "",
     "hone chooses zero points freely; symmetric_activations: true is what comes nearest"},
    {"WeightSymmetric", Change, "", "int8 weights are symmetric, uint8 weights are not: the type decides"},
    {"EnableSubgraph", Refuse, "", "branches of If and Loop stay in float"},
    {"ForceQuantizeNoInputCheck", Ignore, "", "hone decides where a pair of quantize and dequantize pays"},
    {"MatMulConstBOnly", Ignore, "",
     "static_int8: coverage decides which products are taken; dynamic_int8 takes constant weights alone"},
    {"AddQDQPairToWeight", Ignore, "", "weights are stored quantized; the runtimes compute the same"},
    {"OpTypesToExcludeOutputQuantization", Refuse, "", "leave the operators out with op_types or exclude"},
    {"DedicatedQDQPair", Ignore, "", "only how pairs are shared; the values are the same"},
    {"QDQOpTypePerChannelSupportToAxis", Ignore, "", "hone knows the output channel of each operator"},
    {"CalibTensorRangeSymmetric", AsBool, "symmetric_activations"},
    {"CalibMovingAverage", AsMovingAverage},
    {"CalibMovingAverageConstant", Change, "", "hone's moving average has the constant 0.01"},
    {"CalibMaxIntermediateOutputs", Ignore, "",
     "hone folds each sample into the statistics at once and keeps no outputs"},
    {"CalibPercentile", AsReal, "percentile"},
    {"CalibStridedMinMax", Ignore, "", "hone folds each sample into the statistics at once"},
    {"QuantizeBias", Ignore, "", "biases are 32-bit integers, as the integer kernels want them"},
    {"SmoothQuant", AsSmoothQuant},
    {"SmoothQuantAlpha", AsReal, "smooth_alpha"},
    {"SmoothQuantFolding", Ignore, "", "hone always folds the factors into what comes before"},
    {"UseQDQContribOps", Ignore, "", "the opset is raised to one that has the types"},
    {"MinimumRealRange", Ignore, "", "hone keeps ranges from vanishing by itself"},
    {"TensorQuantOverrides", Refuse, "",
     "leave single nodes in float with exclude, or give a range of the graph with exclude_between"},
    {"QDQKeepRemovableActivations", Ignore, "", "the runtimes drop what a range makes needless"},
    {"QDQDisableWeightAdjustForInt32Bias", Ignore, "", "hone keeps biases within 32 bits"},
    {"BlockSize", Refuse, "", "use the pass weights_int4 or weights_int8 with form=matmulnbits"},
    {"DefaultTensorType", Ignore, "", "hone infers the types"},
    {"extra.Sigmoid.nnapi", Refuse, "", "hone writes for ONNX Runtime and OpenVINO on processors"},
    {"SkipPreprocess", IgnoreBool, "", "quant_preprocess decides"},
};

const ParameterRules kQuantizer = {
    {"quant_mode", AsQuantMode},
    {"precision", AsWeightType, "weights"},
    {"weight_type", AsWeightType, "weights"},
    {"activation_type", AsActivationType, "activations"},
    {"act_precision", AsActivationType, "activations"},
    {"op_types_to_quantize", AsTypes, "op_types"},
    {"op_types_to_exclude", WithoutTypes},
    {"nodes_to_quantize", AsIncluded},
    {"nodes_to_exclude", AsExcluded},
    {"per_channel", AsBool, "per_channel"},
    {"reduce_range", AsBool, "reduce_range"},
    {"quant_preprocess", AsPreprocess},
    {"optimize_model", AsPreprocess},
    {"activation_symmetric", AsBool, "symmetric_activations"},
    {"weight_symmetric", Change, "", "int8 weights are symmetric, uint8 weights are not: the type decides"},
    {"calibrate_method", AsObserver, "observer"},
    {"calibration_method", AsObserver, "observer"},
    {"calibration_providers", Ignore, "", "hone calibrates on the processor"},
    {"calibration_cache_path", Ignore, "", "hone keeps statistics by the digests of model and data"},
    {"quant_format", AsQuantFormat},
    {"min_real_range", Ignore, "", "hone keeps ranges from vanishing by itself"},
    {"tensor_quant_overrides", Refuse, "",
     "leave single nodes in float with exclude, or parts of the graph with exclude_between"},
    {"prepare_qdq_config", IgnoreBool, "", "hone needs no preparation"},
    {"extra_options", AsExtraOptions},
    {"use_external_data_format", IgnoreBool, "", "hone keeps large weights beside the model"},
    {"user_script", Change, "", kSamplesOnce},
    {"script_dir", Change, "", kSamplesOnce},
    {"dataloader_func", Change, "", kSamplesOnce},
    {"dataloader_func_kwargs", Change, "", kSamplesOnce},
    {"batch_size", Ignore, "", "hone calibrates sample by sample"},
    {"inputs", Ignore, "", "hone reads the inputs from the model"},
};

bool AllSigned(const std::vector<proto::Value>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](const proto::Value& value) { return value.text().starts_with("int"); });
}

bool WantsSimplify(const Draft& draft) {
  for (const char* key : {"quant_preprocess", "optimize_model"}) {
    const auto given = draft.given.find(key);
    if (given == draft.given.end()) continue;
    for (const ConfigNode* each : ValuesOf(*given->second)) {
      if (BoolOf(*each).value_or(false)) return true;
    }
    return false;
  }
  // Olive's default; ONNX Runtime's own functions leave it to the person.
  return std::string_view(draft.row.name).starts_with("Onnx");
}

void AddSimplify(Draft& draft) {
  if (!WantsSimplify(draft)) return;
  draft.before.emplace_back().set_pass("simplify");
}

}  // namespace

const ParameterRules& QuantizerRules() { return kQuantizer; }

Result<> AsExtraOptions(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  return TakeMap(draft, node, {&kExtraOptions});
}

Result<> FinishStatic(Draft& draft) {
  AddSimplify(draft);
  const std::vector<proto::Value>* weights = draft.Values("weights");
  const std::vector<proto::Value>* activations = draft.Values("activations");
  const bool unsigned_alone = weights != nullptr && weights->size() == 1 && weights->front().text() == "uint8";
  if (unsigned_alone && activations != nullptr && AllSigned(*activations)) {
    draft.Set("weights", TextValue("int8"));
    for (const char* key : {"precision", "weight_type"}) {
      if (const auto given = draft.given.find(key); given != draft.given.end()) {
        draft.ledger.Amend(*given->second, Fate::changed,
                           "static_int8: weights=int8; no runtime executes uint8 weights with signed activations");
      }
    }
  }
  if (draft.Has("percentile") && !draft.Has("observer")) draft.Set("observer", TextValue("percentile"));
  return {};
}

Result<> FinishDynamic(Draft& draft) {
  AddSimplify(draft);
  static constexpr const char* kStaticAlone[] = {"observer", "activations", "symmetric_activations", "percentile",
                                                 "smooth_alpha"};
  for (const char* parameter : kStaticAlone) draft.Forget(parameter);
  const auto mode = draft.given.find("quant_mode");
  const bool both = std::string_view(draft.row.name) == "OnnxQuantization" &&
                    (mode == draft.given.end() ? draft.searching : ValuesOf(*mode->second).size() > 1);
  if (both) return {};
  for (const char* key :
       {"activation_type", "act_precision", "activation_symmetric", "calibrate_method", "calibration_method"}) {
    if (const auto given = draft.given.find(key); given != draft.given.end()) {
      draft.ledger.Amend(*given->second, Fate::ignored, "dynamic quantization measures each activation as it comes");
    }
  }
  return {};
}

}  // namespace hone::importers
