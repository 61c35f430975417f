#include "client/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "client/keyboard.h"

namespace hone {
namespace {

static_assert(std::atomic<int>::is_always_lock_free);
std::atomic<int> holders{0};
std::atomic<int> signals{0};

void OnSignal(int) {
  const int count = signals.fetch_add(1) + 1;
  if (holders.load() > 0 && count == 1) return;
  RestoreTerminal();
  _exit(ExitCode(ErrorCode::kInterrupted));
}

}  // namespace

void InstallInterruptHandler() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    // nohup and background jobs of plain shells start with the signal ignored; it stays so.
    if (sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN && number != SIGTERM) continue;
    sigaction(number, &action, nullptr);
  }
  signal(SIGPIPE, SIG_IGN);
}

HoldInterrupts::HoldInterrupts() { holders.fetch_add(1); }
HoldInterrupts::~HoldInterrupts() { holders.fetch_sub(1); }

bool Interrupted() { return signals.load() > 0; }

tl::unexpected<Error> FailInterrupted(std::string message) { return Fail(ErrorCode::kInterrupted, std::move(message)); }

}  // namespace hone
