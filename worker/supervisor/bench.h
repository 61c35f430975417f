// One lease, from its inputs to its report: fetch, run, upload.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/transport/transport.h"
#include "proto/wire.pb.h"
#include "worker/supervisor/artifact_cache.h"
#include "worker/supervisor/runner_host.h"
#include "worker/supervisor/stop_signal.h"

namespace hone {

struct BenchOptions {
  std::string coordinator;                 // Endpoint.
  DialerOptions dialer;
  std::filesystem::path work_folder;       // Holds a folder a lease while it is worked on.
  std::filesystem::path artifact_folder;
  std::filesystem::path cache_folder;      // What runners keep between tasks (reference outputs).
  std::string machine_lock;                // MeasureTask.exclusive_lock.
  uint64_t memory_bytes = 0;               // The most that a runner may use.
  uint64_t artifact_bytes = 0;             // Bound of the artifact cache; the cache folder has a quarter of it.
  uint64_t scratch_bytes = 0;              // The most that a piece of work may write; 0: no bound.
  RunnerHostOptions runner;
  std::chrono::milliseconds transfer_timeout{10000};   // Without progress; then it is tried again.
};

// One thread at a time (any thread).
class Bench {
 public:
  // Removes what an earlier process left in the work folder, and starts the zygote.
  static Result<std::unique_ptr<Bench>> Open(const BenchOptions& options);

  // Works a lease to its end, whatever that is. `phase` is told fetching, running, uploading. A coordinator that does
  // not answer is asked again until it does or `stop` is given.
  proto::Report Work(const proto::Lease& lease, const StopSignal& stop, const std::function<void(const char*)>& phase);

  // What this machine can do, asked from a runner.
  Result<proto::Catalogue> Catalogue();

  // What runners are confined by.
  const Sandbox& sandbox() const { return runners_->sandbox(); }

 private:
  struct Piece;   // A lease in work.
  Bench(const BenchOptions& options, ArtifactCache cache, std::unique_ptr<RunnerHost> runners);

  Result<> FetchInputs(Piece& piece);
  Result<> Execute(Piece& piece);
  Result<> UploadOutput(Piece& piece);
  enum class Way { kDown, kUp };
  Result<> Transfer(const Piece& piece, Way way,
                    const std::function<Result<>(Dialer&, const TransferOptions&)>& transfer);
  void Tidy();

  const BenchOptions options_;
  ArtifactCache cache_;
  std::unique_ptr<RunnerHost> runners_;
  std::unique_ptr<Dialer> dialer_;         // Made when first needed, and anew after a time-out.
};

}  // namespace hone
