// fsck finds what it promises to find: a sound folder is damaged in one way at a time, and the right invariant must say
// so.
#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "coordinator/fsck.h"
#include "coordinator/schema.h"
#include "tests/coordinator/harness.h"

namespace hone::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const char* const kBudgeted = R"(
passes: [clean, {choose: [none, half, {int8: {per_channel: [true, false]}}]}]
backends: {onnxruntime: {}, openvino: {}}
search: {sampler: random, trials: 5, seed: 11}
)";

// A folder in which one job was done, and another is being worked on.
class FsckTest : public ::testing::Test {
 protected:
  FsckTest() : worker_(harness_.Worker("one")) {
    done_ = harness_.Submit(kBudgeted);
    worker_.Work();
    EXPECT_EQ(harness_.Job(done_).state(), proto::JOB_COMPLETE);
    running_ = harness_.Submit(kRecipe, "another model");
    EXPECT_TRUE(worker_.Take());
  }

  // Without the guards that keep a program from doing so.
  void Damage(const std::string& sql) {
    harness_.coordinator.reset();
    auto database = Database::Open(harness_.options.data / "hone.db");
    ASSERT_TRUE(database);
    const auto done = database->Script("PRAGMA foreign_keys=OFF; PRAGMA ignore_check_constraints=ON; " + sql);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_GT(database->TotalChanges(), 0) << "nothing was damaged";
  }
  FsckReport Check(FsckOptions options = {}) {
    auto report = Fsck(harness_.options.data, options);
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : FsckReport();
  }
  static std::vector<std::string> Broken(const FsckReport& report) {
    std::vector<std::string> lines;
    for (const auto& check : report.checks) {
      for (const auto& one : check.violations)
        lines.push_back(check.id + " " + one.row + ": " + one.message + " | " + one.remedy);
    }
    return lines;
  }
  static std::vector<std::string> BrokenOf(const FsckReport& report, const std::string& id) {
    std::vector<std::string> lines = Broken(report);
    std::erase_if(lines, [&](const std::string& line) { return !line.starts_with(id + " "); });
    return lines;
  }
  std::filesystem::path AnArtifact() {
    std::filesystem::path found;
    const std::string digest = DigestOf("the model");
    return ArtifactPath(harness_.options.data, digest);
  }

  Harness harness_;
  FakeWorker worker_;
  uint64_t done_ = 0;
  uint64_t running_ = 0;
};

TEST_F(FsckTest, FolderOfARunningCoordinatorIsSound) {
  const FsckReport report = Check();
  EXPECT_THAT(Broken(report), IsEmpty());
  EXPECT_TRUE(report.ok());
  ASSERT_THAT(report.checks, SizeIs(8));
  for (const auto& check : report.checks) EXPECT_GT(check.checked, 0U) << check.id;
  EXPECT_THAT(report.open_attempts, SizeIs(1));
  EXPECT_EQ(report.schema_version, Migrations().back().version);
}

TEST_F(FsckTest, ChangesNothingAndDoesNotHinderTheCoordinator) {
  const auto before = harness_.Query("SELECT count(*) || ' ' || sum(length(text)) FROM events");
  const auto size = std::filesystem::file_size(harness_.options.data / "hone.db");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Check().ok());
  EXPECT_EQ(harness_.Query("SELECT count(*) || ' ' || sum(length(text)) FROM events"), before);
  EXPECT_EQ(std::filesystem::file_size(harness_.options.data / "hone.db"), size);
  worker_.Finish(worker_.held.begin()->second);
  worker_.Work();
  EXPECT_EQ(harness_.Job(running_).state(), proto::JOB_COMPLETE);
  EXPECT_THAT(Broken(Check()), IsEmpty());
}

struct Harm {
  const char* name;
  const char* sql;
  const char* invariant;
  const char* row;
  const char* message;
};
void PrintTo(const Harm& harm, std::ostream* out) { *out << harm.name; }

class FsckHarmTest : public FsckTest, public ::testing::WithParamInterface<Harm> {};

TEST_P(FsckHarmTest, IsFoundByItsInvariantWithRowAndRemedy) {
  Damage(GetParam().sql);
  const FsckReport report = Check();
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(BrokenOf(report, GetParam().invariant),
              ::testing::Contains(AllOf(HasSubstr(GetParam().row), HasSubstr(GetParam().message),
                                        ::testing::Not(::testing::EndsWith("| ")))))
      << ::testing::PrintToString(Broken(report));
}

INSTANTIATE_TEST_SUITE_P(
    EachInvariant, FsckHarmTest,
    ::testing::Values(
        Harm{"LostJob", "DELETE FROM jobs WHERE job = 1", "I1", "job 1", "missing"},
        Harm{"LostLastJob", "DELETE FROM jobs WHERE job = 2", "I1", "job 2", "missing"},
        Harm{"LostStudy", "DELETE FROM studies WHERE job = 1", "I1", "job 1", "no study"},
        Harm{"LostTrial", "DELETE FROM trials WHERE job = 1 AND trial = 2", "I1", "study 0 of job 1",
             "numbered 0 to 5"},
        Harm{"LostAttempt", "DELETE FROM attempts WHERE attempt = 2", "I1", "attempt 2", "missing"},
        Harm{"LostResult", "UPDATE trials SET result = NULL WHERE job = 1 AND trial = 1", "I1", "trial 1 of job 1",
             "without a result"},
        Harm{"LostMetrics", "DELETE FROM metrics WHERE job = 1 AND trial = 3", "I1", "trial 3 of job 1", "no metrics"},
        Harm{"LostBuild", "DELETE FROM builds", "I1", "attempt", "no row"},
        Harm{"ResultOfALostAttempt",
             "UPDATE attempts SET outcome = 'worker_lost', error = 'x' WHERE attempt = (SELECT result FROM trials "
             "WHERE job = 1 AND trial = 2)",
             "I2", "trial 2 of job 1", "worker_lost"},
        Harm{"ResultOfAnotherTrial",
             "UPDATE attempts SET measure_key = ''; UPDATE trials SET result = (SELECT result FROM trials WHERE job = "
             "1 AND trial = 2) WHERE job = 1 AND trial = 3",
             "I2", "trial 3 of job 1", "is of trial 2"},
        Harm{"SecondResult",
             "INSERT INTO attempts (token, kind, job, study, trial, worker, session, outcome, started_unix_ms, "
             "ended_unix_ms) VALUES (900, 'measure', 1, 0, 2, 'w', 's', 'done', 1, 2);"
             "INSERT INTO metrics VALUES ((SELECT attempt FROM attempts WHERE token = 900), 'candidate', "
             "'latency_ms_p50', 1, 0, 2, 1.0, NULL, NULL, 1)",
             "I2", "trial 2 of job 1", "took effect"},
        Harm{"WrongBest", "UPDATE studies SET best = CASE best WHEN 1 THEN 2 ELSE 1 END WHERE job = 1", "I3",
             "study 0 of job 1", "its results give"},
        Harm{"NoBest", "UPDATE studies SET best = NULL WHERE job = 1", "I3", "study 0 of job 1", "its best is none"},
        Harm{"EndWithoutCause", "UPDATE attempts SET outcome = 'crashed', error = '' WHERE attempt = 1", "I4",
             "attempt 1", "without a cause"},
        Harm{"EndAtNoTime", "UPDATE attempts SET ended_unix_ms = 0 WHERE attempt = 1", "I4", "attempt 1", "at no time"},
        Harm{"TriedForEver",
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 26) "
             "INSERT INTO attempts (token, kind, job, study, trial, worker, session, outcome, error, started_unix_ms, "
             "ended_unix_ms) "
             "SELECT 900 + i, 'measure', 1, 0, 2, 'w', 's', 'worker_lost', 'x', 1, 2 FROM n",
             "I4", "trial 2 of job 1", "26 times lost"},
        Harm{"RunningWithoutLease",
             "UPDATE attempts SET outcome = 'returned', error = 'x', ended_unix_ms = 5 WHERE outcome = 'open'", "I5",
             "trial 0 of job 2", "no lease is open"},
        Harm{"OpenOfEndedTrial",
             "UPDATE attempts SET outcome = 'open', ended_unix_ms = 0 WHERE attempt = (SELECT max(attempt) FROM "
             "attempts WHERE job = 1 AND kind = 'measure')",
             "I5", "attempt", "it is open and"},
        Harm{"OneTooFew", "DELETE FROM trials WHERE job = 1 AND trial = 5", "I6", "study 0 of job 1",
             "budget is 5 trials, it has 4"},
        Harm{"OneTooMany",
             "INSERT INTO trials SELECT job, study, 6, state, '{}', step, model, model_id, final, result, reason, "
             "worker, fingerprint, pairs, wall_ms, attempts, notes, "
             "created_unix_ms, ended_unix_ms FROM trials WHERE job = 1 AND trial = 5",
             "I6", "study 0 of job 1", "budget is 5 trials, it has 6"},
        Harm{"UnendedTrial", "UPDATE trials SET state = 'waiting' WHERE job = 1 AND trial = 4", "I6",
             "trial 4 of job 1", "its study is done"},
        Harm{"RepeatedCandidate",
             "UPDATE trials SET candidate = (SELECT candidate FROM trials WHERE job = 1 AND trial = 1) WHERE job = 1 "
             "AND trial = 2",
             "I6", "study 0 of job 1", "same candidate"},
        Harm{"WrongSize",
             "UPDATE artifacts SET size_bytes = size_bytes + 1; UPDATE jobs SET model = '{}'; UPDATE trials SET model "
             "= '{}'; UPDATE builds SET output = '{}'",
             "I7", "artifact sha256:", "bytes, not"},
        Harm{"TornModel", "UPDATE jobs SET model = '{\"files\":' WHERE job = 1", "I7", "job 1", "broken"},
        Harm{"TokenGoesBack", "UPDATE counters SET value = 1 WHERE name = 'token'", "I8", "counter token", "given out"},
        Harm{"BrokenReference", "DELETE FROM studies WHERE job = 1", "I8", "table trials", "missing"},
        Harm{"UnknownState", "UPDATE trials SET state = 'perhaps' WHERE job = 1 AND trial = 2", "I8",
             "trial 2 of job 1", "its state is perhaps"}),
    [](const ::testing::TestParamInfo<Harm>& one) { return one.param.name; });

TEST_F(FsckTest, ArtifactThatChangedOrWentIsFound) {
  const auto path = AnArtifact();
  ASSERT_TRUE(std::filesystem::exists(path));
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  std::ofstream(path) << "the modeL";
  EXPECT_THAT(BrokenOf(Check(), "I7"), ::testing::Contains(HasSubstr("its content has the digest")));
  // Its size is right, which is all that a quick look sees.
  FsckOptions quick;
  quick.quick = true;
  EXPECT_THAT(Broken(Check(quick)), IsEmpty());
  std::filesystem::remove(path);
  EXPECT_THAT(BrokenOf(Check(quick), "I7"), ::testing::Contains(HasSubstr("it is missing")));
  std::filesystem::create_symlink("/etc/passwd", path);
  EXPECT_THAT(BrokenOf(Check(quick), "I7"), SizeIs(1));
}

TEST_F(FsckTest, PageOfTheDatabaseThatWasOverwrittenIsFound) {
  harness_.coordinator.reset();
  const auto path = harness_.options.data / "hone.db";
  const auto size = std::filesystem::file_size(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  // Behind the first pages, which hold the schema.
  for (uint64_t at = size / 2; at < size / 2 + 4096; at += 8) {
    file.seekp(static_cast<std::streamoff>(at));
    file << "damaged!";
  }
  file.close();
  const FsckReport report = Check();
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(BrokenOf(report, "I8"), ::testing::Not(IsEmpty()));
}

TEST_F(FsckTest, WhatALogSaysWasAcknowledgedIsLookedFor) {
  const auto attempts = harness_.Query("SELECT attempt || ' ' || token FROM attempts WHERE outcome = 'done' LIMIT 1");
  uint64_t lease = 0, token = 0;
  std::istringstream(attempts.at(0)) >> lease >> token;
  const std::string digest = DigestOf("the model");
  const auto log = harness_.options.data.parent_path() / "log";
  const auto check = [&](const std::vector<nlohmann::json>& lines) {
    std::ofstream file(log);
    for (const auto& line : lines) file << line.dump() << "\n";
    file.close();
    FsckOptions options;
    options.log = log;
    return BrokenOf(Check(options), "I1");
  };
  EXPECT_THAT(check({{{"kind", "job"}, {"job", done_}},
                     {{"kind", "artifact"}, {"digest", digest}, {"size_bytes", 9}},
                     {{"kind", "report"}, {"lease", lease}, {"token", token}, {"outcome", "done"}},
                     {{"kind", "trial"}, {"job", done_}, {"study", 0}, {"trial", 2}, {"state", "complete"}},
                     {{"kind", "event"}, {"sequence", 1}, {"job", 0}, {"event", "worker.joined"}}}),
              IsEmpty());
  EXPECT_THAT(check({{{"kind", "job"}, {"job", 77}}}),
              ::testing::ElementsAre(HasSubstr("job 77: it was acknowledged")));
  EXPECT_THAT(check({{{"kind", "job"}, {"job", done_}, {"request", "other"}}}),
              ::testing::ElementsAre(HasSubstr("request 'other'")));
  EXPECT_THAT(check({{{"kind", "cancel"}, {"job", done_}}}), ::testing::ElementsAre(HasSubstr("it is 'complete'")));
  EXPECT_THAT(check({{{"kind", "report"}, {"lease", 999}, {"token", 999}, {"outcome", "done"}}}),
              ::testing::ElementsAre(HasSubstr("it is missing")));
  EXPECT_THAT(check({{{"kind", "report"}, {"lease", lease}, {"token", token}, {"outcome", "failed"}}}),
              ::testing::ElementsAre(HasSubstr("no late report is counted")));
  EXPECT_THAT(check({{{"kind", "trial"}, {"job", done_}, {"study", 0}, {"trial", 2}, {"state", "failed"}}}),
              ::testing::ElementsAre(HasSubstr("a client saw it 'failed'")));
  EXPECT_THAT(check({{{"kind", "event"}, {"sequence", 1}, {"job", 4}, {"event", "x"}}}),
              ::testing::ElementsAre(HasSubstr("a client saw 'x'")));
  EXPECT_THAT(check({{{"kind", "no such"}}, {{"job", 7}}}), SizeIs(2));
  EXPECT_THAT(check({{{"kind", "job"}, {"job", "seven"}}}), SizeIs(1));
}

TEST_F(FsckTest, OlderSchemaIsCheckedOnACopy) {
  Harness fresh;
  const auto path = fresh.options.data / "hone.db";
  fresh.coordinator.reset();
  for (const char* name : {"hone.db", "hone.db-wal", "hone.db-shm"}) std::filesystem::remove(fresh.options.data / name);
  {
    auto old = Database::Open(path);
    ASSERT_TRUE(old);
    ASSERT_TRUE(Migrate(*old, Migrations().first(1)));
  }
  const auto report = Fsck(fresh.options.data, {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->schema_version, 1);
  EXPECT_THAT(Broken(*report), IsEmpty());
  auto still = Database::OpenToRead(path);
  ASSERT_TRUE(still);
  int64_t version = 0;
  ASSERT_TRUE(still->Each("PRAGMA user_version", [&](const Row& row) { version = row.Int(0); }));
  EXPECT_EQ(version, 1);
}

TEST(FsckFolderTest, WhatIsNoFolderOfOursIsRefused) {
  auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-fsck-");
  ASSERT_TRUE(folder);
  const auto code = [&](const std::string& name) {
    const auto report = Fsck(folder->path() / name, {});
    EXPECT_FALSE(report);
    return report ? ErrorCode::kBug : report.error().code;
  };
  EXPECT_EQ(code("nothing"), ErrorCode::kNotFound);
  std::ofstream(folder->path() / "file") << "x";
  EXPECT_EQ(code("file"), ErrorCode::kRejected);
  std::filesystem::create_directories(folder->path() / "empty");
  EXPECT_EQ(code("empty"), ErrorCode::kRejected);
  std::filesystem::create_directories(folder->path() / "text");
  std::ofstream(folder->path() / "text" / "hone.db") << std::string(5000, 'x');
  EXPECT_EQ(code("text"), ErrorCode::kRejected);
  std::filesystem::create_directories(folder->path() / "foreign");
  {
    auto foreign = Database::Open(folder->path() / "foreign" / "hone.db");
    ASSERT_TRUE(foreign);
    ASSERT_TRUE(foreign->Script("CREATE TABLE t (x); PRAGMA application_id=7"));
  }
  EXPECT_EQ(code("foreign"), ErrorCode::kRejected);
  std::filesystem::create_directories(folder->path() / "newer");
  {
    auto newer = Database::Open(folder->path() / "newer" / "hone.db");
    ASSERT_TRUE(newer);
    ASSERT_TRUE(Migrate(*newer, Migrations()));
    ASSERT_TRUE(newer->Script("PRAGMA user_version=99"));
  }
  EXPECT_EQ(code("newer"), ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone::test
