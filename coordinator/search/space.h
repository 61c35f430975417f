// The search space of a study: what the recipe allows and the fleet can do, as named dimensions with conditions.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/recipe/metrics.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"
#include "proto/work.pb.h"

namespace hone {

// A dimension is categorical (choices) or a range. It exists in an assignment only while all its conditions hold. A
// dimension's conditions name earlier dimensions only.
struct Dimension {
  std::string name;  // "passes.1" (the choice at stage 1), "passes.1.static_int8.observer", "backend", "openvino.hint"
  std::vector<proto::Value> choices;    // Categorical where not empty.
  double low = 0, high = 0, step = 0;   // Range otherwise; step 0 = continuous. Integers always have a step.
  bool log = false, integer = false;
  bool group = false;  // The precision of one group of layers; choices from the most precise to the cheapest.
  struct Condition {
    size_t dimension;
    std::vector<proto::Value> values;
  };
  std::vector<Condition> conditions;
};

// A value for every active dimension, by dimension index.
using Assignment = std::map<size_t, proto::Value>;

struct SpaceInputs {
  std::string model_format;
  bool has_calibration = false;
  bool has_evaluation = false;
  std::vector<std::string> tags;        // Of the target.
};

struct SpacePlan;   // coordinator/search/plan.h
class Rng;          // coordinator/search/random.h

// Copies share what they hold. Constant after Build: any thread may read.
class Space {
 public:
  // An empty space: no dimension, no candidate.
  Space();

  // Checks the recipe against the catalogue of the workers that match the target and builds the space. kRejected with
  // the recipe's position: unknown pass, backend, parameter (nearest name offered), value outside what is declared,
  // condition on an unknown parameter, conditions that never hold, a pass that needs calibration data where the recipe
  // has none, an objective or constraint on an unknown metric, an unknown sampler, no possible candidate at all. With
  // recipe.skip_unavailable what the workers do not offer (pass, parameter, value, backend, setting), what needs data
  // that the job lacks, and a stage that cannot take the model's format are left out, each with a note.
  static Result<Space> Build(const proto::Recipe& recipe, const proto::Catalogue& catalogue, const SpaceInputs& inputs);

  const std::vector<Dimension>& dimensions() const;
  bool Active(size_t dimension, const Assignment& assignment) const;
  // A value of its domain for every active dimension and no other. Formats chain: every pass accepts what the one
  // before produced, and the backend loads the end.
  bool Valid(const Assignment& assignment) const;
  // Of a valid assignment.
  proto::Candidate ToCandidate(const Assignment& assignment) const;
  // The inverse, for candidates that ToCandidate gave: of several assignments that give the candidate the first in
  // enumeration order.
  std::optional<Assignment> FromCandidate(const proto::Candidate& candidate) const;

  // Distinct valid candidates; nullopt where a continuous range makes it infinite. Counted exactly, at most `limit`
  // (then limit).
  std::optional<uint64_t> Size(uint64_t limit = 10'000'000) const;
  // Candidate number `index` of the enumeration order (dimension order, choices in order); nullopt beyond the end or if
  // infinite. Two assignments that give the same candidate are enumerated once.
  std::optional<Assignment> At(uint64_t index) const;
  // The inverse of At, for any assignment that gives that candidate.
  std::optional<uint64_t> IndexOf(const Assignment& assignment) const;

  // A valid assignment by chance: every candidate equally likely, where a continuous range counts as one and its value
  // is drawn evenly (over the logarithm where log is set).
  std::optional<Assignment> Draw(Rng& rng) const;
  // What to try first: every pass option on every backend that can run it, one at a time, the other stages at `none`
  // (else their first option), parameters at their declared defaults where the recipe allows those, else at their first
  // value or the middle of their range.
  const std::vector<Assignment>& Presets() const;

  // What was left out or can never be used, and why, for `hone check`.
  const std::vector<std::string>& notes() const;

  // Pipeline stages that candidates choose at, the backend not counted.
  size_t stages() const;
  // The part of the space in which every stage but one is as in the candidate (of this space): steps that the candidate
  // takes at other stages are fixed with their parameters, and for stage == stages() everything but the backend and its
  // settings. The space where that leaves nothing.
  Space Restricted(size_t stage, const Assignment& fixed) const;

  const std::shared_ptr<const SpacePlan>& plan() const { return plan_; }

 private:
  explicit Space(std::shared_ptr<const SpacePlan> plan);
  std::shared_ptr<const SpacePlan> plan_;
};

}  // namespace hone
