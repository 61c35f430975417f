// Every recipe of recipes/<task>/ is searched on a small model of its family: one fleet, one job a recipe.
// HONE_RECIPE_TRIALS raises the number of candidates of each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "common/recipe/recipe_yaml.h"
#include "tests/support/programs.h"
#include "tests/support/setting.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

// The recipes of the folders of tasks, ordered.
std::vector<fs::path> FamilyRecipes() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(HONE_SOURCE_DIR) / "recipes")) {
    const fs::path folder = entry.path().parent_path().filename();
    if (entry.path().extension() == ".yaml" && folder != "recipes" && folder != "external")
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The kind of model that a recipe's second line names: "... small models in tests: picture."
std::string KindOf(const fs::path& recipe) {
  const std::string text = TextOf(recipe);
  const std::string mark = "small models in tests: ";
  const size_t at = text.find(mark);
  return at == std::string::npos ? ""
                                 : text.substr(at + mark.size(), text.find('.', at + mark.size()) - at - mark.size());
}

ModelBuilder Convolutions(const std::vector<int64_t>& shape, bool map, bool two_outputs) {
  const int64_t channels = shape[1];
  ModelBuilder b;
  b.Input("x", shape)
      .Weight("k1", {8, channels, 3, 3}, 0.3F)
      .Weight("k2", {4, 8, 3, 3}, 0.15F)
      .Weight("w", {4, 6}, 0.5F);
  ModelBuilder::Ints(b.Node("Conv", {"x", "k1"}, {"a"}), "pads", {1, 1, 1, 1});
  b.Node("Relu", {"a"}, {"ar"});
  ModelBuilder::Ints(b.Node("Conv", {"ar", "k2"}, {"c"}), "pads", {1, 1, 1, 1});
  if (map || two_outputs) {
    b.Output("map", {shape[0], 4, shape[2], shape[3]});
    b.Node("Sigmoid", {"c"}, {"map"});
  }
  if (!map || two_outputs) {
    b.Output("y", {shape[0], 6});
    b.Node("GlobalAveragePool", {"c"}, {"g"});
    b.Node("Flatten", {"g"}, {"f"});
    b.Node("MatMul", {"f", "w"}, {"y"});
  }
  return b;
}

ModelBuilder Waves() {
  ModelBuilder b;
  b.Input("x", {1, 1, 400}).Output("y", {1, 5}).Weight("k", {8, 1, 10}, 0.3F).Weight("w", {8, 5}, 0.3F);
  ModelBuilder::Ints(b.Node("Conv", {"x", "k"}, {"a"}), "strides", {5});
  b.Node("Relu", {"a"}, {"ar"});
  b.Node("GlobalAveragePool", {"ar"}, {"g"});
  b.Node("Flatten", {"g"}, {"f"});
  b.Node("MatMul", {"f", "w"}, {"y"});
  return b;
}

ModelBuilder Tokens() {
  ModelBuilder b;
  b.Input("x", {1, 16}, onnx::TensorProto::INT64).Output("y", {1, 16, 32});
  b.Weight("words", {100, 32}, 1)
      .Weight("w1", {32, 128}, 0.18F)
      .Weight("b1", {128}, 0.1F)
      .Weight("w2", {128, 32}, 0.09F);
  b.Node("Gather", {"words", "x"}, {"e"});
  b.Node("MatMul", {"e", "w1"}, {"up"});
  b.Node("Add", {"up", "b1"}, {"biased"});
  b.Node("Relu", {"biased"}, {"active"});
  b.Node("MatMul", {"active", "w2"}, {"down"});
  b.Node("Add", {"down", "e"}, {"y"});
  return b;
}

Array TokenIds() {
  std::mt19937 random(5);
  std::vector<int64_t> ids(16 * 16);
  for (int64_t& id : ids) id = static_cast<int64_t>(random() % 100);
  return Int64Array({16, 16}, ids);
}

// One model and one data set a kind, written once.
class Families {
 public:
  explicit Families(const fs::path& folder) : folder_(folder) {
    Write("picture", Convolutions({1, 3, 16, 16}, false, false), NormalArray({16, 3, 16, 16}, 5));
    Write("detector", Convolutions({1, 3, 16, 16}, false, true), NormalArray({16, 3, 16, 16}, 5));
    Write("mask", Convolutions({1, 3, 16, 16}, true, false), NormalArray({16, 3, 16, 16}, 5));
    Write("sequence", Convolutions({1, 3, 8, 32}, false, false), NormalArray({16, 3, 8, 32}, 5));
    Write("spectrogram", Convolutions({1, 1, 16, 20}, false, false), NormalArray({16, 1, 16, 20}, 5));
    Write("wave", Waves(), NormalArray({16, 1, 400}, 5));
    Write("text", Tokens(), TokenIds());
  }
  bool Has(const std::string& kind) const { return fs::exists(Model(kind)); }
  fs::path Model(const std::string& kind) const { return folder_ / (kind + ".onnx"); }
  fs::path Data(const std::string& kind) const { return folder_ / (kind + ".npz"); }

 private:
  void Write(const std::string& kind, const ModelBuilder& builder, const Array& data) {
    builder.Save(Model(kind));
    WriteNpz(Data(kind), {{"x", data}});
  }
  const fs::path folder_;
};

TEST(FamilyRecipesTest, ThereAreThirtyEachWithItsPageAndAPlaceInTheIndex) {
  const std::vector<fs::path> recipes = FamilyRecipes();
  EXPECT_GE(recipes.size(), 30U);
  const std::string index = TextOf(fs::path(HONE_SOURCE_DIR) / "recipes/README.md");
  for (const fs::path& recipe : recipes) {
    const auto parsed = ParseRecipe(TextOf(recipe), recipe.string());
    EXPECT_TRUE(parsed) << recipe << ": " << parsed.error().message;
    const std::string page = TextOf(fs::path(recipe).replace_extension(".md"));
    EXPECT_GT(page.size(), 200U) << recipe;
    const std::string place = recipe.parent_path().filename().string() + "/" + recipe.stem().string() + ".md";
    EXPECT_NE(index.find("(" + place + ")"), std::string::npos) << place;
  }
}

TEST(FamilyRecipesTest, EachIsSearchedOnASmallModelOfItsFamily) {
  TempFolder folder;
  const Families families(folder.path());
  Coordinator coordinator(folder.path());
  Worker worker(folder.path(), "one", coordinator.endpoint());
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1)) << worker.Log();
  const std::string trials = std::to_string(Setting("HONE_RECIPE_TRIALS", 1));
  std::map<std::string, std::string> jobs;
  for (const fs::path& recipe : FamilyRecipes()) {
    const std::string kind = KindOf(recipe);
    ASSERT_TRUE(families.Has(kind)) << recipe << " names no kind of model: '" << kind << "'";
    // As it stands, but with as little timing as there can be.
    const fs::path copy = folder / (recipe.parent_path().filename().string() + "_" + recipe.filename().string());
    std::ofstream(copy) << TextOf(recipe) << "measure: {pairs: 1, final_pairs: 1, finalists: 1}\n";
    const Ran ran =
        Hone({"submit", families.Model(kind).string(), "--recipe", copy.string(), "--data",
              families.Data(kind).string(), "--trials", trials, "--coordinator", coordinator.endpoint(), "--json"});
    ASSERT_EQ(ran.code, 0) << recipe << ": " << ran.err;
    jobs[ran.json()["job"].get<std::string>()] = recipe.string();
  }
  for (const auto& [job, recipe] : jobs) {
    const Ran ran = Hone({"wait", job, "--coordinator", coordinator.endpoint(), "--json"}, 240);
    // A small random network may lose too much accuracy in the form that was tried (1); anything else is the recipe's
    // fault.
    EXPECT_TRUE(ran.code == 0 || ran.code == 1) << recipe << ": " << ran.code << " " << ran.err;
    const Ran told = Hone({"status", job, "--coordinator", coordinator.endpoint(), "--json"});
    ASSERT_EQ(told.code, 0) << told.err;
    EXPECT_EQ(told.json()["studies"][0]["trials"]["failed"], 0) << recipe;
  }
}

}  // namespace
}  // namespace hone::test
