// What is fed with hostile bytes: one row a parser or conversation. A target that returns has held; it aborts, or a
// sanitizer does, where it has not.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hone::test {

struct FuzzTarget {
  const char* name;
  // `folder` is an empty folder for the target's files; it is kept between inputs.
  void (*run)(std::string_view bytes, const std::filesystem::path& folder);
  // Valid inputs to begin with, beside those in tests/fuzz/corpus/<name>.
  std::vector<std::string> (*seeds)(const std::filesystem::path& folder);
};
std::span<const FuzzTarget> FuzzTargets();

}  // namespace hone::test
