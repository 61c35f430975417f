// Rules for Olive's passes that rewrite a graph or set a session up.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "client/importers/olive_rules.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

// --- float16 -------------------------------------------------------------------------------------

Result<> AsKeepTypes(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  if (!node.IsList()) return AsBool(draft, node, rule);
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(node));
  draft.Set(rule.to, BoolValue(!names.empty()));
  draft.ledger.Tell(node, Fate::changed, "fp16: keep_io_types, of all inputs and outputs");
  return {};
}

Result<> AsOnlyTypes(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY(TextsOf(node));
  if (IsOff(node)) {
    draft.ledger.Tell(node, Fate::ignored, "nothing is asked for");
    return {};
  }
  draft.pass = "";
  draft.ledger.Tell(node, Fate::ignored,
                    "the pass is left out: with these operators alone in half precision next to nothing would be, and "
                    "float32 is the more exact");
  return {};
}

const ParameterRules kHalf = {
    {"keep_io_types", AsKeepTypes, "keep_io_types"},
    {"op_block_list", AsTypes, "keep_ops"},
    {"op_include_list", AsOnlyTypes},
    {"node_block_list", AsTypes, "keep_nodes"},
    {"node_include_list", AsOnlyTypes},
    {"min_positive_val", Ignore, "", "hone moves no value into float16's range but those that round to zero"},
    {"max_finite_val", Ignore, "", "hone keeps nodes that leave float16's range in float32 instead of clipping them"},
    {"use_symbolic_shape_infer", IgnoreBool, "", "hone infers the shapes by itself"},
    {"atol", Ignore, "", "accuracy is the recipe's"},
};

// --- graph passes --------------------------------------------------------------------------------

constexpr const char* kFusedLater = "ONNX Runtime fuses it when it loads the model";

const ParameterRules kFusionOptions = {
    {"enable_attention", AsBool, "attention"},
    {"enable_skip_layer_norm", AsBool, "skip_layer_norm"},
};

Result<> AsFusionOptions(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map of truth values");
  if (node.entries.empty()) draft.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : node.entries) {
    const auto rule = std::find_if(kFusionOptions.begin(), kFusionOptions.end(),
                                   [&](const auto& each) { return entry.key == each.key; });
    if (rule != kFusionOptions.end()) {
      TRY(rule->take(draft, entry.value, *rule));
    } else {
      draft.ledger.Tell(entry.value, Fate::ignored, kFusedLater);
    }
  }
  return {};
}

Result<> AsLevel(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const int64_t level, IntOf(node, 0, 99));
  draft.ledger.Tell(node, Fate::done,
                    level == 0   ? "no ort_optimize"
                    : level == 1 ? "ort_optimize: level=basic"
                                 : "ort_optimize: level=extended");
  return {};
}

Result<> AsSwitch(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  TRY_ASSIGN(const bool on, BoolOf(node));
  draft.ledger.Tell(node, Fate::done, on ? rule.text : fmt::format("not {}", rule.text));
  return {};
}

const ParameterRules kTransformers = {
    {"model_type", Ignore, "", "hone finds the patterns in the graph"},
    {"num_heads", Ignore, "", "hone finds the heads in the graph"},
    {"num_key_value_heads", Ignore, "", "hone finds the heads in the graph"},
    {"hidden_size", Ignore, "", "hone finds the sizes in the graph"},
    {"optimization_options", AsFusionOptions},
    {"opt_level", AsLevel},
    {"use_gpu", IgnoreBool, "", "the target decides where the model runs"},
    {"only_onnxruntime", AsSwitch, "", "ONNX Runtime's own optimizer alone"},
    {"float16", AsSwitch, "", "pass fp16"},
    {"keep_io_types", AsKeepTypes, "keep_io_types"},
    {"force_fp32_ops", AsTypes, "keep_ops"},
    {"force_fp32_nodes", AsTypes, "keep_nodes"},
    {"force_fp16_inputs", Ignore, "", "fp16 keeps in float32 what has no float16 form"},
    {"use_gqa", Refuse, "", "hone fuses no GroupQueryAttention; export the model with it"},
    {"input_int32", Refuse, "", "hone keeps the types of inputs; export the model with int32 inputs"},
};

bool GivenTrue(const Draft& draft, const char* key) {
  const auto given = draft.given.find(key);
  return given != draft.given.end() && BoolOf(*given->second).value_or(false);
}

proto::PassChoice FixedPass(const std::string& pass,
                            const std::vector<std::pair<std::string, proto::Value>>& parameters) {
  proto::PassChoice choice;
  choice.set_pass(pass);
  for (const auto& [name, value] : parameters) {
    proto::Domain& domain = *choice.add_parameters();
    domain.set_name(name);
    *domain.add_choices() = value;
  }
  return choice;
}

Result<> FinishTransformers(Draft& draft) {
  const bool fuse = !GivenTrue(draft, "only_onnxruntime");
  const auto level_node = draft.given.find("opt_level");
  // Olive leaves the level to the model's type: 1 for nearly all of them.
  const int64_t level =
      level_node == draft.given.end() ? (fuse ? 0 : 1) : IntOf(*level_node->second, 0, 99).value_or(0);
  if (fuse) {
    draft.before.push_back(
        FixedPass("fuse_transformer", {{"attention", draft.Get("attention").value_or(BoolValue(true))},
                                       {"skip_layer_norm", draft.Get("skip_layer_norm").value_or(BoolValue(true))}}));
  }
  if (level > 0)
    draft.before.push_back(FixedPass("ort_optimize", {{"level", TextValue(level == 1 ? "basic" : "extended")}}));
  draft.Forget("attention");
  draft.Forget("skip_layer_norm");
  if (GivenTrue(draft, "float16")) {
    draft.pass = "fp16";
    draft.SetIfAbsent("keep_io_types", BoolValue(true));
    return {};
  }
  draft.pass = "";
  for (const char* parameter : {"keep_io_types", "keep_ops", "keep_nodes"}) draft.Forget(parameter);
  for (const char* key : {"keep_io_types", "force_fp32_ops", "force_fp32_nodes"}) {
    if (const auto given = draft.given.find(key); given != draft.given.end()) {
      draft.ledger.Amend(*given->second, Fate::ignored, "of float16 alone");
    }
  }
  return {};
}

const ParameterRules kPeephole = {
    {"onnxscript_optimize", IgnoreBool, "", "simplify has its own rewrites"},
    {"onnxoptimizer_optimize", IgnoreBool, "", "simplify has its own rewrites"},
    {"fuse_reshape_operations", IgnoreBool, "", "simplify makes one Reshape of two"},
    {"fix_com_microsoft_opset", IgnoreBool, "", "hone writes the operator sets that a model uses"},
    {"cast_chain_elimination", AsBool, "cast_chains"},
    {"passes", Ignore, "", "simplify has its own rewrites"},
};

// AI Toolkit's templates have words like FIXED_VALUES for what a person fills in.
bool IsPlaceholder(const ConfigNode& node) {
  const std::string word = node.IsText() ? node.value.text() : "";
  return word.size() > 1 && word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == std::string::npos;
}

Result<> PinByName(Draft& draft) {
  const ConfigNode* names_node = draft.given.at("dim_param");
  const ConfigNode* sizes_node = draft.given.contains("dim_value") ? draft.given.at("dim_value") : nullptr;
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(*names_node));
  if (sizes_node != nullptr && IsPlaceholder(*sizes_node)) {
    draft.import.Give(fmt::format("{} of {}", ValueText(*sizes_node), sizes_node->path));
    draft.ledger.Amend(*sizes_node, Fate::changed, "a word to be filled in: pin the dimensions with `inputs`");
    return {};
  }
  if (sizes_node == nullptr)
    return FailAt(*names_node, fmt::format("'{}' needs dim_value beside it", names_node->path));
  TRY_ASSIGN(const std::vector<int64_t> sizes, IntsOf(*sizes_node));
  if (names.size() != sizes.size()) {
    return FailAt(*names_node, fmt::format("'{}' has {} names and dim_value {} sizes", names_node->path, names.size(),
                                           sizes.size()));
  }
  std::vector<std::string> unsettled;
  for (size_t i = 0; i < names.size(); ++i) {
    if (sizes[i] < 1) return FailAt(*sizes_node, fmt::format("'{}' must have sizes of at least 1", sizes_node->path));
    const auto known = draft.import.named_dimensions.find(names[i]);
    if (known == draft.import.named_dimensions.end()) {
      unsettled.push_back(fmt::format("{}={}", names[i], sizes[i]));
      continue;
    }
    for (const auto& [input, dimension] : known->second)
      draft.import.Pin(input, static_cast<size_t>(dimension), sizes[i]);
  }
  if (unsettled.empty()) return {};
  const std::string text = fmt::format("pin the dimensions {} of the model's inputs with --input NAME=..., or `inputs`",
                                       Join(unsettled, ", "));
  draft.import.Give(text);
  draft.ledger.Amend(*names_node, Fate::changed, "fix_shapes; " + text);
  draft.ledger.Amend(*sizes_node, Fate::changed, "fix_shapes; " + text);
  return {};
}

const ParameterRules kFixedShape = {
    {"dim_param", TakeShapes},
    {"dim_value", TakeShapes},
    {"input_name", TakeShapes},
    {"input_shape", TakeShapes},
};

Result<> FinishFixedShape(Draft& draft) {
  if (draft.given.contains("dim_param")) TRY(PinByName(draft));
  return PinByShape(draft, "input_name", "input_shape");
}

const ParameterRules kOpset = {{"target_opset", AsInt, "version"}};

// Blocks that a pass of the recipe makes are made in that form at once; those that the file has are turned.
Result<> FinishToPairs(Draft& draft) {
  proto::Stage* stage = draft.import.WeightStage();
  const auto excluded = draft.given.find("nodes_to_exclude");
  if (stage == nullptr || (excluded != draft.given.end() && !IsOff(*excluded->second))) return {};
  draft.pass = "";
  for (const char* key : {"use_int4", "use_signed_int"}) {
    if (const auto given = draft.given.find(key); given != draft.given.end())
      draft.ledger.Amend(*given->second, Fate::ignored, "form=dequantize: symmetric codes are signed, others unsigned");
  }
  for (proto::PassChoice& option : *stage->mutable_options()) SetChoice(option, "form", TextValue("dequantize"));
  return {};
}

// Unsigned codes have zero points.
Result<> AsSignedCodes(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const bool is_signed, BoolOf(node));
  if (is_signed) draft.Set("zero_points", BoolValue(false));
  draft.ledger.Tell(node, Fate::done, is_signed ? "signed codes, without zero points" : "unsigned codes");
  return {};
}

const ParameterRules kToPairs = {
    {"use_transpose_op", IgnoreBool, "", "weights are stored as MatMul wants them"},
    {"use_int4", AsSignedCodes},
    {"use_signed_int", AsSignedCodes},
    {"add_zero_point", IgnoreBool, "", "zero points of 0 change nothing"},
    {"nodes_to_exclude", AsExcluded},
};

const ParameterRules kQnnPreprocess = {
    {"fuse_layernorm", IgnoreBool, "", "the runtimes fuse it when they load the model"},
    {"inputs_to_make_channel_last", Refuse, "", "the model keeps the layout of its inputs; feed it that"},
    {"outputs_to_make_channel_last", Refuse, "", "the model keeps the layout of its outputs"},
};

const ParameterRules kIoTypes = {
    {"name_pattern", Change, "", "outputs keep the types of the file that you give"},
    {"source_dtype", Change, "", "outputs keep the types of the file that you give"},
    {"target_dtype", Change, "", "outputs keep the types of the file that you give"},
};

const ParameterRules kDiscrepancy = {
    {"reference_model_path", Ignore, "", "hone compares every candidate with the original"},
    {"max_mae", Change, "", "constrain max_error, mse, sqnr_db or cosine"},
    {"max_elements_above_0_1", Change, "", "constrain max_error, mse, sqnr_db or cosine"},
    {"max_elements_above_0_01", Change, "", "constrain max_error, mse, sqnr_db or cosine"},
    {"genai_model_path", Ignore, "", "hone generates no text"},
    {"generate_prompt", Ignore, "", "hone generates no text"},
    {"generate_max_new_tokens", Ignore, "", "hone generates no text"},
    {"min_longest_common_tokens", Ignore, "", "hone generates no text"},
};

// --- session parameters --------------------------------------------------------------------------

Result<Converted> ToExecutionMode(const ConfigNode& node) {
  return ToWord(
      node, {{"0", "sequential"}, {"1", "parallel"}, {"ORT_SEQUENTIAL", "sequential"}, {"ORT_PARALLEL", "parallel"}});
}
Result<Converted> ToOptimization(const ConfigNode& node) {
  return ToWord(node, {{"0", "disabled"}, {"1", "basic"}, {"2", "extended"}, {"3", "layout"}, {"99", "all"}});
}
Result<Converted> ToThreads(const ConfigNode& node) {
  TRY_ASSIGN(const int64_t threads, IntOf(node, 0, 1024));
  if (threads == 0) return Converted{{}, "0 leaves the threads to the runtime"};
  return Converted{IntValue(threads)};
}

template <Convert convert>
Result<> AsSetting(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  std::vector<proto::Value> values;
  for (const ConfigNode* each : ValuesOf(node)) {
    TRY_ASSIGN(const Converted converted, convert(*each));
    if (converted.value.kind_case() != proto::Value::KIND_NOT_SET) values.push_back(converted.value);
  }
  if (!values.empty()) draft.import.SetBackend("onnxruntime", rule.to, values);
  draft.ledger.Tell(node, Fate::done, fmt::format("backends.onnxruntime.{}", rule.to));
  return {};
}

Result<> AsSessionConfig(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  return ImportInferenceSettings(draft.import, node);
}

Result<> AsProviders(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(node));
  for (const std::string& name : names) {
    const ProviderRow* provider = FindProvider(name);
    if (provider == nullptr)
      return FailAt(node, fmt::format("'{}': there is no execution provider '{}'", node.path, Printable(name, 80)));
    draft.import.AddTarget({TagFor(*provider, "")});
    draft.import.SetBackend(provider->backend, "", {});
  }
  draft.ledger.Tell(node, Fate::done, "targets");
  return {};
}

const ParameterRules kTuning = {
    {"device", Ignore, "", "the target decides where the model runs"},
    {"cpu_cores", AsSetting<ToThreads>, "intra_op_threads"},
    {"io_bind", IgnoreBool, "", "hone binds inputs and outputs in every measurement"},
    {"enable_cuda_graph", Refuse, "", "hone has no CUDA backend"},
    {"trt_fp16_enable", Refuse, "", "hone has no TensorRT backend; the pass fp16 is there"},
    {"providers_list", AsProviders},
    {"provider_options_list", Refuse, "", "hone has no options of providers"},
    {"execution_mode_list", AsSetting<ToExecutionMode>, "execution_mode"},
    {"opt_level_list", AsSetting<ToOptimization>, "graph_optimization"},
    {"intra_thread_num_list", AsSetting<ToThreads>, "intra_op_threads"},
    {"inter_thread_num_list", AsSetting<ToThreads>, "inter_op_threads"},
    {"execution_mode", AsSetting<ToExecutionMode>, "execution_mode"},
    {"opt_level", AsSetting<ToOptimization>, "graph_optimization"},
    {"extra_session_config", AsSessionConfig},
    {"force_evaluate_other_eps", IgnoreBool, "", "every target of the recipe is measured"},
    {"disable_force_evaluate_other_eps", IgnoreBool, "", "every target of the recipe is measured"},
    {"enable_profiling", IgnoreBool, "", "hone keeps what the runtime executed with every measurement"},
    {"data_config", Ignore, "", "candidates are timed on the evaluation data, or on seeded inputs"},
    {"dataloader_func", Change, "", kNoPython},
    {"input_names", Ignore, "", "hone reads the inputs from the model"},
    {"input_shapes", Change, "", "pin free dimensions with `inputs`"},
    {"input_types", Ignore, "", "hone reads the inputs from the model"},
    {"batch_size", Ignore, "", "the samples have their size"},
};

Result<> FinishTuning(Draft& draft) {
  static constexpr const char* kOwn[] = {
      "cpu_cores",      "execution_mode_list", "opt_level_list",      "intra_thread_num_list", "inter_thread_num_list",
      "execution_mode", "opt_level",           "extra_session_config"};
  if (std::any_of(std::begin(kOwn), std::end(kOwn), [&](const char* key) { return draft.given.contains(key); }))
    return {};
  draft.import.SetBackend("onnxruntime", "allow_spinning", {BoolValue(true), BoolValue(false)});
  draft.import.SetBackend("onnxruntime", "graph_optimization",
                          {TextValue("all"), TextValue("extended"), TextValue("basic")});
  return {};
}

}  // namespace

const GraphRules& OliveGraphRules() {
  static const GraphRules rules = {
      &kHalf,    &kTransformers, &kPeephole, &kFixedShape,       &kOpset,          &kToPairs,     &kQnnPreprocess,
      &kIoTypes, &kDiscrepancy,  &kTuning,   FinishTransformers, FinishFixedShape, FinishToPairs, FinishTuning};
  return rules;
}

Result<> TakeShapes(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  draft.ledger.Tell(node, Fate::done, "inputs");
  return {};
}

Result<> PinByShape(Draft& draft, const char* names_key, const char* shapes_key) {
  const ConfigNode* shapes = draft.given.contains(shapes_key) ? draft.given.at(shapes_key) : nullptr;
  const ConfigNode* names_node = draft.given.contains(names_key) ? draft.given.at(names_key) : nullptr;
  if (shapes == nullptr) return {};
  if (!shapes->IsList()) return WrongKind(*shapes, "a list of shapes");
  std::vector<std::string> names;
  if (names_node != nullptr) {
    TRY_ASSIGN(names, TextsOf(*names_node));
  } else if (draft.import.options.model != nullptr) {
    for (const proto::TensorInfo& input : draft.import.options.model->inputs()) names.push_back(input.name());
  }
  if (names.size() != shapes->items.size()) {
    const std::string text =
        "pin them with --input NAME=..., or `inputs`: which input has which shape is the model's to say";
    draft.import.Give(fmt::format("the input shapes {}: {}", ValueText(*shapes), text));
    draft.ledger.Amend(*shapes, Fate::changed, text);
    return {};
  }
  for (size_t i = 0; i < names.size(); ++i) {
    TRY_ASSIGN(const std::vector<int64_t> dims, IntsOf(shapes->items[i]));
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] >= 1) draft.import.Pin(names[i], d, dims[d]);
    }
  }
  return {};
}

}  // namespace hone::importers
