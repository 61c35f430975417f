// The workers: who is there, what each offers, when each was last heard. The database remembers them across restarts;
// whether a worker is live is known to this process alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/records.h"

namespace hone {

struct Worker {
  WorkerRecord record;
  bool live = false;  // Heard within the lease time, with a session that said hello to this process.
  bool stopping = false;                   // It said that it takes nothing new.
  int64_t seen_ms = 0;                     // Steady clock.
  bool told_draining = false;              // What its last reply said.
  std::set<std::string> superseded;        // Earlier sessions under this name.

  bool TakesWork() const { return live && !stopping && !record.draining; }
};

// What a worker must offer to do a piece of work.
struct Need {
  std::vector<std::string> tags;           // All of them.
  std::vector<std::string> backends;       // All of them.
  std::string pass;                        // "" = none.
  uint32_t version = 0;
};

bool HasTags(const Worker& worker, const std::vector<std::string>& tags);
bool Offers(const Worker& worker, const Need& need);

// One thread at a time. Pointers stay valid for the life of the fleet.
class Fleet {
 public:
  // Workers of earlier lives; none is live.
  void Load(std::vector<WorkerRecord> records);

  // A worker (again) says who it is. kConflict for a session that a newer process of the same name has replaced;
  // otherwise the worker, and in `replaced` whether another session held the name. The record's first_seen and draining
  // are kept from before.
  struct Welcome {
    Worker* worker = nullptr;
    bool replaced = false;
    bool was_live = false;
  };
  Result<Welcome> Hello(WorkerRecord record, int64_t now_ms);

  Worker* FindName(const std::string& name);
  // Only of sessions that said hello to this process.
  Worker* FindSession(const std::string& session);
  void Heard(Worker& worker, int64_t now_ms, int64_t unix_ms);
  void SetStopping(Worker& worker, bool stopping);
  void SetDraining(Worker& worker, bool draining);
  // Changes whenever the set of workers that take work, or what one of them offers, may have changed.
  uint64_t generation() const { return generation_; }
  // Those live ones that were silent for lease_ms; they are no longer live.
  std::vector<Worker*> TakeSilent(int64_t now_ms, int64_t lease_ms);
  // The time in which this process did not listen counts for nobody.
  void Forgive(int64_t ms);

  std::vector<const Worker*> Live() const;                                        // By name.
  std::vector<const Worker*> Matching(const std::vector<std::string>& tags) const;  // Live, taking work or not.
  const std::map<std::string, Worker>& all() const { return workers_; }

 private:
  std::map<std::string, Worker> workers_;          // By name.
  std::map<std::string, std::string> sessions_;    // Session -> name.
  uint64_t generation_ = 1;
};

// Passes by name (the highest version), backends by name (devices and formats of all), tags, the fingerprint where
// there is one worker.
proto::Catalogue UnionOf(const std::vector<const Worker*>& workers);

// "a has cpu, x86_64; b has cpu, gpu".
std::string TagsText(const std::vector<const Worker*>& workers);

}  // namespace hone
