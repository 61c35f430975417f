#include "tests/llm/encoder_golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "common/artifact/bundle.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const json& EncoderGolden() {
  static const json golden = json::parse(std::ifstream(fs::path(HONE_SOURCE_DIR) / "tests/llm/encoder_golden.json"));
  return golden;
}

bool IsNorm(std::string name) {
  std::erase(name, '_');
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return name.find("layernorm") != std::string::npos;
}

// As ops/make_encoder_golden.py fills a model.
std::vector<float> Filled(const std::string& name, size_t count) {
  const bool table = name.find("embedding") != std::string::npos || name.find("attention_bias") != std::string::npos;
  return SeededValues(name, count, IsNorm(name) && name.ends_with("weight") ? 1.0F : 0.0F, table ? 1.0F : 0.25F);
}

void WriteModules(const fs::path& folder, const json& test) {
  json modules = {{{"path", ""}, {"type", "sentence_transformers.models.Transformer"}},
                  {{"path", "1_Pooling"}, {"type", "sentence_transformers.models.Pooling"}}};
  if (test["normalized"].get<bool>())
    modules.push_back({{"path", "2_Normalize"}, {"type", "sentence_transformers.models.Normalize"}});
  WriteBytes(folder / "modules.json", modules.dump());
  json pooling = {{"word_embedding_dimension", 32}};
  for (const auto& [name, key] : {std::pair("cls", "pooling_mode_cls_token"), {"max", "pooling_mode_max_tokens"},
                                  {"mean", "pooling_mode_mean_tokens"},
                                  {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"}}) {
    const auto& wished = test["poolings"];
    pooling[key] = std::find(wished.begin(), wished.end(), name) != wished.end();
  }
  fs::create_directories(folder / "1_Pooling");
  WriteBytes(folder / "1_Pooling" / "config.json", pooling.dump());
}

}  // namespace

std::vector<std::string> EncoderCases() {
  std::vector<std::string> names;
  for (const json& test : EncoderGolden()["cases"]) names.push_back(test["name"]);
  return names;
}

const json& EncoderCase(const std::string& name) {
  for (const json& test : EncoderGolden()["cases"]) {
    if (test["name"] == name) return test;
  }
  ADD_FAILURE() << "no case " << name;
  return EncoderGolden();
}

std::vector<NamedValues> EncoderTensors(const json& test) {
  std::vector<NamedValues> tensors;
  for (const auto& [name, shape] : test["tensors"].items()) {
    const auto dims = shape.get<std::vector<int64_t>>();
    size_t count = 1;
    for (const int64_t dim : dims) count *= static_cast<size_t>(dim);
    tensors.push_back({name, dims, Filled(name, count)});
  }
  return tensors;
}

proto::LocalBundle BundleIn(const fs::path& folder) {
  proto::LocalBundle local;
  auto bundle = BundleOfModel(folder, {});
  EXPECT_TRUE(bundle) << bundle.error().message;
  if (bundle) *local.mutable_bundle() = std::move(*bundle);
  local.set_folder(folder.string());
  return local;
}

proto::LocalBundle WriteEncoder(const fs::path& folder, const json& test, const json& config,
                                const std::vector<NamedValues>& tensors) {
  WriteCheckpoint(folder, config, SafetensorsOf(tensors));
  if (test.contains("poolings")) WriteModules(folder, test);
  return BundleIn(folder);
}

proto::LocalBundle WriteEncoder(const fs::path& folder, const std::string& name) {
  const json& test = EncoderCase(name);
  return WriteEncoder(folder, test, test["config"], EncoderTensors(test));
}

}  // namespace hone::test
