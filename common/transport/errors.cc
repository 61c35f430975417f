#include <algorithm>
#include <iterator>

#include "common/base/strings.h"
#include "common/transport/transport.h"

namespace hone {
namespace {

// Every code has the same number here and on the wire.
constexpr ErrorCode kCodes[] = {
    ErrorCode::kNo,          ErrorCode::kUsage,       ErrorCode::kUnsure,        ErrorCode::kFailed,
    ErrorCode::kEnvironment, ErrorCode::kUnreachable, ErrorCode::kDenied,        ErrorCode::kNotFound,
    ErrorCode::kRejected,    ErrorCode::kTimeout,     ErrorCode::kCancelled,     ErrorCode::kExhausted,
    ErrorCode::kConflict,    ErrorCode::kBug,         ErrorCode::kConfiguration, ErrorCode::kInterrupted,
};

}  // namespace

proto::Error ToProto(const Error& error) {
  proto::Error message;
  message.set_code(static_cast<proto::Error::Code>(error.code));
  message.set_message(ToUtf8(error.message));
  message.set_remedy(ToUtf8(error.remedy));
  if (!error.file.empty() || error.line != 0) {
    message.mutable_position()->set_file(ToUtf8(error.file));
    message.mutable_position()->set_line(error.line);
    message.mutable_position()->set_column(error.column);
  }
  return message;
}

Error FromProto(const proto::Error& error) {
  const auto* code = std::find(std::begin(kCodes), std::end(kCodes), static_cast<ErrorCode>(error.code()));
  // A code of a later version is a failure like any other.
  return Error{code != std::end(kCodes) ? *code : ErrorCode::kFailed,
               error.message(),
               error.remedy(),
               error.position().file(),
               error.position().line(),
               error.position().column()};
}

}  // namespace hone
