// Words of other tools: each row of the table offers what hone has, and people's usual slips get the right offer.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "client/command.h"
#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"
#include "common/recipe/metrics.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

std::vector<std::string> CommandWords() {
  std::vector<std::string> names;
  for (const Command& command : Commands()) names.emplace_back(command.name);
  return names;
}

std::vector<std::string> OptionsOf(const Command& command) {
  Flags flags;
  const Run run = command.define(flags);
  AddGlobalFlags(flags);
  std::vector<std::string> words;
  for (const Flags::Row& row : flags.rows()) {
    for (const std::string& name : Split(row.names, ',')) words.push_back(name);
  }
  return words;
}

std::vector<std::string> MetricWords() {
  std::vector<std::string> names;
  for (const MetricInfo& metric : MetricCatalogue()) names.emplace_back(metric.name);
  return names;
}

std::vector<std::string> NamesIn(const char* command) {
  std::vector<std::string> names;
  const nlohmann::json rows = Hone({command, "--json"}).json().at(command);
  for (const auto& row : rows) names.push_back(row.at("name"));
  return names;
}

// What hone knows of each kind; of options, what the row's commands know.
std::vector<std::string> KnownTo(const ForeignWord& row) {
  static const std::map<WordKind, std::vector<std::string>> known = {
      {WordKind::command, CommandWords()},
      {WordKind::metric, MetricWords()},
      {WordKind::precision, {"auto", "fp32", "fp16", "bf16", "int8", "int4"}},
      {WordKind::pass, NamesIn("passes")},
      {WordKind::backend, NamesIn("backends")}};
  if (row.kind != WordKind::option) return known.at(row.kind);
  std::vector<std::string> options;
  const std::vector<std::string> of = Split(row.commands, ' ');
  for (const Command& command : Commands()) {
    if (*row.commands != '\0' && std::find(of.begin(), of.end(), command.name) == of.end()) continue;
    for (const std::string& option : OptionsOf(command)) options.push_back(option);
  }
  return options;
}

TEST(ForeignWordsTest, EveryRowOffersWhatHoneHas) {
  for (const ForeignWord& row : ForeignWords()) {
    const std::vector<std::string> known = KnownTo(row);
    for (const std::string& offer : Split(row.offers, '|')) {
      const std::string first = Split(offer, ' ').front();
      EXPECT_NE(std::find(known.begin(), known.end(), first), known.end()) << row.words << " offers " << offer;
    }
  }
}

TEST(ForeignWordsTest, NoWordStandsTwiceOrIsHonesOwn) {
  std::set<std::tuple<WordKind, std::string, std::string>> seen;
  for (const ForeignWord& row : ForeignWords()) {
    const std::vector<std::string> known = row.kind == WordKind::option ? std::vector<std::string>() : KnownTo(row);
    for (const std::string& word : Split(row.words, ' ')) {
      EXPECT_TRUE(seen.insert({row.kind, row.commands, word}).second) << word;
      EXPECT_EQ(std::find(known.begin(), known.end(), word), known.end()) << word << " is hone's own";
      EXPECT_FALSE(OffersFor(row.kind, word, KnownTo(row), Split(row.commands, ' ').front()).empty()) << word;
    }
  }
}

struct Slip {
  WordKind kind;
  const char* command;   // Of an option.
  const char* word;
  const char* text;
};

const Slip kSlips[] = {
    {WordKind::command, "", "quantize", "; did you mean 'apply' or 'optimize'?"},
    {WordKind::command, "", "Benchmark_App", "; did you mean 'benchmark'?"},
    {WordKind::command, "", "BENCHMARK", "; did you mean 'benchmark'?"},
    {WordKind::command, "", "auto-opt", "; did you mean 'optimize'?"},
    {WordKind::command, "", "ls", "; did you mean 'jobs'?"},
    {WordKind::command, "", "benchmrk", "; did you mean 'benchmark'?"},
    {WordKind::command, "", "frobnicate", ""},
    {WordKind::option, "optimize", "--fp16", "; did you mean '--precision fp16'?"},
    {WordKind::option, "optimize", "--int8", "; did you mean '--precision int8'?"},
    {WordKind::option, "benchmark", "--fp16", "; did you mean '--set inference_precision=f16'?"},
    {WordKind::option, "apply", "--fp16", "; did you mean '--pass fp16'?"},
    {WordKind::option, "evaluate", "--fp16", ""},
    {WordKind::option, "benchmark", "--iterations", "; did you mean '--pairs'?"},
    {WordKind::option, "benchmark", "-niter", "; did you mean '--pairs'?"},
    {WordKind::option, "benchmark", "-m", "; did you mean 'MODEL'?"},
    {WordKind::option, "benchmark", "-nthreads", "; did you mean '--threads'?"},
    {WordKind::option, "optimize", "--n_trials", "; did you mean '--trials'?"},
    {WordKind::option, "optimize", "--calibration-dataset", "; did you mean '--calibration'?"},
    {WordKind::option, "optimize", "--max_accuracy_drop", "; did you mean '--max-accuracy-drop'?"},
    {WordKind::option, "optimize", "--device", "; did you mean '--backend'?"},
    {WordKind::option, "jobs", "--no-color", "; did you mean '--color never'?"},
    {WordKind::option, "jobs", "--trails", ""},
    {WordKind::metric, "", "latency", "; did you mean 'latency_ms_p50'?"},
    {WordKind::metric, "", "Throughput", "; did you mean 'throughput_per_s'?"},
    {WordKind::metric, "", "FPS", "; did you mean 'throughput_per_s'?"},
    {WordKind::metric, "", "top1_accuracy", "; did you mean 'top1' or 'top1_agreement'?"},
    {WordKind::metric, "", "Size_Bytes", "; did you mean 'size_bytes'?"},
    {WordKind::metric, "", "latency_ms_p5O", "; did you mean 'latency_ms_p50'?"},
    {WordKind::precision, "", "INT8", "; did you mean 'int8'?"},
    {WordKind::precision, "", "8bit", "; did you mean 'int8'?"},
    {WordKind::precision, "", "float16", "; did you mean 'fp16'?"},
    {WordKind::precision, "", "int3", "; did you mean 'int8'?"},
    {WordKind::pass, "", "OnnxStaticQuantization", "; did you mean 'static_int8'?"},
    {WordKind::pass, "", "static-int8", "; did you mean 'static_int8'?"},
    {WordKind::backend, "", "ORT", "; did you mean 'onnxruntime'?"},
    {WordKind::backend, "", "OpenVINOExecutionProvider", "; did you mean 'openvino'?"},
};

TEST(ForeignWordsTest, PeoplesSlipsGetTheRightOffer) {
  for (const Slip& slip : kSlips) {
    const ForeignWord like{slip.kind, "", "", slip.command};
    EXPECT_EQ(DidYouMean(slip.kind, slip.word, KnownTo(like), slip.command), slip.text) << slip.word;
  }
}

TEST(ForeignWordsTest, EndlessWordsGetNoOffer) {
  EXPECT_EQ(DidYouMean(WordKind::command, std::string(1 << 20, 'q'), CommandWords()), "");
  EXPECT_EQ(DidYouMean(WordKind::option, "--", {"--help"}), "");
  EXPECT_EQ(DidYouMean(WordKind::option, "", {"--help"}), "");
}

}  // namespace
}  // namespace hone::test
