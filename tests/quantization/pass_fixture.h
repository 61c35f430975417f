// Runs passes on models that tests build, looks at what comes out, and runs it in both runtimes.
#pragma once

#include <gtest/gtest.h>
#include <onnx/defs/parser.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"
#include "common/recipe/value.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "tests/support/tiny_models.h"
#include "worker/backends/backend.h"
#include "worker/data/data_set.h"
#include "worker/model/model.h"
#include "worker/passes/pass.h"

namespace hone::test {

namespace fs = std::filesystem;

using Parameters = std::map<std::string, proto::Value>;

// With the external data files that an ONNX model names; nothing that is tested here looks at their digests.
inline proto::LocalBundle LocalFile(const fs::path& file, const std::string& format) {
  proto::LocalBundle local;
  local.set_folder(file.parent_path().string());
  local.mutable_bundle()->set_format(format);
  local.mutable_bundle()->set_main(file.filename().string());
  std::vector<std::string> paths = {file.filename().string()};
  if (format == "onnx") {
    if (const auto external = ExternalFiles(file)) paths.insert(paths.end(), external->begin(), external->end());
  }
  for (const std::string& path : paths) {
    auto* entry = local.mutable_bundle()->add_files();
    entry->set_path(path);
    entry->set_size_bytes(fs::file_size(file.parent_path() / path));
  }
  if (const auto digest = DigestOfFile(file)) local.mutable_bundle()->mutable_files(0)->set_digest(*digest);
  return local;
}

struct Built {
  onnx::ModelProto model;
  proto::LocalBundle bundle;
  fs::path file;
  std::vector<std::string> notes;

  int Count(const std::string& op_type) const {
    int count = 0;
    for (const auto& node : model.graph().node()) count += node.op_type() == op_type ? 1 : 0;
    return count;
  }
  const onnx::NodeProto* Node(const std::string& name) const {
    for (const auto& node : model.graph().node()) {
      if (node.name() == name) return &node;
    }
    return nullptr;
  }
  const onnx::TensorProto* Initializer(const std::string& name) const {
    for (const auto& tensor : model.graph().initializer()) {
      if (tensor.name() == name) return &tensor;
    }
    return nullptr;
  }
  bool HasNote(const std::string& part) const {
    for (const auto& note : notes) {
      if (note.find(part) != std::string::npos) return true;
    }
    return false;
  }
};

// Products in the body of a Loop (two turns) and of a Scan (over rows): the bodies read weights and values from
// outside, and `w` is a weight outside as well as inside. In ONNX's textual form; throws on a syntax error.
inline onnx::ModelProto LoopAndScan(uint32_t seed) {
  constexpr const char* kText = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[4,8] x) => (float[4,8] y) {
      h = MatMul(x, w)
      turns = Constant<value = int64 {2}>()
      l = Loop(turns, , h) <body = turn (int64 i, bool go, float[4,8] s) => (bool on, float[4,8] t) {
        on = Identity(go)
        p = MatMul(s, w)
        t = Tanh(p)
      }>
      z = Constant<value = float[8] {0, 0, 0, 0, 0, 0, 0, 0}>()
      last, rows = Scan(z, l) <num_scan_inputs = 1, body = row (float[8] sum, float[8] r) => (float[8] next, float[8] o) {
        q = MatMul(r, v)
        next = Add(sum, q)
        o = Add(q, b)
      }>
      k = Relu(rows)
      y = MatMul(k, v)
    })";
  onnx::ModelProto model;
  const auto status = onnx::OnnxParser::Parse(model, kText);
  if (!status.IsOK()) throw std::runtime_error(status.ErrorMessage());
  ModelBuilder weights(17, seed);
  weights.Weight("w", {8, 8}, 0.4f).Weight("v", {8, 8}, 0.4f).Weight("b", {8}, 0.1f);
  *model.mutable_graph()->mutable_initializer() = weights.graph()->initializer();
  return model;
}

class PassTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ScopedFolder::Make(fs::temp_directory_path(), "hone-quantization-");
    ASSERT_TRUE(made) << made.error().message;
    folder_ = std::make_unique<ScopedFolder>(std::move(*made));
  }

  fs::path Path(const std::string& name) const { return folder_->path() / name; }

  fs::path Save(const ModelBuilder& builder, const std::string& name = "model.onnx") const {
    builder.Save(Path(name));
    return Path(name);
  }

  fs::path Save(const onnx::ModelProto& model) const {
    std::ofstream(Path("model.onnx"), std::ios::binary) << model.SerializeAsString();
    return Path("model.onnx");
  }

  Result<Built> Apply(const fs::path& model, const std::string& pass, const Parameters& parameters = {},
                      const fs::path& data = {}, uint32_t threads = 2) {
    return ApplyTo(LocalFile(model, "onnx"), pass, parameters, data, threads);
  }

  // On a bundle, as the step before left it. The value's model is not read.
  Result<Built> Make(const proto::LocalBundle& model, const std::string& pass, const Parameters& parameters = {},
                     const fs::path& data = {}, uint32_t threads = 2) {
    proto::BuildTask task;
    *task.mutable_model() = model;
    task.mutable_step()->set_pass(pass);
    for (const auto& [name, value] : parameters) {
      auto* parameter = task.mutable_step()->add_parameters();
      parameter->set_name(name);
      *parameter->mutable_value() = value;
    }
    if (!data.empty()) *task.mutable_calibration()->mutable_data() = LocalFile(data, "npz");
    task.set_threads(threads);
    const fs::path output = Path("out" + std::to_string(++runs_));
    fs::create_directory(output);
    task.set_output_folder(output.string());
    TRY_ASSIGN(const proto::BuildResult result, RunPass(task));
    Built built;
    built.bundle.set_folder(output.string());
    *built.bundle.mutable_bundle() = result.model();
    built.file = output / result.model().main();
    built.notes.assign(result.notes().begin(), result.notes().end());
    return built;
  }

  Result<Built> ApplyTo(const proto::LocalBundle& model, const std::string& pass, const Parameters& parameters = {},
                        const fs::path& data = {}, uint32_t threads = 2) {
    TRY_ASSIGN(Built built, Make(model, pass, parameters, data, threads));
    TRY_ASSIGN(built.model, LoadOnnx(built.file));
    return built;
  }

  // The outputs of every sample, one after another, as floats.
  Result<std::vector<float>> Outputs(const proto::LocalBundle& model, const std::string& backend, const fs::path& data,
                                     const Parameters& settings = {}) {
    TRY_ASSIGN(const BackendRow* row, FindBackend(backend));
    LoadOptions options;
    for (const auto& [name, value] : settings) {
      auto* setting = options.settings.Add();
      setting->set_name(name);
      *setting->mutable_value() = value;
    }
    TRY_ASSIGN(const auto session, row->load(model, options));
    proto::LocalData local;
    *local.mutable_data() = LocalFile(data, "npz");
    TRY_ASSIGN(const auto set, OpenDataSet(local, session->inputs()));
    std::vector<float> values;
    for (size_t i = 0; i < set->size(); ++i) {
      TRY_ASSIGN(const auto sample, set->Get(i));
      TRY_ASSIGN(const auto outputs, session->Run(sample));
      for (const auto& output : outputs) {
        const auto floats = ToFloats(output);
        values.insert(values.end(), floats.begin(), floats.end());
      }
    }
    return values;
  }

  // Signal to noise of a quantized model against its original in one runtime. OpenVINO is pinned to float32 for what
  // stays in float.
  double Sqnr(const fs::path& original, const Built& built, const std::string& backend, const fs::path& data) {
    const Parameters settings =
        backend == "openvino" ? Parameters{{"inference_precision", TextValue("f32")}} : Parameters{};
    const auto wanted = Outputs(LocalFile(original, "onnx"), "onnxruntime", data);
    const auto got = Outputs(built.bundle, backend, data, settings);
    EXPECT_TRUE(wanted) << wanted.error().message;
    EXPECT_TRUE(got) << backend << ": " << got.error().message;
    if (!wanted || !got || wanted->size() != got->size()) {
      ADD_FAILURE() << "outputs differ in size";
      return -1;
    }
    kernels::ErrorStats stats;
    kernels::AddErrors(wanted->data(), got->data(), wanted->size(), stats);
    EXPECT_EQ(stats.non_finite, 0u);
    return stats.SqnrDb();
  }

  // Runs a script of this folder with the peers' Python; the test is skipped where there is none.
  static bool HavePeers() {
    return std::getenv("HONE_PEERS") != nullptr && fs::exists(fs::path(std::getenv("HONE_PEERS")) / "bin/python");
  }
  // bench: the larger environment beside it (ops/setup --bench-peers), if there is one; the script finds out what is
  // missing.
  enum class Python { parity, bench };
  void RunScript(const std::string& script, std::vector<std::string> arguments, Python python = Python::parity) {
    ProcessOptions options;
    fs::path environment = std::getenv("HONE_PEERS");
    const fs::path larger = environment.string() + "-bench";
    if (python == Python::bench && fs::exists(larger / "bin/python")) environment = larger;
    options.arguments = {(environment / "bin/python").string(),
                         (fs::path(HONE_SOURCE_DIR) / "tests/quantization" / script).string()};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    const auto ran = RunCommand(options, std::chrono::minutes(4));
    ASSERT_TRUE(ran) << ran.error().message;
    EXPECT_EQ(ran->status.code, 0) << ran->out << ran->err;
  }

 private:
  std::unique_ptr<ScopedFolder> folder_;
  int runs_ = 0;
};

// tokens[1,length] -> embedding, then `layers` of attention with an additive mask and a feed-forward part with Gelu ->
// hidden states. mask_value is what marks a place that is not attended to.
inline ModelBuilder Transformer(float mask_value, int64_t length = 16, int64_t width = 32, int64_t vocabulary = 100) {
  ModelBuilder b(17, 3);
  b.Input("tokens", {1, length}, onnx::TensorProto::INT64)
      .Input("mask", {1, length})
      .Output("hidden", {1, length, width});
  b.Weight("table", {vocabulary, width}, 1.0f);
  b.Constant("one", {}, {1.0f})
      .Constant("forbidden", {}, {mask_value})
      .Constant("root", {}, {std::sqrt(static_cast<float>(width))});
  b.ConstantInt64("mask_axes", {1});
  b.Node("Gather", {"table", "tokens"}, {"x0"});
  b.Node("Sub", {"one", "mask"}, {"closed"});
  b.Node("Mul", {"closed", "forbidden"}, {"penalty2"});
  b.Node("Unsqueeze", {"penalty2", "mask_axes"}, {"penalty"});
  std::string x = "x0";
  for (const std::string layer : {"a", "b"}) {
    for (const std::string part : {"q", "k", "v", "o"}) {
      b.Weight("w" + part + layer, {width, width}, 1.0f / std::sqrt(static_cast<float>(width)))
          .Weight("b" + part + layer, {width}, 0.1f);
    }
    for (const std::string part : {"q", "k", "v"}) {
      b.Node("MatMul", {x, "w" + part + layer}, {part + "m" + layer});
      b.Node("Add", {part + "m" + layer, "b" + part + layer}, {part + layer});
    }
    ModelBuilder::Ints(b.Node("Transpose", {"k" + layer}, {"kt" + layer}), "perm", {0, 2, 1});
    b.Node("MatMul", {"q" + layer, "kt" + layer}, {"raw" + layer});
    b.Node("Div", {"raw" + layer, "root"}, {"scores" + layer});
    b.Node("Add", {"scores" + layer, "penalty"}, {"masked" + layer});
    b.Node("Softmax", {"masked" + layer}, {"weights" + layer});
    b.Node("MatMul", {"weights" + layer, "v" + layer}, {"mixed" + layer});
    b.Node("MatMul", {"mixed" + layer, "wo" + layer}, {"om" + layer});
    b.Node("Add", {"om" + layer, "bo" + layer}, {"out" + layer});
    b.Node("Add", {"out" + layer, x}, {"res" + layer});
    b.Constant("g" + layer, {width}, std::vector<float>(static_cast<size_t>(width), 1.0f));
    b.Constant("h" + layer, {width}, std::vector<float>(static_cast<size_t>(width), 0.0f));
    b.Node("LayerNormalization", {"res" + layer, "g" + layer, "h" + layer}, {layer == "b" ? "hidden" : "norm" + layer});
    x = "norm" + layer;
  }
  return b;
}

// Samples for it: the last `closed` places of every second sample are masked.
inline void WriteTokens(const fs::path& path, int64_t samples, int64_t length, int64_t closed, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> tokens;
  std::vector<float> mask;
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t place = 0; place < length; ++place) {
      tokens.push_back(static_cast<int64_t>(random() % 100));
      mask.push_back(sample % 2 == 1 && place >= length - closed ? 0.0f : 1.0f);
    }
  }
  WriteNpz(path, {{"tokens", Int64Array({samples, length}, tokens)}, {"mask", FloatArray({samples, length}, mask)}});
}

}  // namespace hone::test
