// How commands find and name things at a coordinator.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/client.h"
#include "client/flags.h"

namespace hone {

// --coordinator and --keys as given; "" where they were not.
struct CoordinatorFlags {
  std::string endpoint;
  std::string keys;      // A keys folder (common/transport/keys.h).
};

// --coordinator, else the configuration's (client/configuration.h), else tcp://127.0.0.1:5710.
std::string CoordinatorEndpoint(const std::string& flag);
// Whether somebody named one: by flag, variable, file or context.
bool IsCoordinatorNamed(const std::string& flag);
// --keys, else the configuration's, else "": without keys.
std::string KeysFolder(const std::string& flag);
// All of --coordinator, --keys and --context, or --keys alone.
void AddCoordinatorFlag(Flags& flags, CoordinatorFlags& coordinator);
void AddKeysFlag(Flags& flags, CoordinatorFlags& coordinator);

// Connects, without waiting for a sign of life.
Result<Client> DialCoordinator(const CoordinatorFlags& coordinator);
// Connects and asks for a sign of life: kUnreachable within a few seconds, naming the endpoint and how to start a
// coordinator; kDenied where the coordinator does not let this key in.
Result<Client> ConnectTo(const CoordinatorFlags& coordinator);

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
