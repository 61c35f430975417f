// A service in one process whose every step is chosen by bytes: messages of workers and clients that come, come twice,
// late, or are lost; time that passes, clocks that jump, a disk that is full, deaths and restarts. The same bytes give
// the same play. At its end fsck looks at what is left, with the log of what was acknowledged.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "coordinator/coordinator.h"

namespace hone::test {

// Bytes taken one by one; zeros once they are used up.
class ByteSource {
 public:
  explicit ByteSource(std::string_view bytes) : bytes_(bytes) {}
  bool empty() const { return at_ >= bytes_.size(); }
  uint8_t Next() { return empty() ? 0 : static_cast<uint8_t>(bytes_[at_++]); }
  std::string_view Take(size_t count) {
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += taken.size();
    return taken;
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

class PlayClock final : public Clock {
 public:
  int64_t SteadyMs() const override { return steady_ms; }
  int64_t UnixMs() const override { return 1'700'000'000'000 + steady_ms + jump_ms; }
  int64_t steady_ms = 1'000'000;
  int64_t jump_ms = 0;
};

class Play {
 public:
  // In a folder of its own under `parent`, which must be empty or not there.
  explicit Play(const std::filesystem::path& folder);
  ~Play();

  // Until the bytes are used up.
  void Run(std::string_view bytes);
  // Everything is well again and workers do what is left. Then fsck; "" where all is sound and ended.
  std::string Settle();

  struct Counts {
    uint64_t steps = 0, faults = 0, acknowledged = 0, results = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct SimulatedWorker {
    std::string name;
    uint64_t life = 0;
    std::map<uint64_t, proto::Lease> held;
    std::map<uint64_t, proto::Report> spool;
    std::string session() const { return name + "/" + std::to_string(life); }
    std::string peer() const { return "peer of " + name; }
    uint32_t free_slots() const { return held.size() < 2 ? 2 - static_cast<uint32_t>(held.size()) : 0; }
  };
  // What a frame that is under way will mean to its sender.
  struct Asked {
    int worker = -1;
    std::string kind;
    std::string text;
    uint64_t number = 0;
  };
  struct Step {
    const char* name;
    int weight;
    bool is_fault;
    void (Play::*take)(ByteSource&);
  };
  static const std::vector<Step>& Steps();

  void Open();
  void Deliver(const std::string& peer, proto::Frame frame, Asked asked);
  void Round(std::vector<Listener::Incoming> incoming);
  void Answered(const Asked& asked, const proto::Frame& frame);
  void Acknowledge(const nlohmann::json& line);

  void Tick(ByteSource& from);
  void LongTick(ByteSource& from);
  void Hello(ByteSource& from);
  void Synchronize(ByteSource& from);
  void End(ByteSource& from);
  void Spoil(ByteSource& from);
  void Submit(ByteSource& from);
  void Cancel(ByteSource& from);
  void Ask(ByteSource& from);
  void Repeat(ByteSource& from);
  void LoseReplies(ByteSource& from);
  void RestartCoordinator(ByteSource& from);
  void RestartWorker(ByteSource& from);
  void JumpClock(ByteSource& from);
  void FillDisk(ByteSource& from);
  void FreeDisk(ByteSource& from);
  void RawFrame(ByteSource& from);

  int IndexOf(const SimulatedWorker& worker) const { return static_cast<int>(&worker - workers_.data()); }
  SimulatedWorker& Which(ByteSource& from) { return workers_[from.Next() % workers_.size()]; }
  void SayHello(SimulatedWorker& worker);
  void Synchronize(SimulatedWorker& worker, uint32_t free_slots);
  void EndOne(SimulatedWorker& worker, proto::Report::Outcome outcome);
  void Upload(const std::string& bytes);

  const std::filesystem::path folder_;
  PlayClock clock_;
  CoordinatorOptions options_;
  std::unique_ptr<Coordinator> coordinator_;
  std::vector<SimulatedWorker> workers_;
  std::map<uint64_t, Asked> asked_;
  std::vector<Listener::Incoming> sent_;       // The last ones, to be repeated.
  uint64_t request_ = 0;
  int lose_ = 0;                               // So many replies are lost on the way.
  std::vector<uint64_t> jobs_;
  std::string log_;
  std::string trouble_;
  Counts counts_;
};

}  // namespace hone::test
