#include "coordinator/report_text.h"

#include <fmt/format.h>

#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {

std::string ResultText(const proto::Recipe& recipe, const Measured& measured) {
  const auto find = [&](const std::string& name) {
    const auto found = measured.metrics.find(name);
    return found == measured.metrics.end() ? nullptr : &found->second;
  };
  std::vector<std::string> parts;
  if (measured.speedup) {
    parts.push_back(fmt::format("{:.2f}x", *measured.speedup));
  } else if (const double* latency = find("latency_ms_p50"); latency != nullptr) {
    parts.push_back(fmt::format("{} ms", HumanNumber(*latency)));
  }
  const std::string& accuracy = recipe.accuracy().metric();
  for (const std::string& name : {accuracy, std::string("cosine"), std::string("top1"), std::string("accuracy")}) {
    const double* value = name.empty() ? nullptr : find(name);
    if (value == nullptr) continue;
    parts.push_back(fmt::format("{} {:.4g}", name, *value));
    break;
  }
  if (const double* size = find("size_bytes"); size != nullptr && *size >= 0 && *size < 1e18) {
    parts.push_back(HumanBytes(static_cast<uint64_t>(*size)));
  }
  if (parts.empty() && !measured.metrics.empty()) {
    const auto& [name, value] = *measured.metrics.begin();
    parts.push_back(fmt::format("{} {:.4g}", name, value));
  }
  return parts.empty() ? "no metrics" : Join(parts, ", ");
}

std::string TrialText(const TrialKey& key) { return key.trial == 0 ? "baseline" : fmt::format("trial {}", key.trial); }

std::string CommandText(const JobRecord& job, const TrialRecord& trial) {
  const std::string folder = fmt::format("job{}-trial{}", job.id, trial.key.trial);
  std::string shapes;
  for (const auto& input : job.recipe.inputs()) {
    std::vector<std::string> dims;
    for (const int64_t dim : input.dims()) dims.push_back(fmt::format("{}", dim));
    shapes += " --input " + ShellWord(fmt::format("{}={}", input.name(), Join(dims, ",")));
  }
  std::string command = fmt::format("hone get {}/baseline -o {}", job.id, folder);
  std::string model = folder + "/" + job.model.main();
  if (trial.candidate.pipeline_size() > 0) {
    command += " && hone apply " + ShellWord(model) + shapes;
    for (const proto::PassStep& step : trial.candidate.pipeline()) {
      std::vector<std::string> parameters;
      for (const auto& parameter : step.parameters())
        parameters.push_back(parameter.name() + "=" + ToText(parameter.value()));
      command += " --pass " + ShellWord(parameters.empty() ? step.pass() : step.pass() + ":" + Join(parameters, ","));
    }
    if (job.calibration) command += " --calibration DATA";
    if (job.recipe.search().seed() != 0) command += fmt::format(" --seed {}", job.recipe.search().seed());
    model = folder + "/candidate/";
    command += " -o " + model;
  }
  command += " && hone benchmark " + ShellWord(model) + shapes;
  if (job.evaluation) command += " --data DATA";
  command += " --backend " + ShellWord(trial.candidate.backend());
  for (const auto& setting : trial.candidate.settings()) {
    command += " --set " + ShellWord(setting.name() + "=" + ToText(setting.value()));
  }
  return command;
}

}  // namespace hone
