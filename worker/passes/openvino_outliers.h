// Channels so large that they leave no codes for the others are spread over copies.
// Before: a -> MatMul(w1) -> Add(b1) -> Gelu, value by value -> x -> MatMul(w2)
// After:  the same with outlier channels of x computed several times: their columns of w1 and values of b1 repeated,
// and
//         each copy divided by their number before w2, whose rows are repeated
// The sum is the same, and the range of the largest channel is a fraction of what it was. The layer in between must
// work value by value and nobody else may read it.
#pragma once

#include <memory>
#include <openvino/core/model.hpp>
#include <openvino/op/constant.hpp>
#include <optional>
#include <vector>

namespace hone {

// Columns and values that hold the channels of a tensor.
struct ChannelConstant {
  ov::Input<ov::Node> reader;
  std::shared_ptr<ov::op::v0::Constant> constant;
  size_t axis = 0;
};

// What makes the channels of `source` (its last dimension) between one product and itself; nullopt where anything but
// layers that work value by value stands in between, or something else than `reader` reads it.
std::optional<std::vector<ChannelConstant>> ChannelSources(const ov::Output<ov::Node>& source, const ov::Node& reader);

// The channels to copy, one entry a copy: again and again that whose part of `difficulty` is largest.
std::vector<size_t> ChannelsToCopy(const std::vector<double>& difficulty, size_t copies);

// The constant with the named slices of `axis` appended.
std::shared_ptr<ov::op::v0::Constant> WithCopies(const ov::op::v0::Constant& constant, size_t axis,
                                                 const std::vector<size_t>& slices);

}  // namespace hone
