// Numbers and structures are the kernel's (include/uapi/linux/landlock.h), written down here because headers are often
// older than the kernel that runs; what a kernel does not know is left out by its ABI's version.
#include "worker/supervisor/landlock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace hone {
namespace {

// The same on every architecture.
constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr uint32_t kAskVersion = 1;
constexpr uint32_t kRulePathBeneath = 1;

struct RulesetAttributes {
  uint64_t handled_files = 0;
  uint64_t handled_network = 0;   // From ABI 4 on.
  uint64_t scoped = 0;            // From ABI 6 on.
};

struct __attribute__((packed)) PathBeneath {
  uint64_t allowed = 0;
  int32_t parent = -1;
};

enum Right : uint64_t {
  kExecute = 1 << 0,
  kWriteFile = 1 << 1,
  kReadFile = 1 << 2,
  kReadFolder = 1 << 3,
  kRemoveFolder = 1 << 4,
  kRemoveFile = 1 << 5,
  kMakeCharacterDevice = 1 << 6,
  kMakeFolder = 1 << 7,
  kMakeFile = 1 << 8,
  kMakeSocket = 1 << 9,
  kMakePipe = 1 << 10,
  kMakeBlockDevice = 1 << 11,
  kMakeLink = 1 << 12,
  kRefer = 1 << 13,       // ABI 2
  kTruncate = 1 << 14,    // ABI 3
  kControl = 1 << 15,     // ABI 5
};

constexpr uint64_t kFileRights =
    kExecute | kWriteFile | kReadFile | kTruncate | kControl;  // The others are of folders alone.
constexpr uint64_t kNetwork = 3;  // Bind and connect.
constexpr uint64_t kScopes = 3;   // Abstract sockets and signals.

uint64_t HandledFiles(int abi) {
  uint64_t rights = (1 << 13) - 1;
  if (abi >= 2) rights |= kRefer;
  if (abi >= 3) rights |= kTruncate;
  if (abi >= 5) rights |= kControl;
  return rights;
}

uint64_t RightsOf(FileView::Access access) {
  switch (access) {
    case FileView::Access::read:
      return kReadFile | kReadFolder;
    case FileView::Access::write:
      return kReadFile | kReadFolder | kWriteFile | kTruncate | kMakeFile | kMakeFolder | kMakeLink | kRemoveFile |
             kRemoveFolder | kRefer;
    case FileView::Access::program:
      return kReadFile | kReadFolder | kExecute;
    case FileView::Access::device:
      return kReadFile | kReadFolder | kWriteFile | kControl;
  }
  return 0;
}

size_t AttributesSize(int abi) {
  if (abi >= 6) return sizeof(RulesetAttributes);
  return abi >= 4 ? offsetof(RulesetAttributes, scoped) : offsetof(RulesetAttributes, handled_network);
}

tl::unexpected<Error> Refused(const char* what) {
  return Fail(ErrorCode::kEnvironment, std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

int LandlockAbi() {
  const long abi = syscall(kCreateRuleset, nullptr, size_t{0}, kAskVersion);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

void FileView::Add(Descriptor place, Access access) {
  struct stat status {};
  if (!place || fstat(place.get(), &status) != 0) return;
  grants_.push_back({std::move(place), access, S_ISDIR(status.st_mode)});
}

void FileView::Read(const std::filesystem::path& place) {
  Add(Descriptor(open(place.c_str(), O_PATH | O_CLOEXEC)), Access::read);
}

void FileView::ReadBeneath(const std::filesystem::path& folder, const std::string& relative) {
  const Descriptor root(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root) Add(OpenBeneath(root.get(), relative, O_PATH), Access::read);
}

void FileView::Write(const std::filesystem::path& folder) {
  Add(Descriptor(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), Access::write);
}

void FileView::Device(const std::filesystem::path& node) {
  Add(Descriptor(open(node.c_str(), O_PATH | O_CLOEXEC)), Access::device);
}

void FileView::Execute(const std::filesystem::path& place) {
  Add(Descriptor(open(place.c_str(), O_PATH | O_CLOEXEC)), Access::program);
}

bool FileView::HasPrograms() const {
  for (const Grant& grant : grants_) {
    if (grant.access == Access::program) return true;
  }
  return false;
}

Result<> RestrictFiles(const FileView& view, Signals signals) {
  const int abi = LandlockAbi();
  if (abi == 0) return Fail(ErrorCode::kEnvironment, "the kernel has no Landlock");
  RulesetAttributes attributes;
  attributes.handled_files = HandledFiles(abi);
  attributes.handled_network = kNetwork;
  attributes.scoped = signals == Signals::own ? kScopes : 0;
  const Descriptor ruleset(static_cast<int>(syscall(kCreateRuleset, &attributes, AttributesSize(abi), uint32_t{0})));
  if (!ruleset) return Refused("make a Landlock ruleset");
  for (const FileView::Grant& grant : view.grants()) {
    PathBeneath rule;
    rule.allowed = RightsOf(grant.access) & attributes.handled_files & (grant.folder ? ~uint64_t{0} : kFileRights);
    rule.parent = grant.place.get();
    if (syscall(kAddRule, ruleset.get(), kRulePathBeneath, &rule, uint32_t{0}) != 0)
      return Refused("add a Landlock rule");
  }
  if (syscall(kRestrictSelf, ruleset.get(), uint32_t{0}) != 0) return Refused("enforce a Landlock ruleset");
  return {};
}

}  // namespace hone
