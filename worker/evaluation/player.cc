#include "worker/evaluation/player.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/recipe/value.h"
#include "worker/backends/backend.h"

namespace hone {

Result<Player> Player::Start(const char* role, const proto::Subject& subject) {
  TRY_ASSIGN(Instance instance, Instance::Start(role));
  return Player(std::move(instance), subject);
}

Result<> Player::Load(const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs, bool profiling) {
  if (loaded_) return {};
  TRY_ASSIGN(loaded_, instance_.Load(subject_, inputs, profiling));
  return {};
}

std::vector<InputSignature> Player::Signature() const {
  std::vector<InputSignature> signature;
  for (const proto::TensorData& input : loaded_->inputs()) {
    signature.push_back({input.name(), input.type(), {input.dims().begin(), input.dims().end()}});
  }
  return signature;
}

std::vector<std::string> Player::Outputs() const {
  return {loaded_->outputs().begin(), loaded_->outputs().end()};
}

Result<std::vector<Tensor>> Player::Infer(const std::vector<Tensor>& sample) {
  TRY_ASSIGN(const std::vector<Tensor> inputs, Arrange(sample));
  TRY_ASSIGN(const proto::TensorList list, instance_.Infer(inputs));
  std::vector<Tensor> outputs;
  for (const proto::TensorData& tensor : list.tensors()) outputs.push_back(FromProto(tensor));
  return outputs;
}

Result<> Player::Bind(const std::vector<Tensor>& sample) {
  TRY_ASSIGN(const std::vector<Tensor> inputs, Arrange(sample));
  return instance_.Bind(inputs);
}

Result<std::vector<Tensor>> Player::Arrange(const std::vector<Tensor>& sample) const {
  std::vector<Tensor> inputs;
  for (const proto::TensorData& wanted : loaded_->inputs()) {
    const auto found =
        std::find_if(sample.begin(), sample.end(), [&](const Tensor& t) { return t.name == wanted.name(); });
    if (found == sample.end()) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the model has an input '{}' that the candidate does not have", wanted.name()));
    }
    inputs.push_back(*found);
  }
  return inputs;
}

std::filesystem::path ReferencePath(const proto::MeasureTask& task, const std::string& kind, const std::string& data) {
  if (task.cache_folder().empty()) return {};
  Hasher hasher;
  const proto::Subject& subject = task.has_baseline() ? task.baseline() : task.candidate();
  hasher.Update(kind + "\n" + BundleId(subject.model().bundle()) + "\n" + subject.backend() + "\n");
  if (auto backend = FindBackend(subject.backend())) hasher.Update((*backend)->info().version() + "\n");
  hasher.Update(CanonicalParameters(subject.settings()) + "\n" + data + "\n");
  for (const proto::InputShape& input : task.inputs()) hasher.Update(input.SerializeAsString());
  return std::filesystem::path(task.cache_folder()) / ("reference-" + hasher.Finish().substr(7) + ".pb");
}

Result<> TakeLock(const std::string& path, Result<> (MachineLock::*how)(const std::function<bool()>&),
                  std::optional<MachineLock>& lock, uint64_t& wait_ms) {
  if (path.empty()) return {};
  return Timed(wait_ms, [&]() -> Result<> {
    if (!lock) {
      TRY_ASSIGN(lock, MachineLock::Open(path));
    }
    lock->Release();
    return ((*lock).*how)({});
  });
}

}  // namespace hone
