// matmulnbits_to_qdq
//   Before: Y = com.microsoft.MatMulNBits(A, codes, scales[, zero points][, , bias])
//   After:  Y = MatMul(A, DequantizeLinear(codes, scales[, zero points]))[ + bias]
// qdq_to_matmulnbits
//   Before: Y = MatMul(A, DequantizeLinear(codes, ...)), or Gemm, or with a Transpose of the weight between
//   After:  Y = com.microsoft.MatMulNBits(A, codes, ...)[ + C]
//
// Both forms say (code - zero point) * scale, so only bytes move: MatMulNBits has codes [columns, blocks, block] that
// are never signed and 2^(bits-1) as its zero point where none is given; DequantizeLinear has codes of the weight's own
// shape and 0. Codes without zero points are therefore signed in pairs, others unsigned. A scale of a whole column is
// repeated for each of its blocks. What one form has and the other has not stays as it is, and a note names it.
#include "worker/passes/weight_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/simplify_steps.h"
#include "worker/passes/weight_forms.h"

namespace hone {
namespace {

constexpr const char* kContribDomain = "com.microsoft";
constexpr int64_t kPairOpset = 21;          // DequantizeLinear in blocks.
constexpr int64_t kMaxSide = 1 << 30;       // Of a weight; more than any file holds.
constexpr size_t kColumnsAtOnce = 256;
constexpr size_t kBlockSizes[] = {256, 128, 64, 32, 16};  // That MatMulNBits has.

// A weight [rows, columns], rows being summed over, as it lies in the model that is read.
struct PackedWeight {
  CodeShape shape;
  std::string base;  // Of the names of its constants.
  TensorView codes;
  size_t row_stride = 0, column_stride = 0;  // In codes.
  uint8_t sign = 0;                          // The bit that is turned to make a signed code unsigned.
  std::vector<float> scales;
  std::vector<uint8_t> zeros;  // Unsigned; empty: all the middle code.
  size_t scale_rows = 0;       // Rows that share a scale.
  size_t scale_stride = 0, scale_column_stride = 0;
};

uint8_t CodeAt(std::string_view bytes, int bits, size_t index) {
  if (bits == 8) return static_cast<uint8_t>(bytes[index]);
  return static_cast<uint8_t>((static_cast<uint8_t>(bytes[index / 2]) >> (index % 2 * 4)) & 15);
}

BlockCodes Columns(const PackedWeight& weight, size_t first, size_t last) {
  BlockCodes part;
  part.shape = weight.shape;
  part.shape.columns = last - first;
  const size_t width = last - first;
  part.codes.resize(weight.shape.rows * width);
  for (size_t row = 0; row < weight.shape.rows; ++row) {
    for (size_t c = 0; c < width; ++c) {
      const size_t index = row * weight.row_stride + (first + c) * weight.column_stride;
      part.codes[row * width + c] = CodeAt(weight.codes.bytes(), weight.shape.bits, index) ^ weight.sign;
    }
  }
  const size_t blocks = weight.shape.Groups();
  part.grid.scales.resize(blocks * width);
  part.grid.zeros.assign(blocks * width, weight.shape.Middle());
  for (size_t block = 0; block < blocks; ++block) {
    const size_t row = block * weight.shape.group / weight.scale_rows * weight.scale_stride;
    for (size_t c = 0; c < width; ++c) {
      const size_t index = row + (first + c) * weight.scale_column_stride;
      part.grid.scales[block * width + c] = weight.scales[index];
      if (!weight.zeros.empty()) part.grid.zeros[block * width + c] = weight.zeros[index];
    }
  }
  return part;
}

CodedWeight Write(QuantizationGraph& graph, const PackedWeight& weight, WeightForm form, int threads) {
  const std::unique_ptr<FormWriter> writer = MakeFormWriter(form, weight.shape);
  const size_t columns = weight.shape.columns;
  ParallelFor(threads, (columns + kColumnsAtOnce - 1) / kColumnsAtOnce, [&](size_t i) {
    const size_t first = i * kColumnsAtOnce;
    writer->Take(first, Columns(weight, first, std::min(columns, first + kColumnsAtOnce)));
  });
  return writer->Add(graph, weight.base);
}

// --- reading ---

// A reading that fails says why the product stays as it is; what is thrown away then is no error.
using Why = std::string;

// The initializer, unless a caller may feed another value.
const onnx::TensorProto* Constant(const QuantizationGraph& graph, const std::string& name) {
  if (name.empty() || graph.index().IsGraphInput(name)) return nullptr;
  return graph.AnyWeight(name);
}

Why ReadScales(const onnx::TensorProto* tensor, PackedWeight& weight) {
  if (tensor == nullptr) return "its scales are not constant";
  const bool half = tensor->data_type() == onnx::TensorProto::FLOAT16;
  if (!half && tensor->data_type() != onnx::TensorProto::FLOAT) return "its scales are neither float32 nor float16";
  const Result<Tensor> read = ReadTensor(*tensor);
  if (!read) return read.error().message;
  weight.scales = ToFloats(*read);
  weight.shape.half_scales = half;
  return "";
}

// Unsigned codes of a packed or unpacked tensor, in its order.
std::vector<uint8_t> Unpacked(const TensorView& view, int bits, size_t count, uint8_t sign) {
  std::vector<uint8_t> codes(count);
  for (size_t i = 0; i < count; ++i) codes[i] = CodeAt(view.bytes(), bits, i) ^ sign;
  return codes;
}

std::string BaseName(const std::string& name, std::initializer_list<std::string_view> endings) {
  for (const std::string_view ending : endings) {
    if (name.size() > ending.size() && name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  }
  return name;
}

// --- MatMulNBits ---

// Rows in another order than the blocks', as GPTQ may store them.
bool IsPermuted(const QuantizationGraph& graph, const onnx::NodeProto& node, const CodeShape& shape) {
  const std::string name = InputOf(node, 4);
  if (name.empty()) return false;
  const onnx::TensorProto* tensor = Constant(graph, name);
  const Result<Tensor> read = tensor == nullptr || tensor->data_type() != onnx::TensorProto::INT32
                                  ? Result<Tensor>(Fail(ErrorCode::kRejected, ""))
                                  : ReadTensor(*tensor);
  if (!read || read->bytes.size() < shape.rows * sizeof(int32_t)) return true;
  for (size_t row = 0; row < shape.rows; ++row) {
    if (static_cast<size_t>(read->data<int32_t>()[row]) != row / shape.group) return true;
  }
  return false;
}

// Zero points are packed codes, or whole numbers of the scales' type.
Why ReadBlockZeros(const onnx::TensorProto* tensor, PackedWeight& weight) {
  if (tensor == nullptr) return "its zero points are not constant";
  const size_t blocks = weight.shape.Groups();
  const Why wrong = "its zero points have an unexpected size";
  weight.zeros.clear();
  if (tensor->data_type() == onnx::TensorProto::UINT8) {
    const Result<TensorView> view = ViewTensor(*tensor);
    if (!view) return view.error().message;
    const size_t bytes = PackedZeroBytes(weight.shape);
    if (view->bytes().size() != weight.shape.columns * bytes) return wrong;
    const size_t per_column = bytes * 8 / static_cast<size_t>(weight.shape.bits);
    const std::vector<uint8_t> all = Unpacked(*view, weight.shape.bits, weight.shape.columns * per_column, 0);
    for (size_t column = 0; column < weight.shape.columns; ++column) {
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(column * per_column);
      weight.zeros.insert(weight.zeros.end(), from, from + static_cast<std::ptrdiff_t>(blocks));
    }
    return "";
  }
  const Result<Tensor> read = ReadTensor(*tensor);
  if (!read) return read.error().message;
  for (const float zero : ToFloats(*read)) {
    if (!(zero >= 0 && zero <= weight.shape.Top()) || zero != std::floor(zero))
      return "its zero points are no whole codes";
    weight.zeros.push_back(static_cast<uint8_t>(zero));
  }
  return weight.zeros.size() == weight.shape.columns * blocks ? "" : wrong;
}

Why ReadNBits(const QuantizationGraph& graph, const onnx::NodeProto& node, PackedWeight& weight) {
  const int64_t rows = IntAttribute(node, "K", 0), columns = IntAttribute(node, "N", 0);
  const int64_t bits = IntAttribute(node, "bits", 4), block = IntAttribute(node, "block_size", 0);
  if (bits != 4 && bits != 8) return fmt::format("it has codes of {} bits, for which pairs have no type", bits);
  const auto sound = [](int64_t side) { return side >= 1 && side <= kMaxSide; };
  if (!sound(rows) || !sound(columns) || !sound(block) || block % 8 != 0) return "K, N or block_size is out of range";
  if (IntAttribute(node, "weight_prepacked", 0) != 0) return "its codes are packed for one device";
  weight.shape.rows = static_cast<size_t>(rows);
  weight.shape.columns = static_cast<size_t>(columns);
  weight.shape.group = static_cast<size_t>(block);
  weight.shape.bits = static_cast<int>(bits);
  if (IsPermuted(graph, node, weight.shape)) return "its rows are permuted (g_idx)";

  const onnx::TensorProto* codes = Constant(graph, InputOf(node, 1));
  if (codes == nullptr || codes->data_type() != onnx::TensorProto::UINT8) return "its codes are no constant bytes";
  Result<TensorView> view = ViewTensor(*codes);
  if (!view) return view.error().message;
  const size_t padded = weight.shape.Groups() * weight.shape.group;
  if (view->bytes().size() != weight.shape.columns * padded * static_cast<size_t>(bits) / 8)
    return "its codes have an unexpected size";
  weight.codes = std::move(*view);
  weight.row_stride = 1;
  weight.column_stride = padded;

  if (const Why why = ReadScales(Constant(graph, InputOf(node, 2)), weight); !why.empty()) return why;
  if (weight.scales.size() != weight.shape.columns * weight.shape.Groups()) return "its scales have an unexpected size";
  weight.scale_rows = weight.shape.group;
  weight.scale_stride = 1;
  weight.scale_column_stride = weight.shape.Groups();
  weight.shape.symmetric = InputOf(node, 3).empty();
  weight.base = BaseName(node.input(1), {bits == 4 ? "_Q4" : "_Q8"});
  return weight.shape.symmetric ? "" : ReadBlockZeros(Constant(graph, node.input(3)), weight);
}

// The product with the weight as pairs give it; a bias is added behind it.
void UsePairs(QuantizationGraph& graph, int index, const CodedWeight& coded) {
  const onnx::NodeProto old = graph.Node(index);
  const std::string bias = InputOf(old, 5);
  const std::string product = bias.empty() ? old.output(0) : graph.FreshName(old.output(0) + "_MatMul");
  const std::string name = BaseName(old.name(), {coded.shape.bits == 4 ? "_Q4" : "_Q8"});
  if (!bias.empty()) graph.AddNode("Add", name + "_Add", {product, bias}, {old.output(0)});
  onnx::NodeProto& node = graph.Node(index);
  node.Clear();
  node.set_op_type("MatMul");
  node.set_name(name.empty() || name == old.name() ? old.name() : graph.FreshName(name));
  node.add_input(old.input(0));
  node.add_input(coded.values);
  node.add_output(product);
}

// --- pairs ---

struct CodeTypeRow {
  ElementType type;
  int bits;
  bool is_signed;
};
constexpr CodeTypeRow kCodeTypes[] = {{onnx::TensorProto::INT4, 4, true},
                                      {onnx::TensorProto::UINT4, 4, false},
                                      {onnx::TensorProto::INT8, 8, true},
                                      {onnx::TensorProto::UINT8, 8, false}};

const CodeTypeRow* FindCodeType(ElementType type) {
  const auto* found = std::find_if(std::begin(kCodeTypes), std::end(kCodeTypes),
                                   [&](const CodeTypeRow& row) { return row.type == type; });
  return found == std::end(kCodeTypes) ? nullptr : found;
}

// Products that read one dequantized weight, and whether they read it turned: [columns, rows].
struct Readers {
  std::vector<int> products;
  std::optional<bool> turned;
};

Why TakeProduct(const QuantizationGraph& graph, int index, bool turned, Readers& readers) {
  const onnx::NodeProto& node = graph.Node(index);
  const int maker = graph.index().Producer(node.input(0));
  if (maker >= 0 && IsQuantization(graph.Node(maker))) return "its input is quantized too";
  if (node.op_type() == "Gemm") {
    if (const char* why = WhyNotMatMul(node)) return fmt::format("{} of Gemm", why);
    turned = turned != (IntAttribute(node, "transB", 0) != 0);
  }
  const auto shape = graph.ShapeOf(node.input(0));
  if (shape && shape->size() < 2) return "its input has one dimension";
  if (readers.turned && *readers.turned != turned) return "its weight is read both ways round";
  readers.turned = turned;
  readers.products.push_back(index);
  return "";
}

bool IsTurn(const onnx::NodeProto& node) {
  if (!IsStandardOp(node, "Transpose")) return false;
  const auto* perm = FindAttribute(node, "perm");
  return perm == nullptr || (perm->ints_size() == 2 && perm->ints(0) == 1);
}

Why TakeReaders(const QuantizationGraph& graph, const std::string& value, bool turned, Readers& readers) {
  if (graph.index().IsGraphOutput(value)) return "its weight is an output of the model";
  for (const Use& use : graph.index().Consumers(value)) {
    const onnx::NodeProto& node = graph.Node(use.node);
    const bool product = use.input == 1 && (IsStandardOp(node, "MatMul") || IsStandardOp(node, "Gemm"));
    Why why = fmt::format("{} reads its weight, too", node.op_type());
    if (product && node.input(0) != value) {
      why = TakeProduct(graph, use.node, turned, readers);
    } else if (use.input == 0 && !turned && IsTurn(node)) {
      why = TakeReaders(graph, node.output(0), true, readers);
    }
    if (!why.empty()) return why;
  }
  return "";
}

// Rows of a block that MatMulNBits has, for scales that `scale_rows` rows share; 0 where there is none.
size_t BlockFor(size_t scale_rows, size_t rows, size_t wish) {
  const bool whole = scale_rows >= rows;
  if (whole && wish != 0) return wish;
  for (const size_t size : kBlockSizes) {
    if (scale_rows % size == 0) return size;
  }
  if (!whole) return 0;
  for (size_t i = std::size(kBlockSizes); i-- > 0;) {
    if (kBlockSizes[i] >= rows) return kBlockSizes[i];
  }
  return 32;
}

// Where scales lie: one a block of the rows, one a column, or one for all.
Why PlaceScales(const onnx::NodeProto& pair, const std::vector<int64_t>& dims, bool turned, PackedWeight& weight) {
  const int64_t sum_axis = turned ? 1 : 0;
  const int64_t block = IntAttribute(pair, "block_size", 0);
  int64_t axis = IntAttribute(pair, "axis", 1);
  if (axis < 0) axis += 2;
  if (block > 0) {
    if (axis != sum_axis) return "its blocks lie along the outputs";
    weight.scale_rows = static_cast<size_t>(block);
    const size_t blocks = (weight.shape.rows - 1) / weight.scale_rows + 1;
    std::vector<int64_t> expected = {static_cast<int64_t>(turned ? weight.shape.columns : blocks),
                                     static_cast<int64_t>(turned ? blocks : weight.shape.columns)};
    if (dims != expected) return "its scales have an unexpected shape";
    weight.scale_stride = turned ? 1 : weight.shape.columns;
    weight.scale_column_stride = turned ? blocks : 1;
    return "";
  }
  weight.scale_rows = weight.shape.rows;
  if (weight.scales.size() == 1) return "";
  if (dims.size() != 1 || axis == sum_axis || weight.scales.size() != weight.shape.columns)
    return "its scales are not those of its outputs";
  weight.scale_column_stride = 1;
  return "";
}

Why ReadPairZeros(const QuantizationGraph& graph, const onnx::NodeProto& pair, const CodeTypeRow& type,
                  PackedWeight& weight) {
  const std::string name = InputOf(pair, 2);
  if (name.empty()) {
    // 0, which is the middle of signed codes alone.
    if (!type.is_signed) weight.zeros.assign(weight.scales.size(), 0);
  } else {
    const onnx::TensorProto* tensor = Constant(graph, name);
    if (tensor == nullptr || tensor->data_type() != type.type) return "its zero points are no constants of its type";
    const Result<TensorView> view = ViewTensor(*tensor);
    if (!view) return view.error().message;
    const auto& scale_dims = Constant(graph, pair.input(1))->dims();
    if (!std::equal(scale_dims.begin(), scale_dims.end(), view->dims().begin(), view->dims().end()))
      return "its zero points have another shape than its scales";
    weight.zeros = Unpacked(*view, type.bits, weight.scales.size(), weight.sign);
    const bool middle = std::all_of(weight.zeros.begin(), weight.zeros.end(),
                                    [&](uint8_t zero) { return zero == weight.shape.Middle(); });
    if (middle && type.is_signed) weight.zeros.clear();
  }
  weight.shape.symmetric = weight.zeros.empty();
  return "";
}

Why ReadPair(const QuantizationGraph& graph, const onnx::NodeProto& pair, bool turned, size_t wish,
             PackedWeight& weight) {
  const onnx::TensorProto& codes = *Constant(graph, pair.input(0));
  const CodeTypeRow& type = *FindCodeType(codes.data_type());
  Result<TensorView> view = ViewTensor(codes);
  if (!view) return view.error().message;
  const std::vector<int64_t> dims = view->dims();
  if (dims.size() != 2 || dims[0] < 1 || dims[1] < 1) return "its weight is no matrix";
  weight.codes = std::move(*view);
  weight.shape.bits = type.bits;
  weight.shape.rows = static_cast<size_t>(dims[turned ? 1 : 0]);
  weight.shape.columns = static_cast<size_t>(dims[turned ? 0 : 1]);
  weight.row_stride = turned ? 1 : weight.shape.columns;
  weight.column_stride = turned ? weight.shape.rows : 1;
  weight.sign = type.is_signed ? static_cast<uint8_t>(1 << (type.bits - 1)) : 0;
  weight.base = BaseName(pair.input(0), {"_quantized"});

  const onnx::TensorProto* scales = Constant(graph, InputOf(pair, 1));
  if (const Why why = ReadScales(scales, weight); !why.empty()) return why;
  const int64_t made = IntAttribute(pair, "output_dtype", 0);
  if (made != 0 && made != scales->data_type()) return "its weight has another type than its scales";
  if (const Why why = PlaceScales(pair, {scales->dims().begin(), scales->dims().end()}, turned, weight); !why.empty())
    return why;
  weight.shape.group = BlockFor(weight.scale_rows, weight.shape.rows, wish);
  if (weight.shape.group == 0)
    return fmt::format("blocks of {} rows are none that MatMulNBits has", weight.scale_rows);
  return ReadPairZeros(graph, pair, type, weight);
}

// Whether the node dequantizes a constant of a type that products may have as weights.
bool IsWeightPair(const QuantizationGraph& graph, const onnx::NodeProto& node) {
  if (node.op_type() != "DequantizeLinear" || (!IsStandard(node) && node.domain() != kContribDomain)) return false;
  const onnx::TensorProto* codes = Constant(graph, InputOf(node, 0));
  return codes != nullptr && FindCodeType(codes->data_type()) != nullptr;
}

// --- telling ---

// What stays, by its reason.
class Leftovers {
 public:
  void Add(const onnx::NodeProto& node, const std::string& why) { left_[why].push_back(NodeText(node)); }
  void Tell(PassContext& context) const {
    constexpr size_t kNamed = 3;
    for (const auto& [why, nodes] : left_) {
      std::string names = Join({nodes.begin(), nodes.begin() + std::min(kNamed, nodes.size())}, ", ");
      if (nodes.size() > kNamed) names += fmt::format(" and {} more", nodes.size() - kNamed);
      context.notes.push_back(Printable(fmt::format("{} left, because {}: {}", nodes.size(), why, names), 500));
    }
  }

 private:
  std::map<std::string, std::vector<std::string>> left_;
};

void TellInner(const onnx::GraphProto& graph, const char* op_type, PassContext& context) {
  int nodes = 0;
  VisitGraphs(graph, [&](const onnx::GraphProto& inner) {
    if (&inner == &graph) return;
    for (const auto& node : inner.node()) nodes += node.op_type() == op_type ? 1 : 0;
  });
  if (nodes > 0) context.notes.push_back(fmt::format("{} {} inside If, Loop or Scan left", nodes, op_type));
}

bool IsNBits(const onnx::NodeProto& node) {
  return node.op_type() == "MatMulNBits" && node.domain() == kContribDomain && node.input_size() >= 3;
}

}  // namespace

proto::PassInfo QdqToMatMulNBitsInfo() {
  proto::PassInfo info;
  info.set_name("qdq_to_matmulnbits");
  info.set_version(1);
  info.set_summary("Products with weights in DequantizeLinear as MatMulNBits; codes, scales and zero points stay");
  info.add_accepts("onnx");
  *info.add_parameters() =
      IntParameter("block_size", 0, {0, 16, 32, 64, 128, 256},
                   "Of weights with one scale a column, which is repeated; 0: the largest that divides the rows.");
  *info.add_parameters() =
      IntParameter("accuracy_level", 0, {0, 1, 2, 3, 4},
                   "What ONNX Runtime may compute in: 0 its choice, 1 f32, 2 f16, 3 bf16, 4 int8 activations.");
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<> QdqToMatMulNBits(onnx::ModelProto& model, PassContext& context) {
  QuantizationGraph graph(model);
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, model.graph(), {"MatMul", "Gemm"}));
  Leftovers leftovers;
  size_t turned = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto pair = graph.Node(i);
    if (!IsWeightPair(graph, pair)) continue;
    Readers readers;
    PackedWeight weight;
    Why why = TakeReaders(graph, pair.output(0), false, readers);
    const auto& products = readers.products;
    if (why.empty() && products.empty()) continue;
    const bool wanted =
        std::all_of(products.begin(), products.end(), [&](int product) { return filter.Wanted(graph.Node(product)); });
    if (why.empty() && !wanted) why = "it is excluded";
    if (why.empty())
      why = ReadPair(graph, pair, *readers.turned, static_cast<size_t>(context.Int("block_size")), weight);
    if (!why.empty()) {
      leftovers.Add(pair, why);
      continue;
    }
    const CodedWeight coded = Write(graph, weight, WeightForm::matmulnbits, context.threads);
    for (const int product : products) UseCoded(graph, product, coded, context.Int("accuracy_level"));
    turned += products.size();
  }
  context.notes.push_back(fmt::format("{} products are MatMulNBits now", turned));
  leftovers.Tell(context);
  TellInner(model.graph(), "DequantizeLinear", context);
  return {};
}

proto::PassInfo MatMulNBitsToQdqInfo() {
  proto::PassInfo info;
  info.set_name("matmulnbits_to_qdq");
  info.set_version(1);
  info.set_summary("MatMulNBits as MatMul with DequantizeLinear in blocks; codes, scales and zero points stay");
  info.add_accepts("onnx");
  *info.add_parameters() = BoolParameter(
      "zero_points", false, "Unsigned codes with zero points, too, where there are none; off: signed codes without.");
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<> MatMulNBitsToQdq(onnx::ModelProto& model, PassContext& context) {
  const auto& nodes = model.graph().node();
  TellInner(model.graph(), "MatMulNBits", context);
  if (std::none_of(nodes.begin(), nodes.end(), IsNBits)) {
    context.notes.push_back("the model has no MatMulNBits");
    return {};
  }
  TRY(RequireOpset(model, kPairOpset, context));
  QuantizationGraph graph(model);
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, model.graph(), {"MatMulNBits"}));
  Leftovers leftovers;
  std::map<std::string, CodedWeight> written;  // Products may share a weight.
  int turned = 0, levels = 0;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    const onnx::NodeProto node = graph.Node(i);
    if (!IsNBits(node)) continue;
    PackedWeight weight;
    const Why why = filter.Wanted(node) ? ReadNBits(graph, node, weight) : "it is excluded";
    if (!why.empty()) {
      leftovers.Add(node, why);
      continue;
    }
    if (context.Bool("zero_points")) weight.shape.symmetric = false;
    const std::string key = fmt::format("{}\n{}\n{}\n{} {} {} {}", node.input(1), node.input(2), InputOf(node, 3),
                                        weight.shape.rows, weight.shape.columns, weight.shape.group, weight.shape.bits);
    auto known = written.find(key);
    if (known == written.end())
      known = written.emplace(key, Write(graph, weight, WeightForm::dequantize, context.threads)).first;
    UsePairs(graph, i, known->second);
    levels += IntAttribute(node, "accuracy_level", 0) != 0 ? 1 : 0;
    ++turned;
  }
  context.notes.push_back(fmt::format("{} MatMulNBits are MatMul with DequantizeLinear now", turned));
  if (levels > 0) {
    context.notes.push_back(
        fmt::format("the accuracy_level of {} is gone: ONNX Runtime takes session.qdq_matmulnbits_accuracy_level",
                    levels));
  }
  leftovers.Tell(context);
  return {};
}

}  // namespace hone
