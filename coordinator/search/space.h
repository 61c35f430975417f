// The search space of a study: what the recipe allows and the fleet can do, as named dimensions with conditions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"
#include "proto/work.pb.h"

namespace hone {

// A dimension is categorical (choices) or a range. It exists in an assignment only while all its conditions hold. A dimension's
// conditions name earlier dimensions only.
struct Dimension {
  std::string name;                     // "passes.1" (the choice at stage 1), "passes.1.static_int8.observer", "backend", "openvino.hint"
  std::vector<proto::Value> choices;    // Categorical where not empty.
  double low = 0, high = 0, step = 0;   // Range otherwise; step 0 = continuous.
  bool log = false, integer = false;
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

class Space {
 public:
  // Checks the recipe against the catalogue of the workers that match the target and builds the space. kRejected with the recipe's position:
  // unknown pass, backend, parameter (nearest name offered), value outside what is declared, condition on an unknown parameter, a pass that
  // needs calibration data where the recipe has none, an objective or constraint on an unknown metric, no possible candidate at all.
  static Result<Space> Build(const proto::Recipe& recipe, const proto::Catalogue& catalogue, const SpaceInputs& inputs);

  const std::vector<Dimension>& dimensions() const { return dimensions_; }
  bool Active(size_t dimension, const Assignment& assignment) const;
  // Formats chain: every pass accepts what the one before produced, and the backend loads the end.
  bool Valid(const Assignment& assignment) const;
  proto::Candidate ToCandidate(const Assignment& assignment) const;
  // The inverse, for candidates that ToCandidate gave.
  std::optional<Assignment> FromCandidate(const proto::Candidate& candidate) const;

  // Distinct valid candidates; nullopt where a continuous range makes it infinite. Counted exactly, at most `limit` (then limit).
  std::optional<uint64_t> Size(uint64_t limit = 10'000'000) const;
  // Candidate number `index` of the enumeration order (dimension order, choices in order); nullopt beyond the end or if infinite.
  // Two assignments that give the same candidate are enumerated once.
  std::optional<Assignment> At(uint64_t index) const;

  // The model that the notes name (e.g. "openvino: skipped for static_int8 ..."), for `hone check`.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct StageInfo;
  std::vector<Dimension> dimensions_;
  std::vector<std::string> notes_;
  proto::Recipe recipe_;
  std::map<std::string, proto::PassInfo> passes_;
  std::map<std::string, proto::BackendInfo> backends_;
  std::string model_format_;
};

// The metrics that a measurement may give, for checking objectives and constraints: name, unit and direction.
struct MetricInfo {
  const char* name;
  bool larger_is_better;
  const char* help;
};
const std::vector<MetricInfo>& MetricCatalogue();

}  // namespace hone
