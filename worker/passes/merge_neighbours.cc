// Before: x -> Cast(f64) -> Cast(f32) -> Pad -> Conv -> Add(bias) -> Relu -> Relu -> y
// After:  x -> Conv(pads, bias) -> Relu -> y
//
// Each rule looks at a node and at what makes its inputs. The node takes the other's work over and reads what that one
// reads; the other goes with RemoveUnused where nobody else reads it. A node that has nothing left to do becomes an
// Identity, which the next round removes.
#include <algorithm>
#include <optional>

#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

using Integers = std::vector<int64_t>;

// What a number type holds exactly.
struct NumberType {
  ElementType type;
  bool is_float;
  bool is_signed;
  int bits;  // Of a whole number that is held exactly, without the sign.
};
constexpr NumberType kNumbers[] = {
    {onnx::TensorProto::BOOL, false, false, 1},     {onnx::TensorProto::INT8, false, true, 7},
    {onnx::TensorProto::UINT8, false, false, 8},    {onnx::TensorProto::INT16, false, true, 15},
    {onnx::TensorProto::UINT16, false, false, 16},  {onnx::TensorProto::INT32, false, true, 31},
    {onnx::TensorProto::UINT32, false, false, 32},  {onnx::TensorProto::INT64, false, true, 63},
    {onnx::TensorProto::UINT64, false, false, 64},  {onnx::TensorProto::FLOAT16, true, true, 11},
    {onnx::TensorProto::BFLOAT16, true, true, 8},   {onnx::TensorProto::FLOAT, true, true, 24},
    {onnx::TensorProto::DOUBLE, true, true, 53}};

const NumberType* NumberTypeOf(int64_t type) {
  const auto* found = std::find_if(std::begin(kNumbers), std::end(kNumbers),
                                   [&](const NumberType& row) { return row.type == type; });
  return found == std::end(kNumbers) ? nullptr : found;
}

// Every value of the one type is a value of the other.
bool IsWithin(const NumberType& narrow, const NumberType& wide) {
  if (narrow.type == wide.type) return true;
  if (narrow.is_float)
    return wide.is_float && (wide.type == onnx::TensorProto::DOUBLE || wide.type == onnx::TensorProto::FLOAT) &&
           narrow.bits <= wide.bits;
  return narrow.bits <= wide.bits && (wide.is_signed || !narrow.is_signed);
}

bool IsReduction(const onnx::NodeProto& node) {
  return node.op_type().starts_with("Reduce") && (node.domain().empty() || node.domain() == "ai.onnx");
}

void MakeIdentity(onnx::NodeProto& node, const std::string& input_name) {
  const std::string input = input_name;  // It may be the node's own.
  const std::string output = node.output(0), name = node.name();
  node.Clear();
  node.set_op_type("Identity");
  node.set_name(name);
  node.add_input(input);
  node.add_output(output);
}

class Neighbours {
 public:
  Neighbours(onnx::GraphProto& graph, const ValueTypes& types, bool lossy_casts)
      : graph_(graph), types_(types), index_(graph), lossy_casts_(lossy_casts) {}

  int Run();

 private:
  using Rule = bool (Neighbours::*)(onnx::NodeProto& node);
  struct Row {
    const char* op_type;
    Rule merge;
  };
  static const Row kRows[];

  bool Casts(onnx::NodeProto& node);
  bool Twice(onnx::NodeProto& node);
  bool SqueezeBehindUnsqueeze(onnx::NodeProto& node) { return UndoesAxes(node, "Unsqueeze"); }
  bool Unsqueeze(onnx::NodeProto& node) { return UndoesAxes(node, "Squeeze") || UnsqueezeBehindReduction(node); }
  bool UndoesAxes(onnx::NodeProto& node, const char* inner_type);
  bool UnsqueezeBehindReduction(onnx::NodeProto& node);
  bool Concats(onnx::NodeProto& node);
  bool TransposeBeforeGemm(onnx::NodeProto& node);
  bool PadBeforeConv(onnx::NodeProto& node);
  bool BiasBehindConv(onnx::NodeProto& node);

  // The node that makes the value; nullptr where none does.
  onnx::NodeProto* Maker(const std::string& value) {
    const int producer = index_.Producer(value);
    return producer < 0 ? nullptr : graph_.mutable_node(producer);
  }
  onnx::NodeProto* Maker(const onnx::NodeProto& node, int input, std::string_view op_type) {
    if (input >= node.input_size()) return nullptr;
    onnx::NodeProto* maker = Maker(node.input(input));
    return maker != nullptr && IsStandardOp(*maker, op_type) && !maker->input().empty() ? maker : nullptr;
  }
  // Whether one node alone reads it; only as the graph was at the start.
  bool IsReadOnce(const std::string& value) const {
    return index_.Consumers(value).size() == 1 && !index_.IsGraphOutput(value);
  }
  const onnx::TensorProto* Constant(const onnx::NodeProto& node, int input) const {
    if (input >= node.input_size() || node.input(input).empty() || index_.IsGraphInput(node.input(input)))
      return nullptr;
    return index_.Initializer(node.input(input));
  }
  // Axes or pads: an attribute, or a constant input of newer operators.
  std::optional<Integers> ListOf(const onnx::NodeProto& node, const char* attribute, int input) const;
  std::optional<Integers> PadsOf(const onnx::NodeProto& pad) const;

  onnx::GraphProto& graph_;
  const ValueTypes& types_;
  GraphIndex index_;
  const bool lossy_casts_;
};

const Neighbours::Row Neighbours::kRows[] = {
    {"Cast", &Neighbours::Casts},
    {"Relu", &Neighbours::Twice},
    {"Abs", &Neighbours::Twice},
    {"Ceil", &Neighbours::Twice},
    {"Floor", &Neighbours::Twice},
    {"Round", &Neighbours::Twice},
    {"Squeeze", &Neighbours::SqueezeBehindUnsqueeze},
    {"Unsqueeze", &Neighbours::Unsqueeze},
    {"Concat", &Neighbours::Concats},
    {"Gemm", &Neighbours::TransposeBeforeGemm},
    {"Conv", &Neighbours::PadBeforeConv},
    {"Add", &Neighbours::BiasBehindConv},
};

int Neighbours::Run() {
  int merged = 0;
  for (int i = 0; i < graph_.node_size(); ++i) {
    onnx::NodeProto& node = *graph_.mutable_node(i);
    for (const Row& row : kRows) {
      if (!IsStandardOp(node, row.op_type) || node.input().empty()) continue;
      merged += (this->*row.merge)(node) ? 1 : 0;
      break;
    }
  }
  return merged;
}

std::optional<Integers> Neighbours::ListOf(const onnx::NodeProto& node, const char* attribute, int input) const {
  if (const auto* list = FindAttribute(node, attribute)) return Integers(list->ints().begin(), list->ints().end());
  const onnx::TensorProto* constant = Constant(node, input);
  return constant == nullptr ? std::nullopt : IntegersOf(*constant);
}

bool Neighbours::Casts(onnx::NodeProto& node) {
  const onnx::NodeProto* inner = Maker(node, 0, "Cast");
  if (inner == nullptr) return false;
  const NumberType* from = NumberTypeOf(types_.Of(inner->input(0)).element);
  const NumberType* middle = NumberTypeOf(IntAttribute(*inner, "to", 0));
  const NumberType* to = NumberTypeOf(IntAttribute(node, "to", 0));
  if (from == nullptr || middle == nullptr || to == nullptr) return false;
  // Between whole numbers and fractions, the way decides what becomes of what does not fit.
  const bool one_kind = from->is_float == middle->is_float && middle->is_float == to->is_float;
  const bool back = from->type == to->type;
  const bool exact = IsWithin(*from, *middle) && (one_kind || back);
  const bool lossy = lossy_casts_ && back && one_kind && from->is_float;
  if (!exact && !lossy) return false;
  node.set_input(0, inner->input(0));
  return true;
}

bool Neighbours::Twice(onnx::NodeProto& node) {
  const onnx::NodeProto* inner = Maker(node, 0, node.op_type());
  if (inner == nullptr) return false;
  node.set_input(0, inner->input(0));
  return true;
}

bool Neighbours::UndoesAxes(onnx::NodeProto& node, const char* inner_type) {
  const onnx::NodeProto* inner = Maker(node, 0, inner_type);
  if (inner == nullptr) return false;
  std::optional<Integers> own = ListOf(node, "axes", 1), its = ListOf(*inner, "axes", 1);
  if (!own || !its || own->empty()) return false;
  std::sort(own->begin(), own->end());
  std::sort(its->begin(), its->end());
  if (*own != *its) return false;
  MakeIdentity(node, inner->input(0));
  return true;
}

bool Neighbours::UnsqueezeBehindReduction(onnx::NodeProto& node) {
  const onnx::NodeProto* inner = Maker(node.input(0));
  if (inner == nullptr || !IsReduction(*inner) || IntAttribute(*inner, "keepdims", 1) != 0 ||
      !IsReadOnce(node.input(0)))
    return false;
  std::optional<Integers> own = ListOf(node, "axes", 1), its = ListOf(*inner, "axes", 1);
  if (!own || !its || own->empty()) return false;
  std::sort(own->begin(), own->end());
  std::sort(its->begin(), its->end());
  if (*own != *its) return false;
  onnx::NodeProto reduction = *inner;
  SetIntAttribute(reduction, "keepdims", 1);
  reduction.set_name(node.name());
  reduction.set_output(0, node.output(0));
  node = std::move(reduction);
  return true;
}

bool Neighbours::Concats(onnx::NodeProto& node) {
  const int64_t axis = IntAttribute(node, "axis", 0);
  std::vector<std::string> inputs;
  bool merged = false;
  for (int i = 0; i < node.input_size(); ++i) {
    const onnx::NodeProto* inner = Maker(node, i, "Concat");
    const bool joins = inner != nullptr && IntAttribute(*inner, "axis", 0) == axis && IsReadOnce(node.input(i));
    if (joins)
      inputs.insert(inputs.end(), inner->input().begin(), inner->input().end());
    else
      inputs.push_back(node.input(i));
    merged = merged || joins;
  }
  if (!merged) return false;
  node.clear_input();
  for (const std::string& input : inputs) node.add_input(input);
  return true;
}

bool Neighbours::TransposeBeforeGemm(onnx::NodeProto& node) {
  bool merged = false;
  for (const auto& [input, key] : {std::pair(0, "transA"), std::pair(1, "transB")}) {
    const onnx::NodeProto* inner = Maker(node, input, "Transpose");
    if (inner == nullptr) continue;
    const auto* perm = FindAttribute(*inner, "perm");
    if (perm != nullptr && perm->ints_size() == 2 && perm->ints(0) == 0) continue;
    node.set_input(input, inner->input(0));
    SetIntAttribute(node, key, IntAttribute(node, key, 0) == 0 ? 1 : 0);
    merged = true;
  }
  return merged;
}

// The pads of a Pad that adds zeros; nullopt for any other.
std::optional<Integers> Neighbours::PadsOf(const onnx::NodeProto& pad) const {
  const auto* mode = FindAttribute(pad, "mode");
  const auto* value = FindAttribute(pad, "value");
  if ((mode != nullptr && mode->s() != "constant") || (value != nullptr && value->f() != 0)) return std::nullopt;
  if (pad.input_size() > 3 && !pad.input(3).empty()) return std::nullopt;
  if (pad.input_size() > 2 && !pad.input(2).empty()) {
    const onnx::TensorProto* filler = Constant(pad, 2);
    const Result<Tensor> read = filler == nullptr || ElementBytes(filler->data_type()) == 0
                                    ? Result<Tensor>(Fail(ErrorCode::kRejected, ""))
                                    : ReadTensor(*filler);
    const auto is_zero = [](std::byte byte) { return byte == std::byte{}; };
    if (!read || !std::all_of(read->bytes.begin(), read->bytes.end(), is_zero)) return std::nullopt;
  }
  std::optional<Integers> pads = ListOf(pad, "pads", 1);
  if (!pads || pads->size() < 6 || pads->size() % 2 != 0) return std::nullopt;
  if (std::any_of(pads->begin(), pads->end(), [](int64_t size) { return size < 0; })) return std::nullopt;
  return pads;
}

bool Neighbours::PadBeforeConv(onnx::NodeProto& node) {
  const onnx::NodeProto* inner = Maker(node, 0, "Pad");
  const auto* automatic = FindAttribute(node, "auto_pad");
  if (inner == nullptr || (automatic != nullptr && automatic->s() != "NOTSET")) return false;
  const std::optional<Integers> added = PadsOf(*inner);
  if (!added) return false;
  const size_t rank = added->size() / 2, spatial = rank - 2;
  if ((*added)[0] != 0 || (*added)[1] != 0 || (*added)[rank] != 0 || (*added)[rank + 1] != 0) return false;
  Integers pads(2 * spatial, 0);
  auto* given = const_cast<onnx::AttributeProto*>(FindAttribute(node, "pads"));
  if (given != nullptr && given->ints_size() != static_cast<int>(pads.size())) return false;
  if (given != nullptr) pads.assign(given->ints().begin(), given->ints().end());
  for (size_t i = 0; i < spatial; ++i) {
    pads[i] += (*added)[2 + i];
    pads[spatial + i] += (*added)[rank + 2 + i];
  }
  if (given == nullptr) {
    given = node.add_attribute();
    given->set_name("pads");
    given->set_type(onnx::AttributeProto::INTS);
  }
  given->clear_ints();
  for (const int64_t size : pads) given->add_ints(size);
  node.set_input(0, inner->input(0));
  return true;
}

// One value a channel, of a constant that broadcasts against the convolution's output along its channels alone.
std::optional<std::vector<float>> ChannelValues(const onnx::TensorProto& tensor, size_t channels, size_t rank) {
  if (tensor.data_type() != onnx::TensorProto::FLOAT) return std::nullopt;
  const auto size = static_cast<size_t>(tensor.dims_size());
  if (size > rank) return std::nullopt;
  for (size_t i = 0; i < size; ++i) {
    const bool is_channel = rank - size + i == 1;
    const auto dim = static_cast<size_t>(tensor.dims(static_cast<int>(i)));
    if (dim != 1 && !(is_channel && dim == channels)) return std::nullopt;
  }
  const Result<Tensor> read = ReadTensor(tensor);
  if (!read || read->Elements() < 1) return std::nullopt;
  std::vector<float> values = ToFloats(*read);
  values.resize(channels, values.front());
  return values;
}

bool Neighbours::BiasBehindConv(onnx::NodeProto& node) {
  for (const int at : {0, 1}) {
    onnx::NodeProto* conv = Maker(node, at, "Conv");
    const onnx::TensorProto* constant = Constant(node, 1 - at);
    if (conv == nullptr || constant == nullptr || !IsReadOnce(node.input(at))) continue;
    const onnx::TensorProto* weight = Constant(*conv, 1);
    if (weight == nullptr || weight->data_type() != onnx::TensorProto::FLOAT || weight->dims_size() < 3) continue;
    const auto channels = static_cast<size_t>(weight->dims(0));
    auto values = ChannelValues(*constant, channels, static_cast<size_t>(weight->dims_size()));
    if (!values) continue;
    const bool biased = conv->input_size() > 2 && !conv->input(2).empty();
    const onnx::TensorProto* bias = Constant(*conv, 2);
    if (biased && bias == nullptr) continue;
    if (biased) {
      const auto old = ChannelValues(*bias, channels, 2);
      if (!old) continue;
      for (size_t i = 0; i < channels; ++i) (*values)[i] += (*old)[i];
    }
    const std::string name = index_.FreshName(conv->output(0) + "_bias");
    *graph_.add_initializer() =
        MakeTensor(name, onnx::TensorProto::FLOAT, {static_cast<int64_t>(channels)}, *values);
    while (conv->input_size() < 3) conv->add_input("");
    conv->set_input(2, name);
    MakeIdentity(node, node.input(at));
    return true;
  }
  return false;
}

}  // namespace

int MergeNeighbours(onnx::GraphProto& graph, const ValueTypes& types, bool lossy_casts) {
  return Neighbours(graph, types, lossy_casts).Run();
}

}  // namespace hone
