// A real redis-server on a free port: events arrive; and whatever becomes of it, the coordinator goes on.
#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "common/base/open_file.h"
#include "common/transport/transport.h"
#include "coordinator/redis/publisher.h"
#include "tests/coordinator/harness.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kServer = "/usr/bin/redis-server";

uint16_t FreePort() {
  const Descriptor probe(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  socklen_t size = sizeof address;
  EXPECT_EQ(getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

class RedisTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kServer)) GTEST_SKIP() << "redis-server is not installed (ops/setup)";
    spdlog::set_level(spdlog::level::off);
    std::signal(SIGPIPE, SIG_IGN);
    port_ = FreePort();
    std::ofstream acl(folder_ / "users.acl");
    acl << "user default off\nuser root on >rootword ~* +@all\nuser hone on >p@ss/word ~hone:* +xadd +set +auth +select +ping\n";
    acl.close();
    Start();
  }
  void Start() {
    ProcessOptions options;
    options.arguments = {kServer, "--port", std::to_string(port_), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
                         folder_.path().string(), "--aclfile", (folder_ / "users.acl").string(), "--unixsocket", Socket()};
    options.stdout_file = options.stderr_file = folder_ / "redis.log";
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    server_.emplace(std::move(*process));
    ASSERT_TRUE(Eventually([&] { return !AskRoot({"PING"}).empty(); }));
  }
  void Kill() {
    server_->Signal(SIGKILL);
    (void)server_->Wait(10s);
    server_.reset();
  }
  std::string Socket() const { return (folder_ / "redis.sock").string(); }
  std::string Url(const std::string& login = "hone:p%40ss%2Fword") const { return "redis://" + login + "@127.0.0.1:" + std::to_string(port_) + "/0"; }
  // A number or a text as text; "" where there is no answer.
  std::string AskRoot(const std::vector<std::string>& words) const {
    redisContext* context = redisConnectWithTimeout("127.0.0.1", port_, {5, 0});
    std::string text;
    if (context != nullptr && context->err == 0) {
      freeReplyObject(redisCommand(context, "AUTH root rootword"));
      std::vector<const char*> pointers;
      for (const auto& word : words) pointers.push_back(word.c_str());
      if (auto* reply = static_cast<redisReply*>(redisCommandArgv(context, static_cast<int>(words.size()), pointers.data(), nullptr))) {
        text = reply->type == REDIS_REPLY_INTEGER ? std::to_string(reply->integer) : reply->str != nullptr ? reply->str : "";
        freeReplyObject(reply);
      }
    }
    if (context != nullptr) redisFree(context);
    return text;
  }
  std::unique_ptr<RedisPublisher> Publisher(const std::string& url, const RedisOptions& options = {}) {
    auto address = ParseRedisUrl(url);
    EXPECT_TRUE(address) << address.error().message;
    return RedisPublisher::Start(*address, options);
  }
  static RedisPublisher::Command Entry(int number) { return {"XADD", "hone:events", "*", "sequence", std::to_string(number)}; }

  TempFolder folder_;
  uint16_t port_ = 0;
  std::optional<Process> server_;
};

TEST_F(RedisTest, CommandsArriveByTcpAndUnixSocket) {
  for (const std::string& url : {Url(), "unix://" + Socket() + "?db=0"}) {
    auto address = ParseRedisUrl(url);
    ASSERT_TRUE(address);
    address->user = "hone";
    address->password = "p@ss/word";
    const auto publisher = RedisPublisher::Start(*address);
    for (int i = 0; i < 200; ++i) publisher->Push(Entry(i));
    EXPECT_TRUE(Eventually([&] { return publisher->state().sent == 200; })) << publisher->state().error;
  }
  EXPECT_EQ(AskRoot({"XLEN", "hone:events"}), "400");
}

TEST_F(RedisTest, WrongPasswordAndForbiddenKeysAreToldAndNothingWaits) {
  const auto wrong = Publisher(Url("hone:other"));
  wrong->Push(Entry(1));
  EXPECT_TRUE(Eventually([&] { return wrong->state().error.find("log in") != std::string::npos; }));
  EXPECT_FALSE(wrong->state().connected);
  const auto forbidden = Publisher(Url());
  forbidden->Push({"SET", "elsewhere", "x"});
  forbidden->Push(Entry(2));
  EXPECT_TRUE(Eventually([&] { return forbidden->state().refused == 1 && forbidden->state().sent == 1; }));
}

TEST_F(RedisTest, KilledServerIsFoundAgainAndTheRestIsDelivered) {
  const auto publisher = Publisher(Url());
  publisher->Push(Entry(1));
  ASSERT_TRUE(Eventually([&] { return publisher->state().sent == 1; }));
  Kill();
  for (int i = 2; i <= 10; ++i) publisher->Push(Entry(i));
  EXPECT_TRUE(Eventually([&] { return publisher->state().broken > 0; }));
  Start();
  EXPECT_TRUE(Eventually([&] { return publisher->state().sent >= 10; }));
  EXPECT_EQ(publisher->state().dropped, 0u);
}

TEST_F(RedisTest, StoppedServerCostsTheOldestOfAFullQueueAndNoTime) {
  RedisOptions options;
  options.queue = 100;
  options.timeout = 200ms;
  const auto publisher = Publisher(Url(), options);
  publisher->Push(Entry(0));
  ASSERT_TRUE(Eventually([&] { return publisher->state().sent == 1; }));
  server_->Signal(SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5000; ++i) publisher->Push(Entry(i));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, Deadline(1));
  EXPECT_GE(publisher->state().dropped, 4900u);
  EXPECT_TRUE(Eventually([&] { return publisher->state().broken > 0; }));
  server_->Signal(SIGCONT);
  EXPECT_TRUE(Eventually([&] { return publisher->state().sent >= 101; }));
}

TEST_F(RedisTest, ServerThatIsNoneIsLeftAloneWithItsBytes) {
  const Descriptor listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  socklen_t size = sizeof address;
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const std::string url = "redis://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  for (const std::string& answer : {std::string("HTTP/1.1 400\r\n"), std::string("*2147483647\r\n"), "$300000\r\n" + std::string(200'000, 'x')}) {
    const auto publisher = Publisher(url);
    publisher->Push(Entry(1));
    const Descriptor client(accept(listener.get(), nullptr, nullptr));
    ASSERT_EQ(send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    EXPECT_TRUE(Eventually([&] { return publisher->state().broken > 0; })) << answer.substr(0, 20);
    EXPECT_EQ(publisher->state().sent, 0u);
  }
}

TEST_F(RedisTest, CoordinatorTellsEventsAndWorkersAndServesOnWithoutRedis) {
  const fs::path ready = folder_ / "ready";
  std::ofstream(folder_ / "password") << "p@ss/word\n";
  chmod((folder_ / "password").c_str(), 0600);
  ProcessOptions options;
  options.arguments = {Program("hone-coordinator").string(), "--listen", "tcp://127.0.0.1:0", "--data", (folder_ / "data").string(), "--ready-file",
                       ready.string(), "--redis", "redis://hone@127.0.0.1:" + std::to_string(port_), "--redis-password-file",
                       (folder_ / "password").string()};
  options.environment["HONE_KEYS"] = "";
  options.stdout_file = options.stderr_file = folder_ / "coordinator.log";
  auto coordinator = Process::Start(options);
  ASSERT_TRUE(coordinator);
  ASSERT_TRUE(Eventually([&] { return fs::exists(ready); }));
  std::ifstream file(ready);
  std::shared_ptr<Dialer> dialer = std::move(*Dialer::Connect(nlohmann::json::parse(file).at("endpoint").get<std::string>()));
  const Ask ask = [&](proto::Frame frame) { return dialer->Call(std::move(frame), 30s); };
  FakeWorker worker(ask, "board");
  ASSERT_TRUE(worker.Hello());
  EXPECT_TRUE(Eventually([&] { return AskRoot({"XLEN", "hone:events"}) == "1"; }));
  Kill();
  FakeWorker other(ask, "second");
  EXPECT_TRUE(other.Hello());
  proto::Frame ping;
  ping.mutable_ping();
  EXPECT_TRUE(ask(ping));
  Start();
  EXPECT_TRUE(Eventually([&] { return AskRoot({"XLEN", "hone:events"}) == "1"; }));
  EXPECT_EQ(coordinator->Stop(10s).code, 0);
  std::ifstream log(folder_ / "coordinator.log");
  const std::string text((std::istreambuf_iterator<char>(log)), {});
  EXPECT_EQ(text.find("p@ss"), std::string::npos);
}

TEST(RedisUrlTest, UrlsAreTakenApart) {
  const auto full = ParseRedisUrl("redis://ann:p%40s%2fs@[::1]:7000/3");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->host, "::1");
  EXPECT_EQ(full->port, 7000);
  EXPECT_EQ(full->user, "ann");
  EXPECT_EQ(full->password, "p@s/s");
  EXPECT_EQ(full->database, 3u);
  EXPECT_EQ(full->Text().find("p@s"), std::string::npos);
  EXPECT_EQ(ParseRedisUrl("redis://:secret@host")->password, "secret");
  EXPECT_EQ(ParseRedisUrl("redis://host")->port, 6379);
  EXPECT_EQ(ParseRedisUrl("unix:///run/redis.sock?db=2")->database, 2u);
  for (const char* wrong : {"", "host:1", "redis://", "redis://:6379", "redis://h:0", "redis://h:x", "redis://h/x", "redis://h/-1", "redis://a%4:b@h",
                            "redis://[::1", "unix://relative", "unix:///p?x=1", "rediss://h"}) {
    const auto parsed = ParseRedisUrl(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUsage) << wrong;
  }
  EXPECT_EQ(ParseRedisUrl("redis://ann:hunter2@h:x").error().message.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace hone::test
