#include "client/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "client/table.h"

namespace hone {
namespace {

using Row = std::vector<std::pair<std::string, std::string>>;  // Column, cell.

bool IsPlain(const Json& value) { return !value.is_structured(); }

std::string Dumped(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Cell(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), IsPlain)) return Dumped(value);
  std::string words;
  for (const Json& one : value) words += (words.empty() ? "" : " ") + Cell(one);
  return words;
}

void AddLeaves(const Json& object, const std::string& prefix, Row& row) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object())
      AddLeaves(value, prefix + key + ".", row);
    else
      row.emplace_back(prefix + key, Cell(value));
  }
}

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string Line(const std::vector<std::string>& cells, bool csv) {
  std::string line = csv ? "" : "|";
  for (size_t i = 0; i < cells.size(); ++i) {
    if (csv)
      line += (i > 0 ? "," : "") + CsvCell(cells[i]);
    else
      line += " " + MarkdownCell(cells[i]) + " |";
  }
  return line + (csv ? "\r\n" : "\n");
}

std::string Lines(const Json& rows) {
  std::string text;
  for (const Json& row : rows) text += Dumped(row) + "\n";
  return text;
}

}  // namespace

void AddFormatFlag(Flags& flags, std::string& format) {
  flags.Text("--format", "F", "rows for other programs: csv, md or jsonl", format);
  flags.Choose({"csv", "md", "jsonl"});
}

std::string RowsText(const Json& rows, const std::string& format) {
  if (format == "jsonl") return Lines(rows);
  std::vector<std::string> columns;
  std::unordered_map<std::string, size_t> places;
  std::vector<Row> leaves(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    AddLeaves(rows[i], "", leaves[i]);
    for (const auto& [column, cell] : leaves[i]) {
      if (places.emplace(column, columns.size()).second) columns.push_back(column);
    }
  }
  if (columns.empty()) return "";
  const bool csv = format == "csv";
  std::string text = Line(columns, csv);
  if (!csv) text += Line(std::vector<std::string>(columns.size(), "---"), csv);
  for (const Row& row : leaves) {
    std::vector<std::string> cells(columns.size());
    for (const auto& [column, cell] : row) cells[places.at(column)] = cell;
    text += Line(cells, csv);
  }
  return text;
}

Result<> PrintList(Console& console, const std::string& format, const std::function<Json()>& document,
                   const std::string& rows, const std::function<std::string()>& text) {
  if (format.empty()) return console.json ? console.PrintJson(document()) : console.Print(text());
  if (console.json)
    return Fail(ErrorCode::kUsage, fmt::format("--json and --format {} cannot both be", format), "give one of them");
  return console.Print(RowsText(document().at(rows), format));
}

}  // namespace hone
