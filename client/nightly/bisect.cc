#include "client/nightly/bisect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace hone {
namespace {

class Search {
 public:
  Search(const Suite& suite, const SuiteModel& model, const SuiteTarget& target, NightBench& bench,
         const std::vector<NightArtifact>& artifacts, const BisectOptions& options)
      : suite_(suite), model_(model), target_(target), bench_(bench), artifacts_(artifacts), options_(options) {}

  Result<BisectResult> Run() {
    result_.first_changed = artifacts_.size() - 1;
    TRY(MeasureWhole());
    size_t low = 0;
    size_t high = result_.first_changed;
    while (high > low + 1) {
      TRY_ASSIGN(const BisectStep step, MeasureMiddle(low + (high - low) / 2));
      result_.steps.push_back(step);
      if (!step.decided) break;
      (step.changed ? high : low) = step.artifact;
    }
    result_.last_unchanged = low;
    result_.first_changed = high;
    return std::move(result_);
  }

 private:
  bool exact() const { return options_.metric.metric->exact; }

  // The last beside the first: is there a change at all, and how large is it?
  Result<> MeasureWhole() {
    const auto settled = [](const Judgement& judgement) { return judgement.verdict != NightVerdict::inconclusive; };
    TRY_ASSIGN(const Judgement judgement, Measure(artifacts_.size() - 1, settled));
    if (judgement.verdict == NightVerdict::equivalent) {
      return Fail(ErrorCode::kNo, fmt::format("the last artifact's {} is that of the first ({:+.2f} %)",
                                              options_.metric.metric->name, judgement.effect * 100));
    }
    if (!IsFinding(judgement.verdict)) {
      return Fail(
          ErrorCode::kUnsure,
          fmt::format(
              "{} pairs cannot tell the last artifact's {} from the first's ({:+.2f} %, {:+.2f} % to {:+.2f} %)",
              judgement.pairs, options_.metric.metric->name, judgement.effect * 100, judgement.interval.low * 100,
              judgement.interval.high * 100));
    }
    border_ = judgement.effect / 2;
    result_.steps.push_back({artifacts_.size() - 1, judgement, true, true});
    return {};
  }

  Result<BisectStep> MeasureMiddle(size_t index) {
    const auto settled = [this](const Judgement& judgement) { return Decides(judgement); };
    BisectStep step;
    step.artifact = index;
    TRY_ASSIGN(step.judgement, Measure(index, settled));
    step.changed = std::abs(step.judgement.effect) > std::abs(border_) && (step.judgement.effect > 0) == (border_ > 0);
    step.decided = Decides(step.judgement);
    return step;
  }

  // Whether the whole interval lies on one side of the border.
  bool Decides(const Judgement& judgement) const {
    return exact() || judgement.interval.low > border_ || judgement.interval.high < border_;
  }

  // Launches of the artifact beside the first, more of them while `settled` says no.
  template <class Settled>
  Result<Judgement> Measure(size_t index, const Settled& settled) {
    std::vector<double> first, other;
    Judgement judgement;
    do {
      const uint32_t most = exact() ? 1 : suite_.most_pairs;
      const auto have = static_cast<uint32_t>(first.size());
      NightBench::Order order{
          &model_, &target_, &artifacts_[0], &artifacts_[index], 0, options_.seed + index * 1000 + have, Detail(have)};
      order.launches = std::min(exact() ? 1 : suite_.pairs, most - have);
      if (options_.note)
        options_.note(fmt::format("artifact {} of {}: {} launches beside the first", index + 1, artifacts_.size(),
                                  order.launches));
      TRY_ASSIGN(const std::vector<NightLaunch> launches, bench_.Measure(order));
      const size_t before = first.size();
      for (const NightLaunch& launch : launches) {
        if (launch.disturbances.empty()) TRY(Take(launch, first, other));
      }
      judgement = JudgeAll(first, other);
      if (settled(judgement) || first.size() >= most || first.size() == before) return judgement;
    } while (true);
  }

  NightBench::Detail Detail(uint32_t have) const {
    return have == 0 && exact() ? NightBench::Detail::whole : NightBench::Detail::timing;
  }

  Result<> Take(const NightLaunch& launch, std::vector<double>& first, std::vector<double>& other) const {
    const std::string name = options_.metric.metric->name;
    const auto a = launch.accepted.find(name);
    const auto b = launch.tonight.find(name);
    if (a == launch.accepted.end() || b == launch.tonight.end())
      return Fail(ErrorCode::kUnsure, "the worker gave no figure of " + name);
    first.push_back(a->second);
    other.push_back(b->second);
    return {};
  }

  Judgement JudgeAll(const std::vector<double>& first, const std::vector<double>& other) const {
    const NightMetric& metric = *options_.metric.metric;
    if (!exact()) {
      JudgeOptions how;
      how.delta = options_.metric.threshold;
      how.seed = options_.seed;
      return Judge(LogRatios(first, other, metric.better), how);
    }
    const double sign = metric.better == Better::lower ? 1 : -1;
    const double change = other.front() - first.front();
    return JudgeExact(sign * (metric.absolute ? change : change / first.front()), options_.metric.threshold);
  }

  const Suite& suite_;
  const SuiteModel& model_;
  const SuiteTarget& target_;
  NightBench& bench_;
  const std::vector<NightArtifact>& artifacts_;
  const BisectOptions& options_;
  double border_ = 0;
  BisectResult result_;
};

}  // namespace

Result<BisectResult> Bisect(const Suite& suite, const SuiteModel& model, const SuiteTarget& target, NightBench& bench,
                            const std::vector<NightArtifact>& artifacts, const BisectOptions& options) {
  if (artifacts.size() < 2)
    return Fail(ErrorCode::kUsage, "a bisection needs at least two artifacts, the oldest first");
  return Search(suite, model, target, bench, artifacts, options).Run();
}

}  // namespace hone
