#include "worker/runner/catalogue.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <vector>

#include "common/recipe/value.h"
#include "worker/backends/backend.h"
#include "worker/external/declarations.h"
#include "worker/fingerprint.h"
#include "worker/passes/pass.h"

namespace hone {
namespace {

std::vector<proto::BackendInfo> BackendInfos() {
  std::vector<proto::BackendInfo> infos;
  for (const BackendRow& row : Backends()) infos.push_back(row.info());
  return infos;
}

// Tags speak of ONNX Runtime by its short name.
std::string TagOf(const std::string& backend, const std::string& device) {
  std::string tag = (backend == "onnxruntime" ? "ort" : backend) + "." + device;
  std::transform(tag.begin(), tag.end(), tag.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return tag;
}

proto::Fingerprint FingerprintWith(const std::vector<proto::BackendInfo>& backends) {
  proto::Fingerprint fingerprint = DetectFingerprint();
  for (const proto::BackendInfo& backend : backends) {
    proto::Parameter& version = *fingerprint.add_versions();
    version.set_name(backend.name());
    *version.mutable_value() = TextValue(backend.version());
  }
  std::sort(fingerprint.mutable_versions()->begin(), fingerprint.mutable_versions()->end(),
            [](const proto::Parameter& a, const proto::Parameter& b) { return a.name() < b.name(); });
  SealFingerprint(fingerprint);
  return fingerprint;
}

}  // namespace

proto::Fingerprint MachineFingerprint() { return FingerprintWith(BackendInfos()); }

proto::Catalogue AssembleCatalogue() {
  proto::Catalogue catalogue;
  for (const PassRow& row : Passes()) *catalogue.add_passes() = row.info();
  const std::vector<proto::BackendInfo> backends = BackendInfos();
  std::vector<std::string> tags = DetectTags();
  for (const ExternalPass& program : ExternalPasses()) {
    if (!program.available) continue;
    *catalogue.add_passes() = program.info;
    tags.insert(tags.end(), program.tags.begin(), program.tags.end());
  }
  for (const proto::BackendInfo& backend : backends) {
    *catalogue.add_backends() = backend;
    for (const std::string& device : backend.devices()) tags.push_back(TagOf(backend.name(), device));
  }
  *catalogue.mutable_fingerprint() = FingerprintWith(backends);
  std::set<std::string> seen;
  for (const std::string& tag : tags) {
    if (seen.insert(tag).second) catalogue.add_tags(tag);
  }
  return catalogue;
}

}  // namespace hone
