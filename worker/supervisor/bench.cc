#include "worker/supervisor/bench.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr char kModelFolder[] = "model";
constexpr char kBaselineFolder[] = "baseline";
constexpr char kCalibrationFolder[] = "calibration";
constexpr char kEvaluationFolder[] = "evaluation";
constexpr char kOutputFolder[] = "output";

constexpr auto kCatalogueTimeout = std::chrono::minutes(2);
constexpr auto kTransferRetry = std::chrono::seconds(1);
// A report travels in one frame, together with others.
constexpr size_t kMaxResultBytes = kMaxFrameBytes / 2;

proto::LocalBundle Local(const proto::Bundle& bundle, const fs::path& folder) {
  proto::LocalBundle local;
  *local.mutable_bundle() = bundle;
  local.set_folder(folder.string());
  return local;
}

proto::LocalData Local(const proto::Data& data, const fs::path& folder) {
  proto::LocalData local;
  *local.mutable_data() = Local(data.bundle(), folder);
  local.set_from(data.from());
  local.set_samples(data.samples());
  if (data.has_preprocess()) *local.mutable_preprocess() = data.preprocess();
  return local;
}

// Runners write to the cache, so each sees no more of it than what is about the same original and the same data: a
// hostile candidate can spoil nobody's reference but its own.
std::string CacheName(const proto::MeasureWork& work) {
  const proto::Bundle& original = work.has_baseline_model() ? work.baseline_model() : work.model();
  return DigestOf(BundleId(original) + "\n" + BundleId(work.evaluation().bundle())).substr(7, 32);
}

void RemoveEmptyFolders(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    std::error_code not_empty;
    if (entry->is_directory(not_empty) && !entry->is_symlink(not_empty)) fs::remove(entry->path(), not_empty);
  }
}

proto::Report::Outcome OutcomeOf(StopReason reason) {
  return reason == StopReason::kReturned ? proto::Report::RETURNED : proto::Report::CANCELLED;
}

void SetFailure(proto::Report& report, const Error& error) {
  report.set_outcome(proto::Report::FAILED);
  *report.mutable_error() = ToProto(error);
}

proto::TaskResult::KindCase WantedResult(const proto::Task& task) {
  if (task.has_sensitivity()) return proto::TaskResult::kSensitivity;
  return task.has_build() ? proto::TaskResult::kBuild : proto::TaskResult::kMeasure;
}

}  // namespace

// Its folders and what is known of it so far.
struct Bench::Piece {
  const proto::Lease& lease;
  const StopSignal& stop;
  fs::path folder;
  proto::Task task;
  proto::Report report;

  struct Input {
    proto::Bundle bundle;
    fs::path folder;
  };
  std::vector<Input> inputs;

  proto::LocalBundle Add(const proto::Bundle& bundle, const char* name) {
    inputs.push_back({bundle, folder / name});
    return Local(bundle, folder / name);
  }
  proto::LocalData Add(const proto::Data& data, const char* name) {
    inputs.push_back({data.bundle(), folder / name});
    return Local(data, folder / name);
  }

  // Fills task and inputs from the lease.
  Result<> Prepare(const BenchOptions& options);
  void PrepareBuild();
  void PrepareMeasure(const BenchOptions& options);
  void PrepareSensitivity(const BenchOptions& options);
};

void Bench::Piece::PrepareBuild() {
  const proto::BuildWork& work = lease.build();
  proto::BuildTask& build = *task.mutable_build();
  *build.mutable_model() = Add(work.model(), kModelFolder);
  *build.mutable_step() = work.step();
  *build.mutable_inputs() = work.inputs();
  if (work.has_calibration()) *build.mutable_calibration() = Add(work.calibration(), kCalibrationFolder);
  build.set_seed(work.seed());
  build.set_output_folder((folder / kOutputFolder).string());
}

void Bench::Piece::PrepareMeasure(const BenchOptions& options) {
  const proto::MeasureWork& work = lease.measure();
  proto::MeasureTask& measure = *task.mutable_measure();
  proto::Subject& candidate = *measure.mutable_candidate();
  *candidate.mutable_model() = Add(work.model(), kModelFolder);
  candidate.set_backend(work.backend());
  *candidate.mutable_settings() = work.settings();
  if (!work.is_baseline() && work.has_baseline_model()) {
    proto::Subject& baseline = *measure.mutable_baseline();
    *baseline.mutable_model() = Add(work.baseline_model(), kBaselineFolder);
    baseline.set_backend(work.baseline_backend());
    *baseline.mutable_settings() = work.baseline_settings();
  }
  *measure.mutable_inputs() = work.inputs();
  if (work.has_evaluation()) *measure.mutable_evaluation() = Add(work.evaluation(), kEvaluationFolder);
  if (work.has_accuracy()) *measure.mutable_accuracy() = work.accuracy();
  *measure.mutable_constraints() = work.constraints();
  *measure.mutable_claims() = work.claims();
  measure.set_time(true);
  measure.set_pairs(work.pairs());
  measure.set_runs(work.runs());
  measure.set_budget_ms(work.budget_ms());
  measure.set_seed(work.seed());
  measure.set_cache_folder((options.cache_folder / CacheName(work)).string());
  measure.set_exclusive_lock(options.machine_lock);
}

void Bench::Piece::PrepareSensitivity(const BenchOptions& options) {
  const proto::SensitivityWork& work = lease.sensitivity();
  proto::SensitivityTask& sensitivity = *task.mutable_sensitivity();
  *sensitivity.mutable_model() = Add(work.model(), kModelFolder);
  *sensitivity.mutable_steps() = work.steps();
  *sensitivity.mutable_inputs() = work.inputs();
  if (work.has_calibration()) *sensitivity.mutable_calibration() = Add(work.calibration(), kCalibrationFolder);
  *sensitivity.mutable_evaluation() = Add(work.evaluation(), kEvaluationFolder);
  *sensitivity.mutable_accuracy() = work.accuracy();
  sensitivity.set_seed(work.seed());
  sensitivity.set_samples(work.samples());
  sensitivity.set_time(true);
  sensitivity.set_exclusive_lock(options.machine_lock);
}

Result<> Bench::Piece::Prepare(const BenchOptions& options) {
  if (lease.has_build()) {
    PrepareBuild();
  } else if (lease.has_measure()) {
    PrepareMeasure(options);
  } else if (lease.has_sensitivity()) {
    PrepareSensitivity(options);
  } else {
    return Fail(ErrorCode::kRejected, "the lease asks for a kind of work that this worker does not know",
                "Run the same version of hone-worker and hone-coordinator");
  }
  TRY(MakeFolder(folder / kOutputFolder));
  if (task.has_measure()) TRY(MakeFolder(task.measure().cache_folder()));
  for (const Input& input : inputs) {
    TRY(MakeFolder(input.folder));
    if (const auto good = CheckBundle(input.bundle); !good)
      return FailWith(input.folder.filename().string(), good.error());
  }
  return {};
}

Bench::Bench(const BenchOptions& options, ArtifactCache cache, std::unique_ptr<RunnerHost> runners)
    : options_(options), cache_(std::move(cache)), runners_(std::move(runners)) {}

Result<std::unique_ptr<Bench>> Bench::Open(const BenchOptions& options) {
  std::error_code ignored;
  fs::remove_all(options.work_folder, ignored);
  TRY(MakeFolder(options.work_folder));
  TRY(MakeFolder(options.cache_folder));
  TRY_ASSIGN(ArtifactCache cache, ArtifactCache::Open(options.artifact_folder, options.artifact_bytes));
  TRY_ASSIGN(auto runners, RunnerHost::Start(options.runner));
  return std::unique_ptr<Bench>(new Bench(options, std::move(cache), std::move(runners)));
}

Result<proto::Catalogue> Bench::Catalogue() {
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(options_.work_folder, "catalogue-"));
  proto::Task task;
  task.mutable_catalogue();
  RunLimits limits;
  limits.timeout = kCatalogueTimeout;
  const StopSignal never;
  TRY_ASSIGN(const RunOutcome outcome, runners_->Run(task, folder.path(), limits, never));
  if (outcome.end != RunOutcome::End::kResult) {
    return Fail(ErrorCode::kFailed,
                fmt::format("find out what this machine can do: {}\n{}", outcome.explanation, outcome.output_tail));
  }
  if (outcome.result.has_error()) return Fail(FromProto(outcome.result.error()));
  if (!outcome.result.has_catalogue())
    return Fail(ErrorCode::kBug, "the runner answered the question for its catalogue with something else");
  return outcome.result.catalogue();
}

proto::Report Bench::Work(const proto::Lease& lease, const StopSignal& stop,
                          const std::function<void(const char*)>& phase) {
  Piece piece{lease, stop, {}, {}, {}, {}};
  piece.report.set_lease(lease.id());
  piece.report.set_token(lease.token());
  const auto work = [&]() -> Result<> {
    TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(options_.work_folder, fmt::format("{}-", lease.id())));
    piece.folder = folder.path();
    TRY(piece.Prepare(options_));
    phase("fetching");
    TRY(FetchInputs(piece));
    phase("running");
    TRY(Execute(piece));
    if (piece.report.outcome() != proto::Report::DONE || !piece.report.result().has_build()) return {};
    phase("uploading");
    return UploadOutput(piece);
  };
  if (const auto worked = work(); !worked) {
    piece.report.clear_result();
    if (stop.stopped()) {
      piece.report.set_outcome(OutcomeOf(stop.reason()));
    } else {
      SetFailure(piece.report, worked.error());
    }
  }
  Tidy();
  return piece.report;
}

// Runs a transfer until the coordinator has answered it, one way or the other.
Result<> Bench::Transfer(const Piece& piece, Way way,
                         const std::function<Result<>(Dialer&, const TransferOptions&)>& transfer) {
  TransferOptions transfer_options;
  transfer_options.timeout = options_.transfer_timeout;
  transfer_options.progress = [&piece](uint64_t, uint64_t) { return !piece.stop.stopped(); };
  bool told = false;
  bool made_room = false;
  for (;;) {
    if (!dialer_) {
      TRY_ASSIGN(dialer_, Dialer::Connect(options_.coordinator, options_.dialer));
    }
    const auto done = transfer(*dialer_, transfer_options);
    if (done) return {};
    const Error& error = done.error();
    if (piece.stop.stopped()) return Fail(ErrorCode::kCancelled, "stopped on request");
    if (error.code == ErrorCode::kExhausted && !std::exchange(made_room, true)) {
      cache_.MakeRoom();
      continue;
    }
    // A coordinator whose disk is full takes files again once it has room; what was built is not thrown away for that.
    const bool full_there = error.code == ErrorCode::kExhausted && way == Way::kUp;
    // A key that is not let in may be again; the work is not to blame.
    const bool away =
        error.code == ErrorCode::kUnreachable || error.code == ErrorCode::kTimeout || error.code == ErrorCode::kDenied;
    if (!full_there && !away) return Fail(error);
    if (!std::exchange(told, true)) spdlog::warn("lease={}: {}; trying again", piece.lease.id(), error.message);
    dialer_.reset();  // Whatever it still holds is of no use.
    if (piece.stop.WaitFor(kTransferRetry)) return Fail(ErrorCode::kCancelled, "stopped on request");
  }
}

Result<> Bench::FetchInputs(Piece& piece) {
  for (const Piece::Input& input : piece.inputs) {
    TRY(Transfer(piece, Way::kDown, [&](Dialer& dialer, const TransferOptions& options) {
      return cache_.Fetch(dialer, input.bundle, input.folder, options);
    }));
  }
  return {};
}

Result<> Bench::Execute(Piece& piece) {
  RunLimits limits;
  limits.timeout = std::chrono::milliseconds(piece.lease.timeout_ms());
  limits.stall = std::chrono::milliseconds(piece.lease.stall_ms());
  limits.scratch_bytes = options_.scratch_bytes;
  limits.memory_bytes = options_.memory_bytes;
  if (piece.lease.memory_bytes() != 0) limits.memory_bytes = std::min(limits.memory_bytes, piece.lease.memory_bytes());
  TRY_ASSIGN(RunOutcome outcome, runners_->Run(piece.task, piece.folder, limits, piece.stop));

  proto::Report& report = piece.report;
  report.set_wall_ms(static_cast<uint64_t>(outcome.wall_ms));
  report.set_peak_memory_bytes(outcome.peak_memory_bytes);
  if (outcome.end != RunOutcome::End::kResult) {
    report.set_output_tail(outcome.output_tail);
    if (!outcome.explanation.empty()) *report.mutable_error() = ToProto(Error{ErrorCode::kFailed, outcome.explanation});
  }
  switch (outcome.end) {
    case RunOutcome::End::kCrashed:
      report.set_outcome(proto::Report::CRASHED);
      report.set_signal(outcome.signal);
      report.set_exit_status(outcome.exit_status);
      return {};
    case RunOutcome::End::kTimedOut:
      report.set_outcome(proto::Report::TIMED_OUT);
      report.mutable_error()->set_code(proto::Error::TIMEOUT);
      return {};
    case RunOutcome::End::kOutOfMemory:
      report.set_outcome(proto::Report::OUT_OF_MEMORY);
      report.mutable_error()->set_code(proto::Error::EXHAUSTED);
      return {};
    case RunOutcome::End::kScratchFull:
      report.set_outcome(proto::Report::FAILED);
      report.mutable_error()->set_code(proto::Error::EXHAUSTED);
      return {};
    case RunOutcome::End::kStopped:
      report.set_outcome(OutcomeOf(piece.stop.reason()));
      report.clear_error();
      report.clear_output_tail();
      return {};
    case RunOutcome::End::kResult:
      break;
  }
  if (outcome.result.has_error()) {
    report.set_output_tail(outcome.output_tail);
    SetFailure(report, FromProto(outcome.result.error()));
    return {};
  }
  if (outcome.result.kind_case() != WantedResult(piece.task)) {
    return Fail(ErrorCode::kBug, "the runner answered another question than it was asked");
  }
  if (const size_t bytes = outcome.result.ByteSizeLong(); bytes > kMaxResultBytes) {
    return Fail(ErrorCode::kExhausted,
                fmt::format("the result has {} bytes, more than the {} of a report", bytes, kMaxResultBytes));
  }
  report.set_outcome(proto::Report::DONE);
  *report.mutable_result() = std::move(outcome.result);
  return {};
}

// What was built goes into the cache, where its measurement finds it, and to the coordinator.
Result<> Bench::UploadOutput(Piece& piece) {
  const proto::Bundle& bundle = piece.report.result().build().model();
  const fs::path folder = piece.folder / kOutputFolder;
  if (const auto good = CheckBundle(bundle); !good) return FailWith("the built model", good.error());
  if (const auto taken = cache_.Take(bundle, folder); !taken) {
    if (taken.error().code == ErrorCode::kRejected) return FailWith("the built model", taken.error());
    spdlog::warn("lease={}: the built model is not kept here: {}", piece.lease.id(), taken.error().message);
  }
  return Transfer(piece, Way::kUp, [&](Dialer& dialer, const TransferOptions& options) -> Result<> {
    TRY(UploadBundle(dialer, bundle, folder.string(), options));
    return {};
  });
}

void Bench::Tidy() {
  cache_.Prune();
  PruneFolder(options_.cache_folder, options_.artifact_bytes / 4);
  RemoveEmptyFolders(options_.cache_folder);
}

}  // namespace hone
