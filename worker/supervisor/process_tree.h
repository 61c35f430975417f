// Processes as /proc shows them: who descends from whom, and what they hold and use together.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace hone {

// The direct children of a process, of all its threads; zombies included. Empty if the process is gone.
std::vector<pid_t> ChildrenOf(pid_t parent);

// Children, their children and so on, at most `limit` of them.
std::vector<pid_t> DescendantsOf(pid_t ancestor, size_t limit);

// Resident bytes summed over processes: cheap, and an upper bound, as pages that several share count for each.
uint64_t ResidentBytes(const std::vector<pid_t>& processes);

// Proportional set size summed over processes: a shared page counts once in total. Walks page tables, so it is asked
// only when the upper bound is too high. Falls back to resident bytes for a process whose figure the kernel does not
// give.
uint64_t ProportionalBytes(const std::vector<pid_t>& processes);

// Processor time of processes and of children that they have waited for, in milliseconds; the kernel counts in steps
// of 10. May fall when a process ends.
uint64_t ProcessorMs(const std::vector<pid_t>& processes);

// Bytes of files without a name that processes hold open: each file once.
struct NamelessBytes {
  uint64_t disk = 0;
  uint64_t memory = 0;    // Of memory files (memfd).
};
NamelessBytes NamelessBytesOf(const std::vector<pid_t>& processes);

}  // namespace hone
