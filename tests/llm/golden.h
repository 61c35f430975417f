// The configurations of tests/llm/golden.json, with golden logits of transformers, as checkpoints.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "proto/work.pb.h"

namespace hone::test {

const nlohmann::json& Golden();
// The case of this name.
const nlohmann::json& Case(const std::string& name);
// Its weights as a safetensors file.
std::string WeightsOf(const nlohmann::json& test);
// The checkpoint of a case in a folder.
proto::LocalBundle GoldenCheckpoint(const std::filesystem::path& folder, const std::string& name);

}  // namespace hone::test
