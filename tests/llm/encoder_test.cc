// Encoders of every family and head: their outputs against those of transformers and sentence-transformers, in both
// runtimes, and what is refused.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include "common/base/file.h"
#include "common/recipe/value.h"
#include "tests/llm/build.h"
#include "tests/llm/encoder_golden.h"
#include "worker/backends/backend.h"
#include "worker/model/model.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

Tensor Tokens(const json& rows) {
  Tensor tensor;
  tensor.type = onnx::TensorProto::INT64;
  tensor.dims = {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())};
  tensor.bytes.resize(rows.size() * rows[0].size() * sizeof(int64_t));
  int64_t* to = tensor.data<int64_t>();
  for (const json& row : rows) {
    for (const json& token : row) *to++ = token.get<int64_t>();
  }
  return tensor;
}

using Outputs = std::map<std::string, Tensor>;

Outputs Computed(const std::string& backend, const proto::LocalBundle& model, const json& given) {
  LoadOptions options;
  if (backend == "openvino") {
    proto::Parameter& mode = *options.settings.Add();
    mode.set_name("execution_mode");
    *mode.mutable_value() = TextValue("accuracy");
  }
  Outputs outputs;
  const auto row = FindBackend(backend);
  EXPECT_TRUE(row) << backend;
  const auto session = (*row)->load(model, options);
  EXPECT_TRUE(session) << session.error().message;
  if (!session) return outputs;
  std::vector<Tensor> inputs;
  for (const InputSignature& input : (*session)->inputs()) {
    EXPECT_TRUE(given.contains(input.name)) << input.name;
    inputs.push_back(Tokens(given[input.name]));
    inputs.back().name = input.name;
  }
  EXPECT_EQ(inputs.size(), given.size());
  auto values = (*session)->Run(inputs);
  EXPECT_TRUE(values) << values.error().message;
  for (size_t i = 0; values && i < values->size(); ++i) outputs[(*session)->outputs()[i]] = std::move((*values)[i]);
  return outputs;
}

// Largest difference from the golden rows; the outputs must be those that transformers gives, in their shapes.
double Distance(const json& golden, const Outputs& outputs) {
  EXPECT_EQ(golden.size(), outputs.size());
  double largest = 0;
  for (const auto& [name, expected] : golden.items()) {
    const auto found = outputs.find(name);
    EXPECT_NE(found, outputs.end()) << name;
    if (found == outputs.end()) return INFINITY;
    EXPECT_EQ(found->second.dims, expected["shape"].get<std::vector<int64_t>>()) << name;
    const std::vector<float> values = ToFloats(found->second);
    for (size_t i = 0; i < expected["rows"].size(); ++i) {
      const auto row = expected["rows"][i].get<std::vector<float>>();
      const auto place = expected["places"][i].get<std::vector<size_t>>();
      const size_t tokens = place.size() == 2 ? expected["shape"][1].get<size_t>() : 1;
      const size_t first = (place[0] * tokens + (place.size() == 2 ? place[1] : 0)) * row.size();
      EXPECT_LE(first + row.size(), values.size());
      for (size_t k = 0; k < row.size() && first + k < values.size(); ++k) {
        const double off = std::fabs(static_cast<double>(values[first + k]) - static_cast<double>(row[k]));
        largest = std::isnan(off) ? INFINITY : std::max(largest, off);
      }
    }
  }
  return largest;
}

class EncoderTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ScopedFolder::Make(fs::temp_directory_path(), "hone-test-");
    ASSERT_TRUE(made) << made.error().message;
    folder_.emplace(std::move(*made));
  }
  const fs::path& path() const { return folder_->path(); }

  // Builds what lies in `in`; the model, or an empty bundle and the error in told_.
  proto::LocalBundle BuildOf(const proto::LocalBundle& model, const Settings& settings = {}) {
    const fs::path out = path() / fmt::format("out{}", count_++);
    const auto built = Build(model, out, settings, "build_encoder");
    told_ = built ? "" : built.error().message + " " + built.error().remedy;
    proto::LocalBundle local;
    if (!built) return local;
    notes_.assign(built->notes().begin(), built->notes().end());
    *local.mutable_bundle() = built->model();
    local.set_folder(out.string());
    return local;
  }

  // That a model that was just built gives what the case holds.
  void ExpectOutputs(const json& test, const proto::LocalBundle& model) {
    ASSERT_EQ(told_, "");
    EXPECT_LE(Distance(test["outputs"], Computed("onnxruntime", model, test["inputs"])), 1e-4);
  }

  std::string told_;
  std::vector<std::string> notes_;

 private:
  std::optional<ScopedFolder> folder_;
  int count_ = 0;
};

// --- outputs ---------------------------------------------------------------------------------------------------------

class EncoderCaseTest : public EncoderTest, public testing::WithParamInterface<std::string> {};

TEST_P(EncoderCaseTest, GivesWhatTransformersGivesInBothRuntimes) {
  const json& test = EncoderCase(GetParam());
  const proto::LocalBundle model = BuildOf(WriteEncoder(path() / "in", GetParam()));
  ASSERT_EQ(told_, "");
  for (const BackendRow& backend : Backends())
    EXPECT_LE(Distance(test["outputs"], Computed(backend.name, model, test["inputs"])), 1e-4) << backend.name;
}

TEST_P(EncoderCaseTest, HalvesAreNearFloats) {
  const json& test = EncoderCase(GetParam());
  const proto::LocalBundle model =
      BuildOf(WriteEncoder(path() / "in", GetParam()), {{"precision", TextValue("f16")}});
  ASSERT_EQ(told_, "");
  const double error = Distance(test["outputs"], Computed("onnxruntime", model, test["inputs"]));
  EXPECT_LE(error, 0.03);
  EXPECT_GT(error, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Llm, EncoderCaseTest, testing::ValuesIn(EncoderCases()),
                         [](const auto& row) { return row.param; });

TEST_F(EncoderTest, LengthAndBatchAreFree) {
  const json& test = EncoderCase("mpnet");
  const proto::LocalBundle model = BuildOf(WriteEncoder(path() / "in", "mpnet"));
  ASSERT_EQ(told_, "");
  // The second text, without its padding, alone.
  json alone = test["inputs"];
  const size_t seen = test["inputs"]["attention_mask"][1].get<std::vector<int64_t>>().size() * 2 / 3;
  for (json& rows : alone) {
    std::vector<int64_t> row = rows[1];
    row.resize(seen);
    rows = json::array({row});
  }
  const Outputs whole = Computed("onnxruntime", model, test["inputs"]), part = Computed("onnxruntime", model, alone);
  const std::vector<float> a = ToFloats(whole.at("pooler_output")), b = ToFloats(part.at("pooler_output"));
  ASSERT_EQ(b.size(), 32U);
  for (size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(a[32 + i], b[i], 1e-5);
}

// --- spellings -------------------------------------------------------------------------------------------------------

TEST_F(EncoderTest, NamesOfOldCheckpointsAreKnown) {
  const json& test = EncoderCase("bert");
  std::vector<NamedValues> tensors = EncoderTensors(test);
  for (NamedValues& tensor : tensors) {
    const auto replace = [&](const std::string& from, const std::string& to) {
      if (tensor.name.ends_with(from)) tensor.name.replace(tensor.name.size() - from.size(), from.size(), to);
    };
    replace("LayerNorm.weight", "LayerNorm.gamma");
    replace("LayerNorm.bias", "LayerNorm.beta");
    tensor.name = "bert." + tensor.name;
  }
  tensors.push_back({"bert.embeddings.position_ids", {1, 40}, std::vector<float>(40)});
  tensors.push_back({"cls.predictions.bias", {64}, std::vector<float>(64)});
  json config = test["config"];
  config.erase("architectures");  // The type tells the family then.
  ExpectOutputs(test, BuildOf(WriteEncoder(path() / "in", test, config, tensors)));
  EXPECT_THAT(notes_, Contains(HasSubstr("1 tensors of other heads are left out: cls.predictions.bias")));
}

TEST_F(EncoderTest, NewerPoolingConfigurationsAreKnown) {
  const json& test = EncoderCase("embed_all");
  WriteEncoder(path() / "in", "embed_all");
  WriteBytes(path() / "in" / "1_Pooling" / "config.json",
             R"({"embedding_dimension":32,"pooling_mode":["cls","max","mean"],"include_prompt":true})");
  ExpectOutputs(test, BuildOf(BundleIn(path() / "in")));
}

TEST_F(EncoderTest, TheHeadMayBeNamedInsteadOfFound) {
  // A head that is not known is none where another is asked for.
  const json& test = EncoderCase("bert");
  json config = test["config"];
  config["architectures"] = {"BertForMaskedLM"};
  const proto::LocalBundle in = WriteEncoder(path() / "in", test, config, EncoderTensors(test));
  BuildOf(in);
  EXPECT_THAT(told_, HasSubstr("the head of 'BertForMaskedLM' is not known"));
  EXPECT_THAT(told_, HasSubstr("head=none"));
  ExpectOutputs(test, BuildOf(in, {{"head", TextValue("none")}}));
  ExpectOutputs(EncoderCase("embed_mean"), BuildOf(in, {{"head", TextValue("mean")}}));
  // A sentence embedder without its head.
  ExpectOutputs(test, BuildOf(WriteEncoder(path() / "embedder", "embed_max"), {{"head", TextValue("none")}}));
}

TEST_F(EncoderTest, AnEncoderAloneAmongItsModulesHasTheHeadOfItsClass) {
  const json& test = EncoderCase("bert_sequence");
  WriteEncoder(path() / "in", "bert_sequence");
  WriteBytes(path() / "in" / "modules.json", R"([{"type":"base.modules.Transformer","path":""}])");
  ExpectOutputs(test, BuildOf(BundleIn(path() / "in")));
}

TEST_F(EncoderTest, LabelsAreCountedWhereTheConfigurationDoesNotTell) {
  const json& test = EncoderCase("roberta_sequence");
  json config = test["config"];
  config.erase("id2label");
  ExpectOutputs(test, BuildOf(WriteEncoder(path() / "in", test, config, EncoderTensors(test))));
}

// --- the form --------------------------------------------------------------------------------------------------------

std::map<std::string, int> OperatorsOf(const fs::path& file) {
  std::map<std::string, int> counts;
  const auto model = LoadOnnx(file);
  EXPECT_TRUE(model) << model.error().message;
  for (const auto& node : model->graph().node()) ++counts[node.op_type()];
  return counts;
}

TEST_F(EncoderTest, BothWaysOfFusingKnowTheForm) {
  const proto::LocalBundle model = BuildOf(WriteEncoder(path() / "in", "bert"));
  ASSERT_EQ(told_, "");
  const auto fused = Build(model, path() / "fused", {{"attention", BoolValue(true)}}, "fuse_transformer");
  ASSERT_TRUE(fused) << fused.error().message;
  EXPECT_THAT(fused->notes(0), HasSubstr("2 Attention and 4 SkipLayerNormalization fused"));
  const auto optimized = Build(model, path() / "optimized", {}, "ort_optimize");
  ASSERT_TRUE(optimized) << optimized.error().message;
  const auto operators = OperatorsOf(path() / "optimized" / "model.onnx");
  EXPECT_EQ(operators.count("BiasGelu"), 1U);
  EXPECT_EQ(operators.count("Gelu"), 0U);
}

TEST_F(EncoderTest, LaterPassesServeItAndKeepTheVocabulary) {
  WriteEncoder(path() / "in", "embed_mean");
  const std::string vocabulary = "[PAD]\n[UNK]\n";
  WriteBytes(path() / "in" / "vocab.txt", vocabulary);
  WriteBytes(path() / "in" / "tokenizer_config.json", R"({"tokenizer_class":"BertTokenizer"})");
  const proto::LocalBundle model = BuildOf(BundleIn(path() / "in"));
  ASSERT_EQ(told_, "");
  const json& test = EncoderCase("embed_mean");
  for (const char* pass : {"simplify", "fp16", "dynamic_int8", "weights_int8", "weights_int4"}) {
    const auto after = Build(model, path() / pass, {}, pass);
    ASSERT_TRUE(after) << pass << ": " << after.error().message;
    proto::LocalBundle local;
    *local.mutable_bundle() = after->model();
    local.set_folder((path() / pass).string());
    EXPECT_LE(Distance(test["outputs"], Computed("onnxruntime", local, test["inputs"])), 0.25) << pass;
    EXPECT_EQ(*ReadFile(path() / pass / "vocab.txt", 1 << 20), vocabulary) << pass;
    EXPECT_EQ(*ReadFile(path() / pass / "tokenizer_config.json", 1 << 20), R"({"tokenizer_class":"BertTokenizer"})");
  }
}

TEST_F(EncoderTest, TheSameTaskGivesTheSameBytes) {
  const proto::LocalBundle in = WriteEncoder(path() / "in", "embed_all");
  EXPECT_EQ(BuildOf(in).bundle().SerializeAsString(), BuildOf(in).bundle().SerializeAsString());
}

// --- what is refused -------------------------------------------------------------------------------------------------

class EncoderRefusalTest : public EncoderTest {
 protected:
  // What building says of a checkpoint; nothing may have been written.
  std::string Told(const json& test, const json& config, const std::vector<NamedValues>& tensors) {
    const fs::path in = path() / fmt::format("in{}", folders_++);
    BuildOf(WriteEncoder(in, test, config, tensors));
    for (const auto& entry : fs::recursive_directory_iterator(path()))
      EXPECT_NE(entry.path().filename(), "model.onnx") << told_;
    return told_;
  }
  std::string ToldOf(const char* name, const std::function<void(json& config)>& change) {
    const json& test = EncoderCase(name);
    json config = test["config"];
    change(config);
    return Told(test, config, EncoderTensors(test));
  }
  std::string ToldOfTensors(const char* name, const std::function<void(std::vector<NamedValues>&)>& change) {
    const json& test = EncoderCase(name);
    std::vector<NamedValues> tensors = EncoderTensors(test);
    change(tensors);
    return Told(test, test["config"], tensors);
  }
  std::string ToldOfFiles(const std::function<void(const fs::path& folder)>& change) {
    const fs::path in = path() / fmt::format("in{}", folders_++);
    WriteEncoder(in, "embed_mean");
    change(in);
    BuildOf(BundleIn(in));
    return told_;
  }

 private:
  int folders_ = 0;
};

TEST_F(EncoderRefusalTest, ValuesOfTheConfigurationAreNamed) {
  struct Row {
    const char* test;
    const char* key;
    json value;
    const char* told;
  };
  const Row kRows[] = {
      {"bert", "position_embedding_type", "relative_key", "position_embedding_type 'relative_key' is not known"},
      {"bert", "hidden_act", "swish", "the activation 'swish' is not known; gelu"},
      {"distilbert", "activation", "silu", "the activation 'silu' is not known"},
      {"bert", "is_decoder", true, "'is_decoder' is true"},
      {"bert", "add_cross_attention", true, "'add_cross_attention' is true"},
      {"bert", "quantization_config", json::object(), "quantized already"},
      {"bert", "architectures", {"BertGenerationEncoder"}, "'BertGenerationEncoder' is not known"},
      {"roberta", "architectures", {"RobertaPreLayerNormModel"}, "'RobertaPreLayerNormModel' is not known"},
      {"bert", "architectures", {"BertForQuestionAnswering"}, "the head of 'BertForQuestionAnswering'"},
      {"bert", "model_type", "roberta", "names a Bert model and 'model_type' is 'roberta'"},
      {"bert", "architectures", {"LlamaForCausalLM"}, "build_decoder builds it"},
      {"bert", "num_attention_heads", 5, "32 elements cannot be parted into 5 heads"},
      {"bert", "num_attention_heads", 0, "'num_attention_heads' is 0; it must be a whole number"},
      {"bert", "num_hidden_layers", 1e9, "'num_hidden_layers' is"},
      {"bert", "hidden_size", -32, "'hidden_size' is -32"},
      {"bert", "hidden_size", "wide", "'hidden_size' is"},
      {"bert", "intermediate_size", nullptr, "'intermediate_size' is missing"},
      {"bert", "max_position_embeddings", 1e18, "'max_position_embeddings' is"},
      {"bert", "vocab_size", 63, "should have [63, 32]"},
      {"bert", "type_vocab_size", 3, "should have [3, 32]"},
      {"bert", "num_hidden_layers", 3, "'encoder.layer.2.attention.self.query.weight' is missing"},
      {"bert", "num_hidden_layers", 1, "tensors have no place in this architecture: encoder.layer.1."},
      {"roberta", "pad_token_id", 64, "positions begin behind that of the token 64"},
      {"roberta", "pad_token_id", -1, "'pad_token_id' is -1"},
      {"mpnet", "relative_attention_num_buckets", 64, "'relative_attention_num_buckets' is not 32"},
      {"bert_sequence", "id2label", {{"0", "a"}, {"1", "b"}}, "'classifier.weight' has the shape [3, 32]"},
      {"bert_sequence", "num_labels", -1, "'num_labels' is -1"},
  };
  for (const Row& row : kRows) {
    const std::string told = ToldOf(row.test, [&](json& config) {
      if (std::string_view(row.key) == "num_labels") config.erase("id2label");
      config[row.key] = row.value;
    });
    EXPECT_THAT(told, HasSubstr(row.told)) << row.test << " " << row.key;
  }
}

TEST_F(EncoderRefusalTest, TensorsAreNamed) {
  const auto without = [](const char* name) {
    return [name](std::vector<NamedValues>& tensors) {
      std::erase_if(tensors, [&](const NamedValues& tensor) { return tensor.name == name; });
    };
  };
  EXPECT_THAT(ToldOfTensors("bert", without("encoder.layer.1.output.dense.bias")),
              HasSubstr("the tensor 'encoder.layer.1.output.dense.bias' is missing"));
  EXPECT_THAT(ToldOfTensors("bert", without("embeddings.word_embeddings.weight")),
              HasSubstr("the tensor 'embeddings.word_embeddings.weight' is missing"));
  EXPECT_THAT(ToldOfTensors("roberta_sequence", without("classifier.out_proj.bias")),
              HasSubstr("the tensor 'classifier.out_proj.bias' is missing"));
  EXPECT_THAT(ToldOfTensors("mpnet", without("encoder.relative_attention_bias.weight")),
              HasSubstr("the tensor 'encoder.relative_attention_bias.weight' is missing"));
  EXPECT_THAT(ToldOfTensors("bert", [](auto& tensors) { tensors.front().shape = {4, 8}; }),
              HasSubstr("has the shape [4, 8]"));
  EXPECT_THAT(ToldOfTensors("bert", [](auto& tensors) {
                tensors.push_back({"encoder.layer.0.attention.self.distance_embedding.weight", {7, 8},
                                   std::vector<float>(56)});
              }),
              HasSubstr("distance_embedding.weight"));
  EXPECT_THAT(ToldOfTensors("bert", [](auto& tensors) { tensors.push_back({"strange", {1}, {0}}); }),
              HasSubstr("1 tensors have no place in this architecture: strange"));
  EXPECT_THAT(ToldOfTensors("bert", [](auto& tensors) {
                tensors.push_back({"other.embeddings.word_embeddings.weight", {1}, {0}});
              }),
              HasSubstr("holds 2 encoders"));
  EXPECT_THAT(ToldOfTensors("bert", [](auto& tensors) { tensors.front().values[5] = NAN; }), HasSubstr("holds NaN"));
}

TEST_F(EncoderRefusalTest, ModulesAreNamed) {
  struct Row {
    const char* modules;
    const char* told;
  };
  const Row kRows[] = {
      {"{", "modules.json: it is no JSON"},
      {"{}", "it is no list of 1 to 64 modules"},
      {"[]", "it is no list of 1 to 64 modules"},
      {"[5]", "the first module is no Transformer"},
      {R"([{"type":"a.Transformer","path":"0_Transformer"}])", "the encoder lies in '0_Transformer'"},
      {R"([{"type":"a.Transformer"},{"type":"a.Normalize"}])", "the module 'Normalize' is not known in this place"},
      {R"([{"type":"a.Transformer"},{"type":"a.Pooling","path":"1_Pooling"},{"type":"a.Dense","path":"2_Dense"}])",
       "the module 'Dense' is not known in this place"},
      {R"([{"type":"a.Transformer"},{"type":"a.Pooling","path":"../1_Pooling"}])", "which is not there"},
      {R"([{"type":"a.Transformer"},{"type":7}])", "'type' is 7"},
  };
  for (const Row& row : kRows) {
    const std::string told = ToldOfFiles([&](const fs::path& in) { WriteBytes(in / "modules.json", row.modules); });
    EXPECT_THAT(told, HasSubstr(row.told)) << row.modules;
  }
  std::string many = "[";
  for (int i = 0; i < 65; ++i) many += std::string(i == 0 ? "" : ",") + R"({"type":"a.Transformer"})";
  EXPECT_THAT(ToldOfFiles([&](const fs::path& in) { WriteBytes(in / "modules.json", many + "]"); }),
              HasSubstr("no list of 1 to 64"));
}

TEST_F(EncoderRefusalTest, PoolingsAreNamed) {
  struct Row {
    const char* pooling;
    const char* told;
  };
  const Row kRows[] = {
      {R"({"word_embedding_dimension":64})", "'word_embedding_dimension' is 64; the encoder gives 32"},
      {R"({"pooling_mode_weightedmean_tokens":true})", "the pooling 'weightedmean' is not known"},
      {R"({"pooling_mode":"lasttoken"})", "the pooling 'lasttoken' is not known"},
      {R"({"pooling_mode":"strange"})", "the pooling 'strange' is not known"},
      {R"({"pooling_mode":[]})", "'pooling_mode' is an empty list"},
      {R"({"pooling_mode":["mean","mean"]})", "the pooling 'mean' stands twice"},
      {R"({"pooling_mode_mean_tokens":"yes"})", "it must be true or false"},
      {"[]", "1_Pooling/config.json: it is no object"},
  };
  for (const Row& row : kRows) {
    const std::string told =
        ToldOfFiles([&](const fs::path& in) { WriteBytes(in / "1_Pooling" / "config.json", row.pooling); });
    EXPECT_THAT(told, HasSubstr(row.told)) << row.pooling;
  }
}

TEST_F(EncoderRefusalTest, ADecoderBuilderPointsToThisOne) {
  const auto built = Build(WriteEncoder(path() / "in", "bert"), path() / "out", {});
  ASSERT_FALSE(built);
  EXPECT_THAT(built.error().remedy, HasSubstr("build_encoder"));
}

}  // namespace
}  // namespace hone::test
