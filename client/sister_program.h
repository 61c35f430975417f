// Questions to hone's other programs, which answer with one JSON document.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "client/console.h"
#include "common/base/result.h"

namespace hone {

struct ProgramAnswer {
  Json document;
  int code = 0;             // The program's exit status.
};

// Runs `PROGRAM WORDS` (found as FindProgram tells). A document that is an error (hone.error/1) comes back as that
// error; no document as kFailed; kTimeout after `longest`.
Result<ProgramAnswer> AskProgram(const std::string& program, const char* variable,
                                 const std::vector<std::string>& words, std::chrono::milliseconds longest);

}  // namespace hone
