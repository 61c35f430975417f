#include "client/nightly/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/yaml_reader.h"

namespace hone {
namespace {

using namespace yaml;

constexpr size_t kMostItems = 1000;
constexpr int64_t kMostPairs = 10'000;
constexpr size_t kMaxNameBytes = 100;

constexpr const char* kDefaultMetrics[] = {"latency_ms_p50", "memory_bytes", "size_bytes", "accuracy_drop"};

std::vector<std::string> MetricNames() {
  std::vector<std::string> names;
  for (const NightMetric& metric : NightMetrics()) names.emplace_back(metric.name);
  return names;
}

// Names stand in reports, files and shells.
Result<std::string> ReadName(const Context& c, const YamlEntry& e) {
  TRY_ASSIGN(std::string name, ReadText(c, e.value, Quoted(e.key)));
  const bool plain =
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == std::string::npos;
  if (plain && name.size() <= kMaxNameBytes) return name;
  return FailAt(c, e.value.place,
                fmt::format("{} may have letters, digits, '.', '_' and '-', at most {}, is {}", Quoted(e.key),
                            kMaxNameBytes, Quoted(name)));
}

Result<std::vector<std::string>> ReadTexts(const Context& c, const YamlEntry& e) {
  TRY(CheckList(c, e, "a list of texts"));
  std::vector<std::string> texts;
  for (const YamlNode& item : e.value.items) {
    TRY_ASSIGN(std::string text, ReadText(c, item, fmt::format("an item of {}", Quoted(e.key))));
    texts.push_back(std::move(text));
  }
  return texts;
}

template <class Item>
Result<> ReadItems(const Context& c, const YamlEntry& e, const char* what, const Section<Item>& rows,
                   std::vector<Item>* items) {
  TRY(CheckList(c, e, fmt::format("a list of {}s", what)));
  if (e.value.items.size() > kMostItems)
    return FailAt(c, e.place, fmt::format("at most {} {}s are taken", kMostItems, what));
  std::set<std::string> names;
  for (const YamlNode& node : e.value.items) {
    Item item;
    TRY(ReadSection(c, node, fmt::format("a {}", what), rows, &item));
    if (item.name.empty()) return FailAt(c, node.place, fmt::format("a {} needs a 'name'", what));
    if (!names.insert(item.name).second)
      return FailAt(c, node.place, fmt::format("a second {} is named {}", what, Quoted(item.name)));
    items->push_back(std::move(item));
  }
  return {};
}

const Section<SuiteModel>& ModelRows() {
  static const Section<SuiteModel> rows = {
      {"name",
       [](const Context& c, const YamlEntry& e, SuiteModel* m) -> Result<> {
         TRY_ASSIGN(m->name, ReadName(c, e));
         return {};
       }},
      {"model",
       [](const Context& c, const YamlEntry& e, SuiteModel* m) -> Result<> {
         TRY_ASSIGN(m->model, ReadText(c, e.value, "'model'", "a path"));
         return {};
       }},
      {"recipe",
       [](const Context& c, const YamlEntry& e, SuiteModel* m) -> Result<> {
         TRY_ASSIGN(m->recipe, ReadText(c, e.value, "'recipe'", "a path"));
         return {};
       }},
      {"backend",
       [](const Context& c, const YamlEntry& e, SuiteModel* m) -> Result<> {
         TRY_ASSIGN(m->backend, ReadName(c, e));
         return {};
       }},
      {"targets",
       [](const Context& c, const YamlEntry& e, SuiteModel* m) -> Result<> {
         TRY_ASSIGN(m->targets, ReadTexts(c, e));
         return {};
       }},
  };
  return rows;
}

const Section<SuiteTarget>& TargetRows() {
  static const Section<SuiteTarget> rows = {
      {"name",
       [](const Context& c, const YamlEntry& e, SuiteTarget* t) -> Result<> {
         TRY_ASSIGN(t->name, ReadName(c, e));
         return {};
       }},
      {"tags",
       [](const Context& c, const YamlEntry& e, SuiteTarget* t) -> Result<> {
         TRY_ASSIGN(t->tags, ReadTexts(c, e));
         std::sort(t->tags.begin(), t->tags.end());
         t->tags.erase(std::unique(t->tags.begin(), t->tags.end()), t->tags.end());
         return {};
       }},
  };
  return rows;
}

// "2%" or 0.02.
Result<double> ReadThreshold(const Context& c, const YamlNode& node, const std::string& what) {
  TRY_ASSIGN(const std::string text, ReadText(c, node, what, "a share like 2% or 0.02"));
  const bool percent = text.back() == '%';
  const auto number = ParseReal(percent ? std::string_view(text).substr(0, text.size() - 1) : text);
  const double share = number ? *number / (percent ? 100 : 1) : -1;
  if (share > 0 && share <= 10) return share;
  return FailAt(c, node.place, fmt::format("{} must be a share above 0 like 2% or 0.02, is {}", what, Quoted(text)));
}

// latency_ms_p50: 2%   or   [latency_ms_p50, size_bytes]
Result<> ReadMetrics(const Context& c, const YamlEntry& e, Suite* suite) {
  const auto add = [&](YamlPlace place, const std::string& name, const YamlNode* threshold) -> Result<> {
    const NightMetric* metric = FindNightMetric(name);
    if (metric == nullptr) {
      return FailAt(c, place, fmt::format("unknown metric {}{}", Quoted(name), DidYouMean(name, MetricNames())),
                    "Known here are " + Join(MetricNames(), ", "));
    }
    for (const SuiteMetric& other : suite->metrics) {
      if (other.metric == metric) return FailAt(c, place, fmt::format("{} stands there twice", Quoted(name)));
    }
    SuiteMetric row{metric, metric->threshold};
    if (threshold != nullptr && threshold->kind != YamlNode::Kind::kNull) {
      TRY_ASSIGN(row.threshold, ReadThreshold(c, *threshold, Quoted(name)));
    }
    suite->metrics.push_back(row);
    return {};
  };
  if (e.value.kind == YamlNode::Kind::kMap) {
    for (const YamlEntry& entry : e.value.entries) TRY(add(entry.place, entry.key, &entry.value));
    return {};
  }
  TRY(CheckList(c, e, "a map of metrics to thresholds, or a list of metrics"));
  for (const YamlNode& item : e.value.items) {
    TRY_ASSIGN(const std::string name, ReadText(c, item, "a metric"));
    TRY(add(item.place, name, nullptr));
  }
  return {};
}

Result<> ReadCount(const Context& c, const YamlEntry& e, uint32_t* count) {
  TRY_ASSIGN(const int64_t number, ReadInteger(c, e.value, Quoted(e.key), 1, kMostPairs));
  *count = static_cast<uint32_t>(number);
  return {};
}

const Section<Suite>& MeasureRows() {
  static const Section<Suite> rows = {
      {"pairs", [](const Context& c, const YamlEntry& e, Suite* s) { return ReadCount(c, e, &s->pairs); }},
      {"most_pairs", [](const Context& c, const YamlEntry& e, Suite* s) { return ReadCount(c, e, &s->most_pairs); }},
      {"blocks", [](const Context& c, const YamlEntry& e, Suite* s) { return ReadCount(c, e, &s->blocks); }},
      {"q",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->q, ReadThreshold(c, e.value, "'q'"));
         return {};
       }},
      {"stolen",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->stolen, ReadThreshold(c, e.value, "'stolen'"));
         return {};
       }},
      {"timeout",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->timeout_ms, ReadMilliseconds(c, e.value, "'timeout'"));
         return {};
       }},
  };
  return rows;
}

Result<> ReadWebhook(const Context& c, const YamlEntry& e, Suite* s) {
  TRY_ASSIGN(s->webhook, ReadText(c, e.value, "'webhook'", "an address"));
  if (s->webhook.starts_with("http://") || s->webhook.starts_with("https://")) return {};
  return FailAt(c, e.value.place,
                fmt::format("'webhook' must begin with http:// or https://, is {}", Quoted(s->webhook)));
}

const Section<Suite>& NotifyRows() {
  static const Section<Suite> rows = {
      {"command",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->command, ReadTexts(c, e));
         return {};
       }},
      {"webhook", ReadWebhook},
  };
  return rows;
}

const Section<Suite>& SuiteRows() {
  static const Section<Suite> rows = {
      {"name",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->name, ReadName(c, e));
         return {};
       }},
      {"models", [](const Context& c, const YamlEntry& e,
                    Suite* s) { return ReadItems(c, e, "model", ModelRows(), &s->models); }},
      {"targets", [](const Context& c, const YamlEntry& e,
                     Suite* s) { return ReadItems(c, e, "target", TargetRows(), &s->targets); }},
      {"metrics", ReadMetrics},
      {"measure", [](const Context& c, const YamlEntry& e,
                     Suite* s) { return ReadSection(c, e.value, "'measure'", MeasureRows(), s); }},
      {"keep_samples",
       [](const Context& c, const YamlEntry& e, Suite* s) -> Result<> {
         TRY_ASSIGN(s->keep_samples_ms, ReadMilliseconds(c, e.value, "'keep_samples'"));
         return {};
       }},
      {"notify", [](const Context& c, const YamlEntry& e,
                    Suite* s) { return ReadSection(c, e.value, "'notify'", NotifyRows(), s); }},
  };
  return rows;
}

// What no single key can be wrong about.
Result<> CheckWhole(const Context& c, const YamlNode& root, const Suite& suite) {
  if (suite.models.empty()) return FailAt(c, root.place, "a suite needs 'models'");
  if (suite.most_pairs < suite.pairs)
    return FailAt(c, root.place, "measure.most_pairs must not be below measure.pairs");
  std::vector<std::string> targets;
  for (const SuiteTarget& target : suite.targets) targets.push_back(target.name);
  const YamlEntry* models = FindEntry(root, "models");
  for (size_t i = 0; i < suite.models.size(); ++i) {
    const SuiteModel& model = suite.models[i];
    const YamlPlace place = models->value.items[i].place;
    if (model.model.empty())
      return FailAt(c, place, fmt::format("the model {} needs 'model', its file", Quoted(model.name)));
    if (!model.recipe.empty() && !model.backend.empty()) {
      return FailAt(
          c, place,
          fmt::format("the model {} has a recipe, which names its backends; 'backend' is for models without one",
                      Quoted(model.name)));
    }
    for (const std::string& name : model.targets) {
      if (std::find(targets.begin(), targets.end(), name) != targets.end()) continue;
      return FailAt(c, place, fmt::format("there is no target {}{}", Quoted(name), DidYouMean(name, targets)));
    }
  }
  return {};
}

}  // namespace

const std::vector<NightMetric>& NightMetrics() {
  static const std::vector<NightMetric> rows = {
      {"latency_ms_p50", Better::lower, false, false, 0.02},    {"latency_ms_p90", Better::lower, false, false, 0.05},
      {"throughput_per_s", Better::higher, false, false, 0.03}, {"memory_bytes", Better::lower, false, false, 0.03},
      {"load_ms", Better::lower, false, false, 0.10},           {"size_bytes", Better::lower, true, false, 0.01},
      {"accuracy_drop", Better::lower, true, true, 0.01},
  };
  return rows;
}

const NightMetric* FindNightMetric(std::string_view name) {
  for (const NightMetric& metric : NightMetrics()) {
    if (name == metric.name) return &metric;
  }
  return nullptr;
}

std::vector<const SuiteTarget*> Suite::TargetsOf(const SuiteModel& model) const {
  std::vector<const SuiteTarget*> found;
  for (const SuiteTarget& target : targets) {
    const bool wanted = model.targets.empty() ||
                        std::find(model.targets.begin(), model.targets.end(), target.name) != model.targets.end();
    if (wanted) found.push_back(&target);
  }
  return found;
}

Result<Suite> ParseSuite(std::string_view yaml, const std::filesystem::path& file) {
  TRY_ASSIGN(const YamlNode root, ParseYamlTree(yaml, file.string()));
  const Context context{file.string()};
  Suite suite;
  suite.file = file;
  suite.name = file.stem().string();
  TRY(ReadSection(context, root, "the suite", SuiteRows(), &suite));
  TRY(CheckWhole(context, root, suite));
  if (suite.targets.empty()) suite.targets.push_back({"any", {}});
  for (const char* name : kDefaultMetrics) {
    if (suite.metrics.size() >= std::size(kDefaultMetrics) || FindEntry(root, "metrics") != nullptr) break;
    suite.metrics.push_back({FindNightMetric(name), FindNightMetric(name)->threshold});
  }
  return suite;
}

Result<Suite> ReadSuite(const std::filesystem::path& file) {
  Result<std::string> text = ReadFile(file, kMaxYamlBytes);
  if (!text) {
    Error error = std::move(text.error());
    if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kRejected;
    return FailWith("suite " + Printable(file.string()), std::move(error));
  }
  return ParseSuite(*text, file);
}

}  // namespace hone
