// Olive's data configs. They are Python: what hone takes from them is a name and a number of samples, and the person
// makes NAME.npz once.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"

namespace hone::importers {
namespace {

// Numbers of samples, wherever a component has them.
constexpr const char* kCounts[] = {"max_samples", "num_samples", "length", "data_num", "num_data", "samples"};
constexpr const char* kParts[] = {"load_dataset_config", "pre_process_data_config", "post_process_data_config",
                                  "dataloader_config", "params_config"};

std::string FileFor(const std::string& name) {
  std::string file;
  for (const char c : name) file += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' ? c : '_';
  return (file.empty() ? "data" : file.substr(0, 60)) + ".npz";
}

// 0 where no part tells; the ledger is told of the one that does.
uint64_t SamplesOf(Olive& olive, const ConfigNode& config) {
  std::vector<const ConfigNode*> places = {&config};
  for (const char* part : kParts) {
    const ConfigNode* node = config.Find(part);
    if (node == nullptr || !node->IsMap()) continue;
    places.push_back(node);
    for (const char* inner : {"params", "kwargs"}) {
      if (node->Find(inner) != nullptr && node->Find(inner)->IsMap()) places.push_back(node->Find(inner));
    }
  }
  for (const ConfigNode* place : places) {
    for (const char* key : kCounts) {
      const ConfigNode* count = place->Find(key);
      if (count == nullptr) continue;
      const Result<int64_t> samples = IntOf(*count, 1, 1'000'000);
      if (!samples) continue;  // null takes all.
      olive.ledger.Tell(*count, Fate::done, "samples of the data");
      return static_cast<uint64_t>(*samples);
    }
  }
  return 0;
}

bool IsDummy(const ConfigNode& config) {
  const ConfigNode* type = config.Find("type");
  const ConfigNode* load = config.Find("load_dataset_config");
  const ConfigNode* inner = load == nullptr ? nullptr : load->Find("type");
  for (const ConfigNode* each : {type, inner}) {
    if (each != nullptr && each->IsText() && Lower(each->value.text()).find("dummy") != std::string::npos) return true;
  }
  return false;
}

void TellConfig(Olive& olive, const ConfigNode& config, const std::string& path) {
  if (!config.IsMap()) return;
  if (const ConfigNode* name = config.Find("name"); name != nullptr) olive.ledger.Tell(*name, Fate::done, path);
  const ConfigNode* loader = config.Find("dataloader_config");
  if (loader != nullptr && loader->Find("batch_size") != nullptr) {
    olive.ledger.Tell(*loader->Find("batch_size"), Fate::ignored, "hone feeds sample by sample");
  }
  olive.ledger.Tell(config, Fate::changed,
                    fmt::format("Python makes these samples: save them once as {}, one array an input", path));
}

}  // namespace

Result<> ImportDataReference(Olive& olive, const ConfigNode& reference, proto::DataRange& range) {
  if (reference.IsNull()) return {};
  std::string name = "calibration";
  const ConfigNode* config = &reference;
  if (reference.IsText()) {
    name = reference.value.text();
    const auto found = olive.data_configs.find(name);
    if (found == olive.data_configs.end()) {
      // "__input_model_data_config__" was made of the model's hf_config.
      if (name.starts_with("__")) {
        range.set_path("data.npz");
        olive.ledger.Tell(reference, Fate::changed,
                          "Python makes these samples: save them once as data.npz, one array an input");
        return {};
      }
      std::vector<std::string> names;
      for (const auto& [known, node] : olive.data_configs) names.push_back(known);
      return FailAt(reference,
                    fmt::format("there is no data config '{}'{}", Printable(name, 80), DidYouMean(name, names)),
                    names.empty() ? "" : "There are " + Join(names, ", "));
    }
    config = found->second;
  } else if (reference.IsMap()) {
    if (const ConfigNode* own = reference.Find("name"); own != nullptr && own->IsText()) name = own->value.text();
  } else {
    return WrongKind(reference, "the name of a data config");
  }
  olive.used_data.insert(name);
  range.set_path(FileFor(name));
  range.set_samples(SamplesOf(olive, *config));
  if (reference.IsText()) olive.ledger.Tell(reference, Fate::changed, fmt::format("data: {}", range.path()));
  TellConfig(olive, *config, range.path());
  if (IsDummy(*config))
    olive.import.Give(
        fmt::format("{} may hold a few samples of any values: the configuration has dummy data", range.path()));
  return {};
}

void CloseData(Olive& olive) {
  for (const auto& [name, config] : olive.data_configs) {
    if (!olive.used_data.contains(name))
      olive.ledger.Tell(*config, Fate::ignored, "no pass and no metric that is imported refers to it");
  }
}

}  // namespace hone::importers
