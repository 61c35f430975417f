// One night of one model, measured here without a coordinator: the rules of `hone nightly` (client/nightly/night.h)
// over launches that `hone benchmark`'s engine makes. Prints one line of JSON. bench/nightly/real.py plays many of
// them.
#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "client/console.h"
#include "client/flags.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/nightly/night.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"

namespace hone::nightly_bench {
namespace {

constexpr const char* kMetric = "latency_ms_p50";
// What makes a launch worthless, as in client/nightly/fleet_bench.cc.
constexpr const char* kDisturbance = "the hypervisor took";

struct Options {
  std::string accepted;
  std::string tonight;
  std::string backend = "onnxruntime";
  std::vector<std::string> inputs;
  std::optional<uint64_t> seed, pairs, most, blocks;
};

NightArtifact ArtifactOf(const ModelFile& model, const std::string& backend) {
  return {model.local.bundle(), backend, {}};
}

class LocalBench final : public NightBench {
 public:
  LocalBench(const ModelFile& accepted, const ModelFile& tonight, std::vector<proto::InputShape> inputs,
             const Suite& suite, const std::string& backend)
      : accepted_(accepted), tonight_(tonight), inputs_(std::move(inputs)), suite_(suite), backend_(backend) {}

  Result<Subject> Prepare(const SuiteModel&, const SuiteTarget&) override {
    return Subject{ArtifactOf(tonight_, backend_), "as it is"};
  }
  Result<> Keep(const NightArtifact&) override { return {}; }

  Result<std::vector<NightLaunch>> Measure(const Order& order) override {
    proto::Task task;
    proto::BenchmarkTask& benchmark = *task.mutable_benchmark();
    for (const NightArtifact* artifact : {order.accepted, order.tonight}) {
      proto::Subject& subject = *benchmark.add_subjects();
      const bool is_accepted = artifact->Identity() == ArtifactOf(accepted_, backend_).Identity();
      *subject.mutable_model() = is_accepted ? accepted_.local : tonight_.local;
      subject.set_backend(backend_);
    }
    benchmark.mutable_inputs()->Add(inputs_.begin(), inputs_.end());
    benchmark.set_launches(order.launches);
    benchmark.set_rounds(order.launches * suite_.blocks);
    benchmark.set_seed(order.seed);
    benchmark.set_exclusive_lock(MachineLock::DefaultPath().string());
    TRY_ASSIGN(const proto::TaskResult result, RunLocalTask(task));
    return LaunchesOf(result.benchmark(), order.launches);
  }

 private:
  static std::vector<double> Values(const proto::BenchmarkResult::Run& run) {
    for (const proto::Samples& samples : run.samples()) {
      if (samples.series() == "launch_latency_ms") return {samples.values().begin(), samples.values().end()};
    }
    return {};
  }

  static Result<std::vector<NightLaunch>> LaunchesOf(const proto::BenchmarkResult& result, uint32_t count) {
    if (result.runs_size() != 2) return Fail(ErrorCode::kFailed, "the runner did not measure both models");
    const std::vector<double> accepted = Values(result.runs(0)), tonight = Values(result.runs(1));
    if (accepted.size() != count || tonight.size() != count)
      return Fail(ErrorCode::kFailed, "the runner made fewer launches than asked for");
    std::vector<NightLaunch> launches(count);
    for (uint32_t i = 0; i < count; ++i) {
      launches[i].accepted[kMetric] = accepted[i];
      launches[i].tonight[kMetric] = tonight[i];
      launches[i].worker = "here";
      launches[i].fingerprint = result.fingerprint().digest();
      launches[i].runtime = result.runs(1).execution().version();
      for (const std::string& note : result.notes()) {
        const bool is_its = count == 1 || note.starts_with(fmt::format("launch {}: ", i + 1));
        if (is_its && note.find(kDisturbance) != std::string::npos) launches[i].disturbances.push_back(note);
      }
    }
    return launches;
  }

  const ModelFile& accepted_;
  const ModelFile& tonight_;
  const std::vector<proto::InputShape> inputs_;
  const Suite& suite_;
  const std::string backend_;
};

Json NightLine(const NightRecord& night, double wall_s) {
  const SeriesResult& result = night.results.at(0);
  const Judgement& judgement = result.judgement;
  uint32_t launches = 0, disturbed = 0;
  for (const MachineHealth& machine : night.health) {
    launches += machine.launches;
    disturbed += machine.disturbed;
  }
  return {{"verdict", NameOf(judgement.verdict)},
          {"alarm", night.controls.empty() ? IsFinding(judgement.verdict) : night.controls[0].alarm},
          {"effect", judgement.effect},
          {"low", judgement.interval.low},
          {"high", judgement.interval.high},
          {"pairs", judgement.pairs},
          {"smallest_effect", judgement.smallest_effect},
          {"confirmed", result.confirmed},
          {"reason", result.reason},
          {"accepted_ms", result.accepted_median},
          {"tonight_ms", result.tonight_median},
          {"launches", launches},
          {"disturbed", disturbed},
          {"wall_s", wall_s}};
}

Result<> Compare(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  TRY_ASSIGN(const ModelFile accepted, OpenModel(options.accepted));
  TRY_ASSIGN(const ModelFile tonight, OpenModel(options.tonight));
  TRY_ASSIGN(std::vector<proto::InputShape> inputs, ParsePins(options.inputs));
  Suite suite;
  suite.name = "compare";
  suite.models.push_back({"model", options.tonight, "", options.backend, {}});
  suite.targets.push_back({"here", {}});
  suite.metrics.push_back({FindNightMetric(kMetric), FindNightMetric(kMetric)->threshold});
  suite.pairs = static_cast<uint32_t>(options.pairs.value_or(suite.pairs));
  suite.most_pairs = static_cast<uint32_t>(options.most.value_or(suite.most_pairs));
  suite.blocks = static_cast<uint32_t>(options.blocks.value_or(suite.blocks));

  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-compare-"));
  TRY_ASSIGN(NightHistory history, NightHistory::Open(folder.path() / "history.db"));
  TRY(history.Accept(suite.name, "model", "here", ArtifactOf(accepted, options.backend), "given", 1));
  LocalBench bench(accepted, tonight, std::move(inputs), suite, options.backend);
  NightOptions night_options;
  night_options.id = fmt::format("seed-{}", options.seed.value_or(0));
  night_options.control = false;  // Nights of one model against itself are the control here.
  TRY_ASSIGN(const NightRecord night, RunNight(suite, history, bench, SystemClock(), night_options));
  const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}\n", NightLine(night, wall_s).dump());
  return {};
}

Flags FlagsOf(Options& options) {
  Flags flags;
  flags.Argument("ACCEPTED", "the accepted model", options.accepted);
  flags.Argument("TONIGHT", "tonight's model; the same file for a comparison with itself", options.tonight);
  flags.Text("--backend", "B", "the runtime (default: onnxruntime)", options.backend);
  flags.List("--input", "NAME=1,64", "pin the free dimensions of an input", options.inputs, LooksLikeAssignment);
  flags.Count("--seed", "S", "of the night", options.seed, 0, INT64_MAX);
  flags.Count("--pairs", "N", "launches a session", options.pairs, 8, 1000);
  flags.Count("--most", "N", "launches while nothing is decided", options.most, 8, 1000);
  flags.Count("--blocks", "N", "blocks of runs a launch", options.blocks, 1, 1000);
  return flags;
}

}  // namespace
}  // namespace hone::nightly_bench

int main(int argc, char** argv) {
  using namespace hone;
  nightly_bench::Options options;
  const Flags flags = nightly_bench::FlagsOf(options);
  const auto parsed = flags.Parse("nightly_compare", {argv + 1, argv + argc});
  if (parsed && *parsed == Flags::Outcome::help) {
    fmt::print("{}", flags.HelpText());
    return 0;
  }
  const Result<> done = parsed ? nightly_bench::Compare(options) : Result<>(Fail(parsed.error()));
  if (done) return 0;
  fmt::print(stderr, "{}", ErrorText(done.error()));
  return ExitCode(done.error().code);
}
