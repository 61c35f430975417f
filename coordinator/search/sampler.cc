#include "coordinator/search/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/strings.h"
#include "coordinator/search/auto_sampler.h"
#include "coordinator/search/pass_by_pass.h"
#include "coordinator/search/proposals.h"
#include "coordinator/search/tpe.h"

namespace hone {
namespace {

// Salts that keep the uses of one seed apart.
constexpr uint64_t kTpeSalt = 0x747065;
constexpr uint64_t kLocalSalt = 0x6c6f63616c;
constexpr uint64_t kBreedSalt = 0x6272656564;

std::optional<Assignment> Decoded(const StudyMemory& memory, const std::optional<Point>& point) {
  if (!point) return std::nullopt;
  return memory.space().Decode(memory.space().Canonical(*point));
}

// The first preset that no trial has.
std::optional<Point> UntriedPreset(const StudyMemory& memory, size_t most) {
  const auto& presets = memory.space().space().Presets();
  for (size_t i = 0; i < std::min(most, presets.size()); ++i) {
    auto point = memory.space().Encode(presets[i]);
    if (point && !memory.IsTaken(*point)) return point;
  }
  return std::nullopt;
}

// What is common to samplers: a memory, and chance where the sampler's own way finds nothing new, so that a finite
// space is used up.
class PointSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) override {
    if (view.space->dimensions().empty()) return std::nullopt;
    memory_.See(view);
    std::optional<Point> point = Propose(view, trial);
    if (!point) point = Untried(memory_, view.seed, trial);
    return Decoded(memory_, point);
  }

 protected:
  // nullopt: nothing better than chance.
  virtual std::optional<Point> Propose(const StudyView& view, uint64_t trial) = 0;
  StudyMemory memory_;
};

class RandomSampler : public PointSampler {
  std::optional<Point> Propose(const StudyView&, uint64_t) override { return std::nullopt; }
};

class ExhaustiveSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t) override {
    if (!view.space->Size()) {
      return Fail(ErrorCode::kRejected,
                  "the sampler 'exhaustive' needs a finite space, and a range without step makes this one infinite",
                  "Give the range a step, list its values, or choose another sampler");
    }
    memory_.See(view);
    if (memory_.generation() != generation_) next_ = 0;
    generation_ = memory_.generation();
    // What is taken stays taken.
    for (;; ++next_) {
      const auto assignment = view.space->At(next_);
      if (!assignment) return std::nullopt;
      if (!memory_.IsTaken(*memory_.space().Encode(*assignment))) return assignment;
    }
  }

 private:
  StudyMemory memory_;
  uint64_t generation_ = 0;
  uint64_t next_ = 0;
};

class TpeSampler : public PointSampler {
  std::optional<Point> Propose(const StudyView& view, uint64_t trial) override {
    Rng rng(SeedOf(view.seed, kTpeSalt, trial));
    return tpe_.Propose(memory_, rng);
  }
  Tpe tpe_;
};

class LocalSampler : public PointSampler {
  std::optional<Point> Propose(const StudyView& view, uint64_t trial) override {
    if (auto preset = UntriedPreset(memory_, SIZE_MAX)) return preset;
    Rng rng(SeedOf(view.seed, kLocalSalt, trial));
    return Mutated(memory_, Parents(memory_), rng);
  }
};

// Waves of trial numbers: a wave's parents are the trials of the waves before it.
class Nsga2Sampler : public PointSampler {
  static constexpr uint64_t kSmall = 20, kLarge = 50, kLargeBudget = 250;

  std::optional<Point> Propose(const StudyView& view, uint64_t trial) override {
    const uint64_t size = view.budget == 0 || view.budget > kLargeBudget ? kLarge : kSmall;
    const uint64_t begin = (std::max<uint64_t>(trial, 1) - 1) / size * size + 1;
    const std::vector<Member> population = Population(memory_, begin, size);
    if (population.empty()) return std::nullopt;
    Rng rng(SeedOf(view.seed, kBreedSalt, trial));
    return Bred(memory_, population, rng);
  }
};

template <class T>
std::unique_ptr<Sampler> Make() {
  return std::make_unique<T>();
}

double Badness(double value) { return std::isnan(value) ? std::numeric_limits<double>::infinity() : value; }

bool IsFeasible(const Observation& observation) {
  return observation.state == proto::TRIAL_COMPLETE && observation.violation <= 0;
}

bool HasEnded(const Observation& observation) {
  return observation.state == proto::TRIAL_COMPLETE || observation.state == proto::TRIAL_INFEASIBLE ||
         observation.state == proto::TRIAL_FAILED;
}

bool ParetoDominates(const std::vector<double>& a, const std::vector<double>& b) {
  bool better = false;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (Badness(a[i]) > Badness(b[i])) return false;
    better = better || Badness(a[i]) < Badness(b[i]);
  }
  return better;
}

}  // namespace

const std::vector<SamplerRow>& Samplers() {
  static const std::vector<SamplerRow> rows = {
      {"auto",
       "one candidate of every pass option and backend first, then probes of layer groups and neighbours of the best "
       "by a model of what was measured, "
       "TPE and chance in turn",
       MakeAutoSampler},
      {"random", "every candidate equally likely, none twice", Make<RandomSampler>},
      {"exhaustive", "every candidate in the order of the recipe; finite spaces only", Make<ExhaustiveSampler>},
      {"tpe", "tree-structured Parzen estimators after Optuna 5, none twice; needs dozens of trials", Make<TpeSampler>},
      {"nsga2", "waves of candidates bred from the best before them; for several objectives and hundreds of trials",
       Make<Nsga2Sampler>},
      {"local", "one or two changes at a time to the best so far", Make<LocalSampler>},
  };
  return rows;
}

Result<std::unique_ptr<Sampler>> MakeSampler(std::string_view name) {
  if (name.empty()) name = "auto";
  std::vector<std::string> names;
  for (const SamplerRow& row : Samplers()) {
    if (name == row.name) return row.make();
    names.emplace_back(row.name);
  }
  return Fail(ErrorCode::kRejected, fmt::format("unknown sampler '{}'{}", Printable(name, 80), DidYouMean(name, names)),
              "Samplers are " + Join(names, ", "));
}

bool TakesHints(const proto::Search& search) {
  return (search.sampler().empty() || search.sampler() == "auto") && search.order() != "pass_by_pass";
}

Result<std::unique_ptr<Sampler>> MakeSampler(const proto::Search& search) {
  TRY_ASSIGN(std::unique_ptr<Sampler> sampler, MakeSampler(search.sampler()));
  if (search.order().empty() || search.order() == "joint") return sampler;
  if (search.order() == "pass_by_pass") return MakePassByPass(std::move(sampler));
  return Fail(ErrorCode::kRejected,
              fmt::format("unknown order '{}'{}", Printable(search.order(), 80),
                          DidYouMean(search.order(), {"joint", "pass_by_pass"})),
              "Orders are joint, pass_by_pass");
}

uint64_t RaceReserve(uint64_t budget) { return budget < 20 ? 0 : budget / 10; }

bool Dominates(const Observation& a, const Observation& b) {
  if (!HasEnded(a) || !HasEnded(b)) return false;
  if (IsFeasible(a) != IsFeasible(b)) return IsFeasible(a);
  if (!IsFeasible(a)) return Badness(a.violation) < Badness(b.violation);
  return ParetoDominates(a.values, b.values);
}

std::vector<size_t> ParetoFront(const std::vector<Observation>& observations) {
  std::vector<size_t> front;
  for (size_t i = 0; i < observations.size(); ++i) {
    if (!IsFeasible(observations[i]) || observations[i].values.empty()) continue;
    const bool dominated = std::any_of(observations.begin(), observations.end(),
                                       [&](const Observation& other) { return Dominates(other, observations[i]); });
    if (!dominated) front.push_back(i);
  }
  std::stable_sort(front.begin(), front.end(), [&](size_t a, size_t b) {
    return Badness(observations[a].values.front()) < Badness(observations[b].values.front());
  });
  return front;
}

}  // namespace hone
