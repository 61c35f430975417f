// Databases of other versions, of other programs, and damaged ones.
#include "coordinator/schema.h"

#include <gmock/gmock.h>

#include <fstream>

#include "common/base/file.h"
#include "coordinator/store.h"

namespace hone {
namespace {

class SchemaTest : public ::testing::Test {
 protected:
  SchemaTest() {
    auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-schema-");
    EXPECT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    file_ = folder_->path() / "hone.db";
  }
  Result<> Apply(std::vector<Migration> migrations) {
    TRY_ASSIGN(Database database, Database::Open(file_));
    return Migrate(database, migrations);
  }

  std::optional<ScopedFolder> folder_;
  std::filesystem::path file_;
};

TEST_F(SchemaTest, MissingStepsAreAppliedAndTheOlderDatabaseIsKept) {
  ASSERT_TRUE(Apply({{1, "CREATE TABLE a (x);"}}));
  ASSERT_TRUE(Apply({{1, "CREATE TABLE a (x);"}, {2, "CREATE TABLE b (x);"}}));
  auto database = Database::Open(file_);
  ASSERT_TRUE(database);
  EXPECT_TRUE(database->Run("INSERT INTO b VALUES (1)"));
  EXPECT_TRUE(std::filesystem::exists(file_.string() + ".schema-1"));
  // Again: nothing to do.
  EXPECT_TRUE(Apply({{1, "CREATE TABLE a (x);"}, {2, "CREATE TABLE b (x);"}}));
}

TEST_F(SchemaTest, StepThatFailsLeavesTheDatabaseAsItWas) {
  ASSERT_TRUE(Apply({{1, "CREATE TABLE a (x);"}}));
  EXPECT_FALSE(Apply({{1, ""}, {2, "CREATE TABLE c (x); CREATE TABLE a (x);"}}));
  auto database = Database::Open(file_);
  ASSERT_TRUE(database);
  EXPECT_FALSE(database->Run("INSERT INTO c VALUES (1)"));
  EXPECT_TRUE(database->Run("INSERT INTO a VALUES (1)"));
}

TEST_F(SchemaTest, NewerDatabaseIsRefused) {
  {
    auto store = Store::Open(file_, 1 << 20);
    ASSERT_TRUE(store);
  }
  auto database = Database::Open(file_);
  ASSERT_TRUE(database && database->Script("PRAGMA user_version=999"));
  const auto opened = Store::Open(file_, 1 << 20);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kConfiguration);
  EXPECT_THAT(opened.error().message, ::testing::HasSubstr("schema 999"));
}

TEST_F(SchemaTest, DatabaseOfAnotherProgramIsRefused) {
  {
    auto database = Database::Open(file_);
    ASSERT_TRUE(database && database->Script("CREATE TABLE theirs (x)"));
  }
  const auto opened = Store::Open(file_, 1 << 20);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kConfiguration);
}

TEST_F(SchemaTest, DamagedFileIsRefused) {
  {
    auto store = Store::Open(file_, 1 << 20);
    ASSERT_TRUE(store);
  }
  std::fstream bytes(file_, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(4096);
  bytes << std::string(8192, 'x');
  bytes.close();
  const auto opened = Store::Open(file_, 1 << 20);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kConfiguration);

  std::ofstream(file_, std::ios::trunc) << "this is no database, but it is long enough to have a header of its own";
  std::filesystem::remove(file_.string() + "-wal");
  EXPECT_FALSE(Store::Open(file_, 1 << 20));
}

}  // namespace
}  // namespace hone
