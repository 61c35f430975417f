#include "coordinator/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/sqlite/database.h"
#include "coordinator/fsck.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// A coordinator that goes on for years at ten thousand leases a second does not give out so many.
constexpr int64_t kTokenGap = int64_t{1} << 42;

// The paths of the artifacts that the copy names, in the order of their digests.
Result<std::string> ListArtifacts(Database& copy, BackupReport& report) {
  std::string list;
  TRY(copy.Each("SELECT digest, size_bytes FROM artifacts ORDER BY digest", [&](const Row& row) {
    const fs::path path = ArtifactPath(report.folder, row.Text(0));
    std::error_code missing;
    if (path.empty() || !fs::is_regular_file(path, missing)) {
      ++report.missing;
      return;
    }
    ++report.artifacts;
    report.artifact_bytes += row.Unsigned(1);
    list += path.lexically_relative(report.folder).string() + "\n";
  }));
  return list;
}

Result<> SyncFile(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Fail(ErrnoError("open", path, errno));
  if (::fsync(file.get()) != 0) return Fail(ErrnoError("sync", path, errno));
  return {};
}

}  // namespace

Result<BackupReport> Backup(const fs::path& given, const fs::path& file) {
  BackupReport report;
  TRY_ASSIGN(const FolderState state, LookAt(given));
  report.folder = state.folder;
  report.running = state.running;
  report.file = file;
  report.list = file.string() + ".artifacts";
  const fs::path target_folder = FolderOf(file);
  std::error_code ignored;
  if (!fs::is_directory(target_folder, ignored)) {
    return Fail(ErrorCode::kNotFound, fmt::format("there is no folder {}", target_folder.string()), "Make it first.");
  }
  TRY_ASSIGN(const ScopedFolder work, ScopedFolder::Make(target_folder, ".hone-backup-"));
  const fs::path copied = work.path() / "hone.db";
  {
    TRY_ASSIGN(Database source, Database::OpenToRead(report.folder / "hone.db"));
    TRY(source.CopyTo(copied));
  }
  {
    TRY_ASSIGN(Database copy, Database::Open(copied));
    TRY(copy.Run("UPDATE counters SET value = value + ? WHERE name = 'token'", kTokenGap));
    TRY(copy.Each("SELECT count(*) FROM jobs", [&](const Row& row) { report.jobs = row.Unsigned(0); }));
    TRY_ASSIGN(const std::string list, ListArtifacts(copy, report));
    TRY(copy.Script("PRAGMA journal_mode=DELETE"));
    TRY(WriteFile(report.list, list, Durable::yes));
  }
  TRY(SyncFile(copied));
  TRY_ASSIGN(report.digest, DigestOfFile(copied));
  report.database_bytes = fs::file_size(copied, ignored);
  fs::rename(copied, file, ignored);
  if (ignored) return Fail(ErrnoError("write", file, ignored.value()));
  TRY(SyncFolder(target_folder));
  return report;
}

std::string BackupJson(const BackupReport& report) {
  using Json = nlohmann::ordered_json;
  const Json document = {{"schema", "hone.backup/1"},
                         {"folder", report.folder.string()},
                         {"running", report.running},
                         {"file", report.file.string()},
                         {"list", report.list.string()},
                         {"digest", report.digest},
                         {"database_bytes", report.database_bytes},
                         {"jobs", report.jobs},
                         {"artifacts", report.artifacts},
                         {"artifact_bytes", report.artifact_bytes},
                         {"missing", report.missing}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hone
