#include "coordinator/http/submission.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "common/base/strings.h"
#include "common/recipe/recipe_yaml.h"

namespace hone {
namespace {

constexpr size_t kMaxName = 256;
constexpr size_t kMaxRecipe = 1 << 20;
constexpr size_t kMaxPath = 1024;
constexpr size_t kMaxFiles = 10'000;
constexpr int kMaxDepth = 16;
constexpr int64_t kMaxNumber = int64_t{1} << 53;
constexpr std::array kMembers = {"recipe", "model", "calibration", "evaluation", "name", "priority", "request"};

template <class... Arguments>
tl::unexpected<Error> Rejected(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  return Fail(ErrorCode::kRejected, fmt::format(format, std::forward<Arguments>(arguments)...),
              "docs/openapi.yaml tells what a submission holds.");
}

Result<std::string> RequiredText(const Json& object, const char* name, size_t most) {
  TRY_ASSIGN(auto text, TextMember(object, name, most));
  if (!text) return Rejected("'{}' is missing", name);
  return std::move(*text);
}

Result<proto::Bundle> ParseBundle(const Json& object, const char* what) {
  if (!object.is_object()) return Rejected("{} is no object", what);
  proto::Bundle bundle;
  TRY_ASSIGN(*bundle.mutable_format(), RequiredText(object, "format", kMaxName));
  TRY_ASSIGN(auto main, TextMember(object, "main", kMaxPath));
  bundle.set_main(main.value_or(""));
  const auto files = object.find("files");
  if (files == object.end() || !files->is_array() || files->size() > kMaxFiles)
    return Rejected("{}: 'files' is no list of at most {}", what, kMaxFiles);
  for (const Json& one : *files) {
    if (!one.is_object()) return Rejected("{}: a file is no object", what);
    proto::File& file = *bundle.add_files();
    TRY_ASSIGN(*file.mutable_path(), RequiredText(one, "path", kMaxPath));
    TRY_ASSIGN(*file.mutable_digest(), RequiredText(one, "digest", kMaxName));
    TRY_ASSIGN(const auto size, NumberMember(one, "size_bytes", 0, kMaxNumber));
    if (!size) return Rejected("{}: a file's size_bytes is missing", what);
    file.set_size_bytes(static_cast<uint64_t>(*size));
  }
  return bundle;
}

// What the submission leaves out, the recipe says: the range, and how pictures become tensors.
Result<std::optional<proto::Data>> ParseDataSet(const Json& object, const char* name, const proto::DataRange& range) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return std::nullopt;
  proto::Data data;
  TRY_ASSIGN(*data.mutable_bundle(), ParseBundle(*found, name));
  TRY_ASSIGN(const auto from, NumberMember(*found, "from", 0, kMaxNumber));
  TRY_ASSIGN(const auto samples, NumberMember(*found, "samples", 0, kMaxNumber));
  data.set_from(from ? static_cast<uint64_t>(*from) : range.from());
  data.set_samples(samples ? static_cast<uint64_t>(*samples) : range.samples());
  if (range.has_preprocess()) *data.mutable_preprocess() = range.preprocess();
  return data;
}

}  // namespace

Result<Json> ParseObject(std::string_view body) {
  if (body.empty()) return Json::object();
  bool deep = false;
  const auto look = [&](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  Json document = Json::parse(body.begin(), body.end(), look, false);
  if (document.is_discarded() || deep) return Fail(ErrorCode::kUsage, "the body is no JSON that is taken");
  if (!document.is_object()) return Fail(ErrorCode::kUsage, "the body is no JSON object");
  return document;
}

Result<std::optional<std::string>> TextMember(const Json& object, const char* name, size_t most) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) return Rejected("'{}' is no text", name);
  auto text = found->get<std::string>();
  if (text.size() > most || !IsUtf8(text) || text.find('\0') != std::string::npos)
    return Rejected("'{}' is longer than {} bytes or no text", name, most);
  return text;
}

Result<std::optional<int64_t>> NumberMember(const Json& object, const char* name, int64_t least, int64_t most) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (!found->is_number_integer()) return Rejected("'{}' is no whole number", name);
  const bool fits = found->is_number_unsigned() ? found->get<uint64_t>() <= static_cast<uint64_t>(most) : true;
  if (!fits || found->get<int64_t>() < least || found->get<int64_t>() > most)
    return Rejected("'{}' is not between {} and {}", name, least, most);
  return found->get<int64_t>();
}

Result<proto::SubmitJob> ParseSubmission(std::string_view body) {
  TRY_ASSIGN(const Json document, ParseObject(body));
  for (const auto& [name, value] : document.items()) {
    if (std::find(kMembers.begin(), kMembers.end(), name) != kMembers.end()) continue;
    return Rejected("'{}' is unknown{}", Printable(name, 80), DidYouMean(name, {kMembers.begin(), kMembers.end()}));
  }
  proto::SubmitJob submit;
  TRY_ASSIGN(const std::string recipe, RequiredText(document, "recipe", kMaxRecipe));
  TRY_ASSIGN(*submit.mutable_recipe(), ParseRecipe(recipe, "recipe"));
  if (!document.contains("model")) return Rejected("'{}' is missing", "model");
  TRY_ASSIGN(*submit.mutable_model(), ParseBundle(document["model"], "model"));
  TRY_ASSIGN(auto calibration, ParseDataSet(document, "calibration", submit.recipe().calibration()));
  TRY_ASSIGN(auto evaluation, ParseDataSet(document, "evaluation", submit.recipe().evaluation()));
  if (calibration) *submit.mutable_calibration() = std::move(*calibration);
  if (evaluation) *submit.mutable_evaluation() = std::move(*evaluation);
  TRY_ASSIGN(const auto name, TextMember(document, "name", kMaxName));
  TRY_ASSIGN(const auto request, TextMember(document, "request", kMaxName));
  TRY_ASSIGN(const auto priority, NumberMember(document, "priority", -100, 100));
  submit.set_name(name.value_or(""));
  submit.set_request(request.value_or(""));
  submit.set_priority(static_cast<int32_t>(priority.value_or(0)));
  return submit;
}

}  // namespace hone
