#include "client/importers/name_pattern.h"

#include <algorithm>
#include <map>

#include "client/sensitivity_file.h"

namespace hone::importers {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "layers.3/mlp/MatMul_41" is "layers.", "/mlp/MatMul_", "" with the numbers 3 and 41.
struct Parts {
  std::vector<std::string> words;
  std::vector<std::string> numbers;
};

Parts PartsOf(const std::string& name) {
  Parts parts;
  parts.words.emplace_back();
  for (size_t i = 0; i < name.size();) {
    size_t end = i;
    while (end < name.size() && IsDigit(name[end])) ++end;
    if (end == i) {
      parts.words.back() += name[i++];
      continue;
    }
    parts.numbers.push_back(name.substr(i, end - i));
    parts.words.emplace_back();
    i = end;
  }
  return parts;
}

std::string Joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : separator) + parts[i];
  return text;
}

std::string Escaped(const std::string& text) { return text.empty() ? "" : NamesExpression({text}); }

// Names that differ in their numbers alone: a look ahead at the numbers, then the words once.
std::string FamilyPattern(const std::vector<std::string>& words, const std::vector<std::string>& numbers) {
  std::string pattern = Escaped(words.front()) + "(?=(?:" + Joined(numbers, "|") + ")\\D*$)";
  for (size_t i = 1; i < words.size(); ++i) pattern += "\\d+" + Escaped(words[i]);
  return pattern;
}

}  // namespace

std::string NamePattern(const std::vector<std::string>& names) {
  std::map<std::vector<std::string>, std::vector<std::string>> families;  // Words -> "3\D+41" of each name.
  std::map<std::vector<std::string>, std::vector<std::string>> members;
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  for (const std::string& name : sorted) {
    const Parts parts = PartsOf(name);
    families[parts.words].push_back(Joined(parts.numbers, "\\D+"));
    members[parts.words].push_back(name);
  }
  std::vector<std::string> patterns;
  for (const auto& [words, numbers] : families) {
    const bool few = numbers.size() < 3 || words.size() < 2;
    patterns.push_back(few ? NamesExpression(members[words]) : FamilyPattern(words, numbers));
  }
  return Joined(patterns, "|");
}

}  // namespace hone::importers
