// Runs OpenVINO passes on small models and tells what the runtime executes of what they made.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "tests/quantization/pass_fixture.h"

namespace hone::test {

class OpenvinoPassTest : public PassTest {
 protected:
  static Result<proto::Execution> ExecutionOf(const proto::LocalBundle& model);

  // Kernels of a type that run in a precision.
  static uint32_t Count(const proto::Execution& execution, const std::string& type, const std::string& precision);

  double SqnrDb(const fs::path& original, const proto::LocalBundle& made, const fs::path& data);
};

fs::path Golden(const std::string& file);

}  // namespace hone::test
