#include "tests/llm/golden.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/llm/tiny_checkpoint.h"

namespace hone::test {

namespace fs = std::filesystem;
using nlohmann::json;

// The file is large for a test's sources and small for what it tells: golden logits of 30 configurations.
const json& Golden() {
  static const json golden = json::parse(std::ifstream(fs::path(HONE_SOURCE_DIR) / "tests/llm/golden.json"));
  return golden;
}

const json& Case(const std::string& name) {
  for (const json& test : Golden()["cases"]) {
    if (test["name"] == name) return test;
  }
  ADD_FAILURE() << "no case " << name;
  return Golden();
}

std::string WeightsOf(const json& test) {
  const bool gemma = test["config"]["architectures"][0].get<std::string>().starts_with("Gemma");
  std::vector<NamedValues> tensors;
  for (const auto& [name, shape] : test["tensors"].items()) {
    const auto dims = shape.get<std::vector<int64_t>>();
    size_t count = 1;
    for (const int64_t dim : dims) count *= static_cast<size_t>(dim);
    tensors.push_back({name, dims, SeededWeight(name, count, gemma)});
  }
  return SafetensorsOf(tensors);
}

proto::LocalBundle GoldenCheckpoint(const fs::path& folder, const std::string& name) {
  return WriteCheckpoint(folder, Case(name)["config"], WeightsOf(Case(name)));
}

}  // namespace hone::test
