// The graph is gone through twice: first as a plan, which looks up every tensor, checks its shape and notes the
// matrices, so that bits can be given by sensitivity and nothing is written of a checkpoint that cannot be served; then
// for real, tensor after tensor.
#include "worker/decoder/decoder_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include "worker/decoder/checkpoint_weights.h"
#include "worker/decoder/decoder_tensors.h"
#include "worker/decoder/rope.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr const char* kContrib = "com.microsoft";
constexpr int64_t kDecoderOpset = 22;
constexpr const char* kMask = "/model/attn_mask_reformat/attn_mask_subgraph";
constexpr int64_t kRopeRowsAtOnce = 4096;

// A matrix product: what is multiplied with, under which names.
struct Linear {
  std::string base;  // Name of the MatMul: /model/layers.0/attn/qkv_proj/MatMul
  RowSource source;

  std::string Weight() const {
    std::string name = base.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    return name + ".weight";
  }
};

// Where the codes of a matrix lie in the data, for another weight in the same bytes.
struct CodedMatrix {
  int bits = 0;
  size_t group = 0;
  Extent codes;
  bool has_zeros = false;
  bool has_offsets = false;
};

class DecoderBuilder {
 public:
  DecoderBuilder(const Checkpoint& checkpoint, const DecoderConfig& config, const DecoderOptions& options,
                 GraphWriter& graph)
      : config_(config), options_(options), graph_(graph), tensors_(checkpoint, config) {}

  Result<> Build();

  // What the plan found.
  const std::vector<NamedRows>& matrices() const { return matrices_; }
  const DecoderTensors& tensors() const { return tensors_; }
  void SetBits(std::map<std::string, int> bits) { bits_ = std::move(bits); }
  const std::vector<std::string>& requantized() const { return requantized_; }

 private:
  struct Values {
    std::string hidden;    // What a norm gave.
    std::string residual;  // The sum so far.
    std::string pending;   // What is added to it next.
  };

  // Weights.
  Result<std::string> NormWeight(const std::string& key, const std::string& name, int64_t elements);

  // Products.
  Result<std::string> Product(const Linear& linear, const std::string& input, int bits, std::string output = {});
  Result<> FloatProduct(const Linear& linear, const std::string& input, const std::string& output);
  Result<CodedMatrix> AddCodes(const Linear& linear, int bits);
  Result<> CodedProduct(const Linear& linear, const CodedMatrix& coded, const std::string& input,
                        const std::string& output);
  void Tell(const std::string& value, int64_t width) {
    graph_.Tell(value, {"batch_size", "sequence_length", std::to_string(width)});
  }
  std::string BlockSums(const std::string& input, int64_t columns, int64_t group);
  Result<std::string> Bias(const std::string& base, std::span<const DecoderMatrix> matrices, const std::string& input);
  Result<std::string> LayerProduct(const std::string& base, const DecoderMatrix& matrix, const std::string& input);
  bool KeepsBlocks(const RowSource& source) const;
  int LayerBits(const Linear& linear) const;

  // Parts of the graph.
  void Mask();
  Result<> RopeCaches();
  Result<> RopeCache(const RopeRule& rule, const std::string& suffix);
  Result<> LongRopeCaches(const RopeRule& rule);
  onnx::GraphProto RopeBranch(const RopeRule& rule, RopeReach reach, const char* name, int64_t rows) const;
  Result<> Embeddings();
  Result<std::string> FloatTable(const RowSource& source, const std::string& weight);
  std::string AddTableOffsets(const std::string& weight, const std::string& rows, int64_t group);
  Result<std::string> CodedTable(const Linear& table, int bits, bool shared);
  Result<> Layer(int64_t layer);
  Result<std::vector<std::string>> QueryKeyValue(int64_t layer, const std::string& input);
  Result<std::string> Attention(int64_t layer, const std::string& input);
  Result<std::string> HeadNorm(int64_t layer, char which, const std::string& input, int64_t heads);
  Result<std::string> Mlp(int64_t layer, const std::string& input);
  Result<std::string> Norm(int64_t layer, const std::string& place, const std::string& input);
  Result<> SkipNorm(int64_t layer, const std::string& place, const std::string& key, bool last);
  std::string ScaledBranch(int64_t layer, int number, const std::string& input);
  Result<> Head();
  Result<> HeadProduct(const std::string& output);
  void Ports();

  // The last matrix, and the embeddings where they are another one.
  Result<Linear> HeadLinear();
  Result<Linear> TableLinear();
  int HeadBits() const { return options_.form == MatrixForm::codes ? options_.head_bits : 0; }
  int TableBits() const { return options_.form == MatrixForm::codes ? options_.table_bits : 0; }
  bool HasTwoRopes() const { return config_.family == Family::gemma3 || config_.rope != config_.local_rope; }

  const DecoderConfig& config_;
  const DecoderOptions& options_;
  GraphWriter& graph_;
  DecoderTensors tensors_;
  std::vector<NamedRows> matrices_;        // Of layers, by base.
  std::map<std::string, int> bits_;        // By base.
  std::vector<std::string> requantized_;
  std::set<std::string> sums_;             // Inputs whose block sums were added.
  Values values_;
};

// --- weights ---------------------------------------------------------------------------------------------------------

Result<std::string> DecoderBuilder::NormWeight(const std::string& key, const std::string& name, int64_t elements) {
  TRY_ASSIGN(const std::vector<float> values, tensors_.Norm(key, elements));
  TRY(graph_.AddFloats(name, {elements}, values));
  return name;
}

// --- products
// ----------------------------------------------------------------------------------------------------------

bool DecoderBuilder::KeepsBlocks(const RowSource& source) const {
  return options_.form == MatrixForm::stored && source.Blocks() != nullptr;
}

int DecoderBuilder::LayerBits(const Linear& linear) const {
  if (options_.form != MatrixForm::codes) return 0;
  const auto found = bits_.find(linear.base);
  return found == bits_.end() ? options_.coding.bits : found->second;
}

Result<> DecoderBuilder::FloatProduct(const Linear& linear, const std::string& input, const std::string& output) {
  TRY(AddMatrix(graph_, linear.Weight(), linear.source, MatrixSide::turned, options_.threads));
  graph_.Node("MatMul", linear.base, {input, linear.Weight()}, {output});
  return {};
}

Result<CodedMatrix> DecoderBuilder::AddCodes(const Linear& linear, int bits) {
  CodedMatrix coded;
  const bool keeps = KeepsBlocks(linear.source);
  if (!keeps && linear.source.parts.front().weight->IsBlocks()) requantized_.push_back(linear.source.Name());
  coded.bits = keeps ? linear.source.Blocks()->bits : bits;
  coded.group = keeps ? linear.source.Blocks()->group : options_.coding.group;
  coded.has_offsets = keeps && linear.source.Blocks()->has_least;
  coded.has_zeros = !keeps && !options_.coding.symmetric;
  const auto rows = static_cast<int64_t>(linear.source.Rows());
  const auto groups = static_cast<int64_t>((linear.source.columns + coded.group - 1) / coded.group);
  const auto block = static_cast<int64_t>(coded.group * static_cast<size_t>(coded.bits) / 8);
  const std::string weight = linear.Weight();
  TRY_ASSIGN(coded.codes,
             graph_.Begin(fmt::format("{}_Q{}", weight, coded.bits), onnx::TensorProto::UINT8, {rows, groups, block}));
  if (graph_.is_plan()) return coded;
  const auto sink = [&](std::string_view bytes) { return graph_.Put(bytes); };
  Coding coding = options_.coding;
  coding.bits = bits;
  TRY_ASSIGN(const CodedGrid grid, keeps ? WriteBlocks(linear.source, options_.threads, sink)
                                         : WriteCodes(linear.source, coding, options_.threads, sink));
  TRY(graph_.AddFloats(weight + "_scales", {rows, groups}, grid.scales));
  if (coded.has_zeros)
    TRY(graph_.Add(weight + "_zero_points", onnx::TensorProto::UINT8,
                   {rows, static_cast<int64_t>(grid.zeros.size()) / rows}, grid.zeros));
  if (coded.has_offsets) TRY(graph_.AddFloats(weight + "_offsets", {groups, rows}, grid.offsets));
  return coded;
}

// Sums over the blocks of an input, once for all products that read it.
std::string DecoderBuilder::BlockSums(const std::string& input, int64_t columns, int64_t group) {
  const std::string base = fmt::format("{}/block_sums_{}", input, group);
  if (!sums_.insert(base).second) return base + "/ReduceSum/output_0";
  const std::string blocks =
      graph_.Simple("Reshape", base + "/Reshape", {input, graph_.Ints({0, 0, columns / group, group})});
  const std::string sums = base + "/ReduceSum/output_0";
  SetIntAttribute(graph_.Node("ReduceSum", base + "/ReduceSum", {blocks, graph_.Ints({3})}, {sums}), "keepdims", 0);
  return sums;
}

Result<> DecoderBuilder::CodedProduct(const Linear& linear, const CodedMatrix& coded, const std::string& input,
                                      const std::string& output) {
  const std::string weight = linear.Weight();
  const auto columns = static_cast<int64_t>(linear.source.columns);
  const auto group = static_cast<int64_t>(coded.group);
  std::vector<std::string> inputs = {input, fmt::format("{}_Q{}", weight, coded.bits), weight + "_scales"};
  if (coded.has_zeros) inputs.push_back(weight + "_zero_points");
  const std::string product = coded.has_offsets ? linear.base + "/codes/output_0" : output;
  onnx::NodeProto& node =
      graph_.Node("MatMulNBits", fmt::format("{}_Q{}", linear.base, coded.bits), inputs, {product}, kContrib);
  SetIntAttribute(node, "K", columns);
  SetIntAttribute(node, "N", static_cast<int64_t>(linear.source.Rows()));
  SetIntAttribute(node, "bits", coded.bits);
  SetIntAttribute(node, "block_size", group);
  if (options_.accuracy_level != 0) SetIntAttribute(node, "accuracy_level", options_.accuracy_level);
  if (product != "logits") Tell(product, static_cast<int64_t>(linear.source.Rows()));
  if (!coded.has_offsets) return {};
  const std::string sums = BlockSums(input, columns, group);
  const std::string offsets = graph_.Simple("MatMul", linear.base + "/offsets", {sums, weight + "_offsets"});
  graph_.Node("Add", linear.base + "/Add", {product, offsets}, {output});
  return {};
}

Result<std::string> DecoderBuilder::Product(const Linear& linear, const std::string& input, int bits,
                                            std::string output) {
  if (output.empty()) output = linear.base + "/output_0";
  if (bits == 0 && !KeepsBlocks(linear.source)) {
    TRY(FloatProduct(linear, input, output));
    return output;
  }
  TRY_ASSIGN(const CodedMatrix coded, AddCodes(linear, bits));
  TRY(CodedProduct(linear, coded, input, output));
  return output;
}

// Adds what goes with matrices whose products are one value; nothing where the first has none.
Result<std::string> DecoderBuilder::Bias(const std::string& base, std::span<const DecoderMatrix> matrices,
                                         const std::string& input) {
  std::vector<float> values;
  for (const DecoderMatrix& matrix : matrices) {
    TRY_ASSIGN(const std::vector<float> part, tensors_.Bias(matrix));
    values.insert(values.end(), part.begin(), part.end());
  }
  if (values.empty()) return input;
  std::string weight = base.substr(1);
  std::replace(weight.begin(), weight.end(), '/', '.');
  weight += ".bias";
  TRY(graph_.AddFloats(weight, {static_cast<int64_t>(values.size())}, values));
  return graph_.Simple("Add", base, {input, weight});
}

// A product of a layer, with what is added: `base`/MatMul and `base`/Add.
Result<std::string> DecoderBuilder::LayerProduct(const std::string& base, const DecoderMatrix& matrix,
                                                 const std::string& input) {
  const Linear linear{base + "/MatMul", matrix.source};
  if (graph_.is_plan()) matrices_.push_back({linear.base, linear.source});
  TRY_ASSIGN(const std::string product, Product(linear, input, LayerBits(linear)));
  return Bias(base + "/Add", {&matrix, 1}, product);
}

// --- what all layers share
// -----------------------------------------------------------------------------------------------

// The number of tokens of each sequence less one, and the length with what came before.
void DecoderBuilder::Mask() {
  const std::string a = kMask;
  SetIntAttribute(
      graph_.Node("ReduceSum", a + "/ReduceSum", {"attention_mask", graph_.Ints({1})}, {a + "/ReduceSum/output_0"}),
      "keepdims", 0);
  graph_.Node("Sub", a + "/Sub", {a + "/ReduceSum/output_0", graph_.Ints({1})}, {a + "/Sub/output_0"});
  SetIntAttribute(graph_.Node("Cast", a + "/Sub/Cast", {a + "/Sub/output_0"}, {a + "/Sub/Cast/output_0"}), "to",
                  onnx::TensorProto::INT32);
  graph_.Node("Shape", a + "/Shape", {"attention_mask"}, {a + "/Shape/output_0"});
  SetIntAttribute(
      graph_.Node("Gather", a + "/Gather", {a + "/Shape/output_0", graph_.Int(1)}, {a + "/Gather/output_0"}), "axis",
      0);
  SetIntAttribute(graph_.Node("Cast", a + "/Gather/Cast", {a + "/Gather/output_0"}, {a + "/Gather/Cast/output_0"}),
                  "to", onnx::TensorProto::INT32);
}

// One table after the other, a few thousand positions at a time.
Result<> DecoderBuilder::RopeCache(const RopeRule& rule, const std::string& suffix) {
  const RopeFrequencies frequencies = FrequenciesOf(rule, RopeReach::up_to_original);
  const auto width = static_cast<int64_t>(frequencies.inverse.size());
  for (const bool cosine : {true, false}) {
    TRY(graph_.Begin((cosine ? "cos_cache" : "sin_cache") + suffix, graph_.floats(), {config_.positions, width}));
    for (int64_t first = 0; !graph_.is_plan() && first < config_.positions; first += kRopeRowsAtOnce) {
      const int64_t count = std::min(kRopeRowsAtOnce, config_.positions - first);
      std::vector<float> cosines(static_cast<size_t>(count * width)), sines(cosines.size());
      RopeRows(frequencies, first, count, cosines.data(), sines.data());
      TRY(graph_.PutFloats(cosine ? cosines : sines));
    }
  }
  return {};
}

onnx::GraphProto DecoderBuilder::RopeBranch(const RopeRule& rule, RopeReach reach, const char* name,
                                            int64_t rows) const {
  const RopeFrequencies frequencies = FrequenciesOf(rule, reach);
  const auto width = static_cast<int64_t>(frequencies.inverse.size());
  std::vector<float> cosines(static_cast<size_t>(rows * width)), sines(cosines.size());
  RopeRows(frequencies, 0, rows, cosines.data(), sines.data());
  onnx::GraphProto branch;
  branch.set_name(fmt::format("{}_rope_caches_graph", name));
  for (const bool cosine : {true, false}) {
    const std::string output = fmt::format("{}_cache_{}", cosine ? "cos" : "sin", name);
    onnx::NodeProto& node = *branch.add_node();
    node.set_op_type("Constant");
    node.set_name(fmt::format("/{}/{}_cache/Constant", name, cosine ? "cos" : "sin"));
    node.add_output(output);
    auto& attribute = *node.add_attribute();
    attribute.set_name("value");
    attribute.set_type(onnx::AttributeProto::TENSOR);
    *attribute.mutable_t() = FloatTensor(output, graph_.floats(), {rows, width}, cosine ? cosines : sines);
    auto& described = *branch.add_output();
    described.set_name(output);
    auto& tensor = *described.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(graph_.floats());
    tensor.mutable_shape()->add_dim()->set_dim_value(rows);
    tensor.mutable_shape()->add_dim()->set_dim_value(width);
  }
  return branch;
}

// Which tables hold depends on the length so far.
Result<> DecoderBuilder::LongRopeCaches(const RopeRule& rule) {
  if (graph_.is_plan()) return {};
  const std::string base = "/model/rope_caches_subgraph";
  graph_.Node("Greater", base + "/Greater",
              {std::string(kMask) + "/Gather/output_0", graph_.Int(rule.original_positions)},
              {base + "/Greater/output_0"});
  onnx::NodeProto& node = graph_.Node("If", base + "/If", {base + "/Greater/output_0"}, {"cos_cache", "sin_cache"});
  const auto add = [&](const char* name, onnx::GraphProto branch) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::GRAPH);
    *attribute.mutable_g() = std::move(branch);
  };
  add("then_branch", RopeBranch(rule, RopeReach::beyond, "large", config_.positions));
  add("else_branch", RopeBranch(rule, RopeReach::up_to_original, "small", rule.original_positions));
  return {};
}

Result<> DecoderBuilder::RopeCaches() {
  const bool two = HasTwoRopes();
  if (!two && config_.rope.type == RopeType::longrope && config_.positions > config_.rope.original_positions)
    return LongRopeCaches(config_.rope);
  if (config_.rope.type == RopeType::longrope && two)
    return Fail(ErrorCode::kRejected, "config.json: a longrope embedding beside another one is not known");
  TRY(RopeCache(config_.rope, two ? "_global" : ""));
  return two ? RopeCache(config_.local_rope, "_local") : Result<>();
}

// --- embeddings
// ------------------------------------------------------------------------------------------------------------

Result<Linear> DecoderBuilder::HeadLinear() {
  TRY_ASSIGN(RowSource source, tensors_.Head());
  return Linear{"/lm_head/MatMul", std::move(source)};
}

Result<Linear> DecoderBuilder::TableLinear() {
  TRY_ASSIGN(RowSource source, tensors_.Embeddings());
  return Linear{"/model/embed_tokens", std::move(source)};
}

Result<std::string> DecoderBuilder::FloatTable(const RowSource& source, const std::string& weight) {
  TRY(AddMatrix(graph_, weight, source, MatrixSide::as_is, options_.threads));
  return graph_.Simple("Gather", "/model/embed_tokens/Gather", {weight, "input_ids"});
}

// Adds to the rows of a coded table what each group's weights are above their codes.
std::string DecoderBuilder::AddTableOffsets(const std::string& weight, const std::string& rows, int64_t group) {
  const std::string base = "/model/embed_tokens/offsets";
  graph_.Simple("Gather", base + "/Gather", {weight + "_offsets", "input_ids"});  // [groups, batch, sequence]
  SetIntAttribute(graph_.Last(), "axis", 1);
  const std::string turned = graph_.Simple("Transpose", base + "/Transpose", {base + "/Gather/output_0"});
  SetIntsAttribute(graph_.Last(), "perm", {1, 2, 0});
  const std::string offsets = graph_.Simple("Unsqueeze", base + "/Unsqueeze", {turned, graph_.Ints({3})});
  const std::string blocks =
      graph_.Simple("Reshape", base + "/Reshape", {rows, graph_.Ints({0, 0, config_.hidden / group, group})});
  const std::string sum = graph_.Simple("Add", base + "/Add", {blocks, offsets});
  return graph_.Simple("Reshape", base + "/Flatten", {sum, graph_.Ints({0, 0, config_.hidden})});
}

// Rows of coded weights. shared: the codes are those of the last matrix, which are written at the end.
Result<std::string> DecoderBuilder::CodedTable(const Linear& table, int bits, bool shared) {
  const std::string base = "/model/embed_tokens";
  const bool keeps = KeepsBlocks(table.source);
  const int coded_bits = keeps ? table.source.Blocks()->bits : bits;
  const auto group = static_cast<int64_t>(keeps ? table.source.Blocks()->group : options_.coding.group);
  const int64_t groups = (config_.hidden + group - 1) / group;
  const std::string weight = table.Weight();
  const std::string flat = fmt::format("{}_Q{}_2d", weight, coded_bits);
  if (!shared) {
    TRY_ASSIGN(const CodedMatrix coded, AddCodes(table, bits));
    graph_.Share(flat, onnx::TensorProto::UINT8, {config_.vocabulary, groups * group * coded_bits / 8}, coded.codes);
  }
  std::vector<std::string> inputs = {flat, "input_ids", weight + "_scales"};
  if (!keeps && !options_.coding.symmetric) inputs.push_back(weight + "_zero_points");
  std::string rows = base + "/GatherBlockQuantized/output_0";
  onnx::NodeProto& node = graph_.Node("GatherBlockQuantized", base + "/GatherBlockQuantized", inputs, {rows}, kContrib);
  SetIntAttribute(node, "bits", coded_bits);
  SetIntAttribute(node, "block_size", group);
  SetIntAttribute(node, "gather_axis", 0);
  SetIntAttribute(node, "quantize_axis", 1);
  Tell(rows, groups * group);
  if (keeps && table.source.Blocks()->has_least) rows = AddTableOffsets(weight, rows, group);
  if (groups * group == config_.hidden) return rows;
  return graph_.Simple("Slice", base + "/Slice",
                       {rows, graph_.Ints({0}), graph_.Ints({config_.hidden}), graph_.Ints({-1})});
}

Result<> DecoderBuilder::Embeddings() {
  std::string& hidden = values_.residual;
  TRY_ASSIGN(const Linear table, tensors_.IsTied() ? HeadLinear() : TableLinear());
  const int bits = tensors_.IsTied() ? HeadBits() : TableBits();
  if (bits == 0 && !KeepsBlocks(table.source)) {
    TRY_ASSIGN(hidden, FloatTable(table.source, "model.embed_tokens.weight"));
  } else {
    TRY_ASSIGN(hidden, CodedTable(table, bits, tensors_.IsTied()));
  }
  if (config_.embedding_scale != 1)
    hidden = graph_.Simple("Mul", "/model/embed_tokens/Mul", {hidden, graph_.Number(config_.embedding_scale)});
  return {};
}

// --- layers
// ----------------------------------------------------------------------------------------------------------------

// A norm of its own.
Result<std::string> DecoderBuilder::Norm(int64_t layer, const std::string& place, const std::string& input) {
  const std::string base = fmt::format("/model/layers.{}/{}_layernorm", layer, place);
  const std::string key = fmt::format("model.layers.{}.{}_layernorm.weight", layer, place);
  TRY_ASSIGN(const std::string weight, NormWeight(key, key, config_.hidden));
  onnx::NodeProto& node =
      graph_.Node("SimplifiedLayerNormalization", base + "/LayerNorm", {input, weight}, {base + "/output_0"});
  SetIntAttribute(node, "axis", -1);
  SetFloatAttribute(node, "epsilon", config_.epsilon);
  SetIntAttribute(node, "stash_type", 1);
  return base + "/output_0";
}

// A norm of the sum of the residual and what is pending; the sum is the next residual.
Result<> DecoderBuilder::SkipNorm(int64_t layer, const std::string& place, const std::string& key, bool last) {
  const std::string base = fmt::format("/model/layers.{}/{}_layernorm", layer, place);
  TRY_ASSIGN(const std::string weight,
             NormWeight(key, fmt::format("model.layers.{}.{}_layernorm.weight", layer, place), config_.hidden));
  std::vector<std::string> outputs = {base + "/output_0"};
  if (!last) outputs.insert(outputs.end(), {"", "", base + "/output_3"});
  onnx::NodeProto& node = graph_.Node("SkipSimplifiedLayerNormalization", base + "/SkipLayerNorm",
                                      {values_.residual, values_.pending, weight}, outputs, kContrib);
  SetFloatAttribute(node, "epsilon", config_.epsilon);
  for (const std::string& output : outputs) {
    if (!output.empty()) Tell(output, config_.hidden);
  }
  values_.hidden = outputs.front();
  values_.residual = outputs.back();
  return {};
}

std::string DecoderBuilder::ScaledBranch(int64_t layer, int number, const std::string& input) {
  if (config_.residual_scale == 1) return input;
  return graph_.Simple("Mul", fmt::format("/model/layers.{}/residual_mul/Mul_{}", layer, number),
                       {input, graph_.Number(config_.residual_scale)});
}

Result<std::string> DecoderBuilder::HeadNorm(int64_t layer, char which, const std::string& input, int64_t heads) {
  const std::string base = fmt::format("/model/layers.{}/attn/{}_norm", layer, which);
  const std::string by_head =
      graph_.Simple("Reshape", base + "/Reshape_1", {input, graph_.Ints({0, -1, config_.head_size})});
  const std::string key = fmt::format("model.layers.{}.self_attn.{}_norm.weight", layer, which);
  TRY_ASSIGN(
      const std::string weight,
      NormWeight(key, fmt::format("model.layers.{}.attn.{}_norm.layernorm.weight", layer, which), config_.head_size));
  const std::string normed = base + "/SimplifiedLayerNormalization/output_0";
  onnx::NodeProto& node =
      graph_.Node("SimplifiedLayerNormalization", base + "/SimplifiedLayerNormalization", {by_head, weight}, {normed});
  SetIntAttribute(node, "axis", -1);
  SetFloatAttribute(node, "epsilon", config_.epsilon);
  SetIntAttribute(node, "stash_type", 1);
  return graph_.Simple("Reshape", base + "/Reshape_2", {normed, graph_.Ints({0, -1, heads * config_.head_size})});
}

// Queries, keys and values: one value that holds them all and two empty names, or one each.
Result<std::vector<std::string>> DecoderBuilder::QueryKeyValue(int64_t layer, const std::string& input) {
  const std::string at = fmt::format("/model/layers.{}/attn", layer);
  TRY_ASSIGN(const auto matrices, tensors_.QueryKeyValue(layer));
  Linear all{at + "/qkv_proj/MatMul", matrices[0].source};
  all.source.parts.insert(all.source.parts.end(),
                          {matrices[1].source.parts.front(), matrices[2].source.parts.front()});
  const auto& parts = all.source.parts;
  // Blocks of several types cannot be one matrix.
  const bool blocks = std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.weight->IsBlocks(); });
  if (options_.form == MatrixForm::stored && blocks && all.source.Blocks() == nullptr) {
    std::vector<std::string> each;
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
      TRY_ASSIGN(each.emplace_back(), LayerProduct(fmt::format("{}/{}", at, name), matrices[each.size()], input));
    }
    return each;
  }
  if (graph_.is_plan()) matrices_.push_back({all.base, all.source});
  TRY_ASSIGN(const std::string product, Product(all, input, LayerBits(all)));
  TRY_ASSIGN(const std::string sum, Bias(at + "/qkv_proj/Add", matrices, product));
  if (!config_.head_norms) return std::vector<std::string>{sum, "", ""};
  const std::string split = at + "/qkv_proj/Split";
  const std::vector<std::string> outputs = {split + "/output_0", split + "/output_1", split + "/output_2"};
  const int64_t kv = config_.kv_heads * config_.head_size;
  const std::string sizes = graph_.Ints({config_.heads * config_.head_size, kv, kv});
  SetIntAttribute(graph_.Node("Split", split, {sum, sizes}, outputs), "axis", -1);
  return outputs;
}

Result<std::string> DecoderBuilder::Attention(int64_t layer, const std::string& input) {
  const std::string at = fmt::format("/model/layers.{}/attn", layer);
  const auto number = static_cast<size_t>(layer);
  TRY_ASSIGN(std::vector<std::string> inputs, QueryKeyValue(layer, input));
  if (config_.head_norms) {
    TRY_ASSIGN(inputs[0], HeadNorm(layer, 'q', inputs[0], config_.heads));
    TRY_ASSIGN(inputs[1], HeadNorm(layer, 'k', inputs[1], config_.kv_heads));
  }
  for (const char* what : {"key", "value"}) inputs.push_back(fmt::format("past_key_values.{}.{}", layer, what));
  inputs.insert(inputs.end(),
                {std::string(kMask) + "/Sub/Cast/output_0", std::string(kMask) + "/Gather/Cast/output_0"});
  const bool rotary = config_.rotary[number];
  const std::string suffix = !HasTwoRopes() ? "" : config_.windowed[number] ? "_local" : "_global";
  if (rotary) inputs.insert(inputs.end(), {"cos_cache" + suffix, "sin_cache" + suffix});
  const std::string name = at + "/GroupQueryAttention";
  onnx::NodeProto& node = graph_.Node(
      "GroupQueryAttention", name, inputs,
      {name + "/output_0", fmt::format("present.{}.key", layer), fmt::format("present.{}.value", layer)}, kContrib);
  SetIntAttribute(node, "num_heads", config_.heads);
  SetIntAttribute(node, "kv_num_heads", config_.kv_heads);
  SetFloatAttribute(node, "scale", config_.attention_scale);
  SetIntAttribute(node, "local_window_size", config_.windowed[number] ? config_.window : -1);
  SetFloatAttribute(node, "softcap", config_.attention_softcap);
  SetIntAttribute(node, "do_rotary", rotary ? 1 : 0);
  SetIntAttribute(node, "rotary_interleaved", 0);
  Tell(name + "/output_0", config_.heads * config_.head_size);
  TRY_ASSIGN(const DecoderMatrix out, tensors_.AttentionOutput(layer));
  return LayerProduct(at + "/o_proj", out, name + "/output_0");
}

Result<std::string> DecoderBuilder::Mlp(int64_t layer, const std::string& input) {
  const std::string m = fmt::format("/model/layers.{}/mlp", layer);
  using Part = DecoderTensors::MlpPart;
  TRY_ASSIGN(const DecoderMatrix gate_matrix, tensors_.MlpInput(layer, Part::gate));
  TRY_ASSIGN(const DecoderMatrix up_matrix, tensors_.MlpInput(layer, Part::up));
  TRY_ASSIGN(const std::string gate, LayerProduct(m + "/gate_proj", gate_matrix, input));
  TRY_ASSIGN(const std::string up, LayerProduct(m + "/up_proj", up_matrix, input));
  std::string active;
  if (config_.activation == Activation::silu) {
    const std::string sigmoid = graph_.Simple("Sigmoid", m + "/act_fn/Sigmoid", {gate});
    active = graph_.Simple("Mul", m + "/act_fn/Mul", {gate, sigmoid});
  } else {
    const bool tanh = config_.activation == Activation::gelu_tanh;
    active = graph_.Simple("Gelu", m + (tanh ? "/act_fn/FastGelu" : "/act_fn/Gelu"), {gate});
    SetTextAttribute(graph_.Last(), "approximate", tanh ? "tanh" : "none");
  }
  const std::string product = graph_.Simple("Mul", m + "/Mul", {active, up});
  TRY_ASSIGN(const DecoderMatrix down, tensors_.MlpOutput(layer));
  return LayerProduct(m + "/down_proj", down, product);
}

Result<> DecoderBuilder::Layer(int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  if (layer == 0) {
    TRY_ASSIGN(values_.hidden, Norm(0, "input", values_.residual));
  } else {
    TRY(SkipNorm(layer, "input", prefix + "input_layernorm.weight", false));
  }
  TRY_ASSIGN(std::string attended, Attention(layer, values_.hidden));
  if (config_.four_norms) {
    TRY_ASSIGN(attended, Norm(layer, "post_attention", attended));
  }
  values_.pending = ScaledBranch(layer, 1, attended);
  const std::string place = config_.four_norms ? "pre_feedforward" : "post_attention";
  TRY(SkipNorm(layer, place, prefix + place + "_layernorm.weight", false));
  TRY_ASSIGN(std::string thought, Mlp(layer, values_.hidden));
  if (config_.four_norms) {
    TRY_ASSIGN(thought, Norm(layer, "post_feedforward", thought));
  }
  values_.pending = ScaledBranch(layer, 2, thought);
  return {};
}

// --- head
// ------------------------------------------------------------------------------------------------------------------

Result<> DecoderBuilder::HeadProduct(const std::string& output) {
  TRY_ASSIGN(const Linear head, HeadLinear());
  if (HeadBits() != 0 || KeepsBlocks(head.source)) {
    TRY_ASSIGN(const CodedMatrix coded, AddCodes(head, HeadBits()));
    const int64_t groups = (config_.hidden + static_cast<int64_t>(coded.group) - 1) / static_cast<int64_t>(coded.group);
    const int64_t row_bytes = groups * static_cast<int64_t>(coded.group) * coded.bits / 8;
    if (tensors_.IsTied())
      graph_.Share(fmt::format("{}_Q{}_2d", head.Weight(), coded.bits), onnx::TensorProto::UINT8,
                   {config_.vocabulary, row_bytes}, coded.codes);
    return CodedProduct(head, coded, values_.hidden, output);
  }
  if (!tensors_.IsTied()) return FloatProduct(head, values_.hidden, output);
  // The embeddings' own bytes, turned in the product.
  if (!options_.half) {
    SetIntAttribute(
        graph_.Node("FusedMatMul", head.base, {values_.hidden, "model.embed_tokens.weight"}, {output}, kContrib),
        "transB", 1);
    return {};
  }
  const std::string turned = graph_.Simple("Transpose", "/lm_head/Transpose", {"model.embed_tokens.weight"});
  SetIntsAttribute(graph_.Last(), "perm", {1, 0});
  graph_.Node("MatMul", head.base, {values_.hidden, turned}, {output});
  return {};
}

Result<> DecoderBuilder::Head() {
  TRY(SkipNorm(config_.layers, "final_norm", "model.norm.weight", true));
  struct Step {
    const char* type;
    const char* name;
    double number;
  };
  std::vector<Step> steps;
  if (config_.logit_scale != 1) steps.push_back({"Mul", "/lm_head/Mul", config_.logit_scale});
  if (config_.final_softcap != 0) {
    steps.push_back({"Div", "/lm_head/softcap/Div", config_.final_softcap});
    steps.push_back({"Tanh", "/lm_head/softcap/Tanh", 0});
    steps.push_back({"Mul", "/lm_head/softcap/Mul", config_.final_softcap});
  }
  if (options_.half) steps.push_back({"Cast", "/lm_head/Cast", 0});
  std::string value = steps.empty() ? "logits" : "/lm_head/MatMul/output_0";
  TRY(HeadProduct(value));
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string output = i + 1 == steps.size() ? "logits" : std::string(steps[i].name) + "/output_0";
    std::vector<std::string> inputs = {value};
    if (steps[i].number != 0) inputs.push_back(graph_.Number(steps[i].number));
    onnx::NodeProto& node = graph_.Node(steps[i].type, steps[i].name, inputs, {output});
    if (node.op_type() == "Cast") SetIntAttribute(node, "to", onnx::TensorProto::FLOAT);
    value = output;
  }
  return {};
}

void DecoderBuilder::Ports() {
  graph_.Input("input_ids", onnx::TensorProto::INT64, {"batch_size", "sequence_length"});
  graph_.Input("attention_mask", onnx::TensorProto::INT64, {"batch_size", "total_sequence_length"});
  graph_.Output("logits", onnx::TensorProto::FLOAT,
                {"batch_size", "sequence_length", std::to_string(config_.vocabulary)});
  for (const char* what : {"key", "value"}) {
    const std::string heads = std::to_string(config_.kv_heads);
    const std::string size = std::to_string(config_.head_size);
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      graph_.Input(fmt::format("past_key_values.{}.{}", layer, what), graph_.floats(),
                   {"batch_size", heads, "past_sequence_length", size});
      graph_.Output(fmt::format("present.{}.{}", layer, what), graph_.floats(),
                    {"batch_size", heads, "total_sequence_length", size});
    }
  }
}

Result<> DecoderBuilder::Build() {
  Ports();
  Mask();
  TRY(RopeCaches());
  TRY(Embeddings());
  for (int64_t layer = 0; layer < config_.layers; ++layer) TRY(Layer(layer));
  return Head();
}

}  // namespace

Result<DecoderGraph> BuildDecoderGraph(const Checkpoint& checkpoint, const DecoderConfig& config,
                                       const DecoderOptions& options, DataFile& data) {
  const ElementType floats = options.half ? onnx::TensorProto::FLOAT16 : onnx::TensorProto::FLOAT;
  GraphWriter planned(nullptr, floats);
  DecoderBuilder plan(checkpoint, config, options, planned);
  TRY(plan.Build());
  TRY(plan.tensors().CheckAllUsed());
  DecoderGraph built;
  GraphWriter graph(&data, floats);
  DecoderBuilder builder(checkpoint, config, options, graph);
  if (options.form == MatrixForm::codes && options.ratio < 1 && options.coding.bits < kBackupBits) {
    TRY_ASSIGN(SharedBits shared, BitsBySensitivity(plan.matrices(), options.coding, options.ratio));
    built.notes.push_back(std::move(shared.note));
    builder.SetBits(std::move(shared.bits));
  }
  TRY(builder.Build());
  built.model = graph.Finish("main_graph", kDecoderOpset, true);
  if (!builder.requantized().empty()) built.notes.push_back(RequantizedNote(builder.requantized().size()));
  return built;
}

}  // namespace hone
