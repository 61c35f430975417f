// A release and the one before understand each other.
#include "tests/security/fixture.h"

namespace hone::test {
namespace {

constexpr std::chrono::seconds kCall{30};

// What the release before wrote: protocol 1 (field 1), request 7 (field 2), a ping (field 10), and no newest_protocol
// (field 4).
const std::string kPingOfVersion1("\x08\x01\x10\x07\x52\x00", 6);

std::string PingOfVersion(char version) {
  std::string bytes = kPingOfVersion1;
  bytes[1] = version;
  return bytes;
}

TEST(VersionsTest, FrameOfTheReleaseBeforeIsAnsweredInItsVersion) {
  Server server({});
  RawMember old(server.endpoint(), {});
  ASSERT_TRUE(old.Send(kPingOfVersion1));
  const auto reply = old.Receive();
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->has_ping_reply());
  EXPECT_EQ(reply->protocol(), 1u);
  EXPECT_EQ(reply->newest_protocol(), kProtocol);
  EXPECT_EQ(reply->request(), 7u);
}

TEST(VersionsTest, FrameOfThisReleaseIsAnsweredInItsVersion) {
  Server server({});
  RawMember member(server.endpoint(), {});
  ASSERT_TRUE(member.Send(PingOfVersion(2)));
  const auto reply = member.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->protocol(), 2u);
}

TEST(VersionsTest, OtherVersionsAreRefusedWithBothEndsNamed) {
  Server server({});
  RawMember stranger(server.endpoint(), {});
  for (const char version : {'\0', '\3', '\x7f'}) {
    ASSERT_TRUE(stranger.Send(PingOfVersion(version)));
    const auto reply = stranger.Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->error().code(), static_cast<proto::Error::Code>(ErrorCode::kRejected));
    EXPECT_THAT(reply->error().message(),
                HasSubstr("protocol " + std::to_string(version) + ", this coordinator speaks 1 to 2"));
    EXPECT_THAT(reply->error().remedy(), HasSubstr("same version"));
    EXPECT_EQ(reply->request(), 7u);
  }
  EXPECT_EQ(server.Frames(), 0u);
}

TEST(VersionsTest, DialerBeginsWithTheOldestAndGoesUp) {
  Server server({});
  auto dialer = Dial(server.endpoint());
  ASSERT_TRUE(dialer->Call(Ping(), kCall));
  ASSERT_TRUE(Eventually([&] { return server.last().has_value(); }));
  EXPECT_EQ(server.last()->frame.protocol(), kOldestProtocol);
  EXPECT_EQ(server.last()->frame.newest_protocol(), kProtocol);
  ASSERT_TRUE(dialer->Call(Ping(), kCall));
  EXPECT_TRUE(Eventually([&] { return server.last()->frame.protocol() == kProtocol; }));
}

TEST(VersionsTest, DialerStaysWithACoordinatorOfTheReleaseBefore) {
  TempFolder folder;
  const std::string endpoint = "ipc://" + (folder / "old").string();
  void* context = zmq_ctx_new();
  void* router = zmq_socket(context, ZMQ_ROUTER);
  const int none = 0;
  zmq_setsockopt(router, ZMQ_LINGER, &none, sizeof none);
  ASSERT_EQ(zmq_bind(router, endpoint.c_str()), 0);
  std::vector<uint32_t> asked;
  std::thread old([&] {
    for (int i = 0; i < 3; ++i) {
      char peer[256];
      char bytes[1024];
      const int peer_size = zmq_recv(router, peer, sizeof peer, 0);
      const int size = zmq_recv(router, bytes, sizeof bytes, 0);
      proto::Frame request;
      ASSERT_TRUE(request.ParseFromArray(bytes, size));
      asked.push_back(request.protocol());
      proto::Frame reply;
      reply.set_protocol(1);
      reply.set_request(request.request());
      reply.mutable_ping_reply();
      const std::string text = reply.SerializeAsString();
      zmq_send(router, peer, static_cast<size_t>(peer_size), ZMQ_SNDMORE);
      zmq_send(router, text.data(), text.size(), 0);
    }
  });
  auto dialer = Dial(endpoint);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(dialer->Call(Ping(), kCall));
  old.join();
  EXPECT_THAT(asked, testing::ElementsAre(1u, 1u, 1u));
  zmq_close(router);
  zmq_ctx_term(context);
}

}  // namespace
}  // namespace hone::test
