// The coordinator's loop: folder, socket, signals, rounds.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "common/base/result.h"
#include "coordinator/http/http_options.h"
#include "coordinator/options.h"
#include "coordinator/redis/publisher.h"

namespace hone {

struct ServerOptions {
  CoordinatorOptions coordinator;
  std::string listen;
  std::filesystem::path keys;            // The keys folder; empty: without keys, on the loopback and ipc alone.
  HttpOptions http;                      // Where the API and the dashboard are served; what is known here is filled in.
  std::optional<RedisAddress> redis;     // Where events are published, workers registered and results shared.
  std::filesystem::path ready_file;  // Empty: none. Otherwise {"endpoint": ..., "pid": ...} once requests are served.
};

// Serves until SIGTERM or SIGINT, then ends well. kConflict: the folder is in use; kConfiguration: the address, the
// folder or the database is unfit; another error: the database failed while serving. Installs signal handlers; once per
// process.
Result<> Serve(const ServerOptions& options, const Clock& clock);

}  // namespace hone
