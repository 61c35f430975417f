// The open leases and their deadlines. The database holds the same attempts as open; this is the index over them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/records.h"

namespace hone {

struct OpenLease {
  AttemptRecord attempt;
  bool confirmed = false;       // Its worker said that it holds it.
  bool missing = false;         // It was confirmed, and its worker's last word neither held nor reported it.
  std::string phase;            // As the worker told it.
  int64_t deadline_ms = 0;      // Steady clock.
};

// One thread at a time. Pointers are valid until the lease is closed.
class LeaseTable {
 public:
  void Open(AttemptRecord attempt, int64_t deadline_ms);
  void Close(uint64_t lease);
  OpenLease* Find(uint64_t lease);
  const OpenLease* Find(uint64_t lease) const;

  // Every lease of the session that is not missing lives until deadline_ms.
  void Extend(const std::string& session, int64_t deadline_ms);
  std::vector<uint64_t> OfSession(const std::string& session) const;
  // Of the worker's name under any session but this one.
  std::vector<uint64_t> OfOtherSessions(const std::string& worker, const std::string& session) const;
  std::vector<uint64_t> OfJob(uint64_t job) const;
  std::vector<uint64_t> Due(int64_t now_ms) const;
  std::optional<int64_t> NextDeadline() const;
  void Forgive(int64_t ms);
  // Sessions that lost a lease since the last call.
  std::set<std::string> TakeClosed() { return std::exchange(closed_, {}); }
  void Clear();
  const std::map<uint64_t, OpenLease>& all() const { return leases_; }

 private:
  void SetDeadline(OpenLease& lease, int64_t deadline_ms);

  std::map<uint64_t, OpenLease> leases_;
  std::set<std::pair<int64_t, uint64_t>> deadlines_;
  std::map<std::string, std::set<uint64_t>> sessions_;
  std::set<std::string> closed_;
};

}  // namespace hone
