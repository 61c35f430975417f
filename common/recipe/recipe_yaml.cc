// The recipe's sections are tables of keys, each key a row with the function that reads its value; everything that is
// said about unknown keys, and RecipeKeys(), comes from the tables. Values are read in the order of the text, so the
// first mistake is the one that is told, unless all are asked for: then sections and lists are read on behind a mistake
// (ReadEach), and what is checked of a whole section is checked only where each of its parts could be read.
#include "common/recipe/recipe_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/metrics.h"
#include "common/recipe/sandbox_level.h"
#include "common/recipe/value.h"
#include "common/recipe/yaml_reader.h"
#include "common/recipe/yaml_tree.h"

namespace hone {
namespace {

using namespace yaml;

constexpr int64_t kMaxDimension = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxRank = 16;
constexpr int64_t kMaxPixels = 65536;                             // Height or width of a picture.
constexpr size_t kMaxChannels = 64;
constexpr int64_t kMaxTrials = 1'000'000;
constexpr int64_t kMaxPairs = 100'000;
constexpr int64_t kMaxFinalists = 1000;

// --- inputs ----------------------------------------------------------------------------------------------------

// -1, nothing or a name: free.
Result<int64_t> ReadDimension(const Context& context, const YamlNode& node, const std::string& input) {
  const std::string what = fmt::format("a dimension of input {}", Quoted(input));
  if (node.kind == YamlNode::Kind::kNull) return -1;
  if (node.kind != YamlNode::Kind::kScalar) return WrongKind(context, node, what, "a number, a name or null");
  const proto::Value value = node.plain ? ParseValue(node.text) : TextValue(node.text);
  if (value.kind_case() == proto::Value::kText && !value.text().empty()) return -1;
  if (value.kind_case() == proto::Value::kInteger && value.integer() == -1) return -1;
  if (value.kind_case() != proto::Value::kInteger)
    return WrongKind(context, node, what, "a whole number, a name or null");
  if (value.integer() < 1 || value.integer() > kMaxDimension) {
    return FailAt(context, node.place,
                  fmt::format("{} must be 1 to {}, or -1 for free, is {}", what, kMaxDimension, value.integer()));
  }
  return value.integer();
}

Result<> ReadInput(const Context& context, const YamlEntry& input, proto::InputShape* shape) {
  if (input.key.empty()) return FailAt(context, input.place, "an input name must not be empty");
  if (input.value.kind != YamlNode::Kind::kList) {
    return WrongKind(context, input.value, fmt::format("the shape of input {}", Quoted(input.key)),
                     "a list of dimensions");
  }
  if (input.value.items.size() > kMaxRank) {
    return FailAt(context, input.place,
                  fmt::format("input {} has {} dimensions, at most {} are allowed", Quoted(input.key),
                              input.value.items.size(), kMaxRank));
  }
  shape->set_name(input.key);
  for (const YamlNode& node : input.value.items) {
    TRY_ASSIGN(const int64_t dimension, ReadDimension(context, node, input.key));
    shape->add_dims(dimension);
  }
  return {};
}

Result<> ReadInputs(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  if (entry.value.kind != YamlNode::Kind::kMap)
    return WrongKind(context, entry.value, "'inputs'", "a map of input names to shapes like [1, 64]");
  return ReadEach(context, entry.value.entries,
                  [&](const YamlEntry& input) { return ReadInput(context, input, recipe->add_inputs()); });
}

// --- data ------------------------------------------------------------------------------------------------------

using Doubles = google::protobuf::RepeatedField<double>;

// One number, or a list with one a channel.
Result<> ReadChannels(const Context& context, const YamlEntry& entry, Doubles* values) {
  const YamlNode& node = entry.value;
  if (node.kind == YamlNode::Kind::kMap)
    return WrongKind(context, node, Quoted(entry.key), "a number or a list of numbers");
  if (node.kind == YamlNode::Kind::kScalar) {
    TRY_ASSIGN(const double value, ReadReal(context, node, Quoted(entry.key)));
    values->Add(value);
    return {};
  }
  TRY(CheckList(context, entry, "a number or a list of numbers"));
  if (node.items.size() > kMaxChannels)
    return FailAt(context, entry.place, fmt::format("'{}' has more than {} channels", entry.key, kMaxChannels));
  for (const YamlNode& item : node.items) {
    TRY_ASSIGN(const double value, ReadReal(context, item, fmt::format("an item of '{}'", entry.key)));
    values->Add(value);
  }
  return {};
}

Result<> ReadSize(const Context& context, const YamlEntry& entry, proto::Preprocess* preprocess) {
  const YamlNode& node = entry.value;
  if (node.kind == YamlNode::Kind::kScalar) {
    TRY_ASSIGN(const int64_t size, ReadInteger(context, node, "'size'", 1, kMaxPixels));
    preprocess->set_height(static_cast<uint32_t>(size));
    preprocess->set_width(static_cast<uint32_t>(size));
    return {};
  }
  if (node.kind != YamlNode::Kind::kList || node.items.size() != 2) {
    return FailAt(context, node.place, fmt::format("'size' must be a number or [height, width], is {}", KindOf(node)));
  }
  TRY_ASSIGN(const int64_t height, ReadInteger(context, node.items[0], "the height in 'size'", 1, kMaxPixels));
  TRY_ASSIGN(const int64_t width, ReadInteger(context, node.items[1], "the width in 'size'", 1, kMaxPixels));
  preprocess->set_height(static_cast<uint32_t>(height));
  preprocess->set_width(static_cast<uint32_t>(width));
  return {};
}

constexpr std::array<std::pair<const char*, proto::Preprocess::Resize>, 4> kResizes = {
    {{"stretch", proto::Preprocess::STRETCH},
     {"pad_right", proto::Preprocess::PAD_RIGHT},
     {"center_crop", proto::Preprocess::CENTER_CROP},
     {"letterbox", proto::Preprocess::LETTERBOX}}};
constexpr std::array<std::pair<const char*, bool>, 2> kChannelOrders = {{{"rgb", false}, {"bgr", true}}};
constexpr std::array<std::pair<const char*, bool>, 2> kLayouts = {{{"nchw", false}, {"nhwc", true}}};

const Section<proto::Preprocess>& PreprocessRows() {
  static const Section<proto::Preprocess> rows = {
      {"input",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(*p->mutable_input(), ReadText(c, e.value, "'input'"));
         return {};
       }},
      {"height",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const int64_t height, ReadInteger(c, e.value, "'height'", 1, kMaxPixels));
         p->set_height(static_cast<uint32_t>(height));
         return {};
       }},
      {"width",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const int64_t width, ReadInteger(c, e.value, "'width'", 1, kMaxPixels));
         p->set_width(static_cast<uint32_t>(width));
         return {};
       }},
      {"size", ReadSize},
      {"resize",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const auto resize, ReadWord(c, e.value, "'resize'", kResizes));
         p->set_resize(resize);
         return {};
       }},
      {"channels",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const bool bgr, ReadWord(c, e.value, "'channels'", kChannelOrders));
         p->set_bgr(bgr);
         return {};
       }},
      {"mean", [](const Context& c, const YamlEntry& e,
                  proto::Preprocess* p) { return ReadChannels(c, e, p->mutable_mean()); }},
      {"std",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY(ReadChannels(c, e, p->mutable_std()));
         const bool positive = std::all_of(p->std().begin(), p->std().end(), [](double value) { return value > 0; });
         if (!positive) return FailAt(c, e.value.place, "'std' must be greater than 0");
         return {};
       }},
      {"scale",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const double scale, ReadReal(c, e.value, "'scale'"));
         if (!(scale > 0)) return FailAt(c, e.value.place, fmt::format("'scale' must be greater than 0, is {}", scale));
         p->set_scale(scale);
         return {};
       }},
      {"layout",
       [](const Context& c, const YamlEntry& e, proto::Preprocess* p) -> Result<> {
         TRY_ASSIGN(const bool nhwc, ReadWord(c, e.value, "'layout'", kLayouts));
         p->set_nhwc(nhwc);
         return {};
       }},
  };
  return rows;
}

Result<> ReadPreprocess(const Context& context, const YamlEntry& entry, proto::DataRange* range) {
  proto::Preprocess* preprocess = range->mutable_preprocess();
  TRY(ReadSection(context, entry.value, "'preprocess'", PreprocessRows(), preprocess));
  const YamlEntry* size = FindEntry(entry.value, "size");
  const YamlEntry* height = FindEntry(entry.value, "height");
  const YamlEntry* width = FindEntry(entry.value, "width");
  if (size != nullptr && (height != nullptr || width != nullptr))
    return FailAt(context, size->place, "'size' and 'height' or 'width' exclude one another");
  if (height != nullptr && width == nullptr)
    return FailAt(context, height->place, "'height' needs a 'width' beside it");
  if (width != nullptr && height == nullptr) return FailAt(context, width->place, "'width' needs a 'height' beside it");
  const int means = preprocess->mean_size(), deviations = preprocess->std_size();
  if (means > 1 && deviations > 1 && means != deviations) {
    return FailAt(context, entry.place, fmt::format("'mean' has {} channels and 'std' has {}", means, deviations));
  }
  return {};
}

const Section<proto::DataRange>& DataRangeRows() {
  static const Section<proto::DataRange> rows = {
      {"path",
       [](const Context& c, const YamlEntry& e, proto::DataRange* range) -> Result<> {
         TRY_ASSIGN(*range->mutable_path(), ReadText(c, e.value, "'path'", "the path of a data set"));
         return {};
       }},
      {"from",
       [](const Context& c, const YamlEntry& e, proto::DataRange* range) -> Result<> {
         TRY_ASSIGN(const int64_t from, ReadInteger(c, e.value, "'from'", 0, std::numeric_limits<int64_t>::max()));
         range->set_from(static_cast<uint64_t>(from));
         return {};
       }},
      {"samples",
       [](const Context& c, const YamlEntry& e, proto::DataRange* range) -> Result<> {
         TRY_ASSIGN(const int64_t samples,
                    ReadInteger(c, e.value, "'samples'", 1, std::numeric_limits<int64_t>::max()));
         range->set_samples(static_cast<uint64_t>(samples));
         return {};
       }},
      {"preprocess", ReadPreprocess},
  };
  return rows;
}

Result<> ReadDataRange(const Context& context, const YamlEntry& entry, proto::DataRange* range) {
  TRY(ReadSection(context, entry.value, Quoted(entry.key), DataRangeRows(), range));
  if (range->path().empty()) return FailAt(context, entry.place, fmt::format("'{}' needs a 'path'", entry.key));
  *range->mutable_position() = PositionOf(context, entry.place);
  return {};
}

const Section<proto::Recipe>& DataRows() {
  static const Section<proto::Recipe> rows = {
      {"calibration", [](const Context& c, const YamlEntry& e,
                         proto::Recipe* r) { return ReadDataRange(c, e, r->mutable_calibration()); }},
      {"evaluation", [](const Context& c, const YamlEntry& e,
                        proto::Recipe* r) { return ReadDataRange(c, e, r->mutable_evaluation()); }},
  };
  return rows;
}

// --- accuracy, objectives, constraints -------------------------------------------------------------------------

constexpr std::array<std::pair<const char*, bool>, 2> kAgainst = {{{"original", false}, {"labels", true}}};

const Section<proto::Accuracy>& AccuracyRows() {
  static const Section<proto::Accuracy> rows = {
      {"metric",
       [](const Context& c, const YamlEntry& e, proto::Accuracy* accuracy) -> Result<> {
         TRY_ASSIGN(const std::string name, ReadText(c, e.value, "'metric'", "the name of an accuracy metric"));
         if (name == "auto") return {};
         const auto metric = RequireAccuracyMetric(name);
         if (!metric) return FailAt(c, e.value.place, metric.error());
         accuracy->set_metric(name);
         return {};
       }},
      {"output",
       [](const Context& c, const YamlEntry& e, proto::Accuracy* accuracy) -> Result<> {
         TRY_ASSIGN(*accuracy->mutable_output(), ReadText(c, e.value, "'output'", "the name of an output"));
         return {};
       }},
      {"against",
       [](const Context& c, const YamlEntry& e, proto::Accuracy* accuracy) -> Result<> {
         TRY_ASSIGN(const bool labels, ReadWord(c, e.value, "'against'", kAgainst));
         accuracy->set_against_labels(labels);
         return {};
       }},
  };
  return rows;
}

Result<> ReadAccuracy(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  proto::Accuracy* accuracy = recipe->mutable_accuracy();
  TRY(ReadSection(context, entry.value, "'accuracy'", AccuracyRows(), accuracy));
  *accuracy->mutable_position() = PositionOf(context, entry.place);
  const MetricInfo* metric = FindMetric(accuracy->metric());
  if (metric == nullptr) return {};
  const YamlEntry* against = FindEntry(entry.value, "against");
  if (against == nullptr) {
    accuracy->set_against_labels(metric->needs_labels);
  } else if (accuracy->against_labels() != metric->needs_labels) {
    return FailAt(context, against->value.place,
                  fmt::format("'{}' compares with {}", metric->name,
                              metric->needs_labels ? "labels" : "the original, not with labels"),
                  metric->needs_labels ? "Write 'against: labels', or the metric top1_agreement"
                                       : "Use top1, top5 or f1 against labels");
  }
  return {};
}

Result<const MetricInfo*> ReadMetric(const Context& context, YamlPlace place, const std::string& name) {
  auto metric = RequireMetric(name);
  if (!metric) return FailAt(context, place, metric.error());
  return *metric;
}

Result<> ReadObjective(const Context& context, const YamlEntry& entry, bool maximize, proto::Objective* objective) {
  TRY_ASSIGN(const std::string name, ReadText(context, entry.value, Quoted(entry.key), "the name of a metric"));
  TRY_ASSIGN(const MetricInfo* metric, ReadMetric(context, entry.value.place, name));
  if (LargerIsBetter(*metric, context.accuracy_metric) != maximize) {
    return FailAt(context, entry.place, fmt::format("'{}: {}' would look for the worst", entry.key, name),
                  fmt::format("Write '{}: {}'", maximize ? "minimize" : "maximize", name));
  }
  objective->set_metric(name);
  objective->set_maximize(maximize);
  return {};
}

const Section<proto::Objective>& ObjectiveRows() {
  static const Section<proto::Objective> rows = {
      {"minimize",
       [](const Context& c, const YamlEntry& e, proto::Objective* o) { return ReadObjective(c, e, false, o); }},
      {"maximize",
       [](const Context& c, const YamlEntry& e, proto::Objective* o) { return ReadObjective(c, e, true, o); }},
  };
  return rows;
}

Result<> ReadObjectives(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  const std::string wanted = "a list of {minimize: metric} or {maximize: metric}";
  TRY(CheckList(context, entry, wanted));
  std::set<std::string> seen;
  return ReadEach(context, entry.value.items, [&](const YamlNode& item) -> Result<> {
    if (item.kind != YamlNode::Kind::kMap)
      return WrongKind(context, item, "an item of 'objectives'", "{minimize: metric} or {maximize: metric}");
    proto::Objective* objective = recipe->add_objectives();
    TRY(ReadSection(context, item, "an item of 'objectives'", ObjectiveRows(), objective));
    if (item.entries.size() != 1)
      return FailAt(context, item.place, "an objective has one key, minimize or maximize",
                    "Write one list item an objective");
    if (!seen.insert(objective->metric()).second) {
      return FailAt(context, item.place, fmt::format("'{}' is an objective twice", objective->metric()));
    }
    *objective->mutable_position() = PositionOf(context, item.place);
    return {};
  });
}

const Section<proto::Constraint>& ConstraintRows() {
  static const Section<proto::Constraint> rows = {
      {"min",
       [](const Context& c, const YamlEntry& e, proto::Constraint* constraint) -> Result<> {
         TRY_ASSIGN(const double bound, ReadReal(c, e.value, "'min'"));
         constraint->set_minimum(bound);
         return {};
       }},
      {"max",
       [](const Context& c, const YamlEntry& e, proto::Constraint* constraint) -> Result<> {
         TRY_ASSIGN(const double bound, ReadReal(c, e.value, "'max'"));
         constraint->set_maximum(bound);
         return {};
       }},
  };
  return rows;
}

// Bounds that nothing or everything keeps are mistakes.
Result<> CheckBounds(const Context& context, const YamlEntry& entry, const MetricInfo& metric,
                     const proto::Constraint& constraint) {
  const YamlPlace place = entry.value.place;
  for (const auto& [given, bound] : {std::pair(constraint.has_minimum(), constraint.minimum()),
                                     std::pair(constraint.has_maximum(), constraint.maximum())}) {
    if (!given || (bound >= metric.least && bound <= metric.most)) continue;
    const std::string range = metric.most < 1e300 ? fmt::format("between {} and {}", metric.least, metric.most)
                                                  : fmt::format("at least {}", metric.least);
    return FailAt(context, place, fmt::format("the bound of '{}' must be {}, is {}", metric.name, range, bound));
  }
  if (constraint.has_minimum() && constraint.has_maximum() && constraint.minimum() > constraint.maximum()) {
    return FailAt(context, place,
                  fmt::format("'{}' has min {} above max {}", metric.name, constraint.minimum(), constraint.maximum()));
  }
  if (constraint.metric() == "accuracy_drop" && constraint.has_minimum()) {
    return FailAt(context, place, "'accuracy_drop' has a max alone", "Write 'accuracy_drop: 0.01'");
  }
  return {};
}

Result<> ReadConstraint(const Context& context, const YamlEntry& entry, proto::Constraint* constraint) {
  TRY_ASSIGN(const MetricInfo* metric, ReadMetric(context, entry.place, entry.key));
  constraint->set_metric(entry.key);
  *constraint->mutable_position() = PositionOf(context, entry.place);
  if (entry.value.kind == YamlNode::Kind::kScalar) {
    TRY_ASSIGN(const double bound, ReadReal(context, entry.value, fmt::format("the bound of '{}'", entry.key)));
    LargerIsBetter(*metric, context.accuracy_metric) ? constraint->set_minimum(bound) : constraint->set_maximum(bound);
  } else if (entry.value.kind == YamlNode::Kind::kMap) {
    TRY(ReadSection(context, entry.value, fmt::format("constraint '{}'", entry.key), ConstraintRows(), constraint));
    if (entry.value.entries.empty())
      return FailAt(context, entry.place, fmt::format("constraint '{}' has neither min nor max", entry.key));
  } else {
    return WrongKind(context, entry.value, fmt::format("constraint '{}'", entry.key),
                     "a number or a map with min and max");
  }
  return CheckBounds(context, entry, *metric, *constraint);
}

Result<> ReadConstraints(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  if (entry.value.kind != YamlNode::Kind::kMap) {
    return WrongKind(context, entry.value, "'constraints'", "a map of metrics to bounds like {accuracy_drop: 0.01}");
  }
  return ReadEach(context, entry.value.entries,
                  [&](const YamlEntry& item) { return ReadConstraint(context, item, recipe->add_constraints()); });
}

// --- targets ---------------------------------------------------------------------------------------------------

Result<> ReadTags(const Context& context, const YamlEntry& entry, proto::Target* target) {
  TRY(CheckList(context, entry, "a list of hardware tags"));
  std::set<std::string> tags;
  for (const YamlNode& item : entry.value.items) {
    TRY_ASSIGN(const std::string tag, ReadText(context, item, "an item of 'tags'", "a hardware tag"));
    const bool word = std::all_of(tag.begin(), tag.end(), [](unsigned char c) { return c > 0x20 && c != ','; });
    if (!word)
      return FailAt(context, item.place, fmt::format("the tag '{}' must not hold spaces or commas", Shown(tag)));
    if (!tags.insert(tag).second)
      return FailAt(context, item.place, fmt::format("the tag '{}' is given twice", Shown(tag)));
  }
  for (const std::string& tag : tags) target->add_tags(tag);
  return {};
}

const Section<proto::Target>& TargetRows() {
  static const Section<proto::Target> rows = {{"tags", ReadTags}};
  return rows;
}

Result<> ReadTargets(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  TRY(CheckList(context, entry, "a list of {tags: [...]}"));
  std::set<std::vector<std::string>> seen;
  return ReadEach(context, entry.value.items, [&](const YamlNode& item) -> Result<> {
    if (item.kind != YamlNode::Kind::kMap) return WrongKind(context, item, "an item of 'targets'", "{tags: [...]}");
    proto::Target* target = recipe->add_targets();
    TRY(ReadSection(context, item, "an item of 'targets'", TargetRows(), target));
    if (target->tags().empty()) return FailAt(context, item.place, "a target needs 'tags'");
    *target->mutable_position() = PositionOf(context, item.place);
    if (!seen.insert({target->tags().begin(), target->tags().end()}).second)
      return FailAt(context, item.place, "this target is given twice");
    return {};
  });
}

// --- parameters, passes, backends ------------------------------------------------------------------------------

using Values = google::protobuf::RepeatedPtrField<proto::Value>;

Result<> AddValues(const Context& context, const YamlNode& list, const std::string& what, Values* values) {
  for (const YamlNode& item : list.items) {
    TRY_ASSIGN(proto::Value value, ReadValue(context, item, "a value of " + what));
    const bool repeated =
        std::any_of(values->begin(), values->end(), [&](const proto::Value& other) { return Equal(other, value); });
    if (repeated)
      return FailAt(context, item.place, fmt::format("{} has the value '{}' twice", what, Shown(item.text)));
    *values->Add() = std::move(value);
  }
  return {};
}

Result<> ReadRange(const Context& context, const YamlEntry& entry, proto::Domain* domain) {
  const YamlNode& node = entry.value;
  if (node.kind != YamlNode::Kind::kList || node.items.size() != 2) {
    return FailAt(context, node.place,
                  fmt::format("'range' must be a list of two numbers [low, high], is {}",
                              node.kind == YamlNode::Kind::kList ? fmt::format("a list of {}", node.items.size())
                                                                 : KindOf(node)));
  }
  for (const YamlNode& item : node.items) TRY(ReadReal(context, item, "a bound in 'range'"));
  *domain->mutable_low() = ParseValue(node.items[0].text);
  *domain->mutable_high() = ParseValue(node.items[1].text);
  if (RealOf(domain->low()) > RealOf(domain->high())) {
    return FailAt(
        context, node.place,
        fmt::format("the range's low {} is above its high {}", ToText(domain->low()), ToText(domain->high())));
  }
  return {};
}

Result<> ReadWhen(const Context& context, const YamlEntry& entry, proto::Domain* domain) {
  if (entry.value.kind != YamlNode::Kind::kMap)
    return WrongKind(context, entry.value, "'when'", "a map of parameters to values");
  if (entry.value.entries.empty()) return FailAt(context, entry.place, "'when' names no parameter");
  for (const YamlEntry& item : entry.value.entries) {
    if (item.key.empty()) return FailAt(context, item.place, "a parameter name must not be empty");
    if (item.key == domain->name())
      return FailAt(context, item.place, fmt::format("'{}' cannot depend on itself", Shown(item.key)));
    proto::When* when = domain->add_when();
    when->set_parameter(item.key);
    const std::string what = fmt::format("condition '{}'", Shown(item.key));
    if (item.value.kind == YamlNode::Kind::kList) {
      TRY(CheckList(context, item, "a value or a list of values"));
      TRY(AddValues(context, item.value, what, when->mutable_values()));
    } else {
      TRY_ASSIGN(*when->add_values(), ReadValue(context, item.value, what));
    }
  }
  return {};
}

const Section<proto::Domain>& DomainRows() {
  static const Section<proto::Domain> rows = {
      {"range", ReadRange},
      {"step",
       [](const Context& c, const YamlEntry& e, proto::Domain* domain) -> Result<> {
         TRY_ASSIGN(const double step, ReadReal(c, e.value, "'step'"));
         if (!(step > 0)) return FailAt(c, e.value.place, fmt::format("'step' must be greater than 0, is {}", step));
         *domain->mutable_step() = ParseValue(e.value.text);
         return {};
       }},
      {"log",
       [](const Context& c, const YamlEntry& e, proto::Domain* domain) -> Result<> {
         TRY_ASSIGN(const bool log, ReadBool(c, e.value, "'log'"));
         domain->set_log(log);
         return {};
       }},
      {"choices",
       [](const Context& c, const YamlEntry& e, proto::Domain* domain) -> Result<> {
         TRY(CheckList(c, e, "a list of values"));
         return AddValues(c, e.value, Quoted(domain->name()), domain->mutable_choices());
       }},
      {"groups",
       [](const Context& c, const YamlEntry& e, proto::Domain* domain) -> Result<> {
         TRY_ASSIGN(const int64_t groups, ReadInteger(c, e.value, "'groups'", 1, 1000));
         domain->set_groups(static_cast<uint32_t>(groups));
         return {};
       }},
      {"when", ReadWhen},
  };
  return rows;
}

Result<> ReadDomainMap(const Context& context, const YamlEntry& entry, const std::string& what, proto::Domain* domain) {
  TRY(ReadSection(context, entry.value, what, DomainRows(), domain));
  const YamlEntry* range = FindEntry(entry.value, "range");
  const YamlEntry* choices = FindEntry(entry.value, "choices");
  const YamlEntry* step = FindEntry(entry.value, "step");
  const YamlEntry* log = FindEntry(entry.value, "log");
  if (range == nullptr && choices == nullptr) {
    return FailAt(context, entry.place, fmt::format("{} needs 'range' or 'choices'", what),
                  "Write a value, a list of values, {range: [low, high]} or {choices: [...]}");
  }
  if (range != nullptr && choices != nullptr)
    return FailAt(context, choices->place, "'range' and 'choices' exclude one another");
  const YamlEntry* groups = FindEntry(entry.value, "groups");
  if (groups != nullptr && choices == nullptr) {
    return FailAt(context, groups->place, "'groups' belongs to 'choices'",
                  "List the precisions that a group of layers may have, the most precise first");
  }
  for (const YamlEntry* of_range : {step, log}) {
    if (of_range != nullptr && range == nullptr)
      return FailAt(context, of_range->place, fmt::format("'{}' belongs to a 'range'", of_range->key));
  }
  if (domain->log() && step != nullptr)
    return FailAt(context, step->place, "'step' and 'log: true' exclude one another");
  if (domain->log() && RealOf(domain->low()) <= 0) {
    return FailAt(context, range->value.place,
                  fmt::format("a range with 'log: true' must begin above 0, begins at {}", ToText(domain->low())));
  }
  return {};
}

// owner: "pass 'fp16'", "backend 'openvino'".
Result<> ReadDomain(const Context& context, const YamlEntry& entry, const char* word, const std::string& owner,
                    proto::Domain* domain) {
  if (entry.key.empty()) return FailAt(context, entry.place, fmt::format("a {} of {} has an empty name", word, owner));
  const std::string what = fmt::format("{} '{}' of {}", word, Shown(entry.key), owner);
  domain->set_name(entry.key);
  *domain->mutable_position() = PositionOf(context, entry.place);
  switch (entry.value.kind) {
    case YamlNode::Kind::kNull:
      return FailAt(context, entry.place, what + " has no value", "Give it a value or leave it out");
    case YamlNode::Kind::kMap: return ReadDomainMap(context, entry, what, domain);
    case YamlNode::Kind::kList:
      if (entry.value.items.empty()) return FailAt(context, entry.place, what + " has an empty list of values");
      return AddValues(context, entry.value, what, domain->mutable_choices());
    case YamlNode::Kind::kScalar: break;
  }
  TRY_ASSIGN(*domain->add_choices(), ReadValue(context, entry.value, what));
  return {};
}

Result<> ReadDomains(const Context& context, const YamlEntry& entry, const char* word, const std::string& owner,
                     google::protobuf::RepeatedPtrField<proto::Domain>* domains) {
  if (entry.value.kind == YamlNode::Kind::kNull) return {};
  if (entry.value.kind != YamlNode::Kind::kMap) {
    return WrongKind(context, entry.value, fmt::format("what follows {}", owner),
                     fmt::format("a map of its {}s", word));
  }
  return ReadEach(context, entry.value.entries,
                  [&](const YamlEntry& item) { return ReadDomain(context, item, word, owner, domains->Add()); });
}

constexpr const char* kNone = "none";
constexpr const char* kChoose = "choose";

Result<> ReadPassName(const Context& context, const std::string& name, YamlPlace place, proto::PassChoice* choice) {
  if (name.empty()) return FailAt(context, place, "a pass name must not be empty");
  if (name.size() > kMaxTextBytes) return FailAt(context, place, "a pass name is too long");
  choice->set_pass(name);
  *choice->mutable_position() = PositionOf(context, place);
  return {};
}

// name, or {name: parameters}.
Result<> ReadPass(const Context& context, const YamlNode& node, const std::string& what, proto::PassChoice* choice) {
  if (node.kind == YamlNode::Kind::kScalar) return ReadPassName(context, node.text, node.place, choice);
  if (node.kind != YamlNode::Kind::kMap)
    return WrongKind(context, node, what, "the name of a pass or {name: {parameter: value}}");
  if (node.entries.empty()) return FailAt(context, node.place, what + " is an empty map, names no pass");
  if (node.entries.size() > 1) {
    return FailAt(
        context, node.entries[1].place,
        fmt::format("{} names two passes, '{}' and '{}'", what, Shown(node.entries[0].key), Shown(node.entries[1].key)),
        "Begin each pass with '- '; indent its parameters below its name");
  }
  const YamlEntry& entry = node.entries.front();
  TRY(ReadPassName(context, entry.key, entry.place, choice));
  const std::string owner = fmt::format("pass '{}'", Shown(entry.key));
  if (entry.value.kind == YamlNode::Kind::kList) {
    return FailAt(context, entry.place,
                  fmt::format("what follows {} must be a map of its parameters, is a list{}", owner,
                              DidYouMean(entry.key, {kChoose})));
  }
  return ReadDomains(context, entry, "parameter", owner, choice->mutable_parameters());
}

Result<> ReadOption(const Context& context, const YamlNode& node, proto::PassChoice* choice) {
  TRY(ReadPass(context, node, "an option of 'choose'", choice));
  if (choice->pass() == kChoose) return FailAt(context, node.place, "'choose' cannot stand inside 'choose'");
  if (choice->pass() != kNone) return {};
  if (!choice->parameters().empty()) return FailAt(context, node.place, "'none' has no parameters");
  choice->clear_pass();
  return {};
}

Result<> ReadStage(const Context& context, const YamlNode& node, proto::Stage* stage) {
  *stage->mutable_position() = PositionOf(context, node.place);
  const YamlEntry* choose = node.kind == YamlNode::Kind::kMap ? FindEntry(node, kChoose) : nullptr;
  if (choose == nullptr) {
    proto::PassChoice* choice = stage->add_options();
    TRY(ReadPass(context, node, "an item of 'passes'", choice));
    if (choice->pass() == kChoose) return FailAt(context, node.place, "'choose' needs a list of passes");
    if (choice->pass() == kNone)
      return FailAt(context, node.place, "'none' is allowed inside 'choose' only",
                    "Leave the pass out, or write 'choose: [none, ...]'");
    return {};
  }
  if (node.entries.size() > 1) {
    const YamlEntry& other = &node.entries[0] == choose ? node.entries[1] : node.entries[0];
    return FailAt(context, other.place, fmt::format("'choose' has {} beside it", Quoted(other.key)),
                  "Begin each pass with '- '");
  }
  if (choose->value.kind == YamlNode::Kind::kNull)
    return FailAt(context, choose->place, "'choose' needs a list of passes");
  TRY(CheckList(context, *choose, "a list of passes"));
  return ReadEach(context, choose->value.items,
                  [&](const YamlNode& item) { return ReadOption(context, item, stage->add_options()); });
}

Result<> ReadPasses(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  if (entry.value.kind != YamlNode::Kind::kList) return WrongKind(context, entry.value, "'passes'", "a list of passes");
  return ReadEach(context, entry.value.items,
                  [&](const YamlNode& item) { return ReadStage(context, item, recipe->add_passes()); });
}

Result<> ReadBackends(const Context& context, const YamlEntry& entry, proto::Recipe* recipe) {
  if (entry.value.kind != YamlNode::Kind::kMap)
    return WrongKind(context, entry.value, "'backends'", "a map of backends to their settings");
  if (entry.value.entries.empty())
    return FailAt(context, entry.place, "'backends' names no backend", "Leave the key out for every backend there is");
  return ReadEach(context, entry.value.entries, [&](const YamlEntry& item) -> Result<> {
    if (item.key.empty()) return FailAt(context, item.place, "a backend name must not be empty");
    proto::BackendChoice* choice = recipe->add_backends();
    choice->set_backend(item.key);
    *choice->mutable_position() = PositionOf(context, item.place);
    return ReadDomains(context, item, "setting", fmt::format("backend '{}'", Shown(item.key)),
                       choice->mutable_settings());
  });
}

// --- search, measure -------------------------------------------------------------------------------------------

constexpr std::array<std::pair<const char*, const char*>, 2> kOrders = {
    {{"joint", ""}, {"pass_by_pass", "pass_by_pass"}}};

const Section<proto::Search>& SearchRows() {
  static const Section<proto::Search> rows = {
      {"sampler",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(*search->mutable_sampler(), ReadText(c, e.value, "'sampler'", "the name of a sampler"));
         return {};
       }},
      {"trials",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const int64_t trials, ReadInteger(c, e.value, "'trials'", 1, kMaxTrials));
         search->set_trials(static_cast<uint32_t>(trials));
         return {};
       }},
      {"time",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const uint64_t ms, ReadMilliseconds(c, e.value, "'time'"));
         search->set_time_ms(ms);
         return {};
       }},
      {"seed",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const int64_t seed, ReadInteger(c, e.value, "'seed'", 0, std::numeric_limits<int64_t>::max()));
         search->set_seed(static_cast<uint64_t>(seed));
         return {};
       }},
      {"patience",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const int64_t trials, ReadInteger(c, e.value, "'patience'", 1, kMaxTrials));
         search->set_patience(static_cast<uint32_t>(trials));
         return {};
       }},
      {"machine_time",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const uint64_t ms, ReadMilliseconds(c, e.value, "'machine_time'"));
         search->set_machine_time_ms(ms);
         return {};
       }},
      {"goal",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         if (e.value.kind != YamlNode::Kind::kMap || e.value.entries.empty()) {
           return WrongKind(c, e.value, "'goal'", "a map of metrics to bounds like {speedup: {min: 2}}");
         }
         return ReadEach(c, e.value.entries,
                         [&](const YamlEntry& item) { return ReadConstraint(c, item, search->add_goal()); });
       }},
      {"warm_start",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const bool warm, ReadBool(c, e.value, "'warm_start'"));
         search->set_cold(!warm);
         return {};
       }},
      {"order",
       [](const Context& c, const YamlEntry& e, proto::Search* search) -> Result<> {
         TRY_ASSIGN(const char* order, ReadWord(c, e.value, "'order'", kOrders));
         search->set_order(order);
         return {};
       }},
  };
  return rows;
}

const Section<proto::Measure>& MeasureRows() {
  static const Section<proto::Measure> rows = {
      {"pairs",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const int64_t pairs, ReadInteger(c, e.value, "'pairs'", 1, kMaxPairs));
         measure->set_pairs(static_cast<uint32_t>(pairs));
         return {};
       }},
      {"final_pairs",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const int64_t pairs, ReadInteger(c, e.value, "'final_pairs'", 1, kMaxPairs));
         measure->set_final_pairs(static_cast<uint32_t>(pairs));
         return {};
       }},
      {"finalists",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const int64_t finalists, ReadInteger(c, e.value, "'finalists'", 1, kMaxFinalists));
         measure->set_finalists(static_cast<uint32_t>(finalists));
         return {};
       }},
      {"trial_timeout",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const uint64_t ms, ReadMilliseconds(c, e.value, "'trial_timeout'"));
         measure->set_trial_timeout_ms(ms);
         return {};
       }},
      {"reuse",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const bool reuse, ReadBool(c, e.value, "'reuse'"));
         measure->set_fresh(!reuse);
         return {};
       }},
      {"memory",
       [](const Context& c, const YamlEntry& e, proto::Measure* measure) -> Result<> {
         TRY_ASSIGN(const uint64_t bytes, ReadBytes(c, e.value, "'memory'"));
         measure->set_memory_bytes(bytes);
         return {};
       }},
  };
  return rows;
}

// --- the recipe ------------------------------------------------------------------------------------------------

constexpr std::array<std::pair<const char*, bool>, 2> kWhenUnavailable = {{{"error", false}, {"skip", true}}};
constexpr std::array<std::pair<const char*, size_t>, kSandboxLevels.size()> kSandboxWords = {
    {{kSandboxLevels[0].data(), 0}, {kSandboxLevels[1].data(), 1}, {kSandboxLevels[2].data(), 2}}};

const Section<proto::Recipe>& RecipeRows() {
  static const Section<proto::Recipe> rows = {
      {"model",
       [](const Context& c, const YamlEntry& e, proto::Recipe* recipe) -> Result<> {
         TRY_ASSIGN(*recipe->mutable_model(), ReadText(c, e.value, "'model'", "the path of a model"));
         return {};
       }},
      {"inputs", ReadInputs},
      {"data", [](const Context& c, const YamlEntry& e,
                  proto::Recipe* recipe) { return ReadSection(c, e.value, "'data'", DataRows(), recipe); }},
      {"accuracy", ReadAccuracy},
      {"objectives", ReadObjectives},
      {"constraints", ReadConstraints},
      {"targets", ReadTargets},
      {"passes", ReadPasses},
      {"backends", ReadBackends},
      {"search",
       [](const Context& c, const YamlEntry& e, proto::Recipe* recipe) -> Result<> {
         *recipe->mutable_search()->mutable_position() = PositionOf(c, e.place);
         return ReadSection(c, e.value, "'search'", SearchRows(), recipe->mutable_search());
       }},
      {"measure",
       [](const Context& c, const YamlEntry& e, proto::Recipe* recipe) -> Result<> {
         *recipe->mutable_measure()->mutable_position() = PositionOf(c, e.place);
         return ReadSection(c, e.value, "'measure'", MeasureRows(), recipe->mutable_measure());
       }},
      {"when_unavailable",
       [](const Context& c, const YamlEntry& e, proto::Recipe* recipe) -> Result<> {
         TRY_ASSIGN(const bool skip, ReadWord(c, e.value, "'when_unavailable'", kWhenUnavailable));
         recipe->set_skip_unavailable(skip);
         return {};
       }},
      {"sandbox",
       [](const Context& c, const YamlEntry& e, proto::Recipe* recipe) -> Result<> {
         TRY_ASSIGN(const size_t level, ReadWord(c, e.value, "'sandbox'", kSandboxWords));
         recipe->set_sandbox(std::string(kSandboxLevels[level]));
         return {};
       }},
  };
  return rows;
}

// The name given as accuracy.metric; its own reader tells what is wrong with it.
std::string AccuracyMetricIn(const YamlNode& root) {
  const YamlEntry* accuracy = FindEntry(root, "accuracy");
  const YamlEntry* metric = accuracy == nullptr ? nullptr : FindEntry(accuracy->value, "metric");
  return metric == nullptr ? "" : metric->value.text;
}

void AddDefaults(proto::Recipe* recipe) {
  if (recipe->objectives().empty()) recipe->add_objectives()->set_metric("latency_ms_p50");
  if (recipe->targets().empty()) recipe->add_targets()->add_tags("cpu");
  if (recipe->search().sampler().empty()) recipe->mutable_search()->set_sampler("auto");
}

std::string BaseName(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

template <class Message>
void AddKeys(const char* section, const Section<Message>& rows, std::vector<RecipeKey>& keys) {
  for (const KeyRow<Message>& row : rows) keys.push_back({section, row.key});
}

std::vector<RecipeKey> AllKeys() {
  std::vector<RecipeKey> keys;
  AddKeys("recipe", RecipeRows(), keys);
  AddKeys("data", DataRows(), keys);
  AddKeys("data range", DataRangeRows(), keys);
  AddKeys("preprocess", PreprocessRows(), keys);
  AddKeys("accuracy", AccuracyRows(), keys);
  AddKeys("objective", ObjectiveRows(), keys);
  AddKeys("constraint", ConstraintRows(), keys);
  AddKeys("target", TargetRows(), keys);
  keys.push_back({"stage", kChoose});
  AddKeys("parameter", DomainRows(), keys);
  AddKeys("search", SearchRows(), keys);
  AddKeys("measure", MeasureRows(), keys);
  return keys;
}

}  // namespace

Result<proto::Recipe> ParseRecipe(std::string_view yaml, const std::string& file_name, Mistakes* others) {
  Mistakes found;
  Mistakes* const mistakes = others == nullptr ? nullptr : &found;
  const Result<YamlNode> root = ParseYamlTree(yaml, file_name, "recipe", mistakes);
  if (!root) {
    if (others != nullptr) *others = std::move(found);
    return Fail(root.error());
  }
  const Context context{file_name, AccuracyMetricIn(*root), mistakes};
  proto::Recipe recipe;
  const Result<> read = ReadSection(context, *root, "the recipe", RecipeRows(), &recipe);
  if (!read && found.count() == 0) return Fail(read.error());
  if (found.count() > 0) {
    Error first = std::move(found.errors.front());
    found.errors.erase(found.errors.begin());
    *others = std::move(found);
    return Fail(std::move(first));
  }
  AddDefaults(&recipe);
  recipe.set_name(BaseName(file_name));
  return recipe;
}

const std::vector<RecipeKey>& RecipeKeys() {
  static const std::vector<RecipeKey> keys = AllKeys();
  return keys;
}

}  // namespace hone
