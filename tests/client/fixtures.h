// Messages that several tests start from.
#pragma once

#include <string>
#include <vector>

#include "common/recipe/value.h"
#include "proto/wire.pb.h"

namespace hone::test {

inline proto::Metric MetricOf(const std::string& name, double value) {
  proto::Metric metric;
  metric.set_name(name);
  metric.set_value(value);
  metric.set_samples(20);
  return metric;
}

inline proto::Metric Speedup(double value, double low, double high, uint64_t pairs = 20) {
  proto::Metric metric = MetricOf("speedup", value);
  metric.set_low(low);
  metric.set_high(high);
  metric.set_samples(pairs);
  return metric;
}

inline proto::Parameter ParameterOf(const std::string& name, proto::Value value) {
  proto::Parameter parameter;
  parameter.set_name(name);
  *parameter.mutable_value() = std::move(value);
  return parameter;
}

inline proto::File FileOf(const std::string& path, char digit = 'a', uint64_t size = 10) {
  proto::File file;
  file.set_path(path);
  file.set_digest("sha256:" + std::string(64, digit));
  file.set_size_bytes(size);
  return file;
}

inline proto::TrialSummary Trial(uint64_t number, proto::TrialState state) {
  proto::TrialSummary trial;
  trial.set_trial(number);
  trial.set_state(state);
  trial.mutable_candidate()->set_backend("openvino");
  return trial;
}

// A finished job with one study: a baseline, a best, twelve trials.
inline proto::JobSummary FinishedJob() {
  proto::JobSummary job;
  job.set_job(3);
  job.set_name("mlp.onnx");
  job.set_state(proto::JOB_COMPLETE);
  job.set_created_unix_ms(1'700'000'000'123);
  job.add_objectives()->set_metric("latency_ms_p50");
  proto::StudySummary& study = *job.add_studies();
  study.add_tags("cpu");
  study.set_budget(12);
  study.set_builds_run(4);
  study.set_builds_reused(9);
  study.mutable_counts()->set_complete(10);
  study.mutable_counts()->set_infeasible(1);
  study.mutable_counts()->set_failed(1);
  proto::TrialSummary& baseline = *study.mutable_baseline();
  baseline = Trial(0, proto::TRIAL_COMPLETE);
  baseline.mutable_candidate()->set_backend("onnxruntime");
  *baseline.add_metrics() = MetricOf("latency_ms_p50", 4.6);
  *baseline.add_metrics() = MetricOf("accuracy", 1.0);
  *baseline.add_metrics() = MetricOf("size_bytes", 90359539);
  proto::TrialSummary& best = *study.mutable_best();
  best = Trial(7, proto::TRIAL_COMPLETE);
  proto::PassStep& step = *best.mutable_candidate()->add_pipeline();
  step.set_pass("static_int8");
  *step.add_parameters() = ParameterOf("per_channel", BoolValue(true));
  *best.mutable_candidate()->add_settings() = ParameterOf("hint", TextValue("latency"));
  *best.add_metrics() = MetricOf("latency_ms_p50", 1.58);
  *best.add_metrics() = MetricOf("accuracy", 0.998);
  *best.add_metrics() = MetricOf("accuracy_drop", 0.002);
  *best.add_metrics() = MetricOf("size_bytes", 23100000);
  *best.mutable_speedup() = Speedup(2.91, 2.85, 2.98);
  best.mutable_model()->set_format("onnx");
  best.mutable_model()->set_main("model.onnx");
  *best.mutable_model()->add_files() = FileOf("model.onnx");
  *study.add_pareto() = best;
  return job;
}

inline proto::ParameterInfo ParameterInfoOf(const std::string& name, proto::ParameterInfo::Type type,
                                            const std::vector<proto::Value>& choices = {}) {
  proto::ParameterInfo info;
  info.set_name(name);
  info.set_type(type);
  for (const proto::Value& choice : choices) *info.add_choices() = choice;
  return info;
}

inline void AddPass(proto::Catalogue& catalogue, const std::string& name, const std::vector<std::string>& precisions,
                    bool calibration = false) {
  proto::PassInfo& pass = *catalogue.add_passes();
  pass.set_name(name);
  pass.set_version(1);
  pass.add_accepts("onnx");
  for (const std::string& precision : precisions) pass.add_precisions(precision);
  pass.set_needs_calibration(calibration);
}

// Two backends and the passes of the usual precisions.
inline proto::Catalogue SmallCatalogue() {
  proto::Catalogue catalogue;
  AddPass(catalogue, "simplify", {});
  AddPass(catalogue, "fp16", {"fp16"});
  AddPass(catalogue, "dynamic_int8", {"int8"});
  AddPass(catalogue, "static_int8", {"int8"}, true);
  AddPass(catalogue, "weights_int4", {"int4"});
  *catalogue.mutable_passes(2)->add_parameters() = ParameterInfoOf("per_channel", proto::ParameterInfo::BOOLEAN);
  AddPass(catalogue, "openvino_ir", {});
  catalogue.mutable_passes(5)->set_produces("openvino_ir");
  proto::BackendInfo& ort = *catalogue.add_backends();
  ort.set_name("onnxruntime");
  ort.set_reference(true);
  ort.add_formats("onnx");
  *ort.add_settings() = ParameterInfoOf("intra_op_threads", proto::ParameterInfo::INTEGER);
  proto::BackendInfo& openvino = *catalogue.add_backends();
  openvino.set_name("openvino");
  openvino.add_formats("onnx");
  openvino.add_formats("openvino_ir");
  *openvino.add_settings() = ParameterInfoOf("inference_precision", proto::ParameterInfo::TEXT,
                                             {TextValue("f32"), TextValue("bf16"), TextValue("f16")});
  *openvino.add_settings() = ParameterInfoOf("threads", proto::ParameterInfo::INTEGER);
  return catalogue;
}

}  // namespace hone::test
