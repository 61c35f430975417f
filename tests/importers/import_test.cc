// What single parts of a configuration become.
#include <gmock/gmock.h>

#include "client/importers/report.h"
#include "tests/importers/import_helpers.h"

namespace hone::importers {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Imported Take(const std::string& text, const std::string& tool = "olive", const ImportOptions& options = {}) {
  Result<Imported> imported = ImportText(text, tool, options);
  EXPECT_TRUE(imported) << (imported ? "" : imported.error().message);
  return imported ? *std::move(imported) : Imported();
}

std::string WithPass(const std::string& pass) {
  return R"({"input_model": {"type": "ONNXModel", "model_path": "m.onnx"}, "passes": {"p": )" + pass + "}}";
}

TEST(OlivePassTest, OlivesDefaultsAreWrittenWhereHonesAreOthers) {
  EXPECT_THAT(RecipeOf(Take(WithPass(R"({"type": "OnnxStaticQuantization"})"))),
              HasSubstr("static_int8: {activations: int8, coverage: all, weights: int8}"));
  EXPECT_THAT(RecipeOf(Take(WithPass(R"({"type": "OnnxBlockWiseRtnQuantization"})"))),
              HasSubstr("weights_int4: {group_size: 128, method: rtn, symmetric: true}"));
}

TEST(OlivePassTest, SignedActivationsWithUnsignedWeightsAreSetRightAndTold) {
  const Imported imported =
      Take(WithPass(R"({"type": "OnnxStaticQuantization", "precision": "uint8", "activation_type": "int8"})"));
  EXPECT_THAT(RecipeOf(imported), HasSubstr("weights: int8"));
  EXPECT_EQ(RowOf(imported, "passes.p.precision").fate, Fate::changed);
  EXPECT_EQ(RowOf(imported, "passes.p.activation_type").fate, Fate::done);
}

TEST(OlivePassTest, PassesAndTheirAlternativesAreBounded) {
  std::string passes, alternatives;
  for (int i = 0; i < 300; ++i) {
    passes += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\": {\"type\": \"OnnxFloatToFloat16\"}";
    alternatives += (i == 0 ? "{" : ",{") + std::string("\"type\": \"OnnxFloatToFloat16\"}");
  }
  const Result<Imported> many = ImportText("{\"passes\": {" + passes + "}}");
  ASSERT_FALSE(many);
  EXPECT_THAT(many.error().message, HasSubstr("300 passes, at most 256"));
  const Result<Imported> either =
      ImportText("{\"search_strategy\": true, \"passes\": {\"p\": [" + alternatives + "]}}");
  ASSERT_FALSE(either);
  EXPECT_THAT(either.error().message, HasSubstr("300 alternatives, at most 64"));
}

TEST(OlivePassTest, NamesOfNodesAreEscaped) {
  const Imported imported =
      Take(WithPass(R"({"type": "OnnxDynamicQuantization", "nodes_to_exclude": ["/a.b/MatMul", "c,d"]})"));
  EXPECT_EQ(imported.recipe.passes(1).options(0).parameters(1).choices(0).text(), "/a\\.b/MatMul|c\\x2cd");
}

TEST(OlivePassTest, EightBitBlocksTakeTheOtherPass) {
  const Imported imported = Take(WithPass(R"({"type": "OnnxKQuantQuantization", "bits": 8, "accuracy_level": 4})"));
  EXPECT_THAT(RecipeOf(imported),
              HasSubstr("weights_int8: {form: matmulnbits, group_size: 32, method: mse, symmetric: false}"));
  EXPECT_EQ(RowOf(imported, "passes.p.accuracy_level").fate, Fate::changed);
}

TEST(OlivePassTest, ASearchTriesTheParametersThatAreNotGiven) {
  const Imported imported = Take(
      R"({"input_model": {"type": "ONNXModel"},
          "passes": {"p": {"type": "OnnxDynamicQuantization", "per_channel": true}},
          "search_strategy": {"execution_order": "joint", "sampler": "tpe", "max_samples": 5, "seed": 2}})");
  EXPECT_THAT(
      RecipeOf(imported),
      HasSubstr("dynamic_int8: {conv: true, per_channel: true, reduce_range: [true, false], weights: [int8, uint8]}"));
  EXPECT_THAT(RecipeOf(imported), HasSubstr("search: {sampler: tpe, trials: 5, seed: 2, order: joint}"));
}

TEST(OlivePassTest, BlocksBecomePairsWhereThePassThatMakesThemStands) {
  const Imported imported = Take(R"({"input_model": {"type": "HfModel", "model_path": "x/y"}, "passes": {
      "b": {"type": "ModelBuilder", "precision": "int4"}, "q": {"type": "MatMulNBitsToQDQ", "use_int4": true}}})");
  EXPECT_THAT(RecipeOf(imported), HasSubstr("weights_int4: {group_size: 32, form: dequantize}"));
  EXPECT_TRUE(imported.report.Whole());
  EXPECT_EQ(imported.kind_code, "exported");
}

TEST(OlivePassTest, BlocksOfTheGivenFileAreTurned) {
  EXPECT_THAT(RecipeOf(Take(WithPass(R"({"type": "MatMulNBitsToQDQ"})"))),
              HasSubstr("matmulnbits_to_qdq: {zero_points: true}"));
  EXPECT_THAT(RecipeOf(Take(WithPass(R"({"type": "MatMulNBitsToQDQ", "use_signed_int": true})"))),
              HasSubstr("matmulnbits_to_qdq: {zero_points: false}"));
}

TEST(OlivePassTest, SurgeonsThatHoneHasBecomeOneStepInTheirOrder) {
  const Imported imported = Take(WithPass(R"({"type": "GraphSurgeries", "surgeries": [
      {"surgeon": "PackedAttentionToLoopMHA"}, {"surgeon": "gemmtomatmuladd"},
      {"surgeon": "RenameInputDims", "input_idx": 0, "dim_idx": 1, "dim_name": "sequence"},
      {"surgeon": "RenameOutputDims", "output_idx": 1, "dim_idx": 0, "dim_name": "a+b"}]})"));
  EXPECT_THAT(RecipeOf(imported),
              HasSubstr("PackedAttentionToLoopMHA+GemmToMatMulAdd+RenameInputDims:0.1>sequence"));
  EXPECT_THAT(RecipeOf(imported), testing::Not(HasSubstr("a+b")));
  EXPECT_EQ(RowOf(imported, "passes.p.surgeries[0]").fate, Fate::done);
  EXPECT_EQ(RowOf(imported, "passes.p.surgeries[3]").fate, Fate::ignored);
}

TEST(OlivePassTest, CastChainsGoWhereTheyWentWithOlive) {
  EXPECT_THAT(RecipeOf(Take(WithPass(R"({"type": "OnnxPeepholeOptimizer", "cast_chain_elimination": true})"))),
              HasSubstr("simplify: {cast_chains: true}"));
}

TEST(OlivePassTest, ARewriteThatHoneLacksBelongsToTheFileOnlyWhileNothingWasDoneToIt) {
  const std::string surgery = R"({"type": "GraphSurgeries", "surgeries": [{"surgeon": "ZeroOutInput"}]})";
  const Imported before = Take(R"({"input_model": {"type": "ONNXModel"}, "passes": {"s": )" + surgery +
                               R"(, "h": {"type": "OnnxFloatToFloat16"}}})");
  EXPECT_EQ(RowOf(before, "passes.s.surgeries[0]").fate, Fate::changed);
  const Imported after =
      Take(R"({"input_model": {"type": "ONNXModel"}, "passes": {"h": {"type": "OnnxFloatToFloat16"}, "s": )" + surgery +
           "}}");
  EXPECT_EQ(RowOf(after, "passes.s.surgeries[0]").fate, Fate::impossible);
}

TEST(OliveModelTest, ACheckpointThatIsNamedIsBuiltFirst) {
  proto::InspectResult model;
  model.set_format("checkpoint");
  proto::TensorInfo& logits = *model.add_outputs();
  logits.set_name("logits");
  for (const char* dim : {"batch", "length", "320"}) logits.add_dims(dim);
  ImportOptions options;
  options.model = &model;
  const auto take = [&](const std::string& passes) {
    return Take(R"({"input_model": {"type": "HfModel", "model_path": "some/decoder", "task": "text-generation"},
                    "passes": {)" + passes + "}}", "olive", options);
  };
  const Imported builder =
      take(R"("b": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": 64, "int4_accuracy_level": 4})");
  EXPECT_EQ(StagesOf(builder.recipe), "build_decoder");
  EXPECT_THAT(RecipeOf(builder), HasSubstr("precision: int4"));
  EXPECT_THAT(RecipeOf(builder), HasSubstr("group_size: 64"));
  EXPECT_EQ(RowOf(builder, "input_model.type").fate, Fate::done);
  EXPECT_TRUE(builder.report.Whole());
  const Imported quantized = take(
      R"("q": {"type": "Gptq", "bits": 4, "group_size": 32}, "c": {"type": "OnnxConversion"},
         "h": {"type": "OnnxFloatToFloat16"})");
  EXPECT_EQ(StagesOf(quantized.recipe), "build_decoder|weights_int4|fp16");
  EXPECT_THAT(RecipeOf(quantized), HasSubstr("build_decoder: {precision: f32}"));
}

TEST(OliveModelTest, NamedDimensionsComeFromTheConfigurationOrTheModel) {
  const std::string pass = R"({"type": "DynamicToFixedShape", "dim_param": ["batch", "length"], "dim_value": [1, 64]})";
  proto::InspectResult model;
  proto::TensorInfo& input = *model.add_inputs();
  input.set_name("ids");
  input.add_dims("batch");
  input.add_dims("length");
  ImportOptions options;
  options.model = &model;
  EXPECT_THAT(RecipeOf(Take(WithPass(pass), "olive", options)), HasSubstr("ids: [1, 64]"));
  const Imported without = Take(WithPass(pass));
  EXPECT_THAT(without.to_give, testing::Contains(HasSubstr("batch=1, length=64")));
  EXPECT_TRUE(without.report.Whole());
}

TEST(OliveModelTest, APathOutsideIsNotTakenUnlessTheModelIsNamed) {
  for (const char* const path : {"../x.onnx", "/etc/passwd", "a/../../x.onnx"}) {
    const std::string text =
        R"({"input_model": {"type": "ONNXModel", "model_path": ")" + std::string(path) + R"("}, "passes": {}})";
    const Imported refused = Take(text);
    EXPECT_EQ(refused.recipe.model(), "");
    EXPECT_EQ(RowOf(refused, "input_model.model_path").fate, Fate::impossible);
    EXPECT_THAT(RowOf(refused, "input_model.model_path").text, HasSubstr("leaves the folder"));
    const proto::InspectResult model;
    ImportOptions options;
    options.model = &model;
    EXPECT_TRUE(Take(text, "olive", options).report.Whole());
  }
}

TEST(OliveTargetTest, ExecutionProvidersAreFannedOutToTargets) {
  const Imported imported =
      Take(R"({"input_model": {"type": "ONNXModel"}, "passes": {"h": {"type": "OnnxFloatToFloat16"}}, "target": "s",
      "systems": {"s": {"type": "LocalSystem", "accelerators": [
        {"device": "cpu", "execution_providers": ["CPUExecutionProvider", "OpenVINOExecutionProvider"]},
        {"device": "gpu", "execution_providers": ["CUDAExecutionProvider"]}]}}})");
  ASSERT_EQ(imported.recipe.targets_size(), 3);
  EXPECT_EQ(imported.recipe.targets(0).tags(0), "cpu");
  EXPECT_EQ(imported.recipe.targets(1).tags(0), "openvino.cpu");
  EXPECT_EQ(imported.recipe.targets(2).tags(0), "ort.cuda");
  EXPECT_TRUE(imported.recipe.skip_unavailable());
  EXPECT_TRUE(imported.report.Whole());
}

TEST(OliveTargetTest, AnotherTargetTakesTheirPlace) {
  ImportOptions options;
  options.tags = {"cpu", "lab"};
  const Imported imported = Take(R"({"input_model": {"type": "ONNXModel"}, "passes": {}, "target": "s",
      "systems": {"s": {"type": "LocalSystem", "accelerators": [
        {"device": "gpu", "execution_providers": ["CUDAExecutionProvider"]}]}}})",
                                 "olive", options);
  ASSERT_EQ(imported.recipe.targets_size(), 1);
  EXPECT_THAT(imported.recipe.targets(0).tags(), ElementsAre("cpu", "lab"));
}

std::string WithMetric(const std::string& metric, const std::string& more = "") {
  return R"({"input_model": {"type": "ONNXModel"}, "passes": {}, "evaluator": "e", "evaluators": {"e": {"metrics": [)" +
         metric + "]}}" + more + "}";
}

TEST(OliveMetricTest, PrioritiesOrderTheObjectives) {
  const Imported imported = Take(WithMetric(
      R"({"name": "l", "type": "latency", "sub_types": [
            {"name": "p90", "priority": 2}, {"name": "max", "priority": -1}]},
         {"name": "a", "type": "accuracy", "sub_types": [{"name": "accuracy_score", "priority": 1}]},
         {"name": "t", "type": "throughput", "sub_types": [{"name": "avg", "priority": 3}]})"));
  EXPECT_THAT(
      RecipeOf(imported),
      HasSubstr("objectives:\n  - maximize: accuracy\n  - minimize: latency_ms_p90\n  - maximize: throughput_per_s\n"));
  EXPECT_THAT(RecipeOf(imported), HasSubstr("accuracy: {metric: top1, against: labels}"));
}

TEST(OliveMetricTest, GoalsBecomeConstraintsWithTheirMeaning) {
  const auto goal = [](const std::string& type, const std::string& name, const std::string& kind, double value) {
    return RecipeOf(
        Take(WithMetric(R"({"name": "m", "type": ")" + type + R"(", "sub_types": [{"name": ")" + name +
                        R"(", "goal": {"type": ")" + kind + R"(", "value": )" + std::to_string(value) + "}}]}")));
  };
  EXPECT_THAT(goal("accuracy", "accuracy_score", "max-degradation", 0.02), HasSubstr("accuracy_drop: {max: 0.02}"));
  EXPECT_THAT(goal("accuracy", "accuracy_score", "threshold", 0.75), HasSubstr("accuracy: {min: 0.75}"));
  EXPECT_THAT(goal("accuracy", "accuracy_score", "percent-max-degradation", 2),
              HasSubstr("accuracy_drop: {max: 0.02}"));
  EXPECT_THAT(goal("latency", "avg", "percent-min-improvement", 20), HasSubstr("speedup: {min: 1.25}"));
  EXPECT_THAT(goal("latency", "avg", "threshold", 5), HasSubstr("latency_ms_p50: {max: 5.0}"));
  EXPECT_THAT(goal("throughput", "avg", "percent-min-improvement", 10), HasSubstr("speedup: {min: 1.1}"));
  EXPECT_THAT(goal("latency", "avg", "min-improvement", 5), Not(HasSubstr("constraints")));
}

TEST(OliveDataTest, CalibrationIsAFileToMakeWithItsNumberOfSamples) {
  const Imported imported = Take(R"({"input_model": {"type": "ONNXModel"},
      "passes": {"q": {"type": "OnnxStaticQuantization", "data_config": "my_data"}},
      "data_configs": [{"name": "my_data", "type": "HuggingfaceContainer",
                        "load_dataset_config": {"data_name": "glue", "split": "train"},
                        "pre_process_data_config": {"max_samples": 100, "input_cols": ["a"]},
                        "dataloader_config": {"batch_size": 8}},
                       {"name": "unused", "type": "DataContainer"}]})");
  EXPECT_THAT(RecipeOf(imported), HasSubstr("calibration: {path: my_data.npz, samples: 100}"));
  EXPECT_THAT(imported.to_give, testing::Contains(HasSubstr("my_data.npz")));
  EXPECT_EQ(RowOf(imported, "data_configs[1]").fate, Fate::ignored);
  EXPECT_EQ(RowOf(imported, "data_configs[0].pre_process_data_config.max_samples").fate, Fate::done);
}

TEST(ReportTest, TellsOfEachValueInTheOrderOfTheConfiguration) {
  const Imported imported = Take(R"({"input_model": {"type": "HfModel", "model_path": "a/b"},
      "passes": {"g": {"type": "QuaRot"},
                 "h": {"type": "OnnxFloatToFloat16", "keep_io_types": true, "keep_io_type": 1}}})");
  const Json report = ReportJson(imported, "olive", "f.json");
  EXPECT_EQ(report["schema"], "hone.import/1");
  EXPECT_EQ(report["kind"], "python");
  EXPECT_EQ(report["whole"], false);
  EXPECT_EQ(report["unknown"], 1);
  EXPECT_EQ(report["rows"][0]["key"], "input_model.type");
  EXPECT_EQ(report["values"], 6);
  const std::string text = ReportText(imported, "f.json", 0, true);
  EXPECT_THAT(text, HasSubstr("did you mean 'keep_io_types'"));
  EXPECT_THAT(text, HasSubstr("f.json: 6 values, 2 done, 2 changed, 0 ignored, 2 impossible"));
  EXPECT_THAT(RecipeText(imported, "olive", "f.json"), HasSubstr("# Impossible: passes.g"));
}

TEST(NncfTest, BareParametersTellWhichFunctionTheyAreOf) {
  EXPECT_EQ(StagesOf(Take("preset: mixed\n", "nncf").recipe), "openvino_int8");
  EXPECT_EQ(StagesOf(Take("mode: int4_sym\n", "nncf").recipe), "openvino_weights");
  EXPECT_THAT(RecipeOf(Take("mode: int4_sym\nratio: 0.8\n", "nncf")),
              HasSubstr("openvino_weights: {mode: int4_sym, ratio: 0.8}"));
}

TEST(NncfTest, ExpressionsOfOlderConfigurationsMatchWithinNames) {
  EXPECT_THAT(RecipeOf(Take(R"({"compression": {"algorithm": "quantization", "ignored_scopes": ["{re}conv1", "a.b"]}})",
                            "nncf")),
              HasSubstr(R"(exclude: ".*(?:conv1).*,a\\.b")"));
}

TEST(OnnxRuntimeTest, ExtraOptionsReachThePass) {
  EXPECT_THAT(RecipeOf(Take(
                  R"({"quantize_static": {"extra_options": {
               "SmoothQuant": true, "SmoothQuantAlpha": 0.7, "ActivationSymmetric": true}}})",
                  "onnxruntime")),
              HasSubstr("static_int8: {activations: int8, coverage: all, smooth_alpha: 0.7, symmetric_activations: "
                        "true, weights: int8}"));
}

TEST(NeuralCompressorTest, CriteriaBoundTheLossAndTheSearch) {
  const std::string recipe =
      RecipeOf(Take("quantization: {approach: post_training_static_quant}\ntuning: {accuracy_criterion: {absolute: "
                    "0.02}, exit_policy: {timeout: 60, max_trials: 7}}\n",
                    "neural-compressor"));
  EXPECT_THAT(recipe, HasSubstr("accuracy_drop: {max: 0.02}"));
  EXPECT_THAT(recipe, HasSubstr("search: {trials: 7, time: 60000ms}"));
}

}  // namespace
}  // namespace hone::importers
