// Before: X -> Conv(W, b) -> Relu -> Y
// After:  X -> Q -> DQ -> Conv(DQ(Wq), DQ(bq)) -> Q -> DQ -> Y        Q, DQ: QuantizeLinear, DequantizeLinear
//
// The model is planned once as if every tensor had a range, to learn which tensors to measure; it runs over the
// calibration data (or a `calibrate` step did that before); then it is planned again without the values that 8 bits
// cannot hold, and built. Scales, zero points and codes are those of ONNX Runtime's quantize_static (QDQ) or, with
// layout openvino, of NNCF; qdq_plan.cc says where the placement differs and why.
//
// Three steps prepare the model, each on the float graph and each optional: equalization of neighbouring layers
// (equalize.h) before anything is measured, smoothing (smooth_quant.h) after it, and bias correction
// (bias_correction.h) once it is known which weights are quantized how.
#include "worker/passes/static_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/base/strings.h"
#include "common/recipe/value.h"
#include "worker/passes/bias_correction.h"
#include "worker/passes/equalize.h"
#include "worker/passes/layer_groups.h"
#include "worker/passes/mask_values.h"
#include "worker/passes/node_choice.h"
#include "worker/passes/product_loss.h"
#include "worker/passes/qdq_builder.h"
#include "worker/passes/qdq_plan.h"
#include "worker/passes/quantization_data.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/smooth_quant.h"

namespace hone {
namespace {

// Values that are told by name; the rest are counted.
constexpr size_t kMaxNamesTold = 8;

struct Options {
  QdqOptions qdq;
  ObserverOptions observer;
  bool choose_coverage = false;  // By the graph.
  double smooth_alpha = 0;
  bool smooth_search = false;
  bool equalize = false;
  bool bias_correction = false;
  int64_t keep_worst = 0;
  bool NeedsChannels() const { return smooth_alpha > 0 || bias_correction || keep_worst > 0; }
  bool NeedsHistogram() const {
    return observer.observer == Observer::percentile || observer.observer == Observer::entropy ||
           observer.observer == Observer::mse;
  }
};

bool IsWide(CodeType type) { return type == CodeType::u16 || type == CodeType::s16; }

CodeType ActivationType(const std::string& name) {
  if (name == "int8") return CodeType::s8;
  if (name == "uint16") return CodeType::u16;
  return name == "int16" ? CodeType::s16 : CodeType::u8;
}

Result<Options> OptionsOf(const PassContext& context) {
  Options options;
  QdqOptions& qdq = options.qdq;
  qdq.layout = context.Text("layout") == "openvino" ? QdqLayout::openvino : QdqLayout::onnxruntime;
  const std::string coverage = context.Text("coverage");
  options.choose_coverage = coverage == "auto";
  qdq.coverage = coverage == "products" ? QdqCoverage::products : QdqCoverage::all;
  const std::string depthwise = context.Text("depthwise");
  qdq.depthwise = depthwise == "yes" || (depthwise == "auto" && qdq.layout == QdqLayout::onnxruntime);
  qdq.activations = ActivationType(context.Text("activations"));
  qdq.weights = context.Text("weights") == "uint8" ? CodeType::u8 : CodeType::s8;
  qdq.per_channel = context.Bool("per_channel") || qdq.layout == QdqLayout::openvino;  // Costs OpenVINO nothing.
  qdq.reduce_range = context.Bool("reduce_range");
  qdq.symmetric_activations = context.Bool("symmetric_activations");
  TRY_ASSIGN(options.observer.observer, ParseObserver(context.Text("observer")));
  options.observer.percentile = context.Real("percentile");
  options.observer.symmetric = qdq.symmetric_activations;
  const CodeRange codes = ScaleCodes(qdq.activations, false, qdq.symmetric_activations);
  options.observer.levels = codes.top - codes.bottom + 1;
  options.smooth_alpha = context.Real("smooth_alpha");
  options.smooth_search = context.Bool("smooth_search");
  options.equalize = context.Bool("equalize");
  options.keep_worst = context.Int("keep_worst");
  options.bias_correction = context.Bool("bias_correction");
  return options;
}

// The steps share what they learn of the model; each starts on a graph of its own, because the one before changed it.
class Quantizer {
 public:
  Quantizer(onnx::ModelProto& model, PassContext& context, const Options& options, StatisticsSource source)
      : model_(model), context_(context), options_(options), source_(std::move(source)) {}

  Result<> Run() {
    if (options_.equalize) {
      TRY(EqualizeLayers());
    }
    TRY(Measure());
    if (options_.smooth_alpha > 0) {
      TRY(SmoothProducts());
    }
    if (options_.keep_worst > 0) {
      TRY(KeepWorst());
    }
    if (options_.bias_correction) {
      TRY(Correct());
    }
    return Build();
  }

 private:
  Result<NodeChoice> Choose(const QuantizationGraph& graph) const {
    TRY_ASSIGN(NodeChoice choice, ChooseNodes(graph, context_));
    for (int i = 0; i < graph.NodeCount() && !worst_.empty(); ++i) {
      const auto& node = graph.Node(i);
      if (node.output_size() > 0 && worst_.contains(node.output(0)))
        choice.left.emplace(i, "one of the products that lose most");
    }
    return choice;
  }

  Result<> EqualizeLayers() {
    QuantizationGraph graph(model_);
    TRY_ASSIGN(const NodeChoice choice, Choose(graph));
    TRY_ASSIGN(const Equalized equalized, Equalize(graph, choice));
    RemoveUnused(*model_.mutable_graph());
    source_.Forget(equalized.changed);
    context_.notes.push_back(fmt::format("{} pairs of layers equalized", equalized.pairs));
    return {};
  }

  StatisticsRequest RequestFor(const std::string& tensor, const std::map<std::string, int>& axes) const {
    StatisticsRequest request;
    request.tensor = tensor;
    request.histogram = options_.NeedsHistogram();
    const auto axis = axes.find(tensor);
    if (options_.NeedsChannels() && axis != axes.end()) request.channel_axis = axis->second;
    return request;
  }

  Result<> Measure() {
    QuantizationGraph graph(model_);
    if (options_.choose_coverage)
      options_.qdq.coverage = HasAttention(graph) ? QdqCoverage::products : QdqCoverage::all;
    TRY_ASSIGN(const NodeChoice choice, Choose(graph));
    TRY_ASSIGN(const MaskValues masks, FindMasks(graph, {}));
    const QdqPlan wish = PlanQdq(graph, choice, options_.qdq, masks, nullptr);
    TRY(wish.tally.CheckAny(Wanted()));
    const std::map<std::string, int> axes = ChannelAxes(graph);
    std::set<std::string> names;
    for (const QdqTensor& tensor : wish.tensors) names.insert(tensor.name);
    for (const int index : wish.absorbed) names.insert(graph.Node(index).input(0));
    if (options_.NeedsChannels()) {
      for (const auto& [name, axis] : axes) names.insert(name);
    }
    std::erase_if(names, [&](const std::string& name) { return graph.FloatWeight(name) != nullptr; });
    std::vector<StatisticsRequest> requests;
    for (const auto& name : names) requests.push_back(RequestFor(name, axes));
    return source_.Add(model_, requests, statistics_);
  }

  Result<> SmoothProducts() {
    Smoothed smoothed;
    SmoothOptions smooth;
    smooth.alpha = options_.smooth_alpha;
    smooth.search = options_.smooth_search;
    smooth.mean_is_corrected = options_.bias_correction;
    {
      QuantizationGraph graph(model_);
      TRY_ASSIGN(const NodeChoice choice, Choose(graph));
      TRY_ASSIGN(const MaskValues masks, FindMasks(graph, statistics_));
      TRY_ASSIGN(smoothed, Smooth(graph, choice, masks, statistics_, smooth));
    }
    TRY(SortNodes(*model_.mutable_graph()));
    RemoveUnused(*model_.mutable_graph());
    context_.notes.push_back(fmt::format("{} inputs of products smoothed, {} of them in what computes them",
                                         smoothed.groups, smoothed.folded));
    return Follow(smoothed);
  }

  // Ranges of what was seen follow from the channels; what other observers look at is measured again.
  Result<> Follow(const Smoothed& smoothed) {
    Statistics changed;
    for (const auto& [name, value] : smoothed.values) {
      const auto source = statistics_.find(value.source);
      if (source != statistics_.end()) changed[name] = ScaleChannels(source->second, value.factors);
    }
    std::set<std::string> names;
    for (auto& [name, statistics] : changed) {
      statistics_[name] = std::move(statistics);
      names.insert(name);
    }
    if (options_.observer.observer == Observer::minmax || names.empty()) return {};
    source_.Forget(names);
    const QuantizationGraph graph(model_);
    const std::map<std::string, int> axes = ChannelAxes(graph);
    std::vector<StatisticsRequest> requests;
    for (const auto& name : names) requests.push_back(RequestFor(name, axes));
    context_.notes.push_back("the smoothed values are measured again for this observer");
    return source_.Add(model_, requests, statistics_);
  }

  Result<> KeepWorst() {
    QuantizationGraph graph(model_);
    TRY_ASSIGN(const NodeChoice choice, Choose(graph));
    TRY_ASSIGN(const auto losses, EstimateLosses(graph, choice, statistics_, options_.observer.levels));
    // One at least is quantized: the pass of a model of few layers would have nothing left to do.
    const size_t count = std::min(losses.empty() ? 0 : losses.size() - 1, static_cast<size_t>(options_.keep_worst));
    for (size_t i = 0; i < count; ++i) {
      worst_.insert(losses[i].output);
      if (i >= kMaxNamesTold) continue;
      context_.notes.push_back(
          Printable(fmt::format("'{}' kept in float: 8 bits would cost it {:.3g} of its energy", losses[i].output,
                                losses[i].loss),
                    300));
    }
    return {};
  }

  Result<> Correct() {
    CorrectionReport report;
    {
      QuantizationGraph graph(model_);
      TRY_ASSIGN(const NodeChoice choice, Choose(graph));
      TRY_ASSIGN(const MaskValues masks, FindMasks(graph, statistics_));
      const ObservedRanges ranges = Observed();
      const QdqPlan plan = PlanQdq(graph, choice, options_.qdq, masks, &ranges);
      TRY_ASSIGN(report, CorrectBiases(graph, plan, options_.qdq, statistics_));
    }
    TRY(SortNodes(*model_.mutable_graph()));
    RemoveUnused(*model_.mutable_graph());
    context_.notes.push_back(
        fmt::format("{} biases corrected, {} of them by an Add of their own", report.corrected, report.added));
    return {};
  }

  Result<> Build() {
    QuantizationGraph graph(model_);
    TRY_ASSIGN(const NodeChoice choice, Choose(graph));
    TRY_ASSIGN(const MaskValues masks, FindMasks(graph, statistics_));
    const ObservedRanges ranges = Observed();
    const QdqPlan plan = PlanQdq(graph, choice, options_.qdq, masks, &ranges);
    TRY(plan.tally.CheckAny(Wanted()));
    TRY_ASSIGN(const QdqReport report, BuildQdq(graph, plan, options_.qdq, choice, ranges));
    plan.tally.Tell(context_);
    context_.notes.push_back(fmt::format("{} activations, {} constants and {} biases quantized", report.activations,
                                         report.weights, report.biases));
    TellOfMasks(masks);
    for (const auto& line : report.left) context_.notes.push_back(Printable(line, 300));
    TellOfSubgraphs(model_.graph(), QdqOperators(options_.qdq), context_);
    return {};
  }

  ObservedRanges Observed() const {
    ObservedRanges ranges;
    for (const auto& [name, statistics] : statistics_) {
      if (statistics.values > statistics.non_finite) ranges[name] = Observe(statistics, options_.observer);
    }
    return ranges;
  }

  void TellOfMasks(const MaskValues& masks) {
    size_t told = 0;
    for (const auto& [name, why] : masks.values) {
      if (!statistics_.contains(name)) continue;
      if (++told <= kMaxNamesTold)
        context_.notes.push_back(Printable(fmt::format("'{}' left in float: {}", name, why), 300));
    }
    if (told > kMaxNamesTold) {
      context_.notes.push_back(
          fmt::format("{} more tensors left in float for the same reasons", told - kMaxNamesTold));
    }
    TellOfDirt(masks);
  }

  // Values that are not finite and no mask count for nothing.
  void TellOfDirt(const MaskValues& masks) {
    size_t dirty = 0;
    for (const auto& [name, statistics] : statistics_) {
      if (statistics.non_finite == 0 || masks.values.contains(name)) continue;
      if (++dirty > 1) continue;
      context_.notes.push_back(
          Printable(fmt::format("{} of {} values of '{}' were not finite; its range leaves them out",
                                statistics.non_finite, statistics.values, name),
                    300));
    }
    if (dirty > 1) context_.notes.push_back(fmt::format("{} more tensors had such values", dirty - 1));
  }

  std::string Wanted() const {
    const auto& operators = QdqOperators(options_.qdq);
    return Join({operators.begin(), operators.end()}, ", ");
  }

  onnx::ModelProto& model_;
  PassContext& context_;
  Options options_;
  StatisticsSource source_;
  Statistics statistics_;
  std::set<std::string> worst_;  // First outputs of products that stay in float by estimate.
};

}  // namespace

proto::PassInfo StaticInt8Info() {
  proto::PassInfo info;
  info.set_name("static_int8");
  info.set_version(2);
  info.set_summary(
      "Int8 weights and activations, ranges measured on calibration data (QuantizeLinear/DequantizeLinear)");
  info.add_accepts("onnx");
  info.add_precisions("int8");
  info.set_needs_calibration(true);
  info.set_uses_statistics(true);
  *info.add_parameters() =
      TextParameter("layout", "onnxruntime", {"onnxruntime", "openvino"},
                    "Which operators are quantized: those that this runtime executes in integers.");
  *info.add_parameters() = TextParameter(
      "coverage", "auto", {"auto", "all", "products"},
      "All operators that the layout's runtime has integer kernels for, or convolutions and the inputs of matrix "
      "products alone; auto takes products for a transformer and all otherwise.");
  *info.add_parameters() = TextParameter(
      "depthwise", "auto", {"auto", "yes", "no"},
      "Quantize depthwise convolutions; auto: not for openvino, whose float kernels are the faster ones.");
  *info.add_parameters() = TextParameter(
      "observer", "minmax", ObserverNames(),
      "How a range comes from what was seen: all of it, averages over samples, or the cut that loses least.");
  *info.add_parameters() = RealParameter("percentile", 99.999, 90, 100,
                                         "Share of the values that observer percentile keeps, in percent.");
  *info.add_parameters() = BoolParameter(
      "per_channel", false, "One scale for each output channel of a weight (always with layout openvino).");
  *info.add_parameters() =
      TextParameter("activations", "uint8", {"uint8", "int8", "uint16", "int16"},
                    "Type of the activations; 16 bits need opset 21 and layout onnxruntime.");
  *info.add_parameters() =
      TextParameter("weights", "int8", {"int8", "uint8"}, "Type of the weights: int8 symmetric or uint8 asymmetric.");
  *info.add_parameters() = BoolParameter("symmetric_activations", false, "Activation ranges are [-m, m].");
  *info.add_parameters() = BoolParameter(
      "reduce_range", false,
      "7-bit weights, against saturation on x86 processors without VNNI (no avx512_vnni, avx_vnni or amx among the "
      "machine's tags). Not found out here: an artifact is the same whichever machine makes it.");
  *info.add_parameters() = RealParameter(
      "smooth_alpha", 0, 0, 1,
      "How much of the activations' outliers moves into the weights of MatMul and Gemm (SmoothQuant); 0: nothing.");
  *info.add_parameters() = BoolParameter(
      "smooth_search", false,
      "Every product takes the alpha from 0 to smooth_alpha, or none, that promises the least error.");
  *info.add_parameters() = BoolParameter(
      "equalize", false, "Balance the channels of neighbouring layers first (cross-layer equalization).");
  *info.add_parameters() = BoolParameter(
      "bias_correction", false, "Take back the shift of each layer's mean that rounding its weights causes.");
  *info.add_parameters() = IntParameter(
      "keep_worst", 0, {},
      "Products that stay in float because, by estimate, rounding costs them most. One at least is quantized.");
  info.mutable_parameters()->rbegin()->mutable_minimum()->set_integer(0);
  info.mutable_parameters()->rbegin()->mutable_maximum()->set_integer(1000);
  for (auto& parameter : NodeChoiceParameters()) *info.add_parameters() = std::move(parameter);
  *info.add_impossible() = LayersRule();
  const auto openvino = OneOf("layout", {TextValue("openvino")});
  const auto uint8_weights = OneOf("weights", {TextValue("uint8")});
  *info.add_impossible() = Never({uint8_weights, OneOf("activations", {TextValue("int8"), TextValue("int16")})},
                                 "weights=uint8 with signed activations are executed by no runtime");
  *info.add_impossible() =
      Never({openvino, uint8_weights}, "OpenVINO runs weights=uint8 in float; layout=openvino needs weights=int8");
  *info.add_impossible() =
      Never({openvino, OneOf("activations", {TextValue("uint16"), TextValue("int16")})},
            "OpenVINO runs 16-bit activations in float; layout=openvino needs activations=uint8 or int8");
  return info;
}

Result<> StaticInt8(onnx::ModelProto& model, PassContext& context) {
  TRY_ASSIGN(const Options options, OptionsOf(context));
  if (!context.task->has_calibration()) {
    return Fail(ErrorCode::kRejected, "there is no calibration data",
                "Give data.calibration in the recipe, or --calibration on the command line.");
  }
  // QuantizeLinear came with opset 10, got its axis with 13 and its 16-bit types with 21.
  const int64_t opset = options.qdq.per_channel ? 13 : 10;
  TRY(RequireOpset(model, IsWide(options.qdq.activations) ? 21 : opset, context));
  TRY_ASSIGN(StatisticsSource source, StatisticsSource::Open(context));
  return Quantizer(model, context, options, std::move(source)).Run();
}

}  // namespace hone
