#include "coordinator/search/study_memory.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace hone {
namespace {

// Products of a few of them are still numbers.
constexpr double kLargest = 1e100;

void TakeOutcome(const Observation& observation, TrialRow& row) {
  row.state = observation.state;
  row.violation = 0;
  row.values.clear();
  row.constraints = observation.constraints;
  const bool finite = !observation.values.empty() && std::all_of(observation.values.begin(), observation.values.end(),
                                                                 [](double value) { return std::isfinite(value); });
  switch (observation.state) {
    case proto::TRIAL_COMPLETE:
      if (finite && observation.violation <= 0) {
        row.standing = Standing::kFeasible;
        for (const double value : observation.values) row.values.push_back(std::clamp(value, -kLargest, kLargest));
        return;
      }
      row.standing =
          observation.violation > 0 && std::isfinite(observation.violation) ? Standing::kInfeasible : Standing::kFailed;
      break;
    case proto::TRIAL_INFEASIBLE:
      row.standing = std::isfinite(observation.violation) ? Standing::kInfeasible : Standing::kFailed;
      break;
    case proto::TRIAL_FAILED:
    case proto::TRIAL_PRUNED:
      row.standing = Standing::kFailed;
      break;
    default:
      row.standing = Standing::kRunning;
      return;
  }
  row.violation = row.standing == Standing::kInfeasible ? std::max(observation.violation, 0.0)
                                                        : std::numeric_limits<double>::infinity();
}

// Whether the row has what the observation says: of a feasible trial all of it, others are cheap to take again.
bool IsTold(const Observation& observation, const TrialRow& row) {
  return observation.state == row.state && row.standing == Standing::kFeasible && observation.violation <= 0 &&
         observation.values == row.values && observation.constraints == row.constraints;
}

}  // namespace

void StudyMemory::See(const StudyView& view) {
  const std::vector<Observation>& observations = *view.observations;
  const bool same = view.lineage != 0 && view.lineage == lineage_ && space_ != nullptr &&
                    space_->space().plan() == view.space->plan() && observations.size() >= rows_.size();
  if (!same || !TakeOutcomes(view)) Forget(view);
  for (size_t i = rows_.size(); i < observations.size(); ++i) {
    rows_.push_back(RowOf(observations[i]));
    if (!rows_.back().point.empty()) ++taken_[space_->Canonical(rows_.back().point)];
  }
  replaced_ = view.replaced == nullptr ? SIZE_MAX : view.replaced->size();
}

bool StudyMemory::TakeOutcomes(const StudyView& view) {
  const std::vector<Observation>& observations = *view.observations;
  const auto take = [&](size_t i) {
    if (rows_[i].trial != observations[i].trial) return false;
    if (!IsTold(observations[i], rows_[i])) TakeOutcome(observations[i], rows_[i]);
    return true;
  };
  if (view.replaced != nullptr && replaced_ <= view.replaced->size()) {
    const std::span<const size_t> news = std::span(*view.replaced).subspan(replaced_);
    return std::all_of(news.begin(), news.end(), [&](size_t i) { return i >= rows_.size() || take(i); });
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!take(i)) return false;
  }
  return true;
}

void StudyMemory::Forget(const StudyView& view) {
  if (space_ == nullptr || space_->space().plan() != view.space->plan()) {
    space_ = std::make_unique<CodedSpace>(*view.space);
    ++space_generation_;
  }
  rows_.clear();
  taken_.clear();
  lineage_ = view.lineage;
  ++generation_;
}

TrialRow StudyMemory::RowOf(const Observation& observation) const {
  TrialRow row;
  row.trial = observation.trial;
  if (auto point = space_->Encode(observation.assignment)) {
    row.point = *std::move(point);
    for (size_t d = 0; d < row.point.size(); ++d) {
      row.cells.push_back(
          static_cast<uint16_t>(row.point[d] == kAbsent ? (*space_)[d].cells : (*space_)[d].CellOf(row.point[d])));
    }
  }
  TakeOutcome(observation, row);
  return row;
}

}  // namespace hone
