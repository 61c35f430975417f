// Artifacts on disk: folder/ab/cd/<64 hex digits>, written whole or not at all, verified by digest before they get
// their name, read-only afterwards. Uploads in progress live in folder/partial/<hex>, so an interrupted one goes on
// where it stopped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace hone {

// One thread at a time. Several processes may share a folder (every change is a rename of a verified file).
class FileStore {
 public:
  static Result<FileStore> Open(const std::filesystem::path& folder);

  bool Has(const std::string& digest) const;
  Result<uint64_t> Size(const std::string& digest) const;        // kNotFound
  std::filesystem::path PathOf(
      const std::string& digest) const;  // Where it is or would be; empty for what is no digest.

  // At most max_bytes from offset. kNotFound, kRejected (offset beyond the end).
  Result<std::string> Read(const std::string& digest, uint64_t offset, uint64_t max_bytes) const;

  // Appends a chunk to a partial upload. offset must be what Received() says (an offset below it is answered with the
  // present state and changes nothing; above it kConflict). The chunk that completes size_bytes is verified: a wrong
  // digest drops the partial file and fails with kRejected. Returns the bytes now held (size_bytes once complete).
  // Empty data asks how far it is. kRejected: an empty artifact, data beyond size_bytes. kExhausted (disk full) keeps
  // what was held.
  Result<uint64_t> Append(const std::string& digest, uint64_t size_bytes, uint64_t offset, std::string_view data);
  uint64_t Received(const std::string& digest) const;

  // Takes a copy of a file in and returns its digest; the bytes hashed are the bytes stored. With expected set, a
  // different digest is kRejected. An empty file is kRejected.
  Result<std::string> Import(const std::filesystem::path& file, const std::string& expected = {});
  Result<std::string> Put(std::string_view bytes);

  // Places the artifact at `target`, whose folder is made (reflink or hard link where possible: read-only, never to be
  // written in place).
  Result<> Export(const std::string& digest, const std::filesystem::path& target) const;

 private:
  explicit FileStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path folder_;
};

}  // namespace hone
