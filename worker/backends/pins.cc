#include "worker/backends/pins.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "common/base/strings.h"
#include "worker/data/signature.h"

namespace hone {
namespace {

Result<> PinOne(const DeclaredInput& declared, const proto::InputShape& pin, InputSignature& input) {
  const std::vector<int64_t> dims(pin.dims().begin(), pin.dims().end());
  const std::string shown = fmt::format("pin {} to {}", Printable(pin.name(), 256), ShapeText(dims));
  for (const int64_t dim : dims) {
    if (dim < 1 && dim != -1)
      return Fail(ErrorCode::kRejected, fmt::format("{}: a size must be at least 1, or -1 to stay free", shown));
  }
  if (!declared.has_rank) {
    input.dims = dims;
    return {};
  }
  if (dims.size() != input.dims.size()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{}: the input has {} dimensions {}", shown, input.dims.size(), ShapeText(input.dims)));
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1) continue;
    if (input.dims[i] >= 0 && input.dims[i] != dims[i]) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: the model fixes dimension {} at {}", shown, i, input.dims[i]));
    }
    input.dims[i] = dims[i];
  }
  return {};
}

}  // namespace

Result<std::vector<InputSignature>> PinSignature(const std::vector<DeclaredInput>& declared,
                                                 const google::protobuf::RepeatedPtrField<proto::InputShape>& pins) {
  std::vector<InputSignature> inputs;
  std::vector<std::string> names;
  for (const DeclaredInput& input : declared) {
    inputs.push_back(input.signature);
    names.push_back(input.signature.name);
  }
  std::vector<bool> settled;
  for (const DeclaredInput& input : declared) settled.push_back(input.has_rank);
  for (const proto::InputShape& pin : pins) {
    const auto found = std::find(names.begin(), names.end(), pin.name());
    if (found == names.end()) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("pin {}: the model has no such input{} (inputs: {})", Printable(pin.name(), 256),
                              DidYouMean(pin.name(), names), Printable(Join(names, ", "), 512)));
    }
    const auto index = static_cast<size_t>(found - names.begin());
    TRY(PinOne(declared[index], pin, inputs[index]));
    settled[index] = true;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = Printable(inputs[i].name, 256);
    if (ElementBytes(inputs[i].type) == 0) {
      return Fail(ErrorCode::kRejected, fmt::format("input '{}' takes {} elements, which hone cannot feed", name,
                                                    ElementName(inputs[i].type)));
    }
    if (!settled[i]) {
      return Fail(ErrorCode::kRejected, fmt::format("input '{}' declares no rank", name),
                  fmt::format("pin its shape with --input {}=1,...", name));
    }
  }
  return inputs;
}

}  // namespace hone
