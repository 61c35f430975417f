// What config.json says in every family: the class of the model, and bounds that no sound configuration passes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/result.h"
#include "worker/checkpoint/json_text.h"

namespace hone {

constexpr int64_t kMostLayers = 1024;
constexpr int64_t kMostHeads = 2048;
constexpr int64_t kMostWidth = 1 << 18;  // Of hidden states and MLPs.
constexpr int64_t kMostHeadSize = 1024;
constexpr int64_t kMostPositions = 4 << 20;
constexpr int64_t kMostVocabulary = 8 << 20;

// The first of `architectures`, else (older files) the model type; "none" where there is neither.
struct ModelClass {
  std::string name = "none";
  bool is_architecture = false;
};
ModelClass ClassOf(const nlohmann::json& config);

// Of a class that is none of the known ones, which are listed.
Error UnknownArchitecture(const std::string& name, const std::string& known);

// kRejected where the weights are quantized already.
Result<> RefuseQuantized(const JsonReader& config);

}  // namespace hone
