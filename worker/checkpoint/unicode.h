// Characters of UTF-8 texts, and what kind they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

struct CodeRange {
  char32_t first, last;
};
// Of the general categories L and N, ordered.
const std::vector<CodeRange>& LetterRanges();
const std::vector<CodeRange>& NumberRanges();

enum class CharacterKind : uint8_t { other, letter, number, space };
CharacterKind KindOf(char32_t code);

// The characters of a text; nullopt where it is no UTF-8.
std::optional<std::u32string> Decoded(std::string_view utf8);
void AppendUtf8(char32_t code, std::string& text);

}  // namespace hone
