#include "client/importers/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "client/importers/name_pattern.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

constexpr size_t kMaxExpressionBytes = 4000;
constexpr const char* kDefaultWord = "DEFAULT_VALUE";
constexpr const char* kSearchWord = "SEARCHABLE_VALUES";

std::string Target(const Draft& draft, const ParameterRule& rule) {
  return fmt::format("{}: {}", draft.row.pass, rule.to);
}

bool IsMagic(const ConfigNode& node, const char* word) { return node.IsText() && node.value.text() == word; }

const ParameterRule* FindRule(const std::vector<const ParameterRules*>& tables, const std::string& key) {
  for (const ParameterRules* table : tables) {
    for (const ParameterRule& rule : *table) {
      if (key == rule.key) return &rule;
    }
  }
  return nullptr;
}

std::vector<std::string> KnownKeys(const std::vector<const ParameterRules*>& tables) {
  std::vector<std::string> keys;
  for (const ParameterRules* table : tables) {
    for (const ParameterRule& rule : *table) keys.emplace_back(rule.key);
  }
  return keys;
}

Result<> TakeField(Draft& draft, const Field& field, const std::vector<const ParameterRules*>& tables) {
  const ParameterRule* rule = FindRule(tables, field.key);
  if (rule == nullptr) {
    draft.ledger.TellUnknown(*field.node, field.key, KnownKeys(tables));
    return {};
  }
  if (IsMagic(*field.node, kDefaultWord)) {
    draft.ledger.Tell(*field.node, Fate::ignored, "the default is taken");
    return {};
  }
  if (IsMagic(*field.node, kSearchWord)) {
    draft.searched.insert(field.key);
    draft.ledger.Tell(*field.node, Fate::done, "is searched over");
    return {};
  }
  if (field.node->IsNull()) {
    draft.ledger.Tell(*field.node, Fate::ignored, "null is the default");
    return {};
  }
  draft.given[field.key] = field.node;
  return rule->take(draft, *field.node, *rule);
}

void AddDefaults(Draft& draft) {
  for (const SearchDefault& each : draft.row.search) {
    const bool wanted = draft.searched.contains(each.key) || (draft.searching && !draft.given.contains(each.key));
    if (!wanted || draft.Has(each.parameter)) continue;
    std::vector<proto::Value> values;
    for (const std::string& word : Split(each.values, ',')) values.push_back(ParseValue(word));
    draft.Set(each.parameter, std::move(values));
  }
  for (const Default& each : draft.row.defaults) draft.SetIfAbsent(each.parameter, ParseValue(each.value));
}

}  // namespace

// --- the import ----------------------------------------------------------------------------------

void Import::Give(const std::string& what) {
  if (std::find(to_give.begin(), to_give.end(), what) == to_give.end()) to_give.push_back(what);
}

void Import::Pin(const std::string& input, size_t dimension, int64_t size) {
  auto* inputs = recipe.mutable_inputs();
  const auto found =
      std::find_if(inputs->begin(), inputs->end(), [&](const auto& each) { return each.name() == input; });
  proto::InputShape& shape = found == inputs->end() ? *recipe.add_inputs() : *found;
  shape.set_name(input);
  while (shape.dims_size() <= static_cast<int>(dimension)) shape.add_dims(-1);
  shape.set_dims(static_cast<int>(dimension), size);
}

bool Import::HasWork() const {
  for (const proto::Stage& stage : recipe.passes()) {
    for (const proto::PassChoice& option : stage.options()) {
      const bool tidies = option.pass() == "simplify" || option.pass() == "graph_surgeries";
      if (!option.pass().empty() && !tidies) return true;
    }
  }
  return false;
}

proto::Stage* Import::WeightStage() {
  for (int i = recipe.passes_size(); i-- > 0;) {
    for (const proto::PassChoice& option : recipe.passes(i).options()) {
      if (option.pass() == "weights_int4" || option.pass() == "weights_int8") return recipe.mutable_passes(i);
    }
  }
  return nullptr;
}

void Import::AddStage(const std::vector<proto::PassChoice>& choices) {
  proto::Stage stage;
  for (const proto::PassChoice& choice : choices) *stage.add_options() = choice;
  const int count = recipe.passes_size();
  if (count > 0 && recipe.passes(count - 1).SerializeAsString() == stage.SerializeAsString()) return;
  *recipe.add_passes() = std::move(stage);
}

void Import::SetBackend(const std::string& backend, const std::string& setting,
                        const std::vector<proto::Value>& values) {
  auto* backends = recipe.mutable_backends();
  auto found =
      std::find_if(backends->begin(), backends->end(), [&](const auto& each) { return each.backend() == backend; });
  proto::BackendChoice* choice = found == backends->end() ? recipe.add_backends() : &*found;
  choice->set_backend(backend);
  if (setting.empty()) return;
  auto* settings = choice->mutable_settings();
  const auto same =
      std::find_if(settings->begin(), settings->end(), [&](const auto& each) { return each.name() == setting; });
  proto::Domain& domain = same == settings->end() ? *choice->add_settings() : *same;
  domain.set_name(setting);
  domain.clear_choices();
  for (const proto::Value& value : values) *domain.add_choices() = value;
}

void Import::AddTarget(const std::vector<std::string>& tags) {
  std::vector<std::string> sorted = tags;
  std::sort(sorted.begin(), sorted.end());
  for (const proto::Target& target : recipe.targets()) {
    if (std::equal(sorted.begin(), sorted.end(), target.tags().begin(), target.tags().end())) return;
  }
  proto::Target& target = *recipe.add_targets();
  for (const std::string& tag : sorted) target.add_tags(tag);
}

void Import::Calibrate(const std::string& path, uint64_t samples) {
  if (recipe.has_calibration()) return;
  recipe.mutable_calibration()->set_path(path);
  recipe.mutable_calibration()->set_samples(samples);
}

void Import::SettleBackends() {
  const bool to_ir = std::any_of(recipe.passes().begin(), recipe.passes().end(), [](const proto::Stage& stage) {
    return std::all_of(stage.options().begin(), stage.options().end(),
                       [](const auto& option) { return option.pass().starts_with("openvino_"); });
  });
  if (!to_ir) return;
  // OpenVINO alone loads what such a pass writes.
  SetBackend("openvino", "", {});
  auto* backends = recipe.mutable_backends();
  for (int i = backends->size(); i-- > 0;) {
    if (backends->Get(i).backend() != "openvino") backends->DeleteSubrange(i, 1);
  }
}

Imported Import::Finish() {
  SettleBackends();
  if (recipe.has_calibration()) {
    Give(
        fmt::format("{}: the samples to calibrate with (an .npz with one array an input, first axis the samples), or "
                    "--calibration D",
                    recipe.calibration().path()));
  }
  if (recipe.has_evaluation() && recipe.evaluation().path() != recipe.calibration().path()) {
    Give(fmt::format("{}: the samples to judge accuracy with{}, or --data D", recipe.evaluation().path(),
                     recipe.accuracy().against_labels() ? ", with an array `labels`" : ""));
  }
  if (!options.tags.empty()) {
    recipe.clear_targets();
    AddTarget(options.tags);
  }
  Imported imported;
  imported.recipe = std::move(recipe);
  imported.report = ledger.Close();
  imported.to_give = std::move(to_give);
  return imported;
}

void SetChoice(proto::PassChoice& choice, const std::string& parameter, const proto::Value& value) {
  auto* parameters = choice.mutable_parameters();
  const auto known = std::find_if(parameters->begin(), parameters->end(),
                                  [&](const proto::Domain& domain) { return domain.name() == parameter; });
  proto::Domain& domain = known == parameters->end() ? *parameters->Add() : *known;
  domain.set_name(parameter);
  domain.clear_choices();
  *domain.add_choices() = value;
}

// --- the draft -----------------------------------------------------------------------------------

void Draft::Set(const std::string& parameter, std::vector<proto::Value> values) {
  std::vector<proto::Value>& kept = parameters_[parameter];
  kept.clear();
  for (proto::Value& value : values) {
    const bool twice =
        std::any_of(kept.begin(), kept.end(), [&](const proto::Value& each) { return Equal(each, value); });
    if (!twice) kept.push_back(std::move(value));
  }
}

void Draft::SetIfAbsent(const std::string& parameter, proto::Value value) {
  if (!Has(parameter)) Set(parameter, std::move(value));
}

std::optional<proto::Value> Draft::Get(const std::string& parameter) const {
  const std::vector<proto::Value>* values = Values(parameter);
  return values != nullptr && values->size() == 1 ? std::optional<proto::Value>(values->front()) : std::nullopt;
}

const std::vector<proto::Value>* Draft::Values(const std::string& parameter) const {
  const auto found = parameters_.find(parameter);
  return found == parameters_.end() ? nullptr : &found->second;
}

void Draft::ExcludeNames(const std::vector<std::string>& names) {
  names_.insert(names_.end(), names.begin(), names.end());
}

Result<proto::PassChoice> Draft::Choice() const {
  proto::PassChoice choice;
  choice.set_pass(pass);
  std::map<std::string, std::vector<proto::Value>> all = parameters_;
  std::vector<std::string> expressions = excluded_;
  if (!names_.empty()) expressions.push_back(NamePattern(names_));
  const std::string exclude = Join(expressions, ",");
  if (exclude.size() > kMaxExpressionBytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} names of nodes make an expression of {} bytes, at most {} fit into 'exclude'",
                            names_.size(), exclude.size(), kMaxExpressionBytes));
  }
  if (!exclude.empty()) all["exclude"] = {TextValue(exclude)};
  for (const auto& [name, values] : all) {
    proto::Domain& domain = *choice.add_parameters();
    domain.set_name(name);
    for (const proto::Value& value : values) *domain.add_choices() = value;
  }
  return choice;
}

Result<Alternative> DraftPass(Import& import, const PassRow& row, const Section& section, const ConfigNode* type,
                              const std::vector<const ParameterRules*>& common, bool searching) {
  Alternative alternative;
  if (row.tables.empty()) {
    import.ledger.Tell(section.node(), row.fate, row.text);
    if (*row.pass != '\0') alternative.main.emplace().set_pass(row.pass);
    return alternative;
  }
  Draft draft(import, row, searching);
  draft.pass = row.pass;
  std::vector<const ParameterRules*> tables = row.tables;
  tables.insert(tables.end(), common.begin(), common.end());
  for (const Field& field : section.fields()) {
    if (field.node == type) continue;
    TRY(TakeField(draft, field, tables));
  }
  AddDefaults(draft);
  if (row.finish != nullptr) TRY(row.finish(draft));
  if (type != nullptr) {
    import.ledger.Tell(*type, row.fate,
                       *row.text != '\0'    ? row.text
                       : draft.pass.empty() ? "nothing is left to do"
                                            : draft.pass);
  }
  alternative.before = std::move(draft.before);
  alternative.after = std::move(draft.after);
  if (!draft.pass.empty()) {
    TRY_ASSIGN(alternative.main, draft.Choice());
  }
  return alternative;
}

// --- rules ---------------------------------------------------------------------------------------

std::vector<const ConfigNode*> ValuesOf(const ConfigNode& node) {
  std::vector<const ConfigNode*> values;
  const ConfigNode* list = &node;
  if (node.IsMap() && node.Find("olive_parameter_type") != nullptr) {
    for (const char* key : {"support", "values", "choices"}) {
      if (node.Find(key) != nullptr) list = node.Find(key);
    }
  }
  if (!list->IsList()) return {&node};
  for (const ConfigNode& item : list->items) values.push_back(&item);
  return values;
}

Result<> TakeEach(Draft& draft, const ConfigNode& node, const ParameterRule& rule, Convert convert) {
  std::vector<proto::Value> values;
  std::string changed;
  for (const ConfigNode* each : ValuesOf(node)) {
    TRY_ASSIGN(const Converted converted, convert(*each));
    if (!converted.changed.empty()) changed = converted.changed;
    if (converted.value.kind_case() != proto::Value::KIND_NOT_SET) values.push_back(converted.value);
  }
  if (values.empty()) {
    draft.ledger.Tell(node, Fate::impossible, changed.empty() ? "no value is given" : changed);
    return {};
  }
  draft.Set(rule.to, std::move(values));
  if (changed.empty()) {
    draft.ledger.Tell(node, Fate::done, Target(draft, rule));
  } else {
    draft.ledger.Tell(node, Fate::changed, fmt::format("{}: {}", Target(draft, rule), changed));
  }
  return {};
}

Result<Converted> ToBool(const ConfigNode& node) {
  TRY_ASSIGN(const bool value, BoolOf(node));
  return Converted{BoolValue(value)};
}
Result<Converted> ToOpposite(const ConfigNode& node) {
  TRY_ASSIGN(const bool value, BoolOf(node));
  return Converted{BoolValue(!value)};
}
Result<Converted> ToInt(const ConfigNode& node) {
  TRY_ASSIGN(const int64_t value, IntOf(node, INT32_MIN, INT32_MAX));
  return Converted{IntValue(value)};
}
Result<Converted> ToReal(const ConfigNode& node) {
  TRY_ASSIGN(const double value, importers::RealOf(node));
  return Converted{RealValue(value)};
}

Result<Converted> ToGroupSize(const ConfigNode& node) {
  static constexpr int64_t kSizes[] = {16, 32, 64, 128, 256};
  TRY_ASSIGN(const int64_t wanted, IntOf(node, -1, INT32_MAX));
  if (wanted <= 0) return Converted{IntValue(0)};  // One scale a column.
  const int64_t nearest = *std::min_element(std::begin(kSizes), std::end(kSizes), [&](int64_t a, int64_t b) {
    return std::abs(a - wanted) < std::abs(b - wanted);
  });
  return Converted{IntValue(nearest), nearest == wanted ? "" : fmt::format("{}, the nearest block size", nearest)};
}

Result<Converted> ToWord(const ConfigNode& node, const std::vector<Word>& words) {
  if (node.kind != ConfigNode::Kind::scalar) return WrongKind(node, "a word");
  std::vector<std::string> known;
  const std::string given = Lower(ToText(node.value));
  for (const Word& word : words) {
    known.emplace_back(word.from);
    if (given != Lower(word.from)) continue;
    Converted converted{*word.to == '\0' ? proto::Value() : TextValue(word.to), word.changed};
    return converted;
  }
  return FailAt(node, fmt::format("'{}' must be one of {}, is {}{}", node.path, Join(known, ", "), ValueText(node),
                                  DidYouMean(ToText(node.value), known)));
}

Result<Converted> ToWeightType(const ConfigNode& node) {
  static const std::vector<Word> kWords = {
      {"int8", "int8"},
      {"uint8", "uint8"},
      {"QInt8", "int8"},
      {"QUInt8", "uint8"},
      {"int16", "int8", "int8; hone has no 16-bit weights, and no processor runs them faster than float"},
      {"uint16", "uint8", "uint8; hone has no 16-bit weights, and no processor runs them faster than float"},
      {"QInt16", "int8", "int8; hone has no 16-bit weights"},
      {"QUInt16", "uint8", "uint8; hone has no 16-bit weights"},
      {"int4", "int8", "int8; use weights_int4 for 4 bits"},
      {"uint4", "uint8", "uint8; use weights_int4 for 4 bits"},
      {"QInt4", "int8", "int8; use weights_int4 for 4 bits"},
      {"QUInt4", "uint8", "uint8; use weights_int4 for 4 bits"}};
  return ToWord(node, kWords);
}

Result<Converted> ToActivationType(const ConfigNode& node) {
  static const std::vector<Word> kWords = {{"int8", "int8"},     {"uint8", "uint8"},   {"int16", "int16"},
                                           {"uint16", "uint16"}, {"QInt8", "int8"},    {"QUInt8", "uint8"},
                                           {"QInt16", "int16"},  {"QUInt16", "uint16"}};
  return ToWord(node, kWords);
}

Result<Converted> ToObserver(const ConfigNode& node) {
  static const std::vector<Word> kWords = {{"MinMax", "minmax"},
                                           {"Entropy", "entropy"},
                                           {"Percentile", "percentile"},
                                           {"kl", "entropy"},
                                           {"Distribution", "mse", "mse; Distribution is for 8-bit floats"},
                                           {"CalibrationMethod.MinMax", "minmax"},
                                           {"CalibrationMethod.Entropy", "entropy"},
                                           {"CalibrationMethod.Percentile", "percentile"},
                                           {"0", "minmax"},
                                           {"1", "entropy"},
                                           {"2", "percentile"}};
  return ToWord(node, kWords);
}

Result<> Ignore(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  draft.ledger.Tell(node, Fate::ignored, rule.text);
  return {};
}

Result<> IgnoreBool(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  for (const ConfigNode* each : ValuesOf(node)) TRY(BoolOf(*each));
  return Ignore(draft, node, rule);
}

Result<> Change(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  draft.ledger.Tell(node, Fate::changed, rule.text);
  return {};
}

bool IsOff(const ConfigNode& node) {
  if (node.kind != ConfigNode::Kind::scalar) return node.items.empty() && node.entries.empty();
  const std::string text = ToText(node.value);
  return text.empty() || text == "false" || text == "0";
}

Result<> Refuse(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  if (IsOff(node)) {
    draft.ledger.Tell(node, Fate::ignored, "nothing is asked for");
  } else {
    draft.ledger.Tell(node, Fate::impossible, rule.text);
  }
  return {};
}

Result<> AsExcluded(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(node));
  if (names.empty()) {
    draft.ledger.Tell(node, Fate::ignored, "nothing is asked for");
    return {};
  }
  draft.ExcludeNames(names);
  draft.ledger.Tell(node, Fate::done, fmt::format("{}: exclude", draft.row.pass));
  return {};
}

Result<> AsExcludedPatterns(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> patterns, TextsOf(node));
  for (const std::string& pattern : patterns) {
    // A comma parts expressions.
    std::string whole;
    for (const char c : pattern) whole += c == ',' ? std::string("\\x2c") : std::string(1, c);
    draft.ExcludePattern(whole);
  }
  draft.ledger.Tell(node, Fate::done, fmt::format("{}: exclude", draft.row.pass));
  return {};
}

Result<> AsIncluded(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const std::vector<std::string> names, TextsOf(node));
  if (names.empty()) {
    draft.ledger.Tell(node, Fate::ignored, "nothing is asked for");
    return {};
  }
  draft.ExcludePattern(fmt::format("(?!(?:{})$).*", NamePattern(names)));
  draft.ledger.Tell(node, Fate::done,
                    fmt::format("{}: exclude, as an expression for every other name", draft.row.pass));
  return {};
}

Result<> AsTypes(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  TRY_ASSIGN(const std::vector<std::string> types, TextsOf(node));
  if (types.empty()) {
    draft.ledger.Tell(node, Fate::ignored, "nothing is asked for");
    return {};
  }
  draft.Set(rule.to, TextValue(Join(types, ",")));
  draft.ledger.Tell(node, Fate::done, Target(draft, rule));
  return {};
}

Result<> TakeMap(Draft& draft, const ConfigNode& node, const std::vector<const ParameterRules*>& tables) {
  if (!node.IsMap()) return WrongKind(node, "a map");
  if (node.entries.empty()) draft.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigEntry& entry : node.entries) TRY(TakeField(draft, {entry.key, &entry.value}, tables));
  return {};
}

Result<> AsMaxDrop(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY_ASSIGN(const double drop, importers::RealOf(node));
  proto::Constraint& constraint = *draft.import.recipe.add_constraints();
  constraint.set_metric("accuracy_drop");
  constraint.set_maximum(drop);
  draft.ledger.Tell(node, Fate::done, "constraints.accuracy_drop");
  return {};
}

}  // namespace hone::importers
