#include "worker/supervisor/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>
#include <utility>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameLetters = 128;
constexpr size_t kTagLetters = 64;
constexpr size_t kHashLetters = 8;

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "worker";
  return name;
}

bool IsWord(std::string_view text, size_t max_letters, std::string_view signs, bool upper) {
  const auto fits = [&](char letter) {
    return (letter >= 'a' && letter <= 'z') || (upper && letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || signs.find(letter) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= max_letters && std::all_of(text.begin(), text.end(), fits);
}

std::string FreshName(const fs::path& folder) {
  std::string host = HostName().substr(0, kNameLetters - kHashLetters - 1);
  std::replace_if(host.begin(), host.end(), [](char letter) { return !IsWord({&letter, 1}, 1, "._-", true); }, '-');
  const std::string digest = DigestOf(host + "\n" + folder.string());
  return host + "-" + digest.substr(digest.find(':') + 1, kHashLetters);
}

}  // namespace

Result<> CheckWorkerName(const std::string& name) {
  if (IsWord(name, kNameLetters, "._-", true)) return {};
  return Fail(ErrorCode::kUsage, fmt::format("the name '{}' is none: up to {} letters, digits, '.', '_' and '-'",
                                             Printable(name), kNameLetters));
}

Result<> CheckTag(const std::string& tag) {
  if (IsWord(tag, kTagLetters, "._-:", false)) return {};
  return Fail(ErrorCode::kUsage,
              fmt::format("the tag '{}' is none: up to {} lower-case letters, digits, '.', '_', '-' and ':'",
                          Printable(tag), kTagLetters));
}

Result<DataFolder> DataFolder::Open(const fs::path& folder) {
  std::error_code error;
  const fs::path path = fs::absolute(folder, error).lexically_normal();
  if (error) return Fail(ErrnoError("resolve", folder, error.value()));
  TRY(MakeFolder(path));
  const fs::path lock_path = path / "lock";
  const int lock = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (lock < 0) return Fail(ErrnoError("open", lock_path, errno));
  DataFolder opened(path, lock);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Fail(ErrnoError("lock", lock_path, errno));
    const std::string owner(Trim(ReadFile(lock_path, 64).value_or("")));
    return Fail(ErrorCode::kConflict,
                fmt::format("{} is in use by process {}", path.string(), owner.empty() ? "unknown" : owner),
                "Stop that worker, or choose another folder with --data");
  }
  const std::string self = fmt::format("{}\n", getpid());
  if (ftruncate(lock, 0) != 0 || pwrite(lock, self.data(), self.size(), 0) != static_cast<ssize_t>(self.size())) {
    return Fail(ErrnoError("write", lock_path, errno));
  }
  return opened;
}

DataFolder::~DataFolder() {
  if (lock_ >= 0) close(lock_);
}

DataFolder::DataFolder(DataFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

Result<std::string> DataFolder::Name() const {
  const fs::path file = path_ / "name";
  if (const auto kept = ReadFile(file, 1024)) {
    const std::string name(Trim(*kept));
    if (CheckWorkerName(name)) return name;
  }
  const std::string name = FreshName(path_);
  TRY(WriteFile(file, name + "\n"));
  return name;
}

}  // namespace hone
