#include "client/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/base/strings.h"

namespace hone {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

size_t TerminalWidth() {
  for (const int descriptor : {STDERR_FILENO, STDOUT_FILENO}) {
    winsize size{};
    if (isatty(descriptor) != 0 && ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  const Result<int64_t> columns = ParseInteger(Variable("COLUMNS"));
  return columns && *columns >= 20 && *columns <= 10'000 ? static_cast<size_t>(*columns) : 80;
}

bool Utf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = Variable(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

Result<> WriteAll(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) return {};
    if (written < 0) {
      const ErrorCode code = errno == ENOSPC || errno == EDQUOT ? ErrorCode::kExhausted : ErrorCode::kFailed;
      return Fail(code, fmt::format("write the answer: {}", std::strerror(errno)));
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

TerminalTraits TerminalTraits::Detect() {
  TerminalTraits traits;
  traits.out_terminal = isatty(STDOUT_FILENO) != 0;
  traits.err_terminal = isatty(STDERR_FILENO) != 0;
  traits.width = TerminalWidth();
  traits.utf8 = Utf8Locale();
  const std::string term = Variable("TERM");
  traits.dumb = term.empty() || term == "dumb";
  return traits;
}

bool UseColor(ColorChoice choice, bool terminal) {
  if (choice != ColorChoice::automatic) return choice == ColorChoice::always;
  if (!Variable("NO_COLOR").empty()) return false;
  for (const char* name : {"CLICOLOR_FORCE", "FORCE_COLOR"}) {
    const std::string value = Variable(name);
    if (!value.empty() && value != "0") return true;
  }
  return terminal && Variable("TERM") != "dumb";
}

Result<> Console::Print(std::string_view text) { return WriteAll(STDOUT_FILENO, text); }

Result<> Console::PrintJson(const Json& document) {
  return Print(document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void Console::Note(std::string_view line) const {
  if (!quiet) Raw(std::string(line) + "\n");
}

void Console::Raw(std::string_view text) const {
  // Words to people are lost with their reader, not an error of the command.
  (void)WriteAll(STDERR_FILENO, text);
}

void Console::Report(const Error& error) {
  const std::string text = ErrorText(error);
  if (UseColor(color, traits_.err_terminal)) {
    Raw("\x1b[1;31mhone:\x1b[0m" + text.substr(std::strlen("hone:")));
  } else {
    Raw(text);
  }
  if (json) (void)PrintJson(ErrorJson(error));
}

std::string Console::Bold(std::string_view text) const {
  return UseColor(color, traits_.out_terminal) ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

std::string ErrorText(const Error& error) {
  std::string text = "hone: ";
  if (!error.file.empty() && error.line > 0) {
    const std::string column = error.column > 0 ? fmt::format(":{}", error.column) : "";
    text += fmt::format("{}:{}{}: ", error.file, error.line, column);
  } else if (!error.file.empty()) {
    text += error.file + ": ";
  }
  text += error.message + "\n";
  if (error.remedy.empty()) return text;
  for (const std::string& line : Split(error.remedy, '\n')) text += "      " + line + "\n";
  return text;
}

Json ErrorJson(const Error& error) { return WithSchema("hone.error/1", ErrorBody(error)); }

}  // namespace hone
