// Everything new is written under folder/partial and gets its final name by a rename, after its bytes were hashed,
// synced and made read-only. So a name under folder/ab/cd always means whole and verified bytes, whatever process died
// when.
//
// A partial upload is one file named for its digest. flock(2) on it keeps two processes from appending at once; the
// winner of a race renames the file away, which the other sees because the name no longer leads to the inode it locked.
#include "common/artifact/file_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <vector>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr size_t kBufferBytes = 1 << 20;
// A partial upload nobody continued for this long, or a temporary of a process that died, is removed when the store
// opens.
constexpr std::chrono::hours kPartialLife{24 * 7};

std::string Hex(const std::string& digest) { return digest.substr(kDigestPrefix.size()); }

Error NotFound(const std::string& digest) {
  return Error{ErrorCode::kNotFound, fmt::format("artifact {} is not in the store", Printable(digest, 80))};
}

Result<> CheckDigest(const std::string& digest) {
  if (IsDigest(digest)) return {};
  return Fail(ErrorCode::kRejected, fmt::format("'{}' is not a digest", Printable(digest, 80)),
              "A digest is sha256: and 64 lower-case hexadecimal digits");
}

void RemoveOldPartials(const fs::path& folder) {
  std::error_code error;
  const auto oldest = fs::file_time_type::clock::now() - kPartialLife;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code own;
    if (entry->last_write_time(own) < oldest && !own) fs::remove(entry->path(), own);
  }
}

// Creates one folder; a new one is durable in its parent.
Result<> MakeDurableFolder(const fs::path& folder) {
  if (mkdir(folder.c_str(), 0777) == 0) return SyncFolder(folder.parent_path());
  if (errno != EEXIST) return Fail(ErrnoError("create folder", folder, errno));
  return {};
}

Result<> MakePlace(const fs::path& target) {
  TRY(MakeDurableFolder(target.parent_path().parent_path()));
  return MakeDurableFolder(target.parent_path());
}

// An open partial upload, locked against other processes.
struct Partial {
  Descriptor descriptor;
  fs::path path;
  uint64_t held = 0;

  Result<> Truncate(uint64_t size_bytes) {
    if (ftruncate(descriptor.get(), static_cast<off_t>(size_bytes)) != 0)
      return Fail(ErrnoError("truncate", path, errno));
    held = size_bytes;
    return {};
  }
};

bool IsSameFile(int fd, const fs::path& path) {
  struct stat opened {}, named {};
  return fstat(fd, &opened) == 0 && lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

Result<Partial> OpenPartial(const fs::path& path) {
  while (true) {
    Partial partial{Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)), path};
    if (!partial.descriptor) return Fail(ErrnoError("open partial upload", path, errno));
    while (flock(partial.descriptor.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return Fail(ErrnoError("lock partial upload", path, errno));
    }
    // Another process may have completed or dropped it while we waited.
    if (!IsSameFile(partial.descriptor.get(), path)) continue;
    struct stat status {};
    if (fstat(partial.descriptor.get(), &status) != 0) return Fail(ErrnoError("stat partial upload", path, errno));
    partial.held = static_cast<uint64_t>(status.st_size);
    return partial;
  }
}

// Makes the bytes durable and read-only, then gives them their name.
Result<> Publish(int fd, const fs::path& path, const fs::path& target) {
  if (fchmod(fd, 0444) != 0) return Fail(ErrnoError("set the mode of", path, errno));
  if (fsync(fd) != 0) return Fail(ErrnoError("sync", path, errno));
  TRY(MakePlace(target));
  if (rename(path.c_str(), target.c_str()) != 0) return Fail(ErrnoError("rename to", target, errno));
  return SyncFolder(target.parent_path());
}

Result<std::string> HashWhile(int from, const fs::path& from_path, int to, const fs::path& to_path) {
  Hasher hasher;
  std::vector<char> buffer(kBufferBytes);
  while (true) {
    TRY_ASSIGN(const size_t count, ReadSome(from, buffer.data(), buffer.size(), from_path));
    if (count == 0) return hasher.Finish();
    hasher.Update({buffer.data(), count});
    TRY(WriteAll(to, {buffer.data(), count}, to_path));
  }
}

}  // namespace

Result<FileStore> FileStore::Open(const fs::path& folder) {
  TRY(MakeFolder(folder / "partial"));
  RemoveOldPartials(folder / "partial");
  return FileStore(fs::absolute(folder));
}

fs::path FileStore::PathOf(const std::string& digest) const {
  if (!IsDigest(digest)) return {};
  const std::string hex = Hex(digest);
  return folder_ / hex.substr(0, 2) / hex.substr(2, 2) / hex;
}

bool FileStore::Has(const std::string& digest) const {
  struct stat status {};
  return IsDigest(digest) && lstat(PathOf(digest).c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Result<uint64_t> FileStore::Size(const std::string& digest) const {
  struct stat status {};
  if (!IsDigest(digest) || lstat(PathOf(digest).c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    return Fail(NotFound(digest));
  return static_cast<uint64_t>(status.st_size);
}

Result<std::string> FileStore::Read(const std::string& digest, uint64_t offset, uint64_t max_bytes) const {
  if (!Has(digest)) return Fail(NotFound(digest));
  const fs::path path = PathOf(digest);
  TRY_ASSIGN(const RegularFile file, OpenRegular(path, Links::refuse));
  if (offset > file.size_bytes) {
    return Fail(ErrorCode::kRejected, fmt::format("read artifact {}: offset {} is beyond its end at {} bytes", digest,
                                                  offset, file.size_bytes));
  }
  std::string bytes(static_cast<size_t>(std::min(max_bytes, file.size_bytes - offset)), '\0');
  size_t used = 0;
  while (used < bytes.size()) {
    const ssize_t count =
        pread(file.descriptor.get(), bytes.data() + used, bytes.size() - used, static_cast<off_t>(offset + used));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(ErrnoError("read", path, errno));
    if (count == 0) return Fail(ErrorCode::kFailed, fmt::format("read {}: it became shorter", path.string()));
    used += static_cast<size_t>(count);
  }
  return bytes;
}

uint64_t FileStore::Received(const std::string& digest) const {
  if (!IsDigest(digest)) return 0;
  if (const auto size = Size(digest)) return *size;
  struct stat status {};
  const bool there = lstat((folder_ / "partial" / Hex(digest)).c_str(), &status) == 0 && S_ISREG(status.st_mode);
  return there ? static_cast<uint64_t>(status.st_size) : 0;
}

Result<uint64_t> FileStore::Append(const std::string& digest, uint64_t size_bytes, uint64_t offset,
                                   std::string_view data) {
  TRY(CheckDigest(digest));
  if (size_bytes == 0) return Fail(ErrorCode::kRejected, fmt::format("upload {}: an artifact is never empty", digest));
  if (offset > size_bytes || data.size() > size_bytes - offset) {
    return Fail(ErrorCode::kRejected, fmt::format("upload {}: {} bytes at {} go beyond its size of {} bytes", digest,
                                                  data.size(), offset, size_bytes));
  }
  const auto present = [&]() -> Result<uint64_t> {
    TRY_ASSIGN(const uint64_t size, Size(digest));
    if (size == size_bytes) return size;
    return Fail(ErrorCode::kRejected,
                fmt::format("upload {}: the artifact has {} bytes, not {}", digest, size, size_bytes));
  };
  if (Has(digest)) return present();

  TRY_ASSIGN(Partial partial, OpenPartial(folder_ / "partial" / Hex(digest)));
  if (Has(digest)) {
    // Another process completed it while we waited for its lock; what we hold is a new, empty file.
    unlink(partial.path.c_str());
    return present();
  }
  // Begun under a larger size: one of the two senders is wrong, and only a whole file can tell.
  if (partial.held > size_bytes) TRY(partial.Truncate(0));
  if (offset > partial.held) {
    return Fail(ErrorCode::kConflict,
                fmt::format("upload {}: offset {} leaves a gap, {} bytes are here", digest, offset, partial.held),
                "Go on from the bytes that are here");
  }
  if (offset == partial.held) {
    const auto written = WriteAllAt(partial.descriptor.get(), offset, data, partial.path);
    if (!written) {
      // Keep what was there before, so that the sender can go on once there is room.
      TRY(partial.Truncate(offset));
      return Fail(written.error());
    }
    partial.held += data.size();
  }
  if (partial.held < size_bytes) return partial.held;

  TRY_ASSIGN(const std::string actual, DigestOfFile(partial.path));
  if (actual != digest) {
    unlink(partial.path.c_str());
    return Fail(ErrorCode::kRejected,
                fmt::format("upload {}: the {} bytes received have digest {}", digest, size_bytes, actual),
                "Upload it again; if it fails again, the file changed after it was hashed");
  }
  TRY(Publish(partial.descriptor.get(), partial.path, PathOf(digest)));
  return size_bytes;
}

Result<std::string> FileStore::Import(const fs::path& file, const std::string& expected) {
  if (!expected.empty()) TRY(CheckDigest(expected));
  TRY_ASSIGN(const RegularFile source, OpenRegular(file));
  if (source.size_bytes == 0) return Fail(ErrorCode::kRejected, fmt::format("take in {}: it is empty", file.string()));
  // A copy, never a hard link: whoever owns the file may go on writing it in place. What is hashed is what is stored.
  TRY_ASSIGN(TemporaryFile copy, TemporaryFile::Make(folder_ / "partial"));
  TRY_ASSIGN(const std::string digest, HashWhile(source.descriptor.get(), file, copy.fd(), copy.path()));
  if (!expected.empty() && digest != expected) {
    return Fail(ErrorCode::kRejected,
                fmt::format("take in {}: its digest is {}, not {}", file.string(), digest, expected));
  }
  if (!Has(digest)) TRY(Publish(copy.fd(), copy.path(), PathOf(digest)));
  return digest;
}

Result<std::string> FileStore::Put(std::string_view bytes) {
  if (bytes.empty()) return Fail(ErrorCode::kRejected, "store an artifact: it is empty");
  std::string digest = DigestOf(bytes);
  if (Has(digest)) return digest;
  TRY_ASSIGN(TemporaryFile file, TemporaryFile::Make(folder_ / "partial"));
  TRY(WriteAll(file.fd(), bytes, file.path()));
  TRY(Publish(file.fd(), file.path(), PathOf(digest)));
  return digest;
}

Result<> FileStore::Export(const std::string& digest, const fs::path& target) const {
  if (!Has(digest)) return Fail(NotFound(digest));
  TRY(MakeFolder(FolderOf(target)));
  return LinkOrCopy(PathOf(digest), target);
}

}  // namespace hone
