// The history of nightly runs (docs/nightly.md), read from the client's file: a coordinator knows jobs, not nights.
#pragma once

#include <filesystem>
#include <string>

#include "common/base/result.h"
#include "common/results/messages.h"

namespace hone {

// hone.nightly.suites/1
Result<Json> NightlySuitesJson(const std::filesystem::path& file);
// hone.nightly.history/1. kNotFound for a suite without a night.
Result<Json> NightlyHistoryJson(const std::filesystem::path& file, const std::string& suite);

}  // namespace hone
