#include "client/table.h"

#include <algorithm>

namespace hone {
namespace {

constexpr std::string_view kGap = "  ";
constexpr size_t kNarrowest = 12;

bool StartsCodePoint(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// The byte offset of code point number `count`.
size_t OffsetOf(std::string_view text, size_t count) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (StartsCodePoint(text[i]) && count-- == 0) return i;
  }
  return text.size();
}

void Pad(std::string& line, const std::string& cell, size_t width, Align align) {
  const size_t shown = DisplayWidth(cell);
  const std::string space(width > shown ? width - shown : 0, ' ');
  line += align == Align::left ? cell + space : space + cell;
}

}  // namespace

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), StartsCodePoint));
}

std::string CutMiddle(std::string_view text, size_t width) {
  const size_t shown = DisplayWidth(text);
  if (shown <= width || width < 3) return std::string(text);
  const size_t head = (width - 1) / 2;
  const size_t tail = width - 1 - head;
  return std::string(text.substr(0, OffsetOf(text, head))) + "…" +
         std::string(text.substr(OffsetOf(text, shown - tail)));
}

std::string CutEnd(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width || width == 0) return std::string(text);
  return std::string(text.substr(0, OffsetOf(text, width - 1))) + "…";
}

std::string MarkdownCell(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '<' || c == '`' || c == '*' || c == '_' || c == '[') safe += '\\';
    safe += c == '\n' || c == '\r' ? ' ' : c;
  }
  return safe;
}

std::string Table::Text(size_t width) const {
  std::vector<size_t> widths(columns_.size(), 0);
  bool titled = false;
  for (size_t c = 0; c < columns_.size(); ++c) {
    widths[c] = DisplayWidth(columns_[c].title);
    titled = titled || !columns_[c].title.empty();
    for (const std::vector<std::string>& row : rows_) {
      if (c < row.size()) widths[c] = std::max(widths[c], DisplayWidth(row[c]));
    }
  }
  size_t total = columns_.empty() ? 0 : kGap.size() * (columns_.size() - 1);
  for (const size_t w : widths) total += w;
  for (size_t c = 0; c < columns_.size() && width > 0 && total > width; ++c) {
    if (!columns_[c].elastic) continue;
    const size_t floor = std::min(widths[c], kNarrowest);
    const size_t cut = std::min(total - width, widths[c] - floor);
    widths[c] -= cut;
    total -= cut;
  }

  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) line += kGap;
      Pad(line, c < cells.size() ? CutMiddle(cells[c], widths[c]) : "", widths[c], columns_[c].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  if (titled) {
    std::vector<std::string> titles;
    for (const Column& column : columns_) titles.push_back(column.title);
    add(titles);
  }
  for (const std::vector<std::string>& row : rows_) add(row);
  return text;
}

}  // namespace hone
