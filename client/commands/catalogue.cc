// hone inspect, passes, backends: what a model holds and what this machine can do with it.
#include <fmt/format.h>

#include <memory>

#include "client/command.h"
#include "client/local_task.h"
#include "client/model_file.h"
#include "client/recipe_flags.h"
#include "client/remote.h"
#include "client/text_output.h"
#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"

namespace hone {
namespace {

struct CatalogueOptions {
  std::string word;
  CoordinatorFlags coordinator;   // No endpoint: this machine.
};

Result<proto::Catalogue> CatalogueOf(const CatalogueOptions& options) {
  if (options.coordinator.endpoint.empty()) return LocalCatalogue();
  TRY_ASSIGN(Client client, ConnectTo(options.coordinator));
  return client.Catalogue();
}

void AddFleetFlag(Flags& flags, CatalogueOptions& options) {
  flags.Text("--coordinator", "EP", "what the fleet at EP can do, instead of this machine",
             options.coordinator.endpoint);
  AddKeysFlag(flags, options.coordinator);
}

Result<int> Inspect(const CatalogueOptions& options, Console& console) {
  TRY_ASSIGN(const ModelFile model, OpenModel(options.word));
  TRY(console.json ? console.PrintJson(InspectJson(options.word, model.info))
                   : console.Print(InspectText(options.word, model.info)));
  return 0;
}

Result<int> Passes(const CatalogueOptions& options, Console& console) {
  TRY_ASSIGN(const proto::Catalogue catalogue, CatalogueOf(options));
  if (options.word.empty()) {
    TRY(console.json ? console.PrintJson(PassesJson(catalogue))
                     : console.Print(PassesText(catalogue, console.table_width())));
    return 0;
  }
  const proto::PassInfo* pass = FindPassInfo(catalogue, options.word);
  if (pass == nullptr) {
    std::vector<std::string> names;
    for (const proto::PassInfo& known : catalogue.passes()) names.push_back(known.name());
    return Fail(ErrorCode::kNotFound,
                fmt::format("there is no pass '{}'{}", Printable(options.word, 100),
                            DidYouMean(WordKind::pass, options.word, names)),
                "there are " + Join(names, ", "));
  }
  Json document = {{"schema", "hone.pass/1"}};
  document.update(PassJson(*pass));
  TRY(console.json ? console.PrintJson(document) : console.Print(PassText(*pass)));
  return 0;
}

Result<int> Backends(const CatalogueOptions& options, Console& console) {
  TRY_ASSIGN(const proto::Catalogue catalogue, CatalogueOf(options));
  TRY(console.json ? console.PrintJson(BackendsJson(catalogue)) : console.Print(BackendsText(catalogue)));
  return 0;
}

}  // namespace

Run DefineInspect(Flags& flags) {
  auto options = std::make_shared<CatalogueOptions>();
  flags.Argument("MODEL", "the model", options->word);
  return [options](Console& console) { return Inspect(*options, console); };
}

Run DefinePasses(Flags& flags) {
  auto options = std::make_shared<CatalogueOptions>();
  flags.OptionalArgument("NAME", "one pass, with its parameters", options->word);
  AddFleetFlag(flags, *options);
  return [options](Console& console) { return Passes(*options, console); };
}

Run DefineBackends(Flags& flags) {
  auto options = std::make_shared<CatalogueOptions>();
  AddFleetFlag(flags, *options);
  return [options](Console& console) { return Backends(*options, console); };
}

}  // namespace hone
