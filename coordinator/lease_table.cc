#include "coordinator/lease_table.h"

#include "common/base/result.h"

namespace hone {

void LeaseTable::Open(AttemptRecord attempt, int64_t deadline_ms) {
  const uint64_t id = attempt.id;
  const auto [lease, is_new] = leases_.try_emplace(id);
  CHECK_THAT(is_new);
  lease->second.attempt = std::move(attempt);
  lease->second.deadline_ms = deadline_ms;
  deadlines_.emplace(deadline_ms, id);
  sessions_[lease->second.attempt.session].insert(id);
}

void LeaseTable::Close(uint64_t lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  deadlines_.erase({found->second.deadline_ms, lease});
  const auto session = sessions_.find(found->second.attempt.session);
  closed_.insert(session->first);
  session->second.erase(lease);
  if (session->second.empty()) sessions_.erase(session);
  leases_.erase(found);
}

OpenLease* LeaseTable::Find(uint64_t lease) {
  const auto found = leases_.find(lease);
  return found == leases_.end() ? nullptr : &found->second;
}

const OpenLease* LeaseTable::Find(uint64_t lease) const {
  const auto found = leases_.find(lease);
  return found == leases_.end() ? nullptr : &found->second;
}

void LeaseTable::SetDeadline(OpenLease& lease, int64_t deadline_ms) {
  deadlines_.erase({lease.deadline_ms, lease.attempt.id});
  lease.deadline_ms = deadline_ms;
  deadlines_.emplace(deadline_ms, lease.attempt.id);
}

void LeaseTable::Extend(const std::string& session, int64_t deadline_ms) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  for (const uint64_t id : found->second) {
    OpenLease& lease = leases_.at(id);
    if (!lease.missing) SetDeadline(lease, deadline_ms);
  }
}

std::vector<uint64_t> LeaseTable::OfSession(const std::string& session) const {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

std::vector<uint64_t> LeaseTable::OfOtherSessions(const std::string& worker, const std::string& session) const {
  std::vector<uint64_t> ids;
  for (const auto& [id, lease] : leases_) {
    if (lease.attempt.worker == worker && lease.attempt.session != session) ids.push_back(id);
  }
  return ids;
}

std::vector<uint64_t> LeaseTable::OfJob(uint64_t job) const {
  std::vector<uint64_t> ids;
  for (const auto& [id, lease] : leases_) {
    if (lease.attempt.trial.job == job) ids.push_back(id);
  }
  return ids;
}

std::vector<uint64_t> LeaseTable::Due(int64_t now_ms) const {
  std::vector<uint64_t> due;
  for (const auto& [deadline, id] : deadlines_) {
    if (deadline > now_ms) break;
    due.push_back(id);
  }
  return due;
}

std::optional<int64_t> LeaseTable::NextDeadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void LeaseTable::Forgive(int64_t ms) {
  deadlines_.clear();
  for (auto& [id, lease] : leases_) {
    lease.deadline_ms += ms;
    deadlines_.emplace(lease.deadline_ms, id);
  }
}

void LeaseTable::Clear() {
  leases_.clear();
  deadlines_.clear();
  sessions_.clear();
}

}  // namespace hone
