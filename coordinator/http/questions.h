// Questions to the loop from the server's thread. Identical ones in flight are asked once; an answer serves until
// something has happened. So what a thousand viewers of one page cost the loop is what one costs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/result.h"
#include "coordinator/http/hand_over.h"

namespace hone {

class Questions {
 public:
  // The reply, or what went wrong.
  using Take = std::function<void(const Result<proto::Frame>&)>;

  Questions(HandOver& hand_over, const Clock& clock) : hand_over_(hand_over), clock_(clock) {}

  // Asked as it is, for who asks. What is remembered is forgotten: it may have changed something.
  void Change(proto::Frame frame, Identity identity, Take take);
  // Asked once, kept by nobody: for those who keep it themselves.
  void Ask(proto::Frame frame, Take take);
  // Something to look at: at least as new as the last event that was seen.
  void Look(proto::Frame frame, Take take);

  void TakeAnswer(HandOver::Answer answer);
  // Events up to that one are what `Look` has to know of.
  void Seen(uint64_t event) { seen_ = event; }
  // Several times a second: asks what was put off.
  void Tick();
  // Nobody is answered any more: what waits is dropped.
  void Abandon();
  size_t waiting() const { return waiting_.size(); }

 private:
  struct Pending {
    Take take;
    std::string key;  // Of a remembered one; "" otherwise.
  };
  struct Remembered {
    proto::Frame question;
    Result<proto::Frame> reply = proto::Frame();
    bool has_reply = false;
    bool in_flight = false;
    uint64_t asked_seen = 0;  // The last event when it was asked.
    int64_t asked_ms = 0;
    int64_t replied_ms = 0;
    int64_t cost_ms = 0;
    std::vector<Take> takes;  // Wait for the answer in flight ...
    std::vector<Take> next;   // ... or for the one after, being too new for it.
  };
  void Post(proto::Frame frame, Identity identity, Pending pending);
  void AskAgain(const std::string& key, Remembered& one);
  bool MayAsk(const Remembered& one) const;
  void Forget();

  HandOver& hand_over_;
  const Clock& clock_;
  uint64_t number_ = 0;
  uint64_t seen_ = 0;
  std::map<uint64_t, Pending> waiting_;
  std::map<std::string, Remembered> remembered_;  // By the question's bytes.
};

}  // namespace hone
