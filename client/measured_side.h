// What `benchmark` and `evaluate` share: their common flags, a model on a backend, and what is told of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/flags.h"
#include "client/json_output.h"
#include "client/model_file.h"
#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/work.pb.h"

namespace hone {

struct MeasureFlags {
  std::string model;
  std::string backend;
  std::vector<std::string> settings;
  std::string data;
  std::string recipe;
  std::vector<std::string> inputs;
  std::optional<uint64_t> threads;
  std::optional<uint64_t> seed;
};
void AddMeasureFlags(Flags& flags, MeasureFlags& options);

// A model on a backend, with what is told about it.
struct MeasuredSide {
  ModelFile model;
  proto::Subject subject;
};

// backend "": the default of the model's format. settings: "key=value" words of that backend.
Result<MeasuredSide> PrepareSide(const ModelFile& model, const std::string& backend,
                                 const std::vector<std::string>& settings, const std::optional<uint64_t>& threads,
                                 const proto::Catalogue& catalogue);

// What both commands know before any model is opened: what this machine can do, and the recipe with the flags' pins.
struct MeasureContext {
  proto::Catalogue catalogue;
  proto::Recipe recipe;
};
Result<MeasureContext> PrepareContext(const MeasureFlags& flags);

// The data that the flags name, held against the first model; nullopt where they name none, and then every model's
// shapes must be known.
Result<std::optional<proto::LocalData>> PrepareData(const MeasureFlags& flags, const MeasureContext& context,
                                                    const std::vector<const ModelFile*>& models);

// A task run here, with what it cost.
struct MeasuredTask {
  proto::TaskResult result;
  double wall_s = 0;
  uint64_t peak_memory_bytes = 0;  // Of the largest of the runner's processes.
};
Result<MeasuredTask> RunMeasuredTask(const proto::Task& task);

// model, artifact, backend, settings, metrics, intervals, execution.
Json SideJson(const MeasuredSide& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics,
              const proto::Execution* execution);
std::string SideText(const MeasuredSide& side, const google::protobuf::RepeatedPtrField<proto::Metric>& metrics);
// One "note: ..." line each.
std::string NotesText(const google::protobuf::RepeatedPtrField<std::string>& notes);

}  // namespace hone
