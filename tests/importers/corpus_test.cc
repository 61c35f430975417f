// The corpus: configurations of every era, with every key of the tables, and mistakes; each with what must become of
// it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "client/importers/olive_parts.h"
#include "client/local_task.h"
#include "common/base/strings.h"
#include "coordinator/search/space.h"
#include "tests/importers/import_helpers.h"

namespace hone::importers {
namespace {

namespace fs = std::filesystem;

const fs::path kCorpus = fs::path(HONE_SOURCE_DIR) / "tests/importers/corpus";

struct Expected {
  std::string file;
  std::string tool;
  std::string outcome;  // whole, part, rejected
  std::string passes;
  std::string fragment;
};

std::vector<Expected> ReadExpectations() {
  std::vector<Expected> rows;
  std::ifstream file(kCorpus / "expected.tsv");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> cells = Split(line, '\t');
    cells.resize(5);
    rows.push_back({cells[0], cells[1], cells[2], cells[3], cells[4]});
  }
  return rows;
}

const proto::Catalogue& CatalogueHere() {
  static const proto::Catalogue catalogue = [] {
    Result<proto::Catalogue> here = LocalCatalogue();
    EXPECT_TRUE(here) << (here ? "" : here.error().message);
    return here ? *std::move(here) : proto::Catalogue();
  }();
  return catalogue;
}

size_t LeavesOf(const ConfigNode& node) {
  if (node.items.empty() && node.entries.empty()) return 1;
  size_t leaves = 0;
  for (const ConfigNode& item : node.items) leaves += LeavesOf(item);
  for (const ConfigEntry& entry : node.entries) leaves += LeavesOf(entry.value);
  return leaves;
}

void CheckReport(const ConfigNode& root, const Imported& imported) {
  const ImportReport& report = imported.report;
  size_t leaves = 0, counted = 0;
  for (const LedgerRow& row : report.rows) {
    leaves += row.leaves;
    EXPECT_FALSE(row.text.empty()) << row.key;
    EXPECT_GT(row.leaves, 0U) << row.key;
  }
  for (const size_t count : report.counts) counted += count;
  EXPECT_EQ(LeavesOf(root), leaves) << "values in the configuration, and values told of";
  EXPECT_EQ(report.leaves, leaves);
  EXPECT_EQ(counted, leaves);
}

// The recipe is read back equal, and the search would take it here.
void CheckRecipe(const Imported& imported) {
  const std::string text = WriteRecipe(imported.recipe);
  const Result<proto::Recipe> read = ParseRecipe(text, "recipe");
  ASSERT_TRUE(read) << read.error().message << "\n" << text;
  EXPECT_EQ(StagesOf(*read), StagesOf(imported.recipe));
  // Once its defaults are filled in, it is written and read without a change.
  EXPECT_EQ(WriteRecipe(*ParseRecipe(WriteRecipe(*read), "recipe")), WriteRecipe(*read));
  proto::Recipe here = imported.recipe;
  // Other devices' settings are for other machines' catalogues.
  for (proto::BackendChoice& backend : *here.mutable_backends()) {
    auto* settings = backend.mutable_settings();
    for (int i = settings->size(); i-- > 0;) {
      if (settings->Get(i).name() == "device") settings->DeleteSubrange(i, 1);
    }
  }
  const Result<> checked = CheckAgainst(CatalogueHere(), here);
  EXPECT_TRUE(checked) << checked.error().message << "\n" << text;
  const Result<Space> space = Space::Build(here, CatalogueHere(), {"onnx", true, true, {"cpu"}});
  if (imported.recipe.model().ends_with(".onnx") || imported.recipe.model().empty()) {
    EXPECT_TRUE(space) << space.error().message << "\n" << text;
  }
}

class CorpusTest : public testing::TestWithParam<Expected> {};

TEST_P(CorpusTest, BecomesWhatIsExpectedAndEveryValueIsToldOf) {
  const Expected& expected = GetParam();
  const std::string file = (kCorpus / expected.file).string();
  const Result<Imported> imported = ImportFile(ImporterOf(expected.tool), file, {});
  if (expected.outcome == "rejected") {
    ASSERT_FALSE(imported) << WriteRecipe(imported->recipe);
    EXPECT_EQ(imported.error().code, ErrorCode::kRejected);
    EXPECT_THAT(imported.error().message + " " + imported.error().remedy, testing::HasSubstr(expected.fragment));
    EXPECT_EQ(imported.error().file, file);
    return;
  }
  ASSERT_TRUE(imported) << imported.error().message;
  std::string told;
  for (const LedgerRow& row : imported->report.rows) {
    told += fmt::format("{} = {}: {}: {}\n", row.key, row.value, FateName(row.fate), row.text);
  }
  EXPECT_EQ(expected.outcome == "whole", imported->report.Whole()) << told;
  EXPECT_EQ(expected.passes, StagesOf(imported->recipe)) << told;
  EXPECT_THAT(told, testing::HasSubstr(expected.fragment));
  if (expected.outcome == "whole") {
    EXPECT_EQ(0U, imported->report.unknown) << told;
  }
  const Result<ConfigNode> root = ReadConfig(file);
  ASSERT_TRUE(root);
  CheckReport(*root, *imported);
  CheckRecipe(*imported);
}

INSTANTIATE_TEST_SUITE_P(Files, CorpusTest, testing::ValuesIn(ReadExpectations()), [](const auto& each) {
  std::string name = each.param.file;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

// Every key that stands anywhere in the corpus, and for each type of pass those of its parameters.
struct Keys {
  std::set<std::string> all;
  std::map<std::string, std::set<std::string>> of_pass;
  std::set<std::string> texts;
};

void Gather(const ConfigNode& node, Keys& keys) {
  const ConfigNode* type = node.Find("type");
  const PassRow* row = type != nullptr && type->IsText() ? FindOlivePass(type->value.text()) : nullptr;
  if (node.IsText()) keys.texts.insert(node.value.text());
  for (const ConfigNode& item : node.items) Gather(item, keys);
  for (const ConfigEntry& entry : node.entries) {
    keys.all.insert(entry.key);
    if (row != nullptr) keys.of_pass[row->name].insert(entry.key);
    if (row != nullptr && entry.key == "config") {
      for (const ConfigEntry& inner : entry.value.entries) keys.of_pass[row->name].insert(inner.key);
    }
    Gather(entry.value, keys);
  }
}

const Keys& CorpusKeys() {
  static const Keys keys = [] {
    Keys gathered;
    for (const Expected& row : ReadExpectations()) {
      const Result<ConfigNode> root = ReadConfig((kCorpus / row.file).string());
      if (root && row.outcome != "rejected") Gather(*root, gathered);
    }
    return gathered;
  }();
  return keys;
}

TEST(CorpusCoverageTest, HasAtLeast120Configurations) {
  EXPECT_GE(ReadExpectations().size(), 120U);
  size_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kCorpus))
    files += entry.path().filename() == "expected.tsv" ? 0 : 1;
  EXPECT_EQ(files, ReadExpectations().size()) << "a file without an expectation, or the reverse";
}

TEST(CorpusCoverageTest, HasEveryPassOfOlive) {
  for (const PassRow& row : OlivePasses()) EXPECT_TRUE(CorpusKeys().of_pass.contains(row.name)) << row.name;
}

TEST(CorpusCoverageTest, HasEveryParameterOfEveryPassThatHoneTakes) {
  for (const PassRow& row : OlivePasses()) {
    for (const ParameterRules* table : row.tables) {
      for (const ParameterRule& rule : *table) {
        // Names that several passes share need one of them.
        EXPECT_TRUE(CorpusKeys().all.contains(rule.key)) << row.name << ": " << rule.key;
      }
    }
  }
  for (const ParameterRule& rule : *OliveCommonRules().front())
    EXPECT_TRUE(CorpusKeys().all.contains(rule.key)) << rule.key;
}

TEST(CorpusCoverageTest, HasEveryOtherKeyThatTheImporterKnows) {
  for (const std::string& key : OliveKeys()) EXPECT_TRUE(CorpusKeys().all.contains(key)) << key;
  for (const std::string& surgeon : SurgeonNames()) EXPECT_TRUE(CorpusKeys().texts.contains(surgeon)) << surgeon;
  for (const ProviderRow& provider : Providers())
    EXPECT_TRUE(CorpusKeys().texts.contains(provider.name)) << provider.name;
}

TEST(CorpusTest, NodesWithOtherBitsAreLeftToASecondPassAndNoOthers) {
  const Result<Imported> imported = ImportFile(ImporterOf("olive"), (kCorpus / "pass_kquant_nodes.json").string(), {});
  ASSERT_TRUE(imported) << imported.error().message;
  const auto left_out = [&](int stage) {
    for (const proto::Domain& domain : imported->recipe.passes(stage).options(0).parameters()) {
      if (domain.name() == "exclude") return std::regex(domain.choices(0).text());
    }
    return std::regex();
  };
  EXPECT_EQ(imported->recipe.passes(1).options(0).pass(), "weights_int8");
  const std::string first = "decoder/layers.0/mlp/down_proj/MatMul_node_100", head = "decoder/lm_head/MatMul";
  EXPECT_TRUE(std::regex_match(first, left_out(0)));
  EXPECT_TRUE(std::regex_match(head, left_out(0)));
  EXPECT_FALSE(std::regex_match("decoder/layers.0/mlp/down_proj/MatMul_node_101", left_out(0)));
  EXPECT_FALSE(std::regex_match(first, left_out(1)));
  EXPECT_TRUE(std::regex_match(head, left_out(1)));
}

}  // namespace
}  // namespace hone::importers
