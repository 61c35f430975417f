#include "bench/fleet/worker_crowd.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <stdexcept>

#include "common/base/digest.h"
#include "common/recipe/value.h"
#include "common/transport/transport.h"

namespace hone::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kWaitMs = 1000;

double MillisecondsSince(Clock::time_point then) {
  return std::chrono::duration<double, std::milli>(Clock::now() - then).count();
}

proto::Catalogue CatalogueWith(uint32_t settings) {
  proto::Catalogue catalogue;
  proto::BackendInfo& backend = *catalogue.add_backends();
  backend.set_name("onnxruntime");
  backend.set_version("1");
  backend.add_devices("CPU");
  backend.add_formats("onnx");
  backend.set_reference(true);
  for (uint32_t i = 0; i < settings; ++i) {
    proto::ParameterInfo& setting = *backend.add_settings();
    setting.set_name(fmt::format("level_{}", i));
    setting.set_type(proto::ParameterInfo::INTEGER);
    *setting.mutable_minimum() = IntValue(0);
    *setting.mutable_maximum() = IntValue(1'000'000'000);
    *setting.mutable_default_value() = IntValue(0);
  }
  catalogue.mutable_fingerprint()->set_cpu_model("simulated");
  catalogue.mutable_fingerprint()->set_digest(DigestOf("simulated"));
  return catalogue;
}

void AddMetric(proto::MeasureResult& result, const char* name, double value) {
  proto::Metric& metric = *result.add_metrics();
  metric.set_name(name);
  metric.set_value(value);
  metric.set_samples(6);
}

}  // namespace

WorkerCrowd::WorkerCrowd(const CrowdOptions& options) : options_(options), context_(2) {
  context_.set(zmq::ctxopt::max_sockets, static_cast<int>(options.workers) + 16);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw std::runtime_error("epoll_create1 failed");
}

WorkerCrowd::~WorkerCrowd() {
  workers_.clear();
  close(epoll_);
}

void WorkerCrowd::Start() {
  for (uint32_t i = 0; i < options_.workers; ++i) {
    auto worker = std::make_unique<Worker>();
    worker->socket = zmq::socket_t(context_, zmq::socket_type::dealer);
    worker->socket.set(zmq::sockopt::linger, 0);
    if (!options_.keys.empty()) {
      const DialerKeys& keys = options_.keys.at(i);
      worker->socket.set(zmq::sockopt::curve_serverkey, keys.coordinator);
      worker->socket.set(zmq::sockopt::curve_publickey, keys.own.public_key);
      worker->socket.set(zmq::sockopt::curve_secretkey, keys.own.secret_key);
    }
    worker->socket.connect(options_.endpoint);
    worker->name = fmt::format("{}-{}", options_.name, i);
    worker->session = fmt::format("{}-{}", worker->name, getpid());
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = workers_.size();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, worker->socket.get(zmq::sockopt::fd), &event) != 0)
      throw std::runtime_error("epoll_ctl failed");
    workers_.push_back(std::move(worker));
  }
  for (const auto& worker : workers_) SendHello(*worker);
}

void WorkerCrowd::Resume() {
  working_ = true;
  for (const auto& worker : workers_) {
    if (worker->known && !worker->idle) SendSynchronize(*worker);
  }
}

void WorkerCrowd::Turn(std::chrono::milliseconds timeout) {
  epoll_event events[256];
  const int ready = epoll_wait(epoll_, events, 256, static_cast<int>(timeout.count()));
  for (int i = 0; i < ready; ++i) Drain(*workers_[events[i].data.u64]);
}

void WorkerCrowd::SendHello(Worker& worker) {
  proto::Frame frame;
  proto::WorkerHello& hello = *frame.mutable_worker_hello();
  hello.set_name(worker.name);
  hello.set_session(worker.session);
  hello.add_tags("cpu");
  *hello.mutable_catalogue() = CatalogueWith(options_.settings);
  hello.set_slots(1);
  Send(worker, frame);
}

void WorkerCrowd::SendSynchronize(Worker& worker) {
  proto::Frame frame;
  proto::Synchronize& synchronize = *frame.mutable_synchronize();
  synchronize.set_session(worker.session);
  for (const proto::Report& report : worker.reports) *synchronize.add_reports() = report;
  synchronize.set_free_slots(working_ ? 1 : 0);
  synchronize.set_wait_ms(kWaitMs);
  worker.sent = Clock::now();
  if (!worker.reports.empty()) {
    worker.reported = worker.sent;
    worker.awaits_lease = working_;
  }
  worker.idle = true;
  Send(worker, frame);
}

void WorkerCrowd::Send(Worker& worker, proto::Frame& frame) {
  frame.set_protocol(1);
  frame.set_request(worker.next_request++);
  zmq::message_t message(frame.ByteSizeLong());
  frame.SerializeToArray(message.data(), static_cast<int>(message.size()));
  worker.socket.send(message, zmq::send_flags::dontwait);
  // The descriptor is edge-triggered: what came while sending would not be told again.
  if ((worker.socket.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) Drain(worker);
}

void WorkerCrowd::Drain(Worker& worker) {
  while ((worker.socket.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) {
    zmq::message_t message;
    if (!worker.socket.recv(message, zmq::recv_flags::dontwait)) return;
    proto::Frame frame;
    if (frame.ParseFromArray(message.data(), static_cast<int>(message.size()))) Take(worker, frame);
  }
}

void WorkerCrowd::Take(Worker& worker, const proto::Frame& frame) {
  ++counters_.replies;
  if (frame.has_error()) {
    ++counters_.errors;
    counters_.last_error = frame.error().message();
    return SendHello(worker);
  }
  if (frame.has_worker_hello_reply()) {
    if (!worker.known) ++counters_.registered;
    worker.known = true;
    return SendSynchronize(worker);
  }
  if (!frame.has_synchronize_reply()) return;
  const proto::SynchronizeReply& reply = frame.synchronize_reply();
  worker.idle = false;
  for (const uint64_t lease : reply.acknowledged()) {
    counters_.trials +=
        std::erase_if(worker.reports, [&](const proto::Report& report) { return report.lease() == lease; });
  }
  if (reply.unknown()) return SendHello(worker);
  if (reply.leases().empty() && reply.acknowledged().empty())
    counters_.idle_ms.push_back(MillisecondsSince(worker.sent));
  if (!reply.leases().empty() && worker.awaits_lease) {
    counters_.dispatch_ms.push_back(MillisecondsSince(worker.reported));
    worker.awaits_lease = false;
  }
  for (const proto::Lease& lease : reply.leases()) worker.reports.push_back(Done(lease));
  SendSynchronize(worker);
}

proto::Report WorkerCrowd::Done(const proto::Lease& lease) const {
  proto::Report report;
  report.set_lease(lease.id());
  report.set_token(lease.token());
  report.set_outcome(proto::Report::DONE);
  report.set_wall_ms(3);
  report.set_peak_memory_bytes(1 << 20);
  const proto::MeasureWork& work = lease.measure();
  proto::MeasureResult& result = *report.mutable_result()->mutable_measure();
  // A made-up landscape: the nearer the settings to the middle, the faster.
  double speedup = 1;
  for (const proto::Parameter& setting : work.settings()) {
    const double x = static_cast<double>(setting.value().integer()) / 1e9 - 0.5;
    speedup += 0.25 - x * x;
  }
  AddMetric(result, "latency_ms_p50", 10 / speedup);
  AddMetric(result, "size_bytes", 1000);
  AddMetric(result, "accuracy", 0.999);
  AddMetric(result, "accuracy_drop", work.is_baseline() ? 0 : 0.001);
  if (!work.is_baseline()) {
    proto::Metric& paired = *result.mutable_speedup();
    paired.set_name("speedup");
    paired.set_value(speedup);
    paired.set_low(speedup * 0.95);
    paired.set_high(speedup * 1.05);
    paired.set_samples(work.pairs());
  }
  proto::Samples& samples = *result.add_samples();
  samples.set_series("candidate.latency_ms");
  for (uint32_t i = 0; i < work.pairs(); ++i) samples.add_values(10 / speedup + i * 0.01);
  result.mutable_execution()->set_backend("onnxruntime");
  result.mutable_execution()->set_version("1");
  result.mutable_fingerprint()->set_digest(DigestOf("simulated"));
  return report;
}

}  // namespace hone::bench
