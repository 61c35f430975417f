// Artifacts that are coming in. The digest is computed as the chunks arrive, so that the last chunk of a large file
// does not hold the coordinator's loop while everything is read again. A file that an earlier life began is hashed up
// to its end in slices, between messages. Files that came in one chunk are made durable together: a disk flushes a
// hundred small files in the time of a few.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/artifact/file_store.h"
#include "common/base/digest.h"
#include "common/base/open_file.h"
#include "common/base/result.h"
#include "coordinator/options.h"

namespace hone {

// One thread at a time. Partial files lie in `folder`, which must be on the store's file system.
class Uploads {
 public:
  // options and store must outlive the object, and stay where they are until Use names others.
  static Result<Uploads> Open(const CoordinatorOptions& options, const FileStore& store,
                              const std::filesystem::path& folder);
  void Use(const CoordinatorOptions& options, const FileStore& store) {
    options_ = &options;
    store_ = &store;
  }

  struct State {
    uint64_t received_bytes = 0;
    bool complete = false;
    bool verifying = false;      // All bytes are there; TakeVerified will tell the end.
  };
  // Takes a chunk. A chunk below the bytes held changes nothing and is answered with what is held; one above is
  // kConflict. kRejected for a broken digest, sizes that do not fit, and, at the end, for content that has another
  // digest (the file is dropped then). kExhausted when the disk is full.
  Result<State> Append(const std::string& digest, uint64_t size_bytes, uint64_t offset, std::string_view data);

  // Finishes the files that came in one chunk, and hashes the next slice of resumed files.
  void Work();
  bool busy() const { return !unhashed_.empty() || !whole_.empty(); }
  // Uploads that were verifying and have ended since the last call.
  struct Verified {
    std::string digest;
    uint64_t size_bytes = 0;
    Result<> result;
  };
  std::vector<Verified> TakeVerified();

 private:
  struct Upload {
    Descriptor file;
    uint64_t size_bytes = 0;
    uint64_t received_bytes = 0;
    uint64_t hashed_bytes = 0;
    uint64_t flushed_bytes = 0;  // Whose writing to the disk was begun.
    Hasher hasher;
    std::list<std::string>::iterator used;
  };

  Uploads(const CoordinatorOptions& options, const FileStore& store, std::filesystem::path folder)
      : options_(&options), store_(&store), folder_(std::move(folder)) {}
  std::filesystem::path PartialPath(const std::string& digest) const;
  Result<Upload*> Find(const std::string& digest, uint64_t size_bytes);
  Result<> Write(const std::string& digest, Upload& upload, std::string_view data);
  Result<> HashOn(const std::string& digest, Upload& upload, uint64_t bytes);
  // Every byte is hashed. Finish names the files, or drops those of another digest; one result each.
  std::vector<Result<>> Finish(const std::vector<std::string>& digests);
  Result<> CheckContent(const std::string& digest);
  Result<> Publish(const std::string& digest);
  void FinishWhole();
  void HashSlice();
  void Forget(const std::string& digest);

  const CoordinatorOptions* options_;
  const FileStore* store_;
  std::filesystem::path folder_;
  std::map<std::string, Upload> uploads_;
  std::list<std::string> by_use_;          // Least recently used first.
  std::list<std::string> unhashed_;        // Uploads with bytes on disk that are not hashed yet.
  std::vector<std::string> whole_;         // Came in one chunk; all there and hashed.
  std::vector<Verified> verified_;
};

}  // namespace hone
