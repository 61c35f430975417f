// Token ids in their files: what is read as texts, how texts become samples, and what is refused.
#include <gmock/gmock.h>

#include "common/artifact/bundle.h"
#include "tests/llm/tiny_checkpoint.h"
#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"
#include "worker/checkpoint/tokenizer.h"
#include "worker/checkpoint/unicode.h"
#include "worker/data/tokens.h"

namespace hone::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using nlohmann::json;
using Texts = std::vector<std::vector<int64_t>>;

constexpr ElementType kFloat32 = 1, kInt64 = 7;
const std::vector<InputSignature> kDecoder = {{"input_ids", kInt64, {-1, -1}},
                                              {"attention_mask", kInt64, {-1, -1}},
                                              {"past_key_values.0.key", kFloat32, {-1, 2, -1, 16}}};

// An array of int64 by itself.
std::string Npy(const std::string& shape, const std::vector<int64_t>& values) {
  std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(118, ' ');
  std::string bytes = std::string("\x93NUMPY\x01\x00", 8) + std::string("\x76\x00", 2) + header;
  return bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t));
}

class TokensTest : public testing::Test {
 protected:
  Texts Read(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
    const auto texts = ReadTokens(folder_ / name);
    EXPECT_TRUE(texts) << bytes << ": " << texts.error().message;
    return texts ? *texts : Texts();
  }
  std::string Told(const std::string& name, const std::string& bytes) {
    WriteBytes(folder_ / name, bytes);
    const auto texts = ReadTokens(folder_ / name);
    EXPECT_FALSE(texts) << bytes;
    return texts ? "" : texts.error().message;
  }
  proto::LocalData DataAt(const std::string& name) {
    proto::LocalData data;
    *data.mutable_data()->mutable_bundle() = BundleOfData(folder_ / name).value();
    data.mutable_data()->set_folder(folder_.path().string());
    return data;
  }
  TempFolder folder_;
};

TEST_F(TokensTest, EveryFormGivesTheSameTexts) {
  const Texts two = {{5, 6, 7}, {8, 9, 10}};
  EXPECT_EQ(Read("a.json", "[[5,6,7],[8,9,10]]"), two);
  EXPECT_EQ(Read("b.json", R"({"tokens":[[5,6,7],[8,9,10]]})"), two);
  EXPECT_EQ(Read("c.json", R"({"input_ids":[5,6,7]})"), Texts{two[0]});
  EXPECT_EQ(Read("d.npy", Npy("(2, 3)", {5, 6, 7, 8, 9, 10})), two);
  EXPECT_EQ(Read("e.npy", Npy("(3,)", {5, 6, 7})), Texts{two[0]});
  WriteNpz(folder_ / "f.npz", {{"input_ids", Int64Array({2, 3}, {5, 6, 7, 8, 9, 10})}});
  EXPECT_EQ(*ReadTokens(folder_ / "f.npz"), two);
  WriteNpz(folder_ / "g.npz", {{"input_ids", Int64Array({2, 3}, {5, 6, 7, 8, 9, 10})},
                               {"attention_mask", Int64Array({2, 3}, {1, 1, 1, 0, 1, 1})}});
  EXPECT_EQ(*ReadTokens(folder_ / "g.npz"), (Texts{{5, 6, 7}, {9, 10}}));
}

TEST_F(TokensTest, WhatIsNoTextIsRefused) {
  EXPECT_THAT(Told("a.json", "[5, -6]"), HasSubstr("token 1 of a text is no token id"));
  EXPECT_THAT(Told("a.json", "[5, 99999999999]"), HasSubstr("no token id"));
  EXPECT_THAT(Told("a.json", "[5, 18446744073709551615]"), HasSubstr("no token id"));
  EXPECT_THAT(Told("a.json", "[5, 6.5]"), HasSubstr("no integer"));
  EXPECT_THAT(Told("a.json", "[[5], 6]"), HasSubstr("no list"));
  EXPECT_THAT(Told("a.json", R"({"ids":[5]})"), HasSubstr("no list of token ids"));
  EXPECT_THAT(Told("a.json", "[5, 6"), HasSubstr("the file"));
  EXPECT_THAT(Told("a.npy", Npy("(2, 3)", {5, 6})), HasSubstr("holds 16 bytes"));
  EXPECT_THAT(Told("a.npy", Npy("(1, 1, 2)", {5, 6})), HasSubstr("neither one text nor a text a row"));
  EXPECT_THAT(Told("a.npy", "\x93NUMPY\x01"), HasSubstr(".npy"));
  WriteNpz(folder_ / "a.npz", {{"ids", Int64Array({2}, {5, 6})}});
  EXPECT_THAT(ReadTokens(folder_ / "a.npz").error().message, HasSubstr("no array 'input_ids'"));
}

TEST_F(TokensTest, SamplesAreWindowsThatFeedADecoderFromNothing) {
  std::string text = "[";
  for (size_t i = 0; i < kTokenWindow + 3; ++i) text += std::to_string(i % 50) + ",";
  WriteBytes(folder_ / "long.json", "[" + text + "1],[7]]");
  const auto set = OpenDataSet(DataAt("long.json"), kDecoder);
  ASSERT_TRUE(set) << set.error().message;
  // The second text has one token, which nothing follows.
  ASSERT_EQ((*set)->size(), 2U);
  EXPECT_EQ((*set)->Tokens(0).size(), kTokenWindow);
  EXPECT_THAT((*set)->Tokens(1), ElementsAre(12, 13, 14, 1));
  const auto sample = (*set)->Get(1);
  ASSERT_TRUE(sample) << sample.error().message;
  EXPECT_THAT((*sample)[0].dims, ElementsAre(1, 4));
  EXPECT_EQ((*sample)[1].data<int64_t>()[3], 1);
  EXPECT_THAT((*sample)[2].dims, ElementsAre(1, 2, 0, 16));
  proto::LocalData second = DataAt("long.json");
  second.set_from(1);
  EXPECT_EQ((*OpenDataSet(second, kDecoder))->size(), 1U);
  second.set_from(2);
  EXPECT_THAT(OpenDataSet(second, kDecoder).error().message, HasSubstr("no sample is selected"));
}

TEST_F(TokensTest, IdsAloneServeAnNpzForDecodersAndNoOtherModel) {
  WriteNpz(folder_ / "a.npz", {{"input_ids", Int64Array({2, 4}, {5, 6, 7, 8, 9, 10, 11, 12})}});
  const auto set = OpenDataSet(DataAt("a.npz"), kDecoder);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ((*set)->size(), 2U);
  std::vector<InputSignature> encoder = {{"input_ids", kInt64, {-1, -1}}, {"token_type_ids", kInt64, {-1, -1}}};
  EXPECT_THAT(OpenDataSet(DataAt("a.npz"), encoder).error().message, HasSubstr("token_type_ids"));
  WriteBytes(folder_ / "a.json", "[5,6,7]");
  EXPECT_THAT(OpenDataSet(DataAt("a.json"), encoder).error().message, HasSubstr("other inputs"));
}

// --- tokenizers ---

// A vocabulary of all bytes by their numbers, and some merges.
std::string TokenizerJson(const std::string& pre_tokenizer, const std::string& more = "") {
  json vocabulary, merges = json::array();
  int next = 0;
  char32_t unseen = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    std::string text;
    AppendUtf8(seen ? byte : unseen++, text);
    vocabulary[text] = next++;
  }
  const std::vector<std::pair<const char*, const char*>> pairs = {
      {"l", "o"}, {"lo", "w"}, {"e", "r"}, {"\xc4\xa0", "low"}, {"o", "w"}};
  for (const auto& [left, right] : pairs) {
    vocabulary[std::string(left) + right] = next++;
    merges.push_back(std::string(left) + " " + right);
  }
  return R"({"pre_tokenizer":)" + pre_tokenizer + more + R"(,"model":{"type":"BPE","vocab":)" + vocabulary.dump() +
         R"(,"merges":)" + merges.dump() + "}}";
}
constexpr const char* kByteLevel = R"({"type":"ByteLevel","add_prefix_space":false})";

std::vector<int64_t> Encoded(const std::string& tokenizer_json, const std::string& text) {
  const auto tokenizer = Tokenizer::Parse(tokenizer_json);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  if (!tokenizer) return {};
  const auto ids = tokenizer->Encode(text);
  EXPECT_TRUE(ids) << ids.error().message;
  return ids ? *ids : std::vector<int64_t>();
}

TEST(TokenizerTest, MergesInTheOrderOfTheListWithinWords) {
  const std::string gpt2 = TokenizerJson(kByteLevel);
  EXPECT_THAT(Encoded(gpt2, "lower low"), ElementsAre(257, 258, 259));
  EXPECT_THAT(Encoded(gpt2, "owl"), ElementsAre(260, 'l'));
  EXPECT_THAT(Encoded(gpt2, "\xc3\xa9"), ElementsAre(0xc3, 0xa9));
  EXPECT_THAT(Encoded(gpt2, ""), ElementsAre());
  // The last space before a word is its own; those before stand alone.
  EXPECT_THAT(Encoded(gpt2, "  low\n"), ElementsAre(' ', 259, '\n'));
}

TEST(TokenizerTest, FramesAndAddedTokensPartTheText) {
  const std::string framed = TokenizerJson(
      kByteLevel, R"(,"added_tokens":[{"id":300,"content":"<s>"},{"id":301,"content":"<s>>","rstrip":true}],)"
                  R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},)"
                  R"({"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[300]}}})");
  EXPECT_THAT(Encoded(framed, "low<s>low"), ElementsAre(300, 257, 300, 257));
  EXPECT_THAT(Encoded(framed, "<s>>  low"), ElementsAre(300, 301, 257));
}

TEST(TokenizerTest, WhatIsNotKnownIsNamed) {
  const auto told = [](const std::string& text) {
    const auto tokenizer = Tokenizer::Parse(text);
    return tokenizer ? std::string() : tokenizer.error().message;
  };
  EXPECT_THAT(told("{"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(told(R"({"model":{"type":"Unigram"}})"), HasSubstr("the model 'Unigram' is not known"));
  EXPECT_THAT(told(TokenizerJson(R"({"type":"Metaspace"})")), HasSubstr("the pre-tokenizer 'Metaspace' is not known"));
  EXPECT_THAT(told(TokenizerJson(R"({"type":"Split","pattern":{"Regex":"(a+)+"},"behavior":"Isolated"})")),
              HasSubstr("pattern '(a+)+' is not known"));
  EXPECT_THAT(told(TokenizerJson(kByteLevel, R"(,"normalizer":{"type":"Lowercase"})")),
              HasSubstr("the normalizer 'Lowercase' is not known"));
  const auto plain = Tokenizer::Parse(TokenizerJson(kByteLevel));
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_THAT(plain->Encode("\xff").error().message, HasSubstr("no UTF-8"));
}

TEST_F(TokensTest, ATextIsReadByTheModelsOwnTokenizer) {
  fs::create_directories(folder_ / "model");
  WriteBytes(folder_ / "model" / "config.json", "{}");
  WriteBytes(folder_ / "text.txt", "lower low");
  const proto::LocalBundle without = CheckpointIn(folder_ / "model");
  EXPECT_THAT(OpenDataSet(DataAt("text.txt"), kDecoder, &without).error().message, HasSubstr("no tokenizer.json"));
  EXPECT_FALSE(OpenDataSet(DataAt("text.txt"), kDecoder));
  WriteBytes(folder_ / "model" / "tokenizer.json", TokenizerJson(kByteLevel));
  const proto::LocalBundle model = CheckpointIn(folder_ / "model");
  const auto set = OpenDataSet(DataAt("text.txt"), kDecoder, &model);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_THAT((*set)->Tokens(0), ElementsAre(257, 258, 259));
}

TEST(TokenizerTest, LongWordsTakeNoSquareOfTheirLength) {
  const std::string word(200'000, 'l');
  EXPECT_EQ(Encoded(TokenizerJson(kByteLevel), word).size(), word.size());
}

}  // namespace
}  // namespace hone::test
