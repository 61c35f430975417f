// Where a command's words go: the answer to stdout, the conversation to stderr.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/mistakes.h"
#include "common/base/result.h"
#include "common/results/messages.h"

namespace hone {

enum class ColorChoice { automatic, always, never };

// What the streams and the environment allow.
struct TerminalTraits {
  bool out_terminal = false;
  bool err_terminal = false;
  size_t width = 80;        // TIOCGWINSZ, then COLUMNS, then 80.
  size_t height = 24;       // TIOCGWINSZ, then LINES, then 24.
  bool in_terminal = false;
  bool utf8 = false;        // By LC_ALL, LC_CTYPE, LANG.
  bool dumb = false;        // TERM is "dumb" or unset: no cursor movement.

  static TerminalTraits Detect();
};

// Whether a stream gets colour: the flag, then NO_COLOR, TERM=dumb, CLICOLOR_FORCE or FORCE_COLOR, then whether it is a
// terminal.
bool UseColor(ColorChoice choice, bool terminal);

// One thread at a time.
class Console {
 public:
  explicit Console(TerminalTraits traits) : traits_(traits) {}

  bool json = false;        // The answer is one JSON document.
  bool quiet = false;       // No conversation, errors excepted.
  ColorChoice color = ColorChoice::automatic;

  Mistakes others;          // Beside the error that the command returns; told with it.
  std::string pager;        // Shows answers longer than the window; "": $PAGER, else less.

  const TerminalTraits& traits() const { return traits_; }
  // The same with the window's size as it is now.
  TerminalTraits CurrentTraits() const;
  // Width for tables on stdout; 0 (never cut) where it is no terminal.
  size_t table_width() const { return traits_.out_terminal ? traits_.width : 0; }

  // The answer; on a terminal with less room than lines, through the pager. A reader that went away (EPIPE) is no
  // error; a full disk is kExhausted.
  Result<> Print(std::string_view text);
  Result<> PrintJson(const Json& document);
  // A line of conversation on stderr.
  void Note(std::string_view line) const;
  // Text on stderr as it is, without a newline of its own; for the live view.
  void Raw(std::string_view text) const;
  // The error and `others` on stderr, by their places, and, with json, as a document of schema hone.error/1 on stdout.
  void Report(const Error& error);

  std::string Bold(std::string_view text) const;   // For stdout.

 private:
  bool WantsPager(std::string_view text) const;
  TerminalTraits traits_;
};

// "hone: file:3:7: message" and the remedy on indented lines; a newline at the end.
std::string ErrorText(const Error& error);
// The first with the others below it and how many more there are; not empty.
Json ErrorJson(const std::vector<Error>& errors, size_t more = 0);

}  // namespace hone
