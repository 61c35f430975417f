#include "worker/data/signature.h"

#include <fmt/format.h>

#include "common/base/strings.h"

namespace hone {

std::string ShapeText(const std::vector<int64_t>& dims) {
  std::vector<std::string> words;
  for (const int64_t dim : dims) words.push_back(dim < 0 ? "?" : fmt::format("{}", dim));
  return "[" + Join(words, ",") + "]";
}

bool FitsShape(const std::vector<int64_t>& wanted, const std::vector<int64_t>& found) {
  if (wanted.size() != found.size()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (found[i] < 0 || (wanted[i] >= 0 && wanted[i] != found[i])) return false;
  }
  return true;
}

std::string SignatureText(const InputSignature& input) {
  return fmt::format("{} {} {}", Printable(input.name, 256), ElementName(input.type), ShapeText(input.dims));
}

Result<> CheckFeed(const std::vector<InputSignature>& inputs, const std::vector<Tensor>& tensors) {
  if (inputs.size() != tensors.size()) {
    return Fail(ErrorCode::kRejected, fmt::format("feed the model: it has {} inputs, and {} tensors were given",
                                                  inputs.size(), tensors.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& tensor = tensors[i];
    const int64_t elements = tensor.Elements();
    if (tensor.type != inputs[i].type || !FitsShape(inputs[i].dims, tensor.dims)) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("feed the model: input {} was given {} {}", SignatureText(inputs[i]),
                              ElementName(tensor.type), ShapeText(tensor.dims)));
    }
    if (elements < 0 || static_cast<uint64_t>(elements) * ElementBytes(tensor.type) != tensor.bytes.size()) {
      return Fail(ErrorCode::kBug,
                  fmt::format("feed the model: the tensor for input '{}' has {} bytes, which is not {} {}",
                              Printable(inputs[i].name, 256), tensor.bytes.size(), ElementName(tensor.type),
                              ShapeText(tensor.dims)));
    }
  }
  return {};
}

}  // namespace hone
