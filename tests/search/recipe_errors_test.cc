// Bad recipes: each tells its place and what is wrong. Places are those of the offending word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"
#include "coordinator/search/random.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::HasSubstr;

struct BadRecipe {
  const char* name;
  std::string yaml;
  uint32_t line;
  uint32_t column;
  const char* message;   // A part of it.
};

void PrintTo(const BadRecipe& bad, std::ostream* out) { *out << bad.name; }

std::string Nested(size_t depth) { return "inputs: " + std::string(depth, '[') + std::string(depth, ']') + "\n"; }

std::vector<BadRecipe> Unparsable() {
  return {
      // The text.
      {"Empty", "", 1, 1, "recipe is empty"},
      {"OnlyComments", "# nothing\n\n", 1, 1, "recipe is empty"},
      {"AList", "- a\n- b\n", 1, 1, "the recipe must be a map"},
      {"AWord", "hello", 1, 1, "the recipe must be a map with the keys model, inputs"},
      {"BrokenFlow", "search: {trials: 3\nmeasure: {}\n", 2, 8, "cannot be read as YAML"},
      {"TabIndent", "search:\n\ttrials: 3\n", 2, 8, "cannot be read as YAML"},
      {"DuplicateKey", "search:\n  trials: 3\n  seed: 1\n  trials: 4\n", 4, 3,
       "'trials' is given twice, first in line 2"},
      {"DuplicateQuotedKey", "model: a\n'model': b\n", 2, 1, "'model' is given twice"},
      {"DuplicateInFlow", "search: {seed: 1, seed: 2}\n", 1, 19, "'seed' is given twice"},
      {"Anchor", "search: &a {trials: 3}\n", 1, 9, "anchors"},
      {"Alias", "model: a\nsearch: *a\n", 2, 9, "anchor"},
      {"ScalarAnchor", "model: &m a.onnx\n", 1, 8, "anchors"},
      {"Tag", "model: !!str 3\n", 1, 8, "the tag"},
      {"OwnTag", "search: !mine {trials: 1}\n", 1, 9, "the tag '!mine'"},
      {"TwoDocuments", "model: a\n---\nmodel: b\n", 2, 1, "second document"},
      {"NotUtf8", "model: a\ninputs: {\xff: [1]}\n", 2, 10, "not UTF-8"},
      {"Utf16", std::string("\xff\xfe{\0}\0", 6), 1, 1, "not UTF-8"},
      {"ControlCharacter", std::string("model: a\x01") + "b\n", 1, 9, "control character 0x01"},
      {"NulByte", std::string("model: a\0b\n", 11), 1, 9, "control character 0x00"},
      {"TooLarge", "model: " + std::string(1 << 20, 'a'), 1, 1, "at most 1048576"},
      {"TooDeep", Nested(40), 1, 40, "nested more than 32"},
      {"FarTooDeep", Nested(100'000), 1, 40, "nested more than 32"},
      {"KeyIsAList", "? [a]\n: b\n", 1, 3, "a key must be a word"},
      {"KeyIsEmpty", "~: 3\n", 1, 1, "a key must be a word"},
      // Keys.
      {"UnknownTopKey", "model: m\nsaerch: {trials: 3}\n", 2, 1,
       "unknown key 'saerch' in the recipe; did you mean 'search'?"},
      {"UnknownSearchKey", "search:\n  trials: 3\n  sed: 3\n", 3, 3,
       "unknown key 'sed' in 'search'; did you mean 'seed'?"},
      {"UnknownDataKey", "data: {calibraton: {path: x}}\n", 1, 8, "did you mean 'calibration'?"},
      {"UnknownRangeKey", "data:\n  evaluation: {path: x, sampels: 3}\n", 2, 25,
       "unknown key 'sampels' in 'evaluation'; did you mean 'samples'?"},
      {"UnknownFarKey", "wobble: 1\n", 1, 1, "unknown key 'wobble' in the recipe"},
      {"KeyWithoutValue", "model: m\nconstraints:\nsearch: {}\n", 2, 1, "'constraints' has no value"},
      // model, inputs.
      {"ModelIsAList", "model: [a]\n", 1, 8, "'model' must be the path of a model, is a list"},
      {"ModelIsEmpty", "model: ''\n", 1, 8, "'model' must not be empty"},
      {"InputsIsAList", "inputs: [1, 64]\n", 1, 9, "'inputs' must be a map"},
      {"ShapeIsANumber", "inputs:\n  x: 64\n", 2, 6,
       "the shape of input 'x' must be a list of dimensions, is a number '64'"},
      {"DimensionIsZero", "inputs: {x: [1, 0]}\n", 1, 17, "must be 1 to"},
      {"DimensionIsReal", "inputs: {x: [1.5]}\n", 1, 14, "a whole number, a name or null"},
      {"DimensionIsAList", "inputs: {x: [[1]]}\n", 1, 14, "is a list"},
      {"DimensionIsMinusTwo", "inputs: {x: [-2]}\n", 1, 14, "-1 for free, is -2"},
      {"TooManyDimensions", "inputs: {x: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}\n", 1, 10, "17 dimensions"},
      // data.
      {"DataIsAPath", "data: x.npz\n", 1, 7, "'data' must be a map with the keys calibration, evaluation"},
      {"CalibrationIsAPath", "data: {calibration: x.npz}\n", 1, 21, "'calibration' must be a map"},
      {"NoPath", "data:\n  calibration: {samples: 3}\n", 2, 3, "'calibration' needs a 'path'"},
      {"NegativeSamples", "data: {calibration: {path: x, samples: -1}}\n", 1, 40,
       "'samples' must be at least 1, is -1"},
      {"NegativeFrom", "data: {calibration: {path: x, from: -1}}\n", 1, 37, "'from' must be at least 0"},
      {"SamplesIsAText", "data: {calibration: {path: x, samples: all}}\n", 1, 40,
       "must be a whole number, is a text 'all'"},
      {"QuotedNumber", "data: {calibration: {path: x, samples: '8'}}\n", 1, 40,
       "must be a whole number, is a text '8'"},
      {"BadResize", "data: {calibration: {path: x, preprocess: {size: 2, resize: strech}}}\n", 1, 61,
       "did you mean 'stretch'?"},
      {"HeightAlone", "data: {calibration: {path: x, preprocess: {height: 2}}}\n", 1, 44, "needs a 'width'"},
      {"SizeAndHeight", "data: {calibration: {path: x, preprocess: {height: 2, width: 2, size: 3}}}\n", 1, 65,
       "exclude one another"},
      {"SizeOfThree", "data: {calibration: {path: x, preprocess: {size: [1, 2, 3]}}}\n", 1, 50, "[height, width]"},
      {"ZeroStd", "data: {calibration: {path: x, preprocess: {std: [1, 0]}}}\n", 1, 49, "greater than 0"},
      {"NegativeScale", "data: {calibration: {path: x, preprocess: {scale: -1}}}\n", 1, 51, "greater than 0"},
      {"MeanAndStdDiffer", "data: {calibration: {path: x, preprocess: {mean: [1, 2], std: [1, 2, 3]}}}\n", 1, 31,
       "'mean' has 2 channels and 'std' has 3"},
      {"NanMean", "data: {calibration: {path: x, preprocess: {mean: .nan}}}\n", 1, 50, "finite"},
      // accuracy, objectives, constraints.
      {"UnknownAccuracy", "accuracy: {metric: cosin}\n", 1, 20, "did you mean 'cosine'?"},
      {"LatencyIsNoAccuracy", "accuracy: {metric: load_ms}\n", 1, 20, "'load_ms' is no accuracy metric"},
      {"CosineAgainstLabels", "accuracy: {metric: cosine, against: labels}\n", 1, 37, "compares with the original"},
      {"Top1AgainstOriginal", "accuracy: {against: original, metric: top1}\n", 1, 21, "compares with labels"},
      {"BadAgainst", "accuracy: {against: label}\n", 1, 21, "did you mean 'labels'?"},
      {"ObjectivesIsAMap", "objectives: {minimize: load_ms}\n", 1, 13,
       "'objectives' must be a list of {minimize: metric} or {maximize: metric}, is a map"},
      {"ObjectiveIsAWord", "objectives: [load_ms]\n", 1, 14, "{minimize: metric}"},
      {"NoObjectives", "objectives: []\n", 1, 1, "must not be empty"},
      {"UnknownObjective", "objectives: [{minimize: latency_ms}]\n", 1, 25, "unknown metric 'latency_ms'"},
      {"TwoInOneObjective", "objectives: [{minimize: load_ms, maximize: accuracy}]\n", 1, 14, "one key"},
      {"WrongWay", "objectives:\n  - maximize: latency_ms_p50\n", 2, 5, "would look for the worst"},
      {"ObjectiveTwice", "objectives: [{minimize: load_ms}, {minimize: load_ms}]\n", 1, 35, "an objective twice"},
      {"MinimizeTypo", "objectives: [{minimise: load_ms}]\n", 1, 15, "did you mean 'minimize'?"},
      {"UnknownConstraint", "constraints: {acuracy_drop: 0.1}\n", 1, 15, "did you mean 'accuracy_drop'?"},
      {"ConstraintIsAText", "constraints: {accuracy_drop: low}\n", 1, 30, "must be a number, is a text 'low'"},
      {"ConstraintIsNan", "constraints: {accuracy_drop: .nan}\n", 1, 30, "finite"},
      {"ConstraintIsInfinite", "constraints: {size_bytes: {max: .inf}}\n", 1, 33, "finite"},
      {"ConstraintIsEmpty", "constraints: {size_bytes: {}}\n", 1, 15, "neither min nor max"},
      {"NegativeDrop", "constraints: {accuracy_drop: -0.1}\n", 1, 30, "at least 0"},
      {"CosineAboveOne", "constraints: {cosine: 1.5}\n", 1, 23, "between -1 and 1"},
      {"MinAboveMax", "constraints: {load_ms: {min: 5, max: 3}}\n", 1, 24, "min 5 above max 3"},
      {"DropHasNoMin", "constraints: {accuracy_drop: {min: 0.1}}\n", 1, 30, "a max alone"},
      // targets.
      {"TargetsIsAMap", "targets: {tags: [cpu]}\n", 1, 10, "must be a list of {tags: [...]}, is a map"},
      {"TagsIsAWord", "targets: [{tags: cpu}]\n", 1, 18, "must be a list of hardware tags, is a text 'cpu'"},
      {"TagTwice", "targets: [{tags: [a, a]}]\n", 1, 22, "given twice"},
      {"TagWithSpace", "targets: [{tags: ['a b']}]\n", 1, 19, "must not hold spaces"},
      {"TargetTwice", "targets: [{tags: [a, b]}, {tags: [b, a]}]\n", 1, 27, "given twice"},
      {"NoTags", "targets: [{}]\n", 1, 11, "needs 'tags'"},
      // passes.
      {"PassesIsAMap", "passes: {simplify: {}}\n", 1, 9, "'passes' must be a list of passes, is a map"},
      {"NoneOutside", "passes:\n  - none\n", 2, 5, "inside 'choose' only"},
      {"TwoPassesInOne", "passes:\n  - fp16: {}\n    simplify: {}\n", 3, 5, "names two passes"},
      {"ParametersAreAList", "passes:\n  - fp16: [a]\n", 2, 5, "must be a map of its parameters, is a list"},
      {"ChooseTypo", "passes:\n  - chose: [none, fp16]\n", 2, 5, "did you mean 'choose'?"},
      {"ChooseIsEmpty", "passes: [{choose: []}]\n", 1, 11, "must not be empty"},
      {"ChooseIsAMap", "passes: [{choose: {fp16: {}}}]\n", 1, 19, "must be a list of passes, is a map"},
      {"ChooseInChoose", "passes: [{choose: [none, {choose: {}}]}]\n", 1, 26, "inside 'choose'"},
      {"ChooseBesidePass", "passes:\n  - choose: [none]\n    fp16: {}\n", 3, 5, "beside it"},
      {"NoneWithParameters", "passes: [{choose: [{none: {a: 1}}]}]\n", 1, 20, "no parameters"},
      {"PassIsNull", "passes: [~]\n", 1, 10, "the name of a pass"},
      {"ParameterIsEmpty", "passes: [{fp16: {a: }}]\n", 1, 18, "has no value"},
      {"EmptyValues", "passes: [{fp16: {a: []}}]\n", 1, 18, "empty list of values"},
      {"ValueIsAList", "passes: [{fp16: {a: [[1]]}}]\n", 1, 22, "must be a single value, is a list"},
      {"ValueTwice", "passes: [{fp16: {a: [1, 2, 1.0]}}]\n", 1, 28, "twice"},
      {"ValueIsNan", "passes: [{fp16: {a: .NaN}}]\n", 1, 21, "finite"},
      {"ValueOverflows", "passes: [{fp16: {a: 1e999}}]\n", 1, 21, "beyond what a number holds"},
      {"NeitherRangeNorChoices", "passes: [{fp16: {a: {log: true, range: [1, 2]}, b: {when: {a: 1}}}}]\n", 1, 49,
       "needs 'range' or 'choices'"},
      {"RangeAndChoices", "passes: [{fp16: {a: {range: [1, 2], choices: [1]}}}]\n", 1, 37, "exclude one another"},
      {"RangeOfThree", "passes: [{fp16: {a: {range: [1, 2, 3]}}}]\n", 1, 29, "two numbers [low, high], is a list of 3"},
      {"RangeUpsideDown", "passes: [{fp16: {a: {range: [2, 1]}}}]\n", 1, 29, "low 2 is above its high 1"},
      {"RangeOfWords", "passes: [{fp16: {a: {range: [a, b]}}}]\n", 1, 30, "must be a number, is a text 'a'"},
      {"LogFromZero", "passes: [{fp16: {a: {range: [0, 1], log: true}}}]\n", 1, 29, "begin above 0"},
      {"LogIsANumber", "passes: [{fp16: {a: {range: [1, 2], log: 1}}}]\n", 1, 42, "must be true or false"},
      {"LogWithStep", "passes: [{fp16: {a: {range: [1, 2], log: true, step: 1}}}]\n", 1, 48, "exclude one another"},
      {"StepIsZero", "passes: [{fp16: {a: {range: [1, 2], step: 0}}}]\n", 1, 43, "greater than 0"},
      {"StepWithChoices", "passes: [{fp16: {a: {choices: [1, 2], step: 1}}}]\n", 1, 39, "belongs to a 'range'"},
      {"WhenIsAWord", "passes: [{fp16: {a: {choices: [1], when: b}}}]\n", 1, 42, "'when' must be a map"},
      {"WhenIsEmpty", "passes: [{fp16: {a: {choices: [1], when: {}}}}]\n", 1, 36, "names no parameter"},
      {"WhenItself", "passes: [{fp16: {a: {choices: [1], when: {a: 1}}}}]\n", 1, 43, "depend on itself"},
      // backends, search, measure, the rest.
      {"BackendsIsAList", "backends: [onnxruntime]\n", 1, 11,
       "'backends' must be a map of backends to their settings, is a list"},
      {"NoBackends", "backends: {}\n", 1, 1, "names no backend"},
      {"SettingsAreAWord", "backends: {openvino: latency}\n", 1, 22, "must be a map of its settings"},
      {"ZeroTrials", "search: {trials: 0}\n", 1, 18, "at least 1"},
      {"NegativeSeed", "search: {seed: -4}\n", 1, 16, "at least 0"},
      {"HugeTrials", "search: {trials: 99999999999}\n", 1, 18, "at most 1000000"},
      {"BadTime", "search: {time: soon}\n", 1, 16, "'soon' is not a duration"},
      {"NoTime", "search: {time: 0s}\n", 1, 16, "longer than nothing"},
      {"TooLongTime", "search: {time: 99999d}\n", 1, 16, "ten years"},
      {"BadMemory", "measure: {memory: lots}\n", 1, 19, "'lots' is not a size"},
      {"ZeroPairs", "measure: {pairs: 0}\n", 1, 18, "at least 1"},
      {"BadWhenUnavailable", "when_unavailable: skp\n", 1, 19, "did you mean 'skip'?"},
      {"BadSandbox", "sandbox: ful\n", 1, 10, "did you mean 'full'?"},
  };
}

class UnparsableRecipeTest : public ::testing::TestWithParam<BadRecipe> {};

TEST_P(UnparsableRecipeTest, IsRejectedWithItsPlace) {
  const BadRecipe& bad = GetParam();
  const auto recipe = ParseRecipe(bad.yaml, "folder/bad.yaml");
  ASSERT_FALSE(recipe);
  EXPECT_EQ(recipe.error().code, ErrorCode::kRejected);
  EXPECT_EQ(recipe.error().file, "folder/bad.yaml");
  EXPECT_EQ(recipe.error().line, bad.line) << recipe.error().message;
  EXPECT_EQ(recipe.error().column, bad.column) << recipe.error().message;
  EXPECT_THAT(recipe.error().message, HasSubstr(bad.message));
  EXPECT_NE(recipe.error().message.back(), '.');
}

INSTANTIATE_TEST_SUITE_P(All, UnparsableRecipeTest, ::testing::ValuesIn(Unparsable()),
                         [](const auto& row) { return std::string(row.param.name); });

// Recipes that parse and that the fleet or the job cannot serve.
std::vector<BadRecipe> Unbuildable() {
  return {
      {"UnknownPass", "passes:\n  - simplfy\n", 2, 5,
       "no pass 'simplfy' is offered by the workers with the tags cpu; did you mean 'simplify'?"},
      {"UnknownPassInChoose", "passes:\n  - choose:\n      - none\n      - fp61: {a: 1}\n", 4, 9,
       "did you mean 'fp16'?"},
      {"UnknownBackend", "backends:\n  openvno: {}\n", 2, 3, "did you mean 'openvino'?"},
      {"UnknownParameter", "passes:\n  - static_int8:\n      obsrver: minmax\n", 3, 7,
       "pass 'static_int8' has no parameter 'obsrver'; did you mean 'observer'?"},
      {"UnknownSetting", "backends: {openvino: {hnt: latency}}\n", 1, 23,
       "backend 'openvino' has no setting 'hnt'; did you mean 'hint'?"},
      {"UnknownValue", "passes: [{static_int8: {observer: [minmax, percntile]}}]\n", 1, 25,
       "must be one of minmax, percentile, entropy, mse; did you mean 'percentile'?"},
      {"ValueOfAnotherKind", "passes: [{fp16: {keep_io_types: 3}}]\n", 1, 18, "must be true or false"},
      {"ValueOutOfBounds", "backends: {onnxruntime: {intra_op_threads: [1, 0]}}\n", 1, 26, "at least 1"},
      {"RangeOutOfBounds", "passes: [{fp16: {scale: {range: [0, 2]}}}]\n", 1, 18, "at most 1"},
      {"RangeOfTexts", "passes: [{static_int8: {observer: {range: [1, 2]}}}]\n", 1, 25, "takes no range"},
      {"RangeOverListedValues", "passes: [{weights_int4: {group_size: {range: [16, 64]}}}]\n", 1, 26,
       "only certain values"},
      {"BrokenIntegerStep", "passes: [{fp16: {blocks: {range: [1, 9], step: 1.5}}}]\n", 1, 18,
       "its step must be one too"},
      {"ConditionOnUnknown", "passes: [{static_int8: {percentile: {when: {observr: percentile}, range: [99, 100]}}}]\n",
       1, 25, "depends on 'observr', which pass 'static_int8' does not have; did you mean 'observer'?"},
      {"ConditionOnUnknownValue",
       "passes: [{static_int8: {observer: minmax, percentile: {when: {observer: percentil}, range: [99, 100]}}}]\n", 1,
       43, "must be one of"},
      {"ConditionNeverHolds",
       "passes: [{static_int8: {observer: [minmax, mse], percentile: {when: {observer: percentile}, range: [99, "
       "100]}}}]\n",
       1, 50, "never takes part"},
      {"ConditionOnOtherDefault",
       "passes: [{static_int8: {percentile: {when: {observer: percentile}, range: [99, 100]}}}]\n", 1, 25,
       "never takes part"},
      {"ConditionsContradict",
       "passes: [{static_int8: {observer: {choices: [mse], when: {layout: openvino}}, layout: [onnxruntime, openvino], "
       "activations: {choices: [int8], when: {observer: mse, layout: onnxruntime}}}}]\n",
       1, 112, "cannot hold together"},
      {"ConditionCircle",
       "passes: [{static_int8: {observer: {choices: [mse], when: {layout: openvino}}, layout: {choices: [openvino], "
       "when: {observer: mse}}}}]\n",
       1, 25, "depends on itself through"},
      {"ConditionOnARange", "passes: [{fp16: {scale: {range: [0, 1]}, blocks: {choices: [3], when: {scale: 0.5}}}}]\n",
       1, 42, "has no list of values"},
      {"UnknownSampler", "search: {trials: 3, sampler: randm}\n", 1, 1, "did you mean 'random'?"},
      {"ExhaustiveOverInfinite", "passes: [{fp16: {scale: {range: [0, 1]}}}]\nsearch: {sampler: exhaustive}\n", 2, 1,
       "needs a finite space"},
      {"FormatDoesNotFit", "passes: [openvino_ir, simplify]\n", 1, 23,
       "no pass of this stage takes the model, which is openvino_ir there"},
      {"NoBackendLoadsIt", "passes: [openvino_ir]\nbackends: {onnxruntime: {}}\n", 2, 12, "no candidate is possible"},
  };
}

class UnbuildableRecipeTest : public ::testing::TestWithParam<BadRecipe> {};

TEST_P(UnbuildableRecipeTest, IsRejectedWithItsPlace) {
  const BadRecipe& bad = GetParam();
  const auto space = BuildFrom(bad.yaml);
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().code, ErrorCode::kRejected);
  EXPECT_EQ(space.error().file, "r.yaml");
  EXPECT_EQ(space.error().line, bad.line) << space.error().message;
  EXPECT_EQ(space.error().column, bad.column) << space.error().message;
  EXPECT_THAT(space.error().message, HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(All, UnbuildableRecipeTest, ::testing::ValuesIn(Unbuildable()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(UnbuildableRecipeTest, DataThatTheJobLacksIsTold) {
  SpaceInputs without = AllInputs();
  without.has_calibration = without.has_evaluation = false;
  const auto calibration = BuildFrom("passes: [{choose: [none, static_int8]}]", without);
  ASSERT_FALSE(calibration);
  EXPECT_THAT(calibration.error().message, HasSubstr("'static_int8' needs calibration data"));
  EXPECT_EQ(calibration.error().column, 26u);
  const auto labels = BuildFrom("accuracy: {metric: top1}", without);
  ASSERT_FALSE(labels);
  EXPECT_THAT(labels.error().message, HasSubstr("needs labels"));
  const auto skipped =
      BuildFrom("passes: [{choose: [none, static_int8]}]\nwhen_unavailable: skip\nbackends: {onnxruntime: }", without);
  ASSERT_TRUE(skipped) << skipped.error().message;
  EXPECT_EQ(skipped->Size(), 1u);
  EXPECT_THAT(skipped->notes(), ::testing::Contains(HasSubstr("needs calibration data")));
}

// --- typing errors ---------------------------------------------------------------------------------------------

// A recipe in which only the key at '@' can be wrong.
const std::map<std::string, std::string>& Templates() {
  static const std::map<std::string, std::string> templates = {
      {"recipe", "@: 1\n"},
      {"data", "data: {@: 1}\n"},
      {"data range", "data: {calibration: {@: 1}}\n"},
      {"preprocess", "data: {calibration: {path: x, preprocess: {@: 1}}}\n"},
      {"accuracy", "accuracy: {@: 1}\n"},
      {"objective", "objectives: [{@: 1}]\n"},
      {"constraint", "constraints: {mse: {@: 1}}\n"},
      {"target", "targets: [{@: 1}]\n"},
      {"stage", "passes: [{@: [none]}]\n"},
      {"parameter", "passes: [{fp16: {a: {@: 1}}}]\n"},
      {"search", "search: {@: 1}\n"},
      {"measure", "measure: {@: 1}\n"},
  };
  return templates;
}

std::set<std::string> OneEdits(const std::string& word) {
  std::set<std::string> edits;
  for (size_t i = 0; i <= word.size(); ++i) {
    for (const char letter : std::string_view("abcdefghijklmnopqrstuvwxyz_")) {
      edits.insert(word.substr(0, i) + letter + word.substr(i));
      if (i < word.size()) edits.insert(word.substr(0, i) + letter + word.substr(i + 1));
    }
    if (i < word.size()) edits.insert(word.substr(0, i) + word.substr(i + 1));
    if (i + 1 < word.size()) edits.insert(word.substr(0, i) + word[i + 1] + word[i] + word.substr(i + 2));
  }
  return edits;
}

TEST(TypingErrorTest, EveryOneEditSlipOfEveryKeyGetsTheRightKeyOffered) {
  std::map<std::string, std::set<std::string>> keys;
  for (const RecipeKey& key : RecipeKeys()) keys[key.section].insert(key.key);
  size_t slips = 0, candidates = 0;
  for (const auto& [section, words] : keys) {
    ASSERT_TRUE(Templates().contains(section)) << section;
    const std::string& yaml = Templates().at(section);
    const size_t at = yaml.find('@');
    std::map<std::string, std::set<std::string>> edits;
    for (const std::string& word : words) edits[word] = OneEdits(word);
    for (const std::string& word : words) {
      for (const std::string& slip : edits[word]) {
        // Every letter of the alphabet at every place is more than it takes.
        if (words.contains(slip) || ++candidates % 4 != 0) continue;
        std::string bad = yaml;
        bad.replace(at, 1, slip);
        const auto recipe = ParseRecipe(bad, "r.yaml");
        ASSERT_FALSE(recipe) << bad;
        EXPECT_EQ(recipe.error().line, 1u);
        EXPECT_EQ(recipe.error().column, at + 1) << bad;
        // Where the slip is as near to another key, that one may be offered.
        std::vector<std::string> meant;
        for (const std::string& other : words) {
          if (edits[other].contains(slip)) meant.push_back("did you mean '" + other + "'?");
        }
        const bool offered = std::any_of(meant.begin(), meant.end(), [&](const std::string& offer) {
          return recipe.error().message.find(offer) != std::string::npos;
        });
        EXPECT_TRUE(offered) << bad << recipe.error().message;
        ++slips;
      }
    }
  }
  EXPECT_GT(slips, 4000u);
}

TEST(HostileTextTest, ATabIsNamedAsTheCause) {
  EXPECT_THAT(ParseRecipe("search:\n\ttrials: 3\n", "r.yaml").error().remedy, HasSubstr("tabs"));
}

TEST(HostileTextTest, CutAndScrambledRecipesNeverDoHarm) {
  const std::string whole(AutoRecipeText());
  Rng rng(5);
  for (size_t length = 0; length < whole.size(); length += 7) (void)ParseRecipe(whole.substr(0, length), "cut.yaml");
  const std::string marks = "{}[]:,-#&*!|>'\"%@`?\n \t~0";
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (int edits = 1 + static_cast<int>(rng.Next() % 4); edits > 0; --edits)
      text[rng.Next() % text.size()] = marks[rng.Next() % marks.size()];
    const auto recipe = ParseRecipe(text, "scrambled.yaml");
    if (recipe) continue;
    EXPECT_EQ(recipe.error().code, ErrorCode::kRejected);
    EXPECT_GT(recipe.error().line, 0u);
  }
}

TEST(HostileTextTest, LongRunsOfMarksEndSoon) {
  for (const char* piece : {"[", "{",   "- ",  "? ",  "a: ", "[a, ", "{a: ", "\"",     "'",      "|",
                            "#", "&a ", "*a ", "!a ", ",",   ":",    "\n- ", "a: b\n", "--- \n", "%"}) {
    std::string text;
    while (text.size() < (200 << 10)) text += piece;
    EXPECT_FALSE(ParseRecipe(text, "long.yaml")) << piece;
  }
}

}  // namespace
}  // namespace hone
