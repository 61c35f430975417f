// The formats there are, and what every export holds beside its own files.
#include <fmt/format.h>

#include "client/exporters/exported.h"
#include "client/exporters/formats.h"
#include "client/exporters/model_card.h"
#include "common/base/strings.h"

namespace hone::exporters {

const std::vector<ExportFormat>& ExportFormats() {
  static const std::vector<ExportFormat> rows = {
      {"folder", "the model with a program in Python and one in C++ that run it", WriteFolder},
      {"openvino-model-server", "a repository of OpenVINO Model Server: config.json, models/NAME/VERSION",
       WriteModelServer},
      {"triton", "a repository of Triton: NAME/config.pbtxt, NAME/VERSION", WriteTriton},
      {"kserve", "an InferenceService of KServe and what its storage holds", WriteKserve},
      {"olive", "the output folder of an Olive run: model, model_config.json, footprint.json", WriteOlive},
  };
  return rows;
}

Result<const ExportFormat*> FindExportFormat(const std::string& name) {
  std::vector<std::string> names;
  for (const ExportFormat& row : ExportFormats()) {
    if (name == row.name) return &row;
    names.emplace_back(row.name);
  }
  return Fail(ErrorCode::kUsage,
              fmt::format("there is no format '{}'{}", Printable(name, 100), DidYouMean(name, names)),
              "the formats: " + Join(names, ", "));
}

Result<Notes> WriteExport(const ExportFormat& format, const Exported& exported, OutputTree& tree) {
  TRY_ASSIGN(Notes notes, format.write(exported, tree));
  TRY(tree.Text("MODEL_CARD.md", ModelCard(exported, format.name, notes)));
  TRY(tree.Text("hone.manifest.json", exported.manifest.dump(2) + "\n"));
  return notes;
}

}  // namespace hone::exporters
