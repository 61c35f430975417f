// Numbers that the environment gives to a test: how long it soaks, which seed it takes.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace hone::test {

inline uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace hone::test
