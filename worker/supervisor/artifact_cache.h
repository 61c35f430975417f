// Artifacts on the worker's own disk, so that models and data are fetched once and what was built here is at hand for
// its measurement.
#pragma once

#include <cstdint>
#include <filesystem>

#include "common/artifact/file_store.h"
#include "common/base/result.h"
#include "common/transport/transport.h"
#include "proto/artifact.pb.h"

namespace hone {

// Removes the least recently used regular files beneath a folder until at most `max_bytes` are left; returns the bytes
// that stay. Files that others have linked stay theirs.
uint64_t PruneFolder(const std::filesystem::path& folder, uint64_t max_bytes);

// What a cache in `folder` may use by default: 20 GiB, or half of what is free (its own bytes counted as free) if that
// is less.
uint64_t DefaultCacheBytes(const std::filesystem::path& folder);

// One thread at a time; one process a folder.
class ArtifactCache {
 public:
  static Result<ArtifactCache> Open(const std::filesystem::path& folder, uint64_t max_bytes);

  // Places every file of the bundle beneath `target` by its path, downloading what is not here. The bundle must have
  // passed CheckBundle.
  Result<> Fetch(Dialer& dialer, const proto::Bundle& bundle, const std::filesystem::path& target,
                 const TransferOptions& options);

  // Takes the files of a bundle that lie in `source`; every digest and size is verified against the bundle. kRejected
  // where a file is missing, is no regular file beneath the folder, or differs.
  Result<> Take(const proto::Bundle& bundle, const std::filesystem::path& source);

  // Removes the least recently used artifacts above the bound. Files in work folders stay: they are links.
  void Prune();
  // Halves what is kept, for a disk that is full.
  void MakeRoom();

  const FileStore& store() const { return store_; }

 private:
  ArtifactCache(std::filesystem::path folder, FileStore store, uint64_t max_bytes)
      : folder_(std::move(folder)), store_(std::move(store)), max_bytes_(max_bytes) {}
  Result<> EnsureHeld(Dialer& dialer, const proto::File& file, const TransferOptions& options);

  std::filesystem::path folder_;
  FileStore store_;
  uint64_t max_bytes_;
};

}  // namespace hone
