// What a paired measurement says. Pure functions.
#pragma once

#include <optional>
#include <string>

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

enum class Verdict { faster, slower, equal, undecided };
enum class Expectation { faster, not_slower, equal };
enum class Answer { yes, no, undecided };

// By the 99 % interval of the speed-up against the band [1/(1+delta), 1+delta]: wholly above it faster, wholly below
// slower, wholly inside equal, else undecided; undecided as well without an interval.
Verdict Judge(const proto::Metric& speedup, double delta);

// faster: is the speed-up above 1+delta? not_slower: above 1/(1+delta)? equal: inside the band? Each is yes or no only
// where the whole interval says so.
Answer Check(const proto::Metric& speedup, double delta, Expectation expectation);

std::string VerdictName(Verdict verdict);
// "faster", "not-slower", "equal"; kUsage.
Result<Expectation> ParseExpectation(const std::string& word);

}  // namespace hone
