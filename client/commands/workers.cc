// hone workers and drain: the fleet.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/remote.h"
#include "client/rows.h"
#include "client/text_output.h"
#include "common/base/clock.h"

namespace hone {
namespace {

struct WorkerOptions {
  CoordinatorFlags coordinator;
  std::string name;
  bool undo = false;
  std::string format;  // Of the list: "", csv, md or jsonl.
};

Result<int> ListWorkers(const WorkerOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY_ASSIGN(const std::vector<proto::WorkerSummary> workers, client.Workers());
  const auto now = static_cast<uint64_t>(SystemClock().UnixMs());
  TRY(PrintList(
      console, options.format, [&] { return WorkersJson(workers); }, "workers",
      [&] { return WorkersText(workers, console.table_width(), now); }));
  return 0;
}

Result<int> Drain(const WorkerOptions& options, Console& console) {
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  TRY(client.Drain(options.name, options.undo));
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.drain/1"}, {"worker", options.name}, {"draining", !options.undo}}));
  } else {
    TRY(console.Print(fmt::format("worker {} {}\n", options.name,
                                  options.undo ? "takes work again" : "finishes its work and takes nothing new")));
  }
  return 0;
}

}  // namespace

Run DefineWorkers(Flags& flags) {
  auto options = std::make_shared<WorkerOptions>();
  AddFormatFlag(flags, options->format);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return ListWorkers(*options, console); };
}

Run DefineDrain(Flags& flags) {
  auto options = std::make_shared<WorkerOptions>();
  flags.Argument("NAME", "the worker's name", options->name);
  flags.Toggle("--undo", "let it take work again", options->undo);
  AddCoordinatorFlag(flags, options->coordinator);
  return [options](Console& console) { return Drain(*options, console); };
}

}  // namespace hone
