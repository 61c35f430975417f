// The programs with keys: a coordinator, a worker, people.
#include "tests/security/fixture.h"

namespace hone::test {
namespace {

std::string PublicOf(const std::string& folder, const std::string& kind) {
  std::string key = Hone({"keys", "show", kind, "--keys", folder}).out;
  if (!key.empty()) key.pop_back();
  return key;
}

TEST(ServiceTest, FleetWithKeysServesMembersAndDeniesTheRest) {
  TempFolder folder;
  const std::string keys = (folder / "coordinator-keys").string();
  const std::string board = (folder / "board-keys").string();
  ASSERT_EQ(Hone({"keys", "new", "main", "--role", "coordinator", "--keys", keys}).code, 0);
  ASSERT_EQ(Hone({"keys", "new", "ann", "--role", "admin", "--keys", keys}).code, 0);
  ASSERT_EQ(Hone({"keys", "new", "board-1", "--role", "worker", "--coordinator", PublicOf(keys, "coordinator"),
                  "--keys", board})
                .code,
            0);

  const fs::path ready = folder / "ready";
  ProcessOptions options;
  options.arguments = {Program("hone-coordinator").string(),
                       "--listen",
                       "tcp://127.0.0.1:0",
                       "--data",
                       (folder / "data").string(),
                       "--keys",
                       keys,
                       "--ready-file",
                       ready.string()};
  options.stdout_file = options.stderr_file = folder / "coordinator.log";
  auto coordinator = Process::Start(options);
  ASSERT_TRUE(coordinator);
  ASSERT_TRUE(Eventually([&] { return fs::exists(ready); }));
  std::ifstream file(ready);
  const std::string endpoint = nlohmann::json::parse(file).at("endpoint");

  EXPECT_EQ(Hone({"jobs", "--coordinator", endpoint}, 30, {{"HONE_KEYS", keys}}).code, 0);
  const Ran bare = Hone({"jobs", "--coordinator", endpoint}, 30, {{"HONE_KEYS", ""}});
  EXPECT_EQ(bare.code, 7) << bare.err;
  EXPECT_THAT(bare.err, HasSubstr("--keys"));

  // The worker is turned away until its key is on the list; then it works under the key's name.
  const Ran refused = RunProgram(
      "hone-worker", {"--coordinator", endpoint, "--data", (folder / "board").string(), "--keys", board}, 120);
  EXPECT_EQ(refused.code, 7) << refused.err;
  ASSERT_EQ(
      Hone({"keys", "allow", "board-1", "--role", "worker", "--key", PublicOf(board, "worker"), "--keys", keys}).code,
      0);
  options.arguments = {Program("hone-worker").string(), "--coordinator", endpoint, "--data",
                       (folder / "board").string(),     "--keys",        board};
  options.stdout_file = options.stderr_file = folder / "worker.log";
  auto worker = Process::Start(options);
  ASSERT_TRUE(worker);
  const auto state = [&] {
    const Ran ran = Hone({"workers", "--coordinator", endpoint, "--keys", keys, "--json"});
    const auto workers = ran.code == 0 ? ran.json().at("workers") : nlohmann::json::array();
    return workers.empty() ? std::string()
                           : workers[0].at("name").get<std::string>() + " " + workers[0].at("state").get<std::string>();
  };
  EXPECT_TRUE(Eventually([&] { return state() == "board-1 ready"; }, Deadline(60))) << state();
  // Its key does nothing but a worker's work.
  fs::copy_file(fs::path(board) / "worker.secret", fs::path(board) / "client.secret");
  EXPECT_EQ(Hone({"jobs", "--coordinator", endpoint, "--keys", board}).code, 7);
  ASSERT_EQ(Hone({"keys", "revoke", "board-1", "--keys", keys}).code, 0);
  EXPECT_TRUE(Eventually([&] { return state() == "board-1 lost"; }, Deadline(60))) << state();
  worker->Stop(std::chrono::seconds(15));
  EXPECT_EQ(coordinator->Stop(std::chrono::seconds(10)).code, 0);
}

TEST(ServiceTest, CoordinatorOffTheLoopbackWithoutKeysDoesNotStart) {
  TempFolder folder;
  const Ran ran = RunProgram("hone-coordinator", {"--listen", "tcp://0.0.0.0:0", "--data", (folder / "data").string()},
                             30, {{"HONE_KEYS", ""}});
  EXPECT_EQ(ran.code, 78);
  EXPECT_THAT(ran.err, HasSubstr("hone keys new coordinator --role coordinator"));
}

TEST(ServiceTest, SecretThatOthersCanReadStopsTheCoordinator) {
  TempFolder folder;
  const std::string keys = (folder / "keys").string();
  ASSERT_EQ(Hone({"keys", "new", "main", "--role", "coordinator", "--keys", keys}).code, 0);
  fs::permissions(fs::path(keys) / "coordinator.secret", fs::perms::group_read, fs::perm_options::add);
  const Ran ran = RunProgram(
      "hone-coordinator", {"--listen", "tcp://127.0.0.1:0", "--data", (folder / "data").string(), "--keys", keys}, 30);
  EXPECT_EQ(ran.code, 78);
  EXPECT_THAT(ran.err, HasSubstr("chmod 600"));
}

}  // namespace
}  // namespace hone::test
