#include "client/importers/report.h"

#include <fmt/format.h>

#include "client/table.h"
#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"

namespace hone::importers {
namespace {

constexpr Fate kOrder[] = {Fate::impossible, Fate::changed, Fate::ignored, Fate::done};

std::string Counts(const ImportReport& report) {
  std::vector<std::string> words;
  for (size_t fate = 0; fate < kFates; ++fate)
    words.push_back(fmt::format("{} {}", report.counts[fate], FateName(static_cast<Fate>(fate))));
  return Join(words, ", ");
}

}  // namespace

std::string ReportText(const Imported& imported, const std::string& source, size_t width, bool all) {
  const ImportReport& report = imported.report;
  Table table({{"key", Align::left, true},
               {"value", Align::left, true},
               {"became"},
               {"how, why, or what to do instead", Align::left, true}});
  for (const Fate fate : kOrder) {
    if (fate == Fate::done && !all) continue;
    for (const LedgerRow& row : report.rows) {
      if (row.fate == fate) table.Row({Printable(row.key, 120), CutEnd(row.value, 40), FateName(row.fate), row.text});
    }
  }
  std::string text = table.empty() ? "" : table.Text(width) + "\n";
  text += fmt::format("{}: {} values, {}\n", Printable(source, 200), report.leaves, Counts(report));
  if (!imported.kind.empty()) text += fmt::format("it {}\n", imported.kind);
  for (const std::string& what : imported.to_give) text += fmt::format("to give: {}\n", what);
  return text;
}

Json ReportJson(const Imported& imported, const std::string& tool, const std::string& source) {
  const ImportReport& report = imported.report;
  Json rows = Json::array();
  for (const LedgerRow& row : report.rows) {
    rows.push_back({{"key", row.key},
                    {"value", row.value},
                    {"became", FateName(row.fate)},
                    {"text", row.text},
                    {"values", row.leaves},
                    {"line", row.line == 0 ? Json() : Json(row.line)},
                    {"unknown", row.unknown}});
  }
  Json counts;
  for (size_t fate = 0; fate < kFates; ++fate) counts[FateName(static_cast<Fate>(fate))] = report.counts[fate];
  Json passes = Json::array();
  for (const proto::Stage& stage : imported.recipe.passes()) {
    Json options = Json::array();
    for (const proto::PassChoice& option : stage.options())
      options.push_back(option.pass().empty() ? "none" : option.pass());
    passes.push_back(std::move(options));
  }
  return {{"schema", "hone.import/1"},
          {"tool", tool},
          {"source", source},
          {"whole", report.Whole()},
          {"kind", imported.kind_code.empty() ? Json() : Json(imported.kind_code)},
          {"values", report.leaves},
          {"counts", counts},
          {"unknown", report.unknown},
          {"to_give", imported.to_give},
          {"passes", passes},
          {"rows", rows},
          {"recipe", WriteRecipe(imported.recipe)}};
}

}  // namespace hone::importers
