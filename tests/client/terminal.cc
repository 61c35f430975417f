#include "tests/client/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <regex>
#include <stdexcept>

#include "tests/support/programs.h"

namespace hone::test {
namespace {

constexpr const char* kFrameBegins = "\x1b[?2026h";
constexpr const char* kFrameEnds = "\x1b[?2026l";

std::vector<std::string> Environment(const std::map<std::string, std::string>& changes) {
  std::map<std::string, std::string> all;
  for (char** one = environ; *one != nullptr; ++one) {
    const char* equals = std::strchr(*one, '=');
    if (equals != nullptr) all[std::string(*one, static_cast<size_t>(equals - *one))] = equals + 1;
  }
  for (const char* name : {"NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "COLUMNS", "LINES"}) all.erase(name);
  for (const auto& [name, value] : changes) all[name] = value;
  std::vector<std::string> lines;
  for (const auto& [name, value] : all) lines.push_back(name + "=" + value);
  return lines;
}

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// After a fork: calls that are safe there alone.
[[noreturn]] void BecomeCommand(int line, char* const* arguments, char* const* environment) {
  // Who is not yet in the foreground may not say so unless it ignores this.
  signal(SIGTTOU, SIG_IGN);
  setpgid(0, 0);
  tcsetpgrp(line, getpid());
  signal(SIGTTOU, SIG_DFL);
  const struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(line, stream);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

[[noreturn]] void BecomeShell(int line, int report, char* const* arguments, char* const* environment) {
  setsid();
  ioctl(line, TIOCSCTTY, 0);
  const pid_t command = fork();
  if (command == 0) BecomeCommand(line, arguments, environment);
  int status = 0;
  bool told = write(report, &command, sizeof(command)) == static_cast<ssize_t>(sizeof(command));
  waitpid(command, &status, 0);
  told = told && write(report, &status, sizeof(status)) == static_cast<ssize_t>(sizeof(status));
  while (told) pause();
  _exit(127);
}

}  // namespace

OnTerminal::OnTerminal(const std::vector<std::string>& words, Window window,
                       std::map<std::string, std::string> environment) {
  own_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  char name[128] = {};
  const bool made = own_ >= 0 && grantpt(own_) == 0 && unlockpt(own_) == 0 && ptsname_r(own_, name, sizeof(name)) == 0;
  line_ = made ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
  if (line_ < 0 || tcgetattr(line_, &before_) != 0) throw std::runtime_error("there is no pseudo-terminal");
  const struct winsize size = {window.rows, window.columns, 0, 0};
  ioctl(line_, TIOCSWINSZ, &size);
  environment.emplace("TERM", "xterm");
  environment.emplace("PAGER", "cat");
  std::vector<std::string> arguments = {Program("hone").string()};
  arguments.insert(arguments.end(), words.begin(), words.end());
  std::vector<std::string> variables = Environment(environment);
  const std::vector<char*> argv = Pointers(arguments), envp = Pointers(variables);
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("there is no pipe");
  shell_ = fork();
  if (shell_ == 0) BecomeShell(line_, ends[1], argv.data(), envp.data());
  close(ends[1]);
  report_ = ends[0];
  if (shell_ < 0 || read(report_, &command_, sizeof(command_)) != static_cast<ssize_t>(sizeof(command_)))
    throw std::runtime_error("the command did not start");
}

OnTerminal::~OnTerminal() {
  if (command_ > 0) kill(command_, SIGKILL);
  kill(shell_, SIGKILL);
  waitpid(shell_, nullptr, 0);
  for (const int descriptor : {report_, line_, own_}) close(descriptor);
}

void OnTerminal::Press(const std::string& keys) const {
  EXPECT_EQ(write(own_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

void OnTerminal::Signal(int number) const { kill(command_, number); }

bool OnTerminal::ReadMore(int wait_ms) {
  struct pollfd output = {own_, POLLIN, 0};
  char bytes[4096];
  if (poll(&output, 1, wait_ms) != 1) return false;
  const ssize_t count = read(own_, bytes, sizeof(bytes));
  if (count > 0) text_.append(bytes, static_cast<size_t>(count));
  return count > 0;
}

bool OnTerminal::Shows(const std::string& text) {
  const auto end = std::chrono::steady_clock::now() + Deadline(30);
  size_t at = text_.find(text, looked_at_);
  while (at == std::string::npos && std::chrono::steady_clock::now() < end) {
    ReadMore(100);
    at = text_.find(text, looked_at_);
  }
  if (at != std::string::npos) looked_at_ = at + text.size();
  return at != std::string::npos;
}

bool OnTerminal::ReadsKeys() const {
  struct termios now {};
  return tcgetattr(line_, &now) == 0 && (now.c_lflag & (ICANON | ECHO)) == 0;
}

bool OnTerminal::IsAsBefore() const {
  struct termios now {};
  return tcgetattr(line_, &now) == 0 && now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag &&
         now.c_oflag == before_.c_oflag && std::memcmp(now.c_cc, before_.c_cc, sizeof(now.c_cc)) == 0;
}

int OnTerminal::End() {
  const auto end = std::chrono::steady_clock::now() + Deadline(60);
  struct pollfd report = {report_, POLLIN, 0};
  while (poll(&report, 1, 0) == 0 && std::chrono::steady_clock::now() < end) ReadMore(20);
  int status = 0;
  if (report.revents == 0 || read(report_, &status, sizeof(status)) != static_cast<ssize_t>(sizeof(status))) {
    ADD_FAILURE() << "it did not end\n" << text_;
    return -1;
  }
  command_ = -1;
  while (ReadMore(0)) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::vector<std::string> FrameLines(const std::string& text) {
  static const std::regex escape("\x1b\\[[0-9;?]*[A-Za-z]");
  std::vector<std::string> lines;
  for (size_t begin = text.find(kFrameBegins); begin != std::string::npos;) {
    const size_t end = text.find(kFrameEnds, begin);
    std::stringstream frame(std::regex_replace(text.substr(begin, end - begin), escape, ""));
    for (std::string line; std::getline(frame, line);) {
      std::erase(line, '\r');
      if (!line.empty()) lines.push_back(line);
    }
    begin = end == std::string::npos ? end : text.find(kFrameBegins, end);
  }
  return lines;
}

bool HasColor(const std::string& text) {
  static const std::regex color("\x1b\\[[0-9;]*m");
  return std::regex_search(text, color);
}

}  // namespace hone::test
