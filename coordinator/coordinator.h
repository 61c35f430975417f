// The coordinator without its sockets: frames in, frames out, one transaction a round. The server's loop feeds it;
// tests do the same with a clock of their own.
//
// A round handles everything that arrived, expires what is due, moves the studies on and hands out work, commits, and
// only then gives the replies: what is acknowledged is durable. Each message runs in a savepoint, so that one that
// fails takes nothing with it. After a write that the database refused, what memory knows of jobs and leases is read
// again from the database.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/artifact/file_store.h"
#include "common/base/clock.h"
#include "common/base/result.h"
#include "common/transport/transport.h"
#include "coordinator/ballast.h"
#include "coordinator/fleet.h"
#include "coordinator/options.h"
#include "coordinator/scheduler.h"
#include "coordinator/store.h"
#include "coordinator/uploads.h"

namespace hone {

struct Outgoing {
  std::string peer;
  proto::Frame frame;
};

// Since the start, for logs and tests.
struct CoordinatorCounters {
  uint64_t rounds = 0;
  uint64_t messages = 0;
  uint64_t failed_rounds = 0;      // The database refused what was decided.
  uint64_t late_reports = 0;
  uint64_t lost_leases = 0;
};

// One thread at a time.
class Coordinator {
 public:
  // Opens (or creates) hone.db and artifacts/ in options.data. The clock must outlive the coordinator.
  static Result<std::unique_ptr<Coordinator>> Open(const CoordinatorOptions& options, const Clock& clock);

  // Shares results with other coordinators; `share` must outlive the coordinator.
  void Use(ResultShare* share) { scheduler_.Use(share); }

  // Handles the messages and whatever is due. Waiting requests are answered by a later round.
  std::vector<Outgoing> Round(std::vector<Listener::Incoming> incoming);
  // How long the caller may wait for messages before the next round.
  std::chrono::milliseconds NextRound() const;
  // Set once the state can no longer be read: the process must end, a new one recovers.
  const std::optional<Error>& fatal() const { return fatal_; }

  const CoordinatorCounters& counters() const { return counters_; }
  const Ballast& ballast() const { return ballast_; }
  Store& store() { return store_; }
  const Fleet& fleet() const { return fleet_; }
  // Committed events after number `told`, which becomes the last of them; a bounded number a call.
  std::vector<proto::Event> EventsSince(uint64_t& told);
  // Trials of running jobs that wait or run, and those jobs.
  struct Running {
    uint64_t jobs = 0;
    proto::Counts trials;
  };
  Result<Running> CountRunning();

 private:
  // kNow: the body is in `reply`; kLater: the request is parked.
  enum class Answer { kNow, kLater };
  struct Request {
    const std::string& peer;
    const proto::Frame& frame;
    const Identity& identity;
  };
  using Handler = Result<Answer> (Coordinator::*)(const Request& request, proto::Frame* reply);
  struct HandlerRow {
    proto::Frame::BodyCase body;
    Handler handler;
    bool schedules;  // Changes jobs or leases: what memory knows of them is read again after a failure.
    std::vector<Role> roles;               // Of keys that may ask it; without keys everybody may.
  };
  static const std::vector<HandlerRow>& Handlers();
  static const HandlerRow* FindHandler(proto::Frame::BodyCase body);

  // A Synchronize that waits for something to say.
  struct ParkedSynchronize {
    std::string peer;
    uint64_t request = 0;
    int64_t deadline_ms = 0;
    std::vector<proto::Holding> holding;
    uint32_t free_slots = 0;
    std::vector<uint64_t> acknowledged;
    std::vector<uint64_t> grants;          // Leases to send: new ones, and open ones that the worker does not have.
  };
  struct ParkedWatch {
    std::string peer;
    uint64_t request = 0;
    int64_t deadline_ms = 0;
    proto::WatchEvents watch;
  };
  struct ParkedUpload {
    std::string peer;
    uint64_t request = 0;
    std::string digest;
  };

  Coordinator(const CoordinatorOptions& options, const Clock& clock, Store store, FileStore artifacts, Uploads uploads);

  // coordinator.cc
  void ForgiveStall(int64_t now_ms);
  void Handle(const Listener::Incoming& message);
  void HeardFrom(const Listener::Incoming& message);
  Result<Answer> Dispatch(const Request& request, proto::Frame* reply);
  // Everything that is due, in a savepoint of its own; a failure is logged and tried again a second later.
  void Housekeep();
  Result<> DoWhatIsDue();
  Result<> NoteVerified();
  Result<> NoticeSilence();
  Result<> AssignWork();
  void AnswerSynchronizes();
  void AnswerSynchronize(const std::string& session, bool is_due);
  proto::SynchronizeReply SynchronizeReplyFor(const ParkedSynchronize& parked);
  void AnswerWatches();
  void Recover();
  // kExhausted while the disk is full: the room that is left is for results.
  Result<> CheckRoom() const;
  // A full disk gives up the reserve.
  void NoteFailure(const Error& error);
  // The commit failed: nothing of this round happened, and everybody is told so.
  void FailRound(const Error& error, const std::vector<Listener::Incoming>& unhandled);
  void Reply(const std::string& peer, uint64_t request, proto::Frame reply);
  void ReplyError(const std::string& peer, uint64_t request, const Error& error);
  int64_t LeaseDeadline() const { return clock_.SteadyMs() + options_.lease_ms; }

  // artifact_handlers.cc
  Result<Answer> HandlePing(const Request& request, proto::Frame* reply);
  Result<Answer> HandleFindMissing(const Request& request, proto::Frame* reply);
  Result<Answer> HandlePutChunk(const Request& request, proto::Frame* reply);
  Result<Answer> HandleGetChunk(const Request& request, proto::Frame* reply);

  // worker_handlers.cc
  Result<Answer> HandleWorkerHello(const Request& request, proto::Frame* reply);
  Result<Answer> HandleSynchronize(const Request& request, proto::Frame* reply);
  void TakeHolding(const proto::Synchronize& message, ParkedSynchronize& parked);
  Result<Answer> HandleListWorkers(const Request& request, proto::Frame* reply);
  Result<Answer> HandleDrainWorker(const Request& request, proto::Frame* reply);
  Result<Answer> HandleGetCatalogue(const Request& request, proto::Frame* reply);

  // job_handlers.cc
  Result<> CheckOwner(uint64_t job, const Identity& who);
  Result<Answer> HandleSubmitJob(const Request& request, proto::Frame* reply);
  Result<Answer> HandleCheckRecipe(const Request& request, proto::Frame* reply);
  Result<Answer> HandleCancelJob(const Request& request, proto::Frame* reply);
  Result<Answer> HandleRetryJob(const Request& request, proto::Frame* reply);

  // query_handlers.cc
  Result<Answer> HandleGetJob(const Request& request, proto::Frame* reply);
  Result<Answer> HandleListJobs(const Request& request, proto::Frame* reply);
  Result<Answer> HandleListTrials(const Request& request, proto::Frame* reply);
  Result<Answer> HandleGetSamples(const Request& request, proto::Frame* reply);
  Result<Answer> HandleGetLog(const Request& request, proto::Frame* reply);
  Result<Answer> HandleGetOrigin(const Request& request, proto::Frame* reply);
  Result<Answer> HandleListAttempts(const Request& request, proto::Frame* reply);
  Result<Answer> HandleWatchEvents(const Request& request, proto::Frame* reply);
  // Fills the reply; true if it says something new.
  Result<bool> FillWatch(const proto::WatchEvents& watch, proto::WatchEventsReply* reply);

  const CoordinatorOptions options_;
  const Clock& clock_;
  Ballast ballast_;
  Store store_;
  const FileStore artifacts_;
  Uploads uploads_;
  Fleet fleet_;
  Scheduler scheduler_;

  std::map<std::string, ParkedSynchronize> synchronizes_;   // By session.
  std::set<std::pair<int64_t, std::string>>
      parked_until_;                  // Their deadlines; what is no longer parked under one is passed over.
  std::set<std::string> answerable_;  // Sessions whose parked call may have something to hear before its deadline.
  std::set<std::string> idle_;                              // Sessions whose parked call asks for work.
  std::vector<ParkedWatch> watches_;
  std::vector<ParkedUpload> parked_uploads_;
  std::map<std::string, std::string> peers_;                // Peer -> session, for peers that synchronize.
  std::vector<Outgoing> out_;
  int64_t last_round_ms_ = 0;
  int64_t seen_saved_ms_ = 0;                               // When all workers' last signs of life were saved.
  int64_t silence_looked_ms_ = 0;                           // When all workers' last signs of life were looked through.
  uint64_t fleet_seen_ = 0;  // The fleet's generation when all parked calls were looked through.
  uint64_t watched_event_ = 0;                              // The last event that watchers were asked about.
  int64_t retry_ms_ = 0;                                    // No scheduling before, after a refused write.
  CoordinatorCounters counters_;
  std::optional<Error> fatal_;
};

}  // namespace hone
