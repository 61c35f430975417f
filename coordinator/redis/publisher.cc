#include "coordinator/redis/publisher.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace hone {
namespace {

constexpr size_t kBatch = 64;
constexpr std::chrono::milliseconds kFirstBackOff{100};

size_t BytesOf(const RedisCommand& command) {
  size_t bytes = sizeof command;
  for (const std::string& word : command) bytes += sizeof word + word.size();
  return bytes;
}

}  // namespace

std::unique_ptr<RedisPublisher> RedisPublisher::Start(RedisAddress address, const RedisOptions& options) {
  std::unique_ptr<RedisPublisher> publisher(new RedisPublisher(std::move(address), options));
  publisher->thread_ = std::thread([raw = publisher.get()] { raw->Run(); });
  return publisher;
}

RedisPublisher::~RedisPublisher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void RedisPublisher::Push(RedisCommand command) {
  {
    const std::lock_guard lock(mutex_);
    queue_bytes_ += BytesOf(command);
    queue_.push_back(std::move(command));
    while (queue_.size() > options_.queue || queue_bytes_ > options_.queue_bytes) {
      queue_bytes_ -= BytesOf(queue_.front());
      queue_.pop_front();
      ++first_;
      ++state_.dropped;
    }
  }
  wake_.notify_one();
}

RedisPublisher::State RedisPublisher::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void RedisPublisher::Run() {
  std::chrono::milliseconds back_off = kFirstBackOff;
  for (;;) {
    auto connection = RedisConnection::Open(address_, options_.timeout);
    Result<> served;
    if (connection) {
      {
        const std::lock_guard lock(mutex_);
        state_.connected = true;
        state_.error.clear();
      }
      spdlog::info("events go to {}", address_.Text());
      back_off = kFirstBackOff;
      while (served) {
        uint64_t number = 0;
        bool stop = false;
        const std::vector<RedisCommand> batch = NextBatch(number, stop);
        if (stop) return;
        served = SendBatch(*connection, batch, number);
      }
    } else {
      served = Fail(connection.error());
    }
    NoteFailure(served.error());
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, back_off, [this] { return stop_; })) return;
    back_off = std::min(back_off * 2, options_.longest_back_off);
  }
}

// Waits for the next commands; they stay in the queue until Redis has answered them.
std::vector<RedisCommand> RedisPublisher::NextBatch(uint64_t& number, bool& stop) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
  stop = stop_;
  number = first_;
  return {queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), kBatch))};
}

// A batch that broke off is sent again from the first command without an answer: readers may see an event twice, with
// the same number.
Result<> RedisPublisher::SendBatch(RedisConnection& connection, const std::vector<RedisCommand>& batch,
                                   uint64_t number) {
  for (const RedisCommand& command : batch) connection.Append(command);
  TRY(connection.Flush());
  for (size_t i = 0; i < batch.size(); ++i, ++number) {
    TRY_ASSIGN(const RedisReply reply, connection.NextReply());
    const std::lock_guard lock(mutex_);
    if (reply.refusal && std::exchange(state_.error, *reply.refusal) != *reply.refusal) {
      spdlog::warn("{} refuses {}: {}", address_.Text(), batch[i].front(), *reply.refusal);
    }
    ++(reply.refusal ? state_.refused : state_.sent);
    if (first_ > number || queue_.empty()) continue;   // Dropped from the full queue meanwhile.
    queue_bytes_ -= BytesOf(queue_.front());
    queue_.pop_front();
    ++first_;
  }
  return {};
}

void RedisPublisher::NoteFailure(const Error& error) {
  std::string before;
  {
    const std::lock_guard lock(mutex_);
    state_.connected = false;
    ++state_.broken;
    before = std::exchange(state_.error, error.message);
  }
  if (before != error.message) spdlog::warn("{}: {}; work goes on without it", address_.Text(), error.message);
}

}  // namespace hone
