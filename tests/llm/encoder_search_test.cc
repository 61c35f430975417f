// Encoders by the command: what `hone inspect` tells of a checkpoint, `hone apply` makes of it, and `hone optimize`
// finds.
#include <gmock/gmock.h>

#include "tests/llm/encoder_golden.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(EncoderCommandTest, InspectTellsInputsAndOutputsOfTheModelThatIsBuilt) {
  TempFolder folder;
  struct Row {
    const char* name;
    size_t inputs;
    json output;
  };
  const Row kRows[] = {{"bert", 3, {{"name", "last_hidden_state"}, {"dims", {"batch_size", "sequence_length", "32"}}}},
                       {"roberta_sequence", 2, {{"name", "logits"}, {"dims", {"batch_size", "3"}}}},
                       {"embed_all", 2, {{"name", "sentence_embedding"}, {"dims", {"batch_size", "96"}}}}};
  for (const Row& row : kRows) {
    WriteEncoder(folder / row.name, row.name);
    const Ran ran = Hone({"inspect", (folder / row.name).string(), "--json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    const json told = ran.json();
    EXPECT_EQ(told.at("inputs").size(), row.inputs) << row.name;
    EXPECT_EQ(told.at("outputs").at(0).at("name"), row.output["name"]) << row.name;
    EXPECT_THAT(told.at("outputs").at(0).dump(), HasSubstr(row.output["dims"].back().get<std::string>())) << row.name;
  }
}

TEST(EncoderCommandTest, InspectNamesAnArchitectureThatIsNotKnown) {
  TempFolder folder;
  WriteCheckpoint(folder / "in", {{"architectures", {"ViTModel"}}}, SafetensorsOf({{"a", {1}, {0}}}));
  const Ran ran = Hone({"inspect", (folder / "in").string()});
  EXPECT_EQ(ran.code, 9);
  EXPECT_THAT(ran.err, HasSubstr("the architecture 'ViTModel' is not known"));
  EXPECT_THAT(ran.err, HasSubstr("LlamaForCausalLM"));
  EXPECT_THAT(ran.err, HasSubstr("MPNetModel"));
}

TEST(EncoderCommandTest, ApplyMakesTheModel) {
  TempFolder folder;
  WriteEncoder(folder / "in", "embed_mean");
  const std::string in = (folder / "in").string();
  const Ran ran = Hone({"apply", in, "--pass", "build_encoder", "-o", (folder / "out").string()});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(fs::exists(folder / "out" / "model.onnx")) << ran.out << ran.err;
  const Ran wrong = Hone({"apply", in, "--pass", "build_decoder", "-o", (folder / "no").string()});
  EXPECT_EQ(wrong.code, 9);
  EXPECT_THAT(wrong.err, HasSubstr("build_encoder builds it"));
}

TEST(EncoderCommandTest, OptimizeTakesTheRecipeOfItsFamily) {
  TempFolder folder;
  WriteEncoder(folder / "in", "bert_tokens");
  WriteBytes(folder / "in" / "vocab.txt", "[PAD]\n");
  const Ran ran = Hone({"optimize", (folder / "in").string(), "-o", (folder / "out").string(), "--json", "--precision",
                        "fp32,int8", "--trials", "3", "--max-accuracy-drop", "1", "--input", "input_ids=1,16",
                        "--input", "attention_mask=1,16", "--input", "token_type_ids=1,16"},
                       180);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const json told = ran.json();
  EXPECT_EQ(told.at("best").at("pipeline").at(0).at("pass"), "build_encoder");
  EXPECT_EQ(told.at("trials").at("failed"), 0) << ran.err;
  EXPECT_EQ(TextOf(folder / "out" / "vocab.txt"), "[PAD]\n");
}

}  // namespace
}  // namespace hone::test
