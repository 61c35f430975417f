// What became of each value of a configuration. A ledger has a place for every leaf of the tree, and what no rule told
// of is listed when it is closed: nothing can be dropped in silence.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "client/importers/config_tree.h"

namespace hone::importers {

enum class Fate {
  done,        // Stands in the recipe, with the same meaning.
  changed,     // Stands in the recipe in another way, or in another place; the text tells how.
  ignored,     // Makes no difference here; the text tells why.
  impossible,  // hone cannot; the text tells what to do instead.
};
constexpr size_t kFates = 4;
const char* FateName(Fate fate);

struct LedgerRow {
  std::string key;    // The path: "passes.quantize.per_channel".
  std::string value;  // As it was given, shortened.
  Fate fate = Fate::impossible;
  std::string text;
  size_t leaves = 0;  // Values of the configuration that this row stands for.
  uint32_t line = 0;
  bool unknown = false;  // No rule knows the key.
};

struct ImportReport {
  std::vector<LedgerRow> rows;             // In the order of the configuration.
  size_t leaves = 0;                       // Of the configuration; the sum of the rows'.
  std::array<size_t, kFates> counts = {};  // Values by fate; their sum is `leaves`.
  size_t unknown = 0;                      // Rows, of the impossible ones.
  bool Whole() const { return counts[static_cast<size_t>(Fate::impossible)] == 0; }
};

class Ledger {
 public:
  explicit Ledger(const ConfigNode& root) : root_(root), row_of_leaf_(root.leaves, kNone) {}

  // Tells what became of a value and of everything beneath it that nothing was told of yet: details come before the
  // whole.
  void Tell(const ConfigNode& node, Fate fate, std::string text);
  // The same of a key that no rule knows; `known` are those that might have been meant.
  void TellUnknown(const ConfigNode& node, const std::string& key, const std::vector<std::string>& known);
  // Puts right what was told of a value, where a later look at others changed it.
  void Amend(const ConfigNode& node, Fate fate, std::string text);
  // Whether everything beneath was told of.
  bool Told(const ConfigNode& node) const;

  // What is left becomes unknown. Call it once, at the end.
  ImportReport Close();

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  size_t Claim(const ConfigNode& node, size_t row);
  void Sweep(const ConfigNode& node);

  const ConfigNode& root_;
  std::vector<size_t> row_of_leaf_;
  std::vector<LedgerRow> rows_;
};

}  // namespace hone::importers
