// A turnstile in front of a readers-writer lock, each a flock(2) on a file of its own:
//
//   reader: gate shared, main shared, gate released
//   writer: gate exclusive, main exclusive, gate released
//
// A writer that waits for the readers inside holds the gate, so no new reader passes it; readers that wait behind hold
// nothing that the writer needs.
#include "common/base/machine_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "common/base/file.h"
#include "common/base/open_file.h"

namespace hone {
namespace {

constexpr std::chrono::milliseconds kFirstWait{5};
constexpr std::chrono::milliseconds kLongestWait{50};

// Opens the file, making it for everybody. An existing file is opened without O_CREAT: the kernel refuses that for
// other users' files in sticky folders such as /tmp (fs.protected_regular).
Result<Descriptor> OpenLockFile(const std::filesystem::path& path) {
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  constexpr int kAttempts = 8;  // Somebody may remove or create it in between.
  int error_number = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Descriptor file(open(path.c_str(), O_RDWR | kFlags));
    // Another user may be between creating the file and opening it up to all; reading is enough for flock.
    if (!file && errno == EACCES) file = Descriptor(open(path.c_str(), O_RDONLY | kFlags));
    if (!file && errno == ENOENT) {
      file = Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | kFlags, 0666));
      if (file && fchmod(file.get(), 0666) != 0) return Fail(ErrnoError("set the mode of lock", path, errno));
    }
    if (file) {
      struct stat status {};
      if (fstat(file.get(), &status) != 0) return Fail(ErrnoError("stat lock", path, errno));
      if (!S_ISREG(status.st_mode)) {
        return Fail(ErrorCode::kRejected, fmt::format("open lock {}: it is not a regular file", path.string()),
                    "Set HONE_MACHINE_LOCK to a path that hone may create");
      }
      return file;
    }
    error_number = errno;
    if (error_number != EEXIST && error_number != ENOENT && error_number != EINTR) break;
  }
  return Fail(ErrnoError("open lock", path, error_number));
}

Result<> LockError(int error_number) {
  return Fail(error_number == ENOLCK ? ErrorCode::kExhausted : ErrorCode::kFailed,
              fmt::format("lock the machine: {}", std::generic_category().message(error_number)));
}

Result<> Acquire(int fd, int operation, const std::function<bool()>& give_up) {
  if (!give_up) {
    while (flock(fd, operation) != 0) {
      if (errno != EINTR) return LockError(errno);
    }
    return {};
  }
  auto wait = kFirstWait;
  while (flock(fd, operation | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return LockError(errno);
    if (give_up()) return Fail(ErrorCode::kCancelled, "wait for the machine to be free: given up");
    std::this_thread::sleep_for(wait);
    wait = std::min(wait * 2, kLongestWait);
  }
  return {};
}

// Through the turnstile; the gate is free again at the end, whatever happened.
Result<> Enter(int gate_fd, int main_fd, int operation, const std::function<bool()>& give_up) {
  TRY(Acquire(gate_fd, operation, give_up));
  const auto entered = Acquire(main_fd, operation, give_up);
  flock(gate_fd, LOCK_UN);
  return entered;
}

}  // namespace

std::filesystem::path MachineLock::DefaultPath() {
  const char* path = std::getenv("HONE_MACHINE_LOCK");
  return path != nullptr && *path != '\0' ? path : "/tmp/hone-machine-lock";
}

Result<MachineLock> MachineLock::Open(const std::filesystem::path& path) {
  TRY_ASSIGN(const Descriptor gate, OpenLockFile(path.string() + ".gate"));
  TRY_ASSIGN(const Descriptor main, OpenLockFile(path));
  MachineLock lock;
  lock.gate_fd_ = fcntl(gate.get(), F_DUPFD_CLOEXEC, 0);
  lock.main_fd_ = fcntl(main.get(), F_DUPFD_CLOEXEC, 0);
  if (lock.gate_fd_ < 0 || lock.main_fd_ < 0) return Fail(ErrnoError("open lock", path, errno));
  return lock;
}

MachineLock::~MachineLock() {
  if (gate_fd_ >= 0) close(gate_fd_);
  if (main_fd_ >= 0) close(main_fd_);
}

MachineLock::MachineLock(MachineLock&& other) noexcept
    : gate_fd_(std::exchange(other.gate_fd_, -1)), main_fd_(std::exchange(other.main_fd_, -1)) {}

MachineLock& MachineLock::operator=(MachineLock&& other) noexcept {
  if (this != &other) {
    MachineLock old(std::move(*this));
    gate_fd_ = std::exchange(other.gate_fd_, -1);
    main_fd_ = std::exchange(other.main_fd_, -1);
  }
  return *this;
}

Result<> MachineLock::Shared(const std::function<bool()>& give_up) {
  Release();
  return Enter(gate_fd_, main_fd_, LOCK_SH, give_up);
}

Result<> MachineLock::Exclusive(const std::function<bool()>& give_up) {
  Release();
  return Enter(gate_fd_, main_fd_, LOCK_EX, give_up);
}

void MachineLock::Release() {
  if (main_fd_ >= 0) flock(main_fd_, LOCK_UN);
}

}  // namespace hone
