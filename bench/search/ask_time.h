// How long a sampler thinks.
#pragma once

namespace hone {

// Prints the median and the 90 % quantile of the time of an ask with 21 parameters around 100, 500 and 1,000 finished
// trials, one and two objectives.
int PrintAskTimes();

}  // namespace hone
