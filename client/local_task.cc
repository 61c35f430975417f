#include "client/local_task.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "client/interrupt.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr uint64_t kMaxResultBytes = 256ull << 20;
// How often a running task is left for a look at Ctrl-C; a finished one is noticed at once.
constexpr milliseconds kEndCheck{50};
constexpr milliseconds kGrace{2'000};

Result<ExitStatus> WaitForRunner(Process& process, milliseconds timeout) {
  const HoldInterrupts hold;
  const Steady::time_point start = Steady::now();
  while (true) {
    TRY_ASSIGN(const std::optional<ExitStatus> ended, process.Wait(kEndCheck));
    if (ended) return *ended;
    if (Interrupted()) {
      process.Stop(kGrace);
      return FailInterrupted("interrupted");
    }
    if (timeout.count() > 0 && Steady::now() - start >= timeout) {
      process.Stop(kGrace);
      return Fail(ErrorCode::kTimeout, fmt::format("the work took longer than {}", HumanDuration(timeout.count())));
    }
  }
}

std::string HowItEnded(const ExitStatus& status) {
  if (status.signal == 0) return fmt::format("ended with status {}", status.code);
  if (status.signal == SIGKILL) return "was killed (signal 9), perhaps for want of memory";
  return fmt::format("crashed with signal {} ({})", status.signal, strsignal(status.signal));
}

}  // namespace

Result<fs::path> FindProgram(const std::string& name, const char* variable) {
  const fs::path beside = ExecutableFolder() / name;
  if (access(beside.c_str(), X_OK) == 0) return beside;
  const char* named = std::getenv(variable);
  if (named != nullptr && *named != '\0') {
    if (access(named, X_OK) == 0) return fs::path(named);
    return Fail(ErrorCode::kNotFound, fmt::format("{} names {}, which cannot be executed", variable, named));
  }
  // A program that links libhone lives anywhere.
  if (const auto found = FindOnPath(name)) return *found;
  return Fail(ErrorCode::kNotFound,
              fmt::format("{} was found neither in {} nor on PATH", name, ExecutableFolder().string()),
              fmt::format("install {} beside hone, or set {} to its path", name, variable));
}

std::string TailOf(const fs::path& file, size_t lines) {
  constexpr std::streamoff kTailBytes = 8192;
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const std::streamoff size = in.tellg();
  in.seekg(size > kTailBytes ? size - kTailBytes : 0);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::string> all;
  for (const std::string& line : Split(text, '\n')) {
    if (!Trim(line).empty()) all.push_back(Printable(line, 400));
  }
  if (all.size() > lines) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(lines));
  return Join(all, "\n");
}

Result<proto::TaskResult> RunLocalTask(const proto::Task& task, const LocalTaskOptions& options) {
  TRY_ASSIGN(const fs::path worker, FindProgram("hone-worker", "HONE_WORKER"));
  TRY_ASSIGN(const ScopedFolder scratch, ScopedFolder::Make(fs::temp_directory_path(), "hone-task-"));
  const fs::path request = scratch.path() / "request";
  const fs::path answer = scratch.path() / "result";
  const fs::path output = scratch.path() / "output";
  std::string bytes;
  if (!task.SerializeToString(&bytes)) return Fail(ErrorCode::kBug, "a task could not be serialized");
  TRY(WriteFile(request, bytes));

  ProcessOptions process_options;
  // Whatever a killed runner leaves in its temporary folder goes with ours.
  process_options.environment = {{"TMPDIR", scratch.path().string()}};
  process_options.arguments = {worker.string(), "run", "--request", request.string(), "--result", answer.string()};
  process_options.stdout_file = output;
  if (!options.show_output) process_options.stderr_file = output;
  TRY_ASSIGN(Process process, Process::Start(process_options));
  TRY_ASSIGN(const ExitStatus status, WaitForRunner(process, options.timeout));

  const Result<std::string> answered = ReadFile(answer, kMaxResultBytes);
  proto::TaskResult result;
  const bool complete = answered && status.signal == 0 && status.code == 0 && result.ParseFromString(*answered) &&
                        result.kind_case() != proto::TaskResult::KIND_NOT_SET;
  if (!complete) {
    const std::string tail = TailOf(output);
    return Fail(ErrorCode::kFailed, fmt::format("hone-worker {}", HowItEnded(status)),
                tail.empty() ? "it wrote nothing; `hone doctor` checks the installation" : "its last words:\n" + tail);
  }
  if (result.has_error()) return Fail(FromProto(result.error()));
  return result;
}

Result<std::vector<std::string>> ExternalFilesOf(const fs::path& onnx_file) {
  // Without digest and size: the file alone says what belongs to it.
  proto::Task task;
  proto::LocalBundle& model = *task.mutable_inspect()->mutable_model();
  model.set_folder(fs::absolute(onnx_file).parent_path().string());
  model.mutable_bundle()->set_format("onnx");
  model.mutable_bundle()->set_main(onnx_file.filename().string());
  TRY_ASSIGN(const proto::TaskResult result, RunLocalTask(task));
  return std::vector<std::string>(result.inspect().external_files().begin(), result.inspect().external_files().end());
}

Result<proto::Catalogue> LocalCatalogue() {
  proto::Task task;
  task.mutable_catalogue();
  TRY_ASSIGN(proto::TaskResult result, RunLocalTask(task));
  return std::move(*result.mutable_catalogue());
}

}  // namespace hone
