// Olive's command lines as configurations: `hone olive auto-opt ...` builds the run configuration that Olive's own
// command would, and imports it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/importers/config_tree.h"

namespace hone::importers {

// What a flag takes.
enum class OliveFlagKind { text, list, toggle };

struct OliveFlag {
  const char* names;  // As the flags library takes them: "-m,--model_name_or_path".
  OliveFlagKind kind;
  const char* meta;
  const char* help;
  const char* forms;    // Of which forms it is one: "run auto-opt optimize".
  const char* without;  // Why hone needs nothing of it; "" for a flag that has an effect.
};
const std::vector<OliveFlag>& OliveFlags();

// The long name without dashes: "model_name_or_path".
std::string KeyOf(const OliveFlag& flag);

// Olive's forms: those that hone runs, and those that it refuses with what to do instead.
struct OliveForm {
  const char* name;
  const char* output;   // Olive's default folder.
  const char* instead;  // Of a refused form; "" for one that runs.
};
const std::vector<OliveForm>& OliveForms();

// The flags given, by key; a toggle has an empty list.
using OliveArguments = std::map<std::string, std::vector<std::string>>;

// kUsage: an unknown form, a flag of another form, a value that Olive would not take. kRejected for a precision or
// algorithm that nothing here serves, with those that are served.
Result<> CheckArguments(const std::string& form, const OliveArguments& arguments);
// The configuration of a form other than run; numbered.
Result<ConfigNode> ConfigurationOf(const std::string& form, const OliveArguments& arguments, bool has_data);

}  // namespace hone::importers
