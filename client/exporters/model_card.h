// What a person should know of an exported model: what was done, what was measured where, digests, licence.
#pragma once

#include <string>

#include "client/exporters/exported.h"

namespace hone::exporters {

// Markdown. `format` is the export's name, `notes` are what it left to tell.
std::string ModelCard(const Exported& exported, const std::string& format, const Notes& notes);

}  // namespace hone::exporters
