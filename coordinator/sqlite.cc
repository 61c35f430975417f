#include "coordinator/sqlite.h"

#include <fmt/format.h>

#include <utility>

namespace hone {

std::string Row::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
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
  TRY(database.Script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"));
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
