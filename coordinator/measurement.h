// What a worker reports is data from outside: checked before it is stored.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"
#include "coordinator/records.h"

namespace hone {

// Takes over what is sound. A metric or sample that is not finite is dropped with a note, never stored; names are
// bounded and made printable. kRejected for a result that is no measurement at all (too many metrics or series).
Result<Measurement> CheckMeasurement(const proto::MeasureResult& result);

// The digest of a data set in use: its bundle, range and preprocessing. "" for none.
std::string DataDigest(const std::optional<proto::Data>& data);

// "crashed with signal 11 (Segmentation fault)", "timed out", the work's own error ... of an attempt that was not done.
std::string EndText(Outcome outcome, const proto::Report& report);

}  // namespace hone
