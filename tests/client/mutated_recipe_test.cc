// Two hundred recipes with a slip each: every one is refused with file, line and column, and a key that is one slip
// away is offered. A slip is one mistake, and several slips are told together.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"

namespace hone::test {
namespace {

constexpr const char* kRecipe = R"(model: minilm.onnx
inputs: {input_ids: [1, 64]}
data:
  calibration: {path: sentences.npz, samples: 128}
  evaluation:
    path: images
    from: 128
    samples: 256
    preprocess:
      input: x
      height: 48
      width: 192
      resize: pad_right
      channels: bgr
      mean: 0.5
      std: 0.5
      scale: 0.5
      layout: nchw
accuracy:
  metric: top1
  output: logits
  against: labels
objectives:
  - minimize: latency_ms_p50
  - maximize: throughput_per_s
constraints: {accuracy_drop: 0.01}
targets:
  - tags: [cpu]
passes:
  - simplify
  - choose: [none, fp16]
backends:
  onnxruntime: {intra_op_threads: [1, 2]}
when_unavailable: skip
sandbox: none
search:
  sampler: auto
  trials: 60
  time: 20m
  seed: 7
  patience: 30
measure:
  pairs: 6
  final_pairs: 20
  finalists: 3
)";

// Keys of the text above that hone gives meaning to; the others are people's own (inputs, passes, backends).
const std::vector<std::string>& KnownKeys() {
  static const std::vector<std::string> keys = {"model",
                                                "inputs",
                                                "data",
                                                "calibration",
                                                "evaluation",
                                                "path",
                                                "from",
                                                "samples",
                                                "preprocess",
                                                "input",
                                                "height",
                                                "width",
                                                "resize",
                                                "channels",
                                                "mean",
                                                "std",
                                                "scale",
                                                "layout",
                                                "accuracy",
                                                "metric",
                                                "output",
                                                "against",
                                                "objectives",
                                                "minimize",
                                                "maximize",
                                                "constraints",
                                                "targets",
                                                "tags",
                                                "passes",
                                                "backends",
                                                "when_unavailable",
                                                "sandbox",
                                                "search",
                                                "sampler",
                                                "trials",
                                                "time",
                                                "seed",
                                                "patience",
                                                "measure",
                                                "pairs",
                                                "final_pairs",
                                                "finalists"};
  return keys;
}

// A generator that is the same everywhere.
class Draw {
 public:
  uint64_t operator()(uint64_t below) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 7;
};

// One letter left out, doubled by another, changed, or two exchanged.
std::string Slip(const std::string& word, Draw& draw) {
  std::string out = word;
  const size_t at = draw(word.size());
  const char letter = static_cast<char>('a' + draw(26));
  switch (draw(4)) {
    case 0: out.erase(at, 1); break;
    case 1: out.insert(at, 1, letter); break;
    case 2: out[at] = letter; break;
    default:
      if (at + 1 < out.size()) std::swap(out[at], out[at + 1]);
  }
  return out;
}

// Where `key` stands as a key; npos if it does not.
size_t PlaceOf(const std::string& text, const std::string& key) {
  for (size_t at = text.find(key + ":"); at != std::string::npos; at = text.find(key + ":", at + 1)) {
    if (at == 0 || std::string(" \n{,-").find(text[at - 1]) != std::string::npos) return at;
  }
  return std::string::npos;
}

// Every mistake of the text as "line:column message", those beside the first behind it.
std::vector<std::string> MistakesOf(const std::string& text) {
  Mistakes others;
  const auto read = ParseRecipe(text, "r.yaml", &others);
  if (read) return {};
  std::vector<std::string> told;
  const auto tell = [&](const Error& error) {
    told.push_back(fmt::format("{}:{} {}", error.line, error.column, error.message));
  };
  tell(read.error());
  for (const Error& other : others.errors) tell(other);
  return told;
}

void ExpectPlace(const Result<proto::Recipe>& read, const std::string& what) {
  ASSERT_FALSE(read) << what << " was taken";
  EXPECT_EQ(read.error().code, ErrorCode::kRejected) << what;
  EXPECT_EQ(read.error().file, "r.yaml") << what << ": " << read.error().message;
  EXPECT_GT(read.error().line, 0U) << what << ": " << read.error().message;
  EXPECT_GT(read.error().column, 0U) << what << ": " << read.error().message;
}

TEST(MutatedRecipeTest, TheUnmutatedIsValid) {
  const auto read = ParseRecipe(kRecipe, "r.yaml");
  EXPECT_TRUE(read) << read.error().message;
}

TEST(MutatedRecipeTest, SlipsOfKeysGetTheirPlaceAndTheKeyThatWasMeant) {
  std::set<std::string> known(KnownKeys().begin(), KnownKeys().end());
  for (const RecipeKey& row : RecipeKeys()) known.insert(row.key);
  Draw draw;
  const std::string text = kRecipe;
  int tried = 0, right = 0;
  std::string missed;
  while (tried < 150) {
    const std::string& key = KnownKeys()[draw(KnownKeys().size())];
    const std::string slip = Slip(key, draw);
    // What is another key by chance is no slip that anybody could see.
    if (slip.empty() || known.count(slip) > 0) continue;
    const size_t at = PlaceOf(text, key);
    ASSERT_NE(at, std::string::npos) << key;
    std::string mutated = text;
    mutated.replace(at, key.size(), slip);
    const auto read = ParseRecipe(mutated, "r.yaml");
    ExpectPlace(read, slip);
    if (read) continue;
    EXPECT_EQ(MistakesOf(mutated).size(), 1U) << slip << "\n" << Join(MistakesOf(mutated), "\n");
    const auto line =
        static_cast<uint32_t>(1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n'));
    EXPECT_EQ(read.error().line, line) << slip << ": " << read.error().message;
    ++tried;
    const bool offered = read.error().message.find("'" + key + "'?") != std::string::npos;
    right += offered ? 1 : 0;
    if (!offered) missed += fmt::format("{} for {}: {}\n", slip, key, read.error().message);
  }
  RecordProperty("right_of_150", right);
  printf("nearest key right in %d of %d\n", right, tried);
  EXPECT_GE(right, tried * 90 / 100) << missed;
}

struct Change {
  const char* what;
  const char* from;
  const char* to;
};

// Slips other than of a key's letters.
const Change kChanges[] = {
    {"a word for a number", "trials: 60", "trials: many"},
    {"a negative number", "trials: 60", "trials: -1"},
    {"a fraction for a count", "trials: 60", "trials: 6.5"},
    {"a list for a number", "trials: 60", "trials: [60]"},
    {"a map for a number", "trials: 60", "trials: {n: 60}"},
    {"no value", "trials: 60", "trials:"},
    {"a key twice", "trials: 60", "trials: 60\n  trials: 50"},
    {"a wrong unit", "time: 20m", "time: 20 parsecs"},
    {"a negative time", "time: 20m", "time: -5m"},
    {"trials beyond reason", "trials: 60", "trials: 99999999999999"},
    {"a list for a word", "sampler: auto", "sampler: [auto]"},
    {"an unknown resize", "resize: pad_right", "resize: pad_rihgt"},
    {"unknown channels", "channels: bgr", "channels: brg"},
    {"an unknown layout", "layout: nchw", "layout: nchv"},
    {"a height of 0", "height: 48", "height: 0"},
    {"a height beyond reason", "height: 48", "height: 99999999"},
    {"a std of 0", "std: 0.5", "std: 0"},
    {"a word for a mean", "mean: 0.5", "mean: half"},
    {"an unknown metric", "metric: top1", "metric: topp1"},
    {"an unknown reference", "against: labels", "against: lables"},
    {"an unknown objective", "minimize: latency_ms_p50", "minimize: latency_ms_p5O"},
    {"minimizing what should be large", "minimize: latency_ms_p50", "minimize: throughput_per_s"},
    {"maximizing what should be small", "maximize: throughput_per_s", "maximize: latency_ms_p50"},
    {"an unknown constraint", "accuracy_drop: 0.01", "accuracy_dorp: 0.01"},
    {"a word for a bound", "accuracy_drop: 0.01", "accuracy_drop: little"},
    {"a bound beyond the possible", "accuracy_drop: 0.01", "accuracy_drop: -3"},
    {"tags that are no list", "tags: [cpu]", "tags: {cpu: 1}"},
    {"an empty list of targets", "targets:\n  - tags: [cpu]", "targets: []"},
    {"passes that are no list", "  - simplify\n  - choose: [none, fp16]", "  simplify: 1"},
    {"an empty choice", "choose: [none, fp16]", "choose: []"},
    {"backends that are a list", "  onnxruntime: {intra_op_threads: [1, 2]}", "  - onnxruntime"},
    {"an unknown word for what is unavailable", "when_unavailable: skip", "when_unavailable: ignore"},
    {"an unknown sandbox", "sandbox: none", "sandbox: partail"},
    {"pairs of 0", "  pairs: 6", "  pairs: -6"},
    {"finalists as a word", "finalists: 3", "finalists: three"},
    {"samples of 0", "samples: 256", "samples: 0"},
    {"a negative start", "from: 128", "from: -128"},
    {"a shape that is no list", "input_ids: [1, 64]", "input_ids: 64"},
    {"a dimension of 0", "input_ids: [1, 64]", "input_ids: [0, 64]"},
    {"a bracket left open", "input_ids: [1, 64]", "input_ids: [1, 64"},
    {"a brace left open", "constraints: {accuracy_drop: 0.01}", "constraints: {accuracy_drop: 0.01"},
    {"a tab for spaces", "  sampler: auto", "\tsampler: auto"},
    {"a colon left out", "  sampler: auto", "  sampler auto"},
    {"a wrong indent", "  seed: 7", " seed: 7"},
    {"an anchor", "seed: 7", "seed: &s 7"},
    {"an alias", "seed: 7", "seed: *s"},
    {"a tag", "seed: 7", "seed: !!int 7"},
    {"a second document", "measure:\n", "---\nmeasure:\n"},
    {"a quote left open", "model: minilm.onnx", "model: \"minilm.onnx"},
    {"a path that is a list", "path: images", "path: [images]"},
};

TEST(MutatedRecipeTest, FiftyOtherSlipsGetTheirPlace) {
  EXPECT_EQ(std::size(kChanges), 50U);
  for (const Change& change : kChanges) {
    std::string text = kRecipe;
    const size_t at = text.find(change.from);
    ASSERT_NE(at, std::string::npos) << change.what;
    text.replace(at, std::string(change.from).size(), change.to);
    ExpectPlace(ParseRecipe(text, "r.yaml"), change.what);
    EXPECT_EQ(MistakesOf(text).size(), 1U) << change.what << "\n" << Join(MistakesOf(text), "\n");
  }
}

TEST(MutatedRecipeTest, SeveralSlipsAreToldTogether) {
  const std::vector<std::string> told = MistakesOf(R"(model: m.onnx
inputs: {ids: [1, 0], mask: 7}
data:
  evaluation: {pth: d.npz, samples: -1}
objectives: [{minimize: latency}, {minimise: size_bytes}]
constraints: {accuracy_dorp: 0.01, size_bytes: {mx: 3}}
passes:
  - choose:
      - none
      - fp16: {scale: {rnge: [0, 1]}, blocks: []}
  - static_int8: {observer: {range: [2, 1]}}
backends:
  openvino: {hint: }
search:
  trails: 3
  seed: x
  seed: 4
)");
  const std::vector<std::string> places = {"2:19",  "2:29",  "4:16",  "4:37",  "5:25", "5:36", "6:15", "6:49",
                                           "10:24", "10:39", "11:37", "13:14", "15:3", "16:9", "17:3"};
  std::set<std::string> found;
  for (const std::string& line : told) found.insert(line.substr(0, line.find(' ')));
  EXPECT_EQ(found, std::set<std::string>(places.begin(), places.end())) << Join(told, "\n");
  EXPECT_EQ(told.size(), places.size()) << Join(told, "\n");
}

TEST(MutatedRecipeTest, TheFirstMistakeIsTheOneThatIsToldAlone) {
  const std::string text = "search: {trails: 3, seed: x}\nmeasure: {pair: 3}\n";
  Mistakes others;
  const auto with = ParseRecipe(text, "r.yaml", &others), alone = ParseRecipe(text, "r.yaml");
  ASSERT_TRUE(!with && !alone);
  EXPECT_EQ(with.error().message, alone.error().message);
  EXPECT_EQ(others.count(), 2U);
}

TEST(MutatedRecipeTest, ScrambledTextsAreRefusedAlikeWhetherAllIsAskedForOrNot) {
  const std::string marks = "{}[]:,-#&*!|>'\"%@`?\n \t~0az";
  Draw draw;
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = kRecipe;
    for (uint64_t edits = 1 + draw(5); edits > 0; --edits) text[draw(text.size())] = marks[draw(marks.size())];
    Mistakes others;
    const auto alone = ParseRecipe(text, "r.yaml"), with = ParseRecipe(text, "r.yaml", &others);
    ASSERT_EQ(alone.has_value(), with.has_value()) << text;
    if (with) continue;
    ++refused;
    EXPECT_GT(with.error().line, 0U) << text;
    for (const Error& other : others.errors) EXPECT_GT(other.line, 0U) << other.message << "\n" << text;
  }
  EXPECT_GT(refused, 500);
}

TEST(MutatedRecipeTest, MoreMistakesThanAnybodyReadsAreCounted) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += fmt::format("key_{}: 1\n", i);
  Mistakes others;
  EXPECT_FALSE(ParseRecipe(text, "r.yaml", &others));
  EXPECT_EQ(others.errors.size(), Mistakes::kMost - 1);
  EXPECT_EQ(others.count(), 99U);
}

}  // namespace
}  // namespace hone::test
