#include "common/base/strings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

namespace hone {
namespace {

constexpr size_t kLongestWord = 128;   // Nobody means a longer one; keeps the distance cheap.

// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours, no part edited twice.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

size_t AllowedDistance(size_t length) { return length <= 4 ? 1 : std::min<size_t>(length / 3, 3); }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Takes the longest prefix of the form 12 or 12.5 off the text.
std::optional<double> TakeNumber(std::string_view& text) {
  size_t length = 0;
  while (length < text.size() && (IsDigit(text[length]) || text[length] == '.')) ++length;
  if (length == 0) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + length) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

std::string TakeUnit(std::string_view& text) {
  std::string unit;
  while (!text.empty() && !IsDigit(text.front()) && text.front() != '.') {
    unit += Lower(text.front());
    text.remove_prefix(1);
  }
  return unit;
}

struct UnitRow {
  std::string_view name;
  double factor;
};
// From large to small: the order in which a duration names them.
constexpr UnitRow kDurations[] = {{"d", 86400e3}, {"h", 3600e3}, {"m", 60e3}, {"s", 1e3}, {"ms", 1}};
constexpr UnitRow kSizes[] = {
    {"", 1},          {"b", 1},           {"k", 1e3},  {"kb", 1e3},  {"kib", 1024.},          {"m", 1e6},
    {"mb", 1e6},      {"mib", 1048576.},  {"g", 1e9},  {"gb", 1e9},  {"gib", 1073741824.},    {"t", 1e12},
    {"tb", 1e12},     {"tib", 1099511627776.},
};
// The first double that no longer fits.
constexpr double kInt64End = 9223372036854775808.0;
constexpr double kUint64End = 18446744073709551616.0;

template <size_t N>
const UnitRow* FindUnit(const UnitRow (&rows)[N], std::string_view name) {
  const auto row =
      std::find_if(std::begin(rows), std::end(rows), [&](const UnitRow& candidate) { return candidate.name == name; });
  return row == std::end(rows) ? nullptr : &*row;
}

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;   // 0: broken.
};

// The first character of a non-empty text. Overlong forms, surrogates and numbers beyond Unicode are broken.
Character Decode(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  uint32_t code = lead & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kLeast[bytes] || surrogate || code > 0x10ffff) return {};
  return {code, bytes};
}

// Controls, and what turns or breaks a line without being one: bidirectional overrides and Unicode's line separators.
bool IsUnsafe(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x200e || code == 0x200f || code == 0xfeff;
}

}  // namespace

std::optional<std::string> NearestWord(std::string_view word, const std::vector<std::string>& words) {
  if (word.size() > kLongestWord) return std::nullopt;
  std::optional<std::string> nearest;
  size_t least = AllowedDistance(word.size()) + 1;
  for (const std::string& candidate : words) {
    const size_t difference = std::max(candidate.size(), word.size()) - std::min(candidate.size(), word.size());
    if (difference >= least) continue;
    const size_t distance = Distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& words) {
  const auto nearest = NearestWord(word, words);
  return nearest ? fmt::format("; did you mean '{}'?", *nearest) : "";
}

std::string Join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += separator;
    text += words[i];
  }
  return text;
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

std::string HumanBytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array<std::string_view, 6> kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1e3;
  size_t unit = 0;
  // 999.95 would be written as 1000.0.
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1e3;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string HumanDuration(int64_t ms) {
  if (ms < 0)
    return "-" + HumanDuration(ms == std::numeric_limits<int64_t>::min() ? std::numeric_limits<int64_t>::max() : -ms);
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (ms < 59950) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1e3);
  const int64_t seconds = ms / 1000 + (ms % 1000 >= 500 ? 1 : 0);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  const int64_t minutes = seconds / 60 + (seconds % 60 >= 30 ? 1 : 0);
  return fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
}

std::string HumanNumber(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  if (value == 0) return "0";
  // Rounding first decides the magnitude: 999.96 has four digits before the point once it is 1000.
  const std::string scientific = fmt::format("{:.2e}", value);
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -5 || exponent > 8) return fmt::format("{:.3g}", value);
  double rounded = 0;
  std::from_chars(scientific.data(), scientific.data() + scientific.size(), rounded);
  std::string text = fmt::format("{:.{}f}", rounded, std::max(0, 2 - exponent));
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

Result<int64_t> ParseInteger(std::string_view text) {
  const auto no_number = [&] {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is not an integer", Printable(text, 80)));
  };
  std::string_view digits = text;
  if (digits.size() > 1 && digits.front() == '+' && IsDigit(digits[1])) digits.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) return no_number();
  if (error == std::errc::result_out_of_range) {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is beyond 64 bits", Printable(text, 80)));
  }
  return value;
}

Result<double> ParseReal(std::string_view text) {
  std::string_view digits = text;
  if (digits.size() > 1 && digits.front() == '+' && digits[1] != '-' && digits[1] != '+') digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range && end == digits.data() + digits.size()) {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is beyond what a double holds", Printable(text, 80)));
  }
  // "inf" and "nan" are words of from_chars, not numbers of ours.
  if (error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value)) {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is not a number", Printable(text, 80)));
  }
  return value;
}

Result<int64_t> ParseDuration(std::string_view text) {
  const auto malformed = [&] {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is not a duration", Printable(text, 80)),
                "Write it like 90s, 10m, 1h30m or 500ms; a bare number is seconds");
  };
  std::string_view rest = Trim(text);
  if (rest.empty()) return malformed();
  double total_ms = 0;
  const UnitRow* last = nullptr;
  while (!rest.empty()) {
    const auto number = TakeNumber(rest);
    if (!number) return malformed();
    const bool bare = rest.empty() && last == nullptr;
    const std::string unit = TakeUnit(rest);
    const UnitRow* row = FindUnit(kDurations, bare ? "s" : Trim(unit));
    // Each unit once, from large to small.
    if (row == nullptr || (last != nullptr && row <= last)) return malformed();
    total_ms += *number * row->factor;
    last = row;
  }
  if (!(total_ms < kInt64End))
    return Fail(ErrorCode::kRejected, fmt::format("the duration '{}' is too long", Printable(text, 80)));
  return static_cast<int64_t>(std::round(total_ms));
}

Result<uint64_t> ParseBytes(std::string_view text) {
  const auto malformed = [&] {
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is not a size", Printable(text, 80)),
                "Write it like 512MB, 2GiB or 1000");
  };
  std::string_view rest = Trim(text);
  uint64_t exact = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), exact);
  if (error == std::errc() && end == rest.data() + rest.size()) return exact;
  const auto number = TakeNumber(rest);
  if (!number) return malformed();
  const std::string unit = TakeUnit(rest);
  const UnitRow* row = FindUnit(kSizes, Trim(unit));
  if (row == nullptr || !rest.empty()) return malformed();
  const double bytes = std::round(*number * row->factor);
  if (!(bytes < kUint64End))
    return Fail(ErrorCode::kRejected, fmt::format("the size '{}' is beyond 64 bits", Printable(text, 80)));
  return static_cast<uint64_t>(bytes);
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = Decode(text).bytes;
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string ToUtf8(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const size_t bytes = Decode(text).bytes;
    if (bytes == 0) {
      safe += '?';
    } else {
      safe += text.substr(0, bytes);
    }
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return safe;
}

std::string Printable(std::string_view text, size_t max_bytes) {
  constexpr std::string_view kMore = "...";
  std::string safe;
  size_t cut = 0;   // The longest part that leaves room for kMore.
  while (!text.empty()) {
    const Character character = Decode(text);
    const bool replace = character.bytes == 0 || IsUnsafe(character.code);
    const std::string_view piece = replace ? std::string_view("?") : text.substr(0, character.bytes);
    if (safe.size() + piece.size() > max_bytes) {
      if (max_bytes < kMore.size()) return safe;
      safe.resize(cut);
      return safe.append(kMore);
    }
    safe += piece;
    if (safe.size() + kMore.size() <= max_bytes) cut = safe.size();
    text.remove_prefix(std::max<size_t>(character.bytes, 1));
  }
  return safe;
}

std::string ShellWord(std::string_view text) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(plain) == std::string_view::npos) return std::string(text);
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

}  // namespace hone
