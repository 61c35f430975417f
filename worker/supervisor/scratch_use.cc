#include "worker/supervisor/scratch_use.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

namespace hone {
namespace {

constexpr int kMaxDepth = 100;

// Takes over the descriptor.
void Add(int folder, int depth, uint64_t max_entries, FolderUse& use) {
  DIR* const entries = fdopendir(folder);
  if (entries == nullptr) {
    close(folder);
    return;
  }
  while (const dirent* entry = readdir(entries)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (++use.entries > max_entries || depth >= kMaxDepth) {
      use.complete = false;
      break;
    }
    struct stat status {};
    if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;  // Gone meanwhile.
    use.bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    if (!S_ISDIR(status.st_mode)) continue;
    const int inner = openat(dirfd(entries), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner >= 0) Add(inner, depth + 1, max_entries, use);
    if (!use.complete) break;
  }
  closedir(entries);
}

}  // namespace

FolderUse MeasureFolder(const std::filesystem::path& folder, uint64_t max_entries) {
  FolderUse use;
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor >= 0) Add(descriptor, 0, max_entries, use);
  return use;
}

}  // namespace hone
