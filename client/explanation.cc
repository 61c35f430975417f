#include "client/explanation.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "client/table.h"
#include "client/text_output.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct EndRow {
  const char* word;
  const char* text;
};
constexpr EndRow kEnds[] = {{"trials", "the number of trials was reached"},
                            {"time", "the time was over"},
                            {"machine_time", "the workers' time was used up"},
                            {"patience", "nothing became better for as many trials as the recipe's patience"},
                            {"goal", "the goal was reached"},
                            {"space", "every candidate was tried, or the sampler had none left"}};

std::string EndText(const std::string& word) {
  for (const EndRow& row : kEnds) {
    if (word == row.word) return row.text;
  }
  return word.empty() ? "it goes on" : word;
}

std::string ChangeText(double ratio) {
  if (std::abs(ratio - 1) < 0.005) return "no change";
  return ratio < 1 ? fmt::format("{:.1f} % less", (1 - ratio) * 100) : fmt::format("{:.1f} % more", (ratio - 1) * 100);
}

}  // namespace

Result<std::vector<Explanation>> ExplainStudies(Client& client, const proto::JobSummary& job) {
  std::vector<Explanation> explanations;
  for (const proto::StudySummary& study : job.studies()) {
    TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client.Trials(job.job(), study.study()));
    explanations.push_back(Explain(job, study, trials));
  }
  return explanations;
}

Result<int> PrintExplanations(const std::string& job_text, const CoordinatorFlags& coordinator, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(job_text));
  TRY_ASSIGN(Client client, ConnectTo(coordinator));
  TRY_ASSIGN(const proto::JobSummary job, client.Job(number));
  TRY_ASSIGN(const std::vector<Explanation> explanations, ExplainStudies(client, job));
  if (console.json) {
    TRY(console.PrintJson(ExplanationsJson(number, explanations)));
    return 0;
  }
  std::string text;
  for (size_t i = 0; i < explanations.size(); ++i) {
    text += (i > 0 ? "\n" : "") + ExplanationText(job.studies(static_cast<int>(i)), explanations[i]);
  }
  TRY(console.Print(text));
  return 0;
}

std::string ExplanationText(const proto::StudySummary& study, const Explanation& explanation) {
  const std::vector<std::string> tags(study.tags().begin(), study.tags().end());
  std::string text = fmt::format("target {}\n", Join(tags, ", "));
  text += fmt::format("end          {}\n", EndText(explanation.ended_by));
  if (explanation.best) {
    text += fmt::format("best         trial {}, {}: {} on {}\n", *explanation.best, SpeedupText(study.best()),
                        PipelineText(study.best().candidate()), study.best().candidate().backend());
  } else {
    text += "best         nothing feasible was found\n";
  }
  if (explanation.rival)
    text += fmt::format("rival        trial {} is not measurably worse: the intervals overlap\n", *explanation.rival);
  for (const auto& one : explanation.contributions) {
    std::string bought = "no trial differs in it alone";
    if (one.ratio) {
      bought = fmt::format("{}{} ({} pair{} of trials)", ChangeText(*one.ratio),
                           one.size_ratio ? fmt::format(", size {}", ChangeText(*one.size_ratio)) : "", one.trials,
                           one.trials == 1 ? "" : "s");
    }
    text += fmt::format("bought       {}: {}\n", one.step, bought);
  }
  for (const auto& one : explanation.importance) {
    text += fmt::format("mattered     {}: {:.0f} % of the differences among {} trials\n", one.parameter,
                        one.share * 100, one.trials);
  }
  for (const auto& one : explanation.kept_out) {
    text += fmt::format("kept out     {} trial{} by {}: {}\n", one.trials, one.trials == 1 ? "" : "s", one.metric,
                        one.reason);
  }
  return text;
}

std::string ComparisonText(const std::string& name_a, const proto::TrialSummary& a, const std::string& name_b,
                           const proto::TrialSummary& b) {
  Table table({{"", Align::left, false},
               {name_a, Align::right, false},
               {name_b, Align::right, false},
               {"", Align::left, false}});
  table.Row({"pipeline", PipelineText(a.candidate()), PipelineText(b.candidate()), ""});
  table.Row({"backend", a.candidate().backend(), b.candidate().backend(), ""});
  table.Row({"settings", SettingsText(a.candidate().settings()), SettingsText(b.candidate().settings()), ""});
  table.Row({"state", StateName(a.state()), StateName(b.state()), ""});
  const Comparison comparison = Compare(a, b);
  std::string remark = comparison.verdict;
  if (comparison.low)
    remark = fmt::format("{}: {:.2f}x [{:.2f}, {:.2f}]", comparison.verdict, *comparison.speedup, *comparison.low,
                         *comparison.high);
  table.Row({"speed-up", SpeedupText(a), SpeedupText(b), remark});
  std::set<std::string> names;
  for (const auto& metric : a.metrics()) names.insert(metric.name());
  for (const auto& metric : b.metrics()) names.insert(metric.name());
  for (const std::string& name : names) {
    const proto::Metric* before = FindMetric(a.metrics(), name);
    const proto::Metric* after = FindMetric(b.metrics(), name);
    const bool both = before != nullptr && after != nullptr && before->value() > 0 && after->value() > 0;
    table.Row({name, MetricText(name, before), MetricText(name, after),
               both ? ChangeText(after->value() / before->value()) : ""});
  }
  std::string text = table.Text();
  if (a.fingerprint() != b.fingerprint())
    text += "note         measured on machines that differ; the speed-ups are each against their own baseline\n";
  return text;
}

}  // namespace hone
