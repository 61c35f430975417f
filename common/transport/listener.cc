#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/endpoint.h"
#include "common/transport/socket.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

constexpr int kBacklog = 1024;

class ZmqListener final : public Listener {
 public:
  ZmqListener(Socket socket, Descriptor wake, std::string endpoint)
      : socket_(std::move(socket)), wake_(std::move(wake)), endpoint_(std::move(endpoint)) {}

  std::string endpoint() const override { return endpoint_; }
  uint64_t malformed() const override { return malformed_; }
  int EventFd() const override { return wake_.get(); }

  std::vector<Incoming> Receive(std::chrono::milliseconds timeout, size_t limit) override {
    std::vector<Incoming> incoming;
    if (limit == 0) return incoming;
    Await(DeadlineAfter(timeout));
    // Malformed messages count too, so that a flood of them cannot hold the caller here.
    for (size_t i = 0; i < limit; ++i) {
      std::vector<Message> parts = socket_.Receive(2);
      if (parts.empty()) break;
      if (auto frame = Read(parts)) incoming.push_back({std::string(parts[0].bytes()), std::move(*frame)});
    }
    return incoming;
  }

  void Send(const std::string& peer, const proto::Frame& frame) override {
    proto::Frame sent = frame;
    sent.set_protocol(kProtocol);
    Result<Message> payload = Serialize(sent);
    if (!payload) {
      Error error = payload.error();
      error.message = "answer a request: " + error.message;
      *sent.mutable_error() = ToProto(error);
      payload = Serialize(sent);
    }
    Result<Message> address = Message::OfSize(peer.size());
    if (!payload || !address) return;
    std::memcpy(address->data(), peer.data(), peer.size());
    // Once the address is taken, so is the rest: the queue counts whole messages.
    if (socket_.Send(*address, ZMQ_SNDMORE)) socket_.Send(*payload);
  }

 private:
  // Until something arrived, somebody wrote to the event descriptor, a signal came, or the deadline passed.
  void Await(SteadyTime deadline) {
    std::array<zmq_pollitem_t, 2> items = {zmq_pollitem_t{socket_.raw(), 0, ZMQ_POLLIN, 0},
                                           zmq_pollitem_t{nullptr, wake_.get(), ZMQ_POLLIN, 0}};
    int ready = 0;
    int left = 0;
    do {
      left = MillisecondsUntil(deadline);
      ready = zmq_poll(items.data(), static_cast<int>(items.size()), left);
    } while (ready == 0 && left > 0);
    if (ready > 0 && items[1].revents != 0) {
      uint64_t count = 0;
      // Non-blocking; whatever the count, it was one reason to wake.
      [[maybe_unused]] const ssize_t ignored = read(wake_.get(), &count, sizeof count);
    }
  }

  // The frame of a message; a malformed one is counted, answered and left out.
  std::optional<proto::Frame> Read(std::vector<Message>& parts) {
    proto::Frame frame;
    const bool readable = parts.size() == 2 && frame.ParseFromArray(parts[1].data(), static_cast<int>(parts[1].size()));
    if (!readable) {
      frame.Clear();
      Refuse(parts[0], frame, "the message is not a frame of hone");
      return std::nullopt;
    }
    if (frame.protocol() != kProtocol) {
      Refuse(parts[0], frame, fmt::format("the message has protocol {}, this coordinator speaks {}", frame.protocol(), kProtocol));
      return std::nullopt;
    }
    if (frame.body_case() == proto::Frame::BODY_NOT_SET) {
      Refuse(parts[0], frame, "the message asks for something that this coordinator does not know");
      return std::nullopt;
    }
    return frame;
  }

  void Refuse(Message& peer, const proto::Frame& frame, const std::string& cause) {
    ++malformed_;
    proto::Frame answer;
    answer.set_request(frame.request());
    *answer.mutable_error() = ToProto({ErrorCode::kRejected, cause, "Run the same version of hone on both sides"});
    Send(std::string(peer.bytes()), answer);
  }

  Socket socket_;
  const Descriptor wake_;
  const std::string endpoint_;
  uint64_t malformed_ = 0;
};

// ZeroMQ removes whatever lies at the path before it binds. So a living listener would lose its clients silently, and a file its data.
Result<> CheckIpcPathIsFree(const std::string& path) {
  const auto taken = [&](const std::string& cause, const std::string& remedy) {
    return Fail(ErrorCode::kConfiguration, fmt::format("listen on ipc://{}: {}", Printable(path, 200), cause), remedy);
  };
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return taken("the path exists and is not a socket", "Choose another path");
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return taken(std::generic_category().message(errno), "");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return taken("another process listens there", "Stop it, or choose another path");
  }
  if (errno == ECONNREFUSED || errno == ENOENT) return {};   // Left behind by a process that died.
  return taken(std::generic_category().message(errno), "Choose another path");
}

Result<> CheckAddress(Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::kIpc) return CheckIpcPathIsFree(endpoint.path);
  if (!IsLoopback(endpoint)) {
    return Fail(ErrorCode::kDenied,
                fmt::format("listen on {}: the address is reachable from other machines, and keys are not available in this version",
                            endpoint.Text()),
                "Listen on 127.0.0.1, [::1] or an ipc:// path, and reach it from other machines through an ssh tunnel");
  }
  // ZeroMQ binds to addresses and interfaces, not to names.
  if (endpoint.host == "localhost") endpoint.host = "127.0.0.1";
  return {};
}

std::string LastEndpoint(const Socket& socket) {
  std::array<char, 512> text{};
  size_t size = text.size();
  CHECK_THAT(zmq_getsockopt(socket.raw(), ZMQ_LAST_ENDPOINT, text.data(), &size) == 0);
  return text.data();
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::Bind(const std::string& text) {
  TRY_ASSIGN(Endpoint endpoint, ParseEndpoint(text, ErrorCode::kConfiguration));
  TRY(CheckAddress(endpoint));
  TRY_ASSIGN(Socket socket, Socket::Make(ZMQ_ROUTER));
  socket.Set(ZMQ_BACKLOG, kBacklog);
  if (endpoint.ipv6) socket.Set(ZMQ_IPV6, 1);
  const std::string address = endpoint.kind == Endpoint::Kind::kTcp && endpoint.port == 0
                                  ? fmt::format(fmt::runtime(endpoint.ipv6 ? "tcp://[{}]:*" : "tcp://{}:*"), endpoint.host)
                                  : endpoint.Text();
  if (zmq_bind(socket.raw(), address.c_str()) != 0) {
    return Fail(ErrorCode::kConfiguration, fmt::format("listen on {}: {}", Printable(text, 200), zmq_strerror(errno)),
                "Choose an address that is free, or stop the program that uses it");
  }
  Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Fail(ErrorCode::kExhausted, fmt::format("listen on {}: {}", Printable(text, 200), std::generic_category().message(errno)));
  std::string bound = LastEndpoint(socket);
  return std::make_unique<ZmqListener>(std::move(socket), std::move(wake), std::move(bound));
}

}  // namespace hone
