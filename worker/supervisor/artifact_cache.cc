#include "worker/supervisor/artifact_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>
#include <tuple>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDefaultBytes = uint64_t{20} << 30;
constexpr char kStoreFolder[] = "store";
constexpr char kIncomingFolder[] = "incoming";

struct Entry {
  int64_t used_ns = 0;
  uint64_t bytes = 0;
  fs::path path;
};

std::vector<Entry> FilesBeneath(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::recursive_directory_iterator next(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && next != end; next.increment(error)) {
    struct stat status{};
    if (lstat(next->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const timespec& later = std::max(status.st_atim, status.st_mtim, [](const timespec& a, const timespec& b) {
      return std::tie(a.tv_sec, a.tv_nsec) < std::tie(b.tv_sec, b.tv_nsec);
    });
    entries.push_back(
        {int64_t{later.tv_sec} * 1'000'000'000 + later.tv_nsec, static_cast<uint64_t>(status.st_size), next->path()});
  }
  return entries;
}

uint64_t TotalBytes(const std::vector<Entry>& entries) {
  uint64_t bytes = 0;
  for (const Entry& entry : entries) bytes += entry.bytes;
  return bytes;
}

// Mounts without access times would forget use; so use is written down.
void MarkUsed(const fs::path& path) {
  const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  utimensat(AT_FDCWD, path.c_str(), now, AT_SYMLINK_NOFOLLOW);
}

// A path beneath `folder` that leads through real folders to a regular file: what a hostile runner left is not followed
// elsewhere.
Result<> CheckRegular(const fs::path& folder, const proto::File& file) {
  fs::path path = folder;
  const std::vector<std::string> parts = Split(file.path(), '/');
  for (size_t i = 0; i < parts.size(); ++i) {
    path /= parts[i];
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0)
      return Fail(ErrorCode::kRejected, fmt::format("the result's file {} is missing", file.path()));
    const bool last = i + 1 == parts.size();
    if (last ? !S_ISREG(status.st_mode) : !S_ISDIR(status.st_mode)) {
      return Fail(ErrorCode::kRejected, fmt::format("the result's file {} is no regular file", file.path()));
    }
    if (last && static_cast<uint64_t>(status.st_size) != file.size_bytes()) {
      return Fail(ErrorCode::kRejected, fmt::format("the result's file {} has {} bytes instead of {}", file.path(),
                                                    status.st_size, file.size_bytes()));
    }
  }
  return {};
}

}  // namespace

uint64_t PruneFolder(const fs::path& folder, uint64_t max_bytes) {
  std::vector<Entry> entries = FilesBeneath(folder);
  uint64_t bytes = TotalBytes(entries);
  if (bytes <= max_bytes) return bytes;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used_ns < b.used_ns; });
  for (const Entry& entry : entries) {
    if (bytes <= max_bytes) break;
    std::error_code error;
    if (fs::remove(entry.path, error)) bytes -= entry.bytes;
  }
  return bytes;
}

uint64_t DefaultCacheBytes(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return kDefaultBytes;
  return std::min(kDefaultBytes, (space.available + TotalBytes(FilesBeneath(folder))) / 2);
}

Result<ArtifactCache> ArtifactCache::Open(const fs::path& folder, uint64_t max_bytes) {
  TRY(MakeFolder(folder));
  std::error_code ignored;
  fs::remove_all(folder / kIncomingFolder, ignored);
  TRY(MakeFolder(folder / kIncomingFolder));
  TRY_ASSIGN(FileStore store, FileStore::Open(folder / kStoreFolder));
  ArtifactCache cache(folder, std::move(store), max_bytes);
  cache.Prune();
  return cache;
}

Result<> ArtifactCache::EnsureHeld(Dialer& dialer, const proto::File& file, const TransferOptions& options) {
  if (store_.Has(file.digest())) {
    MarkUsed(store_.PathOf(file.digest()));
    return {};
  }
  const fs::path incoming = folder_ / kIncomingFolder / file.digest().substr(file.digest().find(':') + 1);
  TRY(DownloadFile(dialer, file.digest(), incoming.string(), options));
  const auto taken = store_.Import(incoming, file.digest());
  std::error_code ignored;
  fs::remove(incoming, ignored);
  if (!taken) return Fail(taken.error());
  return {};
}

Result<> ArtifactCache::Fetch(Dialer& dialer, const proto::Bundle& bundle, const fs::path& target,
                              const TransferOptions& options) {
  for (const proto::File& file : bundle.files()) {
    TRY(EnsureHeld(dialer, file, options));
    const fs::path path = PathIn(target, file);
    TRY(MakeFolder(path.parent_path()));
    TRY(store_.Export(file.digest(), path));
  }
  return {};
}

Result<> ArtifactCache::Take(const proto::Bundle& bundle, const fs::path& source) {
  for (const proto::File& file : bundle.files()) {
    TRY(CheckRegular(source, file));
    TRY(store_.Import(PathIn(source, file), file.digest()));
  }
  return {};
}

void ArtifactCache::Prune() { PruneFolder(folder_ / kStoreFolder, max_bytes_); }

void ArtifactCache::MakeRoom() {
  const uint64_t held = TotalBytes(FilesBeneath(folder_ / kStoreFolder));
  const uint64_t left = PruneFolder(folder_ / kStoreFolder, held / 2);
  spdlog::warn("the disk is full: the artifact cache went from {} to {}", HumanBytes(held), HumanBytes(left));
}

}  // namespace hone
