#include "client/help.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/console.h"
#include "client/table.h"
#include "common/base/strings.h"

namespace hone {
namespace {

constexpr size_t kWidest = 120;

// roff reads '\' and, at the start of a line, '.' and '\'' as its own; '-' would become a hyphen.
std::string Roff(std::string_view text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    begins = c == '\n';
  }
  return out;
}

std::string RoffHead(const std::string& name, int section, const std::string& summary) {
  return fmt::format(".TH {} {} \"\" \"hone {}\" \"hone\"\n.SH NAME\n{} \\- {}\n", Roff(name), section, HONE_VERSION,
                     Roff(name), Roff(summary));
}

std::string RoffItem(const std::string& term, const std::string& text) {
  return fmt::format(".TP\n.B {}\n{}\n", Roff(term), Roff(text));
}

std::string RoffExamples(const std::vector<Example>& examples) {
  if (examples.empty()) return "";
  std::string text = ".SH EXAMPLES\n";
  for (const Example& example : examples)
    text += RoffItem(example.line, example.purpose.empty() ? "as above" : example.purpose);
  return text;
}

std::string SeeAlso() { return ".SH SEE ALSO\n.BR hone (1),\n.BR hone\\-exit\\-codes (7)\n"; }

}  // namespace

const std::vector<ExitCodeRow>& ExitCodes() {
  static const std::vector<ExitCodeRow> rows = {
      {0, "ok", "done, or the answer is yes"},
      {1, "no", "ran properly and the answer is no: no feasible candidate, a regression, a fault found"},
      {2, "usage", "unknown command, flag or argument"},
      {3, "unsure", "the data cannot decide, or nothing was measured"},
      {4, "failed", "failed"},
      {5, "environment", "the machine is unfit for measuring"},
      {6, "unreachable", "the coordinator cannot be reached"},
      {7, "denied", "the key is unknown, or may not do this"},
      {8, "not found", "no such job, trial, worker, pass"},
      {9, "rejected", "input is not valid: model, data, recipe, configuration"},
      {10, "time-out", "the time given is over; the work continues"},
      {11, "cancelled", "somebody cancelled the job"},
      {12, "exhausted", "disk, quota or memory"},
      {70, "bug", "a bug in hone"},
      {78, "configuration", "a daemon's configuration is not valid"},
      {130, "interrupted", "Ctrl-C; jobs go on"},
  };
  return rows;
}

std::string ExitCodesText() {
  std::string text;
  for (const ExitCodeRow& row : ExitCodes()) text += fmt::format("{:>4}  {:<14} {}\n", row.code, row.name, row.meaning);
  return text + "\nA verdict that measured nothing is never 0.\n";
}

std::vector<Example> ExamplesOf(const Command& command) {
  std::vector<Example> examples;
  for (const std::string& line : Split(command.examples, '\n')) {
    if (line.empty()) continue;
    const size_t tab = line.find('\t');
    examples.push_back({line.substr(0, tab), tab == std::string::npos ? "" : line.substr(tab + 1)});
  }
  return examples;
}

std::string Wrapped(const std::string& text, size_t width, size_t indent) {
  // What the text begins with is its own indent.
  std::string out = text.substr(0, std::min(text.find_first_not_of(' '), text.size()));
  const size_t begin = out.size();
  size_t column = begin;
  for (const std::string& word : Split(text.substr(begin), ' ')) {
    const size_t size = DisplayWidth(word);
    const bool is_first = out.size() == begin;
    if (!is_first && column + 1 + size > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (!is_first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += size;
  }
  return out;
}

namespace {

// Where the second column of a table's row begins; a paragraph has none.
size_t HangingIndent(std::string_view line) {
  const size_t gap = line.find("  ");
  const size_t column = line.find_first_not_of(' ', gap);
  return gap == std::string_view::npos || column == std::string_view::npos ? 0 : column;
}

}  // namespace

std::string CommandHelp(const Command& command, const Flags& flags, size_t width) {
  const size_t columns = std::min(width == 0 ? kWidest : width, kWidest);
  std::string text = Wrapped(fmt::format("hone {} {}", command.name, command.usage), columns, 2) + "\n";
  text += Wrapped(std::string(command.summary) + ".", columns, 0) + "\n";
  const std::vector<Example> examples = ExamplesOf(command);
  if (!examples.empty()) text += "\nExamples:\n";
  for (const Example& example : examples) {
    if (!example.purpose.empty()) text += "  " + Wrapped("# " + example.purpose, columns - 2, 4) + "\n";
    text += "  " + example.line + "\n";
  }
  text += "\n" + flags.HelpText(columns);
  if (*command.details == '\0') return text;
  text += "\n";
  for (const std::string& line : Split(command.details, '\n'))
    text += Wrapped(line, columns, HangingIndent(line)) + "\n";
  return text;
}

std::string ManPage() {
  std::string text = RoffHead("hone", 1, "find the best deployable form of a model for the hardware you own");
  text += ".SH SYNOPSIS\n.B hone\n.I command\n.RI [ arguments ]\n.SH DESCRIPTION\n";
  text += Roff(
      "hone takes a trained model and a recipe, and finds the best deployable form of that model for each kind of "
      "hardware.\n"
      "The answer goes to stdout, the conversation to stderr; with --json stdout holds one JSON document.\n");
  text += ".SH COMMANDS\n";
  for (const Command& command : Commands()) text += RoffItem(command.name, std::string(command.summary) + ".");
  text += ".SH ENVIRONMENT\n.TP\n.B NO_COLOR, CLICOLOR_FORCE, TERM\nWhether there is colour.\n";
  text +=
      ".TP\n.B HONE_COORDINATOR, HONE_KEYS, HONE_CONTEXT, HONE_COLOR, HONE_PAGER, HONE_PROGRESS_INTERVAL\nSettings; "
      "see\n.BR hone\\-config (1).\n";
  text +=
      ".SH FILES\n.TP\n.I ./.hone.yaml, $XDG_CONFIG_HOME/hone/config.yaml, /etc/hone/client.yaml\nSettings, the first "
      "that tells one counts.\n";
  return text + SeeAlso();
}

std::string ManPage(const Command& command) {
  Flags flags;
  const Run run = command.define(flags);
  AddGlobalFlags(flags);
  std::string text = RoffHead(fmt::format("hone-{}", command.name), 1, command.summary);
  text += fmt::format(".SH SYNOPSIS\n.B hone {}\n{}\n", Roff(command.name), Roff(command.usage));
  text += RoffExamples(ExamplesOf(command)) + ".SH OPTIONS\n";
  for (const Flags::Row& row : flags.rows()) {
    text += RoffItem(Join(Split(row.names, ','), ", ") + (row.meta.empty() ? "" : " " + row.meta), row.help);
  }
  if (*command.details != '\0') text += fmt::format(".SH DETAILS\n.nf\n{}\n.fi\n", Roff(command.details));
  return text + SeeAlso();
}

std::string ExitCodesManPage() {
  std::string text = RoffHead("hone-exit-codes", 7, "what the status of a hone command means");
  text += ".SH DESCRIPTION\nOne table for every command. A verdict that measured nothing is never 0.\n";
  for (const ExitCodeRow& row : ExitCodes())
    text += RoffItem(std::to_string(row.code), fmt::format("{}: {}.", row.name, row.meaning));
  return text + ".SH SEE ALSO\n.BR hone (1)\n";
}

std::string TopHelp() {
  std::string text =
      "hone finds the best deployable form of a model for the hardware you own.\n\n"
      "  hone optimize model.onnx --data samples.npz -o out      search here, write the best to out/\n"
      "  hone apply model.onnx --pass dynamic_int8 -o int8.onnx  one pass, no search\n"
      "  hone benchmark int8.onnx --vs model.onnx --expect faster\n"
      "  hone submit model.onnx --recipe recipe.yaml             a job for the fleet; hone watch, hone get\n";
  std::string_view group;
  std::string names;
  const auto finish_names = [&] {
    if (!names.empty()) text += Wrapped(names, 90, 2) + "\n";
    names.clear();
  };
  for (const Command& command : Commands()) {
    if (group != command.group) {
      finish_names();
      group = command.group;
      text += IsListedByName(command) ? "" : fmt::format("\n{}\n", group);
      if (IsListedByName(command)) names = fmt::format("{}:", group);
    }
    if (IsListedByName(command)) {
      names += fmt::format("  {}", command.name);
    } else {
      text += fmt::format("  {:<11} {}\n", command.name, command.summary);
    }
  }
  finish_names();
  return text + "\n`hone COMMAND --help` shows examples and options, `hone help exit-codes` what a status means.\n";
}

}  // namespace hone
