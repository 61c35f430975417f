#include "worker/evaluation/instance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <utility>

#include "common/base/file.h"
#include "common/transport/transport.h"
#include "worker/backends/backend.h"
#include "worker/evaluation/decoding.h"
#include "worker/evaluation/open_loop.h"

namespace hone {
namespace {

constexpr uint64_t kMaxMessageBytes = uint64_t{1} << 31;

bool WriteAll(int fd, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t written = send(fd, bytes, count, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    count -= static_cast<size_t>(written);
  }
  return true;
}

bool ReadAll(int fd, char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t got = read(fd, bytes, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    count -= static_cast<size_t>(got);
  }
  return true;
}

bool SendMessage(int fd, const google::protobuf::MessageLite& message) {
  std::string bytes;
  if (!message.SerializeToString(&bytes)) return false;
  const uint64_t size = bytes.size();
  return WriteAll(fd, reinterpret_cast<const char*>(&size), sizeof size) && WriteAll(fd, bytes.data(), bytes.size());
}

bool ReceiveMessage(int fd, google::protobuf::MessageLite& message) {
  uint64_t size = 0;
  if (!ReadAll(fd, reinterpret_cast<char*>(&size), sizeof size) || size > kMaxMessageBytes) return false;
  std::string bytes(size, '\0');
  return ReadAll(fd, bytes.data(), bytes.size()) && message.ParseFromString(bytes);
}

// --- the instance's side ---------------------------------------------------------------------------------------

uint64_t PeakResidentBytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %llu kB", &kib) == 1) return kib * 1024;
  }
  return 0;
}

// The fork starts with its parent's high-water mark; writing 5 resets it to what is resident now (proc(5)).
void ResetPeakResident() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

class Server {
 public:
  proto::InstanceReply Answer(const proto::InstanceRequest& request) {
    proto::InstanceReply reply;
    if (auto result = Handle(request, reply); !result) {
      reply.Clear();
      *reply.mutable_error() = ToProto(result.error());
    }
    return reply;
  }

 private:
  Result<> Handle(const proto::InstanceRequest& request, proto::InstanceReply& reply) {
    using Kind = proto::InstanceRequest;
    if (request.kind_case() == Kind::kLoad) return Load(request.load(), *reply.mutable_loaded());
    CHECK_THAT(session_ != nullptr);
    switch (request.kind_case()) {
      case Kind::kInfer: return Infer(request.infer(), *reply.mutable_outputs());
      case Kind::kBind: reply.set_bound(true); return session_->Bind(Tensors(request.bind()));
      case Kind::kTime: return Time(request.time(), *reply.mutable_times());
      case Kind::kExecution: {
        TRY_ASSIGN(*reply.mutable_execution(), session_->Execution());
        return {};
      }
      case Kind::kThroughputMs: return Throughput(request, *reply.mutable_throughput());
      case Kind::kOpenLoop: {
        TRY_ASSIGN(*reply.mutable_open_loop(), RunOpenLoop(*session_, request.open_loop()));
        return {};
      }
      case Kind::kProfileRuns: {
        TRY_ASSIGN(*reply.mutable_profile(), session_->Profile(request.profile_runs()));
        return {};
      }
      case Kind::kReadText: return ReadText(request.read_text(), *reply.mutable_text_read());
      case Kind::kWriteText: return WriteText(request.write_text(), *reply.mutable_text());
      case Kind::kMemory: reply.set_peak_memory_bytes(PeakResidentBytes()); return {};
      default: return Fail(ErrorCode::kBug, "an instance was asked nothing");
    }
  }

  static std::vector<Tensor> Tensors(const proto::TensorList& list) {
    std::vector<Tensor> tensors;
    for (const auto& tensor : list.tensors()) tensors.push_back(FromProto(tensor));
    return tensors;
  }

  Result<> Load(const proto::InstanceRequest::Load& load, proto::InstanceReply::Loaded& loaded) {
    TRY_ASSIGN(const BackendRow* backend, FindBackend(load.subject().backend()));
    LoadOptions options;
    options.settings = load.subject().settings();
    options.inputs = load.inputs();
    options.cache_folder = load.cache_folder();
    options.profiling = load.profiling();
    const double start = NowMs();
    TRY_ASSIGN(session_, backend->load(load.subject().model(), options));
    loaded.set_load_ms(NowMs() - start);
    for (const InputSignature& input : session_->inputs()) {
      proto::TensorData& tensor = *loaded.add_inputs();
      tensor.set_name(input.name);
      tensor.set_type(input.type);
      for (int64_t dim : input.dims) tensor.add_dims(dim);
    }
    for (const std::string& output : session_->outputs()) loaded.add_outputs(output);
    return {};
  }

  Result<> Infer(const proto::TensorList& inputs, proto::TensorList& outputs) {
    TRY_ASSIGN(const std::vector<Tensor> results, session_->Run(Tensors(inputs)));
    for (const Tensor& result : results) *outputs.add_tensors() = ToProto(result);
    return {};
  }

  Result<> Time(const proto::InstanceRequest::Time& time, proto::InstanceReply::Times& times) {
    for (uint32_t run = 0; run < time.warm_runs(); ++run) TRY(session_->RunBound());
    const double start = NowMs();
    double now = start;
    uint32_t runs = 0;
    while (runs < time.max_runs() && (runs < time.min_runs() || now - start < time.min_ms())) {
      const double before = now = NowMs();
      TRY(session_->RunBound());
      now = NowMs();
      times.add_latency_ms(now - before);
      ++runs;
    }
    return {};
  }

  Result<> ReadText(const proto::InstanceRequest::ReadText& wish, proto::InstanceReply::TextRead& read) {
    TRY_ASSIGN(const auto scores, hone::ReadText(*session_, {wish.ids().begin(), wish.ids().end()}, wish.part()));
    for (const TokenScore& score : scores) {
      read.add_surprise(score.surprise);
      read.add_likeliest(score.likeliest);
    }
    return {};
  }

  Result<> WriteText(const proto::InstanceRequest::WriteText& wish, proto::InstanceReply::Text& text) {
    const auto write = [&] {
      if (wish.prompt().empty()) return hone::WriteText(*session_, wish.tokens(), wish.seed());
      return hone::ContinueText(*session_, {wish.prompt().begin(), wish.prompt().end()}, wish.tokens());
    };
    TRY_ASSIGN(const std::vector<int64_t> ids, write());
    text.mutable_ids()->Add(ids.begin(), ids.end());
    return {};
  }

  Result<> Throughput(const proto::InstanceRequest& request, proto::InstanceReply::Throughput& throughput) {
    TRY_ASSIGN(const Session::Throughput measured,
               session_->RunMany(request.throughput_requests(), request.throughput_ms()));
    throughput.set_inferences(measured.inferences);
    throughput.set_seconds(measured.seconds);
    throughput.set_requests(measured.requests);
    return {};
  }

  std::unique_ptr<Session> session_;
};

[[noreturn]] void Serve(int fd) {
  ResetPeakResident();
  {
    Server server;
    proto::InstanceRequest request;
    while (ReceiveMessage(fd, request)) {
      if (!SendMessage(fd, server.Answer(request))) break;
    }
    std::fflush(nullptr);
    // The asking side is gone or done: nothing here is worth an orderly end of the runtime.
    _exit(0);
  }
}

}  // namespace

double NowMs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

// --- the asking side -------------------------------------------------------------------------------------------

proto::TensorData ToProto(const Tensor& tensor) {
  proto::TensorData data;
  data.set_name(tensor.name);
  data.set_type(tensor.type);
  for (int64_t dim : tensor.dims) data.add_dims(dim);
  data.set_data(tensor.bytes.data(), tensor.bytes.size());
  return data;
}

Tensor FromProto(const proto::TensorData& data) {
  Tensor tensor;
  tensor.name = data.name();
  tensor.type = data.type();
  tensor.dims.assign(data.dims().begin(), data.dims().end());
  tensor.bytes.resize(data.data().size());
  if (!tensor.bytes.empty()) memcpy(tensor.bytes.data(), data.data().data(), tensor.bytes.size());
  return tensor;
}

Result<Instance> Instance::Start(std::string role) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Fail(ErrorCode::kExhausted, fmt::format("start a process for the {}: {}", role, strerror(errno)));
  }
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return Fail(ErrorCode::kExhausted, fmt::format("start a process for the {}: {}", role, strerror(error)));
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(ends[0]);
    Serve(ends[1]);
  }
  close(ends[1]);
  return Instance(std::move(role), pid, ends[0]);
}

Instance::Instance(Instance&& other) noexcept
    : role_(std::move(other.role_)),
      pid_(std::exchange(other.pid_, -1)),
      fd_(std::exchange(other.fd_, -1)),
      paused_(other.paused_) {}

Instance::~Instance() {
  if (fd_ >= 0) close(fd_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

void Instance::Pause() {
  if (pid_ > 0 && !paused_) paused_ = kill(pid_, SIGSTOP) == 0;
}

Error Instance::Death(const char* doing) {
  int status = 0;
  if (pid_ > 0) {
    // The socket is closed, so the process is ending; its status says why.
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  const std::string cause = WIFSIGNALED(status)
                                ? fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))
                                : fmt::format("exit status {}", WEXITSTATUS(status));
  return Error{ErrorCode::kFailed,
               fmt::format("the process that held the {} ended with {} while {}", role_, cause, doing)};
}

Result<proto::InstanceReply> Instance::Ask(const proto::InstanceRequest& request, const char* doing) {
  if (pid_ <= 0) return Fail(ErrorCode::kFailed, fmt::format("the process that held the {} is gone", role_));
  if (paused_) {
    kill(pid_, SIGCONT);
    paused_ = false;
  }
  proto::InstanceReply reply;
  if (!SendMessage(fd_, request) || !ReceiveMessage(fd_, reply)) return Fail(Death(doing));
  if (reply.has_error()) return FailWith(fmt::format("{} the {}", doing, role_), hone::FromProto(reply.error()));
  return reply;
}

Result<proto::InstanceReply::Loaded> Instance::Load(const proto::Subject& subject,
                                                    const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs,
                                                    bool profiling) {
  proto::InstanceRequest request;
  request.mutable_load()->set_profiling(profiling);
  *request.mutable_load()->mutable_subject() = subject;
  *request.mutable_load()->mutable_inputs() = inputs;
  TRY_ASSIGN(proto::InstanceReply reply, Ask(request, "loading"));
  return std::move(*reply.mutable_loaded());
}

Result<proto::TensorList> Instance::Infer(const std::vector<Tensor>& inputs) {
  proto::InstanceRequest request;
  request.mutable_infer();
  for (const Tensor& input : inputs) *request.mutable_infer()->add_tensors() = ToProto(input);
  TRY_ASSIGN(proto::InstanceReply reply, Ask(request, "running"));
  return std::move(*reply.mutable_outputs());
}

Result<> Instance::Bind(const std::vector<Tensor>& inputs) {
  proto::InstanceRequest request;
  request.mutable_bind();
  for (const Tensor& input : inputs) *request.mutable_bind()->add_tensors() = ToProto(input);
  TRY(Ask(request, "feeding"));
  return {};
}

Result<std::vector<double>> Instance::Time(const proto::InstanceRequest::Time& time) {
  proto::InstanceRequest request;
  *request.mutable_time() = time;
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "timing"));
  return std::vector<double>(reply.times().latency_ms().begin(), reply.times().latency_ms().end());
}

Result<proto::InstanceReply::OpenLoop> Instance::OpenLoop(const proto::InstanceRequest::OpenLoop& plan) {
  proto::InstanceRequest request;
  *request.mutable_open_loop() = plan;
  TRY_ASSIGN(proto::InstanceReply reply, Ask(request, "measuring at a rate"));
  return std::move(*reply.mutable_open_loop());
}

Result<proto::InstanceReply::TextRead> Instance::ReadText(const std::vector<int64_t>& ids, uint32_t part) {
  proto::InstanceRequest request;
  request.mutable_read_text()->mutable_ids()->Add(ids.begin(), ids.end());
  request.mutable_read_text()->set_part(part);
  TRY_ASSIGN(proto::InstanceReply reply, Ask(request, "reading a text with"));
  return std::move(*reply.mutable_text_read());
}

Result<std::vector<int64_t>> Instance::WriteText(uint32_t tokens, uint64_t seed) {
  proto::InstanceRequest request;
  request.mutable_write_text()->set_tokens(tokens);
  request.mutable_write_text()->set_seed(seed);
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "writing a text with"));
  return std::vector<int64_t>(reply.text().ids().begin(), reply.text().ids().end());
}

Result<std::vector<int64_t>> Instance::ContinueText(const std::vector<int64_t>& prompt, uint32_t tokens) {
  proto::InstanceRequest request;
  request.mutable_write_text()->set_tokens(tokens);
  request.mutable_write_text()->mutable_prompt()->Add(prompt.begin(), prompt.end());
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "continuing a text with"));
  return std::vector<int64_t>(reply.text().ids().begin(), reply.text().ids().end());
}

Result<proto::Profile> Instance::Profile(uint32_t runs) {
  proto::InstanceRequest request;
  request.set_profile_runs(runs);
  TRY_ASSIGN(proto::InstanceReply reply, Ask(request, "profiling"));
  return std::move(*reply.mutable_profile());
}

Result<proto::InstanceReply::Throughput> Instance::Throughput(uint32_t duration_ms, uint32_t requests) {
  proto::InstanceRequest request;
  request.set_throughput_ms(duration_ms);
  request.set_throughput_requests(requests);
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "measuring the throughput of"));
  return reply.throughput();
}

Result<proto::Execution> Instance::Execution() {
  proto::InstanceRequest request;
  request.set_execution(true);
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "asking the runtime what it executes in"));
  return reply.execution();
}

Result<uint64_t> Instance::PeakMemory() {
  proto::InstanceRequest request;
  request.set_memory(true);
  TRY_ASSIGN(const proto::InstanceReply reply, Ask(request, "reading the memory of"));
  return reply.peak_memory_bytes();
}

}  // namespace hone
