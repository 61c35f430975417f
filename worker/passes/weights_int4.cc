// Every MatMul and Gemm with a constant matrix gets codes of few bits (weight_engine.h), and tables of Gather where
// they are asked for; nothing else changes.
#include "worker/passes/weights_int4.h"

#include "common/recipe/value.h"
#include "worker/passes/layer_groups.h"
#include "worker/passes/quantization_graph.h"
#include "worker/passes/weight_engine.h"

namespace hone {
namespace {

WeightForm FormOf(const std::string& name) {
  if (name == "dequantize") return WeightForm::dequantize;
  return name == "bnb4" ? WeightForm::bnb4 : WeightForm::matmulnbits;
}

int TableBits(const std::string& name) {
  if (name == "int4") return 4;
  return name == "int8" ? 8 : 0;
}

}  // namespace

proto::PassInfo WeightsInt4Info() {
  proto::PassInfo info;
  info.set_name("weights_int4");
  info.set_version(1);
  info.set_summary("4-bit weights in blocks; activations stay in float");
  info.add_accepts("onnx");
  info.add_precisions("int4");
  info.set_takes_calibration(true);
  *info.add_parameters() = WithCalibrated(
      TextParameter("method", "rtn", WeightMethodNames(),
                    "How weights are rounded: to the nearest (rtn), on grids of least squared error (mse) or that "
                    "leave outliers alone (hqq), with later rows making up for earlier ones (gptq), or after scaling "
                    "rows by their inputs (awq)."),
      {"gptq", "awq"});
  *info.add_parameters() =
      IntParameter("group_size", 32, {0, 16, 32, 64, 128, 256},
                   "Weights that share a scale, along the summed dimension; 0: all of a column (form dequantize).");
  *info.add_parameters() = BoolParameter("symmetric", true, "Without zero points; off: each block has one.");
  *info.add_parameters() = IntParameter("bits", 4, {4, 2}, "Bits of a code; 2 in form matmulnbits alone.");
  *info.add_parameters() = TextParameter(
      "form", "matmulnbits", {"matmulnbits", "dequantize", "bnb4"},
      "MatMulNBits, DequantizeLinear in blocks before MatMul (opset 21), or 4-bit normal floats in MatMulBnb4, which "
      "ONNX Runtime alone reads.");
  *info.add_parameters() = RealParameter(
      "ratio", 1, 0, 1, "Share of the weights that gets few bits, the least sensitive ones; the rest has 8 bits.");
  *info.add_parameters() =
      WithCalibrated(TextParameter("sensitivity", "weights", {"weights", "activations"},
                                   "What ratio goes by: the weights' error alone, or weighed by their inputs."),
                     {"activations"});
  *info.add_parameters() = TextParameter("embeddings", "float", {"float", "int8", "int4"},
                                         "Tables of Gather, as GatherBlockQuantized with the same group_size.");
  *info.add_parameters() =
      IntParameter("accuracy_level", 0, {0, 1, 2, 3, 4},
                   "What ONNX Runtime may compute in: 0 its choice, 1 f32, 2 f16, 3 bf16, 4 int8 activations.");
  *info.add_parameters() =
      RealParameter("damping", 0.01, 1e-6, 1,
                    "Of gptq: what is added to the diagonal of the inputs' products, as a share of its mean.");
  *info.add_parameters() = BoolParameter("act_order", false, "Of gptq: rows with the largest inputs first.");
  *info.add_parameters() =
      BoolParameter("sequential", false,
                    "Of gptq: measure inputs behind the layers that are quantized already; takes a run over the data "
                    "for each.");
  *info.add_parameters() = ExcludeParameter();
  *info.add_parameters() = LayersParameter();
  *info.add_impossible() = LayersRule();
  const auto texts = [](std::initializer_list<const char*> words) {
    std::vector<proto::Value> values;
    for (const char* word : words) values.push_back(TextValue(word));
    return values;
  };
  *info.add_impossible() = Never({OneOf("group_size", {IntValue(0)}), OneOf("form", texts({"matmulnbits", "bnb4"}))},
                                 "group_size=0 (one scale a column) needs form=dequantize");
  *info.add_impossible() = Never({OneOf("bits", {IntValue(2)}), OneOf("form", texts({"dequantize", "bnb4"}))},
                                 "bits=2 needs form=matmulnbits; no runtime reads the other forms in 2 bits");
  *info.add_impossible() =
      Never({OneOf("form", texts({"bnb4"})), OneOf("method", texts({"mse", "hqq", "gptq", "awq"}))},
            "form=bnb4 goes with method=rtn alone; its codes are not evenly spaced, which the other methods count on");
  *info.add_impossible() = Never({OneOf("form", texts({"bnb4"})), Below("ratio", 1)},
                                 "form=bnb4 goes with ratio=1 alone; its codes have 4 bits");
  proto::Impossible elsewhere =
      Never({OneOf("form", texts({"bnb4"}))}, "form=bnb4 on openvino; ONNX Runtime alone reads it");
  elsewhere.add_backends("openvino");
  *info.add_impossible() = std::move(elsewhere);
  *info.add_impossible() = Never({OneOf("form", texts({"bnb4"})), OneOf("symmetric", {BoolValue(false)})},
                                 "form=bnb4 has no zero points; it goes with symmetric=true");
  return info;
}

Result<> WeightsInt4(onnx::ModelProto& model, PassContext& context) {
  WeightOptions options;
  options.method = WeightMethodOf(context.Text("method"));
  options.form = FormOf(context.Text("form"));
  options.bits = static_cast<int>(context.Int("bits"));
  options.group = static_cast<size_t>(context.Int("group_size"));
  options.symmetric = context.Bool("symmetric");
  options.accuracy_level = context.Int("accuracy_level");
  options.ratio = context.Real("ratio");
  options.measure_inputs = context.Text("sensitivity") == "activations";
  options.table_bits = TableBits(context.Text("embeddings"));
  options.damping = context.Real("damping");
  options.act_order = context.Bool("act_order");
  options.sequential = context.Bool("sequential");
  return QuantizeWeights(model, context, options);
}

}  // namespace hone
