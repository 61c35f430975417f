// Values and sections of YAML that people write, read from its tree (yaml_tree.h): every mistake is kRejected with
// file, line, column and the nearest word that is known. Recipes and suites are made of these.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/mistakes.h"
#include "common/base/result.h"
#include "common/base/strings.h"
#include "common/recipe/yaml_tree.h"
#include "proto/value.pb.h"

namespace hone::yaml {

// What every reader needs to know.
struct Context {
  std::string file;
  std::string accuracy_metric = {};  // Of a recipe's accuracy.metric, wherever it stands in the text.
  Mistakes* mistakes = nullptr;      // See ReadEach.
};

constexpr size_t kMaxTextBytes = 4096;

// "a list", "a number": what a node is, for messages.
const char* KindOf(const YamlNode& node);
// A person's text, safe and short enough for a message; the second in quotes.
std::string Shown(std::string_view text);
std::string Quoted(const std::string& name);

tl::unexpected<Error> FailAt(const Context& context, YamlPlace place, std::string message, std::string remedy = {});
tl::unexpected<Error> FailAt(const Context& context, YamlPlace place, const Error& error);
proto::Position PositionOf(const Context& context, YamlPlace place);
// what: "'trials'", "an item of 'tags'"; wanted: "a whole number".
tl::unexpected<Error> WrongKind(const Context& context, const YamlNode& node, const std::string& what,
                                const std::string& wanted);

// --- single values ---------------------------------------------------------------------------------------------

Result<std::string> ReadText(const Context& context, const YamlNode& node, const std::string& what,
                             const std::string& wanted = "a text");
Result<int64_t> ReadInteger(const Context& context, const YamlNode& node, const std::string& what, int64_t low,
                            int64_t high);
Result<double> ReadReal(const Context& context, const YamlNode& node, const std::string& what);
Result<bool> ReadBool(const Context& context, const YamlNode& node, const std::string& what);
Result<uint64_t> ReadMilliseconds(const Context& context, const YamlNode& node, const std::string& what);
Result<uint64_t> ReadBytes(const Context& context, const YamlNode& node, const std::string& what);
// A value of a parameter, as the pass will get it: the words of YAML unquoted, a text quoted.
Result<proto::Value> ReadValue(const Context& context, const YamlNode& node, const std::string& what);

// One of a few words.
template <class T, size_t N>
Result<T> ReadWord(const Context& context, const YamlNode& node, const std::string& what,
                   const std::array<std::pair<const char*, T>, N>& words) {
  std::vector<std::string> names;
  for (const auto& [name, value] : words) names.emplace_back(name);
  TRY_ASSIGN(const std::string text, ReadText(context, node, what, "one of " + Join(names, ", ")));
  for (const auto& [name, value] : words) {
    if (text == name) return value;
  }
  return FailAt(
      context, node.place,
      fmt::format("{} must be one of {}, is '{}'{}", what, Join(names, ", "), Shown(text), DidYouMean(text, names)));
}

// --- sections --------------------------------------------------------------------------------------------------

template <class Message>
struct KeyRow {
  const char* key;
  Result<> (*read)(const Context& context, const YamlEntry& entry, Message* message);
};

template <class Message>
using Section = std::vector<KeyRow<Message>>;

template <class Message>
std::vector<std::string> KeysOf(const Section<Message>& rows) {
  std::vector<std::string> keys;
  for (const KeyRow<Message>& row : rows) keys.emplace_back(row.key);
  return keys;
}

// Reads what stands side by side, keys of a map or items of a list; the first mistake is the result. Without
// Context::mistakes it is the end of the reading; with it the others are read too, and each mistake is put there once,
// by the innermost list that it stands in.
template <class List, class Read>
Result<> ReadEach(const Context& context, const List& list, Read read) {
  std::optional<Error> first;
  for (const auto& item : list) {
    const size_t told = context.mistakes == nullptr ? 0 : context.mistakes->count();
    const Result<> result = read(item);
    if (result) continue;
    if (context.mistakes == nullptr) return result;
    if (context.mistakes->count() == told) context.mistakes->Add(result.error());
    if (!first) first = result.error();
  }
  if (first) return Fail(*std::move(first));
  return {};
}

// where: "'data'" or "the recipe".
template <class Message>
Result<> ReadSection(const Context& context, const YamlNode& node, const std::string& where,
                     const Section<Message>& rows, Message* message) {
  const std::vector<std::string> keys = KeysOf(rows);
  if (node.kind != YamlNode::Kind::kMap)
    return WrongKind(context, node, where, fmt::format("a map with the keys {}", Join(keys, ", ")));
  return ReadEach(context, node.entries, [&](const YamlEntry& entry) -> Result<> {
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const KeyRow<Message>& candidate) { return entry.key == candidate.key; });
    if (row == rows.end()) {
      return FailAt(context, entry.place,
                    fmt::format("unknown key {} in {}{}", Quoted(entry.key), where, DidYouMean(entry.key, keys)),
                    "Known here are " + Join(keys, ", "));
    }
    if (entry.value.kind == YamlNode::Kind::kNull) {
      return FailAt(context, entry.place, fmt::format("'{}' has no value", entry.key),
                    "Give it one or leave the key out");
    }
    return row->read(context, entry, message);
  });
}

// nullptr where there is no such key.
const YamlEntry* FindEntry(const YamlNode& node, std::string_view key);
// A list that is not empty.
Result<> CheckList(const Context& context, const YamlEntry& entry, const std::string& wanted);

}  // namespace hone::yaml
