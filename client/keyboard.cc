// The terminal is the shell's again at whatever end: the destructor puts its settings back, Ctrl-C's handler does
// (client/interrupt.cc), and here those of the signals that a crash or a person at another terminal sends. Handlers
// that were there before get the signal afterwards.
#include "client/keyboard.h"

#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <iterator>

namespace hone {
namespace {

constexpr int kEndings[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT};

// Written while is_changed is false, read by handlers while it is true.
struct termios settings_before;
struct termios settings_of_keys;
struct sigaction ending_actions[std::size(kEndings)];
struct sigaction stop_action;
struct sigaction continue_action;
static_assert(std::atomic<bool>::is_always_lock_free);
std::atomic<bool> is_changed{false};

// In the background the terminal is another's, who has put his own settings.
bool HasTerminal() { return tcgetpgrp(STDIN_FILENO) == getpgrp(); }

void Apply(const struct termios& settings) {
  const int error = errno;
  if (is_changed.load() && HasTerminal()) tcsetattr(STDIN_FILENO, TCSANOW, &settings);
  errno = error;
}

// The signal comes again once this returns, and does what it did before.
void OnEnding(int number) {
  RestoreTerminal();
  for (size_t i = 0; i < std::size(kEndings); ++i) {
    if (kEndings[i] == number) sigaction(number, &ending_actions[i], nullptr);
  }
  raise(number);
}

// Ctrl-Z: what comes next is the shell's, until it lets this go on.
void OnStop(int) {
  RestoreTerminal();
  raise(SIGSTOP);
}
void OnContinue(int) { Apply(settings_of_keys); }

void Handle(int number, void (*handler)(int), struct sigaction* before) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, before);
}

}  // namespace

void RestoreTerminal() { Apply(settings_before); }

std::unique_ptr<Keyboard> Keyboard::Open() {
  if (is_changed.load() || isatty(STDIN_FILENO) == 0 || !HasTerminal()) return nullptr;
  if (tcgetattr(STDIN_FILENO, &settings_before) != 0) return nullptr;
  settings_of_keys = settings_before;
  settings_of_keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  settings_of_keys.c_cc[VMIN] = 0;
  settings_of_keys.c_cc[VTIME] = 0;
  for (size_t i = 0; i < std::size(kEndings); ++i) Handle(kEndings[i], OnEnding, &ending_actions[i]);
  Handle(SIGTSTP, OnStop, &stop_action);
  Handle(SIGCONT, OnContinue, &continue_action);
  is_changed = true;
  Apply(settings_of_keys);
  return std::unique_ptr<Keyboard>(new Keyboard());
}

Keyboard::~Keyboard() {
  RestoreTerminal();
  is_changed = false;
  for (size_t i = 0; i < std::size(kEndings); ++i) sigaction(kEndings[i], &ending_actions[i], nullptr);
  sigaction(SIGTSTP, &stop_action, nullptr);
  sigaction(SIGCONT, &continue_action, nullptr);
}

std::optional<char> Keyboard::Read() {
  constexpr char kEscape = '\x1b';
  const auto next = []() -> std::optional<char> {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    char key = 0;
    const bool any = HasTerminal() && poll(&input, 1, 0) == 1 && read(STDIN_FILENO, &key, 1) == 1;
    return any ? std::optional<char>(key) : std::nullopt;
  };
  std::optional<char> key = next();
  if (key != kEscape) return key;
  while (key) key = next();
  return std::nullopt;
}

}  // namespace hone
