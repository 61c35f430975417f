#include "client/recipe_check.h"

#include <filesystem>

#include "client/embedded_fleet.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

Result<proto::CheckRecipeReply> CheckHere(const proto::CheckRecipe& request) {
  TRY_ASSIGN(const ScopedFolder state, ScopedFolder::Make(fs::temp_directory_path(), "hone-check-"));
  FleetOptions options;
  options.state = state.path();
  TRY_ASSIGN(const std::unique_ptr<EmbeddedFleet> fleet, EmbeddedFleet::Start(options));
  return fleet->client().Check(request);
}

}  // namespace

std::string FormatOfName(const std::string& model) {
  static constexpr std::pair<const char*, const char*> kFormats[] = {
      {".xml", "openvino_ir"}, {".tflite", "tflite"}, {".pdmodel", "paddle"}, {".pb", "tensorflow"}, {".gguf", "gguf"}};
  const std::string extension = fs::path(model).extension().string();
  for (const auto& [ending, format] : kFormats) {
    if (extension == ending) return format;
  }
  std::error_code failure;
  if (!model.empty() && fs::is_directory(model, failure)) {
    return fs::exists(fs::path(model) / "config.json", failure) ? "checkpoint" : "tensorflow";
  }
  return "onnx";
}

Result<proto::CheckRecipeReply> CheckAgainstWorkers(const CoordinatorFlags& coordinator,
                                                    const proto::CheckRecipe& request) {
  if (!IsCoordinatorNamed(coordinator.endpoint)) return CheckHere(request);
  TRY_ASSIGN(Client client, ConnectTo(coordinator));
  return client.Check(request);
}

}  // namespace hone
