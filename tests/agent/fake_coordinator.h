// A coordinator's side of the wire that works: it keeps artifacts, hands out the leases it is given, collects what
// workers say and can be told to forget, to be silent and to withhold acknowledgements.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/artifact/file_store.h"
#include "common/transport/transport.h"
#include "proto/wire.pb.h"

namespace hone {

class FakeCoordinator {
 public:
  // What was heard, in order. Read it inside Await or Look.
  struct Heard {
    std::vector<proto::WorkerHello> hellos;
    std::vector<proto::Synchronize> synchronizations;
    std::map<uint64_t, std::vector<proto::Report>> reports;   // Every copy, by lease.
    std::set<std::string> phases;
  };
  struct Behaviour {
    bool acknowledge = true;
    bool answer_transfers = true;
    uint32_t heartbeat_ms = 100;
    std::optional<proto::Error> refusal;   // Of every hello.
  };

  // Serves endpoint() (a socket in `folder`) until destroyed.
  explicit FakeCoordinator(const std::filesystem::path& folder);
  ~FakeCoordinator();

  std::string endpoint() const { return endpoint_; }

  void Offer(const proto::Lease& lease);
  void Drop(uint64_t lease);
  void ForgetSessions();
  void SetDrain(bool drain);
  void Change(const std::function<void(Behaviour&)>& change);

  // Puts bytes into the store and gives a bundle of that one file.
  proto::Bundle Store(const std::string& name, const std::string& bytes);
  bool Has(const std::string& digest);

  // Waits until the condition holds of what was heard; false after ten seconds.
  bool Await(const std::function<bool(const Heard&)>& condition);
  Heard Look();

  // Stops answering and lets go of the socket; Serve starts again with nothing known of sessions.
  void Die();
  void Serve();

 private:
  struct Waiting {
    std::string peer;
    uint64_t request;
    std::chrono::steady_clock::time_point until;
  };
  void Loop();
  void Answer(const Listener::Incoming& incoming);
  void AnswerHello(const Listener::Incoming& incoming);
  void AnswerSynchronize(const Listener::Incoming& incoming);
  void AnswerTransfer(const Listener::Incoming& incoming);
  void ReplyToWaiting();
  void Send(const std::string& peer, uint64_t request, proto::Frame frame);

  const std::string endpoint_;
  std::unique_ptr<Listener> listener_;   // The serving thread's while it runs.
  std::thread thread_;

  std::mutex mutex_;                     // Guards all below.
  std::condition_variable changed_;
  FileStore store_;
  Heard heard_;
  Behaviour behaviour_;
  std::set<std::string> sessions_;
  std::deque<proto::Lease> offered_;
  proto::SynchronizeReply pending_;
  std::vector<Waiting> waiting_;
  bool drain_ = false;
  bool stop_ = false;
};

}  // namespace hone
