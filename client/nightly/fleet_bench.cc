#include "client/nightly/fleet_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "client/interrupt.h"
#include "client/job_progress.h"
#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// The worker's own words for what makes a timing worthless (docs/measuring.md, "What is noted"); percent follow.
constexpr std::string_view kDisturbance = "the hypervisor took ";
// The samples in which a worker tells its canary's times.
constexpr const char* kCanarySeries = "canary_ms";

bool TellsOfMoreThan(double stolen, const std::string& note) {
  const size_t at = note.find(kDisturbance);
  return at != std::string::npos && std::strtod(note.c_str() + at + kDisturbance.size(), nullptr) > 100 * stolen;
}

// A recipe whose space is one point: the model as it is, one backend, fixed settings.
bool IsPinned(const proto::Recipe& recipe) {
  const auto is_none = [](const proto::Stage& stage) {
    return stage.options_size() == 1 && stage.options(0).pass().empty();
  };
  if (!std::all_of(recipe.passes().begin(), recipe.passes().end(), is_none) || recipe.backends_size() != 1)
    return false;
  const auto& settings = recipe.backends(0).settings();
  return std::all_of(settings.begin(), settings.end(),
                     [](const proto::Domain& domain) { return domain.choices_size() == 1; });
}

NightArtifact PinnedArtifact(const JobRequest& request) {
  NightArtifact artifact;
  artifact.model = request.model.local.bundle();
  const proto::BackendChoice& backend = request.submission.recipe.backends(0);
  artifact.backend = backend.backend();
  for (const proto::Domain& domain : backend.settings()) {
    proto::Parameter& parameter = artifact.settings.emplace_back();
    parameter.set_name(domain.name());
    *parameter.mutable_value() = domain.choices(0);
  }
  std::sort(artifact.settings.begin(), artifact.settings.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return artifact;
}

std::string RecipeDigest(const JobRequest& request) {
  proto::Recipe recipe = request.submission.recipe;
  recipe.clear_model();
  recipe.clear_name();
  recipe.clear_targets();
  return DigestOf(WriteRecipe(recipe));
}

void SetTarget(const SuiteTarget& target, proto::Recipe& recipe) {
  recipe.clear_targets();
  proto::Target& only = *recipe.add_targets();
  for (const std::string& tag : target.tags) only.add_tags(tag);
}

// The launch's one point.
void Pin(const NightArtifact& artifact, proto::Recipe& recipe) {
  recipe.clear_passes();
  recipe.clear_backends();
  proto::BackendChoice& backend = *recipe.add_backends();
  backend.set_backend(artifact.backend);
  for (const proto::Parameter& parameter : artifact.settings) {
    proto::Domain& domain = *backend.add_settings();
    domain.set_name(parameter.name());
    *domain.add_choices() = parameter.value();
  }
}

std::map<std::string, double> Values(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  std::map<std::string, double> values;
  for (const proto::Metric& metric : metrics) values.emplace(metric.name(), metric.value());
  return values;
}

Error Failure(const char* who, const std::string& reason) {
  return {ErrorCode::kFailed,
          fmt::format("{} could not be measured: {}", who, reason.empty() ? "no reason was given" : reason)};
}

}  // namespace

fs::path FleetBench::FolderOf(const proto::Bundle& model) const { return artifacts_ / BundleId(model).substr(7); }

// Where the coordinator's store has the files, no folder is looked into.
proto::LocalBundle FleetBench::Locate(const proto::Bundle& model) const {
  proto::LocalBundle local;
  *local.mutable_bundle() = model;
  const auto found = folders_.find(BundleId(model));
  local.set_folder((found == folders_.end() ? FolderOf(model) : found->second).string());
  return local;
}

Result<JobRequest> FleetBench::RequestOf(const SuiteModel& model, const SuiteTarget& target) {
  JobOptions options;
  options.model = suite_.Beside(model.model).string();
  options.name = fmt::format("{} {}", suite_.name, model.name);
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(fs::temp_directory_path(), "hone-nightly-"));
  if (model.recipe.empty()) {
    // The model as it is.
    TRY_ASSIGN(const proto::Catalogue catalogue, client_.Catalogue());
    std::string backend = model.backend;
    for (const proto::BackendInfo& info : catalogue.backends())
      backend = backend.empty() && info.reference() ? info.name() : backend;
    if (backend.empty())
      return Fail(ErrorCode::kFailed, "no worker has a reference backend", "Give the model's 'backend' in the suite.");
    options.recipe = (folder.path() / "pinned.yaml").string();
    TRY(WriteFile(options.recipe, fmt::format("passes: [{{choose: [none]}}]\nbackends: {{{}: {{}}}}\n", backend)));
  } else {
    options.recipe = suite_.Beside(model.recipe).string();
  }
  TRY_ASSIGN(JobRequest request, PrepareJob(options, [&] { return client_.Catalogue(); }));
  SetTarget(target, request.submission.recipe);
  return request;
}

Result<NightBench::Subject> FleetBench::Prepare(const SuiteModel& model, const SuiteTarget& target) {
  TRY_ASSIGN(JobRequest request, RequestOf(model, target));
  folders_[BundleId(request.model.local.bundle())] = request.model.local.folder();
  Subject subject;
  subject.recipe = RecipeDigest(request);
  if (IsPinned(request.submission.recipe)) {
    subject.artifact = PinnedArtifact(request);
  } else {
    TRY_ASSIGN(const proto::SubmitJobReply reply, client_.Submit(request.submission));
    TRY_ASSIGN(const proto::JobSummary job, Follow(reply.job()));
    if (job.state() != proto::JOB_COMPLETE || job.studies_size() != 1 || !job.studies(0).has_best()) {
      return Fail(ErrorCode::kFailed, fmt::format("job {} found no artifact: {}", job.job(),
                                                  job.error().empty() ? "nothing is feasible" : job.error()));
    }
    const proto::TrialSummary& best = job.studies(0).best();
    subject.artifact = {best.model(),
                        best.candidate().backend(),
                        {best.candidate().settings().begin(), best.candidate().settings().end()}};
  }
  requests_.insert_or_assign(model.name + "\n" + target.name, std::move(request));
  return subject;
}

Client::Submission FleetBench::LaunchOf(const Order& order, uint32_t number) {
  const JobRequest& request = requests_.at(order.model->name + "\n" + order.target->name);
  Client::Submission launch;
  proto::Recipe& recipe = launch.recipe;
  *recipe.mutable_inputs() = request.submission.recipe.inputs();
  if (request.submission.recipe.has_accuracy()) *recipe.mutable_accuracy() = request.submission.recipe.accuracy();
  SetTarget(*order.target, recipe);
  Pin(*order.tonight, recipe);
  recipe.mutable_objectives()->Add()->set_metric("latency_ms_p50");
  recipe.mutable_search()->set_sampler("exhaustive");
  recipe.mutable_search()->set_trials(1);
  recipe.mutable_search()->set_seed((order.seed + number) & INT64_MAX);
  proto::Measure& measure = *recipe.mutable_measure();
  measure.set_pairs(suite_.blocks);
  measure.set_final_pairs(suite_.blocks);
  measure.set_finalists(1);
  measure.set_fresh(true);
  launch.model = Locate(order.tonight->model);
  launch.evaluation = request.submission.evaluation;
  // All launches time the same sample; accuracy on the others is known after the first.
  const bool whole = number == 0 && order.first == Detail::whole;
  if (launch.evaluation && !whole) launch.evaluation->set_samples(1);
  launch.baseline =
      Client::Submission::Baseline{Locate(order.accepted->model), order.accepted->backend, order.accepted->settings};
  launch.name = fmt::format("{} {} launch", suite_.name, order.model->name);
  return launch;
}

Result<std::vector<NightLaunch>> FleetBench::Measure(const Order& order) {
  const HoldInterrupts hold;
  std::vector<uint64_t> jobs;
  std::vector<NightLaunch> launches;
  const auto run = [&]() -> Result<> {
    for (uint32_t number = 0; number < order.launches; ++number) {
      TRY_ASSIGN(const proto::SubmitJobReply reply, client_.Submit(LaunchOf(order, number)));
      jobs.push_back(reply.job());
    }
    for (const uint64_t job : jobs) {
      TRY_ASSIGN(NightLaunch launch, Wait(job));
      launches.push_back(std::move(launch));
    }
    return {};
  };
  const Result<> ran = run();
  if (ran) return launches;
  // Nobody waits for the others any more.
  for (size_t i = launches.size(); i < jobs.size(); ++i)
    (void)client_.Cancel(jobs[i], "the night's session ended early");
  return Fail(ran.error());
}

Result<proto::JobSummary> FleetBench::Follow(uint64_t job) {
  FollowOptions follow;
  follow.timeout = std::chrono::milliseconds(suite_.timeout_ms);
  Result<proto::JobSummary> summary = FollowJob(client_, job, console_, follow);
  if (!summary && summary.error().code == ErrorCode::kTimeout) {
    (void)client_.Cancel(job, "the suite's time-out");
    return Fail(ErrorCode::kFailed, fmt::format("job {} was not done after {}", job,
                                                HumanDuration(static_cast<int64_t>(suite_.timeout_ms))));
  }
  return summary;
}

Result<NightLaunch> FleetBench::Wait(uint64_t number) {
  TRY_ASSIGN(const proto::JobSummary job, Follow(number));
  if (job.studies_size() == 0) return Fail(Failure("the artifact", job.error()));
  const proto::StudySummary& study = job.studies(0);
  const bool has_baseline = study.has_baseline() && study.baseline().state() == proto::TRIAL_COMPLETE;
  if (!has_baseline)
    return Fail(Failure("the accepted artifact", study.has_baseline() ? study.baseline().reason() : job.error()));
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client_.Trials(number, 0));
  const auto candidate =
      std::find_if(trials.begin(), trials.end(), [](const proto::TrialSummary& trial) { return trial.trial() == 1; });
  if (candidate == trials.end()) return Fail(Failure("tonight's artifact", job.error()));
  if (candidate->state() != proto::TRIAL_COMPLETE) return Fail(Failure("tonight's artifact", candidate->reason()));
  return ReadLaunch(job, *candidate);
}

Result<NightLaunch> FleetBench::ReadLaunch(const proto::JobSummary& job, const proto::TrialSummary& candidate) {
  TRY_ASSIGN(const proto::GetSamplesReply samples, client_.Samples(job.job(), 0, 1));
  NightLaunch launch;
  launch.tonight = Values(candidate.metrics());
  launch.accepted = Values(samples.baseline_metrics());
  // What depends on the part that a process plays is compared in the same part: seconds before, the accepted artifact
  // was measured alone, with inputs, accuracy and throughput as tonight's was. Beside it, it only answered to be timed.
  const std::map<std::string, double> alone = Values(job.studies(0).baseline().metrics());
  for (const char* name : {"throughput_per_s", "memory_bytes", "load_ms"}) {
    launch.accepted.erase(name);
    if (const auto found = alone.find(name); found != alone.end()) launch.accepted.insert(*found);
  }
  launch.accepted["accuracy_drop"] = 0;
  launch.worker = candidate.worker();
  launch.fingerprint = candidate.fingerprint();
  launch.runtime = fmt::format("{} {}", candidate.execution().backend(), candidate.execution().version());
  // The least of a launch's runs is the least disturbed.
  for (const proto::Samples& series : samples.samples()) {
    if (series.series() != kCanarySeries || series.values().empty()) continue;
    launch.canary_ms = *std::min_element(series.values().begin(), series.values().end());
  }
  for (const std::string& note : candidate.notes()) {
    if (TellsOfMoreThan(suite_.stolen, note)) launch.disturbances.push_back(note);
  }
  return launch;
}

// The bytes are copied: whoever makes the next model may write it into the same file.
Result<> CopyArtifact(const proto::LocalBundle& model, const fs::path& artifacts) {
  const fs::path folder = artifacts / BundleId(model.bundle()).substr(7);
  for (const proto::File& file : model.bundle().files()) {
    const fs::path target = PathIn(folder, file);
    TRY(MakeFolder(target.parent_path()));
    std::error_code failed;
    fs::copy_file(PathIn(model.folder(), file), target, fs::copy_options::overwrite_existing, failed);
    if (failed) return Fail(ErrnoError("copy", target, failed.value()));
  }
  return {};
}

Result<> FleetBench::Keep(const NightArtifact& artifact) {
  if (folders_.contains(BundleId(artifact.model))) return CopyArtifact(Locate(artifact.model), artifacts_);
  TRY(MakeFolder(FolderOf(artifact.model)));
  return client_.Fetch(artifact.model, FolderOf(artifact.model));
}

}  // namespace hone
