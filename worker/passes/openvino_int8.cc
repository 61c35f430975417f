// Before: x -> MatMul(w) -> Add(bias) -> ...                       everything float32
// After:  x -> [Multiply(1/s)] -> FakeQuantize -> MatMul(w8) -> Add(bias') -> ...
//         w8 = Constant(i8) -> Convert -> Multiply(scales)
//
// In this order: smoothing points are prepared (a Multiply by one, so that everything behind sees the graph as it will
// be); quantizers are placed; one run over the calibration data measures every place, and what smoothing and bias
// correction need; then scales are chosen, outlier channels are spread over copies (openvino_outliers.h), weights are
// quantized and FakeQuantize layers are put in.
//
// Smoothing (SmoothQuant) divides each channel of a product's input by s and multiplies the weights with it. The range
// of what is divided follows exactly from the channels' ranges, so no second run is needed; it takes the scales, and so
// those of the first kSmoothingSamples samples are kept until the scales are known.
//
// Bias correction adds what rounding the weights takes from each output on average: sum over inputs of
// (w - w8) * mean(input).
#include "worker/passes/openvino_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <optional>

#include "common/base/strings.h"
#include "worker/passes/openvino_graph.h"
#include "worker/passes/openvino_layers.h"
#include "worker/passes/openvino_outliers.h"
#include "worker/passes/openvino_quantizers.h"
#include "worker/passes/openvino_smoothing.h"
#include "worker/passes/openvino_taps.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

namespace op = ov::op;

// Smoothing scales come from as many samples; it bounds what is kept of them.
constexpr size_t kSmoothingSamples = 128;
// Copies of outlier channels that a product gets: a vector's worth, so that its kernel has no rest to work off.
constexpr size_t kCopies = 16;
// Spreading must bring the expected error down to this share to be worth the larger product.
constexpr double kWorthCopying = 0.8;

// --- smoothing ---------------------------------------------------------------------------------------------------

// Products that read one tensor, which is divided by their common scales.
struct SmoothGroup {
  ov::Output<ov::Node> source;
  std::shared_ptr<ov::Node> multiply;
  std::vector<WeightPlace> weights;
  size_t channels = 0;
  // Filled while samples run.
  SmoothingInput input;
  std::vector<double> mean_sums;
  std::vector<double> share_sums;
  double inverse_energy_sum = 0;
  // Of each channel, then of each copy.
  std::vector<float> scales;    // What weights are multiplied with; empty until known.
  std::vector<float> inverses;  // What the input is multiplied with: 1 / scale, shared by a channel's copies.
  std::vector<size_t> copies;   // Channels that are computed again.
};

std::shared_ptr<op::v0::Constant> ScaleConstant(const std::vector<float>& values, size_t rank) {
  ov::Shape shape(rank, 1);
  shape.back() = values.size();
  return std::make_shared<op::v0::Constant>(ov::element::f32, shape, values);
}

// Whether the layer's input can be divided channel by channel: a plain product whose weight nobody else reads.
std::optional<MatrixProduct> SmoothableProduct(const ov::Node& node) {
  auto product = AsMatrixProduct(node);
  if (!product || product->activation != 0 || product->activation_transposed) return std::nullopt;
  if (node.get_input_element_type(0) != ov::element::f32) return std::nullopt;
  if (product->constant->get_output_target_inputs(0).size() != 1) return std::nullopt;
  const ov::PartialShape& shape = node.get_input_partial_shape(0);
  if (shape.rank().is_dynamic() || shape.size() == 0 || shape[shape.size() - 1].is_dynamic()) return std::nullopt;
  return product;
}

std::vector<SmoothGroup> PrepareSmoothing(const ov::Model& model, const NameFilter& filter) {
  std::vector<SmoothGroup> groups;
  std::map<ov::Output<ov::Node>, size_t> by_source;
  for (const auto& node : model.get_ordered_ops()) {
    const auto product = SmoothableProduct(*node);
    if (!product || filter.Excludes(*node)) continue;
    const ov::Output<ov::Node> source = node->input_value(0);
    const auto [found, is_new] = by_source.emplace(source, groups.size());
    if (is_new) {
      groups.emplace_back();
      groups.back().source = source;
      groups.back().channels = product->constant->get_shape()[product->reduction_axis];
    }
    groups[found->second].weights.push_back(
        {node->input(1), product->constant, {product->output_axis}, product->reduction_axis});
  }
  for (SmoothGroup& group : groups) {
    const size_t rank = group.source.get_partial_shape().size();
    group.multiply = std::make_shared<op::v1::Multiply>(
        group.source, ScaleConstant(std::vector<float>(group.channels, 1.0F), rank));
    group.multiply->set_friendly_name(
        fmt::format("{}_{}/smooth", group.source.get_node()->get_friendly_name(), group.source.get_index()));
    for (const WeightPlace& weight : group.weights)
      weight.reader.get_node()->input(0).replace_source_output(group.multiply->output(0));
    group.input.magnitudes.assign(group.channels, 0.0F);
    group.mean_sums.assign(group.channels, 0.0);
    group.share_sums.assign(group.channels, 0.0);
  }
  return groups;
}

// What is known of the input when the channels have copies.
SmoothingInput Spread(const SmoothingInput& input, const std::vector<size_t>& copies, const std::vector<float>& parts) {
  SmoothingInput spread = input;
  const auto grow = [&](auto& values) {
    for (const size_t channel : copies) values.push_back(values[channel]);
  };
  grow(spread.magnitudes);
  grow(spread.shares);
  spread.parts = parts;
  for (auto& sample : spread.samples) grow(sample);
  for (size_t c = 0; c < parts.size(); ++c) {
    spread.magnitudes[c] /= parts[c];
    spread.shares[c] /= static_cast<double>(parts[c]) * static_cast<double>(parts[c]);
    for (auto& sample : spread.samples) {
      sample[c].low /= parts[c];
      sample[c].high /= parts[c];
    }
  }
  return spread;
}

// In how many parts each channel and each copy is; of no copies all are whole.
std::vector<float> PartsOf(size_t channels, const std::vector<size_t>& copies) {
  std::vector<float> parts(channels, 1.0F);
  for (const size_t channel : copies) ++parts[channel];
  for (const size_t channel : copies) parts.push_back(parts[channel]);
  return parts;
}

std::vector<double> DifficultyOf(const SmoothGroup& group) {
  const WeightLayout layout = LayoutOf(group.weights[0]);
  const FloatView values(*group.weights[0].constant);
  std::vector<float> magnitudes(layout.Inputs(), 0.0F);
  VisitWeight(layout, [&](size_t element, size_t, size_t input) {
    magnitudes[input] = std::max(magnitudes[input], std::fabs(values.data()[element]));
  });
  std::vector<double> difficulty;
  for (size_t c = 0; c < magnitudes.size(); ++c)
    difficulty.push_back(static_cast<double>(group.input.magnitudes[c]) * static_cast<double>(magnitudes[c]));
  return difficulty;
}

void ChooseScales(SmoothGroup& group, double alpha, Scheme scheme, bool may_copy) {
  const auto samples = static_cast<double>(group.input.samples.size());
  for (const double sum : group.share_sums) group.input.shares.push_back(samples > 0 ? sum / samples : 0);
  if (samples > 0) group.input.inverse_energy = group.inverse_energy_sum / samples;
  group.scales = alpha < 0 ? BestSmoothing(group.input, group.weights, scheme)
                           : FixedSmoothing(group.input, group.weights, alpha);
  if (may_copy) {
    const std::vector<size_t> copies = ChannelsToCopy(DifficultyOf(group), kCopies);
    const SmoothingInput spread = Spread(group.input, copies, PartsOf(group.channels, copies));
    WeightPlace larger = group.weights[0];
    larger.constant = WithCopies(*larger.constant, *larger.reduction_axis, copies);
    std::vector<float> scales = BestSmoothing(spread, {larger}, scheme);
    const double before = ExpectedError(group.input, group.weights, group.scales, scheme);
    if (ExpectedError(spread, {larger}, scales, scheme) < kWorthCopying * before) {
      group.copies = copies;
      group.scales = std::move(scales);
    }
  }
  const std::vector<float> parts = PartsOf(group.channels, group.copies);
  for (size_t c = 0; c < group.scales.size(); ++c) group.inverses.push_back(1.0F / (group.scales[c] * parts[c]));
}

// --- statistics --------------------------------------------------------------------------------------------------

// What a place saw, over all samples: a single channel unless the place wants one range a channel.
struct PlaceRange {
  std::vector<float> low, high, magnitude;                // Extremes.
  std::vector<double> low_sum, high_sum, magnitude_sum;   // Of the samples' extremes.
  uint64_t samples = 0;
  uint64_t non_finite = 0;

  void Add(const std::vector<kernels::FloatRange>& ranges) {
    if (std::all_of(ranges.begin(), ranges.end(), [](const auto& range) { return range.finite == 0; })) return;
    if (low.empty()) {
      low.assign(ranges.size(), std::numeric_limits<float>::infinity());
      high.assign(ranges.size(), -std::numeric_limits<float>::infinity());
      magnitude.assign(ranges.size(), 0.0F);
      low_sum.assign(ranges.size(), 0.0);
      high_sum = magnitude_sum = low_sum;
    }
    ++samples;
    for (size_t c = 0; c < ranges.size(); ++c) {
      if (ranges[c].finite == 0) continue;
      low[c] = std::min(low[c], ranges[c].low);
      high[c] = std::max(high[c], ranges[c].high);
      magnitude[c] = std::max(magnitude[c], ranges[c].AbsMax());
      low_sum[c] += static_cast<double>(ranges[c].low);
      high_sum[c] += static_cast<double>(ranges[c].high);
      magnitude_sum[c] += static_cast<double>(ranges[c].AbsMax());
    }
  }
};

struct PlaceMeasure {
  size_t tap = 0;
  const SmoothGroup* group = nullptr;  // The place reads what this group divides.
  PlaceRange range;
};

// Means of the input channels of a layer whose bias is corrected.
struct BiasMeasure {
  size_t weight = 0;  // Of the placement.
  BiasPlace bias;
  size_t tap = 0;
  const SmoothGroup* group = nullptr;
  std::vector<double> mean_sums;
};

class Int8Model {
 public:
  Int8Model(OpenvinoModel& read, PassContext& context) : read_(read), context_(context) {}

  Result<> Run() {
    TRY(Prepare());
    TRY(Measure());
    Insert();
    TellOf();
    return {};
  }

 private:
  Result<> Prepare() {
    ov::Model& model = *read_.model;
    if (HoldsNarrowWeights(model))
      return Fail(ErrorCode::kRejected, "the model is quantized already", "Give the float model.");
    TRY(FoldConstants(read_.model));
    TRY_ASSIGN(const NameFilter filter, NameFilter::Make(context_.Text("exclude")));
    const std::string type = context_.Text("model_type");
    PlacementOptions& options = options_;
    options.transformer = type == "transformer" || (type == "auto" && LooksLikeTransformer(model));
    const std::string preset = context_.Text("preset");
    const bool mixed = preset == "mixed" || (preset == "auto" && options.transformer);
    options.scheme = mixed ? Scheme::asymmetric : Scheme::symmetric;
    const std::string attention = context_.Text("attention");
    options.attention = attention == "none"  ? AttentionProducts::none
                        : attention == "all" ? AttentionProducts::all
                                             : AttentionProducts::scores;
    options.embeddings = context_.Bool("embeddings");
    alpha_ = options.transformer ? context_.Real("smooth_alpha") : 0;
    return CallOpenvino("place the quantizers", [&] {
             if (alpha_ != 0) groups_ = PrepareSmoothing(model, filter);
             FindSources();
             placement_ = PlaceQuantizers(model, options, filter);
             return 0;
           })
        .map([](int) {})
        .and_then([&] { return placement_.tally.CheckAny("matrix product or convolution"); });
  }

  // Where channels may be copied: one product reads them, and their makers' weights are read by nobody else.
  void FindSources() {
    for (const SmoothGroup& group : groups_) {
      std::optional<std::vector<ChannelConstant>> sources;
      if (alpha_ < 0 && context_.Bool("spread_outliers") && group.weights.size() == 1)
        sources = ChannelSources(group.source, *group.multiply);
      sources_.push_back(std::move(sources));
    }
  }

  // The tap of a source; ranges a channel where an axis is given. One tap serves all that want no other axis.
  size_t TapFor(const ov::Output<ov::Node>& source, std::optional<int64_t> axis) {
    for (size_t i = 0; i < taps_.size(); ++i) {
      if (taps_[i].source != source) continue;
      if (axis && taps_[i].channel_axis && *axis != *taps_[i].channel_axis) continue;
      if (axis) taps_[i].channel_axis = axis;
      return i;
    }
    taps_.push_back({source, axis});
    return taps_.size() - 1;
  }

  const SmoothGroup* GroupOf(const ov::Output<ov::Node>& output) const {
    for (const SmoothGroup& group : groups_) {
      if (group.multiply.get() == output.get_node()) return &group;
    }
    return nullptr;
  }

  static int64_t LastAxis(const ov::Output<ov::Node>& output) {
    return static_cast<int64_t>(output.get_partial_shape().size()) - 1;
  }

  void PlanTaps() {
    for (const SmoothGroup& group : groups_) group_taps_.push_back(TapFor(group.source, LastAxis(group.source)));
    for (const ActivationPlace& place : placement_.activations) {
      PlaceMeasure measure;
      measure.group = GroupOf(place.source);
      if (measure.group == nullptr)
        measure.tap = TapFor(place.source, place.per_channel ? std::optional<int64_t>(1) : std::nullopt);
      measures_.push_back(measure);
    }
    if (context_.Bool("bias_correction")) PlanBiases();
  }

  void PlanBiases() {
    for (size_t i = 0; i < placement_.weights.size(); ++i) {
      const WeightPlace& place = placement_.weights[i];
      const ov::Node& layer = *place.reader.get_node();
      // A table has no bias, and a weight on the left has its outputs in another dimension.
      if (TableOf(layer) || place.reader.get_index() == 0) continue;
      const auto bias = BiasOf(layer, LayoutOf(place).Outputs());
      if (!bias) continue;
      const ov::Output<ov::Node> input = layer.input_value(0);
      if (input.get_partial_shape().rank().is_dynamic()) continue;
      BiasMeasure measure{i, *bias, 0, GroupOf(input), {}};
      const bool product = place.reduction_axis.has_value();
      if (product && AsMatrixProduct(layer)->activation_transposed) continue;
      if (measure.group == nullptr) measure.tap = TapFor(input, product ? LastAxis(input) : 1);
      biases_.push_back(std::move(measure));
    }
  }

  Result<> Measure() {
    PlanTaps();
    TRY_ASSIGN(const std::vector<InputSignature> signature, SignatureOfModel(*read_.model));
    TRY_ASSIGN(const auto data, OpenDataSet(context_.task->calibration(), signature, &context_.task->model()));
    samples_ = data->size();
    TRY(RunTaps(read_.model, taps_, *data, context_.threads,
                [&](size_t sample, std::vector<TapSample>& taps) { return Fold(sample, taps); }));
    Settle();
    return {};
  }

  Result<> Fold(size_t sample, std::vector<TapSample>& taps) {
    if (sample == kSmoothingSamples) Settle();
    for (size_t i = 0; i < groups_.size(); ++i) TRY(FoldGroup(groups_[i], taps[group_taps_[i]]));
    for (PlaceMeasure& measure : measures_) {
      if (measure.group != nullptr) continue;  // By its group.
      const TapSample& tap = taps[measure.tap];
      measure.range.non_finite += tap.range.non_finite;
      const bool per_channel = placement_.activations[static_cast<size_t>(&measure - measures_.data())].per_channel;
      if (per_channel && !measure.range.low.empty() && measure.range.low.size() != tap.channels.size())
        return Fail(ErrorCode::kRejected, fmt::format("the channels of '{}' change between samples", NameOf(measure)));
      measure.range.Add(per_channel ? tap.channels : std::vector<kernels::FloatRange>{tap.range});
    }
    for (BiasMeasure& measure : biases_) {
      if (measure.group != nullptr) continue;
      const std::vector<double>& means = taps[measure.tap].channel_means;
      if (sample == 0) measure.mean_sums.assign(means.size(), 0);
      if (measure.mean_sums.size() != means.size())
        return Fail(ErrorCode::kRejected, "the channels of an activation change between samples");
      for (size_t c = 0; c < means.size(); ++c) measure.mean_sums[c] += means[c];
    }
    return {};
  }

  std::string NameOf(const PlaceMeasure& measure) const {
    const auto& place = placement_.activations[static_cast<size_t>(&measure - measures_.data())];
    return Printable(place.source.get_node()->get_friendly_name(), 200);
  }

  Result<> FoldGroup(SmoothGroup& group, TapSample& tap) {
    if (tap.channels.size() != group.channels)
      return Fail(ErrorCode::kRejected, "the channels of an activation change between samples");
    for (size_t c = 0; c < group.channels; ++c) group.mean_sums[c] += tap.channel_means[c];
    if (group.scales.empty()) {
      for (size_t c = 0; c < group.channels; ++c) {
        group.input.magnitudes[c] = std::max(group.input.magnitudes[c], tap.channels[c].AbsMax());
        group.share_sums[c] += tap.channel_shares[c];
      }
      group.inverse_energy_sum += tap.inverse_energy;
      group.input.samples.push_back(std::move(tap.channels));
    } else {
      AddDivided(group, tap.channels);
    }
    return {};
  }

  // The scales become known, and what was kept goes into the ranges of those that read the divided tensors.
  void Settle() {
    ParallelFor(context_.threads, groups_.size(), [&](size_t i) {
      SmoothGroup& group = groups_[i];
      if (group.scales.empty()) ChooseScales(group, alpha_, options_.scheme, sources_[i].has_value());
    });
    for (size_t i = 0; i < groups_.size(); ++i) {
      if (!groups_[i].copies.empty()) Copy(groups_[i], *sources_[i]);
    }
    for (SmoothGroup& group : groups_) {
      for (const auto& channels : group.input.samples) AddDivided(group, channels);
      group.input.samples = {};
    }
  }

  // Every constant that holds the channels grows, wherever it is known.
  void Copy(SmoothGroup& group, const std::vector<ChannelConstant>& sources) {
    for (const ChannelConstant& source : sources) Grow(source.reader, *source.constant, source.axis, group.copies);
    const WeightPlace weight = group.weights[0];
    Grow(weight.reader, *weight.constant, *weight.reduction_axis, group.copies);
    for (size_t i = 0; i < group.copies.size(); ++i) group.mean_sums.push_back(group.mean_sums[group.copies[i]]);
    copied_.push_back(&group);
  }

  void Grow(ov::Input<ov::Node> reader, const op::v0::Constant& constant, size_t axis,
            const std::vector<size_t>& copies) {
    const auto grown = WithCopies(constant, axis, copies);
    reader.replace_source_output(grown->output(0));
    const auto update = [&](const ov::Node& layer, size_t port, std::shared_ptr<op::v0::Constant>& known) {
      if (&layer == reader.get_node() && port == reader.get_index()) known = grown;
    };
    for (SmoothGroup& group : groups_) {
      for (WeightPlace& place : group.weights)
        update(*place.reader.get_node(), place.reader.get_index(), place.constant);
    }
    for (WeightPlace& place : placement_.weights)
      update(*place.reader.get_node(), place.reader.get_index(), place.constant);
    for (BiasMeasure& measure : biases_) update(*measure.bias.add, measure.bias.port, measure.bias.constant);
  }

  void AddDivided(const SmoothGroup& group, const std::vector<kernels::FloatRange>& channels) {
    kernels::FloatRange divided;
    for (size_t c = 0; c < channels.size(); ++c) {
      kernels::FloatRange channel = channels[c];
      channel.low *= group.inverses[c];
      channel.high *= group.inverses[c];
      divided.Merge(channel);
    }
    for (PlaceMeasure& measure : measures_) {
      if (measure.group != &group) continue;
      measure.range.non_finite += divided.non_finite;
      measure.range.Add({divided});
    }
  }

  // --- the result ------------------------------------------------------------------------------------------------

  void Insert() {
    for (const SmoothGroup& group : groups_) {
      const auto constant = ScaleConstant(group.inverses, group.source.get_partial_shape().size());
      constant->set_friendly_name(group.multiply->get_friendly_name() + "/scale");
      group.multiply->input(1).replace_source_output(constant->output(0));
    }
    if (!copied_.empty()) read_.model->validate_nodes_and_infer_types();
    InsertWeights();
    std::map<int, QuantizerLimits> shared = SharedLimits();
    std::map<std::string, int> names;
    for (size_t i = 0; i < placement_.activations.size(); ++i) {
      const ActivationPlace& place = placement_.activations[i];
      if (measures_[i].range.samples == 0 && !place.shared_with) {
        ++unseen_;
        continue;
      }
      InsertActivation(place, place.shared_with ? shared.at(*place.shared_with) : LimitsOf(i), names);
    }
  }

  // Mean of the samples' extremes (NNCF's rule), or the extremes. Ranges a channel are always the extremes.
  QuantizerLimits LimitsOf(size_t index) const {
    const ActivationPlace& place = placement_.activations[index];
    auto [low, high] = EndsOf(index);
    return ActivationLimits(place.scheme, low, high);
  }

  std::pair<std::vector<float>, std::vector<float>> EndsOf(size_t index) const {
    const ActivationPlace& place = placement_.activations[index];
    const PlaceRange& range = measures_[index].range;
    const bool symmetric = place.scheme == Scheme::symmetric;
    if (range.samples == 0) return {{0.0F}, {0.0F}};
    if (place.per_channel || context_.Text("observer") == "minmax") {
      std::vector<float> low = range.low;
      std::vector<float> high = symmetric ? range.magnitude : range.high;
      // A channel without finite values.
      for (size_t c = 0; c < low.size(); ++c) {
        if (low[c] > range.high[c]) low[c] = high[c] = 0.0F;
      }
      return {low, high};
    }
    const auto samples = static_cast<double>(range.samples);
    const double high = symmetric ? range.magnitude_sum[0] : range.high_sum[0];
    return {{static_cast<float>(range.low_sum[0] / samples)}, {static_cast<float>(high / samples)}};
  }

  std::map<int, QuantizerLimits> SharedLimits() const {
    std::map<int, std::pair<float, float>> ends;
    std::map<int, Scheme> schemes;
    for (size_t i = 0; i < placement_.activations.size(); ++i) {
      const ActivationPlace& place = placement_.activations[i];
      if (!place.shared_with || measures_[i].range.samples == 0) continue;
      const auto [low, high] = EndsOf(i);
      const auto [found, is_new] = ends.emplace(*place.shared_with, std::pair(low[0], high[0]));
      found->second.first = std::min(found->second.first, low[0]);
      found->second.second = std::max(found->second.second, high[0]);
      schemes[*place.shared_with] = place.scheme;
    }
    std::map<int, QuantizerLimits> limits;
    for (const ActivationPlace& place : placement_.activations) {
      if (!place.shared_with) continue;
      const auto found = ends.find(*place.shared_with);
      const auto [low, high] = found == ends.end() ? std::pair(0.0F, 0.0F) : found->second;
      limits[*place.shared_with] = ActivationLimits(place.scheme, {low}, {high});
    }
    return limits;
  }

  void InsertActivation(const ActivationPlace& place, const QuantizerLimits& limits,
                        std::map<std::string, int>& names) {
    ov::Shape shape;
    if (limits.low.size() > 1) {
      shape = ov::Shape(place.source.get_partial_shape().size(), 1);
      shape[1] = limits.low.size();
    }
    const auto low = std::make_shared<op::v0::Constant>(ov::element::f32, shape, limits.low);
    const auto high = std::make_shared<op::v0::Constant>(ov::element::f32, shape, limits.high);
    const auto quantizer = std::make_shared<op::v0::FakeQuantize>(place.source, low, high, low, high,
                                                                 static_cast<size_t>(limits.levels));
    std::string name =
        fmt::format("{}/fq_output_{}", place.source.get_node()->get_friendly_name(), place.source.get_index());
    if (const int before = names[name]++; before > 0) name += fmt::format("_{}", before);
    low->set_friendly_name(name + "/low");
    high->set_friendly_name(name + "/high");
    quantizer->set_friendly_name(name);
    for (auto reader : place.readers) reader.replace_source_output(quantizer->output(0));
    ++quantizers_;
  }

  struct WeightJob {
    std::vector<size_t> places;  // Readers of one constant, quantized alike.
    const SmoothGroup* group = nullptr;
    WeightLayout layout;
    Int8Weight weight;
  };

  void InsertWeights() {
    std::map<std::pair<const ov::Node*, std::vector<size_t>>, size_t> known;
    std::vector<WeightJob> jobs;
    std::vector<const BiasMeasure*> bias_of(placement_.weights.size(), nullptr);
    for (const BiasMeasure& measure : biases_) bias_of[measure.weight] = &measure;
    for (size_t i = 0; i < placement_.weights.size(); ++i) {
      const WeightPlace& place = placement_.weights[i];
      if (TableOf(*place.reader.get_node())) {
        LookUpCodes(place);
        continue;
      }
      const auto [found, is_new] = known.emplace(std::pair(place.constant.get(), place.channel_axes), jobs.size());
      if (is_new) jobs.push_back({{}, GroupOf(place.reader.get_node()->input_value(0)), LayoutOf(place), {}});
      jobs[found->second].places.push_back(i);
    }
    std::vector<std::vector<double>> corrections(placement_.weights.size());
    ParallelFor(context_.threads, jobs.size(), [&](size_t index) {
      WeightJob& job = jobs[index];
      const std::vector<float> values = Smoothed(*placement_.weights[job.places[0]].constant, job);
      job.weight = QuantizeWeight(values, job.layout);
      if (job.group != nullptr && !job.group->copies.empty()) RoundTogether(values, job);
      for (const size_t place : job.places) {
        if (bias_of[place] != nullptr) corrections[place] = Correction(*bias_of[place], values, job);
      }
    });
    for (const WeightJob& job : jobs) {
      const WeightPlace& first = placement_.weights[job.places[0]];
      const auto quantized =
          Int8Subgraph(job.weight, job.layout, first.constant->get_shape(), first.constant->get_friendly_name());
      for (const size_t place : job.places) {
        auto reader = placement_.weights[place].reader;
        reader.replace_source_output(quantized->output(0));
      }
    }
    for (const BiasMeasure& measure : biases_) Correct(measure.bias, corrections[measure.weight]);
  }

  // Parts of one channel get codes whose sum is the nearest to that of their values: one more here, one less there.
  static void RoundTogether(const std::vector<float>& values, WeightJob& job) {
    const std::vector<float> parts = PartsOf(job.group->channels, job.group->copies);
    std::vector<size_t> before(parts.size(), 0);  // Parts of the same channel that stand before.
    std::vector<size_t> seen(job.group->channels, 1);
    for (size_t i = 0; i < job.group->copies.size(); ++i)
      before[job.group->channels + i] = seen[job.group->copies[i]]++;
    const std::vector<float> scales = job.weight.Scales();
    VisitWeight(job.layout, [&](size_t element, size_t output, size_t input) {
      if (parts[input] <= 1) return;
      const double value = static_cast<double>(values[element]) / static_cast<double>(scales[output]);
      const auto sum = [&](size_t count) { return std::nearbyint(static_cast<double>(count) * value); };
      job.weight.codes[element] =
          static_cast<int8_t>(std::clamp(sum(before[input] + 1) - sum(before[input]), -127.0, 127.0));
    });
  }

  // A table whose codes are widened before the lookup would be folded to float32 at load, beside quantized layers. So
  // codes are looked up, and each row's scale with them.
  static void LookUpCodes(const WeightPlace& place) {
    const WeightLayout layout = LayoutOf(place);
    const Int8Weight weight = QuantizeWeight(FloatsOf(*place.constant), layout);
    const std::string name = place.constant->get_friendly_name();
    const ov::Shape& shape = place.constant->get_shape();
    const std::shared_ptr<ov::Node> lookup = place.reader.get_node()->shared_from_this();
    const auto codes = std::make_shared<op::v0::Constant>(ov::element::i8, shape, weight.codes);
    const auto scales = std::make_shared<op::v0::Constant>(ov::element::f32, layout.scale_shape, weight.Scales());
    codes->set_friendly_name(name);
    scales->set_friendly_name(name + "/scale");
    const auto row = lookup->clone_with_new_inputs({codes, lookup->input_value(1), lookup->input_value(2)});
    const auto scale = lookup->clone_with_new_inputs({scales, lookup->input_value(1), lookup->input_value(2)});
    row->set_friendly_name(name + "/codes");
    scale->set_friendly_name(name + "/scales");
    const auto wide = std::make_shared<op::v0::Convert>(row, ov::element::f32);
    wide->set_friendly_name(name + "/convert");
    const auto product = std::make_shared<op::v1::Multiply>(wide, scale);
    product->set_friendly_name(lookup->get_friendly_name());
    ov::replace_node(lookup, product);
  }

  static std::vector<float> Smoothed(const op::v0::Constant& constant, const WeightJob& job) {
    std::vector<float> values = FloatsOf(constant);
    if (job.group == nullptr) return values;
    VisitWeight(job.layout,
                [&](size_t element, size_t, size_t input) { values[element] *= job.group->scales[input]; });
    return values;
  }

  std::vector<double> Correction(const BiasMeasure& measure, const std::vector<float>& values,
                                 const WeightJob& job) const {
    std::vector<double> means = measure.group != nullptr ? measure.group->mean_sums : measure.mean_sums;
    if (means.size() != job.layout.Inputs()) return {};
    for (size_t c = 0; c < means.size(); ++c) {
      means[c] /= static_cast<double>(samples_);
      if (measure.group != nullptr) means[c] *= static_cast<double>(measure.group->inverses[c]);
    }
    const std::vector<float> scales = job.weight.Scales();
    std::vector<double> corrections(job.layout.Outputs(), 0.0);
    VisitWeight(job.layout, [&](size_t element, size_t output, size_t input) {
      const double rounded = static_cast<double>(job.weight.codes[element]) * static_cast<double>(scales[output]);
      corrections[output] += (static_cast<double>(values[element]) - rounded) * means[input];
    });
    return corrections;
  }

  void Correct(const BiasPlace& bias, const std::vector<double>& corrections) {
    if (corrections.empty()) return;
    std::vector<float> values = FloatsOf(*bias.constant);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<double>(values[i]) + corrections[i]);
    const auto constant =
        std::make_shared<op::v0::Constant>(ov::element::f32, bias.constant->get_shape(), values);
    constant->set_friendly_name(bias.constant->get_friendly_name() + "/corrected");
    bias.add->input(bias.port).replace_source_output(constant->output(0));
    ++corrected_;
  }

  void TellOf() {
    auto& notes = context_.notes;
    placement_.tally.Tell(notes);
    notes.push_back(fmt::format("{} activations measured on {} samples, {} quantizers", placement_.activations.size(),
                                samples_, quantizers_));
    if (!groups_.empty())
      notes.push_back(fmt::format("{} activations smoothed with {}", groups_.size(),
                                  alpha_ < 0 ? "the exponent of least error each" : fmt::format("alpha {}", alpha_)));
    if (!copied_.empty())
      notes.push_back(
          fmt::format("outlier channels of {} activations spread over {} copies each", copied_.size(), kCopies));
    if (corrected_ > 0) notes.push_back(fmt::format("{} biases corrected", corrected_));
    if (unseen_ > 0) notes.push_back(fmt::format("{} activations left in float: they held no finite value", unseen_));
    for (const PlaceMeasure& measure : measures_) {
      if (measure.range.non_finite > 0)
        notes.push_back(fmt::format("'{}' held {} NaN or infinite values, which were left out of its range",
                                    NameOf(measure), measure.range.non_finite));
    }
  }

  OpenvinoModel& read_;
  PassContext& context_;
  PlacementOptions options_;
  double alpha_ = 0;
  std::vector<SmoothGroup> groups_;
  std::vector<std::optional<std::vector<ChannelConstant>>> sources_;  // One a group.
  std::vector<size_t> group_taps_;
  std::vector<const SmoothGroup*> copied_;
  Placement placement_;
  std::vector<Tap> taps_;
  std::vector<PlaceMeasure> measures_;  // One a place.
  std::vector<BiasMeasure> biases_;
  size_t samples_ = 0;
  int quantizers_ = 0;
  int corrected_ = 0;
  int unseen_ = 0;
};

}  // namespace

proto::PassInfo OpenvinoInt8Info() {
  proto::PassInfo info;
  info.set_name("openvino_int8");
  info.set_version(1);
  info.set_summary(
      "Int8 weights and activations in OpenVINO's own graph (FakeQuantize), ranges measured on calibration data");
  for (const char* format : {"onnx", "tflite", "tensorflow", "paddle", "openvino_ir"}) info.add_accepts(format);
  info.set_produces("openvino_ir");
  info.set_needs_calibration(true);
  info.add_precisions("int8");
  *info.add_parameters() =
      TextParameter("preset", "auto", {"auto", "performance", "mixed"},
                    "performance: symmetric activations; mixed: asymmetric ones; auto: mixed for transformers.");
  *info.add_parameters() = TextParameter("model_type", "auto", {"auto", "transformer", "other"},
                                         "transformer: only products are quantized; auto: where attention is found.");
  *info.add_parameters() =
      TextParameter("observer", "mean_minmax", {"mean_minmax", "minmax"},
                    "Range of an activation: mean over the samples of their extremes, or the extremes.");
  *info.add_parameters() =
      RealParameter("smooth_alpha", -1, -1, 1,
                    "How much of the activations' spread moves into the weights of transformers: 0 "
                    "turns it off, below 0 it is chosen for each layer by the expected error.");
  *info.add_parameters() = BoolParameter(
      "spread_outliers", true,
      "Spread channels that are far larger than the others over copies, where smoothing is chosen by the error.");
  *info.add_parameters() = TextParameter(
      "attention", "scores", {"none", "scores", "all"},
      "Which products of two activations of a transformer are quantized: queries with keys, or values too.");
  *info.add_parameters() = BoolParameter("embeddings", true, "Quantize the weights of embedding tables.");
  *info.add_parameters() =
      BoolParameter("bias_correction", true, "Put the mean error of quantized weights right in the biases.");
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<proto::Bundle> OpenvinoInt8(PassContext& context) {
  TRY_ASSIGN(OpenvinoModel read, ReadOpenvinoModel(context));
  TRY(Int8Model(read, context).Run());
  return WriteOpenvinoModel(read, context, HalfWeights::no);
}

}  // namespace hone
