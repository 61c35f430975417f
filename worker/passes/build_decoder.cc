// Before: config.json, *.safetensors, tokenizer.json          or one GGUF file
// After:  model.onnx, model.onnx.data                         a graph with a cache of keys and values
//         genai_config.json, tokenizer.json ...               what ONNX Runtime GenAI runs beside it
#include "worker/passes/build_decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/recipe/value.h"
#include "worker/checkpoint/encoder_config.h"
#include "worker/decoder/genai_folder.h"
#include "worker/passes/weight_engine.h"

namespace hone {
namespace {

GridMethod MethodOf(const std::string& name) {
  if (name == "mse") return GridMethod::search;
  return name == "hqq" ? GridMethod::robust : GridMethod::range;
}

int BitsOf(const std::string& name) { return name == "int4" ? 4 : name == "int8" ? 8 : 0; }

// int8 for the last matrix and the embeddings is what "auto" gives where matrices have codes: they lose most by fewer.
int ApartBits(const PassContext& context, const char* parameter) {
  const std::string name = context.Text(parameter);
  return name == "auto" ? 8 : BitsOf(name);
}

// Divisors of the frequencies that a GGUF file keeps as a tensor.
Result<> TakeFrequencyDivisors(const Checkpoint& checkpoint, DecoderConfig& config) {
  for (const auto& [name, weight] : checkpoint.weights) {
    if (name.starts_with("rope_factors_"))
      return Fail(ErrorCode::kRejected,
                  fmt::format("the tensor '{}' is not known to be served; give the float checkpoint", name));
  }
  const auto found = checkpoint.weights.find("rope_freqs.weight");
  if (found == checkpoint.weights.end()) return {};
  const auto pairs = config.rope.dimensions / 2;
  if (found->second.shape != std::vector<int64_t>{pairs}) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the tensor 'rope_freqs.weight' has the shape {}; it should have [{}]",
                            DimsText(found->second.shape), pairs));
  }
  for (RopeRule* rule : {&config.rope, &config.local_rope}) {
    rule->divisors.resize(static_cast<size_t>(pairs));
    ReadRows(found->second, 0, 1, rule->divisors.data());
    const bool sound = std::all_of(rule->divisors.begin(), rule->divisors.end(),
                                   [](float value) { return value > 1e-6f && value < 1e6f; });
    if (!sound)
      return Fail(ErrorCode::kRejected, "the tensor 'rope_freqs.weight' holds what no frequency can be divided by");
  }
  return {};
}

}  // namespace

DecoderOptions DecoderOptionsOf(const PassContext& context) {
  DecoderOptions options;
  const std::string precision = context.Text("precision");
  const int bits = BitsOf(precision);
  options.half = precision == "f16";
  options.form = precision == "stored" ? MatrixForm::stored : bits != 0 ? MatrixForm::codes : MatrixForm::floats;
  if (bits != 0) options.coding.bits = bits;
  options.coding.group = static_cast<size_t>(context.Int("group_size"));
  options.coding.symmetric = context.Bool("symmetric");
  options.coding.method = MethodOf(context.Text("method"));
  options.ratio = context.Real("ratio");
  options.head_bits = ApartBits(context, "head");
  options.table_bits = ApartBits(context, "embeddings");
  options.threads = context.threads;
  return options;
}

Result<DecoderConfig> DecoderConfigOf(const Checkpoint& checkpoint) {
  if (!checkpoint.is_gguf && IsEncoder(checkpoint.config))
    return Fail(ErrorCode::kRejected, "config.json: the model is an encoder", "build_encoder builds it.");
  TRY_ASSIGN(DecoderConfig config, ReadDecoderConfig(checkpoint.config, checkpoint.is_gguf));
  TRY(TakeFrequencyDivisors(checkpoint, config));
  return config;
}

void AddMatrixParameters(proto::PassInfo& info) {
  *info.add_parameters() = TextParameter(
      "precision", "stored", {"stored", "f32", "f16", "int8", "int4"},
      "Of the matrices: blocks of GGUF files exactly as they are and other weights in f32 (stored), floats, "
      "or codes with a scale for each group.");
  *info.add_parameters() = TextParameter(
      "method", "rtn", {"rtn", "mse", "hqq"},
      "How codes are found: to the nearest (rtn), on grids of least squared error (mse) or that leave outliers "
      "alone (hqq). gptq and awq: build_decoder in f32, and weights_int4 after it.");
  *info.add_parameters() =
      IntParameter("group_size", 32, {16, 32, 64, 128, 256}, "Weights that share a scale, along the summed dimension.");
  *info.add_parameters() = BoolParameter("symmetric", true, "Without zero points; off: each group has one.");
  *info.add_parameters() =
      RealParameter("ratio", 1, 0, 1,
                    "Share of the layers' weights that gets 4 bits, the least sensitive ones; the rest has 8 bits.");
  *info.add_parameters() =
      TextParameter("head", "auto", {"auto", "float", "int8", "int4"},
                    "The last matrix, with embeddings that share it; auto: int8 where matrices have codes.");
  *info.add_parameters() =
      TextParameter("embeddings", "auto", {"auto", "float", "int8", "int4"},
                    "The embeddings, where they are a matrix of their own; auto: int8 where matrices have codes.");
}

proto::PassInfo BuildDecoderInfo() {
  proto::PassInfo info;
  info.set_name("build_decoder");
  info.set_version(1);
  info.set_summary("a language model's checkpoint or GGUF file as the folder that ONNX Runtime GenAI runs");
  info.add_accepts("checkpoint");
  info.add_accepts("gguf");
  info.set_produces("onnx");
  AddMatrixParameters(info);
  *info.add_parameters() = IntParameter(
      "accuracy_level", 4, {0, 1, 2, 3, 4},
      "What ONNX Runtime may compute products of codes in: 0 its choice, 1 f32, 2 f16, 3 bf16, 4 int8 activations.");
  *info.add_parameters() = TextParameter(
      "layout", "genai", {"genai", "onnx"},
      "With the files that ONNX Runtime GenAI wants beside the model, or the model and its vocabulary alone.");
  proto::ParameterInfo length =
      IntParameter("max_length", 4096, {},
                   "Tokens of prompt and answer that the GenAI folder makes room for, up to the model's own limit.");
  *length.mutable_minimum() = IntValue(1);
  *length.mutable_maximum() = IntValue(4 << 20);
  *info.add_parameters() = std::move(length);
  return info;
}

Result<proto::Bundle> BuildDecoder(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const std::filesystem::path folder = context.task->output_folder();
  TRY_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(source));
  TRY_ASSIGN(const DecoderConfig config, DecoderConfigOf(checkpoint));
  DecoderOptions options = DecoderOptionsOf(context);
  options.accuracy_level = context.Int("accuracy_level");
  TRY_ASSIGN(DataFile data, MakeModelData(folder));
  TRY_ASSIGN(DecoderGraph graph, BuildDecoderGraph(checkpoint, config, options, data));
  context.notes.insert(context.notes.end(), graph.notes.begin(), graph.notes.end());
  std::vector<proto::File> files;
  if (context.Text("layout") == "genai") {
    TRY_ASSIGN(files, WriteGenaiFiles(source, checkpoint, config, context.Int("max_length"), folder, context.notes));
  } else {
    TRY_ASSIGN(files, WriteTokenizerFiles(source, checkpoint, config.positions, folder, context.notes));
  }
  return CommitModel(graph.model, data, folder, std::move(files));
}

}  // namespace hone
