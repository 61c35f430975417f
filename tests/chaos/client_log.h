// What clients and workers asked for and were told: one line an operation's end, as `hone fsck --log` reads it. Only
// what was acknowledged is written; an operation without an answer may have happened or not.
#pragma once

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/file.h"

namespace hone::test {

// Safe from any thread.
class ClientLog {
 public:
  explicit ClientLog(const std::filesystem::path& file) : file_(file), out_(file) {}

  enum class End { ok, fail, info };   // Acknowledged; refused; nobody knows.
  void Count(const std::string& operation, End end) {
    const std::lock_guard lock(mutex_);
    ++counts_[operation][static_cast<size_t>(end)];
  }
  void Acknowledged(const std::string& operation, const nlohmann::json& line) {
    const std::lock_guard lock(mutex_);
    ++counts_[operation][static_cast<size_t>(End::ok)];
    out_ << line.dump() << "\n";
    out_.flush();
  }
  const std::filesystem::path& file() const { return file_; }
  // "report 312 ok 0 fail 41 info; ..."
  std::string Text() {
    const std::lock_guard lock(mutex_);
    std::string text;
    for (const auto& [name, ends] : counts_) {
      text += fmt::format("{}{} {} ok {} fail {} info", text.empty() ? "" : "; ", name, ends[0], ends[1], ends[2]);
    }
    return text;
  }
  uint64_t ok(const std::string& operation) {
    const std::lock_guard lock(mutex_);
    return counts_[operation][0];
  }

 private:
  const std::filesystem::path file_;
  std::mutex mutex_;
  std::ofstream out_;
  std::map<std::string, std::array<uint64_t, 3>> counts_;
};

}  // namespace hone::test
