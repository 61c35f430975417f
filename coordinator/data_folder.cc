#include "coordinator/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

Error Configuration(Error error) {
  if (error.code != ErrorCode::kExhausted) error.code = ErrorCode::kConfiguration;
  if (error.remedy.empty()) error.remedy = "--data must name a folder that this user may write.";
  return error;
}

// Who holds the lock, as it wrote into the file.
std::string HolderOf(int fd) {
  std::array<char, 32> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  const std::string_view holder = Trim(std::string_view(text.data(), got > 0 ? static_cast<size_t>(got) : 0));
  return holder.empty() ? "an unknown process" : "process " + Printable(holder);
}

}  // namespace

Result<DataFolder> DataFolder::Acquire(const std::filesystem::path& folder) {
  if (const auto made = MakeFolder(folder); !made) return Fail(Configuration(made.error()));
  const std::filesystem::path path = folder / "lock";
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return Fail(Configuration(ErrnoError("open", path, errno)));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Fail(Configuration(ErrnoError("lock", path, errno)));
    return Fail(ErrorCode::kConflict, fmt::format("folder {} is in use by {}", folder.string(), HolderOf(lock.get())),
                "Stop that coordinator, or give another --data folder.");
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.get(), 0) != 0) return Fail(Configuration(ErrnoError("write", path, errno)));
  if (const auto written = WriteAllAt(lock.get(), 0, pid, path); !written) return Fail(Configuration(written.error()));
  return DataFolder(std::move(lock));
}

}  // namespace hone
