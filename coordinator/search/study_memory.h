// What a sampler may keep of a study between two asks: its trials as points. Derived from the view alone, so a sampler
// without memory proposes the same.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "coordinator/search/coded.h"
#include "coordinator/search/sampler.h"

namespace hone {

// How a trial stands, as samplers see it.
enum class Standing {
  kRunning,      // Waiting trials too.
  kFeasible,     // It has finite values.
  kInfeasible,   // Its violation is a finite number.
  kFailed,       // Failed, pruned, or measured as no number.
};

struct TrialRow {
  uint64_t trial = 0;
  Point point;                  // Empty where it is no candidate of the space; the baseline, for one.
  std::vector<uint16_t> cells;  // By dimension; Coordinate::cells where absent.
  Standing standing = Standing::kRunning;
  proto::TrialState state = proto::TRIAL_WAITING;   // That the standing was read from.
  std::vector<double> values;
  double violation = 0;
  std::vector<double> constraints;
};

class StudyMemory {
 public:
  // Brings it up to date.
  void See(const StudyView& view);

  const CodedSpace& space() const { return *space_; }
  const std::vector<TrialRow>& rows() const { return rows_; }
  // Whether a trial has this candidate. The point must be repaired.
  bool IsTaken(const Point& point) const { return taken_.contains(space_->Canonical(point)); }
  // Different candidates that trials have.
  size_t taken() const { return taken_.size(); }
  // Grows whenever something was forgotten; what was derived from before no longer holds.
  uint64_t generation() const { return generation_; }
  // The same for the space.
  uint64_t space_generation() const { return space_generation_; }

 private:
  // Whether the rows are of the view's trials and their outcomes could be taken over.
  bool TakeOutcomes(const StudyView& view);
  void Forget(const StudyView& view);
  TrialRow RowOf(const Observation& observation) const;

  std::unique_ptr<CodedSpace> space_;
  std::vector<TrialRow> rows_;
  std::unordered_map<Point, size_t, PointHash> taken_;
  uint64_t lineage_ = 0;
  size_t replaced_ = 0;          // So many of the view's replacements are told by the rows.
  uint64_t generation_ = 0;
  uint64_t space_generation_ = 0;
};

}  // namespace hone
