#include "worker/supervisor/agent.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "common/base/clock.h"
#include "common/base/machine_lock.h"
#include "common/base/service_notify.h"
#include "common/base/strings.h"
#include "common/recipe/sandbox_level.h"
#include "common/transport/transport.h"
#include "worker/fingerprint.h"
#include "worker/supervisor/bench.h"
#include "worker/supervisor/data_folder.h"
#include "worker/supervisor/spool.h"

namespace hone {
namespace {

constexpr uint32_t kSlots = 1;
constexpr double kMemoryShare = 0.85;  // The rest is for the system, and for growth between two looks at a runner.
constexpr uint32_t kFirstHeartbeatMs = 1000;  // Until the coordinator has said what it wants.
constexpr int64_t kEmptyReplyGapMs = 50;      // After a reply that came early with nothing in it.
constexpr int64_t kSilentHeartbeats = 3;      // A coordinator that answers nothing for so long is unreachable.
constexpr size_t kMostFrames = 1000;          // Taken in one go.
constexpr size_t kReportBytesAFrame = kMaxFrameBytes * 3 / 4;

std::string FreshSession() {
  std::random_device source;
  std::string session;
  for (int i = 0; i < 4; ++i) session += fmt::format("{:08x}", source());
  return session;
}

constexpr uint64_t kMostScratchBytes = uint64_t{64} << 30;

uint64_t ScratchLimit(uint64_t wish, const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (wish != 0 || error) return wish != 0 ? wish : kMostScratchBytes;
  return std::min<uint64_t>(kMostScratchBytes, space.available / 2);
}

Result<> CheckSandbox(const Sandbox& sandbox, SandboxLevel least) {
  const SandboxLevel level = sandbox.level();
  const std::string missing = Join(sandbox.Missing(), "; ");
  if (level < least) {
    return Fail(ErrorCode::kEnvironment,
                fmt::format("runners can be confined here with sandbox={} only, {} is asked for; missing: {}",
                            WordOf(level), WordOf(least), missing),
                "docs/sandbox.md tells what each part needs; or start the worker without --sandbox");
  }
  if (level == SandboxLevel::full) {
    spdlog::info("runners are confined: sandbox=full{}", missing.empty() ? "" : ", without " + missing);
  } else {
    spdlog::warn("runners are not fully confined: sandbox={}; missing: {}", WordOf(level), missing);
  }
  return {};
}

uint64_t MemoryLimit(uint64_t wish) {
  const auto share = static_cast<uint64_t>(kMemoryShare * static_cast<double>(AllowedMemoryBytes()));
  return wish == 0 ? share : wish;
}

// A counter that poll(2) can wait for.
class Wakeup {
 public:
  Wakeup() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK_THAT(descriptor_ >= 0); }
  ~Wakeup() { close(descriptor_); }
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;
  void Wake() { eventfd_write(descriptor_, 1); }   // Safe in signal handlers.
  void Drain() {
    eventfd_t count = 0;
    eventfd_read(descriptor_, &count);
  }
  int descriptor() const { return descriptor_; }

 private:
  const int descriptor_;
};

// What the two threads share: the leases in hand and the reports to deliver.
class Hands {
 public:
  Hands(Spool spool, Wakeup& network) : spool_(std::move(spool)), network_(network) {}

  // --- network thread ---

  // A lease that is held or was worked already is not taken twice.
  void Take(const proto::Lease& lease) {
    const std::lock_guard lock(mutex_);
    const bool known = spool_.Holds(lease.id()) || (current_ && current_->id() == lease.id()) ||
                       std::any_of(waiting_.begin(), waiting_.end(),
                                   [&](const proto::Lease& held) { return held.id() == lease.id(); });
    if (known) return;
    waiting_.push_back(lease);
    if (closed_) EndWaiting([](const proto::Lease&) { return true; }, proto::Report::RETURNED);
    work_.notify_one();
  }

  void Drop(uint64_t id) {
    const std::lock_guard lock(mutex_);
    if (current_ && current_->id() == id) stop_.Stop(StopReason::kCancelled);
    EndWaiting([&](const proto::Lease& lease) { return lease.id() == id; }, proto::Report::CANCELLED);
  }

  void Forget(uint64_t id) {
    const std::lock_guard lock(mutex_);
    spool_.Forget(id);
  }

  // Leases that wait go back; the one in work goes on until it ends or GiveUp.
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    EndWaiting([](const proto::Lease&) { return true; }, proto::Report::RETURNED);
    work_.notify_one();
  }

  void GiveUp() {
    const std::lock_guard lock(mutex_);
    if (current_) stop_.Stop(StopReason::kReturned);
  }

  bool Working() const {
    const std::lock_guard lock(mutex_);
    return current_.has_value() || !waiting_.empty();
  }
  bool AllDelivered() const {
    const std::lock_guard lock(mutex_);
    return spool_.reports().empty();
  }

  // What is held and what ended, as many reports as one frame takes; free slots are what is left.
  void Describe(proto::Synchronize& message) const {
    const std::lock_guard lock(mutex_);
    if (current_) AddHolding(message, *current_, phase_);
    for (const proto::Lease& lease : waiting_) AddHolding(message, lease, "waiting");
    size_t bytes = 0;
    for (const auto& [lease, report] : spool_.reports()) {
      bytes += report.ByteSizeLong();
      if (bytes > kReportBytesAFrame && message.reports_size() > 0) break;
      *message.add_reports() = report;
    }
    const uint32_t held = static_cast<uint32_t>(message.holding_size());
    message.set_free_slots(closed_ || held >= kSlots ? 0 : kSlots - held);
  }

  // --- work thread ---

  // Waits for the next lease; empty once closed.
  std::optional<proto::Lease> Next() {
    std::unique_lock lock(mutex_);
    work_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty()) return std::nullopt;
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    phase_ = "waiting";
    stop_.Clear();
    return current_;
  }

  void SetPhase(const char* phase) {
    const std::lock_guard lock(mutex_);
    phase_ = phase;
  }

  void End(const proto::Report& report) {
    const std::lock_guard lock(mutex_);
    Keep(report);
    current_.reset();
    network_.Wake();
  }

  const StopSignal& stop() const { return stop_; }

 private:
  static void AddHolding(proto::Synchronize& message, const proto::Lease& lease, const char* phase) {
    proto::Holding& holding = *message.add_holding();
    holding.set_lease(lease.id());
    holding.set_token(lease.token());
    holding.set_phase(phase);
  }

  template <class Predicate>
  void EndWaiting(const Predicate& which, proto::Report::Outcome outcome) {
    for (auto lease = waiting_.begin(); lease != waiting_.end();) {
      if (!which(*lease)) {
        ++lease;
        continue;
      }
      proto::Report report;
      report.set_lease(lease->id());
      report.set_token(lease->token());
      report.set_outcome(outcome);
      Keep(report);
      lease = waiting_.erase(lease);
      network_.Wake();
    }
  }

  void Keep(const proto::Report& report) {
    const auto kept = spool_.Keep(report);
    if (!kept)
      spdlog::error("lease={}: the report is not safe until it is acknowledged: {}", report.lease(),
                    kept.error().message);
  }

  mutable std::mutex mutex_;          // Guards all below save stop_ and network_, which are thread-safe.
  std::condition_variable work_;
  std::deque<proto::Lease> waiting_;
  std::optional<proto::Lease> current_;
  const char* phase_ = "waiting";
  Spool spool_;
  bool closed_ = false;
  StopSignal stop_;
  Wakeup& network_;
};

class AgentImplementation : public Agent {
 public:
  AgentImplementation(const AgentOptions& options, DataFolder folder, std::string name, std::unique_ptr<Bench> bench,
                      proto::Catalogue catalogue, Spool spool)
      : options_(options),
        folder_(std::move(folder)),
        name_(std::move(name)),
        bench_(std::move(bench)),
        hands_(std::move(spool), wakeup_) {
    *hello_.mutable_catalogue() = std::move(catalogue);
    hello_.set_name(name_);
    hello_.set_session(FreshSession());
    std::set<std::string> tags(options.tags.begin(), options.tags.end());
    tags.insert(hello_.catalogue().tags().begin(), hello_.catalogue().tags().end());
    // Nobody can give it: CheckTag takes no '='.
    tags.insert(std::string(kSandboxTag) + WordOf(bench_->sandbox().level()));
    for (const std::string& tag : tags) hello_.add_tags(tag);
    hello_.set_slots(kSlots);
  }

  const std::string& name() const override { return name_; }

  void RequestStop() override {
    stop_requests_.fetch_add(1);
    wakeup_.Wake();
  }

  // Stop when asked, say what is due, wait for an answer or for the next thing to say.
  Result<> Serve() override {
    std::thread worker([this] { WorkLeases(); });
    const Result<> served = Converse();
    hands_.Close();
    hands_.GiveUp();
    worker.join();
    return served;
  }

 private:
  // --- work thread ---

  void WorkLeases() {
    while (const auto lease = hands_.Next()) {
      spdlog::info("lease={} job={} trial={}: {}", lease->id(), lease->job(), lease->trial(),
                   lease->has_build() ? "build" : "measure");
      const proto::Report report =
          bench_->Work(*lease, hands_.stop(), [this](const char* phase) { hands_.SetPhase(phase); });
      spdlog::info("lease={}: {} after {}{}{}", lease->id(), proto::Report::Outcome_Name(report.outcome()),
                   HumanDuration(static_cast<int64_t>(report.wall_ms())), report.has_error() ? ": " : "",
                   Printable(report.error().message(), 400));
      hands_.End(report);
    }
  }

  // --- network thread ---

  int64_t Now() const { return SystemClock().SteadyMs(); }

  Result<> Converse() {
    for (;;) {
      TellServiceManager();
      if (stop_requests_.load() > 0 && Farewell()) return {};
      TRY(Speak());
      TRY(TakeFrames());
      Wait();
      TRY(Listen());
    }
  }

  // Ready is who comes by here, whether or not the coordinator is there yet: a worker may be started first, and stays
  // when the coordinator goes.
  void TellServiceManager() {
    std::string status = (registered_ ? "takes work of " : "looks for ") + options_.coordinator;
    if (unreachable_) status = options_.coordinator + " does not answer; tries again";
    if (status != told_status_) {
      notifier_.Ready(status);
      told_status_ = std::move(status);
    }
    if (stop_requests_.load() > 0 && stopping_since_ms_ == 0) notifier_.Stopping();
    notifier_.Beat(Now());
  }

  // Whether everything is said and done. Steps towards it each time.
  bool Farewell() {
    const int64_t now = Now();
    if (stopping_since_ms_ == 0) {
      stopping_since_ms_ = now;
      spdlog::info("stopping: no new work{}", hands_.Working() ? "; the work in hand may end" : "");
      hands_.Close();
      say_now_ = true;
    }
    const bool impatient = stop_requests_.load() > 1 || now - stopping_since_ms_ >= options_.stop_grace.count();
    if (hands_.Working()) {
      if (impatient) hands_.GiveUp();
      return false;
    }
    if (farewell_since_ms_ == 0) farewell_since_ms_ = now;
    if (hands_.AllDelivered() && (said_farewell_ || !registered_ || unreachable_)) return true;
    if (now - farewell_since_ms_ < options_.farewell.count()) return false;
    if (!hands_.AllDelivered())
      spdlog::warn("the coordinator did not acknowledge every report; they are sent after the next start");
    return true;
  }

  // Sends what is due: hello until it is answered, then a synchronization at every heartbeat, and at once where
  // something ended.
  Result<> Speak() {
    const int64_t now = Now();
    NoticeSilence(now);
    if (!dialer_) {
      TRY_ASSIGN(dialer_, Dialer::Connect(options_.coordinator, {options_.keys}));
    }
    if (!say_now_ && now < next_word_ms_) return {};
    if (!registered_ && now < next_word_ms_) return {};  // Nothing but time makes another hello useful.
    say_now_ = false;
    const bool patient = registered_ && !unreachable_;
    last_word_ms_ = now;
    next_word_ms_ = now + std::min<int64_t>(heartbeat_ms_, patient ? heartbeat_ms_ : options_.longest_back_off.count());
    if (unanswered_since_ms_ == 0) unanswered_since_ms_ = now;
    const auto sent = dialer_->Post(registered_ ? SynchronizeFrame() : HelloFrame());
    if (!sent) spdlog::debug("send: {}", sent.error().message);
    if (sent && registered_ && farewell_since_ms_ != 0 && farewell_request_ == 0) farewell_request_ = *sent;
    return {};
  }

  proto::Frame HelloFrame() const {
    proto::Frame frame;
    *frame.mutable_worker_hello() = hello_;
    return frame;
  }

  proto::Frame SynchronizeFrame() {
    proto::Frame frame;
    proto::Synchronize& message = *frame.mutable_synchronize();
    message.set_session(hello_.session());
    hands_.Describe(message);
    const bool stopping = stopping_since_ms_ != 0;
    message.set_stopping(stopping);
    if (drain_) message.set_free_slots(0);
    // Shorter than the heartbeat, so that the answer and the next call fit into it.
    message.set_wait_ms(stopping ? 0 : heartbeat_ms_ * 4 / 5);
    return frame;
  }

  // A dialer that gets no answer may hold frames for a connection that is gone; a new one starts clean.
  void NoticeSilence(int64_t now) {
    if (unanswered_since_ms_ == 0) return;
    if (now - unanswered_since_ms_ < std::max<int64_t>(kSilentHeartbeats * heartbeat_ms_, 1000)) return;
    if (!std::exchange(unreachable_, true))
      spdlog::warn("the coordinator at {} does not answer; trying again for ever", options_.coordinator);
    dialer_.reset();
    farewell_request_ = 0;
    unanswered_since_ms_ = 0;
    next_word_ms_ = now;
  }

  void Wait() {
    const int64_t now = Now();
    int64_t until = next_word_ms_;
    if (stopping_since_ms_ != 0) until = std::min(until, now + 100);  // The grace ends without any event.
    if (say_now_ && registered_) until = now;
    if (!received_.empty()) return;
    pollfd waiting[2] = {{wakeup_.descriptor(), POLLIN, 0}, {dialer_->EventFd(), POLLIN, 0}};
    poll(waiting, 2, static_cast<int>(std::clamp<int64_t>(until - now, 0, 60'000)));
    if (waiting[0].revents != 0) {
      wakeup_.Drain();
      say_now_ = true;
    }
  }

  // The queue's descriptor is edge-triggered: what is there must be taken before waiting for more, after a send as
  // well.
  Result<> TakeFrames() {
    while (received_.size() < kMostFrames) {
      auto next = dialer_->Receive(std::chrono::milliseconds(0));
      if (!next) {
        TRY(HandleError(next.error()));  // Another protocol.
        return {};
      }
      if (!*next) return {};
      received_.push_back(std::move(**next));
    }
    return {};
  }

  Result<> Listen() {
    TRY(TakeFrames());
    while (!received_.empty()) {
      const proto::Frame frame = std::move(received_.front());
      received_.pop_front();
      TRY(Handle(frame));
    }
    return {};
  }

  Result<> Handle(const proto::Frame& frame) {
    unanswered_since_ms_ = 0;
    if (std::exchange(unreachable_, false)) spdlog::info("the coordinator answers again");
    switch (frame.body_case()) {
      case proto::Frame::kWorkerHelloReply:
        HandleHelloReply(frame.worker_hello_reply());
        return {};
      case proto::Frame::kSynchronizeReply:
        HandleReply(frame.synchronize_reply());
        if (farewell_request_ != 0 && frame.request() >= farewell_request_) said_farewell_ = true;
        return {};
      case proto::Frame::kError:
        return HandleError(FromProto(frame.error()));
      default:
        spdlog::warn("the coordinator answered with something else ({})", static_cast<int>(frame.body_case()));
        return {};
    }
  }

  void HandleHelloReply(const proto::WorkerHelloReply& reply) {
    if (reply.heartbeat_ms() != 0) heartbeat_ms_ = reply.heartbeat_ms();
    if (!std::exchange(registered_, true)) spdlog::info("registered as {} at {}", name_, options_.coordinator);
    say_now_ = true;
  }

  void HandleReply(const proto::SynchronizeReply& reply) {
    if (reply.unknown()) {
      registered_ = false;
      next_word_ms_ = 0;
      return;
    }
    for (const uint64_t lease : reply.acknowledged()) hands_.Forget(lease);
    for (const uint64_t lease : reply.drop()) hands_.Drop(lease);
    for (const proto::Lease& lease : reply.leases()) hands_.Take(lease);
    if (std::exchange(drain_, reply.drain()) != reply.drain())
      spdlog::info(reply.drain() ? "draining: no new work" : "no longer draining");
    // An answer that was held back is followed by the next question; one that came early with nothing in it is not
    // asked for again at once.
    const int64_t now = Now();
    const bool empty = reply.acknowledged_size() + reply.drop_size() + reply.leases_size() == 0;
    const bool early = now - last_word_ms_ < int64_t{heartbeat_ms_} / 2;
    next_word_ms_ = empty && early ? now + (hands_.Working() ? int64_t{heartbeat_ms_} / 2 : kEmptyReplyGapMs) : now;
  }

  // A refusal that no patience changes ends the agent; anything else is tried again.
  Result<> HandleError(const Error& error) {
    const bool final =
        error.code == ErrorCode::kDenied || error.code == ErrorCode::kRejected || error.code == ErrorCode::kUsage;
    if (!registered_ && final) return FailWith("the coordinator refuses this worker", error);
    if (error.message != last_error_) spdlog::warn("the coordinator says: {}", Printable(error.message));
    last_error_ = error.message;
    next_word_ms_ = Now() + options_.longest_back_off.count();
    return {};
  }

  // Constant after construction.
  const AgentOptions options_;
  const DataFolder folder_;
  const std::string name_;
  const std::unique_ptr<Bench> bench_;   // The work thread's.
  proto::WorkerHello hello_;

  Wakeup wakeup_;
  std::atomic<int> stop_requests_{0};
  Hands hands_;

  // The network thread's.
  std::unique_ptr<Dialer> dialer_;
  std::deque<proto::Frame> received_;
  bool registered_ = false;
  bool drain_ = false;
  bool unreachable_ = false;
  bool say_now_ = false;               // Something ended or changed: the coordinator shall know at once.
  uint32_t heartbeat_ms_ = kFirstHeartbeatMs;
  int64_t next_word_ms_ = 0;
  int64_t last_word_ms_ = 0;
  int64_t unanswered_since_ms_ = 0;    // 0: everything was answered.
  ServiceNotifier notifier_ = ServiceNotifier::FromEnvironment();
  std::string told_status_;
  int64_t stopping_since_ms_ = 0;
  int64_t farewell_since_ms_ = 0;      // The last work ended and only words are left.
  uint64_t farewell_request_ = 0;      // The first synchronization that held nothing; 0: not sent yet on this dialer.
  bool said_farewell_ = false;         // It was answered.
  std::string last_error_;
};

}  // namespace

Result<std::unique_ptr<Agent>> Agent::Open(const AgentOptions& options) {
  for (const std::string& tag : options.tags) TRY(CheckTag(tag));
  if (!options.name.empty()) TRY(CheckWorkerName(options.name));
  TRY_ASSIGN([[maybe_unused]] const auto dialer, Dialer::Connect(options.coordinator, {options.keys}));
  if (options.keys && !options.name.empty() && options.name != options.keys->own.name) {
    return Fail(
        ErrorCode::kUsage,
        fmt::format("the worker's key is that of {}, its name shall be {}", options.keys->own.name, options.name),
        "Leave out --name: a worker is named as its key");
  }
  TRY_ASSIGN(DataFolder folder, DataFolder::Open(options.data_folder));
  TRY_ASSIGN(std::string name, options.keys           ? Result<std::string>(options.keys->own.name)
                               : options.name.empty() ? folder.Name()
                                                      : Result<std::string>(options.name));
  TRY_ASSIGN(Spool spool, Spool::Open(folder.path() / "spool"));

  BenchOptions bench_options;
  bench_options.coordinator = options.coordinator;
  bench_options.dialer.keys = options.keys;
  bench_options.work_folder = folder.path() / "work";
  bench_options.artifact_folder = folder.path() / "artifacts";
  bench_options.cache_folder = folder.path() / "cache";
  bench_options.machine_lock = MachineLock::DefaultPath().string();
  bench_options.memory_bytes = MemoryLimit(options.memory_bytes);
  bench_options.artifact_bytes = options.cache_bytes != 0 ? options.cache_bytes : DefaultCacheBytes(folder.path());
  bench_options.scratch_bytes = ScratchLimit(options.scratch_bytes, folder.path());
  bench_options.runner = options.runner;
  TRY_ASSIGN(auto bench, Bench::Open(bench_options));
  TRY(CheckSandbox(bench->sandbox(), options.least_sandbox));
  TRY_ASSIGN(proto::Catalogue catalogue, bench->Catalogue());
  spdlog::info("worker {}: {} passes, {} backends, up to {} a task", name, catalogue.passes_size(),
               catalogue.backends_size(), HumanBytes(bench_options.memory_bytes));
  return std::unique_ptr<Agent>(new AgentImplementation(options, std::move(folder), std::move(name), std::move(bench),
                                                        std::move(catalogue), std::move(spool)));
}

}  // namespace hone
