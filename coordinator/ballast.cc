#include "coordinator/ballast.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// What the disk really gave; holes do not count.
uint64_t AllocatedBytes(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace

Result<uint64_t> Ballast::FreeOnDisk(const std::filesystem::path& folder) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) return Fail(ErrnoError("look at the disk of", folder, errno));
  return uint64_t{disk.f_bavail} * disk.f_frsize;
}

Ballast::Ballast(std::filesystem::path folder, uint64_t bytes, FreeSpace free_space)
    : folder_(std::move(folder)), bytes_(bytes), free_space_(std::move(free_space)) {
  if (bytes_ == 0) {
    // An earlier life may have had one.
    (void)::unlink(path().c_str());
    return;
  }
  if (const auto free = free_space_(folder_)) free_bytes_ = *free;
  spent_ = !Fill();
  if (spent_) spdlog::error("{}", Reason());
}

Ballast::~Ballast() {
  if (bytes_ > 0) (void)::unlink(path().c_str());
}

bool Ballast::GiveUp(const std::filesystem::path& folder) { return ::unlink((folder / "reserve").c_str()) == 0; }

bool Ballast::Fill() {
  const Descriptor file(::open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) {
    spdlog::warn("no reserve: {}", ErrnoError("open", path(), errno).message);
    return false;
  }
  // A larger one is of a life with another option.
  const bool cut = ::ftruncate(file.get(), static_cast<off_t>(std::min(bytes_, AllocatedBytes(file.get())))) == 0;
  const int refused = cut ? ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes_)) : errno;
  if (refused == 0 && AllocatedBytes(file.get()) >= bytes_) return true;
  (void)::unlink(path().c_str());
  return false;
}

void Ballast::Tend(int64_t now_ms) {
  if (bytes_ == 0 || (looked_ && now_ms - looked_ms_ < kLookMs)) return;
  looked_ = true;
  looked_ms_ = now_ms;
  const auto free = free_space_(folder_);
  if (!free) return;
  free_bytes_ = *free;
  if (!spent_ && *free < low_water_bytes()) Release(*free);
  if (!spent_ || *free < bytes_ + 2 * low_water_bytes()) return;
  if (!Fill()) return;
  spent_ = false;
  spdlog::info("{} free on the disk of {}: the reserve of {} is back, work is taken again", HumanBytes(*free),
               folder_.string(), HumanBytes(bytes_));
}

void Ballast::Spend(int64_t now_ms) {
  if (bytes_ == 0 || spent_) return;
  looked_ = true;
  looked_ms_ = now_ms;
  const auto free = free_space_(folder_);
  Release(free ? *free : 0);
}

void Ballast::Release(uint64_t free_bytes) {
  free_bytes_ = free_bytes;
  if (::unlink(path().c_str()) != 0 && errno != ENOENT)
    spdlog::error("{}", ErrnoError("remove", path(), errno).message);
  spent_ = true;
  spdlog::error("{}", Reason());
}

std::string Ballast::Reason() const {
  if (!spent_) return {};
  return fmt::format("the disk of {} is full ({} were free): nothing new is taken, results of running trials are",
                     folder_.string(), HumanBytes(free_bytes_));
}

}  // namespace hone
