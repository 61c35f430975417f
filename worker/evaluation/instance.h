// A model loaded in a process of its own. Its threads, its memory and its crash are its own: the idle one of two
// instances is stopped, so that a spinning thread pool of one runtime never steals time from the other, and peak memory
// is one model's alone.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/instance.pb.h"
#include "worker/data/data_set.h"
#include "worker/model/tensor.h"

namespace hone {

// Of a steady clock.
double NowMs();

proto::TensorData ToProto(const Tensor& tensor);
Tensor FromProto(const proto::TensorData& tensor);

// One question at a time; one thread. A runtime that crashes is an error (kFailed, with the signal) of the question it
// died of; the instance answers nothing afterwards.
class Instance {
 public:
  // Forks. The calling process must have a single thread and no runtime started.
  static Result<Instance> Start(std::string role);
  ~Instance();
  Instance(Instance&& other) noexcept;
  Instance& operator=(Instance&& other) = delete;

  Result<proto::InstanceReply::Loaded> Load(const proto::Subject& subject,
                                            const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs,
                                            bool profiling = false);
  Result<proto::TensorList> Infer(const std::vector<Tensor>& inputs);
  Result<> Bind(const std::vector<Tensor>& inputs);
  Result<std::vector<double>> Time(const proto::InstanceRequest::Time& time);
  // requests in flight; 0: as many as the runtime advises.
  Result<proto::InstanceReply::Throughput> Throughput(uint32_t duration_ms, uint32_t requests = 0);
  Result<proto::InstanceReply::OpenLoop> OpenLoop(const proto::InstanceRequest::OpenLoop& plan);
  // Of language models with a cache (evaluation/decoding.h): a text read, one drawn, and a prompt continued greedily.
  Result<proto::InstanceReply::TextRead> ReadText(const std::vector<int64_t>& ids, uint32_t part);
  Result<std::vector<int64_t>> WriteText(uint32_t tokens, uint64_t seed);
  Result<std::vector<int64_t>> ContinueText(const std::vector<int64_t>& prompt, uint32_t tokens);
  // For an instance that was loaded for profiling.
  Result<proto::Profile> Profile(uint32_t runs);
  Result<proto::Execution> Execution();
  // Highest resident memory since the start of the instance.
  Result<uint64_t> PeakMemory();

  pid_t pid() const { return pid_; }

  // SIGSTOP and SIGCONT; questions continue it by themselves.
  void Pause();

 private:
  Instance(std::string role, pid_t pid, int fd) : role_(std::move(role)), pid_(pid), fd_(fd) {}
  Result<proto::InstanceReply> Ask(const proto::InstanceRequest& request, const char* doing);
  Error Death(const char* doing);

  std::string role_;
  pid_t pid_ = -1;
  int fd_ = -1;
  bool paused_ = false;
};

}  // namespace hone
