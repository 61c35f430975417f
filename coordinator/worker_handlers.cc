// Workers: hello, the one call that carries heartbeats, leases and reports, and what people ask about the fleet.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "common/base/strings.h"
#include "coordinator/coordinator.h"

namespace hone {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxTagBytes = 64;
constexpr int kMaxTags = 256;
constexpr uint32_t kMaxSlots = 64;
constexpr size_t kMaxCatalogueBytes = 1 << 20;
constexpr int kMaxPhaseBytes = 32;

// Names go into logs, events and other people's terminals.
Result<> CheckName(std::string_view what, const std::string& name, size_t max_bytes) {
  if (!name.empty() && name.size() <= max_bytes && Printable(name, max_bytes) == name) return {};
  return Fail(ErrorCode::kRejected, fmt::format("the {} '{}' is empty, longer than {} bytes or not printable", what,
                                                Printable(name, max_bytes), max_bytes));
}

Result<WorkerRecord> CheckHello(const proto::WorkerHello& hello, int64_t unix_ms) {
  TRY(CheckName("worker's name", hello.name(), kMaxNameBytes));
  TRY(CheckName("session", hello.session(), kMaxNameBytes));
  if (hello.tags_size() > kMaxTags)
    return Fail(ErrorCode::kRejected, fmt::format("worker {} has more than {} tags", hello.name(), kMaxTags));
  if (hello.catalogue().ByteSizeLong() > kMaxCatalogueBytes) {
    return Fail(ErrorCode::kRejected, fmt::format("the catalogue of worker {} is larger than {}", hello.name(),
                                                  HumanBytes(kMaxCatalogueBytes)));
  }
  std::set<std::string> tags;
  for (const std::string& tag : hello.tags()) {
    TRY(CheckName("tag", tag, kMaxTagBytes));
    tags.insert(tag);
  }
  WorkerRecord record;
  record.name = hello.name();
  record.session = hello.session();
  record.tags.assign(tags.begin(), tags.end());
  record.catalogue = hello.catalogue();
  record.slots = std::clamp<uint32_t>(hello.slots(), 1, kMaxSlots);
  record.first_seen_unix_ms = record.last_seen_unix_ms = unix_ms;
  return record;
}

// A worker speaks for itself: its name is that of its key.
Result<> CheckWorkerKey(const std::string& name, const Identity& who) {
  if (who.role == Role::everyone || name == who.name) return {};
  return Fail(ErrorCode::kDenied,
              fmt::format("the key of {} cannot speak for a worker named {}", who.name, Printable(name, kMaxNameBytes)),
              fmt::format("Start the worker with --name {}, or without --name.", who.name));
}

}  // namespace

Result<Coordinator::Answer> Coordinator::HandleWorkerHello(const Request& request, proto::Frame* reply) {
  TRY_ASSIGN(WorkerRecord record, CheckHello(request.frame.worker_hello(), clock_.UnixMs()));
  TRY(CheckWorkerKey(record.name, request.identity));
  const std::string session = record.session;
  TRY_ASSIGN(const auto welcome, fleet_.Hello(std::move(record), clock_.SteadyMs()));
  const WorkerRecord& worker = welcome.worker->record;
  peers_[request.peer] = session;
  TRY(store_.SaveWorker(worker));
  TRY(store_.SaveFingerprint(worker.catalogue.fingerprint(), clock_.UnixMs()));
  // A process that starts anew holds nothing of what its predecessor held.
  TRY(scheduler_.LoseOtherSessions(worker.name, session));
  scheduler_.leases().Extend(session, LeaseDeadline());
  std::erase_if(synchronizes_, [&](const auto& entry) { return fleet_.FindSession(entry.first) == nullptr; });
  if (!welcome.was_live || welcome.replaced) {
    const std::string text = fmt::format("worker {} joined: {}", worker.name, Join(worker.tags, ", "));
    spdlog::info("{}", text);
    TRY(store_.AppendEvent({}, "worker.joined", text, clock_.UnixMs()));
  }
  reply->mutable_worker_hello_reply()->set_lease_ms(options_.lease_ms);
  reply->mutable_worker_hello_reply()->set_heartbeat_ms(options_.heartbeat_ms);
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleSynchronize(const Request& request, proto::Frame* reply) {
  const proto::Synchronize& message = request.frame.synchronize();
  ParkedSynchronize parked;
  parked.peer = request.peer;
  parked.request = request.frame.request();
  Worker* worker = fleet_.FindSession(message.session());
  if (worker != nullptr) TRY(CheckWorkerKey(worker->record.name, request.identity));
  if (worker == nullptr && request.identity.role != Role::everyone) {
    // Whose session it is tells only its hello: until then it may neither report nor keep leases alive.
    reply->mutable_synchronize_reply()->set_unknown(true);
    return Answer::kNow;
  }
  if (worker != nullptr) {
    fleet_.Heard(*worker, clock_.SteadyMs(), clock_.UnixMs());
    fleet_.SetStopping(*worker, message.stopping());
    peers_[request.peer] = message.session();
  }
  scheduler_.leases().Extend(message.session(), LeaseDeadline());
  // A session that this process has not met yet may well hold leases of the life before.
  for (const proto::Report& report : message.reports()) {
    const OpenLease* lease = scheduler_.leases().Find(report.lease());
    if (lease == nullptr || lease->attempt.token != report.token()) ++counters_.late_reports;
    TRY(scheduler_.TakeReport(message.session(), report));
    parked.acknowledged.push_back(report.lease());
  }
  if (worker == nullptr) {
    proto::SynchronizeReply& answer = *reply->mutable_synchronize_reply();
    answer.set_unknown(true);
    for (const uint64_t lease : parked.acknowledged) answer.add_acknowledged(lease);
    return Answer::kNow;
  }
  TakeHolding(message, parked);
  scheduler_.leases().Extend(message.session(), LeaseDeadline());
  parked.deadline_ms = clock_.SteadyMs() + std::min(message.wait_ms(), options_.heartbeat_ms);
  const auto redelivered = static_cast<uint32_t>(parked.grants.size());
  parked.free_slots =
      message.stopping() || message.free_slots() <= redelivered ? 0 : message.free_slots() - redelivered;
  // A worker that asks again has given up on its earlier call; that one must not carry off a lease.
  const auto earlier = synchronizes_.find(message.session());
  if (earlier != synchronizes_.end()) {
    proto::Frame frame;
    for (const uint64_t lease : earlier->second.acknowledged)
      frame.mutable_synchronize_reply()->add_acknowledged(lease);
    frame.mutable_synchronize_reply();
    Reply(earlier->second.peer, earlier->second.request, std::move(frame));
    synchronizes_.erase(earlier);
  }
  parked_until_.insert({parked.deadline_ms, message.session()});
  answerable_.insert(message.session());
  if (parked.free_slots > 0) idle_.insert(message.session());
  synchronizes_.emplace(message.session(), std::move(parked));
  return Answer::kLater;
}

// Compares what the worker holds with what it should. A lease that it never confirmed is sent again (the reply was
// lost). One that it had and neither holds nor reports may still be named by its next word (reports have a bound per
// message); if not, it is no longer extended and expires.
void Coordinator::TakeHolding(const proto::Synchronize& message, ParkedSynchronize& parked) {
  std::set<uint64_t> held;
  for (const proto::Holding& holding : message.holding()) {
    parked.holding.push_back(holding);
    OpenLease* lease = scheduler_.leases().Find(holding.lease());
    if (lease == nullptr || lease->attempt.token != holding.token() || lease->attempt.session != message.session())
      continue;
    held.insert(holding.lease());
    lease->confirmed = true;
    lease->phase = Printable(holding.phase(), kMaxPhaseBytes);
  }
  for (const uint64_t id : scheduler_.leases().OfSession(message.session())) {
    OpenLease* lease = scheduler_.leases().Find(id);
    const bool is_held = held.count(id) > 0;
    if (!is_held && !lease->confirmed) parked.grants.push_back(id);
    const bool missing = !is_held && lease->confirmed;
    if (missing && !lease->missing)
      spdlog::warn("lease={} session={} no longer holds what it confirmed", id, message.session());
    lease->missing = missing;
  }
}

Result<Coordinator::Answer> Coordinator::HandleListWorkers(const Request&, proto::Frame* reply) {
  std::map<std::string, std::vector<std::string>> work;
  for (const auto& [id, lease] : scheduler_.leases().all())
    work[lease.attempt.worker].push_back(scheduler_.WorkText(lease));
  for (const auto& [name, worker] : fleet_.all()) {
    proto::WorkerSummary& summary = *reply->mutable_list_workers_reply()->add_workers();
    const auto busy = work.find(name);
    const bool leaving = worker.record.draining || worker.stopping;
    summary.set_name(name);
    summary.set_state(!worker.live ? "lost" : leaving ? "draining" : busy != work.end() ? "busy" : "ready");
    summary.set_last_seen_unix_ms(static_cast<uint64_t>(worker.record.last_seen_unix_ms));
    if (busy != work.end()) summary.set_work(Join(busy->second, "; "));
    for (const auto& tag : worker.record.tags) summary.add_tags(tag);
    *summary.mutable_fingerprint() = worker.record.catalogue.fingerprint();
    for (const auto& pass : worker.record.catalogue.passes()) summary.add_passes(pass.name());
    for (const auto& backend : worker.record.catalogue.backends()) summary.add_backends(backend.name());
  }
  reply->mutable_list_workers_reply();
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleDrainWorker(const Request& request, proto::Frame* reply) {
  const proto::DrainWorker& drain = request.frame.drain_worker();
  Worker* worker = fleet_.FindName(drain.name());
  if (worker == nullptr) {
    std::vector<std::string> names;
    for (const auto& [name, known] : fleet_.all()) names.push_back(name);
    return Fail(ErrorCode::kNotFound,
                fmt::format("there is no worker '{}'{}", Printable(drain.name(), kMaxNameBytes),
                            DidYouMean(drain.name(), names)),
                names.empty() ? "No worker was ever connected." : fmt::format("Known workers: {}.", Join(names, ", ")));
  }
  TRY(store_.SaveDraining(drain.name(), !drain.undrain()));
  fleet_.SetDraining(*worker, !drain.undrain());
  reply->mutable_drain_worker_reply();
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleGetCatalogue(const Request&, proto::Frame* reply) {
  *reply->mutable_get_catalogue_reply()->mutable_catalogue() = UnionOf(fleet_.Live());
  return Answer::kNow;
}

}  // namespace hone
