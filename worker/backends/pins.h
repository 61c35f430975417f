// What a loaded model declares as its inputs, with the shapes that the user pins.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "proto/recipe.pb.h"
#include "worker/data/data_set.h"

namespace hone {

struct DeclaredInput {
  InputSignature signature;
  bool has_rank = true;
};

// The signatures with free dimensions replaced by pins (-1 keeps one free). kRejected for a pin of an unknown input, of
// a wrong rank, below 1 or against a fixed dimension; and for inputs that cannot be fed: strings, elements smaller than
// a byte, an unknown rank that no pin settles.
Result<std::vector<InputSignature>> PinSignature(const std::vector<DeclaredInput>& declared,
                                                 const google::protobuf::RepeatedPtrField<proto::InputShape>& pins);

}  // namespace hone
