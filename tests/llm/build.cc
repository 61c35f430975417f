#include "tests/llm/build.h"

#include "worker/passes/pass.h"

namespace hone::test {

Result<proto::BuildResult> Build(const proto::LocalBundle& model, const std::filesystem::path& folder,
                                 const Settings& settings, const char* pass) {
  std::filesystem::create_directories(folder);
  proto::BuildTask task;
  *task.mutable_model() = model;
  task.set_output_folder(folder.string());
  task.set_threads(2);
  task.mutable_step()->set_pass(pass);
  for (const auto& [name, value] : settings) {
    auto& parameter = *task.mutable_step()->add_parameters();
    parameter.set_name(name);
    *parameter.mutable_value() = value;
  }
  return RunPass(task);
}

}  // namespace hone::test
