// io_types     x: f32 -> ...                        x: u8 -> Cast -> ...
// layout       x: [1,3,H,W] -> ...                  x: [1,H,W,3] -> Transpose -> ...
// batch        x: [1,...] -> ... -> y: [1,...]      x: [batch,...] -> ... -> y: [batch,...]
// preprocess   x: f32 [1,3,H,W] -> ...              x: u8 [1,h,w,3] -> Cast, Transpose, Resize, channels,
//                                                      (v * scale - mean) / std -> ...
//
// A port keeps its name: the value that the graph used to read gets a new one, and nodes between the two.
#include "worker/passes/model_ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/model/model.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/simplify_steps.h"

namespace hone {

std::vector<std::string> PortWords(const PassContext& context, const char* name) {
  std::string text = context.Has(name) ? context.Text(name) : "";
  std::replace(text.begin(), text.end(), '+', ' ');
  std::replace(text.begin(), text.end(), ',', ' ');
  std::vector<std::string> words;
  for (const std::string& word : Split(text, ' ')) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

proto::ParameterInfo FreeText(const char* name, const char* help) {
  proto::ParameterInfo info = TextParameter(name, "", {}, help);
  info.clear_default_value();
  return info;
}

namespace {

using Words = std::vector<std::string>;

Result<std::vector<float>> NumbersOf(const PassContext& context, const char* name) {
  std::vector<float> numbers;
  for (const std::string& word : PortWords(context, name)) {
    const Result<double> number = ParseReal(word);
    if (!number) return Fail(ErrorCode::kRejected, fmt::format("{}: '{}' is no number", name, Printable(word, 100)));
    numbers.push_back(static_cast<float>(*number));
  }
  return numbers;
}

// Every name must be one of the ports.
Result<> CheckPortNames(const Words& names, const Words& known, const char* what) {
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Fail(ErrorCode::kRejected,
                fmt::format("the model has no {} '{}'{}", what, Printable(name, 200), DidYouMean(name, known)),
                "it has: " + Join(known, ", "));
  }
  return {};
}

bool IsMeant(const Words& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

Words InputNames(const onnx::GraphProto& graph) {
  Words names;
  for (const auto* input : RealInputs(graph)) names.push_back(input->name());
  return names;
}

Words OutputNamesOf(const onnx::GraphProto& graph) {
  Words names;
  for (const auto& output : graph.output()) names.push_back(output.name());
  return names;
}

void ReplaceUses(onnx::GraphProto& graph, const std::string& from, const std::string& to) {
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (std::string& input : *node.mutable_input()) input = input == from ? to : input;
    RenameCaptured(node, {{from, to}});
  }
}

onnx::NodeProto* AppendNode(onnx::GraphProto& graph, const std::string& type, const std::string& input,
                            const std::string& output) {
  auto* node = graph.add_node();
  node->set_op_type(type);
  node->set_name(output + "_made");
  node->add_input(input);
  node->add_output(output);
  return node;
}

void SetPerm(onnx::NodeProto& node, const std::vector<int64_t>& perm) {
  auto* attribute = node.add_attribute();
  attribute->set_name("perm");
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const int64_t axis : perm) attribute->add_ints(axis);
}

constexpr const char* kPortTypes[] = {"float32", "float16", "bfloat16", "float64", "int8",
                                      "uint8",   "int16",   "uint16",   "int32",   "int64"};

Result<ElementType> PortType(const std::string& name) {
  static constexpr std::pair<const char*, ElementType> kTypes[] = {
      {"float32", onnx::TensorProto::FLOAT},     {"float16", onnx::TensorProto::FLOAT16},
      {"bfloat16", onnx::TensorProto::BFLOAT16}, {"float64", onnx::TensorProto::DOUBLE},
      {"int8", onnx::TensorProto::INT8},         {"uint8", onnx::TensorProto::UINT8},
      {"int16", onnx::TensorProto::INT16},       {"uint16", onnx::TensorProto::UINT16},
      {"int32", onnx::TensorProto::INT32},       {"int64", onnx::TensorProto::INT64}};
  for (const auto& [word, type] : kTypes) {
    if (name == word) return type;
  }
  return Fail(ErrorCode::kBug, "no element type " + name);
}

proto::ParameterInfo TypeChoice(const char* name, const char* help) {
  proto::ParameterInfo info = FreeText(name, help);
  for (const char* type : kPortTypes) *info.add_choices() = TextValue(type);
  return info;
}

// --- io_types ---

int CastInputs(onnx::GraphProto& graph, const Words& names, ElementType type) {
  int changed = 0;
  for (onnx::ValueInfoProto& input : *graph.mutable_input()) {
    GraphIndex index(graph);
    if (index.Initializer(input.name()) != nullptr || !input.type().has_tensor_type() || !IsMeant(names, input.name()))
      continue;
    const ElementType old = input.type().tensor_type().elem_type();
    const bool number = old != onnx::TensorProto::STRING && old != onnx::TensorProto::BOOL;
    // Without names: what is float changes to another float or to what pictures are, the rest stays.
    if (old == type || !number ||
        (names.empty() && old != onnx::TensorProto::FLOAT && old != onnx::TensorProto::FLOAT16))
      continue;
    const std::string inner = index.FreshName(input.name() + "_cast");
    ReplaceUses(graph, input.name(), inner);
    SetIntAttribute(*AppendNode(graph, "Cast", input.name(), inner), "to", old);
    input.mutable_type()->mutable_tensor_type()->set_elem_type(type);
    ++changed;
  }
  return changed;
}

// The value that the graph made gets another name, so that the port keeps its own.
std::string MoveOutput(onnx::GraphProto& graph, const std::string& output) {
  const std::string inner = GraphIndex(graph).FreshName(output + "_inner");
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (std::string& made : *node.mutable_output()) made = made == output ? inner : made;
  }
  ReplaceUses(graph, output, inner);
  return inner;
}

int CastOutputs(onnx::GraphProto& graph, const Words& names, ElementType type) {
  int changed = 0;
  for (onnx::ValueInfoProto& output : *graph.mutable_output()) {
    if (!output.type().has_tensor_type() || !IsMeant(names, output.name())) continue;
    const ElementType old = output.type().tensor_type().elem_type();
    const bool is_float = old == onnx::TensorProto::FLOAT || old == onnx::TensorProto::FLOAT16;
    if (old == type || (names.empty() && !is_float) || GraphIndex(graph).Producer(output.name()) < 0) continue;
    const std::string inner = MoveOutput(graph, output.name());
    SetIntAttribute(*AppendNode(graph, "Cast", inner, output.name()), "to", type);
    output.mutable_type()->mutable_tensor_type()->set_elem_type(type);
    ++changed;
  }
  return changed;
}

// --- layout ---

void PermuteShape(onnx::ValueInfoProto& value, const std::vector<int64_t>& perm) {
  const onnx::TensorShapeProto old = value.type().tensor_type().shape();
  auto* shape = value.mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->clear_dim();
  for (const int64_t axis : perm) *shape->add_dim() = old.dim(static_cast<int>(axis));
}

const std::vector<int64_t> kToLast = {0, 2, 3, 1};   // NCHW -> NHWC
const std::vector<int64_t> kToFirst = {0, 3, 1, 2};  // NHWC -> NCHW

bool IsPicture(const onnx::ValueInfoProto& value) {
  return value.type().has_tensor_type() && value.type().tensor_type().has_shape() &&
         value.type().tensor_type().shape().dim_size() == 4;
}

// --- batch ---

bool SetBatch(onnx::ValueInfoProto& value, int64_t old, int64_t size) {
  if (!value.type().has_tensor_type() || value.type().tensor_type().shape().dim_size() == 0) return false;
  auto& dim = *value.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0);
  if (dim.has_dim_value() && dim.dim_value() != old) return false;
  dim.Clear();
  if (size > 0)
    dim.set_dim_value(size);
  else
    dim.set_dim_param("batch");
  return true;
}

// Reshapes that write the old batch down take it from their input instead: 0 copies a dimension. Returns how many.
int FreeReshapes(onnx::GraphProto& graph, int64_t old) {
  int changed = 0;
  GraphIndex index(graph);
  std::vector<onnx::TensorProto> added;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    if (!IsStandardOp(node, "Reshape") || node.input_size() < 2 || IntAttribute(node, "allowzero", 0) != 0) continue;
    const onnx::TensorProto* shape = index.Initializer(node.input(1));
    if (shape == nullptr) continue;
    const auto read = ReadTensor(*shape);
    if (!read || read->bytes.size() < sizeof(int64_t)) continue;
    std::vector<int64_t> dims(read->bytes.size() / sizeof(int64_t));
    std::copy_n(reinterpret_cast<const char*>(read->bytes.data()), read->bytes.size(),
                reinterpret_cast<char*>(dims.data()));
    if (dims[0] != old) continue;
    dims[0] = 0;
    added.push_back(MakeTensor(index.FreshName(node.input(1) + "_batch"), onnx::TensorProto::INT64,
                               {static_cast<int64_t>(dims.size())}, dims));
    node.set_input(1, added.back().name());
    ++changed;
  }
  for (onnx::TensorProto& tensor : added) *graph.add_initializer() = std::move(tensor);
  return changed;
}

// --- preprocess ---

// Shapes of what follows one after the other from the port to the value that the graph read.
class Chain {
 public:
  Chain(onnx::GraphProto& graph, const std::string& port, const std::string& end)
      : graph_(graph), at_(port), end_(end), index_(graph) {}

  onnx::NodeProto* Then(const std::string& type) {
    const std::string next = index_.FreshName(end_ + "_step");
    auto* node = AppendNode(graph_, type, at_, next);
    at_ = next;
    last_ = node;
    return node;
  }
  std::string Constant(const std::vector<float>& values, const std::vector<int64_t>& dims) {
    const std::string name = index_.FreshName(end_ + "_value");
    *graph_.add_initializer() = MakeTensor(name, onnx::TensorProto::FLOAT, dims, values);
    return name;
  }
  std::string Integers(const std::vector<int64_t>& values) {
    const std::string name = index_.FreshName(end_ + "_value");
    *graph_.add_initializer() =
        MakeTensor(name, onnx::TensorProto::INT64, {static_cast<int64_t>(values.size())}, values);
    return name;
  }
  void End() { last_->set_output(0, end_); }

 private:
  onnx::GraphProto& graph_;
  std::string at_;
  const std::string end_;
  GraphIndex index_;
  onnx::NodeProto* last_ = nullptr;
};

struct Picture {
  onnx::ValueInfoProto* port = nullptr;
  int64_t channels = 0;
  int64_t height = 0;  // -1: free.
  int64_t width = 0;
};

Result<Picture> FindPicture(onnx::GraphProto& graph, const PassContext& context) {
  const Words names = PortWords(context, "input");
  TRY(CheckPortNames(names, InputNames(graph), "input"));
  Picture picture;
  for (onnx::ValueInfoProto& input : *graph.mutable_input()) {
    if (GraphIndex(graph).Initializer(input.name()) != nullptr || !IsPicture(input) || !IsMeant(names, input.name()))
      continue;
    if (picture.port != nullptr)
      return Fail(ErrorCode::kRejected, "the model has several inputs of four dimensions", "name one with input");
    picture.port = &input;
  }
  if (picture.port == nullptr)
    return Fail(ErrorCode::kRejected, "the model has no input of four dimensions that could be a picture");
  const auto dims = DimsOf(*picture.port);
  picture.channels = (*dims)[1];
  picture.height = (*dims)[2];
  picture.width = (*dims)[3];
  const ElementType type = picture.port->type().tensor_type().elem_type();
  if (type != onnx::TensorProto::FLOAT)
    return Fail(ErrorCode::kRejected, fmt::format("input '{}' is no float32 picture", picture.port->name()));
  if (picture.channels != 1 && picture.channels != 3) {
    return Fail(ErrorCode::kRejected,
                fmt::format("input '{}' has {} channels in its second dimension, not 1 or 3", picture.port->name(),
                            picture.channels),
                "a picture is [batch, channels, height, width]; use layout first");
  }
  return picture;
}

Result<> CheckChannels(const std::vector<float>& values, int64_t channels, const char* name) {
  if (values.empty() || values.size() == 1 || static_cast<int64_t>(values.size()) == channels) return {};
  return Fail(ErrorCode::kRejected, fmt::format("{} has {} values for {} channels", name, values.size(), channels));
}

}  // namespace

proto::PassInfo IoTypesInfo() {
  proto::PassInfo info;
  info.set_name("io_types");
  info.set_version(1);
  info.set_summary("Gives inputs and outputs other element types, with casts inside");
  info.add_accepts("onnx");
  *info.add_parameters() = TypeChoice("input_type", "What float inputs (or those named) become; unset: they stay.");
  *info.add_parameters() = TypeChoice("output_type", "What float outputs (or those named) become; unset: they stay.");
  *info.add_parameters() = FreeText("names", "Inputs and outputs that are meant, joined by '+'; unset: all floats.");
  return info;
}

Result<> ConvertIoTypes(onnx::ModelProto& model, PassContext& context) {
  onnx::GraphProto& graph = *model.mutable_graph();
  const Words names = PortWords(context, "names");
  Words known = InputNames(graph);
  for (const std::string& name : OutputNamesOf(graph)) known.push_back(name);
  TRY(CheckPortNames(names, known, "input or output"));
  int inputs = 0, outputs = 0;
  if (context.Has("input_type")) {
    TRY_ASSIGN(const ElementType type, PortType(context.Text("input_type")));
    inputs = CastInputs(graph, names, type);
  }
  if (context.Has("output_type")) {
    TRY_ASSIGN(const ElementType type, PortType(context.Text("output_type")));
    outputs = CastOutputs(graph, names, type);
  }
  context.changes_types = true;
  context.notes.push_back(fmt::format("{} inputs and {} outputs cast", inputs, outputs));
  return {};
}

proto::PassInfo LayoutInfo() {
  proto::PassInfo info;
  info.set_name("layout");
  info.set_version(1);
  info.set_summary("Feeds pictures in the other order of dimensions, channels last or first");
  info.add_accepts("onnx");
  *info.add_parameters() =
      TextParameter("to", "nhwc", {"nhwc", "nchw"}, "What inputs of four dimensions become; they are the other now.");
  *info.add_parameters() = FreeText(
      "names", "Inputs and outputs that are meant, joined by '+'; unset: every input of four dimensions, no output.");
  return info;
}

Result<> ConvertLayout(onnx::ModelProto& model, PassContext& context) {
  onnx::GraphProto& graph = *model.mutable_graph();
  const Words names = PortWords(context, "names");
  Words known = InputNames(graph);
  for (const std::string& name : OutputNamesOf(graph)) known.push_back(name);
  TRY(CheckPortNames(names, known, "input or output"));
  const bool last = context.Text("to") == "nhwc";
  int changed = 0;
  for (onnx::ValueInfoProto& input : *graph.mutable_input()) {
    GraphIndex index(graph);
    if (index.Initializer(input.name()) != nullptr || !IsPicture(input) || !IsMeant(names, input.name())) continue;
    const std::string inner = index.FreshName(input.name() + "_turned");
    ReplaceUses(graph, input.name(), inner);
    SetPerm(*AppendNode(graph, "Transpose", input.name(), inner), last ? kToFirst : kToLast);
    PermuteShape(input, last ? kToLast : kToFirst);
    ++changed;
  }
  for (onnx::ValueInfoProto& output : *graph.mutable_output()) {
    if (names.empty() || !IsPicture(output) || !IsMeant(names, output.name()) ||
        GraphIndex(graph).Producer(output.name()) < 0)
      continue;
    const std::string inner = MoveOutput(graph, output.name());
    SetPerm(*AppendNode(graph, "Transpose", inner, output.name()), last ? kToLast : kToFirst);
    PermuteShape(output, last ? kToLast : kToFirst);
    ++changed;
  }
  if (changed == 0) return Fail(ErrorCode::kRejected, "nothing that is meant has four dimensions");
  context.notes.push_back(fmt::format("{} inputs and outputs turned to {}", changed, context.Text("to")));
  return {};
}

proto::PassInfo BatchInfo() {
  proto::PassInfo info;
  info.set_name("batch");
  info.set_version(1);
  info.set_summary("Changes the first dimension of inputs and outputs, or frees it");
  info.add_accepts("onnx");
  auto* size = info.add_parameters();
  *size = IntParameter("size", 0, {}, "Samples at once; 0: any number.");
  *size->mutable_minimum() = IntValue(0);
  *size->mutable_maximum() = IntValue(1 << 20);
  return info;
}

Result<> ChangeBatch(onnx::ModelProto& model, PassContext& context) {
  onnx::GraphProto& graph = *model.mutable_graph();
  const int64_t size = context.Int("size");
  std::optional<int64_t> old;
  for (const auto* input : RealInputs(graph)) {
    const auto dims = DimsOf(*input);
    if (!dims || dims->empty()) continue;
    if (old && *old != (*dims)[0])
      return Fail(ErrorCode::kRejected,
                  fmt::format("the inputs' first dimensions are {} and {}: it is not clear which is the batch", *old,
                              (*dims)[0]));
    old = (*dims)[0];
  }
  if (!old) return Fail(ErrorCode::kRejected, "no input has a first dimension");
  LiftConstants(graph);
  const int reshapes = *old > 0 ? FreeReshapes(graph, *old) : 0;
  for (auto& input : *graph.mutable_input()) {
    if (GraphIndex(graph).Initializer(input.name()) == nullptr) SetBatch(input, *old, size);
  }
  for (auto& output : *graph.mutable_output()) SetBatch(output, *old, size);
  graph.clear_value_info();
  // A constant that holds the old batch elsewhere shows in an inferred output.
  onnx::ModelProto inferred = model;
  for (auto& output : *inferred.mutable_graph()->mutable_output())
    output.mutable_type()->mutable_tensor_type()->clear_shape();
  InferShapes(inferred);
  for (const auto& output : inferred.graph().output()) {
    const auto dims = DimsOf(output);
    if (!dims || dims->empty() || *old <= 0 || (*dims)[0] != *old || size == *old) continue;
    return Fail(ErrorCode::kRejected,
                fmt::format("output '{}' keeps a first dimension of {}: the graph has the batch written into it",
                            output.name(), *old),
                "export the model with a free batch");
  }
  context.notes.push_back(
      fmt::format("the batch is {} now; {} Reshape follow it", size == 0 ? "free" : std::to_string(size), reshapes));
  return {};
}

proto::PassInfo PreprocessInfo() {
  proto::PassInfo info;
  info.set_name("preprocess");
  info.set_version(1);
  info.set_summary("Moves the preprocessing of pictures into the graph: bytes in, (value * scale - mean) / std inside");
  info.add_accepts("onnx");
  *info.add_parameters() = FreeText("input", "The input; unset: the only one of four dimensions.");
  *info.add_parameters() = RealParameter("scale", 1.0 / 255, 0, 1e6, "What bytes are multiplied with first.");
  *info.add_parameters() = FreeText("mean", "Taken off after scaling: one value or one a channel, joined by '+'.");
  *info.add_parameters() = FreeText("std", "Divided by in the end: one value or one a channel, joined by '+'.");
  *info.add_parameters() =
      BoolParameter("swap_colours", false, "The caller has RGB and the model wants BGR, or the other way round.");
  *info.add_parameters() = BoolParameter("nhwc", true, "The caller feeds channels last, as pictures are kept.");
  *info.add_parameters() = BoolParameter("bytes", true, "The caller feeds uint8 instead of float32.");
  *info.add_parameters() =
      BoolParameter("resize", false, "The caller feeds any size, which is stretched to the model's.");
  return info;
}

Result<> MovePreprocessing(onnx::ModelProto& model, PassContext& context) {
  onnx::GraphProto& graph = *model.mutable_graph();
  TRY_ASSIGN(const Picture picture, FindPicture(graph, context));
  TRY_ASSIGN(const std::vector<float> mean, NumbersOf(context, "mean"));
  TRY_ASSIGN(const std::vector<float> std, NumbersOf(context, "std"));
  TRY(CheckChannels(mean, picture.channels, "mean"));
  TRY(CheckChannels(std, picture.channels, "std"));
  if (std::find(std.begin(), std.end(), 0.0F) != std.end()) return Fail(ErrorCode::kRejected, "std holds a zero");
  const bool resize = context.Bool("resize");
  if (resize && (picture.height < 1 || picture.width < 1))
    return Fail(ErrorCode::kRejected, "resize needs the model's height and width fixed", "put fix_shapes before it");
  if (resize && OpsetVersion(model) < 13)
    return Fail(ErrorCode::kRejected, "resize needs opset 13", "put convert_opset before it");

  const std::string port = picture.port->name();
  const std::string inner = GraphIndex(graph).FreshName(port + "_prepared");
  ReplaceUses(graph, port, inner);
  Chain chain(graph, port, inner);
  if (context.Bool("bytes")) {
    SetIntAttribute(*chain.Then("Cast"), "to", onnx::TensorProto::FLOAT);
    picture.port->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::UINT8);
  }
  if (context.Bool("nhwc")) SetPerm(*chain.Then("Transpose"), kToFirst);
  if (resize) {
    // Sizes are of all dimensions, so the batch must be known; a free one is taken from the value itself by scales that
    // inference settles.
    const auto dims = DimsOf(*picture.port);
    if ((*dims)[0] < 1) return Fail(ErrorCode::kRejected, "resize needs a fixed batch", "put batch:size=1 before it");
    auto* node = chain.Then("Resize");
    node->add_input("");
    node->add_input("");
    node->add_input(chain.Integers({(*dims)[0], picture.channels, picture.height, picture.width}));
    for (const auto& [name, value] :
         {std::pair("mode", "linear"), std::pair("coordinate_transformation_mode", "half_pixel")}) {
      auto* attribute = node->add_attribute();
      attribute->set_name(name);
      attribute->set_type(onnx::AttributeProto::STRING);
      attribute->set_s(value);
    }
  }
  if (context.Bool("swap_colours") && picture.channels == 3) {
    auto* node = chain.Then("Gather");
    node->add_input(chain.Integers({2, 1, 0}));
    SetIntAttribute(*node, "axis", 1);
  }
  const auto shape_for = [](const std::vector<float>& values) {
    return std::vector<int64_t>{1, static_cast<int64_t>(values.size()), 1, 1};
  };
  chain.Then("Mul")->add_input(chain.Constant({static_cast<float>(context.Real("scale"))}, {}));
  if (!mean.empty()) chain.Then("Sub")->add_input(chain.Constant(mean, shape_for(mean)));
  if (!std.empty()) chain.Then("Div")->add_input(chain.Constant(std, shape_for(std)));
  chain.End();
  if (resize) {
    for (const int d : {2, 3})
      picture.port->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(d)->set_dim_param(
          d == 2 ? "height" : "width");
  }
  if (context.Bool("nhwc")) PermuteShape(*picture.port, kToLast);
  context.changes_types = true;
  context.notes.push_back(fmt::format("'{}' takes {} {}", port, context.Bool("bytes") ? "uint8" : "float32",
                                      context.Bool("nhwc") ? "NHWC" : "NCHW"));
  return {};
}

}  // namespace hone
