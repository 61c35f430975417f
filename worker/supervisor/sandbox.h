// What a process gives up before it looks at a model that somebody sent.
#pragma once

#include "common/base/result.h"

namespace hone {

// For good, for this process and all it forks: no new privileges, no core files, bounded open files and file sizes, first in line
// for the kernel's out-of-memory killer, no network (IPv4, IPv6, raw and packet sockets fail with EACCES; Unix sockets stay), and no
// system calls that reach into the kernel's or other processes' affairs (mount, bpf, ptrace, keys, modules ...: EPERM). Memory is
// bounded by the supervisor, which sees what is used; an address-space limit would forbid what runtimes only reserve.
//
// Single-threaded callers only: the filter applies to the calling thread and those it starts. kEnvironment where the kernel
// refuses a part of it.
Result<> ConfineThisProcess();

}  // namespace hone
