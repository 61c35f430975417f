#include "client/step_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "client/recipe_flags.h"
#include "client/sensitivity_file.h"
#include "common/base/strings.h"
#include "common/recipe/foreign_words.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

// A number for a parameter of text ("streams: 1") stays text.
proto::Value TypedValue(const std::string& text, const std::string& name,
                        const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos) {
  for (const proto::ParameterInfo& info : infos) {
    if (info.name() == name && info.type() == proto::ParameterInfo::TEXT) return TextValue(text);
  }
  return ParseValue(text);
}

}  // namespace

Result<Parameters> ParseSettings(const std::vector<std::string>& words,
                                 const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                                 const std::string& owner) {
  Parameters parameters;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      return Fail(ErrorCode::kUsage, fmt::format("{}: '{}' is no key=value", owner, Printable(word, 100)));
    }
    proto::Parameter& parameter = *parameters.Add();
    parameter.set_name(word.substr(0, equals));
    *parameter.mutable_value() = TypedValue(word.substr(equals + 1), parameter.name(), infos);
  }
  std::sort(parameters.begin(), parameters.end(),
            [](const proto::Parameter& a, const proto::Parameter& b) { return a.name() < b.name(); });
  for (int i = 1; i < parameters.size(); ++i) {
    if (parameters[i].name() == parameters[i - 1].name()) {
      return Fail(ErrorCode::kUsage, fmt::format("{}: {} is given twice", owner, parameters[i].name()));
    }
  }
  TRY(CheckParameters(infos, parameters, owner));
  return parameters;
}

Result<proto::PassStep> ParsePass(const std::string& word, const proto::Catalogue& catalogue) {
  const size_t colon = word.find(':');
  proto::PassStep step;
  step.set_pass(word.substr(0, colon));
  const proto::PassInfo* pass = FindPassInfo(catalogue, step.pass());
  if (pass == nullptr) {
    std::vector<std::string> names;
    for (const proto::PassInfo& known : catalogue.passes()) names.push_back(known.name());
    return Fail(ErrorCode::kRejected,
                fmt::format("unknown pass '{}'{}", Printable(step.pass(), 100),
                            DidYouMean(WordKind::pass, step.pass(), names)),
                "there are " + Join(names, ", "));
  }
  if (colon == std::string::npos) return step;
  std::vector<std::string> words = Split(std::string_view(word).substr(colon + 1), ',');
  TRY(FillExclusions(step.pass(), words));
  TRY_ASSIGN(*step.mutable_parameters(), ParseSettings(words, pass->parameters(), step.pass()));
  return step;
}

Result<std::string> ChainFormats(const std::vector<proto::PassStep>& steps, const proto::Catalogue& catalogue,
                                 std::string format) {
  for (const proto::PassStep& step : steps) {
    const proto::PassInfo* pass = FindPassInfo(catalogue, step.pass());
    if (pass == nullptr) return Fail(ErrorCode::kRejected, fmt::format("unknown pass '{}'", step.pass()));
    const bool takes = std::find(pass->accepts().begin(), pass->accepts().end(), format) != pass->accepts().end();
    if (pass->accepts_size() > 0 && !takes) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} takes {}, but is given {}", step.pass(),
                              Join({pass->accepts().begin(), pass->accepts().end()}, " or "), format));
    }
    if (!pass->produces().empty()) format = pass->produces();
  }
  return format;
}

bool LooksLikePass(const std::string& word) {
  const std::string name = word.substr(0, word.find(':'));
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(),
                                                  [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
  std::error_code failure;
  return plain && !std::filesystem::exists(word, failure);
}

}  // namespace hone
