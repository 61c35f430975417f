#include "client/sister_program.h"

#include <fmt/format.h>

#include "client/local_task.h"
#include "common/base/strings.h"
#include "common/base/subprocess.h"

namespace hone {
namespace {

constexpr size_t kMostOutput = 64 << 20;

}  // namespace

Result<ProgramAnswer> AskProgram(const std::string& name, const char* variable, const std::vector<std::string>& words,
                                 std::chrono::milliseconds longest) {
  TRY_ASSIGN(const std::filesystem::path program, FindProgram(name, variable));
  ProcessOptions options;
  options.arguments = {program.string()};
  options.arguments.insert(options.arguments.end(), words.begin(), words.end());
  options.new_group = false;
  TRY_ASSIGN(const CommandOutput output, RunCommand(options, longest, kMostOutput));
  Json document = Json::parse(output.out, nullptr, false);
  if (output.status.signal != 0 || !document.is_object()) {
    return Fail(
        ErrorCode::kFailed,
        fmt::format("{} {} ended with {} {}", name, words.front(), output.status.signal != 0 ? "signal" : "status",
                    output.status.signal != 0 ? output.status.signal : output.status.code),
        Printable(output.err, 2000));
  }
  if (document.value("schema", "") == "hone.error/1") {
    Error error{static_cast<ErrorCode>(document.value("code", 4)), document.value("message", ""), ""};
    if (document.contains("remedy") && document["remedy"].is_string())
      error.remedy = document["remedy"].get<std::string>();
    return Fail(std::move(error));
  }
  return ProgramAnswer{std::move(document), output.status.code};
}

}  // namespace hone
