#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/base/file.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "coordinator/search/random.h"
#include "tests/search/test_catalogue.h"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kSource = HONE_SOURCE_DIR;

std::string Text(const std::filesystem::path& path) {
  auto text = ReadFile(path, 4 << 20);
  EXPECT_TRUE(text) << path;
  return text ? *text : "";
}

proto::Recipe Parsed(const std::string& yaml) {
  const auto recipe = ParseRecipe(yaml, "folder/r.yaml");
  EXPECT_TRUE(recipe) << recipe.error().line << ":" << recipe.error().column << ": " << recipe.error().message << "\n"
                      << yaml;
  return recipe ? *recipe : proto::Recipe();
}

void ClearPositions(google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (field->message_type() == proto::Position::descriptor()) {
      reflection->ClearField(message, field);
    } else if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i)
        ClearPositions(reflection->MutableRepeatedMessage(message, field, i));
    } else {
      ClearPositions(reflection->MutableMessage(message, field));
    }
  }
}

void ExpectRoundTrip(proto::Recipe recipe) {
  const std::string yaml = WriteRecipe(recipe);
  auto again = ParseRecipe(yaml, recipe.name());
  ASSERT_TRUE(again) << again.error().line << ":" << again.error().column << ": " << again.error().message << "\n"
                     << yaml;
  ClearPositions(&recipe);
  ClearPositions(&*again);
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(recipe, *again)) << difference << "\n" << yaml;
}

constexpr const char* kDesignExample = R"(model: minilm.onnx                      # or on the command line
inputs: {input_ids: [1, 64], attention_mask: [1, batch], token_type_ids: [null, -1]}
data:
  calibration: {path: sentences.npz, samples: 128}
  evaluation:  {path: sentences.npz, from: 128, samples: 256}
accuracy: {metric: cosine, output: last_hidden_state, against: original}
objectives: [{minimize: latency_ms_p50}, {maximize: throughput_per_s}]
constraints: {accuracy_drop: 0.01, size_bytes: {max: 1e6}, cosine: 0.99}
targets: [{tags: [x86_64, cpu]}]
passes:
  - simplify
  - choose:
      - none
      - fp16
      - dynamic_int8: {per_channel: [true, false]}
      - static_int8:
          observer: [minmax, percentile, entropy, mse]
          percentile: {when: {observer: percentile}, range: [99.9, 99.9999]}
          activations: [uint8, int8]
          smooth_alpha: [0, 0.5, 0.95]
      - weights_int4: {group_size: [32, 64, 128], symmetric: [true, false]}
backends:
  onnxruntime: {intra_op_threads: [1, 2]}
  openvino: {hint: [latency], inference_precision: [f32, bf16]}
search: {sampler: auto, trials: 60, time: 20m, seed: 7}
measure: {pairs: 11, final_pairs: 40, finalists: 3, trial_timeout: 90s, memory: 2GiB}
)";

TEST(RecipeTest, TheDesignExampleArrivesWhole) {
  const proto::Recipe recipe = Parsed(kDesignExample);
  EXPECT_EQ(recipe.model(), "minilm.onnx");
  EXPECT_EQ(recipe.name(), "r.yaml");
  ASSERT_EQ(recipe.inputs_size(), 3);
  EXPECT_THAT(recipe.inputs(1).dims(), ElementsAre(1, -1));
  EXPECT_THAT(recipe.inputs(2).dims(), ElementsAre(-1, -1));
  EXPECT_EQ(recipe.evaluation().from(), 128u);
  EXPECT_EQ(recipe.evaluation().samples(), 256u);
  EXPECT_EQ(recipe.accuracy().metric(), "cosine");
  EXPECT_FALSE(recipe.accuracy().against_labels());
  ASSERT_EQ(recipe.objectives_size(), 2);
  EXPECT_TRUE(recipe.objectives(1).maximize());
  ASSERT_EQ(recipe.constraints_size(), 3);
  EXPECT_DOUBLE_EQ(recipe.constraints(0).maximum(), 0.01);
  EXPECT_DOUBLE_EQ(recipe.constraints(1).maximum(), 1e6);
  EXPECT_DOUBLE_EQ(recipe.constraints(2).minimum(), 0.99);
  EXPECT_FALSE(recipe.constraints(2).has_maximum());
  EXPECT_THAT(recipe.targets(0).tags(), ElementsAre("cpu", "x86_64"));
  ASSERT_EQ(recipe.passes_size(), 2);
  ASSERT_EQ(recipe.passes(1).options_size(), 5);
  EXPECT_EQ(recipe.passes(1).options(0).pass(), "");
  const proto::Domain& percentile = recipe.passes(1).options(3).parameters(1);
  EXPECT_EQ(percentile.name(), "percentile");
  EXPECT_DOUBLE_EQ(percentile.low().real(), 99.9);
  EXPECT_DOUBLE_EQ(percentile.high().real(), 99.9999);
  EXPECT_EQ(percentile.when(0).parameter(), "observer");
  EXPECT_EQ(percentile.when(0).values(0).text(), "percentile");
  EXPECT_EQ(percentile.position().line(), 18u);
  EXPECT_EQ(percentile.position().column(), 11u);
  EXPECT_EQ(percentile.position().file(), "folder/r.yaml");
  EXPECT_EQ(recipe.backends(1).settings(1).choices(1).text(), "bf16");
  EXPECT_EQ(recipe.search().time_ms(), 1'200'000u);
  EXPECT_EQ(recipe.search().seed(), 7u);
  EXPECT_EQ(recipe.measure().memory_bytes(), uint64_t{2} << 30);
  EXPECT_EQ(recipe.measure().trial_timeout_ms(), 90'000u);
  EXPECT_FALSE(recipe.skip_unavailable());
}

TEST(RecipeTest, WhatIsLeftOutTakesItsDefault) {
  const proto::Recipe recipe = Parsed("{}");
  ASSERT_EQ(recipe.objectives_size(), 1);
  EXPECT_EQ(recipe.objectives(0).metric(), "latency_ms_p50");
  ASSERT_EQ(recipe.targets_size(), 1);
  EXPECT_THAT(recipe.targets(0).tags(), ElementsAre("cpu"));
  EXPECT_EQ(recipe.search().sampler(), "auto");
  EXPECT_EQ(recipe.search().trials(), 0u);
  EXPECT_EQ(recipe.passes_size(), 0);
  EXPECT_EQ(recipe.backends_size(), 0);
  EXPECT_FALSE(recipe.has_measure());
}

TEST(RecipeTest, ValuesKeepTheirKind) {
  const proto::Recipe recipe =
      Parsed("passes: [{p: {a: true, b: 3, c: 0.5, d: word, e: '3', f: \"true\", g: -2e-3, h: no, i: [1, 2.5, x]}}]");
  const auto& parameters = recipe.passes(0).options(0).parameters();
  ASSERT_EQ(parameters.size(), 9);
  EXPECT_TRUE(parameters[0].choices(0).has_boolean());
  EXPECT_EQ(parameters[1].choices(0).integer(), 3);
  EXPECT_DOUBLE_EQ(parameters[2].choices(0).real(), 0.5);
  EXPECT_EQ(parameters[3].choices(0).text(), "word");
  EXPECT_EQ(parameters[4].choices(0).text(), "3");
  EXPECT_EQ(parameters[5].choices(0).text(), "true");
  EXPECT_DOUBLE_EQ(parameters[6].choices(0).real(), -2e-3);
  EXPECT_EQ(parameters[7].choices(0).text(), "no");
  EXPECT_EQ(parameters[8].choices_size(), 3);
}

TEST(RecipeTest, PreprocessingIsRead) {
  const proto::Recipe recipe = Parsed(
      "data: {evaluation: {path: images, preprocess: {input: x, size: [48, 192], resize: pad_right, channels: bgr, "
      "mean: 0.5, std: [0.5, 0.4, 0.3], "
      "scale: 0.00392, layout: nhwc}}}");
  const proto::Preprocess& preprocess = recipe.evaluation().preprocess();
  EXPECT_EQ(preprocess.height(), 48u);
  EXPECT_EQ(preprocess.width(), 192u);
  EXPECT_EQ(preprocess.resize(), proto::Preprocess::PAD_RIGHT);
  EXPECT_TRUE(preprocess.bgr());
  EXPECT_TRUE(preprocess.nhwc());
  EXPECT_THAT(preprocess.mean(), ElementsAre(0.5));
  EXPECT_THAT(preprocess.std(), ElementsAre(0.5, 0.4, 0.3));
  EXPECT_EQ(Parsed("data: {evaluation: {path: i, preprocess: {size: 7}}}").evaluation().preprocess().width(), 7u);
}

TEST(RecipeTest, LabelMetricsCompareWithLabels) {
  EXPECT_TRUE(Parsed("accuracy: {metric: top1}").accuracy().against_labels());
  EXPECT_FALSE(Parsed("accuracy: {metric: mse}").accuracy().against_labels());
  EXPECT_TRUE(Parsed("accuracy: {against: labels}").accuracy().against_labels());
  EXPECT_EQ(Parsed("accuracy: {metric: auto}").accuracy().metric(), "");
}

TEST(RecipeTest, TheDirectionOfAccuracyIsThatOfItsMetric) {
  EXPECT_TRUE(Parsed("constraints: {accuracy: 0.9}").constraints(0).has_minimum());
  EXPECT_TRUE(Parsed("constraints: {accuracy: 0.9}\naccuracy: {metric: max_error}").constraints(0).has_maximum());
  EXPECT_FALSE(Parsed("objectives: [{minimize: accuracy}]\naccuracy: {metric: mse}").objectives(0).maximize());
}

TEST(RecipeTest, BackendsWithoutSettingsMayBeEmpty) {
  const proto::Recipe recipe = Parsed("backends:\n  onnxruntime:\n  openvino: {}\n");
  ASSERT_EQ(recipe.backends_size(), 2);
  EXPECT_EQ(recipe.backends(0).backend(), "onnxruntime");
}

TEST(RecipeTest, AByteOrderMarkIsNoContent) { EXPECT_EQ(Parsed("\xef\xbb\xbfmodel: m.onnx\n").model(), "m.onnx"); }

TEST(RecipeTest, AMisplacedCharacterIsCountedInCharacters) {
  const auto recipe = ParseRecipe("model: 'größe.onnx' # ä\ninputs: {ß: [1], Ü: 7}\n", "r.yaml");
  ASSERT_FALSE(recipe);
  EXPECT_EQ(recipe.error().line, 2u);
  EXPECT_EQ(recipe.error().column, 21u);
}

TEST(RecipeTest, WrittenRecipesReadBackEqual) {
  ExpectRoundTrip(Parsed(kDesignExample));
  ExpectRoundTrip(Parsed("{}"));
  ExpectRoundTrip(Parsed("accuracy: {}\nmeasure: {}\nwhen_unavailable: skip\n"));
  ExpectRoundTrip(Parsed("sandbox: partial\n"));
  ExpectRoundTrip(
      Parsed("passes: [{choose: [none]}, {choose: [a, {b: {}}]}, {c: {x: {choices: [1], when: {y: [1, 2], z: w}}, y: "
             "{range: [1, 9], step: 2}, "
             "z: {range: [0.001, 1.0], log: true}}}]"));
  ExpectRoundTrip(Parsed("data: {calibration: {path: 'a b: c#', preprocess: {}}}\naccuracy: {metric: top5}"));
}

TEST(RecipeTest, AnyTextSurvivesWriting) {
  const std::vector<std::string> texts = {"",     " ",    "a b",  "true", "null",       "~",   "3",    "-",
                                          "- a",  "a: b", "#x",   "'",    "\"",         "\\",  "a\nb", "\t",
                                          "ß",    "{}",   "[",    "*a",   "&a",         "!t",  "%",    "@",
                                          "`",    "0x10", ".inf", ".nan", "1e5",        "a,b", "?",    ": ",
                                          "a #b", "\x7f", "\x01", "yes",  "2024-01-01", "<<",  "none", "choose"};
  for (const std::string& text : texts) {
    proto::Recipe recipe = Parsed("passes: [{p: {a: [b]}}]");
    *recipe.mutable_passes(0)->mutable_options(0)->mutable_parameters(0)->mutable_choices(0)->mutable_text() = text;
    if (!text.empty()) {
      recipe.set_model(text);
      recipe.mutable_passes(0)->mutable_options(0)->mutable_parameters(0)->set_name(text);
    }
    ExpectRoundTrip(recipe);
  }
}

TEST(RecipeTest, RandomRecipesSurviveWriting) {
  Rng rng(11);
  const auto below = [&](uint64_t n) { return rng.Next() % n; };
  const auto value = [&]() -> proto::Value {
    switch (below(4)) {
      case 0: return BoolValue(below(2) == 0);
      case 1: return IntValue(static_cast<int64_t>(rng.Next()));
      case 2: return RealValue((rng.Uniform() - 0.5) * static_cast<double>(rng.Next() >> below(64)));
      default: return TextValue(std::string(1 + below(6), static_cast<char>(' ' + below(95))));
    }
  };
  for (int round = 0; round < 300; ++round) {
    proto::Recipe recipe = Parsed("{}");
    for (uint64_t s = below(4); s > 0; --s) {
      proto::Stage* stage = recipe.add_passes();
      for (uint64_t o = 1 + below(3); o > 0; --o) {
        proto::PassChoice* option = stage->add_options();
        if (below(4) == 0) continue;
        option->set_pass("pass" + std::to_string(o));
        for (uint64_t p = below(4); p > 0; --p) {
          proto::Domain* domain = option->add_parameters();
          domain->set_name("p" + std::to_string(p));
          std::vector<proto::Value> seen;
          for (uint64_t v = 1 + below(3); v > 0; --v) {
            const proto::Value next = value();
            if (std::any_of(seen.begin(), seen.end(), [&](const proto::Value& other) { return Equal(other, next); }))
              continue;
            seen.push_back(next);
            *domain->add_choices() = next;
          }
          if (below(3) == 0) {
            proto::When* when = domain->add_when();
            when->set_parameter("q");
            *when->add_values() = value();
          }
        }
      }
    }
    recipe.mutable_search()->set_seed(rng.Next() >> 1);
    recipe.mutable_search()->set_time_ms(1 + below(1'000'000'000));
    recipe.mutable_measure()->set_memory_bytes(1 + (rng.Next() >> 2));
    ExpectRoundTrip(recipe);
    if (HasFailure()) return;
  }
}

TEST(ReadyRecipesTest, EveryOneParsesAndSurvivesWriting) {
  size_t count = 0;
  for (const auto& file : std::filesystem::directory_iterator(kSource / "recipes")) {
    if (file.path().extension() != ".yaml") continue;
    SCOPED_TRACE(file.path().string());
    ExpectRoundTrip(Parsed(Text(file.path())));
    ++count;
  }
  EXPECT_GE(count, 5u);
}

TEST(ReadyRecipesTest, TheBuiltInRecipesAreTheFiles) {
  EXPECT_EQ(AutoRecipeText(), Text(kSource / "recipes/auto.yaml"));
  EXPECT_EQ(LlmAutoRecipeText(), Text(kSource / "recipes/llm_auto.yaml"));
  EXPECT_EQ(EncoderAutoRecipeText(), Text(kSource / "recipes/encoder_auto.yaml"));
}

TEST(ReadyRecipesTest, TheBuiltInRecipeFitsAnyFleet) {
  const proto::Recipe recipe = Parsed(std::string(AutoRecipeText()));
  for (const bool data : {false, true}) {
    const auto space = Space::Build(recipe, TestCatalogue(), {"onnx", data, data, {"cpu"}});
    ASSERT_TRUE(space) << space.error().message;
    EXPECT_GT(space->Size().value_or(0), 0u);
    const bool noted = std::any_of(space->notes().begin(), space->notes().end(), [](const std::string& note) {
      return note.find("calibration") != std::string::npos;
    });
    EXPECT_EQ(noted, !data);
  }
  proto::Catalogue poor;
  *poor.add_backends() = TestCatalogue().backends(0);
  const auto space = Space::Build(recipe, poor, {"onnx", false, false, {"cpu"}});
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ(space->Size(), 1u);
  EXPECT_THAT(space->notes(), ::testing::Contains(HasSubstr("no backend 'openvino'")));
  EXPECT_THAT(space->notes(), ::testing::Contains(HasSubstr("no pass 'simplify'")));
}

// --- documents -------------------------------------------------------------------------------------------------

// The definition of the schema that describes a section of the parser.
std::string DefinitionOf(const std::string& section) {
  std::string name = section;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

TEST(RecipeDocumentsTest, TheSchemaHasEveryKeyOfTheParserAndNoOther) {
  const auto schema = nlohmann::json::parse(Text(kSource / "docs/recipe.schema.json"));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  std::map<std::string, std::vector<std::string>> sections;
  for (const RecipeKey& key : RecipeKeys()) sections[key.section].emplace_back(key.key);
  for (auto& [section, keys] : sections) {
    SCOPED_TRACE(section);
    const auto& properties =
        section == "recipe" ? schema["properties"] : schema["$defs"][DefinitionOf(section)]["properties"];
    std::vector<std::string> described;
    for (const auto& [key, value] : properties.items()) described.push_back(key);
    EXPECT_THAT(described, ::testing::UnorderedElementsAreArray(keys));
  }
}

TEST(RecipeDocumentsTest, TheReferenceExplainsEveryKey) {
  const std::string reference = Text(kSource / "docs/recipe.md");
  for (const RecipeKey& key : RecipeKeys())
    EXPECT_THAT(reference, HasSubstr(std::string("| `") + key.key + "` |")) << key.section;
  for (const MetricInfo& metric : MetricCatalogue())
    EXPECT_THAT(reference, HasSubstr(std::string("| `") + metric.name + "` |"));
}

TEST(RecipeDocumentsTest, EveryExampleInTheReferenceParses) {
  std::istringstream lines(Text(kSource / "docs/recipe.md"));
  std::string line, example;
  bool inside = false;
  int count = 0;
  while (std::getline(lines, line)) {
    if (line == "```yaml") {
      inside = true;
      example.clear();
    } else if (line == "```" && inside) {
      inside = false;
      Parsed(example);
      ++count;
    } else if (inside) {
      example += line + "\n";
    }
  }
  EXPECT_GE(count, 5);
}

}  // namespace
}  // namespace hone
