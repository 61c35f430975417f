// Errors as values. A function that can fail returns Result<T>; a caller looks at the code to decide and at the
// message to tell. Exceptions of other libraries end at one adapter per library.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace hone {

// The numbers are the exit codes of the command line and the numbers of proto::Error::Code.
enum class ErrorCode : int {
  kNo = 1,            // Ran properly and the answer is no.
  kUsage = 2,
  kUnsure = 3,        // The data cannot decide, or nothing was measured.
  kFailed = 4,
  kEnvironment = 5,   // The machine is unfit for measuring.
  kUnreachable = 6,
  kDenied = 7,
  kNotFound = 8,
  kRejected = 9,      // Model, data, recipe or configuration is invalid.
  kTimeout = 10,      // The work continues.
  kCancelled = 11,
  kExhausted = 12,    // Disk, quota, memory.
  kConflict = 13,     // A lease no longer held, a folder in use. ExitCode() maps it to 9.
  kBug = 70,
  kConfiguration = 78,
  kInterrupted = 130,
};

// message says what was attempted on what, then the cause: "load model sha256:ab12...: unexpected opset 99". No
// trailing dot, no "error:". file/line/column say where in a person's text, if known (line 0: unknown). remedy is a
// sentence on what to do, or "".
struct Error {
  ErrorCode code = ErrorCode::kBug;
  std::string message;
  std::string remedy = {};
  std::string file = {};
  uint32_t line = 0;
  uint32_t column = 0;
};

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> Fail(ErrorCode code, std::string message, std::string remedy = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(remedy)});
}
inline tl::unexpected<Error> Fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// The same error with "context: " before its message.
inline tl::unexpected<Error> FailWith(const std::string& context, Error error) {
  error.message = context + ": " + error.message;
  return tl::unexpected<Error>(std::move(error));
}

inline int ExitCode(ErrorCode code) { return code == ErrorCode::kConflict ? 9 : static_cast<int>(code); }

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace hone

#define HONE_CONCAT_INNER(a, b) a##b
#define HONE_CONCAT(a, b) HONE_CONCAT_INNER(a, b)

// Returns the error of `expression` (a Result) from the current function, or goes on.
#define TRY(expression)                                              \
  do {                                                               \
    if (auto hone_result = (expression); !hone_result) {             \
      return tl::unexpected<::hone::Error>(std::move(hone_result.error())); \
    }                                                                \
  } while (false)

#define HONE_TRY_ASSIGN(temporary, declaration, expression)               \
  auto temporary = (expression);                                          \
  if (!temporary) return tl::unexpected<::hone::Error>(std::move(temporary.error())); \
  declaration = std::move(*temporary)

// TRY_ASSIGN(const Recipe recipe, ParseRecipe(text));
#define TRY_ASSIGN(declaration, ...) HONE_TRY_ASSIGN(HONE_CONCAT(hone_try_, __LINE__), declaration, (__VA_ARGS__))

// Aborts where only a bug could have broken the condition; on in release builds too.
#define CHECK_THAT(condition) \
  do {                        \
    if (!(condition)) ::hone::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)
