// What became of a configuration, for people and for scripts.
#pragma once

#include <string>

#include "client/console.h"
#include "client/importers/import.h"

namespace hone::importers {

// A table of what is not simply done (all rows with `all`), a line of counts and what the person has to give. `width` 0
// cuts nothing.
std::string ReportText(const Imported& imported, const std::string& source, size_t width, bool all);

// hone.import/1.
Json ReportJson(const Imported& imported, const std::string& tool, const std::string& source);

}  // namespace hone::importers
