// hone doctor: what works on this machine, in the order in which things depend on each other.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "client/command.h"
#include "client/embedded_fleet.h"
#include "client/local_task.h"
#include "client/remote.h"
#include "client/sister_program.h"
#include "client/table.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// A program that says nothing for so long is broken.
constexpr std::chrono::seconds kAnswer{60};

enum class Health { ok, warning, fault };

struct Finding {
  const char* check;
  Health health;
  std::string detail;
  std::string remedy;
};

struct Examination {
  CoordinatorFlags coordinator;
  std::string redis;                // Its URL; "": none is asked for.
  std::string redis_password_file;
  proto::Catalogue catalogue;       // After the runtimes were looked at.
  bool worker_runs = false;
  std::vector<Finding> findings;

  void Ok(const char* check, std::string detail) { findings.push_back({check, Health::ok, std::move(detail), ""}); }
  void Warn(const char* check, std::string detail, std::string remedy) {
    findings.push_back({check, Health::warning, std::move(detail), std::move(remedy)});
  }
  void Fault(const char* check, std::string detail, std::string remedy) {
    findings.push_back({check, Health::fault, std::move(detail), std::move(remedy)});
  }
};

void CheckPrograms(Examination& e) {
  static constexpr std::pair<const char*, const char*> kPrograms[] = {{"hone-worker", "HONE_WORKER"},
                                                                      {"hone-coordinator", "HONE_COORDINATOR_PROGRAM"}};
  for (const auto& [name, variable] : kPrograms) {
    const Result<fs::path> found = FindProgram(name, variable);
    if (found) {
      e.Ok("program", found->string());
    } else {
      e.Fault("program", found.error().message, found.error().remedy);
    }
  }
}

void CheckRuntimes(Examination& e) {
  Result<proto::Catalogue> catalogue = LocalCatalogue();
  if (!catalogue) {
    e.Fault("worker", catalogue.error().message, catalogue.error().remedy);
    return;
  }
  e.worker_runs = true;
  e.catalogue = std::move(*catalogue);
  e.Ok("worker", fmt::format("runs, with {} passes", e.catalogue.passes_size()));
  bool reference = false;
  for (const proto::BackendInfo& backend : e.catalogue.backends()) {
    reference = reference || backend.reference();
    e.Ok("backend", fmt::format("{} {} on {}", backend.name(), backend.version(),
                                Join({backend.devices().begin(), backend.devices().end()}, ", ")));
  }
  if (!reference) e.Fault("backend", "the reference backend, which runs the baseline, is missing", "install ONNX Runtime: ops/setup");
}

void CheckSandbox(Examination& e) {
  if (!e.worker_runs) return;
  const Result<ProgramAnswer> answer = AskProgram("hone-worker", "HONE_WORKER", {"sandbox", "--json"}, kAnswer);
  if (!answer) {
    e.Fault("sandbox", answer.error().message, answer.error().remedy);
    return;
  }
  const std::string level = answer->document.value("level", "");
  std::vector<std::string> missing;
  for (const Json& part : answer->document.value("missing", Json::array())) missing.push_back(part.is_string() ? part.get<std::string>() : "");
  const std::string text = fmt::format("sandbox={}{}", level, missing.empty() ? "" : "; missing: " + Join(missing, "; "));
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
  if (!e.worker_runs) return;   // The cause is named above.
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
    e.Ok("service", fmt::format("coordinator and worker start and find each other in {}", HumanDuration(SystemClock().SteadyMs() - start)));
  } else {
    e.Fault("service", fleet.error().message, fleet.error().remedy);
  }
}

void CheckCoordinator(Examination& e) {
  const bool named = !e.coordinator.endpoint.empty() || std::getenv("HONE_COORDINATOR") != nullptr;
  const std::string endpoint = CoordinatorEndpoint(e.coordinator.endpoint);
  Result<Client> client = ConnectTo(e.coordinator);
  if (client) {
    const Result<std::vector<proto::WorkerSummary>> workers = client->Workers();
    e.Ok("coordinator", fmt::format("{} answers, {} workers known", endpoint, workers ? workers->size() : 0));
  } else if (named) {
    e.Fault("coordinator", client.error().message, client.error().remedy);
  } else {
    e.Ok("coordinator", fmt::format("none at {} (`hone optimize` needs none)", endpoint));
  }
}

void CheckMachine(Examination& e) {
  const proto::Fingerprint& machine = e.catalogue.fingerprint();
  if (!e.worker_runs) return;
  e.Ok("processor", fmt::format("{}, {} cores allowed", machine.cpu_model(), machine.cores_allowed()));
  constexpr uint64_t kLittleMemory = 2ull << 30;
  const std::string memory = HumanBytes(machine.memory_bytes()) + " allowed";
  if (machine.memory_bytes() < kLittleMemory) {
    e.Warn("memory", memory, "large models will fail for want of memory");
  } else {
    e.Ok("memory", memory);
  }
  if (machine.governor().empty() || machine.governor() == "performance") {
    e.Ok("governor", machine.governor().empty() ? "the machine shows none" : machine.governor());
  } else {
    e.Warn("governor", machine.governor(), "clock changes widen the intervals: sudo cpupower frequency-set -g performance");
  }
}

void CheckLoad(Examination& e) {
  double load[1] = {0};
  if (getloadavg(load, 1) != 1) return;
  const double cores = std::max<uint32_t>(1, e.catalogue.fingerprint().cores_allowed());
  const std::string text = fmt::format("{:.1f} busy processes on average over the last minute", load[0]);
  if (e.worker_runs && load[0] > 0.5 * cores) {
    e.Warn("other load", text, "other work disturbs measurements: intervals get wide");
  } else {
    e.Ok("other load", text);
  }
}

void CheckSpace(Examination& e) {
  constexpr uint64_t kLittle = 1'000'000'000;
  std::error_code failure;
  for (const fs::path& folder : {fs::current_path(failure), fs::temp_directory_path(failure)}) {
    const fs::space_info space = fs::space(folder, failure);
    if (failure) {
      e.Fault("disk", fmt::format("{}: {}", folder.string(), failure.message()), "");
    } else if (space.available < kLittle) {
      e.Warn("disk", fmt::format("{} free at {}", HumanBytes(space.available), folder.string()), "candidates of a search need room");
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
    e.Fault("timing lock", lock.error().message, "make it writable for everybody who measures here, or set HONE_MACHINE_LOCK");
  }
}

constexpr void (*kChecks[])(Examination&) = {CheckPrograms,    CheckRuntimes, CheckSandbox, CheckEmbedded, CheckCoordinator,
                                             CheckRedis,       CheckMachine,  CheckLoad,    CheckSpace,    CheckLock};

std::string HealthName(Health health) {
  switch (health) {
    case Health::ok: return "ok";
    case Health::warning: return "warning";
    case Health::fault: return "fault";
  }
  return "fault";
}

Result<int> Doctor(Examination examination, Console& console) {
  for (const auto check : kChecks) check(examination);

  int faults = 0;
  int warnings = 0;
  Json checks = Json::array();
  Table table({{"", Align::left, false}, {"", Align::left, false}, {"", Align::left, false}});
  for (const Finding& finding : examination.findings) {
    faults += finding.health == Health::fault ? 1 : 0;
    warnings += finding.health == Health::warning ? 1 : 0;
    const Json remedy = finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy);
    checks.push_back({{"check", finding.check}, {"state", HealthName(finding.health)}, {"detail", finding.detail}, {"remedy", remedy}});
    table.Row({finding.check, HealthName(finding.health), Printable(finding.detail)});
    if (finding.remedy.empty()) continue;
    for (const std::string& line : Split(finding.remedy, '\n')) table.Row({"", "", "  " + Printable(line)});
  }
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.doctor/1"}, {"version", HONE_VERSION}, {"checks", checks}, {"faults", faults}, {"warnings", warnings}}));
  } else {
    TRY(console.Print(table.Text() + fmt::format("warnings: {}, faults: {}\n", warnings, faults)));
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
