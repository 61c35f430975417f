// hone completion, and the hidden hone __complete that its scripts call at each press of Tab.
#include "client/completion.h"

#include <memory>

#include "client/command.h"
#include "client/configuration.h"
#include "client/remote.h"
#include "client/text_output.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// Nobody waits for a Tab: a coordinator that is not there at once is not asked.
constexpr std::chrono::milliseconds kPatience{50};
constexpr uint32_t kJobsShown = 20;

std::vector<Completions::Word> JobWords(Client& client) {
  std::vector<Completions::Word> words;
  const auto jobs = client.Jobs(kJobsShown);
  if (!jobs) return words;
  for (const proto::JobSummary& job : *jobs) {
    words.push_back(
        {std::to_string(job.job()), fmt::format("{}, {}", Printable(job.name(), 60), StateName(job.state()))});
  }
  return words;
}

std::vector<Completions::Word> WorkerWords(Client& client) {
  std::vector<Completions::Word> words;
  const auto workers = client.Workers();
  if (!workers) return words;
  for (const proto::WorkerSummary& worker : *workers) words.push_back({Printable(worker.name(), 100), worker.state()});
  return words;
}

std::vector<Completions::Word> CatalogueWords(Client& client, bool passes) {
  std::vector<Completions::Word> words;
  const auto catalogue = client.Catalogue();
  if (!catalogue) return words;
  if (passes) {
    for (const proto::PassInfo& pass : catalogue->passes())
      words.push_back({pass.name(), Printable(pass.summary(), 100)});
  } else {
    for (const proto::BackendInfo& backend : catalogue->backends())
      words.push_back({backend.name(), backend.version()});
  }
  return words;
}

std::vector<Completions::Word> LookUp(const std::string& what) {
  if (what == "contexts") {
    std::vector<Completions::Word> words;
    const auto contexts = ListContexts(TheConfiguration().places());
    if (!contexts) return words;
    for (const ContextInfo& context : *contexts) words.push_back({context.name, context.coordinator});
    return words;
  }
  auto client = DialCoordinator({});
  if (!client || !client->Ping(kPatience)) return {};
  if (what == "jobs") return JobWords(*client);
  if (what == "workers") return WorkerWords(*client);
  return CatalogueWords(*client, what == "passes");
}

Result<int> PrintScript(const std::string& shell, Console& console) {
  TRY_ASSIGN(const std::string script, CompletionScript(shell));
  if (console.json) {
    TRY(console.PrintJson({{"schema", "hone.completion/1"}, {"shell", shell}, {"script", script}}));
  } else {
    TRY(console.Print(script));
  }
  return 0;
}

}  // namespace

Result<int> RunComplete(const std::vector<std::string>& words, Console& console) {
  if (auto configuration = Configuration::Load(ConfigurationPlaces::Find()))
    SetTheConfiguration(std::move(*configuration));
  const Completions completions = Complete(words, LookUp);
  std::string text;
  for (const Completions::Word& word : completions.words)
    text += word.word + (word.help.empty() ? "" : "\t" + word.help) + "\n";
  if (completions.files) text += ":files\n";
  TRY(console.Print(text));
  return 0;
}

Run DefineCompletion(Flags& flags) {
  auto shell = std::make_shared<std::string>();
  flags.Argument("SHELL", "bash, zsh or fish", *shell);
  flags.Choose({"bash", "zsh", "fish"});
  return [shell](Console& console) { return PrintScript(*shell, console); };
}

}  // namespace hone
