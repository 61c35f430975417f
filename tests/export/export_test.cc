// `hone export` and `hone reproduce` by their programs. What a server would read is held against the facts of its
// documentation; what can be run here is run: the Python and C++ programs, and Olive's own loader where Olive is
// installed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

void ExpectDone(const Ran& ran) { ASSERT_EQ(ran.code, 0) << ran.out << ran.err; }

Ran RunWords(const std::vector<std::string>& words, const std::map<std::string, std::string>& environment = {},
        const fs::path& folder = {}) {
  ProcessOptions options;
  options.arguments = words;
  options.environment = environment;
  options.folder = folder;
  auto output = RunCommand(options, Deadline(120));
  Ran ran;
  if (!output) {
    ran.err = output.error().message;
    return ran;
  }
  return {output->status.code, output->status.signal, output->out, output->err};
}

// Members that OpenVINO Model Server's schema of a model allows, with the type of each; nothing else may stand there.
void ExpectModelServerAccepts(const json& config) {
  static const std::map<std::string, std::set<json::value_t>> kMembers = {
      {"name", {json::value_t::string}},
      {"base_path", {json::value_t::string}},
      {"batch_size", {json::value_t::number_unsigned, json::value_t::string}},
      {"shape", {json::value_t::object, json::value_t::string}},
      {"nireq", {json::value_t::number_unsigned}},
      {"target_device", {json::value_t::string}},
      {"plugin_config", {json::value_t::object}},
      {"model_version_policy", {json::value_t::object}}};
  ASSERT_EQ(config.size(), 1U);
  for (const json& entry : config.at("model_config_list")) {
    ASSERT_EQ(entry.size(), 1U);
    const json& model = entry.at("config");
    EXPECT_TRUE(model.contains("name") && model.contains("base_path"));
    for (const auto& [key, value] : model.items()) {
      ASSERT_TRUE(kMembers.count(key)) << key;
      EXPECT_TRUE(kMembers.at(key).count(value.type())) << key << ": " << value;
    }
    for (const auto& [key, value] : model.at("plugin_config").items()) EXPECT_TRUE(value.is_string()) << key;
  }
}

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() {
    Mlp(-1).Save(free_);
    Mlp(1).Save(fixed_);
    WriteNpz(data_, {{"x", NormalArray({8, 64}, 5)}});
  }
  Ran Export(const fs::path& source, const std::string& format, const fs::path& output,
             std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"export", source.string(), "--format", format, "-o", output.string()};
    words.insert(words.end(), more.begin(), more.end());
    return Hone(words);
  }
  TempFolder folder_;
  const fs::path free_ = folder_ / "free.onnx";
  const fs::path fixed_ = folder_ / "fixed.onnx";
  const fs::path data_ = folder_ / "data.npz";
};

TEST_F(ExportTest, ModelServerGetsVersionsBatchAndHintsInAConfigurationThatItsSchemaAccepts) {
  const fs::path out = folder_ / "repository";
  ExpectDone(Export(free_, "openvino-model-server", out,
                    {"--backend", "openvino", "--set", "hint=throughput", "streams=2", "--batch", "4"}));
  json config = json::parse(TextOf(out / "config.json"));
  ExpectModelServerAccepts(config);
  const json model = config["model_config_list"][0]["config"];
  EXPECT_EQ(model["name"], "free");
  EXPECT_EQ(model["batch_size"], 4);
  EXPECT_EQ(model["plugin_config"], (json{{"PERFORMANCE_HINT", "THROUGHPUT"}, {"NUM_STREAMS", "2"}}));
  EXPECT_TRUE(fs::exists(out / "models/free/1/model.onnx"));

  // A second version, and a second model, leave the first.
  ExpectDone(Export(free_, "openvino-model-server", out, {"--batch", "auto"}));
  ExpectDone(Export(fixed_, "openvino-model-server", out));
  config = json::parse(TextOf(out / "config.json"));
  ExpectModelServerAccepts(config);
  EXPECT_EQ(config["model_config_list"].size(), 2U);
  EXPECT_EQ(config["model_config_list"][0]["config"]["batch_size"], "auto");
  EXPECT_TRUE(fs::exists(out / "models/free/1/model.onnx"));
  EXPECT_TRUE(fs::exists(out / "models/free/2/model.onnx"));
  EXPECT_TRUE(fs::exists(out / "models/fixed/1/model.onnx"));
  // Every file that would be served is loaded by OpenVINO.
  for (const char* file : {"models/free/1/model.onnx", "models/free/2/model.onnx"}) {
    const Ran ran = Hone(
        {"benchmark", (out / file).string(), "--backend", "openvino", "--input", "x=4,64", "--pairs", "1", "--json"});
    EXPECT_EQ(ran.code, 0) << ran.err;
  }
}

TEST_F(ExportTest, TritonGetsTypesAndDynamicBatchingOnlyWhereTheBatchIsFree) {
  const fs::path out = folder_ / "triton";
  ExpectDone(Export(free_, "triton", out, {"--set", "intra_op_threads=2", "--max-batch", "16"}));
  ExpectDone(Export(fixed_, "triton", out));
  const std::string free = TextOf(out / "free/config.pbtxt");
  EXPECT_THAT(free, HasSubstr("backend: \"onnxruntime\""));
  EXPECT_THAT(free, HasSubstr("max_batch_size: 16\n"));
  EXPECT_THAT(free, HasSubstr("dynamic_batching { }"));
  EXPECT_THAT(free, HasSubstr("data_type: TYPE_FP32\n    dims: [ 64 ]"));
  EXPECT_THAT(free, HasSubstr("parameters { key: \"intra_op_thread_count\" value { string_value: \"2\" } }"));
  const std::string fixed = TextOf(out / "fixed/config.pbtxt");
  EXPECT_THAT(fixed, HasSubstr("max_batch_size: 0\n"));
  EXPECT_THAT(fixed, HasSubstr("dims: [ 1, 64 ]"));
  EXPECT_EQ(fixed.find("dynamic_batching"), std::string::npos);
  EXPECT_TRUE(fs::exists(out / "free/1/model.onnx"));
}

TEST_F(ExportTest, KserveGetsAServiceBesideTritonsStorage) {
  const fs::path out = folder_ / "kserve";
  ExpectDone(Export(free_, "kserve", out, {"--name", "My_Model", "--storage-uri", "s3://bucket/models"}));
  const std::string service = TextOf(out / "inference_service.yaml");
  EXPECT_THAT(service, HasSubstr("kind: InferenceService"));
  EXPECT_THAT(service, HasSubstr("name: my-model"));
  EXPECT_THAT(service, HasSubstr("storageUri: \"s3://bucket/models\""));
  EXPECT_TRUE(fs::exists(out / "storage/My_Model/1/model.onnx"));
  EXPECT_TRUE(fs::exists(out / "storage/My_Model/config.pbtxt"));
}

TEST_F(ExportTest, ModelThatTheServersEngineCannotLoadIsRefusedAndNothingIsWritten) {
  const fs::path quantized = folder_ / "bnb.onnx";
  const Ran made =
      Hone({"apply", fixed_.string(), "--pass", "weights_int4:form=bnb4,group_size=64", "-o", quantized.string()});
  ASSERT_EQ(made.code, 0) << made.err;
  const Ran ran = Export(quantized, "openvino-model-server", folder_ / "no");
  EXPECT_NE(ran.code, 0);
  EXPECT_THAT(ran.err, HasSubstr("openvino does not load this model"));
  EXPECT_FALSE(fs::exists(folder_ / "no"));
}

TEST_F(ExportTest, UnknownFormatNameOrSourceIsToldWithWhatThereIs) {
  Ran ran = Export(free_, "trito", folder_ / "no");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("did you mean 'triton'?"));
  ran = Export(free_, "triton", folder_ / "no", {"--name", "a/b"});
  EXPECT_EQ(ran.code, 2);
  ran = Export(folder_ / "nothing.onnx", "triton", folder_ / "no");
  EXPECT_EQ(ran.code, 9);
  EXPECT_FALSE(fs::exists(folder_ / "no"));
}

// --- programs that are run ---

class ProgramTest : public ExportTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const std::vector<std::string> threads = {
        "--set", std::string(GetParam()) == "openvino" ? "threads=1" : "intra_op_threads=1"};
    std::vector<std::string> words = {"--backend", GetParam()};
    words.insert(words.end(), threads.begin(), threads.end());
    ExpectDone(Export(fixed_, "folder", out_, words));
  }
  const fs::path out_ = folder_ / "folder";
};

TEST_P(ProgramTest, PythonProgramRunsTheModelOnGivenInputs) {
  const char* peers = std::getenv("HONE_PEERS");
  if (peers == nullptr) GTEST_SKIP() << "HONE_PEERS names no Python environment with the runtimes";
  const Ran ran = RunWords({(fs::path(peers) / "bin/python").string(), (out_ / "infer.py").string(), data_.string(),
                       (folder_ / "out.npz").string()});
  // The data hold eight samples and the model takes one: the runtime must say so, and zeros must do.
  EXPECT_NE(ran.code, 0);
  const Ran zeros = RunWords({(fs::path(peers) / "bin/python").string(), (out_ / "infer.py").string()});
  EXPECT_EQ(zeros.code, 0) << zeros.err;
  EXPECT_THAT(zeros.out, HasSubstr("y [1, 10] float32"));
}

TEST_P(ProgramTest, CppProgramCompilesAndGivesWhatTheModelGives) {
  const fs::path deps = HONE_DEPS_FOLDER;
  const bool openvino = std::string(GetParam()) == "openvino";
  fs::path include, lib;
  for (const fs::directory_entry& entry : fs::directory_iterator(deps)) {
    const std::string name = entry.path().filename().string();
    if (openvino && name.starts_with("openvino-"))
      include = entry.path() / "openvino/include", lib = entry.path() / "openvino/libs";
    if (!openvino && name.starts_with("onnxruntime-")) include = entry.path() / "include", lib = entry.path() / "lib";
  }
  if (include.empty()) GTEST_SKIP() << "the runtime's headers are not under " << deps;
  std::string library;
  for (const fs::directory_entry& entry : fs::directory_iterator(lib)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(openvino ? "libopenvino.so" : "libonnxruntime.so") && (library.empty() || name < library))
      library = name;
  }
  const fs::path program = folder_ / "infer";
  const Ran compiled =
      RunWords({HONE_CXX, "-std=c++17", "-I" + include.string(), (out_ / "infer.cpp").string(), "-L" + lib.string(),
           "-l:" + library, "-Wl,-rpath," + lib.string(), "-o", program.string()});
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  const Ran ran = RunWords({program.string(), (out_ / "model.onnx").string()});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("y [1,10")) << ran.out;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), ' '), 10) << ran.out;  // Shape, type and eight values.
}

INSTANTIATE_TEST_SUITE_P(Backends, ProgramTest, ::testing::Values("onnxruntime", "openvino"));

// --- a search's result ---

constexpr const char* kRecipe = R"(
data:
  calibration: {path: data.npz, samples: 4}
  evaluation: {path: data.npz, from: 4, samples: 4}
accuracy: {metric: cosine}
passes:
  - simplify
  - static_int8: {observer: [minmax]}
backends: {onnxruntime: {intra_op_threads: [1]}}
search: {trials: 1, seed: 5}
measure: {pairs: 1, final_pairs: 1, finalists: 1}
)";

class SearchedTest : public ExportTest {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "recipe.yaml") << kRecipe;
    const Ran ran = Hone(
        {"optimize", fixed_.string(), "--recipe", (folder_ / "recipe.yaml").string(), "-o", best_.string(), "--json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    artifact_ = ran.json()["best"]["artifact"];
  }
  const fs::path best_ = folder_ / "best";
  std::string artifact_;
};

TEST_F(SearchedTest, CardTellsFiguresAndStepsAndTheManifestMakesTheSameBytesAgain) {
  const fs::path out = folder_ / "out";
  ExpectDone(Export(best_, "folder", out, {"--license", "Apache-2.0"}));
  const std::string card = TextOf(out / "MODEL_CARD.md");
  for (const char* part :
       {"static_int8", "latency_ms_p50", "99 % intervals", "cores allowed", "Apache-2.0", "Fingerprint: `sha256:"})
    EXPECT_THAT(card, HasSubstr(part));
  EXPECT_THAT(card, HasSubstr(artifact_));

  // Beside the manifest under its name, and the data by a flag.
  const fs::path manifest = out / "hone.manifest.json";
  fs::copy_file(fixed_, out / "fixed.onnx");
  Ran ran = Hone(
      {"reproduce", manifest.string(), "--calibration", data_.string(), "-o", (folder_ / "again").string(), "--json"});
  ASSERT_EQ(ran.code, 0) << ran.out << ran.err;
  EXPECT_EQ(ran.json()["artifact"], artifact_);
  EXPECT_EQ(TextOf(folder_ / "again/model.onnx"), TextOf(out / "model.onnx"));

  // Other bytes of one step are told with the step's name.
  json told = json::parse(TextOf(manifest));
  json& step = told["steps"].back();
  ASSERT_EQ(step["pass"], "static_int8");
  step["params"]["per_channel"] = true;
  std::ofstream(folder_ / "changed.json") << told.dump();
  ran = Hone(
      {"reproduce", (folder_ / "changed.json").string(), "--model", fixed_.string(), "--calibration", data_.string()});
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("(static_int8) gives sha256:"));

  // Another source is refused before anything is run.
  ran = Hone({"reproduce", manifest.string(), "--model", free_.string(), "--calibration", data_.string()});
  EXPECT_EQ(ran.code, 9);
  std::ofstream(folder_ / "broken.json") << R"({"schema": "hone.manifest/1", "name": "x", "seed": -1})";
  ran = Hone({"reproduce", (folder_ / "broken.json").string()});
  EXPECT_EQ(ran.code, 9);
  EXPECT_THAT(ran.err, HasSubstr("seed must be a whole number"));
}

TEST_F(SearchedTest, OliveReadsItsFolder) {
  const fs::path out = folder_ / "olive";
  ExpectDone(Export(best_, "olive", out));
  const json footprint = json::parse(TextOf(out / "footprint.json"));
  const json last = *std::prev(footprint.end());
  EXPECT_EQ(last["from_pass"], "OnnxStaticQuantization");
  EXPECT_TRUE(last["metrics"]["value"].contains("latency-p50"));
  const fs::path python = fs::path(HONE_DEPS_FOLDER) / "peers-olive/bin/python";
  if (!fs::exists(python))
    GTEST_SKIP() << "Olive is not installed under " << python << " (bench/olive/README.md tells how)";
  std::ofstream(folder_ / "read.py") << R"(
import json, sys
from olive.engine.footprint import Footprint
from olive.model import ModelConfig
folder = sys.argv[1]
config = ModelConfig.parse_file_or_obj(folder + "/model_config.json")
session = config.create_model().prepare_session(device="cpu", execution_providers=["CPUExecutionProvider"])
print("inputs", [i.name for i in session.get_inputs()])
footprint = Footprint.from_file(folder + "/footprint.json")
last = footprint.nodes[footprint.get_output_model_id()]
print("pass", last.from_pass, "path", footprint.get_model_config(last.model_id)["model_path"], last.metrics.value.get_value("latency", "p50") > 0)
)";
  const Ran ran =
      RunWords({python.string(), (folder_ / "read.py").string(), out.string()}, {{"OLIVE_DISABLE_TELEMETRY", "1"}});
  ASSERT_EQ(ran.code, 0) << ran.err.substr(ran.err.size() - std::min<size_t>(ran.err.size(), 2000));
  EXPECT_THAT(ran.out, HasSubstr("inputs ['x']"));
  EXPECT_THAT(ran.out, HasSubstr("pass OnnxStaticQuantization"));
  EXPECT_THAT(ran.out, HasSubstr("True"));
}

}  // namespace
}  // namespace hone::test
