// The filter of system calls: what no work on a model needs.
#pragma once

#include "common/base/result.h"

namespace hone {

// How the files of a process are held.
enum class TruncationIs { guarded, filtered };
// Whether other programs may be executed: those that the owner of the machine declared (worker/external).
enum class Programs { none, declared };

// Refuses for good, for the calling thread and what it starts: every socket but pairs of connected streams (EACCES);
// executing programs (unless Programs::declared, where the view of files bounds which); new namespaces; changing modes,
// owners and attributes of files; devices, mounts, keys, modules, tracing, other processes' memory, the clock, io_uring
// (EPERM); typing into a terminal. With TruncationIs::filtered (a Landlock that does not know truncation) also
// truncating by name and opening to read with O_TRUNC. Needs PR_SET_NO_NEW_PRIVS and a process with one thread.
// kEnvironment where the kernel refuses, or on an architecture whose numbers are not known.
Result<> FilterSystemCalls(TruncationIs truncation, Programs programs);

}  // namespace hone
