#include "client/recipe_check.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "client/embedded_fleet.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// --- the others of several mistakes --------------------------------------------------------------------------------

using Domains = google::protobuf::RepeatedPtrField<proto::Domain>;

bool StandsAt(const proto::Position& position, const Error& error) {
  return position.line() > 0 && position.line() == error.line && position.column() == error.column;
}

// Whether there was something at that place.
template <class List>
bool EraseAt(List& list, const Error& error) {
  const auto gone =
      std::remove_if(list.begin(), list.end(), [&](const auto& item) { return StandsAt(item.position(), error); });
  const bool any = gone != list.end();
  list.erase(gone, list.end());
  return any;
}

// What depends on a parameter goes with it: nobody could tell any more whether its condition holds.
bool EraseDomains(Domains& domains, const Error& error) {
  std::set<std::string> gone;
  for (const proto::Domain& domain : domains) {
    if (StandsAt(domain.position(), error)) gone.insert(domain.name());
  }
  if (gone.empty()) return false;
  for (size_t before = 0; before < gone.size();) {
    before = gone.size();
    for (const proto::Domain& domain : domains) {
      const bool depends = std::any_of(domain.when().begin(), domain.when().end(),
                                       [&](const proto::When& when) { return gone.count(when.parameter()) > 0; });
      if (depends) gone.insert(domain.name());
    }
  }
  domains.erase(std::remove_if(domains.begin(), domains.end(),
                               [&](const proto::Domain& domain) { return gone.count(domain.name()) > 0; }),
                domains.end());
  return true;
}

enum class LeftOut { nothing, detail, step };

// A pass or a backend, or a parameter of one.
LeftOut LeaveOutStep(proto::Recipe& recipe, const Error& error) {
  auto& stages = *recipe.mutable_passes();
  for (auto stage = stages.begin(); stage != stages.end(); ++stage) {
    for (proto::PassChoice& option : *stage->mutable_options()) {
      if (EraseDomains(*option.mutable_parameters(), error)) return LeftOut::detail;
    }
    const bool any = EraseAt(*stage->mutable_options(), error) || StandsAt(stage->position(), error);
    if (any && (stage->options().empty() || StandsAt(stage->position(), error))) stages.erase(stage);
    if (any) return LeftOut::step;
  }
  for (proto::BackendChoice& backend : *recipe.mutable_backends()) {
    if (EraseDomains(*backend.mutable_settings(), error)) return LeftOut::detail;
  }
  return EraseAt(*recipe.mutable_backends(), error) ? LeftOut::step : LeftOut::nothing;
}

// What stands at the error's place. The last target stays: without one, others would be meant.
LeftOut LeaveOut(proto::Recipe& recipe, const Error& error) {
  proto::Search& search = *recipe.mutable_search();
  if (EraseAt(*recipe.mutable_objectives(), error) || EraseAt(*recipe.mutable_constraints(), error) ||
      EraseAt(*search.mutable_goal(), error)) {
    return LeftOut::detail;
  }
  if (recipe.targets_size() > 1 && EraseAt(*recipe.mutable_targets(), error)) return LeftOut::detail;
  if (StandsAt(recipe.accuracy().position(), error)) {
    recipe.clear_accuracy();
    return LeftOut::detail;
  }
  if (StandsAt(search.position(), error) && search.sampler() != "auto") {
    search.set_sampler("auto");
    return LeftOut::detail;
  }
  return LeaveOutStep(recipe, error);
}

template <class List>
bool HasName(const List& list, const std::string& name) {
  return std::any_of(list.begin(), list.end(), [&](const auto& item) { return item.name() == name; });
}

// Whether the error is about a pass or a backend that the workers have, or about a whole stage: with a pass less before
// it the model has another format there.
bool IsOfAKnownStep(const proto::Recipe& recipe, const Error& error, const proto::Catalogue& catalogue) {
  for (const proto::Stage& stage : recipe.passes()) {
    for (const proto::PassChoice& option : stage.options()) {
      if (StandsAt(option.position(), error)) return HasName(catalogue.passes(), option.pass());
    }
    if (StandsAt(stage.position(), error)) return true;
  }
  for (const proto::BackendChoice& choice : recipe.backends()) {
    if (StandsAt(choice.position(), error)) return HasName(catalogue.backends(), choice.backend());
  }
  return false;
}

}  // namespace

void FindOthers(Client& client, proto::CheckRecipe request, const Error& first, Mistakes& others) {
  proto::Recipe& recipe = *request.mutable_recipe();
  LeftOut left = first.code == ErrorCode::kRejected ? LeaveOut(recipe, first) : LeftOut::nothing;
  if (left == LeftOut::nothing) return;
  const Result<proto::Catalogue> catalogue = client.Catalogue();
  if (!catalogue) return;
  bool lacks_step = left == LeftOut::step;
  while (others.errors.size() < Mistakes::kMost) {
    const Result<proto::CheckRecipeReply> reply = client.Check(request);
    if (reply || reply.error().code != ErrorCode::kRejected) return;
    const Error& next = reply.error();
    const bool is_placed = next.line > 0;
    if (!is_placed || (lacks_step && IsOfAKnownStep(recipe, next, *catalogue))) return;
    left = LeaveOut(recipe, next);
    if (left == LeftOut::nothing) return;
    lacks_step = lacks_step || left == LeftOut::step;
    others.Add(next);
  }
}

Result<proto::CheckRecipeReply> CheckBy(Client& client, const proto::CheckRecipe& request, Mistakes& others) {
  Result<proto::CheckRecipeReply> reply = client.Check(request);
  if (!reply) FindOthers(client, request, reply.error(), others);
  return reply;
}

Result<proto::CheckRecipeReply> CheckHere(const proto::CheckRecipe& request, Mistakes& others) {
  TRY_ASSIGN(const ScopedFolder state, ScopedFolder::Make(fs::temp_directory_path(), "hone-check-"));
  FleetOptions options;
  options.state = state.path();
  TRY_ASSIGN(const std::unique_ptr<EmbeddedFleet> fleet, EmbeddedFleet::Start(options));
  return CheckBy(fleet->client(), request, others);
}

std::string FormatOfName(const std::string& model) {
  static constexpr std::pair<const char*, const char*> kFormats[] = {
      {".xml", "openvino_ir"}, {".tflite", "tflite"}, {".pdmodel", "paddle"}, {".pb", "tensorflow"}, {".gguf", "gguf"}};
  const std::string extension = fs::path(model).extension().string();
  for (const auto& [ending, format] : kFormats) {
    if (extension == ending) return format;
  }
  std::error_code failure;
  if (!model.empty() && fs::is_directory(model, failure)) {
    return fs::exists(fs::path(model) / "config.json", failure) ? "checkpoint" : "tensorflow";
  }
  return "onnx";
}

Result<proto::CheckRecipeReply> CheckAgainstWorkers(const CoordinatorFlags& coordinator,
                                                    const proto::CheckRecipe& request, Mistakes& others) {
  if (!IsCoordinatorNamed(coordinator.endpoint)) return CheckHere(request, others);
  TRY_ASSIGN(Client client, ConnectTo(coordinator));
  return CheckBy(client, request, others);
}

}  // namespace hone
