// The database's schema as a table of migrations. docs/storage.md tells the tables' meaning and their invariants.
#pragma once

#include <span>

#include "common/base/result.h"
#include "coordinator/sqlite.h"

namespace hone {

// Brings a database from version - 1 to version (PRAGMA user_version).
struct Migration {
  int version;
  const char* sql;
};
std::span<const Migration> Migrations();

// Applies what is missing, each step in a transaction. An existing older database is first copied to "<file>.schema-<old version>".
// kConfiguration for a newer database than the last migration, and for a file that belongs to another program.
Result<> Migrate(Database& database, std::span<const Migration> migrations);

}  // namespace hone
