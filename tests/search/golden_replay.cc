#include "tests/search/golden_replay.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "coordinator/search/tpe_optuna.h"

namespace hone {
namespace {

using Json = nlohmann::ordered_json;

OptunaParameter ParameterOf(const std::string& name, const Json& text) {
  OptunaParameter parameter;
  parameter.name = name;
  if (text[0] == "cat") {
    parameter.choices = text[1].get<size_t>();
    return parameter;
  }
  parameter.integer = text[0] == "int";
  parameter.low = text[1].get<double>();
  parameter.high = text[2].get<double>();
  parameter.step = text[3].is_null() ? 0 : text[3].get<double>();
  parameter.log = text[4].get<bool>();
  return parameter;
}

bool Agree(double value, double recorded) { return std::fabs(value - recorded) <= 1e-9 * std::fabs(recorded); }

void ReplayRun(const std::string& name, const Json& rows, const Json& space, ReplaySummary& summary) {
  unsigned objectives = 0, conditional = 0, seed = 0, parallel = 0, constrained = 0;
  if (std::sscanf(name.c_str(), "obj%u_cond%u_seed%u_par%u_cons%u", &objectives, &conditional, &seed, &parallel,
                  &constrained) != 5) {
    summary.mismatches.push_back(name + ": not the name of a run");
    return;
  }
  OptunaTpe tpe(seed, objectives);
  std::vector<OptunaTrial> history;
  for (size_t t = 0; t < rows.size(); ++t) {
    // Batches: all of one are told before the next begins.
    for (size_t i = 0; i < history.size(); ++i) {
      history[i].state = i < t - t % parallel ? OptunaTrial::kComplete : OptunaTrial::kRunning;
    }
    const Json& row = rows[t];
    tpe.Begin(history);
    OptunaTrial trial;
    trial.number = t;
    for (const auto& [key, value] : row[1].items()) {
      const OptunaParameter parameter = ParameterOf(key, space[key]);
      const double recorded = value.get<double>(), suggested = tpe.Suggest(parameter);
      ++summary.values;
      if (!Agree(suggested, recorded)) {
        if (tpe.IsTied(parameter, recorded)) {
          ++summary.ties;
        } else {
          summary.mismatches.push_back(
              fmt::format("{}, trial {}, {}: {}, recorded {}", name, t, key, suggested, recorded));
        }
      }
      trial.parameters[key] = {parameter, recorded};
    }
    for (const Json& one : row[2]) trial.values.push_back(one.get<double>());
    if (constrained != 0) trial.violation = std::max(0.0, row[3].get<double>());
    history.push_back(std::move(trial));
  }
}

}  // namespace

Result<ReplaySummary> ReplayGolden(const std::string& path) {
  std::ifstream file(path);
  const Json golden = Json::parse(file, nullptr, false);
  if (golden.is_discarded()) return Fail(ErrorCode::kRejected, path + " cannot be read as JSON");
  ReplaySummary summary;
  for (const auto& [name, rows] : golden["runs"].items()) {
    ++summary.runs;
    ReplayRun(name, rows, golden["space"], summary);
  }
  return summary;
}

}  // namespace hone
