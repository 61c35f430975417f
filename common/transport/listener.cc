#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "common/transport/authenticator.h"
#include "common/transport/endpoint.h"
#include "common/transport/socket.h"
#include "common/transport/token_bucket.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

constexpr int kBacklog = 1024;

// What one peer has left to ask.
struct Allowance {
  explicit Allowance(const ListenerLimits& limits, bool counts_messages)
      : messages(counts_messages ? limits.messages_per_s : 0, limits.messages_burst),
        malformed(limits.malformed_per_s, limits.malformed_burst) {}
  TokenBucket messages;
  TokenBucket malformed;
  SteadyTime muted_until{};
};

// A connection, as far as it was heard.
struct Peer {
  explicit Peer(const ListenerLimits& limits) : allowance(limits, false) {}
  uint32_t protocol = kOldestProtocol;
  Allowance allowance;                // Without keys.
  std::string key;                    // With keys: whose, and the kernel's socket beneath.
  int fd = -1;
  uint64_t inode = 0;
};

// The latest connections by routing id. ZeroMQ does not tell when one is gone, so those not heard for long fall out:
// two generations, of which the older is dropped when the younger is full.
class Peers {
 public:
  explicit Peers(const ListenerLimits& limits) : limits_(limits) {}

  Peer& Of(std::string_view id) {
    const auto found = young_.find(id);
    if (found != young_.end()) return found->second;
    if (young_.size() >= kGeneration) old_ = std::exchange(young_, {});
    const auto kept = old_.find(id);
    Peer peer = kept == old_.end() ? Peer(limits_) : std::move(kept->second);
    if (kept != old_.end()) old_.erase(kept);
    return young_.emplace(id, std::move(peer)).first->second;
  }
  // The version that the peer asked in last.
  uint32_t ProtocolOf(std::string_view id) const {
    for (const auto* generation : {&young_, &old_}) {
      if (const auto found = generation->find(id); found != generation->end()) return found->second.protocol;
    }
    return kOldestProtocol;
  }
  template <class Visit>
  void ForEach(Visit visit) {
    for (auto* generation : {&young_, &old_}) {
      for (auto& [id, peer] : *generation) visit(peer);
    }
  }

 private:
  static constexpr size_t kGeneration = 16'384;
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Generation = std::unordered_map<std::string, Peer, TextHash, std::equal_to<>>;
  const ListenerLimits limits_;
  Generation young_;
  Generation old_;
};

// The kernel's number of a socket; no other socket has it while this one is open. 0 if the descriptor is none.
uint64_t InodeOf(int fd) {
  struct stat status {};
  return fd >= 0 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

class ZmqListener final : public Listener {
 public:
  ZmqListener(Socket socket, Descriptor wake, std::unique_ptr<Authenticator> authenticator, std::string endpoint,
              const ListenerLimits& limits)
      : socket_(std::move(socket)),
        wake_(std::move(wake)),
        authenticator_(std::move(authenticator)),
        endpoint_(std::move(endpoint)),
        limits_(limits),
        peers_(limits) {
    if (authenticator_) TakeList();
  }
  ~ZmqListener() override {
    if (authenticator_) authenticator_->Unwatch(socket_.raw());
  }
  ZmqListener(const ZmqListener&) = delete;
  ZmqListener& operator=(const ZmqListener&) = delete;

  std::string endpoint() const override { return endpoint_; }
  int EventFd() const override { return wake_.get(); }

  ListenerCounters counters() const override {
    ListenerCounters all = counters_;
    if (!authenticator_) return all;
    const Authenticator::Counters door = authenticator_->counters();
    all.admitted = door.admitted;
    all.refused = door.unknown + door.revoked;
    all.garbled = door.garbled;
    return all;
  }

  std::vector<Incoming> Receive(std::chrono::milliseconds timeout, size_t limit) override {
    std::vector<Incoming> incoming;
    if (limit == 0) return incoming;
    const SteadyTime deadline = DeadlineAfter(timeout);
    // Where nothing but what is refused arrived, the wait goes on: the caller's round is not for it.
    for (bool waiting = true; waiting && incoming.empty();) {
      waiting = Await(deadline) && MillisecondsUntil(deadline) > 0;
      if (authenticator_ && authenticator_->version() != list_version_) DropRevoked();
      // Refused messages count too, so that a flood of them cannot hold the caller beyond its deadline.
      for (size_t i = 0; i < limit; ++i) {
        std::vector<Message> parts = socket_.Receive(2);
        if (parts.empty()) break;
        if (auto one = Read(parts)) incoming.push_back(std::move(*one));
      }
    }
    return incoming;
  }

  void Send(const std::string& peer, proto::Frame frame) override {
    frame.set_protocol(peers_.ProtocolOf(peer));
    frame.set_newest_protocol(kProtocol);
    Result<Message> payload = Serialize(frame);
    if (!payload) {
      Error error = payload.error();
      error.message = "answer a request: " + error.message;
      *frame.mutable_error() = ToProto(error);
      payload = Serialize(frame);
    }
    Result<Message> address = Message::OfSize(peer.size());
    if (!payload || !address) return;
    std::memcpy(address->data(), peer.data(), peer.size());
    // Once the address is taken, so is the rest: the queue counts whole messages.
    if (socket_.Send(*address, ZMQ_SNDMORE)) socket_.Send(*payload);
  }

 private:
  // Until something arrived, somebody wrote to the event descriptor, a signal came, or the deadline passed. Whether it
  // was a message.
  bool Await(SteadyTime deadline) {
    std::array<zmq_pollitem_t, 2> items = {zmq_pollitem_t{socket_.raw(), 0, ZMQ_POLLIN, 0},
                                           zmq_pollitem_t{nullptr, wake_.get(), ZMQ_POLLIN, 0}};
    int ready = 0;
    int left = 0;
    do {
      left = MillisecondsUntil(deadline);
      ready = zmq_poll(items.data(), static_cast<int>(items.size()), left);
    } while (ready == 0 && left > 0);
    if (ready <= 0) return false;
    if (items[1].revents == 0) return true;
    uint64_t count = 0;
    // Non-blocking; whatever the count, it was one reason to wake.
    [[maybe_unused]] const ssize_t ignored = read(wake_.get(), &count, sizeof count);
    return false;
  }

  // The frame of a message with its sender; one that is refused is counted and left out.
  std::optional<Incoming> Read(std::vector<Message>& parts) {
    const SteadyTime now = std::chrono::steady_clock::now();
    Peer& peer = peers_.Of(parts[0].bytes());
    Identity identity;
    if (authenticator_ && !Identify(parts.back(), peer, identity)) {
      ++counters_.revoked;
      return std::nullopt;
    }
    Allowance& allowance = authenticator_ ? AllowanceOf(peer.key) : peer.allowance;
    if (now < allowance.muted_until) {
      ++counters_.muted;
      return std::nullopt;
    }
    if (!allowance.messages.Take(now)) {
      ++counters_.limited;
      return std::nullopt;
    }
    proto::Frame frame;
    const std::string wrong = Parse(parts, frame);
    if (wrong.empty()) {
      peer.protocol = frame.protocol();
      return Incoming{std::string(parts[0].bytes()), std::move(frame), std::move(identity)};
    }
    ++counters_.malformed;
    if (!allowance.malformed.Take(now)) {
      allowance.muted_until = now + limits_.mute;
      if (log_.Take(now)) {
        spdlog::warn("{} sends frames that are none; it is not listened to for {}",
                     identity.name.empty() ? "a peer" : identity.name, HumanDuration(limits_.mute.count()));
      }
      return std::nullopt;
    }
    Refuse(parts[0], frame, wrong);
    return std::nullopt;
  }

  // What is wrong with a message; "" if it is a frame.
  static std::string Parse(std::vector<Message>& parts, proto::Frame& frame) {
    const bool readable = parts.size() == 2 && frame.ParseFromArray(parts[1].data(), static_cast<int>(parts[1].size()));
    if (!readable) {
      frame.Clear();
      return "the message is not a frame of hone";
    }
    if (frame.protocol() < kOldestProtocol || frame.protocol() > kProtocol) {
      return fmt::format("the message has protocol {}, this coordinator speaks {} to {}", frame.protocol(),
                         kOldestProtocol, kProtocol);
    }
    if (frame.body_case() == proto::Frame::BODY_NOT_SET)
      return "the message asks for something that this coordinator does not know";
    return "";
  }

  void Refuse(Message& peer, const proto::Frame& frame, const std::string& cause) {
    proto::Frame answer;
    answer.set_request(frame.request());
    *answer.mutable_error() = ToProto({ErrorCode::kRejected, cause, "Run the same version of hone on both sides"});
    Send(std::string(peer.bytes()), std::move(answer));
  }

  // Whose message it is, by the key that its connection was made with. False if the list does not have it (any more).
  bool Identify(Message& part, Peer& peer, Identity& identity) {
    const std::string_view key = part.Property("User-Id");
    const AllowList::Entry* entry = list_->Find(key);
    if (entry == nullptr || entry->revoked) return false;
    if (peer.key != key) {
      const auto fd = ParseInteger(part.Property("__fd"));
      peer.key = key;
      peer.fd = fd ? static_cast<int>(*fd) : -1;
      peer.inode = InodeOf(peer.fd);
    }
    identity.name = entry->name;
    identity.role = entry->role;
    return true;
  }

  Allowance& AllowanceOf(const std::string& key) { return keys_.try_emplace(key, limits_, true).first->second; }

  void TakeList() {
    list_version_ = authenticator_->version();
    list_ = authenticator_->list();
  }

  // The list changed. ZeroMQ has no way to end one connection of a socket, the kernel has: its descriptor, if it still
  // is the same socket, is shut down, and ZeroMQ finds the other side gone. Whatever it had sent before is dropped by
  // Identify.
  void DropRevoked() {
    TakeList();
    const auto allowed = [this](const std::string& key) {
      const AllowList::Entry* entry = list_->Find(key);
      return entry != nullptr && !entry->revoked;
    };
    peers_.ForEach([&](Peer& peer) {
      if (peer.key.empty() || allowed(peer.key)) return;
      if (peer.inode != 0 && InodeOf(peer.fd) == peer.inode && shutdown(peer.fd, SHUT_RDWR) == 0) ++counters_.cut;
      peer.key.clear();
    });
    std::erase_if(keys_, [&](const auto& entry) { return !allowed(entry.first); });
  }

  Socket socket_;
  const Descriptor wake_;
  const std::unique_ptr<Authenticator>
      authenticator_;  // nullptr without keys. Goes before the socket, whose context it is in.
  const std::string endpoint_;
  const ListenerLimits limits_;
  ListenerCounters counters_;
  Peers peers_;
  std::shared_ptr<const AllowList> list_;
  uint64_t list_version_ = 0;
  std::unordered_map<std::string, Allowance> keys_;      // Of keys on the list.
  TokenBucket log_{0.2, 5};
};

// ZeroMQ removes whatever lies at the path before it binds. So a living listener would lose its clients silently, and a
// file its data.
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

Result<> CheckAddress(Endpoint& endpoint, bool has_keys) {
  if (endpoint.kind == Endpoint::Kind::kIpc) return CheckIpcPathIsFree(endpoint.path);
  if (!IsLoopback(endpoint) && !has_keys) {
    return Fail(ErrorCode::kDenied,
                fmt::format("listen on {}: the address is reachable from other machines, and there are no keys",
                            endpoint.Text()),
                "Make keys with `hone keys new coordinator --role coordinator --keys DIR` and start hone-coordinator "
                "with --keys DIR "
                "(docs/security.md), or listen on 127.0.0.1, [::1] or an ipc:// path");
  }
  // ZeroMQ binds to addresses and interfaces, not to names.
  if (endpoint.host == "localhost") endpoint.host = "127.0.0.1";
  return {};
}

// The door opens before the socket is bound: a connection that came first would pass it unasked.
Result<std::unique_ptr<Authenticator>> Guard(Socket& socket, const ListenerKeys& keys, int wake) {
  TRY_ASSIGN(auto authenticator, Authenticator::Start(socket.context(), keys.allowed, wake));
  socket.Set(ZMQ_CURVE_SERVER, 1);
  socket.SetText(ZMQ_CURVE_SECRETKEY, keys.own.secret_key);
  // A connection that libzmq let in without asking, for want of a door or a domain, would bring no User-Id: Identify
  // takes nothing from it. (ZMQ_ZAP_ENFORCE_DOMAIN, which says the same to libzmq, is missing in builds without draft
  // options, as Debian's is.)
  socket.SetText(ZMQ_ZAP_DOMAIN, Authenticator::kDomain);
  authenticator->Watch(socket.raw());
  return authenticator;
}

std::string LastEndpoint(const Socket& socket) {
  std::array<char, 512> text{};
  size_t size = text.size();
  CHECK_THAT(zmq_getsockopt(socket.raw(), ZMQ_LAST_ENDPOINT, text.data(), &size) == 0);
  return text.data();
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::Bind(const std::string& text, const ListenerOptions& options) {
  TRY_ASSIGN(Endpoint endpoint, ParseEndpoint(text, ErrorCode::kConfiguration));
  TRY(CheckAddress(endpoint, options.keys.has_value()));
  Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake)
    return Fail(ErrorCode::kExhausted,
                fmt::format("listen on {}: {}", Printable(text, 200), std::generic_category().message(errno)));
  TRY_ASSIGN(Socket socket, Socket::Make(ZMQ_ROUTER));
  socket.Set(ZMQ_BACKLOG, kBacklog);
  if (endpoint.ipv6) socket.Set(ZMQ_IPV6, 1);
  std::unique_ptr<Authenticator> authenticator;
  if (options.keys) {
    TRY_ASSIGN(authenticator, Guard(socket, *options.keys, wake.get()));
  }
  const std::string address =
      endpoint.kind == Endpoint::Kind::kTcp && endpoint.port == 0
          ? fmt::format(fmt::runtime(endpoint.ipv6 ? "tcp://[{}]:*" : "tcp://{}:*"), endpoint.host)
          : endpoint.Text();
  if (zmq_bind(socket.raw(), address.c_str()) != 0) {
    const int error_number = errno;
    if (authenticator) authenticator->Unwatch(socket.raw());
    return Fail(ErrorCode::kConfiguration,
                fmt::format("listen on {}: {}", Printable(text, 200), zmq_strerror(error_number)),
                "Choose an address that is free, or stop the program that uses it");
  }
  std::string bound = LastEndpoint(socket);
  return std::make_unique<ZmqListener>(std::move(socket), std::move(wake), std::move(authenticator), std::move(bound),
                                       options.limits);
}

}  // namespace hone
