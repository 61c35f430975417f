#include "worker/fingerprint.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "common/base/digest.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/cgroup.h"

namespace hone {
namespace {

// Memory differs by a few pages from boot to boot; the digest must not.
constexpr uint64_t kMemoryStepBytes = 64 << 20;

// The kernel's word for a feature, and the tag. Features that no kernel or runtime of ours chooses by are left out, so
// that a new kernel's longer list does not change fingerprints.
struct Feature {
  const char* flag;
  const char* tag;
};
constexpr Feature kFeatures[] = {
    // x86: "flags" of /proc/cpuinfo.
    {"ssse3", "ssse3"},
    {"sse4_1", "sse4_1"},
    {"sse4_2", "sse4_2"},
    {"avx", "avx"},
    {"avx2", "avx2"},
    {"fma", "fma"},
    {"f16c", "f16c"},
    {"avx512f", "avx512f"},
    {"avx512bw", "avx512bw"},
    {"avx512cd", "avx512cd"},
    {"avx512dq", "avx512dq"},
    {"avx512vl", "avx512vl"},
    {"avx512vbmi", "avx512_vbmi"},
    {"avx512_vnni", "avx512_vnni"},
    {"avx512_bf16", "avx512_bf16"},
    {"avx512_fp16", "avx512_fp16"},
    {"avx_vnni", "avx_vnni"},
    {"avx_vnni_int8", "avx_vnni_int8"},
    {"avx_ne_convert", "avx_ne_convert"},
    {"amx_tile", "amx_tile"},
    {"amx_int8", "amx_int8"},
    {"amx_bf16", "amx_bf16"},
    {"amx_fp16", "amx_fp16"},
    // arm64: "Features", the words of AT_HWCAP and AT_HWCAP2.
    {"asimd", "neon"},
    {"neon", "neon"},
    {"asimdhp", "asimdhp"},
    {"asimddp", "asimddp"},
    {"fphp", "fphp"},
    {"sve", "sve"},
    {"sve2", "sve2"},
    {"i8mm", "i8mm"},
    {"bf16", "bf16"},
    {"svei8mm", "svei8mm"},
    {"svebf16", "svebf16"},
    {"sme", "sme"},
};

// The values of a field of /proc/cpuinfo, one a processor.
std::vector<std::string> CpuInfo(std::initializer_list<std::string_view> names) {
  std::vector<std::string> values;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string_view name = Trim(std::string_view(line).substr(0, colon));
    if (std::find(names.begin(), names.end(), name) != names.end())
      values.emplace_back(Trim(std::string_view(line).substr(colon + 1)));
  }
  return values;
}

// What every processor has: a process may run on any of them.
std::set<std::string> CommonFlags() {
  std::set<std::string> common;
  bool first = true;
  for (const std::string& list : CpuInfo({"flags", "Features"})) {
    const std::vector<std::string> words = Split(list, ' ');
    const std::set<std::string> flags(words.begin(), words.end());
    if (std::exchange(first, false)) {
      common = flags;
      continue;
    }
    std::erase_if(common, [&](const std::string& flag) { return !flags.contains(flag); });
  }
  return common;
}

std::string JoinDistinct(const std::vector<std::string>& words, std::string_view separator) {
  const std::set<std::string> distinct(words.begin(), words.end());
  return Join({distinct.begin(), distinct.end()}, separator);
}

// x86 names its model; arm64 gives codes of who made it and which part it is.
std::string CpuModel() {
  if (const auto names = CpuInfo({"model name"}); !names.empty()) return JoinDistinct(names, " + ");
  const auto makers = CpuInfo({"CPU implementer"});
  const auto parts = CpuInfo({"CPU part"});
  if (makers.empty()) return "unknown";
  return fmt::format("implementer {} part {}", JoinDistinct(makers, ","), JoinDistinct(parts, ","));
}

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

std::string FirstLineOf(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return std::string(Trim(line));
}

std::string Governor() {
  std::vector<std::string> governors;
  for (const int cpu : AllowedProcessors()) {
    const std::string governor =
        FirstLineOf(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu));
    if (!governor.empty()) governors.push_back(governor);
  }
  return JoinDistinct(governors, ",");
}

uint64_t TotalMemoryBytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

utsname SystemNames() {
  utsname names{};
  uname(&names);
  return names;
}

// The id itself stays on the machine, as machine-id(5) asks.
std::string MachineId() {
  std::string id = FirstLineOf("/etc/machine-id");
  if (id.empty()) id = HostName();
  return DigestOf("hone machine " + id);
}

std::string Canonical(const proto::Fingerprint& fingerprint) {
  std::string text = fmt::format(
      "cpu {}\nfeatures {}\ncores {}\nmemory {}\ngovernor {}\nkernel {}\n", fingerprint.cpu_model(),
      Join({fingerprint.cpu_features().begin(), fingerprint.cpu_features().end()}, " "), fingerprint.cores_allowed(),
      fingerprint.memory_bytes() / kMemoryStepBytes, fingerprint.governor(), fingerprint.kernel());
  std::set<std::string> versions;
  for (const proto::Parameter& version : fingerprint.versions()) {
    versions.insert(fmt::format("version {} {}\n", version.name(), ToText(version.value())));
  }
  for (const std::string& version : versions) text += version;
  return text;
}

}  // namespace

std::vector<std::string> CpuFeatures() {
  const std::set<std::string> flags = CommonFlags();
  std::set<std::string> tags;
  for (const Feature& feature : kFeatures) {
    if (flags.contains(feature.flag)) tags.insert(feature.tag);
  }
  return {tags.begin(), tags.end()};
}

// Masks grow until the kernel's fits.
std::vector<int> AllowedProcessors() {
  for (int count = CPU_SETSIZE; count <= CPU_SETSIZE * 64; count *= 2) {
    const std::unique_ptr<cpu_set_t, CpuSetDeleter> set(CPU_ALLOC(static_cast<size_t>(count)));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(count));
    if (sched_getaffinity(0, bytes, set.get()) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < count; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.get())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {0};
}

unsigned AllowedCores() {
  const auto cores = static_cast<unsigned>(AllowedProcessors().size());
  const CgroupLimits limits = ReadCgroupLimits();
  if (!limits.cores || *limits.cores >= cores) return std::max(cores, 1u);
  return std::max(static_cast<unsigned>(*limits.cores), 1u);
}

uint64_t AllowedMemoryBytes() {
  return std::min(TotalMemoryBytes(), ReadCgroupLimits().memory_bytes.value_or(std::numeric_limits<uint64_t>::max()));
}

proto::Fingerprint DetectFingerprint() {
  proto::Fingerprint fingerprint;
  fingerprint.set_cpu_model(Printable(CpuModel(), 256));
  for (const std::string& feature : CpuFeatures()) fingerprint.add_cpu_features(feature);
  fingerprint.set_cores_allowed(AllowedCores());
  fingerprint.set_memory_bytes(AllowedMemoryBytes());
  fingerprint.set_governor(Printable(Governor(), 256));
  fingerprint.set_kernel(SystemNames().release);
  fingerprint.set_machine(MachineId());
  fingerprint.set_hostname(Printable(HostName(), 256));
  return fingerprint;
}

void SealFingerprint(proto::Fingerprint& fingerprint) { fingerprint.set_digest(DigestOf(Canonical(fingerprint))); }

std::vector<std::string> DetectTags() {
  std::vector<std::string> tags{"cpu", SystemNames().machine};
  for (const std::string& feature : CpuFeatures()) tags.push_back(feature);
  return tags;
}

}  // namespace hone
