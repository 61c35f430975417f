// What a model file holds, without running it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "common/base/open_file.h"
#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// kRejected for a file that is no model of its format. A bundle that names its main file alone, without digest and
// size, is enough: so the client learns which external files belong to it. Such a folder is a person's own: none of
// those files may have other names.
Result<proto::InspectResult> Inspect(const proto::LocalBundle& model);

// By format: fill inputs, outputs, opsets, operators, parameters and what is quantized.
Result<> InspectOnnx(const std::filesystem::path& file, HardLinks hard_links, proto::InspectResult& result);
Result<> InspectOpenVino(const std::filesystem::path& file, HardLinks hard_links, proto::InspectResult& result);

// A checkpoint or GGUF file: what its weights are, and the inputs and outputs of the model that is built from it.
Result<> InspectCheckpoint(const proto::LocalBundle& model, proto::InspectResult& result);

// Collects counts by name and writes them most frequent first, then by name.
class OperatorCounts {
 public:
  void Add(const std::string& type) { ++counts_[type]; }
  void WriteTo(google::protobuf::RepeatedPtrField<proto::InspectResult::Operator>& operators) const;

 private:
  std::map<std::string, uint32_t> counts_;
};

// Collects constants and writes parameters, parameters_bytes and parameter_types.
class ParameterCounts {
 public:
  void Add(const std::string& type, uint64_t elements, uint64_t bytes);
  void WriteTo(proto::InspectResult& result) const;

 private:
  uint64_t elements_ = 0;
  std::map<std::string, uint64_t> bytes_;
};

}  // namespace hone
