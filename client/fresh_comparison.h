// Two trials measured again, interleaved, on this machine: what `hone compare --fresh` does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/client.h"
#include "client/console.h"
#include "proto/wire.pb.h"

namespace hone {

struct NamedTrial {
  std::string name;            // As the person wrote it.
  uint64_t job = 0;
  proto::TrialSummary trial;
};

struct FreshComparison {
  proto::Metric speedup;       // Of b over a; without an interval where too little was measured.
  google::protobuf::RepeatedPtrField<proto::Metric> a, b;
  std::string machine;         // The processor.
  double wall_s = 0;
};

// Downloads both models and times `pairs` interleaved pairs, as the trials ran them. kUnsure for a trial that has no
// model, kRejected where this machine cannot run one.
Result<FreshComparison> MeasureAgain(Client& client, const NamedTrial& a, const NamedTrial& b, uint32_t pairs,
                                     const Console& console);

}  // namespace hone
