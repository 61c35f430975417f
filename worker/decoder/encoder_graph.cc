// The graph is gone through twice: first as a plan, which looks up every tensor and checks its shape, so that nothing
// is written of a checkpoint that cannot be served; then for real, tensor after tensor.
//
// A layer, whatever its family calls its tensors:
//
//   x -> MatMul, Add, Reshape, Transpose (three times) -> MatMul, Div, Add(mask), Softmax, MatMul -> Transpose, Reshape
//     -> MatMul, Add -> Add(x), LayerNormalization -> MatMul, Add, Gelu, MatMul, Add -> Add, LayerNormalization
//
// What is the same for every input is settled here: where all tokens are of one kind, its embedding is part of the
// positions'; MPNet's bias, a row of a table by the distance of two tokens, becomes a table by the distance itself, and
// is added to the mask once for all layers.
#include "worker/decoder/encoder_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <numeric>
#include <utility>

#include "common/base/strings.h"
#include "worker/decoder/checkpoint_weights.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr int64_t kEncoderOpset = 20;  // The first with Gelu.

// What is added to the scores of tokens that are left out. Its exponential is 0 beside any score, it is a number in
// float16 and bfloat16 too, and a sum of two is one; the least float is none of that.
constexpr double kLeftOut = -10000;
constexpr double kBelowAll = -1e9;      // What such a token has beside the others where the largest is looked for.
constexpr double kLeastLength = 1e-12;  // Of an embedding that is normalized: zeros stay zeros.

// Where a family keeps the tensors of a layer; names without ".weight" and ".bias".
struct LayerNames {
  const char* layer;  // With a place for the number.
  const char* query;
  const char* key;
  const char* value;
  const char* attended;
  const char* attention_norm;
  const char* up;
  const char* down;
  const char* norm;
};

const LayerNames& NamesOf(EncoderFamily family) {
  static constexpr LayerNames kBert = {"encoder.layer.{}",         "attention.self.query",       "attention.self.key",
                                       "attention.self.value",     "attention.output.dense",
                                       "attention.output.LayerNorm", "intermediate.dense",       "output.dense",
                                       "output.LayerNorm"};
  static constexpr LayerNames kDistilbert = {"transformer.layer.{}", "attention.q_lin", "attention.k_lin",
                                             "attention.v_lin",      "attention.out_lin", "sa_layer_norm",
                                             "ffn.lin1",             "ffn.lin2",        "output_layer_norm"};
  static constexpr LayerNames kMpnet = {"encoder.layer.{}", "attention.attn.q",   "attention.attn.k",
                                        "attention.attn.v", "attention.attn.o",   "attention.LayerNorm",
                                        "intermediate.dense", "output.dense",     "output.LayerNorm"};
  return family == EncoderFamily::distilbert ? kDistilbert : family == EncoderFamily::mpnet ? kMpnet : kBert;
}

// The row of MPNet's table for a key so many places behind its query, as torch computes it: one row each up to 7
// places, then by the logarithm up to 128; keys before the query have the first half of the table.
constexpr int64_t kBuckets = 32;
int64_t BucketOf(int64_t distance) {
  constexpr int64_t kHalf = kBuckets / 2, kExact = kHalf / 2, kFarthest = 128;
  const int64_t side = distance > 0 ? kHalf : 0;
  const int64_t places = std::abs(distance);
  if (places < kExact) return side + places;
  const float ratio = std::log(static_cast<float>(places) / static_cast<float>(kExact)) /
                      static_cast<float>(std::log(static_cast<double>(kFarthest) / static_cast<double>(kExact)));
  return side + std::min(kHalf - 1, kExact + static_cast<int64_t>(ratio * static_cast<float>(kHalf - kExact)));
}

class EncoderBuilder {
 public:
  EncoderBuilder(const Checkpoint& checkpoint, const EncoderConfig& config, const EncoderOptions& options,
                 GraphWriter& graph)
      : config_(config), options_(options), graph_(graph), weights_(checkpoint.weights) {}

  Result<> Build();
  const CheckpointWeights& weights() const { return weights_; }

 private:
  std::string Key(const std::string& name) const { return config_.prefix + name; }
  Result<std::string> Vector(const std::string& key, const std::string& name, int64_t elements);
  Result<std::string> Linear(const std::string& key, const std::string& base, const std::string& input, int64_t rows,
                             int64_t columns);
  Result<std::string> Row(const std::string& key, const std::string& base, const std::string& input, int64_t rows);
  Result<std::string> Norm(const std::string& key, const std::string& base, const std::string& input);
  std::string Activated(const std::string& base, const std::string& input);

  void Ports();
  std::string PlacesFromStart();
  std::string PlacesBehindPadding();
  Result<std::string> Places();
  Result<std::string> Embeddings();
  void Mask();
  Result<> DistanceBias();
  std::string Heads(const std::string& base, const std::string& input, const std::vector<int64_t>& turn);
  Result<std::string> Attention(const LayerNames& names, const std::string& key, const std::string& base,
                                const std::string& input);
  Result<std::string> Layer(int64_t layer, const std::string& input);

  std::string Give(const std::string& value, const std::string& output);
  std::string FirstToken(const std::string& hidden, const std::string& base);
  Result<std::string> PoolerOutput(const std::string& hidden);
  Result<> States(const std::string& hidden);
  Result<std::pair<std::string, const char*>> Features(const std::string& hidden);
  Result<> SequenceLogits(const std::string& hidden);
  Result<> TokenLogits(const std::string& hidden);
  std::string Pooled(Pooling pooling, const std::string& hidden, const std::string& mask);
  Result<> Sentence(std::string hidden);
  Result<> Head(const std::string& hidden);

  const EncoderConfig& config_;
  const EncoderOptions& options_;
  GraphWriter& graph_;
  CheckpointWeights weights_;
  std::string numbers_;  // 0, 1, 2 ... for the tokens of a sequence, [1, sequence].
  std::string mask_;     // What is added to the scores.
};

// --- weights and products --------------------------------------------------------------------------------------------

Result<std::string> EncoderBuilder::Vector(const std::string& key, const std::string& name, int64_t elements) {
  TRY_ASSIGN(const std::vector<float> values, weights_.Vector(key, elements));
  TRY(graph_.AddFloats(name, {elements}, values));
  return name;
}

// A product for every token.
Result<std::string> EncoderBuilder::Linear(const std::string& key, const std::string& base, const std::string& input,
                                    int64_t rows, int64_t columns) {
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(key + ".weight", rows, columns));
  const RowSource source{{std::move(part)}, static_cast<uint64_t>(columns)};
  TRY(AddMatrix(graph_, key + ".weight", source, MatrixSide::turned, options_.threads));
  TRY_ASSIGN(const std::string bias, Vector(key + ".bias", key + ".bias", rows));
  const std::string product = graph_.Simple("MatMul", base + "/MatMul", {input, key + ".weight"});
  return graph_.Simple("Add", base + "/Add", {bias, product});
}

// A product for every text: [batch, hidden] gives [batch, rows].
Result<std::string> EncoderBuilder::Row(const std::string& key, const std::string& base, const std::string& input,
                                 int64_t rows) {
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(key + ".weight", rows, config_.hidden));
  const RowSource source{{std::move(part)}, static_cast<uint64_t>(config_.hidden)};
  TRY(AddMatrix(graph_, key + ".weight", source, MatrixSide::as_is, options_.threads));
  TRY_ASSIGN(const std::string bias, Vector(key + ".bias", key + ".bias", rows));
  const std::string product = graph_.Simple("Gemm", base + "/Gemm", {input, key + ".weight", bias});
  SetIntAttribute(graph_.Last(), "transB", 1);
  return product;
}

// Checkpoints of TensorFlow's time say gamma and beta.
Result<std::string> EncoderBuilder::Norm(const std::string& key, const std::string& base, const std::string& input) {
  const bool old = !weights_.Has(key + ".weight") && weights_.Has(key + ".gamma");
  TRY_ASSIGN(const std::string scale, Vector(key + (old ? ".gamma" : ".weight"), key + ".weight", config_.hidden));
  TRY_ASSIGN(const std::string shift, Vector(key + (old ? ".beta" : ".bias"), key + ".bias", config_.hidden));
  const std::string output = graph_.Simple("LayerNormalization", base + "/LayerNormalization", {input, scale, shift});
  SetIntAttribute(graph_.Last(), "axis", -1);
  SetFloatAttribute(graph_.Last(), "epsilon", config_.epsilon);
  return output;
}

std::string EncoderBuilder::Activated(const std::string& base, const std::string& input) {
  if (config_.activation == EncoderActivation::relu) return graph_.Simple("Relu", base + "/Relu", {input});
  const std::string output = graph_.Simple("Gelu", base + "/Gelu", {input});
  SetTextAttribute(graph_.Last(), "approximate", config_.activation == EncoderActivation::gelu ? "none" : "tanh");
  return output;
}

// --- embeddings ------------------------------------------------------------------------------------------------------

void EncoderBuilder::Ports() {
  for (const EncoderPort& port : EncoderInputs(config_)) graph_.Input(port.name, onnx::TensorProto::INT64, port.dims);
  for (const EncoderPort& port : EncoderOutputs(config_)) graph_.Output(port.name, onnx::TensorProto::FLOAT, port.dims);
}

// 0, 1, 2 ... for every sequence.
std::string EncoderBuilder::PlacesFromStart() {
  const std::string length = graph_.Simple("Shape", "/embeddings/Shape", {"input_ids"});
  SetIntAttribute(graph_.Last(), "start", 1);
  SetIntAttribute(graph_.Last(), "end", 2);
  return graph_.Simple("Slice", "/embeddings/Slice",
                       {"embeddings.position_ids", graph_.Ints({0}), length, graph_.Ints({1}), graph_.Ints({1})});
}

// Tokens that pad stand at the place of their own number, the others count on from there.
std::string EncoderBuilder::PlacesBehindPadding() {
  const std::string at = "/embeddings/positions";
  const std::string pads = graph_.Simple("Equal", at + "/Equal", {"input_ids", graph_.Int(config_.padding)});
  const std::string counts = graph_.Simple("Cast", at + "/Cast", {graph_.Simple("Not", at + "/Not", {pads})});
  SetIntAttribute(graph_.Last(), "to", onnx::TensorProto::INT64);
  const std::string sums = graph_.Simple("CumSum", at + "/CumSum", {counts, graph_.Int(1)});
  const std::string places = graph_.Simple("Mul", at + "/Mul", {sums, counts});
  return graph_.Simple("Add", at + "/Add", {places, graph_.Int(config_.padding)});
}

// The embeddings of positions, with that of the only kind of tokens where there is but one.
Result<std::string> EncoderBuilder::Places() {
  const std::string name = Key("embeddings.position_embeddings.weight");
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(name, config_.positions, config_.hidden));
  const RowSource table{{std::move(part)}, static_cast<uint64_t>(config_.hidden)};
  if (config_.types != 1) {
    TRY(AddMatrix(graph_, name, table, MatrixSide::as_is, options_.threads));
    return name;
  }
  TRY_ASSIGN(const RowSource::Part kind,
             weights_.Rows(Key("embeddings.token_type_embeddings.weight"), 1, config_.hidden));
  TRY(graph_.Begin(name, graph_.floats(), {config_.positions, config_.hidden}));
  if (graph_.is_plan()) return name;
  std::vector<float> added(static_cast<size_t>(config_.hidden)), row(added.size());
  const RowSource kinds{{kind}, table.columns};
  TRY(kinds.Read(0, 1, 0, table.columns, added.data()));
  for (uint64_t position = 0; position < table.Rows(); ++position) {
    TRY(table.Read(position, 1, 0, table.columns, row.data()));
    std::transform(row.begin(), row.end(), added.begin(), row.begin(), std::plus<>());
    TRY(graph_.PutFloats(row));
  }
  return name;
}

Result<std::string> EncoderBuilder::Embeddings() {
  const std::string words = Key("embeddings.word_embeddings.weight");
  TRY_ASSIGN(RowSource::Part part, weights_.Rows(words, config_.vocabulary, config_.hidden));
  const RowSource table{{std::move(part)}, static_cast<uint64_t>(config_.hidden)};
  TRY(AddMatrix(graph_, words, table, MatrixSide::as_is, options_.threads));
  TRY_ASSIGN(const std::string places, Places());
  const bool counted = config_.family == EncoderFamily::roberta || config_.family == EncoderFamily::mpnet;
  if (config_.family != EncoderFamily::roberta) {
    std::vector<int64_t> numbers(static_cast<size_t>(config_.positions));
    std::iota(numbers.begin(), numbers.end(), int64_t{0});
    TRY(graph_.Add("embeddings.position_ids", onnx::TensorProto::INT64, {1, config_.positions}, numbers));
    numbers_ = PlacesFromStart();
  }
  std::string sum = graph_.Simple("Gather", "/embeddings/word_embeddings/Gather", {words, "input_ids"});
  if (config_.types > 1) {
    const std::string name = Key("embeddings.token_type_embeddings.weight");
    TRY_ASSIGN(RowSource::Part kinds, weights_.Rows(name, config_.types, config_.hidden));
    TRY(AddMatrix(graph_, name, {{std::move(kinds)}, table.columns}, MatrixSide::as_is, options_.threads));
    const std::string kind = graph_.Simple("Gather", "/embeddings/token_type_embeddings/Gather",
                                           {name, "token_type_ids"});
    sum = graph_.Simple("Add", "/embeddings/Add", {sum, kind});
  }
  const std::string place = graph_.Simple("Gather", "/embeddings/position_embeddings/Gather",
                                          {places, counted ? PlacesBehindPadding() : numbers_});
  sum = graph_.Simple("Add", "/embeddings/Add_1", {sum, place});
  return Norm(Key("embeddings.LayerNorm"), "/embeddings/LayerNorm", sum);
}

// --- layers ----------------------------------------------------------------------------------------------------------

// [batch, 1, 1, sequence]: 0 where a token is looked at.
void EncoderBuilder::Mask() {
  const std::string wide = graph_.Simple("Unsqueeze", "/mask/Unsqueeze", {"attention_mask", graph_.Ints({1, 2})});
  const std::string floats = graph_.Simple("Cast", "/mask/Cast", {wide});
  SetIntAttribute(graph_.Last(), "to", graph_.floats());
  const std::string absent = graph_.Simple("Sub", "/mask/Sub", {graph_.Number(1), floats});
  mask_ = graph_.Simple("Mul", "/mask/Mul", {absent, graph_.Number(kLeftOut)});
}

// MPNet's bias of each head by the distance of key and query, added to the mask: [batch, heads, sequence, sequence].
Result<> EncoderBuilder::DistanceBias() {
  const std::string key = Key("encoder.relative_attention_bias.weight");
  TRY_ASSIGN(const RowSource::Part part, weights_.Rows(key, kBuckets, config_.heads));
  const int64_t farthest = config_.positions - 1;
  const int64_t distances = 2 * farthest + 1;
  const std::string name = Key("encoder.relative_attention_bias.by_distance");
  TRY(graph_.Begin(name, graph_.floats(), {config_.heads, distances}));
  if (!graph_.is_plan()) {
    const RowSource table{{part}, static_cast<uint64_t>(config_.heads)};
    std::vector<float> rows(static_cast<size_t>(kBuckets * config_.heads)), of_head(static_cast<size_t>(distances));
    TRY(table.Read(0, kBuckets, 0, table.columns, rows.data()));
    for (int64_t head = 0; head < config_.heads; ++head) {
      for (int64_t i = 0; i < distances; ++i)
        of_head[static_cast<size_t>(i)] = rows[static_cast<size_t>(BucketOf(i - farthest) * config_.heads + head)];
      TRY(graph_.PutFloats(of_head));
    }
  }
  const std::string at = "/encoder/bias";
  const std::string column = graph_.Simple("Transpose", at + "/Transpose", {numbers_});
  SetIntsAttribute(graph_.Last(), "perm", {1, 0});
  const std::string distance = graph_.Simple("Sub", at + "/Sub", {numbers_, column});
  const std::string index = graph_.Simple("Add", at + "/Add", {distance, graph_.Int(farthest)});
  const std::string bias = graph_.Simple("Gather", at + "/Gather", {name, index});
  SetIntAttribute(graph_.Last(), "axis", 1);
  mask_ = graph_.Simple("Add", at + "/Add_1", {bias, mask_});
  return {};
}

std::string EncoderBuilder::Heads(const std::string& base, const std::string& input, const std::vector<int64_t>& turn) {
  const std::string shape = graph_.Ints({0, 0, config_.heads, config_.hidden / config_.heads});
  const std::string heads = graph_.Simple("Reshape", base + "/Reshape", {input, shape});
  const std::string turned = graph_.Simple("Transpose", base + "/Transpose", {heads});
  SetIntsAttribute(graph_.Last(), "perm", turn);
  return turned;
}

Result<std::string> EncoderBuilder::Attention(const LayerNames& names, const std::string& key, const std::string& base,
                                       const std::string& input) {
  const auto part = [&](const char* name, const char* what,
                        const std::vector<int64_t>& turn) -> Result<std::string> {
    const std::string at = base + "/self/" + what;
    TRY_ASSIGN(const std::string projected, Linear(key + name, at, input, config_.hidden, config_.hidden));
    return Heads(at, projected, turn);
  };
  TRY_ASSIGN(const std::string query, part(names.query, "query", {0, 2, 1, 3}));
  TRY_ASSIGN(const std::string turned, part(names.key, "key", {0, 2, 3, 1}));
  TRY_ASSIGN(const std::string value, part(names.value, "value", {0, 2, 1, 3}));
  const std::string at = base + "/self";
  const double size = static_cast<double>(config_.hidden / config_.heads);
  std::string scores = graph_.Simple("MatMul", at + "/MatMul", {query, turned});
  scores = graph_.Simple("Div", at + "/Div", {scores, graph_.Number(std::sqrt(size))});
  scores = graph_.Simple("Add", at + "/Add", {scores, mask_});
  const std::string shares = graph_.Simple("Softmax", at + "/Softmax", {scores});
  SetIntAttribute(graph_.Last(), "axis", -1);
  const std::string mixed = graph_.Simple("MatMul", at + "/MatMul_1", {shares, value});
  const std::string back = graph_.Simple("Transpose", at + "/Transpose", {mixed});
  SetIntsAttribute(graph_.Last(), "perm", {0, 2, 1, 3});
  const std::string flat = graph_.Simple("Reshape", at + "/Reshape", {back, graph_.Ints({0, 0, config_.hidden})});
  return Linear(key + names.attended, base + "/output/dense", flat, config_.hidden, config_.hidden);
}

Result<std::string> EncoderBuilder::Layer(int64_t layer, const std::string& input) {
  const LayerNames& names = NamesOf(config_.family);
  const std::string key = Key(fmt::format(fmt::runtime(names.layer), layer) + ".");
  const std::string base = fmt::format("/encoder/layer.{}", layer);
  TRY_ASSIGN(const std::string attended, Attention(names, key, base + "/attention", input));
  const std::string first = graph_.Simple("Add", base + "/attention/output/Add", {attended, input});
  TRY_ASSIGN(const std::string middle, Norm(key + names.attention_norm, base + "/attention/output/LayerNorm", first));
  TRY_ASSIGN(const std::string up,
             Linear(key + names.up, base + "/intermediate/dense", middle, config_.intermediate, config_.hidden));
  const std::string active = Activated(base + "/intermediate", up);
  TRY_ASSIGN(const std::string down,
             Linear(key + names.down, base + "/output/dense", active, config_.hidden, config_.intermediate));
  const std::string second = graph_.Simple("Add", base + "/output/Add", {down, middle});
  return Norm(key + names.norm, base + "/output/LayerNorm", second);
}

// --- heads -----------------------------------------------------------------------------------------------------------

// Gives what the last node made as an output, which is float32. The value that goes on.
std::string EncoderBuilder::Give(const std::string& value, const std::string& output) {
  if (options_.half) {
    SetIntAttribute(graph_.Node("Cast", "/" + output + "/Cast", {value}, {output}), "to", onnx::TensorProto::FLOAT);
    return value;
  }
  graph_.Last().set_output(0, output);
  return output;
}

std::string EncoderBuilder::FirstToken(const std::string& hidden, const std::string& base) {
  const std::string first = graph_.Simple("Gather", base + "/Gather", {hidden, graph_.Int(0)});
  SetIntAttribute(graph_.Last(), "axis", 1);
  return first;
}

Result<std::string> EncoderBuilder::PoolerOutput(const std::string& hidden) {
  const std::string first = FirstToken(hidden, "/pooler");
  TRY_ASSIGN(const std::string dense, Row(Key("pooler.dense"), "/pooler/dense", first, config_.hidden));
  return graph_.Simple("Tanh", "/pooler/activation/Tanh", {dense});
}

Result<> EncoderBuilder::States(const std::string& hidden) {
  const std::string state = Give(hidden, "last_hidden_state");
  if (!config_.has_pooler) return {};
  TRY_ASSIGN(const std::string pooled, PoolerOutput(state));
  Give(pooled, "pooler_output");
  return {};
}

// What the logits of a text are computed from, and the name of the matrix that does.
Result<std::pair<std::string, const char*>> EncoderBuilder::Features(const std::string& hidden) {
  switch (config_.family) {
    case EncoderFamily::bert: {
      TRY_ASSIGN(const std::string pooled, PoolerOutput(hidden));
      return std::pair(pooled, "classifier");
    }
    case EncoderFamily::distilbert: {
      const std::string first = FirstToken(hidden, "/classifier");
      TRY_ASSIGN(const std::string dense, Row("pre_classifier", "/pre_classifier", first, config_.hidden));
      return std::pair(graph_.Simple("Relu", "/pre_classifier/Relu", {dense}), "classifier");
    }
    case EncoderFamily::roberta:
    case EncoderFamily::mpnet:
      break;
  }
  const std::string first = FirstToken(hidden, "/classifier");
  TRY_ASSIGN(const std::string dense, Row("classifier.dense", "/classifier/dense", first, config_.hidden));
  return std::pair(graph_.Simple("Tanh", "/classifier/Tanh", {dense}), "classifier.out_proj");
}

Result<> EncoderBuilder::SequenceLogits(const std::string& hidden) {
  TRY_ASSIGN(const auto features, Features(hidden));
  TRY_ASSIGN(const std::string logits, Row(features.second, "/logits", features.first, config_.head.labels));
  Give(logits, "logits");
  return {};
}

Result<> EncoderBuilder::TokenLogits(const std::string& hidden) {
  TRY_ASSIGN(const std::string logits,
             Linear("classifier", "/classifier", hidden, config_.head.labels, config_.hidden));
  Give(logits, "logits");
  return {};
}

// mask: [batch, sequence, 1], float32.
std::string EncoderBuilder::Pooled(Pooling pooling, const std::string& hidden, const std::string& mask) {
  const std::string at = "/pooling";
  if (pooling == Pooling::first) return FirstToken(hidden, at);
  if (pooling == Pooling::largest) {
    const std::string there = graph_.Simple("Cast", at + "/max/Cast", {mask});
    SetIntAttribute(graph_.Last(), "to", onnx::TensorProto::BOOL);
    const std::string kept = graph_.Simple("Where", at + "/max/Where", {there, hidden, graph_.Float(kBelowAll)});
    const std::string largest = graph_.Simple("ReduceMax", at + "/max/ReduceMax", {kept, graph_.Ints({1})});
    SetIntAttribute(graph_.Last(), "keepdims", 0);
    return largest;
  }
  const std::string name = at + (pooling == Pooling::mean ? "/mean" : "/mean_sqrt_len");
  const std::string kept = graph_.Simple("Mul", name + "/Mul", {hidden, mask});
  const std::string sum = graph_.Simple("ReduceSum", name + "/ReduceSum", {kept, graph_.Ints({1})});
  SetIntAttribute(graph_.Last(), "keepdims", 0);
  const std::string tokens = graph_.Simple("ReduceSum", name + "/ReduceSum_1", {mask, graph_.Ints({1})});
  SetIntAttribute(graph_.Last(), "keepdims", 0);
  std::string count = graph_.Simple("Max", name + "/Max", {tokens, graph_.Float(1)});
  if (pooling == Pooling::mean_root) count = graph_.Simple("Sqrt", name + "/Sqrt", {count});
  return graph_.Simple("Div", name + "/Div", {sum, count});
}

// In float32, whatever the encoder is computed in: a sum over a long text is beyond float16.
Result<> EncoderBuilder::Sentence(std::string hidden) {
  if (options_.half) {
    hidden = graph_.Simple("Cast", "/pooling/Cast", {hidden});
    SetIntAttribute(graph_.Last(), "to", onnx::TensorProto::FLOAT);
  }
  const std::string wide = graph_.Simple("Unsqueeze", "/pooling/Unsqueeze", {"attention_mask", graph_.Ints({2})});
  const std::string mask = graph_.Simple("Cast", "/pooling/mask/Cast", {wide});
  SetIntAttribute(graph_.Last(), "to", onnx::TensorProto::FLOAT);
  std::vector<std::string> parts;
  for (const Pooling pooling : config_.head.poolings) parts.push_back(Pooled(pooling, hidden, mask));
  std::string embedding = parts.front();
  if (parts.size() > 1) {
    embedding = graph_.Simple("Concat", "/pooling/Concat", parts);
    SetIntAttribute(graph_.Last(), "axis", -1);
  }
  if (config_.head.normalized) {
    const std::string length = graph_.Simple("ReduceL2", "/normalize/ReduceL2", {embedding, graph_.Ints({-1})});
    SetIntAttribute(graph_.Last(), "keepdims", 1);
    const std::string bounded = graph_.Simple("Max", "/normalize/Max", {length, graph_.Float(kLeastLength)});
    embedding = graph_.Simple("Div", "/normalize/Div", {embedding, bounded});
  }
  graph_.Last().set_output(0, "sentence_embedding");
  return {};
}

Result<> EncoderBuilder::Head(const std::string& hidden) {
  switch (config_.head.type) {
    case EncoderHead::Type::none: return States(hidden);
    case EncoderHead::Type::sentence: return Sentence(hidden);
    case EncoderHead::Type::sequence: return SequenceLogits(hidden);
    case EncoderHead::Type::tokens: return TokenLogits(hidden);
  }
  return {};
}

Result<> EncoderBuilder::Build() {
  Ports();
  TRY_ASSIGN(std::string hidden, Embeddings());
  Mask();
  if (config_.family == EncoderFamily::mpnet) TRY(DistanceBias());
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    TRY_ASSIGN(hidden, Layer(layer, hidden));
  }
  return Head(hidden);
}

// --- around the graph ------------------------------------------------------------------------------------------------

// Numbers that some checkpoints keep and that follow from the configuration.
bool IsBuffer(std::string_view name, const std::string& prefix) {
  return name == prefix + "embeddings.position_ids" || name == prefix + "embeddings.token_type_ids";
}

// Tensors of heads, which may be there beside the one that is built.
bool IsOfHead(std::string_view name, const std::string& prefix) {
  constexpr std::string_view kHeads[] = {"classifier.",     "cls.",       "lm_head.",          "pooler.",
                                         "pre_classifier.", "qa_outputs.", "vocab_layer_norm.", "vocab_projector.",
                                         "vocab_transform."};
  if (name.starts_with(prefix + "pooler.")) return true;
  return std::any_of(std::begin(kHeads), std::end(kHeads),
                     [&](std::string_view head) { return name.starts_with(head); });
}

std::vector<std::string> NotesOf(const EncoderConfig& config, const std::vector<std::string>& left_out) {
  std::vector<std::string> notes;
  const bool pooled = config.family != EncoderFamily::distilbert;
  if (config.head.type == EncoderHead::Type::none && pooled && !config.has_pooler)
    notes.push_back("without pooler_output: the checkpoint has no pooler");
  if (!left_out.empty()) {
    notes.push_back(fmt::format("{} tensors of other heads are left out: {}{}", left_out.size(),
                                Printable(left_out.front(), 100), left_out.size() > 1 ? " ..." : ""));
  }
  return notes;
}

}  // namespace

Result<EncoderGraph> BuildEncoderGraph(const Checkpoint& checkpoint, const EncoderConfig& config,
                                       const EncoderOptions& options, DataFile& data) {
  const ElementType floats = options.half ? onnx::TensorProto::FLOAT16 : onnx::TensorProto::FLOAT;
  GraphWriter planned(nullptr, floats);
  EncoderBuilder plan(checkpoint, config, options, planned);
  TRY(plan.Build());
  std::vector<std::string> left_out;
  TRY(plan.weights().CheckAllUsed([&](const std::string& name) {
    const bool of_head = IsOfHead(name, config.prefix);
    if (of_head) left_out.push_back(name);
    return of_head || IsBuffer(name, config.prefix);
  }));
  EncoderGraph built;
  GraphWriter graph(&data, floats);
  EncoderBuilder builder(checkpoint, config, options, graph);
  TRY(builder.Build());
  built.model = graph.Finish("main_graph", kEncoderOpset, false);
  built.notes = NotesOf(config, left_out);
  return built;
}

}  // namespace hone
