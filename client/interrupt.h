// Ctrl-C. By default it ends the program at once with 130 (children die with their parent); code that has something to
// tidy up or to say holds the signal and looks at Interrupted().
#pragma once

#include "common/base/result.h"

namespace hone {

// For SIGINT, SIGTERM and SIGHUP; SIGPIPE is ignored (a closed pipe shows at the write). Called once, by main.
void InstallInterruptHandler();

// While an object lives, the first signal only sets the flag; the second ends the program.
class HoldInterrupts {
 public:
  HoldInterrupts();
  ~HoldInterrupts();
  HoldInterrupts(const HoldInterrupts&) = delete;
  HoldInterrupts& operator=(const HoldInterrupts&) = delete;
};

bool Interrupted();
// kInterrupted, for passing on.
tl::unexpected<Error> FailInterrupted(std::string message);

}  // namespace hone
