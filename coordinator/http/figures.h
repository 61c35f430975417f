// Figures in Prometheus' text format: base units, no job or trial as a label, every series there from the start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/http/hand_over.h"
#include "proto/wire.pb.h"

namespace hone {

// What the server's thread counts itself.
class Figures {
 public:
  void CountRequest(const std::string& route, int status, double seconds);
  void CountAuthFailure(const char* reason) { ++auth_failures_[reason]; }
  void CountEvent(const proto::Event& event);
  void Take(LoopFigures loop) { loop_ = std::move(loop); }
  const LoopFigures& loop() const { return loop_; }

  struct Now {
    std::vector<proto::WorkerSummary> workers;
    size_t event_streams = 0;
    uint64_t event_gaps = 0;
    size_t connections = 0;
    std::filesystem::path data;  // The coordinator's folder.
    int64_t started_unix_ms = 0;
  };
  std::string Text(const Now& now) const;

 private:
  struct Timing {
    std::vector<uint64_t> buckets;  // As kBuckets, not summed up.
    uint64_t count = 0;
    double seconds = 0;
  };
  std::map<std::pair<std::string, int>, uint64_t> requests_;
  std::map<std::string, Timing> timings_;
  std::map<std::string, uint64_t> auth_failures_ = {
      {"unknown_token", 0}, {"no_token", 0}, {"role", 0}, {"origin", 0}, {"host", 0}};
  std::map<std::string, uint64_t> trials_ = {{"complete", 0}, {"infeasible", 0}, {"failed", 0}};
  std::map<std::string, uint64_t> jobs_ = {{"complete", 0}, {"failed", 0}, {"cancelled", 0}};
  std::map<std::string, uint64_t> attempts_ = {
      {"crashed", 0}, {"timed_out", 0}, {"out_of_memory", 0}, {"returned", 0}, {"worker_lost", 0}};
  std::map<std::string, uint64_t> reused_ = {{"build", 0}, {"measure", 0}};
  LoopFigures loop_;
};

}  // namespace hone
