// Room kept for bad days: a file in the data folder that is given up when the disk runs low, so that the results of
// running trials are stored after everybody else has filled it. While it is gone nothing new is taken. It comes back
// when there is room again.
//
//   full reserve  --free space below the low water, or a refused write-->  spent  --room for the reserve and twice the
//   low water-->  full
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/base/result.h"

namespace hone {

// One thread at a time.
class Ballast {
 public:
  // Bytes that this user may still write on the disk of a folder; kFailed if the system does not say.
  using FreeSpace = std::function<Result<uint64_t>(const std::filesystem::path&)>;
  static Result<uint64_t> FreeOnDisk(const std::filesystem::path& folder);

  // Takes the reserve, or what an earlier life left of it; where there is no room for it, it counts as spent. bytes 0:
  // no reserve, and nothing is ever refused.
  Ballast(std::filesystem::path folder, uint64_t bytes, FreeSpace free_space = FreeOnDisk);
  // Removes the file: a coordinator that does not run needs no reserve.
  ~Ballast();
  Ballast(const Ballast&) = delete;
  Ballast& operator=(const Ballast&) = delete;

  // For a start on a full disk: removes what an earlier life left in the folder. False where there was nothing.
  static bool GiveUp(const std::filesystem::path& folder);

  // Looks at the disk, at most once in kLookMs; call it every round.
  void Tend(int64_t now_ms);
  // A write was refused for want of space.
  void Spend(int64_t now_ms);

  // Nothing new may be taken.
  bool spent() const { return spent_; }
  // Why, for those who are refused; "" while the reserve is there.
  std::string Reason() const;

  static constexpr int64_t kLookMs = 1000;
  // A quarter of the reserve.
  uint64_t low_water_bytes() const { return bytes_ / 4; }

 private:
  std::filesystem::path path() const { return folder_ / "reserve"; }
  bool Fill();
  void Release(uint64_t free_bytes);

  const std::filesystem::path folder_;
  const uint64_t bytes_;
  const FreeSpace free_space_;
  bool spent_ = false;
  uint64_t free_bytes_ = 0;          // When it was spent or last looked at.
  int64_t looked_ms_ = 0;
  bool looked_ = false;
};

}  // namespace hone
