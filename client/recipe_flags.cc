#include "client/recipe_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

using Stages = google::protobuf::RepeatedPtrField<proto::Stage>;

const std::vector<std::string> kPrecisions = {"auto", "fp32", "fp16", "bf16", "int8", "int4"};
constexpr const char* kInferencePrecision = "inference_precision";
constexpr const char* kPrecision = "precision";

// "fp32" for "f32", as some write it.
std::string FullName(const std::string& precision) {
  return precision == "f32" || precision == "f16" ? "fp" + precision.substr(1) : precision;
}

bool Holds(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

const proto::ParameterInfo* FindSetting(const proto::BackendInfo& backend, std::string_view name) {
  for (const proto::ParameterInfo& setting : backend.settings()) {
    if (setting.name() == name) return &setting;
  }
  return nullptr;
}

proto::Domain* FindDomain(proto::BackendChoice& choice, std::string_view name) {
  for (proto::Domain& domain : *choice.mutable_settings()) {
    if (domain.name() == name) return &domain;
  }
  return nullptr;
}

proto::Domain& DomainOf(proto::BackendChoice& choice, const std::string& name) {
  proto::Domain* domain = FindDomain(choice, name);
  if (domain == nullptr) {
    domain = choice.add_settings();
    domain->set_name(name);
  }
  return *domain;
}

void FilterBackends(proto::Recipe& recipe, const std::function<bool(const proto::BackendChoice&)>& keep) {
  google::protobuf::RepeatedPtrField<proto::BackendChoice> backends;
  for (const proto::BackendChoice& choice : recipe.backends()) {
    if (keep(choice)) *backends.Add() = choice;
  }
  *recipe.mutable_backends() = backends;
}

// A recipe without backends means every one of the fleet; flags that narrow settings need them written out.
void WriteOutBackends(const proto::Catalogue& catalogue, proto::Recipe& recipe) {
  if (recipe.backends_size() > 0) return;
  for (const proto::BackendInfo& backend : catalogue.backends()) recipe.add_backends()->set_backend(backend.name());
}

Result<> KeepBackends(const std::vector<std::string>& names, const proto::Catalogue& catalogue, proto::Recipe& recipe) {
  google::protobuf::RepeatedPtrField<proto::BackendChoice> chosen;
  for (const std::string& name : names) {
    TRY(RequireBackend(catalogue, name));
    const bool repeated =
        std::any_of(chosen.begin(), chosen.end(), [&](const proto::BackendChoice& c) { return c.backend() == name; });
    if (repeated) continue;
    const auto written = std::find_if(recipe.backends().begin(), recipe.backends().end(),
                                      [&](const proto::BackendChoice& choice) { return choice.backend() == name; });
    proto::BackendChoice& choice = *chosen.Add();
    if (written != recipe.backends().end()) choice = *written;
    choice.set_backend(name);
  }
  *recipe.mutable_backends() = chosen;
  return {};
}

bool GivesOneOf(const proto::PassInfo& pass, const std::vector<std::string>& precisions) {
  return std::any_of(pass.precisions().begin(), pass.precisions().end(),
                     [&](const std::string& p) { return Holds(precisions, p); });
}

// Where a pass gives one precision or another by its parameter `precision`: that parameter; nullptr for others, and
// where it gives floats alone (build_encoder), which later passes make codes of.
const proto::ParameterInfo* PrecisionParameter(const proto::PassInfo& pass) {
  if (pass.precisions_size() > 0) return nullptr;
  for (const proto::ParameterInfo& parameter : pass.parameters()) {
    if (parameter.name() != kPrecision) continue;
    const auto& choices = parameter.choices();
    const bool has_codes = std::any_of(choices.begin(), choices.end(), [](const proto::Value& value) {
      return FullName(ToText(value)).starts_with("int");
    });
    if (has_codes) return &parameter;
  }
  return nullptr;
}

// Values of such a parameter that are wished: of those that the recipe lists, else of those that there are.
std::vector<proto::Value> WishedValues(const proto::PassChoice& option, const proto::ParameterInfo& parameter,
                                       const std::vector<std::string>& precisions) {
  const auto wished = [&](const google::protobuf::RepeatedPtrField<proto::Value>& all) {
    std::vector<proto::Value> values;
    std::copy_if(all.begin(), all.end(), std::back_inserter(values),
                 [&](const proto::Value& value) { return Holds(precisions, FullName(ToText(value))); });
    return values;
  };
  const auto written = std::find_if(option.parameters().begin(), option.parameters().end(),
                                    [](const proto::Domain& domain) { return domain.name() == kPrecision; });
  std::vector<proto::Value> values;
  if (written != option.parameters().end()) values = wished(written->choices());
  return values.empty() ? wished(parameter.choices()) : values;
}

// The option with those values alone; what depends on another value goes.
proto::PassChoice Narrowed(proto::PassChoice option, const std::vector<proto::Value>& values) {
  proto::Domain narrow;
  narrow.set_name(kPrecision);
  for (const proto::Value& value : values) *narrow.add_choices() = value;
  google::protobuf::RepeatedPtrField<proto::Domain> kept;
  *kept.Add() = narrow;
  for (proto::Domain& domain : *option.mutable_parameters()) {
    if (domain.name() == kPrecision) {
      *kept[0].mutable_position() = domain.position();
      continue;
    }
    bool possible = true;
    for (proto::When& when : *domain.mutable_when()) {
      if (when.parameter() != kPrecision) continue;
      auto& wanted = *when.mutable_values();
      wanted.erase(std::remove_if(wanted.begin(), wanted.end(), [&](const proto::Value& one) {
        return std::none_of(values.begin(), values.end(), [&](const proto::Value& value) { return Equal(one, value); });
      }), wanted.end());
      possible = possible && !wanted.empty();
    }
    if (possible) *kept.Add() = domain;
  }
  *option.mutable_parameters() = kept;
  return option;
}

enum class Fit { structural, wished, unwished };
Fit FitOf(const proto::PassChoice& option, const proto::Catalogue& catalogue,
          const std::vector<std::string>& precisions) {
  const proto::PassInfo* pass = FindPassInfo(catalogue, option.pass());
  if (pass == nullptr) return Fit::structural;
  if (const proto::ParameterInfo* parameter = PrecisionParameter(*pass))
    return WishedValues(option, *parameter, precisions).empty() ? Fit::unwished : Fit::wished;
  if (pass->precisions_size() == 0) return Fit::structural;
  return GivesOneOf(*pass, precisions) ? Fit::wished : Fit::unwished;
}

// The option as far as it gives what is wished.
proto::PassChoice FittingPart(const proto::PassChoice& option, const proto::Catalogue& catalogue,
                              const std::vector<std::string>& precisions) {
  const proto::PassInfo* pass = FindPassInfo(catalogue, option.pass());
  const proto::ParameterInfo* parameter = pass == nullptr ? nullptr : PrecisionParameter(*pass);
  return parameter == nullptr ? option : Narrowed(option, WishedValues(option, *parameter, precisions));
}

// What `inference_precision` may be for the precisions wished. f16 is tried only where the recipe lists it: on most
// CPUs it is emulated.
std::vector<std::string> InferencePrecisions(const std::vector<std::string>& precisions, const proto::Domain* written) {
  std::vector<std::string> allowed;
  for (const char* name : {"fp32", "fp16", "int8", "int4"}) {
    if (Holds(precisions, name) && !Holds(allowed, "f32")) allowed.emplace_back("f32");
  }
  if (Holds(precisions, "bf16")) allowed.emplace_back("bf16");
  const bool lists_f16 = written != nullptr && std::any_of(written->choices().begin(), written->choices().end(),
                                                           [](const proto::Value& v) { return ToText(v) == "f16"; });
  if (Holds(precisions, "fp16") && lists_f16) allowed.emplace_back("f16");
  return allowed;
}

void NarrowInferencePrecision(const std::vector<std::string>& precisions, const proto::BackendInfo& backend,
                              proto::BackendChoice& choice) {
  const proto::ParameterInfo* setting = FindSetting(backend, kInferencePrecision);
  if (setting == nullptr) return;
  const std::vector<std::string> allowed = InferencePrecisions(precisions, FindDomain(choice, kInferencePrecision));
  proto::Domain& domain = DomainOf(choice, kInferencePrecision);
  std::vector<proto::Value> values;
  for (const proto::Value& value : domain.choices()) {
    if (Holds(allowed, ToText(value))) values.push_back(value);
  }
  if (values.empty()) {
    for (const std::string& name : allowed) {
      if (CheckValue(*setting, TextValue(name), backend.name())) values.push_back(TextValue(name));
    }
  }
  domain.clear_choices();
  for (const proto::Value& value : values) *domain.add_choices() = value;
  if (!values.empty()) return;
  // The runtime offers none of them: it decides.
  auto& settings = *choice.mutable_settings();
  settings.erase(std::remove_if(settings.begin(), settings.end(),
                                [](const proto::Domain& d) { return d.name() == kInferencePrecision; }),
                 settings.end());
}

Result<> KeepPrecisions(std::vector<std::string> precisions, const proto::Catalogue& catalogue,
                        proto::Recipe& recipe, std::vector<std::string>& notes) {
  std::transform(precisions.begin(), precisions.end(), precisions.begin(), FullName);
  for (const std::string& precision : precisions) {
    if (!Holds(kPrecisions, precision)) {
      return Fail(ErrorCode::kUsage,
                  fmt::format("unknown precision '{}'{}", Printable(precision, 80),
                              DidYouMean(WordKind::precision, precision, kPrecisions)),
                  "there are " + Join(kPrecisions, ", "));
    }
  }
  if (precisions.empty() || Holds(precisions, "auto")) return {};

  int wished_stages = 0;
  std::vector<std::string> left_out;
  for (const proto::Stage& stage : recipe.passes()) {
    bool wished = false;
    for (const proto::PassChoice& option : stage.options()) {
      const Fit fit = FitOf(option, catalogue, precisions);
      wished = wished || fit == Fit::wished;
      if (fit == Fit::unwished && !Holds(left_out, option.pass())) left_out.push_back(option.pass());
      if (fit == Fit::unwished && stage.options_size() == 1) {
        return Fail(Error{ErrorCode::kRejected,
                          fmt::format("the recipe always applies {}, which --precision {} leaves out", option.pass(),
                                      Join(precisions, ",")),
                          "put it under `choose` in the recipe, or widen --precision", option.position().file(),
                          option.position().line(), option.position().column()});
      }
    }
    wished_stages += wished ? 1 : 0;
  }
  WriteOutBackends(catalogue, recipe);
  const bool bf16_setting = Holds(precisions, "bf16") &&
      std::any_of(recipe.backends().begin(), recipe.backends().end(), [&](const proto::BackendChoice& choice) {
        const proto::BackendInfo* info = FindBackendInfo(catalogue, choice.backend());
        return info != nullptr && FindSetting(*info, kInferencePrecision) != nullptr;
      });
  const bool keep_none = Holds(precisions, "fp32") || bf16_setting || wished_stages > 1;
  if (wished_stages == 0 && !Holds(precisions, "fp32") && !bf16_setting) {
    return Fail(ErrorCode::kRejected, fmt::format("no pass of the recipe gives {}", Join(precisions, " or ")),
                "see `hone passes` for what gives which precision, and name it in the recipe");
  }

  Stages stages;
  for (const proto::Stage& stage : recipe.passes()) {
    proto::Stage kept;
    *kept.mutable_position() = stage.position();
    const bool any_wished = std::any_of(
        stage.options().begin(), stage.options().end(),
        [&](const proto::PassChoice& option) { return FitOf(option, catalogue, precisions) == Fit::wished; });
    const bool any_unwished = std::any_of(
        stage.options().begin(), stage.options().end(),
        [&](const proto::PassChoice& option) { return FitOf(option, catalogue, precisions) == Fit::unwished; });
    for (const proto::PassChoice& option : stage.options()) {
      const Fit fit = FitOf(option, catalogue, precisions);
      const bool drop_none = option.pass().empty() && any_wished && !keep_none;
      if (fit != Fit::unwished && !drop_none) *kept.add_options() = FittingPart(option, catalogue, precisions);
    }
    // A stage of nothing but other precisions does nothing now.
    if (kept.options_size() == 0 && any_unwished) continue;
    *stages.Add() = kept;
  }
  *recipe.mutable_passes() = stages;

  if (wished_stages == 0 && !Holds(precisions, "fp32")) {
    // bf16 alone, by the runtime's setting: a backend without it would run f32 and call it bf16.
    FilterBackends(recipe, [&](const proto::BackendChoice& choice) {
      const proto::BackendInfo* info = FindBackendInfo(catalogue, choice.backend());
      return info != nullptr && FindSetting(*info, kInferencePrecision) != nullptr;
    });
  }
  for (proto::BackendChoice& choice : *recipe.mutable_backends()) {
    const proto::BackendInfo* info = FindBackendInfo(catalogue, choice.backend());
    if (info != nullptr) NarrowInferencePrecision(precisions, *info, choice);
  }
  if (!left_out.empty())
    notes.push_back(fmt::format("--precision {} leaves out {}", Join(precisions, ","), Join(left_out, ", ")));
  return {};
}

void SetDropLimit(double limit, proto::Recipe& recipe) {
  for (proto::Constraint& constraint : *recipe.mutable_constraints()) {
    if (constraint.metric() != "accuracy_drop") continue;
    constraint.set_maximum(limit);
    return;
  }
  proto::Constraint& constraint = *recipe.add_constraints();
  constraint.set_metric("accuracy_drop");
  constraint.set_maximum(limit);
}

void SetObjectives(const RecipeFlags& flags, proto::Recipe& recipe) {
  if (flags.minimize.empty() && flags.maximize.empty()) return;
  recipe.clear_objectives();
  for (const std::string& metric : flags.minimize) recipe.add_objectives()->set_metric(metric);
  for (const std::string& metric : flags.maximize) {
    proto::Objective& objective = *recipe.add_objectives();
    objective.set_metric(metric);
    objective.set_maximize(true);
  }
}

// The worker runs on `threads` cores; settings that ask for more would only oversubscribe them.
void LimitThreads(uint64_t threads, const proto::Catalogue& catalogue, proto::Recipe& recipe) {
  for (proto::BackendChoice& choice : *recipe.mutable_backends()) {
    const proto::BackendInfo* info = FindBackendInfo(catalogue, choice.backend());
    proto::Domain* domain = info == nullptr ? nullptr : FindDomain(choice, ThreadsSetting(*info));
    if (domain == nullptr) continue;
    std::vector<proto::Value> values;
    for (const proto::Value& value : domain->choices()) {
      if (value.kind_case() != proto::Value::kInteger || value.integer() <= static_cast<int64_t>(threads))
        values.push_back(value);
    }
    if (values.empty()) values.push_back(IntValue(static_cast<int64_t>(threads)));
    domain->clear_choices();
    domain->clear_low();
    domain->clear_high();
    for (const proto::Value& value : values) *domain->add_choices() = value;
  }
}

void MergePins(const std::vector<proto::InputShape>& pins, proto::Recipe& recipe) {
  for (const proto::InputShape& pin : pins) {
    const auto known = std::find_if(recipe.mutable_inputs()->begin(), recipe.mutable_inputs()->end(),
                                    [&](const proto::InputShape& shape) { return shape.name() == pin.name(); });
    if (known != recipe.mutable_inputs()->end()) {
      *known = pin;
    } else {
      *recipe.add_inputs() = pin;
    }
  }
}

}  // namespace

Result<> ApplyFlags(const RecipeFlags& flags, const proto::Catalogue& catalogue, proto::Recipe& recipe,
                    std::vector<std::string>& notes) {
  MergePins(flags.inputs, recipe);
  if (!flags.backends.empty()) TRY(KeepBackends(flags.backends, catalogue, recipe));
  TRY(KeepPrecisions(flags.precisions, catalogue, recipe, notes));
  if (flags.threads) LimitThreads(*flags.threads, catalogue, recipe);
  if (flags.max_accuracy_drop) SetDropLimit(*flags.max_accuracy_drop, recipe);
  SetObjectives(flags, recipe);
  if (flags.trials) recipe.mutable_search()->set_trials(static_cast<uint32_t>(*flags.trials));
  if (flags.time_ms) recipe.mutable_search()->set_time_ms(static_cast<uint64_t>(*flags.time_ms));
  if (flags.seed) recipe.mutable_search()->set_seed(*flags.seed);
  return {};
}

bool NeedsCalibration(const proto::Catalogue& catalogue, const proto::Recipe& recipe) {
  for (const proto::Stage& stage : recipe.passes()) {
    for (const proto::PassChoice& option : stage.options()) {
      const proto::PassInfo* pass = FindPassInfo(catalogue, option.pass());
      if (pass != nullptr && pass->needs_calibration()) return true;
    }
  }
  return false;
}

Result<double> ParseShare(const std::string& text) {
  const bool percent = !text.empty() && text.back() == '%';
  const Result<double> value = ParseReal(percent ? text.substr(0, text.size() - 1) : text);
  if (!value || !(*value >= 0) || *value > 1e6)
    return Fail(ErrorCode::kUsage, "must be a number of at least 0, such as 0.01 or 1%");
  return percent ? *value / 100 : *value;
}

std::string ThreadsSetting(const proto::BackendInfo& backend) {
  for (const char* name : {"intra_op_threads", "num_threads", "inference_num_threads", "threads"}) {
    if (FindSetting(backend, name) != nullptr) return name;
  }
  return "";
}

const proto::BackendInfo* FindBackendInfo(const proto::Catalogue& catalogue, const std::string& name) {
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    if (backend.name() == name) return &backend;
  }
  return nullptr;
}

const proto::PassInfo* FindPassInfo(const proto::Catalogue& catalogue, const std::string& name) {
  for (const proto::PassInfo& pass : catalogue.passes()) {
    if (pass.name() == name) return &pass;
  }
  return nullptr;
}

Result<const proto::BackendInfo*> RequireBackend(const proto::Catalogue& catalogue, const std::string& name) {
  const proto::BackendInfo* backend = FindBackendInfo(catalogue, name);
  if (backend != nullptr) return backend;
  std::vector<std::string> names;
  for (const proto::BackendInfo& known : catalogue.backends()) names.push_back(known.name());
  return Fail(ErrorCode::kRejected,
              fmt::format("unknown backend '{}'{}", Printable(name, 80), DidYouMean(WordKind::backend, name, names)),
              "there are " + Join(names, ", "));
}

Result<std::string> DefaultBackend(const proto::Catalogue& catalogue, const std::string& format) {
  const auto loads = [&](const proto::BackendInfo& backend) {
    return std::find(backend.formats().begin(), backend.formats().end(), format) != backend.formats().end();
  };
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    if (backend.reference() && loads(backend)) return backend.name();
  }
  for (const proto::BackendInfo& backend : catalogue.backends()) {
    if (loads(backend)) return backend.name();
  }
  return Fail(ErrorCode::kRejected, fmt::format("no backend on this machine loads a model of format {}", format),
              "see `hone backends` for the formats that each loads");
}

}  // namespace hone
