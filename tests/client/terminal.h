// `hone` on a pseudo-terminal: what a person would see, and keys that he presses.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <map>
#include <string>
#include <vector>

namespace hone::test {

class OnTerminal {
 public:
  struct Window {
    unsigned short columns = 80;
    unsigned short rows = 24;
  };
  // Starts the command with all three streams on a terminal of its own, in whose foreground it is. A shell's part is
  // played by a process that outlives it: with a session's last process the terminal would forget how it was left.
  OnTerminal(const std::vector<std::string>& words, Window window, std::map<std::string, std::string> environment);
  ~OnTerminal();
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  void Press(const std::string& keys) const;
  void Signal(int number) const;
  // Whether the text is shown, at the latest by the deadline; what was there before the last call does not count.
  bool Shows(const std::string& text);
  // Whether keys are read one by one, without an echo.
  bool ReadsKeys() const;
  // Whether the terminal's settings are those it began with.
  bool IsAsBefore() const;
  // Waits for the end: the exit code, or 128 and the number of the signal that ended it.
  int End();
  // All that was written so far.
  const std::string& text() const { return text_; }

 private:
  bool ReadMore(int wait_ms);

  int own_ = -1;          // The terminal's other end.
  int line_ = -1;         // The terminal itself, kept open so that its settings can be asked for.
  int report_ = -1;       // The shell tells the command's number, then how it ended.
  pid_t shell_ = -1;
  pid_t command_ = -1;
  struct termios before_ {};
  std::string text_;
  size_t looked_at_ = 0;
};

// The lines of the live view's frames, without what moves the cursor.
std::vector<std::string> FrameLines(const std::string& text);
// Whether anything in the text is coloured or bold.
bool HasColor(const std::string& text);

}  // namespace hone::test
