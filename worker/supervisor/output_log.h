// The file that a runner's output goes to, kept small while it is written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace hone {

inline constexpr uint64_t kOutputTailBytes = 64 << 10;

// The writer has the file open for appending. One thread at a time.
class OutputLog {
 public:
  OutputLog(std::filesystem::path path, uint64_t max_bytes) : path_(std::move(path)), max_bytes_(max_bytes) {}

  // Empties the file when it has grown past the bound; its end is kept in memory.
  void Bound();
  // The last kOutputTailBytes that were written, over all.
  std::string Tail() const;
  // All that was written until the last Bound.
  uint64_t written_bytes() const { return emptied_bytes_ + present_bytes_; }

 private:
  const std::filesystem::path path_;
  const uint64_t max_bytes_;
  std::string kept_;
  uint64_t emptied_bytes_ = 0;
  uint64_t present_bytes_ = 0;
};

}  // namespace hone
