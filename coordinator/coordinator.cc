#include "coordinator/coordinator.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// The loop looks around at least this often.
constexpr int64_t kLongestWaitMs = 500;
// Answers of other coordinators are looked for so often while there may be some.
constexpr int64_t kAnswerLookMs = 2;
// Leases of one reply; what does not fit is sent with the next.
constexpr size_t kLeaseBytes = kMaxFrameBytes - (1 << 20);

// Errors that a handler finds before it changes anything.
bool IsRefusal(ErrorCode code) {
  return code == ErrorCode::kDenied || code == ErrorCode::kRejected || code == ErrorCode::kNotFound ||
         code == ErrorCode::kConflict || code == ErrorCode::kUsage;
}

}  // namespace

Result<std::unique_ptr<Coordinator>> Coordinator::Open(const CoordinatorOptions& options, const Clock& clock) {
  TRY(MakeFolder(options.data));
  auto opened = Store::Open(options.data / "hone.db", options.quick_check_bytes);
  if (!opened && opened.error().code == ErrorCode::kExhausted && Ballast::GiveUp(options.data)) {
    opened = Store::Open(options.data / "hone.db", options.quick_check_bytes);
  }
  if (!opened) return Fail(std::move(opened.error()));
  Store store = std::move(*opened);
  const std::filesystem::path folder = options.data / "artifacts";
  TRY(MakeFolder(folder));
  TRY_ASSIGN(FileStore artifacts, FileStore::Open(folder));
  // The object below is what uploads refer to; they are opened on its members.
  TRY_ASSIGN(Uploads uploads, Uploads::Open(options, artifacts, folder / "partial"));
  std::unique_ptr<Coordinator> coordinator(
      new Coordinator(options, clock, std::move(store), std::move(artifacts), std::move(uploads)));
  TRY_ASSIGN(auto workers, coordinator->store_.Workers());
  coordinator->fleet_.Load(std::move(workers));
  TRY(coordinator->scheduler_.Load());
  coordinator->last_round_ms_ = clock.SteadyMs();
  TRY_ASSIGN(coordinator->watched_event_, coordinator->store_.LastEvent(0));
  return coordinator;
}

Coordinator::Coordinator(const CoordinatorOptions& options, const Clock& clock, Store store, FileStore artifacts,
                         Uploads uploads)
    : options_(options),
      clock_(clock),
      ballast_(options.data, options.reserve_bytes),
      store_(std::move(store)),
      artifacts_(std::move(artifacts)),
      uploads_(std::move(uploads)),
      scheduler_(options_, store_, fleet_, artifacts_, clock_) {
  uploads_.Use(options_, artifacts_);
}

const std::vector<Coordinator::HandlerRow>& Coordinator::Handlers() {
  using F = proto::Frame;
  const std::vector<Role> anybody = {Role::client, Role::worker, Role::admin};
  const std::vector<Role> clients = {Role::client, Role::admin};
  const std::vector<Role> workers = {Role::worker};
  const std::vector<Role> admins = {Role::admin};
  static const std::vector<HandlerRow> rows = {
      {F::kPing, &Coordinator::HandlePing, false, anybody},
      {F::kFindMissing, &Coordinator::HandleFindMissing, false, anybody},
      {F::kPutChunk, &Coordinator::HandlePutChunk, false, anybody},
      {F::kGetChunk, &Coordinator::HandleGetChunk, false, anybody},
      {F::kWorkerHello, &Coordinator::HandleWorkerHello, true, workers},
      {F::kSynchronize, &Coordinator::HandleSynchronize, true, workers},
      {F::kSubmitJob, &Coordinator::HandleSubmitJob, true, clients},
      {F::kCheckRecipe, &Coordinator::HandleCheckRecipe, false, clients},
      {F::kGetJob, &Coordinator::HandleGetJob, false, clients},
      {F::kListJobs, &Coordinator::HandleListJobs, false, clients},
      {F::kListTrials, &Coordinator::HandleListTrials, false, clients},
      {F::kWatchEvents, &Coordinator::HandleWatchEvents, false, clients},
      {F::kCancelJob, &Coordinator::HandleCancelJob, true, clients},
      {F::kRetryJob, &Coordinator::HandleRetryJob, true, clients},
      {F::kListWorkers, &Coordinator::HandleListWorkers, false, clients},
      {F::kDrainWorker, &Coordinator::HandleDrainWorker, false, admins},
      {F::kGetCatalogue, &Coordinator::HandleGetCatalogue, false, clients},
      {F::kGetSamples, &Coordinator::HandleGetSamples, false, clients},
      {F::kGetLog, &Coordinator::HandleGetLog, false, clients},
      {F::kGetOrigin, &Coordinator::HandleGetOrigin, false, clients},
      {F::kListAttempts, &Coordinator::HandleListAttempts, false, clients},
  };
  return rows;
}

const Coordinator::HandlerRow* Coordinator::FindHandler(proto::Frame::BodyCase body) {
  for (const HandlerRow& row : Handlers()) {
    if (row.body == body) return &row;
  }
  return nullptr;
}

std::vector<Outgoing> Coordinator::Round(std::vector<Listener::Incoming> incoming) {
  ++counters_.rounds;
  out_.clear();
  ForgiveStall(clock_.SteadyMs());
  if (const auto begun = store_.Begin(); !begun) {
    FailRound(begun.error(), incoming);
    return std::exchange(out_, {});
  }
  size_t handled = 0;
  while (handled < incoming.size() && store_.InTransaction()) Handle(incoming[handled++]);
  if (store_.InTransaction()) Housekeep();
  Result<> committed =
      store_.InTransaction() ? store_.Commit() : Result<>(Fail(ErrorCode::kExhausted, "the database is full"));
  if (!committed) {
    FailRound(committed.error(), {incoming.begin() + static_cast<ptrdiff_t>(handled), incoming.end()});
  } else {
    scheduler_.Committed();
  }
  return std::exchange(out_, {});
}

std::chrono::milliseconds Coordinator::NextRound() const {
  const int64_t now = clock_.SteadyMs();
  if (uploads_.busy() || scheduler_.more()) return std::chrono::milliseconds(0);
  int64_t next = now + std::min<int64_t>(kLongestWaitMs, std::max<uint32_t>(1, options_.lease_ms / 4));
  if (!parked_until_.empty()) next = std::min(next, parked_until_.begin()->first);
  if (scheduler_.asks()) next = std::min(next, now + kAnswerLookMs);
  for (const ParkedWatch& parked : watches_) next = std::min(next, parked.deadline_ms);
  if (const auto deadline = scheduler_.leases().NextDeadline()) next = std::min(next, *deadline);
  // What is overdue because the database refuses writes waits for the next try.
  next = std::max(next, std::min(retry_ms_, now + kLongestWaitMs));
  return std::chrono::milliseconds(std::max<int64_t>(0, next - now));
}

// The time in which this process was stopped or busy is nobody's silence: what was sent meanwhile is still to be read.
void Coordinator::ForgiveStall(int64_t now_ms) {
  const int64_t gap = now_ms - last_round_ms_;
  last_round_ms_ = now_ms;
  if (gap <= options_.lease_ms / 2) return;
  spdlog::warn("the coordinator was away for {} ms; leases are longer by that", gap);
  scheduler_.leases().Forgive(gap);
  fleet_.Forgive(gap);
}

void Coordinator::Handle(const Listener::Incoming& message) {
  ++counters_.messages;
  HeardFrom(message);
  const int64_t changes = store_.TotalChanges();
  proto::Frame reply;
  if (const auto saved = store_.Savepoint(); !saved)
    return ReplyError(message.peer, message.frame.request(), saved.error());
  const auto answer = Dispatch({message.peer, message.frame, message.identity}, &reply);
  if (answer) {
    if (const auto released = store_.ReleaseSavepoint(); !released) spdlog::error("{}", released.error().message);
    if (*answer == Answer::kNow) Reply(message.peer, message.frame.request(), std::move(reply));
    return;
  }
  const bool changed = store_.TotalChanges() != changes;
  if (store_.InTransaction() && !store_.RollbackToSavepoint()) store_.Rollback();
  const HandlerRow* row = FindHandler(message.frame.body_case());
  // What the reserve refuses is refused before anything is changed.
  const bool refused =
      IsRefusal(answer.error().code) || (answer.error().code == ErrorCode::kExhausted && ballast_.spent() && !changed);
  if (!refused) spdlog::error("message {}: {}", static_cast<int>(message.frame.body_case()), answer.error().message);
  if (row != nullptr && row->schedules && (changed || !refused)) Recover();
  NoteFailure(answer.error());
  ReplyError(message.peer, message.frame.request(), answer.error());
}

// Any message of a worker's connection shows that it lives: a worker may be busy with a transfer.
void Coordinator::HeardFrom(const Listener::Incoming& message) {
  const auto found = peers_.find(message.peer);
  if (found == peers_.end()) return;
  Worker* worker = fleet_.FindSession(found->second);
  if (worker == nullptr || !worker->live) return;
  fleet_.Heard(*worker, clock_.SteadyMs(), clock_.UnixMs());
  scheduler_.leases().Extend(found->second, LeaseDeadline());
}

Result<Coordinator::Answer> Coordinator::Dispatch(const Request& request, proto::Frame* reply) {
  const HandlerRow* row = FindHandler(request.frame.body_case());
  if (row == nullptr) {
    return Fail(ErrorCode::kUsage,
                fmt::format("the coordinator takes no message of kind {}", static_cast<int>(request.frame.body_case())),
                "Client, worker and coordinator should be of the same version.");
  }
  const Identity& who = request.identity;
  if (who.role != Role::everyone && std::find(row->roles.begin(), row->roles.end(), who.role) == row->roles.end()) {
    std::vector<std::string> roles;
    for (const Role role : row->roles) roles.emplace_back(RoleName(role));
    return Fail(
        ErrorCode::kDenied,
        fmt::format("the key of {} has the role {}; this takes {}", who.name, RoleName(who.role), Join(roles, " or ")),
        "The coordinator's administrator gives roles: `hone keys allow`.");
  }
  return (this->*row->handler)(request, reply);
}

void Coordinator::Housekeep() {
  if (clock_.SteadyMs() >= retry_ms_) {
    Result<> done = store_.Savepoint();
    if (done) done = DoWhatIsDue();
    if (done) {
      done = store_.ReleaseSavepoint();
    } else if (store_.InTransaction() && !store_.RollbackToSavepoint()) {
      store_.Rollback();
    }
    if (!done) {
      ++counters_.failed_rounds;
      spdlog::error("work cannot be scheduled: {}", done.error().message);
      NoteFailure(done.error());
      retry_ms_ = clock_.SteadyMs() + options_.failed_round_ms;
      Recover();
    }
  }
  AnswerSynchronizes();
  AnswerWatches();
}

Result<> Coordinator::CheckRoom() const {
  if (!ballast_.spent()) return {};
  return Fail(ErrorCode::kExhausted, ballast_.Reason(), "Free space on that disk; work is taken again within seconds.");
}

void Coordinator::NoteFailure(const Error& error) {
  if (error.code == ErrorCode::kExhausted) ballast_.Spend(clock_.SteadyMs());
}

Result<> Coordinator::DoWhatIsDue() {
  ballast_.Tend(clock_.SteadyMs());
  TRY(NoteVerified());
  TRY(NoticeSilence());
  TRY(store_.DropOldEvents(options_.kept_events));
  counters_.lost_leases += scheduler_.leases().Due(clock_.SteadyMs()).size();
  TRY(scheduler_.ExpireDue());
  TRY(scheduler_.TakeShared());
  TRY(scheduler_.Advance());
  return AssignWork();
}

Result<> Coordinator::NoteVerified() {
  uploads_.Work();
  for (const auto& verified : uploads_.TakeVerified()) {
    if (verified.result) TRY(store_.NoteArtifact(verified.digest, verified.size_bytes, clock_.UnixMs()));
    std::erase_if(parked_uploads_, [&](const ParkedUpload& parked) {
      if (parked.digest != verified.digest) return false;
      if (!verified.result) {
        ReplyError(parked.peer, parked.request, verified.result.error());
        return true;
      }
      proto::Frame reply;
      reply.mutable_put_chunk_reply()->set_received_bytes(verified.size_bytes);
      reply.mutable_put_chunk_reply()->set_complete(true);
      Reply(parked.peer, parked.request, std::move(reply));
      return true;
    });
  }
  return {};
}

Result<> Coordinator::NoticeSilence() {
  // A worker is noticed at most a few milliseconds late for it; with a thousand of them, looking at all each round
  // costs more than the rest.
  const int64_t now = clock_.SteadyMs();
  if (now - silence_looked_ms_ < std::clamp<int64_t>(options_.lease_ms / 100, 1, kLongestWaitMs)) return {};
  silence_looked_ms_ = now;
  const int64_t unix_ms = clock_.UnixMs();
  for (Worker* worker : fleet_.TakeSilent(now, options_.lease_ms)) {
    synchronizes_.erase(worker->record.session);
    std::erase_if(peers_, [&](const auto& entry) { return entry.second == worker->record.session; });
    TRY(store_.SaveSeen(worker->record.name, worker->record.last_seen_unix_ms));
    const std::string text =
        fmt::format("worker {} was not heard for {}", worker->record.name, HumanDuration(options_.lease_ms));
    spdlog::warn("{}", text);
    TRY(store_.AppendEvent({}, "worker.lost", text, unix_ms));
  }
  if (now - seen_saved_ms_ < options_.seen_save_ms) return {};
  // All at once: each write on its own would cost a commit.
  seen_saved_ms_ = now;
  for (const auto& [name, worker] : fleet_.all()) {
    if (worker.live) TRY(store_.SaveSeen(name, worker.record.last_seen_unix_ms));
  }
  return {};
}

Result<> Coordinator::AssignWork() {
  // What is begun on a full disk might not find room to end.
  if (ballast_.spent()) return {};
  std::vector<Scheduler::Idle> idle;
  for (auto it = idle_.begin(); it != idle_.end();) {
    const auto parked = synchronizes_.find(*it);
    const Worker* worker = fleet_.FindSession(*it);
    if (parked == synchronizes_.end() || parked->second.free_slots == 0) {
      it = idle_.erase(it);
      continue;
    }
    ++it;
    if (worker == nullptr || !worker->TakesWork()) continue;
    const size_t held = scheduler_.leases().OfSession(parked->first).size();
    const size_t room = worker->record.slots > held ? worker->record.slots - held : 0;
    const auto free = static_cast<uint32_t>(std::min<size_t>(room, parked->second.free_slots));
    if (free > 0) idle.push_back({worker, free});
  }
  TRY_ASSIGN(const auto grants, scheduler_.Assign(std::move(idle)));
  for (const auto& grant : grants) {
    synchronizes_.at(grant.session).grants.push_back(grant.lease);
    answerable_.insert(grant.session);
  }
  return {};
}

proto::SynchronizeReply Coordinator::SynchronizeReplyFor(const ParkedSynchronize& parked) {
  proto::SynchronizeReply reply;
  size_t bytes = 0;
  for (const uint64_t id : parked.grants) {
    if (scheduler_.leases().Find(id) == nullptr) continue;
    auto lease = scheduler_.LeaseMessage(id);
    if (!lease) continue;
    bytes += lease->ByteSizeLong();
    if (bytes > kLeaseBytes && reply.leases_size() > 0) break;
    *reply.add_leases() = std::move(*lease);
  }
  for (const uint64_t id : parked.acknowledged) reply.add_acknowledged(id);
  for (const proto::Holding& holding : parked.holding) {
    const OpenLease* lease = scheduler_.leases().Find(holding.lease());
    const bool reported =
        std::find(parked.acknowledged.begin(), parked.acknowledged.end(), holding.lease()) != parked.acknowledged.end();
    if (!reported && (lease == nullptr || lease->attempt.token != holding.token())) reply.add_drop(holding.lease());
  }
  return reply;
}

void Coordinator::AnswerSynchronizes() {
  if (fleet_seen_ != fleet_.generation()) {
    fleet_seen_ = fleet_.generation();
    for (const auto& [session, parked] : synchronizes_) answerable_.insert(session);
  }
  answerable_.merge(scheduler_.leases().TakeClosed());
  for (const std::string& session : std::exchange(answerable_, {})) AnswerSynchronize(session, false);
  const int64_t now = clock_.SteadyMs();
  while (!parked_until_.empty() && parked_until_.begin()->first <= now) {
    const auto [deadline_ms, session] = *parked_until_.begin();
    parked_until_.erase(parked_until_.begin());
    const auto parked = synchronizes_.find(session);
    if (parked != synchronizes_.end() && parked->second.deadline_ms <= now) AnswerSynchronize(session, true);
  }
}

void Coordinator::AnswerSynchronize(const std::string& session, bool is_due) {
  const auto found = synchronizes_.find(session);
  if (found == synchronizes_.end()) return;
  Worker* worker = fleet_.FindSession(session);
  proto::SynchronizeReply reply = SynchronizeReplyFor(found->second);
  const bool drain = worker != nullptr && worker->record.draining;
  const bool has_news = reply.leases_size() > 0 || reply.drop_size() > 0 || reply.acknowledged_size() > 0 ||
                        worker == nullptr || drain != worker->told_draining;
  if (!has_news && !is_due && found->second.deadline_ms > clock_.SteadyMs()) return;
  reply.set_drain(drain);
  reply.set_unknown(worker == nullptr);
  if (worker != nullptr) worker->told_draining = drain;
  proto::Frame frame;
  *frame.mutable_synchronize_reply() = std::move(reply);
  Reply(found->second.peer, found->second.request, std::move(frame));
  parked_until_.erase({found->second.deadline_ms, session});
  synchronizes_.erase(found);
}

void Coordinator::AnswerWatches() {
  if (watches_.empty()) return;
  const auto last = store_.LastEvent(0);
  const bool events = last && *last != watched_event_;
  if (last) watched_event_ = *last;
  const int64_t now = clock_.SteadyMs();
  std::erase_if(watches_, [&](const ParkedWatch& parked) {
    const bool due = parked.deadline_ms <= now;
    if (!events && !due) return false;
    proto::Frame frame;
    const auto news = FillWatch(parked.watch, frame.mutable_watch_events_reply());
    if (!news) {
      ReplyError(parked.peer, parked.request, news.error());
      return true;
    }
    if (!*news && !due) return false;
    Reply(parked.peer, parked.request, std::move(frame));
    return true;
  });
}

// Memory may be ahead of the database: what was decided and not written did not happen.
void Coordinator::Recover() {
  for (auto& [session, parked] : synchronizes_) parked.grants.clear();
  if (const auto loaded = scheduler_.Load(); !loaded) {
    spdlog::critical("the state cannot be read again: {}", loaded.error().message);
    fatal_ = loaded.error();
  }
}

void Coordinator::FailRound(const Error& error, const std::vector<Listener::Incoming>& unhandled) {
  ++counters_.failed_rounds;
  spdlog::error("nothing of this round was stored: {}", error.message);
  NoteFailure(error);
  store_.Rollback();
  for (Outgoing& outgoing : out_) {
    if (outgoing.frame.has_error()) continue;
    *outgoing.frame.mutable_error() = ToProto(error);
  }
  for (const auto& message : unhandled) ReplyError(message.peer, message.frame.request(), error);
  for (auto& [session, parked] : synchronizes_) parked.acknowledged.clear();
  retry_ms_ = clock_.SteadyMs() + options_.failed_round_ms;
  Recover();
}

void Coordinator::Reply(const std::string& peer, uint64_t request, proto::Frame reply) {
  reply.set_protocol(kProtocol);
  reply.set_request(request);
  out_.push_back({peer, std::move(reply)});
}

void Coordinator::ReplyError(const std::string& peer, uint64_t request, const Error& error) {
  proto::Frame frame;
  *frame.mutable_error() = ToProto(error);
  Reply(peer, request, std::move(frame));
}

}  // namespace hone
