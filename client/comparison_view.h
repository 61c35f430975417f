// Two trials side by side, for people and scripts: by what is stored of them, or measured again against each other.
#pragma once

#include <string>

#include "client/fresh_comparison.h"
#include "common/results/explanation.h"

namespace hone {

// Of two that were measured against each other again.
Comparison CompareFresh(const FreshComparison& fresh);

// hone.compare/1; `fresh` (else nullptr) where both were measured again.
Json SideBySideJson(const NamedTrial& a, const NamedTrial& b, const FreshComparison* fresh);
// Figures with their intervals, in at most `width` columns (0: any).
std::string SideBySideText(const NamedTrial& a, const NamedTrial& b, const FreshComparison* fresh, size_t width);

}  // namespace hone
