#include "client/remote.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/configuration.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr std::chrono::milliseconds kPingTimeout{3'000};

}  // namespace

std::string CoordinatorEndpoint(const std::string& flag) {
  return flag.empty() ? TheConfiguration().Get("coordinator").value : flag;
}

bool IsCoordinatorNamed(const std::string& flag) {
  return !flag.empty() || !TheConfiguration().Get("coordinator").is_default();
}

std::string KeysFolder(const std::string& flag) { return flag.empty() ? TheConfiguration().Get("keys").value : flag; }

void AddCoordinatorFlag(Flags& flags, CoordinatorFlags& coordinator) {
  flags.Text("--coordinator", "EP",
             "tcp://host:port or ipc://path; else $HONE_COORDINATOR, the configuration, tcp://127.0.0.1:5710",
             coordinator.endpoint);
  flags.Add({"--context", Flags::Kind::value, "CONTEXT", "a named coordinator with its keys (`hone context`)",
             [](const std::string& name) -> Result<> {
               Configuration configuration = TheConfiguration();
               TRY(configuration.UseContext(name));
               SetTheConfiguration(std::move(configuration));
               return {};
             }});
  AddKeysFlag(flags, coordinator);
}

void AddKeysFlag(Flags& flags, CoordinatorFlags& coordinator) {
  flags.Text("--keys", "DIR", "the folder of this machine's keys (`hone keys`); else $HONE_KEYS, else without keys",
             coordinator.keys);
}

Result<Client> DialCoordinator(const CoordinatorFlags& coordinator) {
  DialerOptions options;
  if (const std::string folder = KeysFolder(coordinator.keys); !folder.empty()) {
    TRY_ASSIGN(options.keys, LoadDialerKeys(folder, KeyKind::client));
  }
  return Client::Connect(CoordinatorEndpoint(coordinator.endpoint), options);
}

Result<Client> ConnectTo(const CoordinatorFlags& coordinator) {
  const std::string endpoint = CoordinatorEndpoint(coordinator.endpoint);
  TRY_ASSIGN(Client client, DialCoordinator(coordinator));
  const Result<proto::PingReply> reply = client.Ping(kPingTimeout);
  if (reply) return client;
  Error error = reply.error();
  if (error.code == ErrorCode::kUnreachable) {
    error.message = fmt::format("no coordinator answers at {}", endpoint);
    error.remedy = fmt::format(
        "start one: hone-coordinator --listen {} --data DIR\nor name another with --coordinator or HONE_COORDINATOR",
        endpoint);
  }
  return Fail(std::move(error));
}

Result<uint64_t> ParseJob(const std::string& text) {
  const Result<int64_t> job = ParseInteger(text);
  if (job && *job > 0) return static_cast<uint64_t>(*job);
  return Fail(ErrorCode::kUsage, fmt::format("'{}' is no job number", Printable(text, 100)),
              "jobs are numbers: see `hone jobs`");
}

Result<JobReference> ParseJobReference(const std::string& text) {
  const size_t slash = text.find('/');
  JobReference reference;
  TRY_ASSIGN(reference.job, ParseJob(text.substr(0, slash)));
  if (slash == std::string::npos) return reference;
  const std::string trial = text.substr(slash + 1);
  if (trial == "best") return reference;
  if (trial == "baseline") {
    reference.trial = 0;
    return reference;
  }
  const Result<int64_t> number = ParseInteger(trial);
  if (!number || *number < 0) {
    return Fail(ErrorCode::kUsage, fmt::format("'{}' is no trial of a job", Printable(text, 100)),
                "write JOB, JOB/TRIAL or JOB/baseline");
  }
  reference.trial = static_cast<uint64_t>(*number);
  return reference;
}

Result<proto::TrialSummary> FindTrial(Client& client, uint64_t job, uint32_t study, uint64_t number) {
  TRY_ASSIGN(const std::vector<proto::TrialSummary> trials, client.Trials(job, study));
  const auto trial =
      std::find_if(trials.begin(), trials.end(), [&](const proto::TrialSummary& one) { return one.trial() == number; });
  if (trial != trials.end()) return *trial;
  return Fail(ErrorCode::kNotFound, fmt::format("job {} has no trial {}", job, number),
              fmt::format("see `hone trials {}`", job));
}

}  // namespace hone
