#include "tests/fuzz/play.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "coordinator/fsck.h"
#include "tests/coordinator/harness.h"
#include "tests/support/acknowledged.h"

namespace hone::test {
namespace {

constexpr size_t kSentKept = 48;
constexpr int kMostSettling = 20'000;
const char* const kRecipes[] = {kRecipe, R"(
passes: [clean, {choose: [none, half, {int8: {per_channel: [true, false]}}]}]
backends: {onnxruntime: {}, openvino: {}}
search: {sampler: random, trials: 4, seed: 11}
)",
                                R"(
passes: [{choose: [none, {int8: {per_channel: [true, false]}}]}]
backends: {onnxruntime: {}}
objectives: [{minimize: size_bytes}]
constraints: {size_bytes: 5000}
search: {sampler: auto, trials: 5, seed: 4}
measure: {reuse: false}
)"};

}  // namespace

const std::vector<Play::Step>& Play::Steps() {
  static const std::vector<Step> steps = {
      {"tick", 6, false, &Play::Tick},
      {"long tick", 2, true, &Play::LongTick},
      {"hello", 4, false, &Play::Hello},
      {"synchronize", 16, false, &Play::Synchronize},
      {"end", 12, false, &Play::End},
      {"spoil", 2, true, &Play::Spoil},
      {"submit", 3, false, &Play::Submit},
      {"cancel", 1, false, &Play::Cancel},
      {"ask", 3, false, &Play::Ask},
      {"repeat", 6, true, &Play::Repeat},
      {"lose replies", 3, true, &Play::LoseReplies},
      {"restart coordinator", 2, true, &Play::RestartCoordinator},
      {"restart worker", 2, true, &Play::RestartWorker},
      {"jump clock", 1, true, &Play::JumpClock},
      {"fill disk", 1, true, &Play::FillDisk},
      {"free disk", 2, false, &Play::FreeDisk},
      {"raw frame", 2, true, &Play::RawFrame},
  };
  return steps;
}

Play::Play(const std::filesystem::path& folder) : folder_(folder) {
  spdlog::set_level(spdlog::level::off);
  options_.data = folder_ / "data";
  options_.reserve_bytes = 0;
  workers_.resize(3);
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i].name = fmt::format("w{}", i);
  Open();
}

Play::~Play() { coordinator_.reset(); }

void Play::Open() {
  auto opened = Coordinator::Open(options_, clock_);
  if (!opened) {
    trouble_ += "the coordinator does not start: " + opened.error().message + "\n";
    return;
  }
  coordinator_ = std::move(*opened);
  Round({});
}

void Play::Run(std::string_view bytes) {
  ByteSource from(bytes);
  int sum = 0;
  for (const Step& step : Steps()) sum += step.weight;
  while (!from.empty() && coordinator_ != nullptr) {
    int at = from.Next() % sum;
    for (const Step& step : Steps()) {
      if ((at -= step.weight) >= 0) continue;
      ++counts_.steps;
      counts_.faults += step.is_fault ? 1 : 0;
      (this->*step.take)(from);
      break;
    }
    if (coordinator_ != nullptr && coordinator_->fatal()) trouble_ += "fatal: " + coordinator_->fatal()->message + "\n";
    if (!trouble_.empty()) return;
  }
}

void Play::Acknowledge(const nlohmann::json& line) {
  ++counts_.acknowledged;
  log_ += line.dump() + "\n";
}

void Play::Deliver(const std::string& peer, proto::Frame frame, Asked asked) {
  frame.set_protocol(kProtocol);
  frame.set_request(++request_);
  asked_[request_] = std::move(asked);
  Listener::Incoming incoming;
  incoming.peer = peer;
  incoming.frame = std::move(frame);
  sent_.push_back(incoming);
  if (sent_.size() > kSentKept) sent_.erase(sent_.begin());
  std::vector<Listener::Incoming> all;
  all.push_back(std::move(incoming));
  Round(std::move(all));
}

void Play::Round(std::vector<Listener::Incoming> incoming) {
  if (coordinator_ == nullptr) return;
  for (const Outgoing& out : coordinator_->Round(std::move(incoming))) {
    const auto asked = asked_.find(out.frame.request());
    if (asked == asked_.end()) continue;   // The answer to a repetition, or to what was made of noise.
    const Asked what = asked->second;
    asked_.erase(asked);
    if (lose_ > 0) {
      --lose_;
      continue;
    }
    if (!out.frame.has_error()) Answered(what, out.frame);
  }
}

void Play::Answered(const Asked& asked, const proto::Frame& frame) {
  if (frame.has_submit_job_reply()) {
    const uint64_t job = frame.submit_job_reply().job();
    jobs_.push_back(job);
    Acknowledge(acknowledged::Job(job, asked.text));
  } else if (frame.has_put_chunk_reply() && frame.put_chunk_reply().complete()) {
    Acknowledge(acknowledged::Artifact(asked.text, asked.number));
  } else if (frame.has_cancel_job_reply() && frame.cancel_job_reply().was_running()) {
    Acknowledge(acknowledged::Cancel(asked.number));
  } else if (frame.has_watch_events_reply()) {
    for (const auto& event : frame.watch_events_reply().events()) Acknowledge(acknowledged::Event(event));
  } else if (frame.has_synchronize_reply() && asked.worker >= 0) {
    SimulatedWorker& worker = workers_[static_cast<size_t>(asked.worker)];
    // The answer to a life that is over is nobody's.
    if (asked.text != worker.session()) return;
    const proto::SynchronizeReply& reply = frame.synchronize_reply();
    for (const uint64_t id : reply.acknowledged()) {
      const auto found = worker.spool.find(id);
      if (found == worker.spool.end()) continue;
      ++counts_.results;
      Acknowledge(acknowledged::Report(found->second));
      worker.spool.erase(found);
    }
    for (const uint64_t id : reply.drop()) worker.held.erase(id);
    for (const proto::Lease& lease : reply.leases()) {
      if (!worker.spool.contains(lease.id())) worker.held[lease.id()] = lease;
    }
    if (reply.unknown()) SayHello(worker);
  }
}

// --- steps ---

void Play::Tick(ByteSource& from) {
  clock_.steady_ms += from.Next();
  Round({});
}

void Play::LongTick(ByteSource& from) {
  // In steps that the coordinator sees: it is the others that are silent.
  for (int left = 100 * (1 + from.Next() % 64); left > 0; left -= 100) {
    clock_.steady_ms += 100;
    Round({});
  }
}

void Play::SayHello(SimulatedWorker& worker) {
  Deliver(worker.peer(), HelloOf(worker.name, worker.session(), {"cpu"}, 2),
          {IndexOf(worker), "hello", worker.session(), 0});
}

void Play::Hello(ByteSource& from) { SayHello(Which(from)); }

void Play::Synchronize(SimulatedWorker& worker, uint32_t free_slots) {
  Deliver(worker.peer(), FrameOf([&](auto& frame) {
            auto& message = *frame.mutable_synchronize();
            message.set_session(worker.session());
            message.set_free_slots(free_slots);
            for (const auto& [id, lease] : worker.held) AddHolding(message, id, lease.token());
            for (const auto& [id, report] : worker.spool) *message.add_reports() = report;
          }),
          {IndexOf(worker), "synchronize", worker.session(), 0});
}

void Play::Synchronize(ByteSource& from) {
  SimulatedWorker& worker = Which(from);
  Synchronize(worker, worker.free_slots());
}

void Play::Upload(const std::string& bytes) {
  Deliver("uploads", UploadOf(bytes), {-1, "upload", DigestOf(bytes), bytes.size()});
}

void Play::EndOne(SimulatedWorker& worker, proto::Report::Outcome outcome) {
  if (worker.held.empty()) return;
  const proto::Lease lease = worker.held.begin()->second;
  proto::Report report = ReportOf(lease, outcome);
  if (outcome == proto::Report::DONE && lease.has_build()) {
    const std::string bytes = BuiltBytes(lease.build());
    Upload(bytes);
    if (log_.find(DigestOf(bytes)) == std::string::npos) return;   // Not stored: not done.
    *report.mutable_result()->mutable_build()->mutable_model() = ModelOf(bytes);
  } else if (outcome == proto::Report::DONE) {
    *report.mutable_result()->mutable_measure() = FakeWorker::Measured(lease.measure());
  } else if (outcome == proto::Report::FAILED) {
    report.mutable_error()->set_code(proto::Error::REJECTED);
    report.mutable_error()->set_message("made to fail");
  }
  worker.held.erase(lease.id());
  worker.spool[lease.id()] = std::move(report);
  Synchronize(worker, 0);
}

void Play::End(ByteSource& from) {
  SimulatedWorker& worker = Which(from);
  const uint8_t how = from.Next();
  static constexpr proto::Report::Outcome kRare[] = {proto::Report::FAILED, proto::Report::CRASHED,
                                                     proto::Report::TIMED_OUT, proto::Report::OUT_OF_MEMORY,
                                                     proto::Report::RETURNED};
  EndOne(worker, how < 230 ? proto::Report::DONE : kRare[how % std::size(kRare)]);
}

// A report that nobody may believe: of another token, another session, or of a lease that never was.
void Play::Spoil(ByteSource& from) {
  SimulatedWorker& worker = Which(from);
  const uint8_t how = from.Next();
  proto::Report report;
  report.set_lease(worker.held.empty() ? from.Next() : worker.held.begin()->first);
  report.set_token(how % 3 == 0 ? from.Next() : 1'000'000 + how);
  report.set_outcome(static_cast<proto::Report::Outcome>(how % 8));
  Deliver(worker.peer(), FrameOf([&](auto& frame) {
            frame.mutable_synchronize()->set_session(how % 2 == 0 ? worker.session() : "nobody");
            *frame.mutable_synchronize()->add_reports() = report;
            for (const auto& [id, lease] : worker.held) AddHolding(*frame.mutable_synchronize(), id, lease.token());
          }),
          {});
}

void Play::Submit(ByteSource& from) {
  const uint8_t what = from.Next();
  const std::string model = fmt::format("model {}", what % 5);
  Upload(model);
  auto recipe = ParseRecipe(kRecipes[what % std::size(kRecipes)], "recipe.yaml");
  CHECK_THAT(recipe.has_value());
  // Few keys, so that many come again.
  const std::string key = fmt::format("key {}", what % 16);
  Deliver("client", FrameOf([&](auto& frame) {
            auto& submit = *frame.mutable_submit_job();
            *submit.mutable_recipe() = *recipe;
            submit.set_request(key);
            *submit.mutable_model() = ModelOf(model);
          }),
          {-1, "submit", key, 0});
}

void Play::Cancel(ByteSource& from) {
  const uint64_t job = jobs_.empty() ? 1 : jobs_[from.Next() % jobs_.size()];
  Deliver("client", FrameOf([&](auto& frame) { frame.mutable_cancel_job()->set_job(job); }), {-1, "cancel", "", job});
}

void Play::Ask(ByteSource& from) {
  const uint64_t job = from.Next() % 8;
  const uint8_t what = from.Next();
  Deliver("client", FrameOf([&](auto& frame) {
            switch (what % 9) {
              case 0: frame.mutable_get_job()->set_job(job); break;
              case 1: frame.mutable_list_trials()->set_job(job); break;
              case 2: frame.mutable_watch_events()->set_after(what); break;
              case 3: frame.mutable_list_jobs()->set_limit(what); break;
              case 4: frame.mutable_list_workers(); break;
              case 5:
                frame.mutable_drain_worker()->set_name("w0"), frame.mutable_drain_worker()->set_undrain(what % 2 == 0);
                break;
              case 6: frame.mutable_get_log()->set_job(job), frame.mutable_get_log()->set_trial(what % 5); break;
              case 7:
                frame.mutable_get_samples()->set_job(job), frame.mutable_get_samples()->set_trial(what % 5);
                break;
              default: frame.mutable_ping(); break;
            }
          }),
          {-1, "ask", "", 0});
}

// Frames that came before come again, from the same peer or another, up to ten times.
void Play::Repeat(ByteSource& from) {
  if (sent_.empty()) return;
  const Listener::Incoming& frame = sent_[from.Next() % sent_.size()];
  const uint8_t how = from.Next();
  std::vector<Listener::Incoming> all;
  for (int i = 0; i <= how % 10; ++i) {
    all.push_back(frame);
    if (how >= 128) all.back().peer = "another peer";
  }
  Round(std::move(all));
}

void Play::LoseReplies(ByteSource& from) { lose_ = 1 + from.Next() % 4; }

void Play::RestartCoordinator(ByteSource&) {
  coordinator_.reset();
  asked_.clear();
  Open();
}

void Play::RestartWorker(ByteSource& from) {
  SimulatedWorker& worker = Which(from);
  ++worker.life;
  worker.held.clear();
  SayHello(worker);
}

void Play::JumpClock(ByteSource& from) { clock_.jump_ms = (int64_t{from.Next()} - 128) * 60'000; }

void Play::FillDisk(ByteSource& from) {
  const auto pages = coordinator_->store().Pages();
  if (pages) (void)coordinator_->store().LimitPages(*pages + from.Next() % 4);
}

void Play::FreeDisk(ByteSource&) { (void)coordinator_->store().LimitPages(0); }

void Play::RawFrame(ByteSource& from) {
  const std::string_view bytes = from.Take(1 + from.Next() % 64);
  Listener::Incoming incoming;
  if (!incoming.frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  // As noise its number must not be taken for one of ours.
  incoming.frame.set_request(0);
  incoming.peer = "noise";
  std::vector<Listener::Incoming> all;
  all.push_back(std::move(incoming));
  Round(std::move(all));
}

std::string Play::Settle() {
  if (!trouble_.empty() || coordinator_ == nullptr) return trouble_.empty() ? "no coordinator" : trouble_;
  (void)coordinator_->store().LimitPages(0);
  lose_ = 0;
  clock_.jump_ms = 0;
  Deliver("client", FrameOf([](auto& frame) {
            frame.mutable_drain_worker()->set_name("w0"), frame.mutable_drain_worker()->set_undrain(true);
          }),
          {});
  for (auto& worker : workers_) SayHello(worker);
  bool running = true;
  for (int i = 0; i < kMostSettling && running; ++i) {
    for (auto& worker : workers_) {
      Synchronize(worker, worker.free_slots());
      clock_.steady_ms += 20;
      Round({});
      EndOne(worker, proto::Report::DONE);
    }
    if (i % 16 != 0) continue;
    const auto ids = coordinator_->store().RunningJobIds();
    running = !ids || !ids->empty();
  }
  if (running) trouble_ += "work is left that nobody can end\n";
  const auto log = folder_ / "acknowledged";
  if (const auto written = WriteFile(log, log_); !written) return written.error().message;
  FsckOptions options;
  options.log = log;
  options.quick = true;
  const auto report = Fsck(options_.data, options);
  if (!report) return trouble_ + report.error().message;
  return report->ok() ? trouble_ : trouble_ + FsckJson(*report);
}

}  // namespace hone::test
