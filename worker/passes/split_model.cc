// Before: x -> a -> b -> c -> y, one file
// After:  at=a+c,part=all     part_0: x -> a    part_1: a -> b -> c    part_2: c -> y
//         at=b,part=before    x -> a -> b
//         parts=2             two parts with about half of the weights each
//
// A node lies in the part after the last cut that it depends on, so every part reads from earlier ones alone. Nodes
// that compute constants (a weight's DequantizeLinear) are no part's own: each part that reads one has a copy, with
// its weights. By weight, nodes are taken in the order in which they run, and each cut is put, near its share, where
// the fewest values cross it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/decoder/data_file.h"
#include "worker/model/model.h"
#include "worker/passes/model_parts.h"
#include "worker/passes/model_ports.h"
#include "worker/passes/simplify_steps.h"

namespace hone {
namespace {

using Words = std::vector<std::string>;
namespace fs = std::filesystem;

constexpr int kCopied = -1;        // Part of a node that computes a constant.
constexpr int64_t kIrOfFreeConstants = 4;  // From here on an initializer need not be an input.
constexpr double kSlack = 0.15;    // Of a part's share: how far a cut may stand from where it should.
constexpr uint64_t kNever = 1 << 30;  // Counts more than all values that may cross.

uint64_t StoredBytes(const onnx::TensorProto& tensor) {
  const auto bytes = TensorBytes(tensor.data_type(), {tensor.dims().begin(), tensor.dims().end()});
  return bytes ? *bytes : tensor.ByteSizeLong();
}

class Splitter {
 public:
  // The model is sorted and its shapes are inferred; it stays as it is while the splitter lives.
  explicit Splitter(const onnx::ModelProto& model);

  // One cut a group of names. kRejected for a name that no node gives, and for a part that would be empty.
  Result<> CutAt(const std::vector<Words>& cuts);
  Result<> CutByWeight(size_t parts);
  size_t parts() const { return parts_; }
  // Values that cross, but are not among `named`.
  Words CrossingBeside(const Words& named) const;
  // The part with its weights; `first` names the values that come first among those that cross.
  Result<onnx::ModelProto> Part(int part, const Words& first) const;

 private:
  bool IsConstant(int node) const;
  // What a part of the graph reads, and the constant nodes that it needs for that.
  std::unordered_set<std::string> ReadBy(int part, std::vector<bool>& wanted) const;
  // Values that come from earlier parts and that later ones read, those of `first` before the others.
  struct Crossing {
    Words in, out;
  };
  Crossing CrossingOf(int part, const std::unordered_set<std::string>& read, const Words& first) const;
  onnx::ModelProto Head() const;  // Without nodes and values.
  void AddStored(onnx::GraphProto& graph, const std::unordered_set<std::string>& read) const;
  std::vector<uint64_t> Weights() const;
  std::vector<uint64_t> CrossingBefore(const std::vector<int>& order) const;
  // 0 for what no node gives.
  int PartOf(const std::string& value) const;
  const onnx::ValueInfoProto* Declared(const std::string& value) const;
  Result<> CheckNoneEmpty() const;

  const onnx::ModelProto& model_;
  const onnx::GraphProto& graph_;
  GraphIndex index_;
  std::unordered_map<std::string, const onnx::ValueInfoProto*> declared_;
  std::unordered_map<std::string, uint64_t> stored_;  // Bytes of initializers.
  std::vector<Words> reads_;                          // Of each node, with what its subgraphs take.
  std::vector<int> part_of_;
  size_t parts_ = 1;
};

Splitter::Splitter(const onnx::ModelProto& model) : model_(model), graph_(model.graph()), index_(model.graph()) {
  for (const auto* values : {&graph_.value_info(), &graph_.input(), &graph_.output()}) {
    for (const auto& value : *values) declared_[value.name()] = &value;
  }
  for (const auto& tensor : graph_.initializer()) stored_[tensor.name()] = StoredBytes(tensor);
  for (const auto& tensor : graph_.sparse_initializer())
    stored_[tensor.values().name()] = StoredBytes(tensor.values()) + StoredBytes(tensor.indices());
  part_of_.assign(static_cast<size_t>(graph_.node_size()), 0);
  for (int i = 0; i < graph_.node_size(); ++i) {
    Words reads;
    for (const std::string& name : graph_.node(i).input()) {
      if (!name.empty()) reads.push_back(name);
    }
    for (const std::string& name : CapturedNames(graph_.node(i))) reads.push_back(name);
    reads_.push_back(std::move(reads));
    if (IsConstant(i)) part_of_[static_cast<size_t>(i)] = kCopied;
  }
}

// Nodes before it are known already.
bool Splitter::IsConstant(int node) const {
  const onnx::NodeProto& proto = graph_.node(node);
  const bool known = proto.domain().empty() || proto.domain() == "ai.onnx" || IsQuantization(proto);
  if (!known || IsRandom(proto) || HasSubgraph(proto)) return false;
  const bool is_output = std::any_of(proto.output().begin(), proto.output().end(),
                                     [&](const std::string& name) { return index_.IsGraphOutput(name); });
  if (is_output) return false;
  const Words& reads = reads_[static_cast<size_t>(node)];
  return std::all_of(reads.begin(), reads.end(), [&](const std::string& name) {
    if (index_.IsGraphInput(name)) return false;
    const int producer = index_.Producer(name);
    return producer < 0 ? stored_.contains(name) : part_of_[static_cast<size_t>(producer)] == kCopied;
  });
}

int Splitter::PartOf(const std::string& value) const {
  const int producer = index_.Producer(value);
  return producer < 0 ? 0 : part_of_[static_cast<size_t>(producer)];
}

const onnx::ValueInfoProto* Splitter::Declared(const std::string& value) const {
  const auto found = declared_.find(value);
  return found == declared_.end() || !found->second->has_type() ? nullptr : found->second;
}

Result<> Splitter::CheckNoneEmpty() const {
  for (size_t part = 0; part < parts_; ++part) {
    if (std::find(part_of_.begin(), part_of_.end(), static_cast<int>(part)) != part_of_.end()) continue;
    return Fail(ErrorCode::kRejected,
                part + 1 == parts_ ? std::string("nothing is left behind the cut")
                                   : fmt::format("nothing would lie in part {}", part),
                "name values within the model, in the order in which it computes them");
  }
  return {};
}

Result<> Splitter::CutAt(const std::vector<Words>& cuts) {
  std::map<std::string, int> cut_of;
  for (size_t i = 0; i < cuts.size(); ++i) {
    for (const std::string& name : cuts[i]) {
      const int producer = index_.Producer(name);
      if (producer < 0)
        return Fail(ErrorCode::kRejected, fmt::format("no node gives a value '{}'", Printable(name, 200)),
                    "`at` takes outputs of nodes");
      if (part_of_[static_cast<size_t>(producer)] == kCopied)
        return Fail(ErrorCode::kRejected, fmt::format("'{}' is a constant", Printable(name, 200)),
                    "name a value that depends on the inputs");
      cut_of[name] = static_cast<int>(i) + 1;
    }
  }
  const auto cut_at = [&](const std::string& name) {
    const auto found = cut_of.find(name);
    return found == cut_of.end() ? 0 : found->second;
  };
  for (int i = 0; i < graph_.node_size(); ++i) {
    int& part = part_of_[static_cast<size_t>(i)];
    if (part == kCopied) continue;
    // What gives a value at the cut stands before it, whatever else of that cut it reads.
    int own = 0;
    for (const std::string& name : graph_.node(i).output()) own = std::max(own, cut_at(name));
    for (const std::string& name : reads_[static_cast<size_t>(i)]) {
      const int cut = cut_at(name);
      part = std::max({part, PartOf(name), cut == own ? 0 : cut});
    }
  }
  for (const auto& [name, cut] : cut_of) {
    if (PartOf(name) < cut) continue;
    return Fail(ErrorCode::kRejected, fmt::format("'{}' lies behind another value of the cut", Printable(name, 200)),
                "name the values in the order in which the model computes them");
  }
  parts_ = cuts.size() + 1;
  return CheckNoneEmpty();
}

// Bytes of weights by the node that reads them first.
std::vector<uint64_t> Splitter::Weights() const {
  std::vector<uint64_t> weights(reads_.size(), 0);
  std::unordered_set<std::string> seen;
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (part_of_[i] == kCopied) continue;
    Words open = reads_[i];
    while (!open.empty()) {
      const std::string name = std::move(open.back());
      open.pop_back();
      if (!seen.insert(name).second) continue;
      if (const auto stored = stored_.find(name); stored != stored_.end()) weights[i] += stored->second;
      const int producer = index_.Producer(name);
      if (producer < 0 || part_of_[static_cast<size_t>(producer)] != kCopied) continue;
      const Words& more = reads_[static_cast<size_t>(producer)];
      open.insert(open.end(), more.begin(), more.end());
    }
  }
  return weights;
}

// How many values are made before place p of the order and read at or behind it.
std::vector<uint64_t> Splitter::CrossingBefore(const std::vector<int>& order) const {
  std::unordered_map<std::string, std::pair<size_t, size_t>> spans;  // First made, last read.
  for (size_t place = 0; place < order.size(); ++place) {
    for (const std::string& name : reads_[static_cast<size_t>(order[place])]) {
      if (const auto span = spans.find(name); span != spans.end()) span->second.second = place;
    }
    for (const std::string& name : graph_.node(order[place]).output()) spans[name] = {place, place};
  }
  std::vector<int64_t> steps(order.size() + 1, 0);
  for (const auto& [name, span] : spans) {
    const auto count = static_cast<int64_t>(Declared(name) != nullptr ? 1 : kNever);
    if (span.first == span.second) continue;
    steps[span.first + 1] += count;
    steps[span.second + 1] -= count;
  }
  std::vector<uint64_t> crossing(order.size(), 0);
  int64_t now = 0;
  for (size_t place = 0; place < order.size(); ++place) {
    now += steps[place];
    crossing[place] = static_cast<uint64_t>(now);
  }
  return crossing;
}

Result<> Splitter::CutByWeight(size_t parts) {
  std::vector<int> order;
  for (int i = 0; i < graph_.node_size(); ++i) {
    if (part_of_[static_cast<size_t>(i)] != kCopied) order.push_back(i);
  }
  if (order.size() < parts)
    return Fail(ErrorCode::kRejected, fmt::format("{} nodes are too few for {} parts", order.size(), parts));
  const std::vector<uint64_t> weights = Weights();
  std::vector<double> before(order.size() + 1, 0);  // Weight of what runs before a place.
  for (size_t place = 0; place < order.size(); ++place)
    before[place + 1] = before[place] + static_cast<double>(weights[static_cast<size_t>(order[place])]);
  if (before.back() == 0) {
    for (size_t place = 0; place <= order.size(); ++place) before[place] = static_cast<double>(place);
  }
  const std::vector<uint64_t> crossing = CrossingBefore(order);
  const double share = before.back() / static_cast<double>(parts);
  size_t start = 0;
  for (size_t cut = 1; cut < parts; ++cut) {
    const double target = share * static_cast<double>(cut);
    const auto distance = [&](size_t place) { return std::fabs(before[place] - target); };
    // Every part keeps a node.
    size_t best = start + 1;
    const size_t end = order.size() - (parts - cut);
    for (size_t place = start + 1; place <= end; ++place) {
      const bool near = distance(place) <= kSlack * share, best_near = distance(best) <= kSlack * share;
      const bool better = near && best_near ? std::pair(crossing[place], distance(place)) <
                                                  std::pair(crossing[best], distance(best))
                                            : distance(place) < distance(best);
      if (better) best = place;
    }
    for (size_t place = best; place < order.size(); ++place)
      part_of_[static_cast<size_t>(order[place])] = static_cast<int>(cut);
    start = best;
  }
  parts_ = parts;
  return CheckNoneEmpty();
}

Words Splitter::CrossingBeside(const Words& named) const {
  std::set<std::string> crossing;
  for (size_t i = 0; i < reads_.size(); ++i) {
    for (const std::string& name : reads_[i]) {
      const bool crosses = index_.Producer(name) >= 0 && PartOf(name) != kCopied && PartOf(name) < part_of_[i];
      if (crosses && std::find(named.begin(), named.end(), name) == named.end()) crossing.insert(name);
    }
  }
  return {crossing.begin(), crossing.end()};
}

std::unordered_set<std::string> Splitter::ReadBy(int part, std::vector<bool>& wanted) const {
  Words open;
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (part_of_[i] != part) continue;
    wanted[i] = true;
    open.insert(open.end(), reads_[i].begin(), reads_[i].end());
  }
  // Outputs that no node gives: the first part hands them through.
  for (const auto& output : graph_.output()) {
    if (part == 0 && index_.Producer(output.name()) < 0) open.push_back(output.name());
  }
  std::unordered_set<std::string> read;
  while (!open.empty()) {
    const std::string name = std::move(open.back());
    open.pop_back();
    if (!read.insert(name).second) continue;
    const int producer = index_.Producer(name);
    if (producer < 0 || part_of_[static_cast<size_t>(producer)] != kCopied) continue;
    wanted[static_cast<size_t>(producer)] = true;
    const Words& more = reads_[static_cast<size_t>(producer)];
    open.insert(open.end(), more.begin(), more.end());
  }
  return read;
}

Splitter::Crossing Splitter::CrossingOf(int part, const std::unordered_set<std::string>& read,
                                        const Words& first) const {
  std::unordered_set<std::string> later;  // What parts behind this one read.
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (part_of_[i] > part) later.insert(reads_[i].begin(), reads_[i].end());
  }
  Crossing crossing;
  for (int i = 0; i < graph_.node_size(); ++i) {
    const int at = part_of_[static_cast<size_t>(i)];
    for (const std::string& name : graph_.node(i).output()) {
      if (at != kCopied && at < part && read.contains(name)) crossing.in.push_back(name);
      const bool asked = std::find(first.begin(), first.end(), name) != first.end();
      if (at == part && !index_.IsGraphOutput(name) && (later.contains(name) || asked)) crossing.out.push_back(name);
    }
  }
  for (Words* names : {&crossing.in, &crossing.out}) {
    std::stable_sort(names->begin(), names->end(), [&](const std::string& a, const std::string& b) {
      return std::find(first.begin(), first.end(), a) < std::find(first.begin(), first.end(), b);
    });
  }
  return crossing;
}

onnx::ModelProto Splitter::Head() const {
  onnx::ModelProto made;
  made.set_ir_version(model_.ir_version());
  made.set_producer_name(model_.producer_name());
  made.set_producer_version(model_.producer_version());
  *made.mutable_opset_import() = model_.opset_import();
  *made.mutable_functions() = model_.functions();
  *made.mutable_metadata_props() = model_.metadata_props();
  made.mutable_graph()->set_name(graph_.name());
  return made;
}

void Splitter::AddStored(onnx::GraphProto& graph, const std::unordered_set<std::string>& read) const {
  for (const auto& tensor : graph_.initializer()) {
    if (read.contains(tensor.name())) *graph.add_initializer() = tensor;
  }
  for (const auto& tensor : graph_.sparse_initializer()) {
    if (read.contains(tensor.values().name())) *graph.add_sparse_initializer() = tensor;
  }
}

Result<onnx::ModelProto> Splitter::Part(int part, const Words& first) const {
  std::vector<bool> wanted(reads_.size(), false);
  const std::unordered_set<std::string> read = ReadBy(part, wanted);
  const Crossing crossing = CrossingOf(part, read, first);
  for (const Words* names : {&crossing.in, &crossing.out}) {
    for (const std::string& name : *names) {
      if (Declared(name) != nullptr) continue;
      return Fail(ErrorCode::kRejected, fmt::format("type and shape of '{}' cannot be told", Printable(name, 200)),
                  "cut elsewhere, or put simplify before it");
    }
  }
  onnx::ModelProto made = Head();
  onnx::GraphProto& graph = *made.mutable_graph();
  std::unordered_set<std::string> here(read.begin(), read.end());
  for (int i = 0; i < graph_.node_size(); ++i) {
    if (!wanted[static_cast<size_t>(i)]) continue;
    *graph.add_node() = graph_.node(i);
    here.insert(graph_.node(i).output().begin(), graph_.node(i).output().end());
  }
  for (const auto& input : graph_.input()) {
    if (read.contains(input.name())) *graph.add_input() = input;
  }
  for (const std::string& name : crossing.in) *graph.add_input() = *Declared(name);
  for (const auto& output : graph_.output()) {
    if (PartOf(output.name()) == part) *graph.add_output() = output;
  }
  for (const std::string& name : crossing.out) *graph.add_output() = *Declared(name);
  AddStored(graph, read);
  // What a part tells of its ports it need not tell again.
  for (const Words* names : {&crossing.in, &crossing.out}) {
    for (const std::string& name : *names) here.erase(name);
  }
  for (const auto& value : graph_.value_info()) {
    if (here.contains(value.name())) *graph.add_value_info() = value;
  }
  for (const auto& annotation : graph_.quantization_annotation()) {
    if (here.contains(annotation.tensor_name())) *graph.add_quantization_annotation() = annotation;
  }
  return made;
}

// --- files ---

Words NamesOf(const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& values) {
  Words names;
  for (const auto& value : values) names.push_back(value.name());
  return names;
}

Words InputsOf(const onnx::GraphProto& graph) {
  Words names;
  for (const auto* input : RealInputs(graph)) names.push_back(input->name());
  return names;
}

Result<onnx::ModelProto> CheckedPart(const Splitter& splitter, int part, const Words& first) {
  TRY_ASSIGN(onnx::ModelProto made, splitter.Part(part, first));
  if (made.graph().output_size() == 0)
    return Fail(ErrorCode::kRejected, fmt::format("nothing that part {} computes is read behind it", part),
                "cut at a value that the rest of the model reads");
  const Result<> valid = CheckModel(made);
  if (!valid) return Fail(ErrorCode::kBug, fmt::format("part {} is invalid: {}", part, valid.error().message));
  return made;
}

// part_0/model.onnx, part_1/model.onnx ..., parts.json
Result<proto::Bundle> SaveParts(const Splitter& splitter, const onnx::GraphProto& whole, const Words& first,
                                PassContext& context) {
  const fs::path folder = context.task->output_folder();
  std::vector<proto::File> files;
  nlohmann::json parts = nlohmann::json::array();
  std::string main;
  for (size_t part = 0; part < splitter.parts(); ++part) {
    TRY_ASSIGN(onnx::ModelProto made, CheckedPart(splitter, static_cast<int>(part), first));
    const std::string name = fmt::format("part_{}", part);
    const Words inputs = InputsOf(made.graph()), outputs = NamesOf(made.graph().output());
    uint64_t bytes = 0;
    for (const auto& tensor : made.graph().initializer()) bytes += StoredBytes(tensor);
    context.notes.push_back(fmt::format("{}: {} nodes, {} of weights, {} -> {}", name, made.graph().node_size(),
                                        HumanBytes(bytes), Printable(Join(inputs, ", "), 200),
                                        Printable(Join(outputs, ", "), 200)));
    TRY(MakeFolder(folder / name));
    TRY_ASSIGN(const proto::Bundle saved, SaveOnnx(std::move(made), folder / name));
    for (proto::File file : saved.files()) {
      file.set_path(fmt::format("{}/{}", name, file.path()));
      files.push_back(std::move(file));
    }
    const std::string model = fmt::format("{}/{}", name, saved.main());
    if (main.empty()) main = model;
    parts.push_back({{"model", model}, {"inputs", inputs}, {"outputs", outputs}, {"weight_bytes", bytes}});
  }
  const nlohmann::json manifest = {{"schema", "hone.parts/1"},
                                   {"match", "name"},
                                   {"inputs", InputsOf(whole)},
                                   {"outputs", NamesOf(whole.output())},
                                   {"parts", parts}};
  const auto replace = nlohmann::json::error_handler_t::replace;
  TRY_ASSIGN(proto::File told, WriteOutput(folder, kPartsFile, manifest.dump(2, ' ', false, replace) + "\n"));
  files.push_back(std::move(told));
  return BundleOf("onnx", main, std::move(files));
}

}  // namespace

proto::PassInfo SplitInfo() {
  proto::PassInfo info;
  info.set_name("split");
  info.set_version(2);
  info.set_summary("Cuts the model: the part before or behind a cut, or all parts as files of their own");
  info.add_accepts("onnx");
  *info.add_parameters() = FreeText(
      "at", "Names of the values at the cut, joined by '+': outputs of the part before, inputs of the part behind. "
            "With part=all each name is a cut of its own, and what crosses beside it goes along.");
  *info.add_parameters() =
      TextParameter("part", "before", {"before", "behind", "all"},
                    "Which part is kept; all: part_0/model.onnx, part_1/model.onnx ..., in the order of parts.json.");
  proto::ParameterInfo parts =
      IntParameter("parts", 0, {}, "Instead of `at`: so many parts of about equal weight, all kept; 0: by names.");
  *parts.mutable_minimum() = IntValue(0);
  *parts.mutable_maximum() = IntValue(static_cast<int64_t>(kMaxParts));
  *info.add_parameters() = std::move(parts);
  return info;
}

Result<proto::Bundle> SplitModel(PassContext& context) {
  const Words at = PortWords(context, "at");
  const auto parts = static_cast<size_t>(context.Int("parts"));
  const std::string wanted = context.Text("part");
  if (at.empty() && parts < 2)
    return Fail(ErrorCode::kRejected, "at names no value",
                "name the values at the cut, as in split:at=hidden,part=before, or say parts=2");
  if (!at.empty() && parts > 0)
    return Fail(ErrorCode::kRejected, "at and parts are two ways to say where to cut", "give one of them");
  if (at.size() >= kMaxParts)
    return Fail(ErrorCode::kRejected, fmt::format("at names {} values, at most {} can be", at.size(), kMaxParts - 1));
  const proto::LocalBundle& source = context.task->model();
  MappedWeights mapped;
  TRY_ASSIGN(onnx::ModelProto model, MapOnnx(fs::path(source.folder()) / source.bundle().main(), mapped));
  TRY(CheckModel(model));
  // Weights that an exporter wrote as nodes weigh what others do.
  model.set_ir_version(std::max(model.ir_version(), kIrOfFreeConstants));
  LiftConstants(*model.mutable_graph());
  InferShapes(model);
  TRY(SortNodes(*model.mutable_graph()));
  Splitter splitter(model);
  const bool all = parts > 0 || wanted == "all";
  if (parts > 0) {
    TRY(splitter.CutByWeight(parts));
  } else if (all) {
    std::vector<Words> cuts;
    for (const std::string& name : at) cuts.push_back({name});
    TRY(splitter.CutAt(cuts));
  } else {
    TRY(splitter.CutAt({at}));
  }
  if (all) return SaveParts(splitter, model.graph(), at, context);
  const Words beside = splitter.CrossingBeside(at);
  if (!beside.empty())
    return Fail(ErrorCode::kRejected, fmt::format("these values cross the cut too: {}", Join(beside, ", ")),
                "name them in `at` as well");
  TRY_ASSIGN(onnx::ModelProto made, CheckedPart(splitter, wanted == "before" ? 0 : 1, at));
  context.notes.push_back(fmt::format("{} nodes {} the cut", made.graph().node_size(), wanted));
  return SaveOnnx(std::move(made), context.task->output_folder());
}

}  // namespace hone
