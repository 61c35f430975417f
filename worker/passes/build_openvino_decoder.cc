// Before: config.json, *.safetensors, tokenizer.json          or one GGUF file
// After:  openvino_model.xml, openvino_model.bin              a graph whose state is its cache of keys and values
//         config.json, generation_config.json, tokenizer.json ...   what OpenVINO GenAI reads beside it
//
// OpenVINO's writer wants the whole model in memory. The weights are written to a file of their own first and mapped
// from there, so that what they take of memory is what the writer looks at; the file is gone at the end.
#include "worker/passes/build_openvino_decoder.h"

#include <iterator>
#include <utility>

#include "worker/decoder/genai_folder.h"
#include "worker/passes/build_decoder.h"
#include "worker/passes/openvino_decoder.h"
#include "worker/passes/openvino_graph.h"

namespace hone {
namespace {

constexpr const char* kStem = "openvino_model";

}  // namespace

proto::PassInfo BuildOpenvinoDecoderInfo() {
  proto::PassInfo info;
  info.set_name("build_openvino_decoder");
  info.set_version(1);
  info.set_summary(
      "a language model's checkpoint or GGUF file as the stateful model that OpenVINO GenAI runs; codes of 8 bits have "
      "a scale and a zero point for each row");
  info.add_accepts("checkpoint");
  info.add_accepts("gguf");
  info.set_produces("openvino_ir");
  AddMatrixParameters(info);
  return info;
}

Result<proto::Bundle> BuildOpenvinoDecoder(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  const std::filesystem::path folder = context.task->output_folder();
  TRY_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(source));
  TRY_ASSIGN(const DecoderConfig config, DecoderConfigOf(checkpoint));
  TRY_ASSIGN(WeightsFile weights, WeightsFile::Make(folder));
  TRY_ASSIGN(const OpenvinoDecoder decoder,
             BuildOpenvinoDecoderGraph(checkpoint, config, DecoderOptionsOf(context), weights));
  context.notes.insert(context.notes.end(), decoder.notes.begin(), decoder.notes.end());
  TRY_ASSIGN(std::vector<proto::File> files,
             WriteOpenvinoGenaiFiles(source, checkpoint, config, folder, context.notes));
  context.notes.push_back(
      "without openvino_tokenizer.xml, so OpenVINO GenAI takes token ids alone; convert_tokenizer (of "
      "openvino-tokenizers) makes it of this folder");
  TRY_ASSIGN(std::vector<proto::File> model,
             StreamOpenvinoModel(decoder.model, folder, kStem, [&](const char* begin, size_t bytes) {
               weights.Release(begin, bytes);
             }));
  files.insert(files.end(), std::make_move_iterator(model.begin()), std::make_move_iterator(model.end()));
  return BundleOf("openvino_ir", std::string(kStem) + ".xml", std::move(files));
}

}  // namespace hone
