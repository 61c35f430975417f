// Points with several values, all to be minimized: which dominate which, and how much room they cover together. NaN
// counts as +infinity.
#pragma once

#include <cstddef>
#include <vector>

namespace hone {

using Values = std::vector<double>;

// The layer of each point: 0 is the Pareto front, 1 the front of the rest, and so on. Equal points share a layer.
// Layers are told apart until at least `enough` points have one; all others get the next number.
std::vector<size_t> NonDominationRanks(const std::vector<Values>& points, size_t enough);

// max(1.1 w, 0.9 w) of the worst value w in each direction; 1e-12 where that is 0. points must not be empty.
Values ReferencePointOf(const std::vector<Values>& points);

// Volume between the points and the reference point; points beyond the reference in any direction cover nothing.
double Hypervolume(const std::vector<Values>& points, const Values& reference);

// Indices of `count` points that cover much volume together, chosen one at a time by what each adds (a 1 - 1/e
// approximation; Guerreiro, Fonseca, Paquete 2016). The points must not dominate one another. Order of selection; of
// points that add the same, the first in lexicographic order.
std::vector<size_t> SelectByHypervolume(const std::vector<Values>& points, size_t count, const Values& reference);

}  // namespace hone
