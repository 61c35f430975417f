#include "coordinator/search/space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "coordinator/search/coded.h"
#include "coordinator/search/random.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Space Built(const std::string& yaml, const SpaceInputs& inputs = AllInputs()) {
  auto space = BuildFrom(yaml, inputs);
  EXPECT_TRUE(space) << space.error().message << "\n" << yaml;
  return space ? *std::move(space) : Space();
}

std::vector<std::string> Texts(const Space& space) {
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < space.Size().value_or(0); ++i)
    texts.push_back(CandidateText(space.ToCandidate(*space.At(i))));
  return texts;
}

std::vector<std::string> Names(const Space& space) {
  std::vector<std::string> names;
  for (const Dimension& dimension : space.dimensions()) names.push_back(dimension.name);
  return names;
}

TEST(SpaceTest, AnEmptyRecipeIsTheOriginalOnEveryBackend) {
  EXPECT_THAT(Texts(Built("{}")), ElementsAre("original on onnxruntime", "original on openvino"));
}

TEST(SpaceTest, ADefaultSpaceHoldsNothing) {
  const Space space;
  EXPECT_EQ(space.Size(), 0u);
  EXPECT_FALSE(space.At(0));
  EXPECT_FALSE(space.Valid({}));
}

TEST(SpaceTest, CandidatesComeInTheOrderOfTheRecipe) {
  const Space space = Built(
      "passes: [simplify, {choose: [none, {dynamic_int8: {per_channel: [true, false]}}]}]\nbackends: {openvino: {hint: "
      "[latency, throughput]}}");
  EXPECT_THAT(Names(space),
              ElementsAre("passes.0", "passes.1", "passes.1.dynamic_int8.per_channel", "backend", "openvino.hint"));
  EXPECT_THAT(Texts(space), ElementsAre("simplify on openvino(hint=latency)", "simplify on openvino(hint=throughput)",
                                        "simplify + dynamic_int8(per_channel=true) on openvino(hint=latency)",
                                        "simplify + dynamic_int8(per_channel=true) on openvino(hint=throughput)",
                                        "simplify + dynamic_int8(per_channel=false) on openvino(hint=latency)",
                                        "simplify + dynamic_int8(per_channel=false) on openvino(hint=throughput)"));
  EXPECT_FALSE(space.At(6));
}

TEST(SpaceTest, AConditionalParameterTakesPartOnlyWhereItsConditionHolds) {
  const Space space = Built(
      "passes: [{static_int8: {percentile: {when: {observer: percentile}, choices: [99, 99.9]}, observer: [minmax, "
      "percentile]}}]\nbackends: {onnxruntime: }");
  EXPECT_THAT(Texts(space), ElementsAre("static_int8(observer=minmax) on onnxruntime",
                                        "static_int8(observer=percentile, percentile=99) on onnxruntime",
                                        "static_int8(observer=percentile, percentile=99.9) on onnxruntime"));
}

TEST(SpaceTest, AConditionOnAnUngivenParameterLooksAtItsDefault) {
  EXPECT_EQ(Built("passes: [{static_int8: {activations: {when: {observer: minmax}, choices: [uint8, int8]}}}]").Size(),
            4u);
}

TEST(SpaceTest, NotesTellJustWhatCannotBeUsed) {
  EXPECT_THAT(Built("passes: [simplify, {choose: [none, fp16, {dynamic_int8: {per_channel: [true, false]}}]}]").notes(),
              ::testing::IsEmpty());
  EXPECT_THAT(
      Built("passes: [{choose: [none, openvino_ir]}, {choose: [none, fp16]}]\nbackends: {onnxruntime: }").notes(),
      ElementsAre("openvino_ir: never used, the model's format does not fit or no backend loads what follows"));
  SpaceInputs blind = AllInputs();
  blind.has_evaluation = false;
  EXPECT_THAT(Built("constraints: {accuracy_drop: 0.1}", blind).notes(), ElementsAre(HasSubstr("synthetic inputs")));
}

TEST(SpaceTest, FormatsChain) {
  const Space space = Built("passes: [{choose: [none, openvino_ir]}]");
  EXPECT_THAT(Texts(space), ElementsAre("original on onnxruntime", "original on openvino", "openvino_ir on openvino"));
  EXPECT_THAT(space.notes(), Contains(HasSubstr("onnxruntime: skipped for openvino_ir")));
  Assignment broken = *space.At(2);
  broken[1] = TextValue("onnxruntime");
  EXPECT_FALSE(space.Valid(broken));
  SpaceInputs ir = AllInputs();
  ir.model_format = "openvino_ir";
  EXPECT_THAT(Texts(Built("passes: [{choose: [none, simplify]}]", ir)), ElementsAre("original on openvino"));
}

TEST(SpaceTest, AStageThatCannotTakeTheFormatIsLeftOutWithSkip) {
  SpaceInputs ir = AllInputs();
  ir.model_format = "openvino_ir";
  const Space space = Built("passes: [simplify, {choose: [none, openvino_ir]}]\nwhen_unavailable: skip", ir);
  EXPECT_THAT(Texts(space), ElementsAre("original on openvino", "openvino_ir on openvino"));
  EXPECT_THAT(space.notes(), Contains(HasSubstr("no pass of this stage takes the model")));
}

TEST(SpaceTest, WhatTheFleetLacksIsLeftOutWithSkip) {
  const Space space = Built(
      "passes: [shrink, {choose: [none, {fp16: {magic: 1}}, {dynamic_int8: {weights: [int8, int3]}}]}]\n"
      "backends: {onnxruntime: , tensorrt: , openvino: {hint: [latency, wild], speed: 9}}\nwhen_unavailable: skip");
  EXPECT_THAT(Names(space), ElementsAre("passes.1", "passes.1.dynamic_int8.weights", "backend", "openvino.hint"));
  EXPECT_EQ(space.Size(), 6u);
  for (const char* word : {"'shrink'", "'magic'", "'int3'", "'tensorrt'", "'wild'", "'speed'"})
    EXPECT_THAT(space.notes(), Contains(HasSubstr(word)));
}

TEST(SpaceTest, APassListedTwiceCountsItsCommonCandidatesOnce) {
  EXPECT_EQ(Built("passes: [{choose: [none, none, fp16, fp16]}]\nbackends: {onnxruntime: }").Size(), 2u);
  const Space twice =
      Built("passes: [{choose: [none, simplify]}, {choose: [none, simplify]}]\nbackends: {onnxruntime: }");
  EXPECT_THAT(Texts(twice),
              ElementsAre("original on onnxruntime", "simplify on onnxruntime", "simplify + simplify on onnxruntime"));
  const Space overlapping = Built(
      "passes: [{choose: [{weights_int4: {group_size: [16, 32], symmetric: true}}, {weights_int4: {group_size: [32, "
      "64], symmetric: [true, false]}}]}]\n"
      "backends: {onnxruntime: }");
  EXPECT_EQ(overlapping.Size(), 5u);
}

TEST(SpaceTest, ContinuousRangesMakeItInfinite) {
  const Space space = Built("passes: [{fp16: {scale: {range: [0.1, 0.9]}}}]");
  EXPECT_FALSE(space.Size());
  EXPECT_FALSE(space.At(0));
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    const auto assignment = space.Draw(rng);
    ASSERT_TRUE(assignment && space.Valid(*assignment));
    const auto again = space.FromCandidate(space.ToCandidate(*assignment));
    ASSERT_TRUE(again);
    EXPECT_TRUE(Equal(again->at(1), assignment->at(1)));
  }
}

TEST(SpaceTest, SteppedRangesAreCounted) {
  EXPECT_THAT(Texts(Built("passes: [{fp16: {scale: {range: [0, 0.3], step: 0.1}}}]\nbackends: {onnxruntime: }")),
              ElementsAre("fp16(scale=0) on onnxruntime", "fp16(scale=0.1) on onnxruntime",
                          "fp16(scale=0.2) on onnxruntime", "fp16(scale=0.3) on onnxruntime"));
  EXPECT_EQ(Built("passes: [{fp16: {blocks: {range: [1, 64]}}}]\nbackends: {onnxruntime: }").Size(), 64u);
  EXPECT_EQ(Built("passes: [{fp16: {blocks: {range: [1, 64], step: 10}}}]\nbackends: {onnxruntime: }").Size(), 7u);
  EXPECT_EQ(Built("passes: [{fp16: {blocks: {range: [7, 7]}, scale: {range: [0.5, 0.5]}}}]\nbackends: {onnxruntime: }")
                .Size(),
            1u);
}

TEST(SpaceTest, LargeSpacesAreCountedWithoutWalkingThem) {
  std::string yaml = "passes:\n";
  for (int i = 0; i < 12; ++i) yaml += "  - fp16: {blocks: {range: [1, 64]}}\n";
  const Space space = Built(yaml);
  EXPECT_EQ(space.Size(), 10'000'000u);
  EXPECT_EQ(space.Size(500), 500u);
  EXPECT_EQ(space.Size(~uint64_t{0}), uint64_t{1} << 62);
  const auto last = space.At((uint64_t{1} << 62) - 1);
  ASSERT_TRUE(last);
  EXPECT_TRUE(space.Valid(*last));
}

TEST(SpaceTest, ManyChancesToSpellOnePipelineAreCountedExactly) {
  // k of 20 stages may simplify, so just the number of simplify passes tells candidates apart.
  std::string yaml = "backends: {onnxruntime: }\npasses:\n";
  for (int i = 0; i < 20; ++i) yaml += "  - choose: [none, simplify]\n";
  EXPECT_EQ(Built(yaml).Size(), 21u);
}

TEST(SpaceTest, InvalidAssignmentsAreKnown) {
  const Space space = Built("passes: [{choose: [none, {dynamic_int8: {per_channel: [true, false]}}]}]");
  const Assignment good = *space.At(2);
  EXPECT_TRUE(space.Valid(good));
  Assignment missing = good;
  missing.erase(1);
  EXPECT_FALSE(space.Valid(missing));
  Assignment inactive = *space.At(0);
  inactive[1] = BoolValue(true);
  EXPECT_FALSE(space.Valid(inactive));
  EXPECT_FALSE(space.IndexOf(inactive));
  Assignment foreign = good;
  foreign[1] = TextValue("true");
  EXPECT_FALSE(space.Valid(foreign));
  Assignment beyond = good;
  beyond[99] = BoolValue(true);
  EXPECT_FALSE(space.Valid(beyond));
  EXPECT_FALSE(space.Valid({}));
}

TEST(SpaceTest, PresetsShowEveryOptionOnEveryBackendAtItsDefaults) {
  const Space space = Built(
      "passes: [simplify, {choose: [fp16, none, {dynamic_int8: {per_channel: [true, false], weights: [uint8]}}, "
      "openvino_ir]}]");
  std::vector<std::string> texts;
  for (const Assignment& preset : space.Presets()) {
    EXPECT_TRUE(space.Valid(preset));
    texts.push_back(CandidateText(space.ToCandidate(preset)));
  }
  EXPECT_THAT(texts, ElementsAre("simplify on onnxruntime", "simplify on openvino", "simplify + fp16 on onnxruntime",
                                 "simplify + fp16 on openvino",
                                 "simplify + dynamic_int8(per_channel=false, weights=uint8) on onnxruntime",
                                 "simplify + dynamic_int8(per_channel=false, weights=uint8) on openvino",
                                 "simplify + openvino_ir on openvino"));
}

// int4 in 128s without zero points, and below a scale of a half with 8 blocks or more.
proto::Catalogue RuledCatalogue() {
  proto::Catalogue catalogue = TestCatalogue();
  for (proto::PassInfo& pass : *catalogue.mutable_passes()) {
    if (pass.name() != "weights_int4") continue;
    proto::Impossible* rule = pass.add_impossible();
    rule->set_reason("group_size=128 needs symmetric=true");
    rule->add_terms()->set_parameter("group_size");
    *rule->mutable_terms(0)->add_values() = IntValue(128);
    rule->add_terms()->set_parameter("symmetric");
    *rule->mutable_terms(1)->add_values() = BoolValue(false);
  }
  return catalogue;
}

Result<Space> BuildRuled(const std::string& yaml) {
  TRY_ASSIGN(const proto::Recipe recipe, ParseRecipe(yaml, "recipe.yaml"));
  return Space::Build(recipe, RuledCatalogue(), AllInputs());
}

TEST(SpaceTest, ValuesThatDoNotGoTogetherAreNoCandidates) {
  const auto space = BuildRuled(
      "passes: [{choose: [{weights_int4: {group_size: [32, 128], symmetric: [false, true]}}]}]\nbackends: "
      "{onnxruntime: {}}");
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_THAT(Texts(*space), ElementsAre("weights_int4(group_size=32, symmetric=false) on onnxruntime",
                                         "weights_int4(group_size=32, symmetric=true) on onnxruntime",
                                         "weights_int4(group_size=128, symmetric=true) on onnxruntime"));
  Assignment broken = *space->At(0);
  for (auto& [dimension, value] : broken) {
    if (space->dimensions()[dimension].name.ends_with("group_size")) value = IntValue(128);
  }
  EXPECT_FALSE(space->Valid(broken));
  EXPECT_FALSE(CodedSpace(*space).Encode(broken));
}

TEST(SpaceTest, OptionOfWhichNothingIsPossibleIsAnErrorWithItsPlaceOrLeftOut) {
  const std::string option =
      "passes: [{choose: [none, {weights_int4: {group_size: 128, symmetric: false}}]}]\nbackends: {onnxruntime: {}}\n";
  const auto refused = BuildRuled(option);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kRejected);
  EXPECT_EQ(refused.error().line, 1);
  EXPECT_THAT(refused.error().message, HasSubstr("group_size=128 needs symmetric=true"));
  const auto skipped = BuildRuled(option + "when_unavailable: skip\n");
  ASSERT_TRUE(skipped) << skipped.error().message;
  EXPECT_THAT(Texts(*skipped), ElementsAre("original on onnxruntime"));
  EXPECT_THAT(skipped->notes(), Contains(HasSubstr("needs symmetric=true")));
}

TEST(SpaceTest, PresetsTakeTheFirstValuesThatGoTogetherWhereDefaultsDoNot) {
  const auto space = BuildRuled(
      "passes: [{choose: [{weights_int4: {group_size: [128, 32], symmetric: false}}]}]\nbackends: {onnxruntime: {}}");
  ASSERT_TRUE(space) << space.error().message;
  ASSERT_EQ(space->Presets().size(), 1u);
  EXPECT_EQ(CandidateText(space->ToCandidate(space->Presets()[0])),
            "weights_int4(group_size=32, symmetric=false) on onnxruntime");
}

// The rule of RuledCatalogue on some backends or machines alone.
Result<Space> BuildRuledWhere(const std::string& yaml, const std::vector<std::string>& backends,
                              const std::vector<std::string>& without, const std::vector<std::string>& tags = {}) {
  TRY_ASSIGN(const proto::Recipe recipe, ParseRecipe(yaml, "recipe.yaml"));
  proto::Catalogue catalogue = RuledCatalogue();
  for (const std::string& tag : tags) catalogue.add_tags(tag);
  for (proto::PassInfo& pass : *catalogue.mutable_passes()) {
    for (proto::Impossible& rule : *pass.mutable_impossible()) {
      for (const std::string& backend : backends) rule.add_backends(backend);
      for (const std::string& tag : without) rule.add_without(tag);
    }
  }
  return Space::Build(recipe, catalogue, AllInputs());
}

constexpr const char* kRuled =
    "passes: [{weights_int4: {group_size: 128, symmetric: [false, true]}}]\nbackends: {onnxruntime: {}, openvino: {}}";

TEST(SpaceTest, ValuesThatDoNotGoOnABackendAreCandidatesOnTheOthers) {
  const auto space = BuildRuledWhere(kRuled, {"openvino"}, {});
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_THAT(Texts(*space), ElementsAre("weights_int4(group_size=128, symmetric=false) on onnxruntime",
                                         "weights_int4(group_size=128, symmetric=true) on onnxruntime",
                                         "weights_int4(group_size=128, symmetric=true) on openvino"));
  for (const Assignment& preset : space->Presets()) EXPECT_TRUE(space->Valid(preset));
}

TEST(SpaceTest, BackendThatAStepCannotEndOnIsSkippedForItWithANote) {
  const auto space = BuildRuledWhere(
      "passes: [{choose: [none, {weights_int4: {group_size: 128, symmetric: false}}]}]\nbackends: {onnxruntime: {}, "
      "openvino: {}}",
      {"openvino"}, {});
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ(space->Size(), 3u);
  EXPECT_THAT(space->notes(), Contains(HasSubstr("openvino: skipped for weights_int4")));
}

TEST(SpaceTest, RuleForMachinesWithoutAFeatureHoldsOnThoseAlone) {
  const auto with = BuildRuledWhere(kRuled, {}, {"amx", "avx512_vnni"}, {"amx"});
  ASSERT_TRUE(with) << with.error().message;
  EXPECT_EQ(with->Size(), 4u);
  const auto without = BuildRuledWhere(kRuled, {}, {"amx", "avx512_vnni"}, {"avx2"});
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(without->Size(), 2u);
}

TEST(SpaceTest, ForeignCandidatesHaveNoAssignment) {
  const Space space = Built("passes: [{choose: [none, {weights_int4: {group_size: [32, 64]}}]}]");
  proto::Candidate candidate = space.ToCandidate(*space.At(2));
  ASSERT_TRUE(space.FromCandidate(candidate));
  proto::Candidate other = candidate;
  other.mutable_pipeline(0)->mutable_parameters(0)->mutable_value()->set_integer(128);
  EXPECT_FALSE(space.FromCandidate(other));
  other = candidate;
  other.mutable_pipeline(0)->clear_parameters();
  EXPECT_FALSE(space.FromCandidate(other));
  other = candidate;
  other.set_backend("tensorrt");
  EXPECT_FALSE(space.FromCandidate(other));
  other = candidate;
  other.add_pipeline()->set_pass("simplify");
  EXPECT_FALSE(space.FromCandidate(other));
}

// --- against plain enumeration ---------------------------------------------------------------------------------

constexpr const char* kReason = "these values do not go together";

// Recipes and catalogues by chance: passes listed several times, overlapping values, conditions, rules, formats.
class RandomCase {
 public:
  explicit RandomCase(uint64_t seed) : rng_(seed) {
    for (const char* name : {"p0", "p1", "p2", "conv"}) {
      proto::PassInfo* pass = catalogue.add_passes();
      pass->set_name(name);
      pass->add_accepts("onnx");
      if (Below(2) == 0) pass->add_accepts("ir");
      for (const char* parameter : {"a", "b", "c", "d"}) AddInfo(parameter, pass->add_parameters());
      for (uint64_t rules = Below(3); rules > 0; --rules) {
        AddRule(4, pass->add_impossible());
        // On every backend, on one, on both by name, or on one that the recipe does not have.
        for (const char* backend : {"x", "y", "z"}) {
          if (Below(3) == 0) pass->mutable_impossible(pass->impossible_size() - 1)->add_backends(backend);
        }
      }
    }
    catalogue.mutable_passes(3)->set_produces("ir");
    proto::BackendInfo* onnx = catalogue.add_backends();
    onnx->set_name("x");
    onnx->add_formats("onnx");
    proto::BackendInfo* both = catalogue.add_backends();
    both->set_name("y");
    both->add_formats("ir");
    both->add_formats("onnx");
    for (const char* setting : {"a", "b"}) AddInfo(setting, both->add_settings());
    if (Below(2) == 0) AddRule(2, both->add_impossible());
    for (uint64_t stages = Below(4); stages > 0; --stages) AddStage(recipe.add_passes());
    for (const char* backend : {"x", "y"}) {
      proto::BackendChoice* choice = recipe.add_backends();
      choice->set_backend(backend);
      if (choice->backend() == "y") AddDomains(2, choice->mutable_settings());
    }
  }

  proto::Catalogue catalogue;
  proto::Recipe recipe;

 private:
  uint64_t Below(uint64_t n) { return rng_.Next() % n; }

  static void AddInfo(const char* name, proto::ParameterInfo* info) {
    info->set_name(name);
    info->set_type(proto::ParameterInfo::INTEGER);
    info->mutable_default_value()->set_integer(0);
  }

  void AddRule(uint64_t names, proto::Impossible* rule) {
    rule->set_reason(kReason);
    for (uint64_t p = 0; p < names; ++p) {
      if (Below(2) == 0) continue;
      proto::Impossible::Term* term = rule->add_terms();
      term->set_parameter(std::string(1, static_cast<char>('a' + p)));
      if (Below(4) == 0) term->mutable_below()->set_integer(static_cast<int64_t>(Below(3)));
      for (int64_t value = 0; value < 4; ++value) {
        if (Below(3) == 0) term->add_values()->set_integer(value);
      }
    }
    if (rule->terms().empty()) rule->add_terms()->set_parameter("a");   // Never holds.
  }

  void AddStage(proto::Stage* stage) {
    for (uint64_t options = 1 + Below(4); options > 0; --options) {
      proto::PassChoice* option = stage->add_options();
      if (Below(4) == 0) continue;
      option->set_pass(catalogue.passes(static_cast<int>(Below(4))).name());
      AddDomains(4, option->mutable_parameters());
    }
  }

  void AddDomains(uint64_t names, google::protobuf::RepeatedPtrField<proto::Domain>* domains) {
    std::vector<std::string> given;
    for (uint64_t p = 0; p < names; ++p) {
      if (Below(2) == 0) continue;
      proto::Domain* domain = domains->Add();
      domain->set_name(std::string(1, static_cast<char>('a' + p)));
      if (Below(4) == 0) {
        const auto low = static_cast<int64_t>(Below(3));
        domain->mutable_low()->set_integer(low);
        domain->mutable_high()->set_integer(low + static_cast<int64_t>(Below(3)));
      } else {
        for (int64_t value = 0; value < 4; ++value) {
          if (Below(2) == 0 || (value == 3 && domain->choices().empty())) domain->add_choices()->set_integer(value);
        }
      }
      for (uint64_t conditions = Below(3); conditions > 0 && !given.empty(); --conditions) {
        proto::When* when = domain->add_when();
        when->set_parameter(given[Below(given.size())]);
        for (int64_t value = 0; value < 4; ++value) {
          if (Below(2) == 0) when->add_values()->set_integer(value);
        }
      }
      given.push_back(domain->name());
    }
    // The order in the recipe is free.
    if (domains->size() > 1 && Below(2) == 0) domains->SwapElements(0, domains->size() - 1);
  }

  Rng rng_;
};

using Parameters = std::vector<std::pair<std::string, int64_t>>;

bool Holds(const proto::Domain& domain, const std::map<std::string, int64_t>& values) {
  return std::all_of(domain.when().begin(), domain.when().end(), [&](const proto::When& when) {
    const auto value = values.find(when.parameter());
    return value != values.end() &&
           std::any_of(when.values().begin(), when.values().end(),
                       [&](const proto::Value& wanted) { return wanted.integer() == value->second; });
  });
}

// Domains behind those that they depend on, otherwise in order.
std::vector<const proto::Domain*> Ordered(const google::protobuf::RepeatedPtrField<proto::Domain>& domains) {
  std::vector<const proto::Domain*> ordered;
  std::set<std::string> placed;
  while (ordered.size() < static_cast<size_t>(domains.size())) {
    for (const proto::Domain& domain : domains) {
      const bool ready = std::all_of(domain.when().begin(), domain.when().end(),
                                     [&](const proto::When& when) { return placed.contains(when.parameter()); });
      if (placed.contains(domain.name()) || !ready) continue;
      placed.insert(domain.name());
      ordered.push_back(&domain);
      break;
    }
  }
  return ordered;
}

void Enumerate(const std::vector<const proto::Domain*>& domains, size_t next, std::map<std::string, int64_t>& values,
               std::vector<std::map<std::string, int64_t>>& out) {
  if (next == domains.size()) {
    out.push_back(values);
    return;
  }
  const proto::Domain& domain = *domains[next];
  if (!Holds(domain, values)) return Enumerate(domains, next + 1, values, out);
  std::vector<int64_t> choices;
  for (const proto::Value& value : domain.choices()) choices.push_back(value.integer());
  for (int64_t value = domain.low().integer();
       choices.empty() || (domain.choices().empty() && value <= domain.high().integer()); ++value)
    choices.push_back(value);
  for (const int64_t value : choices) {
    values[domain.name()] = value;
    Enumerate(domains, next + 1, values, out);
  }
  values.erase(domain.name());
}

std::vector<std::map<std::string, int64_t>> EnumerateDomains(
    const google::protobuf::RepeatedPtrField<proto::Domain>& domains) {
  std::map<std::string, int64_t> values;
  std::vector<std::map<std::string, int64_t>> out;
  Enumerate(Ordered(domains), 0, values, out);
  return out;
}

using Rules = google::protobuf::RepeatedPtrField<proto::Impossible>;

// What is not given is 0.
bool Breaks(const std::map<std::string, int64_t>& values, const proto::Impossible& rule) {
  return std::all_of(rule.terms().begin(), rule.terms().end(), [&](const proto::Impossible::Term& term) {
    const auto given = values.find(term.parameter());
    const int64_t value = given == values.end() ? 0 : given->second;
    const auto is_it = [&](const proto::Value& one) { return one.integer() == value; };
    return std::any_of(term.values().begin(), term.values().end(), is_it) ||
           (term.has_below() && value < term.below().integer());
  });
}

bool IsOn(const proto::Impossible& rule, const std::string& backend) {
  return rule.backends().empty() ||
         std::find(rule.backends().begin(), rule.backends().end(), backend) != rule.backends().end();
}

std::vector<std::map<std::string, int64_t>> EnumeratePossible(
    const google::protobuf::RepeatedPtrField<proto::Domain>& domains, const Rules& rules) {
  auto all = EnumerateDomains(domains);
  std::erase_if(all, [&](const auto& values) {
    return std::any_of(rules.begin(), rules.end(),
                       [&](const proto::Impossible& rule) { return rule.backends().empty() && Breaks(values, rule); });
  });
  return all;
}

void SetParameters(const std::map<std::string, int64_t>& values,
                   google::protobuf::RepeatedPtrField<proto::Parameter>* out) {
  for (const auto& [name, value] : values) {
    proto::Parameter* parameter = out->Add();
    parameter->set_name(name);
    parameter->mutable_value()->set_integer(value);
  }
}

// All candidates in order of the recipe, each where it comes first.
class PlainEnumeration {
 public:
  explicit PlainEnumeration(const RandomCase& random) : case_(random) { Continue(0, "onnx", {}, {}); }
  std::vector<std::string> candidates;

 private:
  // barred: backends that a step before keeps from it.
  void Continue(int stage, const std::string& format, const proto::Candidate& so_far,
                const std::set<std::string>& barred) {
    if (stage == case_.recipe.passes_size()) return End(format, so_far, barred);
    for (const proto::PassChoice& option : case_.recipe.passes(stage).options()) {
      if (option.pass().empty()) {
        Continue(stage + 1, format, so_far, barred);
        continue;
      }
      const auto info = std::find_if(case_.catalogue.passes().begin(), case_.catalogue.passes().end(),
                                     [&](const auto& pass) { return pass.name() == option.pass(); });
      if (std::find(info->accepts().begin(), info->accepts().end(), format) == info->accepts().end()) continue;
      for (const auto& values : EnumeratePossible(option.parameters(), info->impossible())) {
        proto::Candidate next = so_far;
        proto::PassStep* step = next.add_pipeline();
        step->set_pass(option.pass());
        SetParameters(values, step->mutable_parameters());
        std::set<std::string> and_here = barred;
        for (const std::string backend : {"x", "y"}) {
          const auto keeps_off = [&](const proto::Impossible& rule) {
            return IsOn(rule, backend) && Breaks(values, rule);
          };
          if (std::any_of(info->impossible().begin(), info->impossible().end(), keeps_off)) and_here.insert(backend);
        }
        Continue(stage + 1, info->produces().empty() ? format : info->produces(), next, and_here);
      }
    }
  }

  void End(const std::string& format, const proto::Candidate& so_far, const std::set<std::string>& barred) {
    for (const proto::BackendChoice& choice : case_.recipe.backends()) {
      if (barred.contains(choice.backend())) continue;
      if (choice.backend() == "x" && format != "onnx") continue;
      const Rules& rules = case_.catalogue.backends(choice.backend() == "x" ? 0 : 1).impossible();
      for (const auto& values : EnumeratePossible(choice.settings(), rules)) {
        proto::Candidate candidate = so_far;
        candidate.set_backend(choice.backend());
        SetParameters(values, candidate.mutable_settings());
        const std::string text = CanonicalCandidate(candidate);
        if (seen_.insert(text).second) candidates.push_back(text);
      }
    }
  }

  const RandomCase& case_;
  std::unordered_set<std::string> seen_;
};

// Sanitizers take their time.
#ifdef HONE_SANITIZED
constexpr uint64_t kRandomCases = 200;
#else
constexpr uint64_t kRandomCases = 1500;
#endif

TEST(SpaceAgainstEnumerationTest, RandomRecipesGiveTheSameCandidatesInTheSameOrder) {
  size_t built = 0, several = 0;
  for (uint64_t seed = 0; seed < kRandomCases; ++seed) {
    SCOPED_TRACE(seed);
    const RandomCase random(seed);
    const auto space = Space::Build(random.recipe, random.catalogue, {"onnx", true, true, {}});
    if (!space) {
      EXPECT_TRUE(space.error().message.find("never takes part") != std::string::npos ||
                  space.error().message.find("no pass of this stage") != std::string::npos ||
                  space.error().message.find("no candidate is possible") != std::string::npos ||
                  space.error().message.find("no possible candidate") != std::string::npos ||
                  space.error().message.find(kReason) != std::string::npos)
          << space.error().message;
      continue;
    }
    const PlainEnumeration plain(random);
    if (plain.candidates.size() > 3000) continue;
    ++built;
    ASSERT_EQ(space->Size(), plain.candidates.size()) << random.recipe.DebugString();
    for (uint64_t i = 0; i < plain.candidates.size(); ++i) {
      const auto assignment = space->At(i);
      ASSERT_TRUE(assignment && space->Valid(*assignment)) << i;
      const proto::Candidate candidate = space->ToCandidate(*assignment);
      ASSERT_EQ(CanonicalCandidate(candidate), plain.candidates[i]) << i << "\n" << random.recipe.DebugString();
      ASSERT_EQ(space->IndexOf(*assignment), i);
      const auto back = space->FromCandidate(candidate);
      ASSERT_TRUE(back);
      ASSERT_EQ(space->IndexOf(*back), i);
    }
    EXPECT_FALSE(space->At(plain.candidates.size()));
    for (const Assignment& preset : space->Presets()) EXPECT_TRUE(space->Valid(preset));
    Rng rng(seed);
    for (int i = 0; i < 20; ++i) {
      const auto drawn = space->Draw(rng);
      ASSERT_TRUE(drawn && space->Valid(*drawn));
      const auto index = space->IndexOf(*drawn);
      ASSERT_TRUE(index && *index < plain.candidates.size());
    }
    several += plain.candidates.size() > 1 ? 1 : 0;
  }
  EXPECT_GT(built, kRandomCases / 3);
  EXPECT_GT(several, kRandomCases / 4);
}

}  // namespace
}  // namespace hone
