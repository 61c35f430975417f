#include "coordinator/search/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "coordinator/search/random.h"

namespace hone {
namespace {

// Independent draws before an infinite space counts as exhausted: what is left then is a share below 2^-256 of what can be drawn, or candidates
// without a continuous value that all have been tried.
constexpr uint64_t kMaxDraws = 1024;
// Salts that keep the uses of one seed apart.
constexpr uint64_t kShuffleSalt = 0x73687566666c65;
constexpr uint64_t kDrawSalt = 0x64726177;

// Spaces below this size number their candidates; in larger ones independent draws hardly ever meet.
constexpr uint64_t kMaxNumbered = uint64_t{1} << 61;

bool IsNumbered(const Space& space) {
  const auto size = space.Size(kMaxNumbered);
  return size && *size < kMaxNumbered;
}

bool Same(const Assignment& a, const Assignment& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) { return x.first == y.first && Equal(x.second, y.second); });
}

// Candidates of a study that were proposed before. Numbers where the space has them, otherwise assignments.
class Taken {
 public:
  explicit Taken(const StudyView& view) : space_(*view.space), numbered_(IsNumbered(space_)) {
    for (const Observation& observation : *view.observations) {
      if (!numbered_) {
        assignments_.push_back(First(observation.assignment));
      } else if (const auto index = space_.IndexOf(observation.assignment)) {
        indices_.push_back(*index);
      }
    }
    std::sort(indices_.begin(), indices_.end());
    indices_.erase(std::unique(indices_.begin(), indices_.end()), indices_.end());
  }

  const std::vector<uint64_t>& indices() const { return indices_; }
  bool HasIndex(uint64_t index) const { return std::binary_search(indices_.begin(), indices_.end(), index); }

  bool Has(const Assignment& assignment) const {
    if (numbered_) {
      const auto index = space_.IndexOf(assignment);
      return index && HasIndex(*index);
    }
    const Assignment first = First(assignment);
    return std::any_of(assignments_.begin(), assignments_.end(), [&](const Assignment& other) { return Same(other, first); });
  }

 private:
  // Of the assignments that give the same candidate.
  Assignment First(const Assignment& assignment) const {
    if (!space_.Valid(assignment)) return assignment;
    auto first = space_.FromCandidate(space_.ToCandidate(assignment));
    return first ? *std::move(first) : assignment;
  }

  const Space& space_;
  const bool numbered_;
  std::vector<uint64_t> indices_;
  std::vector<Assignment> assignments_;
};

// Proposal of the number: the same candidate is meant whichever of the others are there.
Result<std::optional<Assignment>> Shuffled(const StudyView& view, const Taken& taken, uint64_t size, uint64_t trial) {
  if (taken.indices().size() >= size) return std::nullopt;
  const Permutation permutation(size, MixOf(view.seed, kShuffleSalt, 0));
  // Each step either ends or meets another candidate that is taken.
  for (uint64_t position = (std::max<uint64_t>(trial, 1) - 1) % size;; position = (position + 1) % size) {
    const uint64_t index = permutation(position);
    if (!taken.HasIndex(index)) return view.space->At(index);
  }
}

Result<std::optional<Assignment>> Drawn(const StudyView& view, const Taken& taken, uint64_t trial) {
  for (uint64_t draw = 0; draw < kMaxDraws; ++draw) {
    Rng rng(MixOf(view.seed ^ kDrawSalt, trial, draw));
    std::optional<Assignment> assignment = view.space->Draw(rng);
    if (!assignment || !taken.Has(*assignment)) return assignment;
  }
  return std::nullopt;
}

Result<std::optional<Assignment>> AskAtRandom(const StudyView& view, const Taken& taken, uint64_t trial) {
  return IsNumbered(*view.space) ? Shuffled(view, taken, *view.space->Size(kMaxNumbered), trial) : Drawn(view, taken, trial);
}

class ExhaustiveSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t) override {
    if (!view.space->Size()) {
      return Fail(ErrorCode::kRejected, "the sampler 'exhaustive' needs a finite space, and a range without step makes this one infinite",
                  "Give the range a step, list its values, or choose another sampler");
    }
    const Taken taken(view);
    // The first number that is not taken.
    uint64_t next = 0;
    for (const uint64_t index : taken.indices()) {
      if (index != next) break;
      ++next;
    }
    return view.space->At(next);
  }
};

class RandomSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) override { return AskAtRandom(view, Taken(view), trial); }
};

class AutoSampler : public Sampler {
 public:
  Result<std::optional<Assignment>> Ask(const StudyView& view, uint64_t trial) override {
    const Taken taken(view);
    for (const Assignment& preset : view.space->Presets()) {
      if (!taken.Has(preset)) return view.space->FromCandidate(view.space->ToCandidate(preset));
    }
    return AskAtRandom(view, taken, trial);
  }
};

template <class T>
std::unique_ptr<Sampler> Make() {
  return std::make_unique<T>();
}

double Badness(double value) { return std::isnan(value) ? std::numeric_limits<double>::infinity() : value; }

bool IsFeasible(const Observation& observation) { return observation.state == proto::TRIAL_COMPLETE && observation.violation <= 0; }

bool HasEnded(const Observation& observation) {
  return observation.state == proto::TRIAL_COMPLETE || observation.state == proto::TRIAL_INFEASIBLE || observation.state == proto::TRIAL_FAILED;
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
       "one candidate of every pass option and backend first, with default parameters, then the rest in random order; results do not guide it",
       Make<AutoSampler>},
      {"random", "every candidate equally likely, none twice", Make<RandomSampler>},
      {"exhaustive", "every candidate in the order of the recipe; finite spaces only", Make<ExhaustiveSampler>},
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
  return Fail(ErrorCode::kRejected, fmt::format("unknown sampler '{}'{}", Printable(name, 80), DidYouMean(name, names)), "Samplers are " + Join(names, ", "));
}

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
    const bool dominated = std::any_of(observations.begin(), observations.end(), [&](const Observation& other) { return Dominates(other, observations[i]); });
    if (!dominated) front.push_back(i);
  }
  std::stable_sort(front.begin(), front.end(),
                   [&](size_t a, size_t b) { return Badness(observations[a].values.front()) < Badness(observations[b].values.front()); });
  return front;
}

}  // namespace hone
