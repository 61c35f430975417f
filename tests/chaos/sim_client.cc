#include "tests/chaos/sim_client.h"

#include <fmt/format.h>

#include "common/base/digest.h"
#include "common/recipe/recipe_yaml.h"
#include "coordinator/records.h"
#include "tests/coordinator/harness.h"
#include "tests/support/acknowledged.h"

namespace hone::test {
namespace {

constexpr std::chrono::milliseconds kAnswer{1500};

// Eight candidates, of which four share two builds.
std::string RecipeFor(const std::string& tag, uint64_t seed) {
  return fmt::format(R"(
passes: [{{choose: [none, half, {{int8: {{per_channel: [true, false]}}}}]}}]
backends: {{onnxruntime: {{}}, openvino: {{}}}}
targets: [{{tags: [{}]}}]
search: {{sampler: random, trials: 7, seed: {}}}
measure: {{pairs: 2, final_pairs: 3, finalists: 2}}
)",
                     tag, seed % 1000);
}

bool IsOver(proto::TrialState state) { return state != proto::TRIAL_WAITING && state != proto::TRIAL_RUNNING; }

}  // namespace

SimClient::SimClient(Options options, ClientLog& log)
    : options_(std::move(options)), log_(log), random_(options_.seed) {
  thread_ = std::thread([this] { Run(); });
}

SimClient::~SimClient() {
  stop_ = true;
  thread_.join();
}

void SimClient::Run() {
  while (!stop_) {
    if (const auto step = Step(); step) continue;
    dialer_.reset();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Result<proto::Frame> SimClient::Call(proto::Frame frame) {
  if (!dialer_) {
    TRY_ASSIGN(dialer_, Dialer::Connect(options_.endpoint));
  }
  return dialer_->Call(std::move(frame), kAnswer);
}

Result<> SimClient::Step() {
  if (submission_ || (!resting_ && running_.size() < options_.most_running)) return Submit();
  return Look();
}

Result<> SimClient::Submit() {
  if (!submission_) {
    const std::string model = fmt::format("model {} of client {}", ++submissions_, options_.seed);
    proto::Frame frame;
    auto& submit = *frame.mutable_submit_job();
    submit.set_request(fmt::format("request {}-{}", options_.seed, submissions_));
    auto recipe = ParseRecipe(RecipeFor(options_.tag, random_()), "recipe.yaml");
    CHECK_THAT(recipe.has_value());
    *submit.mutable_recipe() = *recipe;
    *submit.mutable_model() = ModelOf(model);
    const auto uploaded = Call(UploadOf(model));
    if (!uploaded) {
      --submissions_;
      log_.Count("upload",
                 uploaded.error().code == ErrorCode::kUnreachable ? ClientLog::End::info : ClientLog::End::fail);
      return Fail(uploaded.error());
    }
    log_.Acknowledged("upload", acknowledged::Artifact(DigestOf(model), model.size()));
    submission_ = std::move(frame);
  }
  // Some come twice at once, on another connection; the key makes them one job.
  if (random_() % 3 == 0) {
    if (!second_) {
      TRY_ASSIGN(second_, Dialer::Connect(options_.endpoint));
    }
    if (!second_->Post(*submission_)) second_.reset();
  }
  const auto answered = Call(*submission_);
  if (!answered) {
    log_.Count("submit",
               answered.error().code == ErrorCode::kUnreachable ? ClientLog::End::info : ClientLog::End::fail);
    return Fail(answered.error());
  }
  const uint64_t job = answered->submit_job_reply().job();
  log_.Acknowledged("submit", acknowledged::Job(job, submission_->submit_job().request()));
  submission_.reset();
  running_.push_back(job);
  ++jobs_;
  if (random_() % 12 == 0) {
    proto::Frame cancel;
    cancel.mutable_cancel_job()->set_job(job);
    const auto cancelled = Call(std::move(cancel));
    if (cancelled && cancelled->cancel_job_reply().was_running()) {
      log_.Acknowledged("cancel", acknowledged::Cancel(job));
    } else if (!cancelled) {
      log_.Count("cancel", ClientLog::End::info);
    }
  }
  return {};
}

// Follows the events, and reads the trials of one job.
Result<> SimClient::Look() {
  proto::Frame watch;
  watch.mutable_watch_events()->set_after(last_event_);
  watch.mutable_watch_events()->set_wait_ms(50);
  watch.mutable_watch_events()->set_limit(200);
  TRY_ASSIGN(const proto::Frame watched, Call(std::move(watch)));
  for (const auto& event : watched.watch_events_reply().events()) {
    log_.Acknowledged("event", acknowledged::Event(event));
    last_event_ = std::max(last_event_, event.sequence());
    const bool over = event.kind() == "job.complete" || event.kind() == "job.failed" || event.kind() == "job.cancelled";
    if (over) std::erase(running_, event.job());
  }
  if (running_.empty() || random_() % 4 != 0) return {};
  proto::Frame list;
  list.mutable_list_trials()->set_job(running_[random_() % running_.size()]);
  const uint64_t job = list.list_trials().job();
  TRY_ASSIGN(const proto::Frame listed, Call(std::move(list)));
  for (const auto& trial : listed.list_trials_reply().trials()) {
    if (!IsOver(trial.state())) continue;
    log_.Acknowledged("trial", acknowledged::Trial(job, trial.study(), trial.trial(), NameOf(trial.state())));
  }
  return {};
}

}  // namespace hone::test
