// Words that people bring from other tools (Olive, NNCF, optimum-cli, benchmark_app, trtexec, ONNX Runtime), and what
// hone calls the same. They are offered, never taken in silence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hone {

enum class WordKind { command, option, metric, precision, pass, backend };

// A row of the table: each of `words` (parted by spaces, in lower case with '-' between their parts, options without
// their dashes) is what `offers` (parted by '|') says. `commands`: where an option means that; "" is wherever there is
// such an option.
struct ForeignWord {
  WordKind kind;
  const char* words;
  const char* offers;
  const char* commands = "";
};
const std::vector<ForeignWord>& ForeignWords();

// What stands for the word among `known`: itself where it is but spelt otherwise ("INT8", "--max_accuracy_drop"), else
// what the table has for it. An offer of several words needs its first to be known. `command`: whose options are meant.
std::vector<std::string> OffersFor(WordKind kind, std::string_view word, const std::vector<std::string>& known,
                                   std::string_view command = {});

// "; did you mean 'apply' or 'optimize'?" of those, else of the nearest known word (common/base/strings.h); "" where
// nothing is near.
std::string DidYouMean(WordKind kind, std::string_view word, const std::vector<std::string>& known,
                       std::string_view command = {});

}  // namespace hone
