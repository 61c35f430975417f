// Several errors of one text, so that one look at it tells them all.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace hone {

// The first kMost are kept, the others counted.
struct Mistakes {
  static constexpr size_t kMost = 20;

  std::vector<Error> errors;
  size_t more = 0;

  size_t count() const { return errors.size() + more; }
  void Add(Error error) {
    if (errors.size() < kMost) {
      errors.push_back(std::move(error));
    } else {
      ++more;
    }
  }
};

}  // namespace hone
