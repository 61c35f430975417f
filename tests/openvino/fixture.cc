#include "tests/openvino/fixture.h"

namespace hone::test {

Result<proto::Execution> OpenvinoPassTest::ExecutionOf(const proto::LocalBundle& model) {
  TRY_ASSIGN(const BackendRow* row, FindBackend("openvino"));
  LoadOptions options;
  auto* setting = options.settings.Add();
  setting->set_name("inference_precision");
  *setting->mutable_value() = TextValue("f32");
  TRY_ASSIGN(const auto session, row->load(model, options));
  return session->Execution();
}

uint32_t OpenvinoPassTest::Count(const proto::Execution& execution, const std::string& type,
                                 const std::string& precision) {
  uint32_t count = 0;
  for (const auto& kernel : execution.kernels()) {
    if (kernel.type() == type && kernel.precision() == precision) count += kernel.count();
  }
  return count;
}

double OpenvinoPassTest::SqnrDb(const fs::path& original, const proto::LocalBundle& made, const fs::path& data) {
  Built built;
  built.bundle = made;
  return Sqnr(original, built, "openvino", data);
}

fs::path Golden(const std::string& file) { return fs::path(HONE_SOURCE_DIR) / "tests/openvino/golden" / file; }

}  // namespace hone::test
