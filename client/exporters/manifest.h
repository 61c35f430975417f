// What makes a model again, byte for byte: the source model, the data, every step with its parameters and the digest of
// what it gave. Nothing in it depends on the machine or the day, so that the same model has the same manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "client/console.h"
#include "common/base/result.h"
#include "proto/wire.pb.h"

namespace hone::exporters {

struct ManifestStep {
  proto::PassStep step;
  uint32_t version = 0;         // Of the pass.
  std::string program_version;  // Of a pass that is a program.
  std::optional<proto::Bundle> made;
};

struct Manifest {
  std::string name;
  std::string source_name;  // File names, for people and to look for.
  std::string calibration_name;
  proto::Bundle source;
  google::protobuf::RepeatedPtrField<proto::InputShape> inputs;
  uint64_t seed = 0;
  std::optional<proto::Data> calibration;  // Only where a step reads it.
  std::vector<ManifestStep> steps;         // None: the result is the source.
  proto::Bundle result;
  std::string backend;
  google::protobuf::RepeatedPtrField<proto::Parameter> settings;
};

// Of a trial; the backend and its settings are the trial's.
Manifest ManifestOf(const proto::GetOriginReply& origin, const std::string& name);

Json ManifestJson(const Manifest& manifest);  // hone.manifest/1
// kRejected, naming what is missing or wrong.
Result<Manifest> ParseManifest(const std::string& text, const std::string& file);

}  // namespace hone::exporters
