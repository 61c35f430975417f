#include "client/json_output.h"

#include "common/base/strings.h"

namespace hone {
namespace {

Json OperatorsJson(const google::protobuf::RepeatedPtrField<proto::InspectResult::Operator>& operators) {
  Json list = Json::array();
  for (const auto& row : operators) list.push_back({{"type", row.type()}, {"count", row.count()}});
  return list;
}

Json TensorsJson(const google::protobuf::RepeatedPtrField<proto::TensorInfo>& tensors) {
  Json list = Json::array();
  for (const proto::TensorInfo& tensor : tensors) {
    Json dims = Json::array();
    for (const std::string& dim : tensor.dims()) {
      const Result<int64_t> fixed = ParseInteger(dim);
      if (fixed) {
        dims.push_back(*fixed);
      } else {
        dims.push_back(dim);
      }
    }
    list.push_back({{"name", tensor.name()}, {"type", tensor.type()}, {"dims", dims}});
  }
  return list;
}

}  // namespace

Json BestJson(const proto::StudySummary& study, const std::optional<WrittenModel>& written) {
  Json best = BestJson(study);
  if (best.is_null() || !written) return best;
  best["path"] = written->path;
  best["files"] = written->files;
  return best;
}

Json ResultJson(const proto::JobSummary& job, const std::vector<std::optional<WrittenModel>>& written) {
  const auto written_of = [&](int study) {
    return static_cast<size_t>(study) < written.size() ? written[static_cast<size_t>(study)] : std::nullopt;
  };
  Json studies = Json::array();
  uint32_t run = 0;
  uint32_t reused = 0;
  for (int i = 0; i < job.studies_size(); ++i) {
    Json study = StudyJson(job.studies(i));
    study["best"] = BestJson(job.studies(i), written_of(i));
    studies.push_back(std::move(study));
    run += job.studies(i).builds_run();
    reused += job.studies(i).builds_reused();
  }
  const bool any = job.studies_size() > 0;
  return {{"schema", "hone.result/1"},
          {"job", std::to_string(job.job())},
          {"status", StateName(job.state())},
          {"error", TextOrNull(job.error())},
          {"model", TextOrNull(job.model_id())},
          {"baseline", any ? BaselineJson(job.studies(0)) : Json(nullptr)},
          {"best", any ? BestJson(job.studies(0), written_of(0)) : Json(nullptr)},
          {"pareto", any ? TrialListJson(job.studies(0).pareto()) : Json::array()},
          {"trials", CountsJson(SumCounts(job))},
          {"build_steps", {{"run", run}, {"reused", reused}}},
          {"created", TimeJson(job.created_unix_ms())},
          {"finished", TimeJson(job.finished_unix_ms())},
          {"studies", studies}};
}

Json InspectJson(const std::string& path, const proto::InspectResult& info) {
  return {{"schema", "hone.inspect/1"},
          {"path", path},
          {"format", info.format()},
          {"digest", TextOrNull(info.digest())},
          {"size_bytes", info.size_bytes()},
          {"ir_version", info.ir_version() > 0 ? Json(info.ir_version()) : Json(nullptr)},
          {"producer", TextOrNull(info.producer())},
          {"opsets", ParametersJson(info.opsets())},
          {"inputs", TensorsJson(info.inputs())},
          {"outputs", TensorsJson(info.outputs())},
          {"operators", OperatorsJson(info.operators())},
          {"quantized", OperatorsJson(info.quantized())},
          {"parameters", info.parameters()},
          {"parameters_bytes", info.parameters_bytes()},
          {"parameter_types", ParametersJson(info.parameter_types())},
          {"external_bytes", info.external_bytes()},
          {"external_files", TextsJson(info.external_files())}};
}

Json CheckJson(const std::string& path, const proto::CheckRecipeReply& reply) {
  Json studies = Json::array();
  for (const auto& study : reply.studies()) {
    studies.push_back({{"target", {{"tags", TextsJson(study.tags())}}},
                       {"candidates", study.infinite() ? Json(nullptr) : Json(study.candidates())},
                       {"infinite", study.infinite()},
                       {"workers", TextsJson(study.workers())}});
  }
  return {{"schema", "hone.check/1"},
          {"recipe", path},
          {"valid", true},
          {"notes", TextsJson(reply.notes())},
          {"studies", studies}};
}

}  // namespace hone
