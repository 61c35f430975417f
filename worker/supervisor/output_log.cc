#include "worker/supervisor/output_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/base/open_file.h"

namespace hone {
namespace {

// A runner may have put anything in the log's place; only a regular file is read.
std::string ReadEnd(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return {};
  std::string end;
  struct stat status{};
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    const uint64_t size = static_cast<uint64_t>(status.st_size);
    const uint64_t wanted = std::min(size, kOutputTailBytes);
    end.resize(wanted);
    const ssize_t got = pread(fd, end.data(), wanted, static_cast<off_t>(size - wanted));
    end.resize(got > 0 ? static_cast<size_t>(got) : 0);
  }
  close(fd);
  return end;
}

std::string LastBytes(std::string text) {
  if (text.size() > kOutputTailBytes) text.erase(0, text.size() - kOutputTailBytes);
  return text;
}

}  // namespace

void OutputLog::Bound() {
  const Descriptor file(open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
  present_bytes_ = static_cast<uint64_t>(status.st_size);
  if (present_bytes_ <= max_bytes_) return;
  emptied_bytes_ += std::exchange(present_bytes_, 0);
  kept_ = LastBytes(kept_ + ReadEnd(path_));
  [[maybe_unused]] const int truncated = ftruncate(file.get(), 0);
}

std::string OutputLog::Tail() const { return LastBytes(kept_ + ReadEnd(path_)); }

}  // namespace hone
