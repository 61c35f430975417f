// search_bench: how well searches find. Subcommands: replay GOLDEN, suite, tables DIR, ask, export DIR. Prints
// Markdown.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "bench/search/ask_time.h"
#include "bench/search/oracle.h"
#include "bench/search/strategies.h"
#include "tests/search/golden_replay.h"

namespace hone {
namespace {

struct SuiteOptions {
  uint64_t problems = 24;
  uint64_t first = 0;        // Seed of the first problem.
  std::vector<std::string> strategies = {"random", "nsga2", "optuna", "tpe", "local", "auto", "auto+table"};
  std::vector<size_t> parallel = {1, 8};
  uint64_t seeds = 1;
  std::vector<uint64_t> budgets = {20, 50, 100, 200};
};

double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

void PrintHead(const std::string& title, const std::vector<uint64_t>& budgets) {
  fmt::print("\n### {}\n\nTrue regret in %, median / 75 % quantile.\n\n| strategy | workers |", title);
  for (const uint64_t budget : budgets) fmt::print(" n={} |", budget);
  fmt::print(" repeats | ms an ask |\n|---|---|");
  for (size_t i = 0; i < budgets.size(); ++i) fmt::print("---|");
  fmt::print("---|---|\n");
}

void RunGroup(const std::string& title, const std::vector<std::unique_ptr<Problem>>& problems,
              const SuiteOptions& options) {
  PrintHead(title, options.budgets);
  for (const size_t parallel : options.parallel) {
    for (const std::string& strategy : options.strategies) {
      std::vector<std::vector<double>> regrets(options.budgets.size());
      uint64_t duplicates = 0, asked = 0;
      double ms = 0;
      for (size_t p = 0; p < problems.size(); ++p) {
        for (uint64_t seed = 0; seed < options.seeds; ++seed) {
          const Outcome outcome = RunStrategy(*problems[p], {strategy, options.budgets, parallel, 1000 * seed + p});
          for (size_t i = 0; i < options.budgets.size(); ++i) regrets[i].push_back(100 * outcome.regret[i]);
          duplicates += outcome.duplicates;
          asked += outcome.asked;
          ms += outcome.ask_ms;
        }
      }
      fmt::print("| {} | {} |", strategy, parallel);
      for (const auto& regret : regrets)
        fmt::print(" {:.1f} / {:.1f} |", Quantile(regret, 0.5), Quantile(regret, 0.75));
      fmt::print(" {} ({:.1f} %) | {:.2f} |\n", duplicates,
                 100.0 * static_cast<double>(duplicates) / static_cast<double>(asked), ms / static_cast<double>(asked));
      std::fflush(stdout);
    }
  }
}

int Replay(const std::string& path) {
  const double begin = static_cast<double>(std::clock());
  const auto summary = ReplayGolden(path);
  if (!summary) {
    fmt::print(stderr, "{}\n", summary.error().message);
    return 9;
  }
  fmt::print(
      "| runs | values | same | ties | different | seconds |\n|---|---|---|---|---|---|\n| {} | {} | {} | {} | {} | "
      "{:.1f} |\n",
      summary->runs, summary->values, summary->values - summary->ties - summary->mismatches.size(), summary->ties,
      summary->mismatches.size(), (static_cast<double>(std::clock()) - begin) / CLOCKS_PER_SEC);
  for (const std::string& mismatch : summary->mismatches) fmt::print("{}\n", mismatch);
  return summary->mismatches.empty() ? 0 : 1;
}

int Suite(const SuiteOptions& options) {
  for (const bool interactions : {false, true}) {
    std::vector<std::unique_ptr<Problem>> problems;
    for (uint64_t seed = 0; seed < options.problems; ++seed)
      problems.push_back(MakeMixedPrecision(options.first + seed, interactions));
    const size_t entries = problems.front()->Sensitivity().size();
    fmt::print(
        "\nA sensitivity table (auto+table, what a job with precisions for groups of layers has) costs {} accuracy "
        "evaluations of one group each on 16 samples, and a "
        "build for each precision; two trials of the budget are taken off for it, which have 512 inferences and two "
        "timings.\n",
        entries);
    RunGroup(fmt::format("{} problems of mixed precision, {}, {} seeds each", options.problems,
                         interactions ? "with interactions" : "additive", options.seeds),
             problems, options);
  }
  return 0;
}

int Tables(const std::string& folder, const SuiteOptions& options) {
  std::vector<std::string> stems;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".csv")
      stems.push_back((entry.path().parent_path() / entry.path().stem()).string());
  }
  std::sort(stems.begin(), stems.end());
  for (const std::string& stem : stems) {
    auto table = LoadTable(stem);
    if (!table) {
      fmt::print(stderr, "{}\n", table.error().message);
      return 9;
    }
    std::vector<std::unique_ptr<Problem>> problems;
    const std::string name = (*table)->name();
    const uint64_t size = *(*table)->space().Size();
    const double gain = (*table)->fallback() / (*table)->optimum();
    problems.push_back(std::move(*table));
    SuiteOptions one = options;
    // Their recipes have no groups of layers.
    std::erase(one.strategies, "auto+table");
    one.seeds = std::max<uint64_t>(24, options.seeds);
    RunGroup(fmt::format("{}: {} candidates, the best {:.2f} times as fast as the original, {} seeds", name, size, gain,
                         one.seeds),
             problems, one);
  }
  return 0;
}

}  // namespace
}  // namespace hone

int main(int argc, char** argv) {
  CLI::App app("How well searches find");
  app.require_subcommand(1);
  std::string path;
  hone::SuiteOptions options;
  auto* replay = app.add_subcommand("replay", "Optuna's recorded runs against the sampler that replays them");
  replay->add_option("golden", path)->required();
  auto* suite = app.add_subcommand("suite", "seeded problems with a known optimum");
  suite->add_option("--problems", options.problems);
  suite->add_option("--first", options.first, "the seed of the first problem");
  auto* tables = app.add_subcommand("tables", "tables of measured models");
  tables->add_option("folder", path)->required();
  auto* oracle = app.add_subcommand("oracle", "answers optuna_side.py, one line of JSON for each");
  app.add_subcommand("ask", "the time of one ask");
  for (CLI::App* one : {suite, tables}) {
    one->add_option("--strategies", options.strategies)->delimiter(',');
    one->add_option("--parallel", options.parallel)->delimiter(',');
    one->add_option("--seeds", options.seeds);
    one->add_option("--budgets", options.budgets)->delimiter(',');
  }
  CLI11_PARSE(app, argc, argv);
  if (*replay) return hone::Replay(path);
  if (*suite) return hone::Suite(options);
  if (*tables) return hone::Tables(path, options);
  if (*oracle) return hone::ServeOracle();
  return hone::PrintAskTimes();
}
