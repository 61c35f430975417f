// The seccomp filter is a short classic BPF program built from a table of system-call numbers; numbers come from the compiling
// architecture's headers, so one source serves x86-64 and arm64 (a call that an architecture lacks is left out of the table).
#include "worker/supervisor/sandbox.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace hone {
namespace {

constexpr rlim_t kOpenFiles = 65536;
constexpr rlim_t kFileBytes = rlim_t{256} << 30;  // Models of tens of gigabytes pass; a runaway writer does not fill every disk.

Error SystemError(std::string_view what, int error_number) {
  return Error{ErrorCode::kEnvironment, std::string(what) + ": " + std::strerror(error_number)};
}

Result<> Limit(int resource, rlim_t wish, std::string_view name) {
  rlimit limit{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return Fail(SystemError(name, errno));
  limit.rlim_max = std::min(limit.rlim_max, wish);
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return Fail(SystemError(name, errno));
  return {};
}

// Raising one's own score needs no privilege. Without /proc the kernel simply chooses by size.
void VolunteerForOomKiller() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "1000", 4);
  close(fd);
}

#if defined(__x86_64__)
#define HONE_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define HONE_AUDIT_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef HONE_AUDIT_ARCH

const std::vector<uint32_t>& ForbiddenCalls() {
  static const std::vector<uint32_t> calls = {
      SYS_mount,       SYS_umount2,         SYS_pivot_root, SYS_chroot,    SYS_setns,         SYS_unshare,
      SYS_bpf,         SYS_perf_event_open, SYS_add_key,    SYS_keyctl,    SYS_request_key,   SYS_userfaultfd,
      SYS_init_module, SYS_finit_module,    SYS_kexec_load, SYS_reboot,    SYS_delete_module, SYS_swapon,
      SYS_swapoff,     SYS_settimeofday,    SYS_acct,       SYS_quotactl,  SYS_clock_settime, SYS_sethostname,
      SYS_setdomainname,
      SYS_process_vm_readv, SYS_process_vm_writev,
#ifndef HONE_SANITIZED  // LeakSanitizer stops the threads of its own process through ptrace.
      SYS_ptrace,
#endif
#ifdef SYS_io_uring_setup
      SYS_io_uring_setup,  // Its queues would carry sockets past this filter.
#endif
#ifdef SYS_open_tree
      SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsmount,
#endif
  };
  return calls;
}

constexpr uint32_t kForbiddenSockets[] = {AF_INET, AF_INET6, AF_PACKET, AF_VSOCK};

std::vector<sock_filter> FilterProgram() {
  constexpr uint32_t low_half = std::endian::native == std::endian::little ? 0 : 4;
  const sock_filter permit = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA));
  const sock_filter no_network = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EACCES & SECCOMP_RET_DATA));

  std::vector<sock_filter> program;
  // Another architecture's calling convention would mean other numbers.
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HONE_AUDIT_ARCH, 1, 0));
  program.push_back(refuse);
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
#if defined(__x86_64__)
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1));  // The x32 numbers.
  program.push_back(refuse);
#endif
  for (const uint32_t call : ForbiddenCalls()) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(refuse);
  }
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0));
  program.push_back(permit);
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0]) + low_half));
  for (const uint32_t family : kForbiddenSockets) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, family, 0, 1));
    program.push_back(no_network);
  }
  program.push_back(permit);
  return program;
}

Result<> FilterSystemCalls() {
  std::vector<sock_filter> program = FilterProgram();
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) return Fail(SystemError("filter system calls", errno));
  return {};
}

#else

Result<> FilterSystemCalls() {
  return Fail(ErrorCode::kEnvironment, "filter system calls: not known for this processor architecture");
}

#endif

}  // namespace

Result<> ConfineThisProcess() {
  TRY(Limit(RLIMIT_CORE, 0, "limit core files"));
  TRY(Limit(RLIMIT_NOFILE, kOpenFiles, "limit open files"));
  TRY(Limit(RLIMIT_FSIZE, kFileBytes, "limit file sizes"));
  VolunteerForOomKiller();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Fail(SystemError("renounce new privileges", errno));
  return FilterSystemCalls();
}

}  // namespace hone
