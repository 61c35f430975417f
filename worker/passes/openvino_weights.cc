// Before: MatMul(x, w)                                                      w a float constant [K, N]
// After:  MatMul(x, Convert(Reshape(Multiply(Subtract(Convert(codes), zero points), scales))), transposed)
//         codes [N, groups, K / groups], scales float16; without groups [N, K] and no Reshape; signed codes have no
//         zero points
// Before: Gather(table, ids)
// After:  Gather(Convert(Multiply(Subtract(Convert(codes), zero points), scales)), ids), one scale a row
//
// This is the chain that OpenVINO recognizes: it keeps the codes and widens them inside its kernels. Where a condition
// of its own is not met it would fold the chain to float32 at load, so such a weight is left as it is and told about.
#include "worker/passes/openvino_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <optional>

#include "kernels/range.h"
#include "worker/passes/openvino_codes.h"
#include "worker/passes/openvino_graph.h"
#include "worker/passes/openvino_layers.h"
#include "worker/passes/openvino_quantizers.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

namespace op = ov::op;

struct ModeRow {
  const char* name;
  CodeFormat format;
};
constexpr ModeRow kModes[] = {
    {"int8_asym", {8, false, false}}, {"int8_sym", {8, true, false}}, {"int4_asym", {4, false, false}},
    {"int4_sym", {4, true, false}},   {"nf4", {4, true, true}},
};

const ModeRow& ModeNamed(std::string_view name) {
  for (const ModeRow& row : kModes) {
    if (name == row.name) return row;
  }
  return kModes[0];
}

// A weight as rows of what one output sums over.
struct Job {
  std::shared_ptr<ov::Node> layer;
  std::optional<MatrixProduct> product;  // Absent: a table.
  std::shared_ptr<op::v0::Constant> constant;
  size_t rows = 0;
  size_t columns = 0;
  const ModeRow* mode = nullptr;
  size_t group = 0;  // Of columns; all of them: no groups.
  EncodedWeights codes;
  double noise = 0;  // Of the codes, where it decides.
};

// Tile of a matrix that is turned at once, so that reads and writes both stay in the cache.
constexpr size_t kTile = 32;

std::vector<float> Turned(const float* values, size_t rows, size_t columns) {
  std::vector<float> turned(rows * columns);
  for (size_t row = 0; row < rows; row += kTile) {
    for (size_t column = 0; column < columns; column += kTile) {
      const size_t row_end = std::min(row + kTile, rows);
      const size_t column_end = std::min(column + kTile, columns);
      for (size_t r = row; r < row_end; ++r) {
        for (size_t c = column; c < column_end; ++c) turned[c * rows + r] = values[r * columns + c];
      }
    }
  }
  return turned;
}

// What one output sums over, row after row.
class Rows {
 public:
  explicit Rows(const Job& job) : view_(*job.constant) {
    if (job.product && job.product->reduction_axis == 0) turned_ = Turned(view_.data(), job.columns, job.rows);
  }
  const float* data() const { return turned_.empty() ? view_.data() : turned_.data(); }

 private:
  FloatView view_;
  std::vector<float> turned_;
};

class WeightCompressor {
 public:
  WeightCompressor(OpenvinoModel& read, PassContext& context) : read_(read), context_(context) {}

  Result<> Run() {
    if (HoldsNarrowWeights(*read_.model))
      return Fail(ErrorCode::kRejected, "the model's weights are compressed or quantized already",
                  "Give the float model.");
    TRY(FoldConstants(read_.model));
    TRY_ASSIGN(const NameFilter filter, NameFilter::Make(context_.Text("exclude")));
    Choose(filter);
    TRY(tally_.CheckAny("matrix product or embedding table with constant weights"));
    TRY(CallOpenvino("compress the weights", [&] {
      Encode();
      for (Job& job : jobs_) Replace(job);
      return 0;
    }));
    Tell();
    return {};
  }

 private:
  const ModeRow& Wished() const { return ModeNamed(context_.Text("mode")); }
  const ModeRow& Backup() const { return ModeNamed(context_.Text("backup")); }

  void Choose(const NameFilter& filter) {
    for (const auto& node : read_.model->get_ordered_ops()) {
      Job job;
      job.layer = node;
      job.product = AsMatrixProduct(*node);
      job.constant = job.product ? job.product->constant : TableOf(*node);
      if (!job.constant) continue;
      const std::string reason = filter.Excludes(*node) ? "excluded by name" : WhyNot(job);
      if (!reason.empty()) {
        tally_.Left(*node, reason);
        continue;
      }
      tally_.Quantized(*node);
      jobs_.push_back(std::move(job));
    }
    const bool narrow = Wished().format.bits == 4;
    // Tables and the last product decide most by their rounding.
    Job* last = nullptr;
    int products = 0;
    for (Job& job : jobs_) {
      if (!job.product) continue;
      last = &job;
      ++products;
    }
    for (Job& job : jobs_) {
      const bool sensitive = narrow && !context_.Bool("all_layers") && (!job.product || (&job == last && products > 1));
      SetMode(job, sensitive ? Backup() : Wished());
    }
  }

  void SetMode(Job& job, const ModeRow& mode) const {
    job.mode = &mode;
    job.group = job.columns;
    const int64_t wished = context_.Int("group_size");
    if (mode.format.bits == 8 || wished <= 0) return;
    if (const auto group = CompressibleGroup(job.columns, static_cast<size_t>(wished))) {
      job.group = *group;
    } else {
      job.mode = &Backup();
    }
  }

  static std::string WhyNot(Job& job) {
    const ov::Shape& shape = job.constant->get_shape();
    if (job.product) {
      if (job.product->weight == 0) return "its weight stands on the left";
      if (job.layer->get_input_element_type(0) != ov::element::f32) return "no float32";
      job.rows = shape[job.product->output_axis];
      job.columns = shape[job.product->reduction_axis];
      if (job.rows == 1) return "the runtime would widen the weight of a single output at load";
    } else {
      job.rows = shape[0];
      job.columns = shape[1];
    }
    if (job.rows == 0 || job.columns < kSmallestGroup) return "the weight is too small";
    const FloatView values(*job.constant);
    const bool finite = kernels::Range(values.data(), values.size()).non_finite == 0;
    return finite ? "" : "the weight holds NaN or infinities";
  }

  enum class Noise { ignored, measured };

  void EncodeJobs(const std::vector<Job*>& jobs, Noise measure) const {
    ParallelFor(context_.threads, jobs.size(), [&](size_t i) {
      Job& job = *jobs[i];
      const Rows rows(job);
      job.codes = EncodeWeights(rows.data(), job.rows * job.columns, job.group, job.mode->format);
      if (measure == Noise::measured) job.noise = EncodingNoise(rows.data(), job.group, job.mode->format, job.codes);
    });
  }

  // With a ratio below 1, products go to 4 bits in the order of what that costs them (the error's share of the weight's
  // energy), until the ratio of the products' weights is reached.
  void Encode() {
    std::vector<Job*> all;
    std::vector<Job*> candidates;
    double total = 0;
    for (Job& job : jobs_) {
      all.push_back(&job);
      if (job.mode->format.bits != 4) continue;
      candidates.push_back(&job);
      total += static_cast<double>(job.rows * job.columns);
    }
    const double ratio = context_.Real("ratio");
    EncodeJobs(all, ratio < 1 ? Noise::measured : Noise::ignored);
    if (ratio >= 1) return;
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Job* a, const Job* b) { return a->noise < b->noise; });
    double narrow = 0;
    std::vector<Job*> widened;
    for (Job* job : candidates) {
      narrow += static_cast<double>(job->rows * job->columns);
      if (narrow <= ratio * total) continue;
      SetMode(*job, Backup());
      widened.push_back(job);
    }
    EncodeJobs(widened, Noise::ignored);
  }

  static void Replace(Job& job) {
    const auto chain = CompressedSubgraph(job.codes, job.mode->format, job.rows, job.columns, job.group,
                                          job.constant->get_friendly_name());
    if (!job.product) {
      job.layer->input(0).replace_source_output(chain->output(0));
      return;
    }
    const auto product = std::make_shared<op::v0::MatMul>(job.layer->input_value(0), chain,
                                                          job.product->activation_transposed, true);
    product->set_friendly_name(job.layer->get_friendly_name());
    ov::copy_runtime_info(job.layer, product);
    ov::replace_node(job.layer, product);
  }

  void Tell() {
    tally_.Tell(context_.notes);
    std::map<std::string, int> modes;
    for (const Job& job : jobs_)
      ++modes[job.group == job.columns ? job.mode->name : fmt::format("{} in groups of {}", job.mode->name, job.group)];
    for (const auto& [mode, count] : modes) context_.notes.push_back(fmt::format("{} weights as {}", count, mode));
  }

  OpenvinoModel& read_;
  PassContext& context_;
  LayerTally tally_;
  std::vector<Job> jobs_;
};

}  // namespace

proto::PassInfo OpenvinoWeightsInfo() {
  proto::PassInfo info;
  info.set_name("openvino_weights");
  info.set_version(1);
  info.set_summary("Weights of products and embedding tables in 8 or 4 bits, kept compressed by OpenVINO");
  for (const char* format : {"onnx", "tflite", "tensorflow", "paddle", "openvino_ir"}) info.add_accepts(format);
  info.set_produces("openvino_ir");
  info.add_precisions("int8");
  info.add_precisions("int4");
  *info.add_parameters() = TextParameter("mode", "int8_asym", {"int8_asym", "int8_sym", "int4_asym", "int4_sym", "nf4"},
                                         "Codes of the weights: how many bits, and whether zero points go with them.");
  *info.add_parameters() =
      IntParameter("group_size", 128, {-1, 16, 32, 64, 128, 256},
                   "Values that share a scale in 4 bits, -1 a whole row; halved until it divides the row.");
  *info.add_parameters() = RealParameter("ratio", 1, 0, 1,
                                         "Share of the products' weights in 4 bits; those that lose most stay in 8.");
  *info.add_parameters() =
      BoolParameter("all_layers", false, "Take embedding tables and the last product to 4 bits too.");
  *info.add_parameters() = TextParameter("backup", "int8_asym", {"int8_asym", "int8_sym"},
                                         "Codes of the weights that do not go to 4 bits.");
  *info.add_parameters() = ExcludeParameter();
  return info;
}

Result<proto::Bundle> OpenvinoWeights(PassContext& context) {
  TRY_ASSIGN(OpenvinoModel read, ReadOpenvinoModel(context));
  TRY(WeightCompressor(read, context).Run());
  return WriteOpenvinoModel(read, context, HalfWeights::no);
}

}  // namespace hone
