#include "coordinator/redis/share.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/strings.h"

namespace hone {
namespace {

using std::chrono::milliseconds;

constexpr const char* kLife = "604800";                   // A week, in seconds.
constexpr uint64_t kChunk = 1 << 20;
constexpr size_t kMostName = 100;
constexpr size_t kHeadBytes = 256;                        // The line before a record.
constexpr milliseconds kFirstPause{100};

std::string ResultKey(const std::string& key) { return "hone:result:" + key; }
std::string FileKey(const std::string& digest) { return "hone:artifact:" + digest; }

}  // namespace

std::string SharedRecordOf(const std::string& key, const proto::TaskResult& result, const std::string& from) {
  const std::string body = result.SerializeAsString();
  return fmt::format("{} {}\n", DigestOf(key + "\n" + from + "\n" + body), from) + body;
}

std::optional<ResultShare::Answer> ParseSharedRecord(const std::string& key, std::string_view record) {
  const size_t line = record.substr(0, kHeadBytes).find('\n');
  const size_t space = record.substr(0, kHeadBytes).find(' ');
  if (line == std::string_view::npos || space == std::string_view::npos || space > line) return std::nullopt;
  const std::string from(record.substr(space + 1, line - space - 1));
  const std::string_view body = record.substr(line + 1);
  if (record.substr(0, space) != DigestOf(fmt::format("{}\n{}\n{}", key, from, body))) return std::nullopt;
  proto::TaskResult result;
  if (!result.ParseFromArray(body.data(), static_cast<int>(body.size())) ||
      !(result.has_measure() || result.has_build()))
    return std::nullopt;
  return ResultShare::Answer{key, std::move(result), Printable(from, kMostName)};
}

Result<std::unique_ptr<RedisShare>> RedisShare::Start(RedisAddress address, const std::filesystem::path& artifacts,
                                                      const RedisShareOptions& options) {
  TRY_ASSIGN(FileStore store, FileStore::Open(artifacts));
  std::unique_ptr<RedisShare> share(new RedisShare(std::move(address), std::move(store), options));
  share->thread_ = std::thread([raw = share.get()] { raw->Run(); });
  return share;
}

RedisShare::~RedisShare() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

bool RedisShare::Ask(const std::string& key) {
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    const bool slow = !questions_.empty() && now - questions_.front().asked > options_.patience;
    if (!state_.connected || slow || questions_.size() >= options_.questions) return false;
    questions_.push_back({key, now});
    ++state_.asked;
  }
  wake_.notify_one();
  return true;
}

std::vector<ResultShare::Answer> RedisShare::TakeAnswers() {
  const std::lock_guard lock(mutex_);
  return std::exchange(answers_, {});
}

void RedisShare::Offer(const std::string& key, const proto::TaskResult& result, const std::string& from) {
  Offered offered{key, SharedRecordOf(key, result, Printable(from, kMostName)), {}};
  if (offered.record.size() > options_.record_bytes) return;
  const auto& files = result.build().model().files();
  if (std::any_of(files.begin(), files.end(),
                  [&](const auto& file) { return file.size_bytes() > options_.file_bytes; }))
    return;
  offered.files.assign(files.begin(), files.end());
  {
    const std::lock_guard lock(mutex_);
    offers_.push_back(std::move(offered));
    if (offers_.size() > options_.offers) offers_.pop_front();
  }
  wake_.notify_one();
}

RedisShare::State RedisShare::state() const {
  const std::lock_guard lock(mutex_);
  State state = state_;
  state.waiting = questions_.size();
  return state;
}

void RedisShare::Run() {
  milliseconds back_off = kFirstPause;
  for (;;) {
    auto connection = RedisConnection::Open(address_, options_.timeout);
    Result<> served;
    if (connection) {
      // A record or a chunk, and what stands around it.
      connection->BoundReplies(std::max(options_.record_bytes, kChunk) + (64 << 10));
      {
        const std::lock_guard lock(mutex_);
        state_.connected = true;
        state_.error.clear();
      }
      spdlog::info("results are shared through {}", address_.Text());
      back_off = kFirstPause;
      served = Serve(*connection);
      if (served) return;
    } else {
      served = Fail(connection.error());
    }
    NoteFailure(served.error());
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, back_off, [this] { return stop_; })) return;
    back_off = std::min(back_off * 2, options_.longest_back_off);
  }
}

// Questions go before offers: somebody waits for the answers. What is being worked on stays in its queue, so that a
// broken connection answers the question (with nothing) and repeats the offer.
Result<> RedisShare::Serve(RedisConnection& connection) {
  for (;;) {
    std::optional<std::string> question;
    std::optional<Offered> offered;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !questions_.empty() || !offers_.empty(); });
      if (stop_) return {};
      if (!questions_.empty()) {
        question = questions_.front().key;
      } else {
        offered = offers_.front();
      }
    }
    if (question) {
      TRY_ASSIGN(Answer answer, Look(connection, *question));
      const std::lock_guard lock(mutex_);
      state_.found += answer.result ? 1 : 0;
      answers_.push_back(std::move(answer));
      questions_.pop_front();
      continue;
    }
    TRY(Write(connection, *offered));
    const std::lock_guard lock(mutex_);
    ++state_.offered;
    // The front may have been dropped from the full queue meanwhile.
    if (!offers_.empty() && offers_.front().key == offered->key) offers_.pop_front();
  }
}

Result<ResultShare::Answer> RedisShare::Look(RedisConnection& connection, const std::string& key) {
  Answer nothing{key, std::nullopt, ""};
  TRY_ASSIGN(const RedisReply size, connection.Call({"STRLEN", ResultKey(key)}));
  if (size.number <= 0) return nothing;
  if (static_cast<uint64_t>(size.number) > options_.record_bytes) {
    TRY(DropUnsound(connection, ResultKey(key)));
    return nothing;
  }
  TRY_ASSIGN(const RedisReply reply, connection.Call({"GET", ResultKey(key)}));
  if (!reply.value) return nothing;
  auto answer = ParseSharedRecord(key, *reply.value);
  if (!answer) {
    TRY(DropUnsound(connection, ResultKey(key)));
    return nothing;
  }
  if (!answer->result->has_build()) return *std::move(answer);
  TRY_ASSIGN(const bool there, Fetch(connection, answer->result->build().model()));
  return there ? *std::move(answer) : nothing;
}

Result<bool> RedisShare::Fetch(RedisConnection& connection, const proto::Bundle& model) {
  if (!CheckBundle(model)) return false;
  for (const proto::File& file : model.files()) {
    TRY_ASSIGN(const bool there, FetchFile(connection, file));
    if (!there) return false;
  }
  return true;
}

Result<bool> RedisShare::FetchFile(RedisConnection& connection, const proto::File& file) {
  if (artifacts_.Has(file.digest())) return true;
  const std::string key = FileKey(file.digest());
  TRY_ASSIGN(const RedisReply size, connection.Call({"STRLEN", key}));
  if (size.number == 0) return false;
  std::string bytes;
  if (static_cast<uint64_t>(size.number) == file.size_bytes() && file.size_bytes() <= options_.file_bytes) {
    while (bytes.size() < file.size_bytes()) {
      const uint64_t last = std::min<uint64_t>(bytes.size() + kChunk, file.size_bytes()) - 1;
      TRY_ASSIGN(const RedisReply chunk,
                 connection.Call({"GETRANGE", key, std::to_string(bytes.size()), std::to_string(last)}));
      if (!chunk.value || chunk.value->size() != last + 1 - bytes.size()) break;
      bytes += *chunk.value;
    }
  }
  if (DigestOf(bytes) != file.digest()) {
    TRY(DropUnsound(connection, key));
    return false;
  }
  const auto stored = artifacts_.Put(bytes);
  if (!stored) spdlog::warn("a shared artifact cannot be stored: {}", stored.error().message);
  return stored.has_value();
}

Result<> RedisShare::Write(RedisConnection& connection, const Offered& offered) {
  for (const proto::File& file : offered.files) {
    TRY_ASSIGN(const bool there, WriteFile(connection, file));
    if (!there) return {};
  }
  TRY_ASSIGN(const RedisReply reply, connection.Call({"SET", ResultKey(offered.key), offered.record, "EX", kLife}));
  if (!reply.refusal) return {};
  const std::lock_guard lock(mutex_);
  if (std::exchange(state_.error, *reply.refusal) != *reply.refusal)
    spdlog::warn("{} refuses a result: {}", address_.Text(), *reply.refusal);
  return {};
}

// Chunks of the same bytes at the same places: two that write at once do not disturb each other, and who reads
// meanwhile sees a wrong digest.
Result<bool> RedisShare::WriteFile(RedisConnection& connection, const proto::File& file) {
  const std::string key = FileKey(file.digest());
  TRY_ASSIGN(const RedisReply size, connection.Call({"STRLEN", key}));
  if (static_cast<uint64_t>(size.number) != file.size_bytes()) {
    for (uint64_t offset = 0; offset < file.size_bytes();) {
      const auto chunk = artifacts_.Read(file.digest(), offset, kChunk);
      if (!chunk || chunk->empty()) return false;
      TRY_ASSIGN(const RedisReply written, connection.Call({"SETRANGE", key, std::to_string(offset), *chunk}));
      if (written.refusal) return false;
      offset += chunk->size();
    }
  }
  TRY(connection.Call({"EXPIRE", key, kLife}));
  return true;
}

Result<> RedisShare::DropUnsound(RedisConnection& connection, const std::string& key) {
  spdlog::warn("{} holds something else than it should under {}", address_.Text(), key);
  {
    const std::lock_guard lock(mutex_);
    ++state_.unsound;
  }
  TRY(connection.Call({"DEL", key}));
  return {};
}

void RedisShare::NoteFailure(const Error& error) {
  std::string before;
  {
    const std::lock_guard lock(mutex_);
    state_.connected = false;
    before = std::exchange(state_.error, error.message);
    for (Question& question : questions_) answers_.push_back({std::move(question.key), std::nullopt, ""});
    questions_.clear();
  }
  if (before != error.message) spdlog::warn("{}: {}; work goes on without it", address_.Text(), error.message);
}

}  // namespace hone
