// Rules for Olive's OpenVINO passes.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "client/importers/olive_rules.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

// --- OpenVINO ------------------------------------------------------------------------------------

Result<> FinishInputShapes(Draft& draft) { return PinByShape(draft, "input_names", "input_shapes"); }

const ParameterRules kToIr = {
    {"compress_to_fp16", AsBool, "fp16_weights"},
    {"input_shapes", TakeShapes},
    {"input", Change, "", "pin free dimensions with `inputs`"},
    {"example_input_func", Change, "", kNoPython},
    {"extra_configs", Ignore, "", "of the exporter; hone converts the ONNX file"},
    {"output_model", Ignore, "", "hone writes the best model to the folder that you name"},
    {"model_name", Ignore, "", "hone writes the best model to the folder that you name"},
    {"static", IgnoreBool, "", "inputs that are pinned are static"},
};

const ParameterRules kIoUpdate = {
    {"input_shapes", TakeShapes},
    {"input_names", TakeShapes},
    {"static", IgnoreBool, "", "inputs that are pinned are static"},
    {"extra_configs", Ignore, "", "inputs are pinned by their names"},
};

Result<Converted> ToPreset(const ConfigNode& node) {
  return ToWord(node, {{"PERFORMANCE", "performance"}, {"MIXED", "mixed"}});
}
Result<Converted> ToModelType(const ConfigNode& node) { return ToWord(node, {{"TRANSFORMER", "transformer"}}); }

// Takes what is known of NNCF's advanced parameters wherever it stands.
Result<> AsAdvanced(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  if (node.IsList()) {
    for (const ConfigNode& item : node.items) TRY(AsAdvanced(draft, item, rule));
    return {};
  }
  if (!node.IsMap()) return WrongKind(node, "a map");
  if (node.entries.empty()) draft.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : node.entries) {
    if (entry.key == "smooth_quant_alpha" || entry.key == "matmul") {
      TRY_ASSIGN(const double alpha, importers::RealOf(entry.value));
      draft.Set("smooth_alpha", RealValue(alpha));
      draft.ledger.Tell(entry.value, Fate::done, "openvino_int8: smooth_alpha");
    } else if (entry.value.IsMap()) {
      TRY(AsAdvanced(draft, entry.value, rule));
    } else {
      draft.ledger.Tell(entry.value, Fate::changed, "hone chooses it by itself");
    }
  }
  return {};
}

const ParameterRules kOpenvinoInt8 = {
    {"target_device", Ignore, "", "the target decides where the model runs"},
    {"preset", Take<ToPreset>, "preset"},
    {"model_type", Take<ToModelType>, "model_type"},
    {"ignored_scope", AsExcluded},
    {"ignored_scope_type", Ignore, "", "names"},
    {"transform_fn", Change, "", kNoPython},
    {"validation_func", Change, "", "hone judges by the recipe's accuracy"},
    {"max_drop", AsMaxDrop},
    {"drop_type", Change, "", "the drop is absolute, in the metric's own unit"},
    {"metric_func", Change, "", "hone judges by the recipe's accuracy"},
    {"extra_configs", AsAdvanced},
};

Result<Converted> ToWeightMode(const ConfigNode& node) {
  static const std::vector<Word> kWords = {{"int8", "int8_asym"},
                                           {"int8_asym", "int8_asym"},
                                           {"int8_sym", "int8_sym"},
                                           {"int4", "int4_asym"},
                                           {"int4_asym", "int4_asym"},
                                           {"int4_sym", "int4_sym"},
                                           {"nf4", "nf4"},
                                           {"mxfp4", "int4_sym", "int4_sym; no mxfp4 here"},
                                           {"cb4", "nf4", "nf4; no code books here"}};
  return ToWord(node, kWords);
}

// Floats are no codes: the pass is openvino_ir then.
Result<> AsWeightMode(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  const std::string format = node.IsText() ? Lower(node.value.text()) : "";
  if (format != "fp16" && format != "fp32") return TakeEach(draft, node, rule, ToWeightMode);
  draft.Set("fp16_weights", BoolValue(format == "fp16"));
  draft.ledger.Tell(node, Fate::done, "openvino_ir: fp16_weights");
  return {};
}

constexpr const char* kOptimum = "of Optimum's exporter; give the ONNX file";

const ParameterRules kCompression = {
    {"mode", AsWeightMode, "mode"},
    {"weight_format", AsWeightMode, "mode"},
    {"group_size", AsInt, "group_size"},
    {"ratio", AsReal, "ratio"},
    {"all_layers", AsBool, "all_layers"},
    {"backup_mode", Change, "", "backup decides what the other weights have"},
    {"backup_precision", Change, "", "backup decides what the other weights have"},
    {"sensitivity_metric", Ignore, "", "hone goes by the weights' error"},
    {"awq", Refuse, "", "use the pass weights_int4 with method=awq"},
    {"scale_estimation", Refuse, "", "use the pass weights_int4 with method=mse"},
    {"gptq", Refuse, "", "use the pass weights_int4 with method=gptq"},
    {"lora_correction", Refuse, "", "hone adds no adapters"},
    {"ignored_scope", AsExcluded},
    {"dataset", Change, "", "weights are rounded without data"},
    {"num_samples", Ignore, "", "weights are rounded without data"},
    {"subset_size", Ignore, "", "weights are rounded without data"},
    {"advanced_parameters", AsAdvanced},
    {"task", Ignore, "", kOptimum},
    {"trust_remote_code", Ignore, "", kOptimum},
    {"cache_dir", Ignore, "", kOptimum},
    {"transform_fn", Change, "", kNoPython},
    {"extra_args", Change, "", kOptimum},
};

// {"sym": true} beside {"weight_format": "int4"}.
Result<> AsSymmetricMode(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY(BoolOf(node));
  draft.ledger.Tell(node, Fate::done, "openvino_weights: mode");
  return {};
}
const ParameterRules kSymmetricMode = {{"sym", AsSymmetricMode}};

Result<> AsInnerCompression(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  return TakeMap(draft, node, {&kCompression, &kSymmetricMode});
}

const ParameterRules kOptimumIr = {
    {"ov_quant_config", AsInnerCompression}, {"compress_config", AsInnerCompression},
    {"extra_args", Change, "", kOptimum},    {"components", Change, "", kOptimum},
    {"fp16", Ignore, "", kOptimum},
};

Result<> FinishCompression(Draft& draft) {
  const std::optional<proto::Value> mode = draft.Get("mode");
  if (mode) draft.Forget("fp16_weights");
  if (!mode) {
    for (const char* parameter : {"mode", "group_size", "ratio", "all_layers"}) draft.Forget(parameter);
    draft.pass = "openvino_ir";
    draft.SetIfAbsent("fp16_weights", BoolValue(true));
    return {};
  }
  if (draft.given.contains("sym") && BoolOf(*draft.given.at("sym")).value_or(false) &&
      mode->text().ends_with("_asym")) {
    draft.Set("mode", TextValue(mode->text().substr(0, mode->text().size() - 5) + "_sym"));
  }
  return {};
}

}  // namespace

const OpenvinoRules& OliveOpenvinoRules() {
  static const OpenvinoRules rules = {&kToIr,      &kIoUpdate,      &kOpenvinoInt8,    &kCompression,
                                      &kOptimumIr, &kSymmetricMode, FinishInputShapes, FinishCompression};
  return rules;
}

}  // namespace hone::importers
