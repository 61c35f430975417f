// Keeps what ONNX Runtime's own optimizer does to a model at every load, so that a load need not do it again, and so
// that later passes see its fused operators.
//
// Only the levels whose result is the same on every machine are offered. The levels above rewrite convolutions for the
// vector width of the processor that the optimizer runs on; a session does that at load from this pass's result too, in
// little time.
//
// ONNX Runtime writes some fused operators under ONNX's own domain although ONNX has none of them, or has them in a
// later opset only. The opset is raised to where LayerNormalization is standard, and the fusions into operators that no
// opset has are turned off.
#include "worker/passes/ort_optimize.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <set>

#include "common/base/file.h"
#include "worker/backends/onnxruntime_optimizer.h"
#include "worker/model/model.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLayerNormalizationOpset = 17;

std::map<std::string, int> CountsOf(const onnx::GraphProto& graph) {
  std::map<std::string, int> counts;
  VisitGraphs(graph, [&](const onnx::GraphProto& inner) {
    for (const auto& node : inner.node()) ++counts[node.op_type()];
  });
  return counts;
}

// ONNX Runtime imports every domain that it knows.
void DropUnusedDomains(onnx::ModelProto& model) {
  std::set<std::string> used = {"", "ai.onnx"};
  VisitGraphs(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) used.insert(node.domain());
  });
  for (const auto& function : model.functions()) {
    for (const auto& opset : function.opset_import()) used.insert(opset.domain());
    used.insert(function.domain());
  }
  auto& imports = *model.mutable_opset_import();
  for (int i = imports.size(); i-- > 0;) {
    if (!used.contains(imports[i].domain())) imports.DeleteSubrange(i, 1);
  }
}

void TellOfOperators(const std::map<std::string, int>& before, const std::map<std::string, int>& after,
                     PassContext& context) {
  std::string fused;
  for (const auto& [op, count] : after) {
    if (!before.contains(op)) fused += fmt::format("{}{} {}", fused.empty() ? "" : ", ", count, op);
  }
  const auto total = [](const std::map<std::string, int>& counts) {
    int sum = 0;
    for (const auto& [op, count] : counts) sum += count;
    return sum;
  };
  context.notes.push_back(fmt::format("{} nodes became {}", total(before), total(after)));
  if (!fused.empty()) context.notes.push_back("new operators: " + fused);
}

}  // namespace

proto::PassInfo OrtOptimizeInfo() {
  proto::PassInfo info;
  info.set_name("ort_optimize");
  info.set_version(1);
  info.set_summary("Keeps ONNX Runtime's own graph optimization in the model, for faster loads");
  info.add_accepts("onnx");
  *info.add_parameters() = TextParameter("level", "extended", {"basic", "extended"},
                                         "basic keeps ONNX's operators; extended also fuses into ONNX Runtime's own.");
  return info;
}

Result<> OrtOptimize(onnx::ModelProto& model, PassContext& context) {
  const std::string level = context.Text("level");
  const std::map<std::string, int> before = CountsOf(model.graph());
  const proto::LocalBundle& given = context.task->model();
  fs::path source = fs::path(given.folder()) / given.bundle().main();
  TRY_ASSIGN(const ScopedFolder folder, ScopedFolder::Make(fs::temp_directory_path(), "hone-optimize-"));
  if (level == "extended" && OpsetVersion(model) < kLayerNormalizationOpset) {
    TRY(RequireOpset(model, kLayerNormalizationOpset, context));
    const fs::path raised = folder.path() / "raised";
    TRY(MakeFolder(raised));
    TRY_ASSIGN(const proto::Bundle bundle, SaveOnnx(std::move(model), raised));
    source = raised / bundle.main();
  }
  model.Clear();
  const fs::path optimized = folder.path() / "optimized.onnx";
  TRY(WriteOptimized(source, level == "basic" ? OptimizerLevel::basic : OptimizerLevel::extended, optimized));
  TRY_ASSIGN(model, LoadOnnx(optimized));
  DropUnusedDomains(model);
  TellOfOperators(before, CountsOf(model.graph()), context);
  return {};
}

}  // namespace hone
