#include "client/console.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "client/interrupt.h"
#include "common/base/strings.h"

namespace hone {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void MeasureWindow(TerminalTraits& traits) {
  const auto variable = [](const char* name, int64_t least, size_t otherwise) {
    const Result<int64_t> number = ParseInteger(Variable(name));
    return number && *number >= least && *number <= 10'000 ? static_cast<size_t>(*number) : otherwise;
  };
  traits.width = variable("COLUMNS", 20, 80);
  traits.height = variable("LINES", 5, 24);
  for (const int descriptor : {STDERR_FILENO, STDOUT_FILENO}) {
    winsize size{};
    if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) continue;
    traits.width = size.ws_col;
    if (size.ws_row > 0) traits.height = size.ws_row;
    return;
  }
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

// Whether the reader has seen the text: false where there is no such program.
bool ShowInPager(const std::string& pager, std::string_view text) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  // Ctrl-C is the pager's while it shows.
  const HoldInterrupts hold;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[0], STDIN_FILENO);
    signal(SIGPIPE, SIG_DFL);
    // Quits where all fits, keeps colours, leaves the text on the screen.
    setenv("LESS", "FRX", 0);
    execl("/bin/sh", "sh", "-c", pager.c_str(), nullptr);
    _exit(127);
  }
  close(ends[0]);
  if (child > 0) (void)WriteAll(ends[1], text);
  close(ends[1]);
  int status = 0;
  if (child <= 0) return false;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  constexpr int kNotFound = 127, kNotExecutable = 126;
  return !WIFEXITED(status) || (WEXITSTATUS(status) != kNotFound && WEXITSTATUS(status) != kNotExecutable);
}

}  // namespace

TerminalTraits TerminalTraits::Detect() {
  TerminalTraits traits;
  traits.out_terminal = isatty(STDOUT_FILENO) != 0;
  traits.err_terminal = isatty(STDERR_FILENO) != 0;
  traits.in_terminal = isatty(STDIN_FILENO) != 0;
  MeasureWindow(traits);
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

TerminalTraits Console::CurrentTraits() const {
  TerminalTraits traits = traits_;
  MeasureWindow(traits);
  return traits;
}

bool Console::WantsPager(std::string_view text) const {
  if (json || !traits_.out_terminal || !traits_.in_terminal || traits_.dumb) return false;
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) >= traits_.height;
}

Result<> Console::Print(std::string_view text) {
  if (WantsPager(text)) {
    const std::string own = Variable("PAGER");
    const std::string program = !pager.empty() ? pager : own.empty() ? "less" : own;
    if (program != "cat" && ShowInPager(program, text)) return {};
  }
  return WriteAll(STDOUT_FILENO, text);
}

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
  std::vector<Error> errors = {error};
  errors.insert(errors.end(), others.errors.begin(), others.errors.end());
  std::stable_sort(errors.begin(), errors.end(), [](const Error& a, const Error& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  std::vector<std::string> texts;
  for (const Error& one : errors) texts.push_back(ErrorText(one));
  if (others.more > 0) texts.push_back(fmt::format("hone: and {} more\n", others.more));
  const bool colored = UseColor(color, traits_.err_terminal);
  for (const std::string& text : texts)
    Raw(colored ? "\x1b[1;31mhone:\x1b[0m" + text.substr(std::strlen("hone:")) : text);
  if (json) (void)PrintJson(ErrorJson(errors, others.more));
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

Json ErrorJson(const std::vector<Error>& errors, size_t more) {
  Json document = WithSchema("hone.error/1", ErrorBody(errors.front()));
  if (errors.size() == 1) return document;
  document["others"] = Json::array();
  for (size_t i = 1; i < errors.size(); ++i) document["others"].push_back(ErrorBody(errors[i]));
  document["more"] = more;
  return document;
}

}  // namespace hone
