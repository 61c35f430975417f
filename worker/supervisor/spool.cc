#include "worker/supervisor/spool.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <system_error>
#include <vector>

#include "common/base/file.h"
#include "common/transport/transport.h"

namespace hone {

Result<Spool> Spool::Open(const std::filesystem::path& folder) {
  TRY(MakeFolder(folder));
  Spool spool(folder);
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".pb") files.push_back(entry.path());
  }
  if (error) return Fail(ErrnoError("list", folder, error.value()));
  for (const auto& file : files) {
    const auto bytes = ReadFile(file, kMaxFrameBytes);
    proto::Report report;
    if (bytes && report.ParseFromString(*bytes) && spool.PathOf(report.lease()) == file) {
      spool.reports_[report.lease()] = report;
      continue;
    }
    spdlog::error("{} holds no report; it is set aside", file.string());
    std::filesystem::rename(file, file.string() + ".bad", error);
  }
  return spool;
}

std::filesystem::path Spool::PathOf(uint64_t lease) const { return folder_ / fmt::format("{}.pb", lease); }

Result<> Spool::Keep(const proto::Report& report) {
  reports_[report.lease()] = report;
  return WriteFile(PathOf(report.lease()), report.SerializeAsString(), Durable::yes);
}

void Spool::Forget(uint64_t lease) {
  if (reports_.erase(lease) == 0) return;
  std::error_code ignored;  // What stays behind is sent once more after a restart, and acknowledged again.
  std::filesystem::remove(PathOf(lease), ignored);
}

}  // namespace hone
