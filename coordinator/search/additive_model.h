// A cheap guess at what a candidate measures: every choice adds its own effect, on each backend a little differently.
#pragma once

#include <cstddef>
#include <vector>

#include "coordinator/search/coded.h"
#include "coordinator/search/sampler.h"

namespace hone {

struct Guess {
  double mean = 0;
  double deviation = 0;
};

// Which numbers describe a point. Constant. Groups of layers are described together, too: how many have each precision at least, and what a
// sensitivity table says that they lose and gain; what one group does beyond that is its own, smaller effect.
class Features {
 public:
  Features(const CodedSpace& space, std::vector<GroupHint> hints);
  const std::vector<GroupHint>& hints() const { return hints_; }
  size_t size() const { return scale_.size(); }
  // The prior deviation of a feature's effect, relative to others.
  const std::vector<double>& scale() const { return scale_; }
  // The features that are not 0.
  using Sparse = std::vector<std::pair<size_t, double>>;
  Sparse Of(const Point& point) const;

 private:
  void AddFeature(double scale) { scale_.push_back(scale); }
  void AddSummary(const Point& point, Sparse& sparse) const;

  const CodedSpace& space_;
  const std::vector<GroupHint> hints_;
  std::vector<size_t> first_;        // Of each dimension.
  size_t summary_ = 0;               // First of the features of all groups together.
  size_t levels_ = 0;                // Precisions of groups beyond the most precise.
  size_t groups_ = 0;
  double losses_ = 0, gains_ = 0;    // Of all groups at their worst and best.
  size_t interactions_ = 0;          // First feature of those of backends with dimensions; 0: none.
  size_t main_ = 0;                  // Features before them.
  size_t backend_ = 0;
  std::vector<double> scale_;
};

// Bayesian linear regression. Prior and noise variance are those, of a few, under which the data are likeliest.
class AdditiveModel {
 public:
  explicit AdditiveModel(const Features& features) : features_(features) {}

  // precision: how much a row counts. At least one row.
  void Fit(const std::vector<Features::Sparse>& rows, const std::vector<double>& targets, const std::vector<double>& precision);
  // Rows whose target is as expected: they make the model surer and nothing else.
  void Believe(const std::vector<Features::Sparse>& rows);
  Guess At(const Features::Sparse& row) const;
  // Of one more measurement at the point.
  double noise() const { return noise_ * unit_; }
  // How likely the targets are under the model, in logarithms but for a constant that is the same for the same precisions.
  double evidence() const { return evidence_; }

 private:
  double Solve(double prior, double noise);
  void Invert();

  const Features& features_;
  std::vector<double> gram_;         // Features squared, weighted by precision.
  std::vector<double> moment_;
  double squares_ = 0, log_precision_ = 0;
  size_t rows_ = 0;
  double centre_ = 0, unit_ = 1;     // Targets are moved and scaled by these.
  double prior_ = 1, noise_ = 1;     // Deviations, in units.
  double evidence_ = 0;
  std::vector<double> root_;         // Lower triangle of the posterior precision's Cholesky factor.
  std::vector<double> effects_;
  std::vector<double> covariance_;   // Of the effects.
};

}  // namespace hone
