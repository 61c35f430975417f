#include "worker/runner/task.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <exception>
#include <new>
#include <string>
#include <vector>

#include "common/base/machine_lock.h"
#include "common/base/strings.h"
#include "common/transport/transport.h"
#include "worker/evaluation/benchmark.h"
#include "worker/evaluation/measure.h"
#include "worker/passes/pass.h"
#include "worker/runner/catalogue.h"
#include "worker/runner/inspect.h"
#include "worker/runner/inspect_data.h"
#include "worker/runner/well_formed.h"
#include "worker/sensitivity/sensitivity.h"

namespace hone {
namespace {

Result<> Build(const proto::BuildTask& task, proto::TaskResult& result) {
  // A timing elsewhere on this machine is not disturbed: the build waits for it, and the next timing waits for the
  // build.
  TRY_ASSIGN(MachineLock lock, MachineLock::Open(MachineLock::DefaultPath()));
  TRY(lock.Shared());
  TRY_ASSIGN(*result.mutable_build(), RunPass(task));
  return {};
}

// The measurement forks its instances, so nothing that could start a runtime comes before it.
Result<> Measure(const proto::MeasureTask& task, proto::TaskResult& result) {
  TRY_ASSIGN(*result.mutable_measure(), RunMeasure(task));
  *result.mutable_measure()->mutable_fingerprint() = MachineFingerprint();
  return {};
}

Result<> Benchmark(const proto::BenchmarkTask& task, proto::TaskResult& result) {
  TRY_ASSIGN(*result.mutable_benchmark(), RunBenchmark(task));
  *result.mutable_benchmark()->mutable_fingerprint() = MachineFingerprint();
  return {};
}

Result<> Execute(const proto::Task& task, proto::TaskResult& result) {
  switch (task.kind_case()) {
    case proto::Task::kBuild:
      return Build(task.build(), result);
    case proto::Task::kMeasure:
      return Measure(task.measure(), result);
    case proto::Task::kInspect: {
      TRY_ASSIGN(*result.mutable_inspect(), Inspect(task.inspect().model()));
      TRY(InspectData(task.inspect(), *result.mutable_inspect()));
      return {};
    }
    case proto::Task::kCatalogue:
      *result.mutable_catalogue() = AssembleCatalogue();
      return {};
    case proto::Task::kSensitivity: {
      TRY_ASSIGN(*result.mutable_sensitivity(), MeasureSensitivity(task.sensitivity()));
      return {};
    }
    case proto::Task::kBenchmark:
      return Benchmark(task.benchmark(), result);
    case proto::Task::KIND_NOT_SET:
      break;
  }
  return Fail(ErrorCode::kRejected, "the task asks for a kind of work that this worker does not know",
              "Run the same version of hone-worker and of what sent the task");
}

// The libraries' own adapters turn exceptions into errors; what still arrives here was not foreseen.
Result<> ExecuteGuarded(const proto::Task& task, proto::TaskResult& result) {
  try {
    return Execute(task, result);
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kExhausted, "the task asked for more memory than there is");
  } catch (const std::exception& exception) {
    return Fail(ErrorCode::kBug, fmt::format("the task threw: {}", Printable(exception.what(), 1000)));
  } catch (...) {
    return Fail(ErrorCode::kBug, "the task threw something that is no exception");
  }
}

}  // namespace

proto::TaskResult RunTask(const proto::Task& task) {
  proto::TaskResult result;
  if (const auto executed = ExecuteGuarded(task, result); !executed) {
    result.Clear();
    *result.mutable_error() = ToProto(executed.error());
  }
  MakeWellFormed(result);
  return result;
}

}  // namespace hone
