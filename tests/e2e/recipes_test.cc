// Every ready recipe runs on a small model of its kind.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>

#include "tests/llm/encoder_golden.h"
#include "tests/llm/golden.h"
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

// The recipe as it stands, but with as few timed pairs and samples as there can be: these tests ask whether it runs,
// not which candidate is fastest.
fs::path WithFewPairs(const std::string& name, const fs::path& folder) {
  YAML::Node recipe = YAML::LoadFile(std::string(HONE_SOURCE_DIR) + "/recipes/" + name + ".yaml");
  recipe["measure"]["pairs"] = 1;
  recipe["measure"]["final_pairs"] = 2;
  recipe["measure"]["finalists"] = 1;
  for (auto part : recipe["data"]) part.second["samples"] = 16;
  const fs::path copy = folder / (name + ".yaml");
  std::ofstream(copy) << YAML::Dump(recipe);
  return copy;
}

// The first pictures of each class of the set that ops/setup --models draws.
void CopyPictures(const fs::path& from, const fs::path& to, size_t of_each_class) {
  for (const char* label : {"0", "1"}) {
    fs::create_directories(to / label);
    std::vector<fs::path> pictures;
    for (const auto& entry : fs::directory_iterator(from / label)) pictures.push_back(entry.path());
    std::sort(pictures.begin(), pictures.end());
    ASSERT_GE(pictures.size(), of_each_class);
    for (size_t i = 0; i < of_each_class; ++i) fs::copy(pictures[i], to / label / pictures[i].filename());
  }
}

// Embedding, one attention-free mixing layer, one output: what a text encoder's recipe needs to hold on to.
ModelBuilder Encoder() {
  ModelBuilder b;
  for (const char* input : {"input_ids", "attention_mask", "token_type_ids"})
    b.Input(input, {1, 64}, onnx::TensorProto::INT64);
  b.Output("last_hidden_state", {1, 64, 32});
  b.Weight("words", {100, 32}, 1)
      .Weight("types", {2, 32}, 1)
      .Weight("w1", {32, 128}, 0.18F)
      .Weight("b1", {128}, 0.1F)
      .Weight("w2", {128, 32}, 0.09F);
  b.ConstantInt64("last", {-1});
  b.Node("Gather", {"words", "input_ids"}, {"word"});
  b.Node("Gather", {"types", "token_type_ids"}, {"type"});
  b.Node("Add", {"word", "type"}, {"sum"});
  auto* cast = b.Node("Cast", {"attention_mask"}, {"mask"});
  auto* to = cast->add_attribute();
  to->set_name("to");
  to->set_type(onnx::AttributeProto::INT);
  to->set_i(onnx::TensorProto::FLOAT);
  b.Node("Unsqueeze", {"mask", "last"}, {"column"});
  b.Node("Mul", {"sum", "column"}, {"masked"});
  b.Node("MatMul", {"masked", "w1"}, {"up"});
  b.Node("Add", {"up", "b1"}, {"biased"});
  b.Node("Relu", {"biased"}, {"active"});
  b.Node("MatMul", {"active", "w2"}, {"down"});
  b.Node("Add", {"down", "masked"}, {"last_hidden_state"});
  return b;
}

// Random texts of a BERT.
void WriteTokens(const fs::path& file, int64_t texts, int64_t length, uint64_t vocabulary) {
  std::mt19937 random(5);
  std::vector<int64_t> ids(static_cast<size_t>(texts * length));
  for (int64_t& id : ids) id = static_cast<int64_t>(random() % vocabulary);
  WriteNpz(file, {{"input_ids", Int64Array({texts, length}, ids)},
                  {"attention_mask", Int64Array({texts, length}, std::vector<int64_t>(ids.size(), 1))},
                  {"token_type_ids", Int64Array({texts, length}, std::vector<int64_t>(ids.size(), 0))}});
}

TEST_P(RecipeTest, FindsACandidateOnASmallModel) {
  TempFolder folder;
  std::vector<std::string> arguments = {"optimize"};
  if (GetParam() == "text_encoder") {
    Encoder().Save(folder / "model.onnx");
    WriteTokens(folder / "data.npz", 48, 64, 100);
    arguments.insert(arguments.end(), {(folder / "model.onnx").string(), "--data", (folder / "data.npz").string()});
  } else if (GetParam() == "minilm") {
    const char* models = std::getenv("HONE_MODELS");
    ASSERT_TRUE(models != nullptr && fs::exists(fs::path(models) / "minilm.onnx"))
        << "HONE_MODELS has no MiniLM: run ops/setup --minilm";
    const std::string sentences = (fs::path(models) / "minilm_sentences.npz").string();
    arguments.insert(arguments.end(),
                     {(fs::path(models) / "minilm.onnx").string(), "--data", sentences, "--calibration", sentences});
  } else if (GetParam() == "text_angle" || GetParam() == "image_classifier") {
    const char* models = std::getenv("HONE_MODELS");
    ASSERT_TRUE(models != nullptr && fs::exists(fs::path(models) / "text_images"))
        << "HONE_MODELS is not set up: run ops/setup --models";
    // The recipes calibrate with the first 64 and judge by what follows.
    CopyPictures(fs::path(models) / "text_images", folder / "images", 40);
    arguments.insert(arguments.end(),
                     {(fs::path(models) / "text_angle.onnx").string(), "--data", (folder / "images").string()});
  } else if (GetParam() == "encoder_auto") {
    WriteEncoder(folder / "checkpoint", "embed_mean");
    WriteTokens(folder / "data.npz", 32, 16, 64);
    arguments.insert(arguments.end(), {(folder / "checkpoint").string(), "--data", (folder / "data.npz").string()});
  } else if (GetParam().starts_with("llm_")) {
    GoldenCheckpoint(folder / "checkpoint", "llama");
    std::ofstream(folder / "texts.json") << Case("llama")["tokens"];
    arguments.insert(arguments.end(), {(folder / "checkpoint").string(), "--data", (folder / "texts.json").string()});
  } else {
    ConvNet(16, 8).Save(folder / "model.onnx");
    WriteNpz(folder / "data.npz", {{"image", NormalArray({48, 3, 16, 16}, 5)}});
    arguments.insert(arguments.end(), {(folder / "model.onnx").string(), "--data", (folder / "data.npz").string()});
  }
  arguments.insert(arguments.end(), {"--recipe", WithFewPairs(GetParam(), folder.path()).string(), "--trials", "4",
                                     "-o", (folder / "out").string(), "--json"});
  const Ran ran = Hone(arguments, 300);
  // A small random network may lose too much accuracy in every form (1); anything else is the recipe's fault.
  ASSERT_TRUE(ran.code == 0 || ran.code == 1) << ran.code << ": " << ran.err;
  const auto trials = ran.json().at("trials");
  EXPECT_EQ(trials.at("failed"), 0) << ran.err;
  EXPECT_GT(trials.at("complete").get<int>() + trials.at("infeasible").get<int>(), 0);
}

TEST_P(RecipeTest, IsAcceptedAsItStands) {
  // Some take their data from the command line; the check reads neither model nor data.
  const Ran ran = Hone(
      {"check", std::string(HONE_SOURCE_DIR) + "/recipes/" + GetParam() + ".yaml", "--data", "data.npz", "--json"});
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
}

INSTANTIATE_TEST_SUITE_P(Recipes, RecipeTest, testing::ValuesIn(ReadyRecipes()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace hone::test
