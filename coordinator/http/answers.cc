#include "coordinator/http/answers.h"

#include <event2/buffer.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"
#include "common/results/explanation.h"
#include "coordinator/http/columns.h"
#include "coordinator/http/nightly.h"
#include "coordinator/http/static_files.h"
#include "coordinator/http/submission.h"

namespace hone::answers {
namespace {

constexpr uint64_t kMostJobs = 100;
constexpr uint32_t kJobsAtOnce = 10;
constexpr int kJobPages = 50;
constexpr uint64_t kMostTrials = 50'000;
constexpr uint64_t kMostAttempts = 20'000;
constexpr uint32_t kAttemptsAtOnce = 1000;
constexpr size_t kMostCompared = 16;
constexpr uint64_t kMostStudies = 1 << 20;
constexpr uint64_t kLargest = INT64_MAX;
constexpr int64_t kLoopSilentMs = 2000;
constexpr size_t kMostText = 1000;

// The value, or the problem told and false.
#define OR_PROBLEM(exchange, declaration, expression)                                                      \
  auto HONE_CONCAT(answer_, __LINE__) = (expression);                                                      \
  if (!HONE_CONCAT(answer_, __LINE__)) return (exchange)->Problem(HONE_CONCAT(answer_, __LINE__).error()); \
  declaration = std::move(*HONE_CONCAT(answer_, __LINE__))

Identity IdentityOf(const HttpAsker& asker) { return {asker.name, asker.role}; }

using Frames = std::vector<proto::Frame>;

// Looks at all of them; then goes on, unless one was refused.
void LookAll(HttpContext& context, const ExchangePtr& exchange, Frames questions, std::function<void(Frames&)> then) {
  struct Gathered {
    Frames replies;
    size_t left = 0;
    bool failed = false;
  };
  auto gathered = std::make_shared<Gathered>();
  gathered->replies.resize(questions.size());
  gathered->left = questions.size();
  if (questions.empty()) return then(gathered->replies);
  for (size_t i = 0; i < questions.size(); ++i) {
    context.questions.Look(std::move(questions[i]), [gathered, exchange, then, i](const Result<proto::Frame>& reply) {
      if (gathered->failed) return;
      if (!reply) {
        gathered->failed = true;
        return exchange->Problem(reply.error());
      }
      gathered->replies[i] = *reply;
      if (--gathered->left == 0) then(gathered->replies);
    });
  }
}

void LookOne(HttpContext& context, const ExchangePtr& exchange, proto::Frame question,
             std::function<void(const proto::Frame&)> then) {
  LookAll(context, exchange, {std::move(question)}, [then = std::move(then)](Frames& replies) { then(replies[0]); });
}

// Something that changes something, as who asks.
void Change(HttpContext& context, const ExchangePtr& exchange, proto::Frame frame,
            std::function<void(const proto::Frame&)> then) {
  context.questions.Change(std::move(frame), IdentityOf(exchange->asker),
                           [exchange, then = std::move(then)](const Result<proto::Frame>& reply) {
                             if (!reply) return exchange->Problem(reply.error());
                             then(*reply);
                           });
}

// The object of a body that may be empty. Another site's form cannot send this type.
Result<Json> BodyOf(const Exchange& exchange) {
  if (exchange.Body().empty()) return Json::object();
  if (!exchange.Header("Content-Type").starts_with("application/json")) {
    return Fail(ErrorCode::kUsage, "the body's Content-Type is not application/json");
  }
  return ParseObject(exchange.Body());
}

Result<uint64_t> JobOf(const Exchange& exchange) { return exchange.Number("job", 0, 1, kLargest); }

proto::Frame JobQuestion(uint64_t job, bool inputs = false) {
  proto::Frame frame;
  frame.mutable_get_job()->set_job(job);
  frame.mutable_get_job()->set_inputs(inputs);
  return frame;
}

proto::Frame TrialQuestion(uint64_t job, uint64_t study, uint64_t trial) {
  proto::Frame frame;
  proto::ListTrials& list = *frame.mutable_list_trials();
  list.set_job(job);
  list.set_study(static_cast<uint32_t>(study));
  list.set_from(trial);
  list.set_limit(1);
  return frame;
}

Result<proto::TrialSummary> OnlyTrial(const proto::Frame& reply, uint64_t job, uint64_t study, uint64_t trial) {
  const auto& trials = reply.list_trials_reply().trials();
  if (trials.size() == 1 && trials[0].trial() == trial) return trials[0];
  return Fail(ErrorCode::kNotFound, fmt::format("job {} has no trial {} in study {}", job, trial, study),
              fmt::format("GET /api/v1/jobs/{}/trials lists them.", job));
}

// "7", "baseline", "best": nullopt for the best, which the job knows.
Result<std::optional<uint64_t>> ParseTrialName(const std::string& name) {
  if (name == "baseline") return std::optional<uint64_t>(0);
  if (name == "best") return std::optional<uint64_t>();
  const auto number = ParseInteger(name);
  if (!number || *number < 0)
    return Fail(ErrorCode::kUsage, fmt::format("'{}' is no trial", Printable(name, 40)), "A number, baseline or best.");
  return std::optional<uint64_t>(static_cast<uint64_t>(*number));
}

Result<uint64_t> BestOf(const proto::JobSummary& job, uint64_t study) {
  for (const auto& one : job.studies()) {
    if (one.study() == study && one.has_best()) return one.best().trial();
  }
  return Fail(ErrorCode::kNotFound, fmt::format("study {} of job {} has no best trial", study, job.job()));
}

Json OrNull(bool there, const std::function<Json()>& json) { return there ? json() : Json(nullptr); }

Json AttemptJson(const proto::GetLogReply::Attempt& attempt) {
  return {{"attempt", attempt.attempt()},
          {"kind", attempt.kind()},
          {"pass", TextOrNull(attempt.pass())},
          {"worker", attempt.worker()},
          {"outcome", attempt.outcome()},
          {"error", TextOrNull(attempt.error())},
          {"signal", attempt.signal()},
          {"exit_status", attempt.exit_status()},
          {"log", ToUtf8(attempt.output_tail())},
          {"wall_s", static_cast<double>(attempt.wall_ms()) / 1000},
          {"peak_memory_bytes", attempt.peak_memory_bytes()},
          {"started", TimeJson(attempt.started_unix_ms())},
          {"late_reports", attempt.late_reports()}};
}

Json TrialDetailJson(uint64_t job, const proto::TrialSummary& trial, const proto::TrialSummary* baseline,
                     const proto::GetSamplesReply& samples, const proto::GetLogReply& log) {
  Json document = WithSchema("hone.trial/1", TrialJson(trial));
  document["job"] = std::to_string(job);
  document["created"] = TimeJson(trial.created_unix_ms());
  document["ended"] = TimeJson(trial.ended_unix_ms());
  document["model_files"] =
      OrNull(trial.has_model() && trial.model().files_size() > 0, [&] { return BundleJson(trial.model()); });
  const auto& beside =
      samples.baseline_metrics().empty() && baseline != nullptr ? baseline->metrics() : samples.baseline_metrics();
  const bool executed = baseline != nullptr && baseline->has_execution();
  document["baseline"] = {{"metrics", MetricsJson(beside)},
                          {"intervals", IntervalsJson(beside)},
                          {"execution", OrNull(executed, [&] { return ExecutionJson(baseline->execution()); })}};
  Json series = Json::object();
  for (const auto& one : samples.samples()) {
    Json values = Json::array();
    for (const double value : one.values()) values.push_back(NumberOrNull(value));
    series[one.series()] = std::move(values);
  }
  document["samples"] = std::move(series);
  Json attempts = Json::array();
  for (const auto& attempt : log.attempts()) attempts.push_back(AttemptJson(attempt));
  document["attempts_log"] = std::move(attempts);
  document["command"] = log.command();
  document["profile"] = nullptr;
  return document;
}

void SendTrial(HttpContext& context, const ExchangePtr& exchange, uint64_t job, uint64_t study, uint64_t trial) {
  proto::Frame samples, log;
  samples.mutable_get_samples()->set_job(job);
  samples.mutable_get_samples()->set_study(static_cast<uint32_t>(study));
  samples.mutable_get_samples()->set_trial(trial);
  log.mutable_get_log()->set_job(job);
  log.mutable_get_log()->set_study(static_cast<uint32_t>(study));
  log.mutable_get_log()->set_trial(trial);
  LookAll(context, exchange, {TrialQuestion(job, study, trial), TrialQuestion(job, study, 0), samples, log},
          [=](Frames& replies) {
            OR_PROBLEM(exchange, const proto::TrialSummary found, OnlyTrial(replies[0], job, study, trial));
            const auto baseline = OnlyTrial(replies[1], job, study, 0);
            exchange->Json(200, TrialDetailJson(job, found, baseline ? &*baseline : nullptr,
                                                replies[2].get_samples_reply(), replies[3].get_log_reply()));
          });
}

Json SessionJson(const HttpContext& context, const HttpAsker& asker) {
  struct MayRow {
    HttpAccess access;
    const char* name;
  };
  static constexpr MayRow kRows[] = {{HttpAccess::read, "read"},
                                     {HttpAccess::submit, "submit"},
                                     {HttpAccess::cancel, "cancel"},
                                     {HttpAccess::drain, "drain"}};
  Json may = Json::array();
  for (const MayRow& row : kRows) {
    if (May(asker, row.access, context.options)) may.push_back(row.name);
  }
  return {{"schema", "hone.session/1"},
          {"name", TextOrNull(asker.name)},
          {"role", asker.anonymous ? "anonymous" : RoleName(asker.role)},
          {"may", may}};
}

constexpr const char* kCookie = "hone_session=";

std::string CookieText(const HttpContext& context, const std::string& token, int64_t seconds) {
  const bool secure = context.options.behind_proxy || !context.options.tls_certificate.empty();
  return fmt::format("{}{}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}", kCookie, token, seconds,
                     secure ? "; Secure" : "");
}

template <class State>
Result<std::set<State>> ParseStates(const std::string& text, State first, State last) {
  std::set<State> states;
  std::vector<std::string> known;
  for (int i = first; i <= last; ++i) known.push_back(StateName(static_cast<State>(i)));
  if (text.empty()) return states;
  for (const std::string& word : Split(text, ',')) {
    const auto found = std::find(known.begin(), known.end(), word);
    if (found == known.end()) {
      return Fail(ErrorCode::kUsage, fmt::format("'{}' is no state{}", Printable(word, 40), DidYouMean(word, known)),
                  "One of " + Join(known, ", ") + ".");
    }
    states.insert(static_cast<State>(first + (found - known.begin())));
  }
  return states;
}

struct JobSearch {
  std::set<proto::JobState> states;
  std::string owner, name;
  uint64_t limit = 0;
  uint64_t before = 0;
  int pages = 0;
  Json found = Json::array();

  bool Fits(const proto::JobSummary& job) const {
    return (states.empty() || states.count(job.state()) > 0) && (owner.empty() || job.owner() == owner) &&
           (name.empty() || job.name().find(name) != std::string::npos);
  }
};

void SearchJobs(HttpContext& context, const ExchangePtr& exchange, const std::shared_ptr<JobSearch>& search) {
  proto::Frame frame;
  frame.mutable_list_jobs()->set_before(search->before);
  frame.mutable_list_jobs()->set_limit(kJobsAtOnce);
  LookOne(context, exchange, std::move(frame), [&context, exchange, search](const proto::Frame& reply) {
    const auto& jobs = reply.list_jobs_reply().jobs();
    for (const auto& job : jobs) {
      if (search->found.size() == search->limit) break;
      search->before = job.job();
      if (search->Fits(job)) search->found.push_back(JobBody(job));
    }
    const bool more = !jobs.empty() && search->before > 1;
    const bool enough = search->found.size() == search->limit || ++search->pages >= kJobPages;
    if (more && !enough) return SearchJobs(context, exchange, search);
    exchange->Json(200, {{"schema", "hone.jobs/1"},
                         {"jobs", search->found},
                         {"next", more ? Json(std::to_string(search->before)) : Json(nullptr)}});
  });
}

struct AttemptPages {
  std::vector<proto::ListAttemptsReply::Attempt> attempts;
  uint64_t after = 0;
  uint64_t limit = 0;
};

void ReadAttempts(HttpContext& context, const ExchangePtr& exchange, uint64_t job,
                  const std::shared_ptr<AttemptPages>& pages) {
  proto::Frame frame;
  frame.mutable_list_attempts()->set_job(job);
  frame.mutable_list_attempts()->set_after(pages->after);
  frame.mutable_list_attempts()->set_limit(
      static_cast<uint32_t>(std::min<uint64_t>(kAttemptsAtOnce, pages->limit - pages->attempts.size())));
  LookOne(context, exchange, std::move(frame), [&context, exchange, job, pages](const proto::Frame& reply) {
    const auto& page = reply.list_attempts_reply();
    for (const auto& attempt : page.attempts()) pages->attempts.push_back(attempt);
    if (page.attempts_size() > 0) pages->after = pages->attempts.back().attempt();
    if (page.more() && pages->attempts.size() < pages->limit) return ReadAttempts(context, exchange, job, pages);
    exchange->JsonText(200, AttemptColumnsJson(job, pages->attempts, page.more()));
  });
}

struct Compared {
  std::string name;
  uint64_t job = 0;
  std::optional<uint64_t> trial;  // nullopt: the job's best.
};

Result<std::vector<Compared>> ParseCompared(const std::string& text) {
  std::vector<Compared> all;
  for (const std::string& name : Split(text, ',')) {
    const size_t slash = name.find('/');
    const auto job = ParseInteger(name.substr(0, slash));
    if (slash == std::string::npos || !job || *job < 1) {
      return Fail(ErrorCode::kUsage, fmt::format("'{}' is no JOB/TRIAL", Printable(name, 40)),
                  "As 42/7,42/baseline,43/best.");
    }
    TRY_ASSIGN(const auto trial, ParseTrialName(name.substr(slash + 1)));
    all.push_back({name, static_cast<uint64_t>(*job), trial});
  }
  if (all.size() >= 2 && all.size() <= kMostCompared) return all;
  return Fail(ErrorCode::kUsage, fmt::format("2 to {} trials are compared", kMostCompared));
}

void SendCompared(HttpContext& context, const ExchangePtr& exchange, uint64_t study, const std::vector<Compared>& all) {
  Frames questions;
  for (const Compared& one : all) questions.push_back(TrialQuestion(one.job, study, *one.trial));
  LookAll(context, exchange, std::move(questions), [exchange, study, all](Frames& replies) {
    std::vector<proto::TrialSummary> trials;
    Json names = Json::array(), pairs = Json::array();
    for (size_t i = 0; i < all.size(); ++i) {
      OR_PROBLEM(exchange, proto::TrialSummary trial, OnlyTrial(replies[i], all[i].job, study, *all[i].trial));
      trials.push_back(std::move(trial));
      names.push_back(all[i].name);
      if (i > 0) pairs.push_back(ComparisonJson(trials[0], trials[i]));
    }
    exchange->Json(200, {{"schema", "hone.comparisons/1"}, {"trials", names}, {"pairs", pairs}});
  });
}

void SetDraining(HttpContext& context, const ExchangePtr& exchange, bool draining) {
  proto::Frame frame;
  const std::string worker = exchange->parameters.at("worker");
  frame.mutable_drain_worker()->set_name(worker);
  frame.mutable_drain_worker()->set_undrain(!draining);
  Change(context, exchange, std::move(frame), [exchange, worker, draining](const proto::Frame&) {
    exchange->Json(200, {{"schema", "hone.drain/1"}, {"worker", worker}, {"draining", draining}});
  });
}

struct ByteRange {
  uint64_t first = 0;
  uint64_t count = 0;
  bool part = false;
};

// One part, "bytes=0-99", "bytes=100-" or "bytes=-100"; what is written otherwise is as if it were not there. nullopt:
// none of it is there.
std::optional<ByteRange> RangeOf(const std::string& header, uint64_t size) {
  const ByteRange whole = {0, size, false};
  if (!header.starts_with("bytes=") || header.find(',') != std::string::npos) return whole;
  const size_t dash = header.find('-');
  const std::string first_text = header.substr(6, dash == std::string::npos ? 0 : dash - 6);
  const auto first = ParseInteger(first_text);
  const auto last = dash == std::string::npos ? ParseInteger("") : ParseInteger(header.substr(dash + 1));
  if (first_text.empty() && last && *last > 0) {
    const auto count = std::min<uint64_t>(static_cast<uint64_t>(*last), size);
    return ByteRange{size - count, count, true};
  }
  if (!first || *first < 0 || (!last && dash + 1 != header.size())) return whole;
  const auto begin = static_cast<uint64_t>(*first);
  const uint64_t end = last ? static_cast<uint64_t>(std::max<int64_t>(*last, 0)) : size - 1;
  if (begin >= size || end < begin) return std::nullopt;
  return ByteRange{begin, std::min(end, size - 1) - begin + 1, true};
}

// "bytes FIRST-LAST/SIZE"
Result<std::pair<uint64_t, uint64_t>> ContentRangeOf(const std::string& header, size_t body) {
  unsigned long long first = 0, last = 0, size = 0;
  char rest = 0;
  const bool read = std::sscanf(header.c_str(), "bytes %19llu-%19llu/%19llu%c", &first, &last, &size, &rest) == 3;
  const bool fits = read && header.find_first_of("+-", 6) == header.find('-') && first <= last && last < size &&
                    last - first + 1 == body && size <= static_cast<unsigned long long>(kLargest);
  if (fits) return std::pair<uint64_t, uint64_t>{first, size};
  return Fail(ErrorCode::kUsage, "Content-Range is not \"bytes FIRST-LAST/SIZE\" of what the body holds",
              "Send pieces of at most 1 MiB, in order.");
}

}  // namespace

void Health(HttpContext& context, const ExchangePtr& exchange) {
  const bool turns = context.hand_over.SilenceMs() < kLoopSilentMs;
  exchange->Bytes(turns ? 200 : 503, "text/plain", turns ? "ok\n" : "the coordinator's loop does not turn\n");
}

void Ready(HttpContext& context, const ExchangePtr& exchange) {
  const bool turns = context.hand_over.SilenceMs() < kLoopSilentMs;
  const bool told = !exchange->asker.anonymous || context.options.open_reading;
  const auto send = [exchange, told, turns](bool database, const std::string& disk) {
    Json checks = Json::array();
    bool ready = true;
    const auto add = [&](const char* name, bool ok, const std::string& detail) {
      ready = ready && ok;
      checks.push_back({{"name", name}, {"ok", ok}, {"detail", told ? TextOrNull(detail) : Json(nullptr)}});
    };
    add("loop", turns, turns ? "" : "it does not turn");
    add("database", database, "");
    add("disk", disk.empty(), disk);
    exchange->Json(ready ? 200 : 503, {{"ready", ready}, {"checks", checks}});
  };
  if (!turns) return send(false, "");
  proto::Frame frame;
  frame.mutable_ping();
  context.questions.Look(std::move(frame), [send](const Result<proto::Frame>& reply) {
    send(reply.has_value(), reply ? reply->ping_reply().disk() : "");
  });
}

void Version(HttpContext&, const ExchangePtr& exchange) {
  exchange->Json(200,
                 {{"program", "hone-coordinator"}, {"version", HONE_VERSION}, {"api", 1}, {"protocol", kProtocol}});
}

void Metrics(HttpContext& context, const ExchangePtr& exchange) {
  context.hand_over.WantFigures();
  proto::Frame frame;
  frame.mutable_list_workers();
  LookOne(context, exchange, std::move(frame), [&context, exchange](const proto::Frame& reply) {
    Figures::Now now;
    now.workers.assign(reply.list_workers_reply().workers().begin(), reply.list_workers_reply().workers().end());
    now.event_streams = context.events.open();
    now.event_gaps = context.events.dropped();
    now.connections = context.connections.open();
    now.data = context.options.data;
    now.started_unix_ms = context.started_unix_ms;
    exchange->Bytes(200, "text/plain; version=0.0.4; charset=utf-8", context.figures.Text(now));
  });
}

void OpenApi(HttpContext&, const ExchangePtr& exchange) { SendStaticFile(*exchange, *FindStaticFile("openapi.yaml")); }

void WhoAmI(HttpContext& context, const ExchangePtr& exchange) {
  exchange->Json(200, SessionJson(context, exchange->asker));
}

void LogIn(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const Json body, BodyOf(*exchange));
  OR_PROBLEM(exchange, const auto token, TextMember(body, "token", kMostText));
  const HttpAsker asker = context.who(token.value_or(""));
  if (asker.anonymous) {
    context.figures.CountAuthFailure("unknown_token");
    return exchange->Problem(401,
                             {ErrorCode::kDenied, "this token is not known", "`hone token create NAME` makes one."});
  }
  exchange->AddHeader("Set-Cookie", CookieText(context, *token, int64_t{30} * 24 * 3600));
  exchange->Json(200, SessionJson(context, asker));
}

void LogOut(HttpContext& context, const ExchangePtr& exchange) {
  exchange->AddHeader("Set-Cookie", CookieText(context, "", 0));
  exchange->Empty(204);
}

void ListJobs(HttpContext& context, const ExchangePtr& exchange) {
  auto search = std::make_shared<JobSearch>();
  OR_PROBLEM(exchange, search->limit, exchange->Number("limit", 50, 1, kMostJobs));
  OR_PROBLEM(exchange, search->before, exchange->Number("before", 0, 0, kLargest));
  OR_PROBLEM(exchange, search->states, ParseStates(exchange->Query("state"), proto::JOB_RUNNING, proto::JOB_CANCELLED));
  search->owner = exchange->Query("owner");
  search->name = exchange->Query("name");
  SearchJobs(context, exchange, search);
}

void Submit(HttpContext& context, const ExchangePtr& exchange) {
  if (!exchange->Header("Content-Type").starts_with("application/json")) {
    return exchange->Problem(415, {ErrorCode::kUsage, "a submission is application/json"});
  }
  proto::Frame frame;
  OR_PROBLEM(exchange, *frame.mutable_submit_job(), ParseSubmission(exchange->Body()));
  Change(context, exchange, std::move(frame), [exchange](const proto::Frame& reply) {
    const auto& submitted = reply.submit_job_reply();
    exchange->AddHeader("Location", fmt::format("/api/v1/jobs/{}", submitted.job()));
    exchange->Json(201, {{"schema", "hone.submit/1"},
                         {"job", std::to_string(submitted.job())},
                         {"notes", TextsJson(submitted.notes())}});
  });
}

void GetJob(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  LookOne(context, exchange, JobQuestion(job, true), [exchange](const proto::Frame& frame) {
    const proto::GetJobReply& reply = frame.get_job_reply();
    Json document = JobJson(reply.job());
    document["recipe"] = WriteRecipe(reply.recipe());
    document["model_files"] = BundleJson(reply.model());
    document["calibration"] = OrNull(reply.has_calibration(), [&] { return BundleJson(reply.calibration().bundle()); });
    document["evaluation"] = OrNull(reply.has_evaluation(), [&] { return BundleJson(reply.evaluation().bundle()); });
    exchange->Json(200, document);
  });
}

void ListTrials(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  TrialSelection selection;
  OR_PROBLEM(exchange, selection.from, exchange->Number("from", 0, 0, kLargest));
  OR_PROBLEM(exchange, selection.limit, exchange->Number("limit", 20'000, 1, kMostTrials));
  OR_PROBLEM(exchange, selection.states,
             ParseStates(exchange->Query("state"), proto::TRIAL_WAITING, proto::TRIAL_FAILED));
  OR_PROBLEM(exchange, const uint64_t study, exchange->Number("study", 0, 0, kMostStudies));
  if (exchange->query().count("study") > 0) selection.study = static_cast<uint32_t>(study);
  selection.since = exchange->Query("since");
  if (const std::string metrics = exchange->Query("metrics"); !metrics.empty()) {
    const auto names = Split(metrics, ',');
    selection.metrics = std::set<std::string>(names.begin(), names.end());
  }
  if (exchange->Query("columns") == "brief") selection.columns = ColumnSet::brief;
  context.trials.Get(job, [exchange, selection](const Result<const JobRows*>& rows) {
    if (!rows) return exchange->Problem(rows.error());
    exchange->JsonText(200, TrialColumnsJson(**rows, selection));
  });
}

void GetTrial(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  OR_PROBLEM(exchange, const uint64_t study, exchange->Number("study", 0, 0, kMostStudies));
  OR_PROBLEM(exchange, const auto trial, ParseTrialName(exchange->parameters.at("trial")));
  if (trial) return SendTrial(context, exchange, job, study, *trial);
  LookOne(context, exchange, JobQuestion(job), [&context, exchange, job, study](const proto::Frame& reply) {
    OR_PROBLEM(exchange, const uint64_t best, BestOf(reply.get_job_reply().job(), study));
    SendTrial(context, exchange, job, study, best);
  });
}

void ListAttempts(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  auto pages = std::make_shared<AttemptPages>();
  OR_PROBLEM(exchange, pages->after, exchange->Number("after", 0, 0, kLargest));
  OR_PROBLEM(exchange, pages->limit, exchange->Number("limit", kMostAttempts, 1, kMostAttempts));
  ReadAttempts(context, exchange, job, pages);
}

void ExplainJob(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  context.trials.Get(job, [exchange, job](const Result<const JobRows*>& rows) {
    if (!rows) return exchange->Problem(rows.error());
    std::vector<proto::TrialSummary> trials;
    for (const auto& [name, row] : (*rows)->rows) trials.push_back(row.trial);
    std::vector<Explanation> explanations;
    for (const auto& study : (*rows)->summary.studies())
      explanations.push_back(Explain((*rows)->summary, study, trials));
    exchange->Json(200, ExplanationsJson(job, explanations));
  });
}

void Events(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, exchange->Number("job", 0, exchange->parameters.empty() ? 0 : 1, kLargest));
  OR_PROBLEM(exchange, const uint64_t asked, exchange->Number("after", 0, 0, kLargest));
  std::optional<uint64_t> after;
  if (exchange->query().count("after") > 0) after = asked;
  if (const std::string last = exchange->Header("Last-Event-ID"); !last.empty()) {
    const auto number = ParseInteger(last);
    if (!number || *number < 0) return exchange->Problem({ErrorCode::kUsage, "Last-Event-ID is no number"});
    after = static_cast<uint64_t>(*number);
  }
  if (exchange->Takes("application/json")) {
    proto::Frame frame;
    frame.mutable_watch_events()->set_job(job);
    frame.mutable_watch_events()->set_after(after.value_or(0));
    return LookOne(context, exchange, std::move(frame), [exchange, after](const proto::Frame& reply) {
      const auto& watched = reply.watch_events_reply();
      Json events = Json::array();
      for (const auto& event : watched.events()) events.push_back(EventJson(event));
      const uint64_t last = watched.events().empty() ? std::max(after.value_or(0), watched.last())
                                                     : watched.events().rbegin()->sequence();
      exchange->Json(200,
                     {{"schema", "hone.events/1"}, {"events", events}, {"last", last}, {"gap", watched.gap() > 0}});
    });
  }
  if (job == 0) return context.events.Open(*exchange, 0, after);
  // A job that is not there is told so, not watched for ever.
  LookOne(context, exchange, JobQuestion(job),
          [&context, exchange, job, after](const proto::Frame&) { context.events.Open(*exchange, job, after); });
}

void Cancel(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  OR_PROBLEM(exchange, const Json body, BodyOf(*exchange));
  OR_PROBLEM(exchange, const auto reason, TextMember(body, "reason", kMostText));
  proto::Frame frame;
  frame.mutable_cancel_job()->set_job(job);
  frame.mutable_cancel_job()->set_reason(reason.value_or(""));
  Change(context, exchange, std::move(frame), [exchange, job](const proto::Frame& reply) {
    exchange->Json(200, {{"schema", "hone.cancel/1"},
                         {"job", std::to_string(job)},
                         {"was_running", reply.cancel_job_reply().was_running()}});
  });
}

void Retry(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t job, JobOf(*exchange));
  OR_PROBLEM(exchange, const Json body, BodyOf(*exchange));
  OR_PROBLEM(exchange, const auto study, NumberMember(body, "study", 0, kMostStudies));
  OR_PROBLEM(exchange, const auto trial, NumberMember(body, "trial", 0, kLargest));
  proto::Frame frame;
  frame.mutable_retry_job()->set_job(job);
  if (study) frame.mutable_retry_job()->set_study(static_cast<uint32_t>(*study));
  if (trial) frame.mutable_retry_job()->set_trial(static_cast<uint64_t>(*trial));
  Change(context, exchange, std::move(frame), [exchange, job](const proto::Frame& reply) {
    exchange->Json(
        200, {{"schema", "hone.retry/1"}, {"job", std::to_string(job)}, {"trials", reply.retry_job_reply().trials()}});
  });
}

void CompareTrials(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const uint64_t study, exchange->Number("study", 0, 0, kMostStudies));
  OR_PROBLEM(exchange, auto all, ParseCompared(exchange->Query("trials")));
  Frames jobs;
  for (const Compared& one : all) jobs.push_back(JobQuestion(one.job));
  LookAll(context, exchange, std::move(jobs), [&context, exchange, study, all](Frames& replies) {
    std::vector<Compared> known = all;
    for (size_t i = 0; i < known.size(); ++i) {
      if (known[i].trial) continue;
      OR_PROBLEM(exchange, known[i].trial, BestOf(replies[i].get_job_reply().job(), study));
    }
    SendCompared(context, exchange, study, known);
  });
}

void ListWorkers(HttpContext& context, const ExchangePtr& exchange) {
  proto::Frame frame;
  frame.mutable_list_workers();
  LookOne(context, exchange, std::move(frame), [exchange](const proto::Frame& reply) {
    const auto& workers = reply.list_workers_reply().workers();
    exchange->Json(200, WorkersJson({workers.begin(), workers.end()}));
  });
}

void Drain(HttpContext& context, const ExchangePtr& exchange) { SetDraining(context, exchange, true); }

void Undrain(HttpContext& context, const ExchangePtr& exchange) { SetDraining(context, exchange, false); }

void GetFleet(HttpContext& context, const ExchangePtr& exchange) {
  proto::Frame workers, catalogue;
  workers.mutable_list_workers();
  catalogue.mutable_get_catalogue();
  LookAll(context, exchange, {workers, catalogue}, [exchange](Frames& replies) {
    Json states = {{"ready", 0}, {"busy", 0}, {"draining", 0}, {"lost", 0}};
    std::map<std::string, int> tags;
    for (const auto& worker : replies[0].list_workers_reply().workers()) {
      states[worker.state()] = states[worker.state()].get<int>() + 1;
      if (worker.state() == "lost") continue;
      for (const std::string& tag : worker.tags()) ++tags[tag];
    }
    const proto::Catalogue& all = replies[1].get_catalogue_reply().catalogue();
    Json passes = PassesJson(all)["passes"], backends = BackendsJson(all)["backends"];
    exchange->Json(200, {{"schema", "hone.fleet/1"},
                         {"workers", states},
                         {"tags", Json(tags)},
                         {"passes", passes},
                         {"backends", backends}});
  });
}

void ListSuites(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const Json suites, NightlySuitesJson(context.options.nightly));
  exchange->Json(200, suites);
}

void NightlyHistory(HttpContext& context, const ExchangePtr& exchange) {
  OR_PROBLEM(exchange, const Json history,
             NightlyHistoryJson(context.options.nightly, exchange->parameters.at("suite")));
  exchange->Json(200, history);
}

void GetArtifact(HttpContext& context, const ExchangePtr& exchange) {
  const std::string digest = exchange->parameters.at("digest");
  const auto missing = [&] {
    exchange->Problem({ErrorCode::kNotFound, fmt::format("the store has no artifact {}", Printable(digest, 80))});
  };
  const std::filesystem::path file = context.artifacts.PathOf(digest);
  if (file.empty() || !context.artifacts.Has(digest)) return missing();
  auto opened = OpenRegular(file, Links::refuse);
  if (!opened) return missing();
  const std::string etag = "\"" + digest + "\"";
  exchange->AddHeader("ETag", etag);
  exchange->AddHeader("Cache-Control", "private, max-age=31536000, immutable");
  exchange->AddHeader("Accept-Ranges", "bytes");
  // Never shown, always saved: it is somebody's model.
  exchange->AddHeader("Content-Disposition",
                      fmt::format("attachment; filename=\"{}\"", digest.substr(digest.find(':') + 1)));
  if (exchange->Header("If-None-Match").find(etag) != std::string::npos) return exchange->Empty(304);
  const auto range = RangeOf(exchange->Header("Range"), opened->size_bytes);
  if (!range) {
    exchange->AddHeader("Content-Range", fmt::format("bytes */{}", opened->size_bytes));
    return exchange->Problem(416, {ErrorCode::kUsage, "nothing of that range is there"});
  }
  if (range->part)
    exchange->AddHeader("Content-Range", fmt::format("bytes {}-{}/{}", range->first, range->first + range->count - 1,
                                                     opened->size_bytes));
  // The buffer closes its copy of the descriptor.
  const int copy = fcntl(opened->descriptor.get(), F_DUPFD_CLOEXEC, 0);
  evbuffer* body = evbuffer_new();
  const bool added = copy >= 0 && evbuffer_add_file(body, copy, static_cast<ev_off_t>(range->first),
                                                    static_cast<ev_off_t>(range->count)) == 0;
  if (added) {
    exchange->Buffer(range->part ? 206 : 200, "application/octet-stream", body);
  } else {
    if (copy >= 0) ::close(copy);
    exchange->Problem({ErrorCode::kUnreachable, "the artifact cannot be read now"});
  }
  evbuffer_free(body);
}

void PutArtifact(HttpContext& context, const ExchangePtr& exchange) {
  const std::string digest = exchange->parameters.at("digest");
  if (context.artifacts.PathOf(digest).empty())
    return exchange->Problem({ErrorCode::kUsage, fmt::format("'{}' is no digest", Printable(digest, 80))});
  const std::string_view body = exchange->Body();
  if (body.size() > kChunkBytes) return exchange->Problem(413, {ErrorCode::kUsage, "a piece has at most 1 MiB"});
  OR_PROBLEM(exchange, const auto range, ContentRangeOf(exchange->Header("Content-Range"), body.size()));
  proto::Frame frame;
  proto::PutChunk& chunk = *frame.mutable_put_chunk();
  chunk.set_digest(digest);
  chunk.set_offset(range.first);
  chunk.set_size_bytes(range.second);
  chunk.set_data(body.data(), body.size());
  Change(context, exchange, std::move(frame), [exchange, digest](const proto::Frame& reply) {
    const auto& put = reply.put_chunk_reply();
    exchange->Json(put.complete() ? 201 : 202,
                   {{"digest", digest}, {"received_bytes", put.received_bytes()}, {"complete", put.complete()}});
  });
}

void Page(HttpContext& context, const ExchangePtr& exchange) {
  exchange->parameters["file"] = "index.html";
  File(context, exchange);
}

void File(HttpContext&, const ExchangePtr& exchange) {
  const std::string& name = exchange->parameters.at("file");
  const StaticFile* file = FindStaticFile(name);
  if (file == nullptr)
    return exchange->Problem({ErrorCode::kNotFound, fmt::format("there is no '{}'", Printable(name, 200))});
  SendStaticFile(*exchange, *file);
}

}  // namespace hone::answers
