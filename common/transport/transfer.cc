// Artifacts in chunks, several under way at once.
//
// A transfer goes on over lost frames and a restarted coordinator: where nothing was answered for a while, the requests
// under way are forgotten and asked again (their late answers are recognised by number and ignored), until `timeout`
// passed without progress.
//
// An upload begins with one chunk alone, whose answer says how much the store already has; the rest follows from there.
// Whenever the store's count does not fit what was sent (somebody else uploads the same bytes, or the store lost its
// partial file), it begins so again.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <set>
#include <unordered_set>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/socket.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLook{100};             // How often progress is asked whether to stop.
constexpr milliseconds kLongestSilence{5000};  // Before requests under way are given up for lost.
constexpr int kMaxRestarts = 16;               // Without progress in between.
constexpr int kDigestsPerQuestion = 4096;

struct Range {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// What uploads and downloads share: requests under way, time since the last progress, the caller's wish to stop.
class Transfer {
 public:
  Transfer(Dialer& dialer, std::string what, uint64_t total, const TransferOptions& options)
      : dialer_(dialer),
        what_(std::move(what)),
        options_(options),
        window_(static_cast<size_t>(std::max(1, options.window))),
        silence_(std::clamp(options.timeout / 4, milliseconds{1}, kLongestSilence)),
        total_(total) {}

 protected:
  struct Answer {
    Range range;
    proto::Frame frame;
  };

  // Sends a request unless the queue is full (false: later).
  Result<bool> Ask(const proto::Frame& request, Range range) {
    const auto number = dialer_.Post(request);
    if (!number && number.error().code == ErrorCode::kUnreachable) return false;
    if (!number) return FailWith(what_, number.error());
    if (pending_.empty()) heard_ = steady_clock::now();
    pending_[*number] = range;
    return true;
  }

  // The next answer to a request under way. Empty where `lost` requests have to be asked again; they are under way no
  // more.
  Result<std::optional<Answer>> Next(std::vector<Range>& lost) {
    while (true) {
      if (options_.progress && !options_.progress(done_, total_))
        return Fail(ErrorCode::kCancelled, what_ + ": stopped");
      TRY_ASSIGN(auto frame, dialer_.Receive(kLook));
      const auto now = steady_clock::now();
      if (frame) {
        const auto request = pending_.find(frame->request());
        const bool unreadable = frame->request() == 0 && frame->has_error();
        if (unreadable) return FailWith(what_, FromProto(frame->error()));
        if (request == pending_.end()) continue;
        heard_ = now;
        std::optional<Answer> answer(Answer{request->second, std::move(*frame)});
        pending_.erase(request);
        return answer;
      }
      if (now - progressed_ >= options_.timeout) {
        return Fail(ErrorCode::kUnreachable,
                    fmt::format("{}: no progress within {}", what_, HumanDuration(options_.timeout.count())),
                    "Check that hone-coordinator runs; a repeated transfer goes on where this one stopped");
      }
      if (pending_.empty() || now - heard_ >= silence_) {
        lost = Forget();
        return std::optional<Answer>();
      }
    }
  }

  std::vector<Range> Forget() {
    std::vector<Range> ranges;
    for (const auto& [number, range] : pending_) ranges.push_back(range);
    pending_.clear();
    return ranges;
  }

  void Progress(uint64_t done) {
    if (done > done_) progressed_ = steady_clock::now();
    done_ = done;
  }

  Result<> ReportDone() const {
    if (options_.progress && !options_.progress(total_, total_))
      return Fail(ErrorCode::kCancelled, what_ + ": stopped");
    return {};
  }

  tl::unexpected<Error> Unexpected() const {
    return Fail(ErrorCode::kBug, what_ + ": the coordinator answered with another message");
  }

  Dialer& dialer_;
  const std::string what_;
  const TransferOptions& options_;
  const size_t window_;
  const milliseconds silence_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
  std::map<uint64_t, Range> pending_;
  steady_clock::time_point heard_ = steady_clock::now();
  steady_clock::time_point progressed_ = heard_;
};

class Upload : Transfer {
 public:
  Upload(Dialer& dialer, const std::string& path, const std::string& digest, uint64_t size_bytes,
         const TransferOptions& options)
      : Transfer(dialer, fmt::format("upload {}", path), size_bytes, options), path_(path), digest_(digest) {}

  // Returns the bytes sent.
  Result<uint64_t> Run() {
    TRY_ASSIGN(file_, OpenRegular(path_));
    if (file_.size_bytes != total_) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}: it has {} bytes, not {}: it changed", what_, file_.size_bytes, total_));
    }
    while (!complete_) {
      TRY(Fill());
      std::vector<Range> lost;
      TRY_ASSIGN(auto answer, Next(lost));
      if (!answer) {
        if (!lost.empty()) Probe(std::min(done_, total_));
        continue;
      }
      TRY(Take(*answer));
    }
    TRY(ReportDone());
    return sent_;
  }

 private:
  // Keeps the window full, or sends the one chunk of a probe.
  Result<> Fill() {
    while (pending_.size() < (probing_ ? 1 : window_) && (probing_ || next_ < total_)) {
      const Range range{next_, std::min<uint64_t>(kChunkBytes, total_ - next_)};
      TRY_ASSIGN(const proto::Frame frame, Chunk(range));
      TRY_ASSIGN(const bool sent, Ask(frame, range));
      if (!sent) return {};
      sent_ += range.bytes;
      next_ += range.bytes;
    }
    return {};
  }

  Result<proto::Frame> Chunk(Range range) const {
    proto::Frame frame;
    proto::PutChunk& chunk = *frame.mutable_put_chunk();
    chunk.set_digest(digest_);
    chunk.set_size_bytes(total_);
    chunk.set_offset(range.offset);
    std::string& data = *chunk.mutable_data();
    data.resize(static_cast<size_t>(range.bytes));
    size_t used = 0;
    while (used < data.size()) {
      const ssize_t count = pread(file_.descriptor.get(), data.data() + used, data.size() - used,
                                  static_cast<off_t>(range.offset + used));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Fail(ErrnoError("read", path_, errno));
      if (count == 0) return Fail(ErrorCode::kRejected, fmt::format("{}: it became shorter while it was sent", what_));
      used += static_cast<size_t>(count);
    }
    return frame;
  }

  void Probe(uint64_t offset) {
    Forget();
    probing_ = true;
    next_ = offset;
  }

  Result<> Restart(uint64_t offset) {
    if (++restarts_ > kMaxRestarts) {
      return Fail(ErrorCode::kConflict, fmt::format("{}: the store keeps losing what was sent", what_),
                  "Try again later");
    }
    Probe(offset);
    return {};
  }

  Result<> Take(const Answer& answer) {
    if (answer.frame.has_error()) return TakeError(FromProto(answer.frame.error()));
    if (!answer.frame.has_put_chunk_reply()) return Unexpected();
    const proto::PutChunkReply& reply = answer.frame.put_chunk_reply();
    const uint64_t held = reply.received_bytes();
    const uint64_t end = answer.range.offset + answer.range.bytes;
    if (held > total_) return Unexpected();
    if (held > best_) {
      best_ = held;
      restarts_ = 0;
    }
    Progress(held);
    // The store names a file complete when it verified it, and counts all its bytes only then.
    complete_ = reply.complete() || held == total_;
    if (complete_) return {};
    if (held < end) return Restart(held);
    if (probing_) {
      resumed_ = resumed_ || held > end;
      probing_ = false;
      next_ = held;
    }
    return {};
  }

  Result<> TakeError(Error error) {
    // The store holds less than we thought: it tells how much when asked from the beginning.
    if (error.code == ErrorCode::kConflict) {
      Progress(0);
      return Restart(0);
    }
    // What was there before us was not the beginning of this file; the store dropped it, and all of it can be ours.
    if (error.code == ErrorCode::kRejected && resumed_) {
      resumed_ = false;
      best_ = 0;
      Progress(0);
      return Restart(0);
    }
    return FailWith(what_, std::move(error));
  }

  const std::string path_;
  const std::string digest_;
  RegularFile file_;
  uint64_t next_ = 0;       // Offset of the chunk to send next.
  uint64_t best_ = 0;       // The most that the store ever said to hold.
  uint64_t sent_ = 0;
  bool probing_ = true;
  bool resumed_ = false;    // Part of what the store holds came from elsewhere.
  bool complete_ = false;
  int restarts_ = 0;
};

class Download : Transfer {
 public:
  // size_bytes 0: the store says it.
  Download(Dialer& dialer, const std::string& digest, const std::string& target, uint64_t size_bytes,
           const TransferOptions& options)
      : Transfer(dialer, fmt::format("download {}", digest), size_bytes, options), digest_(digest), target_(target) {}

  Result<> Run() {
    TRY(MakeFolder(FolderOf(target_)));
    TRY_ASSIGN(TemporaryFile file, TemporaryFile::Make(FolderOf(target_)));
    todo_.push_back({0, total_ == 0 ? kChunkBytes : std::min<uint64_t>(kChunkBytes, total_)});
    next_ = todo_.back().bytes;
    while (!known_ || done_ < total_) {
      TRY(Fill());
      std::vector<Range> lost;
      TRY_ASSIGN(auto answer, Next(lost));
      if (answer) {
        TRY(Take(*answer, file));
      } else {
        todo_.insert(todo_.begin(), lost.begin(), lost.end());
      }
    }
    TRY_ASSIGN(const std::string actual, DigestOfFile(file.path()));
    if (actual != digest_) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: the {} bytes received have digest {}", what_, total_, actual),
                  "The store is damaged; upload the artifact again");
    }
    TRY(ReportDone());
    return file.Commit(target_);
  }

 private:
  Result<> Fill() {
    // Before the size is known, one request alone.
    while (pending_.size() < (known_ ? window_ : 1)) {
      if (todo_.empty() && known_ && next_ < total_) {
        todo_.push_back({next_, std::min<uint64_t>(kChunkBytes, total_ - next_)});
        next_ += todo_.back().bytes;
      }
      if (todo_.empty()) return {};
      proto::Frame frame;
      proto::GetChunk& chunk = *frame.mutable_get_chunk();
      chunk.set_digest(digest_);
      chunk.set_offset(todo_.front().offset);
      chunk.set_max_bytes(static_cast<uint32_t>(todo_.front().bytes));
      TRY_ASSIGN(const bool sent, Ask(frame, todo_.front()));
      if (!sent) return {};
      todo_.pop_front();
    }
    return {};
  }

  Result<> Take(const Answer& answer, TemporaryFile& file) {
    if (answer.frame.has_error()) return FailWith(what_, FromProto(answer.frame.error()));
    if (!answer.frame.has_get_chunk_reply()) return Unexpected();
    const proto::GetChunkReply& reply = answer.frame.get_chunk_reply();
    TRY(LearnSize(reply.size_bytes()));
    const uint64_t wanted = std::min(answer.range.bytes, total_ - answer.range.offset);
    if (reply.offset() != answer.range.offset || reply.data().empty() || reply.data().size() > wanted)
      return Unexpected();
    TRY(WriteAllAt(file.fd(), reply.offset(), reply.data(), file.path()));
    // Less than asked for is allowed; the rest is asked for again.
    if (reply.data().size() < wanted)
      todo_.push_front({reply.offset() + reply.data().size(), wanted - reply.data().size()});
    Progress(done_ + reply.data().size());
    return {};
  }

  Result<> LearnSize(uint64_t size_bytes) {
    if (total_ == 0) total_ = size_bytes;
    if (size_bytes != total_ || total_ == 0) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}: the store has {} bytes under this digest, not {}", what_, size_bytes, total_));
    }
    if (!known_) next_ = std::min(next_, total_);
    known_ = true;
    return {};
  }

  const std::string digest_;
  const std::string target_;
  std::deque<Range> todo_;
  uint64_t next_ = 0;    // Where the part begins that nobody asked for yet.
  bool known_ = false;   // The store told the size.
};

// Files of one chunk each: a request a file, many files under way.
constexpr size_t kSmallFilesUnderWay = 64;
constexpr uint64_t kSmallBytesUnderWay = 8 << 20;

class SmallFiles : public Transfer {
 public:
  struct Row {
    const proto::File* file;
    std::filesystem::path path;
  };

  SmallFiles(Dialer& dialer, std::string what, std::vector<Row> rows, const TransferOptions& options)
      : Transfer(dialer, fmt::format("{} {} small files", what, rows.size()), Bytes(rows), options),
        rows_(std::move(rows)) {}

  // Rows that need the care of a transfer of their own: the store's answer was not that of a file begun and done.
  Result<std::vector<Row>> Run() {
    for (size_t i = 0; i < rows_.size(); ++i) todo_.push_back(i);
    while (!todo_.empty() || !pending_.empty()) {
      TRY(Fill());
      std::vector<Range> lost;
      TRY_ASSIGN(auto answer, Next(lost));
      for (const Range& range : lost) todo_.push_back(static_cast<size_t>(range.offset));
      if (!lost.empty()) under_way_ = 0;  // Nothing else is under way then.
      if (!answer) continue;
      const size_t index = static_cast<size_t>(answer->range.offset);
      under_way_ -= std::min(under_way_, answer->range.bytes);
      TRY_ASSIGN(const bool done, Take(rows_[index], answer->frame));
      if (!done) others_.push_back(rows_[index]);
      Progress(done_ + answer->range.bytes);
    }
    TRY(ReportDone());
    return std::move(others_);
  }

 protected:
  virtual Result<proto::Frame> Request(const Row& row) = 0;
  virtual Result<bool> Take(const Row& row, proto::Frame& frame) = 0;
  virtual ~SmallFiles() = default;

 private:
  static uint64_t Bytes(const std::vector<Row>& rows) {
    uint64_t bytes = 0;
    for (const Row& row : rows) bytes += row.file->size_bytes();
    return bytes;
  }

  Result<> Fill() {
    while (!todo_.empty() && pending_.size() < kSmallFilesUnderWay &&
           (pending_.empty() || under_way_ < kSmallBytesUnderWay)) {
      const Row& row = rows_[todo_.front()];
      TRY_ASSIGN(const proto::Frame frame, Request(row));
      TRY_ASSIGN(const bool sent, Ask(frame, {todo_.front(), row.file->size_bytes()}));
      if (!sent) return {};
      under_way_ += row.file->size_bytes();
      todo_.pop_front();
    }
    return {};
  }

  std::vector<Row> rows_;
  std::vector<Row> others_;
  std::deque<size_t> todo_;
  uint64_t under_way_ = 0;
};

class SmallUploads : public SmallFiles {
 public:
  using SmallFiles::SmallFiles;

 private:
  Result<proto::Frame> Request(const Row& row) override {
    TRY_ASSIGN(std::string bytes, ReadFile(row.path, kChunkBytes));
    if (bytes.size() != row.file->size_bytes()) {
      return Fail(ErrorCode::kRejected, fmt::format("upload {}: it has {} bytes, not {}: it changed", row.path.string(),
                                                    bytes.size(), row.file->size_bytes()));
    }
    proto::Frame frame;
    proto::PutChunk& chunk = *frame.mutable_put_chunk();
    chunk.set_digest(row.file->digest());
    chunk.set_size_bytes(row.file->size_bytes());
    chunk.set_data(std::move(bytes));
    return frame;
  }

  Result<bool> Take(const Row&, proto::Frame& frame) override {
    return frame.has_put_chunk_reply() && frame.put_chunk_reply().complete();
  }
};

class SmallDownloads : public SmallFiles {
 public:
  using SmallFiles::SmallFiles;

 private:
  Result<proto::Frame> Request(const Row& row) override {
    proto::Frame frame;
    proto::GetChunk& chunk = *frame.mutable_get_chunk();
    chunk.set_digest(row.file->digest());
    chunk.set_max_bytes(static_cast<uint32_t>(kChunkBytes));
    return frame;
  }

  Result<bool> Take(const Row& row, proto::Frame& frame) override {
    const std::string& data = frame.get_chunk_reply().data();
    if (data.size() != row.file->size_bytes() || DigestOf(data) != row.file->digest()) return false;
    TRY(MakeFolder(FolderOf(row.path)));
    TRY(WriteFile(row.path, data, Durable::no));
    return true;
  }
};

bool IsSmall(const proto::File& file) { return file.size_bytes() <= kChunkBytes; }

Result<std::unordered_set<std::string>> Missing(Dialer& dialer, const std::set<std::string>& digests,
                                                const TransferOptions& options) {
  std::unordered_set<std::string> missing;
  auto digest = digests.begin();
  while (digest != digests.end()) {
    proto::Frame frame;
    proto::FindMissing& question = *frame.mutable_find_missing();
    for (; digest != digests.end() && question.digests_size() < kDigestsPerQuestion; ++digest)
      question.add_digests(*digest);
    TRY_ASSIGN(const proto::Frame reply, dialer.Call(std::move(frame), options.timeout));
    if (!reply.has_find_missing_reply()) {
      return Fail(ErrorCode::kBug, "ask for missing artifacts: the coordinator answered with another message");
    }
    missing.insert(reply.find_missing_reply().digests().begin(), reply.find_missing_reply().digests().end());
  }
  return missing;
}

Result<> CheckUpload(const std::string& path, const std::string& digest, uint64_t size_bytes) {
  if (!IsDigest(digest))
    return Fail(ErrorCode::kRejected, fmt::format("upload {}: '{}' is not a digest", path, Printable(digest, 80)));
  if (size_bytes == 0) return Fail(ErrorCode::kRejected, fmt::format("upload {}: it is empty", path));
  return {};
}

bool IsThere(const std::filesystem::path& path, const proto::File& file) {
  const auto there = OpenRegular(path, Links::refuse);
  if (!there || there->size_bytes != file.size_bytes()) return false;
  const auto digest = DigestOfFile(path);
  return digest && *digest == file.digest();
}

}  // namespace

Result<> UploadFile(Dialer& dialer, const std::string& path, const std::string& digest, uint64_t size_bytes,
                    const TransferOptions& options) {
  TRY(CheckUpload(path, digest, size_bytes));
  TRY_ASSIGN(const auto missing, Missing(dialer, {digest}, options));
  if (missing.contains(digest)) {
    TRY(Upload(dialer, path, digest, size_bytes, options).Run());
  } else if (options.progress && !options.progress(size_bytes, size_bytes)) {
    return Fail(ErrorCode::kCancelled, fmt::format("upload {}: stopped", path));
  }
  return {};
}

Result<> DownloadFile(Dialer& dialer, const std::string& digest, const std::string& target,
                      const TransferOptions& options) {
  if (!IsDigest(digest))
    return Fail(ErrorCode::kRejected, fmt::format("download: '{}' is not a digest", Printable(digest, 80)));
  return Download(dialer, digest, target, 0, options).Run();
}

Result<uint64_t> UploadBundle(Dialer& dialer, const proto::Bundle& bundle, const std::string& folder,
                              const TransferOptions& options) {
  TRY(CheckBundle(bundle));
  std::set<std::string> digests;
  for (const proto::File& file : bundle.files()) digests.insert(file.digest());
  TRY_ASSIGN(auto missing, Missing(dialer, digests, options));
  uint64_t sent = 0;
  std::vector<SmallFiles::Row> small;
  std::vector<SmallFiles::Row> large;
  for (const proto::File& file : bundle.files()) {
    // Files of the same content go once.
    if (missing.erase(file.digest()) == 0) continue;
    (IsSmall(file) ? small : large).push_back({&file, PathIn(folder, file)});
    if (IsSmall(file)) sent += file.size_bytes();
  }
  TRY_ASSIGN(const auto others, SmallUploads(dialer, "upload", std::move(small), options).Run());
  large.insert(large.end(), others.begin(), others.end());
  for (const auto& [file, path] : large) {
    TRY_ASSIGN(const uint64_t bytes, Upload(dialer, path.string(), file->digest(), file->size_bytes(), options).Run());
    if (!IsSmall(*file)) sent += bytes;
  }
  return sent;
}

Result<> DownloadBundle(Dialer& dialer, const proto::Bundle& bundle, const std::string& folder,
                        const TransferOptions& options) {
  TRY(CheckBundle(bundle));
  std::vector<SmallFiles::Row> small;
  std::vector<SmallFiles::Row> large;
  for (const proto::File& file : bundle.files()) {
    const std::filesystem::path target = PathIn(folder, file);
    if (!IsThere(target, file)) (IsSmall(file) ? small : large).push_back({&file, target});
  }
  TRY_ASSIGN(const auto others, SmallDownloads(dialer, "download", std::move(small), options).Run());
  large.insert(large.end(), others.begin(), others.end());
  for (const auto& [file, path] : large) {
    TRY(Download(dialer, file->digest(), path.string(), file->size_bytes(), options).Run());
  }
  return {};
}

}  // namespace hone
