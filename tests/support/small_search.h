// The files of a search that is soon over: a network of two products, eight samples, a recipe of twelve trials. Its
// objective is the size, which is the same in every run.
#pragma once

#include <filesystem>
#include <fstream>

#include "tests/support/tiny_models.h"

namespace hone::test {

class SmallSearch {
 public:
  // Writes the files into the folder.
  explicit SmallSearch(const std::filesystem::path& folder)
      : model_(folder / "mlp.onnx"), recipe_(folder / "recipe.yaml") {
    Mlp().Save(model_);
    WriteNpz(folder / "data.npz", {{"x", NormalArray({8, 64}, 5)}});
    std::ofstream(recipe_) << R"(
data: {evaluation: {path: data.npz, samples: 8}}
passes:
  - choose:
      - none
      - fp16
      - dynamic_int8: {per_channel: [true, false]}
      - weights_int8: {per_channel: [true, false]}
      - weights_int4: {group_size: [16, 32, 64], symmetric: [true, false]}
backends: {onnxruntime: {}, openvino: {}}
objectives: [{minimize: size_bytes}]
search: {sampler: auto, trials: 12, seed: 5}
measure: {pairs: 1, final_pairs: 1, finalists: 2, reuse: false}
)";
  }
  const std::filesystem::path& model() const { return model_; }
  const std::filesystem::path& recipe() const { return recipe_; }

 private:
  const std::filesystem::path model_;
  const std::filesystem::path recipe_;
};

}  // namespace hone::test
