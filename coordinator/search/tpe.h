// Tree-structured Parzen estimators as hone searches with them.
#pragma once

#include <optional>
#include <vector>

#include "coordinator/search/random.h"
#include "coordinator/search/study_memory.h"

namespace hone {

// Room that proposals are computed in; holds nothing that the next proposal depends on. For one memory.
class Tpe {
 public:
  // Trials that must have ended before the estimators say anything.
  static constexpr size_t kStartupTrials = 10;

  // A point that no trial has; nullopt while too few trials have ended, or where chance found none.
  std::optional<Point> Propose(const StudyMemory& memory, Rng& rng);

 private:
  static constexpr size_t kCandidates = 24;

  // One side's trials with their weights; the last component is the prior.
  struct Side {
    std::vector<const TrialRow*> rows;
    std::vector<size_t> places;    // Of the rows in the memory.
    std::vector<double> weights;   // rows.size() + 1 of them, with sum 1.
    std::vector<double> width;  // By dimension and cell: of the kernel that stands there, in cells; 0 where none does.
  };

  void Split(const StudyMemory& memory);
  void Weigh(Side& side, bool equal) const;
  void Order(const CodedSpace& space);
  void Gather(const StudyMemory& memory);
  void FindWidths(const CodedSpace& space, Side& side) const;
  std::optional<Point> Draw(const StudyMemory& memory, Rng& rng);
  double DrawValue(const Coordinate& coordinate, size_t dimension, const TrialRow& row, Rng& rng);
  std::vector<double> LogDensities(const CodedSpace& space, const Side& side);
  void FillFactors(const CodedSpace& space, const Side& side, size_t dimension);
  Side below_, above_;
  std::vector<size_t> first_cell_;                 // Of each dimension in Side::width and factors_.
  std::vector<size_t> order_;                      // Dimensions that are not fixed, those with most cells first.
  // Cells of the memory's rows in that order, each as its place in Side::width, side by side: rows are scattered.
  std::vector<uint32_t> gathered_;
  uint64_t gathered_generation_ = 0;
  std::vector<Point> points_;                      // Candidates.
  std::vector<std::vector<uint32_t>> cells_;       // Of the candidates; Coordinate::cells where absent.
  std::vector<double> factors_;                    // By dimension, component's cell and candidate.
  // A kernel by distance from its middle, and its sums from the middle on.
  struct Bell {
    double width = 0;
    std::vector<double> at, sum;
    double Whole(uint32_t cell, uint32_t cells) const { return sum[cell] + sum[cells - 1 - cell] - at[0]; }
  };
  // Of a width, over so many cells. Valid until the next call.
  const Bell& Shape(double width, uint32_t cells);
  std::vector<Bell> bells_;                        // Widths are gaps between cells: there are few, and they come again.
  size_t latest_bell_ = 0;
};

// Trials that ended, best first: feasible ones by layers (of one objective by value), then infeasible ones by
// violation, then failed ones. Equal ones by number. Of the feasible only the first `enough` are in order.
std::vector<const TrialRow*> BestFirst(const std::vector<TrialRow>& rows, size_t enough);

}  // namespace hone
