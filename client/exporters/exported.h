// A model on its way out: the files, how they run best, and where they come from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/console.h"
#include "client/exporters/output_tree.h"
#include "proto/wire.pb.h"

namespace hone::exporters {

struct Exported {
  std::string name;  // Of the model in a repository: letters, digits, '_', '-' and '.'.
  proto::LocalBundle model;
  proto::InspectResult info;
  std::string backend;  // That it is meant for.
  google::protobuf::RepeatedPtrField<proto::Parameter> settings;
  uint64_t job = 0;                             // 0: a model file.
  std::optional<proto::GetOriginReply> origin;  // Of a trial.
  Json manifest;                                // hone.manifest/1
  std::string license;                          // In a few words; "" where nobody said.
  std::string source_name;                      // What it was made from, for people.

  // What a person may ask of the serving formats.
  std::string batch;        // "": as the model has it; a number; "auto".
  uint64_t max_batch = 8;   // Of dynamic batching.
  uint64_t version = 0;     // 0: the next free one.
  std::string storage_uri;  // Where KServe will find the folder; "" = a claim of the model's name.
};

// What a format leaves to tell.
using Notes = std::vector<std::string>;

// One row a format: writes into `tree`, whose parts will lie beneath the folder that the person named.
struct ExportFormat {
  const char* name;
  const char* summary;
  Result<Notes> (*write)(const Exported& exported, OutputTree& tree);
};
const std::vector<ExportFormat>& ExportFormats();
// kUsage with the nearest name.
Result<const ExportFormat*> FindExportFormat(const std::string& name);

// Writes the format, the model card and the manifest.
Result<Notes> WriteExport(const ExportFormat& format, const Exported& exported, OutputTree& tree);

}  // namespace hone::exporters
