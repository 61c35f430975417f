// The configurations of tests/llm/golden.json, with golden logits of transformers, as checkpoints.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proto/work.pb.h"
#include "tests/llm/tiny_checkpoint.h"

namespace hone::test {

const nlohmann::json& Golden();
// The case of this name.
const nlohmann::json& Case(const std::string& name);
// Its weights; the same as a safetensors file.
std::vector<NamedValues> TensorsOf(const nlohmann::json& test);
std::string WeightsOf(const nlohmann::json& test);
// The checkpoint of a case in a folder.
proto::LocalBundle GoldenCheckpoint(const std::filesystem::path& folder, const std::string& name);

// The largest difference of two values; of the rows of logits at some places from what they should be.
double LargestDifference(const std::vector<float>& a, const std::vector<float>& b);
double DifferenceAt(const std::vector<float>& logits, const nlohmann::json& places, const nlohmann::json& rows);
// How far values are from exact ones, relative to those.
double RelativeDistance(const std::vector<float>& exact, const std::vector<float>& values);

}  // namespace hone::test
