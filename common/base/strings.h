// Text for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

// The word of `words` nearest to `word` by optimal string alignment distance, if it is near enough to be meant
// (distance at most 1 up to 4 letters, else at most a third of the length, and never more than 3).
std::optional<std::string> NearestWord(std::string_view word, const std::vector<std::string>& words);

// "; did you mean 'x'?" or "".
std::string DidYouMean(std::string_view word, const std::vector<std::string>& words);

std::string Join(const std::vector<std::string>& words, std::string_view separator);
std::vector<std::string> Split(std::string_view text, char separator);
std::string_view Trim(std::string_view text);

// "24.6 MB" with MB = 10^6.
std::string HumanBytes(uint64_t bytes);
// "850 ms", "4.2 s", "4m12s", "2h05m".
std::string HumanDuration(int64_t ms);
// Three significant digits, no exponent for everyday sizes.
std::string HumanNumber(double value);

// Whole text must be a number, finite and within the type. These and the next two fail with kRejected.
Result<int64_t> ParseInteger(std::string_view text);
Result<double> ParseReal(std::string_view text);
// "10m", "90s", "1h30m", "500ms"; a bare number is seconds. Result in milliseconds.
Result<int64_t> ParseDuration(std::string_view text);
// "512MB", "2GiB", "1000".
Result<uint64_t> ParseBytes(std::string_view text);

// Whether every byte belongs to a well-formed character; strings of messages must.
bool IsUtf8(std::string_view text);
// The text with every broken byte replaced by '?'; nothing else changes.
std::string ToUtf8(std::string_view text);

// Text from outside made safe for a terminal or a log line: control characters (line ends too) and broken UTF-8 become
// '?'; what is longer than max_bytes is cut and ends in "...".
std::string Printable(std::string_view text, size_t max_bytes = 4096);

// As one word of a POSIX shell: quoted where it must be.
std::string ShellWord(std::string_view text);

}  // namespace hone
