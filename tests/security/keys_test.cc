// Key files and lists, and the command that writes them.
#include <sys/stat.h>

#include "tests/security/fixture.h"

namespace hone::test {
namespace {

uint32_t ModeOf(const fs::path& file) {
  struct stat status {};
  EXPECT_EQ(stat(file.c_str(), &status), 0) << file;
  return status.st_mode & 0777;
}

TEST(KeysTest, PairIsWrittenForItsOwnerAlone) {
  TempFolder folder;
  const fs::path keys = folder / "keys";
  const auto pair = MakeKeyPair("board-1");
  ASSERT_TRUE(pair);
  ASSERT_TRUE(WriteKeyPair(keys, KeyKind::worker, *pair));
  EXPECT_EQ(ModeOf(keys), 0700u);
  EXPECT_EQ(ModeOf(SecretFile(keys, KeyKind::worker)), 0600u);
  const auto read = ReadKeyPair(keys, KeyKind::worker);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->name, "board-1");
  EXPECT_EQ(read->secret_key, pair->secret_key);
  const auto given_away = ReadFile(PublicFile(keys, KeyKind::worker), 4096);
  EXPECT_EQ(given_away->find(pair->secret_key), std::string::npos);
  EXPECT_EQ(ReadPublicKey(PublicFile(keys, KeyKind::worker))->public_key, pair->public_key);
}

TEST(KeysTest, SecretThatOthersCanReadIsRefused) {
  TempFolder folder;
  ASSERT_TRUE(WriteKeyPair(folder.path(), KeyKind::client, *MakeKeyPair("ann")));
  for (const mode_t mode : {0640u, 0604u, 0660u, 0601u}) {
    ASSERT_EQ(chmod(SecretFile(folder.path(), KeyKind::client).c_str(), mode), 0);
    const auto read = ReadKeyPair(folder.path(), KeyKind::client);
    ASSERT_EQ(CodeOf(read), ErrorCode::kDenied) << mode;
    EXPECT_THAT(read.error().remedy, HasSubstr("chmod 600"));
  }
}

TEST(KeysTest, ListThatOthersCanWriteIsRefused) {
  TempFolder folder;
  ASSERT_TRUE(AllowList().Write(AllowedFile(folder.path())));
  ASSERT_EQ(chmod(AllowedFile(folder.path()).c_str(), 0622), 0);
  EXPECT_EQ(CodeOf(AllowList::Read(AllowedFile(folder.path()))), ErrorCode::kDenied);
}

TEST(KeysTest, FilesThatAreNoKeysAreRejectedAndNamed) {
  TempFolder folder;
  const auto pair = MakeKeyPair("ann");
  const std::string good = "name ann\npublic " + pair->public_key + "\nsecret " + pair->secret_key + "\n";
  const auto other = MakeKeyPair("bob");
  for (const std::string& bad :
       {std::string(), std::string("name ann\n"), good + "name bob\n", "name a b\n" + good, std::string("\0\0\0", 3),
        good.substr(0, good.size() - 3),
        "name ann\npublic " + pair->public_key + "\nsecret " + other->secret_key + "\n",
        "name ../x\npublic " + pair->public_key + "\n",
        "name ann\npublic " + std::string(40, '#') + "\nsecret " + pair->secret_key + "\n", std::string(5000, '#')}) {
    ASSERT_TRUE(WriteFile(SecretFile(folder.path(), KeyKind::client), bad));
    ASSERT_EQ(chmod(SecretFile(folder.path(), KeyKind::client).c_str(), 0600), 0);
    const auto read = ReadKeyPair(folder.path(), KeyKind::client);
    ASSERT_EQ(CodeOf(read), ErrorCode::kRejected) << bad;
    EXPECT_THAT(read.error().message + read.error().file, HasSubstr("client.secret"));
  }
  EXPECT_EQ(CodeOf(ReadKeyPair(folder.path(), KeyKind::worker)), ErrorCode::kNotFound);
}

TEST(KeysTest, ListIsReadWordByWord) {
  const std::string ann = MakeKeyPair("ann")->public_key;
  const std::string bob = MakeKeyPair("bob")->public_key;
  const auto list = AllowList::Parse("# people\n\nclient ann " + ann + "\n  revoked\tbob " + bob + "\r\n", "allowed");
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->entries().size(), 2u);
  EXPECT_EQ(list->Find(ann)->role, Role::client);
  EXPECT_FALSE(list->Find(ann)->revoked);
  EXPECT_TRUE(list->Find(bob)->revoked);
  EXPECT_EQ(list->Find("nobody"), nullptr);
  for (const std::string& bad :
       {std::string("client ann\n"), "root ann " + ann, "client ann " + ann + " more", "client a/b " + ann,
        std::string("client ann short"), "client ann " + ann + "\nworker board " + ann,
        "client " + std::string(65, 'a') + " " + ann}) {
    const auto wrong = AllowList::Parse("\n" + bad, "allowed");
    ASSERT_EQ(CodeOf(wrong), ErrorCode::kRejected) << bad;
    EXPECT_GE(wrong.error().line, 2u);
  }
}

TEST(KeysTest, RevokedKeyIsNotLetInAgain) {
  AllowList list;
  const std::string key = MakeKeyPair("ann")->public_key;
  ASSERT_TRUE(list.Allow({key, "ann", Role::client, false}));
  EXPECT_TRUE(list.Allow({key, "ann", Role::client, false}));
  EXPECT_EQ(CodeOf(list.Allow({key, "ann", Role::admin, false})), ErrorCode::kConflict);
  EXPECT_EQ(list.Revoke("ann", "").value(), 1u);
  EXPECT_EQ(list.Revoke("ann", "").value(), 0u);
  EXPECT_EQ(CodeOf(list.Allow({key, "ann", Role::client, false})), ErrorCode::kConflict);
  EXPECT_EQ(CodeOf(list.Revoke("bob", "")), ErrorCode::kNotFound);
}

TEST(KeysTest, KeysThatZeroMqDoesNotDecodeAreNone) {
  EXPECT_FALSE(IsKey(""));
  EXPECT_FALSE(IsKey(std::string(39, 'a')));
  EXPECT_FALSE(IsKey(std::string(40, '"')));
  EXPECT_FALSE(IsKey(std::string(40, '#')));   // Five of the last digit are more than 32 bits.
  EXPECT_TRUE(IsKey(MakeKeyPair("a")->public_key));
}

TEST(KeysCommandTest, ThreeMachinesAreSetUpWithPublicKeysAlone) {
  TempFolder folder;
  const std::string coordinator = (folder / "coordinator").string();
  const std::string board = (folder / "board").string();
  const Ran made = Hone({"keys", "new", "coordinator", "--role", "coordinator", "--keys", coordinator, "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.json().at("schema"), "hone.key/1");
  const std::string trusted = made.json().at("public");
  EXPECT_EQ(Hone({"keys", "show", "coordinator", "--keys", coordinator}).out, trusted + "\n");
  const Ran worker =
      Hone({"keys", "new", "board-1", "--role", "worker", "--coordinator", trusted, "--keys", board, "--json"});
  ASSERT_EQ(worker.code, 0) << worker.err;
  EXPECT_FALSE(worker.json().at("allowed"));
  EXPECT_TRUE(LoadDialerKeys(board, KeyKind::worker));
  const std::string key = worker.json().at("public");
  const Ran allowed = Hone({"keys", "allow", "board-1", "--role", "worker", "--key", key, "--keys", coordinator});
  ASSERT_EQ(allowed.code, 0) << allowed.err;
  // On the coordinator's own machine a new pair is let in at once.
  EXPECT_TRUE(Hone({"keys", "new", "ann", "--role", "admin", "--keys", coordinator, "--json"}).json().at("allowed"));
  const auto list = Hone({"keys", "list", "--json"}, 30, {{"HONE_KEYS", coordinator}}).json();
  EXPECT_EQ(list.at("schema"), "hone.keys/1");
  ASSERT_EQ(list.at("allowed").size(), 2u);
  EXPECT_EQ(list.at("allowed")[0], (nlohmann::json{{"role", "worker"}, {"name", "board-1"}, {"public", key}}));
  ASSERT_EQ(Hone({"keys", "revoke", "board-1", "--keys", coordinator}).code, 0);
  EXPECT_TRUE(AllowList::Read(AllowedFile(coordinator))->Find(key)->revoked);
}

TEST(KeysCommandTest, MistakesAreToldWithTheirExitCode) {
  TempFolder folder;
  const std::string keys = (folder / "keys").string();
  EXPECT_EQ(Hone({"keys", "new", "ann"}, 30, {{"HONE_KEYS", ""}}).code, 2);
  EXPECT_EQ(Hone({"keys", "make", "ann", "--keys", keys}).code, 2);
  EXPECT_EQ(Hone({"keys", "new", "--keys", keys}).code, 2);
  EXPECT_EQ(Hone({"keys", "new", "a b", "--keys", keys}).code, 2);
  EXPECT_EQ(Hone({"keys", "new", "ann", "--role", "king", "--keys", keys}).code, 2);
  EXPECT_EQ(Hone({"keys", "allow", "ann", "--key", "short", "--keys", keys}).code, 2);
  ASSERT_EQ(Hone({"keys", "new", "ann", "--keys", keys}).code, 0);
  EXPECT_EQ(Hone({"keys", "new", "ann", "--keys", keys}).code, 9);
  EXPECT_EQ(Hone({"keys", "new", "ann", "--replace", "--keys", keys}).code, 0);
  EXPECT_EQ(Hone({"keys", "revoke", "bob", "--keys", keys}).code, 8);
  EXPECT_EQ(Hone({"keys", "show", "worker", "--keys", keys}).code, 8);
  EXPECT_EQ(Hone({"jobs", "--coordinator", "tcp://127.0.0.1:1", "--keys", (folder / "none").string()}).code, 8);
}

}  // namespace
}  // namespace hone::test
