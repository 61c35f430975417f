// Which vector instruction set the kernels run on. The processor's best is chosen at the first call; tests and reports
// choose others.
#pragma once

#include <string>
#include <vector>

namespace hone::kernels {

// Names of the instruction sets that this build holds and this processor runs, best first: "AVX3_DL", "AVX2", "SSE4"
// ...
std::vector<std::string> TargetNames();

// Runs every kernel on the named set from now on; "" goes back to the best. False for an unknown name (nothing
// changes). Not to be called while another thread is inside a kernel.
bool UseTarget(const std::string& name);

}  // namespace hone::kernels
