// A DEALER socket whose replies find their requests by number.
//
// Frames posted while there is no connection wait in ZeroMQ's queue and go out once there is one. Call must not leave
// such a frame behind: a request that was given up would be carried out later, and its reply would be nobody's. So a
// Call that timed out or was turned away replaces the socket, unless posted frames are still to be answered on it.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "common/base/strings.h"
#include "common/transport/endpoint.h"
#include "common/transport/greeting.h"
#include "common/transport/socket.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxPosted = 4096;   // Posted frames that may still be answered; the oldest are forgotten first.
constexpr milliseconds kGreeting{2000};   // For a listener that answers at all.
constexpr size_t kMaxInbox = 256;     // Replies to them that came during a Call.

class ZmqDialer final : public Dialer {
 public:
  ZmqDialer(Endpoint endpoint, DialerOptions options, Socket socket)
      : endpoint_(std::move(endpoint)), options_(std::move(options)), socket_(std::move(socket)) {}

  static Result<Socket> Open(const Endpoint& endpoint, const DialerOptions& options) {
    TRY_ASSIGN(Socket socket, Socket::Make(ZMQ_DEALER));
    TRY(socket.WatchHandshakes());
    if (options.keys) {
      socket.SetText(ZMQ_CURVE_SERVERKEY, options.keys->coordinator);
      socket.SetText(ZMQ_CURVE_PUBLICKEY, options.keys->own.public_key);
      socket.SetText(ZMQ_CURVE_SECRETKEY, options.keys->own.secret_key);
    }
    // With IPv6 on, "localhost" may be tried as ::1 alone.
    if (endpoint.ipv6) socket.Set(ZMQ_IPV6, 1);
    const std::string text = endpoint.Text();
    if (zmq_connect(socket.raw(), text.c_str()) != 0) {
      return Fail(ErrorCode::kUsage, fmt::format("connect to {}: {}", Printable(text, 200), zmq_strerror(errno)));
    }
    return socket;
  }

  Result<proto::Frame> Call(proto::Frame request, milliseconds timeout) override {
    const SteadyTime deadline = DeadlineAfter(timeout);
    const auto sent = Send(std::move(request), deadline);
    if (!sent) return GivenUp(sent.error());
    const uint64_t number = *sent;
    while (true) {
      TRY_ASSIGN(std::optional<proto::Frame> reply, Next(deadline));
      if (!reply) return NoReply(timeout);
      // An error without a number: the other side could not read what we sent.
      const bool unreadable = reply->request() == 0 && reply->has_error();
      if (reply->request() == number || unreadable) {
        TRY(CheckProtocol(*reply));
        if (reply->has_error()) return Fail(FromProto(reply->error()));
        return std::move(*reply);
      }
      if (posted_.erase(reply->request()) > 0) Keep(std::move(*reply));
    }
  }

  Result<uint64_t> Post(proto::Frame request) override {
    TRY_ASSIGN(const uint64_t number, Send(std::move(request), std::chrono::steady_clock::now()));
    posted_.insert(number);
    if (posted_.size() > kMaxPosted) posted_.erase(posted_.begin());
    return number;
  }

  Result<std::optional<proto::Frame>> Receive(milliseconds timeout) override {
    if (!inbox_.empty()) {
      std::optional<proto::Frame> frame = std::move(inbox_.front());
      inbox_.pop_front();
      return frame;
    }
    const SteadyTime deadline = DeadlineAfter(timeout);
    while (true) {
      TRY_ASSIGN(std::optional<proto::Frame> reply, Next(deadline));
      if (!reply) return reply;
      const bool unreadable = reply->request() == 0 && reply->has_error();
      if (posted_.erase(reply->request()) == 0 && !unreadable) continue;
      TRY(CheckProtocol(*reply));
      return reply;
    }
  }

  int EventFd() const override { return socket_.EventFd(); }

 private:
  Result<uint64_t> Send(proto::Frame frame, SteadyTime deadline) {
    frame.set_protocol(speaks_);
    frame.set_newest_protocol(kProtocol);
    frame.set_request(next_++);
    TRY_ASSIGN(Message message, Serialize(frame));
    while (!socket_.Send(message)) {
      if (!Await(ZMQ_POLLOUT, deadline)) {
        return Fail(ErrorCode::kUnreachable,
                    fmt::format("send to {}: nothing was taken for too long", endpoint_.Text()), Remedy());
      }
      TRY(NoteHandshakes());
    }
    return frame.request();
  }

  // The next frame that can be read; empty at the deadline. An error if the other side turned the connection away
  // meanwhile.
  Result<std::optional<proto::Frame>> Next(SteadyTime deadline) {
    while (true) {
      std::vector<Message> parts = socket_.Receive(1);
      if (parts.empty()) {
        TRY(NoteHandshakes());
        if (!Await(ZMQ_POLLIN, deadline)) return std::optional<proto::Frame>();
        continue;
      }
      std::optional<proto::Frame> frame(std::in_place);
      const bool readable =
          parts.size() == 1 && frame->ParseFromArray(parts[0].data(), static_cast<int>(parts[0].size()));
      if (!readable) continue;
      speaks_ = std::clamp(frame->newest_protocol(), kOldestProtocol, kProtocol);
      return frame;
    }
  }

  // Until the socket is ready or a handshake ended. False at the deadline.
  bool Await(short events, SteadyTime deadline) {
    while (true) {
      std::array<zmq_pollitem_t, 2> items = {zmq_pollitem_t{socket_.raw(), 0, events, 0},
                                             zmq_pollitem_t{socket_.handshakes(), 0, ZMQ_POLLIN, 0}};
      const int left = MillisecondsUntil(deadline);
      const int ready = zmq_poll(items.data(), static_cast<int>(items.size()), left);
      if (ready > 0) return true;
      if (ready == 0 && left == 0) return false;
      // Interrupted, or woken before the deadline's last fraction of a millisecond: again.
      if (ready < 0 && MillisecondsUntil(deadline) == 0) return false;
    }
  }

  // What became of the connections that were tried. One that was broken off may have been chance; it is told at a
  // time-out. libzmq never tries again where one was refused, and takes no message any more: whoever is let in later
  // needs another socket.
  Result<> NoteHandshakes() {
    while (const auto ended = socket_.NextHandshake()) {
      const bool first_break = *ended == Socket::Handshake::broken_off && !broken_off_;
      broken_off_ = *ended == Socket::Handshake::broken_off;
      if (*ended == Socket::Handshake::refused) {
        Renew();
        return Fail(ErrorCode::kDenied,
                    fmt::format("{} does not let the key of {} in", endpoint_.Text(),
                                options_.keys ? options_.keys->own.name : ""),
                    "Its administrator allows a key with `hone keys allow`; `hone keys show` prints yours");
      }
      if (*ended == Socket::Handshake::other_mechanism || (first_break && SpeaksOtherMechanism())) {
        Renew();
        return OtherMechanism();
      }
    }
    return {};
  }

  bool SpeaksOtherMechanism() const {
    const auto mechanism = ListenersMechanism(endpoint_, kGreeting);
    return mechanism && *mechanism != (options_.keys ? "CURVE" : "NULL");
  }

  tl::unexpected<Error> OtherMechanism() const {
    return options_.keys
               ? Fail(ErrorCode::kDenied,
                      fmt::format("{} works without keys, this program with them", endpoint_.Text()),
                      "Start hone-coordinator with --keys, or leave out --keys and HONE_KEYS here")
               : Fail(
                     ErrorCode::kDenied, fmt::format("{} lets nobody in without keys", endpoint_.Text()),
                     "Name the folder of your keys with --keys or HONE_KEYS (docs/security.md tells how to make them)");
  }

  Result<> CheckProtocol(const proto::Frame& frame) const {
    // An error tells by itself what is wrong, whatever version wrote it.
    if ((frame.protocol() >= kOldestProtocol && frame.protocol() <= kProtocol) || frame.has_error()) return {};
    return Fail(ErrorCode::kRejected,
                fmt::format("{} speaks protocol {}, this program {} to {}", endpoint_.Text(), frame.protocol(),
                            kOldestProtocol, kProtocol),
                "Run the same version of hone on both sides");
  }

  void Keep(proto::Frame frame) {
    inbox_.push_back(std::move(frame));
    if (inbox_.size() > kMaxInbox) inbox_.pop_front();
  }

  tl::unexpected<Error> NoReply(milliseconds timeout) {
    if (options_.keys && broken_off_) {
      Renew();
      return Fail({ErrorCode::kDenied,
                   fmt::format("{} ends every handshake: it does not have the key that coordinator.public names",
                               endpoint_.Text()),
                   "Compare `hone keys show coordinator` on both machines; `hone keys trust` replaces it"});
    }
    return GivenUp({ErrorCode::kUnreachable,
                    fmt::format("ask {}: no reply within {}", endpoint_.Text(), HumanDuration(timeout.count())),
                    Remedy()});
  }

  tl::unexpected<Error> GivenUp(Error error) {
    if (posted_.empty() && error.code != ErrorCode::kDenied) Renew();
    return Fail(std::move(error));
  }

  // Should even that fail, the old socket serves on.
  void Renew() {
    if (auto fresh = Open(endpoint_, options_)) socket_ = std::move(*fresh);
    speaks_ = kOldestProtocol;
    broken_off_ = false;
  }

  std::string Remedy() const {
    return fmt::format("Check that hone-coordinator runs and listens on {}", endpoint_.Text());
  }

  const Endpoint endpoint_;
  const DialerOptions options_;
  Socket socket_;
  uint32_t speaks_ = kOldestProtocol;   // The newest version that both sides are known to speak.
  bool broken_off_ = false;             // The last connection ended within its handshake.
  uint64_t next_ = 1;
  std::set<uint64_t> posted_;
  std::deque<proto::Frame> inbox_;
};

}  // namespace

Result<std::unique_ptr<Dialer>> Dialer::Connect(const std::string& text, const DialerOptions& options) {
  TRY_ASSIGN(Endpoint endpoint, ParseEndpoint(text, ErrorCode::kUsage));
  if (endpoint.kind == Endpoint::Kind::kTcp && (endpoint.port == 0 || endpoint.host == "*")) {
    return Fail(ErrorCode::kUsage,
                fmt::format("endpoint '{}': a host and a port are needed to connect", Printable(text, 200)),
                "Write tcp://host:port or ipc://path");
  }
  TRY_ASSIGN(Socket socket, ZmqDialer::Open(endpoint, options));
  return std::make_unique<ZmqDialer>(std::move(endpoint), options, std::move(socket));
}

}  // namespace hone
