// What can stand next on a command line of `hone`: from the rows of commands and flags, and from a coordinator that
// answers soon.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct Completions {
  struct Word {
    std::string word;
    std::string help;
  };
  std::vector<Word> words;
  bool files = false;      // Names of files, too.
};

// What only a coordinator or the user's folders know: "jobs", "workers", "passes", "backends", "contexts".
using Lookup = std::function<std::vector<Completions::Word>(const std::string& what)>;

// `words`: what stands after `hone`, the last one half typed (maybe "").
Completions Complete(const std::vector<std::string>& words, const Lookup& lookup);

// The script for a shell: bash, zsh, fish. kUsage with the nearest for another.
Result<std::string> CompletionScript(const std::string& shell);

}  // namespace hone
