#include "coordinator/http/hand_over.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "common/base/file.h"

namespace hone {
namespace {

constexpr size_t kWaitingQuestions = 4096;
constexpr size_t kQuestionsAtOnce = 8;
// Of the time that a question took, so much goes to others before the next, while they ask.
constexpr int64_t kOthersShare = 3;

void Signal(int fd) {
  const uint64_t one = 1;
  const auto ignored = ::write(fd, &one, sizeof one);
  (void)ignored;
}

}  // namespace

Result<std::unique_ptr<HandOver>> HandOver::Make(int wake_loop, const Clock& clock) {
  Descriptor news(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!news) return Fail(ErrnoError("make", "an eventfd", errno));
  return std::unique_ptr<HandOver>(new HandOver(wake_loop, std::move(news), clock));
}

HandOver::HandOver(int wake_loop, Descriptor news, const Clock& clock)
    : wake_loop_(wake_loop), news_fd_(std::move(news)), clock_(clock), turned_ms_(clock.SteadyMs()) {}

void HandOver::WakeServer() { Signal(news_fd_.get()); }

bool HandOver::Ask(proto::Frame frame, Identity identity) {
  frame.set_protocol(kProtocol);
  {
    const std::lock_guard lock(mutex_);
    if (questions_.size() >= kWaitingQuestions) return false;
    questions_.push_back({kHttpPeer, std::move(frame), std::move(identity)});
  }
  Signal(wake_loop_);
  return true;
}

HandOver::News HandOver::TakeNews() {
  uint64_t ignored = 0;
  const auto count = ::read(news_fd_.get(), &ignored, sizeof ignored);
  (void)count;
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

std::vector<Listener::Incoming> HandOver::TakeQuestions(bool busy) {
  std::vector<Listener::Incoming> taken;
  if (busy && clock_.SteadyMs() < next_ms_) return taken;
  busy_ = busy;
  const std::lock_guard lock(mutex_);
  while (!questions_.empty() && taken.size() < kQuestionsAtOnce) {
    taken.push_back(std::move(questions_.front()));
    questions_.pop_front();
  }
  taken_ = taken.size();
  return taken;
}

std::chrono::milliseconds HandOver::Wait(std::chrono::milliseconds wait) const {
  const std::lock_guard lock(mutex_);
  if (questions_.empty()) return wait;
  const int64_t until = busy_ ? std::max<int64_t>(0, next_ms_ - clock_.SteadyMs()) : 0;
  return std::min(wait, std::chrono::milliseconds(until));
}

void HandOver::Reply(proto::Frame frame) { replies_.push_back(std::move(frame)); }

void HandOver::Charge(std::chrono::microseconds spent) {
  if (taken_ > 0) next_ms_ = clock_.SteadyMs() + spent.count() * kOthersShare / 1000;
  const int64_t cost = spent.count() / static_cast<int64_t>(std::max<size_t>(1, taken_));
  taken_ = 0;
  if (replies_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (proto::Frame& frame : replies_) news_.answers.push_back({std::move(frame), cost});
  }
  replies_.clear();
  WakeServer();
}

void HandOver::Tell(std::vector<proto::Event> events) {
  if (events.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    std::move(events.begin(), events.end(), std::back_inserter(news_.events));
  }
  WakeServer();
}

void HandOver::Tell(LoopFigures figures) {
  figures_wanted_ = false;
  {
    const std::lock_guard lock(mutex_);
    news_.figures = std::move(figures);
  }
  WakeServer();
}

}  // namespace hone
