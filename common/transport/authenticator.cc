#include "common/transport/authenticator.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr const char* kDoor = "inproc://zeromq.zap.01";
constexpr const char* kEvents = "inproc://hone.handshakes";
// How long after a change of the file the list is read again, at most.
constexpr int kLookMs = 100;
constexpr std::chrono::seconds kBetweenLines{10};
constexpr size_t kKeyBytes = 32;
constexpr size_t kMaxParts = 8;
// Different refusals told in one line; the rest is a number.
constexpr size_t kToldKeys = 8;
constexpr int kWatched = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;

// All parts of the message that waits, the first kMaxParts of them; empty if there is none.
std::vector<std::string> ReceiveParts(void* socket) {
  std::vector<std::string> parts;
  bool more = true;
  while (more) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    int received = -1;
    do {
      received = zmq_msg_recv(&part, socket, ZMQ_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
      zmq_msg_close(&part);
      return parts;
    }
    more = zmq_msg_more(&part) != 0;
    if (parts.size() < kMaxParts)
      parts.emplace_back(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    zmq_msg_close(&part);
  }
  return parts;
}

void SendParts(void* socket, const std::vector<std::string>& parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    zmq_send(socket, parts[i].data(), parts[i].size(), (i + 1 < parts.size() ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT);
  }
}

void* OpenSocket(void* context, int type) {
  void* socket = zmq_socket(context, type);
  if (socket == nullptr) return nullptr;
  const int none = 0;
  zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
  // Unbounded, so that libzmq's own thread never waits for this one.
  zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
  return socket;
}

}  // namespace

// Who was turned away since the last line of the log: whatever comes, a line every ten seconds.
class Authenticator::Tally {
 public:
  void Add(const std::string& who) {
    ++count_;
    if (causes_.size() < kToldKeys || causes_.contains(who)) ++causes_[who];
  }
  void Tell() {
    const auto now = std::chrono::steady_clock::now();
    if (count_ == 0 || now < next_) return;
    std::vector<std::string> texts;
    for (const auto& [who, times] : causes_) texts.push_back(fmt::format("{} x {}", times, who));
    spdlog::warn("turned away {} connections: {}", count_, Join(texts, ", "));
    next_ = now + kBetweenLines;
    count_ = 0;
    causes_.clear();
  }

 private:
  uint64_t count_ = 0;
  std::map<std::string, uint64_t> causes_;
  std::chrono::steady_clock::time_point next_{};
};

Result<std::unique_ptr<Authenticator>> Authenticator::Start(void* context, const std::filesystem::path& allowed,
                                                            int wake) {
  Descriptor stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return Fail(ErrnoError("watch", allowed, errno));
  std::unique_ptr<Authenticator> authenticator(new Authenticator(context, allowed, AllowList(), wake, std::move(stop)));
  authenticator->stamp_ = authenticator->StampOfFile();
  TRY_ASSIGN(AllowList list, AllowList::Read(allowed));
  if (list.entries().empty()) spdlog::warn("{} lets nobody in; `hone keys allow` adds keys", allowed.string());
  authenticator->list_ = std::make_shared<const AllowList>(std::move(list));
  authenticator->door_ = OpenSocket(context, ZMQ_REP);
  authenticator->events_ = OpenSocket(context, ZMQ_PAIR);
  if (authenticator->door_ == nullptr || authenticator->events_ == nullptr ||
      zmq_bind(authenticator->door_, kDoor) != 0) {
    return Fail(ErrorCode::kExhausted, fmt::format("guard the door: {}", zmq_strerror(errno)));
  }
  return authenticator;
}

Authenticator::Authenticator(void* context, std::filesystem::path allowed, AllowList list, int wake, Descriptor stop)
    : context_(context),
      allowed_(std::move(allowed)),
      wake_(wake),
      stop_(std::move(stop)),
      list_(std::make_shared<const AllowList>(std::move(list))) {}

void Authenticator::Watch(void* socket) {
  CHECK_THAT(zmq_socket_monitor(socket, kEvents, kWatched) == 0);
  CHECK_THAT(zmq_connect(events_, kEvents) == 0);
  // The sockets change hands here: creating a thread is the barrier that ZeroMQ asks for.
  thread_ = std::thread([this] { Run(); });
}

void Authenticator::Unwatch(void* socket) { zmq_socket_monitor(socket, nullptr, 0); }

Authenticator::~Authenticator() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(stop_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  if (door_ != nullptr) zmq_close(door_);
  if (events_ != nullptr) zmq_close(events_);
}

std::shared_ptr<const AllowList> Authenticator::list() const {
  const std::lock_guard lock(mutex_);
  return list_;
}

Authenticator::Counters Authenticator::counters() const { return {admitted_, unknown_, revoked_, garbled_, reloads_}; }

void Authenticator::Run() {
  Tally tally;
  for (;;) {
    std::array<zmq_pollitem_t, 3> items = {zmq_pollitem_t{door_, 0, ZMQ_POLLIN, 0},
                                           zmq_pollitem_t{events_, 0, ZMQ_POLLIN, 0},
                                           zmq_pollitem_t{nullptr, stop_.get(), ZMQ_POLLIN, 0}};
    zmq_poll(items.data(), static_cast<int>(items.size()), kLookMs);
    if (items[2].revents != 0) return;
    // Before the answers: a key that was just revoked is not let in.
    ReloadIfChanged();
    Answer(door_, tally);
    NoteEvent(events_, tally);
    tally.Tell();
  }
}

// Version, request, domain, address, routing id, mechanism, credentials; the reply repeats the first two.
void Authenticator::Answer(void* door, Tally& tally) {
  for (std::vector<std::string> asked = ReceiveParts(door); !asked.empty(); asked = ReceiveParts(door)) {
    const std::string request = asked.size() > 1 ? asked[1] : "";
    const auto refuse = [&](const char* text, std::atomic<uint64_t>& counter, const std::string& who) {
      ++counter;
      tally.Add(who);
      SendParts(door, {"1.0", request, "400", text, "", ""});
    };
    const std::string address = asked.size() > 3 ? Printable(asked[3], 64) : "";
    const bool well_formed = asked.size() == 7 && asked[0] == "1.0" && asked[2] == kDomain && asked[5] == "CURVE" &&
                             asked[6].size() == kKeyBytes;
    if (!well_formed) {
      refuse("no keys", garbled_, fmt::format("no keys from {}", address));
      continue;
    }
    std::array<char, 41> key{};
    zmq_z85_encode(key.data(), reinterpret_cast<const uint8_t*>(asked[6].data()), kKeyBytes);
    const auto allowed = list();
    const AllowList::Entry* entry = allowed->Find(key.data());
    if (entry == nullptr) {
      refuse("unknown key", unknown_, fmt::format("unknown key {} from {}", key.data(), address));
    } else if (entry->revoked) {
      refuse("revoked key", revoked_, fmt::format("revoked key of {} from {}", entry->name, address));
    } else {
      ++admitted_;
      SendParts(door, {"1.0", request, "200", "", key.data(), ""});
    }
  }
}

void Authenticator::NoteEvent(void* events, Tally& tally) {
  // Event and value in the first part, the listener's own address in the second.
  for (std::vector<std::string> event = ReceiveParts(events); !event.empty(); event = ReceiveParts(events)) {
    uint16_t kind = 0;
    if (event[0].size() >= sizeof kind) std::memcpy(&kind, event[0].data(), sizeof kind);
    if ((kind & kWatched) == 0) continue;
    ++garbled_;
    tally.Add(kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ? "no handshake with our key" : "handshake broken off");
  }
}

Authenticator::Stamp Authenticator::StampOfFile() const {
  struct stat status {};
  if (stat(allowed_.c_str(), &status) != 0) return {};
  const auto nanoseconds = [](const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; };
  return {status.st_ino, status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

// A list that cannot be read changes nothing: a slip of the pen must not lock the fleet out. It is told, and tried
// again at the next change.
void Authenticator::ReloadIfChanged() {
  const Stamp stamp = StampOfFile();
  if (stamp == stamp_) return;
  stamp_ = stamp;
  auto read = AllowList::Read(allowed_);
  if (!read) {
    const Error& error = read.error();
    spdlog::error("the list of keys stays as it was: {}{}",
                  error.line != 0 ? fmt::format("{}:{}: ", error.file, error.line) : "", error.message);
    return;
  }
  const size_t keys = static_cast<size_t>(std::count_if(read->entries().begin(), read->entries().end(),
                                                        [](const AllowList::Entry& entry) { return !entry.revoked; }));
  auto fresh = std::make_shared<const AllowList>(std::move(*read));
  {
    const std::lock_guard lock(mutex_);
    list_ = std::move(fresh);
  }
  version_.fetch_add(1, std::memory_order_release);
  ++reloads_;
  spdlog::info("{} was read again: {} keys are let in", allowed_.string(), keys);
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof one);
}

}  // namespace hone
