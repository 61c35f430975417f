// A cheap guess at what a candidate measures: every choice adds its own effect, on each backend a little differently.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "coordinator/search/coded.h"
#include "coordinator/search/sampler.h"

namespace hone {

struct Guess {
  double mean = 0;
  double deviation = 0;
};

// Which numbers describe a point. Constant. Groups of layers are described together, too: how many have each precision
// at least, how often neighbours differ in precision or are both at their cheapest, and what a sensitivity table says
// that they lose and gain; what one group does beyond that is its own, smaller effect. The other parameters of a pass
// count for as much as there is that they act on: the more groups are cheap.
class Features {
 public:
  // Larger descriptions are not worked with: IsTooLarge.
  static constexpr size_t kMost = 300;

  Features(const CodedSpace& space, std::vector<GroupHint> hints);
  const std::vector<GroupHint>& hints() const { return hints_; }
  size_t size() const { return scale_.size(); }
  bool IsTooLarge() const { return size() > kMost; }
  // The prior deviation of a feature's effect, relative to others.
  const std::vector<double>& scale() const { return scale_; }
  // The features that are not 0, each once.
  using Sparse = std::vector<std::pair<size_t, double>>;
  Sparse Of(const Point& point) const;
  // The same into room that is there.
  void Describe(const Point& point, Sparse& row) const;

 private:
  size_t AddFeatures(size_t count, double scale);
  void AddSummary(const Point& point, Sparse& row) const;
  bool IsGroup(size_t dimension) const { return space_[dimension].group && !space_[dimension].IsFixed(); }

  const CodedSpace& space_;
  const std::vector<GroupHint> hints_;
  std::vector<size_t> first_;        // Of each dimension.
  std::vector<size_t> acting_;  // Of dimensions that act on groups of layers: the first of the products with how many
                                // are cheap; else 0.
  size_t summary_ = 0;               // First of the features of all groups together.
  size_t levels_ = 0;                // Precisions of groups beyond the most precise.
  size_t groups_ = 0;
  size_t loss_ = 0, gain_ = 0;       // Of the sensitivity table; 0: none.
  size_t neighbours_ = 0;            // 0: none.
  double losses_ = 0, gains_ = 0;    // Of all groups at their worst and best.
  size_t interactions_ = 0;          // First feature of those of backends with all before it; 0: none.
  size_t main_ = 0;                  // Features before them.
  size_t backend_ = 0;
  std::vector<double> scale_;
};

// Rows of features, told one by one, and for a few ratios of noise to prior deviation what they leave unsure: the
// posterior covariance of the effects in units of the noise, kept by rank-one updates. So another row costs the square
// of the features, however many rows there are. What the targets are does not matter to it. The same rows in the same
// order give the same bits.
class Design {
 public:
  explicit Design(const Features& features);

  // precision: how much the row counts. The row must outlive the design and its copies.
  void Add(const Features::Sparse& row, double precision);
  size_t rows() const { return rows_.size(); }

 private:
  friend class AdditiveModel;
  struct Belief {
    double ratio = 1;                  // Of the noise's deviation to that of a prior effect of scale 1.
    std::vector<double> covariance;    // Of the effects; square.
    double log_spread = 0;             // Log determinant of the covariance of the rows' targets.
  };
  static void Learn(const Features::Sparse& row, double precision, size_t size, Belief& belief,
                    std::vector<double>& room);

  size_t size_;
  std::vector<const Features::Sparse*> rows_;
  std::vector<double> precision_;
  std::vector<Belief> beliefs_;
  std::vector<double> room_;
};

// Bayesian linear regression on a design. The ratio is the one under which the targets are likeliest; the noise is
// integrated out.
class AdditiveModel {
 public:
  AdditiveModel() = default;
  // One target a row; at least one row.
  AdditiveModel(const Design& design, const std::vector<double>& targets);

  // Rows whose target is as expected: they make the model surer and nothing else.
  void Believe(const std::vector<const Features::Sparse*>& rows);
  Guess At(const Features::Sparse& row) const;
  double MeanAt(const Features::Sparse& row) const;
  // Of one more measurement at the point.
  double noise() const { return noise_ * unit_; }
  // How likely the targets are under the model, in logarithms but for a constant that is the same for the same design.
  double evidence() const { return evidence_; }

  // The model around one point: what differs little from it is judged by the difference.
  class Vicinity {
   public:
    Vicinity(const AdditiveModel& model, const Features::Sparse& row);
    Guess At(const Features::Sparse& change) const;

   private:
    const AdditiveModel* model_;
    std::vector<double> shared_;     // Covariance of every effect with the point's value.
    double mean_ = 0, variance_ = 0;
  };

 private:
  Guess Scaled(double mean, double variance) const;

  size_t size_ = 0;
  double centre_ = 0, unit_ = 1;     // Targets are moved and scaled by these.
  double noise_ = 1;                 // Deviation, in units.
  double evidence_ = 0;
  Design::Belief belief_;
  std::vector<double> effects_;
};

}  // namespace hone
