#include "common/base/result.h"

#include <cstdio>
#include <cstdlib>

namespace hone {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "hone: bug: %s does not hold at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace hone
