// Framed protobuf over ZeroMQ: DEALER at clients and workers, ROUTER at the coordinator. One frame is one ZeroMQ
// message of at most kMaxFrameBytes; anything larger, unparsable or of a protocol version that is not spoken is refused
// before it reaches a handler.
//
// Versions: a frame says in which one it is written, and the newest that its sender speaks. A dialer begins with
// kOldestProtocol and goes up to what both speak once it has heard of it; a listener answers in the version that it was
// asked in. So every release works with the one before.
//
// Keys: with them, a connection is encrypted and both sides have proved who they are (CURVE) before anything is parsed;
// who sent a frame stands in Incoming::identity. Without them, a listener binds to the loopback and ipc alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/transport/keys.h"
#include "proto/wire.pb.h"

namespace hone {

inline constexpr uint32_t kProtocol = 2;
inline constexpr uint32_t kOldestProtocol = 1;
inline constexpr size_t kMaxFrameBytes = 8 << 20;
inline constexpr size_t kChunkBytes = 1 << 20;

proto::Error ToProto(const Error& error);
Error FromProto(const proto::Error& error);

struct DialerOptions {
  std::optional<DialerKeys> keys;
};

// The asking side. Not thread-safe: one thread owns a dialer. Reconnects by itself.
class Dialer {
 public:
  // endpoint: tcp://host:port or ipc://path. kUsage for a malformed endpoint; connecting itself is asynchronous.
  static Result<std::unique_ptr<Dialer>> Connect(const std::string& endpoint, const DialerOptions& options = {});
  virtual ~Dialer() = default;

  // Sends a request and waits for its reply. A reply of kind Error comes back as that error. kUnreachable if no reply
  // came within the timeout; kDenied where the other side does not let this key in, or one side uses keys and the other
  // does not. Late replies to earlier requests are dropped.
  virtual Result<proto::Frame> Call(proto::Frame request, std::chrono::milliseconds timeout) = 0;

  // Without waiting: Post numbers and sends a frame (its number is returned); Receive gives the next reply to a posted
  // frame, or empty after the timeout. Frames posted while there is no connection go out once there is one;
  // kUnreachable where too many wait already. Replies of kind Error come as frames. Replies to posted frames that
  // arrive during a Call are kept for Receive. Receive fails with kDenied, once for each connection that was tried,
  // where Call would.
  virtual Result<uint64_t> Post(proto::Frame request) = 0;
  virtual Result<std::optional<proto::Frame>> Receive(std::chrono::milliseconds timeout) = 0;

  // For poll(2) together with other descriptors (edge-triggered, as ZMQ_FD: drain with Receive(0) after each event, and
  // before polling after each Post or Call). Ask for it anew after a Call that timed out.
  virtual int EventFd() const = 0;
};

// Who sent a frame, as its connection's key proved.
struct Identity {
  std::string name;                  // "" without keys.
  Role role = Role::everyone;
};

// What one peer may ask of a listener: one key, or without keys one connection. Beyond it, frames are dropped before
// they are parsed.
struct ListenerLimits {
  double messages_per_s = 20'000;    // Of a key, over all of its connections; without keys there is no such limit.
  double messages_burst = 40'000;
  double malformed_per_s = 1;        // Frames that could not be read ...
  double malformed_burst = 20;
  std::chrono::milliseconds mute{10'000};   // ... beyond which the peer is neither parsed nor answered for this long.
};

struct ListenerOptions {
  std::optional<ListenerKeys> keys;
  ListenerLimits limits;
};

// Since the start.
struct ListenerCounters {
  uint64_t malformed = 0;            // Frames that could not be read; answered.
  uint64_t muted = 0;                // Frames dropped unread: too many malformed ones before.
  uint64_t limited = 0;              // Frames dropped unread: too many at once.
  uint64_t revoked = 0;              // Frames dropped unread: their key is no longer let in.
  uint64_t cut = 0;                  // Connections ended because of that.
  uint64_t admitted = 0;             // Handshakes of keys that are let in ...
  uint64_t refused = 0;              // ... and of keys that are not.
  uint64_t garbled = 0;              // Connections that brought no handshake of ours.
};

// The answering side. Not thread-safe: the coordinator's loop owns it.
class Listener {
 public:
  struct Incoming {
    std::string peer;      // Opaque routing id; valid for Send until the peer goes.
    proto::Frame frame;
    Identity identity = {};
  };
  // Binds. tcp://host:0 chooses a free port; endpoint() tells it. kConfiguration if the address is taken or malformed.
  // Off the loopback without keys: kDenied.
  static Result<std::unique_ptr<Listener>> Bind(const std::string& endpoint, const ListenerOptions& options = {});
  virtual ~Listener() = default;
  virtual std::string endpoint() const = 0;
  // Everything that arrived, waiting at most `timeout` for the first; at most `limit` frames. Malformed frames are
  // counted and answered with an Error frame here.
  virtual std::vector<Incoming> Receive(std::chrono::milliseconds timeout, size_t limit) = 0;
  // Never blocks; a peer that is gone or whose queue is full loses the frame (it asks again). Written in the version
  // that the peer asked in.
  virtual void Send(const std::string& peer, proto::Frame frame) = 0;
  virtual ListenerCounters counters() const = 0;
  uint64_t malformed() const { return counters().malformed; }
  // An eventfd: writing a uint64_t of 1 to it wakes a waiting Receive, from a signal handler or another thread. (A
  // signal that interrupts the wait ends it too.)
  virtual int EventFd() const = 0;
};

// Artifacts through a dialer, chunk by chunk with at most `window` unanswered, so that other traffic passes between.
// progress gets bytes done and total (of this file), several times a second even if nothing moves, and may return false
// to stop (kCancelled). A transfer owns its dialer while it runs: replies to frames that others posted on it are lost.
struct TransferOptions {
  int window = 4;
  std::chrono::milliseconds timeout{30000};   // Without any progress.
  std::function<bool(uint64_t, uint64_t)> progress;
};
// Uploads a local file unless the store has it; resumes a partial upload.
Result<> UploadFile(Dialer& dialer, const std::string& path, const std::string& digest, uint64_t size_bytes,
                    const TransferOptions& options = {});
// Downloads into target (verified, then renamed into place); its folder is made.
Result<> DownloadFile(Dialer& dialer, const std::string& digest, const std::string& target,
                      const TransferOptions& options = {});
// Every file of a bundle that the store lacks, from `folder`. Returns the bytes sent.
Result<uint64_t> UploadBundle(Dialer& dialer, const proto::Bundle& bundle, const std::string& folder,
                              const TransferOptions& options = {});
// Every file of a bundle into `folder` by its path; those that are there already with their digest stay.
Result<> DownloadBundle(Dialer& dialer, const proto::Bundle& bundle, const std::string& folder,
                        const TransferOptions& options = {});

}  // namespace hone
