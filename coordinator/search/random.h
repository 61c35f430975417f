// Chance that is a function of its inputs alone: the same numbers on every machine and library (std's distributions are
// not).
#pragma once

#include <cstdint>

namespace hone {

// SplitMix64's finalizer (Steele, Lea, Flood 2014): a bijection that spreads every bit of its input over all of its
// output.
inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

inline uint64_t MixOf(uint64_t a, uint64_t b, uint64_t c) { return Mix(Mix(Mix(a) ^ b) ^ c); }

// SplitMix64.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    const uint64_t bits = Mix(state_);
    state_ += 0x9e3779b97f4a7c15ull;
    return bits;
  }

  // In [0, 1), a multiple of 2^-53.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// A permutation of [0, size) chosen by the seed, computed point by point: a Feistel network of six rounds over the next
// even number of bits, walked until it falls below size (at most four times the numbers, so about that many steps at
// worst on average).
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed) : size_(size), seed_(seed) {
    while (half_bits_ < 32 && (uint64_t{1} << (2 * half_bits_ - 1)) < size / 2 + size % 2) ++half_bits_;
  }

  // size must not be 0, index must be below it.
  uint64_t operator()(uint64_t index) const {
    do {
      index = Shuffle(index);
    } while (index >= size_);
    return index;
  }

 private:
  uint64_t Shuffle(uint64_t index) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = index >> half_bits_, right = index & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t next = left ^ (MixOf(seed_, round, right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t size_;
  uint64_t seed_;
  unsigned half_bits_ = 1;
};

}  // namespace hone
