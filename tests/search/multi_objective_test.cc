#include "coordinator/search/multi_objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "coordinator/search/proposals.h"
#include "coordinator/search/random.h"

namespace hone {
namespace {

using ::testing::ElementsAre;

std::vector<Values> Chance(size_t count, size_t objectives, uint64_t seed, int grid = 0) {
  Rng rng(seed);
  std::vector<Values> points(count, Values(objectives));
  for (Values& point : points) {
    for (double& value : point) value = grid > 0 ? std::floor(rng.Uniform() * grid) : rng.Uniform();
  }
  return points;
}

bool Beats(const Values& a, const Values& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

// By the definition: a layer is what nothing of the rest dominates.
std::vector<size_t> PlainRanks(const std::vector<Values>& points) {
  std::vector<size_t> ranks(points.size(), SIZE_MAX);
  for (size_t rank = 0, ranked = 0; ranked < points.size(); ++rank) {
    std::vector<size_t> layer;
    for (size_t i = 0; i < points.size(); ++i) {
      if (ranks[i] != SIZE_MAX) continue;
      bool beaten = false;
      for (size_t j = 0; j < points.size(); ++j)
        beaten = beaten || (ranks[j] == SIZE_MAX && Beats(points[j], points[i]));
      if (!beaten) layer.push_back(i);
    }
    for (const size_t i : layer) ranks[i] = rank;
    ranked += layer.size();
  }
  return ranks;
}

TEST(NonDominationTest, LayersAreThoseOfTheDefinition) {
  for (const size_t objectives : {1, 2, 3, 4}) {
    for (const int grid : {0, 4}) {
      for (uint64_t seed = 0; seed < 20; ++seed) {
        const auto points = Chance(60, objectives, seed, grid);
        EXPECT_EQ(NonDominationRanks(points, 60), PlainRanks(points)) << objectives << " " << grid << " " << seed;
      }
    }
  }
}

TEST(NonDominationTest, EnoughStopsWithTheLayerThatReachesIt) {
  const auto ranks = NonDominationRanks({{1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4}}, 2);
  EXPECT_THAT(ranks, ElementsAre(0, 1, 2, 2));
}

TEST(NonDominationTest, NanIsWorst) {
  EXPECT_THAT(NonDominationRanks({{1, std::nan("")}, {1, 2}}, 2), ElementsAre(1, 0));
  EXPECT_THAT(NonDominationRanks({{1, std::nan(""), 0}, {1, 2, 0}}, 2), ElementsAre(1, 0));
}

TEST(HypervolumeTest, KnownVolumes) {
  EXPECT_DOUBLE_EQ(Hypervolume({{1, 1}}, {3, 2}), 2);
  EXPECT_DOUBLE_EQ(Hypervolume({{0, 2}, {1, 1}, {2, 0}}, {3, 3}), 6);
  EXPECT_DOUBLE_EQ(Hypervolume({{1, 1}, {1, 1}, {2, 2}}, {3, 3}), 4);
  EXPECT_DOUBLE_EQ(Hypervolume({{0, 0, 0}}, {2, 3, 4}), 24);
  EXPECT_DOUBLE_EQ(Hypervolume({{0, 0, 1}, {0, 1, 0}, {1, 0, 0}}, {2, 2, 2}), 7);
  EXPECT_DOUBLE_EQ(Hypervolume({{4, 0}, {std::nan(""), 0}}, {3, 3}), 0);
  EXPECT_DOUBLE_EQ(Hypervolume({}, {1, 1}), 0);
}

// The share of a lattice's centres that a point covers.
double CountedVolume(const std::vector<Values>& points, size_t objectives, int grid) {
  int covered = 0, total = 1;
  for (size_t i = 0; i < objectives; ++i) total *= grid;
  for (int cell = 0; cell < total; ++cell) {
    Values centre;
    for (int i = 0, rest = cell; i < static_cast<int>(objectives); ++i, rest /= grid)
      centre.push_back(rest % grid + 0.5);
    covered += std::any_of(points.begin(), points.end(), [&](const Values& point) {
      for (size_t i = 0; i < objectives; ++i) {
        if (point[i] > centre[i]) return false;
      }
      return true;
    });
  }
  return covered;
}

TEST(HypervolumeTest, VolumesOfLatticePointsAreCounted) {
  for (const size_t objectives : {1, 2, 3, 4}) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      const auto points = Chance(8, objectives, seed, 6);
      EXPECT_NEAR(Hypervolume(points, Values(objectives, 6)), CountedVolume(points, objectives, 6), 1e-9);
    }
  }
}

TEST(HypervolumeTest, SelectionIsGreedy) {
  for (const size_t objectives : {2, 3}) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      auto points = Chance(40, objectives, seed);
      const auto ranks = NonDominationRanks(points, 1);
      std::vector<Values> front;
      for (size_t i = 0; i < points.size(); ++i) {
        if (ranks[i] == 0) front.push_back(points[i]);
      }
      const Values reference(objectives, 1.1);
      const size_t count = front.size() / 2;
      std::vector<Values> chosen;
      for (const size_t i : SelectByHypervolume(front, count, reference)) {
        const double before = Hypervolume(chosen, reference);
        double most = 0;
        for (const Values& other : front) {
          auto with = chosen;
          with.push_back(other);
          most = std::max(most, Hypervolume(with, reference) - before);
        }
        chosen.push_back(front[i]);
        EXPECT_NEAR(Hypervolume(chosen, reference) - before, most, 1e-12);
      }
    }
  }
}

TEST(HypervolumeTest, CopiesFillUpWhatDifferentPointsLeave) {
  EXPECT_THAT(SelectByHypervolume({{1, 2}, {1, 2}, {2, 1}, {2, 1}}, 3, {3, 3}), ElementsAre(0, 1, 2));
  EXPECT_EQ(SelectByHypervolume({{1, 2}, {2, 1}}, 5, {3, 3}).size(), 2u);
}

TEST(CrowdingTest, EndsAreInfiniteAndGapsAdd) {
  const auto crowding = CrowdingOf({{0, 4}, {1, 2}, {4, 0}});
  EXPECT_TRUE(std::isinf(crowding[0]));
  EXPECT_DOUBLE_EQ(crowding[1], 2);
  EXPECT_TRUE(std::isinf(crowding[2]));
}

}  // namespace
}  // namespace hone
