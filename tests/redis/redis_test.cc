// A real redis-server on a free port: events arrive; and whatever becomes of it, the coordinator goes on.
#include <sys/stat.h>
#include <unistd.h>

#include "common/transport/transport.h"
#include "coordinator/redis/publisher.h"
#include "tests/coordinator/harness.h"
#include "tests/redis/redis_server.h"

namespace hone::test {
namespace {

class PublisherTest : public RedisTest {
 protected:
  std::unique_ptr<RedisPublisher> Publisher(const std::string& url, const RedisOptions& options = {}) {
    auto address = ParseRedisUrl(url);
    EXPECT_TRUE(address) << address.error().message;
    return RedisPublisher::Start(*address, options);
  }
  static RedisCommand Entry(int number) { return {"XADD", "hone:events", "*", "sequence", std::to_string(number)}; }
};

TEST_F(PublisherTest, CommandsArriveByTcpAndUnixSocket) {
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

TEST_F(PublisherTest, WrongPasswordAndForbiddenKeysAreToldAndNothingWaits) {
  const auto wrong = Publisher(Url("hone:other"));
  wrong->Push(Entry(1));
  EXPECT_TRUE(Eventually([&] { return wrong->state().error.find("log in") != std::string::npos; }));
  EXPECT_FALSE(wrong->state().connected);
  const auto forbidden = Publisher(Url());
  forbidden->Push({"SET", "elsewhere", "x"});
  forbidden->Push(Entry(2));
  EXPECT_TRUE(Eventually([&] { return forbidden->state().refused == 1 && forbidden->state().sent == 1; }));
}

TEST_F(PublisherTest, KilledServerIsFoundAgainAndTheRestIsDelivered) {
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

TEST_F(PublisherTest, StoppedServerCostsTheOldestOfAFullQueueAndNoTime) {
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

TEST_F(PublisherTest, ServerThatIsNoneIsLeftAloneWithItsBytes) {
  const Descriptor listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  socklen_t size = sizeof address;
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const std::string url = "redis://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  for (const std::string& answer :
       {std::string("HTTP/1.1 400\r\n"), std::string("*2147483647\r\n"), "$300000\r\n" + std::string(200'000, 'x')}) {
    const auto publisher = Publisher(url);
    publisher->Push(Entry(1));
    const Descriptor client(accept(listener.get(), nullptr, nullptr));
    ASSERT_EQ(send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    EXPECT_TRUE(Eventually([&] { return publisher->state().broken > 0; })) << answer.substr(0, 20);
    EXPECT_EQ(publisher->state().sent, 0u);
  }
}

TEST_F(PublisherTest, CoordinatorTellsEventsAndWorkersAndServesOnWithoutRedis) {
  std::ofstream(folder_ / "password") << "p@ss/word\n";
  chmod((folder_ / "password").c_str(), 0600);
  test::Coordinator coordinator(folder_.path(), {{},
                                                 {"--redis", "redis://hone@127.0.0.1:" + std::to_string(port_),
                                                  "--redis-password-file", (folder_ / "password").string()}});
  std::shared_ptr<Dialer> dialer = std::move(*Dialer::Connect(coordinator.endpoint()));
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
  coordinator.Stop();
  EXPECT_EQ(coordinator.Log().find("p@ss"), std::string::npos);
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
  for (const char* wrong :
       {"", "host:1", "redis://", "redis://:6379", "redis://h:0", "redis://h:x", "redis://h/x", "redis://h/-1",
        "redis://a%4:b@h", "redis://[::1", "unix://relative", "unix:///p?x=1", "rediss://h"}) {
    const auto parsed = ParseRedisUrl(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUsage) << wrong;
  }
  EXPECT_EQ(ParseRedisUrl("redis://ann:hunter2@h:x").error().message.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace hone::test
