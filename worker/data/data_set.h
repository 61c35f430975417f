// Data sets: samples as named tensors, whatever they were stored as.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/recipe.pb.h"
#include "proto/work.pb.h"
#include "worker/model/tensor.h"

namespace hone {

// What a model wants to be fed, as the backend or the graph tells. -1: free.
struct InputSignature {
  std::string name;
  ElementType type = 1;
  std::vector<int64_t> dims;
};

// Thread-safe for reading.
class DataSet {
 public:
  virtual ~DataSet() = default;
  virtual size_t size() const = 0;
  // One sample: a tensor for every input of the signature, in its order, shaped to feed the model once.
  virtual Result<std::vector<Tensor>> Get(size_t index) const = 0;
  // One label a sample, or empty.
  virtual const std::vector<int64_t>& labels() const = 0;
  // The token ids of a sample where the data set is text (worker/data/tokens.h); else empty.
  virtual std::vector<int64_t> Tokens(size_t index) const;
  // Expected outputs of a sample where the data set has them (ONNX test data); else empty.
  virtual Result<std::vector<Tensor>> Expected(size_t index) const;
  // Digest of the content selected (bundle id, range, preprocessing): the data's part in keys.
  virtual std::string digest() const = 0;
};

// Opens a data set for a model. kRejected, saying which input and which shape is wanted and found: a missing input, a
// wrong shape or type, arrays of unequal length, an empty selection, non-numeric npy types, broken zip/npy/png.
//
// npz: an array of the input's rank gives its first axis as samples (each fed with first dimension 1, or as many as the
// input's first dimension fixes); an array of one rank more gives one entry a sample. Integer arrays convert to the
// input's integer type when every value fits; float64 to float32.
//
// Token ids alone feed language models: see worker/data/tokens.h.
// `model` is whose tokenizer reads texts; without one, texts are refused.
Result<std::unique_ptr<DataSet>> OpenDataSet(const proto::LocalData& data, const std::vector<InputSignature>& inputs,
                                             const proto::LocalBundle* model = nullptr);

// Seeded stand-in inputs where nobody gave data: normal floats, integers 0/1 (names holding "mask") or small ids. Every
// dimension must be known (kRejected naming the free one and the flag that pins it).
Result<std::unique_ptr<DataSet>> SyntheticDataSet(const std::vector<InputSignature>& inputs, size_t samples,
                                                  uint64_t seed);

// The part of the id of proto::Data/LocalData that names its content.
std::string DataDigest(const proto::Bundle& bundle, uint64_t from, uint64_t samples,
                       const proto::Preprocess& preprocess);

}  // namespace hone
