#include "worker/runner/inspect_data.h"

#include <string>
#include <vector>

#include "common/base/strings.h"
#include "worker/data/data_set.h"
#include "worker/model/tensor.h"

namespace hone {
namespace {

// Beyond the largest number of onnx::TensorProto::DataType.
constexpr ElementType kElementTypes = 64;

ElementType TypeNamed(const std::string& name) {
  for (ElementType type = 1; type < kElementTypes; ++type) {
    if (ElementName(type) == name) return type;
  }
  return 0;
}

std::vector<InputSignature> Signatures(const proto::InspectTask& task, const proto::InspectResult& result) {
  std::vector<InputSignature> signatures;
  for (const proto::TensorInfo& input : result.inputs()) {
    InputSignature& signature = signatures.emplace_back();
    signature.name = input.name();
    signature.type = TypeNamed(input.type());
    for (const std::string& dim : input.dims()) signature.dims.push_back(ParseInteger(dim).value_or(-1));
    for (const proto::InputShape& pin : task.inputs()) {
      if (pin.name() != input.name() || pin.dims_size() != input.dims_size()) continue;
      for (int d = 0; d < pin.dims_size(); ++d) {
        if (pin.dims(d) >= 0) signature.dims[static_cast<size_t>(d)] = pin.dims(d);
      }
    }
  }
  return signatures;
}

}  // namespace

Result<> InspectData(const proto::InspectTask& task, proto::InspectResult& result) {
  const std::vector<InputSignature> signatures = Signatures(task, result);
  for (const proto::LocalData& data : task.data()) {
    TRY_ASSIGN(const auto set, OpenDataSet(data, signatures, &task.model()));
    // One sample is read, so that types and shapes that only reading shows are seen now and not in the middle of a
    // search.
    TRY(set->Get(0));
    result.add_data_samples(set->size());
  }
  return {};
}

}  // namespace hone
