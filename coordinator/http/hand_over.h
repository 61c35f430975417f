// Between the coordinator's loop and the thread that serves HTTP: questions one way, answers, events and figures the
// other. The server's thread never touches the coordinator's state; the loop never waits for the server's thread.
//
// The loop takes few questions at a time and, while others ask too, spends at most a quarter of its time on them: a
// thousand viewers cost those who do the work no more than one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/open_file.h"
#include "common/base/result.h"
#include "common/transport/transport.h"

namespace hone {

// Whose questions these are. No peer of the listener can have this name: those that peers choose begin with no zero
// byte, those that ZeroMQ gives have five bytes.
inline const std::string kHttpPeer("\0hone-http", 10);

// What the loop tells of itself.
struct LoopFigures {
  uint64_t rounds = 0;
  uint64_t messages = 0;
  uint64_t failed_rounds = 0;
  uint64_t late_reports = 0;
  uint64_t lost_leases = 0;
  uint64_t running_jobs = 0;
  uint64_t waiting_trials = 0;  // Of running jobs, this and the next.
  uint64_t running_trials = 0;
  std::string disk;  // "" or why nothing new is taken.
};

class HandOver {
 public:
  // `wake_loop` is the descriptor that ends the loop's wait (Listener::EventFd).
  static Result<std::unique_ptr<HandOver>> Make(int wake_loop, const Clock& clock);

  struct Answer {
    proto::Frame frame;
    int64_t cost_us = 0;  // Of the loop's time.
  };
  struct News {
    std::vector<Answer> answers;
    std::vector<proto::Event> events;  // In order, each once.
    std::optional<LoopFigures> figures;
  };

  // --- the server's thread ---
  // The frame's request number says which answer is its own. False where too many wait already.
  bool Ask(proto::Frame frame, Identity identity);
  int NewsFd() const { return news_fd_.get(); }
  News TakeNews();
  void WantFigures() { figures_wanted_ = true; }
  // Since the loop turned last.
  int64_t SilenceMs() const { return clock_.SteadyMs() - turned_ms_; }

  // --- the loop ---
  // What is to be handled now; `busy`: others asked in this round.
  std::vector<Listener::Incoming> TakeQuestions(bool busy);
  // How long the loop may wait for others, at most `wait`.
  std::chrono::milliseconds Wait(std::chrono::milliseconds wait) const;
  void Reply(proto::Frame frame);
  // After each round: what the questions taken last took, and their replies go.
  void Charge(std::chrono::microseconds spent);
  void Tell(std::vector<proto::Event> events);
  bool figures_wanted() const { return figures_wanted_; }
  void Tell(LoopFigures figures);
  void Turned() { turned_ms_ = clock_.SteadyMs(); }

 private:
  HandOver(int wake_loop, Descriptor news, const Clock& clock);
  void WakeServer();

  const int wake_loop_;
  const Descriptor news_fd_;
  const Clock& clock_;
  std::atomic<bool> figures_wanted_{false};
  std::atomic<int64_t> turned_ms_;

  mutable std::mutex mutex_;
  std::deque<Listener::Incoming> questions_;
  News news_;

  // The loop's.
  std::vector<proto::Frame> replies_;  // Not told yet: they wait for the round's cost.
  size_t taken_ = 0;
  bool busy_ = false;
  int64_t next_ms_ = 0;  // No questions before.
};

}  // namespace hone
