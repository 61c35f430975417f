// From a person's flags and recipe to a submission: every input is checked here, before any job exists.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/flags.h"
#include "client/model_file.h"
#include "common/base/mistakes.h"

namespace hone {

struct JobOptions {
  std::string model;              // "" = the recipe's.
  std::string recipe;             // "" = the built-in recipe `auto`, of checkpoints `llm_auto` or `encoder_auto`.
  std::optional<proto::Recipe>
      ready;                      // A recipe that is there already, in the file's place; its paths are beside `recipe`.
  std::string data;               // Overrides data.evaluation of the recipe.
  std::string calibration;        // Overrides data.calibration.
  std::string name;
  std::string max_accuracy_drop;
  std::vector<std::string> inputs;
  std::vector<std::string> backends;
  std::vector<std::string> precisions;
  std::vector<std::string> minimize;
  std::vector<std::string> maximize;
  std::optional<uint64_t> trials;
  std::optional<int64_t> time_ms;
  std::optional<uint64_t> seed;
  std::optional<uint64_t> threads;
};
// MODEL and every flag above but --threads, which is for work on this machine.
void AddJobFlags(Flags& flags, JobOptions& options);

struct JobRequest {
  ModelFile model;
  Client::Submission submission;      // request is empty.
  std::string key;  // The same for the same recipe, model and data; paths and names are not part of it.
  std::vector<std::string> notes;     // Things that the person should know.
};

// Reads recipe, model and data, applies the flags against the catalogue of whoever will do the work (asked for once,
// after the files proved readable), and settles calibration and evaluation data:
//
// Where only one data set was given and a pass of the recipe needs calibration, its first samples (at most 128, at most
// half) calibrate and the rest evaluates. Without any data every input shape must be known. With `others`, mistakes of
// the recipe beside the one that is returned are put there.
Result<JobRequest> PrepareJob(const JobOptions& options, const std::function<Result<proto::Catalogue>()>& catalogue,
                              Mistakes* others = nullptr);

// Stands in for the format of a checkpoint where it is an encoder's.
constexpr const char* kEncoder = "encoder";

// Reads a recipe file; kRejected when it is not there or not valid. "" reads the built-in recipe for models of this
// format (FormatOfName, or kEncoder): `auto`, `llm_auto` for checkpoints, `encoder_auto` for encoders. `others` as
// above.
Result<proto::Recipe> ReadRecipe(const std::string& path, const std::string& model_format = "onnx",
                                 Mistakes* others = nullptr);

// What workers are asked of a recipe (client/recipe_check.h).
proto::CheckRecipe CheckOf(const JobRequest& request);

// How many samples of one data set calibrate when `samples` are there.
uint64_t CalibrationShare(uint64_t samples);

}  // namespace hone
