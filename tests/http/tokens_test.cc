// Tokens and their list, and the command that keeps it.
#include "common/transport/tokens.h"

#include <set>

#include "tests/http/fixture.h"

namespace hone::test {
namespace {

TEST(TokenListTest, ATokenIsFoundByItsBytesAndKeptAsADigest) {
  std::set<std::string> distinct;
  for (int i = 0; i < 100; ++i) distinct.insert(*MakeToken());
  EXPECT_EQ(distinct.size(), 100u);
  const std::string token = *distinct.begin();
  EXPECT_EQ(token.size(), 48u);
  TokenList list;
  ASSERT_TRUE(list.Add({Role::client, "ann", TokenDigest(token)}));
  ASSERT_NE(list.Find(token), nullptr);
  EXPECT_EQ(list.Find(token)->name, "ann");
  EXPECT_EQ(list.Find(token + "x"), nullptr);
  EXPECT_EQ(list.Find(""), nullptr);
  EXPECT_EQ(list.Add({Role::client, "ann", TokenDigest("y")}).error().code, ErrorCode::kConflict);
  ASSERT_TRUE(list.Revoke("ann"));
  EXPECT_EQ(list.Find(token), nullptr);
  EXPECT_EQ(list.Revoke("eve").error().code, ErrorCode::kNotFound);
}

TEST(TokenListTest, AListThatOthersCanReadIsRefused) {
  TempFolder folder;
  TokenList list;
  ASSERT_TRUE(list.Add({Role::admin, "adam", TokenDigest("x")}));
  ASSERT_TRUE(list.Write(folder / "tokens"));
  EXPECT_TRUE(TokenList::Read(folder / "tokens"));
  EXPECT_EQ(TextOf(folder / "tokens").find("hone_"), std::string::npos);
  fs::permissions(folder / "tokens", fs::perms::others_read, fs::perm_options::add);
  EXPECT_EQ(TokenList::Read(folder / "tokens").error().code, ErrorCode::kDenied);
  EXPECT_EQ(TokenList::Parse("admin adam 12\n", "tokens").error().line, 1u);
  EXPECT_EQ(TokenList::Parse("# x\n\nking adam " + TokenDigest("x"), "tokens").error().line, 3u);
}

using TokenCommandTest = HttpTest;

TEST_F(TokenCommandTest, ATokenThatTheCommandMadeIsGoodUntilItIsRevoked) {
  const std::string file = (folder_ / "coordinator" / "tokens").string();
  const Ran made = Hone({"token", "create", "carl", "--role", "client", "--tokens", file, "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const HttpHeaders carl = {{"Authorization", "Bearer " + made.json().at("token").get<std::string>()}};
  EXPECT_TRUE(
      Eventually([&] { return Get("/api/v1/session", carl).json().value("name", nlohmann::json()) == "carl"; }));
  EXPECT_EQ(Get("/api/v1/session", carl).json().at("may"), nlohmann::json({"read", "submit", "cancel"}));
  const Ran listed = Hone({"token", "list", "--tokens", file});
  EXPECT_NE(listed.out.find("carl"), std::string::npos);
  EXPECT_EQ(listed.out.find(made.json().at("token").get<std::string>()), std::string::npos);
  EXPECT_EQ(Hone({"token", "create", "carl", "--tokens", file}).code, 9);
  EXPECT_EQ(Hone({"token", "revoke", "carl", "--tokens", file}).code, 0);
  EXPECT_TRUE(Eventually([&] { return Get("/api/v1/jobs", carl).status == 401; }));
  EXPECT_EQ(Hone({"token", "revoke", "eve", "--tokens", file}).code, 8);
}

}  // namespace
}  // namespace hone::test
