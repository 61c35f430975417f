// The encoders of tests/llm/encoder_golden.json, with golden outputs of transformers, as checkpoints.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proto/work.pb.h"
#include "tests/llm/tiny_checkpoint.h"

namespace hone::test {

// Names of all cases, and the case of a name.
std::vector<std::string> EncoderCases();
const nlohmann::json& EncoderCase(const std::string& name);
std::vector<NamedValues> EncoderTensors(const nlohmann::json& test);

// A folder of these files, with modules.json and 1_Pooling/config.json where the case is a sentence embedder.
proto::LocalBundle WriteEncoder(const std::filesystem::path& folder, const nlohmann::json& test,
                                const nlohmann::json& config, const std::vector<NamedValues>& tensors);
proto::LocalBundle WriteEncoder(const std::filesystem::path& folder, const std::string& name);
// The bundle of whatever a folder holds.
proto::LocalBundle BundleIn(const std::filesystem::path& folder);

}  // namespace hone::test
