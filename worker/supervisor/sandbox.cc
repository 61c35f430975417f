#include "worker/supervisor/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <link.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "worker/external/declarations.h"
#include "worker/supervisor/system_calls.h"

extern char** environ;

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr rlim_t kOpenFiles = 65536;
constexpr rlim_t kFileBytes = rlim_t{256}
                              << 30;  // Models of tens of gigabytes pass; a runaway writer does not fill every disk.
constexpr rlim_t kStackBytes = 64 << 20;
constexpr rlim_t kTasks = 16384;                  // Processes and threads of a user namespace of its own.
constexpr char kTurnOff[] = "HONE_SANDBOX_OFF";
constexpr int kAbiOfTruncation = 3;
constexpr int kAbiOfSignals = 6;
constexpr int kFilesOneByOne = 256;               // Of a bundle; more are granted by their folder.

struct PartRow {
  uint32_t part;
  const char* name;
  const char* stands;
  const char* lacks;
};
constexpr PartRow kParts[] = {
    {kPrivileges, "privileges", "no new privileges, no capabilities, bounded resources",
     "the kernel refused to take privileges away"},
    {kSystemCalls, "system_calls", "system calls filtered: no network, no programs, no devices",
     "this kernel filters no system calls (CONFIG_SECCOMP_FILTER)"},
    {kFiles, "files", "a view of the file system that holds libraries and the work's own files (Landlock)",
     "this kernel does not guard files (Landlock: Linux 5.13 with landlock among its security modules)"},
    {kSignals, "signals", "no signals to processes outside",
     "this kernel does not bound signals (Linux 6.12, or process namespaces allowed to this user)"},
    {kNamespaces, "namespaces", "processes, network and IPC of its own",
     "namespaces are not allowed to this user here"},
    {kGroups, "groups", "a control group of its own, which ends by one write",
     "control groups are not delegated to this worker (version 2, Linux 5.14; a service with Delegate=yes)"},
};

// --- resources and privileges
// ----------------------------------------------------------------------------------------------------

Result<> Limit(int resource, rlim_t wish, std::string_view name) {
  rlimit limit{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0) {
    limit.rlim_max = std::min(limit.rlim_max, wish);
    limit.rlim_cur = resource == RLIMIT_STACK ? std::min(limit.rlim_cur, limit.rlim_max) : limit.rlim_max;
    if (setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0) return {};
  }
  return Fail(ErrorCode::kEnvironment, fmt::format("{}: {}", name, std::strerror(errno)));
}

// Raising one's own score needs no privilege. Without /proc the kernel simply chooses by size.
void VolunteerForOomKiller() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "1000", 4);
  close(fd);
}

// Root without capabilities is an ordinary user. A worker's folder may have another owner than root, so reading stays
// possible; what is read is bounded by the view. A person who is root may work on other people's files.
Result<> DropCapabilities(Owner owner) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, sets) == 0) {
    uint32_t keep = 1U << CAP_DAC_READ_SEARCH;
    if (owner == Owner::person) keep |= 1U << CAP_DAC_OVERRIDE;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
      sets[i].permitted &= i == 0 ? keep : 0;
      sets[i].effective = sets[i].permitted;
      sets[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &header, sets) == 0) return {};
  }
  return Fail(ErrorCode::kEnvironment, fmt::format("drop capabilities: {}", std::strerror(errno)));
}

Result<> RenouncePrivileges(Owner owner, uint32_t standing) {
  TRY(Limit(RLIMIT_CORE, 0, "limit core files"));
  TRY(Limit(RLIMIT_NOFILE, kOpenFiles, "limit open files"));
  TRY(Limit(RLIMIT_FSIZE, kFileBytes, "limit file sizes"));
  TRY(Limit(RLIMIT_STACK, kStackBytes, "limit stacks"));
  // Elsewhere the limit would count all processes of this user.
  if ((standing & kNamespaces) != 0 && geteuid() != 0) TRY(Limit(RLIMIT_NPROC, kTasks, "limit processes"));
  VolunteerForOomKiller();
  TRY(DropCapabilities(owner));
  return {};
}

// --- the view
// --------------------------------------------------------------------------------------------------------------------

// What runtimes and drivers read. Of /etc only what the loader and drivers are set up by; /proc shows no other
// process's memory, environment or files, because Landlock also denies tracing.
constexpr const char* kSystemPlaces[] = {
    "/usr",           "/lib",        "/lib32",       "/lib64",         "/etc/ld.so.cache",
    "/etc/localtime", "/etc/OpenCL", "/etc/nvidia",  "/etc/vulkan",    "/proc",
    "/sys/devices",   "/sys/class",  "/sys/bus",     "/sys/fs/cgroup", "/sys/kernel/mm",
    "/sys/module",    "/dev/random", "/dev/urandom", "/proc/self/exe",
};
constexpr const char* kPlainDevices[] = {"/dev/null", "/dev/zero", "/dev/full"};
// Accelerators: folders of nodes, and prefixes of nodes in /dev.
constexpr const char* kAcceleratorFolders[] = {"/dev/dri", "/dev/accel", "/dev/nvidia-caps"};
constexpr std::string_view kAcceleratorPrefixes[] = {"nvidia", "kfd", "dxg", "davinci", "hailo", "apex_"};

int CollectFolder(dl_phdr_info* info, size_t, void* folders) {
  const fs::path library = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (library.is_absolute()) static_cast<std::set<fs::path>*>(folders)->insert(library.parent_path());
  return 0;
}

// Folders that libraries of this process came from, where their plug-ins are too, and those that the environment names
// for more.
std::set<fs::path> LibraryFolders() {
  std::set<fs::path> folders;
  dl_iterate_phdr(CollectFolder, &folders);
  const char* named = std::getenv("LD_LIBRARY_PATH");
  for (const std::string& folder : Split(named == nullptr ? "" : named, ':')) {
    if (fs::path(folder).is_absolute()) folders.insert(folder);
  }
  folders.erase("/");
  return folders;
}

void AddAccelerators(FileView& view) {
  for (const char* folder : kAcceleratorFolders) view.Device(folder);
  std::error_code ignored;
  for (fs::directory_iterator node("/dev", ignored), end; !ignored && node != end; node.increment(ignored)) {
    const std::string name = node->path().filename().string();
    const auto begins = [&](std::string_view prefix) { return name.starts_with(prefix); };
    if (std::any_of(std::begin(kAcceleratorPrefixes), std::end(kAcceleratorPrefixes), begins))
      view.Device(node->path());
  }
}

void AddLock(FileView& view, const fs::path& lock) {
  if (lock.empty()) return;
  const auto made =
      MachineLock::Open(lock);  // Inside the sandbox it could not be made. What cannot be made is the task's to tell.
  if (!made) return;
  view.Read(lock);                            // An flock needs no more.
  view.Read(lock.string() + ".gate");
}

void AddBundle(FileView& view, const proto::LocalBundle& local) {
  const proto::Bundle& bundle = local.bundle();
  const bool of_folder = bundle.main().empty() || bundle.format() == "tensorflow";  // Its reader lists the folder.
  const bool complete = bundle.files_size() > 0 && bundle.files_size() <= kFilesOneByOne && !of_folder &&
                        std::all_of(bundle.files().begin(), bundle.files().end(),
                                    [](const auto& file) { return IsDigest(file.digest()); });
  if (local.folder().empty()) return;
  if (!complete) {
    view.Read(local.folder());
    if (IsSafeRelativePath(bundle.main()))
      view.Read(fs::path(local.folder()) / bundle.main());  // It may be a link that a person named.
    return;
  }
  // An empty file of weights is no part of a bundle, and readers open it all the same.
  const std::string weights = fs::path(bundle.main()).replace_extension(".bin").string();
  if (bundle.format() == "openvino_ir" && IsSafeRelativePath(weights)) view.ReadBeneath(local.folder(), weights);
  for (const proto::File& file : bundle.files()) {
    if (!IsSafeRelativePath(file.path())) continue;
    if (file.path() == bundle.main()) {
      view.Read(fs::path(local.folder()) / file.path());
    } else {
      view.ReadBeneath(local.folder(), file.path());
    }
  }
}

// What the system's own programs and their loader are, the declared places, and what stands in the command's words.
void AddProgram(FileView& view, const ExternalPass& pass) {
  for (const char* place : {"/usr", "/bin", "/lib", "/lib32", "/lib64"}) view.Execute(place);
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator("/etc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("python3") || name == "alternatives" || name == "mime.types") view.Read(entry.path());
  }
  for (const std::string& place : pass.reads) view.Execute(place);
  for (const std::string& word : pass.command) {
    if (fs::path(word).is_absolute()) view.Execute(word);
  }
}

void AddTask(FileView& view, const proto::BuildTask& task) {
  if (const ExternalPass* program = FindExternalPass(task.step().pass())) AddProgram(view, *program);
  AddBundle(view, task.model());
  if (task.has_calibration()) AddBundle(view, task.calibration().data());
  view.Write(task.output_folder());
}

void AddTask(FileView& view, const proto::MeasureTask& task) {
  AddBundle(view, task.candidate().model());
  if (task.has_baseline()) AddBundle(view, task.baseline().model());
  if (task.has_evaluation()) AddBundle(view, task.evaluation().data());
  if (!task.cache_folder().empty()) view.Write(task.cache_folder());
  AddLock(view, task.exclusive_lock());
}

void AddTask(FileView& view, const proto::InspectTask& task) {
  AddBundle(view, task.model());
  for (const proto::LocalData& data : task.data()) AddBundle(view, data.data());
}

void AddTask(FileView& view, const proto::SensitivityTask& task) {
  AddBundle(view, task.model());
  if (task.has_calibration()) AddBundle(view, task.calibration().data());
  if (task.has_evaluation()) AddBundle(view, task.evaluation().data());
  AddLock(view, task.exclusive_lock());
}

void AddTask(FileView& view, const proto::BenchmarkTask& task) {
  for (const proto::Subject& subject : task.subjects()) AddBundle(view, subject.model());
  if (task.has_evaluation()) AddBundle(view, task.evaluation().data());
  AddLock(view, task.exclusive_lock());
}

// --- the environment
// -------------------------------------------------------------------------------------------------------------

constexpr std::string_view kKeptVariables[] = {"LANG", "TZ", "LD_LIBRARY_PATH"};
constexpr std::string_view kKeptPrefixes[] = {"LC_",     "HONE_", "OMP_",      "KMP_", "GOMP_", "MKL_",  "DNNL_",
                                              "ONEDNN_", "TBB_",  "OPENVINO_", "OV_",  "ORT_",  "CUDA_", "NVIDIA_",
                                              "ROCR_",   "HIP_",  "ZE_",       "NEO_", "OCL_"};

bool IsKept(std::string_view variable) {
  const std::string_view name = variable.substr(0, variable.find('='));
  return std::find(std::begin(kKeptVariables), std::end(kKeptVariables), name) != std::end(kKeptVariables) ||
         std::any_of(std::begin(kKeptPrefixes), std::end(kKeptPrefixes),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

const char* WordOf(SandboxLevel level) {
  switch (level) {
    case SandboxLevel::full:
      return "full";
    case SandboxLevel::partial:
      return "partial";
    case SandboxLevel::none:
      break;
  }
  return "none";
}

SandboxLevel Sandbox::level() const {
  if (Has(kPrivileges | kSystemCalls | kFiles | kSignals)) return SandboxLevel::full;
  return (parts & (kSystemCalls | kFiles | kNamespaces)) != 0 ? SandboxLevel::partial : SandboxLevel::none;
}

std::vector<std::string> Sandbox::Applied() const {
  std::vector<std::string> texts;
  for (const PartRow& row : kParts) {
    if (Has(row.part)) texts.push_back(fmt::format("{}: {}", row.name, row.stands));
  }
  return texts;
}

std::vector<std::string> Sandbox::Missing() const {
  std::vector<std::string> texts;
  const uint32_t off = PartsTurnedOff();
  for (const PartRow& row : kParts) {
    if (Has(row.part)) continue;
    texts.push_back((off & row.part) != 0 ? fmt::format("{}: turned off by {}", row.name, kTurnOff)
                                          : fmt::format("{}: {}", row.name, row.lacks));
  }
  return texts;
}

uint32_t PartsTurnedOff() {
  const char* text = std::getenv(kTurnOff);
  uint32_t off = 0;
  for (const std::string& word : Split(text == nullptr ? "" : text, ',')) {
    for (const PartRow& row : kParts) off |= word == row.name ? row.part : 0;
  }
  return off;
}

FileView ViewOf(const proto::Task& task) {
  FileView view;
  for (const char* place : kSystemPlaces) view.Read(place);
  for (const char* device : kPlainDevices) view.Device(device);
  AddAccelerators(view);
  for (const fs::path& folder : LibraryFolders()) view.Read(folder);
  AddLock(view, MachineLock::DefaultPath());
  switch (task.kind_case()) {
    case proto::Task::kBuild:
      AddTask(view, task.build());
      break;
    case proto::Task::kMeasure:
      AddTask(view, task.measure());
      break;
    case proto::Task::kInspect:
      AddTask(view, task.inspect());
      break;
    case proto::Task::kSensitivity:
      AddTask(view, task.sensitivity());
      break;
    case proto::Task::kBenchmark:
      AddTask(view, task.benchmark());
      break;
    case proto::Task::kCatalogue:
    case proto::Task::KIND_NOT_SET:
      break;
  }
  return view;
}

Result<Sandbox> ConfineThisProcess(const FileView& view, Owner owner, uint32_t required, uint32_t standing) {
  const uint32_t off = PartsTurnedOff();
  Sandbox sandbox{standing & ~off};
  std::vector<std::string> failures;
  const auto stand = [&](uint32_t part, const Result<>& done) {
    if (done) {
      sandbox.parts |= part;
    } else {
      failures.push_back(done.error().message);
    }
  };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    failures.push_back(fmt::format("renounce new privileges: {}", std::strerror(errno)));
  const int abi = LandlockAbi();
  if ((off & kFiles) == 0) {
    const bool bounds_signals = abi >= kAbiOfSignals && (off & kSignals) == 0;
    stand(kFiles | (bounds_signals ? kSignals : 0),
          RestrictFiles(view, bounds_signals ? Signals::own : Signals::anywhere));
  }
  if ((sandbox.parts & kNamespaces) != 0 && (off & kSignals) == 0) sandbox.parts |= kSignals;
  if ((off & kPrivileges) == 0) stand(kPrivileges, RenouncePrivileges(owner, standing));
  if ((off & kSystemCalls) == 0) {
    stand(kSystemCalls, FilterSystemCalls(abi >= kAbiOfTruncation ? TruncationIs::guarded : TruncationIs::filtered,
                                          view.HasPrograms() ? Programs::declared : Programs::none));
  }
  if (sandbox.Has(required)) return sandbox;
  return Fail(ErrorCode::kEnvironment,
              fmt::format("the work is not confined as this worker says: {}",
                          failures.empty() ? Join(sandbox.Missing(), "; ") : Join(failures, "; ")),
              "Start the worker again, so that it finds out what this machine allows now");
}

Sandbox ProbeSandbox(uint32_t standing) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    FileView view;
    view.Read("/usr");
    const auto confined = ConfineThisProcess(view, Owner::service, 0, standing);
    const uint32_t parts = confined ? confined->parts : 0;
    [[maybe_unused]] const ssize_t told = write(writer.get(), &parts, sizeof parts);
    _exit(0);
  }
  writer.Close();
  uint32_t parts = 0;
  ssize_t got = 0;
  do {
    got = pid < 0 ? 0 : read(reader.get(), &parts, sizeof parts);
  } while (got < 0 && errno == EINTR);
  while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return got == static_cast<ssize_t>(sizeof parts) ? Sandbox{parts} : Sandbox{};
}

void CleanEnvironment(const std::string& scratch) {
  std::vector<std::string> kept;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    if (IsKept(*variable)) kept.emplace_back(*variable);
  }
  clearenv();
  for (const std::string& variable : kept) {
    const size_t equals = variable.find('=');
    if (equals != std::string::npos) setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
  }
  setenv("PATH", "/usr/bin:/bin", 1);
  setenv("HOME", scratch.c_str(), 1);
  setenv("TMPDIR", scratch.c_str(), 1);
}

}  // namespace hone
