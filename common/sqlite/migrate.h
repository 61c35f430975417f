// Schemas of databases as tables of migrations.
#pragma once

#include <cstdint>
#include <span>

#include "common/base/result.h"
#include "common/sqlite/database.h"

namespace hone {

// Brings a database from version - 1 to version (PRAGMA user_version).
struct Migration {
  int version;
  const char* sql;
};

// Whose file it is (PRAGMA application_id): somebody else's must not be written into.
struct DatabaseOwner {
  int64_t application_id;
  const char* name;    // "hone", in "FILE is no database of hone".
  const char* remedy;  // Where it is another's.
  const char* newer;   // Where it is a newer version's.
};

// Applies what is missing, each step in a transaction. An existing older database is first copied to
// "<file>.schema-<old version>". kConfiguration for a newer database than the last migration, and for a file that
// belongs to another program.
Result<> Migrate(Database& database, std::span<const Migration> migrations, const DatabaseOwner& owner);

}  // namespace hone
