// A disk of a few megabytes that a test may fill. It is mounted in a mount namespace of this process (and the children
// it starts afterwards), and goes with it; only root may do so.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace hone::test {

class SmallDisk {
 public:
  // Call it before the process has other threads.
  SmallDisk(const std::filesystem::path& at, unsigned megabytes) : at_(at) {
    std::filesystem::create_directories(at_);
    const std::string size = "size=" + std::to_string(megabytes) + "m";
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("hone-test", at_.c_str(), "tmpfs", 0, size.c_str()) != 0) {
      why_ = std::strerror(errno);
    }
  }
  ~SmallDisk() {
    if (mounted()) ::umount2(at_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return why_.empty(); }
  const std::string& why() const { return why_; }     // Why it could not be mounted.

  // Takes what is left.
  void Fill() const {
    for (const size_t bytes : {size_t{64} << 10, size_t{4096}, size_t{1}}) {
      std::ofstream out(at_ / "filler", std::ios::app | std::ios::binary);
      const std::string block(bytes, 'f');
      while (out.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
      }
    }
  }
  void Free() const { std::filesystem::remove(at_ / "filler"); }

 private:
  const std::filesystem::path at_;
  std::string why_;
};

}  // namespace hone::test
