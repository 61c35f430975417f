#include "worker/passes/node_choice.h"

#include <fmt/format.h>

#include <set>
#include <unordered_map>

#include "common/base/strings.h"
#include "worker/passes/layer_groups.h"

namespace hone {
namespace {

// What exclude_between means by a name: a node, or a value with its producer or readers.
struct Point {
  std::vector<int> nodes;
};

class Between {
 public:
  explicit Between(const QuantizationGraph& graph) : graph_(graph) {
    for (int i = 0; i < graph.NodeCount(); ++i) {
      if (!graph.Node(i).name().empty()) named_[graph.Node(i).name()].push_back(i);
    }
  }

  // Nodes on a way from one point to the other, both included; none where there is no way.
  Result<std::set<int>> Find(const std::string& from, const std::string& to) const {
    TRY_ASSIGN(const Point start, StartAt(from));
    TRY_ASSIGN(const Point end, EndAt(to));
    const std::set<int> after = Reach(start, true);
    const std::set<int> before = Reach(end, false);
    std::set<int> both;
    for (const int index : after) {
      if (before.contains(index)) both.insert(index);
    }
    if (!both.empty()) return both;
    return Fail(ErrorCode::kRejected,
                fmt::format("parameter 'exclude_between': nothing lies between '{}' and '{}'", Printable(from, 200),
                            Printable(to, 200)),
                "Name the end nearer to the inputs first.");
  }

 private:
  Result<Point> StartAt(const std::string& name) const {
    if (const auto node = named_.find(name); node != named_.end()) return Point{node->second};
    Point point;
    for (const Use& use : graph_.index().Consumers(name)) point.nodes.push_back(use.node);
    if (!point.nodes.empty()) return point;
    return Unknown(name);
  }
  Result<Point> EndAt(const std::string& name) const {
    if (const auto node = named_.find(name); node != named_.end()) return Point{node->second};
    if (const int producer = graph_.index().Producer(name); producer >= 0) return Point{{producer}};
    return Unknown(name);
  }
  static Result<Point> Unknown(const std::string& name) {
    return Fail(ErrorCode::kRejected, fmt::format("parameter 'exclude_between': there is no node and no value '{}'",
                                                  Printable(name, 200)));
  }

  std::set<int> Reach(const Point& point, bool forwards) const {
    std::vector<int> open = point.nodes;
    std::set<int> seen;
    while (!open.empty()) {
      const int index = open.back();
      open.pop_back();
      if (!seen.insert(index).second) continue;
      const auto& node = graph_.Node(index);
      if (forwards) {
        for (const auto& output : node.output()) {
          for (const Use& use : graph_.index().Consumers(output)) open.push_back(use.node);
        }
        continue;
      }
      std::vector<std::string> inputs(node.input().begin(), node.input().end());
      for (auto& captured : CapturedNames(node)) inputs.push_back(std::move(captured));
      for (const auto& input : inputs) {
        if (const int producer = graph_.index().Producer(input); producer >= 0) open.push_back(producer);
      }
    }
    return seen;
  }

  const QuantizationGraph& graph_;
  std::unordered_map<std::string, std::vector<int>> named_;
};

Result<> LeaveBetween(const QuantizationGraph& graph, const std::string& text, NodeChoice& choice) {
  if (Trim(text).empty()) return {};
  const Between between(graph);
  for (const auto& word : Split(text, ',')) {
    const std::string pair(Trim(word));
    if (pair.empty()) continue;
    const size_t arrow = pair.find("->");
    if (arrow == std::string::npos) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("parameter 'exclude_between': '{}' is no pair", Printable(pair, 200)),
                  "Write from->to, names of nodes or values; several pairs are separated by commas.");
    }
    const std::string from(Trim(std::string_view(pair).substr(0, arrow)));
    const std::string to(Trim(std::string_view(pair).substr(arrow + 2)));
    TRY_ASSIGN(const std::set<int> nodes, between.Find(from, to));
    for (const int index : nodes) choice.left.emplace(index, fmt::format("between {} and {}", from, to));
  }
  return {};
}

void LeaveEnds(const QuantizationGraph& graph, int64_t first, int64_t last, NodeChoice& choice) {
  if (first == 0 && last == 0) return;
  std::vector<int> products;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    if (IsWeightedProduct(graph, graph.Node(i))) products.push_back(i);
  }
  const int64_t count = static_cast<int64_t>(products.size());
  for (int64_t i = 0; i < count; ++i) {
    if (i < first) choice.left.emplace(products[static_cast<size_t>(i)], "one of the first products");
    if (count - i <= last) choice.left.emplace(products[static_cast<size_t>(i)], "one of the last products");
  }
}

}  // namespace

bool IsWeightedProduct(const QuantizationGraph& graph, const onnx::NodeProto& node) {
  static const std::set<std::string> kProducts = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
  if (!IsStandard(node) || !kProducts.contains(node.op_type()) || node.input_size() < 2) return false;
  const onnx::TensorProto* weight = graph.FloatWeight(node.input(1));
  return weight != nullptr && weight->dims_size() >= 2;
}

Result<NodeChoice> ChooseNodes(const QuantizationGraph& graph, const PassContext& context) {
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, graph.model().graph(), LayerTypes()));
  NodeChoice choice;
  for (int i = 0; i < graph.NodeCount(); ++i) {
    if (!filter.Wanted(graph.Node(i))) choice.left.emplace(i, "excluded");
  }
  TRY(LeaveBetween(graph, context.Text("exclude_between"), choice));
  LeaveEnds(graph, context.Int("keep_first"), context.Int("keep_last"), choice);
  return choice;
}

std::vector<proto::ParameterInfo> NodeChoiceParameters() {
  std::vector<proto::ParameterInfo> parameters = {OpTypesParameter(), ExcludeParameter(), LayersParameter()};
  parameters.push_back(
      TextParameter("exclude_between", "", {},
                    "Parts of the graph to leave alone: from->to, names of nodes or values, both ends included; "
                    "several are separated by commas."));
  for (const auto& [name, help] :
       {std::pair("keep_first", "Products with a constant matrix, counted from the inputs, that stay in float."),
        std::pair("keep_last", "Products with a constant matrix, counted from the outputs, that stay in float.")}) {
    proto::ParameterInfo info = IntParameter(name, 0, {}, help);
    info.mutable_minimum()->set_integer(0);
    info.mutable_maximum()->set_integer(1000);
    parameters.push_back(std::move(info));
  }
  return parameters;
}

}  // namespace hone
