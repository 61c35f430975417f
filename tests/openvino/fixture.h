// Runs OpenVINO passes on small models and tells what the runtime executes of what they made.
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/quantization/pass_fixture.h"

namespace hone::test {

struct Made {
  proto::LocalBundle bundle;
  std::vector<std::string> notes;
};

class OpenvinoPassTest : public PassTest {
 protected:
  // `format` of the model; data for passes that measure.
  Result<Made> Make(const proto::LocalBundle& model, const std::string& pass, const Parameters& parameters = {},
                    const fs::path& data = {}, uint32_t threads = 2);

  static Result<proto::Execution> ExecutionOf(const proto::LocalBundle& model);

  // Kernels of a type that run in a precision.
  static uint32_t Count(const proto::Execution& execution, const std::string& type, const std::string& precision);

  double SqnrDb(const fs::path& original, const proto::LocalBundle& made, const fs::path& data);

 private:
  int runs_ = 0;
};

fs::path Golden(const std::string& file);

}  // namespace hone::test
