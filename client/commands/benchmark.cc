// hone benchmark: one model, or several ways of running several, measured beside each other on this machine.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "client/benchmark_report.h"
#include "client/command.h"
#include "client/measured_side.h"
#include "client/recipe_flags.h"
#include "client/sweep.h"
#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr uint32_t kDefaultPairs = 20;
// With --precision: at most so many, and few in each launch, since launches are what differs.
constexpr uint32_t kMostPairsForPrecision = 200;
constexpr uint32_t kPairsOfALaunch = 4;
constexpr uint32_t kProfileRuns = 30;
constexpr size_t kMostRuns = 32;
// The open loop lasts this long, and longer where a percentile 99 needs more requests, within bounds.
constexpr double kOpenLoopSeconds = 5;
constexpr double kLongestOpenLoopSeconds = 60;
constexpr double kOpenLoopArrivals = 700;
constexpr double kMostArrivals = 1'000'000;

struct BenchmarkOptions {
  MeasureFlags measure;
  std::vector<std::string> others;
  std::string other_backend;
  std::vector<std::string> other_settings;
  std::vector<std::string> sweep;
  std::string expect;
  std::string delta;
  std::string rate;
  bool even_arrivals = false;
  bool profile = false;
  std::string html;
  std::string precision;
  std::optional<uint64_t> pairs;
  std::optional<uint64_t> launches;
  std::optional<uint64_t> requests;
  std::optional<int64_t> time_ms;

  bool compares() const { return !others.empty() || !other_backend.empty() || !other_settings.empty(); }
};

// What of the flags is more than text.
struct Plan {
  std::vector<SweepAxis> axes;
  std::optional<Expectation> expectation;
  double delta = 0;
  double precision = 0;
  std::optional<double> rate_per_s;
};

Result<double> ShareFlag(const char* flag, const std::string& text) {
  const Result<double> share = ParseShare(text);
  if (share && *share < 1) return *share;
  return Fail(ErrorCode::kUsage, fmt::format("{} {}: must be a share such as 2% or 0.02", flag, text));
}

Result<Plan> ReadPlan(const BenchmarkOptions& options) {
  Plan plan;
  if (!options.expect.empty()) {
    TRY_ASSIGN(plan.expectation, ParseExpectation(options.expect));
  }
  TRY_ASSIGN(plan.delta, ShareFlag("--delta", options.delta));
  if (!options.precision.empty()) {
    TRY_ASSIGN(plan.precision, ShareFlag("--precision", options.precision));
  }
  if (!options.rate.empty()) {
    const Result<double> rate = ParseReal(options.rate);
    if (!rate || *rate <= 0 || *rate > 1e6) {
      return Fail(ErrorCode::kUsage,
                  fmt::format("--rate {}: must be a number of requests a second, at most 1,000,000", options.rate));
    }
    plan.rate_per_s = *rate;
  } else if (options.even_arrivals) {
    return Fail(ErrorCode::kUsage, "--even needs a rate of requests", "give --rate N");
  }
  TRY_ASSIGN(plan.axes, ParseSweep(options.sweep));
  if (plan.expectation && !options.compares()) {
    return Fail(ErrorCode::kUsage, "--expect needs something to compare with",
                "give --vs MODEL2, --vs-backend or --vs-set");
  }
  if (plan.expectation && (options.others.size() > 1 || !plan.axes.empty())) {
    return Fail(ErrorCode::kUsage, "--expect is about one model against one other",
                "leave out --sweep, and give --vs once");
  }
  return plan;
}

// The backend and settings of a point, over what the flags say of the model.
Result<MeasuredSide> SideAt(const ModelFile& model, std::string backend, std::vector<std::string> settings,
                            const SweepPoint& point, std::optional<uint64_t> threads,
                            const proto::Catalogue& catalogue) {
  for (const auto& [axis, value] : point) {
    if (axis == "backend") {
      backend = value;
    } else if (axis == "threads") {
      const Result<int64_t> count = ParseInteger(value);
      if (!count || *count < 1)
        return Fail(ErrorCode::kUsage,
                    fmt::format("--sweep threads: {} is no number of threads", Printable(value, 40)));
      threads = static_cast<uint64_t>(*count);
    } else {
      settings.push_back(fmt::format("{}={}", axis, value));
    }
  }
  return PrepareSide(model, backend, settings, threads, catalogue);
}

Result<std::vector<BenchmarkRun>> PrepareRuns(const BenchmarkOptions& options, const Plan& plan,
                                              const MeasureContext& context) {
  const MeasureFlags& flags = options.measure;
  std::vector<BenchmarkRun> runs;
  const auto add = [&](const std::string& path, const std::string& backend, const std::vector<std::string>& settings,
                       bool other) -> Result<> {
    TRY_ASSIGN(const ModelFile model, OpenModel(path));
    TRY(CheckPins(model.info, context.recipe.inputs()));
    for (const SweepPoint& point : PointsOf(plan.axes)) {
      BenchmarkRun run;
      TRY_ASSIGN(run.side, SideAt(model, backend, settings, point, flags.threads, context.catalogue));
      run.other = other;
      runs.push_back(std::move(run));
    }
    return {};
  };
  TRY(add(flags.model, flags.backend, flags.settings, false));
  std::vector<std::string> others = options.others;
  if (others.empty() && options.compares()) others.push_back(flags.model);
  for (const std::string& path : others) {
    // The other side runs as this one does, unless told.
    const bool told = !options.other_backend.empty() || !options.other_settings.empty();
    const std::string& backend = options.other_backend.empty() ? flags.backend : options.other_backend;
    TRY(add(path, backend, told ? options.other_settings : flags.settings, true));
  }
  if (runs.size() <= kMostRuns) return runs;
  return Fail(
      ErrorCode::kUsage,
      fmt::format("{} ways of running models: at most {} are measured beside each other", runs.size(), kMostRuns),
      "give --sweep fewer values");
}

// The task measures what others are compared with first: the first of --vs, else the first way of running MODEL. The
// order of the task's subjects as indexes of runs.
std::vector<size_t> TaskOrder(std::vector<BenchmarkRun>& runs) {
  const auto other = std::find_if(runs.begin(), runs.end(), [](const BenchmarkRun& run) { return run.other; });
  const size_t reference = other == runs.end() ? 0 : static_cast<size_t>(other - runs.begin());
  std::vector<size_t> order{reference};
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i != reference) order.push_back(i);
  }
  runs[reference].reference = runs.size() > 1;
  return order;
}

void SetAmount(const BenchmarkOptions& options, const Plan& plan, proto::BenchmarkTask& task) {
  const bool adaptive = plan.precision > 0;
  const uint64_t rounds = options.pairs.value_or(adaptive ? kMostPairsForPrecision : kDefaultPairs);
  task.set_rounds(static_cast<uint32_t>(rounds));
  if (options.launches) task.set_launches(static_cast<uint32_t>(*options.launches));
  if (adaptive && !options.launches)
    task.set_launches(static_cast<uint32_t>(std::max<uint64_t>(1, rounds / kPairsOfALaunch)));
  task.set_precision(plan.precision);
  task.set_budget_ms(static_cast<uint64_t>(options.time_ms.value_or(0)));
  task.set_requests(static_cast<uint32_t>(options.requests.value_or(0)));
  if (options.profile) task.set_profile_runs(kProfileRuns);
  if (!plan.rate_per_s) return;
  const double rate = *plan.rate_per_s;
  const double arrivals =
      std::min(std::max(rate * kOpenLoopSeconds, kOpenLoopArrivals), rate * kLongestOpenLoopSeconds);
  proto::BenchmarkTask::OpenLoop& open_loop = *task.mutable_open_loop();
  open_loop.set_rate_per_s(rate);
  open_loop.set_arrivals(static_cast<uint32_t>(std::clamp(std::ceil(arrivals), 1.0, kMostArrivals)));
  open_loop.set_even(options.even_arrivals);
}

void JudgeReport(const Plan& plan, BenchmarkReport& report) {
  report.delta = plan.delta;
  const bool one_against_one = report.runs.size() == 2 && report.runs[1].other;
  if (!one_against_one) return;
  const auto& figures = report.model().figures;
  report.verdict = figures.has_speedup() ? Judge(figures.speedup(), plan.delta) : Verdict::undecided;
  if (!plan.expectation) return;
  const Answer answer =
      figures.has_speedup() ? Check(figures.speedup(), plan.delta, *plan.expectation) : Answer::undecided;
  if (answer != Answer::undecided) report.expectation_met = answer == Answer::yes;
}

int BenchmarkCode(const Plan& plan, const BenchmarkReport& report) {
  const bool timed = FindMetric(report.model().figures.metrics(), "latency_ms_p50") != nullptr;
  if (!timed) return ExitCode(ErrorCode::kUnsure);
  if (!plan.expectation || report.expectation_met == true) return 0;
  return ExitCode(report.expectation_met ? ErrorCode::kNo : ErrorCode::kUnsure);
}

Result<BenchmarkReport> Measure(const BenchmarkOptions& options, const Plan& plan, const Console& console) {
  BenchmarkReport report;
  TRY_ASSIGN(const MeasureContext context, PrepareContext(options.measure));
  TRY_ASSIGN(report.runs, PrepareRuns(options, plan, context));
  std::vector<const ModelFile*> models;
  for (const BenchmarkRun& run : report.runs) models.push_back(&run.side.model);
  TRY_ASSIGN(const auto data, PrepareData(options.measure, context, models));
  const std::vector<size_t> order = TaskOrder(report.runs);

  proto::Task whole;
  proto::BenchmarkTask& task = *whole.mutable_benchmark();
  for (const size_t index : order) *task.add_subjects() = report.runs[index].side.subject;
  *task.mutable_inputs() = context.recipe.inputs();
  if (data) *task.mutable_evaluation() = *data;
  if (data) report.data = BundleId(data->data().bundle());
  task.set_seed(options.measure.seed.value_or(0));
  task.set_exclusive_lock(MachineLock::DefaultPath().string());
  SetAmount(options, plan, task);

  console.Note(order.size() > 1 ? fmt::format("measuring {}, interleaved ...", order.size()) : "measuring ...");
  TRY_ASSIGN(MeasuredTask measured, RunMeasuredTask(whole));
  report.wall_s = measured.wall_s;
  report.peak_memory_bytes = measured.peak_memory_bytes;
  report.result = std::move(*measured.result.mutable_benchmark());
  if (report.result.runs_size() != static_cast<int>(order.size())) {
    return Fail(ErrorCode::kBug,
                fmt::format("the runner measured {} of {} models", report.result.runs_size(), order.size()));
  }
  for (size_t i = 0; i < order.size(); ++i)
    report.runs[order[i]].figures = std::move(*report.result.mutable_runs(static_cast<int>(i)));
  report.result.clear_runs();
  report.rate_per_s = plan.rate_per_s;
  report.expect = options.expect;
  JudgeReport(plan, report);
  return report;
}

Result<int> Benchmark(const BenchmarkOptions& options, Console& console) {
  TRY_ASSIGN(const Plan plan, ReadPlan(options));
  TRY_ASSIGN(const BenchmarkReport report, Measure(options, plan, console));
  if (!options.html.empty()) TRY(WriteFile(options.html, BenchmarkHtml(report)));
  TRY(console.json ? console.PrintJson(BenchmarkJson(report))
                   : console.Print(BenchmarkText(report, console.table_width())));
  return BenchmarkCode(plan, report);
}

}  // namespace

Run DefineBenchmark(Flags& flags) {
  auto options = std::make_shared<BenchmarkOptions>();
  options->delta = "2%";
  AddMeasureFlags(flags, options->measure);
  flags.List("--vs", "MODEL2", "measure against this model, interleaved; may be given again", options->others);
  flags.Text("--vs-backend", "B", "its backend (default: the same)", options->other_backend);
  flags.List("--vs-set", "KEY=VALUE", "its settings (default: the same)", options->other_settings, LooksLikeAssignment);
  flags.List("--sweep", "KEY=V1,V2", "every model with each value of threads, backend or a setting", options->sweep,
             LooksLikeAssignment);
  flags.Text("--expect", "WHAT", "faster, not-slower or equal: the verdict becomes the exit code", options->expect);
  flags.Text("--delta", "X", "differences up to this share count as equal (default 2%)", options->delta);
  flags.Count("--pairs", "N", "interleaved pairs, over all launches (default 20)", options->pairs, 1, 100'000);
  flags.Count("--launches", "N", "times that each model gets a new process (default 5)", options->launches, 1, 1000);
  flags.Text("--precision", "X", "measure until the intervals reach no further than this share", options->precision);
  flags.Text("--rate", "N", "also send N requests a second, and tell latency with waiting", options->rate);
  flags.Toggle("--even", "requests of --rate come at equal distances, not at random", options->even_arrivals);
  flags.Count("--requests", "N", "inferences at once, for throughput and --rate (default: as the runtime advises)",
              options->requests, 1, 256);
  flags.Toggle("--profile", "also tell the time of each operator", options->profile);
  flags.Text("--html", "FILE", "also write a page with distributions", options->html);
  flags.Duration("--time", "stop timing after this long", options->time_ms);
  return [options](Console& console) { return Benchmark(*options, console); };
}

}  // namespace hone
