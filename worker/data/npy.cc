#include "worker/data/npy.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr size_t kLongestHeader = 64 << 10;
constexpr size_t kHighestRank = 32;

// Kind and bytes as in descr, after the byte order.
struct DescrRow {
  std::string_view descr;
  ElementType type;
};
constexpr DescrRow kDescrs[] = {{"f2", 10}, {"f4", 1}, {"f8", 11}, {"i1", 3},  {"i2", 5},  {"i4", 6},
                                {"i8", 7},  {"u1", 2}, {"u2", 4},  {"u4", 12}, {"u8", 13}, {"b1", 9}};

// A cursor over the dictionary. Every function takes what it names from the front, or says that it is not there.
class DictionaryParser {
 public:
  explicit DictionaryParser(std::string_view text) : rest_(text) {}

  Result<NpyHeader> Parse() {
    if (!Take('{')) return Malformed("it does not begin with '{'");
    while (!Take('}')) {
      TRY(Item());
      if (Take(',')) continue;
      if (!Take('}')) return Malformed("an entry does not end with ',' or '}'");
      break;
    }
    SkipSpace();
    if (!rest_.empty()) return Malformed("text after the dictionary");
    if (!has_descr_ || !has_order_ || !has_shape_) return Malformed("descr, fortran_order or shape is missing");
    return header_;
  }

 private:
  static tl::unexpected<Error> Malformed(std::string_view cause) {
    return Fail(ErrorCode::kRejected, fmt::format("malformed .npy header: {}", cause));
  }

  void SkipSpace() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\t'))
      rest_.remove_prefix(1);
  }
  bool Take(char wanted) {
    SkipSpace();
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool Take(std::string_view word) {
    SkipSpace();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  Result<std::string> QuotedText() {
    SkipSpace();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return Malformed("a quoted text is missing");
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return Malformed("a quote is not closed");
    std::string text(rest_.substr(1, end - 1));
    if (text.find('\\') != std::string::npos) return Malformed("an escape in a text");
    rest_.remove_prefix(end + 1);
    return text;
  }

  Result<> Item() {
    TRY_ASSIGN(const std::string key, QuotedText());
    if (!Take(':')) return Malformed("a ':' is missing");
    if (key == "descr" && !has_descr_) return Descr();
    if (key == "fortran_order" && !has_order_) return Order();
    if (key == "shape" && !has_shape_) return Shape();
    return Malformed(fmt::format("unexpected or repeated key '{}'", Printable(key, 64)));
  }

  Result<> Descr() {
    has_descr_ = true;
    SkipSpace();
    if (rest_.starts_with('[')) return StructuredDescr();
    TRY_ASSIGN(header_.descr, QuotedText());
    const std::string_view descr = header_.descr;
    if (descr.size() < 2) return {};
    for (const DescrRow& row : kDescrs) {
      const bool one_byte = row.descr[1] == '1';
      const bool ordered = descr[0] == '<' || descr[0] == '>' || (one_byte && descr[0] == '|');
      if (ordered && descr.substr(1) == row.descr) header_.type = row.type;
    }
    header_.big_endian = descr[0] == '>';
    return {};
  }

  // A list of fields: passed over with its nested brackets, since only its being no number matters.
  Result<> StructuredDescr() {
    int depth = 0;
    for (size_t i = 0; i < rest_.size(); ++i) {
      if (rest_[i] == '[' || rest_[i] == '(') ++depth;
      if (rest_[i] == ']' || rest_[i] == ')') --depth;
      if (depth == 0) {
        header_.descr = std::string(rest_.substr(0, i + 1));
        rest_.remove_prefix(i + 1);
        return {};
      }
    }
    return Malformed("a structured type is not closed");
  }

  Result<> Order() {
    has_order_ = true;
    if (Take(std::string_view("True"))) {
      header_.fortran_order = true;
    } else if (!Take(std::string_view("False"))) {
      return Malformed("fortran_order is neither True nor False");
    }
    return {};
  }

  Result<> Shape() {
    has_shape_ = true;
    if (!Take('(')) return Malformed("shape is no tuple");
    while (!Take(')')) {
      SkipSpace();
      int64_t dim = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), dim);
      if (error != std::errc{} || dim < 0) return Malformed("shape holds something else than sizes");
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      Take('L');  // Python 2 wrote long integers so.
      header_.dims.push_back(dim);
      if (header_.dims.size() > kHighestRank) return Malformed("more than 32 dimensions");
      if (Take(',')) continue;
      if (!Take(')')) return Malformed("shape is not closed");
      break;
    }
    return {};
  }

  std::string_view rest_;
  NpyHeader header_;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

}  // namespace

Result<NpyPreamble> ParseNpyPreamble(std::string_view start) {
  constexpr std::string_view magic = "\x93NUMPY";
  if (start.size() < 10 || !start.starts_with(magic)) return Fail(ErrorCode::kRejected, "not an .npy array");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(start[i])); };
  const size_t major = byte(6);
  if (major < 1 || major > 3 || byte(7) != 0) {
    return Fail(ErrorCode::kRejected, fmt::format(".npy version {}.{} is not known", major, byte(7)));
  }
  NpyPreamble preamble;
  preamble.bytes = major == 1 ? 10 : 12;
  if (start.size() < preamble.bytes) return Fail(ErrorCode::kRejected, "truncated .npy array");
  preamble.header_bytes = byte(8) | byte(9) << 8;
  if (major > 1) preamble.header_bytes |= byte(10) << 16 | byte(11) << 24;
  if (preamble.header_bytes > kLongestHeader) {
    return Fail(ErrorCode::kRejected,
                fmt::format(".npy header of {} bytes is over the bound of {}", preamble.header_bytes, kLongestHeader));
  }
  return preamble;
}

Result<NpyHeader> ParseNpyHeader(std::string_view text) { return DictionaryParser(text).Parse(); }

}  // namespace hone
