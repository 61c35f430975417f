#include "client/flags.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "client/help.h"
#include "client/table.h"
#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"

namespace hone {
namespace {

using Kind = Flags::Kind;

bool IsPositional(Kind kind) { return kind == Kind::positional || kind == Kind::required_positional; }
bool IsList(Kind kind) { return kind == Kind::list || kind == Kind::required_list; }
bool IsRequired(Kind kind) {
  return kind == Kind::required_positional || kind == Kind::required_value || kind == Kind::required_list;
}

Error UsageError(const std::string& command, std::string message, std::string remedy = {}) {
  if (remedy.empty()) remedy = fmt::format("see `hone {} --help`", command);
  return Error{ErrorCode::kUsage, std::move(message), std::move(remedy)};
}

// Options, and arguments by their upper-case words.
std::vector<std::string> KnownWords(const std::vector<Flags::Row>& rows) {
  std::vector<std::string> names = {"--help"};
  for (const Flags::Row& row : rows) {
    for (const std::string& name : Split(row.names, ',')) names.push_back(name);
  }
  return names;
}

bool Names(const Flags::Row& row, const std::string& word) {
  const std::vector<std::string> names = Split(row.names, ',');
  return std::find(names.begin(), names.end(), word) != names.end();
}

// "--set a=1 b=2" becomes "--set a=1 --set b=2", so that a list never swallows a positional.
std::vector<std::string> Spread(const std::vector<Flags::Row>& rows, const std::vector<std::string>& words) {
  std::vector<std::string> spread;
  const Flags::Row* open = nullptr;
  bool value_due = false;
  for (const std::string& word : words) {
    if (value_due) {
      value_due = false;
    } else if (!word.empty() && word[0] == '-') {
      const auto row =
          std::find_if(rows.begin(), rows.end(), [&](const Flags::Row& r) { return r.goes_on && Names(r, word); });
      open = row == rows.end() ? nullptr : &*row;
      value_due = open != nullptr;
    } else if (open != nullptr && open->goes_on(word)) {
      spread.push_back(Split(open->names, ',').back());
    } else {
      open = nullptr;
    }
    spread.push_back(word);
  }
  return spread;
}

// CLI11's words for a parse error, made ours. Unknown flags come first: they are the likely cause of whatever else is
// wrong.
Error Explain(const std::string& command, const std::vector<Flags::Row>& rows, const CLI::App& app,
              const CLI::ParseError& error) {
  const std::vector<std::string> surplus = app.remaining();
  for (const std::string& word : surplus) {
    if (word.size() < 2 || word[0] != '-') continue;
    const std::string name = Split(word, '=').front();
    return UsageError(command,
                      fmt::format("hone {} has no option '{}'{}", command, Printable(name, 100),
                                  DidYouMean(WordKind::option, name, KnownWords(rows), command)));
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    for (const Flags::Row& row : rows) {
      if (!IsRequired(row.kind)) continue;
      const CLI::Option* option = app.get_option_no_throw(Split(row.names, ',').back());
      if (option != nullptr && option->count() > 0) continue;
      const std::string meta = IsPositional(row.kind) ? "" : " " + row.meta;
      return UsageError(command, fmt::format("{}{} is missing", Split(row.names, ',').front(), meta));
    }
  }
  if (!surplus.empty()) return UsageError(command, fmt::format("unexpected argument '{}'", surplus.front()));
  // It says "--limit: 1 required TEXT missing".
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return UsageError(command, fmt::format("{} needs a value", Split(error.what(), ':').front()));
  }
  return UsageError(command, error.what());
}

struct Bound {
  const Flags::Row* row;
  CLI::Option* option;
  std::vector<std::string> values;
};

void Declare(CLI::App& app, Bound& bound) {
  const Flags::Row& row = *bound.row;
  if (row.kind == Kind::toggle) {
    bound.option = app.add_flag(row.names);
    return;
  }
  bound.option = app.add_option(row.names, bound.values);
  bound.option->expected(1)->allow_extra_args(false);
  bound.option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  // Values are given back as they are; [a,b] is no list.
  bound.option->delimiter('\0');
  if (IsRequired(row.kind)) bound.option->required();
}

}  // namespace

void Flags::Argument(std::string name, std::string help, std::string& target) {
  Add({std::move(name), Kind::required_positional, "", std::move(help), [&target](const std::string& v) -> Result<> {
         target = v;
         return {};
       }});
}

void Flags::OptionalArgument(std::string name, std::string help, std::string& target) {
  Add({std::move(name), Kind::positional, "", std::move(help), [&target](const std::string& v) -> Result<> {
         target = v;
         return {};
       }});
}

void Flags::Text(std::string names, std::string meta, std::string help, std::string& target) {
  Add({std::move(names), Kind::value, std::move(meta), std::move(help), [&target](const std::string& v) -> Result<> {
         target = v;
         return {};
       }});
}

void Flags::RequiredText(std::string names, std::string meta, std::string help, std::string& target) {
  Add({std::move(names), Kind::required_value, std::move(meta), std::move(help),
       [&target](const std::string& v) -> Result<> { target = v; return {}; }});
}

void Flags::OptionalText(std::string names, std::string meta, std::string help, std::optional<std::string>& target) {
  Add({std::move(names), Kind::value, std::move(meta), std::move(help), [&target](const std::string& v) -> Result<> {
         target = v;
         return {};
       }});
}

void Flags::List(std::string names, std::string meta, std::string help, std::vector<std::string>& target,
                 std::function<bool(const std::string&)> goes_on) {
  Add({std::move(names), Kind::list, std::move(meta), std::move(help),
       [&target](const std::string& v) -> Result<> { target.push_back(v); return {}; }, std::move(goes_on)});
}

void Flags::RequiredList(std::string names, std::string meta, std::string help, std::vector<std::string>& target,
                         std::function<bool(const std::string&)> goes_on) {
  List(std::move(names), std::move(meta), std::move(help), target, std::move(goes_on));
  rows_.back().kind = Kind::required_list;
}

void Flags::CommaList(std::string names, std::string meta, std::string help, std::vector<std::string>& target) {
  Add({std::move(names), Kind::list, std::move(meta), std::move(help), [&target](const std::string& v) -> Result<> {
         for (const std::string& part : Split(v, ',')) {
           if (Trim(part).empty()) return Fail(ErrorCode::kUsage, "an empty name in a list");
           target.emplace_back(Trim(part));
         }
         return {};
       }});
}

void Flags::Toggle(std::string names, std::string help, bool& target) {
  Add({std::move(names), Kind::toggle, "", std::move(help), [&target](const std::string&) -> Result<> {
         target = true;
         return {};
       }});
}

void Flags::Count(std::string names, std::string meta, std::string help, std::optional<uint64_t>& target,
                  uint64_t least, uint64_t most) {
  Add({std::move(names), Kind::value, std::move(meta), std::move(help),
       [&target, least, most](const std::string& v) -> Result<> {
         const Result<int64_t> number = ParseInteger(v);
         if (!number || *number < 0 || static_cast<uint64_t>(*number) < least ||
             static_cast<uint64_t>(*number) > most) {
           return Fail(ErrorCode::kUsage, fmt::format("must be a whole number from {} to {}", least, most));
         }
         target = static_cast<uint64_t>(*number);
         return {};
       }});
}

void Flags::Duration(std::string names, std::string help, std::optional<int64_t>& target_ms) {
  Add({std::move(names), Kind::value, "TIME", std::move(help), [&target_ms](const std::string& v) -> Result<> {
         const Result<int64_t> ms = ParseDuration(v);
         if (!ms || *ms <= 0) return Fail(ErrorCode::kUsage, "must be a time such as 90s, 10m or 1h30m");
         target_ms = *ms;
         return {};
       }});
}

Result<Flags::Outcome> Flags::Parse(const std::string& command, const std::vector<std::string>& words) const {
  CLI::App app;
  app.set_help_flag("-h,--help", "");
  std::vector<Bound> bounds;
  bounds.reserve(rows_.size());
  for (const Row& row : rows_) Declare(app, bounds.emplace_back(Bound{&row, nullptr, {}}));

  std::vector<std::string> reversed = Spread(rows_, words);
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return Outcome::help;
  } catch (const CLI::ParseError& error) {
    return Fail(Explain(command, rows_, app, error));
  }

  for (const Bound& bound : bounds) {
    if (bound.row->kind == Kind::toggle) {
      if (bound.option->count() > 0) TRY(bound.row->set(""));
      continue;
    }
    if (bound.values.size() > 1 && !IsList(bound.row->kind)) {
      return Fail(UsageError(
          command, fmt::format("{} is given {} times", Split(bound.row->names, ',').back(), bound.values.size())));
    }
    for (const std::string& value : bound.values) {
      const std::vector<std::string>& choices = bound.row->choices;
      if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
        return Fail(
            UsageError(command, fmt::format("{} '{}' is not one of {}{}", Split(bound.row->names, ',').back(),
                                            Printable(value, 100), Join(choices, ", "), DidYouMean(value, choices))));
      }
      const Result<> set = bound.row->set(value);
      if (!set)
        return Fail(UsageError(
            command, fmt::format("{} {}: {}", Split(bound.row->names, ',').back(), value, set.error().message)));
    }
  }
  return Outcome::run;
}

std::string Flags::HelpText(size_t width) const {
  // Names stand beside their help where there is room for both, above it elsewhere.
  constexpr size_t kLeast = 30;
  std::vector<std::pair<std::string, std::string>> lines;
  size_t widest = 0;
  for (const Row& row : rows_) {
    std::string names = Join(Split(row.names, ','), ", ");
    if (!IsPositional(row.kind) && names.compare(0, 2, "--") == 0) names = "    " + names;
    lines.emplace_back("  " + names + (row.meta.empty() ? "" : " " + row.meta), row.help);
    widest = std::max(widest, DisplayWidth(lines.back().first));
  }
  const bool beside = widest + 2 + kLeast <= width;
  const size_t indent = beside ? widest + 2 : 8;
  std::string text;
  for (const auto& [names, help] : lines) {
    const std::string space = beside ? std::string(indent - DisplayWidth(names), ' ') : "\n" + std::string(indent, ' ');
    std::string wrapped = Wrapped(help, std::max(width, indent + kLeast) - indent, 0);
    for (size_t at = wrapped.find('\n'); at != std::string::npos; at = wrapped.find('\n', at + 1 + indent)) {
      wrapped.insert(at + 1, std::string(indent, ' '));
    }
    text += names + (help.empty() ? "" : space + wrapped) + "\n";
  }
  return text;
}

bool LooksLikeAssignment(const std::string& word) {
  const size_t equals = word.find('=');
  return equals != std::string::npos && equals > 0 && word[0] != '-';
}

}  // namespace hone
