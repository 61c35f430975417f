#include "worker/checkpoint/unicode.h"

#include <algorithm>
#include <array>

#include "common/base/strings.h"

namespace hone {
namespace {

bool IsIn(const std::vector<CodeRange>& ranges, char32_t code) {
  const auto behind = std::upper_bound(ranges.begin(), ranges.end(), code,
                                       [](char32_t wanted, const CodeRange& range) { return wanted < range.first; });
  return behind != ranges.begin() && code <= std::prev(behind)->last;
}

bool IsSpace(char32_t code) {
  return (code >= 0x9 && code <= 0xd) || code == ' ' || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

CharacterKind LookedUp(char32_t code) {
  if (IsSpace(code)) return CharacterKind::space;
  if (IsIn(LetterRanges(), code)) return CharacterKind::letter;
  return IsIn(NumberRanges(), code) ? CharacterKind::number : CharacterKind::other;
}

}  // namespace

CharacterKind KindOf(char32_t code) {
  static const auto few = [] {
    std::array<CharacterKind, 128> kinds{};
    for (char32_t c = 0; c < kinds.size(); ++c) kinds[c] = LookedUp(c);
    return kinds;
  }();
  return code < few.size() ? few[code] : LookedUp(code);
}

std::optional<std::u32string> Decoded(std::string_view utf8) {
  if (!IsUtf8(utf8)) return std::nullopt;
  std::u32string codes;
  codes.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (size_t k = 1; k < length; ++k) code = (code << 6) | (static_cast<unsigned char>(utf8[i + k]) & 0x3f);
    codes.push_back(code);
    i += length;
  }
  return codes;
}

void AppendUtf8(char32_t code, std::string& text) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | ((code >> shift) & 0x3f)); };
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xc0 | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    text += static_cast<char>(0xe0 | (code >> 12));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xf0 | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace hone
