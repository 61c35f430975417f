// hone submit and check: recipes on their way to a fleet.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <memory>

#include "client/command.h"
#include "client/interrupt.h"
#include "client/job_progress.h"
#include "client/job_request.h"
#include "client/recipe_check.h"
#include "client/remote.h"
#include "client/search_plan.h"
#include "client/text_output.h"
#include "common/base/strings.h"

namespace hone {
namespace {

struct SubmitOptions {
  JobOptions job;
  CoordinatorFlags coordinator;
  std::string request;
  int32_t priority = 0;
  bool wait = false;
  bool dry_run = false;
};

// Tells of an upload that takes long enough to be noticed.
class UploadReport {
 public:
  explicit UploadReport(Console& console) : console_(console) {}
  ~UploadReport() {
    if (told_ && on_terminal()) console_.Raw("\r\x1b[K");
  }
  bool operator()(uint64_t done, uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    const auto due = on_terminal() ? std::chrono::milliseconds(200) : std::chrono::milliseconds(5'000);
    if (!console_.quiet && now - last_ >= due) {
      const std::string text = fmt::format("upload {} of {}", HumanBytes(done), HumanBytes(total));
      console_.Raw(on_terminal() ? "\r" + text + "\x1b[K" : text + "\n");
      last_ = now;
      told_ = true;
    }
    return !Interrupted();
  }

 private:
  bool on_terminal() const { return console_.traits().err_terminal && !console_.traits().dumb; }
  Console& console_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool told_ = false;
};

Result<proto::SubmitJobReply> Upload(Client& client, const Client::Submission& submission, Console& console) {
  const HoldInterrupts hold;
  UploadReport report(console);
  Result<proto::SubmitJobReply> reply =
      client.Submit(submission, [&](uint64_t done, uint64_t total) { return report(done, total); });
  if (!reply && Interrupted()) {
    return Fail(ErrorCode::kInterrupted, "interrupted: no job was made",
                "the same command goes on with the upload where it stopped");
  }
  return reply;
}

constexpr int32_t kHighestPriority = 100;

Result<> ParsePriority(const std::string& text, int32_t& priority) {
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, priority);
  if (parsed.ec == std::errc() && parsed.ptr == end && std::abs(priority) <= kHighestPriority) return {};
  return Fail(ErrorCode::kUsage,
              fmt::format("must be a whole number from -{} to {}", kHighestPriority, kHighestPriority));
}

Result<int> DryRun(const SubmitOptions& options, Console& console) {
  const CoordinatorFlags* const coordinator = CoordinatorIfNamed(options.coordinator);
  TRY_ASSIGN(const SearchPlan plan, PlanSearch(options.job, coordinator, console.others));
  const std::string ending = coordinator == nullptr
                                 ? "nothing was submitted; no coordinator was named, this machine was asked"
                                 : "nothing was submitted";
  TRY(console.json ? console.PrintJson(PlanJson(plan))
                   : console.Print(DryRunText(plan, console.table_width(), ending)));
  return 0;
}

Result<int> Submit(const SubmitOptions& options, Console& console) {
  if (options.dry_run) return DryRun(options, console);
  std::optional<Client> client;
  TRY_ASSIGN(JobRequest request, PrepareJob(options.job, [&]() -> Result<proto::Catalogue> {
    TRY_ASSIGN(client, ConnectTo(options.coordinator));
    return client->Catalogue();
  }, &console.others));
  for (const std::string& note : request.notes) console.Note("hone: " + note);
  request.submission.request = options.request;
  request.submission.priority = options.priority;
  const Result<proto::SubmitJobReply> reply = Upload(*client, request.submission, console);
  if (!reply) {
    FindOthers(*client, CheckOf(request), reply.error(), console.others);
    return Fail(reply.error());
  }
  for (const std::string& note : reply->notes()) console.Note("hone: " + note);

  const std::string job = std::to_string(reply->job());
  if (options.wait) {
    console.Note(fmt::format("job {} submitted", job));
    FollowOptions follow;
    follow.live = CanDrawLive(console);
    follow.heartbeat = HeartbeatInterval();
    if (!console.quiet) follow.line = [&console](const std::string& line) { console.Note(line); };
    TRY_ASSIGN(const proto::JobSummary done, FollowJob(*client, reply->job(), console, follow));
    TRY(console.json ? console.PrintJson(JobJson(done)) : console.Print(JobText(done, console.table_width())));
    return JobExitCode(done);
  }
  if (console.json) {
    Json notes = Json::array();
    for (const std::string& note : reply->notes()) notes.push_back(note);
    TRY(console.PrintJson({{"schema", "hone.submit/1"}, {"job", job}, {"notes", notes}}));
  } else if (console.traits().out_terminal) {
    TRY(console.Print(fmt::format("job {} submitted\n  hone watch {}      hone get {} -o out\n", job, job, job)));
  } else {
    TRY(console.Print(job + "\n"));
  }
  return 0;
}

struct CheckOptions {
  std::string recipe;
  std::string model;
  std::string data;
  CoordinatorFlags coordinator;
};

Result<int> Check(const CheckOptions& options, Console& console) {
  TRY_ASSIGN(const proto::Recipe recipe, ReadRecipe(options.recipe, "onnx", &console.others));
  proto::CheckRecipe request;
  *request.mutable_recipe() = recipe;
  request.set_model_format(FormatOfName(options.model.empty() ? recipe.model() : options.model));
  // One data set is enough for both: it is parted.
  const bool data =
      !options.data.empty() || !recipe.calibration().path().empty() || !recipe.evaluation().path().empty();
  request.set_has_calibration(data);
  request.set_has_evaluation(data);

  const bool fleet_named = IsCoordinatorNamed(options.coordinator.endpoint);
  TRY_ASSIGN(const proto::CheckRecipeReply reply, CheckAgainstWorkers(options.coordinator, request, console.others));
  if (console.json) {
    TRY(console.PrintJson(CheckJson(options.recipe, reply)));
    return 0;
  }
  for (const std::string& note : reply.notes()) TRY(console.Print(note + "\n"));
  for (const auto& study : reply.studies()) {
    const std::string tags =
        study.tags_size() == 0 ? "any worker" : Join({study.tags().begin(), study.tags().end()}, " ");
    const std::string size = study.infinite() ? "infinitely many" : std::to_string(study.candidates());
    const std::string workers = study.workers_size() == 0
                                    ? "no worker matches now"
                                    : Join({study.workers().begin(), study.workers().end()}, ", ");
    TRY(console.Print(fmt::format("target {}: {} candidates; {}\n", tags, size,
                                  fleet_named ? workers : "checked against this machine")));
  }
  TRY(console.Print(options.recipe + " is valid\n"));
  return 0;
}

}  // namespace

Run DefineSubmit(Flags& flags) {
  auto options = std::make_shared<SubmitOptions>();
  AddJobFlags(flags, options->job);
  flags.Text("--request", "KEY", "the same key gives the same job: a repeated submit makes no second one",
             options->request);
  flags.Add({"--priority", Flags::Kind::value, "N",
             "-100 ... 100 (default 0): work of higher ones goes first", [options](const std::string& text) {
               return ParsePriority(text, options->priority);
             }});
  flags.Toggle("--wait", "wait for the end; exits as `wait`", options->wait);
  flags.Toggle("--dry-run", "check everything, tell what would be searched, and submit nothing", options->dry_run);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Submit(*options, console); };
}

Run DefineCheck(Flags& flags) {
  auto options = std::make_shared<CheckOptions>();
  flags.Argument("RECIPE", "the recipe file", options->recipe);
  flags.Text("--model", "M", "the model it is meant for (default: the recipe's, else ONNX)", options->model);
  flags.Text("--data", "D", "say that data will be given", options->data);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Check(*options, console); };
}

}  // namespace hone
