// Decoders of every family: their logits against those of transformers, from the start and token by token, and what is
// refused.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/recipe/value.h"
#include "tests/llm/build.h"
#include "tests/llm/golden.h"
#include "tests/llm/tiny_checkpoint.h"
#include "worker/backends/backend.h"
#include "worker/evaluation/decoding.h"
#include "worker/model/model.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

std::unique_ptr<Session> Opened(const fs::path& folder) {
  auto session = LoadOnnxFile(folder / "model.onnx", 1, true);
  EXPECT_TRUE(session) << session.error().message;
  return session ? std::move(*session) : nullptr;
}

// Logits of all tokens: all at once, or the last few one by one.
std::vector<float> Logits(const fs::path& folder, const std::vector<int64_t>& tokens, size_t alone) {
  const auto session = Opened(folder);
  std::vector<float> logits;
  if (session == nullptr) return logits;
  TextRun run(*session);
  const auto step = [&](size_t first, size_t last) {
    const auto got = run.Step(
        {tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.begin() + static_cast<std::ptrdiff_t>(last)});
    ASSERT_TRUE(got) << got.error().message;
    logits.insert(logits.end(), *got, *got + static_cast<size_t>(run.vocabulary()) * (last - first));
  };
  step(0, tokens.size() - alone);
  for (size_t i = tokens.size() - alone; i < tokens.size(); ++i) step(i, i + 1);
  return logits;
}

class TestFolder : public testing::Test {
 protected:
  Result<ScopedFolder> scratch_ = ScopedFolder::Make(testing::TempDir(), "llm-");
  fs::path path() const { return scratch_->path(); }
};

class DecoderFamily : public testing::TestWithParam<size_t> {
 protected:
  Result<ScopedFolder> scratch_ = ScopedFolder::Make(testing::TempDir(), "llm-");
};

TEST_P(DecoderFamily, GivesTheLogitsOfTransformers) {
  const json& test = Golden()["cases"][GetParam()];
  const auto model = WriteCheckpoint(scratch_->path() / "in", test["config"], WeightsOf(test));
  const fs::path out = scratch_->path() / "out";
  const auto built = Build(model, out, {{"precision", TextValue("f32")}});
  ASSERT_TRUE(built) << built.error().message;
  auto tokens = test["tokens"].get<std::vector<int64_t>>();
  const auto whole = Logits(out, tokens, 0);
  EXPECT_LE(DifferenceAt(whole, test["places"], test["logits"]), 1e-3);
  tokens.resize(24);
  const auto brief = Logits(out, tokens, 0);
  EXPECT_LE(DifferenceAt(brief, test["short_places"], test["short"]), 1e-3);
  EXPECT_LE(LargestDifference(Logits(out, tokens, 6), brief), 1e-3);
  EXPECT_TRUE(CheckModel(*LoadOnnx(out / "model.onnx")));
}

INSTANTIATE_TEST_SUITE_P(Llm, DecoderFamily, testing::Range(size_t{0}, Golden()["cases"].size()), [](const auto& row) {
  return Golden()["cases"][row.param]["name"].template get<std::string>();
});

// --- precisions ---

class PrecisionTest : public TestFolder {
 protected:
  proto::LocalBundle Model(const std::string& name) {
    return GoldenCheckpoint(path() / name, name);
  }
  // The distance of a form from f32, relative to the logits.
  double Loss(const proto::LocalBundle& model, const Settings& settings) {
    static int number = 0;
    const fs::path exact = path() / fmt::format("exact{}", number), out = path() / fmt::format("out{}", number++);
    const auto whole = Build(model, exact, {{"precision", TextValue("f32")}});
    const auto built = Build(model, out, settings);
    EXPECT_TRUE(whole) << whole.error().message;
    EXPECT_TRUE(built) << built.error().message;
    if (!whole || !built) return INFINITY;
    const auto tokens = Case("llama")["tokens"].get<std::vector<int64_t>>();
    const auto a = Logits(exact, tokens, 2), b = Logits(out, tokens, 2);
    return RelativeDistance(a, b);
  }
};

TEST_F(PrecisionTest, HalfIsNearFloat) {
  for (const char* name : {"llama", "qwen3", "gemma2"})
    EXPECT_LE(Loss(Model(name), {{"precision", TextValue("f16")}}), 1e-2) << name;
}

TEST_F(PrecisionTest, EightBitsAreNearerThanFour) {
  for (const char* name : {"llama", "qwen2", "gemma", "phi3"}) {
    const auto model = Model(name);
    const double eight = Loss(model, {{"precision", TextValue("int8")}});
    const double four = Loss(model, {{"precision", TextValue("int4")}});
    EXPECT_LE(eight, 0.05) << name;
    EXPECT_LE(four, 0.5) << name;
    EXPECT_LT(eight, four) << name;
  }
}

TEST_F(PrecisionTest, MoreWeightsInEightBitsLoseLess) {
  const auto model = Model("llama");
  const double all = Loss(model, {{"precision", TextValue("int4")}});
  const double half = Loss(model, {{"precision", TextValue("int4")}, {"ratio", RealValue(0.3)}});
  EXPECT_LT(half, all);
}

TEST_F(PrecisionTest, EveryFormOfEmbeddingsAndHeadRuns) {
  for (const char* name : {"llama", "qwen2"}) {  // Apart, and shared.
    for (const char* head : {"float", "int8", "int4"}) {
      for (const char* embeddings : {"float", "int8", "int4"}) {
        for (const bool symmetric : {true, false}) {
          const Settings settings = {{"precision", TextValue("int4")},      {"head", TextValue(head)},
                                     {"embeddings", TextValue(embeddings)}, {"symmetric", BoolValue(symmetric)},
                                     {"group_size", IntValue(128)},         {"accuracy_level", IntValue(1)}};
          EXPECT_LE(Loss(Model(name), settings), 0.6) << name << head << embeddings << symmetric;
        }
      }
    }
  }
}

TEST_F(PrecisionTest, MethodsAreThoseOfTheWeightPasses) {
  const auto model = Model("llama");
  for (const char* method : {"rtn", "mse", "hqq"})
    EXPECT_LE(Loss(model, {{"precision", TextValue("int4")}, {"method", TextValue(method)}}), 0.5) << method;
}

TEST_F(PrecisionTest, TheSameTaskGivesTheSameBytes) {
  const auto model = Model("phi3_long");
  const auto one = Build(model, path() / "one", {{"precision", TextValue("int4")}, {"ratio", RealValue(0.5)}});
  const auto two = Build(model, path() / "two", {{"precision", TextValue("int4")}, {"ratio", RealValue(0.5)}});
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->model().SerializeAsString(), two->model().SerializeAsString());
}

// --- GGUF ---

class GgufBlocks : public PrecisionTest, public testing::WithParamInterface<WeightType> {};

TEST_P(GgufBlocks, AreKeptExactly) {
  for (const bool tied : {true, false}) {
    const fs::path folder = path() / (tied ? "tied" : "apart");
    fs::create_directories(folder);
    WriteBytes(folder / "m.gguf", GgufOf({GetParam()}, tied));
    EXPECT_LE(Loss(CheckpointIn(folder), {{"accuracy_level", IntValue(1)}}), 1e-4) << tied;
  }
}

INSTANTIATE_TEST_SUITE_P(Llm, GgufBlocks,
                         testing::Values(WeightType::q4_0, WeightType::q4_1, WeightType::q5_0, WeightType::q5_1,
                                         WeightType::q8_0, WeightType::q2_k, WeightType::q3_k, WeightType::q4_k,
                                         WeightType::q5_k, WeightType::q6_k),
                         [](const auto& row) { return std::string(InfoOf(row.param).name); });

TEST_F(PrecisionTest, MatricesOfSeveralBlockTypesAreKeptExactly) {
  WriteBytes(path() / "m.gguf", GgufOf({WeightType::q6_k, WeightType::q4_k, WeightType::q8_0, WeightType::q4_1}, true));
  EXPECT_LE(Loss(CheckpointIn(path()), {{"accuracy_level", IntValue(1)}}), 1e-4);
}

TEST_F(PrecisionTest, CodesThatAreQuantizedAgainAreTold) {
  WriteBytes(path() / "m.gguf", GgufOf({WeightType::q6_k}, true));
  const auto built = Build(CheckpointIn(path()), path() / "again", {{"precision", TextValue("int4")}});
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_THAT(std::vector<std::string>(built->notes().begin(), built->notes().end()),
              testing::Contains(HasSubstr("a second time")));
}

// --- what is refused ---

class RefusalTest : public TestFolder {
 protected:
  std::string Told(const json& config, const std::vector<NamedValues>& tensors) {
    const auto built = Build(WriteCheckpoint(path() / "in", config, SafetensorsOf(tensors)), path() / "out", {});
    EXPECT_FALSE(fs::exists(path() / "out" / "model.onnx"));
    return built ? "" : built.error().message;
  }
};

TEST_F(RefusalTest, MissingTensorIsNamed) {
  auto tensors = TensorsOf(Case("llama"));
  std::erase_if(tensors, [](const auto& tensor) { return tensor.name == "model.layers.1.mlp.up_proj.weight"; });
  EXPECT_THAT(Told(Case("llama")["config"], tensors), HasSubstr("'model.layers.1.mlp.up_proj.weight' is missing"));
}

TEST_F(RefusalTest, WrongShapeIsNamed) {
  json config = Case("llama")["config"];
  config["intermediate_size"] = 128;
  EXPECT_THAT(Told(config, TensorsOf(Case("llama"))), HasSubstr("mlp.gate_proj.weight' has the shape [96, 64]"));
}

TEST_F(RefusalTest, TensorWithoutPlaceIsNamed) {
  auto tensors = TensorsOf(Case("llama"));
  tensors.push_back({"model.layers.0.self_attn.q_norm.weight", {16}, std::vector<float>(16)});
  EXPECT_THAT(Told(Case("llama")["config"], tensors), HasSubstr("self_attn.q_norm.weight"));
}

TEST_F(RefusalTest, NotANumberIsNamed) {
  auto tensors = TensorsOf(Case("llama"));
  tensors.front().values[3] = NAN;
  EXPECT_THAT(Told(Case("llama")["config"], tensors), HasSubstr(tensors.front().name + "' holds NaN"));
}

// --- the folder ---

TEST_F(TestFolder, GenaiConfigurationTellsTheModelAndItsTokens) {
  const json& test = Case("llama");
  const fs::path in = path() / "in";
  fs::create_directories(in);
  WriteBytes(in / "generation_config.json",
             R"({"do_sample":true,"temperature":0.6,"repetition_penalty":1.1,"eos_token_id":[5,2]})");
  WriteBytes(in / "tokenizer.json",
             R"({"added_tokens":[{"id":7,"content":"<end>"},{"id":8,"content":"<think>"}],"model":{"vocab":{"a":0}}})");
  WriteBytes(in / "tokenizer_config.json",
             R"({"tokenizer_class":"Strange","eos_token":{"content":"<end>"},"model_max_length":1e30})");
  const auto model = WriteCheckpoint(in, test["config"], WeightsOf(test));
  const auto built = Build(model, path() / "out", {{"max_length", IntValue(100)}});
  ASSERT_TRUE(built) << built.error().message;
  const json told = json::parse(std::ifstream(path() / "out" / "genai_config.json"));
  EXPECT_EQ(told["model"]["eos_token_id"], json({7, 5, 2}));
  EXPECT_EQ(told["model"]["bor_token_id"], 8);
  EXPECT_EQ(told["model"]["type"], "llama");
  EXPECT_EQ(told["model"]["decoder"]["num_key_value_heads"], 2);
  EXPECT_EQ(told["search"]["max_length"], 100);
  EXPECT_EQ(told["search"]["repetition_penalty"], 1.1);
  EXPECT_EQ(told["search"]["do_sample"], true);
  const json tokenizer = json::parse(std::ifstream(path() / "out" / "tokenizer_config.json"));
  EXPECT_EQ(tokenizer["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(tokenizer["model_max_length"], 256);
}

TEST_F(TestFolder, GreedyTokensComeFromTheCache) {
  const json& test = Case("qwen3");
  const auto built = Build(WriteCheckpoint(path() / "in", test["config"], WeightsOf(test)), path() / "out",
                           {{"precision", TextValue("f32")}});
  ASSERT_TRUE(built) << built.error().message;
  const auto session = Opened(path() / "out");
  ASSERT_NE(session, nullptr);
  const std::vector<int64_t> prompt = {5, 9, 40};
  const auto made = ContinueText(*session, prompt, 8);
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_EQ(made->size(), 8U);
  // The same, each from the whole text before it.
  std::vector<int64_t> text = prompt;
  for (const int64_t token : *made) {
    const auto next = ContinueText(*session, text, 1);
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(next->front(), token);
    text.push_back(token);
  }
  const auto scores = ReadText(*session, text, 0);
  ASSERT_TRUE(scores) << scores.error().message;
  EXPECT_GT(PerplexityOf(*scores), 1);
  EXPECT_LT(PerplexityOf(*scores), 96);
  EXPECT_THAT(ContinueText(*session, {}, 1).error().message, HasSubstr("one token at least"));
}

TEST_F(TestFolder, ATextInPartsSurprisesAsMuchAsTheWholeAndInBothRuntimes) {
  const auto built = Build(GoldenCheckpoint(path() / "in", "llama"), path() / "out", {{"precision", TextValue("f32")}});
  ASSERT_TRUE(built) << built.error().message;
  const auto tokens = Case("llama")["tokens"].get<std::vector<int64_t>>();
  const auto plain = Opened(path() / "out");
  ASSERT_NE(plain, nullptr);
  const auto whole = ReadText(*plain, tokens, 0);
  ASSERT_TRUE(whole) << whole.error().message;
  const double expected = PerplexityOf(*whole);
  proto::LocalBundle model;
  *model.mutable_bundle() = built->model();
  model.set_folder((path() / "out").string());
  for (const BackendRow& backend : Backends()) {
    const auto session = backend.load(model, {});
    ASSERT_TRUE(session) << backend.name << ": " << session.error().message;
    EXPECT_TRUE(IsDecoder((*session)->inputs(), (*session)->outputs())) << backend.name;
    for (const size_t part : {size_t{0}, size_t{7}}) {
      const auto scores = ReadText(**session, tokens, part);
      ASSERT_TRUE(scores) << backend.name << ": " << scores.error().message;
      ASSERT_EQ(scores->size(), tokens.size() - 1);
      // OpenVINO computes in bfloat16 where the processor has it.
      EXPECT_NEAR(PerplexityOf(*scores), expected, expected * 0.05) << backend.name;
    }
    const auto written = WriteText(**session, 20, 5), again = WriteText(**session, 20, 5);
    ASSERT_TRUE(written && again) << backend.name;
    EXPECT_EQ(*written, *again) << backend.name;
    EXPECT_EQ(written->size(), 20U);
  }
  const auto session = Backends().front().load(model, {});
  ASSERT_TRUE(session);
  EXPECT_THAT(ReadText(**session, {1, 96}, 0).error().message, HasSubstr("beyond the model's 96 tokens"));
}

TEST_F(TestFolder, LaterPassesKeepTheVocabularyAndTheSettings) {
  const fs::path in = path() / "in";
  fs::create_directories(in);
  WriteBytes(in / "tokenizer.json", R"({"model":{"vocab":{"a":0}}})");
  const auto built = Build(GoldenCheckpoint(in, "llama"), path() / "built", {{"precision", TextValue("f32")}});
  ASSERT_TRUE(built) << built.error().message;
  proto::LocalBundle model;
  *model.mutable_bundle() = built->model();
  model.set_folder((path() / "built").string());
  const auto after = Build(model, path() / "after", {}, "simplify");
  ASSERT_TRUE(after) << after.error().message;
  std::vector<std::string> paths;
  for (const auto& file : after->model().files()) paths.push_back(file.path());
  for (const char* kept : {"genai_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_THAT(paths, testing::Contains(kept));
    EXPECT_EQ(*ReadFile(path() / "after" / kept, 1 << 20), *ReadFile(path() / "built" / kept, 1 << 20));
  }
  EXPECT_TRUE(CheckBundle(after->model()));
}

}  // namespace
}  // namespace hone::test
