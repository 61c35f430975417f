// A command's arguments, declared as rows. CLI11 splits the words (flags.cc alone includes it); the rows name, convert
// and explain them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace hone {

class Flags {
 public:
  enum class Kind { required_positional, positional, required_value, value, list, required_list, toggle };
  struct Row {
    std::string names;      // "-o,--output", or the upper-case word of a positional.
    Kind kind;
    std::string meta;       // What stands for the value in the help: FILE, N.
    std::string help;
    std::function<Result<>(const std::string&)> set;   // Called once a value; for a toggle with "".
    // A list goes on over following words that this accepts ("--set a=1 b=2"); without it, one value an occurrence.
    std::function<bool(const std::string&)> goes_on = {};
    std::vector<std::string> choices = {};   // The only words that are taken; empty: any.
  };

  void Argument(std::string name, std::string help, std::string& target);           // Must be given.
  void OptionalArgument(std::string name, std::string help, std::string& target);
  void Text(std::string names, std::string meta, std::string help, std::string& target);
  void RequiredText(std::string names, std::string meta, std::string help, std::string& target);
  void OptionalText(std::string names, std::string meta, std::string help, std::optional<std::string>& target);
  void List(std::string names, std::string meta, std::string help, std::vector<std::string>& target,
            std::function<bool(const std::string&)> goes_on = {});
  void RequiredList(std::string names, std::string meta, std::string help, std::vector<std::string>& target,
                    std::function<bool(const std::string&)> goes_on = {});
  // "a,b" adds both.
  void CommaList(std::string names, std::string meta, std::string help, std::vector<std::string>& target);
  void Toggle(std::string names, std::string help, bool& target);
  void Count(std::string names, std::string meta, std::string help, std::optional<uint64_t>& target, uint64_t least,
             uint64_t most);
  void Duration(std::string names, std::string help, std::optional<int64_t>& target_ms);
  // The last row takes these words alone.
  void Choose(std::vector<std::string> choices) { rows_.back().choices = std::move(choices); }
  void Add(Row row) { rows_.push_back(std::move(row)); }

  const std::vector<Row>& rows() const { return rows_; }

  enum class Outcome { run, help };
  // kUsage for unknown flags (nearest known one offered), missing or surplus arguments, values that do not convert.
  Result<Outcome> Parse(const std::string& command, const std::vector<std::string>& words) const;

  // The aligned list of arguments and options, in lines of at most `width` columns.
  std::string HelpText(size_t width = 100) const;

 private:
  std::vector<Row> rows_;
};

// "key=value": a word that continues a list of settings or input shapes.
bool LooksLikeAssignment(const std::string& word);

}  // namespace hone
