// Checkpoints and GGUF files: configuration and weights, which nothing is built from yet.
#include <fmt/format.h>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/checkpoint/encoder_config.h"
#include "worker/checkpoint/model_config.h"
#include "worker/runner/inspect.h"

namespace hone {
namespace {

void WritePort(const std::string& name, const char* type, const std::vector<std::string>& dims,
               proto::TensorInfo& info) {
  info.set_name(name);
  info.set_type(type);
  for (const std::string& dim : dims) info.add_dims(dim);
}

Result<> WriteDecoder(const Checkpoint& checkpoint, proto::InspectResult& result) {
  TRY_ASSIGN(const DecoderConfig config, ReadDecoderConfig(checkpoint.config, checkpoint.is_gguf));
  result.set_producer(config.architecture);
  WritePort("input_ids", "int64", {"batch_size", "sequence_length"}, *result.add_inputs());
  WritePort("attention_mask", "int64", {"batch_size", "total_sequence_length"}, *result.add_inputs());
  WritePort("logits", "float32", {"batch_size", "sequence_length", std::to_string(config.vocabulary)},
            *result.add_outputs());
  return {};
}

Result<> WriteEncoder(const Checkpoint& checkpoint, const proto::LocalBundle& model, proto::InspectResult& result) {
  TRY_ASSIGN(const EncoderConfig config, ReadEncoderConfig(checkpoint, model));
  result.set_producer(config.architecture);
  for (const EncoderPort& port : EncoderInputs(config)) WritePort(port.name, "int64", port.dims, *result.add_inputs());
  for (const EncoderPort& port : EncoderOutputs(config))
    WritePort(port.name, "float32", port.dims, *result.add_outputs());
  return {};
}

}  // namespace

Result<> InspectCheckpoint(const proto::LocalBundle& model, proto::InspectResult& result) {
  TRY_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(model));
  const bool encoder = !checkpoint.is_gguf && IsEncoder(checkpoint.config);
  if (!checkpoint.is_gguf && !encoder && !IsDecoder(checkpoint.config))
    return Fail(UnknownArchitecture(ClassOf(checkpoint.config).name, KnownDecoders() + ", " + KnownEncoders()));
  TRY(encoder ? WriteEncoder(checkpoint, model, result) : WriteDecoder(checkpoint, result));
  ParameterCounts counts;
  for (const auto& [name, weight] : checkpoint.weights)
    counts.Add(InfoOf(weight.type).name, weight.Rows() * weight.Columns(), weight.bytes.size());
  counts.WriteTo(result);
  return {};
}

}  // namespace hone
