// Before: config.json, *.safetensors, modules.json, tokenizer.json ...
// After:  model.onnx, model.onnx.data     input_ids, attention_mask (and token_type_ids) -> states, embedding or logits
//         tokenizer.json ...              as they were
#include "worker/passes/build_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/checkpoint/encoder_config.h"
#include "worker/decoder/data_file.h"
#include "worker/decoder/encoder_graph.h"

namespace hone {
namespace {

// The head that the parameter asks for; nothing where the folder decides.
std::optional<EncoderHead> WishedHead(const PassContext& context) {
  constexpr std::pair<const char*, Pooling> kPoolings[] = {
      {"mean", Pooling::mean}, {"cls", Pooling::first}, {"max", Pooling::largest}};
  const std::string name = context.Text("head");
  if (name == "auto") return std::nullopt;
  EncoderHead head;
  for (const auto& [known, pooling] : kPoolings) {
    if (name != known) continue;
    head.type = EncoderHead::Type::sentence;
    head.poolings = {pooling};
    head.normalized = context.Bool("normalize");
  }
  return head;
}

Result<std::vector<proto::File>> CarryVocabulary(const proto::LocalBundle& source,
                                                 const std::filesystem::path& folder) {
  std::vector<proto::File> files;
  for (const std::string& name : CarriedFiles()) {
    TRY_ASSIGN(const std::string text, ReadBundled(source, name));
    if (text.empty()) continue;
    TRY_ASSIGN(proto::File file, WriteOutput(folder, name, text));
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

proto::PassInfo BuildEncoderInfo() {
  proto::PassInfo info;
  info.set_name("build_encoder");
  info.set_version(1);
  info.set_summary(
      "an encoder's checkpoint as an ONNX model: BERT, RoBERTa, DistilBERT, MPNet, sentence embedders, classifiers");
  info.add_accepts("checkpoint");
  info.set_produces("onnx");
  *info.add_parameters() =
      TextParameter("precision", "f32", {"f32", "f16"},
                    "Of weights and computation; inputs and outputs are the same in both. Codes: let weights_int8, "
                    "weights_int4, dynamic_int8 or static_int8 follow.");
  *info.add_parameters() = TextParameter(
      "head", "auto", {"auto", "none", "mean", "cls", "max"},
      "What follows the encoder. auto: the pooling and normalization of modules.json, else the head that config.json "
      "names; none: nothing, so the states of all tokens come out; the others: a sentence embedding by that pooling.");
  *info.add_parameters() =
      BoolParameter("normalize", true, "Give such an embedding the length 1; with auto, modules.json decides.");
  return info;
}

Result<proto::Bundle> BuildEncoder(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const std::filesystem::path folder = context.task->output_folder();
  TRY_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(source));
  if (IsDecoder(checkpoint.config))
    return Fail(ErrorCode::kRejected, "config.json: the model is a decoder", "build_decoder builds it.");
  TRY_ASSIGN(const EncoderConfig config, ReadEncoderConfig(checkpoint, source, WishedHead(context)));
  EncoderOptions options;
  options.half = context.Text("precision") == "f16";
  options.threads = context.threads;
  TRY_ASSIGN(DataFile data, MakeModelData(folder));
  TRY_ASSIGN(const EncoderGraph graph, BuildEncoderGraph(checkpoint, config, options, data));
  context.notes.insert(context.notes.end(), graph.notes.begin(), graph.notes.end());
  TRY_ASSIGN(std::vector<proto::File> files, CarryVocabulary(source, folder));
  return CommitModel(graph.model, data, folder, std::move(files));
}

}  // namespace hone
