#include "client/importers/ledger.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/strings.h"

namespace hone::importers {

const char* FateName(Fate fate) {
  static constexpr const char* kNames[kFates] = {"done", "changed", "ignored", "impossible"};
  return kNames[static_cast<size_t>(fate)];
}

size_t Ledger::Claim(const ConfigNode& node, size_t row) {
  size_t claimed = 0;
  for (size_t leaf = node.first_leaf; leaf < node.first_leaf + node.leaves; ++leaf) {
    if (row_of_leaf_[leaf] != kNone) continue;
    row_of_leaf_[leaf] = row;
    ++claimed;
  }
  return claimed;
}

void Ledger::Tell(const ConfigNode& node, Fate fate, std::string text) {
  const size_t leaves = Claim(node, rows_.size());
  if (leaves == 0) return;
  rows_.push_back({node.path, ValueText(node), fate, std::move(text), leaves, node.line, false});
}

void Ledger::TellUnknown(const ConfigNode& node, const std::string& key, const std::vector<std::string>& known) {
  if (Told(node)) return;
  Tell(node, Fate::impossible, fmt::format("unknown key{}", DidYouMean(key, known)));
  rows_.back().unknown = true;
}

void Ledger::Amend(const ConfigNode& node, Fate fate, std::string text) {
  const size_t row = row_of_leaf_[node.first_leaf];
  if (row == kNone) return Tell(node, fate, std::move(text));
  rows_[row].fate = fate;
  rows_[row].text = std::move(text);
}

bool Ledger::Told(const ConfigNode& node) const {
  const auto begin = row_of_leaf_.begin() + static_cast<std::ptrdiff_t>(node.first_leaf);
  return std::none_of(begin, begin + static_cast<std::ptrdiff_t>(node.leaves), [](size_t row) { return row == kNone; });
}

void Ledger::Sweep(const ConfigNode& node) {
  if (Told(node)) return;
  const bool untouched = [&] {
    for (size_t leaf = node.first_leaf; leaf < node.first_leaf + node.leaves; ++leaf) {
      if (row_of_leaf_[leaf] != kNone) return false;
    }
    return true;
  }();
  // The largest part that nobody looked at is one row.
  if (untouched && &node != &root_) {
    TellUnknown(node, node.path, {});
    return;
  }
  for (const ConfigNode& item : node.items) Sweep(item);
  for (const ConfigEntry& entry : node.entries) Sweep(entry.value);
  if (node.items.empty() && node.entries.empty()) TellUnknown(node, node.path, {});
}

ImportReport Ledger::Close() {
  Sweep(root_);
  std::vector<size_t> first(rows_.size(), kNone);
  for (size_t leaf = row_of_leaf_.size(); leaf-- > 0;) first[row_of_leaf_[leaf]] = leaf;
  std::vector<size_t> order(rows_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return first[a] < first[b]; });
  ImportReport report;
  for (const size_t index : order) {
    const LedgerRow& row = rows_[index];
    report.leaves += row.leaves;
    report.counts[static_cast<size_t>(row.fate)] += row.leaves;
    report.unknown += row.unknown ? 1 : 0;
    report.rows.push_back(row);
  }
  return report;
}

}  // namespace hone::importers
