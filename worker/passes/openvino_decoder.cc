// Inputs: input_ids, attention_mask and position_ids [batch, tokens], beam_idx [batch], which tells whose state each
// row goes on with. Output: logits.
//
// The runtime replaces parts of the graph by kernels of its own, and knows them by their form alone. Whoever changes
// one of these, looks at what is executed afterwards:
//
//   attention  ReadValue -> Gather(beam_idx) -> Concat(new) -> Assign, and from the Concat alone through
//              Unsqueeze -> Broadcast (bidirectional, else it is not known) -> Reshape, where heads share keys, into
//              ScaledDotProductAttention. So the state grows in place and attention is one kernel.
//   window     of keys that a layer sees: BitwiseAnd(true, keys > queries + (-window)), BitwiseAnd with keys <=
//              queries, BitwiseAnd(true, .), BitwiseAnd with the mask, Broadcast, Select. Paged attention forgets the
//              window in any other form, and says nothing.
//   rotation   x * cos + Concat(-second half, first half) * sin, the angles from a product of frequencies and positions
//   norm       x * (1 / Sqrt(ReduceMean(Power(x, 2)) + epsilon)) * weights
//   codes      openvino_layers.h
//
// Inputs have their names as names of nodes too: paged attention looks for those.
//
// The graph is gone through twice, as in decoder_graph.cc: as a plan, in which parameters stand for weights, then with
// weights.
#include "worker/passes/openvino_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <openvino/core/runtime_attribute.hpp>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <utility>

#include "common/base/strings.h"
#include "kernels/half.h"
#include "kernels/pack.h"
#include "kernels/range.h"
#include "worker/decoder/decoder_tensors.h"
#include "worker/decoder/rope.h"
#include "worker/passes/openvino_graph.h"
#include "worker/passes/openvino_layers.h"

namespace hone {
namespace {

namespace op = ov::op;
using Value = ov::Output<ov::Node>;

// Of scores that are left out; a number in float16 and bfloat16 too.
constexpr double kMaskedScore = -65504;

template <class Operation, class... Arguments>
Value Make(Arguments&&... arguments) {
  return std::make_shared<Operation>(std::forward<Arguments>(arguments)...)->output(0);
}

Value Named(Value value, const std::string& name) {
  value.get_node()->set_friendly_name(name);
  return value;
}

Value Ints(const std::vector<int64_t>& values) {
  return Make<op::v0::Constant>(ov::element::i64, ov::Shape{values.size()}, values);
}
Value Int(int64_t value) { return Make<op::v0::Constant>(ov::element::i64, ov::Shape{}, std::vector<int64_t>{value}); }
Value Numbers(const ov::Shape& shape, const std::vector<float>& values) {
  return Make<op::v0::Constant>(ov::element::f32, shape, values);
}
Value Number(double value) { return Numbers({}, {static_cast<float>(value)}); }
Value True() { return Make<op::v0::Constant>(ov::element::boolean, ov::Shape{}, std::vector<char>{1}); }

// A dimension of a value, as a list of one.
Value DimensionOf(const Value& value, int64_t axis) {
  return Make<op::v8::Gather>(Make<op::v3::ShapeOf>(value), Ints({axis}), Int(0));
}
Value Joined(const ov::OutputVector& values, int64_t axis) { return Make<op::v0::Concat>(values, axis); }
Value Scaled(const Value& value, double factor) {
  return factor == 1 ? value : Make<op::v1::Multiply>(value, Number(factor));
}
// Elements [first, last) of the last dimension.
Value LastSlice(const Value& value, int64_t first, int64_t last) {
  return Make<op::v8::Slice>(value, Ints({first}), Ints({last}), Ints({1}), Ints({-1}));
}
Value Turned(const Value& value, const std::vector<int64_t>& order) {
  return Make<op::v1::Transpose>(value, Ints(order));
}
Value Shaped(const Value& value, const std::vector<int64_t>& dims) {
  return Make<op::v1::Reshape>(value, Ints(dims), true);
}

// Says of a conversion that it widens weights: the runtime keeps them narrow then. OpenVINO's reader knows it by name
// and version, and has the class itself in no header.
class Decompression : public ov::RuntimeAttribute {
 public:
  OPENVINO_RTTI("decompression", "0", ov::RuntimeAttribute)
  bool visit_attributes(ov::AttributeVisitor&) override { return true; }
};

// Angles of positions, for all layers that turn alike.
struct Rotation {
  RopeRule rule;
  Value cosines, sines;
};

class StatefulBuilder {
 public:
  // weights: where they go; nullptr makes nothing of them (a plan).
  StatefulBuilder(const Checkpoint& checkpoint, const DecoderConfig& config, const DecoderOptions& options,
                  WeightsFile* weights)
      : config_(config), options_(options), weights_(weights), tensors_(checkpoint, config) {}

  Result<std::shared_ptr<ov::Model>> Build();

  // What the plan found.
  const std::vector<NamedRows>& matrices() const { return matrices_; }
  const DecoderTensors& tensors() const { return tensors_; }
  void SetBits(std::map<std::string, int> bits) { bits_ = std::move(bits); }
  size_t requantized() const { return requantized_; }

 private:
  // Weights, as float32 values of [rows, columns].
  Result<Value> Matrix(const std::string& name, const RowSource& source, int bits);
  Result<Value> Floats(const std::string& name, const RowSource& source);
  Result<Value> Codes(const std::string& name, const RowSource& source, int bits);
  Result<Value> Blocks(const std::string& name, const RowSource& source);
  Result<std::shared_ptr<op::v0::Constant>> Kept(const std::string& name, const ov::element::Type& type,
                                                 const ov::Shape& shape, std::string_view bytes);
  Result<std::shared_ptr<op::v0::Constant>> KeptFloats(const std::string& name, const ov::element::Type& type,
                                                       const ov::Shape& shape, const std::vector<float>& values);
  bool KeepsBlocks(const RowSource& source) const;
  int LayerBits(const std::string& name) const;
  Result<Value> Product(const std::string& name, const Value& input, const DecoderMatrix& matrix);
  Result<Value> Norm(const std::string& name, const Value& input);

  // What all layers share.
  void Ports();
  Value FullMask() const;
  Value WindowMask() const;
  const Value& MaskOf(bool windowed);
  const Rotation& RotationOf(const RopeRule& rule);

  Result<Value> Table();
  Result<Value> Attention(int64_t layer, const Value& input);
  Result<std::array<Value, 3>> Heads(int64_t layer, const Value& input);
  Value Remembered(int64_t layer, const char* what, const Value& current);
  Value Repeated(const Value& cached) const;
  Value Attended(int64_t layer, const std::array<Value, 3>& heads);
  Result<Value> Mlp(int64_t layer, const Value& input);
  Result<Value> Layer(int64_t layer, Value sum);
  Result<Value> Head(const Value& hidden);

  const DecoderConfig& config_;
  const DecoderOptions& options_;
  WeightsFile* weights_;
  DecoderTensors tensors_;
  std::vector<NamedRows> matrices_;  // Of layers.
  std::map<std::string, int> bits_;
  size_t requantized_ = 0;

  ov::ParameterVector parameters_;
  Value ids_, mask_, positions_, beams_;
  Value batch_;       // How many sequences, a list of one.
  Value empty_;       // A state before its first token.
  Value table_;       // Embeddings [vocabulary, hidden].
  std::map<bool, Value> masks_;
  std::vector<Rotation> rotations_;
  ov::SinkVector sinks_;
};

// --- weights ---------------------------------------------------------------------------------------------------------

bool StatefulBuilder::KeepsBlocks(const RowSource& source) const {
  return options_.form == MatrixForm::stored && source.Blocks() != nullptr;
}

int StatefulBuilder::LayerBits(const std::string& name) const {
  if (options_.form != MatrixForm::codes) return 0;
  const auto found = bits_.find(name);
  return found == bits_.end() ? options_.coding.bits : found->second;
}

std::shared_ptr<op::v0::Constant> ConstantIn(std::shared_ptr<void> memory, const std::string& name,
                                             const ov::element::Type& type, const ov::Shape& shape) {
  const void* const data = memory.get();
  auto constant = std::make_shared<op::v0::Constant>(type, shape, data, std::move(memory));
  constant->set_friendly_name(name);
  return constant;
}

Result<std::shared_ptr<op::v0::Constant>> StatefulBuilder::Kept(const std::string& name, const ov::element::Type& type,
                                                                const ov::Shape& shape, std::string_view bytes) {
  TRY_ASSIGN(std::shared_ptr<void> memory, weights_->Add(bytes));
  return ConstantIn(std::move(memory), name, type, shape);
}

Result<std::shared_ptr<op::v0::Constant>> StatefulBuilder::KeptFloats(const std::string& name,
                                                                      const ov::element::Type& type,
                                                                      const ov::Shape& shape,
                                                                      const std::vector<float>& values) {
  if (type == ov::element::f32)
    return Kept(name, type, shape, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  std::vector<uint16_t> halves(values.size());
  kernels::FloatToHalf(values.data(), values.size(), kernels::Clamp::no, halves.data());
  return Kept(name, type, shape, {reinterpret_cast<const char*>(halves.data()), halves.size() * sizeof(uint16_t)});
}

Result<Value> StatefulBuilder::Floats(const std::string& name, const RowSource& source) {
  const ov::element::Type type = options_.half ? ov::element::f16 : ov::element::f32;
  const ov::Shape shape{source.Rows(), source.columns};
  const auto write = [&](const ByteSink& sink) { return WriteRows(source, options_.half, options_.threads, sink); };
  TRY_ASSIGN(std::shared_ptr<void> memory, weights_->Add(ov::shape_size(shape) * type.size(), write));
  const Value weight = ConstantIn(std::move(memory), name, type, shape)->output(0);
  if (!options_.half) return weight;
  const Value wide = Named(Make<op::v0::Convert>(weight, ov::element::f32), name + "/widened");
  wide.get_node()->get_rt_info()[Decompression::get_type_info_static()] = Decompression();
  return wide;
}

// Codes that lie around a middle one, as signed numbers of so many bits.
ByteSink SignedSink(int bits, const ByteSink& sink) {
  const auto flip = static_cast<unsigned char>(bits == 4 ? 0x88 : 0x80);
  return [flip, &sink](std::string_view bytes) {
    std::string flipped(bytes);
    for (char& byte : flipped) byte = static_cast<char>(static_cast<unsigned char>(byte) ^ flip);
    return sink(flipped);
  };
}

ov::element::Type TypeOfCodes(int bits, bool is_signed) {
  if (bits == 4) return is_signed ? ov::element::i4 : ov::element::u4;
  return is_signed ? ov::element::i8 : ov::element::u8;
}

// Zero points of MatMulNBits, whose rows end on bytes, one behind the other.
std::vector<uint8_t> ZerosInARow(const std::vector<uint8_t>& packed, size_t rows, size_t groups, int bits) {
  const size_t row_bytes = kernels::PackedBytes(groups, bits);
  std::vector<uint8_t> zeros(rows * groups);
  for (size_t row = 0; row < rows; ++row)
    kernels::UnpackCodes(packed.data() + row * row_bytes, groups, bits, zeros.data() + row * groups);
  return bits == 4 ? PackNibbles(zeros) : zeros;
}

// 4 bits in groups; 8 bits, and 4 where no group divides the columns, as 8 bits with a scale and a zero point a row.
Result<Value> StatefulBuilder::Codes(const std::string& name, const RowSource& source, int bits) {
  if (source.parts.front().weight->IsBlocks()) ++requantized_;
  Coding coding = options_.coding;
  coding.half_scales = true;
  const auto group = bits == 4 ? CompressibleGroup(source.columns, coding.group) : std::nullopt;
  coding.bits = group ? bits : kBackupBits;
  coding.group = group.value_or(source.columns);
  coding.symmetric = group && coding.symmetric;
  const size_t rows = source.Rows();
  const CompressedShapes shapes = ShapesOfCompressed(rows, source.columns, coding.group);
  CodedGrid grid;
  const auto write = [&](const ByteSink& sink) -> Result<> {
    TRY_ASSIGN(grid, WriteCodes(source, coding, options_.threads,
                                coding.symmetric ? SignedSink(coding.bits, sink) : sink));
    return {};
  };
  TRY_ASSIGN(std::shared_ptr<void> memory, weights_->Add(CodeBytes(source, coding.bits, coding.group), write));
  if (kernels::Range(grid.scales.data(), grid.scales.size()).non_finite > 0) {
    return Fail(ErrorCode::kRejected, fmt::format("the tensor '{}' holds numbers that are too large for codes",
                                                  Printable(source.Name(), 400)));
  }
  CompressedConstants constants;
  constants.codes = ConstantIn(std::move(memory), name, TypeOfCodes(coding.bits, coding.symmetric), shapes.codes);
  TRY_ASSIGN(constants.scales, KeptFloats(name + "/scale", ov::element::f16, shapes.scales, grid.scales));
  if (!coding.symmetric) {
    const std::vector<uint8_t> zeros =
        ZerosInARow(grid.zeros, rows, source.columns / coding.group, coding.bits);
    TRY_ASSIGN(constants.zero_points, Kept(name + "/zero_point", TypeOfCodes(coding.bits, false), shapes.scales,
                                           {reinterpret_cast<const char*>(zeros.data()), zeros.size()}));
  }
  return CompressedChain(constants, rows, source.columns, name)->output(0);
}

// weight = scale * (code - middle) + offset = scale * (code - zero). A block of one value has the scale 0: a millionth
// of the offset stands for it, which leaves the codes no weight.
std::vector<float> ZerosOfOffsets(const std::vector<float>& offsets, size_t rows, size_t groups, int bits,
                                  std::vector<float>& scales) {
  constexpr float kLeastShare = 0x1p-20f;
  const auto middle = static_cast<float>(1 << (bits - 1));
  std::vector<float> zeros(scales.size());
  for (size_t row = 0; row < rows; ++row) {
    for (size_t group = 0; group < groups; ++group) {
      float& scale = scales[row * groups + group];
      const float offset = offsets[group * rows + row];
      if (std::fabs(scale) < std::fabs(offset) * kLeastShare) scale = std::fabs(offset) * kLeastShare;
      zeros[row * groups + group] = scale == 0 ? middle : middle - offset / scale;
    }
  }
  return zeros;
}

bool AreHalves(const std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  std::vector<float> back(values.size());
  kernels::FloatToHalf(values.data(), values.size(), kernels::Clamp::no, halves.data());
  kernels::HalfToFloat(halves.data(), halves.size(), back.data());
  return back == values;
}

// The blocks of a GGUF file as they are: with zero points that are no whole numbers where a block has a least value.
Result<Value> StatefulBuilder::Blocks(const std::string& name, const RowSource& source) {
  const WeightTypeInfo& info = *source.Blocks();
  const size_t rows = source.Rows();
  const CompressedShapes shapes = ShapesOfCompressed(rows, source.columns, info.group);
  CodedGrid grid;
  const auto write = [&](const ByteSink& sink) -> Result<> {
    TRY_ASSIGN(grid, WriteBlocks(source, options_.threads, info.has_least ? sink : SignedSink(info.bits, sink)));
    return {};
  };
  TRY_ASSIGN(std::shared_ptr<void> memory, weights_->Add(CodeBytes(source, info.bits, info.group), write));
  CompressedConstants constants;
  constants.codes = ConstantIn(std::move(memory), name, TypeOfCodes(info.bits, !info.has_least), shapes.codes);
  if (info.has_least) {
    const std::vector<float> zeros =
        ZerosOfOffsets(grid.offsets, rows, source.columns / info.group, info.bits, grid.scales);
    TRY_ASSIGN(constants.zero_points, KeptFloats(name + "/zero_point", ov::element::f32, shapes.scales, zeros));
  }
  const bool halves = !info.has_least && AreHalves(grid.scales);
  TRY_ASSIGN(constants.scales,
             KeptFloats(name + "/scale", halves ? ov::element::f16 : ov::element::f32, shapes.scales, grid.scales));
  return CompressedChain(constants, rows, source.columns, name)->output(0);
}

Result<Value> StatefulBuilder::Matrix(const std::string& name, const RowSource& source, int bits) {
  const ov::Shape shape{source.Rows(), source.columns};
  if (weights_ == nullptr) return Make<op::v0::Parameter>(ov::element::f32, ov::PartialShape(shape));
  if (KeepsBlocks(source)) return Blocks(name, source);
  return bits == 0 ? Floats(name, source) : Codes(name, source, bits);
}

// A product of a layer, with what is added.
Result<Value> StatefulBuilder::Product(const std::string& name, const Value& input, const DecoderMatrix& matrix) {
  if (weights_ == nullptr) matrices_.push_back({name, matrix.source});
  TRY_ASSIGN(const Value weight, Matrix(name + ".weight", matrix.source, LayerBits(name)));
  const Value product = Named(Make<op::v0::MatMul>(input, weight, false, true), name);
  TRY_ASSIGN(const std::vector<float> bias, tensors_.Bias(matrix));
  if (bias.empty()) return product;
  return Make<op::v1::Add>(product, Named(Numbers({1, 1, bias.size()}, bias), name + ".bias"));
}

// Of the last dimension.
Result<Value> StatefulBuilder::Norm(const std::string& name, const Value& input) {
  const ov::PartialShape& shape = input.get_partial_shape();
  TRY_ASSIGN(const std::vector<float> weights, tensors_.Norm(name, shape[shape.size() - 1].get_length()));
  ov::Shape dims(shape.size(), 1);
  dims.back() = weights.size();
  const Value mean = Make<op::v1::ReduceMean>(Make<op::v1::Power>(input, Number(2)), Ints({-1}), true);
  const Value root = Make<op::v0::Sqrt>(Make<op::v1::Add>(mean, Number(config_.epsilon)));
  const Value normed = Make<op::v1::Multiply>(input, Make<op::v1::Divide>(Number(1), root));
  return Make<op::v1::Multiply>(Named(Numbers(dims, weights), name), normed);
}

// --- what all layers share -------------------------------------------------------------------------------------------

void StatefulBuilder::Ports() {
  const auto add = [&](const char* name, const ov::element::Type& type, const ov::PartialShape& shape) {
    const auto parameter = std::make_shared<op::v0::Parameter>(type, shape);
    parameter->set_friendly_name(name);
    parameter->output(0).set_names({name});
    parameters_.push_back(parameter);
    return parameter->output(0);
  };
  ids_ = add("input_ids", ov::element::i64, {-1, -1});
  mask_ = add("attention_mask", ov::element::i64, {-1, -1});
  positions_ = add("position_ids", ov::element::i64, {-1, -1});
  beams_ = add("beam_idx", ov::element::i32, {-1});
  batch_ = DimensionOf(ids_, 0);
  const Value dims = Joined({batch_, Ints({config_.kv_heads}), Ints({0}), Ints({config_.head_size})}, 0);
  empty_ = Make<op::v3::Broadcast>(Number(0), dims);
}

namespace masks {

// Places of all keys [1, 1, 1, keys] and of the queries, which are the last ones, [1, 1, queries, 1].
struct Places {
  Value queries, keys;
  Value query_count;  // A list of one, as the next.
  Value key_count;
};

Places PlacesOf(const Value& ids, const Value& mask) {
  Places places;
  places.key_count = DimensionOf(mask, 1);
  places.query_count = DimensionOf(ids, 1);
  const auto alone = [](const Value& list) { return Make<op::v0::Squeeze>(list, Ints({0})); };
  const auto range = [&](const Value& first) {
    return Make<op::v4::Range>(first, alone(places.key_count), Int(1), ov::element::i64);
  };
  const Value first_query = alone(Make<op::v1::Subtract>(places.key_count, places.query_count));
  places.keys = Make<op::v0::Unsqueeze>(range(Int(0)), Ints({0, 1, 2}));
  places.queries = Make<op::v0::Unsqueeze>(range(first_query), Ints({0, 1, 3}));
  return places;
}

// Which keys are tokens, [batch, 1, 1, keys].
Value TokensOf(const Value& mask) {
  return Make<op::v0::Unsqueeze>(Make<op::v1::Equal>(mask, Int(1)), Ints({1, 2}));
}

Value Scores(const Value& seen) { return Make<op::v1::Select>(seen, Number(0), Number(kMaskedScore)); }

}  // namespace masks

Value StatefulBuilder::FullMask() const {
  const masks::Places places = masks::PlacesOf(ids_, mask_);
  const Value before = Make<op::v1::LessEqual>(places.keys, places.queries);
  return masks::Scores(Make<op::v1::LogicalAnd>(before, masks::TokensOf(mask_)));
}

Value StatefulBuilder::WindowMask() const {
  const masks::Places places = masks::PlacesOf(ids_, mask_);
  const Value back = Make<op::v0::Constant>(ov::element::i64, ov::Shape{1, 1, 1, 1},
                                            std::vector<int64_t>{-config_.window});
  const Value near = Make<op::v1::Greater>(places.keys, Make<op::v1::Add>(places.queries, back));
  const Value inside = Make<op::v13::BitwiseAnd>(True(), near);
  const Value before = Make<op::v13::BitwiseAnd>(inside, Make<op::v1::LessEqual>(places.keys, places.queries));
  const Value seen =
      Make<op::v13::BitwiseAnd>(Make<op::v13::BitwiseAnd>(True(), before), masks::TokensOf(mask_));
  const Value dims = Joined({batch_, Ints({1}), places.query_count, places.key_count}, 0);
  return masks::Scores(Make<op::v3::Broadcast>(seen, dims));
}

const Value& StatefulBuilder::MaskOf(bool windowed) {
  auto found = masks_.find(windowed);
  if (found == masks_.end()) found = masks_.emplace(windowed, windowed ? WindowMask() : FullMask()).first;
  return found->second;
}

const Rotation& StatefulBuilder::RotationOf(const RopeRule& rule) {
  const auto known = std::find_if(rotations_.begin(), rotations_.end(),
                                  [&](const Rotation& rotation) { return rotation.rule == rule; });
  if (known != rotations_.end()) return *known;
  const auto pairs = static_cast<size_t>(rule.dimensions / 2);
  const RopeFrequencies near = FrequenciesOf(rule, RopeReach::up_to_original);
  Value frequencies = Numbers({1, pairs, 1}, near.inverse);
  if (rule.type == RopeType::longrope && config_.positions > rule.original_positions) {
    const Value last = Make<op::v1::ReduceMax>(positions_, Ints({0, 1}), false);
    const Value beyond = Make<op::v1::GreaterEqual>(last, Int(rule.original_positions));
    const Value far = Numbers({1, pairs, 1}, FrequenciesOf(rule, RopeReach::beyond).inverse);
    frequencies = Make<op::v1::Select>(beyond, far, frequencies);
  }
  const Value dims = Joined({DimensionOf(positions_, 0), Ints({static_cast<int64_t>(pairs)}), Ints({1})}, 0);
  const Value places =
      Make<op::v0::Convert>(Make<op::v0::Unsqueeze>(positions_, Ints({1})), ov::element::f32);
  const Value angles =
      Turned(Make<op::v0::MatMul>(Make<op::v3::Broadcast>(frequencies, dims), places, false, false), {0, 2, 1});
  const Value both = Joined({angles, angles}, -1);
  const auto factor = static_cast<double>(near.factor);
  const auto by_head = [&](const Value& value) {
    return Make<op::v0::Unsqueeze>(Scaled(value, factor), Ints({1}));
  };
  rotations_.push_back({rule, by_head(Make<op::v0::Cos>(both)), by_head(Make<op::v0::Sin>(both))});
  return rotations_.back();
}

// --- layers ----------------------------------------------------------------------------------------------------------

Value Rotated(const Value& heads, const Rotation& rotation, int64_t head_size) {
  const int64_t width = rotation.rule.dimensions;
  const bool whole = width == head_size;
  const Value turned = whole ? heads : LastSlice(heads, 0, width);
  const Value first = LastSlice(turned, 0, width / 2);
  const Value second = LastSlice(turned, width / 2, std::numeric_limits<int32_t>::max());
  const Value crossed = Joined({Make<op::v1::Multiply>(second, Number(-1)), first}, -1);
  const Value sum = Make<op::v1::Add>(Make<op::v1::Multiply>(turned, rotation.cosines),
                                      Make<op::v1::Multiply>(crossed, rotation.sines));
  return whole ? sum : Joined({sum, LastSlice(heads, width, head_size)}, -1);
}

// Queries, keys and values of the new tokens, [batch, heads, tokens, head size], turned by their positions.
Result<std::array<Value, 3>> StatefulBuilder::Heads(int64_t layer, const Value& input) {
  const std::string at = fmt::format("model.layers.{}.self_attn.", layer);
  TRY_ASSIGN(const auto matrices, tensors_.QueryKeyValue(layer));
  const auto number = static_cast<size_t>(layer);
  constexpr std::array<const char*, 3> kNames = {"q", "k", "v"};
  std::array<Value, 3> heads;
  for (size_t i = 0; i < heads.size(); ++i) {
    TRY_ASSIGN(const Value product, Product(at + kNames[i] + "_proj", input, matrices[i]));
    heads[i] = Shaped(product, {0, 0, i == 0 ? config_.heads : config_.kv_heads, config_.head_size});
    const bool is_value = i == 2;
    if (config_.head_norms && !is_value) {
      TRY_ASSIGN(heads[i], Norm(at + kNames[i] + "_norm.weight", heads[i]));
    }
    heads[i] = Turned(heads[i], {0, 2, 1, 3});
    if (is_value || !config_.rotary[number]) continue;
    const Rotation& rotation = RotationOf(config_.windowed[number] ? config_.local_rope : config_.rope);
    heads[i] = Rotated(heads[i], rotation, config_.head_size);
  }
  return heads;
}

// What there was before, of the sequences that are gone on with, and the new tokens.
Value StatefulBuilder::Remembered(int64_t layer, const char* what, const Value& current) {
  op::util::VariableInfo info;
  info.data_shape = ov::PartialShape{-1, config_.kv_heads, -1, config_.head_size};
  info.data_type = ov::element::f32;
  info.variable_id = fmt::format("past_key_values.{0}.{1}present.{0}.{1}", layer, what);
  const auto variable = std::make_shared<op::util::Variable>(info);
  const Value before = Make<op::v8::Gather>(Make<op::v6::ReadValue>(empty_, variable), beams_, Int(0));
  const Value all = Joined({before, current}, 2);
  sinks_.push_back(std::make_shared<op::v6::Assign>(all, variable));
  return all;
}

// Keys and values for each head, where heads share them.
Value StatefulBuilder::Repeated(const Value& cached) const {
  if (config_.heads == config_.kv_heads) return cached;
  const Value shape = Make<op::v3::ShapeOf>(cached);
  const auto dims = [&](const std::vector<int64_t>& axes) { return Make<op::v8::Gather>(shape, Ints(axes), Int(0)); };
  const Value wanted = Joined({dims({0, 1}), Ints({config_.heads / config_.kv_heads}), dims({2, 3})}, 0);
  const Value copies = Make<op::v3::Broadcast>(Make<op::v0::Unsqueeze>(cached, Ints({2})), wanted,
                                               op::BroadcastType::BIDIRECTIONAL);
  return Shaped(copies, {0, config_.heads, -1, config_.head_size});
}

Value StatefulBuilder::Attended(int64_t layer, const std::array<Value, 3>& heads) {
  const Value& mask = MaskOf(config_.windowed[static_cast<size_t>(layer)]);
  const Value scale = Number(config_.attention_scale);
  const auto& [queries, keys, values] = heads;
  if (config_.attention_softcap == 0)
    return Make<op::v13::ScaledDotProductAttention>(queries, keys, values, mask, scale, false);
  // The operator has no cap.
  const Value cap = Number(config_.attention_softcap);
  const Value scores = Make<op::v1::Multiply>(Make<op::v0::MatMul>(queries, keys, false, true), scale);
  const Value capped = Make<op::v1::Multiply>(Make<op::v0::Tanh>(Make<op::v1::Divide>(scores, cap)), cap);
  const Value shares = Make<op::v8::Softmax>(Make<op::v1::Add>(capped, mask), -1);
  return Make<op::v0::MatMul>(shares, values, false, false);
}

Result<Value> StatefulBuilder::Attention(int64_t layer, const Value& input) {
  TRY_ASSIGN(auto heads, Heads(layer, input));
  heads[1] = Repeated(Remembered(layer, "key", heads[1]));
  heads[2] = Repeated(Remembered(layer, "value", heads[2]));
  const Value attended = Turned(Attended(layer, heads), {0, 2, 1, 3});
  TRY_ASSIGN(const DecoderMatrix output, tensors_.AttentionOutput(layer));
  return Product(fmt::format("model.layers.{}.self_attn.o_proj", layer),
                 Shaped(attended, {0, 0, config_.heads * config_.head_size}), output);
}

Result<Value> StatefulBuilder::Mlp(int64_t layer, const Value& input) {
  const std::string at = fmt::format("model.layers.{}.mlp.", layer);
  TRY_ASSIGN(const DecoderMatrix gate_matrix, tensors_.MlpInput(layer, DecoderTensors::MlpPart::gate));
  TRY_ASSIGN(const DecoderMatrix up_matrix, tensors_.MlpInput(layer, DecoderTensors::MlpPart::up));
  TRY_ASSIGN(const DecoderMatrix down_matrix, tensors_.MlpOutput(layer));
  TRY_ASSIGN(const Value gate, Product(at + "gate_proj", input, gate_matrix));
  TRY_ASSIGN(const Value up, Product(at + "up_proj", input, up_matrix));
  const auto mode = config_.activation == Activation::gelu_tanh ? op::GeluApproximationMode::TANH
                                                                : op::GeluApproximationMode::ERF;
  const Value active =
      config_.activation == Activation::silu ? Make<op::v4::Swish>(gate) : Make<op::v7::Gelu>(gate, mode);
  return Product(at + "down_proj", Make<op::v1::Multiply>(active, up), down_matrix);
}

Result<Value> StatefulBuilder::Layer(int64_t layer, Value sum) {
  const std::string at = fmt::format("model.layers.{}.", layer);
  // A branch's outcome on its way to the sum.
  const auto add = [&](Value branch, const char* norm) -> Result<> {
    if (config_.four_norms) {
      TRY_ASSIGN(branch, Norm(at + norm, branch));
    }
    sum = Make<op::v1::Add>(sum, Scaled(branch, config_.residual_scale));
    return {};
  };
  TRY_ASSIGN(const Value attention_input, Norm(at + "input_layernorm.weight", sum));
  TRY_ASSIGN(const Value attended, Attention(layer, attention_input));
  TRY(add(attended, "post_attention_layernorm.weight"));
  const char* before_mlp = config_.four_norms ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight";
  TRY_ASSIGN(const Value mlp_input, Norm(at + before_mlp, sum));
  TRY_ASSIGN(const Value thought, Mlp(layer, mlp_input));
  TRY(add(thought, "post_feedforward_layernorm.weight"));
  return sum;
}

// --- both ends -------------------------------------------------------------------------------------------------------

Result<Value> StatefulBuilder::Table() {
  TRY_ASSIGN(const RowSource source, tensors_.Embeddings());
  const bool codes = options_.form == MatrixForm::codes;
  const int bits = !codes ? 0 : tensors_.IsTied() ? options_.head_bits : options_.table_bits;
  TRY_ASSIGN(table_, Matrix("model.embed_tokens.weight", source, bits));
  const Value rows =
      Make<op::v8::Gather>(table_, Make<op::v0::Convert>(ids_, ov::element::i32), Int(0));
  return Scaled(rows, config_.embedding_scale);
}

Result<Value> StatefulBuilder::Head(const Value& hidden) {
  Value weight = table_;
  if (!tensors_.IsTied()) {
    TRY_ASSIGN(const RowSource source, tensors_.Head());
    const int bits = options_.form == MatrixForm::codes ? options_.head_bits : 0;
    TRY_ASSIGN(weight, Matrix("lm_head.weight", source, bits));
  }
  const Value product = Named(Make<op::v0::MatMul>(hidden, weight, false, true), "lm_head");
  const Value scaled = Scaled(product, config_.logit_scale);
  if (config_.final_softcap == 0) return scaled;
  const Value cap = Number(config_.final_softcap);
  return Make<op::v1::Multiply>(Make<op::v0::Tanh>(Make<op::v1::Divide>(scaled, cap)), cap);
}

Result<std::shared_ptr<ov::Model>> StatefulBuilder::Build() {
  Ports();
  TRY_ASSIGN(Value sum, Table());
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    TRY_ASSIGN(sum, Layer(layer, sum));
  }
  TRY_ASSIGN(const Value hidden, Norm("model.norm.weight", sum));
  TRY_ASSIGN(const Value logits, Head(hidden));
  logits.get_tensor().set_names({"logits"});
  const auto result = std::make_shared<op::v0::Result>(logits);
  result->set_friendly_name("logits/result");
  // Of a plan, parameters stand for weights: it is no model.
  if (weights_ == nullptr) return std::shared_ptr<ov::Model>();
  return std::make_shared<ov::Model>(ov::ResultVector{result}, sinks_, parameters_, "model");
}

// OpenVINO's exceptions end here.
Result<std::shared_ptr<ov::Model>> Built(StatefulBuilder& builder) {
  TRY_ASSIGN(Result<std::shared_ptr<ov::Model>> built,
             CallOpenvino("build the graph", [&] { return builder.Build(); }));
  return built;
}

}  // namespace

Result<OpenvinoDecoder> BuildOpenvinoDecoderGraph(const Checkpoint& checkpoint, const DecoderConfig& config,
                                                  const DecoderOptions& options, WeightsFile& weights) {
  StatefulBuilder plan(checkpoint, config, options, nullptr);
  TRY(Built(plan));
  TRY(plan.tensors().CheckAllUsed());
  OpenvinoDecoder decoder;
  StatefulBuilder builder(checkpoint, config, options, &weights);
  if (options.form == MatrixForm::codes && options.ratio < 1 && options.coding.bits < kBackupBits) {
    TRY_ASSIGN(SharedBits shared, BitsBySensitivity(plan.matrices(), options.coding, options.ratio));
    decoder.notes.push_back(std::move(shared.note));
    builder.SetBits(std::move(shared.bits));
  }
  TRY_ASSIGN(decoder.model, Built(builder));
  if (builder.requantized() > 0) decoder.notes.push_back(RequantizedNote(builder.requantized()));
  if (config.attention_softcap != 0) {
    decoder.notes.push_back(
        "the cap of this family's attention has no place in paged attention; OpenVINO GenAI needs "
        "ATTENTION_BACKEND=SDPA");
  }
  return decoder;
}

}  // namespace hone
