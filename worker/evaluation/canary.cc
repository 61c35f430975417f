// A walk through a table of 256 KiB in an order that each step learns from the table, with a multiplication in between:
// every step waits for the one before, so the time is that of the processor's clock and of its second-level cache, and
// no compiler or wider vector unit changes it. Constants and lengths are part of the series' meaning and must stay.
#include "worker/evaluation/canary.h"

#include <chrono>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>

namespace hone {
namespace {

constexpr size_t kEntries = size_t{1} << 16;
constexpr uint32_t kSteps = 150'000;
constexpr int kRuns = 3;

// One cycle through all entries (Sattolo's shuffle of a fixed seed).
std::vector<uint32_t> MakeTable() {
  std::vector<uint32_t> table(kEntries);
  std::iota(table.begin(), table.end(), 0u);
  std::mt19937 random(20'26);
  for (size_t i = kEntries - 1; i > 0; --i) std::swap(table[i], table[random() % i]);
  return table;
}

uint64_t Walk(const std::vector<uint32_t>& table) {
  uint64_t sum = 1;
  uint32_t place = 0;
  for (uint32_t step = 0; step < kSteps; ++step) {
    sum = sum * 6364136223846793005u + place;
    place = table[(place ^ static_cast<uint32_t>(sum >> 63)) & (kEntries - 1)];
  }
  return sum;
}

}  // namespace

std::vector<double> CanaryTimes() {
  const std::vector<uint32_t> table = MakeTable();
  volatile uint64_t kept = Walk(table);  // Warms the cache; the result is wanted, so that nothing is left out.
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    kept = Walk(table);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  (void)kept;
  return times;
}

}  // namespace hone
