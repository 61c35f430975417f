#include "tests/openvino/fixture.h"

namespace hone::test {

Result<Made> OpenvinoPassTest::Make(const proto::LocalBundle& model, const std::string& pass,
                                    const Parameters& parameters, const fs::path& data, uint32_t threads) {
  proto::BuildTask task;
  *task.mutable_model() = model;
  task.mutable_step()->set_pass(pass);
  for (const auto& [name, value] : parameters) {
    auto* parameter = task.mutable_step()->add_parameters();
    parameter->set_name(name);
    *parameter->mutable_value() = value;
  }
  if (!data.empty()) *task.mutable_calibration()->mutable_data() = LocalFile(data, "npz");
  task.set_threads(threads);
  const fs::path output = Path("made" + std::to_string(++runs_));
  fs::create_directory(output);
  task.set_output_folder(output.string());
  TRY_ASSIGN(const proto::BuildResult result, RunPass(task));
  Made made;
  made.bundle.set_folder(output.string());
  *made.bundle.mutable_bundle() = result.model();
  made.notes.assign(result.notes().begin(), result.notes().end());
  return made;
}

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
