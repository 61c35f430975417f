// What one peer may ask, and what the others still get meanwhile.
#include <cstdio>

#include "tests/security/fixture.h"

namespace hone::test {
namespace {

constexpr std::chrono::seconds kCall{30};

// Calls one after the other for a while; every one must be answered.
uint64_t CallsWithin(Dialer& dialer, std::chrono::milliseconds time) {
  uint64_t calls = 0;
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    const auto reply = dialer.Call(Ping(), kCall);
    EXPECT_TRUE(reply) << reply.error().message;
    if (!reply) break;
    ++calls;
  }
  return calls;
}

// Frames that are none, 10,000 a second.
class Flood {
 public:
  Flood(const std::string& endpoint, const DialerOptions& options)
      : thread_([this, endpoint, options] {
          RawMember member(endpoint, options);
          auto next = std::chrono::steady_clock::now();
          while (!stop_) {
            for (int i = 0; i < 10; ++i) sent_ += member.Send("\xff\xff\xff these are no frames of hone") ? 1 : 0;
            next += 1ms;
            std::this_thread::sleep_until(next);
          }
        }) {}
  ~Flood() {
    stop_ = true;
    thread_.join();
  }
  uint64_t sent() const { return sent_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> sent_{0};
  std::thread thread_;
};

TEST(LimitsTest, FloodOfBadFramesIsMutedAndGoodClientsAreServed) {
  const KeyRing ring;
  const DialerOptions good = ring.Member("good", Role::client);
  const DialerOptions bad = ring.Member("bad", Role::client);
  Server server(ring.Options());
  auto dialer = Dial(server.endpoint(), good);
  ASSERT_TRUE(dialer->Call(Ping(), kCall));
  const uint64_t before = CallsWithin(*dialer, 700ms);
  uint64_t during = 0;
  uint64_t sent = 0;
  {
    Flood flood(server.endpoint(), bad);
    ASSERT_TRUE(Eventually([&] { return server.counters().muted > 1000; }));
    during = CallsWithin(*dialer, 700ms);
    sent = flood.sent();
  }
  const ListenerCounters counters = server.counters();
  std::printf(
      "calls in 0.7 s: %llu alone, %llu beside the flood (%.0f %%); %llu bad frames sent, %llu parsed, %llu dropped\n",
      static_cast<unsigned long long>(before), static_cast<unsigned long long>(during),
      100.0 * static_cast<double>(during) / static_cast<double>(before), static_cast<unsigned long long>(sent),
      static_cast<unsigned long long>(counters.malformed), static_cast<unsigned long long>(counters.muted));
  EXPECT_GT(during, 0u);
  // A score of them was parsed before it was enough; the flood does not last until the listener listens again.
  EXPECT_LE(counters.malformed, 25u);
  EXPECT_EQ(server.Frames("bad"), 0u);
}

TEST(LimitsTest, PeerWithoutKeysIsMutedAloneAndHeardAgainLater) {
  ListenerOptions options;
  options.limits.malformed_burst = 3;
  options.limits.malformed_per_s = 100;
  options.limits.mute = 200ms;
  Server server(options);
  RawMember bad(server.endpoint(), {});
  for (int i = 0; i < 200; ++i) bad.Send("garbage");
  ASSERT_TRUE(Eventually([&] { return server.counters().muted > 0; }));
  EXPECT_TRUE(Dial(server.endpoint())->Call(Ping(), kCall));
  proto::Frame ping = Ping();
  ping.set_protocol(kProtocol);
  ping.set_request(77);
  EXPECT_TRUE(Eventually([&] {
    bad.Send(ping.SerializeAsString());
    return server.Frames() > 1;
  }));
}

TEST(LimitsTest, MessagesBeyondAKeysShareAreDroppedUnread) {
  const KeyRing ring;
  const DialerOptions greedy = ring.Member("greedy", Role::client);
  const DialerOptions modest = ring.Member("modest", Role::client);
  ListenerOptions options = ring.Options();
  options.limits.messages_burst = 5;
  options.limits.messages_per_s = 1e-6;
  Server server(options);
  auto dialer = Dial(server.endpoint(), greedy);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(dialer->Call(Ping(), kCall));
  EXPECT_EQ(CodeOf(dialer->Call(Ping(), 100ms)), ErrorCode::kUnreachable);
  // Another connection of the same key has no share of its own, another key has.
  EXPECT_EQ(CodeOf(Dial(server.endpoint(), greedy)->Call(Ping(), 300ms)), ErrorCode::kUnreachable);
  EXPECT_TRUE(Dial(server.endpoint(), modest)->Call(Ping(), kCall));
  EXPECT_EQ(server.Frames("greedy"), 5u);
  EXPECT_TRUE(Eventually([&] { return server.counters().limited == 2; }));
}

TEST(LimitsTest, MessageLargerThanAFrameEndsItsConnectionAlone) {
  const KeyRing ring;
  const DialerOptions bad = ring.Member("bad", Role::client);
  const DialerOptions good = ring.Member("good", Role::client);
  Server server(ring.Options());
  RawMember member(server.endpoint(), bad);
  member.Send(std::string(kMaxFrameBytes + 1, 'x'));
  EXPECT_TRUE(Dial(server.endpoint(), good)->Call(Ping(), kCall));
  EXPECT_EQ(server.Frames("bad"), 0u);
  EXPECT_EQ(server.counters().malformed, 0u);
}

}  // namespace
}  // namespace hone::test
