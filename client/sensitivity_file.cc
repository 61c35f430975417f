#include "client/sensitivity_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

using PlainJson = nlohmann::json;

constexpr uint64_t kMaxFileBytes = 256'000'000;
constexpr std::string_view kExclude = "exclude=@";

struct GroupLoss {
  double loss = 0;
  std::vector<std::string> nodes;
};

Error Broken(const std::filesystem::path& file, const std::string& what) {
  return Error{ErrorCode::kRejected, fmt::format("{}: {}", file.string(), what),
               "Make it with `hone sensitivity --json`."};
}

// What a group loses under the pass; a group whose loss is no number lost everything.
Result<std::vector<GroupLoss>> LossesUnder(const PlainJson& document, const std::filesystem::path& file,
                                           std::string_view pass) {
  std::vector<GroupLoss> losses;
  std::vector<std::string> passes;
  for (const PlainJson& group : document.at("groups")) {
    for (const PlainJson& loss : group.at("losses")) {
      passes.push_back(loss.at("pass").get<std::string>());
      if (passes.back() != pass) continue;
      const PlainJson& value = loss.at("loss");
      losses.push_back({value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity(),
                        loss.at("nodes").get<std::vector<std::string>>()});
      break;
    }
  }
  if (!losses.empty()) return losses;
  std::sort(passes.begin(), passes.end());
  passes.erase(std::unique(passes.begin(), passes.end()), passes.end());
  return Fail(Broken(
      file, fmt::format("it does not measure pass '{}', but {}", pass, passes.empty() ? "none" : Join(passes, ", "))));
}

}  // namespace

std::string NamesExpression(const std::vector<std::string>& names) {
  static constexpr std::string_view kSpecial = "^$\\.*+?()[]{}|";
  std::string expression;
  for (const std::string& name : names) {
    if (!expression.empty()) expression += '|';
    for (const char c : name) {
      // A comma would end the expression in a list of them.
      if (c == ',') {
        expression += "\\x2c";
        continue;
      }
      if (kSpecial.find(c) != std::string_view::npos) expression += '\\';
      expression += c;
    }
  }
  return expression;
}

Result<std::vector<std::string>> WorstNodes(const std::filesystem::path& file, std::string_view pass, size_t count) {
  TRY_ASSIGN(const std::string text, ReadFile(file, kMaxFileBytes));
  const PlainJson document = PlainJson::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object() || document.value("schema", "") != "hone.sensitivity/1") {
    return Fail(Broken(file, "it is no hone.sensitivity/1 document"));
  }
  try {
    TRY_ASSIGN(std::vector<GroupLoss> losses, LossesUnder(document, file, pass));
    if (losses.size() < count)
      return Fail(Broken(file, fmt::format("it has {} groups for '{}', not {}", losses.size(), pass, count)));
    std::stable_sort(losses.begin(), losses.end(),
                     [](const GroupLoss& a, const GroupLoss& b) { return a.loss > b.loss; });
    std::vector<std::string> nodes;
    for (size_t i = 0; i < count; ++i) nodes.insert(nodes.end(), losses[i].nodes.begin(), losses[i].nodes.end());
    return nodes;
  } catch (const PlainJson::exception& error) {
    return Fail(Broken(file, Printable(error.what(), 200)));
  }
}

Result<> FillExclusions(std::string_view pass, std::vector<std::string>& words) {
  for (std::string& word : words) {
    if (!word.starts_with(kExclude)) continue;
    const std::string place = word.substr(kExclude.size());
    const size_t colon = place.rfind(':');
    const Result<int64_t> count =
        colon == std::string::npos ? Result<int64_t>(1) : ParseInteger(place.substr(colon + 1));
    if (!count || *count < 1 || *count > 1'000'000) {
      return Fail(ErrorCode::kUsage,
                  fmt::format("{}: '{}' must be exclude=@FILE:K, K a number of groups", pass, Printable(word, 200)));
    }
    TRY_ASSIGN(const std::vector<std::string> nodes,
               WorstNodes(place.substr(0, colon), pass, static_cast<size_t>(*count)));
    word = "exclude=" + NamesExpression(nodes);
  }
  return {};
}

}  // namespace hone
