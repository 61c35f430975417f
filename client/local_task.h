// Work without a coordinator: a task in a runner process on this machine (`hone-worker run`), so that the client itself
// never parses a model.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

struct LocalTaskOptions {
  std::chrono::milliseconds timeout{0};   // 0: none.
  bool show_output = false;               // Let the runner's stderr through.
};
// Starts hone-worker (beside the running executable, else $HONE_WORKER), hands it the task, waits. An error of the work
// comes back as that error; a crash as kFailed with signal and the end of the runner's output; Ctrl-C as kInterrupted.
Result<proto::TaskResult> RunLocalTask(const proto::Task& task, const LocalTaskOptions& options = {});

// Relative paths of the external data of an .onnx file, asked from a runner.
Result<std::vector<std::string>> ExternalFilesOf(const std::filesystem::path& onnx_file);

// What this machine's worker can do, asked from a runner.
Result<proto::Catalogue> LocalCatalogue();

// The path of a program of hone's (hone-worker, hone-coordinator): beside the running executable, else the variable's
// value, else on PATH (a program that links libhone lives anywhere). kNotFound with the places looked at.
Result<std::filesystem::path> FindProgram(const std::string& name, const char* variable);

// The last lines of a log or output file, made safe for a terminal; "" where there is none.
std::string TailOf(const std::filesystem::path& file, size_t lines = 8);

}  // namespace hone
