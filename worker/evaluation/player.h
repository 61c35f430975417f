// What every measurement begins with: a model in an instance of its own, its inputs, the machine's lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/machine_lock.h"
#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/data/data_set.h"
#include "worker/evaluation/instance.h"
#include "worker/model/tensor.h"

namespace hone {

// A loaded model with its instance and the order in which it wants its inputs.
class Player {
 public:
  // Forks: see Instance::Start.
  static Result<Player> Start(const char* role, const proto::Subject& subject);

  // Once; a second call does nothing.
  Result<> Load(const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs, bool profiling = false);

  // The next ones after Load.
  std::vector<InputSignature> Signature() const;
  std::vector<std::string> Outputs() const;
  Result<std::vector<Tensor>> Infer(const std::vector<Tensor>& sample);
  Result<> Bind(const std::vector<Tensor>& sample);

  Instance& instance() { return instance_; }
  const proto::Subject& subject() const { return subject_; }
  double load_ms() const { return loaded_->load_ms(); }

 private:
  Player(Instance instance, const proto::Subject& subject) : instance_(std::move(instance)), subject_(subject) {}
  Result<std::vector<Tensor>> Arrange(const std::vector<Tensor>& sample) const;

  Instance instance_;
  proto::Subject subject_;
  std::optional<proto::InstanceReply::Loaded> loaded_;
};

inline constexpr const char* kSyntheticNote = "inputs are synthetic (seeded): no evaluation data was given";

// The evaluation data of a MeasureTask or BenchmarkTask; without any, synthetic inputs drawn from its seed.
template <class Task>
Result<std::unique_ptr<DataSet>> OpenInputs(const Task& task, const std::vector<InputSignature>& signature,
                                            const proto::LocalBundle& model) {
  constexpr size_t kSyntheticSamples = 8;
  if (task.has_evaluation()) return OpenDataSet(task.evaluation(), signature, &model);
  return SyntheticDataSet(signature, kSyntheticSamples, task.seed());
}

// Where what the original gives on `data` (a digest) is kept between measurements of the task; "" where it is not.
// kind: what is kept.
std::filesystem::path ReferencePath(const proto::MeasureTask& task, const std::string& kind, const std::string& data);

// Runs `work` and adds its time.
template <class Work>
Result<> Timed(uint64_t& sum_ms, const Work& work) {
  const auto start_ms = SystemClock().SteadyMs();
  Result<> result = work();
  sum_ms += static_cast<uint64_t>(SystemClock().SteadyMs() - start_ms);
  return result;
}

// Takes the lock at `path` in another way than before (MachineLock::Shared or ::Exclusive); "" locks nothing. The time
// that it took to get it is added to wait_ms.
Result<> TakeLock(const std::string& path, Result<> (MachineLock::*how)(const std::function<bool()>&),
                  std::optional<MachineLock>& lock, uint64_t& wait_ms);

}  // namespace hone
