// The formats that ExportFormats() lists, one function each.
#pragma once

#include "client/exporters/exported.h"

namespace hone::exporters {

Result<Notes> WriteModelServer(const Exported& exported,
                               OutputTree& tree);  // OpenVINO Model Server: config.json and versions.
Result<Notes> WriteTriton(const Exported& exported, OutputTree& tree);  // A model repository.
Result<Notes> WriteKserve(const Exported& exported,
                          OutputTree& tree);  // An InferenceService and what its storage holds.
Result<Notes> WriteOlive(const Exported& exported, OutputTree& tree);   // The output folder of an Olive run.
Result<Notes> WriteFolder(const Exported& exported, OutputTree& tree);  // The model and programs that run it.

// Triton's repository beneath `folder` of the tree.
Result<Notes> WriteTritonRepository(const Exported& exported, const std::filesystem::path& folder, OutputTree& tree);

}  // namespace hone::exporters
