#include "client/hub_snapshot.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostEntries = 10'000;

fs::path BlobsOf(const fs::path& folder) { return folder.parent_path().parent_path() / "blobs"; }

bool OnOneFileSystem(const fs::path& a, const fs::path& b) {
  struct stat first {}, second {};
  return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev;
}

// Where hard links to the blobs can be made, else where temporary files go.
fs::path PlaceFor(const fs::path& blobs) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  fs::path own;
  if (cache != nullptr && fs::path(cache).is_absolute()) {
    own = fs::path(cache) / "hone";
  } else if (home != nullptr && fs::path(home).is_absolute()) {
    own = fs::path(home) / ".cache" / "hone";
  }
  if (!own.empty() && MakeFolder(own) && OnOneFileSystem(own, blobs)) return own;
  return fs::temp_directory_path();
}

// Paths of the revision's files that make a checkpoint.
Result<std::vector<fs::path>> FilesOf(const fs::path& folder) {
  std::vector<fs::path> files;
  size_t entries = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (++entries > kMostEntries)
      return Fail(ErrorCode::kRejected, fmt::format("{} holds more than {} files", folder.string(), kMostEntries));
    const fs::path relative = entry->path().lexically_relative(folder);
    std::error_code gone;
    if (!entry->is_directory(gone) && IsOfCheckpoint(relative)) files.push_back(relative);
  }
  if (error) return Fail(ErrnoError("list folder", folder, error.value()));
  return files;
}

}  // namespace

bool IsHubSnapshot(const fs::path& folder) {
  std::error_code error;
  const fs::path here = fs::canonical(folder, error);
  return !error && here.parent_path().filename() == "snapshots" && fs::is_directory(BlobsOf(here), error);
}

Result<ScopedFolder> PlainSnapshot(const fs::path& folder) {
  std::error_code error;
  const fs::path here = fs::canonical(folder, error);
  const fs::path blobs = error ? fs::path() : fs::canonical(BlobsOf(here), error);
  if (error) return Fail(ErrnoError("open folder", folder, error.value()));
  TRY_ASSIGN(const std::vector<fs::path> files, FilesOf(here));
  TRY_ASSIGN(ScopedFolder plain, ScopedFolder::Make(PlaceFor(blobs), "checkpoint-"));
  for (const fs::path& relative : files) {
    const fs::path file = here / relative, target = fs::canonical(file, error);
    if (error)
      return Fail(ErrorCode::kRejected, fmt::format("{} leads to nothing", Printable(file.string())),
                  "download the revision once more; its blob is gone");
    if (target != file && target.parent_path() != blobs) {
      return Fail(ErrorCode::kRejected, fmt::format("{} leads out of the hub's cache, to {}", Printable(file.string()),
                                                    Printable(target.string())),
                  "give a folder of plain files");
    }
    TRY(MakeFolder((plain.path() / relative).parent_path()));
    TRY(LinkOrCopy(target, plain.path() / relative));
  }
  return plain;
}

}  // namespace hone
