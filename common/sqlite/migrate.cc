#include "common/sqlite/migrate.h"

#include <fmt/format.h>

#include <filesystem>

namespace hone {
namespace {

Result<int64_t> Pragma(Database& database, const std::string& name) {
  int64_t value = 0;
  TRY(database.Each("PRAGMA " + name, [&](const Row& row) { value = row.Int(0); }));
  return value;
}

// Somebody else's SQLite file must not be written into.
Result<> CheckOwner(Database& database, const DatabaseOwner& owner) {
  TRY_ASSIGN(const int64_t found, Pragma(database, "application_id"));
  if (found == owner.application_id) return {};
  int64_t tables = 0;
  TRY(database.Each("SELECT count(*) FROM sqlite_schema", [&](const Row& row) { tables = row.Int(0); }));
  if (found == 0 && tables == 0) return {};
  return Fail(ErrorCode::kConfiguration, fmt::format("{} is no database of {}", database.path().string(), owner.name),
              owner.remedy);
}

Result<> Backup(Database& database, int64_t version) {
  const std::string copy = fmt::format("{}.schema-{}", database.path().string(), version);
  std::error_code ignored;
  std::filesystem::remove(copy, ignored);
  return database.Run("VACUUM INTO ?", copy);
}

}  // namespace

Result<> Migrate(Database& database, std::span<const Migration> migrations, const DatabaseOwner& owner) {
  TRY(CheckOwner(database, owner));
  TRY_ASSIGN(int64_t version, Pragma(database, "user_version"));
  const int64_t last = migrations.empty() ? 0 : migrations.back().version;
  if (version > last) {
    return Fail(ErrorCode::kConfiguration,
                fmt::format("{} has schema {}, this program knows up to {}", database.path().string(), version, last),
                owner.newer);
  }
  if (version > 0 && version < last) TRY(Backup(database, version));
  for (const Migration& migration : migrations) {
    if (migration.version <= version) continue;
    const auto applied =
        database.Script(fmt::format("BEGIN IMMEDIATE; {} PRAGMA application_id={}; PRAGMA user_version={}; COMMIT;",
                                    migration.sql, owner.application_id, migration.version));
    if (!applied) {
      if (database.InTransaction()) TRY(database.Script("ROLLBACK"));
      return FailWith(fmt::format("bring the database to schema {}", migration.version), applied.error());
    }
    version = migration.version;
  }
  return {};
}

}  // namespace hone
