// Columns of text for a terminal. Debian has no C++ table library; this is the little that hone needs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hone {

enum class Align { left, right };

// Columns a terminal shows for UTF-8 text (one a code point: what hone prints has no wide characters).
size_t DisplayWidth(std::string_view text);

// Shortened in the middle to at most `width` columns: "resnet…v2.onnx". Returned whole where it fits or width is
// below 3.
std::string CutMiddle(std::string_view text, size_t width);
// Shortened at the end to at most `width` columns.
std::string CutEnd(std::string_view text, size_t width);

// Text of a cell of a Markdown table: what would be markup there stands as it is, line ends become spaces.
std::string MarkdownCell(std::string_view text);

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
    bool elastic = false;   // May be cut in the middle where the whole does not fit the width; numbers never are.
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty.
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }

  // Lines with a newline each, no trailing spaces; a head line only where a column has a title. width 0: nothing is
  // cut.
  std::string Text(size_t width = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace hone
