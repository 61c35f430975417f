// Every ready recipe runs on a small model of its kind.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

std::vector<std::string> ReadyRecipes() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(HONE_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class RecipeTest : public testing::TestWithParam<std::string> {};

TEST_P(RecipeTest, FindsACandidateOnASmallModel) {
  TempFolder folder;
  std::vector<std::string> arguments = {"optimize"};
  if (GetParam() == "image_classifier") {
    // Its preprocessing block belongs to the text-angle classifier and pictures of text.
    const char* models = std::getenv("HONE_MODELS");
    ASSERT_TRUE(models != nullptr && fs::exists(fs::path(models) / "text_images")) << "HONE_MODELS is not set up: run ops/setup --models";
    arguments.insert(arguments.end(), {(fs::path(models) / "text_angle.onnx").string(), "--data", (fs::path(models) / "text_images").string()});
  } else {
    ConvNet(16, 8).Save(folder / "model.onnx");
    WriteNpz(folder / "data.npz", {{"image", NormalArray({48, 3, 16, 16}, 5)}});
    arguments.insert(arguments.end(), {(folder / "model.onnx").string(), "--data", (folder / "data.npz").string()});
  }
  arguments.insert(arguments.end(), {"--recipe", std::string(HONE_SOURCE_DIR) + "/recipes/" + GetParam() + ".yaml", "--trials", "4", "-o",
                                     (folder / "out").string(), "--json"});
  const Ran ran = Hone(arguments, 300);
  // A small random network may lose too much accuracy in every form (1); anything else is the recipe's fault.
  ASSERT_TRUE(ran.code == 0 || ran.code == 1) << ran.code << ": " << ran.err;
  const auto trials = ran.json().at("trials");
  EXPECT_EQ(trials.at("failed"), 0) << ran.err;
  EXPECT_GT(trials.at("complete").get<int>() + trials.at("infeasible").get<int>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Recipes, RecipeTest, testing::ValuesIn(ReadyRecipes()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace hone::test
