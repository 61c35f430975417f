#include "common/sqlite/database.h"

#include <fmt/format.h>

#include <utility>

namespace hone {

std::string_view Row::View(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string_view()
                          : std::string_view(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

Result<Database> Database::Open(const std::filesystem::path& path) {
  Database database;
  database.path_ = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &database.connection_, flags, nullptr);
  if (code != SQLITE_OK) return Fail(database.Translate(code, "open"));
  // Somebody who looks into the file with the sqlite3 program may hold a lock for a moment.
  sqlite3_busy_timeout(database.connection_, 250);
  sqlite3_db_config(database.connection_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database.connection_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // A trial touches a dozen trees; with the default of 2 MB their pages are read and written again for each.
  TRY(database.Script(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536;"));
  return database;
}

Result<Database> Database::OpenToRead(const std::filesystem::path& path) {
  std::error_code missing;
  if (!std::filesystem::exists(path, missing))
    return Fail(ErrorCode::kNotFound, fmt::format("{} is not there", path.string()));
  Database database;
  database.path_ = path;
  const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &database.connection_, flags, nullptr);
  if (code != SQLITE_OK) return Fail(database.Translate(code, "open"));
  sqlite3_busy_timeout(database.connection_, 5000);
  sqlite3_db_config(database.connection_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database.connection_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database.connection_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  TRY(database.Script("PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0; PRAGMA foreign_keys=ON;"));
  return database;
}

Database::Database(Database&& other) noexcept { *this = std::move(other); }

Database& Database::operator=(Database&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(connection_, other.connection_);
  std::swap(statements_, other.statements_);
  return *this;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(connection_);
}

Result<sqlite3_stmt*> Database::Prepare(std::string_view sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(connection_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                      &statement, nullptr);
  if (code != SQLITE_OK) return Fail(Translate(code, sql));
  statements_.emplace(std::string(sql), statement);
  return statement;
}

Result<> Database::StepAll(sqlite3_stmt* statement, const std::function<void(const Row&)>& row) {
  int code = sqlite3_step(statement);
  while (code == SQLITE_ROW) {
    row(Row(statement));
    code = sqlite3_step(statement);
  }
  Result<> result;
  if (code != SQLITE_DONE) result = Fail(Translate(code, sqlite3_sql(statement)));
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return result;
}

Result<> Database::Script(const std::string& sql) {
  const int code = sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return Fail(Translate(code, sql));
  return {};
}

Result<> Database::CopyTo(const std::filesystem::path& file) {
  sqlite3* target = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int code = sqlite3_open_v2(file.c_str(), &target, flags, nullptr);
  if (code == SQLITE_OK) {
    sqlite3_backup* copy = sqlite3_backup_init(target, "main", connection_, "main");
    const int stepped = copy == nullptr ? sqlite3_extended_errcode(target) : sqlite3_backup_step(copy, -1);
    const int finished = copy == nullptr ? stepped : sqlite3_backup_finish(copy);
    code = finished == SQLITE_OK && stepped != SQLITE_DONE ? stepped : finished;
  }
  // The copy says of itself that it has a write-ahead log, as the original has; without one it is a single file.
  if (code == SQLITE_OK)
    code = sqlite3_exec(target, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;", nullptr, nullptr, nullptr);
  const std::string cause = target == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(target);
  sqlite3_close(target);
  if (code == SQLITE_OK) return {};
  const bool full = (code & 0xff) == SQLITE_FULL;
  const bool damaged = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
  return Fail(full ? ErrorCode::kExhausted : damaged ? ErrorCode::kConfiguration : ErrorCode::kFailed,
              fmt::format("copy {} to {}: {}", path_.string(), file.string(), cause));
}

Error Database::Translate(int code, std::string_view what) const {
  const std::string cause = connection_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(connection_);
  const std::string file = path_.string();
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {ErrorCode::kExhausted, fmt::format("write {}: {}", file, cause),
              "Free space on that disk; the coordinator goes on by itself."};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorCode::kConfiguration, fmt::format("{} is damaged or no database of hone: {}", file, cause),
              "Restore it from a backup, or start with another --data folder."};
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return {ErrorCode::kConfiguration, fmt::format("open {} for writing: {}", file, cause),
              "The folder and the file must be writable by the user who runs the coordinator."};
    case SQLITE_BUSY:
      return {ErrorCode::kFailed, fmt::format("write {}: {}", file, cause),
              "Another program holds the database; close it."};
    case SQLITE_CONSTRAINT:
      return {ErrorCode::kBug, fmt::format("{}: {}", what, cause)};
    default:
      return {ErrorCode::kFailed, fmt::format("{}: {}: {}", file, what, cause)};
  }
}

}  // namespace hone
