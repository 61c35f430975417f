#include "common/results/explanation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr uint64_t kFewestTrials = 4;
constexpr double kWorthTelling = 0.01;

using Features = std::map<std::string, std::string>;

// Every decision of a candidate by name. A pass that is not there has no parameters.
Features FeaturesOf(const proto::Candidate& candidate) {
  Features features{{"backend", candidate.backend()}};
  std::map<std::string, int> seen;
  for (const proto::PassStep& step : candidate.pipeline()) {
    const int count = ++seen[step.pass()];
    const std::string name = count == 1 ? step.pass() : fmt::format("{}#{}", step.pass(), count);
    features["pass " + name] = "yes";
    for (const auto& parameter : step.parameters()) features[name + "." + parameter.name()] = ToText(parameter.value());
  }
  for (const auto& setting : candidate.settings())
    features[candidate.backend() + "." + setting.name()] = ToText(setting.value());
  return features;
}

std::optional<double> Value(const proto::Objective& objective, const proto::TrialSummary& trial) {
  if (objective.metric() == "latency_ms_p50" && trial.has_speedup() && trial.speedup().value() > 0)
    return 1 / trial.speedup().value();
  if (objective.metric() == "speedup")
    return trial.has_speedup() ? std::optional<double>(trial.speedup().value()) : std::nullopt;
  const proto::Metric* metric = FindMetric(trial.metrics(), objective.metric());
  return metric == nullptr ? std::nullopt : std::optional<double>(metric->value());
}

// Ratios add up on the log; a metric that is not positive stays as it is.
double Scaled(double value) { return value > 0 ? std::log(value) : value; }

std::vector<Importance> Importances(const proto::Objective& objective,
                                    const std::vector<const proto::TrialSummary*>& complete) {
  std::vector<double> values;
  std::vector<Features> features;
  std::set<std::string> names;
  for (const auto* trial : complete) {
    const auto value = Value(objective, *trial);
    if (!value) continue;
    values.push_back(Scaled(*value));
    features.push_back(FeaturesOf(trial->candidate()));
    for (const auto& [name, word] : features.back()) names.insert(name);
  }
  std::vector<Importance> found;
  const size_t n = values.size();
  if (n < kFewestTrials) return found;
  double mean = 0;
  for (const double value : values) mean += value / static_cast<double>(n);
  double total = 0;
  for (const double value : values) total += (value - mean) * (value - mean);
  if (!(total > 0)) return found;
  for (const std::string& name : names) {
    struct Group {
      double sum = 0, count = 0;
    };
    std::map<std::string, Group> groups;
    for (size_t i = 0; i < n; ++i) {
      const auto word = features[i].find(name);
      Group& group = groups[word == features[i].end() ? "" : word->second];
      group.sum += values[i];
      group.count += 1;
    }
    const auto k = static_cast<double>(groups.size());
    if (groups.size() < 2 || groups.size() >= n) continue;
    double between = 0;
    for (const auto& [word, group] : groups) between += group.count * std::pow(group.sum / group.count - mean, 2);
    const double within = (total - between) / (static_cast<double>(n) - k);
    const double share = (between - (k - 1) * within) / total;
    if (share >= kWorthTelling) found.push_back({name, std::min(share, 1.0), n});
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.share > b.share; });
  return found;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<double> SizeRatio(const proto::TrialSummary& with, const proto::TrialSummary& without) {
  const proto::Metric* a = FindMetric(with.metrics(), "size_bytes");
  const proto::Metric* b = FindMetric(without.metrics(), "size_bytes");
  if (a == nullptr || b == nullptr || !(b->value() > 0)) return std::nullopt;
  return a->value() / b->value();
}

proto::Candidate Without(const proto::Candidate& candidate, int step) {
  proto::Candidate shorter = candidate;
  shorter.mutable_pipeline()->DeleteSubrange(step, 1);
  return shorter;
}

// Pairs of trials of which one is the other without this very step; the best's own pair first of all.
Contribution ContributionOf(const proto::Objective& objective, const proto::Candidate& best, int step,
                            const std::map<std::string, const proto::TrialSummary*>& by_candidate) {
  Contribution contribution;
  proto::Candidate alone;
  *alone.add_pipeline() = best.pipeline(step);
  contribution.step = PipelineText(alone);
  const std::string wanted = best.pipeline(step).SerializeAsString();
  std::vector<double> ratios, sizes;
  for (const auto& [text, with] : by_candidate) {
    for (int i = 0; i < with->candidate().pipeline_size(); ++i) {
      if (with->candidate().pipeline(i).SerializeAsString() != wanted) continue;
      const auto found = by_candidate.find(CanonicalCandidate(Without(with->candidate(), i)));
      if (found == by_candidate.end()) continue;
      const auto a = Value(objective, *with);
      const auto b = Value(objective, *found->second);
      if (!a || !b || !(*b > 0)) continue;
      ratios.push_back(*a / *b);
      if (const auto size = SizeRatio(*with, *found->second)) sizes.push_back(*size);
    }
  }
  contribution.trials = ratios.size();
  if (!ratios.empty()) contribution.ratio = Median(ratios);
  if (!sizes.empty()) contribution.size_ratio = Median(sizes);
  return contribution;
}

std::vector<KeptOut> KeptOutBy(const std::vector<const proto::TrialSummary*>& infeasible,
                               const proto::Objective& objective) {
  std::map<std::string, KeptOut> by_metric;
  std::map<std::string, double> best;
  for (const auto* trial : infeasible) {
    const std::string metric = trial->reason().substr(0, trial->reason().find(' '));
    KeptOut& kept = by_metric[metric];
    kept.metric = metric;
    ++kept.trials;
    if (kept.reason.empty()) kept.reason = trial->reason();
    const auto value = Value(objective, *trial);
    const double better = value ? (objective.maximize() ? -*value : *value) : 0;
    if (!value || (kept.best_trial != 0 && best[metric] <= better)) continue;
    best[metric] = better;
    kept.best_trial = trial->trial();
    kept.reason = trial->reason();
  }
  std::vector<KeptOut> kept;
  for (auto& [metric, one] : by_metric) kept.push_back(std::move(one));
  std::stable_sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.trials > b.trials; });
  return kept;
}

bool Overlap(const proto::Metric& a, const proto::Metric& b) {
  return a.has_low() && a.has_high() && b.has_low() && b.has_high() && a.low() <= b.high() && b.low() <= a.high();
}

std::optional<uint64_t> RivalOf(const proto::TrialSummary& best,
                                const std::vector<const proto::TrialSummary*>& complete) {
  const proto::TrialSummary* rival = nullptr;
  for (const auto* trial : complete) {
    if (trial->trial() == best.trial() || !trial->has_speedup() || !Overlap(trial->speedup(), best.speedup())) continue;
    if (rival == nullptr || trial->speedup().value() > rival->speedup().value()) rival = trial;
  }
  return rival == nullptr ? std::nullopt : std::optional<uint64_t>(rival->trial());
}

template <class T>
Json Optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

Explanation Explain(const proto::JobSummary& job, const proto::StudySummary& study,
                    const std::vector<proto::TrialSummary>& trials) {
  proto::Objective objective;
  objective.set_metric("latency_ms_p50");
  if (job.objectives_size() > 0) objective = job.objectives(0);
  Explanation explanation;
  explanation.study = study.study();
  explanation.ended_by = study.ended_by();
  std::vector<const proto::TrialSummary*> complete, infeasible;
  std::map<std::string, const proto::TrialSummary*> by_candidate;
  for (const proto::TrialSummary& trial : trials) {
    if (trial.study() != study.study() || trial.trial() == 0) continue;
    if (trial.state() == proto::TRIAL_INFEASIBLE) infeasible.push_back(&trial);
    if (trial.state() != proto::TRIAL_COMPLETE) continue;
    complete.push_back(&trial);
    by_candidate[CanonicalCandidate(trial.candidate())] = &trial;
  }
  explanation.importance = Importances(objective, complete);
  explanation.kept_out = KeptOutBy(infeasible, objective);
  if (!study.has_best()) return explanation;
  explanation.best = study.best().trial();
  if (study.best().has_speedup()) explanation.rival = RivalOf(study.best(), complete);
  for (int i = 0; i < study.best().candidate().pipeline_size(); ++i) {
    explanation.contributions.push_back(ContributionOf(objective, study.best().candidate(), i, by_candidate));
  }
  return explanation;
}

Json ExplanationJson(const Explanation& explanation) {
  Json importance = Json::array(), contributions = Json::array(), kept_out = Json::array();
  for (const auto& one : explanation.importance) {
    importance.push_back({{"parameter", one.parameter}, {"share", one.share}, {"trials", one.trials}});
  }
  for (const auto& one : explanation.contributions) {
    contributions.push_back({{"step", one.step},
                             {"objective_ratio", Optional(one.ratio)},
                             {"size_ratio", Optional(one.size_ratio)},
                             {"pairs", one.trials}});
  }
  for (const auto& one : explanation.kept_out) {
    kept_out.push_back({{"metric", one.metric},
                        {"trials", one.trials},
                        {"best_trial", one.best_trial == 0 ? Json(nullptr) : Json(one.best_trial)},
                        {"reason", one.reason}});
  }
  return {{"study", explanation.study},
          {"ended_by", explanation.ended_by.empty() ? Json(nullptr) : Json(explanation.ended_by)},
          {"best", Optional(explanation.best)},
          {"rival", Optional(explanation.rival)},
          {"importance", importance},
          {"contributions", contributions},
          {"kept_out", kept_out}};
}

Json ExplanationsJson(uint64_t job, const std::vector<Explanation>& explanations) {
  Json studies = Json::array();
  for (const auto& explanation : explanations) studies.push_back(ExplanationJson(explanation));
  return {{"schema", "hone.explain/1"}, {"job", std::to_string(job)}, {"studies", studies}};
}

namespace {

// A baseline, trial 0 of its study, is what the others' speed-ups are over: its own is 1, exactly.
std::optional<proto::Metric> OverBaseline(const proto::TrialSummary& trial) {
  if (trial.has_speedup()) return trial.speedup();
  if (trial.trial() != 0 || trial.state() != proto::TRIAL_COMPLETE) return std::nullopt;
  proto::Metric one;
  one.set_value(1);
  one.set_low(1);
  one.set_high(1);
  return one;
}

}  // namespace

Comparison Compare(const proto::TrialSummary& a, const proto::TrialSummary& b) {
  Comparison comparison;
  const std::optional<proto::Metric> before = OverBaseline(a), after = OverBaseline(b);
  if (!before || !after || !(before->value() > 0)) return comparison;
  comparison.speedup = after->value() / before->value();
  if (!before->has_low() || !after->has_low() || !(before->low() > 0)) return comparison;
  comparison.low = after->low() / before->high();
  comparison.high = after->high() / before->low();
  if (*comparison.low > 1) comparison.verdict = "faster";
  if (*comparison.high < 1) comparison.verdict = "slower";
  return comparison;
}

Json ComparisonJson(const proto::TrialSummary& a, const proto::TrialSummary& b) {
  const Comparison comparison = Compare(a, b);
  return {{"schema", "hone.compare/1"},
          {"a", TrialJson(a)},
          {"b", TrialJson(b)},
          {"b_over_a",
           {{"speedup", Optional(comparison.speedup)},
            {"low", Optional(comparison.low)},
            {"high", Optional(comparison.high)},
            {"verdict", comparison.verdict}}},
          {"same_machine", !a.fingerprint().empty() && a.fingerprint() == b.fingerprint()}};
}

}  // namespace hone
