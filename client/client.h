// The library that speaks to a coordinator; the `hone` command, tests and bench use it.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/transport/transport.h"
#include "proto/wire.pb.h"

namespace hone {

// One connection; one thread at a time.
class Client {
 public:
  static Result<Client> Connect(const std::string& endpoint, const DialerOptions& options = {});

  Result<proto::PingReply> Ping(std::chrono::milliseconds timeout);

  struct Submission {
    proto::Recipe recipe;
    proto::LocalBundle model;
    std::optional<proto::LocalData> calibration;
    std::optional<proto::LocalData> evaluation;
    // What trials are measured against; absent: the model itself on the reference backend.
    struct Baseline {
      proto::LocalBundle model;
      std::string backend;
      std::vector<proto::Parameter> settings;   // Ordered by name.
    };
    std::optional<Baseline> baseline = {};
    std::string name;
    int32_t priority = 0;     // Higher ones go first.
    std::string request;      // Idempotency key; "" = a fresh one.
  };
  // Uploads what the store lacks and submits.
  Result<proto::SubmitJobReply> Submit(const Submission& submission,
                                       const std::function<bool(uint64_t, uint64_t)>& progress = {});

  Result<proto::JobSummary> Job(uint64_t job);
  Result<std::vector<proto::JobSummary>> Jobs(uint32_t limit);
  Result<std::vector<proto::TrialSummary>> Trials(uint64_t job, std::optional<uint32_t> study);
  // Of all studies, from place `from` on, without what runtimes executed: at most `limit`, and no more than the
  // coordinator gives at once.
  Result<std::vector<proto::TrialSummary>> TrialsFrom(uint64_t job, uint64_t from, uint32_t limit);
  // What the job was submitted with.
  Result<proto::GetJobReply> JobInputs(uint64_t job);
  // Events after number `after`; the coordinator holds the reply back for at most `wait` while there are none. give_up
  // is asked every 100 ms and ends the call with kInterrupted.
  Result<proto::WatchEventsReply> Events(uint64_t job, uint64_t after, std::chrono::milliseconds wait,
                                         const std::function<bool()>& give_up = {});
  Result<proto::CancelJobReply> Cancel(uint64_t job, const std::string& reason);
  Result<std::vector<proto::WorkerSummary>> Workers();
  Result<proto::Catalogue> Catalogue();
  Result<> Drain(const std::string& worker, bool undrain);
  Result<proto::CheckRecipeReply> Check(const proto::CheckRecipe& request);
  Result<proto::GetSamplesReply> Samples(uint64_t job, uint32_t study, uint64_t trial);
  Result<proto::GetLogReply> Log(uint64_t job, uint32_t study, uint64_t trial);
  Result<proto::GetOriginReply> Origin(uint64_t job, uint32_t study, uint64_t trial);
  // Every attempt at a piece of the job, in the order they began.
  Result<std::vector<proto::ListAttemptsReply::Attempt>> Attempts(uint64_t job);
  // Takes failed trials up again; how many.
  Result<uint32_t> Retry(uint64_t job, std::optional<uint32_t> study, std::optional<uint64_t> trial);
  // Downloads a bundle into a folder.
  Result<> Fetch(const proto::Bundle& bundle, const std::filesystem::path& folder);

  Dialer& dialer() { return *dialer_; }

 private:
  explicit Client(std::unique_ptr<Dialer> dialer) : dialer_(std::move(dialer)) {}
  std::unique_ptr<Dialer> dialer_;
};

}  // namespace hone
