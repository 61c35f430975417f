// The document of `hone sensitivity` as input to other commands.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace hone {

// A regular expression that matches the whole of each name and nothing else, without commas; "" for none.
std::string NamesExpression(const std::vector<std::string>& names);

// The nodes of the `count` groups that lose most under a pass, worst first, from a hone.sensitivity/1 document.
// kNotFound for a missing file; kRejected for another document, a pass that it did not measure, or fewer groups than
// asked for.
Result<std::vector<std::string>> WorstNodes(const std::filesystem::path& file, std::string_view pass, size_t count);

// Replaces "exclude=@FILE:K" among a pass's key=value words by the expression of its K worst groups' nodes.
Result<> FillExclusions(std::string_view pass, std::vector<std::string>& words);

}  // namespace hone
