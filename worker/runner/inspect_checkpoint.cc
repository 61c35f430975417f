// Checkpoints and GGUF files: configuration and weights, which nothing is built from yet.
#include <fmt/format.h>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/runner/inspect.h"

namespace hone {
namespace {

void WritePort(const char* name, const char* type, const std::vector<std::string>& dims, proto::TensorInfo& info) {
  info.set_name(name);
  info.set_type(type);
  for (const std::string& dim : dims) info.add_dims(dim);
}

}  // namespace

Result<> InspectCheckpoint(const proto::LocalBundle& model, proto::InspectResult& result) {
  TRY_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(model));
  TRY_ASSIGN(const DecoderConfig config, ReadDecoderConfig(checkpoint.config, checkpoint.is_gguf));
  result.set_producer(config.architecture);
  WritePort("input_ids", "int64", {"batch_size", "sequence_length"}, *result.add_inputs());
  WritePort("attention_mask", "int64", {"batch_size", "total_sequence_length"}, *result.add_inputs());
  WritePort("logits", "float32", {"batch_size", "sequence_length", std::to_string(config.vocabulary)},
            *result.add_outputs());
  ParameterCounts counts;
  for (const auto& [name, weight] : checkpoint.weights)
    counts.Add(InfoOf(weight.type).name, weight.Rows() * weight.Columns(), weight.bytes.size());
  counts.WriteTo(result);
  return {};
}

}  // namespace hone
