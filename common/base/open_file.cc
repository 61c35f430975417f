#include "common/base/open_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <vector>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// One part at a time, following no link. A racer who swaps a part between two steps is still beneath the folder that
// was opened.
Descriptor OpenByParts(int folder, const std::string& relative, int flags) {
  const std::vector<std::string> parts = Split(relative, '/');
  const bool leads_out = relative.empty() || std::any_of(parts.begin(), parts.end(),
                                                         [](const auto& part) { return part.empty() || part == ".."; });
  if (leads_out) {
    errno = EXDEV;
    return {};
  }
  Descriptor here(openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (size_t i = 0; i + 1 < parts.size() && here; ++i) {
    here = Descriptor(openat(here.get(), parts[i].c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!here) return {};
  Descriptor last(openat(here.get(), parts.back().c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  // With O_PATH a link itself is opened.
  struct stat status {};
  if (!last || (flags & O_PATH) == 0 || (fstat(last.get(), &status) == 0 && !S_ISLNK(status.st_mode))) return last;
  errno = ELOOP;
  return {};
}

// Whether the path still names the open file and is its only name. A file that lost its other name between open and
// fstat has one name too, but not this one; to pass, a racer would have to give it back and take it away again within
// each of these looks.
bool IsOnlyName(int folder, const std::string& relative, const struct stat& opened) {
  constexpr int kLooks = 3;
  for (int look = 0; look < kLooks; ++look) {
    const Descriptor again = OpenBeneath(folder, relative, O_PATH);
    struct stat status {};
    if (!again || fstat(again.get(), &status) != 0) return false;
    if (status.st_dev != opened.st_dev || status.st_ino != opened.st_ino || status.st_nlink != 1) return false;
  }
  return true;
}

}  // namespace

void Descriptor::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::filesystem::path FolderOf(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::string UniqueName() {
  uint64_t bits = 0;
  // getrandom fails only before the kernel's pool is ready or under an odd filter; the library's source serves then.
  if (getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    std::random_device device;
    bits = static_cast<uint64_t>(device()) << 32 | device();
  }
  return fmt::format(".hone-{:016x}", bits);
}

Result<RegularFile> OpenRegular(const std::filesystem::path& path, Links links) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (links == Links::refuse ? O_NOFOLLOW : 0);
  Descriptor descriptor(open(path.c_str(), flags));
  if (!descriptor) {
    if (errno == ELOOP && links == Links::refuse) {
      return Fail(ErrorCode::kRejected, fmt::format("open {}: it is a symbolic link", path.string()),
                  "Give the file itself");
    }
    if (errno == ENXIO)
      return Fail(ErrorCode::kRejected, fmt::format("open {}: it is not a regular file", path.string()));
    return Fail(ErrnoError("open", path, errno));
  }
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return Fail(ErrnoError("stat", path, errno));
  if (S_ISDIR(status.st_mode))
    return Fail(ErrorCode::kRejected, fmt::format("open {}: it is a folder, not a file", path.string()));
  if (!S_ISREG(status.st_mode))
    return Fail(ErrorCode::kRejected, fmt::format("open {}: it is not a regular file", path.string()));
  return RegularFile{std::move(descriptor), static_cast<uint64_t>(status.st_size), status.st_mode & 07777u};
}

Descriptor OpenBeneath(int folder, const std::string& relative, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  constexpr int kAttempts = 128;  // EAGAIN: something was renamed meanwhile.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Descriptor opened(static_cast<int>(syscall(SYS_openat2, folder, relative.c_str(), &how, sizeof how)));
    if (opened) return opened;
    if (errno == ENOSYS || errno == EPERM || errno == EINVAL || errno == E2BIG)
      return OpenByParts(folder, relative, flags);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return {};
}

Result<RegularFile> OpenRegularBeneath(int folder, const std::string& relative, HardLinks hard_links,
                                       const std::filesystem::path& root) {
  const std::string name = Printable((root / relative).string(), 400);
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  Descriptor descriptor = OpenBeneath(folder, relative, O_RDONLY | O_NONBLOCK);
  if (!descriptor) {
    const int error = errno;
    if (error == ELOOP || error == EXDEV || error == ENOTDIR) {
      return Fail(ErrorCode::kRejected, fmt::format("{} is reached through a link or lies outside its folder", name),
                  "Put the file itself in its place");
    }
    if (error == ENXIO) return Fail(ErrorCode::kRejected, fmt::format("{} is not a regular file", name));
    return Fail(ErrnoError("open", name, error));
  }
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return Fail(ErrnoError("stat", name, errno));
  if (!S_ISREG(status.st_mode)) return Fail(ErrorCode::kRejected, fmt::format("{} is not a regular file", name));
  if (hard_links == HardLinks::refuse && status.st_nlink != 1) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} has {} names (hard links): it may be another's file", name, status.st_nlink),
                "Put a copy in its place");
  }
  if (hard_links == HardLinks::refuse && !IsOnlyName(folder, relative, status)) {
    return Fail(ErrorCode::kRejected, fmt::format("{} was replaced while it was opened", name),
                "Leave the folder alone meanwhile");
  }
  return RegularFile{std::move(descriptor), static_cast<uint64_t>(status.st_size), status.st_mode & 07777u};
}

Result<size_t> ReadSome(int fd, char* buffer, size_t bytes, const std::filesystem::path& path) {
  while (true) {
    const ssize_t count = read(fd, buffer, bytes);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return Fail(ErrnoError("read", path, errno));
  }
}

Result<> WriteAll(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(ErrnoError("write", path, errno));
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Result<> WriteAllAt(int fd, uint64_t offset, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(ErrnoError("write", path, errno));
    bytes.remove_prefix(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<> SyncFolder(const std::filesystem::path& folder) {
  const Descriptor descriptor(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor) return Fail(ErrnoError("open folder", folder, errno));
  // Some file systems cannot sync a folder and say EINVAL: there is nothing more to do on them.
  if (fsync(descriptor.get()) != 0 && errno != EINVAL) return Fail(ErrnoError("sync folder", folder, errno));
  return {};
}

Result<TemporaryFile> TemporaryFile::Make(const std::filesystem::path& folder) {
  constexpr int kAttempts = 16;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::filesystem::path path = folder / (UniqueName() + ".tmp");
    Descriptor descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (descriptor) return TemporaryFile(std::move(descriptor), std::move(path));
    if (errno != EEXIST && errno != EINTR) return Fail(ErrnoError("create a file in", folder, errno));
  }
  return Fail(ErrorCode::kFailed, fmt::format("create a file in {}: every name was taken", folder.string()));
}

TemporaryFile::~TemporaryFile() {
  if (descriptor_) unlink(path_.c_str());
}

Result<> TemporaryFile::Sync() {
  if (fsync(descriptor_.get()) != 0) return Fail(ErrnoError("sync", path_, errno));
  return {};
}

Result<> TemporaryFile::Commit(const std::filesystem::path& target) {
  if (rename(path_.c_str(), target.c_str()) != 0) return Fail(ErrnoError("write", target, errno));
  // rename(2) leaves both names where they already are links to one file.
  unlink(path_.c_str());
  descriptor_.Close();
  return {};
}

}  // namespace hone
