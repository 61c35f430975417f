// Before: MatMul(x, W)
// After:  MatMul(x, W')      W' = W with its smallest magnitudes zero
//
// unstructured: of each weight (or of all together) the share `sparsity` of elements with the smallest magnitudes;
// among equal ones the earlier go first, so the result is exact and repeatable. 2:4: of every four consecutive weights
// along the dimension that is summed over (rows of a MatMul's matrix, input channels of a Conv) the two smallest; what
// is left over behind the last four stays.
//
// The weights keep their dense form: a zero takes as many bytes as any number, and no kernel of ONNX Runtime skips it.
// OpenVINO's CPU plugin stores the weights of int8 layers without their zeros on processors with AMX, from a share on
// that the backend's setting sparse_weights_rate names. The pass is a step towards those, and towards smaller archives;
// the note says so.
#include "worker/passes/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "common/base/strings.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

// Which input of an operator is its weight, and along which dimension its products are summed.
struct WeightRole {
  const char* op_type;
  int input;
  int64_t (*summed)(const onnx::NodeProto& node, int rank);
};
constexpr WeightRole kRoles[] = {
    {"MatMul", 1, [](const onnx::NodeProto&, int rank) -> int64_t { return rank - 2; }},
    {"Gemm", 1,
     [](const onnx::NodeProto& node, int) { return IntAttribute(node, "transB", 0) != 0 ? int64_t{1} : int64_t{0}; }},
    {"Conv", 1, [](const onnx::NodeProto&, int) { return int64_t{1}; }},
    {"ConvTranspose", 1, [](const onnx::NodeProto&, int) { return int64_t{0}; }},
};

const WeightRole* RoleOf(const onnx::NodeProto& node) {
  if (!IsStandard(node)) return nullptr;
  const auto* row = std::find_if(std::begin(kRoles), std::end(kRoles),
                                 [&](const WeightRole& role) { return node.op_type() == role.op_type; });
  return row == std::end(kRoles) ? nullptr : row;
}

// A weight that is pruned.
struct Target {
  std::string name;
  int64_t summed = 0;
  Tensor values;
};

struct Sparsity {
  bool pairs = false;  // 2:4
  bool global = false;
  double share = 0.5;
};

// Zeroes the `count` smallest magnitudes, earlier ones first among equals.
void ZeroSmallest(float* values, size_t size, size_t count) {
  if (count == 0) return;
  std::vector<float> magnitudes(size);
  std::transform(values, values + size, magnitudes.begin(), [](float value) { return std::fabs(value); });
  const auto place = magnitudes.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(magnitudes.begin(), place, magnitudes.end());
  const float threshold = *place;
  size_t below = 0;
  for (size_t i = 0; i < size; ++i) below += std::fabs(values[i]) < threshold ? 1 : 0;
  size_t equal = count - below;
  for (size_t i = 0; i < size; ++i) {
    const float magnitude = std::fabs(values[i]);
    if (magnitude > threshold) continue;
    if (magnitude == threshold && equal == 0) continue;
    if (magnitude == threshold) --equal;
    values[i] = 0;
  }
}

// Zeroes two of every four along dimension `axis`.
void ZeroPairs(Tensor& tensor, int64_t axis) {
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < tensor.dims.size(); ++d) inner *= tensor.dims[d];
  const int64_t length = tensor.dims[static_cast<size_t>(axis)];
  const int64_t outer = length * inner == 0 ? 0 : tensor.Elements() / (length * inner);
  float* values = tensor.data<float>();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t first = 0; first + 4 <= length; first += 4) {
      for (int64_t i = 0; i < inner; ++i) {
        float* four[4];
        for (int64_t k = 0; k < 4; ++k) four[k] = values + (o * length + first + k) * inner + i;
        std::stable_sort(std::begin(four), std::end(four),
                         [](const float* a, const float* b) { return std::fabs(*a) < std::fabs(*b); });
        *four[0] = 0;
        *four[1] = 0;
      }
    }
  }
}

void ZeroTogether(std::vector<Target>& targets, double share) {
  size_t size = 0;
  for (const Target& target : targets) size += static_cast<size_t>(target.values.Elements());
  std::vector<float> all;
  all.reserve(size);
  for (const Target& target : targets) {
    all.insert(all.end(), target.values.data<float>(), target.values.data<float>() + target.values.Elements());
  }
  ZeroSmallest(all.data(), all.size(), static_cast<size_t>(share * static_cast<double>(size)));
  size_t offset = 0;
  for (Target& target : targets) {
    const auto count = static_cast<size_t>(target.values.Elements());
    std::copy_n(all.data() + offset, count, target.values.data<float>());
    offset += count;
  }
}

void Zero(std::vector<Target>& targets, const Sparsity& sparsity, int threads) {
  if (sparsity.global && !sparsity.pairs) return ZeroTogether(targets, sparsity.share);
  ParallelFor(threads, targets.size(), [&](size_t i) {
    Tensor& values = targets[i].values;
    if (sparsity.pairs) return ZeroPairs(values, targets[i].summed);
    const auto size = static_cast<size_t>(values.Elements());
    ZeroSmallest(values.data<float>(), size, static_cast<size_t>(sparsity.share * static_cast<double>(size)));
  });
}

// Nodes whose weights are pruned, and why the others' are not.
struct Report {
  int pruned = 0;
  std::map<std::string, int> left;  // "MatMul: excluded" -> nodes.
};

// Collects the weights that may be pruned.
class Collector {
 public:
  Collector(const QuantizationGraph& graph, const NodeFilter& filter) : graph_(graph), filter_(filter) {}

  Result<std::vector<Target>> Run(Report& report) {
    std::map<std::string, size_t> places;
    for (int n = 0; n < graph_.NodeCount(); ++n) {
      const onnx::NodeProto& node = graph_.Node(n);
      const WeightRole* role = RoleOf(node);
      if (role == nullptr) continue;
      TRY_ASSIGN(const std::string reason, Take(node, *role, places));
      if (reason.empty()) {
        ++report.pruned;
      } else {
        ++report.left[fmt::format("{}: {}", node.op_type(), reason)];
      }
    }
    return std::move(targets_);
  }

 private:
  Result<std::string> Take(const onnx::NodeProto& node, const WeightRole& role, std::map<std::string, size_t>& places) {
    if (!filter_.Wanted(node)) return std::string("excluded");
    const onnx::TensorProto* weight =
        node.input_size() > role.input ? graph_.FloatWeight(node.input(role.input)) : nullptr;
    if (weight == nullptr) return std::string("no constant float32 weight");
    if (weight->dims_size() < 2) return std::string("the weight is a vector");
    if (places.contains(weight->name())) return std::string();
    if (std::string reason = SharedWith(weight->name()); !reason.empty()) return reason;
    TRY_ASSIGN(Tensor values, ReadTensor(*weight));
    const float* data = values.data<float>();
    if (std::any_of(data, data + values.Elements(), [](float value) { return std::isnan(value); }))
      return std::string("the weight holds NaN");
    places[weight->name()] = targets_.size();
    const int64_t summed = role.summed(node, static_cast<int>(values.dims.size()));
    targets_.push_back({weight->name(), summed, std::move(values)});
    return std::string();
  }

  // A weight with another use (a tied embedding) would change that too.
  std::string SharedWith(const std::string& weight) const {
    for (const Use& use : graph_.index().Consumers(weight)) {
      const onnx::NodeProto& reader = graph_.Node(use.node);
      const WeightRole* role = RoleOf(reader);
      if (role == nullptr || use.input != role->input || !filter_.Wanted(reader))
        return fmt::format("the weight also serves {}", reader.op_type());
    }
    return graph_.index().IsGraphOutput(weight) ? "the weight is an output" : "";
  }

  const QuantizationGraph& graph_;
  const NodeFilter& filter_;
  std::vector<Target> targets_;
};

uint64_t Zeros(const std::vector<Target>& targets) {
  uint64_t zeros = 0;
  for (const Target& target : targets) {
    const float* data = target.values.data<float>();
    zeros += static_cast<uint64_t>(std::count(data, data + target.values.Elements(), 0.0F));
  }
  return zeros;
}

}  // namespace

proto::PassInfo PruneInfo() {
  proto::PassInfo info;
  info.set_name("prune");
  info.set_version(1);
  info.set_summary(
      "Zeroes the weights of smallest magnitude; pays only where a runtime skips zeros (see sparse_weights_rate)");
  info.add_accepts("onnx");
  *info.add_parameters() = TextParameter("pattern", "unstructured", {"unstructured", "2:4"},
                                         "Any elements, or two of every four along the dimension that is summed over.");
  *info.add_parameters() = RealParameter("sparsity", 0.5, 0, 1, "Share of zeros (pattern unstructured).");
  *info.add_parameters() =
      TextParameter("scope", "layer", {"layer", "global"},
                    "Whether each weight gets that share of zeros, or all weights together (pattern unstructured).");
  *info.add_parameters() = OpTypesParameter();
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<> Prune(onnx::ModelProto& model, PassContext& context) {
  TRY_ASSIGN(const NodeFilter filter, NodeFilter::Make(context, model.graph(), {}));
  const Sparsity sparsity = {context.Text("pattern") == "2:4", context.Text("scope") == "global",
                             context.Real("sparsity")};
  QuantizationGraph graph(model);
  Report report;
  TRY_ASSIGN(std::vector<Target> targets, Collector(graph, filter).Run(report));
  std::vector<std::string> left;
  for (const auto& [reason, nodes] : report.left) left.push_back(Printable(fmt::format("{} {}", nodes, reason), 300));
  if (report.pruned == 0) {
    return Fail(ErrorCode::kRejected, left.empty() ? "nothing to prune: the model has no MatMul, Gemm or Conv"
                                                   : "nothing to prune: " + Join(left, "; "));
  }
  uint64_t elements = 0;
  for (const Target& target : targets) elements += static_cast<uint64_t>(target.values.Elements());
  const uint64_t before = Zeros(targets);
  Zero(targets, sparsity, context.threads);
  const uint64_t after = Zeros(targets);
  std::map<std::string, const Target*> by_name;
  for (const Target& target : targets) by_name[target.name] = &target;
  for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
    const auto found = by_name.find(tensor.name());
    if (found == by_name.end()) continue;
    const std::string note = tensor.doc_string();
    tensor = MakeTensor(tensor.name(), onnx::TensorProto::FLOAT, found->second->values.dims,
                        std::string_view(reinterpret_cast<const char*>(found->second->values.bytes.data()),
                                         found->second->values.bytes.size()));
    tensor.set_doc_string(note);
  }
  const double share = elements == 0 ? 0 : 100.0 * static_cast<double>(after) / static_cast<double>(elements);
  context.notes.push_back(
      fmt::format("{} of {} weights are zero ({:.1f} %), {} were before", after, elements, share, before));
  for (const std::string& line : left) context.notes.push_back("left as they are: " + line);
  context.notes.push_back(
      "neither runtime runs float weights with zeros faster; OpenVINO leaves zeros out of int8 weights on processors "
      "with AMX, where its "
      "setting sparse_weights_rate is at most their share");
  return {};
}

}  // namespace hone
