// The lines of `hone fsck --log`: what clients and workers were told is so.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "proto/wire.pb.h"

namespace hone::test::acknowledged {

inline nlohmann::json Job(uint64_t job, const std::string& request) {
  return {{"kind", "job"}, {"job", job}, {"request", request}};
}
inline nlohmann::json Artifact(const std::string& digest, uint64_t size_bytes) {
  return {{"kind", "artifact"}, {"digest", digest}, {"size_bytes", size_bytes}};
}
inline nlohmann::json Cancel(uint64_t job) { return {{"kind", "cancel"}, {"job", job}}; }
inline nlohmann::json Event(const proto::Event& event) {
  return {{"kind", "event"}, {"sequence", event.sequence()}, {"job", event.job()}, {"event", event.kind()}};
}
inline nlohmann::json Trial(uint64_t job, uint32_t study, uint64_t trial, std::string_view state) {
  return {{"kind", "trial"}, {"job", job}, {"study", study}, {"trial", trial}, {"state", state}};
}
inline nlohmann::json Report(const proto::Report& report) {
  std::string outcome = proto::Report::Outcome_Name(report.outcome());
  for (char& letter : outcome) letter = static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
  return {{"kind", "report"}, {"lease", report.lease()}, {"token", report.token()}, {"outcome", outcome}};
}

}  // namespace hone::test::acknowledged
