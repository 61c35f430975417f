// Results in a few words, for events.
#pragma once

#include <string>

#include "coordinator/ranking.h"

namespace hone {

// "2.31x, cosine 0.9991, 12.3 MB"; without a speed-up the latency or the first objective instead.
std::string ResultText(const proto::Recipe& recipe, const Measured& measured);

}  // namespace hone
