// Open descriptors that close themselves, and files that appear whole or not at all: what file, digest, store and
// transfers share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/result.h"

namespace hone {

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

enum class Links { follow, refuse };  // Of the last part of a path.

struct RegularFile {
  Descriptor descriptor;
  uint64_t size_bytes = 0;
  uint32_t mode = 0;
};
// Opens for reading without ever blocking. kNotFound if it is not there; kRejected for a folder, a special file, or
// (with Links::refuse) a link.
Result<RegularFile> OpenRegular(const std::filesystem::path& path, Links links = Links::follow);

// Opens a relative path beneath an open folder with `flags` (O_CLOEXEC is added). No part of the path may be a link and
// none may lead out: the kernel resolves it (openat2); where it lacks that, part by part. An invalid descriptor with
// errno on failure: ELOOP, EXDEV or ENOTDIR for a link or a way out.
Descriptor OpenBeneath(int folder, const std::string& relative, int flags);

enum class HardLinks { allow, refuse };
// A file for reading by OpenBeneath, without ever blocking. `root` and the path are for errors alone. kNotFound if it
// is not there; kRejected for a link, a folder, a special file, or (with HardLinks::refuse) a file that has other
// names: its bytes may be another's.
Result<RegularFile> OpenRegularBeneath(int folder, const std::string& relative, HardLinks hard_links,
                                       const std::filesystem::path& root = {});

// Reads at most `bytes` from the present position into `buffer`; 0 only at the end. path is for the error alone.
Result<size_t> ReadSome(int fd, char* buffer, size_t bytes, const std::filesystem::path& path);
Result<> WriteAll(int fd, std::string_view bytes, const std::filesystem::path& path);
// At an offset; the position stays.
Result<> WriteAllAt(int fd, uint64_t offset, std::string_view bytes, const std::filesystem::path& path);

// Makes the entries of a folder durable (fsync on it).
Result<> SyncFolder(const std::filesystem::path& folder);

// A new file under a name of its own that is removed again unless it was committed.
class TemporaryFile {
 public:
  // Mode as umask gives it for 0666.
  static Result<TemporaryFile> Make(const std::filesystem::path& folder);
  ~TemporaryFile();
  TemporaryFile(TemporaryFile&& other) noexcept = default;
  TemporaryFile& operator=(TemporaryFile&& other) noexcept = delete;

  int fd() const { return descriptor_.get(); }
  const std::filesystem::path& path() const { return path_; }
  // fsync.
  Result<> Sync();
  // Renames over the target and closes.
  Result<> Commit(const std::filesystem::path& target);

 private:
  TemporaryFile(Descriptor descriptor, std::filesystem::path path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}
  Descriptor descriptor_;
  std::filesystem::path path_;
};

// A name nobody else has: ".hone-" and 16 random hexadecimal digits.
std::string UniqueName();

// "." for a path without folder, so that it can be opened.
std::filesystem::path FolderOf(const std::filesystem::path& path);

}  // namespace hone
