#include "coordinator/http/questions.h"

#include <algorithm>
#include <utility>

namespace hone {
namespace {

// What tells of no event (a worker's last sign of life, the phase of a trial) is at most so old.
constexpr int64_t kOldestMs = 2000;
// Of one question: not more often than this, and not more than a fifth of the loop's time.
constexpr int64_t kSoonestMs = 50;
constexpr int64_t kCostShare = 4;
constexpr int64_t kLatestMs = 2000;
constexpr size_t kRememberedMost = 256;

}  // namespace

void Questions::Post(proto::Frame frame, Identity identity, Pending pending) {
  const uint64_t number = ++number_;
  frame.set_request(number);
  if (!hand_over_.Ask(std::move(frame), std::move(identity))) {
    const Result<proto::Frame> busy =
        Fail(ErrorCode::kUnreachable, "too many questions wait already", "Ask again in a moment.");
    if (pending.key.empty()) return pending.take(busy);
    proto::Frame reply;
    *reply.mutable_error() = ToProto(busy.error());
    reply.set_request(number);
    waiting_.emplace(number, std::move(pending));
    return TakeAnswer({std::move(reply), 0});
  }
  waiting_.emplace(number, std::move(pending));
}

void Questions::Change(proto::Frame frame, Identity identity, Take take) {
  Post(std::move(frame), std::move(identity),
       {[this, take = std::move(take)](const Result<proto::Frame>& reply) {
          for (auto& [key, one] : remembered_) one.has_reply = false;
          take(reply);
        },
        ""});
}

void Questions::Ask(proto::Frame frame, Take take) { Post(std::move(frame), {}, {std::move(take), ""}); }

bool Questions::MayAsk(const Remembered& one) const {
  const int64_t pause = std::clamp(one.cost_ms * kCostShare, kSoonestMs, kLatestMs);
  return !one.in_flight && clock_.SteadyMs() - one.replied_ms >= pause;
}

void Questions::Look(proto::Frame frame, Take take) {
  const std::string key = frame.SerializeAsString();
  if (remembered_.size() >= kRememberedMost) Forget();
  Remembered& one = remembered_[key];
  if (one.question.body_case() == proto::Frame::BODY_NOT_SET) one.question = std::move(frame);
  const bool knows_all = one.asked_seen == seen_;
  if (one.has_reply && knows_all && clock_.SteadyMs() - one.asked_ms < kOldestMs)
    return take(Result<proto::Frame>(one.reply));
  if (one.in_flight && knows_all) return one.takes.push_back(std::move(take));
  one.next.push_back(std::move(take));
  if (MayAsk(one) || (!one.in_flight && one.replied_ms == 0)) AskAgain(key, one);
}

void Questions::AskAgain(const std::string& key, Remembered& one) {
  one.in_flight = true;
  one.asked_seen = seen_;
  one.asked_ms = clock_.SteadyMs();
  std::move(one.next.begin(), one.next.end(), std::back_inserter(one.takes));
  one.next.clear();
  Post(one.question, {}, {nullptr, key});
}

void Questions::TakeAnswer(HandOver::Answer answer) {
  const auto found = waiting_.find(answer.frame.request());
  if (found == waiting_.end()) return;
  const Pending pending = std::move(found->second);
  waiting_.erase(found);
  Result<proto::Frame> reply = answer.frame.has_error() ? Result<proto::Frame>(Fail(FromProto(answer.frame.error())))
                                                        : Result<proto::Frame>(std::move(answer.frame));
  if (pending.key.empty()) return pending.take(reply);
  Remembered& one = remembered_[pending.key];
  one.reply = reply;
  one.has_reply = true;
  one.in_flight = false;
  one.replied_ms = clock_.SteadyMs();
  one.cost_ms = answer.cost_us / 1000;
  for (const Take& take : std::exchange(one.takes, {})) take(reply);
}

void Questions::Tick() {
  std::vector<std::string> due;
  for (const auto& [key, one] : remembered_) {
    if (!one.next.empty() && MayAsk(one)) due.push_back(key);
  }
  for (const std::string& key : due) AskAgain(key, remembered_[key]);
}

void Questions::Abandon() {
  waiting_.clear();
  remembered_.clear();
}

// What nobody waits for and was asked longest ago.
void Questions::Forget() {
  std::vector<std::pair<int64_t, std::string>> idle;
  for (const auto& [key, one] : remembered_) {
    if (!one.in_flight && one.next.empty()) idle.emplace_back(one.asked_ms, key);
  }
  std::sort(idle.begin(), idle.end());
  idle.resize(std::min(idle.size(), kRememberedMost / 4));
  for (const auto& [asked, key] : idle) remembered_.erase(key);
}

}  // namespace hone
