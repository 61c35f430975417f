#include "coordinator/http/columns.h"

#include <fmt/format.h>

#include <optional>

#include "common/base/strings.h"
#include "common/results/columns.h"
#include "common/results/messages.h"

namespace hone {
namespace {

// Of each study, the trials on its front.
std::set<TrialName> FrontOf(const proto::JobSummary& summary) {
  std::set<TrialName> front;
  for (const auto& study : summary.studies()) {
    for (const auto& trial : study.pareto()) front.insert({study.study(), trial.trial()});
  }
  return front;
}

struct Selected {
  std::vector<const proto::TrialSummary*> rows;
  bool reset = false;
  std::optional<uint64_t> next;
};

// "LIFE.REVISION"
std::optional<uint64_t> RevisionOf(const JobRows& job, const std::string& cursor) {
  const size_t dot = cursor.find('.');
  if (dot == std::string::npos || cursor.substr(0, dot) != job.life) return std::nullopt;
  const auto revision = ParseInteger(cursor.substr(dot + 1));
  if (!revision || *revision < 0 || static_cast<uint64_t>(*revision) > job.revision) return std::nullopt;
  return static_cast<uint64_t>(*revision);
}

Selected Select(const JobRows& job, const TrialSelection& selection) {
  Selected selected;
  const std::optional<uint64_t> since = selection.since.empty() ? std::nullopt : RevisionOf(job, selection.since);
  selected.reset = !selection.since.empty() && !since;
  uint64_t place = 0;
  for (const auto& [name, row] : job.rows) {
    if (selection.study && name.first != *selection.study) continue;
    if (!selection.states.empty() && selection.states.count(row.trial.state()) == 0) continue;
    if (since && row.revision <= *since) continue;
    if (place++ < selection.from) continue;
    if (selected.rows.size() == selection.limit) {
      selected.next = place - 1;
      break;
    }
    selected.rows.push_back(&row.trial);
  }
  return selected;
}

// The trials with some of their metrics alone, in `kept`, which must outlive what is returned.
std::vector<const proto::TrialSummary*> WithMetrics(const std::vector<const proto::TrialSummary*>& trials,
                                                    const std::set<std::string>& names,
                                                    std::vector<proto::TrialSummary>& kept) {
  kept.reserve(trials.size());
  std::vector<const proto::TrialSummary*> rows;
  for (const proto::TrialSummary* trial : trials) {
    proto::TrialSummary& copy = kept.emplace_back(*trial);
    copy.clear_metrics();
    for (const proto::Metric& metric : trial->metrics()) {
      if (names.count(metric.name()) > 0) *copy.add_metrics() = metric;
    }
    if (names.count("speedup") == 0) copy.clear_speedup();
    rows.push_back(&copy);
  }
  return rows;
}

}  // namespace

std::string TrialColumnsJson(const JobRows& job, const TrialSelection& selection) {
  Selected selected = Select(job, selection);
  std::vector<proto::TrialSummary> kept;
  if (!selection.metrics.empty()) selected.rows = WithMetrics(selected.rows, selection.metrics, kept);
  return fmt::format(
      "{{\"schema\":\"hone.trials.columns/1\",\"job\":\"{}\",\"state\":\"{}\",\"cursor\":\"{}.{}\",\"reset\":{},"
      "\"total\":{},\"next\":{},{}}}\n",
      job.job, StateName(job.summary.state()), job.life, job.revision, selected.reset, job.rows.size(),
      selected.next ? std::to_string(*selected.next) : "null",
      TrialColumns(selected.rows, FrontOf(job.summary), selection.columns));
}

std::string AttemptColumnsJson(uint64_t job, const std::vector<proto::ListAttemptsReply::Attempt>& attempts,
                               bool more) {
  const std::string next = more && !attempts.empty() ? std::to_string(attempts.back().attempt()) : "null";
  return fmt::format("{{\"schema\":\"hone.attempts.columns/1\",\"job\":\"{}\",\"next\":{},{}}}\n", job, next,
                     AttemptColumns(attempts));
}

}  // namespace hone
