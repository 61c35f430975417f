// A job as the API takes it: JSON of docs/openapi.yaml's Submission as a message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/results/messages.h"
#include "proto/wire.pb.h"

namespace hone {

// An object of at most `most` members with names and values that fit; kUsage for what is no JSON, kRejected for another
// thing.
Result<Json> ParseObject(std::string_view body);
// nullopt where the member is not there or null. kRejected for another type, control characters, broken UTF-8 or more
// than `most` bytes.
Result<std::optional<std::string>> TextMember(const Json& object, const char* name, size_t most);
Result<std::optional<int64_t>> NumberMember(const Json& object, const char* name, int64_t least, int64_t most);

Result<proto::SubmitJob> ParseSubmission(std::string_view body);

}  // namespace hone
