// Single keys of the terminal, while a live view is drawn. Ctrl-C stays a signal.
#pragma once

#include <memory>
#include <optional>

namespace hone {

// One at a time. The terminal's settings are put back when the object goes, when the program is stopped, and when a
// signal ends it.
class Keyboard {
 public:
  // nullptr where stdin is no terminal, or another program's in the foreground.
  static std::unique_ptr<Keyboard> Open();
  ~Keyboard();
  Keyboard(const Keyboard&) = delete;
  Keyboard& operator=(const Keyboard&) = delete;

  // The next key; nullopt where none was pressed. Does not wait. Keys that send several bytes (arrows) are passed over.
  std::optional<char> Read();

 private:
  Keyboard() = default;
};

// Puts the settings back where a Keyboard changed them; may be called by handlers of signals.
void RestoreTerminal();

}  // namespace hone
