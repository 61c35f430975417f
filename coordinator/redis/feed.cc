#include "coordinator/redis/feed.h"

#include <utility>

#include "common/base/clock.h"

namespace hone {
namespace {

constexpr const char* kStream = "hone:events";
constexpr const char* kStreamLength = "100000";
constexpr const char* kWorkerPrefix = "hone:worker:";
constexpr int64_t kWorkersEveryMs = 5000;
constexpr const char* kWorkerLifeS = "15";

}  // namespace

Feed::Feed(RedisAddress address, Coordinator& coordinator, std::string endpoint)
    : endpoint_(std::move(endpoint)), publisher_(RedisPublisher::Start(std::move(address))) {
  if (const auto last = coordinator.store().LastEvent(0)) told_ = *last;
}

void Feed::Tell(Coordinator& coordinator) {
  TellEvents(coordinator);
  const int64_t now = SystemClock().SteadyMs();
  if (now >= next_workers_ms_) TellWorkers(coordinator, now);
}

void Feed::TellEvents(Coordinator& coordinator) {
  for (const proto::Event& event : coordinator.EventsSince(told_)) {
    publisher_->Push({"XADD",        kStream,
                      "MAXLEN",      "~",
                      kStreamLength, "*",
                      "sequence",    std::to_string(event.sequence()),
                      "job",         std::to_string(event.job()),
                      "study",       std::to_string(event.study()),
                      "trial",       std::to_string(event.trial()),
                      "kind",        event.kind(),
                      "text",        event.text(),
                      "unix_ms",     std::to_string(event.unix_ms()),
                      "coordinator", endpoint_});
  }
}

void Feed::TellWorkers(const Coordinator& coordinator, int64_t now_ms) {
  next_workers_ms_ = now_ms + kWorkersEveryMs;
  for (const Worker* worker : coordinator.fleet().Live()) {
    publisher_->Push({"SET", kWorkerPrefix + worker->record.name, endpoint_, "EX", kWorkerLifeS});
  }
}

}  // namespace hone
