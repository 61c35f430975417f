#include "coordinator/search/space.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "common/recipe/value.h"
#include "coordinator/search/builder.h"
#include "coordinator/search/dimension.h"
#include "coordinator/search/plan.h"
#include "coordinator/search/random.h"
#include "coordinator/search/walk.h"

namespace hone {
namespace {

using Parameters = google::protobuf::RepeatedPtrField<proto::Parameter>;

bool ConditionsHold(const Dimension& dimension, const Assignment& assignment) {
  return std::all_of(dimension.conditions.begin(), dimension.conditions.end(),
                     [&](const Dimension::Condition& condition) {
                       const auto value = assignment.find(condition.dimension);
                       return value != assignment.end() &&
                              std::any_of(condition.values.begin(), condition.values.end(),
                                          [&](const proto::Value& wanted) { return Equal(wanted, value->second); });
                     });
}

// The place of the dimension's value among its choices.
std::optional<size_t> ChoiceOf(const SpacePlan& plan, size_t dimension, const Assignment& assignment) {
  const auto value = assignment.find(dimension);
  if (value == assignment.end()) return std::nullopt;
  const auto index = IndexIn(plan.dimensions[dimension], value->second);
  return index ? std::optional(static_cast<size_t>(*index)) : std::nullopt;
}

void AddParameters(const std::vector<ParameterPlan>& parameters, size_t first, const Assignment& assignment,
                   Parameters* out) {
  std::map<std::string, const proto::Value*> ordered;
  for (size_t p = 0; p < parameters.size(); ++p) {
    const auto value = assignment.find(first + p);
    if (value != assignment.end()) ordered[parameters[p].dimension.name] = &value->second;
  }
  for (const auto& [name, value] : ordered) {
    proto::Parameter* parameter = out->Add();
    parameter->set_name(name);
    *parameter->mutable_value() = *value;
  }
}

// Assigns the dimensions of one pass or backend from given parameters, which must be just those that are active.
bool AssignParameters(const SpacePlan& plan, const std::vector<ParameterPlan>& parameters, size_t first,
                      const Parameters& given, Assignment& assignment) {
  int used = 0;
  for (size_t p = 0; p < parameters.size(); ++p) {
    const proto::Value* value = Find(given, parameters[p].dimension.name);
    const bool active = ConditionsHold(plan.dimensions[first + p], assignment);
    if (active != (value != nullptr)) return false;
    if (!active) continue;
    const auto index = IndexIn(parameters[p].dimension, *value);
    if (!index) return false;
    assignment[first + p] =
        IsContinuous(parameters[p].dimension) ? RealValue(RealOf(*value)) : ValueAt(parameters[p].dimension, *index);
    ++used;
  }
  return used == given.size();
}

// Finds the first assignment that spells a candidate: options in order, going back where a pass finds no place.
class Speller {
 public:
  Speller(const SpacePlan& plan, const proto::Candidate& candidate) : plan_(plan), candidate_(candidate) {}

  std::optional<Assignment> Run() {
    if (!SpellFrom(0, 0, 0)) return std::nullopt;
    return std::move(assignment_);
  }

 private:
  bool SpellFrom(size_t stage, int step, int format) {
    if (stage == plan_.stages.size()) return step == candidate_.pipeline_size() && SpellBackend(format);
    if (dead_ends_.contains({stage, step})) return false;
    const StagePlan& plan = plan_.stages[stage];
    for (size_t i = 0; i < plan.options.size(); ++i) {
      const Assignment before = assignment_;
      assignment_[plan.dimension] = plan_.dimensions[plan.dimension].choices[i];
      if (SpellOption(plan.options[i], stage, step, format)) return true;
      assignment_ = before;
    }
    dead_ends_.insert({stage, step});
    return false;
  }

  bool SpellOption(const OptionPlan& option, size_t stage, int step, int format) {
    if (option.pass.empty()) return SpellFrom(stage + 1, step, format);
    const int next = option.next_format[static_cast<size_t>(format)];
    if (next < 0 || step == candidate_.pipeline_size() || candidate_.pipeline(step).pass() != option.pass) return false;
    return AssignParameters(plan_, option.parameters, option.first_dimension, candidate_.pipeline(step).parameters(),
                            assignment_) &&
           SpellFrom(stage + 1, step + 1, next);
  }

  bool SpellBackend(int format) {
    for (size_t i = 0; i < plan_.backends.size(); ++i) {
      const BackendPlan& backend = plan_.backends[i];
      if (backend.name != candidate_.backend()) continue;
      assignment_[plan_.backend_dimension] = plan_.dimensions[plan_.backend_dimension].choices[i];
      return backend.loads[static_cast<size_t>(format)] &&
             AssignParameters(plan_, backend.parameters, backend.first_dimension, candidate_.settings(), assignment_);
    }
    return false;
  }

  const SpacePlan& plan_;
  const proto::Candidate& candidate_;
  Assignment assignment_;
  // Stage and step from which nothing led to the end. The format there follows from the steps before.
  std::set<std::pair<size_t, int>> dead_ends_;
};

std::shared_ptr<const SpacePlan> EmptyPlan() {
  static const auto plan = std::make_shared<const SpacePlan>();
  return plan;
}

double DrawWithin(const Dimension& dimension, Rng& rng) {
  const double share = rng.Uniform();
  const double value =
      dimension.log ? std::exp(std::log(dimension.low) + share * (std::log(dimension.high) - std::log(dimension.low)))
                    : dimension.low + share * (dimension.high - dimension.low);
  return std::clamp(value, dimension.low, dimension.high);
}

}  // namespace

Space::Space() : plan_(EmptyPlan()) {}
Space::Space(std::shared_ptr<const SpacePlan> plan) : plan_(std::move(plan)) {}

Result<Space> Space::Build(const proto::Recipe& recipe, const proto::Catalogue& catalogue, const SpaceInputs& inputs) {
  TRY_ASSIGN(std::shared_ptr<const SpacePlan> plan, BuildPlan(recipe, catalogue, inputs));
  return Space(std::move(plan));
}

size_t Space::stages() const { return plan_->stages.size(); }

Space Space::Restricted(size_t stage, const Assignment& fixed) const {
  const SpacePlan& plan = *plan_;
  if (plan.backends.empty() || !Valid(fixed)) return *this;
  const auto fix = [&](const std::vector<ParameterPlan>& parameters, size_t first,
                       google::protobuf::RepeatedPtrField<proto::Domain>* domains) {
    domains->Clear();
    for (size_t p = 0; p < parameters.size(); ++p) {
      const auto value = fixed.find(first + p);
      if (value == fixed.end()) continue;
      proto::Domain* domain = domains->Add();
      domain->set_name(parameters[p].dimension.name);
      *domain->add_choices() = value->second;
    }
  };
  proto::Recipe recipe = plan.recipe;
  recipe.clear_passes();
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& from = plan.stages[s];
    proto::Stage* to = recipe.add_passes();
    *to = plan.recipe.passes(from.index);
    if (s == stage) continue;
    const OptionPlan& option = from.options[*ChoiceOf(plan, from.dimension, fixed)];
    proto::PassChoice choice = to->options(option.choice);
    fix(option.parameters, option.first_dimension, choice.mutable_parameters());
    to->clear_options();
    *to->add_options() = std::move(choice);
  }
  if (stage < plan.stages.size()) {
    const BackendPlan& backend = plan.backends[*ChoiceOf(plan, plan.backend_dimension, fixed)];
    recipe.clear_backends();
    proto::BackendChoice* choice = recipe.add_backends();
    choice->set_backend(backend.name);
    fix(backend.parameters, backend.first_dimension, choice->mutable_settings());
  }
  auto built = Build(recipe, plan.catalogue, plan.inputs);
  return built ? *std::move(built) : *this;
}

const std::vector<Dimension>& Space::dimensions() const { return plan_->dimensions; }
const std::vector<std::string>& Space::notes() const { return plan_->notes; }
const std::vector<Assignment>& Space::Presets() const { return plan_->presets; }

bool Space::Active(size_t dimension, const Assignment& assignment) const {
  return dimension < plan_->dimensions.size() && ConditionsHold(plan_->dimensions[dimension], assignment);
}

bool Space::Valid(const Assignment& assignment) const {
  const SpacePlan& plan = *plan_;
  if (plan.dimensions.empty() || (!assignment.empty() && assignment.rbegin()->first >= plan.dimensions.size()))
    return false;
  for (size_t d = 0; d < plan.dimensions.size(); ++d) {
    const auto value = assignment.find(d);
    const bool given = value != assignment.end();
    if (given != ConditionsHold(plan.dimensions[d], assignment)) return false;
    if (given && !IndexIn(plan.dimensions[d], value->second)) return false;
  }
  int format = 0;
  for (const StagePlan& stage : plan.stages) {
    const OptionPlan& option = stage.options[*ChoiceOf(plan, stage.dimension, assignment)];
    if (!option.pass.empty()) format = option.next_format[static_cast<size_t>(format)];
    if (format < 0) return false;
  }
  return plan.backends[*ChoiceOf(plan, plan.backend_dimension, assignment)].loads[static_cast<size_t>(format)] &&
         plan.KeepsRules([&](size_t d) { return ChoiceOf(plan, d, assignment); });
}

proto::Candidate Space::ToCandidate(const Assignment& assignment) const {
  proto::Candidate candidate;
  for (const StagePlan& stage : plan_->stages) {
    const auto choice = ChoiceOf(*plan_, stage.dimension, assignment);
    if (!choice || stage.options[*choice].pass.empty()) continue;
    const OptionPlan& option = stage.options[*choice];
    proto::PassStep* step = candidate.add_pipeline();
    step->set_pass(option.pass);
    AddParameters(option.parameters, option.first_dimension, assignment, step->mutable_parameters());
  }
  if (plan_->backends.empty()) return candidate;
  if (const auto choice = ChoiceOf(*plan_, plan_->backend_dimension, assignment)) {
    const BackendPlan& backend = plan_->backends[*choice];
    candidate.set_backend(backend.name);
    AddParameters(backend.parameters, backend.first_dimension, assignment, candidate.mutable_settings());
  }
  return candidate;
}

std::optional<Assignment> Space::FromCandidate(const proto::Candidate& candidate) const {
  return Speller(*plan_, candidate).Run();
}

std::optional<uint64_t> Space::Size(uint64_t limit) const {
  if (plan_->total.infinite) return std::nullopt;
  return std::min(plan_->total.exact, limit);
}

std::optional<Assignment> Space::At(uint64_t index) const {
  if (plan_->total.infinite || index >= plan_->total.exact) return std::nullopt;
  IndexChooser chooser(index);
  Assignment assignment;
  if (!Walk(*plan_, chooser, &assignment)) return std::nullopt;
  return assignment;
}

std::optional<uint64_t> Space::IndexOf(const Assignment& assignment) const {
  if (plan_->total.infinite) return std::nullopt;
  std::optional<Assignment> first;
  if (plan_->ambiguous && Valid(assignment)) first = FromCandidate(ToCandidate(assignment));
  const Assignment& followed = first ? *first : assignment;
  AssignmentChooser chooser(*plan_, followed);
  // A value too many makes it another assignment.
  if (Walk(*plan_, chooser, nullptr) != std::optional(followed.size())) return std::nullopt;
  return chooser.before();
}

std::optional<Assignment> Space::Draw(Rng& rng) const {
  RandomChooser chooser(rng);
  Assignment assignment;
  if (!Walk(*plan_, chooser, &assignment)) return std::nullopt;
  for (auto& [dimension, value] : assignment) {
    if (IsContinuous(plan_->dimensions[dimension])) value = RealValue(DrawWithin(plan_->dimensions[dimension], rng));
  }
  return assignment;
}

}  // namespace hone
