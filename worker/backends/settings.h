// Declarations of backends' settings, and the words for what runtimes say.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/value.pb.h"
#include "proto/work.pb.h"

namespace hone {

// nullopt as default: the runtime decides.
proto::ParameterInfo BoolSetting(const char* name, std::optional<bool> otherwise, const char* help);
proto::ParameterInfo IntSetting(const char* name, int64_t minimum, int64_t maximum, const char* help);
proto::ParameterInfo ChoiceSetting(const char* name, const std::vector<int64_t>& choices, const char* help);
// A share in [0, 1], unset by default.
proto::ParameterInfo ShareSetting(const char* name, const char* help);
proto::ParameterInfo TextSetting(const char* name, const char* otherwise, const std::vector<std::string>& choices,
                                 const char* help);

// The value given, else the declared default, else nullopt.
std::optional<proto::Value> SettingValue(const proto::ParameterInfo& info,
                                         const google::protobuf::RepeatedPtrField<proto::Parameter>& settings);

// kRejected unless the backend loads this model format.
Result<> CheckFormat(const proto::BackendInfo& info, std::string_view format);

// The file to open of a model. kNotFound if it is not there. Runtimes open external data by themselves, so they are
// given only what passed our own checks: kRejected where such a file is no part of the bundle, is reached through a
// link, or is too short.
Result<std::filesystem::path> MainFile(const proto::LocalBundle& model);

// What a runtime threw, as an error of ours: kExhausted where its text tells of missing memory, else `code`; on one
// line, made safe to print.
Error RuntimeError(ErrorCode code, std::string_view attempt, std::string_view text);

// The one place where the engines' exceptions end.
template <class Body>
auto CallEngine(ErrorCode code, std::string_view attempt, Body&& body) -> Result<decltype(body())> {
  try {
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return {};
    } else {
      return body();
    }
  } catch (const std::bad_alloc&) {
    return Fail(RuntimeError(code, attempt, "std::bad_alloc"));
  } catch (const std::exception& thrown) {
    return Fail(RuntimeError(code, attempt, thrown.what()));
  }
}

// Orders operators by their time and notes how many inferences (at least one) there were, with their median.
void FinishProfile(const std::vector<double>& run_ms, proto::Profile& profile);

// Counts by operator type, precision and kernel into an Execution, most frequent first, then by name.
class KernelCounts {
 public:
  void Add(const std::string& type, const std::string& precision, const std::string& kernel);
  void Write(proto::Execution& execution) const;

 private:
  std::vector<proto::Execution::Kernel> kernels_;
};

}  // namespace hone
