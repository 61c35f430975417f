// One walk through a space in enumeration order, decision by decision; who walks decides (a number, an assignment,
// chance).
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "coordinator/search/plan.h"
#include "coordinator/search/random.h"

namespace hone {

// Decides one dimension after the other. A choice whose count is 0 must not be taken.
class Chooser {
 public:
  virtual ~Chooser() = default;
  // One of the dimension's values, by how many candidates lie behind each. nullopt ends the walk.
  virtual std::optional<uint64_t> Pick(size_t dimension, std::span<const Count> counts) = 0;
  // The same where each of `points` values has `each` candidates behind it.
  virtual std::optional<uint64_t> PickEqual(size_t dimension, uint64_t points, const Count& each) = 0;
};

// The number of dimensions decided; nullopt where the chooser gave up or nothing is left. The decisions go to
// `assignment` (unless nullptr), values of continuous ranges at their low end.
std::optional<size_t> Walk(const SpacePlan& plan, Chooser& chooser, Assignment* assignment);

// Candidate number `index`.
class IndexChooser : public Chooser {
 public:
  explicit IndexChooser(uint64_t index) : index_(index) {}
  std::optional<uint64_t> Pick(size_t dimension, std::span<const Count> counts) override;
  std::optional<uint64_t> PickEqual(size_t dimension, uint64_t points, const Count& each) override;

 private:
  uint64_t index_;
};

// Follows an assignment and counts the candidates before it.
class AssignmentChooser : public Chooser {
 public:
  AssignmentChooser(const SpacePlan& plan, const Assignment& assignment) : plan_(plan), assignment_(assignment) {}
  std::optional<uint64_t> Pick(size_t dimension, std::span<const Count> counts) override;
  std::optional<uint64_t> PickEqual(size_t dimension, uint64_t points, const Count& each) override;
  uint64_t before() const { return before_; }

 private:
  std::optional<uint64_t> Wanted(size_t dimension) const;
  const SpacePlan& plan_;
  const Assignment& assignment_;
  uint64_t before_ = 0;
};

// By chance, in proportion to the counts.
class RandomChooser : public Chooser {
 public:
  explicit RandomChooser(Rng& rng) : rng_(rng) {}
  std::optional<uint64_t> Pick(size_t dimension, std::span<const Count> counts) override;
  std::optional<uint64_t> PickEqual(size_t dimension, uint64_t points, const Count& each) override;

 private:
  Rng& rng_;
};

}  // namespace hone
