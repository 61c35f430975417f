// The parts of the Olive importer: tables of passes, surgeons and providers, and what reads systems, data and
// evaluators.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "client/importers/draft.h"

namespace hone::importers {

// --- passes (olive_passes.cc) --------------------------------------------------------------------

// Every pass of Olive that there is or was; one row each.
const std::vector<PassRow>& OlivePasses();
// By its name in any case, or an older name of it; nullptr if there is none.
const PassRow* FindOlivePass(const std::string& type);
// What every pass may have beside its own parameters.
const std::vector<const ParameterRules*>& OliveCommonRules();

// --- graph surgeries (olive_surgeons.cc) ---------------------------------------------------------

const ParameterRules& SurgeryRules();
std::vector<std::string> SurgeonNames();

// --- execution providers (olive_systems.cc) ------------------------------------------------------

struct ProviderRow {
  const char* name;     // Olive's.
  const char* backend;  // hone's.
  const char* tag;      // Of a worker that has it; "." at the end takes the device.
  const char* devices;  // That Olive lets it run on, the usual one first.
};
const std::vector<ProviderRow>& Providers();
const ProviderRow* FindProvider(const std::string& name);
// The tag of a worker that runs the provider on the device ("" for the usual one): cpu, openvino.gpu, ort.cuda.
std::string TagFor(const ProviderRow& provider, const std::string& device);

// --- the whole (olive.cc) ------------------------------------------------------------------------

// What the parts of a configuration refer to by name, and what was referred to.
struct Olive {
  Import& import;
  Ledger& ledger;
  std::map<std::string, const ConfigNode*> data_configs = {};
  std::map<std::string, const ConfigNode*> evaluators = {};
  std::map<std::string, const ConfigNode*> systems = {};
  std::map<std::string, const ConfigNode*> metrics = {};  // Of a list at the top, which evaluators name.
  std::set<std::string> used_data = {};
  const ConfigNode* target = nullptr;  // A name or the system itself.
  const ConfigNode* host = nullptr;
  const ConfigNode* evaluator = nullptr;
  const ConfigNode* passes = nullptr;
  const ConfigNode* pass_flows = nullptr;
  const ConfigNode* input_model = nullptr;
  const ConfigNode* providers = nullptr;  // engine.execution_providers, until 0.5.
  const ConfigNode* search = nullptr;
  std::set<std::string> openvino_devices = {};
  bool stop_at_goals = false;
  bool stops_at_first = false;  // No search: only the first of several alternatives counts.
  std::set<Level> levels = {};
};

// Every key that the importer knows beside the parameters of passes; for tests, which look that their configurations
// have them all.
std::vector<std::string> OliveKeys();
void AddSystemKeys(std::vector<std::string>& keys);
void AddMetricKeys(std::vector<std::string>& keys);

// Systems to targets and backends.
Result<> ImportSystems(Olive& olive);
// session_options and their like to settings of ONNX Runtime.
Result<> ImportInferenceSettings(Import& import, const ConfigNode& settings);

// A data config by name, or in place as older configurations have it; the path hone reads instead is put into `range`.
Result<> ImportDataReference(Olive& olive, const ConfigNode& reference, proto::DataRange& range);
// Tells what became of the data configs, once everything that refers to them was read.
void CloseData(Olive& olive);

// The evaluator of the engine to objectives, constraints and accuracy.
Result<> ImportEvaluator(Olive& olive);

}  // namespace hone::importers
