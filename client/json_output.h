// The JSON documents that the command alone writes: what it did with a model or a recipe. The others are in
// common/results/messages.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/console.h"
#include "common/results/messages.h"
#include "proto/wire.pb.h"

namespace hone {

// A model that a command wrote.
struct WrittenModel {
  std::string path;                 // Of the file to open.
  std::vector<std::string> files;   // All of them, in the bundle's order.
};

// The trial with "path" and "files" of what was written; null for an absent trial.
Json BestJson(const proto::StudySummary& study, const std::optional<WrittenModel>& written);
// hone.result/1; `written` has an entry a study. Top-level baseline, best and pareto are the first study's.
Json ResultJson(const proto::JobSummary& job, const std::vector<std::optional<WrittenModel>>& written);

Json InspectJson(const std::string& path, const proto::InspectResult& info);            // hone.inspect/1
Json CheckJson(const std::string& path, const proto::CheckRecipeReply& reply);          // hone.check/1

}  // namespace hone
