// What `--backend`, `--precision` and their like change in a recipe. Pure functions of messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"

namespace hone {

struct RecipeFlags {
  std::vector<std::string> backends;
  std::vector<std::string> precisions;             // "auto" alone or empty: no change.
  std::optional<double> max_accuracy_drop;
  std::vector<std::string> minimize;
  std::vector<std::string> maximize;
  std::optional<uint64_t> trials;
  std::optional<int64_t> time_ms;
  std::optional<uint64_t> seed;
  std::optional<uint64_t> threads;
  std::vector<proto::InputShape> inputs;
};

// Applies the flags. Things worth telling (an option left out, a stage dropped) go to notes. kUsage for a precision
// that does not exist, kRejected for a backend that the catalogue lacks (nearest name offered) and for a choice that
// leaves nothing.
//
// Precisions ("f32" is fp32): an option of a stage stays where the catalogue says that its pass gives one of them, or
// gives none (structural); where a parameter `precision` decides, as of build_decoder, that is narrowed. `none` stays for fp32, and for bf16, which backends with an `inference_precision` setting reach without
// a pass; that setting is narrowed to what was asked. Where passes of the wished precisions stand in several stages,
// `none` stays in each of them, since a candidate takes one or the other.
Result<> ApplyFlags(const RecipeFlags& flags, const proto::Catalogue& catalogue, proto::Recipe& recipe,
                    std::vector<std::string>& notes);

bool NeedsCalibration(const proto::Catalogue& catalogue, const proto::Recipe& recipe);

// "0.01" or "1%". kUsage; at least 0.
Result<double> ParseShare(const std::string& text);

// The setting of a backend that counts its threads, or "".
std::string ThreadsSetting(const proto::BackendInfo& backend);
const proto::BackendInfo* FindBackendInfo(const proto::Catalogue& catalogue, const std::string& name);
const proto::PassInfo* FindPassInfo(const proto::Catalogue& catalogue, const std::string& name);
// kRejected with the names there are.
Result<const proto::BackendInfo*> RequireBackend(const proto::Catalogue& catalogue, const std::string& name);
// The backend that measures a model of this format unless told: the reference where it loads the format, else the first
// that does.
Result<std::string> DefaultBackend(const proto::Catalogue& catalogue, const std::string& format);

}  // namespace hone
