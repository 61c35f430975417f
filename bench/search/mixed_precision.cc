// Latency is a sum over groups, each group's part shrinking with its precision by a factor of its own; a few groups are
// slower in int8 than in fp16. The accuracy drop is a sum, too, with a heavy tail: few layers carry most of it.
// Calibration scales the part of int8. Interactions: neighbours at different precisions pay a conversion, neighbours
// both in int8 are fused; and for some pairs of groups the errors partly cancel or add up more.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "bench/search/problem.h"
#include "common/recipe/recipe_yaml.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

constexpr size_t kGroups = 12;
constexpr double kTimingNoise = 0.02;
constexpr double kAccuracyNoise = 0.02;   // Of the bound.
constexpr double kTableNoise = 0.08;      // Of the bound: of a sixteenth of the samples.
constexpr double kAloneNoise = 0.2;       // Of a group's gain, timed apart from the others.

const char* const kRecipe = R"(
passes:
  - mixed:
      precision: {groups: 12, choices: [fp32, fp16, int8]}
      calibration: [minmax, entropy, mse, percentile]
      percentile: {when: {calibration: percentile}, range: [99, 100], step: 0.05}
backends: {bench: }
constraints: {accuracy_drop: 1}
)";

void AddTexts(proto::ParameterInfo* info, const char* name, const std::vector<const char*>& words) {
  info->set_name(name);
  info->set_type(proto::ParameterInfo::TEXT);
  for (const char* word : words) *info->add_choices() = TextValue(word);
}

Space MixedSpace() {
  proto::Catalogue catalogue;
  proto::PassInfo* pass = catalogue.add_passes();
  pass->set_name("mixed");
  pass->add_accepts("onnx");
  proto::ParameterInfo* precision = pass->add_parameters();
  AddTexts(precision, "precision", {"fp32", "fp16", "int8"});
  precision->set_per_group(true);
  AddTexts(pass->add_parameters(), "calibration", {"minmax", "entropy", "mse", "percentile"});
  proto::ParameterInfo* percentile = pass->add_parameters();
  percentile->set_name("percentile");
  percentile->set_type(proto::ParameterInfo::REAL);
  *percentile->mutable_default_value() = RealValue(99.9);
  proto::BackendInfo* backend = catalogue.add_backends();
  backend->set_name("bench");
  backend->add_formats("onnx");
  backend->set_reference(true);
  auto space = Space::Build(*ParseRecipe(kRecipe, "mixed.yaml"), catalogue, {"onnx", true, true, {}});
  return *std::move(space);
}

class MixedPrecision : public Problem {
 public:
  MixedPrecision(uint64_t seed, bool interactions) : seed_(seed), interactions_(interactions) {
    name_ = fmt::format("mixed{}{}", seed, interactions ? "i" : "a");
    SetSpace(MixedSpace());
    Rng rng(MixOf(seed, interactions ? 2 : 1, 77));
    double sum = 0;
    for (size_t g = 0; g < kGroups; ++g) sum += part_[g] = std::exp(0.8 * Normal(rng));
    for (size_t g = 0; g < kGroups; ++g) {
      part_[g] *= 0.92 / sum;
      factor_[g] = {1, 0.55 + 0.3 * rng.Uniform(),
                    rng.Uniform() < 0.12 ? 0.8 + 0.2 * rng.Uniform() : 0.25 + 0.3 * rng.Uniform()};
      drop_[g] = {0, 0.01 * std::exp(0.8 * Normal(rng)), 0.12 * std::exp(1.2 * Normal(rng))};
    }
    for (double& method : method_) method = 0.9 + 0.8 * rng.Uniform();
    centre_ = 99.2 + 0.7 * rng.Uniform();
    trough_ = 0.75 + 0.3 * rng.Uniform();
    for (size_t g = 0; g < kGroups; ++g) {
      for (size_t h = 0; h < g; ++h) {
        if (rng.Uniform() < 0.2) pairs_.push_back({g, h, 0.7 * Normal(rng)});
      }
      convert_[g] = 0.01 + 0.03 * rng.Uniform();
      fuse_[g] = 0.02 + 0.05 * rng.Uniform();
    }
    fallback_ = LatencyOf({});
    FindOptimum();
  }

  Truth At(const Point& point) const override {
    const Levels levels = LevelsOf(point);
    return {LatencyOf(levels), DropOf(levels, CalibrationOf(point))};
  }

  double ObservedDrop(const Point& point) const override {
    return std::max(0.0, At(point).drop + kAccuracyNoise * bound_ * NormalOf(MixOf(seed_, PointHash()(point), 5)));
  }

  double MeasuredLatency(const Point& point, uint64_t seed) const override {
    return At(point).latency * std::exp(kTimingNoise * NormalOf(seed));
  }

  // Each group alone: its loss as 16 samples show it where an evaluation set has 256, its operators' time alone to a
  // fifth.
  std::vector<GroupHint> Sensitivity() const override {
    std::vector<GroupHint> hints;
    for (size_t g = 0; g < kGroups; ++g) {
      for (uint8_t level = 1; level < 3; ++level) {
        Levels levels{};
        levels[g] = level;
        const uint64_t seed = MixOf(seed_, 3 * g + level, 11);
        const double loss = DropOf(levels, method_[0]) + kTableNoise * bound_ * NormalOf(seed);
        const double gain = part_[g] * (1 - factor_[g][level]) * (1 + kAloneNoise * NormalOf(seed + 1));
        hints.push_back({1 + g, level, std::max(loss, 0.0), gain});
      }
    }
    return hints;
  }

 private:
  using Levels = std::array<uint8_t, kGroups>;

  static double Normal(Rng& rng) {
    return std::sqrt(-2 * std::log(1 - rng.Uniform())) * std::cos(2 * M_PI * rng.Uniform());
  }

  // Dimensions: the stage, the groups, the method, the percentile, the backend.
  static Levels LevelsOf(const Point& point) {
    Levels levels{};
    for (size_t g = 0; g < kGroups; ++g) levels[g] = static_cast<uint8_t>(point[1 + g]);
    return levels;
  }

  double CalibrationOf(const Point& point) const {
    const auto method = static_cast<size_t>(point[1 + kGroups]);
    if (method < method_.size()) return method_[method];
    const double away = 99 + 0.05 * point[2 + kGroups] - centre_;
    return trough_ + 3 * away * away;
  }

  double LatencyOf(const Levels& levels) const {
    double latency = 0.08;
    for (size_t g = 0; g < kGroups; ++g) {
      double part = part_[g] * factor_[g][levels[g]];
      if (interactions_ && g > 0) {
        if (levels[g] != levels[g - 1]) latency += convert_[g] * 0.5;
        if (levels[g] == 2 && levels[g - 1] == 2) part *= 1 - fuse_[g] * 4;
      }
      latency += part;
    }
    return latency;
  }

  double DropOf(const Levels& levels, double calibration) const {
    double half = 0, eight = 0;
    for (size_t g = 0; g < kGroups; ++g) (levels[g] == 2 ? eight : half) += drop_[g][levels[g]];
    if (interactions_) {
      for (const Pair& pair : pairs_) {
        if (levels[pair.a] == 2 && levels[pair.b] == 2)
          eight += pair.factor * std::sqrt(drop_[pair.a][2] * drop_[pair.b][2]);
      }
    }
    return std::max(0.0, half + calibration * std::max(0.0, eight));
  }

  void FindOptimum() {
    double calibration = *std::min_element(method_.begin(), method_.end());
    for (int i = 0; i <= 20; ++i) {
      const double away = 99 + 0.05 * i - centre_;
      calibration = std::min(calibration, trough_ + 3 * away * away);
    }
    optimum_ = std::numeric_limits<double>::infinity();
    Levels levels{};
    while (true) {
      const double latency = LatencyOf(levels);
      if (latency < optimum_ && DropOf(levels, calibration) <= bound_) optimum_ = latency;
      size_t g = 0;
      while (g < kGroups && ++levels[g] == 3) levels[g++] = 0;
      if (g == kGroups) return;
    }
  }

  struct Pair {
    size_t a, b;
    double factor;
  };
  const uint64_t seed_;
  const bool interactions_;
  std::array<double, kGroups> part_{}, convert_{}, fuse_{};
  std::array<std::array<double, 3>, kGroups> factor_{}, drop_{};
  std::array<double, 3> method_{};
  double centre_ = 0, trough_ = 1;
  std::vector<Pair> pairs_;
};

}  // namespace

double NormalOf(uint64_t seed) {
  Rng rng(Mix(seed));
  return std::sqrt(-2 * std::log(1 - rng.Uniform())) * std::cos(2 * M_PI * rng.Uniform());
}

std::unique_ptr<Problem> MakeMixedPrecision(uint64_t seed, bool interactions) {
  return std::make_unique<MixedPrecision>(seed, interactions);
}

}  // namespace hone
