// A coordinator in this process with a clock that tests own, and workers that follow a script: they speak the protocol
// and make up their results from what they were asked to do, so that the same work gives the same result.
#pragma once

#include <gtest/gtest.h>

#include <spdlog/spdlog.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"
#include "common/artifact/bundle.h"
#include "coordinator/coordinator.h"

namespace hone::test {

class FakeClock final : public Clock {
 public:
  int64_t SteadyMs() const override { return now_ms; }
  int64_t UnixMs() const override { return 1'700'000'000'000 + now_ms; }
  int64_t now_ms = 1'000'000;
};

// One request, one reply; an Error body comes back as that error.
using Ask = std::function<Result<proto::Frame>(proto::Frame)>;

template <class Fill>
proto::Frame FrameOf(Fill fill) {
  proto::Frame frame;
  fill(frame);
  return frame;
}

inline proto::File FileOf(const std::string& path, const std::string& bytes) {
  proto::File file;
  file.set_path(path);
  file.set_digest(DigestOf(bytes));
  file.set_size_bytes(bytes.size());
  return file;
}

// All of a file in one chunk.
inline proto::Frame UploadOf(const std::string& bytes) {
  return FrameOf([&](auto& frame) {
    auto& chunk = *frame.mutable_put_chunk();
    chunk.set_digest(DigestOf(bytes));
    chunk.set_size_bytes(bytes.size());
    chunk.set_data(bytes);
  });
}

inline proto::File Upload(const Ask& ask, const std::string& path, const std::string& bytes) {
  auto reply = ask(UploadOf(bytes));
  EXPECT_TRUE(reply) << reply.error().message;
  EXPECT_TRUE(reply && reply->put_chunk_reply().complete());
  return FileOf(path, bytes);
}

inline proto::Bundle ModelOf(const std::string& bytes, const std::string& format = "onnx") {
  proto::Bundle bundle;
  bundle.set_format(format);
  bundle.set_main("model.onnx");
  *bundle.add_files() = FileOf("model.onnx", bytes);
  return bundle;
}

inline proto::Bundle UploadModel(const Ask& ask, const std::string& bytes, const std::string& format = "onnx") {
  Upload(ask, "model.onnx", bytes);
  return ModelOf(bytes, format);
}

inline proto::Recipe Recipe(const std::string& yaml) {
  auto recipe = ParseRecipe(yaml, "recipe.yaml");
  EXPECT_TRUE(recipe) << recipe.error().message;
  return recipe ? *recipe : proto::Recipe();
}

// Six candidates: none, half, int8 with two settings, on two backends, of which the second takes no int8 of its own
// accord.
inline const char* const kRecipe = R"(
passes: [{choose: [none, half, {int8: {per_channel: [true, false]}}]}]
backends: {onnxruntime: {}, openvino: {}}
search: {sampler: exhaustive, seed: 3}
)";
constexpr uint64_t kCandidates = 8;

inline proto::Catalogue FakeCatalogue() {
  proto::Catalogue catalogue;
  const auto add_pass = [&](const char* name, const char* parameter) {
    proto::PassInfo& pass = *catalogue.add_passes();
    pass.set_name(name);
    pass.set_version(1);
    pass.add_accepts("onnx");
    if (parameter == nullptr) return;
    proto::ParameterInfo& info = *pass.add_parameters();
    info.set_name(parameter);
    info.set_type(proto::ParameterInfo::BOOLEAN);
    *info.mutable_default_value() = BoolValue(false);
  };
  add_pass("clean", nullptr);
  add_pass("half", nullptr);
  add_pass("int8", "per_channel");
  for (const char* name : {"onnxruntime", "openvino"}) {
    proto::BackendInfo& backend = *catalogue.add_backends();
    backend.set_name(name);
    backend.set_version("1");
    backend.add_devices("CPU");
    backend.add_formats("onnx");
    backend.set_reference(catalogue.backends_size() == 1);
  }
  catalogue.mutable_fingerprint()->set_cpu_model("fake");
  catalogue.mutable_fingerprint()->set_digest(DigestOf("fake"));
  return catalogue;
}

inline proto::Metric MetricOf(const std::string& name, double value) {
  proto::Metric metric;
  metric.set_name(name);
  metric.set_value(value);
  metric.set_samples(5);
  return metric;
}

inline proto::Frame HelloOf(const std::string& name, const std::string& session, const std::vector<std::string>& tags,
                            uint32_t slots, const proto::Catalogue& catalogue = FakeCatalogue()) {
  return FrameOf([&](auto& frame) {
    auto& hello = *frame.mutable_worker_hello();
    hello.set_name(name);
    hello.set_session(session);
    for (const auto& tag : tags) hello.add_tags(tag);
    *hello.mutable_catalogue() = catalogue;
    hello.set_slots(slots);
  });
}

inline void AddHolding(proto::Synchronize& message, uint64_t lease, uint64_t token) {
  auto& holding = *message.add_holding();
  holding.set_lease(lease);
  holding.set_token(token);
  holding.set_phase("running");
}

inline proto::Report ReportOf(const proto::Lease& lease, proto::Report::Outcome outcome) {
  proto::Report report;
  report.set_lease(lease.id());
  report.set_token(lease.token());
  report.set_outcome(outcome);
  report.set_wall_ms(10);
  return report;
}

// What a build gives: the same work the same bytes.
inline std::string BuiltBytes(const proto::BuildWork& work) {
  return work.step().pass() + CanonicalParameters(work.step().parameters()) + BundleId(work.model());
}

class FakeWorker {
 public:
  FakeWorker(Ask ask, std::string name, std::vector<std::string> tags = {"cpu"}, std::string session = "")
      : ask_(std::move(ask)),
        name_(std::move(name)),
        session_(session.empty() ? name_ + "-1" : session),
        tags_(std::move(tags)) {}

  Result<proto::Frame> Hello() {
    return ask_(HelloOf(name_, session_, tags_, slots, catalogue));
  }

  // One call: what is held and reported goes out, new leases come in.
  Result<proto::SynchronizeReply> Sync(uint32_t free_slots, uint32_t wait_ms = 0) {
    auto reply = ask_(SyncFrame(free_slots, wait_ms));
    if (!reply) return Fail(reply.error());
    const proto::SynchronizeReply sync = reply->synchronize_reply();
    for (const uint64_t id : sync.acknowledged()) reports.erase(id);
    for (const uint64_t id : sync.drop()) {
      held.erase(id);
      dropped.push_back(id);
    }
    for (const auto& lease : sync.leases()) held[lease.id()] = lease;
    return sync;
  }
  proto::Frame SyncFrame(uint32_t free_slots, uint32_t wait_ms) const {
    return FrameOf([&](auto& frame) {
      auto& sync = *frame.mutable_synchronize();
      sync.set_session(session_);
      sync.set_free_slots(free_slots);
      sync.set_wait_ms(wait_ms);
      for (const auto& [id, lease] : held) AddHolding(sync, id, lease.token());
      for (const auto& [id, report] : reports) *sync.add_reports() = report;
    });
  }

  // Takes one piece of work; empty where there is none.
  std::optional<proto::Lease> Take() {
    if (auto reply = Sync(1); !reply || reply->leases().empty()) return std::nullopt;
    return held.begin()->second;
  }

  // Does the work and reports it.
  proto::Report Do(const proto::Lease& lease) {
    proto::Report report = ReportOf(lease, proto::Report::DONE);
    log.push_back(lease);
    if (lease.has_build()) {
      *report.mutable_result()->mutable_build() = Build(lease.build());
    } else if (lease.has_sensitivity()) {
      *report.mutable_result()->mutable_sensitivity() = Sensitivity(lease.sensitivity());
    } else {
      *report.mutable_result()->mutable_measure() = Measured(lease.measure());
    }
    if (alter) alter(lease, report);
    return report;
  }
  void Finish(const proto::Lease& lease) {
    reports[lease.id()] = Do(lease);
    held.erase(lease.id());
    ASSERT_TRUE(Sync(0));
  }
  // Works until nothing is left to do for it; returns how many pieces it did.
  int Work(int most = 1000) {
    int done = 0;
    while (done < most) {
      const auto lease = Take();
      if (!lease) break;
      reports[lease->id()] = Do(*lease);
      held.erase(lease->id());
      ++done;
    }
    EXPECT_TRUE(Sync(0));
    return done;
  }

  proto::BuildResult Build(const proto::BuildWork& work) {
    proto::BuildResult result;
    *result.mutable_model() = UploadModel(ask_, BuiltBytes(work));
    result.set_wall_ms(7);
    result.add_notes("made up");
    return result;
  }

  // Every group loses and gains as much as its name says by chance.
  static proto::SensitivityResult Sensitivity(const proto::SensitivityWork& work) {
    proto::SensitivityResult result;
    result.set_metric("cosine");
    result.set_groups("given");
    for (const proto::Parameter& parameter : work.steps(0).parameters()) {
      if (parameter.name().find('.') == std::string::npos) continue;
      auto& group = *result.add_group();
      group.set_name(parameter.name());
      const uint64_t chance = std::stoull(DigestOf(parameter.name()).substr(7, 8), nullptr, 16);
      for (int step = 0; step < work.steps_size(); ++step) {
        auto& loss = *group.add_losses();
        loss.set_step(static_cast<uint32_t>(step));
        loss.set_loss(static_cast<double>(chance % 97) * 1e-4 * (step + 1));
        loss.set_gain_ms(static_cast<double>(chance % 89) * 1e-2);
      }
    }
    return result;
  }

  static proto::MeasureResult Measured(const proto::MeasureWork& work) {
    proto::MeasureResult result;
    const std::string about = BundleId(work.model()) + work.backend() + CanonicalParameters(work.settings());
    const uint64_t chance = std::stoull(DigestOf(about).substr(7, 8), nullptr, 16);
    const double speedup = work.is_baseline() ? 1 : 1 + static_cast<double>(chance % 1000) / 500;
    *result.add_metrics() = MetricOf("latency_ms_p50", 10 / speedup);
    *result.add_metrics() = MetricOf("size_bytes", static_cast<double>(1000 + chance % 7919));
    *result.add_metrics() = MetricOf("cosine", 0.999);
    *result.add_metrics() = MetricOf("accuracy", 0.999);
    *result.add_metrics() = MetricOf("accuracy_drop", work.is_baseline() ? 0 : 0.001);
    if (!work.is_baseline()) {
      *result.add_baseline_metrics() = MetricOf("latency_ms_p50", 10);
      *result.mutable_speedup() = MetricOf("speedup", speedup);
      result.mutable_speedup()->set_low(speedup * 0.9);
      result.mutable_speedup()->set_high(speedup * 1.1);
      result.mutable_speedup()->set_samples(work.pairs());
    }
    auto& samples = *result.add_samples();
    samples.set_series("candidate.latency_ms");
    for (uint32_t i = 0; i < work.pairs(); ++i) samples.add_values(10 / speedup + i);
    result.mutable_execution()->set_backend(work.backend());
    result.mutable_execution()->set_version("1");
    result.mutable_fingerprint()->set_digest(DigestOf("fake"));
    return result;
  }

  const std::string& session() const { return session_; }

  proto::Catalogue catalogue = FakeCatalogue();
  uint32_t slots = 1;
  std::map<uint64_t, proto::Lease> held;
  std::map<uint64_t, proto::Report> reports;
  std::vector<uint64_t> dropped;
  std::vector<proto::Lease> log;              // All work done.
  std::function<void(const proto::Lease&, proto::Report&)> alter;

 private:
  Ask ask_;
  std::string name_;
  std::string session_;
  std::vector<std::string> tags_;
};

// The coordinator in a temporary folder, its clock, and requests by peers.
class Harness {
 public:
  Harness() {
    spdlog::set_level(spdlog::level::off);
    auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-coordinator-");
    EXPECT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    options.data = folder_->path() / "data";
    options.reserve_bytes = 256 << 10;
    Start();
  }

  void Start() {
    auto opened = Coordinator::Open(options, clock);
    ASSERT_TRUE(opened) << opened.error().message;
    coordinator = std::move(*opened);
    coordinator->Round({});
  }
  // As after kill -9: what was not committed is gone.
  void Restart() {
    coordinator.reset();
    stray_.clear();
    Start();
  }

  // Sends without waiting; the reply is found by Reply later.
  uint64_t Post(const std::string& peer, proto::Frame frame) {
    frame.set_protocol(kProtocol);
    frame.set_request(++request_);
    Keep(coordinator->Round({{peer, std::move(frame)}}));
    return request_;
  }
  std::optional<proto::Frame> Reply(uint64_t request) {
    const auto found = stray_.find(request);
    if (found == stray_.end()) return std::nullopt;
    proto::Frame frame = std::move(found->second);
    stray_.erase(found);
    return frame;
  }
  Result<proto::Frame> Call(const std::string& peer, proto::Frame frame) {
    const uint64_t request = Post(peer, std::move(frame));
    for (int i = 0; i < 1000; ++i) {
      if (auto reply = Reply(request)) {
        if (reply->has_error()) return Fail(FromProto(reply->error()));
        return std::move(*reply);
      }
      Advance(50);
    }
    return Fail(ErrorCode::kUnreachable, "no reply");
  }
  Ask As(const std::string& peer) {
    return [this, peer](proto::Frame frame) { return Call(peer, std::move(frame)); };
  }
  // Time passes in steps that the coordinator sees, as in its loop.
  void Advance(int64_t ms) {
    while (ms > 0) {
      const int64_t step = std::min<int64_t>(ms, 50);
      clock.now_ms += step;
      ms -= step;
      Keep(coordinator->Round({}));
    }
  }

  FakeWorker Worker(const std::string& name, std::vector<std::string> tags = {"cpu"}, const std::string& session = "") {
    FakeWorker worker(As(name + session), name, std::move(tags), session);
    auto reply = worker.Hello();
    EXPECT_TRUE(reply) << reply.error().message;
    return worker;
  }

  proto::Frame Submission(const std::string& yaml, const std::string& model = "the model",
                          const std::string& request = "") {
    const auto bundle = UploadModel(As("client"), model);
    return FrameOf([&](auto& frame) {
      *frame.mutable_submit_job()->mutable_recipe() = Recipe(yaml);
      *frame.mutable_submit_job()->mutable_model() = bundle;
      frame.mutable_submit_job()->set_request(request);
    });
  }
  uint64_t Submit(const std::string& yaml = kRecipe, const std::string& model = "the model",
                  const std::string& request = "") {
    auto reply = Call("client", Submission(yaml, model, request));
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? reply->submit_job_reply().job() : 0;
  }
  proto::JobSummary Job(uint64_t job) {
    auto reply = Call("client", FrameOf([&](auto& frame) { frame.mutable_get_job()->set_job(job); }));
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? reply->get_job_reply().job() : proto::JobSummary();
  }
  std::vector<proto::TrialSummary> Trials(uint64_t job) {
    auto reply = Call("client", FrameOf([&](auto& frame) { frame.mutable_list_trials()->set_job(job); }));
    EXPECT_TRUE(reply) << reply.error().message;
    if (!reply) return {};
    return {reply->list_trials_reply().trials().begin(), reply->list_trials_reply().trials().end()};
  }
  // Number, state and candidate of every trial, in order.
  std::vector<std::string> Table(uint64_t job) {
    std::vector<std::string> table;
    for (const auto& trial : Trials(job)) {
      table.push_back(std::to_string(trial.study()) + "/" + std::to_string(trial.trial()) + " " +
                      std::string(NameOf(trial.state())) + " " + CanonicalCandidate(trial.candidate()) + " " +
                      BundleId(trial.model()));
    }
    return table;
  }
  std::vector<proto::Event> Events(uint64_t job) {
    auto reply = Call("client", FrameOf([&](auto& frame) { frame.mutable_watch_events()->set_job(job); }));
    EXPECT_TRUE(reply) << reply.error().message;
    if (!reply) return {};
    return {reply->watch_events_reply().events().begin(), reply->watch_events_reply().events().end()};
  }
  std::vector<std::string> EventTexts(uint64_t job, const std::string& kind) {
    std::vector<std::string> texts;
    for (const auto& event : Events(job)) {
      if (event.kind() == kind) texts.push_back(event.text());
    }
    return texts;
  }
  // The first column of the rows, read through a connection of its own.
  std::vector<std::string> Query(const std::string& sql) {
    std::vector<std::string> rows;
    auto database = Database::Open(options.data / "hone.db");
    EXPECT_TRUE(database);
    if (!database) return rows;
    const auto read = database->Each(sql, [&](const Row& row) { rows.push_back(row.Text(0)); });
    EXPECT_TRUE(read) << read.error().message;
    return rows;
  }

  FakeClock clock;
  CoordinatorOptions options;
  std::unique_ptr<Coordinator> coordinator;

 private:
  void Keep(std::vector<Outgoing> replies) {
    for (auto& reply : replies) stray_[reply.frame.request()] = std::move(reply.frame);
  }

  std::optional<ScopedFolder> folder_;
  std::map<uint64_t, proto::Frame> stray_;
  uint64_t request_ = 0;
};

}  // namespace hone::test
