// Texts as token ids: what language models are judged and calibrated on.
//
//   .npz    an integer array `input_ids`: one text, or one in each row; tokens whose `attention_mask` is 0 are left out
//   .npy    such an array by itself
//   .json   a list of ids, a list of such lists, or an object that has one of them as `tokens` or `input_ids`
//   .txt    one text in UTF-8, for a model that brings its tokenizer (worker/checkpoint/tokenizer.h)
//
// A text is cut into windows of kTokenWindow tokens, or as many as the model's input_ids fixes; a window is a sample.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

constexpr size_t kTokenWindow = 512;

// Texts in the file's order. kRejected for anything but the above, and for what is no token id.
Result<std::vector<std::vector<int64_t>>> ReadTokens(const std::filesystem::path& file);

// Whether token ids are all that the model is to be told: its inputs are input_ids and, at most, a mask, positions and
// a cache of keys and values.
bool TakesTokens(const std::vector<InputSignature>& inputs);

// Whether the .npz has input_ids for a model that takes tokens, and lacks another of its inputs.
bool HoldsTokensAlone(const proto::LocalData& data, const std::vector<InputSignature>& inputs);

// See OpenDataSet. A sample feeds a window from an empty cache.
Result<std::unique_ptr<DataSet>> OpenTokens(const proto::LocalData& data, const std::vector<InputSignature>& inputs);
// The same of a text, read by the model's own tokenizer.
Result<std::unique_ptr<DataSet>> OpenText(const proto::LocalData& data, const std::vector<InputSignature>& inputs,
                                          const proto::LocalBundle& model);

// One input of a model that takes tokens, fed with `tokens` that follow `length` others: ids, a mask over all of them,
// positions, or a cache of zeros that holds the others. kRejected for another input and for shapes that do not allow
// it.
Result<Tensor> TokenInput(const InputSignature& input, const std::vector<int64_t>& tokens, int64_t length);

}  // namespace hone
