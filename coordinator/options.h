// Every bound and default of the coordinator in one place.
#pragma once

#include <cstdint>
#include <filesystem>

namespace hone {

struct CoordinatorOptions {
  std::filesystem::path data;                        // hone.db, artifacts/ and lock live here.

  // Leases.
  uint32_t lease_ms = 4000;                          // A worker silent for this long has lost its leases.
  uint32_t heartbeat_ms = 1000;                      // Told to workers; a quarter of lease_ms at most.
  uint64_t trial_timeout_ms = 10 * 60 * 1000;        // One piece of work, where the recipe says nothing.
  uint32_t blamed_workers = 2;                       // Crashed on this many different workers: the work is given up.
  uint32_t blamed_attempts = 3;                      // Or this often in all ...
  uint32_t blamed_attempts_alone = 2;                // ... or this often where a single worker could do it.
  uint32_t unblamed_attempts = 25;  // Lost or returned this often: given up, so that nothing runs for ever.

  // Measuring, where the recipe says nothing.
  uint32_t pairs = 6;
  uint32_t final_pairs = 20;
  uint32_t finalists = 3;

  // Waiting and replies.
  uint32_t watch_wait_ms = 30'000;                   // WatchEvents is answered after this at the latest.
  uint32_t parked_watchers = 1000;                   // More than that are answered at once.
  uint32_t page_trials = 500;                        // Rows of one ListTrials reply ...
  uint64_t page_bytes = 4 << 20;                     // ... and its bytes, whichever is reached first.
  uint32_t page_jobs = 100;
  uint32_t page_events = 1000;
  uint32_t page_attempts = 2000;
  uint32_t stall_ms = 15'000;                        // No worker for a study for this long is told as an event.
  uint64_t kept_events = 1'000'000;                  // Older ones are dropped; who asks for them is told of the gap.
  uint32_t log_attempts = 20;                        // Of one GetLog reply, the newest.
  uint32_t elapsed_save_ms = 5'000;                  // A job's clock is saved this often.
  uint32_t seen_save_ms = 10'000;                    // A worker's last sign of life is saved this often.
  uint32_t failed_round_ms = 1'000;  // Pause before scheduling again after the database refused a write.

  // Sizes.
  uint64_t reserve_bytes = 64 << 20;  // Kept on the disk for results when it is full (coordinator/ballast.h); 0: none.
  uint64_t output_tail_bytes = 64 << 10;
  uint64_t artifact_bytes = uint64_t{256} << 30;     // Of one artifact.
  uint32_t open_uploads = 64;                        // The least recently used is closed beyond that.
  uint64_t verify_slice_bytes = 16 << 20;            // Bytes of a resumed upload hashed in one round.
  uint64_t quick_check_bytes = 64 << 20;             // Databases up to this size are checked when opened.
  uint32_t targets = 64;                             // Of one job.
};

}  // namespace hone
