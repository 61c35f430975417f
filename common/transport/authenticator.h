// The door of a listener with keys: ZeroMQ's authentication protocol (RFC 27) in a thread of its own, the list of keys
// that are let in, read again whenever its file changes, and the count of those who were turned away.
//
// libzmq asks for each connection, after the CURVE handshake proved that the other side has the secret of its public
// key. What we answer as the user's id is that public key; libzmq attaches it to every message of the connection, where
// no message field can reach it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "common/base/open_file.h"
#include "common/base/result.h"
#include "common/transport/keys.h"

namespace hone {

class Authenticator {
 public:
  // ZMQ_ZAP_DOMAIN of the socket whose door this is.
  static constexpr const char* kDomain = "hone";

  struct Counters {
    uint64_t admitted = 0;         // Handshakes of keys on the list.
    uint64_t unknown = 0;          // Of keys that are not.
    uint64_t revoked = 0;
    uint64_t garbled = 0;  // No handshake of ours: other mechanism, wrong coordinator key, broken off, replayed.
    uint64_t reloads = 0;          // Of the list, successful ones.
  };

  // Binds the door in the ZeroMQ context before any server socket may be bound in it. `wake` is an eventfd that is
  // written to whenever the list changed. Errors as ReadGuarded of the list has them.
  static Result<std::unique_ptr<Authenticator>> Start(void* context, const std::filesystem::path& allowed, int wake);
  // Watches the socket's handshakes: call from the thread that owns it, before it is bound.
  void Watch(void* socket);
  // Call Unwatch first where Watch was called; then the thread ends with the object.
  void Unwatch(void* socket);
  ~Authenticator();

  // Thread-safe. The list as it is now; version() grows with every change, so that a caller need not take the lock.
  std::shared_ptr<const AllowList> list() const;
  uint64_t version() const { return version_.load(std::memory_order_acquire); }
  Counters counters() const;

 private:
  Authenticator(void* context, std::filesystem::path allowed, AllowList list, int wake, Descriptor stop);
  class Tally;
  void Run();
  void Answer(void* door, Tally& tally);
  void NoteEvent(void* events, Tally& tally);
  void ReloadIfChanged();

  struct Stamp {
    uint64_t inode = 0;
    int64_t size = -1;
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  Stamp StampOfFile() const;

  // Constant after construction.
  void* const context_;
  const std::filesystem::path allowed_;
  const int wake_;
  const Descriptor stop_;

  mutable std::mutex mutex_;                      // Guards list_.
  std::shared_ptr<const AllowList> list_;
  std::atomic<uint64_t> version_{1};
  std::atomic<uint64_t> admitted_{0};
  std::atomic<uint64_t> unknown_{0};
  std::atomic<uint64_t> revoked_{0};
  std::atomic<uint64_t> garbled_{0};
  std::atomic<uint64_t> reloads_{0};

  // The thread's.
  void* door_ = nullptr;
  void* events_ = nullptr;
  Stamp stamp_;
  std::thread thread_;
};

}  // namespace hone
