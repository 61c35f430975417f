#include "worker/checkpoint/model_config.h"

#include <fmt/format.h>

#include "common/base/strings.h"

namespace hone {

ModelClass ClassOf(const nlohmann::json& config) {
  if (!config.is_object()) return {};
  const auto architectures = config.find("architectures");
  const bool named = architectures != config.end() && architectures->is_array() && !architectures->empty() &&
                     (*architectures)[0].is_string();
  if (named) return {(*architectures)[0].get<std::string>(), true};
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? ModelClass{type->get<std::string>(), false} : ModelClass{};
}

Error UnknownArchitecture(const std::string& name, const std::string& known) {
  return {ErrorCode::kRejected, fmt::format("config.json: the architecture '{}' is not known", Printable(name, 80)),
          "Known are " + known + "."};
}

Result<> RefuseQuantized(const JsonReader& config) {
  if (!config.Has("quantization_config")) return {};
  return Fail(ErrorCode::kRejected, "config.json: the checkpoint is quantized already (quantization_config)",
              "Give the float checkpoint, or a GGUF file.");
}

}  // namespace hone
