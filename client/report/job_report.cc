// The program and the data lie compressed in the file; a script of a few lines unpacks both with the browser's own
// DecompressionStream and starts the program. A policy of digests holds for scripts that are added later too, so the
// program's digest stands in it beside the loader's.
#include "client/report/job_report.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "common/base/digest.h"
#include "common/base/strings.h"
#include "common/results/columns.h"
#include "common/results/messages.h"

namespace hone {

extern const std::string_view kReportProgram;
extern const std::string_view kReportStyle;

namespace {

// More attempts than these would fill the file with the times of work.
constexpr size_t kMostReportAttempts = 800;
constexpr size_t kMostReportSamples = 10'000;  // A series.

constexpr std::string_view kLoader = R"js((async () => {
  const unpack = (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
  };
  globalThis.honeReport = JSON.parse(await unpack('data'));
  const program = document.createElement('script');
  program.type = 'module';
  program.textContent = await unpack('program');
  document.head.append(program);
})();)js";

constexpr std::string_view kStart = "drawReport(document.getElementById('main'), globalThis.honeReport);\n";

std::string Base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int written =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(written));
  return text;
}

double FourDigits(double value) { return std::strtod(fmt::format("{:.4g}", value).c_str(), nullptr); }

// "'sha256-...'", as a policy names what may run.
std::string PolicyHash(std::string_view text) {
  const std::string digest = DigestOf(text).substr(std::string_view("sha256:").size());
  std::string bytes;
  for (size_t i = 0; i < digest.size(); i += 2) bytes += static_cast<char>(std::stoi(digest.substr(i, 2), nullptr, 16));
  return "'sha256-" + Base64(bytes) + "'";
}

Result<std::string> Packed(std::string_view text) {
  z_stream stream = {};
  constexpr int kGzip = 16 + MAX_WBITS;
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzip, 9, Z_DEFAULT_STRATEGY) != Z_OK)
    return Fail(ErrorCode::kBug, "zlib cannot begin to compress");
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int ended = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  if (ended != Z_STREAM_END) return Fail(ErrorCode::kBug, "zlib did not compress the report");
  return Base64(packed);
}

std::string Markup(std::string_view text) {
  std::string safe;
  for (const char c : Printable(text, text.size())) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else
      safe += c;
  }
  return safe;
}

using Front = std::set<std::pair<uint32_t, uint64_t>>;

Front FrontOf(const proto::JobSummary& job) {
  Front front;
  for (const proto::StudySummary& study : job.studies()) {
    for (const proto::TrialSummary& trial : study.pareto()) front.emplace(study.study(), trial.trial());
    if (study.has_best()) front.emplace(study.study(), study.best().trial());
  }
  return front;
}

// The baseline and the front, and `most` of the others, evenly over their numbers.
std::vector<const proto::TrialSummary*> Thinned(const std::vector<proto::TrialSummary>& trials, const Front& front,
                                                size_t most) {
  std::vector<const proto::TrialSummary*> kept;
  for (size_t i = 0; i < trials.size(); ++i) {
    const bool always = trials[i].trial() == 0 || front.contains({trials[i].study(), trials[i].trial()});
    const bool drawn = i * most / trials.size() != (i + 1) * most / trials.size();
    if (most >= trials.size() || always || drawn) kept.push_back(&trials[i]);
  }
  return kept;
}

// What the distribution is drawn from: the latencies in ascending order, with four digits, which compresses to a byte
// each; of very many evenly spread ones, so that the band around the curve is never too narrow.
Json DrawnSamples(const google::protobuf::RepeatedPtrField<proto::Samples>& samples) {
  Json object = Json::object();
  for (const proto::Samples& series : samples) {
    if (series.series() != "candidate.latency_ms" && series.series() != "baseline.latency_ms") continue;
    std::vector<double> values(series.values().begin(), series.values().end());
    std::erase_if(values, [](double value) { return !std::isfinite(value); });
    std::sort(values.begin(), values.end());
    const size_t count = std::min(values.size(), kMostReportSamples);
    Json& drawn = object[series.series()] = Json::array();
    for (size_t i = 0; i < count; ++i)
      drawn.push_back(FourDigits(values[count == 1 ? 0 : i * (values.size() - 1) / (count - 1)]));
  }
  return object;
}

std::vector<proto::ListAttemptsReply::Attempt> AttemptsOf(const JobReport& report, uint32_t study) {
  std::vector<proto::ListAttemptsReply::Attempt> found;
  for (const auto& attempt : report.attempts) {
    if (attempt.study() == study) found.push_back(attempt);
  }
  return found;
}

// The job without what only its trials' pages show.
Json ReportJobJson(const proto::JobSummary& job) {
  proto::JobSummary brief = job;
  for (proto::StudySummary& study : *brief.mutable_studies()) {
    for (proto::TrialSummary& trial : *study.mutable_pareto()) trial.clear_execution();
  }
  return JobJson(brief);
}

std::string Dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string StudyData(const JobReport& report, size_t index, const Front& front, size_t most_trials) {
  const StudyReport& study = report.studies[index];
  const auto trials = Thinned(study.trials, front, most_trials);
  const auto attempts = AttemptsOf(report, report.job.studies(static_cast<int>(index)).study());
  const std::string work = attempts.size() <= kMostReportAttempts ? "{" + AttemptColumns(attempts) + "}" : "null";
  return fmt::format(
      "{{\"trials\":{{{}}},\"attempts\":{},\"attempts_total\":{},\"samples\":{},\"baseline_metrics\":{},\"shown\":{},"
      "\"total\":{}}}",
      TrialColumns(trials, front, ColumnSet::brief), work, attempts.size(),
      Dumped(DrawnSamples(study.best_samples.samples())), Dumped(MetricsJson(study.best_samples.baseline_metrics())),
      trials.size(), study.trials.size());
}

// {"schema", "version", "written", "job", "studies"}: what the page's drawReport takes.
std::string ReportData(const JobReport& report, int64_t unix_ms, size_t most_trials) {
  const Front front = FrontOf(report.job);
  std::string studies;
  for (size_t i = 0; i < report.studies.size(); ++i) {
    studies += (i > 0 ? "," : "") + StudyData(report, i, front, most_trials);
  }
  return fmt::format("{{\"schema\":\"hone.report/1\",\"version\":{},\"written\":{},\"job\":{},\"studies\":[{}]}}",
                     Dumped(HONE_VERSION), Dumped(TimeJson(static_cast<uint64_t>(unix_ms))),
                     Dumped(ReportJobJson(report.job)), studies);
}

std::string Page(const proto::JobSummary& job, const std::string& program, const std::string& packed_program,
                 const std::string& packed_data, const std::string& text) {
  const std::string policy =
      fmt::format("default-src 'none'; script-src {} {}; style-src {}; base-uri 'none'; form-action 'none'",
                  PolicyHash(kLoader), PolicyHash(program), PolicyHash(kReportStyle));
  std::string page = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  page += fmt::format("<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n", policy);
  page += fmt::format("<title>hone: job {} {}</title>\n<style>{}</style>\n</head>\n<body>\n", job.job(),
                      Markup(job.name()), kReportStyle);
  page +=
      "<main id=\"main\"><p class=\"loading\">Unpacking the report …</p></main>\n<p id=\"news\" class=\"hidden\" "
      "aria-live=\"polite\"></p>\n";
  page += fmt::format("<noscript><pre>{}</pre></noscript>\n", Markup(text));
  page += fmt::format("<script type=\"text/plain\" id=\"program\">{}</script>\n", packed_program);
  page += fmt::format("<script type=\"text/plain\" id=\"data\">{}</script>\n", packed_data);
  return page + fmt::format("<script>{}</script>\n</body>\n</html>\n", kLoader);
}

}  // namespace

Result<std::string> JobReportHtml(const JobReport& report, const std::string& text, int64_t unix_ms) {
  const std::string program = std::string(kReportProgram) + std::string(kStart);
  TRY_ASSIGN(const std::string packed_program, Packed(program));
  size_t largest = 0;
  for (const StudyReport& study : report.studies) largest = std::max(largest, study.trials.size());
  for (size_t most = std::max<size_t>(largest, 1);; most = most * 3 / 4) {
    TRY_ASSIGN(const std::string packed_data, Packed(ReportData(report, unix_ms, most)));
    std::string page = Page(report.job, program, packed_program, packed_data, text);
    if (page.size() <= kMostReportBytes || most <= 1) return page;
  }
}

}  // namespace hone
