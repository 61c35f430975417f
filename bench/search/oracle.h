// The problems for searchers in other programs.
#pragma once

namespace hone {

// Answers each line of standard input with one of standard output. {"open": "mixed3a"} or {"open": STEM_OF_A_TABLE}
// tells the dimensions, the bound, the optimum and the fallback; {"measure": [numbers, null where not active], "seed":
// N} what a measurement shows and what is true; {"valid": [...]} whether formats chain.
int ServeOracle();

}  // namespace hone
