// hone report: a job as one file that opens anywhere.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/remote.h"
#include "client/report/job_report.h"
#include "client/text_output.h"
#include "common/base/clock.h"
#include "common/base/file.h"

namespace hone {
namespace {

struct ReportOptions {
  CoordinatorFlags coordinator;
  std::string job;
  std::string file;
};

Result<JobReport> GatherReport(Client& client, uint64_t number) {
  JobReport report;
  TRY_ASSIGN(report.job, client.Job(number));
  for (const proto::StudySummary& study : report.job.studies()) {
    StudyReport& part = report.studies.emplace_back();
    TRY_ASSIGN(part.trials, client.Trials(number, study.study()));
    for (proto::TrialSummary& trial : part.trials) trial.clear_execution();
    if (!study.has_best()) continue;
    TRY_ASSIGN(part.best_samples, client.Samples(number, study.study(), study.best().trial()));
  }
  TRY_ASSIGN(report.attempts, client.Attempts(number));
  return report;
}

Result<int> WriteReport(const ReportOptions& options, Console& console) {
  TRY_ASSIGN(const uint64_t number, ParseJob(options.job));
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const JobReport report, GatherReport(client, number));
  TRY_ASSIGN(const std::string page, JobReportHtml(report, JobText(report.job, 0), SystemClock().UnixMs()));
  TRY(WriteFile(options.file, page));
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.report.written/1"},
                           {"job", std::to_string(number)},
                           {"file", options.file},
                           {"size_bytes", page.size()}}));
  } else {
    TRY(console.Print(
        fmt::format("{}: job {}, {:.1f} kB\n", options.file, number, static_cast<double>(page.size()) / 1000)));
  }
  return 0;
}

}  // namespace

Run DefineReport(Flags& flags) {
  auto options = std::make_shared<ReportOptions>();
  flags.Argument("JOB", "number of the job", options->job);
  flags.RequiredText("--html", "FILE", "the page: plots, table and data in one file that fetches nothing",
                     options->file);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return WriteReport(*options, console); };
}

}  // namespace hone
