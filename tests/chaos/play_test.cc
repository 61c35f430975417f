// The same faults and more in one process, where time is ours: clocks that jump, a database that takes nothing more,
// messages that come ten times from somebody else. A play is its seed alone, so a failing one is repeated exactly.
//
//   HONE_PLAYS=1000 HONE_CHAOS_SEED=7 build/release/bin/chaos_tests --gtest_filter='PlayTest.*'
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "common/base/file.h"
#include "tests/fuzz/play.h"
#include "tests/support/setting.h"

namespace hone::test {
namespace {

TEST(PlayTest, WhateverHappensInWhateverOrderNothingIsLostOrDoubled) {
  const uint64_t plays = Setting("HONE_PLAYS", 12);
  const uint64_t first = Setting("HONE_CHAOS_SEED", 1);
  const auto fast = std::filesystem::is_directory("/dev/shm") ? std::filesystem::path("/dev/shm")
                                                              : std::filesystem::temp_directory_path();
  Play::Counts all;
  for (uint64_t seed = first; seed < first + plays; ++seed) {
    auto folder = ScopedFolder::Make(fast, "hone-play-");
    ASSERT_TRUE(folder);
    std::mt19937_64 random(seed);
    std::string bytes(600, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Play play(folder->path());
    play.Run(bytes);
    const std::string trouble = play.Settle();
    ASSERT_EQ(trouble, "") << "HONE_PLAYS=1 HONE_CHAOS_SEED=" << seed << " repeats it";
    all.steps += play.counts().steps;
    all.faults += play.counts().faults;
    all.acknowledged += play.counts().acknowledged;
    all.results += play.counts().results;
  }
  fmt::print("seeds {} to {}: {} steps, {} of them faults; {} acknowledged things, {} of them results\n", first,
             first + plays - 1, all.steps, all.faults, all.acknowledged, all.results);
  EXPECT_GT(all.results, 0U);
}

}  // namespace
}  // namespace hone::test
