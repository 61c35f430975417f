// Finds multi-head self-attention as exporters write it.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/passes/quantization_graph.h"

namespace hone {

// Which values share their leading dimensions (batch and sequence): matrix products with constant matrices, additions
// of constant vectors, normalizations and element-wise operators keep those of their input.
class LeadingDims {
 public:
  explicit LeadingDims(const QuantizationGraph& graph) : graph_(graph) {}
  // The value from which this one's leading dimensions come; the value itself where nothing is known.
  std::string Of(const std::string& value);
  // States that `value` has those of `source`.
  void Same(const std::string& value, const std::string& source) { known_[value] = Of(source); }

 private:
  std::string Find(const std::string& value);
  const QuantizationGraph& graph_;
  std::unordered_map<std::string, std::string> known_;
};

// Y = softmax(Q K^T * scale + mask) V, heads side by side in the last dimension of Q, K, V and Y;
// Q = X Wq + bq and so on, from one X.
struct AttentionPattern {
  std::string input;       // X, [batch, sequence, width]
  std::string output;      // Y, [batch, sequence, heads * head_size]
  std::string weights[3];  // Of Q, K, V: constant matrices [width, heads * head_size].
  std::string biases[3];   // Constant vectors; "" where there is none.
  int64_t heads = 0;
  int64_t head_size = 0;
  float scale = 1;
  std::string mask;      // Integers or booleans [batch, sequence]: 0 where a place is not attended to; "" without mask.
  float mask_value = 0;  // What is added there.
  int last = -1;         // The node that gives Y.
};

// The pattern around a Softmax node, or nothing. Fills in what it learns about leading dimensions.
std::optional<AttentionPattern> MatchAttention(const QuantizationGraph& graph, int softmax, LeadingDims& leading);

}  // namespace hone
