// Before: opset_import {"" : 11}, nodes in the forms of opset 11.
// After:  opset_import {"" : 17}, nodes in the forms of opset 17.
//
// The work is onnx's version converter, an adapter an operator and version step. It goes through the library's own
// graph form, which does not hold everything a model may have: what it would lose silently is refused here or carried
// over by hand.
#include "worker/passes/convert_opset.h"

#include <fmt/format.h>
#include <onnx/version_converter/convert.h>

#include <algorithm>
#include <array>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr int64_t kOldestOpset = 7;  // What the runtimes read.

// IR version that came with each opset (onnx/docs/Versioning.md); a model may have a later one.
struct IrStep {
  int64_t opset;
  int64_t ir_version;
};
constexpr std::array<IrStep, 11> kIrSteps = {
    {{1, 3}, {9, 4}, {10, 5}, {11, 6}, {12, 7}, {15, 8}, {19, 9}, {21, 10}, {23, 11}, {24, 12}, {25, 13}}};

int64_t IrVersionFor(int64_t opset) {
  int64_t version = 3;
  for (const auto& step : kIrSteps) {
    if (opset >= step.opset) version = step.ir_version;
  }
  return version;
}

int64_t NewestReleasedOpset() {
  return onnx::OpSchemaRegistry::DomainToVersionRange::Instance().LastReleaseVersionMap().at("");
}

// The library's message without the place in its source.
std::string CauseOf(const std::exception& error) {
  std::string text = error.what();
  const std::string marker = "failed: ";
  const size_t at = text.find(marker);
  if (at != std::string::npos) text.erase(0, at + marker.size());
  return Printable(Trim(text), 1000);
}

// Going down: operators that came later, with the nodes that have them. The library names the first alone.
Result<> CheckOlderForms(const onnx::ModelProto& model, int64_t from, int64_t to) {
  std::map<std::string, std::vector<std::string>> missing;
  VisitGraphs(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) {
      if (!node.domain().empty() && node.domain() != "ai.onnx") continue;
      const auto* now = onnx::OpSchemaRegistry::Schema(node.op_type(), static_cast<int>(from), "");
      const auto* then = onnx::OpSchemaRegistry::Schema(node.op_type(), static_cast<int>(to), "");
      if (now != nullptr && then == nullptr) missing[node.op_type()].push_back(NodeText(node));
    }
  });
  if (missing.empty()) return {};
  std::vector<std::string> words;
  for (const auto& [type, nodes] : missing) {
    words.push_back(nodes.size() == 1 ? nodes.front() : fmt::format("{} and {} more", nodes.front(), nodes.size() - 1));
  }
  return Fail(ErrorCode::kRejected,
              Printable(fmt::format("opset {} to {}: no such operators there: {}", from, to, Join(words, ", ")), 1000));
}

Result<> CheckConvertible(const onnx::ModelProto& model, int64_t from, int64_t to) {
  Result<> result = CheckOlderForms(model, from, to);
  VisitGraphs(model.graph(), [&](const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) {
      // Version 8 has a batch axis that version 9 has not; the library's adapter leaves it in the shapes.
      if (node.op_type() == "Scan" && std::min(from, to) <= 8 && std::max(from, to) > 8) {
        result = Fail(
            ErrorCode::kRejected,
            fmt::format("opset {} to {}: {} has no equal form on the other side of opset 8", from, to, NodeText(node)));
      }
    }
    for (const auto* values : {&graph.input(), &graph.output()}) {
      for (const auto& value : *values) {
        if (value.has_type() && !value.type().has_tensor_type()) {
          result =
              Fail(ErrorCode::kRejected, fmt::format("'{}' is no tensor; the version converter handles tensors alone",
                                                     Printable(value.name(), 200)));
        }
      }
    }
    if (graph.sparse_initializer_size() > 0) {
      result = Fail(ErrorCode::kRejected,
                    fmt::format("graph '{}' has sparse initializers, which the version converter drops",
                                Printable(graph.name(), 200)));
    }
  });
  return result;
}

Result<onnx::ModelProto> Convert(const onnx::ModelProto& model, int64_t from, int64_t to) try {
  return onnx::version_conversion::ConvertVersion(model, static_cast<int>(to));
} catch (const std::bad_alloc&) {
  return Fail(ErrorCode::kExhausted, "not enough memory");
} catch (const std::exception& error) {
  return Fail(ErrorCode::kRejected, fmt::format("opset {} to {}: {}", from, to, CauseOf(error)));
}

}  // namespace

proto::PassInfo ConvertOpsetInfo() {
  proto::PassInfo info;
  info.set_name("convert_opset");
  info.set_version(1);
  info.set_summary("Rewrites the model's operators in the forms of another ONNX opset");
  info.add_accepts("onnx");
  auto* version = info.add_parameters();
  version->set_name("version");
  version->set_type(proto::ParameterInfo::INTEGER);
  version->set_help("Version of the default operator set to convert to.");
  *version->mutable_default_value() = IntValue(21);
  *version->mutable_minimum() = IntValue(kOldestOpset);
  *version->mutable_maximum() = IntValue(NewestReleasedOpset());
  return info;
}

Result<> ConvertOpset(onnx::ModelProto& model, PassContext& context) {
  const int64_t from = OpsetVersion(model);
  const int64_t to = context.Int("version");
  if (from == 0) return Fail(ErrorCode::kRejected, "the model does not use the default operator set");
  if (from == to) {
    context.notes.push_back(fmt::format("the model already has opset {}", to));
    return {};
  }
  TRY(CheckConvertible(model, from, to));
  TRY_ASSIGN(onnx::ModelProto converted, Convert(model, from, to));
  *converted.mutable_functions() = model.functions();
  *converted.mutable_metadata_props() = model.metadata_props();
  *converted.mutable_graph()->mutable_quantization_annotation() = model.graph().quantization_annotation();
  converted.set_ir_version(std::max(model.ir_version(), IrVersionFor(to)));
  const Result<> valid = CheckModel(converted);
  if (!valid) return FailWith(fmt::format("opset {} to {}", from, to), valid.error());
  model = std::move(converted);
  context.notes.push_back(fmt::format("opset {} converted to {}", from, to));
  return {};
}

}  // namespace hone
