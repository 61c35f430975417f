#include "tests/fuzz/targets.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "common/transport/transport.h"
#include "coordinator/fsck.h"
#include "coordinator/redis/share.h"
#include "coordinator/schema.h"
#include "coordinator/store.h"
#include "tests/fuzz/play.h"
#include "tests/llm/tiny_checkpoint.h"
#include "tests/support/tiny_models.h"
#include "worker/calibration/statistics.h"
#include "worker/checkpoint/gguf.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/tokenizer.h"
#include "worker/data/npz.h"
#include "worker/data/picture.h"
#include "worker/data/tokens.h"
#include "worker/model/model.h"
#include "worker/supervisor/spool.h"

namespace hone::test {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargestRow = 1 << 20;

// What must hold whatever the bytes are.
void Require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what.c_str());
  std::abort();
}

void Put(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}
std::string Get(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// --- the wire ---

void RunFrame(std::string_view bytes, const fs::path&) {
  proto::Frame frame;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  if (frame.has_error()) (void)FromProto(frame.error());
  if (frame.has_submit_job()) {
    (void)CheckBundle(frame.submit_job().model());
    (void)BundleId(frame.submit_job().model());
  }
  proto::Frame again;
  Require(again.ParseFromString(frame.SerializeAsString()), "a frame that was read cannot be written and read");
}
std::vector<std::string> FrameSeeds(const fs::path&) {
  std::vector<std::string> seeds;
  proto::Frame frame;
  frame.set_protocol(kProtocol);
  frame.set_request(7);
  frame.mutable_submit_job()->set_request("key");
  auto& file = *frame.mutable_submit_job()->mutable_model()->add_files();
  file.set_path("model.onnx");
  file.set_digest(DigestOf("x"));
  file.set_size_bytes(1);
  seeds.push_back(frame.SerializeAsString());
  frame.mutable_synchronize()->set_session("session");
  frame.mutable_synchronize()->add_holding()->set_lease(3);
  frame.mutable_synchronize()->add_reports()->mutable_result()->mutable_measure()->add_metrics()->set_name(
      "latency_ms_p50");
  seeds.push_back(frame.SerializeAsString());
  *frame.mutable_error() = ToProto({ErrorCode::kRejected, "message", "remedy"});
  seeds.push_back(frame.SerializeAsString());
  return seeds;
}

void RunPlay(std::string_view bytes, const fs::path& folder) {
  fs::remove_all(folder / "play");
  fs::create_directories(folder / "play");
  Play play(folder / "play");
  play.Run(bytes.substr(0, 2000));
  const std::string trouble = play.Settle();
  Require(trouble.empty(), trouble);
}
std::vector<std::string> PlaySeeds(const fs::path&) {
  std::vector<std::string> seeds;
  for (unsigned seed = 1; seed <= 3; ++seed) {
    std::string bytes;
    for (unsigned i = 0, x = seed; i < 300; ++i) bytes += static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
    seeds.push_back(bytes);
  }
  return seeds;
}

// --- texts ---

void RunRecipe(std::string_view bytes, const fs::path&) {
  const auto recipe = ParseRecipe(bytes, "recipe.yaml");
  if (!recipe) Require(!recipe.error().message.empty(), "a recipe was refused without a word");
}
std::vector<std::string> RecipeSeeds(const fs::path&) {
  std::vector<std::string> seeds;
  for (const auto& entry : fs::directory_iterator(fs::path(HONE_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() == ".yaml") seeds.push_back(Get(entry.path()));
  }
  seeds.push_back(
      "passes: [{choose: [none, {int8: {x: {when: {y: 1}, range: [0, 1]}}}]}]\nconstraints: {accuracy_drop: 0.01, "
      "size_bytes: {max: 5e6}}\n");
  return seeds;
}

void RunCandidate(std::string_view bytes, const fs::path&) {
  const auto candidate = ParseCanonicalCandidate(bytes);
  if (!candidate) return;
  const std::string text = CanonicalCandidate(*candidate);
  const auto again = ParseCanonicalCandidate(text);
  Require(again && CanonicalCandidate(*again) == text, "canonical text is not canonical: " + text);
}
std::vector<std::string> CandidateSeeds(const fs::path&) {
  proto::Candidate candidate;
  auto& step = *candidate.add_pipeline();
  step.set_pass("int8");
  auto& parameter = *step.add_parameters();
  parameter.set_name("per_channel");
  *parameter.mutable_value() = BoolValue(true);
  candidate.set_backend("onnxruntime");
  return {CanonicalCandidate(candidate)};
}

// --- files ---

void RunNpz(std::string_view bytes, const fs::path& folder) {
  Put(folder / "data.npz", bytes);
  const auto file = NpzFile::Open(folder / "data.npz");
  if (!file) return;
  for (const std::string& name : file->names()) {
    const auto header = file->Header(name);
    if (header && header->type != 0 && !header->dims.empty()) (void)file->Rows(name, 0, 1);
  }
}
std::vector<std::string> NpzSeeds(const fs::path& folder) {
  WriteNpz(folder / "seed.npz", {{"x", NormalArray({4, 3}, 5)}, {"y", NormalArray({4}, 6)}});
  return {Get(folder / "seed.npz")};
}

void RunPicture(std::string_view bytes, const fs::path&) { (void)DecodePicture(bytes, 3); }
std::vector<std::string> PictureSeeds(const fs::path&) {
  // A bitmap of two by two, and the head of a PNG.
  std::string bitmap(
      "BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\0\0\0\0\0",
      54);
  bitmap += std::string(16, '\x55');
  return {bitmap, std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0", 29)};
}

void RunModel(std::string_view bytes, const fs::path& folder) {
  const fs::path inside = folder / "model";
  fs::create_directories(inside);
  Put(folder / "secret", "what lies outside of the model's folder");
  Put(inside / "weights.bin", std::string(4096, 'w'));
  Put(inside / "model.onnx", bytes);
  const auto external = ExternalFiles(inside / "model.onnx");
  if (external) {
    for (const std::string& file : *external)
      Require(IsSafeRelativePath(file), "external data outside of the folder: " + file);
  }
  const auto model = LoadOnnx(inside / "model.onnx");
  if (model) (void)CheckModel(*model);
}
std::vector<std::string> ModelSeeds(const fs::path& folder) {
  std::vector<std::string> seeds;
  Mlp().Save(folder / "seed.onnx");
  seeds.push_back(Get(folder / "seed.onnx"));
  onnx::ModelProto model;
  Require(model.ParseFromString(seeds[0]), "the model of the tests can be read");
  for (const char* location : {"weights.bin", "../secret"}) {
    onnx::ModelProto outside = model;
    onnx::TensorProto& tensor = *outside.mutable_graph()->mutable_initializer(0);
    tensor.clear_raw_data();
    tensor.clear_float_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    const std::pair<const char*, const char*> entries[] = {{"location", location}, {"offset", "0"}, {"length", "64"}};
    for (const auto& [key, value] : entries) {
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    seeds.push_back(outside.SerializeAsString());
  }
  return seeds;
}

void RunSpool(std::string_view bytes, const fs::path& folder) {
  const fs::path spool = folder / "spool";
  fs::remove_all(spool);
  fs::create_directories(spool);
  Put(spool / "7.pb", bytes);
  const auto opened = Spool::Open(spool);
  Require(opened.has_value(), "a broken report keeps a worker from starting");
  Require(opened->reports().size() + (fs::exists(spool / "7.pb.bad") ? 1 : 0) == 1,
          "a report was neither taken nor set aside");
}
std::vector<std::string> SpoolSeeds(const fs::path&) {
  proto::Report report;
  report.set_lease(7);
  report.set_token(9);
  report.set_outcome(proto::Report::DONE);
  report.mutable_result()->mutable_measure()->add_metrics()->set_name("size_bytes");
  report.set_output_tail("the last words");
  return {report.SerializeAsString()};
}

void RunStatistics(std::string_view bytes, const fs::path& folder) {
  Put(folder / "statistics", bytes);
  (void)LoadStatistics(folder / "statistics");
}
std::vector<std::string> StatisticsSeeds(const fs::path& folder) {
  Statistics statistics;
  if (!SaveStatistics(statistics, folder / "seed.statistics")) return {};
  return {Get(folder / "seed.statistics")};
}

void RunShared(std::string_view bytes, const fs::path&) {
  const auto answer = ParseSharedRecord("build:key", bytes);
  if (!answer) return;
  Require(answer->result.has_value() &&
              SharedRecordOf("build:key", *answer->result, answer->from).size() <= bytes.size() + 64,
          "a shared record grew when it was read");
}
std::vector<std::string> SharedSeeds(const fs::path&) {
  proto::TaskResult result;
  result.mutable_build()->mutable_model()->set_main("model.onnx");
  return {SharedRecordOf("build:key", result, "one"), SharedRecordOf("measure:key", result, "one")};
}

// --- checkpoints ---

// What was let in can be read.
void ReadSome(const WeightMap& weights) {
  for (const auto& [name, weight] : weights) {
    const bool floats = weight.type == WeightType::f64 || weight.type == WeightType::f32 ||
                        weight.type == WeightType::f16 || weight.type == WeightType::bf16;
    if ((!floats && !weight.IsBlocks()) || weight.Rows() == 0 || weight.Columns() > kLargestRow) continue;
    std::vector<float> row(weight.Columns());
    ReadRows(weight, weight.Rows() - 1, 1, row.data());
  }
}

void RunSafetensors(std::string_view bytes, const fs::path&) {
  WeightMap weights;
  if (ReadSafetensors(bytes, "the file", weights)) ReadSome(weights);
}
std::vector<std::string> SafetensorsSeeds(const fs::path&) {
  return {SafetensorsOf({{"a.weight", {3, 4}, SeededValues("a", 12, 0, 1)},
                         {"b.bias", {5}, SeededValues("b", 5, 0, 1)}}),
          SafetensorsOf({{"scalar", {}, {1}}, {"empty", {0, 4}, {}}})};
}

void RunGguf(std::string_view bytes, const fs::path&) {
  const auto gguf = ReadGguf(bytes, "the file");
  if (!gguf) return;
  ReadSome(gguf->weights);
  (void)ConfigOfGguf(*gguf);
  const TokenizerTexts texts = TokenizerOfGguf(*gguf);
  if (!texts.tokenizer.empty()) (void)Tokenizer::Parse(texts.tokenizer);
}
std::vector<std::string> GgufSeeds(const fs::path&) {
  GgufBuilder plain, coded;
  plain.Text("general.architecture", "llama").Number("llama.block_count", 1).Real("llama.rope.freq_base", 1e4F);
  plain.Tensor("token_embd.weight", {2, 3}, GgufNumber(WeightType::f32), std::string(24, '\x3f'));
  coded.Text("general.architecture", "qwen2").Text("tokenizer.ggml.model", "gpt2");
  coded.Text("tokenizer.ggml.pre", "qwen2").Texts("tokenizer.ggml.tokens", {"a", "b", "ab"});
  coded.Texts("tokenizer.ggml.merges", {"a b"});
  for (const WeightType type : {WeightType::q4_0, WeightType::q4_k, WeightType::q6_k})
    coded.Tensor(fmt::format("blk.0.{}", InfoOf(type).name), {1, 256}, GgufNumber(type), SeededBlocks("x", type, 256));
  return {plain.Build(), coded.Build(), plain.BuildWith(UINT64_MAX, 1)};
}

void RunTokenizer(std::string_view bytes, const fs::path&) {
  const auto tokenizer = Tokenizer::Parse(bytes);
  if (!tokenizer) return;
  for (const char* text : {"It's 12  o'clock,\r\n ok", "a ab \xc3\xa9<s> 3", ""}) (void)tokenizer->Encode(text);
}
std::vector<std::string> TokenizerSeeds(const fs::path&) {
  return {R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)"
          R"({"type":"ByteLevel","add_prefix_space":true}]},"added_tokens":[{"id":4,"content":"<s>","rstrip":true}],)"
          R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{}}],)"
          R"("special_tokens":{"<s>":{"ids":[4]}}},)"
          R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"\u0120":3},"merges":["a b",["\u0120","ab"]]}})",
          R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","use_regex":false},)"
          R"("model":{"type":"BPE","vocab":{"a":0,"aa":1},"merges":[["a","a"]],"ignore_merges":true}})"};
}

void RunTokens(std::string_view bytes, const fs::path& folder) {
  for (const char* name : {"tokens.json", "tokens.npy", "tokens.npz"}) {
    Put(folder / name, bytes);
    const auto texts = ReadTokens(folder / name);
    if (!texts) continue;
    for (const auto& text : *texts)
      for (const int64_t id : text) Require(id >= 0 && id <= INT32_MAX, "a token id out of its bounds");
  }
}
std::vector<std::string> TokensSeeds(const fs::path& folder) {
  WriteNpz(folder / "seed.npz", {{"input_ids", Int64Array({2, 2}, {1, 2, 3, 4})}});
  return {"[1, 2, 3]", R"({"tokens": [[1, 2], [3]]})", Get(folder / "seed.npz")};
}

// --- the database ---

void RunDatabase(std::string_view bytes, const fs::path& folder) {
  const fs::path data = folder / "database";
  fs::remove_all(data);
  fs::create_directories(data);
  Put(data / "hone.db", bytes);
  (void)Fsck(data, {});
  const auto store = Store::Open(data / "hone.db", 64 << 20);
  if (!store)
    Require(store.error().code != ErrorCode::kBug, "a damaged database is called a bug: " + store.error().message);
}
std::vector<std::string> DatabaseSeeds(const fs::path& folder) {
  std::vector<std::string> seeds;
  for (size_t version = 1; version <= Migrations().size(); ++version) {
    const fs::path file = folder / fmt::format("seed{}.db", version);
    {
      auto database = Database::Open(file);
      Require(database && Migrate(*database, Migrations().first(version)), "a new database can be made");
      Require(database->Script("PRAGMA journal_mode=DELETE").has_value(), "and be one file");
    }
    seeds.push_back(Get(file));
  }
  return seeds;
}

constexpr FuzzTarget kTargets[] = {
    {"frame", RunFrame, FrameSeeds},
    {"play", RunPlay, PlaySeeds},
    {"recipe", RunRecipe, RecipeSeeds},
    {"candidate", RunCandidate, CandidateSeeds},
    {"npz", RunNpz, NpzSeeds},
    {"picture", RunPicture, PictureSeeds},
    {"model", RunModel, ModelSeeds},
    {"spool", RunSpool, SpoolSeeds},
    {"statistics", RunStatistics, StatisticsSeeds},
    {"safetensors", RunSafetensors, SafetensorsSeeds},
    {"gguf", RunGguf, GgufSeeds},
    {"tokenizer", RunTokenizer, TokenizerSeeds},
    {"tokens", RunTokens, TokensSeeds},
    {"database", RunDatabase, DatabaseSeeds},
    {"shared", RunShared, SharedSeeds},
};

}  // namespace

std::span<const FuzzTarget> FuzzTargets() { return kTargets; }

}  // namespace hone::test
