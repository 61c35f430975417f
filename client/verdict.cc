#include "client/verdict.h"

#include <fmt/format.h>

#include <cmath>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr std::pair<const char*, Expectation> kExpectations[] = {
    {"faster", Expectation::faster}, {"not-slower", Expectation::not_slower}, {"equal", Expectation::equal}};

// One pair gives an interval without width: it tells nothing of chance.
bool HasInterval(const proto::Metric& speedup) {
  return speedup.has_low() && speedup.has_high() && std::isfinite(speedup.low()) && std::isfinite(speedup.high()) &&
         speedup.low() < speedup.high();
}

Answer Above(const proto::Metric& speedup, double bound) {
  if (speedup.low() > bound) return Answer::yes;
  return speedup.high() < bound ? Answer::no : Answer::undecided;
}

}  // namespace

Verdict Judge(const proto::Metric& speedup, double delta) {
  if (!HasInterval(speedup)) return Verdict::undecided;
  const double high = 1 + delta;
  const double low = 1 / high;
  if (speedup.low() > high) return Verdict::faster;
  if (speedup.high() < low) return Verdict::slower;
  return speedup.low() >= low && speedup.high() <= high ? Verdict::equal : Verdict::undecided;
}

Answer Check(const proto::Metric& speedup, double delta, Expectation expectation) {
  if (!HasInterval(speedup)) return Answer::undecided;
  switch (expectation) {
    case Expectation::faster: return Above(speedup, 1 + delta);
    case Expectation::not_slower: return Above(speedup, 1 / (1 + delta));
    case Expectation::equal: break;
  }
  const Verdict verdict = Judge(speedup, delta);
  if (verdict == Verdict::equal) return Answer::yes;
  return verdict == Verdict::undecided ? Answer::undecided : Answer::no;
}

std::string VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::faster: return "faster";
    case Verdict::slower: return "slower";
    case Verdict::equal: return "equal";
    case Verdict::undecided: break;
  }
  return "undecided";
}

Result<Expectation> ParseExpectation(const std::string& word) {
  std::vector<std::string> names;
  for (const auto& [name, expectation] : kExpectations) {
    if (word == name) return expectation;
    names.emplace_back(name);
  }
  return Fail(ErrorCode::kUsage, fmt::format("--expect {}: must be {}{}", Printable(word, 100), Join(names, ", "),
                                             DidYouMean(word, names)));
}

}  // namespace hone
