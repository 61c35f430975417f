#include "common/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <vector>

#include "common/base/open_file.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCopyBytes = 1 << 20;

struct ErrnoRow {
  int error_number;
  ErrorCode code;
  const char* remedy;
};
constexpr ErrnoRow kErrnoRows[] = {
    {ENOENT, ErrorCode::kNotFound, ""},
    {ENOTDIR, ErrorCode::kNotFound, ""},
    {EACCES, ErrorCode::kDenied, "Check the owner and the mode of the path"},
    {EPERM, ErrorCode::kDenied, "Check the owner and the mode of the path"},
    {EROFS, ErrorCode::kDenied, "Choose a folder on a writable file system"},
    {ENOSPC, ErrorCode::kExhausted, "Free space on the disk, or choose another folder"},
    {EDQUOT, ErrorCode::kExhausted, "Free space in the quota, or choose another folder"},
    {EFBIG, ErrorCode::kExhausted, "Raise the limit on file sizes (ulimit -f)"},
    {EMFILE, ErrorCode::kExhausted, "Raise the limit on open files (ulimit -n)"},
    {ENFILE, ErrorCode::kExhausted, ""},
    {ENOMEM, ErrorCode::kExhausted, ""},
    {EISDIR, ErrorCode::kRejected, ""},
    {ELOOP, ErrorCode::kRejected, ""},
    {ENAMETOOLONG, ErrorCode::kRejected, ""},
    {ENXIO, ErrorCode::kRejected, ""},
};

// Folders that a build left without write permission would keep their files.
void MakeWritable(const fs::path& folder) {
  std::error_code ignored;
  fs::permissions(folder, fs::perms::owner_all, fs::perm_options::add, ignored);
  for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, ignored), end;
       !ignored && entry != end; entry.increment(ignored)) {
    std::error_code own;
    if (entry->is_directory(own) && !entry->is_symlink(own)) {
      fs::permissions(entry->path(), fs::perms::owner_all, fs::perm_options::add, own);
    }
  }
}

void RemoveTree(const fs::path& folder) {
  if (folder.empty()) return;
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return;
  MakeWritable(folder);
  fs::remove_all(folder, error);
}

Result<> CopyBytes(int from, const fs::path& from_path, TemporaryFile& to) {
  std::vector<char> buffer(kCopyBytes);
  while (true) {
    TRY_ASSIGN(const size_t count, ReadSome(from, buffer.data(), buffer.size(), from_path));
    if (count == 0) return {};
    TRY(WriteAll(to.fd(), {buffer.data(), count}, to.path()));
  }
}

// A hard link under a new name, moved over the target. False where the file system or its rules refuse links.
bool HardLink(const fs::path& from, const fs::path& to) {
  const fs::path name = FolderOf(to) / (UniqueName() + ".tmp");
  if (linkat(AT_FDCWD, from.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) return false;
  const bool moved = rename(name.c_str(), to.c_str()) == 0;
  // Still there where the rename failed, or where both were links to one file already.
  unlink(name.c_str());
  return moved;
}

}  // namespace

Error ErrnoError(std::string_view what, const fs::path& path, int error_number) {
  const auto row = std::find_if(std::begin(kErrnoRows), std::end(kErrnoRows),
                                [&](const ErrnoRow& candidate) { return candidate.error_number == error_number; });
  const bool known = row != std::end(kErrnoRows);
  return Error{known ? row->code : ErrorCode::kFailed,
               fmt::format("{} {}: {}", what, path.string(), std::generic_category().message(error_number)),
               known ? row->remedy : ""};
}

Result<std::string> ReadFile(const fs::path& path, uint64_t max_bytes) {
  TRY_ASSIGN(const RegularFile file, OpenRegular(path));
  const auto too_large = [&] {
    return Fail(ErrorCode::kRejected, fmt::format("read {}: it is larger than {} bytes", path.string(), max_bytes));
  };
  if (file.size_bytes > max_bytes) return too_large();
  // The size is a hint alone: files of /proc say 0, and others may grow meanwhile.
  std::string bytes;
  size_t used = 0;
  uint64_t room = file.size_bytes + 1;
  while (true) {
    bytes.resize(used + static_cast<size_t>(room));
    TRY_ASSIGN(const size_t count,
               ReadSome(file.descriptor.get(), bytes.data() + used, static_cast<size_t>(room), path));
    used += count;
    if (used > max_bytes) return too_large();
    if (count == 0) break;
    room = std::max<uint64_t>(bytes.size() - used, 4096);
  }
  bytes.resize(used);
  return bytes;
}

Result<> WriteFile(const fs::path& path, std::string_view bytes, Durable durable) {
  TRY_ASSIGN(TemporaryFile file, TemporaryFile::Make(FolderOf(path)));
  TRY(WriteAll(file.fd(), bytes, path));
  if (durable == Durable::yes) TRY(file.Sync());
  TRY(file.Commit(path));
  if (durable == Durable::yes) TRY(SyncFolder(FolderOf(path)));
  return {};
}

Result<> MakeFolder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return Fail(ErrnoError("create folder", path, error.value()));
  // An existing file in the way is no error to the library before GCC 13.
  if (!fs::is_directory(path, error)) return Fail(ErrnoError("create folder", path, ENOTDIR));
  return {};
}

Result<> LinkOrCopy(const fs::path& from, const fs::path& to) {
  TRY_ASSIGN(const RegularFile source, OpenRegular(from));
  {
    TRY_ASSIGN(TemporaryFile clone, TemporaryFile::Make(FolderOf(to)));
    if (ioctl(clone.fd(), FICLONE, source.descriptor.get()) == 0) {
      if (fchmod(clone.fd(), source.mode & 0777) != 0) return Fail(ErrnoError("set the mode of", to, errno));
      return clone.Commit(to);
    }
  }
  if (HardLink(from, to)) return {};
  TRY_ASSIGN(TemporaryFile copy, TemporaryFile::Make(FolderOf(to)));
  TRY(CopyBytes(source.descriptor.get(), from, copy));
  if (fchmod(copy.fd(), source.mode & 0777) != 0) return Fail(ErrnoError("set the mode of", to, errno));
  return copy.Commit(to);
}

Result<ScopedFolder> ScopedFolder::Make(const fs::path& parent, std::string_view prefix) {
  std::string name = (parent / (std::string(prefix) + "XXXXXX")).string();
  if (mkdtemp(name.data()) == nullptr) return Fail(ErrnoError("create a folder in", parent, errno));
  return ScopedFolder(fs::path(name));
}

ScopedFolder::~ScopedFolder() { RemoveTree(path_); }

ScopedFolder::ScopedFolder(ScopedFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }

ScopedFolder& ScopedFolder::operator=(ScopedFolder&& other) noexcept {
  if (this != &other) {
    RemoveTree(path_);
    path_ = std::move(other.path_);
    other.path_.clear();
  }
  return *this;
}

fs::path ScopedFolder::Release() {
  fs::path path = std::move(path_);
  path_.clear();
  return path;
}

}  // namespace hone
