#include "client/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/command.h"
#include "common/base/strings.h"

namespace hone {
namespace {

using Word = Completions::Word;

// What a value or an argument is, by the word that stands for it in the help.
struct MetaRow {
  const char* meta;
  const char* what;       // Of Lookup; "files" is told to the shell.
};
constexpr MetaRow kMetas[] = {
    {"FILE", "files"},       {"DIR", "files"},      {"OUT", "files"},
    {"D", "files"},          {"M", "files"},        {"R", "files"},
    {"REF", "files"},        {"RECIPE", "files"},   {"MODEL", "files"},
    {"MODEL2", "files"},     {"SUITE", "files"},    {"JOB", "jobs"},
    {"A", "jobs"},           {"B", "jobs"},         {"BACKEND", "backends"},
    {"CONTEXT", "contexts"}, {"WORKER", "workers"}, {"NAME[:key=value,...]", "passes"},
};

void AddMatching(const std::vector<Word>& from, const std::string& start, Completions& completions) {
  for (const Word& word : from) {
    if (word.word.compare(0, start.size(), start) == 0) completions.words.push_back(word);
  }
}

void AddValues(const Flags::Row& row, const std::string& meta, const std::string& start, const Lookup& lookup,
               Completions& completions) {
  if (!row.choices.empty()) {
    std::vector<Word> words;
    for (const std::string& choice : row.choices) words.push_back({choice, ""});
    return AddMatching(words, start, completions);
  }
  const auto known =
      std::find_if(std::begin(kMetas), std::end(kMetas), [&](const MetaRow& one) { return meta == one.meta; });
  if (known == std::end(kMetas)) return;
  if (std::string_view(known->what) == "files") {
    completions.files = true;
  } else {
    AddMatching(lookup(known->what), start, completions);
  }
}

const Flags::Row* FindFlag(const Flags& flags, const std::string& name) {
  for (const Flags::Row& row : flags.rows()) {
    const std::vector<std::string> names = Split(row.names, ',');
    if (std::find(names.begin(), names.end(), name) != names.end()) return &row;
  }
  return nullptr;
}

bool IsFlagWord(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

// The argument that comes next: how many words of `words` are neither flags nor their values.
size_t ArgumentsBefore(const Flags& flags, const std::vector<std::string>& words) {
  size_t count = 0;
  bool value_due = false;
  for (const std::string& word : words) {
    if (value_due) {
      value_due = false;
    } else if (IsFlagWord(word)) {
      const Flags::Row* row = FindFlag(flags, word);
      value_due = row != nullptr && row->kind != Flags::Kind::toggle && word.find('=') == std::string::npos;
    } else {
      ++count;
    }
  }
  return count;
}

Completions CompleteCommand(const Command& command, const std::vector<std::string>& words, const Lookup& lookup) {
  Completions completions;
  Flags flags;
  const Run run = command.define(flags);
  AddGlobalFlags(flags);
  const std::string& last = words.back();
  const std::vector<std::string> before(words.begin(), words.end() - 1);
  // A value of the flag before it.
  if (!before.empty() && IsFlagWord(before.back())) {
    const Flags::Row* row = FindFlag(flags, before.back());
    if (row != nullptr && row->kind != Flags::Kind::toggle) {
      AddValues(*row, row->meta, last, lookup, completions);
      return completions;
    }
  }
  if (IsFlagWord(last) || last == "-") {
    std::vector<Word> names = {{"--help", "shows examples and options"}};
    for (const Flags::Row& row : flags.rows()) {
      for (const std::string& name : Split(row.names, ',')) {
        if (name.compare(0, 2, "--") == 0) names.push_back({name, row.help});
      }
    }
    AddMatching(names, last, completions);
    return completions;
  }
  size_t skip = ArgumentsBefore(flags, before);
  for (const Flags::Row& row : flags.rows()) {
    if (row.kind != Flags::Kind::positional && row.kind != Flags::Kind::required_positional) continue;
    if (skip-- > 0) continue;
    AddValues(row, row.names, last, lookup, completions);
    break;
  }
  return completions;
}

constexpr const char* kBash = R"(# bash completion for hone; made by `hone completion bash`
_hone() {
  local cur words cword
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n =: cur words cword
  else
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
  fi
  local line files=no
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = ":files" ]; then files=yes; else COMPREPLY+=("${line%%$'\t'*}"); fi
  done < <(hone __complete "${words[@]:1:cword}" 2>/dev/null)
  if [ $files = yes ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
  fi
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}
complete -F _hone hone
)";

constexpr const char* kZsh = R"(#compdef hone
# zsh completion for hone; made by `hone completion zsh`
_hone() {
  local line files=no
  local -a found
  while IFS= read -r line; do
    if [[ $line == ":files" ]]; then
      files=yes
    elif [[ $line == *$'\t'* ]]; then
      found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    else
      found+=("${line//:/\\:}")
    fi
  done < <(hone __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  (( ${#found} )) && _describe 'hone' found
  [[ $files == yes ]] && _files
  return 0
}
if [[ $funcstack[1] == _hone ]]; then _hone "$@"; else compdef _hone hone; fi
)";

constexpr const char* kFish = R"(# fish completion for hone; made by `hone completion fish`
function __hone_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in (hone __complete $words[2..-1] 2>/dev/null)
    if test "$line" = ":files"
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c hone -f -a '(__hone_complete)'
)";

}  // namespace

Completions Complete(const std::vector<std::string>& words, const Lookup& lookup) {
  Completions completions;
  if (words.size() <= 1) {
    const std::string start = words.empty() ? "" : words.front();
    std::vector<Word> names = {{"help", "commands, exit codes, man pages"}};
    for (const Command& command : Commands()) names.push_back({command.name, command.summary});
    AddMatching(names, start, completions);
    return completions;
  }
  if (words.front() == "help") {
    std::vector<Word> names = {{"exit-codes", "what a command's status means"}};
    for (const Command& command : Commands()) names.push_back({command.name, command.summary});
    AddMatching(names, words.back(), completions);
    return completions;
  }
  const auto command =
      std::find_if(Commands().begin(), Commands().end(), [&](const Command& one) { return words.front() == one.name; });
  return command == Commands().end() ? completions
                                     : CompleteCommand(*command, {words.begin() + 1, words.end()}, lookup);
}

Result<std::string> CompletionScript(const std::string& shell) {
  if (shell == "bash") return std::string(kBash);
  if (shell == "zsh") return std::string(kZsh);
  if (shell == "fish") return std::string(kFish);
  return Fail(ErrorCode::kUsage,
              fmt::format("no completion for the shell '{}'{}", Printable(shell, 40),
                          DidYouMean(shell, {"bash", "zsh", "fish"})),
              "shells: bash, zsh, fish");
}

}  // namespace hone
