// Who comes through the door, and what reaches our parsers of those who do not: nothing.
#include <sys/resource.h>

#include <algorithm>
#include <random>

#include "common/transport/greeting.h"
#include "tests/security/fixture.h"

namespace hone::test {
namespace {

constexpr std::chrono::seconds kCall{30};

TEST(DoorTest, MembersAreHeardUnderTheNameAndRoleOfTheirKey) {
  const KeyRing ring;
  const DialerOptions board = ring.Member("board", Role::worker);
  const DialerOptions ann = ring.Member("ann", Role::admin);
  Server server(ring.Options());
  auto first = Dial(server.endpoint(), board);
  auto second = Dial(server.endpoint(), ann);
  const auto reply = first->Call(Ping(), kCall);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->ping_reply().role(), "worker");
  EXPECT_EQ(second->Call(Ping(), kCall)->ping_reply().role(), "admin");
  EXPECT_EQ(server.Frames("board"), 1u);
  EXPECT_EQ(server.Frames("ann"), 1u);
}

TEST(DoorTest, KeysWorkOverIpcToo) {
  const KeyRing ring;
  const DialerOptions ann = ring.Member("ann", Role::client);
  Server server(ring.Options(), "ipc://" + (ring.folder() / "socket").string());
  EXPECT_EQ(Dial(server.endpoint(), ann)->Call(Ping(), kCall)->ping_reply().role(), "client");
  EXPECT_EQ(CodeOf(Dial(server.endpoint(), ring.Stranger("eve"))->Call(Ping(), kCall)), ErrorCode::kDenied);
}

TEST(DoorTest, UnknownKeyIsDeniedAtOnceAndNothingOfItIsRead) {
  const KeyRing ring;
  Server server(ring.Options());
  auto dialer = Dial(server.endpoint(), ring.Stranger("eve"));
  const auto reply = dialer->Call(Ping(), kCall);
  ASSERT_EQ(CodeOf(reply), ErrorCode::kDenied);
  EXPECT_THAT(reply.error().message, HasSubstr("does not let the key of eve in"));
  EXPECT_THAT(reply.error().remedy, HasSubstr("hone keys allow"));
  EXPECT_TRUE(Eventually([&] { return server.counters().refused > 0; }));
  EXPECT_EQ(server.Frames(), 0u);
  EXPECT_EQ(server.counters().malformed, 0u);
}

TEST(DoorTest, ClientWithoutKeysIsDeniedAtOnce) {
  const KeyRing ring;
  Server server(ring.Options());
  const auto reply = Dial(server.endpoint())->Call(Ping(), kCall);
  ASSERT_EQ(CodeOf(reply), ErrorCode::kDenied);
  EXPECT_THAT(reply.error().message, HasSubstr("lets nobody in without keys"));
  EXPECT_EQ(server.Frames(), 0u);
}

TEST(DoorTest, ListenerTellsItsMechanismBeforeAnyHandshake) {
  const KeyRing ring;
  const auto mechanism = [](const std::string& endpoint) {
    return ListenersMechanism(*ParseEndpoint(endpoint, ErrorCode::kUsage), std::chrono::seconds(20));
  };
  Server locked(ring.Options());
  Server open({});
  Server local(ring.Options(), "ipc://" + (ring.folder() / "socket").string());
  EXPECT_EQ(mechanism(locked.endpoint()), "CURVE");
  EXPECT_EQ(mechanism(open.endpoint()), "NULL");
  EXPECT_EQ(mechanism(local.endpoint()), "CURVE");
  EXPECT_EQ(locked.Frames() + open.Frames() + local.Frames(), 0u);
  EXPECT_EQ(mechanism("ipc://" + (ring.folder() / "nobody").string()), std::nullopt);
}

TEST(DoorTest, ClientWithKeysDoesNotSpeakToACoordinatorWithoutThem) {
  const KeyRing ring;
  Server server({});
  const auto reply = Dial(server.endpoint(), ring.Stranger("ann"))->Call(Ping(), kCall);
  ASSERT_EQ(CodeOf(reply), ErrorCode::kDenied);
  EXPECT_THAT(reply.error().message, HasSubstr("works without keys"));
  EXPECT_EQ(server.Frames(), 0u);
}

TEST(DoorTest, ClientThatTrustsAnotherCoordinatorsKeyIsDenied) {
  const KeyRing ring;
  DialerOptions ann = ring.Member("ann", Role::client);
  ann.keys->coordinator = MakeKeyPair("impostor")->public_key;
  Server server(ring.Options());
  const auto reply = Dial(server.endpoint(), ann)->Call(Ping(), 1s);
  ASSERT_EQ(CodeOf(reply), ErrorCode::kDenied);
  EXPECT_THAT(reply.error().message, HasSubstr("coordinator.public"));
  EXPECT_EQ(server.Frames(), 0u);
  EXPECT_TRUE(Eventually([&] { return server.counters().garbled > 0; }));
}

TEST(DoorTest, KeyIsLetInAsSoonAsTheListHasIt) {
  const KeyRing ring;
  const DialerOptions late = ring.Stranger("late");
  Server server(ring.Options());
  auto dialer = Dial(server.endpoint(), late);
  ASSERT_EQ(CodeOf(dialer->Call(Ping(), kCall)), ErrorCode::kDenied);
  ring.Allow(late, Role::client);
  EXPECT_TRUE(Eventually([&] { return dialer->Call(Ping(), 2s).has_value(); }));
}

TEST(DoorTest, RevokedKeyIsCutOffWithItsConnection) {
  const KeyRing ring;
  const DialerOptions bad = ring.Member("bad", Role::client);
  const DialerOptions good = ring.Member("good", Role::client);
  Server server(ring.Options());
  auto revoked = Dial(server.endpoint(), bad);
  auto kept = Dial(server.endpoint(), good);
  ASSERT_TRUE(revoked->Call(Ping(), kCall));
  ASSERT_TRUE(kept->Call(Ping(), kCall));
  ring.Revoke(bad);
  ASSERT_TRUE(Eventually([&] { return server.counters().cut == 1; }));
  const uint64_t heard = server.Frames("bad");
  EXPECT_EQ(heard, 1u);
  const auto reply = revoked->Call(Ping(), kCall);
  EXPECT_EQ(CodeOf(reply), ErrorCode::kDenied);
  EXPECT_EQ(server.Frames("bad"), heard);
  EXPECT_TRUE(kept->Call(Ping(), kCall));
  // A fresh pair under the same name is another key: rotation.
  const DialerOptions renewed = ring.Member("bad", Role::client);
  EXPECT_TRUE(Eventually([&] { return Dial(server.endpoint(), renewed)->Call(Ping(), 2s).has_value(); }));
}

TEST(DoorTest, FramesOfARevokedKeyThatAreOnTheirWayAreDropped) {
  const KeyRing ring;
  const DialerOptions bad = ring.Member("bad", Role::client);
  Server server(ring.Options());
  // A connection that goes on sending, whatever the other side does.
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    RawMember member(server.endpoint(), bad);
    proto::Frame ping = Ping();
    ping.set_protocol(kProtocol);
    while (!stop) {
      member.Send(ping.SerializeAsString());
      member.Drain();
    }
  });
  EXPECT_TRUE(Eventually([&] { return server.Frames("bad") > 100; }));
  ring.Revoke(bad);
  EXPECT_TRUE(Eventually([&] { return server.counters().cut >= 1 || server.counters().revoked > 0; }));
  const uint64_t heard = server.Frames("bad");
  EXPECT_TRUE(Eventually([&] { return server.counters().refused > 0; }));
  EXPECT_EQ(server.Frames("bad"), heard);
  stop = true;
  sender.join();
}

TEST(DoorTest, ListThatCannotBeReadLeavesEverythingAsItWas) {
  const KeyRing ring;
  const DialerOptions ann = ring.Member("ann", Role::client);
  Server server(ring.Options());
  auto dialer = Dial(server.endpoint(), ann);
  ASSERT_TRUE(dialer->Call(Ping(), kCall));
  ASSERT_TRUE(WriteFile(AllowedFile(ring.folder()), "client ann\n"));
  // Time for the look at the file: a stranger's refusal comes after it.
  EXPECT_EQ(CodeOf(Dial(server.endpoint(), ring.Stranger("eve"))->Call(Ping(), kCall)), ErrorCode::kDenied);
  EXPECT_TRUE(dialer->Call(Ping(), kCall));
}

// A proxy that passes on and keeps what the client says.
class Tap {
 public:
  explicit Tap(uint16_t to) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 4), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, to] { Pass(to); });
  }
  ~Tap() { Stop(); }
  uint16_t port() const { return port_; }
  // What the client said on the connection.
  std::string Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return said_;
  }

 private:
  void Pass(uint16_t to) {
    pollfd waiting{listener_.get(), POLLIN, 0};
    while (!stop_ && poll(&waiting, 1, 50) <= 0) {
    }
    const Descriptor client(accept(listener_.get(), nullptr, nullptr));
    const Descriptor server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!client || connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
    while (!stop_) {
      pollfd both[2] = {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}};
      if (poll(both, 2, 50) <= 0) continue;
      for (int i = 0; i < 2; ++i) {
        if (both[i].revents == 0) continue;
        char bytes[4096];
        const ssize_t count = recv(both[i].fd, bytes, sizeof bytes, 0);
        if (count <= 0) return;
        if (i == 0) said_.append(bytes, static_cast<size_t>(count));
        if (send(both[1 - i].fd, bytes, static_cast<size_t>(count), MSG_NOSIGNAL) != count) return;
      }
    }
  }

  Descriptor listener_;
  uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::string said_;
  std::thread thread_;
};

TEST(DoorTest, ReplayedBytesOfAGoodConversationAreNotHeard) {
  const KeyRing ring;
  const DialerOptions ann = ring.Member("ann", Role::admin);
  Server server(ring.Options());
  Tap tap(server.port());
  std::string recorded;
  {
    auto dialer = Dial("tcp://127.0.0.1:" + std::to_string(tap.port()), ann);
    ASSERT_TRUE(dialer->Call(Ping(), kCall));
    recorded = tap.Stop();
  }
  ASSERT_GT(recorded.size(), 200u);
  EXPECT_EQ(recorded.find("ping"), std::string::npos);
  ASSERT_EQ(server.Frames(), 1u);
  for (int i = 0; i < 3; ++i) {
    RawTcp replay(server.port());
    ASSERT_TRUE(replay.connected());
    replay.Send(recorded);
    EXPECT_TRUE(replay.IsClosedWithin(20s));
  }
  EXPECT_TRUE(Eventually([&] { return server.counters().garbled >= 3; }));
  EXPECT_EQ(server.Frames(), 1u);
  EXPECT_EQ(server.counters().malformed, 0u);
}

TEST(DoorTest, GarbageInTheHandshakeIsHeardByNobody) {
  const KeyRing ring;
  const DialerOptions ann = ring.Member("ann", Role::client);
  Server server(ring.Options());
  std::mt19937 random(7);
  // The greeting that ZeroMQ expects: signature, version 3.0 and the mechanism, then chance.
  std::string greeting("\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00", 12);
  for (int i = 0; i < 60; ++i) {
    RawTcp raw(server.port());
    ASSERT_TRUE(raw.connected());
    std::string bytes = i % 3 == 0 ? "" : greeting + (i % 3 == 1 ? std::string("CURVE") : std::string("NULL"));
    if (!bytes.empty()) bytes.resize(64, '\0');
    for (int j = 0; j < 300; ++j) bytes.push_back(static_cast<char>(random()));
    raw.Send(bytes);
  }
  EXPECT_TRUE(Dial(server.endpoint(), ann)->Call(Ping(), kCall));
  EXPECT_TRUE(Eventually([&] { return server.counters().garbled > 0; }));
  EXPECT_EQ(server.Frames(), 1u);
  EXPECT_EQ(server.counters().malformed, 0u);
}

TEST(DoorTest, IdleConnectionsAreClosedAndKeepNobodyOut) {
#ifdef HONE_SANITIZED
  size_t count = 100;
#else
  size_t count = 1000;
#endif
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  // Both ends are in this process.
  count = std::min<size_t>(count, (limit.rlim_cur - 200) / 2);
  const KeyRing ring;
  const DialerOptions ann = ring.Member("ann", Role::client);
  Server server(ring.Options());
  std::vector<std::unique_ptr<RawTcp>> idle;
  while (idle.size() < count) {
    idle.push_back(std::make_unique<RawTcp>(server.port()));
    ASSERT_TRUE(idle.back()->connected()) << idle.size();
  }
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(Dial(server.endpoint(), ann)->Call(Ping(), kCall));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  std::printf("beside %zu idle connections a member was answered after %lld ms\n", idle.size(),
              static_cast<long long>(took.count()));
  for (const auto& connection : idle) ASSERT_TRUE(connection->IsClosedWithin(20s));
  EXPECT_EQ(server.Frames(), 1u);
}

TEST(DoorTest, OffTheLoopbackNothingIsHeardWithoutKeys) {
  for (const char* reachable : {"tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0"}) {
    const auto denied = Listener::Bind(reachable);
    ASSERT_EQ(CodeOf(denied), ErrorCode::kDenied) << reachable;
    EXPECT_THAT(denied.error().remedy, HasSubstr("hone keys new coordinator --role coordinator"));
  }
  const KeyRing ring;
  EXPECT_TRUE(Listener::Bind("tcp://0.0.0.0:0", ring.Options()));
}

}  // namespace
}  // namespace hone::test
