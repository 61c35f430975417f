#include "common/transport/transport.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <zmq.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <mutex>
#include <thread>

#include "common/artifact/bundle.h"
#include "common/artifact/file_store.h"
#include "common/base/digest.h"
#include "tests/common/scratch.h"

namespace hone {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

proto::Frame Ping() {
  proto::Frame frame;
  frame.mutable_ping();
  return frame;
}

proto::Frame PingReply(const proto::Frame& request, const std::string& version = "test") {
  proto::Frame frame;
  frame.set_request(request.request());
  frame.mutable_ping_reply()->set_version(version);
  return frame;
}

// A listener in a thread of its own. `answer` gets every frame and sends what it likes.
class Server {
 public:
  using Answer = std::function<void(Listener&, const Listener::Incoming&)>;

  Server(const std::string& endpoint, Answer answer)
      : listener_(std::move(*Listener::Bind(endpoint))), answer_(std::move(answer)) {
    endpoint_ = listener_->endpoint();
    thread_ = std::thread([this] {
      while (!stop_) {
        for (const auto& incoming : listener_->Receive(10s, 64)) {
          const auto hold = Hold();
          answer_(*listener_, incoming);
        }
        malformed_ = listener_->malformed();
      }
    });
  }
  ~Server() {
    stop_ = true;
    const uint64_t one = 1;
    EXPECT_EQ(write(listener_->EventFd(), &one, sizeof one), 8);
    thread_.join();
  }

  const std::string& endpoint() const { return endpoint_; }
  uint64_t malformed() const { return malformed_; }
  std::thread& thread() { return thread_; }
  // No answer is given while it is held.
  std::unique_lock<std::mutex> Hold() { return std::unique_lock(answering_); }

 private:
  std::unique_ptr<Listener> listener_;
  std::mutex answering_;
  Answer answer_;
  std::string endpoint_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> malformed_ = 0;
  std::thread thread_;
};

void Echo(Listener& listener, const Listener::Incoming& incoming) {
  listener.Send(incoming.peer, PingReply(incoming.frame));
}

std::unique_ptr<Dialer> Dial(const Server& server) {
  auto dialer = Dialer::Connect(server.endpoint());
  EXPECT_TRUE(dialer);
  return std::move(*dialer);
}

class TransportTest : public Scratch {
 protected:
  std::string Ipc(const std::string& name = "socket") const { return "ipc://" + Path(name).string(); }
};

// Speaks ZeroMQ without our frames.
class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
    const int linger = 0;
    const int timeout_ms = 30000;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0);
  }
  ~RawPeer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  void Send(const std::vector<std::string>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      zmq_send(socket_, parts[i].data(), parts[i].size(), i + 1 < parts.size() ? ZMQ_SNDMORE : 0);
    }
  }
  proto::Frame Receive() {
    std::string bytes(1 << 16, '\0');
    const int count = zmq_recv(socket_, bytes.data(), bytes.size(), 0);
    proto::Frame frame;
    EXPECT_GE(count, 0);
    EXPECT_TRUE(frame.ParseFromArray(bytes.data(), std::max(count, 0)));
    return frame;
  }

 private:
  void* context_;
  void* socket_;
};

TEST_F(TransportTest, CallsAreAnsweredOverTcpAndIpc) {
  for (const std::string& endpoint : {std::string("tcp://127.0.0.1:0"), std::string("tcp://localhost:0"), Ipc()}) {
    Server server(endpoint, Echo);
    auto dialer = Dial(server);
    for (int i = 0; i < 3; ++i) {
      const auto reply = dialer->Call(Ping(), 30s);
      ASSERT_TRUE(reply) << endpoint;
      EXPECT_EQ(reply->ping_reply().version(), "test");
    }
  }
}

TEST_F(TransportTest, CallToNobodyIsUnreachableAndSaysWhere) {
  auto dialer = Dialer::Connect(Ipc("nobody"));
  const auto reply = (*dialer)->Call(Ping(), 30ms);
  EXPECT_EQ(CodeOf(reply), ErrorCode::kUnreachable);
  EXPECT_THAT(reply.error().message, HasSubstr(Ipc("nobody")));
}

TEST_F(TransportTest, ListenerThatComesLaterIsReached) {
  auto dialer = Dialer::Connect(Ipc());
  ASSERT_FALSE((*dialer)->Call(Ping(), 10ms));
  Server server(Ipc(), Echo);
  EXPECT_TRUE((*dialer)->Call(Ping(), 30s));
}

TEST_F(TransportTest, ListenerThatRestartsIsReachedAgain) {
  auto first = std::make_unique<Server>(Ipc(), Echo);
  auto dialer = Dial(*first);
  ASSERT_TRUE(dialer->Call(Ping(), 30s));
  first.reset();
  Server second(Ipc(), Echo);
  // The first may be lost with the old connection.
  bool answered = false;
  for (int i = 0; i < 100 && !answered; ++i) answered = dialer->Call(Ping(), 300ms).has_value();
  EXPECT_TRUE(answered);
}

TEST_F(TransportTest, RequestThatWasGivenUpIsNotCarriedOutLater) {
  auto dialer = Dialer::Connect(Ipc());
  proto::Frame submit;
  submit.mutable_submit_job();
  ASSERT_FALSE((*dialer)->Call(submit, 10ms));
  std::atomic<int> submitted = 0;
  Server server(Ipc(), [&](Listener& listener, const Listener::Incoming& incoming) {
    if (incoming.frame.has_submit_job()) ++submitted;
    Echo(listener, incoming);
  });
  ASSERT_TRUE((*dialer)->Call(Ping(), 30s));
  EXPECT_EQ(submitted, 0);
}

TEST_F(TransportTest, LateReplyIsDropped) {
  std::optional<Listener::Incoming> first;
  Server server(Ipc(), [&](Listener& listener, const Listener::Incoming& incoming) {
    if (incoming.frame.has_get_catalogue()) return;
    if (incoming.frame.has_list_jobs()) {
      first = incoming;
      return;
    }
    if (first) listener.Send(first->peer, PingReply(first->frame, "late"));
    listener.Send(incoming.peer, PingReply(incoming.frame, "right"));
  });
  auto dialer = Dial(server);
  ASSERT_TRUE(dialer->Call(Ping(), 30s));
  // A posted frame without answer keeps the connection, so that the late reply really arrives.
  proto::Frame posted;
  posted.mutable_get_catalogue();
  ASSERT_TRUE(dialer->Post(posted));
  proto::Frame slow;
  slow.mutable_list_jobs();
  EXPECT_EQ(CodeOf(dialer->Call(slow, 300ms)), ErrorCode::kUnreachable);
  EXPECT_EQ(dialer->Call(Ping(), 30s)->ping_reply().version(), "right");
}

TEST_F(TransportTest, ErrorReplyComesBackAsThatError) {
  Server server(Ipc(), [&](Listener& listener, const Listener::Incoming& incoming) {
    proto::Frame frame;
    frame.set_request(incoming.frame.request());
    *frame.mutable_error() = ToProto({ErrorCode::kRejected, "bad \xff recipe", "Do better", "r.yaml", 3, 7});
    listener.Send(incoming.peer, frame);
  });
  auto dialer = Dial(server);
  const auto reply = dialer->Call(Ping(), 30s);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kRejected);
  EXPECT_EQ(reply.error().message, "bad ? recipe");
  EXPECT_EQ(reply.error().remedy, "Do better");
  EXPECT_EQ(reply.error().file, "r.yaml");
  EXPECT_EQ(reply.error().line, 3u);
  EXPECT_EQ(reply.error().column, 7u);
  // Posted, it is a frame.
  ASSERT_TRUE(dialer->Post(Ping()));
  EXPECT_TRUE((*dialer->Receive(30s))->has_error());
}

TEST_F(TransportTest, UnknownErrorCodeIsAFailure) {
  proto::Error error;
  error.set_code(static_cast<proto::Error::Code>(42));
  EXPECT_EQ(FromProto(error).code, ErrorCode::kFailed);
  EXPECT_EQ(FromProto(proto::Error()).code, ErrorCode::kFailed);
}

TEST_F(TransportTest, PostedFramesAreAnsweredInAnyOrderAndCallsPassBetween) {
  std::vector<Listener::Incoming> held;
  Server server(Ipc(), [&](Listener& listener, const Listener::Incoming& incoming) {
    if (incoming.frame.has_list_jobs()) {
      held.push_back(incoming);
      return;
    }
    while (!held.empty()) {
      listener.Send(held.back().peer, PingReply(held.back().frame));
      held.pop_back();
    }
    Echo(listener, incoming);
  });
  auto dialer = Dial(server);
  proto::Frame list;
  list.mutable_list_jobs();
  std::vector<uint64_t> numbers;
  for (int i = 0; i < 3; ++i) numbers.push_back(dialer->Post(list).value());
  ASSERT_TRUE(dialer->Call(Ping(), 30s));
  std::vector<uint64_t> answered;
  for (int i = 0; i < 3; ++i) answered.push_back((*dialer->Receive(30s))->request());
  EXPECT_THAT(answered, UnorderedElementsAre(numbers[0], numbers[1], numbers[2]));
  EXPECT_FALSE(*dialer->Receive(0ms));
}

TEST_F(TransportTest, DialersDescriptorWakesAPoll) {
  Server server(Ipc(), Echo);
  auto dialer = Dial(server);
  ASSERT_TRUE(dialer->Post(Ping()));
  std::optional<proto::Frame> reply;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!reply && std::chrono::steady_clock::now() < deadline) {
    reply = *dialer->Receive(0ms);
    if (reply) break;
    pollfd entry{dialer->EventFd(), POLLIN, 0};
    ASSERT_GT(poll(&entry, 1, 30000), 0);
  }
  EXPECT_TRUE(reply);
}

TEST_F(TransportTest, SignalsDoNotDisturbACall) {
  struct sigaction action {}, before {};
  action.sa_handler = [](int) {};   // No SA_RESTART.
  sigaction(SIGUSR1, &action, &before);
  const pthread_t caller = pthread_self();
  Server server(Ipc(), [&](Listener& listener, const Listener::Incoming& incoming) {
    for (int i = 0; i < 20; ++i) pthread_kill(caller, SIGUSR1);
    Echo(listener, incoming);
  });
  auto dialer = Dial(server);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(dialer->Call(Ping(), 30s));
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(TransportTest, MalformedMessagesAreCountedAnsweredAndHarmless) {
  Server server(Ipc(), Echo);
  proto::Frame good = Ping();
  good.set_protocol(kProtocol);
  good.set_request(5);
  proto::Frame other = good;
  other.set_protocol(3);
  proto::Frame hollow;
  hollow.set_protocol(kProtocol);
  hollow.set_request(6);
  RawPeer peer(server.endpoint());
  struct Row {
    std::vector<std::string> parts;
    uint64_t request;
    std::string message;
  };
  const std::vector<Row> rows = {
      {{"\xff\xff\xff garbage"}, 0, "not a frame"},
      {{""}, 0, "protocol 0"},
      {{good.SerializeAsString(), "more"}, 0, "not a frame"},
      {{"", good.SerializeAsString()}, 0, "not a frame"},
      {{"a", "b", "c", "d", "e"}, 0, "not a frame"},
      {{good.SerializeAsString().substr(0, 4)}, 0, ""},
      {{other.SerializeAsString()}, 5, "protocol 3, this coordinator speaks 1 to 2"},
      {{hollow.SerializeAsString()}, 6, "does not know"},
  };
  for (const Row& row : rows) {
    peer.Send(row.parts);
    const proto::Frame answer = peer.Receive();
    EXPECT_TRUE(answer.has_error());
    if (!row.message.empty()) {
      EXPECT_EQ(answer.request(), row.request);
    }
    EXPECT_THAT(answer.error().message(), HasSubstr(row.message));
    EXPECT_EQ(answer.protocol(), kOldestProtocol);   // What everybody reads.
  }
  peer.Send({good.SerializeAsString()});
  EXPECT_TRUE(peer.Receive().has_ping_reply());
  // Written after the round that answered; one more round trip makes it visible.
  ASSERT_TRUE(Dial(server)->Call(Ping(), 30s));
  EXPECT_EQ(server.malformed(), rows.size());
}

TEST_F(TransportTest, ReplyOfAnotherProtocolIsRefusedUnlessItIsAnError) {
  // A coordinator of another version, without our listener.
  void* context = zmq_ctx_new();
  void* router = zmq_socket(context, ZMQ_ROUTER);
  ASSERT_EQ(zmq_bind(router, Ipc().c_str()), 0);
  std::thread thread([&] {
    for (int i = 0; i < 2; ++i) {
      char peer[256], bytes[1024];
      const int peer_size = zmq_recv(router, peer, sizeof peer, 0);
      const int size = zmq_recv(router, bytes, sizeof bytes, 0);
      proto::Frame request;
      request.ParseFromArray(bytes, size);
      proto::Frame reply = PingReply(request);
      if (i == 1) reply.mutable_error()->set_message("too old");
      reply.set_protocol(9);
      const std::string text = reply.SerializeAsString();
      zmq_send(router, peer, static_cast<size_t>(peer_size), ZMQ_SNDMORE);
      zmq_send(router, text.data(), text.size(), 0);
    }
  });
  auto dialer = Dialer::Connect(Ipc());
  EXPECT_THAT(MessageOf((*dialer)->Call(Ping(), 30s)), HasSubstr("protocol 9, this program 1 to 2"));
  EXPECT_THAT(MessageOf((*dialer)->Call(Ping(), 30s)), HasSubstr("too old"));
  thread.join();
  const int linger = 0;
  zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof linger);
  zmq_close(router);
  zmq_ctx_term(context);
}

TEST_F(TransportTest, FramesUpToTheBoundPassAndLargerOnesAreRefused) {
  std::atomic<uint64_t> received = 0;
  Server server("tcp://127.0.0.1:0", [&](Listener& listener, const Listener::Incoming& incoming) {
    received = incoming.frame.put_chunk().data().size();
    if (incoming.frame.put_chunk().offset() == 1) {
      proto::Frame large;
      large.set_request(incoming.frame.request());
      large.mutable_get_chunk_reply()->set_data(std::string(kMaxFrameBytes, 'x'));
      listener.Send(incoming.peer, large);
    } else {
      Echo(listener, incoming);
    }
  });
  auto dialer = Dial(server);
  proto::Frame frame;
  frame.mutable_put_chunk()->set_data(std::string(kMaxFrameBytes - 100, 'x'));
  EXPECT_TRUE(dialer->Call(frame, 60s));
  EXPECT_EQ(received, kMaxFrameBytes - 100);
  frame.mutable_put_chunk()->set_data(std::string(kMaxFrameBytes, 'x'));
  EXPECT_EQ(CodeOf(dialer->Call(frame, 60s)), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(dialer->Post(frame)), ErrorCode::kRejected);
  // A reply that is too large comes as an error, not as silence.
  frame.mutable_put_chunk()->set_data("x");
  frame.mutable_put_chunk()->set_offset(1);
  EXPECT_THAT(MessageOf(dialer->Call(frame, 60s)), HasSubstr("larger than"));
}

TEST_F(TransportTest, PeerThatSendsTooMuchIsCutOffAlone) {
  Server server("tcp://127.0.0.1:0", Echo);
  auto dialer = Dial(server);
  ASSERT_TRUE(dialer->Call(Ping(), 30s));
  {
    RawPeer peer(server.endpoint());
    peer.Send({std::string(kMaxFrameBytes + 1, 'x')});
    EXPECT_TRUE(dialer->Call(Ping(), 30s));
  }
  EXPECT_TRUE(dialer->Call(Ping(), 30s));
}

TEST_F(TransportTest, MoreFramesThanTheQueueHoldsAreUnreachable) {
  auto dialer = Dialer::Connect(Ipc());
  size_t posted = 0;
  while (posted < 10'000) {
    const auto number = (*dialer)->Post(Ping());
    if (!number) {
      EXPECT_EQ(CodeOf(number), ErrorCode::kUnreachable);
      break;
    }
    ++posted;
  }
  EXPECT_LT(posted, 10'000u);
}

TEST_F(TransportTest, WaitingReceiveIsWokenByTheDescriptor) {
  auto listener = Listener::Bind(Ipc());
  const uint64_t one = 1;
  std::thread waker([&] { EXPECT_EQ(write((*listener)->EventFd(), &one, sizeof one), 8); });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE((*listener)->Receive(60s, 10).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
  waker.join();
  // Taken: the next wait is not woken by the same write.
  EXPECT_TRUE((*listener)->Receive(0ms, 10).empty());
}

TEST_F(TransportTest, ReceiveGivesAtMostTheLimit) {
  auto listener = Listener::Bind(Ipc());
  auto dialer = Dialer::Connect(Ipc());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*dialer)->Post(Ping()));
  size_t received = 0;
  while (received < 5) {
    const auto incoming = (*listener)->Receive(30s, 2);
    ASSERT_FALSE(incoming.empty());
    ASSERT_LE(incoming.size(), 2u);
    received += incoming.size();
  }
  EXPECT_TRUE((*listener)->Receive(0ms, 0).empty());
  (*listener)->Send("nobody", Ping());   // Lost without harm.
}

TEST_F(TransportTest, OnlyTheLoopbackIsBound) {
  for (const char* denied : {"tcp://0.0.0.0:0", "tcp://*:0", "tcp://10.1.2.3:5710", "tcp://example.com:5710",
                             "tcp://[::]:0", "tcp://128.0.0.1:0"}) {
    const auto listener = Listener::Bind(denied);
    EXPECT_EQ(CodeOf(listener), ErrorCode::kDenied) << denied;
    EXPECT_THAT(listener.error().message, HasSubstr("there are no keys"));
  }
  EXPECT_TRUE(Listener::Bind("tcp://127.0.0.2:0"));
  const auto v6 = Listener::Bind("tcp://[::1]:0");
  if (v6) EXPECT_THAT((*v6)->endpoint(), HasSubstr("tcp://[::1]:"));
  else EXPECT_EQ(CodeOf(v6), ErrorCode::kConfiguration);   // A machine without IPv6.
}

TEST_F(TransportTest, MalformedEndpointsAreNamed) {
  for (const char* wrong :
       {"", "127.0.0.1:5710", "udp://127.0.0.1:1", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:x",
        "tcp://:1", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "tcp://a b:1", "tcp://[::1:1", "tcp://[]:1",
        "tcp://[zz]:1", "ipc://", "ipc://*", "ipc://@abstract", "tcp://127.0.0.1:1;127.0.0.1:2"}) {
    EXPECT_EQ(CodeOf(Dialer::Connect(wrong)), ErrorCode::kUsage) << wrong;
    EXPECT_EQ(CodeOf(Listener::Bind(wrong)), ErrorCode::kConfiguration) << wrong;
  }
  EXPECT_EQ(CodeOf(Dialer::Connect("tcp://127.0.0.1:0")), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(Dialer::Connect("tcp://*:5710")), ErrorCode::kUsage);
  const std::string long_path = "ipc:///tmp/" + std::string(120, 'x');
  EXPECT_THAT(MessageOf(Dialer::Connect(long_path)), HasSubstr("the system allows 107"));
  EXPECT_THAT(MessageOf(Listener::Bind(long_path)), HasSubstr("the system allows 107"));
  EXPECT_EQ(CodeOf(Listener::Bind(Ipc("nowhere/socket"))), ErrorCode::kConfiguration);
}

TEST_F(TransportTest, AddressThatIsTakenIsRefused) {
  auto tcp = Listener::Bind("tcp://127.0.0.1:0");
  ASSERT_TRUE(tcp);
  EXPECT_EQ(CodeOf(Listener::Bind((*tcp)->endpoint())), ErrorCode::kConfiguration);
  auto ipc = Listener::Bind(Ipc());
  ASSERT_TRUE(ipc);
  EXPECT_EQ(CodeOf(Listener::Bind(Ipc())), ErrorCode::kConfiguration);
  EXPECT_TRUE(std::filesystem::exists(Path("socket")));
  Write("file", "precious");
  EXPECT_EQ(CodeOf(Listener::Bind(Ipc("file"))), ErrorCode::kConfiguration);
  EXPECT_EQ(ReadFile(Path("file"), 100).value(), "precious");
}

TEST_F(TransportTest, SocketLeftBehindByADeadProcessIsReplaced) {
  Child child([&](int pipe) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, Path("socket").c_str());
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 1) != 0) return 1;
    Tell(pipe, 'b');
    while (true) pause();
    return 0;
  });
  ASSERT_EQ(child.Read(), 'b');
  EXPECT_EQ(CodeOf(Listener::Bind(Ipc())), ErrorCode::kConfiguration);
  child.Kill(SIGKILL);
  child.Wait();
  ASSERT_TRUE(std::filesystem::exists(Path("socket")));
  EXPECT_TRUE(Listener::Bind(Ipc()));
}

// A coordinator's store behind a listener, with faults to order.
class TransferTest : public TransportTest {
 protected:
  void SetUp() override {
    store_ = std::make_unique<FileStore>(std::move(*FileStore::Open(Path("store"))));
    server_ = std::make_unique<Server>(Ipc(), [this](Listener& listener, const Listener::Incoming& incoming) {
      const int number = ++requests_;
      if (lose_request && lose_request(number)) return;
      proto::Frame reply = Reply(incoming.frame);
      if (spoil) spoil(reply);
      reply.set_request(incoming.frame.request());
      if (lose_reply && lose_reply(number)) return;
      listener.Send(incoming.peer, reply);
    });
    dialer_ = Dial(*server_);
    options_.timeout = 20s;
  }
  void TearDown() override { server_.reset(); }

  proto::Frame Reply(const proto::Frame& request) {
    proto::Frame reply;
    const auto fail = [&](const Error& error) { *reply.mutable_error() = ToProto(error); };
    if (request.has_find_missing()) {
      proto::FindMissingReply& missing = *reply.mutable_find_missing_reply();
      for (const std::string& digest : request.find_missing().digests()) {
        if (!store_->Has(digest)) missing.add_digests(digest);
      }
    } else if (request.has_put_chunk()) {
      const proto::PutChunk& chunk = request.put_chunk();
      if (before_put) before_put(chunk);
      received_ += chunk.data().size();
      const auto held = store_->Append(chunk.digest(), chunk.size_bytes(), chunk.offset(), chunk.data());
      if (!held) {
        fail(held.error());
      } else {
        reply.mutable_put_chunk_reply()->set_received_bytes(*held);
        reply.mutable_put_chunk_reply()->set_complete(*held == chunk.size_bytes());
      }
    } else if (request.has_get_chunk()) {
      const proto::GetChunk& chunk = request.get_chunk();
      const auto data =
          store_->Read(chunk.digest(), chunk.offset(), std::min<uint64_t>(chunk.max_bytes(), chunk_limit));
      if (!data) {
        fail(data.error());
      } else {
        reply.mutable_get_chunk_reply()->set_size_bytes(*store_->Size(chunk.digest()));
        reply.mutable_get_chunk_reply()->set_offset(chunk.offset());
        reply.mutable_get_chunk_reply()->set_data(*data);
      }
    }
    return reply;
  }

  static std::string Content(size_t bytes) {
    std::string content(bytes, '\0');
    uint64_t state = 88172645463325252ull;
    for (char& c : content) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      c = static_cast<char>(state);
    }
    return content;
  }
  Result<> Upload(const std::string& content) {
    return UploadFile(*dialer_, Write("source", content).string(), DigestOf(content), content.size(), options_);
  }
  std::string Stored(const std::string& content) const {
    return ReadFile(store_->PathOf(DigestOf(content)), 1 << 28).value_or("(none)");
  }

  // Faults, read by the server's thread; OrderFault gives them.
  template <typename Fault, typename Value>
  void OrderFault(Fault& fault, Value value) {
    const auto hold = server_->Hold();
    fault = std::move(value);
  }
  std::function<bool(int)> lose_request;
  std::function<bool(int)> lose_reply;
  std::function<void(proto::Frame&)> spoil;
  std::function<void(const proto::PutChunk&)> before_put;
  uint64_t chunk_limit = kChunkBytes;

  std::unique_ptr<FileStore> store_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Dialer> dialer_;
  TransferOptions options_;
  std::atomic<int> requests_ = 0;
  std::atomic<uint64_t> received_ = 0;
};

TEST_F(TransferTest, FilesOfEverySizeGoThereAndBack) {
  for (const size_t bytes : {size_t{1}, kChunkBytes - 1, kChunkBytes, kChunkBytes + 1, 5 * kChunkBytes + 123}) {
    for (const int window : {1, 4}) {
      options_.window = window;
      const std::string content = Content(bytes) + std::to_string(window);
      ASSERT_TRUE(Upload(content));
      EXPECT_EQ(Stored(content), content);
      ASSERT_TRUE(DownloadFile(*dialer_, DigestOf(content), Path("new/folder/target").string(), options_));
      EXPECT_EQ(ReadFile(Path("new/folder/target"), 1 << 28).value(), content);
    }
  }
  EXPECT_EQ(EntriesIn(Path("new/folder")), 1u);
}

TEST_F(TransferTest, WhatTheStoreHasIsNotSent) {
  const std::string content = Content(3 * kChunkBytes);
  ASSERT_TRUE(store_->Put(content));
  ASSERT_TRUE(Upload(content));
  EXPECT_EQ(received_, 0u);
  EXPECT_EQ(requests_, 1);
}

TEST_F(TransferTest, UploadGoesOnWhereAnotherStopped) {
  const std::string content = Content(6 * kChunkBytes + 5);
  const std::string digest = DigestOf(content);
  ASSERT_TRUE(store_->Append(digest, content.size(), 0, std::string_view(content).substr(0, 4 * kChunkBytes + 77)));
  ASSERT_TRUE(Upload(content));
  EXPECT_EQ(Stored(content), content);
  // The chunk that asks how much is there, and the rest.
  EXPECT_EQ(received_, kChunkBytes + content.size() - 4 * kChunkBytes - 77);
}

TEST_F(TransferTest, ForeignBytesUnderTheDigestDoNotBlockTheUpload) {
  const std::string content = Content(4 * kChunkBytes);
  ASSERT_TRUE(store_->Append(DigestOf(content), content.size(), 0, std::string(3 * kChunkBytes, 'x')));
  ASSERT_TRUE(Upload(content));
  EXPECT_EQ(Stored(content), content);
}

TEST_F(TransferTest, FileThatIsNotWhatItsDigestSaysIsRejected) {
  const std::string content = Content(2 * kChunkBytes);
  const auto path = Write("source", content);
  EXPECT_EQ(CodeOf(UploadFile(*dialer_, path.string(), DigestOf("other"), content.size(), options_)),
            ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(UploadFile(*dialer_, path.string(), DigestOf(content), content.size() + 1, options_)),
            ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(UploadFile(*dialer_, path.string(), "sha256:x", 1, options_)), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(UploadFile(*dialer_, path.string(), DigestOf(""), 0, options_)), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(UploadFile(*dialer_, Path("gone").string(), DigestOf(content), 5, options_)), ErrorCode::kNotFound);
}

TEST_F(TransferTest, LostRequestsAndRepliesAreMadeUpFor) {
  options_.timeout = 1200ms;   // A silence of a quarter means lost.
  OrderFault(lose_request, [](int number) { return number == 4; });
  OrderFault(lose_reply, [](int number) { return number == 8 || number == 2; });
  const std::string content = Content(7 * kChunkBytes + 1);
  ASSERT_TRUE(Upload(content));
  EXPECT_EQ(Stored(content), content);
}

TEST_F(TransferTest, LostDownloadRequestsAreMadeUpFor) {
  options_.timeout = 1200ms;
  OrderFault(lose_request, [](int number) { return number == 1 || number == 4; });
  OrderFault(lose_reply, [](int number) { return number == 6; });
  const std::string content = Content(7 * kChunkBytes + 1);
  ASSERT_TRUE(store_->Put(content));
  ASSERT_TRUE(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_));
  EXPECT_EQ(ReadFile(Path("target"), 1 << 28).value(), content);
}

TEST_F(TransferTest, StoreThatLosesItsPartialFileIsSentAllAgain) {
  const std::string content = Content(6 * kChunkBytes);
  std::atomic<int> puts = 0;
  OrderFault(before_put, [&](const proto::PutChunk& chunk) {
    if (++puts == 4) std::filesystem::remove(Path("store/partial") / chunk.digest().substr(7));
  });
  ASSERT_TRUE(Upload(content));
  EXPECT_EQ(Stored(content), content);
}

TEST_F(TransferTest, StoreThatLosesEverythingForEverIsGivenUp) {
  OrderFault(before_put, [&](const proto::PutChunk& chunk) {
    if (chunk.offset() > 0) std::filesystem::remove(Path("store/partial") / chunk.digest().substr(7));
  });
  EXPECT_EQ(CodeOf(Upload(Content(3 * kChunkBytes))), ErrorCode::kConflict);
}

TEST_F(TransferTest, TwoSendersOfOneFileBothSucceed) {
  const std::string content = Content(12 * kChunkBytes + 9);
  const auto path = Write("source", content);
  std::vector<std::thread> senders;
  std::atomic<int> succeeded = 0;
  for (int i = 0; i < 2; ++i) {
    senders.emplace_back([&, i] {
      auto dialer = Dial(*server_);
      TransferOptions options = options_;
      options.window = 2 + i;
      if (UploadFile(*dialer, path.string(), DigestOf(content), content.size(), options)) ++succeeded;
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(succeeded, 2);
  EXPECT_EQ(Stored(content), content);
}

TEST_F(TransferTest, SilentCoordinatorIsUnreachableInTheEnd) {
  options_.timeout = 300ms;
  OrderFault(lose_request, [](int number) { return number > 1; });
  EXPECT_EQ(CodeOf(Upload(Content(2 * kChunkBytes))), ErrorCode::kUnreachable);
  EXPECT_EQ(CodeOf(DownloadFile(*dialer_, DigestOf("x"), Path("target").string(), options_)), ErrorCode::kUnreachable);
  EXPECT_FALSE(std::filesystem::exists(Path("target")));
}

TEST_F(TransferTest, ProgressGrowsToTheTotalAndMayStop) {
  const std::string content = Content(5 * kChunkBytes);
  std::vector<uint64_t> seen;
  options_.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, content.size());
    seen.push_back(done);
    return true;
  };
  ASSERT_TRUE(Upload(content));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), content.size());
  options_.progress = [&](uint64_t done, uint64_t) { return done < 2 * kChunkBytes; };
  EXPECT_EQ(CodeOf(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_)),
            ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(Path("target")));
  // The same dialer serves on.
  options_.progress = nullptr;
  EXPECT_TRUE(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_));
}

TEST_F(TransferTest, CorruptDownloadLeavesTheTargetAlone) {
  const std::string content = Content(3 * kChunkBytes);
  ASSERT_TRUE(store_->Put(content));
  Write("target", "before");
  OrderFault(spoil, [](proto::Frame& reply) {
    if (reply.get_chunk_reply().offset() == kChunkBytes) (*reply.mutable_get_chunk_reply()->mutable_data())[5] ^= 1;
  });
  EXPECT_EQ(CodeOf(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_)), ErrorCode::kRejected);
  EXPECT_EQ(ReadFile(Path("target"), 100).value(), "before");
}

TEST_F(TransferTest, DishonestDownloadRepliesAreRefused) {
  const std::string content = Content(3 * kChunkBytes);
  ASSERT_TRUE(store_->Put(content));
  // The server may still answer the last requests when the test is over.
  static const std::vector<std::function<void(proto::GetChunkReply&)>> lies = {
      [](proto::GetChunkReply& reply) { reply.set_offset(reply.offset() + 1); },
      [](proto::GetChunkReply& reply) { reply.clear_data(); },
      [](proto::GetChunkReply& reply) { reply.mutable_data()->append("more"); },
      [](proto::GetChunkReply& reply) { reply.set_size_bytes(0); },
      [](proto::GetChunkReply& reply) { reply.set_size_bytes(reply.size_bytes() + reply.offset()); },
  };
  const auto which = std::make_shared<std::atomic<size_t>>(0);
  OrderFault(spoil, [which](proto::Frame& reply) { lies[*which](*reply.mutable_get_chunk_reply()); });
  for (size_t lie = 0; lie < lies.size(); ++lie) {
    *which = lie;
    EXPECT_FALSE(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_)) << lie;
    EXPECT_FALSE(std::filesystem::exists(Path("target")));
    dialer_ = Dial(*server_);   // Late answers of this round belong to nobody.
  }
}

TEST_F(TransferTest, ShortChunksAreCompleted) {
  const std::string content = Content(2 * kChunkBytes + 17);
  ASSERT_TRUE(store_->Put(content));
  OrderFault(chunk_limit, 300'000);
  ASSERT_TRUE(DownloadFile(*dialer_, DigestOf(content), Path("target").string(), options_));
  EXPECT_EQ(ReadFile(Path("target"), 1 << 28).value(), content);
}

TEST_F(TransferTest, ArtifactThatIsMissingIsNotFound) {
  EXPECT_EQ(CodeOf(DownloadFile(*dialer_, DigestOf("x"), Path("target").string(), options_)), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(DownloadFile(*dialer_, "../x", Path("target").string(), options_)), ErrorCode::kRejected);
}

TEST_F(TransferTest, BundlesGoThereAndBackWithoutRepeats) {
  Write("model/model.onnx", "graph");
  Write("model/data/a.bin", Content(kChunkBytes + 3));
  Write("model/data/b.bin", Content(kChunkBytes + 3));
  const auto external = [](const std::filesystem::path&) -> Result<std::vector<std::string>> {
    return std::vector<std::string>{"data/a.bin", "data/b.bin"};
  };
  const auto bundle = BundleOfModel(Path("model/model.onnx"), external);
  ASSERT_TRUE(bundle);
  EXPECT_EQ(UploadBundle(*dialer_, *bundle, Path("model").string(), options_).value(), 5 + kChunkBytes + 3);
  EXPECT_EQ(UploadBundle(*dialer_, *bundle, Path("model").string(), options_).value(), 0u);
  ASSERT_TRUE(DownloadBundle(*dialer_, *bundle, Path("copy").string(), options_));
  EXPECT_EQ(BundleId(*BundleOfModel(Path("copy/model.onnx"), external)), BundleId(*bundle));

  // What is there stays, what is damaged is fetched again.
  Write("copy/model.onnx", "grapX");
  const int before = requests_;
  ASSERT_TRUE(DownloadBundle(*dialer_, *bundle, Path("copy").string(), options_));
  EXPECT_EQ(requests_, before + 1);
  EXPECT_EQ(ReadFile(Path("copy/model.onnx"), 100).value(), "graph");
}

TEST_F(TransferTest, HostileBundleIsRefusedBeforeAnythingIsWritten) {
  ASSERT_TRUE(store_->Put("evil"));
  proto::Bundle bundle;
  proto::File& file = *bundle.add_files();
  file.set_path("../escaped");
  file.set_digest(DigestOf("evil"));
  file.set_size_bytes(4);
  EXPECT_EQ(CodeOf(DownloadBundle(*dialer_, bundle, Path("copy").string(), options_)), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(UploadBundle(*dialer_, bundle, Path("copy").string(), options_)), ErrorCode::kRejected);
  EXPECT_FALSE(std::filesystem::exists(Path("escaped")));
  // A size other than the store's.
  bundle.mutable_files(0)->set_path("fine");
  bundle.mutable_files(0)->set_size_bytes(5);
  EXPECT_EQ(CodeOf(DownloadBundle(*dialer_, bundle, Path("copy").string(), options_)), ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone
