// NNCF: the parameters of nncf.quantize, nncf.quantize_with_accuracy_control and nncf.compress_weights, under those
// names or by themselves, and the "compression" configurations that NNCF read until 2.19.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/draft.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr const char* kTraining = "of training; hone trains nothing";
constexpr const char* kSamples = "hone reads samples from an .npz: data.calibration";
constexpr const char* kOwnChoice = "hone chooses it by itself";

// "QuantizationPreset.MIXED" is "mixed".
std::string LastWord(const ConfigNode& node) {
  const std::string text = ToText(node.value);
  return text.substr(text.rfind('.') == std::string::npos ? 0 : text.rfind('.') + 1);
}

Result<Converted> ToLastWord(const ConfigNode& node, const std::vector<Word>& words) {
  if (!node.IsText()) return WrongKind(node, "a word");
  ConfigNode word = node;
  word.value = TextValue(LastWord(node));
  return ToWord(word, words);
}

Result<Converted> ToNncfPreset(const ConfigNode& node) {
  return ToLastWord(node, {{"mixed", "mixed"}, {"performance", "performance"}});
}
Result<Converted> ToNncfModelType(const ConfigNode& node) { return ToLastWord(node, {{"transformer", "transformer"}}); }
Result<Converted> ToNncfMode(const ConfigNode& node) {
  static const std::vector<Word> kModes = {{"int8_asym", "int8_asym"},
                                           {"int8_sym", "int8_sym"},
                                           {"int8", "int8_asym"},
                                           {"int4_asym", "int4_asym"},
                                           {"int4_sym", "int4_sym"},
                                           {"nf4", "nf4"},
                                           {"int3_sym", "int4_sym", "4 bits"},
                                           {"int2_sym", "int4_sym", "4 bits; weights_int4 has 2"},
                                           {"cb4", "nf4", "nf4"},
                                           {"mxfp4", "int4_sym", "int4_sym"},
                                           {"fp4", "nf4", "nf4"},
                                           {"nvfp4", "nf4", "nf4"},
                                           {"mxfp8_e4m3", "int8_sym", "int8_sym"},
                                           {"fp8_e4m3", "int8_sym", "int8_sym"},
                                           {"codebook", "nf4", "nf4"},
                                           {"adaptive_codebook", "nf4", "nf4"}};
  return ToLastWord(node, kModes);
}
Result<Converted> ToBackup(const ConfigNode& node) {
  return ToLastWord(node, {{"int8_asym", "int8_asym"},
                           {"int8_sym", "int8_sym"},
                           {"none", "int8_asym", "8 bits: hone leaves no weights in float"},
                           {"mxfp8_e4m3", "int8_sym", "int8_sym"},
                           {"fp8_e4m3", "int8_sym", "int8_sym"}});
}
Result<Converted> ToEstimator(const ConfigNode& node) {
  return ToLastWord(node, {{"mixed_min_max", "mean_minmax"},
                           {"mean_min_max", "mean_minmax"},
                           {"mean_minmax", "mean_minmax"},
                           {"min_max", "minmax"},
                           {"minmax", "minmax"},
                           {"threesigma", "mean_minmax", "mean_minmax"},
                           {"percentile", "mean_minmax", "mean_minmax"},
                           {"mean_percentile", "mean_minmax", "mean_minmax"},
                           {"median_minmax", "mean_minmax", "mean_minmax"},
                           {"mean_quantile", "mean_minmax", "mean_minmax"},
                           {"mean_no_outliers_minmax", "mean_minmax", "mean_minmax"},
                           {"histogram", "mean_minmax", "mean_minmax"}});
}

Result<> AsSamples(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const int64_t samples, IntOf(node, 1, 1'000'000));
  draft.import.Calibrate("calibration.npz", static_cast<uint64_t>(samples));
  draft.ledger.Tell(node, Fate::done, "data.calibration.samples");
  return {};
}

// {"names": [...], "patterns": [...]}, or names, of which "{re}..." are expressions.
Result<> AsIgnoredScope(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) {
    TRY_ASSIGN(const std::vector<std::string> names, TextsOf(node));
    std::vector<std::string> plain;
    for (const std::string& name : names) {
      if (name.starts_with("{re}")) {
        draft.ExcludePattern(".*(?:" + name.substr(4) + ").*");
      } else {
        plain.push_back(name);
      }
    }
    draft.ExcludeNames(plain);
    draft.ledger.Tell(node, names.empty() ? Fate::ignored : Fate::done,
                      names.empty() ? "nothing is asked for" : "exclude");
    return {};
  }
  static const ParameterRules kScope = {
      {"names", AsExcluded},
      {"patterns", AsExcludedPatterns},
      {"types", Refuse, "", "exclude goes by names: `hone inspect` tells them"},
      {"subgraphs", Refuse, "", "static_int8 has exclude_between for parts of the graph"},
      {"validate", IgnoreBool, "", "a pass tells which names it left out"},
  };
  return TakeMap(draft, node, {&kScope});
}

// Below 0 is NNCF's way to turn it off.
Result<> AsConvolutionAlpha(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const double alpha, importers::RealOf(node));
  draft.ledger.Tell(node, alpha < 0 ? Fate::ignored : Fate::impossible,
                    alpha < 0 ? "is off" : "hone smooths products alone");
  return {};
}

Result<> AsAlphas(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  static const ParameterRules kAlphas = {{"matmul", AsReal, "smooth_alpha"}, {"convolution", AsConvolutionAlpha}};
  return TakeMap(draft, node, {&kAlphas});
}

Result<> AsNncfAdvanced(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  static const ParameterRules kAdvanced = {
      {"smooth_quant_alpha", AsReal, "smooth_alpha"},
      {"smooth_quant_alphas", AsAlphas},
      {"disable_bias_correction", AsOpposite, "bias_correction"},
      {"overflow_fix", Change, "", "weights have 8 bits; static_int8 has reduce_range for processors without VNNI"},
      {"quantize_outputs", Refuse, "", "outputs stay in float"},
      {"inplace_statistics", Ignore, "", "hone folds each sample into the statistics at once"},
      {"batchwise_statistics", Ignore, "", "hone calibrates sample by sample"},
      {"disable_channel_alignment", Ignore, "", "channels are aligned where spread_outliers finds it worth while"},
      {"quantizer_propagation_rule", Change, "", kOwnChoice},
      {"activations_quantization_params", Change, "", "8 bits; preset decides about symmetry"},
      {"weights_quantization_params", Change, "", "8 bits, symmetric, one scale a channel"},
      {"activations_range_estimator_params", Change, "", "observer has mean_minmax and minmax"},
      {"weights_range_estimator_params", Change, "", "the extremes of each channel"},
      {"bias_correction_params", Ignore, "", kOwnChoice},
      {"backend_params", Ignore, "", "of another backend"},
      {"statistics_path", Ignore, "", "hone keeps statistics by the digests of model and data"},
      {"awq_params", Ignore, "", kOwnChoice},
      {"scale_estimation_params", Ignore, "", kOwnChoice},
      {"gptq_params", Ignore, "", kOwnChoice},
      {"lora_correction_params", Ignore, "", kOwnChoice},
      {"group_size_fallback_mode", Change, "", "a group is halved until it divides the row"},
      {"min_adjusted_group_size", Change, "", "a group is halved until it divides the row"},
      {"codebook", Refuse, "", "hone has no code books; mode nf4 has a fixed one"},
  };
  return TakeMap(draft, node, {&kAdvanced});
}

constexpr const char* kTarget = "the recipe's targets decide where the model runs";

const ParameterRules kNncfQuantize = {
    {"preset", Take<ToNncfPreset>, "preset"},
    {"target_device", Ignore, "", kTarget},
    {"subset_size", AsSamples},
    {"calibration_dataset", Change, "", kSamples},
    {"validation_dataset", Change, "", "data.evaluation"},
    {"validation_fn", Change, "", "hone judges by the recipe's accuracy"},
    {"fast_bias_correction", IgnoreBool, "", "openvino_int8: bias_correction is the fast one"},
    {"model_type", Take<ToNncfModelType>, "model_type"},
    {"ignored_scope", AsIgnoredScope},
    {"ignored_scopes", AsIgnoredScope},
    {"mode", Refuse, "", "hone has no 8-bit floats: no processor here computes in them"},
    {"advanced_parameters", AsNncfAdvanced},
    {"advanced_quantization_parameters", AsNncfAdvanced},
    {"advanced_accuracy_restorer_parameters", Change, "", "static_int8 has keep_worst; the search weighs it"},
    {"max_drop", AsMaxDrop},
    {"drop_type", Change, "", "the drop is absolute, in the metric's own unit"},
};

const ParameterRules kNncfCompress = {
    {"mode", Take<ToNncfMode>, "mode"},
    {"ratio", AsReal, "ratio"},
    {"group_size", AsInt, "group_size"},
    {"all_layers", AsBool, "all_layers"},
    {"backup_mode", Take<ToBackup>, "backup"},
    {"ignored_scope", AsIgnoredScope},
    {"sensitivity_metric", Ignore, "", "hone goes by the weights' error"},
    {"dataset", Change, "", "openvino_weights rounds without data; weights_int4 has gptq and awq"},
    {"subset_size", Ignore, "", "openvino_weights rounds without data"},
    {"awq", Refuse, "", "use the pass weights_int4 with method=awq"},
    {"scale_estimation", Refuse, "", "use the pass weights_int4 with method=mse"},
    {"gptq", Refuse, "", "use the pass weights_int4 with method=gptq"},
    {"lora_correction", Refuse, "", "hone adds no adapters"},
    {"compression_format", Ignore, "", "weights are stored in their codes"},
    {"advanced_parameters", AsNncfAdvanced},
};

// --- the configurations until 2.19 ---------------------------------------------------------------

Result<> AsInitializer(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  for (const ConfigEntry& entry : node.entries) {
    if (entry.key != "range" || !entry.value.IsMap()) {
      draft.ledger.Tell(entry.value, entry.key == "precision" ? Fate::impossible : Fate::ignored,
                        entry.key == "precision"
                            ? "hone has no precision per layer here; `hone sensitivity` finds layers to exclude"
                            : kTraining);
      continue;
    }
    for (const ConfigEntry& part : entry.value.entries) {
      const ParameterRule observer = {"type", nullptr, "observer", ""};
      if (part.key == "num_init_samples") {
        TRY(AsSamples(draft, part.value, observer));
      } else if (part.key == "type") {
        TRY(Take<ToEstimator>(draft, part.value, observer));
      } else {
        draft.ledger.Tell(part.value, Fate::changed, kOwnChoice);
      }
    }
  }
  return {};
}

const ParameterRules kLegacyQuantization = {
    {"initializer", AsInitializer},
    {"preset", Take<ToNncfPreset>, "preset"},
    {"quantize_inputs", Ignore, "", "inputs are quantized where a quantized layer reads them"},
    {"quantize_outputs", Refuse, "", "outputs stay in float"},
    {"weights", Change, "", "8 bits, symmetric, one scale a channel"},
    {"activations", Change, "", "8 bits; preset decides about symmetry"},
    {"scope_overrides", Refuse, "", "leave layers out with exclude"},
    {"overflow_fix", Change, "", "weights have 8 bits; static_int8 has reduce_range for processors without VNNI"},
    {"export_to_onnx_standard_ops", IgnoreBool, "", "hone writes what the runtimes read"},
    {"params", Ignore, "", kTraining},
    {"ignored_scopes", AsIgnoredScope},
    {"target_scopes", Refuse, "", "exclude names what is left out"},
    {"compression_lr_multiplier", Ignore, "", kTraining},
};

Result<> AsSparsityParams(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  for (const ConfigEntry& entry : node.entries) {
    if (entry.key == "sparsity_target" || entry.key == "multistep_sparsity_levels") {
      const ConfigNode& level =
          entry.value.IsList() && !entry.value.items.empty() ? entry.value.items.back() : entry.value;
      TRY_ASSIGN(const double share, importers::RealOf(level));
      draft.Set("sparsity", RealValue(share));
      draft.ledger.Tell(entry.value, Fate::done, "prune: sparsity");
    } else {
      draft.ledger.Tell(entry.value, Fate::ignored, kTraining);
    }
  }
  return {};
}

const ParameterRules kLegacySparsity = {
    {"sparsity_init", AsReal, "sparsity"},  {"params", AsSparsityParams},
    {"ignored_scopes", AsIgnoredScope},     {"target_scopes", Refuse, "", "exclude names what is left out"},
    {"initializer", Ignore, "", kTraining}, {"compression_lr_multiplier", Ignore, "", kTraining},
};

const PassRow kQuantizeRow = {"quantize", Level::onnx, "openvino_int8", Fate::done, "", {&kNncfQuantize}};
const PassRow kCompressRow = {"compress_weights", Level::onnx, "openvino_weights", Fate::done, "", {&kNncfCompress}};

const std::vector<PassRow>& LegacyAlgorithms() {
  static const std::vector<PassRow> rows = {
      {"quantization",
       Level::onnx,
       "openvino_int8",
       Fate::changed,
       "openvino_int8, after training instead of during it",
       {&kLegacyQuantization}},
      {"magnitude_sparsity",
       Level::onnx,
       "prune",
       Fate::changed,
       "prune, without training afterwards",
       {&kLegacySparsity}},
      {"const_sparsity", Level::onnx, "", Fate::done, "zeros stay zeros"},
      {"rb_sparsity", Level::onnx, "", Fate::impossible, "learned while training: pass prune goes by magnitude"},
      {"filter_pruning", Level::onnx, "", Fate::impossible,
       "filters are pruned while training; hone takes the trained model"},
      {"knowledge_distillation", Level::onnx, "", Fate::impossible, kTraining},
      {"movement_sparsity", Level::onnx, "", Fate::impossible, "learned while training: pass prune goes by magnitude"},
  };
  return rows;
}

Result<> AddNncfPass(Import& import, const PassRow& row, const ConfigNode& node, const std::string& what,
                     const ConfigNode* type) {
  TRY_ASSIGN(const Section section, Section::Open(node, what, "", import.ledger));
  TRY_ASSIGN(const Alternative alternative, DraftPass(import, row, section, type, {}, false));
  if (alternative.main) import.AddStage({*alternative.main});
  if (alternative.main && alternative.main->pass() == "openvino_int8") import.Calibrate("calibration.npz", 300);
  if (section.fields().empty()) import.ledger.Tell(node, Fate::done, row.pass);
  return {};
}

struct NncfState {
  Import& import;
  Ledger& ledger;
};

Result<> AddLegacyAlgorithm(NncfState& state, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map with the key algorithm");
  const ConfigNode* algorithm = node.Find("algorithm");
  if (algorithm == nullptr) return FailAt(node, fmt::format("'{}' has no key 'algorithm'", node.path));
  TRY_ASSIGN(const std::string wanted, TextOf(*algorithm));
  std::vector<std::string> known;
  for (const PassRow& row : LegacyAlgorithms()) {
    if (wanted == row.name) return AddNncfPass(state.import, row, node, "algorithm " + wanted, algorithm);
    known.emplace_back(row.name);
  }
  return FailAt(*algorithm,
                fmt::format("there is no algorithm '{}'{}", Printable(wanted, 80), DidYouMean(wanted, known)));
}

Result<> TakeCompression(NncfState& state, const ConfigNode& node) {
  if (!node.IsList()) return AddLegacyAlgorithm(state, node);
  if (node.items.empty()) state.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigNode& item : node.items) TRY(AddLegacyAlgorithm(state, item));
  return {};
}

Result<> TakeLegacyInput(NncfState& state, const ConfigNode& node) {
  if (node.IsList()) {
    for (const ConfigNode& item : node.items) TRY(TakeLegacyInput(state, item));
    return {};
  }
  if (!node.IsMap()) return WrongKind(node, "a map with the key sample_size");
  const ConfigNode* size = node.Find("sample_size");
  const ConfigNode* name = node.Find("keyword");
  if (size != nullptr) {
    TRY_ASSIGN(const std::vector<int64_t> dims, IntsOf(*size));
    if (name != nullptr && name->IsText()) {
      for (size_t d = 0; d < dims.size() && d < 16; ++d) {
        if (dims[d] >= 1) state.import.Pin(name->value.text(), d, dims[d]);
      }
      state.ledger.Tell(*size, Fate::done, "inputs");
      state.ledger.Tell(*name, Fate::done, "inputs");
    } else {
      const std::string text = fmt::format("pin the input to {} with --input NAME=..., or `inputs`", ValueText(*size));
      state.import.Give(text);
      state.ledger.Tell(*size, Fate::changed, text);
    }
  }
  state.ledger.Tell(node, Fate::ignored, "hone reads it from the model");
  return {};
}

template <Fate fate>
Result<> ToldNncf(NncfState& state, const ConfigNode& node) {
  state.ledger.Tell(node, fate, fate == Fate::ignored ? kTraining : "constraints: {accuracy_drop: X} bounds the loss");
  return {};
}

const std::vector<Rule<NncfState>> kLegacyKeys = {
    {"compression", TakeCompression},
    {"input_info", TakeLegacyInput},
    {"target_device",
     [](NncfState& state, const ConfigNode& node) -> Result<> {
       state.ledger.Tell(node, Fate::ignored, kTarget);
       return {};
     }},
    {"accuracy_aware_training", ToldNncf<Fate::changed>},
    {"log_dir", ToldNncf<Fate::ignored>},
    {"disable_shape_matching", ToldNncf<Fate::ignored>},
    {"bootstrapNAS", ToldNncf<Fate::ignored>},
    {"compression_lr_multiplier", ToldNncf<Fate::ignored>},
    {"eval_mode", ToldNncf<Fate::ignored>},
    {"model", ToldNncf<Fate::ignored>},
    {"pretrained", ToldNncf<Fate::ignored>},
    {"num_classes", ToldNncf<Fate::ignored>},
    {"batch_size", ToldNncf<Fate::ignored>},
    {"epochs", ToldNncf<Fate::ignored>},
    {"optimizer", ToldNncf<Fate::ignored>},
    {"dataset", ToldNncf<Fate::ignored>},
    {"workers", ToldNncf<Fate::ignored>},
    {"multiprocessing_distributed", ToldNncf<Fate::ignored>},
    {"save_freq", ToldNncf<Fate::ignored>},
    {"print_freq", ToldNncf<Fate::ignored>},
    {"model_params", ToldNncf<Fate::ignored>},
    {"$schema", ToldNncf<Fate::ignored>},
};

bool HasAny(const ConfigNode& root, const ParameterRules& rules) {
  return std::any_of(rules.begin(), rules.end(),
                     [&](const ParameterRule& rule) { return root.Find(rule.key) != nullptr; });
}

// Which of the two functions bare parameters belong to.
const PassRow* FunctionOf(const ConfigNode& root) {
  static constexpr const char* kOnlyCompress[] = {"ratio", "group_size",       "all_layers", "sensitivity_metric",
                                                  "awq",   "scale_estimation", "backup_mode"};
  if (std::any_of(std::begin(kOnlyCompress), std::end(kOnlyCompress),
                  [&](const char* key) { return root.Find(key) != nullptr; }))
    return &kCompressRow;
  const ConfigNode* mode = root.Find("mode");
  if (mode != nullptr && mode->IsText() && !Lower(mode->value.text()).starts_with("fp8")) return &kCompressRow;
  return HasAny(root, kNncfQuantize) ? &kQuantizeRow : nullptr;
}

}  // namespace

Result<Imported> ImportNncf(const ConfigNode& root, const ImportOptions& options) {
  static constexpr std::pair<const char*, const PassRow*> kFunctions[] = {
      {"quantize", &kQuantizeRow},
      {"quantize_with_accuracy_control", &kQuantizeRow},
      {"compress_weights", &kCompressRow}};
  Import import(root, options);
  bool any = false;
  for (const auto& [name, row] : kFunctions) {
    const ConfigNode* node = root.Find(name);
    if (node == nullptr) continue;
    any = true;
    TRY(AddNncfPass(import, *row, *node, name, nullptr));
  }
  if (!any && root.Find("compression") != nullptr) {
    any = true;
    NncfState state{import, import.ledger};
    TRY_ASSIGN(const Section top, Section::Open(root, "the configuration", "", import.ledger));
    TRY(ApplyRules(top, kLegacyKeys, state));
  }
  if (const PassRow* row = any ? nullptr : FunctionOf(root); row != nullptr) {
    any = true;
    TRY(AddNncfPass(import, *row, root, row->name, nullptr));
  }
  if (!any) {
    return FailAt(root,
                  "this is no configuration of NNCF: it has none of the keys quantize, compress_weights and "
                  "compression, and no parameter of theirs",
                  "`hone import --help` tells what can be imported");
  }
  import.SetBackend("openvino", "", {});
  import.Give("the model, on the command line");
  return import.Finish();
}

}  // namespace hone::importers
