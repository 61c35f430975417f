// The database's schema as a table of migrations. docs/storage.md tells the tables' meaning and their invariants.
#pragma once

#include <span>

#include "common/base/result.h"
#include "common/sqlite/migrate.h"

namespace hone {

std::span<const Migration> Migrations();

// Of a coordinator's database (common/sqlite/migrate.h).
Result<> Migrate(Database& database, std::span<const Migration> migrations);

}  // namespace hone
