#include "client/nightly/record.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/artifact/bundle.h"
#include "common/recipe/value.h"

namespace hone {

std::string NightArtifact::Identity() const {
  return fmt::format(
      "{} {} {}", BundleId(model), backend,
      CanonicalParameters(google::protobuf::RepeatedPtrField<proto::Parameter>(settings.begin(), settings.end())));
}

bool IsFinding(NightVerdict verdict) {
  return verdict == NightVerdict::regression || verdict == NightVerdict::improvement;
}

int NightExitCode(const std::vector<SeriesResult>& results) {
  constexpr std::pair<NightVerdict, ErrorCode> kWorstFirst[] = {{NightVerdict::regression, ErrorCode::kNo},
                                                                {NightVerdict::error, ErrorCode::kFailed},
                                                                {NightVerdict::environment, ErrorCode::kEnvironment},
                                                                {NightVerdict::inconclusive, ErrorCode::kUnsure}};
  if (results.empty()) return ExitCode(ErrorCode::kUnsure);
  for (const auto& [verdict, code] : kWorstFirst) {
    const auto counts = [wanted = verdict](const SeriesResult& result) {
      return !result.muted && result.judgement.verdict == wanted;
    };
    if (std::any_of(results.begin(), results.end(), counts)) return ExitCode(code);
  }
  return 0;
}

}  // namespace hone
