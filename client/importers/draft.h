// What the importers' tables are made of: a pass of another tool is a row with a rule for each of its parameters, and a
// draft is what the rules fill in for one place of the pipeline.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/importers/import.h"
#include "client/importers/section.h"

namespace hone::importers {

// All that one import works on.
struct Import {
  explicit Import(const ConfigNode& root, const ImportOptions& the_options) : ledger(root), options(the_options) {}

  Ledger ledger;
  const ImportOptions& options;
  proto::Recipe recipe;
  bool searching = false;  // Parameters that are not given are searched over.
  // How the model is made of a checkpoint, where one was named; the first stage, whatever stands before the export.
  std::optional<proto::PassChoice> build;
  std::vector<std::string> to_give;
  // Takes a reference to calibration data and tells the ledger; empty where the tool has no such references.
  std::function<Result<>(const ConfigNode& reference)> take_data;
  // Sizes of inputs that have a name: "batch_size" -> {{"input_ids", 0}}. From the configuration or the model.
  std::map<std::string, std::vector<std::pair<std::string, int>>> named_dimensions;

  // A note for the person, once.
  void Give(const std::string& what);
  // Pins one dimension of an input; the ones before it stay free.
  void Pin(const std::string& input, size_t dimension, int64_t size);
  // Whether a pass that changes weights or shapes stands in the pipeline already.
  bool HasWork() const;
  // The last stage that stores weights in few bits; nullptr where there is none.
  proto::Stage* WeightStage();
  // Appends a stage; one that repeats the stage before it is left out.
  void AddStage(const std::vector<proto::PassChoice>& options);
  // Sets a setting of a backend, which joins the recipe.
  void SetBackend(const std::string& backend, const std::string& setting, const std::vector<proto::Value>& values);
  // A target, once.
  void AddTarget(const std::vector<std::string>& tags);
  // The path of calibration data that the person makes; the first one stays. `samples` 0: all.
  void Calibrate(const std::string& path, uint64_t samples);
  Imported Finish();

 private:
  void SettleBackends();
};

// Gives a parameter one value, in place of what it had.
void SetChoice(proto::PassChoice& choice, const std::string& parameter, const proto::Value& value);

// One way to do a pass: hone's passes in order.
struct Alternative {
  std::vector<proto::PassChoice> before;  // Structural passes that make ready.
  std::optional<proto::PassChoice> main;
  std::vector<proto::PassChoice> after;
};

struct PassRow;
struct ParameterRule;

class Draft {
 public:
  Draft(Import& owner, const PassRow& the_row, bool search)
      : import(owner), ledger(owner.ledger), row(the_row), searching(search) {}

  Import& import;
  Ledger& ledger;
  const PassRow& row;
  bool searching;
  std::string pass;  // hone's; the row's unless a rule chose another.
  std::vector<proto::PassChoice> before, after;
  std::map<std::string, const ConfigNode*> given;
  std::set<std::string> searched;  // Parameters whose values are asked for by a magic word.

  void Set(const std::string& parameter, std::vector<proto::Value> values);
  void Set(const std::string& parameter, proto::Value value) {
    Set(parameter, std::vector<proto::Value>{std::move(value)});
  }
  void SetIfAbsent(const std::string& parameter, proto::Value value);
  bool Has(const std::string& parameter) const { return parameters_.contains(parameter); }
  // The only value; nullopt where there are none or several.
  std::optional<proto::Value> Get(const std::string& parameter) const;
  const std::vector<proto::Value>* Values(const std::string& parameter) const;
  void Forget(const std::string& parameter) { parameters_.erase(parameter); }
  // Nodes to leave in float, by their names or by expressions for whole names.
  void ExcludeNames(const std::vector<std::string>& names);
  void ExcludePattern(const std::string& pattern) { excluded_.push_back(pattern); }
  // Hone's pass with what was set.
  Result<proto::PassChoice> Choice() const;

 private:
  std::map<std::string, std::vector<proto::Value>> parameters_;
  std::vector<std::string> names_;
  std::vector<std::string> excluded_;
};

struct ParameterRule {
  const char* key;
  // Takes the value into the draft and tells the ledger.
  Result<> (*take)(Draft& draft, const ConfigNode& value, const ParameterRule& rule);
  const char* to = "";    // Hone's parameter.
  const char* text = "";  // For the ledger.
};
using ParameterRules = std::vector<ParameterRule>;

// A hone parameter whose default is another than the tool's.
struct Default {
  const char* parameter;
  const char* value;  // As YAML writes it.
};

// What is searched over where the tool searches over parameters that are not given.
struct SearchDefault {
  const char* key;  // The tool's parameter.
  const char* parameter;
  const char* values;  // "true,false", as YAML writes them.
};

// What a pass needs.
enum class Level {
  onnx,        // Rewrites an ONNX file.
  conversion,  // Makes the ONNX file from a checkpoint, which is done before hone.
  openvino,    // Makes OpenVINO IR.
  provider,    // Compiles for one execution provider's device.
  python,      // Works on a PyTorch model, or is a vendor's Python.
};

struct PassRow {
  const char* name;  // The tool's.
  Level level;
  const char* pass;  // Hone's; "" where none takes its place.
  Fate fate;         // Of the pass itself.
  const char* text;
  const std::vector<const ParameterRules*> tables = {};  // None: every parameter has the pass's fate.
  std::vector<Default> defaults = {};
  std::vector<SearchDefault> search = {};
  Result<> (*finish)(Draft& draft) = nullptr;
};

// Applies the row's rules to the section's fields but `skip`, then defaults and finish. `known_elsewhere` are keys that
// every pass has.
Result<Alternative> DraftPass(Import& import, const PassRow& row, const Section& section, const ConfigNode* type,
                              const std::vector<const ParameterRules*>& common, bool searching);

// --- rules ---------------------------------------------------------------------------------------

struct Converted {
  proto::Value value;
  std::string changed = {};  // Why the value is not the same; "" where it is.
};

// Whether the value is a list of values to try, and which: a list, or an object of type SearchParameter.
std::vector<const ConfigNode*> ValuesOf(const ConfigNode& node);

using Convert = Result<Converted> (*)(const ConfigNode& node);
Result<> TakeEach(Draft& draft, const ConfigNode& node, const ParameterRule& rule, Convert convert);
template <Convert convert>
Result<> Take(Draft& draft, const ConfigNode& node, const ParameterRule& rule) {
  return TakeEach(draft, node, rule, convert);
}
Result<Converted> ToBool(const ConfigNode& node);
Result<Converted> ToInt(const ConfigNode& node);
Result<Converted> ToReal(const ConfigNode& node);
Result<Converted> ToOpposite(const ConfigNode& node);    // Of a truth value.
Result<Converted> ToGroupSize(const ConfigNode& node);   // The nearest that MatMulNBits has.
Result<Converted> ToWeightType(const ConfigNode& node);  // int8, uint8
Result<Converted> ToActivationType(const ConfigNode& node);
Result<Converted> ToObserver(const ConfigNode& node);  // MinMax, Entropy, Percentile

// One of some words, in any case; what is not among them is impossible and tells `otherwise`.
struct Word {
  const char* from;
  const char* to;
  const char* changed = "";
};
Result<Converted> ToWord(const ConfigNode& node, const std::vector<Word>& words);

constexpr auto AsBool = Take<ToBool>;
constexpr auto AsInt = Take<ToInt>;
constexpr auto AsReal = Take<ToReal>;
constexpr auto AsOpposite = Take<ToOpposite>;
constexpr auto AsGroupSize = Take<ToGroupSize>;
constexpr auto AsWeightType = Take<ToWeightType>;
constexpr auto AsActivationType = Take<ToActivationType>;
constexpr auto AsObserver = Take<ToObserver>;

Result<> Ignore(Draft& draft, const ConfigNode& node, const ParameterRule& rule);  // The rule's text tells why.
Result<> IgnoreBool(Draft& draft, const ConfigNode& node,
                    const ParameterRule& rule);  // The same of a truth value; else kRejected.
Result<> Change(Draft& draft, const ConfigNode& node, const ParameterRule& rule);
// Impossible, but where the value is null, false, 0 or empty: then nothing was asked for.
Result<> Refuse(Draft& draft, const ConfigNode& node, const ParameterRule& rule);
Result<> AsExcluded(Draft& draft, const ConfigNode& node, const ParameterRule& rule);  // Names of nodes.
Result<> AsExcludedPatterns(Draft& draft, const ConfigNode& node, const ParameterRule& rule);
Result<> AsIncluded(Draft& draft, const ConfigNode& node,
                    const ParameterRule& rule);  // The only nodes: all others are excluded.
Result<> AsTypes(Draft& draft, const ConfigNode& node,
                 const ParameterRule& rule);  // Operator types, into a list with commas.

// Applies the tables' rules to the entries of a map that is the value of a parameter.
Result<> TakeMap(Draft& draft, const ConfigNode& node, const std::vector<const ParameterRules*>& tables);
// The largest loss of accuracy, as a constraint.
Result<> AsMaxDrop(Draft& draft, const ConfigNode& node, const ParameterRule& rule);

// Whether null, false, 0, "" or empty.
bool IsOff(const ConfigNode& node);

// --- ONNX Runtime's quantizer, which several tools hand parameters through to --------------------

const ParameterRules& QuantizerRules();  // quantize_static's and quantize_dynamic's own.
Result<> AsExtraOptions(Draft& draft, const ConfigNode& node, const ParameterRule& rule);
// What the values of static_int8 cannot be together, put right and told.
Result<> FinishStatic(Draft& draft);
Result<> FinishDynamic(Draft& draft);

}  // namespace hone::importers
