// Olive's passes and what takes their place in hone: one row a pass. The rules for their parameters are in
// olive_*_rules.cc.
#include <algorithm>

#include "client/importers/olive_parts.h"
#include "client/importers/olive_rules.h"

namespace hone::importers {
namespace {

constexpr const char* kGiveOnnx =
    "the ONNX file that you give takes its place, or hone's own build of a checkpoint";
constexpr const char* kOneFile = "hone keeps large weights in files beside the model by itself";

// --- what every pass may have --------------------------------------------------------------------

const ParameterRules kCommon = {
    {"save_as_external_data", IgnoreBool, "", kOneFile},
    {"all_tensors_to_one_file", IgnoreBool, "", kOneFile},
    {"external_data_name", Ignore, "", kOneFile},
    {"size_threshold", Ignore, "", kOneFile},
    {"convert_attribute", IgnoreBool, "", kOneFile},
    {"disable_search", IgnoreBool, "", "only what is given as a list is searched over"},
    {"clean_run_cache", IgnoreBool, "", "hone names what it builds by content: nothing stale is found"},
    {"output_name", Ignore, "", "hone writes the best model to the folder that you name"},
    {"host", Ignore, "", "every worker that has the pass may build it"},
    {"target", Ignore, "", "targets are the recipe's"},
    {"run_on_target", Ignore, "", "every worker that has the pass may build it"},
    {"evaluator", Change, "", "hone judges every candidate by the recipe's objectives"},
    {"user_script", Change, "", kNoPython},
    {"script_dir", Change, "", kNoPython},
    {"reuse_cache", IgnoreBool, "", "hone names what it builds by content and reuses it"},
};

Result<> AsData(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  if (draft.import.take_data) return draft.import.take_data(node);
  return Change(draft, node, rule);
}

const ParameterRules kData = {
    {"data_config", AsData, "", kNoPython},
    {"calibration_data_config", AsData, "", kNoPython},
    {"data_dir", Change, "", "the samples come from an .npz beside the recipe"},
};

// --- what hone does not do, and what to do instead -----------------------------------------------

constexpr const char* kTrain = "hone trains nothing: train with Olive or PEFT, export, and give hone the ONNX file";
constexpr const char* kSplit =
    "a search works on one model: cut its result with hone apply MODEL --pass split:parts=N -o FOLDER, or at named "
    "values";
constexpr const char* kRotate =
    "hone rotates no weights; weights_int4 with method=awq or gptq comes nearest, or run the pass with Olive before "
    "the export";
constexpr const char* kQuark =
    "AMD Quark is a Python program: run it with Olive and give hone the ONNX file, or use static_int8 or weights_int4";
constexpr const char* kVendor =
    "a vendor's compiler, which hone does not run: give its Olive pass the model that hone writes";
constexpr const char* kPrune = "hone zeroes weights of an ONNX model: pass prune (2:4 or a share)";
constexpr const char* kGone = "Olive itself removed the pass";
constexpr const char* kMetadata = "it changes no number; what was done stands in result.json";

}  // namespace

const std::vector<const ParameterRules*>& OliveCommonRules() {
  static const std::vector<const ParameterRules*> tables = {&kCommon};
  return tables;
}

const std::vector<PassRow>& OlivePasses() {
  using enum Level;
  const WeightRules& weights = OliveWeightRules();
  const GraphRules& graph = OliveGraphRules();
  const OpenvinoRules& ir = OliveOpenvinoRules();
  static const std::vector<SearchDefault> kStaticSearch = {
      {"precision", "weights", "int8,uint8"},
      {"activation_type", "activations", "int8,uint8"},
      {"per_channel", "per_channel", "true,false"},
      {"reduce_range", "reduce_range", "true,false"},
      {"calibrate_method", "observer", "minmax,entropy,percentile"}};
  static const std::vector<SearchDefault> kDynamicSearch = {{"precision", "weights", "int8,uint8"},
                                                            {"per_channel", "per_channel", "true,false"},
                                                            {"reduce_range", "reduce_range", "true,false"}};
  // The operators that ONNX Runtime quantizes by itself, not those that hone would choose.
  static const std::vector<Default> kStaticDefaults = {
      {"activations", "int8"}, {"coverage", "all"}, {"weights", "int8"}};
  static const std::vector<Default> kDynamicDefaults = {{"conv", "true"}};
  static const std::vector<const ParameterRules*> kStaticTables = {&QuantizerRules(), &kData};
  static const std::vector<const ParameterRules*> kTorchTables = {weights.torch, &kData};
  static const std::vector<Default> kTorchDefaults = {
      {"method", "gptq"}, {"group_size", "128"}, {"symmetric", "false"}};
  // clang-format off
  static const std::vector<PassRow> rows = {
      // ONNX in, ONNX out.
      {"OnnxStaticQuantization", onnx, "static_int8", Fate::done, "", kStaticTables, kStaticDefaults, kStaticSearch,
       FinishStatic},
      {"OnnxDynamicQuantization", onnx, "dynamic_int8", Fate::done, "", kStaticTables, kDynamicDefaults, kDynamicSearch,
       FinishDynamic},
      // Becomes one of the two rows above by quant_mode.
      {"OnnxQuantization", onnx, "static_int8", Fate::done, "", kStaticTables, kStaticDefaults, kStaticSearch,
       FinishStatic},
      {"OnnxBlockWiseRtnQuantization", onnx, "weights_int4", Fate::done, "", {weights.blocks}, {{"group_size", "128"},
       {"symmetric", "true"}, {"method", "rtn"}}, {}, weights.finish},
      {"OnnxKQuantQuantization", onnx, "weights_int4", Fate::done, "", {weights.blocks}, {{"group_size", "32"},
       {"symmetric", "false"}, {"method", "mse"}}, {}, weights.finish},
      {"OnnxHqqQuantization", onnx, "weights_int4", Fate::done, "", {weights.blocks}, {{"group_size", "128"},
       {"symmetric", "false"}, {"method", "hqq"}}, {}, weights.finish},
      {"OnnxBnb4Quantization", onnx, "weights_int4", Fate::done, "", {weights.bnb4}, {{"form", "bnb4"}, {"group_size",
       "64"}}},
      {"MatMulNBitsToQDQ", onnx, "matmulnbits_to_qdq", Fate::changed,
       "matmulnbits_to_qdq, or form=dequantize of the pass that makes the blocks", {graph.to_pairs},
       {{"zero_points", "true"}}, {}, graph.finish_to_pairs},
      {"OnnxFloatToFloat16", onnx, "fp16", Fate::done, "", {graph.half}, {{"keep_io_types", "false"}}},
      {"OrtMixedPrecision", onnx, "fp16", Fate::changed, "fp16, which keeps in float32 what leaves float16's range",
       {graph.half}},
      {"OrtTransformersOptimization", onnx, "fp16", Fate::changed,
       "fuse_transformer, ort_optimize and fp16, as far as each is asked for", {graph.transformers}, {}, {},
       graph.finish_transformers},
      {"OnnxPeepholeOptimizer", onnx, "simplify", Fate::changed, "simplify", {graph.peephole}},
      {"OnnxScriptFusion", onnx, "fuse_transformer", Fate::changed, "fuse_transformer", {&kCommon}},
      {"OnnxQuantizationPreprocess", onnx, "simplify", Fate::changed, "simplify"},
      {"OnnxOpVersionConversion", onnx, "convert_opset", Fate::done, "", {graph.opset}, {{"version", "28"}}},
      {"DynamicToFixedShape", onnx, "fix_shapes", Fate::done, "", {graph.fixed_shape}, {}, {},
       graph.finish_fixed_shape},
      {"GraphSurgeries", onnx, "", Fate::changed, "surgeon by surgeon", {&SurgeryRules()}},
      {"OrtSessionParamsTuning", onnx, "", Fate::changed,
       "settings of backends.onnxruntime, which the search compares with the untuned baseline", {graph.tuning}, {}, {},
       graph.finish_tuning},
      {"AddOliveMetadata", onnx, "", Fate::ignored, kMetadata},
      {"VitisAIAddMetaData", onnx, "", Fate::ignored, kMetadata},
      {"QNNPreprocess", onnx, "simplify", Fate::changed, "simplify", {graph.qnn_preprocess}},
      {"InputNCHWtoNHWC", onnx, "", Fate::changed, "the model keeps NCHW inputs: feed it NCHW"},
      {"OnnxIODataTypeConverter", onnx, "", Fate::changed,
       "inputs and outputs keep the types of the file that you give", {graph.io_types}},
      {"OnnxDiscrepancyCheck", onnx, "", Fate::changed, "hone measures every candidate's error against the original",
       {graph.discrepancy}},
      {"MixedPrecisionOverrides", onnx, "", Fate::impossible,
       "hone has no precision per tensor; leave nodes out with exclude"},
      {"SplitModel", onnx, "", Fate::changed, kSplit},
      {"ComposeOnnxModels", onnx, "", Fate::changed,
       "a search works on one model: join them first with hone compose FIRST SECOND -o OUT"},
      {"ExtractAdapters", onnx, "", Fate::impossible,
       "adapters stay where the export put them; extract them with Olive"},
      {"StaticLLM", provider, "", Fate::impossible,
       "hone makes no pair of prompt and token models; pin the lengths with `inputs`"},
      // From a checkpoint to ONNX.
      {"OnnxConversion", conversion, "", Fate::changed, kGiveOnnx},
      {"ModelBuilder", conversion, "weights_int4", Fate::changed,
       "the ONNX file that you give takes the export's place", {weights.builder}, {}, {}, weights.finish_builder},
      {"MobiusBuilder", conversion, "", Fate::changed, "the ONNX file that you give takes the export's place",
       {weights.builder}, {}, {}, weights.finish_builder},
      {"OptimumConversion", python, "", Fate::changed, kGiveOnnx},
      {"OptimumMerging", python, "", Fate::impossible, "hone merges no decoders: export the merged model"},
      {"ConvertHfToGGUF", python, "", Fate::impossible,
       "hone writes no GGUF; convert the checkpoint with its own tool"},
      {"SaveTestModelConfig", python, "", Fate::ignored, "of Olive's own tests"},
      // OpenVINO.
      {"OpenVINOConversion", openvino, "openvino_ir", Fate::done, "", {ir.to_ir, &kData}, {{"fp16_weights", "true"}},
       {}, ir.finish_input_shapes},
      {"OpenVINOIoUpdate", openvino, "", Fate::changed, "inputs are pinned before the conversion", {ir.io_update}, {},
       {}, ir.finish_input_shapes},
      {"OpenVINOEncapsulation", openvino, "", Fate::impossible,
       "hone writes no ONNX file around an IR: load model.xml with OpenVINO, or run Olive's pass on it"},
      {"OpenVINOQuantization", python, "openvino_int8", Fate::changed, "openvino_int8", {ir.int8, &kData}},
      {"OpenVINOQuantizationWithAccuracy", python, "openvino_int8", Fate::changed,
       "openvino_int8 under a constraint on accuracy", {ir.int8, &kData}},
      {"OpenVINOWeightCompression", python, "openvino_weights", Fate::changed, "openvino_weights", {ir.optimum,
       ir.compression, ir.symmetric, &kData}, {}, {}, ir.finish_compression},
      {"OpenVINOOptimumConversion", python, "openvino_weights", Fate::changed,
       "openvino_weights or openvino_ir on the ONNX file that you give", {ir.optimum}, {}, {}, ir.finish_compression},
      // Quantizers of PyTorch models: the same on the exported model.
      {"Gptq", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, kTorchDefaults, {},
       weights.finish},
      {"GptqModel", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, kTorchDefaults, {},
       weights.finish},
      {"GptqQuantizer", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, kTorchDefaults,
       {}, weights.finish},
      {"AutoAWQQuantizer", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, {{"method",
       "awq"}, {"group_size", "128"}, {"symmetric", "false"}}, {}, weights.finish},
      {"Rtn", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, {{"method", "rtn"},
       {"group_size", "128"}, {"symmetric", "false"}}, {}, weights.finish},
      {"KQuant", python, "weights_int4", Fate::changed, "on the exported model", kTorchTables, {{"method", "mse"},
       {"group_size", "32"}, {"symmetric", "false"}}, {}, weights.finish},
      {"IncQuantization", python, "static_int8", Fate::changed,
       "hone's own quantization in place of Neural Compressor's", {weights.inc, &kData}, {}, {}, weights.finish_inc},
      {"IncStaticQuantization", python, "static_int8", Fate::changed,
       "hone's own quantization in place of Neural Compressor's", {weights.inc, &kData}, {}, {}, weights.finish_inc},
      {"IncDynamicQuantization", python, "dynamic_int8", Fate::changed,
       "hone's own quantization in place of Neural Compressor's", {weights.inc, &kData}, {}, {}, weights.finish_inc},
      {"AimetQuantization", python, "", Fate::impossible,
       "AIMET is a Python program: use static_int8 (equalize, bias_correction, 16-bit activations)"},
      {"NVModelOptQuantization", python, "", Fate::impossible,
       "ModelOpt is a Python program: use weights_int4 with method=rtn or awq"},
      {"NVModelOptGraphSurgery", python, "", Fate::impossible,
       "ModelOpt is a Python program: run it with Olive and give hone the result"},
      {"QuarkQuantization", python, "", Fate::impossible, kQuark},
      {"QuarkQuantizationVitisAI", python, "", Fate::impossible, kQuark},
      {"QuaRot", python, "", Fate::impossible, kRotate},
      {"SpinQuant", python, "", Fate::impossible, kRotate},
      {"AutoClip", python, "", Fate::impossible, "weights_int4 with method=mse finds the best cut of each block"},
      {"SelectiveMixedPrecision", python, "", Fate::impossible,
       "weights_int4 with ratio: 0.65 gives the least sensitive weights 4 bits, the others 8"},
      {"SliceGPT", python, "", Fate::impossible, kPrune},
      {"SparseGPT", python, "", Fate::impossible, kPrune},
      {"TorchTRTConversion", python, "", Fate::impossible, kGone},
      {"CaptureLayerAnnotations", python, "", Fate::impossible, kSplit},
      {"CaptureSplitInfo", python, "", Fate::changed, kSplit},
      // Training.
      {"LoRA", python, "", Fate::impossible, kTrain},
      {"QLoRA", python, "", Fate::impossible, kTrain},
      {"DoRA", python, "", Fate::impossible, kTrain},
      {"LoHa", python, "", Fate::impossible, kTrain},
      {"LoKr", python, "", Fate::impossible, kTrain},
      {"LoftQ", python, "", Fate::impossible, kTrain},
      {"SDLoRA", python, "", Fate::impossible, kTrain},
      {"MergeAdapterWeights", python, "", Fate::impossible, kTrain},
      {"QuantizationAwareTraining", python, "", Fate::impossible, kTrain},
      // Vendors' compilers.
      {"EPContextBinaryGenerator", provider, "", Fate::impossible, kVendor},
      {"QNNConversion", python, "", Fate::impossible, kVendor},
      {"QNNContextBinaryGenerator", python, "", Fate::impossible, kVendor},
      {"QNNModelLibGenerator", python, "", Fate::impossible, kVendor},
      {"QairtPreparation", python, "", Fate::impossible, kVendor},
      {"QairtGenAIBuilder", python, "", Fate::impossible, kVendor},
      {"QairtMHA2SHA", python, "", Fate::impossible, kVendor},
      {"QairtPipelinePass", python, "", Fate::impossible, kVendor},
      {"QairtEncapsulation", python, "", Fate::impossible, kVendor},
      {"VitisGenerateModelLLM", python, "", Fate::impossible, kVendor},
      {"VitisGenerateModelSD", python, "", Fate::impossible, kVendor},
      {"RyzenGenerateModelLLM", python, "", Fate::impossible, kVendor},
      {"SNPEConversion", python, "", Fate::impossible, kVendor},
      {"SNPEQuantization", python, "", Fate::impossible, kVendor},
      {"SNPEtoONNXConversion", python, "", Fate::impossible, kVendor},
      {"AitkPython", python, "", Fate::impossible,
       "a step of the AI Toolkit's own Python: run it there and give hone the ONNX file"},
      // Removed from Olive.
      {"InsertBeamSearch", python, "", Fate::impossible, kGone},
      {"AppendPrePostProcessingOps", python, "", Fate::impossible,
       "hone adds no processing to a model; `preprocess` of a recipe's data serves calibration"},
      {"PowerOfTwoMethod", python, "", Fate::impossible, kGone},
      {"MoEExpertsDistributor", python, "", Fate::impossible, kGone},
      {"PyTorchTensorParallel", python, "", Fate::impossible, kGone},
  };
  // clang-format on
  return rows;
}

const PassRow* FindOlivePass(const std::string& type) {
  // Older names of the same pass.
  static constexpr std::pair<const char*, const char*> kAliases[] = {
      {"ortperftuning", "OrtSessionParamsTuning"},
      {"onnxmodeloptimizer", "OnnxPeepholeOptimizer"},
      {"onnxiofloat16tofloat32", "OnnxIODataTypeConverter"},
      {"onnxmatmul4quantizer", "OnnxBlockWiseRtnQuantization"},
      {"vitisaiquantization", "QuarkQuantization"},
      {"vitisqdqquantizer", "QuarkQuantization"},
      {"genaimodelexporter", "ModelBuilder"},
      {"autogptqquantizer", "GptqQuantizer"},
  };
  std::string wanted = Lower(type);
  for (const auto& [older, name] : kAliases) {
    if (wanted == older) wanted = Lower(name);
  }
  for (const PassRow& row : OlivePasses()) {
    if (Lower(row.name) == wanted) return &row;
  }
  return nullptr;
}

}  // namespace hone::importers
