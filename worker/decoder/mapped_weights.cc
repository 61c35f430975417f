#include "worker/decoder/mapped_weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "common/base/file.h"

namespace hone {
namespace {

uint64_t PageBytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

uint64_t WholePages(uint64_t bytes) { return (bytes + PageBytes() - 1) / PageBytes() * PageBytes(); }

}  // namespace

Result<WeightsFile> WeightsFile::Make(const std::filesystem::path& folder) {
  TRY_ASSIGN(TemporaryFile file, TemporaryFile::Make(folder));
  return WeightsFile(std::move(file));
}

Result<std::shared_ptr<void>> WeightsFile::Add(uint64_t bytes,
                                                 const std::function<Result<>(const ByteSink& sink)>& write) {
  const uint64_t begin = size_;
  TRY(write([&](std::string_view some) {
    const Result<> written = WriteAllAt(file_.fd(), size_, some, file_.path());
    size_ += some.size();
    return written;
  }));
  CHECK_THAT(bytes > 0 && size_ - begin == bytes);
  // Every weight begins on a page.
  size_ = begin + WholePages(bytes);
  void* const start = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file_.fd(), static_cast<off_t>(begin));
  if (start == MAP_FAILED) return Fail(ErrnoError("map", file_.path(), errno));
  mappings_.emplace_back(start, [bytes](void* mapped) { ::munmap(mapped, bytes); });
  lengths_.emplace(static_cast<const char*>(start), bytes);
  return mappings_.back();
}

Result<std::shared_ptr<void>> WeightsFile::Add(std::string_view bytes) {
  return Add(bytes.size(), [&](const ByteSink& sink) { return sink(bytes); });
}

void WeightsFile::Release(const char* begin, size_t bytes) const {
  const auto after = lengths_.upper_bound(begin);
  if (after == lengths_.begin()) return;
  const auto& [start, length] = *std::prev(after);
  if (begin + bytes > start + length) return;
  // Mappings begin on pages; pages that are released in part stay.
  const uint64_t first = WholePages(static_cast<uint64_t>(begin - start));
  const uint64_t end = static_cast<uint64_t>(begin - start) + bytes;
  const uint64_t last = end == length ? WholePages(end) : end / PageBytes() * PageBytes();
  if (first < last) ::madvise(const_cast<char*>(start) + first, last - first, MADV_DONTNEED);
}

}  // namespace hone
