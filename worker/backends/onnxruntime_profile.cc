// The profile is a list of events in the format of chrome://tracing: one of category "Session" and name "model_run" for
// each inference, and one of category "Node" for each run of an operator, named after its node, with its start and
// duration in microseconds.
#include "worker/backends/onnxruntime_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/backends/settings.h"

namespace hone {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxProfileBytes = uint64_t{1} << 30;
constexpr std::string_view kNodeEnding = "_kernel_time";

struct Event {
  std::string category;
  std::string name;
  double start_us = 0;
  double duration_us = 0;
  std::string op;
  std::string type;  // Of the first input; "" without one.
};

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double NumberOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

// "input_type_shape": [{"float": [1, 3, 48, 192]}, ...]
std::string FirstInputType(const Json& arguments) {
  const auto shapes = arguments.find("input_type_shape");
  if (shapes == arguments.end() || !shapes->is_array() || shapes->empty()) return "";
  const Json& first = shapes->front();
  return first.is_object() && !first.empty() ? first.begin().key() : "";
}

Event ReadEvent(const Json& entry) {
  Event event{TextOf(entry, "cat"), TextOf(entry, "name"), NumberOf(entry, "ts"), NumberOf(entry, "dur"), {}, {}};
  const auto arguments = entry.find("args");
  if (arguments == entry.end() || !arguments->is_object()) return event;
  event.op = TextOf(*arguments, "op_name");
  event.type = FirstInputType(*arguments);
  return event;
}

struct Events {
  std::vector<Event> runs;  // By start.
  std::vector<Event> nodes;
};

Result<Events> ReadEvents(const std::filesystem::path& file) {
  TRY_ASSIGN(const std::string text, ReadFile(file, kMaxProfileBytes));
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_array())
    return Fail(ErrorCode::kFailed, fmt::format("read the profile {}: it is no list of events", file.string()));
  Events events;
  for (const Json& entry : document) {
    if (!entry.is_object()) continue;
    Event event = ReadEvent(entry);
    if (event.category == "Session" && event.name == "model_run")
      events.runs.push_back(std::move(event));
    else if (event.category == "Node" && event.name.ends_with(kNodeEnding))
      events.nodes.push_back(std::move(event));
  }
  std::sort(events.runs.begin(), events.runs.end(),
            [](const Event& a, const Event& b) { return a.start_us < b.start_us; });
  return events;
}

}  // namespace

Result<proto::Profile> ReadOnnxProfile(const std::filesystem::path& file, uint32_t skipped,
                                       const std::map<std::string, NodeForm>& forms) {
  TRY_ASSIGN(Events events, ReadEvents(file));
  if (events.runs.size() <= skipped) {
    return Fail(ErrorCode::kFailed,
                fmt::format("read the profile {}: it tells of {} inferences", file.string(), events.runs.size()));
  }
  const double begin_us = events.runs[skipped].start_us;
  const double runs = static_cast<double>(events.runs.size() - skipped);
  proto::Profile profile;
  std::map<std::string, int> places;
  for (const Event& event : events.nodes) {
    if (event.start_us < begin_us) continue;
    const std::string name = event.name.substr(0, event.name.size() - kNodeEnding.size());
    const auto [place, added] = places.emplace(name, profile.operators_size());
    proto::OperatorTime& row = added ? *profile.add_operators() : *profile.mutable_operators(place->second);
    if (added) {
      const auto form = forms.find(name);
      row.set_name(ToUtf8(name));
      row.set_type(ToUtf8(event.op));
      row.set_precision(form != forms.end() ? form->second.precision : PrecisionOfTypeWord(event.type));
      row.set_kernel(form != forms.end() ? form->second.kernel : "cpu");
    }
    row.set_ms(row.ms() + event.duration_us / 1000 / runs);
    row.set_calls(row.calls() + 1 / runs);
  }
  std::vector<double> run_ms;
  for (size_t i = skipped; i < events.runs.size(); ++i) run_ms.push_back(events.runs[i].duration_us / 1000);
  FinishProfile(run_ms, profile);
  return profile;
}

}  // namespace hone
