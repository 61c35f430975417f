// How well workers confine their work, as recipes ask for it and workers advertise it with a tag: "sandbox=partial".
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace hone {

// Each holds what the one before it holds, and more.
inline constexpr std::array<std::string_view, 3> kSandboxLevels = {"none", "partial", "full"};
inline constexpr std::string_view kSandboxTag = "sandbox=";

// The place of a level among them; nullopt for another word.
inline std::optional<size_t> SandboxRank(std::string_view level) {
  const auto found = std::find(kSandboxLevels.begin(), kSandboxLevels.end(), level);
  return found == kSandboxLevels.end() ? std::nullopt : std::optional<size_t>(found - kSandboxLevels.begin());
}

// The level that a worker with these tags has; a worker that says nothing has none.
template <class Tags>
std::string_view SandboxOf(const Tags& tags) {
  for (const std::string_view tag : tags) {
    if (tag.substr(0, kSandboxTag.size()) == kSandboxTag) return tag.substr(kSandboxTag.size());
  }
  return kSandboxLevels.front();
}

// Whether a worker with these tags has the one that is asked for. A higher sandbox level serves where a lower one is
// asked for.
template <class Tags>
bool HasTag(const Tags& tags, std::string_view tag) {
  if (std::find(tags.begin(), tags.end(), tag) != tags.end()) return true;
  if (tag.substr(0, kSandboxTag.size()) != kSandboxTag) return false;
  const auto asked = SandboxRank(tag.substr(kSandboxTag.size())), there = SandboxRank(SandboxOf(tags));
  return asked && there && *there >= *asked;
}

}  // namespace hone
