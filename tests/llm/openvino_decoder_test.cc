// Stateful decoders of OpenVINO: their logits against those of transformers, from the start and token by token, whose
// state a sequence goes on with, what the runtime makes of them, and what is refused.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <openvino/op/constant.hpp>
#include <openvino/openvino.hpp>
#include <openvino/runtime/intel_cpu/properties.hpp>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/recipe/value.h"
#include "tests/llm/build.h"
#include "tests/llm/golden.h"
#include "tests/llm/tiny_checkpoint.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using Ids = std::vector<int64_t>;

constexpr const char* kPass = "build_openvino_decoder";

ov::Core& SharedCore() {
  static ov::Core core;
  return core;
}

// A model in the plain runtime, everything computed in float32, with sequences of one length side by side.
class StatefulRun {
 public:
  explicit StatefulRun(const fs::path& folder)
      : compiled_(SharedCore().compile_model(
            (folder / "openvino_model.xml").string(), "CPU", ov::hint::inference_precision(ov::element::f32),
            ov::hint::kv_cache_precision(ov::element::f32), ov::hint::dynamic_quantization_group_size(0),
            ov::inference_num_threads(2))),
        request_(compiled_.create_infer_request()) {}

  void Reset() {
    request_.reset_state();
    mask_.clear();
  }

  // Goes on with tokens for each sequence, of which sequence i goes on with the state of beams[i]. Logits of all.
  std::vector<float> Step(const std::vector<Ids>& tokens, std::vector<int32_t> beams = {}) {
    const size_t batch = tokens.size(), count = tokens.front().size();
    if (beams.empty()) {
      beams.resize(batch);
      std::iota(beams.begin(), beams.end(), 0);
    }
    std::vector<Ids> mask(batch);
    Ids ids, seen, places;
    for (size_t row = 0; row < batch; ++row) {
      if (!mask_.empty()) mask[row] = mask_[static_cast<size_t>(beams[row])];
      int64_t place = std::accumulate(mask[row].begin(), mask[row].end(), int64_t{0});
      for (const int64_t token : tokens[row]) {
        mask[row].push_back(token < 0 ? 0 : 1);
        ids.push_back(std::max<int64_t>(token, 0));
        places.push_back(token < 0 ? 1 : place++);
      }
      seen.insert(seen.end(), mask[row].begin(), mask[row].end());
    }
    mask_ = mask;
    Set("input_ids", ids, {batch, count});
    Set("attention_mask", seen, {batch, mask_.front().size()});
    Set("position_ids", places, {batch, count});
    Set("beam_idx", beams, {batch});
    request_.infer();
    const ov::Tensor logits = request_.get_tensor("logits");
    return {logits.data<const float>(), logits.data<const float>() + logits.get_size()};
  }

  // Logits of all tokens of a new sequence: all at once, or the last few one by one.
  std::vector<float> Logits(const Ids& tokens, size_t alone) {
    Reset();
    const auto first = tokens.end() - static_cast<std::ptrdiff_t>(alone);
    std::vector<float> logits = Step({{tokens.begin(), first}});
    for (auto token = first; token != tokens.end(); ++token) {
      const std::vector<float> row = Step({{*token}});
      logits.insert(logits.end(), row.begin(), row.end());
    }
    return logits;
  }

  size_t States() { return request_.query_state().size(); }
  // Types of the operators that are executed, a state's with what reads it: "MemoryInput -> Gather".
  std::multiset<std::string> Kernels() const {
    const auto type = [](const ov::Node& node) { return node.get_rt_info().at("layerType").as<std::string>(); };
    std::multiset<std::string> types;
    for (const auto& node : compiled_.get_runtime_model()->get_ops()) {
      const std::string own = type(*node);
      types.insert(own);
      if (own != "MemoryInput") continue;
      for (const auto& reader : node->output(0).get_target_inputs())
        types.insert(own + " -> " + type(*reader.get_node()));
    }
    return types;
  }

 private:
  template <class T>
  void Set(const char* name, const std::vector<T>& values, const ov::Shape& shape) {
    ov::Tensor tensor(ov::element::from<T>(), shape);
    std::copy(values.begin(), values.end(), tensor.data<T>());
    request_.set_tensor(name, tensor);
  }

  ov::CompiledModel compiled_;
  ov::InferRequest request_;
  std::vector<Ids> mask_;  // Of each sequence so far; a token below 0 is padding.
};

class OpenvinoDecoder : public testing::Test {
 protected:
  fs::path path() const { return scratch_->path(); }
  // The folder of what the pass makes.
  fs::path Folder(const proto::LocalBundle& model, const Settings& settings) {
    fs::path out = path() / fmt::format("out{}", count_++);
    const auto built = Build(model, out, settings, kPass);
    EXPECT_TRUE(built) << built.error().message;
    return out;
  }
  fs::path FolderOfCase(const char* name, const Settings& settings) {
    return Folder(GoldenCheckpoint(path() / name, name), settings);
  }
  // The distance of a form from f32, relative to the logits.
  double Loss(const proto::LocalBundle& model, const Settings& settings) {
    const Ids tokens = Case("llama")["tokens"].get<Ids>();
    StatefulRun exact(Folder(model, kFloat)), run(Folder(model, settings));
    return RelativeDistance(exact.Logits(tokens, 2), run.Logits(tokens, 2));
  }
  const Settings kFloat = {{"precision", TextValue("f32")}};

 private:
  Result<ScopedFolder> scratch_ = ScopedFolder::Make(testing::TempDir(), "llm-");
  int count_ = 0;
};

class OpenvinoFamily : public OpenvinoDecoder, public testing::WithParamInterface<size_t> {};

TEST_P(OpenvinoFamily, GivesTheLogitsOfTransformers) {
  const json& test = Golden()["cases"][GetParam()];
  StatefulRun run(Folder(WriteCheckpoint(path() / "in", test["config"], WeightsOf(test)), kFloat));
  EXPECT_EQ(run.States(), 2 * test["config"]["num_hidden_layers"].get<size_t>());
  Ids tokens = test["tokens"].get<Ids>();
  EXPECT_LE(DifferenceAt(run.Logits(tokens, 0), test["places"], test["logits"]), 1e-3);
  tokens.resize(24);
  const auto brief = run.Logits(tokens, 0);
  EXPECT_LE(DifferenceAt(brief, test["short_places"], test["short"]), 1e-3);
  EXPECT_LE(LargestDifference(run.Logits(tokens, 6), brief), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Llm, OpenvinoFamily, testing::Range(size_t{0}, Golden()["cases"].size()), [](const auto& row) {
  return Golden()["cases"][row.param]["name"].template get<std::string>();
});

// --- the state ---

TEST_F(OpenvinoDecoder, AStateThatIsResetKnowsNothing) {
  StatefulRun run(FolderOfCase("llama", kFloat));
  const auto first = run.Logits({5, 9, 40}, 0);
  run.Step({{7, 7, 7}});
  EXPECT_EQ(run.Logits({5, 9, 40}, 0), first);
}

TEST_F(OpenvinoDecoder, SequencesGoOnWithTheStateThatTheirBeamNames) {
  StatefulRun run(FolderOfCase("mistral", kFloat));
  const Ids a = {5, 9, 40, 3}, b = {80, 2, 31, 66};
  const auto after = [&](Ids tokens, int64_t next) {
    run.Reset();
    run.Step({tokens});
    return run.Step({{next}});
  };
  const auto a_then_11 = after(a, 11), b_then_11 = after(b, 11), b_then_12 = after(b, 12);
  const auto both = [](std::vector<float> one, const std::vector<float>& two) {
    one.insert(one.end(), two.begin(), two.end());
    return one;
  };
  for (const auto& [beams, expected] : {std::pair(std::vector<int32_t>{0, 1}, both(a_then_11, b_then_12)),
                                        std::pair(std::vector<int32_t>{1, 1}, both(b_then_11, b_then_12))}) {
    run.Reset();
    run.Step({a, b});
    EXPECT_LE(LargestDifference(run.Step({{11}, {12}}, beams), expected), 1e-4);
  }
}

TEST_F(OpenvinoDecoder, PaddingOnTheLeftIsNotSeen) {
  constexpr int64_t kPadding = -1;
  for (const char* name : {"llama", "gemma3"}) {
    StatefulRun run(FolderOfCase(name, kFloat));
    const Ids text = {5, 9, 40};
    const auto alone = run.Logits(text, 0);
    run.Reset();
    const auto beside = run.Step({{kPadding, kPadding, 5, 9, 40}, {1, 2, 3, 4, 5}});
    const auto row = static_cast<std::ptrdiff_t>(alone.size() / text.size());
    EXPECT_LE(LargestDifference(alone, {beside.begin() + 2 * row, beside.begin() + 5 * row}), 1e-4) << name;
  }
}

// --- what the runtime makes of it ---

TEST_F(OpenvinoDecoder, AttentionRotationAndNormsAreKernels) {
  for (const char* name : {"llama", "mistral", "qwen3", "phi3_long", "gemma3"}) {
    const StatefulRun run(FolderOfCase(name, kFloat));
    const auto kernels = run.Kernels();
    const auto layers = Case(name)["config"]["num_hidden_layers"].get<size_t>();
    EXPECT_EQ(kernels.count("ScaledDotProductAttention"), layers) << name;
    EXPECT_EQ(kernels.count("MemoryInput -> ScaledDotProductAttention"), 2 * layers) << name;
    EXPECT_EQ(kernels.count("RoPE"), 2 * layers) << name;
    EXPECT_GE(kernels.count("RMS"), 2 * layers + 1) << name;
    EXPECT_EQ(kernels.count("Softmax"), 0U) << name;
  }
}

TEST_F(OpenvinoDecoder, CodesStayCodesInTheFile) {
  struct Row {
    Settings settings;
    std::set<std::string> types;
  };
  const std::vector<Row> rows = {
      {{{"precision", TextValue("f16")}}, {"f16"}},
      {{{"precision", TextValue("int8")}}, {"u8"}},
      {{{"precision", TextValue("int4")}}, {"i4", "u8"}},
      {{{"precision", TextValue("int4")}, {"symmetric", BoolValue(false)}}, {"u4", "u8"}},
      {{{"precision", TextValue("int4")}, {"head", TextValue("int4")}, {"embeddings", TextValue("int4")}}, {"i4"}},
  };
  for (const Row& row : rows) {
    const auto model = SharedCore().read_model((FolderOfCase("llama", row.settings) / "openvino_model.xml").string());
    std::set<std::string> types;
    for (const auto& node : model->get_ops()) {
      const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
      if (constant && constant->get_shape().size() >= 2 && ov::shape_size(constant->get_shape()) >= 1024)
        types.insert(constant->get_element_type().get_type_name());
    }
    EXPECT_EQ(types, row.types);
  }
}

// --- precisions ---

TEST_F(OpenvinoDecoder, HalfIsNearFloat) {
  for (const char* name : {"llama", "gemma2"})
    EXPECT_LE(Loss(GoldenCheckpoint(path() / name, name), {{"precision", TextValue("f16")}}), 1e-2) << name;
}

TEST_F(OpenvinoDecoder, EightBitsAreNearerThanFour) {
  for (const char* name : {"llama", "qwen2", "phi3"}) {
    const auto model = GoldenCheckpoint(path() / name, name);
    const double eight = Loss(model, {{"precision", TextValue("int8")}});
    EXPECT_LE(eight, 0.05) << name;
    for (const bool symmetric : {true, false}) {
      const double four = Loss(model, {{"precision", TextValue("int4")}, {"symmetric", BoolValue(symmetric)}});
      EXPECT_LE(four, 0.5) << name;
      EXPECT_LT(eight, four) << name;
    }
  }
}

TEST_F(OpenvinoDecoder, MoreWeightsInEightBitsLoseLess) {
  const auto model = GoldenCheckpoint(path() / "in", "llama");
  const double all = Loss(model, {{"precision", TextValue("int4")}});
  EXPECT_LT(Loss(model, {{"precision", TextValue("int4")}, {"ratio", RealValue(0.3)}}), all);
  EXPECT_LE(Loss(model, {{"precision", TextValue("int4")}, {"method", TextValue("mse")}}), 0.5);
}

TEST_F(OpenvinoDecoder, WeightsOfZerosGiveNumbers) {
  auto tensors = TensorsOf(Case("llama"));
  for (NamedValues& tensor : tensors) {
    if (tensor.name.find("proj") != std::string::npos) tensor.values.assign(tensor.values.size(), 0);
  }
  const auto model = WriteCheckpoint(path() / "in", Case("llama")["config"], SafetensorsOf(tensors));
  StatefulRun run(Folder(model, {{"precision", TextValue("int4")}, {"symmetric", BoolValue(false)}}));
  for (const float logit : run.Logits({5, 9, 40}, 1)) ASSERT_TRUE(std::isfinite(logit));
}

class OpenvinoMixedBlocks : public OpenvinoDecoder {
 protected:
  double LossOfBlocks(const std::vector<WeightType>& types, bool tied) {
    const fs::path in = path() / "in";
    fs::create_directories(in);
    WriteBytes(in / "m.gguf", GgufOf(types, tied));
    return Loss(CheckpointIn(in), {});
  }
};

class OpenvinoBlocks : public OpenvinoMixedBlocks, public testing::WithParamInterface<WeightType> {};

TEST_P(OpenvinoBlocks, AreKept) { EXPECT_LE(LossOfBlocks({GetParam()}, true), 1e-4); }

INSTANTIATE_TEST_SUITE_P(Llm, OpenvinoBlocks,
                         testing::Values(WeightType::q4_0, WeightType::q4_1, WeightType::q5_0, WeightType::q5_1,
                                         WeightType::q8_0, WeightType::q2_k, WeightType::q3_k, WeightType::q4_k,
                                         WeightType::q5_k, WeightType::q6_k),
                         [](const auto& row) { return std::string(InfoOf(row.param).name); });

TEST_F(OpenvinoMixedBlocks, AreKeptWhereMatricesDiffer) {
  EXPECT_LE(LossOfBlocks({WeightType::q6_k, WeightType::q4_k, WeightType::q8_0, WeightType::q4_1}, false), 1e-4);
}

TEST_F(OpenvinoDecoder, CodesThatAreQuantizedAgainAreTold) {
  WriteBytes(path() / "m.gguf", GgufOf({WeightType::q6_k, WeightType::q4_1}, true));
  const auto built = Build(CheckpointIn(path()), path() / "again", {{"precision", TextValue("int4")}}, kPass);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_THAT(built->notes(), Contains(HasSubstr("a second time")));
}

// --- the folder ---

TEST_F(OpenvinoDecoder, TheFolderHoldsWhatOpenvinoGenaiReadsAndNothingElse) {
  const fs::path in = path() / "in", out = path() / "built";
  fs::create_directories(in);
  WriteBytes(in / "tokenizer.json", R"({"added_tokens":[{"id":7,"content":"<end>"}],"model":{"vocab":{"a":0}}})");
  WriteBytes(in / "tokenizer_config.json", R"({"eos_token":"<end>"})");
  const auto built = Build(GoldenCheckpoint(in, "gemma2"), out, kFloat, kPass);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(CheckBundle(built->model()));
  EXPECT_EQ(built->model().main(), "openvino_model.xml");
  std::set<std::string> told, there;
  for (const auto& file : built->model().files()) told.insert(file.path());
  for (const auto& entry : fs::directory_iterator(out)) there.insert(entry.path().filename().string());
  EXPECT_EQ(told, there);
  EXPECT_EQ(told, (std::set<std::string>{"config.json", "generation_config.json", "openvino_model.bin",
                                         "openvino_model.xml", "tokenizer.json", "tokenizer_config.json"}));
  const json generation = json::parse(std::ifstream(out / "generation_config.json"));
  EXPECT_THAT(generation["eos_token_id"].dump(), HasSubstr("7"));
  EXPECT_THAT(built->notes(), Contains(HasSubstr("convert_tokenizer")));
  EXPECT_THAT(built->notes(), Contains(HasSubstr("ATTENTION_BACKEND=SDPA")));
}

TEST_F(OpenvinoDecoder, TheSameTaskGivesTheSameBytes) {
  const auto model = GoldenCheckpoint(path() / "in", "phi3_long");
  const Settings settings = {{"precision", TextValue("int4")}, {"ratio", RealValue(0.5)}};
  const auto one = Build(model, path() / "one", settings, kPass), two = Build(model, path() / "two", settings, kPass);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->model().SerializeAsString(), two->model().SerializeAsString());
}

// --- what is refused ---

class OpenvinoRefusal : public OpenvinoDecoder {
 protected:
  // The error; nothing is left in the folder then.
  std::string Told(const json& config, const std::vector<NamedValues>& tensors, const Settings& settings = {}) {
    const fs::path out = path() / "refused";
    const auto built =
        Build(WriteCheckpoint(path() / "in", config, SafetensorsOf(tensors)), out, settings, kPass);
    EXPECT_TRUE(fs::is_empty(out));
    return built ? "" : built.error().message;
  }
  const json config_ = Case("llama")["config"];
  std::vector<NamedValues> tensors_ = TensorsOf(Case("llama"));
};

TEST_F(OpenvinoRefusal, TensorsThatAreMissingOrWrongOrStrangeAreNamed) {
  json wide = config_;
  wide["intermediate_size"] = 128;
  EXPECT_THAT(Told(wide, tensors_), HasSubstr("mlp.gate_proj.weight' has the shape [96, 64]"));
  auto strange = tensors_;
  strange.push_back({"model.layers.0.self_attn.q_norm.weight", {16}, std::vector<float>(16)});
  EXPECT_THAT(Told(config_, strange), HasSubstr("self_attn.q_norm.weight"));
  std::erase_if(tensors_, [](const auto& tensor) { return tensor.name == "model.layers.1.mlp.up_proj.weight"; });
  EXPECT_THAT(Told(config_, tensors_), HasSubstr("'model.layers.1.mlp.up_proj.weight' is missing"));
}

TEST_F(OpenvinoRefusal, NumbersThatAreNoneOrTooLargeAreNamed) {
  for (const char* name : {"model.layers.1.mlp.down_proj.weight", "model.layers.1.input_layernorm.weight"}) {
    auto tensors = tensors_;
    for (NamedValues& tensor : tensors) {
      if (tensor.name == name) tensor.values[3] = NAN;
    }
    EXPECT_THAT(Told(config_, tensors), HasSubstr(fmt::format("{}' holds NaN", name)));
  }
  for (NamedValues& tensor : tensors_) {
    if (tensor.name == "model.layers.1.mlp.down_proj.weight") tensor.values[3] = 1e30F;
  }
  EXPECT_THAT(Told(config_, tensors_, {{"precision", TextValue("int4")}}),
              HasSubstr("model.layers.1.mlp.down_proj.weight' holds numbers that are too large"));
}

TEST_F(OpenvinoRefusal, ConfigurationsAreReadAsForEveryDecoder) {
  for (const auto& [key, value, message] : std::vector<std::tuple<const char*, json, const char*>>{
           {"architectures", {"MambaForCausalLM"}, "'MambaForCausalLM' is not known"},
           {"rope_parameters", {{"rope_type", "spiral"}}, "'spiral' is not known"},
           {"hidden_size", 1e15, "hidden_size"},
           {"num_hidden_layers", -1, "num_hidden_layers"},
           {"quantization_config", {{"bits", 4}}, "quantized already"}}) {
    json config = config_;
    config[key] = value;
    EXPECT_THAT(Told(config, tensors_), HasSubstr(message)) << key;
  }
}

}  // namespace
}  // namespace hone::test
