// Help, man pages and the table of exit codes: all made of the rows of client/command.h and of their flags.
#pragma once

#include <string>
#include <vector>

#include "client/command.h"
#include "client/flags.h"

namespace hone {

struct ExitCodeRow {
  int code;
  const char* name;
  const char* meaning;
};
const std::vector<ExitCodeRow>& ExitCodes();
std::string ExitCodesText();

// A command's examples: the line to type, and what it is for.
struct Example {
  std::string line;
  std::string purpose;
};
std::vector<Example> ExamplesOf(const Command& command);

// Examples first; then arguments and options, wrapped to the width.
std::string CommandHelp(const Command& command, const Flags& flags, size_t width);

// roff for man(1): hone(1), hone-COMMAND(1), hone-exit-codes(7).
std::string ManPage();
std::string ManPage(const Command& command);
std::string ExitCodesManPage();

// The text in lines of at most `width` columns, broken at spaces; lines after the first begin with `indent` spaces.
std::string Wrapped(const std::string& text, size_t width, size_t indent);

}  // namespace hone
