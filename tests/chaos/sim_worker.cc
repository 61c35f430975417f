#include "tests/chaos/sim_worker.h"

#include "common/base/clock.h"
#include "tests/coordinator/harness.h"
#include "tests/support/acknowledged.h"

namespace hone::test {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr milliseconds kAnswer{1500};       // Longer than a parked answer takes.
constexpr uint32_t kWaitMs = 100;
constexpr size_t kMostRepeats = 200;

}  // namespace

SimWorker::SimWorker(Options options, ClientLog& log)
    : options_(std::move(options)), log_(log), random_(options_.seed) {
  Start();
}

SimWorker::~SimWorker() { Kill(); }

void SimWorker::Start() {
  const uint64_t life = ++life_;
  session_ = fmt::format("{}-{}-{}", options_.name, options_.seed, life);
  registered_ = false;
  thread_ = std::thread([this, life] { Run(life); });
}

void SimWorker::Kill() {
  if (!thread_.joinable()) return;
  ++life_;
  thread_.join();
  const std::lock_guard lock(mutex_);
  held_.clear();
}

void SimWorker::Restart() {
  Kill();
  Start();
}

void SimWorker::Freeze(milliseconds time) { frozen_until_ms_ = SystemClock().SteadyMs() + time.count(); }

std::vector<uint64_t> SimWorker::held() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> leases;
  for (const auto& [id, work] : held_) leases.push_back(id);
  return leases;
}

void SimWorker::Run(uint64_t life) {
  std::unique_ptr<Dialer> dialer;
  while (!Stopped(life)) {
    if (SystemClock().SteadyMs() < frozen_until_ms_) {
      std::this_thread::sleep_for(milliseconds(5));
      continue;
    }
    if (!dialer) {
      auto connected = Dialer::Connect(options_.endpoint);
      CHECK_THAT(connected.has_value());
      dialer = std::move(*connected);
    }
    if (const auto said = Say(*dialer); !said) {
      // A connection that brings no answer is not used again; the refusal of a session by a newer one of our own means
      // another name for it.
      if (said.error().code == ErrorCode::kUnreachable) dialer.reset();
      if (said.error().code == ErrorCode::kConflict) session_ += "+";
      registered_ = false;
    }
  }
}

Result<> SimWorker::Say(Dialer& dialer) {
  if (!registered_) {
    TRY(dialer.Call(HelloOf(options_.name, session_, {options_.tag}, 2), kAnswer));
    registered_ = true;
  }
  Finish(dialer);
  return Synchronize(dialer);
}

Result<proto::BuildResult> SimWorker::Build(Dialer& dialer, const proto::BuildWork& work) {
  const std::string bytes = BuiltBytes(work);
  TRY_ASSIGN(const proto::Frame reply, dialer.Call(UploadOf(bytes), kAnswer));
  if (!reply.put_chunk_reply().complete()) return Fail(ErrorCode::kUnreachable, "the upload is not complete");
  log_.Acknowledged("upload", acknowledged::Artifact(DigestOf(bytes), bytes.size()));
  proto::BuildResult result;
  *result.mutable_model() = ModelOf(bytes);
  result.set_wall_ms(7);
  return result;
}

// Ends the pieces whose time has come.
void SimWorker::Finish(Dialer& dialer) {
  std::vector<proto::Lease> ready;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, work] : held_) {
      if (work.ready <= Steady::now()) ready.push_back(work.lease);
    }
  }
  for (const proto::Lease& lease : ready) {
    proto::Report report = ReportOf(lease, proto::Report::DONE);
    if (std::bernoulli_distribution(options_.crashes)(random_)) {
      report.set_outcome(proto::Report::CRASHED);
      report.set_signal(11);
      report.set_output_tail("made to crash\n");
    } else if (lease.has_build()) {
      auto built = Build(dialer, lease.build());
      // Without its files in the store the build is not done; it is tried again.
      if (!built) continue;
      *report.mutable_result()->mutable_build() = std::move(*built);
    } else {
      *report.mutable_result()->mutable_measure() = FakeWorker::Measured(lease.measure());
    }
    spool_[lease.id()] = std::move(report);
    const std::lock_guard lock(mutex_);
    held_.erase(lease.id());
  }
}

Result<> SimWorker::Synchronize(Dialer& dialer) {
  proto::Frame frame;
  auto& message = *frame.mutable_synchronize();
  message.set_session(session_);
  message.set_wait_ms(kWaitMs);
  uint32_t wait = kWaitMs;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, work] : held_) {
      AddHolding(message, id, work.lease.token());
      wait = options_.wait_ms;
    }
    message.set_free_slots(held_.size() < 2 ? 2 - static_cast<uint32_t>(held_.size()) : 0);
  }
  message.set_wait_ms(wait);
  for (const auto& [id, report] : spool_) *message.add_reports() = report;
  for (Repeat& repeat : repeats_) {
    *message.add_reports() = repeat.report;
    --repeat.left;
    ++repeated_;
  }
  std::erase_if(repeats_, [](const Repeat& repeat) { return repeat.left <= 0; });
  auto answered = dialer.Call(std::move(frame), kAnswer);
  if (!answered) {
    log_.Count("synchronize",
               answered.error().code == ErrorCode::kUnreachable ? ClientLog::End::info : ClientLog::End::fail);
    return Fail(answered.error());
  }
  const proto::SynchronizeReply& reply = answered->synchronize_reply();
  log_.Count("synchronize", ClientLog::End::ok);
  for (const uint64_t id : reply.acknowledged()) {
    const auto found = spool_.find(id);
    if (found == spool_.end()) continue;
    log_.Acknowledged("report", acknowledged::Report(found->second));
    ++done_;
    if (options_.repeats > 0 && repeats_.size() < kMostRepeats) {
      repeats_.push_back({found->second, 1 + static_cast<int>(random_() % static_cast<uint64_t>(options_.repeats))});
    }
    spool_.erase(found);
  }
  const std::lock_guard lock(mutex_);
  for (const uint64_t id : reply.drop()) dropped_ += held_.erase(id);
  for (const proto::Lease& lease : reply.leases()) {
    if (spool_.contains(lease.id())) continue;
    const auto takes = milliseconds(random_() % static_cast<uint64_t>(options_.longest_work_ms + 1));
    held_.try_emplace(lease.id(), Work{lease, Steady::now() + takes});
  }
  if (reply.unknown()) registered_ = false;
  return {};
}

}  // namespace hone::test
