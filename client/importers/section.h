// A map of a configuration, read by a table of rules: each key has its rule, and a key without one is told as unknown.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "client/importers/ledger.h"

namespace hone::importers {

struct Field {
  std::string key;
  const ConfigNode* node = nullptr;
};

// The fields of a map. Where the tool lets fields stand either beside a key (`nested`: "config") or in the map beneath
// it, both are fields of the section; the nested one wins over a flat one of the same name, which the ledger is told.
class Section {
 public:
  // kRejected where the node is no map, or what stands under `nested` is neither a map nor null. `what` names it: "pass
  // 'quantize'".
  static Result<Section> Open(const ConfigNode& node, const std::string& what, std::string_view nested, Ledger& ledger);

  const ConfigNode* Find(std::string_view key) const;
  const std::vector<Field>& fields() const { return fields_; }
  const ConfigNode& node() const { return *node_; }
  const std::string& what() const { return what_; }

 private:
  const ConfigNode* node_ = nullptr;
  std::string what_;
  std::vector<Field> fields_;
};

template <class State>
struct Rule {
  const char* key;
  // Takes the value and tells the ledger what became of it. Null: a key that was looked at before the table was
  // applied.
  Result<> (*apply)(State& state, const ConfigNode& value);
};

template <class State>
void AddKeys(const std::vector<Rule<State>>& rules, std::vector<std::string>& keys) {
  for (const Rule<State>& rule : rules) keys.emplace_back(rule.key);
}

// Applies the rules in the order of the section's fields; null is each key's default. State has `Ledger& ledger`.
template <class State>
Result<> ApplyRules(const Section& section, const std::vector<Rule<State>>& rules, State& state) {
  std::vector<std::string> known;
  AddKeys(rules, known);
  for (const Field& field : section.fields()) {
    const auto rule =
        std::find_if(rules.begin(), rules.end(), [&](const Rule<State>& each) { return field.key == each.key; });
    if (rule == rules.end()) {
      state.ledger.TellUnknown(*field.node, field.key, known);
    } else if (field.node->IsNull()) {
      state.ledger.Tell(*field.node, Fate::ignored, "null is the default");
    } else if (rule->apply != nullptr) {
      TRY(rule->apply(state, *field.node));
    }
  }
  return {};
}

// --- values: each kRejected at its place, with the path and what was wanted ----------------------

Result<std::string> TextOf(const ConfigNode& node);
// Also "true", "yes", "on", 1 and their like, which the tools take.
Result<bool> BoolOf(const ConfigNode& node);
Result<int64_t> IntOf(const ConfigNode& node, int64_t least, int64_t most);
Result<double> RealOf(const ConfigNode& node);
// One text, or a list of texts.
Result<std::vector<std::string>> TextsOf(const ConfigNode& node);
Result<std::vector<int64_t>> IntsOf(const ConfigNode& node);
tl::unexpected<Error> WrongKind(const ConfigNode& node, std::string_view wanted);

// In lower case, for words that the tools take in any.
std::string Lower(std::string_view text);

}  // namespace hone::importers
