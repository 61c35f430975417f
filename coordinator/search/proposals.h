// Ways to a next candidate, each a point that no trial has.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/search/random.h"
#include "coordinator/search/study_memory.h"

namespace hone {

// Spaces below this size number their candidates; in larger ones independent draws hardly ever meet.
constexpr uint64_t kMaxNumbered = uint64_t{1} << 61;

// A number for this use of chance in this trial.
uint64_t SeedOf(uint64_t study_seed, uint64_t salt, uint64_t trial);

// Every candidate equally likely. nullopt only where a finite space is used up, or of an infinite one nothing new was
// drawn.
std::optional<Point> Untried(const StudyMemory& memory, uint64_t study_seed, uint64_t trial);

// The feasible trials that no other dominates; where nothing is feasible, the one with the least violation; empty where
// nothing ended.
std::vector<const TrialRow*> Parents(const StudyMemory& memory);

// One of the parents with one or two dimensions changed; more where all such neighbours are taken. nullopt where chance
// found none.
std::optional<Point> Mutated(const StudyMemory& memory, const std::vector<const TrialRow*>& parents, Rng& rng);

// Changes one dimension of the point that has another value to take: an ordered one mostly by a step or two. False
// where there is none.
bool MutateOnce(const CodedSpace& space, Point& point, Rng& rng);

// A trial among the parents of a wave.
struct Member {
  const TrialRow* row = nullptr;
  size_t layer = 0;  // Smaller is better: feasible layers, then infeasible trials by violation, then failed ones.
  double crowding = 0;
};
// The best `size` trials with numbers below `before`, as NSGA-II selects them.
std::vector<Member> Population(const StudyMemory& memory, uint64_t before, size_t size);
// A child of NSGA-II (Deb, Pratap, Agarwal, Meyarivan 2002): two parents by binary tournament over layers and crowding,
// uniform crossover, mutation of each dimension with chance 1/d. nullopt where chance found no new one.
std::optional<Point> Bred(const StudyMemory& memory, const std::vector<Member>& population, Rng& rng);

// By how much room a point has on its front, for points of one front; infinite at the ends.
std::vector<double> CrowdingOf(const std::vector<std::vector<double>>& front);

}  // namespace hone
