// hone doctor: what works on this machine, in the order in which things depend on each other. What stands on something
// that is broken is skipped, with the name of what it waits for: there is one cause to mend at a time.
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "client/command.h"
#include "client/configuration.h"
#include "client/embedded_fleet.h"
#include "client/help.h"
#include "client/local_task.h"
#include "client/machine_checks.h"
#include "client/remote.h"
#include "client/sister_program.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"
#include "common/transport/endpoint.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// A program that says nothing for so long is broken.
constexpr std::chrono::seconds kAnswer{60};
constexpr std::chrono::milliseconds kPing{3'000};

struct Examination {
  CoordinatorFlags coordinator;
  std::string redis;                // Its URL; "": none is asked for.
  std::string redis_password_file;
  proto::Catalogue catalogue;       // After the runtimes were looked at.
  std::optional<Client> client;     // After the coordinator answered.
  std::vector<Finding> findings;

  void Ok(const char* check, std::string detail) { findings.push_back({check, Health::ok, std::move(detail), ""}); }
  void Warn(const char* check, std::string detail, std::string remedy) {
    findings.push_back({check, Health::warning, std::move(detail), std::move(remedy)});
  }
  void Fault(const char* check, std::string detail, std::string remedy) {
    findings.push_back({check, Health::fault, std::move(detail), std::move(remedy)});
  }
  void Fault(const char* check, const Error& error) {
    const std::string place = error.file.empty() ? "" : fmt::format("{}:{}:{}: ", error.file, error.line, error.column);
    Fault(check, place + error.message, error.remedy);
  }
};

void CheckConfiguration(Examination& e) {
  const auto configuration = Configuration::Load(ConfigurationPlaces::Find());
  if (!configuration) return e.Fault("configuration", configuration.error());
  size_t told = 0;
  for (const SettingInfo& info : SettingCatalogue()) told += configuration->Get(info.key).is_default() ? 0 : 1;
  e.Ok("configuration", told == 0 ? "defaults" : fmt::format("{} settings told; `hone config show --origin`", told));
}

void CheckProgram(Examination& e, const char* name, const char* variable) {
  const Result<fs::path> found = FindProgram(name, variable);
  if (!found) return e.Fault(name, found.error());
  ProcessOptions options;
  options.arguments = {found->string(), "--version"};
  const auto output = RunCommand(options, kAnswer);
  constexpr int kUsageStatus = 2;
  if (output && output->status.code == kUsageStatus) {
    return e.Warn(name, fmt::format("{} does not tell its version", found->string()),
                  "it is an older one: install all programs from one release");
  }
  if (!output || output->status.code != 0) {
    return e.Fault(name,
                   fmt::format("{} does not start: {}", found->string(),
                               output ? Printable(output->err, 500) : output.error().message),
                   "a library that it needs is missing: ldd " + found->string());
  }
  const std::string version(Trim(output->out));
  if (version.find(HONE_VERSION) == std::string::npos) {
    return e.Warn(name,
                  fmt::format("{} is {}, this program {}", found->string(), Printable(version, 100), HONE_VERSION),
                  "install both from one release");
  }
  e.Ok(name, found->string());
}

void CheckWorkerProgram(Examination& e) { CheckProgram(e, "hone-worker", "HONE_WORKER"); }
void CheckCoordinatorProgram(Examination& e) { CheckProgram(e, "hone-coordinator", "HONE_COORDINATOR_PROGRAM"); }

void CheckRuntimes(Examination& e) {
  Result<proto::Catalogue> catalogue = LocalCatalogue();
  if (!catalogue) return e.Fault("runtimes", catalogue.error());
  e.catalogue = std::move(*catalogue);
  e.Ok("runtimes", fmt::format("load, with {} passes", e.catalogue.passes_size()));
}

void CheckBackends(Examination& e) {
  bool reference = false;
  for (const proto::BackendInfo& backend : e.catalogue.backends()) {
    reference = reference || backend.reference();
    e.Ok("backend", fmt::format("{} {} on {}", backend.name(), backend.version(),
                                Join({backend.devices().begin(), backend.devices().end()}, ", ")));
  }
  if (!reference)
    e.Fault("backend", "the reference backend, which runs the baseline, is missing", "install ONNX Runtime: ops/setup");
  if (e.catalogue.backends_size() == 1)
    e.Warn("backend", "one backend alone: a search cannot choose between engines", "install the other: ops/setup");
}

void CheckSandbox(Examination& e) {
  const Result<ProgramAnswer> answer = AskProgram("hone-worker", "HONE_WORKER", {"sandbox", "--json"}, kAnswer);
  if (!answer) {
    e.Fault("sandbox", answer.error().message, answer.error().remedy);
    return;
  }
  const std::string level = answer->document.value("level", "");
  std::vector<std::string> missing;
  for (const Json& part : answer->document.value("missing", Json::array()))
    missing.push_back(part.is_string() ? part.get<std::string>() : "");
  const std::string text =
      fmt::format("sandbox={}{}", level, missing.empty() ? "" : "; missing: " + Join(missing, "; "));
  if (level == "full") {
    e.Ok("sandbox", text);
  } else {
    e.Warn("sandbox", text, "recipes with a higher `sandbox:` are not served by this machine (docs/sandbox.md)");
  }
}

void CheckRedis(Examination& e) {
  if (e.redis.empty()) return;
  std::vector<std::string> words = {"redis", e.redis};
  if (!e.redis_password_file.empty()) words.insert(words.end(), {"--password-file", e.redis_password_file});
  const Result<ProgramAnswer> answer = AskProgram("hone-coordinator", "HONE_COORDINATOR_PROGRAM", words, kAnswer);
  if (answer) {
    e.Ok("redis", answer->document.value("address", "") + " answers and lets keys of hone be read and written");
  } else {
    e.Fault("redis", answer.error().message, answer.error().remedy);
  }
}

void CheckEmbedded(Examination& e) {
  const Result<ScopedFolder> state = ScopedFolder::Make(fs::temp_directory_path(), "hone-doctor-");
  if (!state) {
    e.Fault("service", state.error().message, "make the temporary folder writable, or set TMPDIR");
    return;
  }
  FleetOptions options;
  options.state = state->path();
  const int64_t start = SystemClock().SteadyMs();
  const Result<std::unique_ptr<EmbeddedFleet>> fleet = EmbeddedFleet::Start(options);
  if (fleet) {
    e.Ok("service", fmt::format("coordinator and worker start and find each other in {}",
                                HumanDuration(SystemClock().SteadyMs() - start)));
  } else {
    e.Fault("service", fleet.error().message, fleet.error().remedy);
  }
}

// The folder and the secret in it; who else can read it is told by the one who loads it.
void CheckKeys(Examination& e) {
  const std::string folder = KeysFolder(e.coordinator.keys);
  if (folder.empty()) return e.Ok("keys", "none: only coordinators on this machine's loopback are spoken to without");
  const auto keys = LoadDialerKeys(folder, KeyKind::client);
  if (!keys) return e.Fault("keys", keys.error());
  e.Ok("keys", fmt::format("{}, public key {}...", folder, keys->own.public_key.substr(0, 8)));
}

// Where a connection fails is the first question: the name, the port, or what answers there.
void CheckNetwork(Examination& e) {
  const std::string text = CoordinatorEndpoint(e.coordinator.endpoint);
  const auto endpoint = ParseEndpoint(text, ErrorCode::kRejected);
  if (!endpoint) return e.Fault("network", endpoint.error());
  if (endpoint->kind == Endpoint::Kind::kIpc) {
    std::error_code failure;
    if (fs::exists(endpoint->path, failure)) return e.Ok("network", endpoint->path);
    return e.Fault("network", "there is no socket " + endpoint->path,
                   fmt::format("start the coordinator: hone-coordinator --listen {} --data DIR", text));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = getaddrinfo(endpoint->host.c_str(), std::to_string(endpoint->port).c_str(), &hints, &found);
  if (failure != 0) {
    return e.Fault("network", fmt::format("the name {} does not resolve: {}", endpoint->host, gai_strerror(failure)),
                   "mend the name, or write the address");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
  const Descriptor socket(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = connect(socket.get(), found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    constexpr int kPatienceMs = 3'000;
    pollfd waiting{socket.get(), POLLOUT, 0};
    error = poll(&waiting, 1, kPatienceMs) == 1 ? 0 : ETIMEDOUT;
    socklen_t size = sizeof error;
    if (error == 0) getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error == 0) return e.Ok("network", text + " takes connections");
  const bool refused = error == ECONNREFUSED;
  e.Fault("network", fmt::format("{}: {}", text, std::strerror(error)),
          refused ? fmt::format("nothing listens there: hone-coordinator --listen {} --data DIR", text)
                  : "look at the firewall, the address and the port");
}

void CheckCoordinator(Examination& e) {
  const std::string endpoint = CoordinatorEndpoint(e.coordinator.endpoint);
  Result<Client> client = ConnectTo(e.coordinator);
  if (!client) return e.Fault("coordinator", client.error());
  const auto ping = client->Ping(kPing);
  if (!ping) return e.Fault("coordinator", ping.error());
  e.Ok("coordinator", fmt::format("{} answers, {}{}", endpoint, ping->version(),
                                  ping->role().empty() ? ", without keys" : ", as " + ping->role()));
  if (ping->version() != HONE_VERSION) {
    e.Warn("version", fmt::format("the coordinator is {}, this program {}", ping->version(), HONE_VERSION),
           "update the older one (docs/operations.md)");
  }
  const int64_t ahead = static_cast<int64_t>(ping->unix_ms()) - SystemClock().UnixMs();
  constexpr int64_t kFarMs = 2'000;
  if (std::abs(ahead) > kFarMs) {
    e.Warn("clocks",
           fmt::format("the coordinator is {} {}", HumanDuration(std::abs(ahead)), ahead > 0 ? "ahead" : "behind"),
           "leases do not mind; times in lists are off: run chrony or systemd-timesyncd");
  }
  if (!ping->disk().empty())
    e.Fault("store", Printable(ping->disk(), 300), "make room on the coordinator's disk (docs/operations.md)");
  e.client = std::move(*client);
}

void CheckWorkers(Examination& e) {
  const auto workers = e.client->Workers();
  if (!workers) return e.Fault("workers", workers.error());
  std::map<std::string, std::vector<std::string>> by_state;
  for (const proto::WorkerSummary& worker : *workers) by_state[worker.state()].push_back(worker.name());
  const size_t able = by_state["ready"].size() + by_state["busy"].size();
  if (able == 0) {
    return e.Fault("workers", workers->empty() ? "none ever said hello" : "none is ready: jobs wait",
                   fmt::format("on each machine: hone-worker --coordinator {} --data DIR",
                               CoordinatorEndpoint(e.coordinator.endpoint)));
  }
  e.Ok("workers", fmt::format("{} ready or busy", able));
  if (!by_state["lost"].empty())
    e.Warn("workers", "lost: " + Join(by_state["lost"], ", "), "see their machines: systemctl status hone-worker");
  if (!by_state["draining"].empty())
    e.Warn("workers", "draining: " + Join(by_state["draining"], ", "), "take them up again: hone drain NAME --undo");
}

void CheckMachine(Examination& e) {
  for (Finding& finding : CheckMachineFiles("/")) e.findings.push_back(std::move(finding));
}

void CheckDescriptors(Examination& e) {
  rlimit limit{};
  constexpr rlim_t kFew = 1024;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const std::string text = fmt::format("{} open files allowed", limit.rlim_max);
  if (limit.rlim_max < kFew) return e.Warn("limits", text, "raise it: ulimit -n 4096, or LimitNOFILE= of the unit");
  e.Ok("limits", text);
}

// Runners are started from the temporary folder's files, and write there.
void CheckTemporary(Examination& e) {
  std::error_code failure;
  const fs::path folder = fs::temp_directory_path(failure);
  if (failure) return e.Fault("temporary folder", failure.message(), "set TMPDIR to a folder that can be written");
  const auto made = ScopedFolder::Make(folder, "hone-doctor-");
  if (!made) return e.Fault("temporary folder", made.error().message, "make it writable, or set TMPDIR");
  e.Ok("temporary folder", folder.string());
}

void CheckSpace(Examination& e) {
  constexpr uint64_t kLittle = 1'000'000'000;
  std::error_code failure;
  for (const fs::path& folder : {fs::current_path(failure), fs::temp_directory_path(failure)}) {
    const fs::space_info space = fs::space(folder, failure);
    if (failure) {
      e.Fault("disk", fmt::format("{}: {}", folder.string(), failure.message()), "");
    } else if (space.available < kLittle) {
      e.Warn("disk", fmt::format("{} free at {}", HumanBytes(space.available), folder.string()),
             "candidates of a search need room");
    } else {
      e.Ok("disk", fmt::format("{} free at {}", HumanBytes(space.available), folder.string()));
    }
  }
}

void CheckLock(Examination& e) {
  const fs::path path = MachineLock::DefaultPath();
  const Result<MachineLock> lock = MachineLock::Open(path);
  if (lock) {
    e.Ok("timing lock", path.string());
  } else {
    e.Fault("timing lock", lock.error().message,
            "make it writable for everybody who measures here, or set HONE_MACHINE_LOCK");
  }
}

bool Always(const Examination&) { return true; }
bool WithCoordinator(const Examination& e) { return IsCoordinatorNamed(e.coordinator.endpoint); }
bool WithRedis(const Examination& e) { return !e.redis.empty(); }

// A check runs where nothing that it needs was at fault.
struct CheckRow {
  const char* name;
  void (*run)(Examination&);
  const char* needs = "";          // Names of findings, with spaces between.
  bool (*wanted)(const Examination&) = Always;
};
constexpr CheckRow kChecks[] = {
    {"configuration", CheckConfiguration},
    {"temporary folder", CheckTemporary},
    {"disk", CheckSpace},
    {"limits", CheckDescriptors},
    {"hone-worker", CheckWorkerProgram},
    {"hone-coordinator", CheckCoordinatorProgram},
    {"runtimes", CheckRuntimes, "hone-worker"},
    {"backend", CheckBackends, "hone-worker runtimes"},
    {"sandbox", CheckSandbox, "hone-worker runtimes"},
    {"timing lock", CheckLock},
    {"service", CheckEmbedded, "hone-worker runtimes hone-coordinator temporary-folder"},
    {"keys", CheckKeys, "configuration"},
    {"network", CheckNetwork, "configuration", WithCoordinator},
    {"coordinator", CheckCoordinator, "configuration keys network", WithCoordinator},
    {"workers", CheckWorkers, "configuration keys network coordinator", WithCoordinator},
    {"redis", CheckRedis, "hone-coordinator", WithRedis},
    {"machine", CheckMachine},
};

// The first of the names that is at fault, or was skipped for something that is; "".
std::string BrokenOf(const std::string& needs, const std::vector<Finding>& findings) {
  for (const std::string& word : Split(needs, ' ')) {
    for (const Finding& finding : findings) {
      std::string name = finding.check;
      std::replace(name.begin(), name.end(), ' ', '-');
      if (name == word && finding.health == Health::fault) return finding.check;
    }
  }
  return "";
}

void Examine(Examination& e) {
  for (const CheckRow& row : kChecks) {
    if (!row.wanted(e)) continue;
    const std::string broken = BrokenOf(row.needs, e.findings);
    if (broken.empty()) {
      row.run(e);
    } else {
      e.findings.push_back({row.name, Health::skipped, fmt::format("mend `{}` first", broken), ""});
    }
  }
}

Result<int> Doctor(Examination& examination, Console& console) {
  Examine(examination);

  int faults = 0;
  int warnings = 0;
  Json checks = Json::array();
  std::string text;
  constexpr size_t kIndent = 27;
  const size_t width = console.table_width() == 0 ? 100'000 : std::max<size_t>(console.table_width(), 20);
  // In a narrow window what is told of a check stands below its name.
  const bool beside = width >= 2 * kIndent;
  for (const Finding& finding : examination.findings) {
    faults += finding.health == Health::fault ? 1 : 0;
    warnings += finding.health == Health::warning ? 1 : 0;
    const Json remedy = finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy);
    checks.push_back({{"check", finding.check},
                      {"state", HealthName(finding.health)},
                      {"detail", finding.detail},
                      {"remedy", remedy}});
    const size_t indent = beside ? kIndent : 4;
    const std::string head = fmt::format("{:<17} {:<8} ", finding.check, HealthName(finding.health));
    const std::string detail = Printable(finding.detail);
    text += beside ? Wrapped(head + detail, width, indent) + "\n"
                   : head + "\n" + Wrapped("    " + detail, width, indent) + "\n";
    if (finding.remedy.empty()) continue;
    for (const std::string& line : Split(finding.remedy, '\n')) {
      text += Wrapped(std::string(indent, ' ') + "-> " + Printable(line), width, indent + 3) + "\n";
    }
  }
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.doctor/1"},
                           {"version", HONE_VERSION},
                           {"checks", checks},
                           {"faults", faults},
                           {"warnings", warnings}}));
  } else {
    TRY(console.Print(text + fmt::format("warnings: {}, faults: {}\n", warnings, faults)));
  }
  return faults == 0 ? 0 : ExitCode(ErrorCode::kNo);
}

}  // namespace

Run DefineDoctor(Flags& flags) {
  auto examination = std::make_shared<Examination>();
  AddCoordinatorFlag(flags, examination->coordinator);
  flags.Text("--redis", "URL", "also look whether this Redis serves a coordinator (docs/redis.md)", examination->redis);
  flags.Text("--redis-password-file", "FILE", "holds its password (mode 0600)", examination->redis_password_file);
  return [examination](Console& console) { return Doctor(*examination, console); };
}

}  // namespace hone
