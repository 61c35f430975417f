// What this machine is: tags and fingerprint.
#pragma once

#include <string>
#include <vector>

#include "proto/catalogue.pb.h"

namespace hone {

// CPU features by the names hardware tags use (sse4_2 avx avx2 fma f16c avx512f avx512bw avx512_vnni avx512_bf16
// avx_vnni amx_int8 amx_bf16 amx_tile neon asimddp sve i8mm bf16 ...), ordered; from CPUID / AT_HWCAP as the kernel
// allows them (/proc/cpuinfo).
std::vector<std::string> CpuFeatures();
// The processors of this process's affinity mask, by number.
std::vector<int> AllowedProcessors();
// Cores this process may use: affinity mask, cut by the cgroup CPU quota (rounded down, at least 1).
unsigned AllowedCores();
// Memory this process may use: the smallest of MemTotal and cgroup limits.
uint64_t AllowedMemoryBytes();
// Everything but versions of runtimes, which the caller adds before SealFingerprint.
proto::Fingerprint DetectFingerprint();
// Computes digest over the canonical fields.
void SealFingerprint(proto::Fingerprint& fingerprint);
// cpu, the architecture, the features; backends and devices ("ort.cpu", "openvino.cpu", "openvino.gpu") are added by
// the catalogue.
std::vector<std::string> DetectTags();

}  // namespace hone
