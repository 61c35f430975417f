#include "coordinator/measurement.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cmath>
#include <cstring>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr int kMaxMetrics = 200;
constexpr int kMaxSeries = 64;
constexpr size_t kMaxNameBytes = 64;
constexpr int kMaxNotes = 50;
constexpr size_t kMaxNoteBytes = 500;
constexpr int kMaxKernels = 500;

bool IsSound(const proto::Metric& metric) {
  return std::isfinite(metric.value()) && (!metric.has_low() || std::isfinite(metric.low())) &&
         (!metric.has_high() || std::isfinite(metric.high()));
}

// Appends the sound metrics of a list; the first of a name counts.
void TakeMetrics(const google::protobuf::RepeatedPtrField<proto::Metric>& from, const char* whose,
                 std::vector<proto::Metric>& to, std::vector<std::string>& notes) {
  std::set<std::string> names;
  for (const auto& metric : from) {
    proto::Metric taken = metric;
    taken.set_name(Printable(metric.name(), kMaxNameBytes));
    if (taken.name().empty() || !names.insert(taken.name()).second) continue;
    if (!std::isfinite(metric.value())) {
      notes.push_back(fmt::format("{}{} was dropped: its value is not finite", whose, taken.name()));
      continue;
    }
    if (!IsSound(metric)) {
      taken.clear_low();
      taken.clear_high();
      notes.push_back(fmt::format("the interval of {}{} was dropped: it is not finite", whose, taken.name()));
    }
    to.push_back(std::move(taken));
  }
}

proto::Samples TakeSamples(const proto::Samples& from, std::vector<std::string>& notes) {
  proto::Samples taken;
  taken.set_series(Printable(from.series(), kMaxNameBytes));
  for (const double value : from.values()) {
    if (std::isfinite(value)) taken.add_values(value);
  }
  if (const int dropped = from.values_size() - taken.values_size(); dropped > 0) {
    notes.push_back(fmt::format("{} samples of {} were dropped: they are not finite", dropped, taken.series()));
  }
  return taken;
}

proto::Execution TakeExecution(proto::Execution execution) {
  if (execution.kernels_size() > kMaxKernels) {
    execution.mutable_kernels()->DeleteSubrange(kMaxKernels, execution.kernels_size() - kMaxKernels);
  }
  return execution;
}

std::string LastLine(const std::string& output) {
  const std::string_view trimmed = Trim(output);
  return Printable(trimmed.substr(trimmed.rfind('\n') + 1), 300);
}

}  // namespace

Result<Measurement> CheckMeasurement(const proto::MeasureResult& result) {
  if (result.metrics_size() > kMaxMetrics || result.baseline_metrics_size() > kMaxMetrics ||
      result.samples_size() > kMaxSeries) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the result holds {} metrics and {} series; at most {} and {} are taken",
                            result.metrics_size(), result.samples_size(), kMaxMetrics, kMaxSeries));
  }
  Measurement measurement;
  for (int i = 0; i < result.notes_size() && i < kMaxNotes; ++i) {
    measurement.notes.push_back(Printable(result.notes(i), kMaxNoteBytes));
  }
  if (result.synthetic_inputs()) measurement.notes.push_back("measured on synthetic inputs");
  TakeMetrics(result.metrics(), "", measurement.metrics, measurement.notes);
  TakeMetrics(result.baseline_metrics(), "the baseline's ", measurement.baseline_metrics, measurement.notes);
  if (result.has_speedup()) {
    if (IsSound(result.speedup()) && result.speedup().value() > 0) {
      measurement.speedup = result.speedup();
      measurement.speedup->set_name("speedup");
    } else {
      measurement.notes.push_back("the speed-up was dropped: it is no positive number");
    }
  }
  std::set<std::string> series;
  for (const auto& samples : result.samples()) {
    proto::Samples taken = TakeSamples(samples, measurement.notes);
    if (!taken.series().empty() && series.insert(taken.series()).second)
      measurement.samples.push_back(std::move(taken));
  }
  measurement.execution = TakeExecution(result.execution());
  measurement.baseline_execution = TakeExecution(result.baseline_execution());
  measurement.fingerprint = result.fingerprint();
  measurement.infeasible = result.infeasible();
  measurement.infeasible_reason = Printable(result.infeasible_reason(), kMaxNoteBytes);
  return measurement;
}

std::string DataDigest(const std::optional<proto::Data>& data) {
  if (!data) return {};
  std::string preprocess;
  {
    google::protobuf::io::StringOutputStream stream(&preprocess);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    data->preprocess().SerializeToCodedStream(&coded);
  }
  return DigestOf(fmt::format("{}\n{}\n{}\n{}\n", data->bundle().format(), BundleId(data->bundle()), data->from(),
                              data->samples()) +
                  preprocess);
}

std::string EndText(Outcome outcome, const proto::Report& report) {
  std::string text;
  switch (outcome) {
    case Outcome::kFailed: {
      const proto::Error& error = report.result().has_error() ? report.result().error() : report.error();
      return error.message().empty() ? "failed without saying why" : Printable(error.message(), 2000);
    }
    case Outcome::kCrashed:
      if (report.signal() != 0) {
        text = fmt::format("crashed with signal {} ({})", report.signal(), strsignal(report.signal()));
      } else if (report.exit_status() != 0) {
        text = fmt::format("ended with exit status {} and no result", report.exit_status());
      } else {
        text = "ended without a result";
      }
      break;
    case Outcome::kTimedOut:
      text = fmt::format("timed out after {}", HumanDuration(static_cast<int64_t>(report.wall_ms())));
      break;
    case Outcome::kOutOfMemory:
      text = report.peak_memory_bytes() == 0
                 ? std::string("ran out of memory")
                 : fmt::format("ran out of memory (peak {})", HumanBytes(report.peak_memory_bytes()));
      break;
    case Outcome::kWorkerLost:
      return "its worker was lost";
    case Outcome::kReturned:
      return "its worker gave it back";
    case Outcome::kCancelled:
      return "was cancelled";
    case Outcome::kOpen:
    case Outcome::kDone:
      return std::string(NameOf(outcome));
  }
  if (!report.error().message().empty()) text += ": " + Printable(report.error().message(), 1000);
  const std::string last = LastLine(report.output_tail());
  if (!last.empty()) text += "; its last line was: " + last;
  return text;
}

}  // namespace hone
