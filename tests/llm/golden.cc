#include "tests/llm/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

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

std::vector<NamedValues> TensorsOf(const json& test) {
  const bool gemma = test["config"]["architectures"][0].get<std::string>().starts_with("Gemma");
  std::vector<NamedValues> tensors;
  for (const auto& [name, shape] : test["tensors"].items()) {
    const auto dims = shape.get<std::vector<int64_t>>();
    size_t count = 1;
    for (const int64_t dim : dims) count *= static_cast<size_t>(dim);
    tensors.push_back({name, dims, SeededWeight(name, count, gemma)});
  }
  return tensors;
}

std::string WeightsOf(const json& test) { return SafetensorsOf(TensorsOf(test)); }

proto::LocalBundle GoldenCheckpoint(const fs::path& folder, const std::string& name) {
  return WriteCheckpoint(folder, Case(name)["config"], WeightsOf(Case(name)));
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

double DifferenceAt(const std::vector<float>& logits, const json& places, const json& rows) {
  double largest = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    const auto row = rows[i].get<std::vector<float>>();
    const size_t first = places[i].get<size_t>() * row.size();
    if (first + row.size() > logits.size()) return INFINITY;
    largest = std::max(largest, LargestDifference({logits.begin() + static_cast<std::ptrdiff_t>(first),
                                                   logits.begin() + static_cast<std::ptrdiff_t>(first + row.size())},
                                                  row));
  }
  return largest;
}

double RelativeDistance(const std::vector<float>& exact, const std::vector<float>& values) {
  EXPECT_EQ(exact.size(), values.size());
  double noise = 0, signal = 0;
  for (size_t i = 0; i < std::min(exact.size(), values.size()); ++i) {
    const double difference = static_cast<double>(exact[i]) - static_cast<double>(values[i]);
    noise += difference * difference;
    signal += static_cast<double>(exact[i]) * static_cast<double>(exact[i]);
  }
  return std::sqrt(noise / signal);
}

}  // namespace hone::test
