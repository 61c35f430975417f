// Rules for Olive's passes that store weights in few bits: on ONNX files, in exporters, on PyTorch models, and by
// Neural Compressor.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "client/importers/olive_rules.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr const char* kTorch = "of the PyTorch implementation; hone quantizes the exported ONNX model";

// --- weights in few bits -------------------------------------------------------------------------

Result<Converted> ToBits(const ConfigNode& node) {
  TRY_ASSIGN(const Converted word, ToWord(node, {{"2", "2"},
                                                 {"3", "4", "4 bits"},
                                                 {"4", "4"},
                                                 {"8", "8"},
                                                 {"16", "8", "8 bits"},
                                                 {"int4", "4"},
                                                 {"uint4", "4"},
                                                 {"int8", "8"},
                                                 {"uint8", "8"}}));
  return Converted{ParseValue(word.value.text()), word.changed};
}

Result<Converted> ToAccuracyLevel(const ConfigNode& node) {
  TRY_ASSIGN(const int64_t level, IntOf(node, 0, 4));
  return Converted{IntValue(level)};
}

Result<> AsLmHead(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const bool wanted, BoolOf(node));
  if (!wanted) draft.ExcludePattern(".*lm_head.*");
  draft.ledger.Tell(
      node, Fate::done,
      fmt::format("{}: {}", draft.row.pass, wanted ? "takes the last product like the others" : "exclude"));
  return {};
}

Result<> AsEmbeds(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const bool wanted, BoolOf(node));
  if (wanted) draft.Set("embeddings", TextValue("int8"));
  draft.ledger.Tell(node, Fate::done, wanted ? "embeddings in 8 bits" : "embeddings in float");
  return {};
}

// {"NODE": {"bits": 8}}; FinishWeights reads it.
Result<> AsNodeBits(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map of nodes to their bits");
  for (const ConfigEntry& entry : node.entries) {
    if (!entry.value.IsMap()) return WrongKind(entry.value, "a map with the key 'bits'");
    for (const ConfigEntry& part : entry.value.entries) {
      if (part.key != "bits") {
        draft.ledger.TellUnknown(part.value, part.key, {"bits"});
      } else {
        TRY(ToBits(part.value));
      }
    }
  }
  draft.ledger.Tell(node, Fate::done, "nodes with other bits are left to a second pass");
  return {};
}

// The names that customized_weight_config gives other bits than `bits`.
std::vector<std::string> NodesWithOtherBits(const Draft& draft, int64_t bits) {
  std::vector<std::string> names;
  const auto given = draft.given.find("customized_weight_config");
  if (given == draft.given.end()) return names;
  for (const ConfigEntry& entry : given->second->entries) {
    const ConfigNode* own = entry.value.Find("bits");
    const Result<Converted> its = own == nullptr ? Result<Converted>(Converted{IntValue(bits)}) : ToBits(*own);
    if (its && its->value.integer() != bits) names.push_back(entry.key);
  }
  return names;
}

// One scale a column is a form of its own.
void SettleGroups(Draft& draft) {
  const std::optional<proto::Value> group = draft.Get("group_size");
  if (!group || group->integer() != 0) return;
  draft.Set("form", TextValue("dequantize"));
  if (draft.pass == "weights_int8") draft.Forget("group_size");
}

Result<> FinishWeights(Draft& draft) {
  const std::optional<proto::Value> given_bits = draft.Get("bits");
  const int64_t bits = given_bits ? given_bits->integer() : 4;
  draft.Forget("bits");
  const std::vector<std::string> others = NodesWithOtherBits(draft, bits);
  if (!others.empty()) {
    Draft second = draft;
    second.pass = bits == 8 ? "weights_int4" : "weights_int8";
    second.Set("form", TextValue("matmulnbits"));
    for (const char* parameter : {"accuracy_level", "embeddings", "damping", "act_order", "sequential", "ratio"})
      second.Forget(parameter);
    if (second.pass == "weights_int8" && second.Get("method") && second.Get("method")->text() == "gptq")
      second.Forget("method");
    TRY_ASSIGN(proto::PassChoice choice, second.Choice());
    draft.after.push_back(std::move(choice));
    draft.ExcludeNames(others);
  }
  if (bits == 2) draft.Set("bits", IntValue(2));
  if (bits != 8) {
    draft.pass = "weights_int4";
    SettleGroups(draft);
    return {};
  }
  draft.pass = "weights_int8";
  draft.SetIfAbsent("form", TextValue("matmulnbits"));
  SettleGroups(draft);
  for (const char* key : {"accuracy_level", "int4_accuracy_level"}) {
    const auto given = draft.given.find(key);
    const std::optional<proto::Value> level = draft.Get("accuracy_level");
    if (given == draft.given.end() || !level || level->integer() == 0) continue;
    draft.ledger.Amend(*given->second, Fate::changed, "ONNX Runtime chooses what 8-bit blocks are multiplied in");
  }
  for (const char* parameter : {"accuracy_level", "embeddings", "damping", "act_order", "sequential", "ratio"})
    draft.Forget(parameter);
  const std::optional<proto::Value> method = draft.Get("method");
  if (method && (method->text() == "gptq" || method->text() == "awq")) draft.Set("method", TextValue("mse"));
  return {};
}

const ParameterRules kBlocks = {
    {"bits", Take<ToBits>, "bits"},
    {"block_size", AsGroupSize, "group_size"},
    {"is_symmetric", AsBool, "symmetric"},
    {"accuracy_level", Take<ToAccuracyLevel>, "accuracy_level"},
    {"axis", Ignore, "", "blocks lie along the dimension that is summed over, as the kernels want them"},
    {"nodes_to_exclude", AsExcluded},
    {"nodes_to_include", AsIncluded},
    {"customized_weight_config", AsNodeBits},
    {"algorithm", Ignore, "", "the pass has one"},
    {"op_types_to_quantize", Change, "", "products, and tables where embeddings is set"},
    {"quant_axes", Ignore, "", "blocks lie along the dimension that is summed over"},
};

// Quantizers that work on the PyTorch model before its export: the same rounding on the exported model.
const ParameterRules kTorchWeights = {
    {"bits", Take<ToBits>, "bits"},
    {"group_size", AsGroupSize, "group_size"},
    {"block_size", AsGroupSize, "group_size"},
    {"sym", AsBool, "symmetric"},
    {"lm_head", AsLmHead},
    {"embeds", AsEmbeds},
    {"damp_percent", AsReal, "damping"},
    {"desc_act", AsBool, "act_order"},
    {"true_sequential", AsBool, "sequential"},
    {"static_groups", IgnoreBool, "", kTorch},
    {"overrides", Change, "",
     "one number of bits for all; leave layers out with exclude, or give them a pass of their own"},
    {"dynamic", Change, "",
     "one number of bits for all; leave layers out with exclude, or give them a pass of their own"},
    {"rotation", Refuse, "", "hone rotates no weights; method awq comes nearest"},
    {"nsamples", Ignore, "", "data.calibration.samples is what is used"},
    {"batch_size", Ignore, "", "hone calibrates sample by sample"},
    {"seqlen", Ignore, "", "the samples have their length"},
    {"device", Ignore, "", "hone quantizes on the processor"},
    {"input_model_dtype", Ignore, "", kTorch},
    {"layers_block_name", Ignore, "", kTorch},
    {"outside_layer_modules", Ignore, "", kTorch},
    {"inside_layer_modules", Ignore, "", kTorch},
    {"module_name_preceding_first_block", Ignore, "", kTorch},
    {"modules_to_not_convert", AsExcluded},
    {"modules_not_to_convert", AsExcluded},
    {"zero_point", AsOpposite, "symmetric"},
    {"q_group_size", AsGroupSize, "group_size"},
    {"w_bit", Take<ToBits>, "bits"},
    {"version", Ignore, "", kTorch},
    {"duo_scaling", Ignore, "", kTorch},
    {"export_compatible", Ignore, "", kTorch},
    {"pack_model_for_onnx_conversion", Ignore, "", kTorch},
};

Result<> AsBnbType(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const Converted type, ToWord(node, {{"nf4", "nf4"}, {"fp4", "fp4"}, {"1", "nf4"}, {"0", "fp4"}}));
  const bool normal = type.value.text() == "nf4";
  draft.ledger.Tell(node, normal ? Fate::done : Fate::changed,
                    normal ? "weights_int4: form=bnb4" : "nf4, the normal floats: hone has no fp4");
  return {};
}

const ParameterRules kBnb4 = {
    {"precision", AsBnbType},
    {"quant_type", AsBnbType},
    {"quantized_modules", Change, "", "every product; leave nodes out with exclude"},
    {"nodes_to_exclude", AsExcluded},
};

// --- exporters -----------------------------------------------------------------------------------

Result<> AsBuilderTypes(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> types, TextsOf(node));
  const bool tables = std::find(types.begin(), types.end(), "Gather") != types.end();
  if (tables) draft.Set("embeddings", TextValue("int4"));
  draft.ledger.Tell(node, Fate::done, tables ? "weights_int4, with embeddings=int4" : "weights_int4");
  return {};
}

Result<> AsBuilderPrecision(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY(ToWord(
      node,
      {{"int4", "int4"}, {"int8", "int8"}, {"fp16", "fp16"}, {"fp32", "fp32"}, {"bf16", "bf16"}, {"int", "int4"}}));
  draft.ledger.Tell(node, Fate::changed, "the export's");
  return {};
}

Result<Converted> ToBuilderMethod(const ConfigNode& node) {
  static const std::vector<Word> kWords = {
      {"default", "rtn"},
      {"rtn", "rtn"},
      {"rtn_last", "rtn", "rtn for every layer"},
      {"k_quant", "mse"},
      {"k_quant_mixed", "mse", "mse for every layer; sensitive layers get 8 bits by ratio"},
      {"k_quant_last", "mse", "mse for every layer; leave the last one out with exclude"},
      {"k_quant_linear", "mse", "mse for every layer"},
      {"hqq", "hqq"}};
  return ToWord(node, kWords);
}

constexpr const char* kExport = "of the export; give the ONNX file exported that way";

const ParameterRules kBuilder = {
    {"precision", AsBuilderPrecision},
    {"int4_block_size", AsGroupSize, "group_size"},
    {"int4_is_symmetric", AsBool, "symmetric"},
    {"int4_accuracy_level", Take<ToAccuracyLevel>, "accuracy_level"},
    {"int4_algo_config", Take<ToBuilderMethod>, "method"},
    {"int4_op_types_to_quantize", AsBuilderTypes},
    {"int4_nodes_to_exclude", AsExcluded},
    {"use_qdq", Change, "", "form=dequantize writes such pairs"},
    {"metadata_only", IgnoreBool, "", "genai_config.json stays as the export wrote it"},
    {"search", Change, "", "stays in the genai_config.json of the export"},
    {"extra_options", Change, "", kExport},
    {"use_8bits_moe", Change, "", kExport},
    {"use_webgpu_fp32", Change, "", kExport},
    {"use_cuda_bf16", Change, "", kExport},
    {"include_hidden_states", Change, "", kExport},
    {"exclude_embeds", Change, "", kExport},
    {"exclude_lm_head", Change, "", kExport},
    {"enable_cuda_graph", Ignore, "", "of the runtime on CUDA devices"},
    {"runtime", Change, "", kExport},
    {"components_to_export", Change, "", kExport},
    {"components", Change, "", kExport},
};

// A checkpoint that was named is built here, in the precision that the export would have, or in floats where an earlier
// pass quantizes the weights.
void BuildHere(Draft& draft, const std::string& precision, const ConfigNode* given) {
  proto::PassChoice& build = *draft.import.build;
  const bool few_bits = precision.starts_with("int") && draft.import.WeightStage() == nullptr;
  const bool half = precision == "fp16" || precision == "bf16";
  const bool decoder = build.pass() == "build_decoder";
  const std::string word = few_bits && decoder ? (precision == "int8" ? "int8" : "int4") : half ? "f16" : "f32";
  SetChoice(build, "precision", TextValue(word));
  for (const char* parameter : {"group_size", "symmetric", "accuracy_level", "method"}) {
    const std::optional<proto::Value> value = draft.Get(parameter);
    if (value && few_bits && decoder) SetChoice(build, parameter, *value);
  }
  if (given != nullptr)
    draft.ledger.Amend(*given, Fate::changed, fmt::format("{}: precision={}", build.pass(), word));
}

Result<> FinishBuilder(Draft& draft) {
  const auto given = draft.given.find("precision");
  const std::string precision = given == draft.given.end() ? "fp32" : Lower(ToText(given->second->value));
  if (draft.import.build) {
    BuildHere(draft, precision, given == draft.given.end() ? nullptr : given->second);
    draft.pass = "";
    for (const char* parameter : {"group_size", "symmetric", "accuracy_level", "method", "embeddings", "bits"})
      draft.Forget(parameter);
    return {};
  }
  draft.import.Give("the model as an ONNX file, exported in float32 (or float16)");
  const bool few_bits = precision.starts_with("int");
  if (few_bits && draft.import.WeightStage() == nullptr) {
    draft.SetIfAbsent("group_size", IntValue(32));
    draft.Set("bits", IntValue(precision == "int8" ? 8 : 4));
    TRY(FinishWeights(draft));
    draft.ledger.Amend(*given->second, Fate::changed, fmt::format("{} on the exported model", draft.pass));
    return {};
  }
  for (const auto& [key, node] : draft.given) {
    if (!key.starts_with("int4_")) continue;
    draft.ledger.Amend(*node, Fate::ignored,
                       few_bits ? "the weights are quantized by an earlier pass" : "of 4-bit exports alone");
  }
  draft.pass = precision == "fp16" ? "fp16" : "";
  for (const char* parameter : {"group_size", "symmetric", "accuracy_level", "method", "embeddings", "bits"})
    draft.Forget(parameter);
  if (draft.pass == "fp16") draft.Set("keep_io_types", BoolValue(false));
  return {};
}

// --- Neural Compressor within Olive --------------------------------------------------------------

Result<> AsApproach(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const Converted approach, ToWord(node, {{"static", "static_int8"},
                                                     {"dynamic", "dynamic_int8"},
                                                     {"weight_only", "weights_int4"},
                                                     {"quant_aware_training", "static_int8", "without training"}}));
  draft.pass = approach.value.text();
  draft.ledger.Tell(node, Fate::changed, draft.pass);
  return {};
}

Result<> AsWeightOnly(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  for (const ConfigEntry& entry : node.entries) {
    const ParameterRule rule = {"", nullptr, entry.key == "bits" ? "bits" : "group_size", ""};
    if (entry.key == "bits") {
      TRY(Take<ToBits>(draft, entry.value, rule));
    } else if (entry.key == "group_size") {
      TRY(AsGroupSize(draft, entry.value, rule));
    } else if (entry.key == "algorithm") {
      TRY_ASSIGN(const Converted method,
                 ToWord(entry.value, {{"gptq", "gptq"}, {"rtn", "rtn"}, {"awq", "awq"}, {"teq", "mse", "mse"}}));
      draft.Set("method", method.value);
      draft.ledger.Tell(entry.value, Fate::done, "weights_int4: method");
    } else {
      draft.ledger.Tell(entry.value, Fate::changed, "hone chooses it by itself");
    }
  }
  return {};
}

const ParameterRules kInc = {
    {"approach", AsApproach},
    {"quant_format", Ignore, "", "hone writes QuantizeLinear and DequantizeLinear"},
    {"quant_level", Ignore, "", "the search is the recipe's"},
    {"weight_only_config", AsWeightOnly},
    {"bits", Take<ToBits>, "bits"},
    {"algorithm", Change, "", "rtn"},
    {"device", Ignore, "", "the target decides where the model runs"},
    {"backend", Ignore, "", "the target decides where the model runs"},
    {"domain", Ignore, "", "hone looks at the graph"},
    {"workspace", Ignore, "", "hone keeps its state beside the result"},
    {"recipes", Change, "", "hone's own choices; smooth_alpha and bias_correction are parameters of static_int8"},
    {"reduce_range", AsBool, "reduce_range"},
    {"excluded_precisions", Ignore, "", "the recipe names what is tried"},
    {"use_distributed_tuning", Ignore, "", "a fleet shares the search by itself"},
    {"diagnosis", Ignore, "", "`hone sensitivity` tells what each layer loses"},
    {"op_type_dict", Change, "", "op_types and exclude choose operators"},
    {"op_name_dict", Change, "", "exclude leaves nodes out"},
    {"tuning_criterion", Change, "", "search.trials and search.time bound the search"},
    {"metric", Change, "", "hone judges by the recipe's accuracy"},
    {"calibration_sampling_size", Change, "", "data.calibration.samples"},
    {"dataloader_func", Change, "", kNoPython},
    {"dataloader_func_kwargs", Change, "", kNoPython},
};

Result<> FinishInc(Draft& draft) {
  if (draft.pass == "weights_int4") {
    draft.Forget("reduce_range");
    return FinishWeights(draft);
  }
  for (const char* parameter : {"bits", "group_size", "method"}) draft.Forget(parameter);
  return {};
}

}  // namespace

const WeightRules& OliveWeightRules() {
  static const WeightRules rules = {&kBlocks, &kTorchWeights, &kBnb4,        &kBuilder,
                                    &kInc,    FinishWeights,  FinishBuilder, FinishInc};
  return rules;
}

}  // namespace hone::importers
