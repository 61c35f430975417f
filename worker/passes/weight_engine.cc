#include "worker/passes/weight_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "common/base/strings.h"
#include "kernels/half.h"
#include "worker/calibration/gram.h"
#include "worker/calibration/statistics.h"
#include "worker/passes/awq.h"
#include "worker/passes/gptq.h"
#include "worker/passes/input_scaling.h"
#include "worker/passes/quantization_data.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

constexpr int kBackupBits = 8;
// Columns that a thread takes at a time: what rounding to the nearest needs is read once, the other methods come back.
constexpr size_t kColumnsOfRange = 64;
constexpr size_t kColumnsOfMethod = 128;
// Columns that stand for a whole matrix where scales are searched or sensitivities are told.
constexpr size_t kSampledColumns = 192;
// X^T X of the inputs that are looked at together; a model with more is gone through in parts.
constexpr uint64_t kGramBytes = uint64_t{512} << 20;
// What a Mul on the inputs must take off the output error to be worth its time.
constexpr double kInsertGain = 0.95;

const std::vector<std::pair<const char*, WeightMethod>> kMethods = {{"rtn", WeightMethod::rtn},
                                                                    {"mse", WeightMethod::mse},
                                                                    {"hqq", WeightMethod::hqq},
                                                                    {"gptq", WeightMethod::gptq},
                                                                    {"awq", WeightMethod::awq}};

GridMethod GridOf(WeightMethod method) {
  switch (method) {
    case WeightMethod::rtn:
      return GridMethod::range;
    case WeightMethod::hqq:
      return GridMethod::robust;
    default:
      return GridMethod::search;
  }
}

// One matrix and the nodes that read it.
struct Weight {
  std::string name;
  Turn turn = Turn::no;
  WeightForm form = WeightForm::matmulnbits;
  CodeShape shape;
  std::vector<int> nodes;
  std::vector<std::string> inputs;  // Distinct, in the order of the nodes; none for tables.
  bool encoded = false;
};

// What is known of a value that weights read.
struct InputFacts {
  std::vector<float> importance;  // Square of each channel's mean magnitude.
  std::vector<float> scales;      // awq: what the weights' rows are multiplied by; empty: nothing.
  std::vector<float> gram;        // awq: mean of x x^T of what they are multiplied with then; dropped with its part.
};

class Engine {
 public:
  Engine(onnx::ModelProto& model, PassContext& context, const WeightOptions& options, NodeFilter filter,
         std::optional<StatisticsSource> source)
      : graph_(model), context_(context), options_(options), filter_(std::move(filter)), source_(std::move(source)) {}

  Result<> Run();

 private:
  // What to quantize.
  void Survey();
  Result<std::string> SurveyNode(int index);
  Result<std::string> SurveyTable(int index);
  Result<std::string> Plan(int index, Weight weight);
  std::string WhyNotProduct(const onnx::NodeProto& node) const;
  CodeShape ShapeFor(const onnx::TensorProto& tensor, Turn turn, int bits, WeightForm form) const;

  // Bits.
  Result<> ChooseBits();
  Result<double> Sensitivity(const Weight& weight);

  // Data.
  std::vector<std::vector<size_t>> Parts(bool one_input_each) const;
  Result<Statistics> Collect(const std::vector<size_t>& part, bool gram, bool channels);
  Result<Statistics> CollectNow(const std::vector<StatisticsRequest>& requests);
  std::vector<float> GramOf(const Weight& weight, const Statistics& statistics) const;

  // Codes.
  Result<> QuantizePart(const std::vector<size_t>& part);
  Result<> Encode(Weight& weight, const GptqFactor* factor);
  Result<> Gptq(const std::vector<size_t>& part);
  Result<> Awq();
  Result<> ScaleInput(const std::string& input, const std::vector<size_t>& readers, const Statistics& statistics);
  void FollowScaled(const ScaledConstant& scaled);
  const InputFacts* FactsOf(const Weight& weight) const;
  bool NeedsData() const { return options_.method == WeightMethod::gptq || options_.method == WeightMethod::awq; }

  QuantizationGraph graph_;
  PassContext& context_;
  const WeightOptions options_;
  const NodeFilter filter_;
  std::optional<StatisticsSource> source_;
  std::unique_ptr<DataSet> data_;  // Of CollectNow.
  QuantizationTally tally_;
  Result<> surveyed_;
  std::vector<Weight> weights_;
  std::map<std::pair<std::string, Turn>, size_t> by_name_;
  std::map<std::string, InputFacts> inputs_;  // awq
  std::map<int, std::string> input_of_node_;  // As surveyed first.
  bool edited_ = false;                       // The graph is no longer the model.
  int scaled_in_producers_ = 0;
  int scaled_by_mul_ = 0;
};

// --- what to quantize -----------------------------------------------------------------------------------------------

bool IsFloats(const onnx::TensorProto& tensor) {
  return tensor.data_type() == onnx::TensorProto::FLOAT || tensor.data_type() == onnx::TensorProto::FLOAT16;
}

std::string Engine::WhyNotProduct(const onnx::NodeProto& node) const {
  if (node.op_type() == "Gemm") {
    if (const char* reason = WhyNotMatMul(node)) return reason;
  }
  const onnx::TensorProto* weight = node.input_size() > 1 ? graph_.AnyWeight(node.input(1)) : nullptr;
  if (weight == nullptr || !IsFloats(*weight)) return "no constant float32 or float16 weight";
  if (graph_.TypeOf(node.input(0)) != weight->data_type()) return "the input is not known to have the weight's type";
  if (weight->dims_size() < 2) return "the weight is a vector";
  for (int i = 0; i < weight->dims_size() - 2; ++i) {
    if (weight->dims(i) != 1) return "the weight is a batch of matrices";
  }
  if (weight->dims(weight->dims_size() - 2) == 0 || weight->dims(weight->dims_size() - 1) == 0)
    return "the weight is empty";
  const auto shape = graph_.ShapeOf(node.input(0));
  // MatMul gives the result the larger rank of its inputs, a product with a coded matrix that of A.
  if (weight->dims_size() > 2 && (!shape || static_cast<int>(shape->size()) < weight->dims_size()))
    return "the weight has a higher rank than the input";
  return "";
}

CodeShape Engine::ShapeFor(const onnx::TensorProto& tensor, Turn turn, int bits, WeightForm form) const {
  CodeShape shape;
  const auto before = static_cast<size_t>(tensor.dims(tensor.dims_size() - 2));
  const auto last = static_cast<size_t>(tensor.dims(tensor.dims_size() - 1));
  shape.rows = turn == Turn::yes ? last : before;
  shape.columns = turn == Turn::yes ? before : last;
  shape.group = options_.group == 0 ? shape.rows : options_.group;
  shape.bits = bits;
  shape.symmetric = options_.symmetric;
  shape.half_scales = tensor.data_type() == onnx::TensorProto::FLOAT16;
  shape.rule = form == WeightForm::matmulnbits ? CodeRule::away : CodeRule::even;
  return shape;
}

Result<std::string> Engine::Plan(int index, Weight weight) {
  if (std::string reason = WhyNotForm(weight.form, weight.shape); !reason.empty()) return reason;
  const auto key = std::make_pair(weight.name, weight.turn);
  auto known = by_name_.find(key);
  if (known == by_name_.end()) {
    const onnx::TensorProto& tensor = *graph_.AnyWeight(weight.name);
    TRY_ASSIGN(const WeightMatrix matrix, WeightMatrix::Open(tensor, weight.turn));
    const bool finite = matrix.IsFinite(context_.threads);
    ReleasePages(tensor);
    if (!finite) return std::string("the weight holds NaN or infinities");
    known = by_name_.emplace(key, weights_.size()).first;
    weights_.push_back(std::move(weight));
  }
  Weight& planned = weights_[known->second];
  planned.nodes.push_back(index);
  const std::string& input = graph_.Node(index).input(0);
  if (planned.form == WeightForm::gather) return std::string();
  if (std::find(planned.inputs.begin(), planned.inputs.end(), input) == planned.inputs.end())
    planned.inputs.push_back(input);
  input_of_node_.emplace(index, input);
  return std::string();
}

Result<std::string> Engine::SurveyTable(int index) {
  const onnx::NodeProto& node = graph_.Node(index);
  const onnx::TensorProto& table = *graph_.AnyWeight(node.input(0));
  if (options_.table_bits == 0) return std::string("tables are not asked for");
  if (IntAttribute(node, "axis", 0) != 0) return std::string("the table is not looked up by rows");
  if (table.dims_size() != 2 || table.dims(0) == 0 || table.dims(1) == 0) return std::string("the table is no matrix");
  Weight weight{node.input(0), Turn::yes, WeightForm::gather, {}, {}, {}, false};
  weight.shape = ShapeFor(table, Turn::yes, options_.table_bits, weight.form);
  return Plan(index, std::move(weight));
}

Result<std::string> Engine::SurveyNode(int index) {
  const onnx::NodeProto& node = graph_.Node(index);
  if (node.op_type() == "Gather") return SurveyTable(index);
  if (std::string reason = WhyNotProduct(node); !reason.empty()) return reason;
  Weight weight;
  weight.name = node.input(1);
  weight.form = options_.form;
  weight.turn = node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) != 0 ? Turn::yes : Turn::no;
  weight.shape = ShapeFor(*graph_.AnyWeight(weight.name), weight.turn, options_.bits, weight.form);
  return Plan(index, std::move(weight));
}

void Engine::Survey() {
  for (int i = 0; i < graph_.NodeCount(); ++i) {
    const onnx::NodeProto& node = graph_.Node(i);
    if (!IsStandard(node)) continue;
    const bool table = node.op_type() == "Gather";
    if (!table && node.op_type() != "MatMul" && node.op_type() != "Gemm") continue;
    // Gathers of shapes and of activations, and tables where nobody asked for them, are none of this pass's business.
    if (table && (options_.table_bits == 0 || node.input_size() < 2)) continue;
    if (table && (graph_.AnyWeight(node.input(0)) == nullptr || !IsFloats(*graph_.AnyWeight(node.input(0))))) continue;
    if (!filter_.Wanted(node)) {
      tally_.Left(node, "excluded");
      continue;
    }
    const Result<std::string> reason = SurveyNode(i);
    if (!reason) {
      surveyed_ = Fail(reason.error());
      return;
    }
    if (reason->empty()) {
      tally_.Quantized(node);
    } else {
      tally_.Left(node, *reason);
    }
  }
}

// --- bits -----------------------------------------------------------------------------------------------------------

// Noise to signal of the outputs, if inputs were uncorrelated: what rounding to the nearest in few bits does to a
// sample of the columns, each row weighed by the mean square of its input.
Result<double> Engine::Sensitivity(const Weight& weight) {
  TRY_ASSIGN(const WeightMatrix matrix, WeightMatrix::Open(*graph_.AnyWeight(weight.name), weight.turn));
  CodeShape shape = weight.shape;
  const std::vector<float> values = matrix.SomeColumns(kSampledColumns, shape.columns);
  const std::vector<float> decoded =
      Decode(hone::Encode(values.data(), shape, FindGrids(values.data(), shape, GridMethod::range, nullptr)));
  ReleasePages(*graph_.AnyWeight(weight.name));
  const auto facts = weight.inputs.empty() ? inputs_.end() : inputs_.find(weight.inputs.front());
  double noise = 0;
  double signal = 0;
  for (size_t row = 0; row < shape.rows; ++row) {
    const double importance = facts == inputs_.end() || facts->second.importance.empty()
                                  ? 1.0
                                  : static_cast<double>(facts->second.importance[row]);
    for (size_t i = row * shape.columns; i < (row + 1) * shape.columns; ++i) {
      const double value = values[i];
      const double error = value - static_cast<double>(decoded[i]);
      noise += importance * error * error;
      signal += importance * value * value;
    }
  }
  return signal > 0 ? noise / signal : 0;
}

Result<> Engine::ChooseBits() {
  if (options_.ratio >= 1) return {};
  if (options_.measure_inputs) {
    std::vector<size_t> all(weights_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    TRY_ASSIGN(const Statistics statistics, Collect(all, false, true));
    for (const auto& [name, facts] : statistics) {
      for (const double magnitude : facts.channels.mean_magnitude)
        inputs_[name].importance.push_back(static_cast<float>(magnitude * magnitude));
    }
  }
  std::vector<double> sensitivity(weights_.size());
  std::vector<size_t> order;
  double elements = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i].form == WeightForm::gather) continue;
    TRY_ASSIGN(sensitivity[i], Sensitivity(weights_[i]));
    order.push_back(i);
    elements += static_cast<double>(weights_[i].shape.rows * weights_[i].shape.columns);
  }
  inputs_.clear();
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sensitivity[a] < sensitivity[b]; });
  double taken = 0;
  int raised = 0;
  for (const size_t i : order) {
    Weight& weight = weights_[i];
    const double size = static_cast<double>(weight.shape.rows * weight.shape.columns);
    if (taken + size <= options_.ratio * elements * (1 + 1e-9)) {
      taken += size;
      continue;
    }
    weight.shape.bits = kBackupBits;
    ++raised;
  }
  context_.notes.push_back(fmt::format("{} of {} weights in {} bits, the most sensitive ones", raised, order.size(),
                                       kBackupBits));
  return {};
}

// --- data -----------------------------------------------------------------------------------------------------------

// Weights whose inputs are looked at together, in the order of the graph; weights that share an input stay together.
std::vector<std::vector<size_t>> Engine::Parts(bool one_input_each) const {
  std::vector<std::vector<size_t>> parts;
  std::set<std::string> seen;
  uint64_t bytes = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    uint64_t more = 0;
    for (const std::string& input : weights_[i].inputs) {
      if (!seen.contains(input)) more += GramBuilder::Bytes(weights_[i].shape.rows);
    }
    if (parts.empty() || (more > 0 && (one_input_each || bytes + more > kGramBytes))) {
      parts.emplace_back();
      seen.clear();
      bytes = 0;
    }
    seen.insert(weights_[i].inputs.begin(), weights_[i].inputs.end());
    bytes += more;
    parts.back().push_back(i);
  }
  return parts;
}

Result<Statistics> Engine::CollectNow(const std::vector<StatisticsRequest>& requests) {
  onnx::ModelProto now = graph_.model();
  TRY(SortNodes(*now.mutable_graph()));
  RemoveUnused(*now.mutable_graph());
  if (data_ == nullptr) {
    TRY_ASSIGN(data_, OpenDataSet(context_.task->calibration(), SignatureOf(now.graph(), context_),
                                  &context_.task->model()));
  }
  CollectOptions collect;
  collect.threads = context_.threads;
  return CollectStatistics(now, requests, *data_, collect);
}

Result<Statistics> Engine::Collect(const std::vector<size_t>& part, bool gram, bool channels) {
  std::vector<StatisticsRequest> requests;
  std::set<std::string> asked;
  for (const size_t i : part) {
    for (const std::string& input : weights_[i].inputs) {
      if (!asked.insert(input).second) continue;
      StatisticsRequest request;
      request.tensor = input;
      request.gram = gram;
      if (channels) request.channel_axis = -1;
      requests.push_back(request);
    }
  }
  if (requests.empty()) return Statistics();
  // Weights that were quantized before change what later ones read.
  if (edited_) return CollectNow(requests);
  Statistics statistics;
  TRY(source_->Add(graph_.model(), requests, statistics));
  return statistics;
}

// Mean of x x^T over everything that the weight is multiplied with; empty where there is nothing to go by.
std::vector<float> Engine::GramOf(const Weight& weight, const Statistics& statistics) const {
  const size_t n = weight.shape.rows;
  std::vector<float> gram;
  double rows = 0;
  for (const std::string& input : weight.inputs) {
    const auto found = statistics.find(input);
    if (found == statistics.end() || found->second.gram.size() != n * n || found->second.gram_rows == 0) continue;
    rows += static_cast<double>(found->second.gram_rows);
    if (gram.empty()) {
      gram = found->second.gram;
    } else {
      for (size_t i = 0; i < gram.size(); ++i) gram[i] += found->second.gram[i];
    }
  }
  for (float& value : gram) value = static_cast<float>(static_cast<double>(value) / rows);
  const bool finite = std::all_of(gram.begin(), gram.end(), [](float value) { return std::isfinite(value); });
  return finite ? gram : std::vector<float>();
}

// --- codes ----------------------------------------------------------------------------------------------------------

const InputFacts* Engine::FactsOf(const Weight& weight) const {
  if (weight.form == WeightForm::gather || weight.nodes.empty()) return nullptr;
  const auto input = input_of_node_.find(weight.nodes.front());
  const auto found = input == input_of_node_.end() ? inputs_.end() : inputs_.find(input->second);
  return found == inputs_.end() ? nullptr : &found->second;
}

Result<> Engine::Encode(Weight& weight, const GptqFactor* factor) {
  const onnx::TensorProto& tensor = *graph_.AnyWeight(weight.name);
  TRY_ASSIGN(const WeightMatrix matrix, WeightMatrix::Open(tensor, weight.turn));
  const std::unique_ptr<FormWriter> writer = MakeFormWriter(weight.form, weight.shape);
  // What is kept in 8 bits for its sensitivity, and tables, are rounded to the nearest.
  const bool plain =
      weight.form == WeightForm::gather || (weight.shape.bits == kBackupBits && options_.bits != kBackupBits);
  const InputFacts* facts = FactsOf(weight);
  const std::vector<float> no_gram;
  const std::vector<float>& gram = facts == nullptr || plain ? no_gram : facts->gram;
  const std::vector<float> scales = facts == nullptr ? std::vector<float>() : facts->scales;
  const GridMethod method = plain ? GridMethod::range : GridOf(options_.method);
  const bool direct = scales.empty() && factor == nullptr && method == GridMethod::range;
  const size_t width = direct ? kColumnsOfRange : kColumnsOfMethod;
  ParallelFor(context_.threads, (weight.shape.columns + width - 1) / width, [&](size_t part) {
    const size_t first = part * width;
    const size_t last = std::min(weight.shape.columns, first + width);
    const float* floats = matrix.Floats();
    if (direct && floats != nullptr && writer->TakeFloats(floats + first, weight.shape.columns, first, last)) return;
    std::vector<float> values = matrix.Columns(first, last);
    if (direct && writer->TakeFloats(values.data(), last - first, first, last)) return;
    CodeShape shape = weight.shape;
    shape.columns = last - first;
    for (size_t row = 0; row < scales.size(); ++row) {
      for (size_t c = 0; c < shape.columns; ++c) values[row * shape.columns + c] *= scales[row];
    }
    if (factor != nullptr) return writer->Take(first, hone::Gptq(values, shape, *factor));
    if (!gram.empty()) return writer->Take(first, EncodeForOutputs(values, shape, gram));
    writer->Take(first, hone::Encode(values.data(), shape, FindGrids(values.data(), shape, method, nullptr)));
  });
  const std::string base = weight.turn == Turn::yes && weight.form != WeightForm::gather ? weight.name + "_transposed"
                                                                                        : weight.name;
  const CodedWeight coded = writer->Add(graph_, base);
  for (const int node : weight.nodes) UseCoded(graph_, node, coded, options_.accuracy_level);
  weight.encoded = edited_ = true;
  ReleasePages(tensor);
  return {};
}

Result<> Engine::Gptq(const std::vector<size_t>& part) {
  TRY_ASSIGN(const Statistics statistics, Collect(part, true, false));
  const OneBlasThread one_thread;
  std::map<std::vector<std::string>, std::optional<GptqFactor>> factors;
  for (const size_t i : part) {
    Weight& weight = weights_[i];
    if (weight.form == WeightForm::gather || weight.shape.bits != options_.bits) {
      TRY(Encode(weight, nullptr));
      continue;
    }
    auto known = factors.find(weight.inputs);
    if (known == factors.end()) {
      const std::vector<float> gram = GramOf(weight, statistics);
      std::optional<GptqFactor> factor;
      if (!gram.empty()) {
        const GptqOptions gptq{options_.damping, options_.act_order, GridMethod::search};
        Result<GptqFactor> made = MakeGptqFactor(gram, weight.shape.rows, gptq);
        if (made) factor = std::move(*made);
      }
      if (!factor)
        context_.notes.push_back(fmt::format("weights that read '{}' rounded without data: its products are not usable",
                                             Printable(weight.inputs.front(), 200)));
      known = factors.emplace(weight.inputs, std::move(factor)).first;
    }
    TRY(Encode(weight, known->second ? &*known->second : nullptr));
  }
  return {};
}

// Scales of one input, for all weights that read it; folded or inserted at once, while the weights stay as they are.
Result<> Engine::ScaleInput(const std::string& input, const std::vector<size_t>& readers,
                            const Statistics& statistics) {
  const Weight& any = weights_[readers.front()];
  std::vector<float> gram = GramOf(any, statistics);
  if (gram.empty()) {
    context_.notes.push_back(fmt::format("weights that read '{}' rounded without data: its products are not usable",
                                         Printable(input, 200)));
    return {};
  }
  const size_t rows = any.shape.rows;
  InputFacts& facts = inputs_[input];
  facts.gram = gram;
  // A weight that reads other values too cannot be scaled for this one.
  std::set<int> nodes;
  std::vector<AwqWeight> weights;
  std::vector<std::vector<float>> values(readers.size());
  for (size_t i = 0; i < readers.size(); ++i) {
    const Weight& weight = weights_[readers[i]];
    if (weight.inputs.size() != 1) return {};
    TRY_ASSIGN(const WeightMatrix matrix, WeightMatrix::Open(*graph_.AnyWeight(weight.name), weight.turn));
    CodeShape shape = weight.shape;
    values[i] = matrix.SomeColumns(kSampledColumns, shape.columns);
    weights.push_back({shape, &values[i]});
    nodes.insert(weight.nodes.begin(), weight.nodes.end());
  }
  const auto& magnitudes = statistics.at(input).channels.mean_magnitude;
  if (magnitudes.size() != rows) return {};
  AwqScales found = SearchAwqScales(weights, gram, magnitudes, context_.threads);
  if (found.scales.empty()) return {};
  std::vector<float> inverse;
  for (const float scale : found.scales) inverse.push_back(1 / scale);
  TRY_ASSIGN(const auto folded, FoldFactors(graph_, input, inverse, nodes));
  if (folded.empty() && found.error > kInsertGain * found.plain_error) return {};
  if (folded.empty()) {
    TRY(InsertFactors(graph_, input, inverse, nodes));
    ++scaled_by_mul_;
  } else {
    ++scaled_in_producers_;
  }
  for (const ScaledConstant& scaled : folded) FollowScaled(scaled);
  for (size_t i = 0; i < facts.gram.size(); ++i) facts.gram[i] *= inverse[i / rows] * inverse[i % rows];
  facts.scales = std::move(found.scales);
  return {};
}

// A producer may be a product with a weight of the plan, whose columns were scaled; other nodes keep the weight as it
// was.
void Engine::FollowScaled(const ScaledConstant& scaled) {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const auto node = std::find(weights_[i].nodes.begin(), weights_[i].nodes.end(), scaled.node);
    if (weights_[i].name != scaled.before || node == weights_[i].nodes.end()) continue;
    if (weights_[i].nodes.size() == 1) {
      weights_[i].name = scaled.after;
      return;
    }
    Weight own = weights_[i];
    weights_[i].nodes.erase(node);
    own.name = scaled.after;
    own.nodes = {scaled.node};
    own.inputs = {input_of_node_.at(scaled.node)};
    weights_.push_back(std::move(own));
    return;
  }
}

Result<> Engine::Awq() {
  const OneBlasThread one_thread;
  for (const auto& part : Parts(false)) {
    TRY_ASSIGN(const Statistics statistics, Collect(part, true, true));
    std::map<std::string, std::vector<size_t>> readers;
    for (const size_t i : part) {
      for (const std::string& input : weights_[i].inputs) readers[input].push_back(i);
    }
    // All scales of a part come first: they may go into the weights before.
    for (const auto& [input, weights] : readers) TRY(ScaleInput(input, weights, statistics));
    for (const size_t i : part) TRY(Encode(weights_[i], nullptr));
    for (Weight& weight : weights_) {
      const bool split = !weight.encoded && readers.contains(weight.inputs.empty() ? "" : weight.inputs.front());
      if (split) TRY(Encode(weight, nullptr));
    }
    for (auto& [input, facts] : inputs_) facts.gram = {};
  }
  context_.notes.push_back(fmt::format("inputs scaled: {} in what computes them, {} by a Mul", scaled_in_producers_,
                                       scaled_by_mul_));
  return {};
}

Result<> Engine::Run() {
  Survey();
  TRY(surveyed_);
  TRY(tally_.CheckAny("MatMul or Gemm with constant weights"));
  TRY(ChooseBits());
  if (options_.method == WeightMethod::awq) {
    TRY(Awq());
  } else if (options_.method == WeightMethod::gptq) {
    for (const auto& part : Parts(options_.sequential)) TRY(Gptq(part));
  } else {
    for (Weight& weight : weights_) TRY(Encode(weight, nullptr));
  }
  TellOfSubgraphs(graph_.model().graph(), {"MatMul", "Gemm"}, context_);
  tally_.Tell(context_);
  return {};
}

// The version converter copies every weight, twice, and cannot read mapped ones; none of them means anything to it, but
// their shapes do. So large ones become inputs while it works.
Result<> RaiseOpset(onnx::ModelProto& model, int64_t version, PassContext& context) {
  constexpr size_t kLarge = 4096;
  if (OpsetVersion(model) >= version) return {};
  std::set<std::string> inputs;
  for (const auto& input : model.graph().input()) inputs.insert(input.name());
  google::protobuf::RepeatedPtrField<onnx::TensorProto> all;
  google::protobuf::RepeatedPtrField<onnx::TensorProto> aside;
  all.Swap(model.mutable_graph()->mutable_initializer());
  std::set<std::string> added;
  for (auto& tensor : all) {
    const bool large = IsMapped(tensor) || tensor.raw_data().size() >= kLarge;
    (large ? aside.Add() : model.mutable_graph()->add_initializer())->Swap(&tensor);
    if (!large || inputs.contains(aside.rbegin()->name())) continue;
    onnx::ValueInfoProto& input = *model.mutable_graph()->add_input();
    input.set_name(aside.rbegin()->name());
    auto& type = *input.mutable_type()->mutable_tensor_type();
    type.set_elem_type(aside.rbegin()->data_type());
    for (const int64_t dim : aside.rbegin()->dims()) type.mutable_shape()->add_dim()->set_dim_value(dim);
    added.insert(input.name());
  }
  TRY(RequireOpset(model, version, context));
  for (auto& tensor : aside) model.mutable_graph()->add_initializer()->Swap(&tensor);
  auto& declared = *model.mutable_graph()->mutable_input();
  declared.erase(std::remove_if(declared.begin(), declared.end(),
                                [&](const auto& input) { return added.contains(input.name()); }),
                 declared.end());
  return {};
}

}  // namespace

const std::vector<const char*>& WeightMethodNames() {
  static const std::vector<const char*> kNames = [] {
    std::vector<const char*> names;
    for (const auto& [name, method] : kMethods) names.push_back(name);
    return names;
  }();
  return kNames;
}

WeightMethod WeightMethodOf(const std::string& name) {
  for (const auto& [known, method] : kMethods) {
    if (name == known) return method;
  }
  CHECK_THAT(false);
  return WeightMethod::rtn;
}

Result<> QuantizeWeights(onnx::ModelProto& model, PassContext& context, const WeightOptions& options) {
  std::optional<StatisticsSource> source;
  if (context.task->has_calibration()) {
    TRY_ASSIGN(StatisticsSource opened, StatisticsSource::Open(context));
    source = std::move(opened);
  }
  if (options.form == WeightForm::dequantize) TRY(RaiseOpset(model, 21, context));
  TRY_ASSIGN(NodeFilter filter, NodeFilter::Make(context, model.graph(), {"MatMul", "Gemm"}));
  return Engine(model, context, options, std::move(filter), std::move(source)).Run();
}

}  // namespace hone
