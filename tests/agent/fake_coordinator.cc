#include "tests/agent/fake_coordinator.h"

#include "common/artifact/bundle.h"

namespace hone {

using std::chrono::milliseconds;

FakeCoordinator::FakeCoordinator(const std::filesystem::path& folder)
    : endpoint_("ipc://" + (folder / "coordinator.sock").string()),
      store_(FileStore::Open(folder / "coordinator-artifacts").value()) {
  Serve();
}

FakeCoordinator::~FakeCoordinator() { Die(); }

void FakeCoordinator::Serve() {
  listener_ = Listener::Bind(endpoint_).value();
  stop_ = false;
  thread_ = std::thread([this] { Loop(); });
}

void FakeCoordinator::Die() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    sessions_.clear();
    waiting_.clear();
  }
  if (thread_.joinable()) thread_.join();
  listener_.reset();
}

void FakeCoordinator::Offer(const proto::Lease& lease) {
  const std::lock_guard lock(mutex_);
  offered_.push_back(lease);
}

void FakeCoordinator::Drop(uint64_t lease) {
  const std::lock_guard lock(mutex_);
  pending_.add_drop(lease);
}

void FakeCoordinator::ForgetSessions() {
  const std::lock_guard lock(mutex_);
  sessions_.clear();
}

void FakeCoordinator::SetDrain(bool drain) {
  const std::lock_guard lock(mutex_);
  drain_ = drain;
}

void FakeCoordinator::Change(const std::function<void(Behaviour&)>& change) {
  const std::lock_guard lock(mutex_);
  change(behaviour_);
}

proto::Bundle FakeCoordinator::Store(const std::string& name, const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  proto::Bundle bundle;
  bundle.set_format("onnx");
  bundle.set_main(name);
  proto::File& file = *bundle.add_files();
  file.set_path(name);
  file.set_digest(store_.Put(bytes).value());
  file.set_size_bytes(bytes.size());
  return bundle;
}

bool FakeCoordinator::Has(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  return store_.Has(digest);
}

bool FakeCoordinator::Await(const std::function<bool(const Heard&)>& condition) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return condition(heard_); });
}

FakeCoordinator::Heard FakeCoordinator::Look() {
  const std::lock_guard lock(mutex_);
  return heard_;
}

void FakeCoordinator::Loop() {
  for (;;) {
    const auto arrived = listener_->Receive(milliseconds(5), 64);
    const std::lock_guard lock(mutex_);
    if (stop_) return;
    for (const auto& incoming : arrived) Answer(incoming);
    ReplyToWaiting();
    changed_.notify_all();
  }
}

void FakeCoordinator::Send(const std::string& peer, uint64_t request, proto::Frame frame) {
  frame.set_protocol(kProtocol);
  frame.set_request(request);
  listener_->Send(peer, frame);
}

void FakeCoordinator::Answer(const Listener::Incoming& incoming) {
  if (incoming.frame.has_worker_hello()) {
    AnswerHello(incoming);
  } else if (incoming.frame.has_synchronize()) {
    AnswerSynchronize(incoming);
  } else if (behaviour_.answer_transfers) {
    AnswerTransfer(incoming);
  }
}

void FakeCoordinator::AnswerHello(const Listener::Incoming& incoming) {
  const proto::WorkerHello& hello = incoming.frame.worker_hello();
  heard_.hellos.push_back(hello);
  proto::Frame reply;
  if (behaviour_.refusal) {
    *reply.mutable_error() = *behaviour_.refusal;
  } else {
    sessions_.insert(hello.session());
    reply.mutable_worker_hello_reply()->set_heartbeat_ms(behaviour_.heartbeat_ms);
    reply.mutable_worker_hello_reply()->set_lease_ms(behaviour_.heartbeat_ms * 4);
  }
  Send(incoming.peer, incoming.frame.request(), reply);
}

void FakeCoordinator::AnswerSynchronize(const Listener::Incoming& incoming) {
  const proto::Synchronize& message = incoming.frame.synchronize();
  heard_.synchronizations.push_back(message);
  if (!sessions_.contains(message.session())) {
    proto::Frame reply;
    reply.mutable_synchronize_reply()->set_unknown(true);
    Send(incoming.peer, incoming.frame.request(), reply);
    return;
  }
  for (const proto::Holding& holding : message.holding()) heard_.phases.insert(holding.phase());
  for (const proto::Report& report : message.reports()) {
    heard_.reports[report.lease()].push_back(report);
    if (behaviour_.acknowledge) pending_.add_acknowledged(report.lease());
  }
  if (message.free_slots() > 0 && !offered_.empty()) {
    *pending_.add_leases() = offered_.front();
    offered_.pop_front();
  }
  waiting_.push_back(
      {incoming.peer, incoming.frame.request(), std::chrono::steady_clock::now() + milliseconds(message.wait_ms())});
}

// The newest question gets what there is to say; the others are answered with nothing when their time is up.
void FakeCoordinator::ReplyToWaiting() {
  const auto now = std::chrono::steady_clock::now();
  const bool something = pending_.ByteSizeLong() > 0;
  while (!waiting_.empty() && (something || waiting_.front().until <= now)) {
    const Waiting next = something ? waiting_.back() : waiting_.front();
    something ? waiting_.pop_back() : static_cast<void>(waiting_.erase(waiting_.begin()));
    proto::Frame reply;
    *reply.mutable_synchronize_reply() = pending_;
    reply.mutable_synchronize_reply()->set_drain(drain_);
    pending_.Clear();
    Send(next.peer, next.request, reply);
    if (something) return;
  }
}

void FakeCoordinator::AnswerTransfer(const Listener::Incoming& incoming) {
  proto::Frame reply;
  const auto fail = [&](const Error& error) { *reply.mutable_error() = ToProto(error); };
  if (incoming.frame.has_find_missing()) {
    reply.mutable_find_missing_reply();
    for (const std::string& digest : incoming.frame.find_missing().digests()) {
      if (!store_.Has(digest)) reply.mutable_find_missing_reply()->add_digests(digest);
    }
  } else if (incoming.frame.has_put_chunk()) {
    const proto::PutChunk& chunk = incoming.frame.put_chunk();
    const auto held = store_.Append(chunk.digest(), chunk.size_bytes(), chunk.offset(), chunk.data());
    if (!held) {
      fail(held.error());
    } else {
      reply.mutable_put_chunk_reply()->set_received_bytes(*held);
      reply.mutable_put_chunk_reply()->set_complete(*held == chunk.size_bytes());
    }
  } else if (incoming.frame.has_get_chunk()) {
    const proto::GetChunk& chunk = incoming.frame.get_chunk();
    const auto size = store_.Size(chunk.digest());
    const auto data = store_.Read(chunk.digest(), chunk.offset(), chunk.max_bytes());
    if (!data) {
      fail(data.error());
    } else {
      reply.mutable_get_chunk_reply()->set_size_bytes(*size);
      reply.mutable_get_chunk_reply()->set_offset(chunk.offset());
      reply.mutable_get_chunk_reply()->set_data(*data);
    }
  }
  Send(incoming.peer, incoming.frame.request(), reply);
}

}  // namespace hone
