#include "worker/checkpoint/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <queue>
#include <string>
#include <unordered_map>

#include "common/base/strings.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/unicode.h"

namespace hone {

// What a Tokenizer holds.
namespace byte_pairs {

// One step of the pre-tokenizer: pieces into smaller ones. `word` tells how many characters from a place on are one.
struct Cut {
  size_t (*word)(std::u32string_view text, size_t at);
  bool add_space = false;   // Before pieces that do not begin with one.
};

// A merge of two neighbours: which comes first, and what they become.
struct Merge {
  uint32_t rank;
  int32_t id;
};

struct AddedToken {
  std::u32string text;
  int64_t id = 0;
  bool takes_left = false, takes_right = false;   // Spaces beside it are its own.
};

}  // namespace byte_pairs

namespace {

using byte_pairs::AddedToken;
using byte_pairs::Cut;
using byte_pairs::Merge;
using nlohmann::json;
using Piece = std::u32string_view;

constexpr JsonBounds kBounds = {.bytes = 256 << 20, .values = 40'000'000, .depth = 32};
constexpr const char* kFile = "tokenizer.json";
constexpr size_t kMostCuts = 16;

tl::unexpected<Error> Refused(const std::string& what) {
  return Fail(ErrorCode::kRejected, fmt::format("{}: {}", kFile, what),
              "Give token ids (.npy or .json) instead of text");
}

std::string TypeOf(const json& object) {
  if (!object.is_object() || !object.contains("type") || !object["type"].is_string()) return "";
  return object["type"].get<std::string>();
}

const json& Member(const json& object, const char* key) {
  static const json kNothing;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNothing;
}

bool Flag(const json& object, const char* key, bool otherwise) {
  const json& value = Member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

// --- words ---

bool IsNewline(char32_t code) { return code == '\n' || code == '\r'; }
bool IsWord(char32_t code) {
  const CharacterKind kind = KindOf(code);
  return kind == CharacterKind::letter || kind == CharacterKind::number;
}

// Characters from `at` on of which `is` holds.
template <class Is>
size_t RunOf(Piece text, size_t at, const Is& is) {
  size_t end = at;
  while (end < text.size() && is(text[end])) ++end;
  return end - at;
}
size_t RunOf(Piece text, size_t at, CharacterKind kind) {
  return RunOf(text, at, [&](char32_t code) { return KindOf(code) == kind; });
}

// 's 't 're 've 'm 'll 'd
size_t Contraction(Piece text, size_t at, bool any_case) {
  static const std::u32string_view kEnds[] = {U"s", U"t", U"re", U"ve", U"m", U"ll", U"d"};
  if (text[at] != '\'') return 0;
  for (const Piece end : kEnds) {
    if (text.size() - at - 1 < end.size()) continue;
    constexpr char32_t kLongS = 0x17f;   // Which is an s, whatever its case.
    const auto same = [&](char32_t a, char32_t b) {
      return a == b || (any_case && ((a < 128 && (a | 0x20) == b) || (a == kLongS && b == 's')));
    };
    if (std::equal(end.begin(), end.end(), text.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                   [&](char32_t wanted, char32_t found) { return same(found, wanted); }))
      return end.size() + 1;
  }
  return 0;
}

// \s+(?!\S)|\s+ : what stands before a word leaves its last space to it.
size_t Spaces(Piece text, size_t at) {
  const size_t run = RunOf(text, at, CharacterKind::space);
  return run > 1 && at + run < text.size() ? run - 1 : run;
}

// The first of the patterns below.
size_t Gpt2Word(Piece text, size_t at) {
  if (const size_t length = Contraction(text, at, false)) return length;
  const size_t space = text[at] == ' ' && at + 1 < text.size() ? 1 : 0;
  const CharacterKind kind = KindOf(text[at + space]);
  if (kind != CharacterKind::space) return space + RunOf(text, at + space, kind);
  return Spaces(text, at);
}

// The second and third of the patterns below, which differ in how many digits are a word.
size_t Gpt4Word(Piece text, size_t at, size_t most_digits) {
  if (const size_t length = Contraction(text, at, true)) return length;
  const bool lead = !IsNewline(text[at]) && !IsWord(text[at]);
  if (const size_t letters = RunOf(text, at + (lead ? 1 : 0), CharacterKind::letter)) return letters + (lead ? 1 : 0);
  if (const size_t digits = RunOf(text, at, CharacterKind::number)) return std::min(digits, most_digits);
  const size_t space = text[at] == ' ' ? 1 : 0;
  if (const size_t marks = RunOf(text, at + space, CharacterKind::other))
    return space + marks + RunOf(text, at + space + marks, IsNewline);
  const size_t run = RunOf(text, at, CharacterKind::space);
  for (size_t end = run; end > 0; --end) {
    if (IsNewline(text[at + end - 1])) return end;
  }
  return Spaces(text, at);
}

size_t EachDigit(Piece text, size_t at) {
  if (KindOf(text[at]) == CharacterKind::number) return 1;
  return RunOf(text, at, [](char32_t code) { return KindOf(code) != CharacterKind::number; });
}
size_t AllDigits(Piece text, size_t at) {
  const size_t digits = RunOf(text, at, CharacterKind::number);
  return digits > 0 ? digits : EachDigit(text, at);
}
size_t Everything(Piece text, size_t at) { return text.size() - at; }

struct PatternRow {
  const char* pattern;
  size_t (*word)(Piece text, size_t at);
};
constexpr PatternRow kPatterns[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Gpt2Word},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
     R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     [](Piece text, size_t at) { return Gpt4Word(text, at, 3); }},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
     R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     [](Piece text, size_t at) { return Gpt4Word(text, at, 1); }},
};

Result<Cut> CutOf(const json& step) {
  const std::string type = TypeOf(step);
  if (type == "Digits") return Cut{Flag(step, "individual_digits", false) ? EachDigit : AllDigits};
  if (type == "ByteLevel")
    return Cut{Flag(step, "use_regex", true) ? Gpt2Word : Everything, Flag(step, "add_prefix_space", true)};
  if (type != "Split") return Refused(fmt::format("the pre-tokenizer '{}' is not known", Printable(type, 80)));
  const json& pattern = Member(Member(step, "pattern"), "Regex");
  const std::string text = pattern.is_string() ? pattern.get<std::string>() : "";
  const json& behavior = Member(step, "behavior");
  for (const PatternRow& row : kPatterns) {
    if (text == row.pattern && behavior == "Isolated" && !Flag(step, "invert", false)) return Cut{row.word};
  }
  return Refused(fmt::format("the pre-tokenizer's pattern '{}' is not known", Printable(text, 200)));
}

// --- merging ---

// Parts of a word as a list: merging takes the right one out.
struct Part {
  int32_t id;
  int32_t left, right;   // -1: none.
};

struct Offer {
  uint32_t rank;
  int32_t left, right;       // Places of the parts ...
  int32_t left_id, right_id; // ... and what they were.
  int32_t id;
  bool operator<(const Offer& other) const {   // For a queue that gives the largest first.
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

class Merger {
 public:
  Merger(const std::unordered_map<uint64_t, Merge>& merges, std::vector<int32_t> ids) : merges_(merges) {
    const auto count = static_cast<int32_t>(ids.size());
    for (int32_t i = 0; i < count; ++i)
      parts_.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    for (int32_t i = 0; i + 1 < count; ++i) Propose(i);
  }

  void Run(std::vector<int64_t>& out) {
    while (!offers_.empty()) {
      const Offer offer = offers_.top();
      offers_.pop();
      Part& left = At(offer.left);
      // What was merged since has another id, or none.
      if (left.id != offer.left_id || left.right != offer.right || At(offer.right).id != offer.right_id) continue;
      left.id = offer.id;
      left.right = At(offer.right).right;
      At(offer.right).id = kGone;
      if (left.right >= 0) At(left.right).left = offer.left;
      Propose(offer.left);
      if (left.left >= 0) Propose(left.left);
    }
    for (int32_t at = 0; at >= 0; at = At(at).right) out.push_back(At(at).id);
  }

 private:
  static constexpr int32_t kGone = -1;
  Part& At(int32_t place) { return parts_[static_cast<size_t>(place)]; }

  void Propose(int32_t place) {
    const Part& left = At(place);
    if (left.right < 0) return;
    const auto found = merges_.find(PairKey(left.id, At(left.right).id));
    if (found == merges_.end()) return;
    offers_.push({found->second.rank, place, left.right, left.id, At(left.right).id, found->second.id});
  }

  const std::unordered_map<uint64_t, Merge>& merges_;
  std::vector<Part> parts_;
  std::priority_queue<Offer> offers_;
};

// The characters that stand for bytes: those that are seen stand for themselves, the others for characters from 256 on.
std::array<std::string, 256> ByteCharacters() {
  std::array<std::string, 256> characters;
  char32_t next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    AppendUtf8(seen ? byte : next++, characters[byte]);
  }
  return characters;
}

}  // namespace

struct Tokenizer::State {
  std::unordered_map<std::string, int32_t> vocabulary;
  std::unordered_map<uint64_t, Merge> merges;
  std::array<int32_t, 256> bytes{};      // Ids of bytes; -1: the vocabulary has none.
  bool ignore_merges = false;            // A word that the vocabulary has is that token.
  std::vector<Cut> cuts;
  std::vector<AddedToken> added;         // Longest first.
  std::u32string added_begin;            // Their first characters.
  std::vector<int64_t> before, behind;   // Of every text.

  Result<> ReadModel(const json& model);
  Result<> ReadMerges(const json& list);
  Result<> ReadCuts(const json& step);
  Result<> ReadAdded(const json& list);
  Result<> ReadFrame(const json& processor);
  void EncodePiece(Piece piece, size_t cut, std::vector<int64_t>& ids) const;
  void EncodeWord(Piece word, std::vector<int64_t>& ids) const;
  const AddedToken* AddedAt(Piece text, size_t at) const;
};

Result<> Tokenizer::State::ReadModel(const json& model) {
  if (TypeOf(model) != "BPE") return Refused(fmt::format("the model '{}' is not known", Printable(TypeOf(model), 80)));
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = Member(model, key);
    if (!value.is_null() && value != "") return Refused(fmt::format("the model's '{}' is not known", key));
  }
  if (Flag(model, "byte_fallback", false)) return Refused("the model's 'byte_fallback' is not known");
  ignore_merges = Flag(model, "ignore_merges", false);
  const json& words = Member(model, "vocab");
  if (!words.is_object()) return Refused("the model has no vocabulary");
  for (const auto& [word, id] : words.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) return Refused("a token's id is no number");
    vocabulary.emplace(word, id.get<int32_t>());
  }
  const std::array<std::string, 256> characters = ByteCharacters();
  for (size_t byte = 0; byte < characters.size(); ++byte) {
    const auto found = vocabulary.find(characters[byte]);
    bytes[byte] = found == vocabulary.end() ? -1 : found->second;
  }
  return ReadMerges(Member(model, "merges"));
}

// "a b", or ["a", "b"].
Result<> Tokenizer::State::ReadMerges(const json& list) {
  if (!list.is_array()) return Refused("the model has no merges");
  uint32_t rank = 0;
  for (const json& merge : list) {
    std::string left, right;
    if (merge.is_string()) {
      const auto text = merge.get<std::string>();
      const size_t space = text.find(' ');
      left = text.substr(0, space);
      if (space != std::string::npos) right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    const auto one = vocabulary.find(left), two = vocabulary.find(right), both = vocabulary.find(left + right);
    if (left.empty() || right.empty() || one == vocabulary.end() || two == vocabulary.end() || both == vocabulary.end())
      return Refused(fmt::format("merge {} joins what the vocabulary lacks", rank));
    merges.insert_or_assign(PairKey(one->second, two->second), Merge{rank, both->second});
    ++rank;
  }
  return {};
}

Result<> Tokenizer::State::ReadCuts(const json& step) {
  if (TypeOf(step) == "Sequence") {
    const json& steps = Member(step, "pretokenizers");
    if (!steps.is_array()) return Refused("the pre-tokenizer is no list of steps");
    for (const json& one : steps) TRY(ReadCuts(one));
    return {};
  }
  if (cuts.size() >= kMostCuts) return Refused(fmt::format("the pre-tokenizer has more than {} steps", kMostCuts));
  TRY_ASSIGN(cuts.emplace_back(), CutOf(step));
  return {};
}

Result<> Tokenizer::State::ReadAdded(const json& list) {
  for (const json& token : list.is_array() ? list : json::array()) {
    const json &content = Member(token, "content"), &id = Member(token, "id");
    if (!content.is_string() || !id.is_number_unsigned()) return Refused("an added token has no text or no id");
    const auto text = Decoded(content.get<std::string>());
    if (!text || text->empty()) return Refused("an added token has no text");
    if (Flag(token, "single_word", false)) return Refused("an added token with 'single_word' is not known");
    if (added_begin.find(text->front()) == std::u32string::npos) added_begin += text->front();
    added.push_back({*text, id.get<int64_t>(), Flag(token, "lstrip", false), Flag(token, "rstrip", false)});
  }
  std::stable_sort(added.begin(), added.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.text.size() > b.text.size(); });
  return {};
}

// What every text is framed with.
Result<> Tokenizer::State::ReadFrame(const json& processor) {
  const std::string type = TypeOf(processor);
  if (type.empty() || type == "ByteLevel") return {};
  if (type == "Sequence") {
    for (const json& one : Member(processor, "processors")) TRY(ReadFrame(one));
    return {};
  }
  if (type != "TemplateProcessing")
    return Refused(fmt::format("the post-processor '{}' is not known", Printable(type, 80)));
  bool text_seen = false;
  for (const json& part : Member(processor, "single")) {
    text_seen = text_seen || part.contains("Sequence");
    const json& special = Member(part, "SpecialToken");
    if (special.is_null()) continue;
    const json& name = Member(special, "id");
    const json& known = Member(Member(processor, "special_tokens"), name.is_string() ? name.get<std::string>().c_str()
                                                                                      : "");
    for (const json& id : Member(known, "ids")) {
      if (!id.is_number_unsigned()) return Refused("a token of the post-processor is no number");
      (text_seen ? behind : before).push_back(id.get<int64_t>());
    }
  }
  return {};
}

const AddedToken* Tokenizer::State::AddedAt(Piece text, size_t at) const {
  if (added_begin.find(text[at]) == std::u32string::npos) return nullptr;
  for (const AddedToken& token : added) {
    if (text.substr(at, token.text.size()) == token.text) return &token;
  }
  return nullptr;
}

void Tokenizer::State::EncodeWord(Piece word, std::vector<int64_t>& ids) const {
  static const std::array<std::string, 256> kCharacters = ByteCharacters();
  std::string utf8;
  for (const char32_t code : word) AppendUtf8(code, utf8);
  if (ignore_merges) {
    std::string written;
    for (const char byte : utf8) written += kCharacters[static_cast<unsigned char>(byte)];
    if (const auto found = vocabulary.find(written); found != vocabulary.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<int32_t> parts;
  for (const char byte : utf8) {
    const int32_t id = bytes[static_cast<unsigned char>(byte)];
    if (id >= 0) parts.push_back(id);
  }
  if (!parts.empty()) Merger(merges, std::move(parts)).Run(ids);
}

void Tokenizer::State::EncodePiece(Piece piece, size_t cut, std::vector<int64_t>& ids) const {
  if (piece.empty()) return;
  if (cut == cuts.size()) return EncodeWord(piece, ids);
  std::u32string spaced;
  if (cuts[cut].add_space && piece.front() != ' ') {
    spaced = U" " + std::u32string(piece);
    piece = spaced;
  }
  for (size_t at = 0; at < piece.size();) {
    const size_t length = cuts[cut].word(piece, at);
    CHECK_THAT(length > 0);
    EncodePiece(piece.substr(at, length), cut + 1, ids);
    at += length;
  }
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Result<Tokenizer> Tokenizer::Parse(std::string_view tokenizer_json) {
  TRY_ASSIGN(const json file, ParseJson(tokenizer_json, kFile, kBounds));
  if (!file.is_object()) return Refused("it is no object");
  auto state = std::make_unique<State>();
  const json& normalizer = Member(file, "normalizer");
  if (!normalizer.is_null() && TypeOf(normalizer) != "NFC")
    return Refused(fmt::format("the normalizer '{}' is not known", Printable(TypeOf(normalizer), 80)));
  TRY(state->ReadModel(Member(file, "model")));
  TRY(state->ReadCuts(Member(file, "pre_tokenizer")));
  TRY(state->ReadAdded(Member(file, "added_tokens")));
  TRY(state->ReadFrame(Member(file, "post_processor")));
  return Tokenizer(std::move(state));
}

Result<std::vector<int64_t>> Tokenizer::Encode(std::string_view text) const {
  const auto codes = Decoded(text);
  if (!codes) return Fail(ErrorCode::kRejected, "the text is no UTF-8");
  const Piece whole = *codes;
  std::vector<int64_t> ids = state_->before;
  size_t first = 0;
  for (size_t at = 0; at < whole.size();) {
    const AddedToken* token = state_->AddedAt(whole, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t end = at;
    while (token->takes_left && end > first && KindOf(whole[end - 1]) == CharacterKind::space) --end;
    state_->EncodePiece(whole.substr(first, end - first), 0, ids);
    ids.push_back(token->id);
    at += token->text.size();
    if (token->takes_right) at += RunOf(whole, at, CharacterKind::space);
    first = at;
  }
  state_->EncodePiece(whole.substr(first), 0, ids);
  ids.insert(ids.end(), state_->behind.begin(), state_->behind.end());
  return ids;
}

Result<Tokenizer> TokenizerOf(const proto::LocalBundle& model) {
  TRY_ASSIGN(std::string text, ReadBundled(model, kFile));
  std::string why = "the model brings no tokenizer.json";
  if (text.empty() && model.bundle().format() == "gguf") {
    TRY_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(model));
    text = std::move(checkpoint.tokenizer.tokenizer);
    why = checkpoint.tokenizer.why;
  }
  if (!text.empty()) return Tokenizer::Parse(text);
  return Fail(ErrorCode::kRejected, fmt::format("the data is text, and there is nothing to read it with: {}", why),
              "Put tokenizer.json beside the model, or give token ids (.npy or .json)");
}

}  // namespace hone
