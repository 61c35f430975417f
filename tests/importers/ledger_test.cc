#include "client/importers/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "client/importers/name_pattern.h"
#include "client/importers/section.h"

namespace hone::importers {
namespace {

ConfigNode Parse(const std::string& text) {
  Result<ConfigNode> root = ParseConfig(text, "c");
  EXPECT_TRUE(root) << (root ? "" : root.error().message);
  return root ? *std::move(root) : ConfigNode();
}

TEST(ConfigTreeTest, NumbersTheLeavesOfJsonAndYamlAlike) {
  const ConfigNode json = Parse(R"({"a": {"b": [1, 2.5, "x"], "c": {}}, "d": null, "e": []})");
  const ConfigNode yaml = Parse("a: {b: [1, 2.5, x], c: {}}\nd:\ne: []\n");
  EXPECT_EQ(json.leaves, 6U);
  EXPECT_EQ(yaml.leaves, 6U);
  EXPECT_EQ(json.Find("a")->Find("b")->items[1].path, "a.b[1]");
  EXPECT_EQ(json.Find("a")->Find("b")->items[1].first_leaf, 1U);
  EXPECT_EQ(ValueText(*json.Find("a")), ValueText(*yaml.Find("a")));
}

TEST(ConfigTreeTest, TellsTheLineOfAMistake) {
  const Result<ConfigNode> twice = ParseConfig("{\n \"a\": 1,\n \"a\": 2\n}", "f.json");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().line, 3U);
  EXPECT_EQ(twice.error().file, "f.json");
  const Result<ConfigNode> yaml = ParseConfig("a: 1\nb: [1,\n", "f.yaml");
  ASSERT_FALSE(yaml);
  EXPECT_EQ(yaml.error().code, ErrorCode::kRejected);
}

TEST(ConfigTreeTest, BoundsDepthSizeAndNumber) {
  const auto rejected = [](const std::string& text, const std::string& fragment) {
    const Result<ConfigNode> root = ParseConfig(text, "f");
    ASSERT_FALSE(root);
    EXPECT_EQ(root.error().code, ErrorCode::kRejected);
    EXPECT_THAT(root.error().message, testing::HasSubstr(fragment));
  };
  rejected("{\"a\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}", "nested more than");
  rejected("{\"a\": \"" + std::string(kMaxConfigBytes, 'x') + "\"}", "bytes");
  std::string many = "{\"passes\": {";
  for (int i = 0; i < 10'000; ++i) many += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\":1";
  rejected(many + "}}", "more than 4096 keys");
  std::string list = "[1";
  for (int i = 1; i < 4000; ++i) list += ",1";
  std::string values = "{\"a\": [" + list + "]";
  for (int i = 1; i < 15; ++i) values += "," + list + "]";
  rejected(values + "]}", "more than 50000 values");
  rejected("{\"a\": " + list + "," + list.substr(1) + "]}", "more than 4096 items");
  rejected("{\"a\": \"\xff\"}", "UTF-8");
}

TEST(LedgerTest, WhatNoRuleToldOfIsUnknown) {
  const ConfigNode root = Parse(R"({"a": {"b": 1, "c": [2, 3]}, "d": 4})");
  Ledger ledger(root);
  ledger.Tell(*root.Find("a")->Find("b"), Fate::done, "taken");
  const ImportReport report = ledger.Close();
  ASSERT_EQ(report.rows.size(), 3U);
  EXPECT_EQ(report.rows[0].key, "a.b");
  EXPECT_EQ(report.rows[1].key, "a.c");
  EXPECT_EQ(report.rows[1].leaves, 2U);
  EXPECT_EQ(report.rows[2].key, "d");
  EXPECT_EQ(report.unknown, 2U);
  EXPECT_EQ(report.leaves, 4U);
  EXPECT_FALSE(report.Whole());
}

TEST(LedgerTest, DetailsWinOverTheWholeAndAnAmendmentOverBoth) {
  const ConfigNode root = Parse(R"({"a": {"b": 1, "c": 2, "e": 3}})");
  Ledger ledger(root);
  const ConfigNode& a = *root.Find("a");
  ledger.Tell(*a.Find("b"), Fate::done, "b");
  ledger.Tell(a, Fate::ignored, "rest");
  ledger.Tell(a, Fate::impossible, "too late");
  ledger.Amend(*a.Find("b"), Fate::changed, "better");
  const ImportReport report = ledger.Close();
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[0].text, "better");
  EXPECT_EQ(report.rows[1].leaves, 2U);
  EXPECT_TRUE(report.Whole());
}

TEST(SectionTest, ANestedValueWinsAndTheFlatOneIsTold) {
  const ConfigNode root = Parse(R"({"type": "X", "a": 1, "config": {"a": 2, "b": 3}})");
  Ledger ledger(root);
  const Result<Section> section = Section::Open(root, "it", "config", ledger);
  ASSERT_TRUE(section);
  EXPECT_EQ(section->Find("a")->value.integer(), 2);
  EXPECT_NE(section->Find("b"), nullptr);
  EXPECT_TRUE(ledger.Told(*root.Find("a")));
  EXPECT_FALSE(ledger.Told(*section->Find("a")));
}

TEST(SectionTest, TakesTheWordsThatPythonTakes) {
  const ConfigNode root =
      Parse(R"({"yes": "yes", "one": 1, "off": "Off", "bad": "maybe", "number": "16", "half": 0.5})");
  EXPECT_TRUE(BoolOf(*root.Find("yes")).value());
  EXPECT_TRUE(BoolOf(*root.Find("one")).value());
  EXPECT_FALSE(BoolOf(*root.Find("off")).value());
  EXPECT_FALSE(BoolOf(*root.Find("bad")));
  EXPECT_EQ(IntOf(*root.Find("number"), 0, 100).value(), 16);
  EXPECT_FALSE(IntOf(*root.Find("half"), 0, 100));
  EXPECT_FALSE(IntOf(*root.Find("number"), 0, 3));
}

TEST(NamePatternTest, MatchesJustTheNames) {
  std::vector<std::string> names;
  for (int i = 0; i < 40; ++i)
    names.push_back("layers." + std::to_string(i) + "/mlp(0)/MatMul_" + std::to_string(7 * i));
  names.emplace_back("a,b");
  names.emplace_back("layers.3");
  const std::regex pattern(NamePattern(names));
  for (const std::string& name : names) EXPECT_TRUE(std::regex_match(name, pattern)) << name;
  for (const char* other :
       {"layers.40/mlp(0)/MatMul_280", "layers.3/mlp(0)/MatMul_22", "layersx3", "a", "", "layers."}) {
    EXPECT_FALSE(std::regex_match(other, pattern)) << other;
  }
  EXPECT_EQ(NamePattern(names).find(','), std::string::npos);
  EXPECT_EQ(NamePattern({}), "");
}

}  // namespace
}  // namespace hone::importers
