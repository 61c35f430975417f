// What is wrong with a checkpoint is told, and nothing beyond its files is touched.
#include <gmock/gmock.h>

#include "common/base/file.h"
#include "tests/llm/tiny_checkpoint.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/decoder_config.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/safetensors.h"

namespace hone::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// --- safetensors ---

struct BadFile {
  const char* name;
  std::string bytes;
  const char* told;
};
void PrintTo(const BadFile& file, std::ostream* out) { *out << file.name; }

std::string Entry(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return std::string("\"") + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}
std::string File(const std::string& entries, size_t bytes) {
  return Safetensors("{" + entries + "}", std::string(bytes, '\1'));
}

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsToldByWhatIsWrong) {
  WeightMap weights;
  const Result<> read = ReadSafetensors(GetParam().bytes, "model.safetensors", weights);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kRejected);
  EXPECT_THAT(read.error().message, HasSubstr("model.safetensors"));
  EXPECT_THAT(read.error().message, HasSubstr(GetParam().told));
}

INSTANTIATE_TEST_SUITE_P(
    Readers, BadSafetensors,
    testing::Values(
        BadFile{"Empty", "", "no safetensors file"}, BadFile{"Short", "1234567", "no safetensors file"},
        BadFile{"HugeHeader", std::string(8, '\xff') + "{}", "header is said to have"},
        BadFile{"HeaderBeyondTheEnd", std::string("\x40\0\0\0\0\0\0\0{}", 10), "cut short"},
        BadFile{"NoJson", Safetensors("{nonsense", ""), "no JSON"},
        BadFile{"NoObject", Safetensors("[1]", ""), "no object"},
        BadFile{"DeepJson", Safetensors(std::string(5000, '['), ""), "nested deeper"},
        BadFile{"TwoOfAName", File(Entry("a", "F32", "[1]", "[0,4]") + "," + Entry("a", "F32", "[1]", "[4,8]"), 8),
                "stands twice"},
        BadFile{"Truncated", File(Entry("a", "F32", "[4]", "[0,16]"), 8), "outside of the 8 bytes"},
        BadFile{"HugeOffset", File(Entry("a", "F32", "[1]", "[4611686018427387900,4611686018427387904]"), 4),
                "outside"},
        BadFile{"NegativeOffset", File(Entry("a", "F32", "[1]", "[-4,0]"), 4), "data_offsets"},
        BadFile{"Backwards", File(Entry("a", "F32", "[1]", "[4,0]"), 4), "outside"},
        BadFile{"Overlap", File(Entry("a", "F32", "[2]", "[0,8]") + "," + Entry("b", "F32", "[2]", "[4,12]"), 12),
                "overlap"},
        BadFile{"Gap", File(Entry("a", "F32", "[1]", "[0,4]") + "," + Entry("b", "F32", "[1]", "[8,12]"), 12),
                "belong to no tensor"},
        BadFile{"WrongSize", File(Entry("a", "F32", "[3]", "[0,8]"), 8), "take 12"},
        BadFile{"ShapeOverflow", File(Entry("a", "F32", "[4294967296,4294967296,4294967296]", "[0,4]"), 4),
                "larger than any file"},
        BadFile{"NegativeDimension", File(Entry("a", "F32", "[-1]", "[0,4]"), 4), "shape"},
        BadFile{"ManyDimensions", File(Entry("a", "U8", "[1,1,1,1,1,1,1,1,4]", "[0,4]"), 4), "dimensions"},
        BadFile{"UnknownType", File(Entry("a", "F4", "[1]", "[0,4]"), 4), "dtype 'F4'"},
        BadFile{"EntryIsText", Safetensors(R"({"a":"b"})", ""), "no object"}),
    [](const auto& row) { return row.param.name; });

TEST(SafetensorsTest, EveryTypeIsReadAsFloats) {
  struct Row {
    const char* dtype;
    std::string bytes;
    float value;
  };
  const Row rows[] = {{"F32", std::string("\0\0\x20\xc0", 4), -2.5F},
                      {"F16", std::string("\0\xc1", 2), -2.5F},
                      {"BF16", std::string("\x20\xc0", 2), -2.5F},
                      {"F64", std::string("\0\0\0\0\0\0\x04\xc0", 8), -2.5F},
                      {"F8_E4M3", "\xc2", -2.5F},
                      {"F8_E5M2", "\xc1", -2.5F},
                      {"I8", "\xfe", -2},
                      {"U8", "\xfe", 254},
                      {"I16", "\xfe\xff", -2},
                      {"U16", "\xfe\xff", 65534},
                      {"I32", "\xfe\xff\xff\xff", -2},
                      {"I64", "\xfe\xff\xff\xff\xff\xff\xff\xff", -2},
                      {"BOOL", "\x01", 1}};
  for (const Row& row : rows) {
    WeightMap weights;
    const json header = {{"w", {{"dtype", row.dtype}, {"shape", {1}}, {"data_offsets", {0, row.bytes.size()}}}}};
    const std::string file = Safetensors(header.dump(), row.bytes);
    ASSERT_TRUE(ReadSafetensors(file, "file", weights)) << row.dtype;
    float value = 0;
    ReadRows(weights.at("w"), 0, 1, &value);
    EXPECT_EQ(value, row.value) << row.dtype;
  }
}

// --- GGUF ---

GgufBuilder Llama() { return GgufBuilder().Text("general.architecture", "llama"); }
std::string Floats(size_t count) { return std::string(count * 4, '\0'); }

class BadGguf : public testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsToldByWhatIsWrong) {
  const Result<Gguf> read = ReadGguf(GetParam().bytes, "model.gguf");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kRejected);
  EXPECT_THAT(read.error().message, HasSubstr("model.gguf"));
  EXPECT_THAT(read.error().message, HasSubstr(GetParam().told));
}

std::string Cut(std::string bytes, size_t by) { return bytes.substr(0, bytes.size() - by); }
std::string LyingList() {
  std::string bytes = Llama().Texts("tokenizer.ggml.tokens", {"a", "b"}).Build();
  const size_t at = bytes.find("tokenizer.ggml.tokens") + 21 + 8;
  for (size_t i = 0; i < 7; ++i) bytes[at + i] = '\xff';
  return bytes;
}
std::string LyingText() {
  std::string bytes = Llama().Build();
  bytes[24 + 7] = '\x7f';
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Readers, BadGguf,
    testing::Values(BadFile{"Empty", "", "GGUF"}, BadFile{"OtherMagic", "GGML0000", "GGUF"},
                    BadFile{"HeadAlone", "GGUF\3", "cut short"},
                    BadFile{"OtherVersion", std::string("GGUF\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24),
                            "version is 1"},
                    BadFile{"BigEndian", std::string("GGUF\0\0\0\x03", 8) + std::string(16, '\0'), "big-endian"},
                    BadFile{"ManyTensors", Llama().BuildWith(uint64_t{1} << 60, 1), "tensors"},
                    BadFile{"MoreTensorsThanThere", Llama().BuildWith(900, 1), "cut short"},
                    BadFile{"MoreMetadataThanThere", Llama().BuildWith(0, 5), "metadata"},
                    BadFile{"ListThatLies", LyingList(), "elements"},
                    BadFile{"TextThatLies", LyingText(), "is said to have"},
                    BadFile{"NoArchitecture", GgufBuilder().Text("general.name", "x").Build(), "architecture"},
                    BadFile{"TwiceTheSameKey", Llama().Text("general.architecture", "llama").Build(), "twice"},
                    BadFile{"TwiceTheSameTensor",
                            Llama().Tensor("a", {8}, 0, Floats(8)).Tensor("a", {8}, 0, Floats(8)).Build(), "twice"},
                    BadFile{"Truncated", Cut(Llama().Tensor("a", {64}, 0, Floats(64)).Build(), 8), "cut short or lies"},
                    BadFile{"HugeTensor", Llama().Tensor("a", {int64_t{1} << 40, int64_t{1} << 40}, 0, "").Build(),
                            "larger than any file"},
                    BadFile{"HugeDimension", Llama().Tensor("a", {int64_t{1} << 60}, 0, "").Build(), "dimension"},
                    BadFile{"UnknownBlocks", Llama().Tensor("a", {256}, 16, Floats(64)).Build(), "block type 16"},
                    BadFile{"BrokenBlocks", Llama().Tensor("a", {33}, 2, Floats(64)).Build(), "whole blocks"},
                    BadFile{"BadAlignment", Llama().Number("general.alignment", 33).Build(), "power of two"}),
    [](const auto& row) { return row.param.name; });

TEST(GgufTest, OverlappingTensorsAreRefused) {
  std::string bytes = Llama().Tensor("a", {16}, 0, Floats(16)).Tensor("b", {16}, 0, Floats(16)).Build();
  const size_t second = bytes.find(std::string("\1\0\0\0\0\0\0\0b", 9)) + 9 + 4 + 8 + 4;
  bytes[second] = 32;
  const Result<Gguf> read = ReadGguf(bytes, "model.gguf");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("overlap"));
}

TEST(GgufTest, CountsAndLengthsAnywhereNeverReadBeyondTheFile) {
  const std::string whole = Llama()
                                .Number("llama.block_count", 1)
                                .Texts("list", {"a", "bc"})
                                .Tensor("token_embd.weight", {2, 32}, 2, std::string(36, '\1'))
                                .Build();
  ASSERT_TRUE(ReadGguf(whole, "whole"));
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string part =
        whole.substr(0, length);  // Of its own length, so that a sanitizer sees every byte too many.
    EXPECT_FALSE(ReadGguf(part, "part")) << length;
  }
}

// --- configurations ---

json SmallConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 96},
          {"max_position_embeddings", 64}};
}

struct BadConfig {
  const char* name;
  const char* patch;
  const char* told;
};
void PrintTo(const BadConfig& config, std::ostream* out) { *out << config.name; }
class BadDecoderConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadDecoderConfig, IsToldByWhatIsWrong) {
  json config = SmallConfig();
  config.merge_patch(json::parse(GetParam().patch));
  const Result<DecoderConfig> read = ReadDecoderConfig(config, false);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kRejected);
  EXPECT_THAT(read.error().message, HasSubstr(GetParam().told));
}

INSTANTIATE_TEST_SUITE_P(
    Readers, BadDecoderConfig,
    testing::Values(
        BadConfig{"Architecture", R"({"architectures":["MambaForCausalLM"]})", "'MambaForCausalLM' is not known"},
        BadConfig{"Rope", R"({"rope_scaling":{"rope_type":"spiral"}})", "'spiral' is not known"},
        BadConfig{"RopeWithoutFactor", R"({"rope_scaling":{"rope_type":"linear"}})", "'factor' is missing"},
        BadConfig{"RopeFactors", R"({"rope_scaling":{"rope_type":"longrope","short_factor":[1],"long_factor":[1]}})",
                  "half of what is turned"},
        BadConfig{"Activation", R"({"hidden_act":"relu6"})", "'relu6' is not known"},
        BadConfig{"LayerType", R"({"layer_types":["full_attention","linear_attention"]})",
                  "'linear_attention' is not known"},
        BadConfig{"LayerCount", R"({"layer_types":["full_attention"]})", "1 elements for 2 layers"},
        BadConfig{"WindowMissing", R"({"layer_types":["full_attention","sliding_attention"]})",
                  "'sliding_window' is missing"},
        BadConfig{"NoLayers", R"({"num_hidden_layers":0})", "num_hidden_layers"},
        BadConfig{"AbsurdLayers", R"({"num_hidden_layers":1000000000})", "num_hidden_layers"},
        BadConfig{"NegativeWidth", R"({"hidden_size":-64})", "hidden_size"},
        BadConfig{"FractionalWidth", R"({"hidden_size":64.5})", "hidden_size"},
        BadConfig{"TextWidth", R"({"hidden_size":"64"})", "hidden_size"},
        BadConfig{"Missing", R"({"vocab_size":null})", "'vocab_size' is missing"},
        BadConfig{"UnevenHeads", R"({"num_key_value_heads":3})", "evenly"},
        BadConfig{"OddHead", R"({"head_dim":20})", "multiples of 16"},
        BadConfig{"Positions", R"({"max_position_embeddings":1e15})", "max_position_embeddings"},
        BadConfig{"Quantized", R"({"quantization_config":{"quant_method":"gptq"}})", "quantized already"}),
    [](const auto& row) { return row.param.name; });

TEST(JsonTextTest, BombsAreTurnedDownBeforeTheyGoOff) {
  EXPECT_THAT(ParseJson(std::string(1 << 20, '['), "x").error().message, HasSubstr("nested deeper"));
  std::string many = "[";
  for (int i = 0; i < 100; ++i) many += "0,";
  EXPECT_THAT(ParseJson(many + "0]", "x", {.bytes = 4096, .values = 50, .depth = 4}).error().message,
              HasSubstr("more than 50 values"));
  EXPECT_THAT(ParseJson(many + "0]", "x", {.bytes = 10, .values = 50, .depth = 4}).error().message, HasSubstr("bytes"));
}

// --- folders ---

class FolderTest : public testing::Test {
 protected:
  Result<ScopedFolder> folder_ = ScopedFolder::Make(testing::TempDir(), "llm-");
  std::filesystem::path path() const { return folder_->path(); }
  std::string Told() const {
    const Result<Checkpoint> opened = OpenCheckpoint(CheckpointIn(path()));
    return opened ? "" : opened.error().message;
  }
};

TEST_F(FolderTest, WithoutWeightsSaysSo) {
  WriteBytes(path() / "config.json", SmallConfig().dump());
  EXPECT_THAT(Told(), HasSubstr("no .safetensors file"));
}

TEST_F(FolderTest, IndexMayNotPointOutside) {
  WriteCheckpoint(path(), SmallConfig(), SafetensorsOf({{"a", {1}, {1}}}));
  for (const char* file : {"../secret", "/etc/passwd", "missing.safetensors", ""}) {
    WriteBytes(path() / "model.safetensors.index.json", json{{"weight_map", {{"a", file}}}}.dump());
    EXPECT_THAT(Told(), HasSubstr("which is not there")) << file;
  }
}

TEST_F(FolderTest, LinksAreNotFollowed) {
  WriteCheckpoint(path(), SmallConfig(), SafetensorsOf({{"a", {1}, {1}}}));
  std::filesystem::remove(path() / "model.safetensors");
  std::filesystem::create_symlink("/etc/hostname", path() / "model.safetensors");
  EXPECT_NE(Told(), "");
}

TEST_F(FolderTest, ShardsAreReadByTheIndexAndMayNotRepeatATensor) {
  WriteCheckpoint(path(), SmallConfig(), SafetensorsOf({{"a", {1}, {1}}}));
  std::filesystem::rename(path() / "model.safetensors", path() / "one.safetensors");
  WriteBytes(path() / "two.safetensors", SafetensorsOf({{"b", {2}, {2, 3}}}));
  WriteBytes(path() / "model.safetensors.index.json",
             json{{"weight_map", {{"a", "one.safetensors"}, {"b", "two.safetensors"}}}}.dump());
  const Result<Checkpoint> opened = OpenCheckpoint(CheckpointIn(path()));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->weights.size(), 2U);
  WriteBytes(path() / "two.safetensors", SafetensorsOf({{"a", {1}, {2}}}));
  EXPECT_THAT(Told(), HasSubstr("in another file too"));
}

}  // namespace
}  // namespace hone::test
