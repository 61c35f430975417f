// Passes run by tests.
#pragma once

#include <filesystem>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone::test {

using Settings = std::vector<std::pair<const char*, proto::Value>>;

// Runs a pass on two threads; the model lies in `folder` then.
Result<proto::BuildResult> Build(const proto::LocalBundle& model, const std::filesystem::path& folder,
                                 const Settings& settings, const char* pass = "build_decoder");

}  // namespace hone::test
