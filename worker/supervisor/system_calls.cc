// A short classic BPF program built from tables of system-call numbers; numbers come from the compiling architecture's
// headers, so one source serves x86-64 and arm64 (a call that an architecture lacks is left out of the table). A filter
// sees registers, never what they point to: calls that hide their arguments in memory (clone3, openat2) are answered
// ENOSYS where an argument matters, upon which libraries use the older call.
#include "worker/supervisor/system_calls.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace hone {

#if defined(__x86_64__)
#define HONE_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define HONE_AUDIT_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef HONE_AUDIT_ARCH

namespace {

constexpr uint32_t kForbidden[] = {
    // The machine.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_setns,
    SYS_unshare,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_add_key,
    SYS_keyctl,
    SYS_request_key,
    SYS_userfaultfd,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_acct,
    SYS_quotactl,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_syslog,
    SYS_vhangup,
    SYS_fanotify_init,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_lookup_dcookie,
    SYS_nfsservctl,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
#endif
#ifdef SYS_open_tree
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
#endif
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
#ifdef SYS_quotactl_fd
    SYS_quotactl_fd,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,  // Its queues would carry calls past this filter.
#endif
    // Other processes. LeakSanitizer stops the threads of its own process through ptrace.
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
#ifndef HONE_SANITIZED
    SYS_ptrace,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
#ifdef SYS_process_madvise
    SYS_process_madvise,
#endif
    // Modes, owners and attributes of files, which Landlock does not guard.
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_utimensat,
    SYS_mknodat,
#ifdef SYS_chmod
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
    SYS_mknod,
#endif
};
constexpr uint32_t kProgramCalls[] = {SYS_execve, SYS_execveat};
// Newer than the headers that we may be compiled with: fchmodat2, setxattrat, removexattrat, open_tree_attr,
// file_setattr.
constexpr uint32_t kForbiddenNew[] = {452, 463, 466, 467, 469};

constexpr uint32_t kSocketCalls[] = {SYS_socket, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4};

constexpr uint32_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr uint32_t kSocketTypeMask = 0xf;  // Beside it stand SOCK_CLOEXEC and SOCK_NONBLOCK.

class Program {
 public:
  static sock_filter Deny(int error_number) {
    return BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (static_cast<uint32_t>(error_number) & SECCOMP_RET_DATA));
  }
  static sock_filter Permit() { return BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }

  void Add(const sock_filter& statement) { statements_.push_back(statement); }
  void Add(const std::vector<sock_filter>& statements) {
    statements_.insert(statements_.end(), statements.begin(), statements.end());
  }

  // The accumulator holds the call's number before and after.
  void DenyCall(uint32_t call, int error_number) {
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    Add(Deny(error_number));
  }
  // `judge` ends in a return on every path.
  void JudgeCall(uint32_t call, const std::vector<sock_filter>& judge) {
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, static_cast<uint8_t>(judge.size())));
    Add(judge);
  }

  std::vector<sock_filter>& statements() { return statements_; }

 private:
  std::vector<sock_filter> statements_;
};

// The lower half: every argument looked at is an int.
sock_filter LoadArgument(size_t index) {
  constexpr size_t low_half = std::endian::native == std::endian::little ? 0 : 4;
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                  static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t) + low_half));
}

// Pairs of connected streams are how instances are spoken to. A datagram of a pair could still be sent to any address.
std::vector<sock_filter> JudgeSocketpair() {
  return {LoadArgument(0),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 5),
          LoadArgument(1),
          BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSocketTypeMask),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 1, 0),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_SEQPACKET, 0, 1),
          Program::Permit(),
          Program::Deny(EACCES)};
}

std::vector<sock_filter> DenyWhereBitsAreSet(size_t argument, uint32_t bits) {
  return {LoadArgument(argument), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), Program::Deny(EPERM),
          Program::Permit()};
}

std::vector<sock_filter> DenyWhereEqual(size_t argument, uint32_t first, uint32_t second) {
  return {LoadArgument(argument), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 1, 0),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1), Program::Deny(EPERM), Program::Permit()};
}

// O_RDONLY with O_TRUNC empties a file without the right to write.
std::vector<sock_filter> JudgeOpenFlags(size_t argument) {
  return {LoadArgument(argument), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE | O_TRUNC),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, O_RDONLY | O_TRUNC, 0, 1), Program::Deny(EACCES), Program::Permit()};
}

Program FilterProgram(TruncationIs truncation, Programs programs) {
  Program program;
  // Another architecture's calling convention would mean other numbers.
  program.Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  program.Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HONE_AUDIT_ARCH, 1, 0));
  program.Add(Program::Deny(EPERM));
  program.Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
#if defined(__x86_64__)
  program.Add(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1));  // The x32 numbers.
  program.Add(Program::Deny(EPERM));
#endif
  for (const uint32_t call : kForbidden) program.DenyCall(call, EPERM);
  for (const uint32_t call : kForbiddenNew) program.DenyCall(call, EPERM);
  if (programs == Programs::none) {
    for (const uint32_t call : kProgramCalls) program.DenyCall(call, EPERM);
  }
  for (const uint32_t call : kSocketCalls) program.DenyCall(call, EACCES);
  program.JudgeCall(SYS_socketpair, JudgeSocketpair());
  program.JudgeCall(SYS_clone, DenyWhereBitsAreSet(0, kNewNamespaces));
#ifdef SYS_clone3
  program.DenyCall(SYS_clone3, ENOSYS);
#endif
  program.JudgeCall(SYS_ioctl, DenyWhereEqual(1, TIOCSTI, TIOCLINUX));
  if (truncation == TruncationIs::filtered) {
    program.DenyCall(SYS_truncate, EACCES);
    program.JudgeCall(SYS_openat, JudgeOpenFlags(2));
#ifdef SYS_open
    program.JudgeCall(SYS_open, JudgeOpenFlags(1));
#endif
#ifdef SYS_openat2
    program.DenyCall(SYS_openat2, ENOSYS);
#endif
  }
  program.Add(Program::Permit());
  return program;
}

}  // namespace

Result<> FilterSystemCalls(TruncationIs truncation, Programs programs) {
  Program program = FilterProgram(truncation, programs);
  const sock_fprog filter{static_cast<unsigned short>(program.statements().size()), program.statements().data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0) return {};
  return Fail(ErrorCode::kEnvironment, std::string("filter system calls: ") + std::strerror(errno));
}

#else

Result<> FilterSystemCalls(TruncationIs, Programs) {
  return Fail(ErrorCode::kEnvironment, "filter system calls: not known for this processor architecture");
}

#endif

}  // namespace hone
