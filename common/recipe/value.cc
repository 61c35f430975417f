// One rule keeps "equal" and "same bytes" together: a number that is integral and fits 64 bits is written as an
// integer, whichever kind holds it, so 1 and 1.0 are equal and both read "1". Other reals are written in the shortest
// form that reads back equal.
#include "common/recipe/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/digest.h"
#include "common/base/strings.h"

namespace hone {
namespace {

using Parameters = google::protobuf::RepeatedPtrField<proto::Parameter>;
using Json = nlohmann::json;

constexpr size_t kMaxValueBytes = 4096;
constexpr size_t kMaxCandidateBytes = 1 << 20;
constexpr double kInt64End = 9223372036854775808.0;  // The first double beyond.

bool IsGiven(const proto::Value& value) { return value.kind_case() != proto::Value::KIND_NOT_SET; }

bool IsNumber(const proto::Value& value) {
  return value.kind_case() == proto::Value::kInteger || value.kind_case() == proto::Value::kReal;
}

// The integer that a number is, if it is one.
std::optional<int64_t> IntegerIn(const proto::Value& value) {
  if (value.kind_case() == proto::Value::kInteger) return value.integer();
  const double real = value.real();
  const bool fits = std::trunc(real) == real && real >= -kInt64End && real < kInt64End;
  return fits ? std::optional(static_cast<int64_t>(real)) : std::nullopt;
}

std::string ShortestReal(double real) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), real);
  CHECK_THAT(error == std::errc());
  return {text.data(), end};
}

// JSON has no words for infinities and NaN; CheckValue refuses them, and here they are texts.
std::string ToJson(const proto::Value& value) {
  const bool finite = value.kind_case() != proto::Value::kReal || std::isfinite(value.real());
  if (value.kind_case() != proto::Value::kText && finite) return ToText(value);
  return Json(ToText(value)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string JsonText(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Those given, ordered by name; of repeated names the first, as Find sees it.
std::vector<const proto::Parameter*> Ordered(const Parameters& parameters) {
  std::vector<const proto::Parameter*> ordered;
  for (const proto::Parameter& parameter : parameters) {
    if (IsGiven(parameter.value())) ordered.push_back(&parameter);
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) { return a->name() < b->name(); });
  ordered.erase(
      std::unique(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) { return a->name() == b->name(); }),
      ordered.end());
  return ordered;
}

Error MalformedCandidate(const std::string& cause) {
  return Error{ErrorCode::kRejected, fmt::format("read a candidate: {}", cause)};
}

Result<proto::Value> ValueFromJson(const Json& json, const std::string& name) {
  if (json.is_boolean()) return BoolValue(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return RealValue(json.get<double>());
  }
  if (json.is_number_integer()) return IntValue(json.get<int64_t>());
  if (json.is_number_float()) return RealValue(json.get<double>());
  if (json.is_string()) return TextValue(json.get<std::string>());
  return Fail(MalformedCandidate(
      fmt::format("the value of '{}' is neither a boolean, a number nor a text", Printable(name, 80))));
}

Result<> ParametersFromJson(const Json& json, Parameters& parameters) {
  if (!json.is_object()) return Fail(MalformedCandidate("parameters are not an object"));
  for (const auto& [name, value] : json.items()) {
    proto::Parameter& parameter = *parameters.Add();
    parameter.set_name(name);
    TRY_ASSIGN(*parameter.mutable_value(), ValueFromJson(value, name));
  }
  return {};
}

// Exactly these members, no more.
Result<> CheckMembers(const Json& json, const std::vector<std::string>& names, const std::string& what) {
  if (!json.is_object()) return Fail(MalformedCandidate(what + " is not an object"));
  for (const std::string& name : names) {
    if (!json.contains(name)) return Fail(MalformedCandidate(fmt::format("{} has no '{}'", what, name)));
  }
  for (const auto& [name, value] : json.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Fail(MalformedCandidate(fmt::format("{} has an unknown member '{}'", what, Printable(name, 80))));
    }
  }
  return {};
}

Result<proto::PassStep> StepFromJson(const Json& json) {
  TRY(CheckMembers(json, {"params", "pass"}, "a step"));
  if (!json["pass"].is_string()) return Fail(MalformedCandidate("the pass of a step is not a text"));
  proto::PassStep step;
  step.set_pass(json["pass"].get<std::string>());
  TRY(ParametersFromJson(json["params"], *step.mutable_parameters()));
  return step;
}

// "(a=1, b=2)" or "".
std::string InParentheses(const Parameters& parameters) {
  std::vector<std::string> words;
  for (const proto::Parameter* parameter : Ordered(parameters))
    words.push_back(parameter->name() + "=" + ToText(parameter->value()));
  return words.empty() ? "" : fmt::format("({})", Join(words, ", "));
}

struct TypeRow {
  proto::ParameterInfo::Type type;
  proto::Value::KindCase kind;
  std::string_view name;
};
constexpr TypeRow kTypes[] = {
    {proto::ParameterInfo::BOOLEAN, proto::Value::kBoolean, "true or false"},
    {proto::ParameterInfo::INTEGER, proto::Value::kInteger, "an integer"},
    {proto::ParameterInfo::REAL, proto::Value::kReal, "a number"},
    {proto::ParameterInfo::TEXT, proto::Value::kText, "a text"},
};

bool HasType(const proto::Value& value, const TypeRow& row) {
  return value.kind_case() == row.kind ||
         (row.type == proto::ParameterInfo::REAL && value.kind_case() == proto::Value::kInteger);
}

// -1, 0, 1 for two numbers, exact where both are integers.
int CompareNumbers(const proto::Value& a, const proto::Value& b) {
  const auto left = IntegerIn(a);
  const auto right = IntegerIn(b);
  if (left && right) return *left < *right ? -1 : *left > *right ? 1 : 0;
  const double x = RealOf(a);
  const double y = RealOf(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

std::vector<std::string> Texts(const google::protobuf::RepeatedPtrField<proto::Value>& values) {
  std::vector<std::string> texts;
  for (const proto::Value& value : values) texts.push_back(ToText(value));
  return texts;
}

// "at least 1 and at most 8".
std::string Bounds(const proto::ParameterInfo& info) {
  std::vector<std::string> bounds;
  if (IsGiven(info.minimum())) bounds.push_back("at least " + ToText(info.minimum()));
  if (IsGiven(info.maximum())) bounds.push_back("at most " + ToText(info.maximum()));
  return Join(bounds, " and ");
}

bool IsWithin(const proto::ParameterInfo& info, const proto::Value& value) {
  const bool low = IsNumber(info.minimum()) && CompareNumbers(value, info.minimum()) < 0;
  const bool high = IsNumber(info.maximum()) && CompareNumbers(value, info.maximum()) > 0;
  return !low && !high;
}

bool AllDigits(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// YAML 1.2's core schema: 12, -3, 0o17, 0x1f.
std::optional<int64_t> YamlInteger(std::string_view text) {
  struct Base {
    std::string_view prefix;
    std::string_view digits;
    int base;
  };
  constexpr Base kBases[] = {{"0o", "01234567", 8}, {"0x", "0123456789abcdefABCDEF", 16}};
  int base = 10;
  for (const Base& row : kBases) {
    if (!text.starts_with(row.prefix) || !AllDigits(text.substr(row.prefix.size()), row.digits)) continue;
    text.remove_prefix(row.prefix.size());
    base = row.base;
  }
  if (base == 10) {
    if (!AllDigits(text.starts_with('+') || text.starts_with('-') ? text.substr(1) : text, "0123456789"))
      return std::nullopt;
    if (text.front() == '+') text.remove_prefix(1);
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::optional<double> YamlReal(std::string_view text) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Word {
    std::string_view text;
    double value;
  };
  constexpr Word kWords[] = {{".inf", kInfinity},
                             {".Inf", kInfinity},
                             {".INF", kInfinity},
                             {".nan", std::numeric_limits<double>::quiet_NaN()},
                             {".NaN", std::numeric_limits<double>::quiet_NaN()},
                             {".NAN", std::numeric_limits<double>::quiet_NaN()}};
  const bool negative = text.starts_with('-');
  const std::string_view unsigned_text = negative || text.starts_with('+') ? text.substr(1) : text;
  for (const Word& word : kWords) {
    if (unsigned_text == word.text) return negative ? -word.value : word.value;
  }
  // What from_chars takes beyond YAML's numbers are words: inf, nan. A second sign is none of YAML's either.
  const bool begins =
      !unsigned_text.empty() && (unsigned_text[0] == '.' || (unsigned_text[0] >= '0' && unsigned_text[0] <= '9'));
  if (!begins) return std::nullopt;
  const auto real = ParseReal(unsigned_text);
  if (!real) return std::nullopt;
  return negative ? -*real : *real;
}

}  // namespace

proto::Value BoolValue(bool boolean) {
  proto::Value value;
  value.set_boolean(boolean);
  return value;
}

proto::Value IntValue(int64_t integer) {
  proto::Value value;
  value.set_integer(integer);
  return value;
}

proto::Value RealValue(double real) {
  proto::Value value;
  value.set_real(real);
  return value;
}

proto::Value TextValue(std::string text) {
  proto::Value value;
  value.set_text(std::move(text));
  return value;
}

double RealOf(const proto::Value& value) {
  CHECK_THAT(IsNumber(value));
  return value.kind_case() == proto::Value::kInteger ? static_cast<double>(value.integer()) : value.real();
}

std::string ToText(const proto::Value& value) {
  switch (value.kind_case()) {
    case proto::Value::kBoolean: return value.boolean() ? "true" : "false";
    case proto::Value::kInteger: return fmt::format("{}", value.integer());
    case proto::Value::kReal: {
      const auto integer = IntegerIn(value);
      return integer ? fmt::format("{}", *integer) : ShortestReal(value.real());
    }
    case proto::Value::kText: return value.text();
    case proto::Value::KIND_NOT_SET: break;
  }
  return "";
}

bool Equal(const proto::Value& a, const proto::Value& b) {
  if (IsNumber(a) && IsNumber(b)) {
    const auto left = IntegerIn(a);
    const auto right = IntegerIn(b);
    if (left || right) return left == right;
    return a.real() == b.real() || (std::isnan(a.real()) && std::isnan(b.real()));
  }
  if (a.kind_case() != b.kind_case()) return false;
  switch (a.kind_case()) {
    case proto::Value::kBoolean: return a.boolean() == b.boolean();
    case proto::Value::kText: return a.text() == b.text();
    default: return true;   // Neither is given.
  }
}

proto::Value ParseValue(std::string_view text) {
  constexpr std::string_view kTrue[] = {"true", "True", "TRUE"};
  constexpr std::string_view kFalse[] = {"false", "False", "FALSE"};
  if (std::find(std::begin(kTrue), std::end(kTrue), text) != std::end(kTrue)) return BoolValue(true);
  if (std::find(std::begin(kFalse), std::end(kFalse), text) != std::end(kFalse)) return BoolValue(false);
  if (const auto integer = YamlInteger(text)) return IntValue(*integer);
  if (const auto real = YamlReal(text)) return RealValue(*real);
  return TextValue(std::string(text));
}

std::string CanonicalParameters(const Parameters& parameters) {
  std::vector<std::string> members;
  for (const proto::Parameter* parameter : Ordered(parameters)) {
    members.push_back(JsonText(parameter->name()) + ":" + ToJson(parameter->value()));
  }
  return "{" + Join(members, ",") + "}";
}

std::string CanonicalCandidate(const proto::Candidate& candidate) {
  std::vector<std::string> steps;
  for (const proto::PassStep& step : candidate.pipeline()) {
    steps.push_back(
        fmt::format(R"({{"params":{},"pass":{}}})", CanonicalParameters(step.parameters()), JsonText(step.pass())));
  }
  return fmt::format(R"({{"backend":{},"pipeline":[{}],"settings":{}}})", JsonText(candidate.backend()),
                     Join(steps, ","), CanonicalParameters(candidate.settings()));
}

Result<proto::Candidate> ParseCanonicalCandidate(std::string_view text) {
  if (text.size() > kMaxCandidateBytes)
    return Fail(MalformedCandidate(fmt::format("it is larger than {} bytes", kMaxCandidateBytes)));
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return Fail(MalformedCandidate("it is not JSON"));
  TRY(CheckMembers(json, {"backend", "pipeline", "settings"}, "the candidate"));
  if (!json["backend"].is_string()) return Fail(MalformedCandidate("the backend is not a text"));
  if (!json["pipeline"].is_array()) return Fail(MalformedCandidate("the pipeline is not a list"));
  proto::Candidate candidate;
  candidate.set_backend(json["backend"].get<std::string>());
  for (const Json& step : json["pipeline"]) {
    TRY_ASSIGN(*candidate.add_pipeline(), StepFromJson(step));
  }
  TRY(ParametersFromJson(json["settings"], *candidate.mutable_settings()));
  return candidate;
}

std::string CandidateText(const proto::Candidate& candidate) {
  std::vector<std::string> steps;
  for (const proto::PassStep& step : candidate.pipeline())
    steps.push_back(step.pass() + InParentheses(step.parameters()));
  return fmt::format("{} on {}{}", steps.empty() ? "original" : Join(steps, " + "), candidate.backend(),
                     InParentheses(candidate.settings()));
}

const proto::Value* Find(const Parameters& parameters, std::string_view name) {
  for (const proto::Parameter& parameter : parameters) {
    if (parameter.name() == name && IsGiven(parameter.value())) return &parameter.value();
  }
  return nullptr;
}

Result<> CheckValue(const proto::ParameterInfo& info, const proto::Value& value, std::string_view owner) {
  const auto refuse = [&](const std::string& cause, const std::string& remedy = {}) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: parameter '{}' {}", owner, info.name(), cause), remedy);
  };
  const std::string shown = Printable(ToText(value), 200);
  if (!IsGiven(value)) return refuse("has no value");
  const auto row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [&](const TypeRow& candidate) { return candidate.type == info.type(); });
  if (row == std::end(kTypes)) return refuse("is declared without a type");
  if (!HasType(value, *row)) return refuse(fmt::format("must be {}, not '{}'", row->name, shown), info.help());
  if (value.kind_case() == proto::Value::kReal && !std::isfinite(value.real()))
    return refuse("must be a finite number");
  if (value.kind_case() == proto::Value::kText && value.text().size() > kMaxValueBytes) {
    return refuse(fmt::format("has more than {} bytes of text", kMaxValueBytes));
  }
  const auto is_value = [&](const proto::Value& choice) { return Equal(choice, value); };
  if (!info.choices().empty() && std::none_of(info.choices().begin(), info.choices().end(), is_value)) {
    const std::vector<std::string> choices = Texts(info.choices());
    return refuse(
        fmt::format("is '{}'; it must be one of {}{}", shown, Join(choices, ", "), DidYouMean(shown, choices)),
        info.help());
  }
  if (IsNumber(value) && !IsWithin(info, value))
    return refuse(fmt::format("is {}; it must be {}", shown, Bounds(info)), info.help());
  return {};
}

const proto::ParameterInfo* FindInfo(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                                     std::string_view name) {
  const auto find = [&](std::string_view wanted, bool per_group) -> const proto::ParameterInfo* {
    const auto info = std::find_if(infos.begin(), infos.end(), [&](const auto& one) {
      return one.name() == wanted && one.per_group() == per_group;
    });
    return info == infos.end() ? nullptr : &*info;
  };
  if (const proto::ParameterInfo* info = find(name, false)) return info;
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return nullptr;
  const std::string_view group = name.substr(dot + 1);
  const bool number = !group.empty() && group.size() <= 4 &&
                      group.find_first_not_of("0123456789") == std::string_view::npos &&
                      (group == "0" || group[0] != '0');
  return number ? find(name.substr(0, dot), true) : nullptr;
}

Result<> CheckParameters(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                         const Parameters& parameters, std::string_view owner) {
  std::vector<std::string> seen;
  for (const proto::Parameter& parameter : parameters) {
    const std::string shown = Printable(parameter.name(), 80);
    const proto::ParameterInfo* info = FindInfo(infos, parameter.name());
    if (info == nullptr) {
      std::vector<std::string> names;
      for (const proto::ParameterInfo& known : infos) names.push_back(known.name());
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} has no parameter '{}'{}", owner, shown, DidYouMean(parameter.name(), names)),
                  names.empty() ? "It takes no parameters" : fmt::format("It knows {}", Join(names, ", ")));
    }
    if (std::find(seen.begin(), seen.end(), parameter.name()) != seen.end()) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: parameter '{}' is given twice", owner, shown));
    }
    seen.push_back(parameter.name());
    TRY(CheckValue(*info, parameter.value(), owner));
  }
  return {};
}

bool TermHolds(const proto::Impossible::Term& term, const proto::Value& value) {
  if (value.kind_case() == proto::Value::KIND_NOT_SET) return false;
  const auto same = [&](const proto::Value& one) { return Equal(one, value); };
  if (std::any_of(term.values().begin(), term.values().end(), same)) return true;
  return term.has_below() && RealOf(value) < RealOf(term.below());
}

Result<> CheckTogether(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules,
                       const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                       const Parameters& parameters, std::string_view owner) {
  const auto holds = [&](const proto::Impossible::Term& term) {
    // Of a parameter for groups of layers: for all groups that are given.
    size_t groups = 0;
    for (const proto::Parameter& parameter : parameters) {
      const proto::ParameterInfo* info = FindInfo(infos, parameter.name());
      if (info == nullptr || !info->per_group() || info->name() != term.parameter()) continue;
      if (!TermHolds(term, parameter.value())) return false;
      ++groups;
    }
    if (groups > 0) return true;
    if (const proto::Value* given = Find(parameters, term.parameter())) return TermHolds(term, *given);
    const proto::ParameterInfo* info = FindInfo(infos, term.parameter());
    return info != nullptr && TermHolds(term, info->default_value());
  };
  for (const proto::Impossible& rule : rules) {
    // Which backend and which machine it will be is for the search to know.
    if (!rule.backends().empty() || !rule.without().empty()) continue;
    if (!std::all_of(rule.terms().begin(), rule.terms().end(), holds)) continue;
    return Fail(ErrorCode::kRejected, fmt::format("{}: {}", owner, rule.reason()),
                "`hone passes NAME` tells which values go together");
  }
  return {};
}

std::string BuildKey(const proto::PassInfo& pass, const std::string& input_bundle_id, const proto::PassStep& step,
                     const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs,
                     const std::string& calibration_digest, uint64_t seed) {
  std::vector<std::string> pins;
  for (const proto::InputShape& input : inputs) {
    std::vector<std::string> dims;
    for (const int64_t dim : input.dims()) dims.push_back(fmt::format("{}", dim));
    pins.push_back(fmt::format("{}:[{}]", JsonText(input.name()), Join(dims, ",")));
  }
  std::sort(pins.begin(), pins.end());
  std::string text =
      fmt::format(R"({{"input":{},"pass":{},"version":{},"params":{},"pins":{{{}}})", JsonText(input_bundle_id),
                  JsonText(pass.name()), pass.version(), CanonicalParameters(step.parameters()), Join(pins, ","));
  if (!pass.program_version().empty()) text += fmt::format(R"(,"program":{})", JsonText(pass.program_version()));
  if (pass.needs_calibration() || pass.takes_calibration())
    text += fmt::format(R"(,"calibration":{},"seed":{})", JsonText(calibration_digest), seed);
  return DigestOf(text + "}");
}

}  // namespace hone
