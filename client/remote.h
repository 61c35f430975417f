// How commands find and name things at a coordinator.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/client.h"
#include "client/flags.h"

namespace hone {

// --coordinator, else $HONE_COORDINATOR, else tcp://127.0.0.1:5710.
std::string CoordinatorEndpoint(const std::string& flag);
void AddCoordinatorFlag(Flags& flags, std::string& endpoint);

// Connects and asks for a sign of life: kUnreachable within a few seconds, naming the endpoint and how to start a coordinator.
Result<Client> ConnectTo(const std::string& flag);

// "42", "42/17", "42/baseline", "42/best".
struct JobReference {
  uint64_t job = 0;
  std::optional<uint64_t> trial;   // Absent: the best.
};
Result<JobReference> ParseJobReference(const std::string& text);
// A trial of one study; kNotFound.
Result<proto::TrialSummary> FindTrial(Client& client, uint64_t job, uint32_t study, uint64_t trial);
// "42" alone. kUsage.
Result<uint64_t> ParseJob(const std::string& text);

}  // namespace hone
