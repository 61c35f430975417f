// Following a job: a live view on a terminal, a line a change elsewhere; the same from the events of a job that is
// over.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/console.h"
#include "client/watch_view.h"

namespace hone {

struct FollowOptions {
  std::function<void(const std::string&)> line;        // Takes lines where there is no live view; may be empty.
  std::function<void(const proto::Event&)> event;      // Takes events as they are, in place of lines; may be empty.
  std::function<Result<>()> tend;                      // Called between looks; an error ends the watch.
  std::chrono::milliseconds timeout{0};                // 0: none. kTimeout.
  std::chrono::milliseconds lost_for{60'000};          // Without an answer for this long: kUnreachable.
  std::chrono::milliseconds heartbeat{30'000};         // A sign of life among lines; 0: none.
  uint64_t after = 0;                                  // Event number to go on from.
  bool live = false;                                   // Draw on stderr.
  bool keys = false;  // Of the live view: q leaves, p pauses it, c asks whether to cancel the job.
  bool compact = false;                                // Lines of what matters alone.
};
// Until the job is over; its last summary. kInterrupted on Ctrl-C.
Result<proto::JobSummary> FollowJob(Client& client, uint64_t job, Console& console, const FollowOptions& options);

// Shows a job that is over as it happened, `speed` times as fast, from its events; its summary. kInterrupted on Ctrl-C,
// kConflict while it runs.
Result<proto::JobSummary> ReplayJob(Client& client, uint64_t job, double speed, Console& console,
                                    const FollowOptions& options);

// Whether this terminal can take the live view.
bool CanDrawLive(const Console& console);
// The configuration's sign of life.
std::chrono::milliseconds HeartbeatInterval();

}  // namespace hone
