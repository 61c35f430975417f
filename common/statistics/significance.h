// Tests of paired samples, and what is left of many tests at once.
#pragma once

#include <vector>

namespace hone {

// Two-sided p of the signed-rank test that differences are symmetric about zero (Wilcoxon 1945). Zeros are left out,
// ties share their mean rank. Exact up to 200 differences, normal above; 1 where nothing differs.
double SignedRankP(const std::vector<double>& differences);
// Two-sided exact p that a difference is as often above zero as below (McNemar's test for samples that are 0 or 1).
double SignP(const std::vector<double>& differences);

// Benjamini & Hochberg 1995: which of the hypotheses are rejected so that the expected share of false ones among them
// is at most q.
std::vector<bool> BenjaminiHochberg(const std::vector<double>& p_values, double q);
// The smallest q at which each would be rejected.
std::vector<double> AdjustedP(const std::vector<double>& p_values);

}  // namespace hone
