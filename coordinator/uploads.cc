#include "coordinator/uploads.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

// Dirty pages are sent to the disk in such steps, so that the final sync finds little left to do.
constexpr uint64_t kFlushBytes = 8 << 20;
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kPrefixBytes = 7;  // "sha256:"

}  // namespace

Result<Uploads> Uploads::Open(const CoordinatorOptions& options, const FileStore& store,
                              const std::filesystem::path& folder) {
  TRY(MakeFolder(folder));
  return Uploads(options, store, folder);
}

std::filesystem::path Uploads::PartialPath(const std::string& digest) const {
  return folder_ / digest.substr(kPrefixBytes);
}

Result<Uploads::State> Uploads::Append(const std::string& digest, uint64_t size_bytes, uint64_t offset,
                                       std::string_view data) {
  if (!IsDigest(digest)) return Fail(ErrorCode::kRejected, fmt::format("'{}' is no digest", Printable(digest, 100)));
  if (data.size() > kChunkBytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("a chunk of {} is too large, at most {} are taken", HumanBytes(data.size()), kChunkBytes));
  }
  if (size_bytes > options_->artifact_bytes) {
    return Fail(ErrorCode::kRejected, fmt::format("artifact {} of {} is too large, at most {} are taken", digest,
                                                  HumanBytes(size_bytes), HumanBytes(options_->artifact_bytes)));
  }
  if (offset > size_bytes || data.size() > size_bytes - offset) {
    return Fail(ErrorCode::kRejected,
                fmt::format("a chunk of artifact {} reaches beyond its {} bytes", digest, size_bytes));
  }
  if (size_bytes == 0)
    return Fail(ErrorCode::kRejected, fmt::format("artifact {}: an artifact is never empty", digest));
  if (store_->Has(digest)) {
    TRY_ASSIGN(const uint64_t size, store_->Size(digest));
    if (size == size_bytes) return State{size_bytes, true, false};
    return Fail(ErrorCode::kRejected, fmt::format("artifact {} has {} bytes, not {}", digest, size, size_bytes));
  }
  TRY_ASSIGN(Upload * upload, Find(digest, size_bytes));
  const bool all_there = upload->received_bytes == size_bytes;
  if (!all_there && offset > upload->received_bytes) {
    return Fail(ErrorCode::kConflict, fmt::format("artifact {}: a chunk at {} came, {} bytes are held", digest, offset,
                                                  upload->received_bytes));
  }
  if (!all_there && offset == upload->received_bytes) TRY(Write(digest, *upload, data));
  if (upload->received_bytes < size_bytes) return State{upload->received_bytes, false, false};
  if (upload->hashed_bytes < size_bytes) return State{size_bytes, false, true};
  if (data.size() == size_bytes) {
    if (std::find(whole_.begin(), whole_.end(), digest) == whole_.end()) whole_.push_back(digest);
    return State{size_bytes, false, true};
  }
  TRY(Finish({digest}).front());
  return State{size_bytes, true, false};
}

Result<Uploads::Upload*> Uploads::Find(const std::string& digest, uint64_t size_bytes) {
  if (const auto found = uploads_.find(digest); found != uploads_.end()) {
    by_use_.splice(by_use_.end(), by_use_, found->second.used);
    if (found->second.size_bytes == size_bytes) return &found->second;
    // One of the two senders is wrong about the size; whoever is right will come through.
    Forget(digest);
    (void)::unlink(PartialPath(digest).c_str());
  }
  if (uploads_.size() >= options_->open_uploads) FinishWhole();
  if (uploads_.size() >= options_->open_uploads) Forget(std::string(by_use_.front()));
  const std::filesystem::path path = PartialPath(digest);
  Upload upload;
  upload.file = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!upload.file) return Fail(ErrnoError("open", path, errno));
  struct stat status {};
  if (::fstat(upload.file.get(), &status) != 0) return Fail(ErrnoError("look at", path, errno));
  upload.size_bytes = size_bytes;
  upload.received_bytes = static_cast<uint64_t>(status.st_size);
  if (upload.received_bytes > size_bytes) {
    if (::ftruncate(upload.file.get(), 0) != 0) return Fail(ErrnoError("empty", path, errno));
    upload.received_bytes = 0;
  }
  if (upload.received_bytes > 0) unhashed_.push_back(digest);
  by_use_.push_back(digest);
  upload.used = std::prev(by_use_.end());
  return &uploads_.emplace(digest, std::move(upload)).first->second;
}

Result<> Uploads::Write(const std::string& digest, Upload& upload, std::string_view data) {
  const std::filesystem::path path = PartialPath(digest);
  const int fd = upload.file.get();
  if (const auto written = WriteAllAt(fd, upload.received_bytes, data, path); !written) {
    // What is not counted must not be there, or the next life would count it.
    if (::ftruncate(fd, static_cast<off_t>(upload.received_bytes)) != 0) spdlog::warn("cannot cut {}", path.string());
    return Fail(written.error());
  }
  if (upload.hashed_bytes == upload.received_bytes) {
    upload.hasher.Update(data);
    upload.hashed_bytes += data.size();
  }
  upload.received_bytes += data.size();
  if (upload.received_bytes - upload.flushed_bytes >= kFlushBytes) {
    (void)::sync_file_range(fd, static_cast<off_t>(upload.flushed_bytes),
                            static_cast<off_t>(upload.received_bytes - upload.flushed_bytes), SYNC_FILE_RANGE_WRITE);
    upload.flushed_bytes = upload.received_bytes;
  }
  return {};
}

Result<> Uploads::HashOn(const std::string& digest, Upload& upload, uint64_t bytes) {
  std::string buffer(kReadBytes, '\0');
  while (bytes > 0 && upload.hashed_bytes < upload.received_bytes) {
    const size_t wanted =
        static_cast<size_t>(std::min<uint64_t>({kReadBytes, bytes, upload.received_bytes - upload.hashed_bytes}));
    const ssize_t got = ::pread(upload.file.get(), buffer.data(), wanted, static_cast<off_t>(upload.hashed_bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Fail(ErrnoError("read", PartialPath(digest), got < 0 ? errno : EIO));
    upload.hasher.Update({buffer.data(), static_cast<size_t>(got)});
    upload.hashed_bytes += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
  return {};
}

void Uploads::Work() {
  FinishWhole();
  HashSlice();
}

void Uploads::FinishWhole() {
  std::vector<std::string> digests = std::exchange(whole_, {});
  std::erase_if(digests, [&](const std::string& digest) { return !uploads_.contains(digest); });
  if (digests.empty()) return;
  std::vector<uint64_t> sizes;
  for (const auto& digest : digests) sizes.push_back(uploads_.at(digest).size_bytes);
  std::vector<Result<>> results = Finish(digests);
  for (size_t i = 0; i < digests.size(); ++i) verified_.push_back({digests[i], sizes[i], std::move(results[i])});
}

void Uploads::HashSlice() {
  if (unhashed_.empty()) return;
  const std::string digest = unhashed_.front();
  const auto found = uploads_.find(digest);
  if (found == uploads_.end()) {
    unhashed_.pop_front();
    return;
  }
  Upload& upload = found->second;
  Result<> result = HashOn(digest, upload, options_->verify_slice_bytes);
  if (result && upload.hashed_bytes < upload.received_bytes) return;
  unhashed_.pop_front();
  const uint64_t size = upload.size_bytes;
  if (result && upload.hashed_bytes < size) return;
  if (result) {
    result = std::move(Finish({digest}).front());
  } else {
    Forget(digest);
  }
  verified_.push_back({digest, size, std::move(result)});
}

std::vector<Uploads::Verified> Uploads::TakeVerified() { return std::exchange(verified_, {}); }

std::vector<Result<>> Uploads::Finish(const std::vector<std::string>& digests) {
  std::vector<Result<>> results;
  for (const auto& digest : digests) results.push_back(CheckContent(digest));
  // All writing is begun before the first file is waited for.
  for (size_t i = 0; i < digests.size() && digests.size() > 1; ++i) {
    if (results[i]) (void)::sync_file_range(uploads_.at(digests[i]).file.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  for (size_t i = 0; i < digests.size(); ++i) {
    if (results[i] && ::fsync(uploads_.at(digests[i]).file.get()) != 0) {
      results[i] = Fail(ErrnoError("sync", PartialPath(digests[i]), errno));
    }
  }
  std::set<std::filesystem::path> folders;
  for (size_t i = 0; i < digests.size(); ++i) {
    if (results[i]) results[i] = Publish(digests[i]);
    if (results[i]) folders.insert(store_->PathOf(digests[i]).parent_path());
  }
  for (const auto& folder : folders) {
    const Result<> synced = SyncFolder(folder);
    for (size_t i = 0; i < digests.size() && !synced; ++i) {
      if (store_->PathOf(digests[i]).parent_path() == folder) results[i] = synced;
    }
  }
  for (const auto& digest : digests) Forget(digest);
  return results;
}

Result<> Uploads::CheckContent(const std::string& digest) {
  const std::string actual = uploads_.at(digest).hasher.Finish();
  if (actual == digest) return {};
  (void)::unlink(PartialPath(digest).c_str());
  return Fail(ErrorCode::kRejected, fmt::format("what was uploaded as {} has the digest {}", digest, actual),
              "The file changed or was damaged on the way; send it again.");
}

// The bytes are on the disk: gives them their name.
Result<> Uploads::Publish(const std::string& digest) {
  const std::filesystem::path partial = PartialPath(digest);
  const std::filesystem::path target = store_->PathOf(digest);
  const int fd = uploads_.at(digest).file.get();
  TRY(MakeFolder(target.parent_path()));
  if (::fchmod(fd, 0444) == 0 && ::rename(partial.c_str(), target.c_str()) == 0) return {};
  const Error error = ErrnoError("rename", partial, errno);
  (void)::fchmod(fd, 0600);  // It stays a partial file, which a later chunk opens again.
  return Fail(error);
}

void Uploads::Forget(const std::string& digest) {
  const auto found = uploads_.find(digest);
  if (found == uploads_.end()) return;
  by_use_.erase(found->second.used);
  uploads_.erase(found);
  unhashed_.remove(digest);
}

}  // namespace hone
