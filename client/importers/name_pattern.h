// Names of nodes as one regular expression that matches just them, with what they share written once: a pass's
// `exclude` has a bound.
#pragma once

#include <string>
#include <vector>

namespace hone::importers {

// For std::regex, whole names. Equal names count once; "" for none.
std::string NamePattern(const std::vector<std::string>& names);

}  // namespace hone::importers
