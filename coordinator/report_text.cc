#include "coordinator/report_text.h"

#include <fmt/format.h>

#include "common/base/strings.h"

namespace hone {

std::string ResultText(const proto::Recipe& recipe, const Measured& measured) {
  const auto find = [&](const std::string& name) {
    const auto found = measured.metrics.find(name);
    return found == measured.metrics.end() ? nullptr : &found->second;
  };
  std::vector<std::string> parts;
  if (measured.speedup) {
    parts.push_back(fmt::format("{:.2f}x", *measured.speedup));
  } else if (const double* latency = find("latency_ms_p50"); latency != nullptr) {
    parts.push_back(fmt::format("{} ms", HumanNumber(*latency)));
  }
  const std::string& accuracy = recipe.accuracy().metric();
  for (const std::string& name : {accuracy, std::string("cosine"), std::string("top1"), std::string("accuracy")}) {
    const double* value = name.empty() ? nullptr : find(name);
    if (value == nullptr) continue;
    parts.push_back(fmt::format("{} {:.4g}", name, *value));
    break;
  }
  if (const double* size = find("size_bytes"); size != nullptr && *size >= 0 && *size < 1e18) {
    parts.push_back(HumanBytes(static_cast<uint64_t>(*size)));
  }
  if (parts.empty() && !measured.metrics.empty()) {
    const auto& [name, value] = *measured.metrics.begin();
    parts.push_back(fmt::format("{} {:.4g}", name, value));
  }
  return parts.empty() ? "no metrics" : Join(parts, ", ");
}

}  // namespace hone
