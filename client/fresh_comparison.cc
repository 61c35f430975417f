#include "client/fresh_comparison.h"

#include <fmt/format.h>

#include <filesystem>

#include "client/local_task.h"
#include "client/measured_side.h"
#include "client/recipe_flags.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

Result<MeasuredSide> FetchSide(Client& client, const NamedTrial& named, const fs::path& folder,
                               const proto::Catalogue& catalogue) {
  const proto::Bundle& bundle = named.trial.model();
  if (bundle.files_size() == 0) {
    return Fail(ErrorCode::kUnsure, fmt::format("{} has no model: it was never built", named.name),
                fmt::format("see `hone logs {}`", named.name));
  }
  TRY(MakeFolder(folder));
  TRY(client.Fetch(bundle, folder));
  TRY_ASSIGN(const ModelFile model, OpenModel((folder / bundle.main()).string()));
  std::vector<std::string> settings;
  for (const proto::Parameter& setting : named.trial.candidate().settings())
    settings.push_back(setting.name() + "=" + ToText(setting.value()));
  return PrepareSide(model, named.trial.candidate().backend(), settings, std::nullopt, catalogue);
}

}  // namespace

Result<FreshComparison> MeasureAgain(Client& client, const NamedTrial& a, const NamedTrial& b, uint32_t pairs,
                                     const Console& console) {
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(fs::temp_directory_path(), "hone-compare-"));
  TRY_ASSIGN(const proto::Catalogue catalogue, LocalCatalogue());
  TRY_ASSIGN(const proto::GetJobReply inputs, client.JobInputs(a.job));
  TRY_ASSIGN(const MeasuredSide side_a, FetchSide(client, a, folder.path() / "a", catalogue));
  TRY_ASSIGN(const MeasuredSide side_b, FetchSide(client, b, folder.path() / "b", catalogue));

  proto::Task whole;
  proto::BenchmarkTask& task = *whole.mutable_benchmark();
  *task.add_subjects() = side_a.subject;
  *task.add_subjects() = side_b.subject;
  *task.mutable_inputs() = inputs.recipe().inputs();
  TRY(RequireKnownShapes(side_a.model.info, task.inputs()));
  task.set_rounds(pairs);
  task.set_exclusive_lock(MachineLock::DefaultPath().string());
  console.Note(fmt::format("measuring {} and {}, interleaved ...", a.name, b.name));
  TRY_ASSIGN(MeasuredTask measured, RunMeasuredTask(whole));
  proto::BenchmarkResult& result = *measured.result.mutable_benchmark();
  if (result.runs_size() != 2)
    return Fail(ErrorCode::kBug, fmt::format("the runner measured {} of 2 models", result.runs_size()));
  FreshComparison fresh;
  fresh.speedup = result.runs(1).speedup();
  fresh.a = std::move(*result.mutable_runs(0)->mutable_metrics());
  fresh.b = std::move(*result.mutable_runs(1)->mutable_metrics());
  fresh.machine = result.fingerprint().cpu_model();
  fresh.wall_s = measured.wall_s;
  return fresh;
}

}  // namespace hone
