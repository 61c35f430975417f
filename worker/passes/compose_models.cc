// Before: part_0: x -> a    part_1: a, m -> b    (parts.json tells the order)
// After:  x, m -> a -> b, one file
//
// First it is settled which input of each part takes which output of a part before it and what the whole feeds and
// gives; then the parts are copied into one graph, one after the other, with every name that is taken replaced in the
// part and in all its subgraphs.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/passes/model_parts.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

using Words = std::vector<std::string>;
using Names = std::unordered_map<std::string, std::string>;

struct Manifest {
  Words models;
  bool by_name = false;            // Inputs take values of their names alone.
  std::optional<Words> inputs;     // Of the whole, in order.
  std::optional<Words> outputs;
};

// An output of a part.
struct Source {
  size_t part = 0;
  std::string name;
  bool operator<(const Source& other) const { return std::tie(part, name) < std::tie(other.part, other.name); }
};

struct ComposedPart {
  std::string path;
  onnx::ModelProto model;
  std::map<std::string, Source> taken;  // Inputs that an earlier part feeds.
  Names names;                          // What its values are called in the whole.
};

// --- the manifest ---

std::optional<Words> WordsIn(const nlohmann::json& list) {
  Words words;
  if (!list.is_array()) return std::nullopt;
  for (const auto& word : list) {
    if (!word.is_string()) return std::nullopt;
    words.push_back(word.get<std::string>());
  }
  return words;
}

Result<Manifest> ReadManifest(const proto::LocalBundle& bundle) {
  if (!IsBundled(bundle, kPartsFile))
    return Fail(ErrorCode::kRejected, fmt::format("the model has no {}, which tells its parts", kPartsFile),
                "give the folder that `split` wrote, or use `hone compose A.onnx B.onnx -o OUT`");
  TRY_ASSIGN(const nlohmann::json json, ReadBundledJson(bundle, kPartsFile));
  const auto wrong = [](const std::string& what) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: {}", kPartsFile, what));
  };
  Manifest manifest;
  if (!json.contains("parts") || !json["parts"].is_array()) return wrong("it has no list 'parts'");
  if (json["parts"].empty() || json["parts"].size() > kMaxParts)
    return wrong(fmt::format("it lists {} parts; 1 to {} can be joined", json["parts"].size(), kMaxParts));
  for (const auto& part : json["parts"]) {
    const bool named = part.is_object() && part.contains("model") && part["model"].is_string();
    if (!named) return wrong("a part has no 'model'");
    manifest.models.push_back(part["model"].get<std::string>());
    if (!IsBundled(bundle, manifest.models.back()))
      return wrong(fmt::format("there is no file '{}'", Printable(manifest.models.back(), 200)));
  }
  manifest.by_name = json.contains("match") && json["match"] == "name";
  for (const auto& [key, slot] : {std::pair("inputs", &manifest.inputs), std::pair("outputs", &manifest.outputs)}) {
    if (!json.contains(key)) continue;
    *slot = WordsIn(json[key]);
    if (!*slot) return wrong(fmt::format("'{}' is no list of names", key));
  }
  return manifest;
}

// --- what goes together ---

const onnx::ValueInfoProto* PortNamed(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& ports,
                                 const std::string& name) {
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const auto& port) { return port.name() == name; });
  return found == ports.end() ? nullptr : &*found;
}

std::string ValueTypeText(const onnx::ValueInfoProto& value) {
  if (!value.type().has_tensor_type()) return "no tensor";
  std::string dims = "?";
  if (const auto known = DimsOf(value)) {
    Words words;
    for (const int64_t dim : *known) words.push_back(dim < 0 ? "?" : std::to_string(dim));
    dims = Join(words, ",");
  }
  return fmt::format("{}[{}]", ElementName(value.type().tensor_type().elem_type()), dims);
}

bool GoTogether(const onnx::ValueInfoProto& given, const onnx::ValueInfoProto& wanted) {
  if (!given.type().has_tensor_type() || !wanted.type().has_tensor_type())
    return given.type().SerializeAsString() == wanted.type().SerializeAsString();
  if (given.type().tensor_type().elem_type() != wanted.type().tensor_type().elem_type()) return false;
  const auto from = DimsOf(given), to = DimsOf(wanted);
  if (!from || !to) return true;
  return std::equal(from->begin(), from->end(), to->begin(), to->end(),
                    [](int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; });
}

class Composer {
 public:
  Composer(std::vector<ComposedPart> parts, const Manifest& manifest)
      : parts_(std::move(parts)), manifest_(manifest) {}
  Result<onnx::ModelProto> Run(PassContext& context);

 private:
  Result<> Connect(size_t part, PassContext& context);
  bool ConnectInOrder(size_t part, const std::vector<const onnx::ValueInfoProto*>& inputs);
  // Where the value comes from that the nearest part before `part` gives under the name.
  std::optional<Source> Giver(size_t part, const std::string& name) const;
  // The same of a part's output: one that is only handed through comes from farther back.
  Source Origin(Source source) const;
  const onnx::ValueInfoProto& OutputOf(const Source& source) const {
    return *PortNamed(parts_[source.part].model.graph().output(), source.name);
  }
  void SettleInputs(PassContext& context);
  Result<> SettleOutputs(PassContext& context);
  std::string Fresh(const std::string& wish);
  void CopyPart(size_t part);
  Result<> MergeHeads();

  std::vector<ComposedPart> parts_;
  const Manifest& manifest_;
  onnx::ModelProto whole_;
  std::vector<Source> outputs_;
  std::unordered_set<std::string> names_;  // Of values and nodes that the whole has.
  std::unordered_map<std::string, const onnx::TensorProto*> stored_;  // The whole's initializers.
};

std::optional<Source> Composer::Giver(size_t part, const std::string& name) const {
  for (size_t i = part; i-- > 0;) {
    if (PortNamed(parts_[i].model.graph().output(), name) != nullptr) return Origin({i, name});
  }
  return std::nullopt;
}

Source Composer::Origin(Source source) const {
  for (auto taken = parts_[source.part].taken.find(source.name); taken != parts_[source.part].taken.end();
       taken = parts_[source.part].taken.find(source.name))
    source = taken->second;
  return source;
}

bool Composer::ConnectInOrder(size_t part, const std::vector<const onnx::ValueInfoProto*>& inputs) {
  const auto& outputs = parts_[part - 1].model.graph().output();
  if (inputs.size() != static_cast<size_t>(outputs.size())) return false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!GoTogether(outputs.at(static_cast<int>(i)), *inputs[i])) return false;
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    parts_[part].taken[inputs[i]->name()] = Origin({part - 1, outputs.at(static_cast<int>(i)).name()});
  return true;
}

Result<> Composer::Connect(size_t part, PassContext& context) {
  ComposedPart& own = parts_[part];
  const auto inputs = RealInputs(own.model.graph());
  for (const auto* input : inputs) {
    const auto source = Giver(part, input->name());
    if (!source) continue;
    if (!GoTogether(OutputOf(*source), *input)) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("'{}' is {} in {} and {} in {}", Printable(input->name(), 200),
                              ValueTypeText(OutputOf(*source)), parts_[source->part].path, ValueTypeText(*input),
                              own.path));
    }
    own.taken[input->name()] = *source;
  }
  const bool fits = !own.taken.empty() || (!manifest_.by_name && ConnectInOrder(part, inputs));
  if (!fits && !manifest_.by_name) {
    return Fail(ErrorCode::kRejected, fmt::format("no input of {} takes an output of what stands before it", own.path),
                "give it the name of one: graph_surgeries:surgeries=RenameInputs:OLD>NEW");
  }
  Words told;
  for (const auto& [input, source] : own.taken)
    told.push_back(input == source.name ? input : fmt::format("{} -> {}", source.name, input));
  context.notes.push_back(
      Printable(fmt::format("{} takes {}", own.path, told.empty() ? "nothing of the others" : Join(told, ", ")), 500));
  return {};
}

std::string Composer::Fresh(const std::string& wish) {
  std::string name = wish;
  for (int number = 2; names_.contains(name); ++number) name = fmt::format("{}_{}", wish, number);
  names_.insert(name);
  return name;
}

void TellNewName(const char* what, const std::string& old, const std::string& path, const std::string& name,
                 PassContext& context) {
  context.notes.push_back(Printable(fmt::format("{} '{}' of {} is '{}'", what, old, path, name), 500));
}

// Inputs that no part feeds; those of one name and type are one.
void Composer::SettleInputs(PassContext& context) {
  onnx::GraphProto& graph = *whole_.mutable_graph();
  for (ComposedPart& part : parts_) {
    for (const auto* input : RealInputs(part.model.graph())) {
      if (part.taken.contains(input->name())) continue;
      const auto* known = PortNamed(graph.input(), input->name());
      if (known != nullptr && GoTogether(*known, *input)) {
        part.names[input->name()] = known->name();
        continue;
      }
      const std::string name = Fresh(input->name());
      part.names[input->name()] = name;
      *graph.add_input() = *input;
      graph.mutable_input(graph.input_size() - 1)->set_name(name);
      if (name != input->name())
        TellNewName("input", input->name(), part.path, name, context);
    }
  }
  if (!manifest_.inputs) return;
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> ordered;
  for (const std::string& name : *manifest_.inputs) {
    const auto* input = PortNamed(graph.input(), name);
    if (input != nullptr && PortNamed(ordered, name) == nullptr) *ordered.Add() = *input;
  }
  for (const auto& input : graph.input()) {
    if (PortNamed(ordered, input.name()) == nullptr) *ordered.Add() = input;
  }
  graph.mutable_input()->Swap(&ordered);
}

Result<> Composer::SettleOutputs(PassContext& context) {
  const auto add = [&](const Source& source) {
    const auto same = [&](const Source& known) { return known.part == source.part && known.name == source.name; };
    if (std::none_of(outputs_.begin(), outputs_.end(), same)) outputs_.push_back(source);
  };
  if (manifest_.outputs) {
    for (const std::string& name : *manifest_.outputs) {
      const auto source = Giver(parts_.size(), name);
      if (!source)
        return Fail(ErrorCode::kRejected, fmt::format("{}: no part gives '{}'", kPartsFile, Printable(name, 200)));
      add(*source);
    }
  } else {
    std::map<Source, bool> taken;
    for (const ComposedPart& part : parts_) {
      for (const auto& [input, source] : part.taken) taken[source] = true;
    }
    for (size_t i = 0; i < parts_.size(); ++i) {
      for (const auto& output : parts_[i].model.graph().output()) {
        const Source source = Origin({i, output.name()});
        if (!taken.contains(source)) add(source);
      }
    }
  }
  for (const Source& source : outputs_) {
    Names& names = parts_[source.part].names;
    // An input that is handed through keeps the input's name.
    if (!names.contains(source.name)) names[source.name] = Fresh(source.name);
    if (names[source.name] != source.name)
      TellNewName("output", source.name, parts_[source.part].path, names[source.name], context);
  }
  return {};
}

// Visits every name of a value in a graph, where it is made and where it is read.
template <class Visit>
void VisitValueNames(onnx::GraphProto& root, const Visit& visit) {
  VisitGraphs(root, [&](onnx::GraphProto& graph) {
    for (auto* values : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()}) {
      for (auto& value : *values) visit(*value.mutable_name());
    }
    for (auto& tensor : *graph.mutable_initializer()) visit(*tensor.mutable_name());
    for (auto& tensor : *graph.mutable_sparse_initializer()) visit(*tensor.mutable_values()->mutable_name());
    for (auto& node : *graph.mutable_node()) {
      for (auto& name : *node.mutable_input()) visit(name);
      for (auto& name : *node.mutable_output()) visit(name);
    }
    for (auto& annotation : *graph.mutable_quantization_annotation()) {
      visit(*annotation.mutable_tensor_name());
      for (auto& entry : *annotation.mutable_quant_parameter_tensor_names()) visit(*entry.mutable_value());
    }
  });
}

bool IsSameTensor(const onnx::TensorProto& a, const onnx::TensorProto& b) {
  if (a.data_type() != b.data_type()) return false;
  const auto left = ViewTensor(a), right = ViewTensor(b);
  return left && right && left->dims() == right->dims() && left->bytes() == right->bytes();
}

void Composer::CopyPart(size_t part) {
  ComposedPart& own = parts_[part];
  onnx::GraphProto& graph = *own.model.mutable_graph();
  for (const auto& [input, source] : own.taken) own.names[input] = parts_[source.part].names.at(source.name);
  // The same weight under the same name, as split leaves it in each part that reads it, is one.
  std::unordered_set<std::string> shared;
  for (const auto& tensor : graph.initializer()) {
    const auto known = stored_.find(tensor.name());
    if (own.names.contains(tensor.name()) || known == stored_.end() || !IsSameTensor(*known->second, tensor)) continue;
    own.names[tensor.name()] = tensor.name();
    shared.insert(tensor.name());
  }
  VisitValueNames(graph, [&](std::string& name) {
    if (name.empty()) return;
    auto known = own.names.find(name);
    if (known == own.names.end()) known = own.names.emplace(name, Fresh(name)).first;
    name = known->second;
  });
  VisitGraphs(graph, [&](onnx::GraphProto& inner) {
    for (auto& node : *inner.mutable_node()) {
      if (!node.name().empty()) node.set_name(Fresh(node.name()));
    }
  });
  onnx::GraphProto& into = *whole_.mutable_graph();
  std::unordered_set<std::string> ports;
  for (const auto& input : graph.input()) ports.insert(input.name());
  for (const Source& source : outputs_) {
    if (source.part == part) ports.insert(own.names.at(source.name));
  }
  for (auto& node : *graph.mutable_node()) into.add_node()->Swap(&node);
  for (auto& tensor : *graph.mutable_initializer()) {
    if (shared.contains(tensor.name())) continue;
    onnx::TensorProto* added = into.add_initializer();
    added->Swap(&tensor);
    stored_[added->name()] = added;
  }
  for (auto& tensor : *graph.mutable_sparse_initializer()) into.add_sparse_initializer()->Swap(&tensor);
  for (auto& annotation : *graph.mutable_quantization_annotation())
    into.add_quantization_annotation()->Swap(&annotation);
  // What was an output of a part is a value like any other now.
  for (auto* values : {graph.mutable_value_info(), graph.mutable_output()}) {
    for (auto& value : *values) {
      if (ports.insert(value.name()).second) into.add_value_info()->Swap(&value);
    }
  }
}

// Operator sets, functions and what is said of the model.
Result<> Composer::MergeHeads() {
  const onnx::ModelProto& first = parts_.front().model;
  whole_.set_producer_name(first.producer_name());
  whole_.set_producer_version(first.producer_version());
  *whole_.mutable_metadata_props() = first.metadata_props();
  whole_.mutable_graph()->set_name(first.graph().name());
  constexpr int64_t kFreeInitializers = 4;  // The IR version from which initializers need not be inputs.
  whole_.set_ir_version(kFreeInitializers);
  std::map<std::string, std::string> functions;
  for (const ComposedPart& part : parts_) {
    whole_.set_ir_version(std::max(whole_.ir_version(), part.model.ir_version()));
    for (const auto& opset : part.model.opset_import()) {
      const int64_t known = OpsetVersion(whole_, opset.domain());
      if (known != 0 && known != opset.version()) {
        return Fail(ErrorCode::kRejected,
                    fmt::format("{} wants version {} of the operators '{}', others {}", part.path, opset.version(),
                                Printable(opset.domain(), 100), known));
      }
      SetOpset(whole_, opset.domain(), opset.version());
    }
    for (const auto& function : part.model.functions()) {
      const std::string key = fmt::format("{}\n{}\n{}", function.domain(), function.name(), function.overload());
      const auto [known, is_new] = functions.emplace(key, function.SerializeAsString());
      if (is_new) {
        *whole_.add_functions() = function;
      } else if (known->second != function.SerializeAsString()) {
        return Fail(ErrorCode::kRejected,
                    fmt::format("{} has a function '{}' that is another one in a part before it", part.path,
                                Printable(function.name(), 200)));
      }
    }
  }
  return {};
}

Result<onnx::ModelProto> Composer::Run(PassContext& context) {
  for (size_t part = 1; part < parts_.size(); ++part) TRY(Connect(part, context));
  TRY(MergeHeads());
  SettleInputs(context);
  TRY(SettleOutputs(context));
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> outputs;
  for (const Source& source : outputs_) {
    *outputs.Add() = OutputOf(source);
    outputs.Mutable(outputs.size() - 1)->set_name(parts_[source.part].names.at(source.name));
  }
  *whole_.mutable_graph()->mutable_output() = outputs;
  for (size_t part = 0; part < parts_.size(); ++part) CopyPart(part);
  TRY(SortNodes(*whole_.mutable_graph()));
  RemoveUnused(*whole_.mutable_graph());
  return std::move(whole_);
}

}  // namespace

proto::PassInfo ComposeInfo() {
  proto::PassInfo info;
  info.set_name("compose");
  info.set_version(1);
  info.set_summary("Joins the parts of a model that lies in several files, outputs to inputs, into one");
  info.add_accepts("onnx");
  return info;
}

Result<proto::Bundle> ComposeModels(PassContext& context) {
  const proto::LocalBundle& source = context.task->model();
  TRY_ASSIGN(const Manifest manifest, ReadManifest(source));
  MappedWeights mapped;
  std::vector<ComposedPart> parts;
  int64_t opset = 0;
  for (const std::string& path : manifest.models) {
    ComposedPart part;
    part.path = path;
    Result<onnx::ModelProto> model = MapOnnx(std::filesystem::path(source.folder()) / path, mapped);
    if (!model) return FailWith(path, std::move(model.error()));
    part.model = std::move(*model);
    const Result<> valid = CheckModel(part.model);
    if (!valid) return FailWith(path, valid.error());
    opset = std::max(opset, OpsetVersion(part.model));
    parts.push_back(std::move(part));
  }
  for (ComposedPart& part : parts) {
    const int64_t own = OpsetVersion(part.model);
    if (own == 0 || own == opset) continue;
    const Result<> raised = RequireOpset(part.model, opset, context);
    if (!raised) return FailWith(part.path, raised.error());
  }
  const size_t count = parts.size();
  TRY_ASSIGN(onnx::ModelProto whole, Composer(std::move(parts), manifest).Run(context));
  const Result<> valid = CheckModel(whole);
  if (!valid) return Fail(ErrorCode::kBug, "the result is invalid: " + valid.error().message);
  context.notes.push_back(fmt::format("{} parts are one model of {} nodes", count, whole.graph().node_size()));
  return SaveOnnx(std::move(whole), context.task->output_folder());
}

}  // namespace hone
