// One job on this machine, as `hone optimize` runs it; other commands that end in a job go the same way.
#pragma once

#include <string>

#include "client/console.h"
#include "client/job_request.h"

namespace hone {

struct OptimizeOptions {
  JobOptions job;
  std::string output;
  std::string state;  // "" = output/.hone.
  bool dry_run = false;  // Checks everything, tells what would be searched, changes nothing.
};

// The value is the exit code.
Result<int> RunOptimize(const OptimizeOptions& options, Console& console);

}  // namespace hone
