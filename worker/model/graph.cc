// Questions about one graph: who makes a value, who uses it, in which order nodes run, and what nothing needs.
//
// A node with subgraphs uses whatever they take from outside: names that neither the subgraph's inputs, its
// initializers nor its nodes define.
#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <set>
#include <unordered_set>

#include "common/base/strings.h"
#include "worker/model/model.h"

namespace hone {
namespace {

using Names = std::unordered_set<std::string>;

std::vector<const onnx::GraphProto*> SubgraphsOf(const onnx::NodeProto& node) {
  std::vector<const onnx::GraphProto*> graphs;
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) graphs.push_back(&attribute.g());
    for (const auto& graph : attribute.graphs()) graphs.push_back(&graph);
  }
  return graphs;
}

std::vector<onnx::GraphProto*> SubgraphsOf(onnx::NodeProto& node) {
  std::vector<onnx::GraphProto*> graphs;
  for (auto& attribute : *node.mutable_attribute()) {
    if (attribute.has_g()) graphs.push_back(attribute.mutable_g());
    for (auto& graph : *attribute.mutable_graphs()) graphs.push_back(&graph);
  }
  return graphs;
}

Names OwnNames(const onnx::GraphProto& graph) {
  Names own;
  for (const auto& input : graph.input()) own.insert(input.name());
  for (const auto& tensor : graph.initializer()) own.insert(tensor.name());
  for (const auto& tensor : graph.sparse_initializer()) own.insert(tensor.values().name());
  for (const auto& node : graph.node()) own.insert(node.output().begin(), node.output().end());
  return own;
}

// Adds to `captured` the names that a subgraph takes from outside.
void CollectCaptured(const onnx::GraphProto& graph, Names& captured) {
  const Names own = OwnNames(graph);
  Names used;
  for (const auto& node : graph.node()) {
    used.insert(node.input().begin(), node.input().end());
    for (const auto* inner : SubgraphsOf(node)) CollectCaptured(*inner, used);
  }
  for (const auto& output : graph.output()) used.insert(output.name());
  for (const auto& name : used) {
    if (!name.empty() && !own.contains(name)) captured.insert(name);
  }
}

// A subgraph's output that is an outer value keeps its place in the list of outputs; its name there is a use like any
// other.
void RenameUses(onnx::GraphProto& graph, std::unordered_map<std::string, std::string> names) {
  for (const auto& own : OwnNames(graph)) names.erase(own);
  if (names.empty()) return;
  const auto rename = [&](std::string& name) {
    const auto found = names.find(name);
    if (found != names.end()) name = found->second;
  };
  for (auto& node : *graph.mutable_node()) {
    for (auto& input : *node.mutable_input()) rename(input);
    for (auto* inner : SubgraphsOf(node)) RenameUses(*inner, names);
  }
  for (auto& output : *graph.mutable_output()) rename(*output.mutable_name());
}

void CollectNames(const onnx::GraphProto& root, std::unordered_map<std::string, int>& taken) {
  VisitGraphs(root, [&](const onnx::GraphProto& graph) {
    for (const auto& input : graph.input()) taken.emplace(input.name(), 0);
    for (const auto& output : graph.output()) taken.emplace(output.name(), 0);
    for (const auto& tensor : graph.initializer()) taken.emplace(tensor.name(), 0);
    for (const auto& tensor : graph.sparse_initializer()) taken.emplace(tensor.values().name(), 0);
    for (const auto& node : graph.node()) {
      for (const auto& name : node.output()) taken.emplace(name, 0);
      for (const auto& name : node.input()) taken.emplace(name, 0);
      if (!node.name().empty()) taken.emplace(node.name(), 0);
    }
  });
}

template <class Field, class Keep>
void KeepIf(Field& field, const Keep& keep) {
  int kept = 0;
  for (int i = 0; i < field.size(); ++i) {
    if (!keep(i)) continue;
    if (kept != i) field.SwapElements(kept, i);
    ++kept;
  }
  if (kept < field.size()) field.DeleteSubrange(kept, field.size() - kept);
}

// Everything that the outputs of the graph need, by going backwards from them.
Names NeededNames(const onnx::GraphProto& graph, std::vector<bool>& node_needed) {
  std::unordered_map<std::string_view, int> producers;
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const auto& name : graph.node(i).output()) producers[name] = i;
  }
  Names needed;
  std::vector<std::string> open;
  const auto need = [&](const std::string& name) {
    if (!name.empty() && needed.insert(name).second) open.push_back(name);
  };
  for (const auto& output : graph.output()) need(output.name());
  while (!open.empty()) {
    const std::string name = std::move(open.back());
    open.pop_back();
    const auto producer = producers.find(name);
    if (producer == producers.end() || node_needed[static_cast<size_t>(producer->second)]) continue;
    node_needed[static_cast<size_t>(producer->second)] = true;
    const auto& node = graph.node(producer->second);
    for (const auto& input : node.input()) need(input);
    for (const auto& input : CapturedNames(node)) need(input);
  }
  return needed;
}

}  // namespace

GraphIndex::GraphIndex(const onnx::GraphProto& graph) {
  for (const auto& tensor : graph.initializer()) initializers_.emplace(tensor.name(), &tensor);
  for (const auto& input : graph.input()) inputs_.emplace(input.name(), 1);
  for (const auto& output : graph.output()) outputs_.emplace(output.name(), 1);
  for (int i = 0; i < graph.node_size(); ++i) {
    const auto& node = graph.node(i);
    for (const auto& name : node.output()) {
      if (!name.empty()) producers_.emplace(name, i);
    }
    for (int k = 0; k < node.input_size(); ++k) {
      if (!node.input(k).empty()) consumers_[node.input(k)].push_back({i, k});
    }
    for (const auto& name : CapturedNames(node)) consumers_[name].push_back({i, -1});
  }
  CollectNames(graph, taken_);
}

const onnx::TensorProto* GraphIndex::Initializer(const std::string& name) const {
  const auto found = initializers_.find(name);
  return found == initializers_.end() ? nullptr : found->second;
}

int GraphIndex::Producer(const std::string& value) const {
  const auto found = producers_.find(value);
  return found == producers_.end() ? -1 : found->second;
}

const std::vector<Use>& GraphIndex::Consumers(const std::string& value) const {
  static const std::vector<Use> kNone;
  const auto found = consumers_.find(value);
  return found == consumers_.end() ? kNone : found->second;
}

bool GraphIndex::IsGraphOutput(const std::string& name) const { return outputs_.contains(name); }
bool GraphIndex::IsGraphInput(const std::string& name) const { return inputs_.contains(name); }

std::string GraphIndex::FreshName(const std::string& wish) {
  if (!wish.empty() && taken_.emplace(wish, 0).second) return wish;
  // The count is kept with the wish, so that many like wishes stay cheap.
  int& count = taken_[wish];
  while (true) {
    std::string name = fmt::format("{}_{}", wish, ++count);
    if (taken_.contains(name)) continue;
    taken_.emplace(name, 0);
    return name;
  }
}

std::vector<std::string> CapturedNames(const onnx::NodeProto& node) {
  Names captured;
  for (const auto* graph : SubgraphsOf(node)) CollectCaptured(*graph, captured);
  std::vector<std::string> ordered(captured.begin(), captured.end());
  std::sort(ordered.begin(), ordered.end());
  return ordered;
}

void RenameCaptured(onnx::NodeProto& node, const std::unordered_map<std::string, std::string>& names) {
  for (auto* graph : SubgraphsOf(node)) RenameUses(*graph, names);
}

Result<> SortNodes(onnx::GraphProto& graph) {
  const int count = graph.node_size();
  std::unordered_map<std::string, int> producers;
  for (int i = 0; i < count; ++i) {
    for (const auto& name : graph.node(i).output()) {
      if (!name.empty() && !producers.emplace(name, i).second) {
        return Fail(ErrorCode::kRejected, fmt::format("value '{}' is computed by two nodes", Printable(name, 200)));
      }
    }
  }
  std::vector<std::vector<int>> followers(static_cast<size_t>(count));
  std::vector<int> waiting(static_cast<size_t>(count), 0);
  for (int i = 0; i < count; ++i) {
    const std::vector<std::string> captured = CapturedNames(graph.node(i));
    std::set<std::string> used(captured.begin(), captured.end());
    used.insert(graph.node(i).input().begin(), graph.node(i).input().end());
    for (const auto& name : used) {
      const auto producer = producers.find(name);
      if (producer == producers.end()) continue;
      followers[static_cast<size_t>(producer->second)].push_back(i);
      ++waiting[static_cast<size_t>(i)];
    }
  }
  // The ready node that stood first comes first: a sorted graph stays as it is.
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i) {
    if (waiting[static_cast<size_t>(i)] == 0) ready.push(i);
  }
  std::vector<int> order;
  while (!ready.empty()) {
    const int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const int follower : followers[static_cast<size_t>(node)]) {
      if (--waiting[static_cast<size_t>(follower)] == 0) ready.push(follower);
    }
  }
  if (static_cast<int>(order.size()) != count) {
    const auto stuck = std::find_if(waiting.begin(), waiting.end(), [](int n) { return n > 0; });
    return Fail(ErrorCode::kRejected, fmt::format("the graph has a cycle through {}",
                                                  NodeText(graph.node(static_cast<int>(stuck - waiting.begin())))));
  }
  if (!std::is_sorted(order.begin(), order.end())) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> sorted;
    sorted.Reserve(count);
    for (const int node : order) sorted.Add()->Swap(graph.mutable_node(node));
    graph.mutable_node()->Swap(&sorted);
  }
  for (auto& node : *graph.mutable_node()) {
    for (auto* inner : SubgraphsOf(node)) TRY(SortNodes(*inner));
  }
  return {};
}

int RemoveUnused(onnx::GraphProto& graph) {
  int removed = 0;
  // Subgraphs first: what they drop, the outer graph need not compute.
  for (auto& node : *graph.mutable_node()) {
    for (auto* inner : SubgraphsOf(node)) removed += RemoveUnused(*inner);
  }
  std::vector<bool> node_needed(static_cast<size_t>(graph.node_size()), false);
  const Names needed = NeededNames(graph, node_needed);
  const int before = graph.node_size();
  Names dropped;
  for (const auto& tensor : graph.initializer()) {
    if (!needed.contains(tensor.name())) dropped.insert(tensor.name());
  }
  for (const auto& tensor : graph.sparse_initializer()) {
    if (!needed.contains(tensor.values().name())) dropped.insert(tensor.values().name());
  }
  KeepIf(*graph.mutable_node(), [&](int i) { return node_needed[static_cast<size_t>(i)]; });
  KeepIf(*graph.mutable_initializer(), [&](int i) { return !dropped.contains(graph.initializer(i).name()); });
  KeepIf(*graph.mutable_sparse_initializer(),
         [&](int i) { return !dropped.contains(graph.sparse_initializer(i).values().name()); });
  // An input that had its value from a dropped initializer would become one that callers must feed.
  KeepIf(*graph.mutable_input(), [&](int i) { return !dropped.contains(graph.input(i).name()); });
  KeepIf(*graph.mutable_value_info(), [&](int i) { return needed.contains(graph.value_info(i).name()); });
  KeepIf(*graph.mutable_quantization_annotation(),
         [&](int i) { return needed.contains(graph.quantization_annotation(i).tensor_name()); });
  return removed + before - graph.node_size();
}

}  // namespace hone
