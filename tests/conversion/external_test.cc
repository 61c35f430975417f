// Programs that a worker's owner declares as passes: offered, run in the sandbox, bounded, and told apart by their
// version.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"
#include "worker/external/declarations.h"

namespace hone::test {
namespace {

using ::testing::HasSubstr;

// Copies the model and leaves its request beside the test's output where it may write.
constexpr const char* kScript = R"(request="$1"
model="$2"
output="$3"
case "$4" in
  copy) cp "$model" "$output/model.onnx" ;;
  nothing) ;;
  broken) echo "no model" > "$output/model.onnx" ;;
  fail) echo "cannot do this" >&2; exit 9 ;;
  slow) while :; do :; done ;;
  spy) cat "$SECRET" > "$output/model.onnx" || exit 7 ;;
esac
)";

class ExternalTest : public ::testing::Test {
 protected:
  ExternalTest() {
    Mlp(1).Save(model_);
    std::ofstream(folder_ / "secret.txt") << "secret";
    std::ofstream(folder_ / "program.sh") << kScript;
    Declare("1.0");
  }
  void Declare(const std::string& version, const std::string& name = "copier") {
    std::ofstream(folder_ / "passes.yaml") << "passes:\n  - name: " << name << R"(
    summary: Copies the model
    command: [/bin/sh, program.sh, "{request}", "{model}", "{output}", "{parameter.mode}"]
    version: [/bin/echo, copier )" << version
                                           << R"(]
    accepts: [onnx]
    produces: onnx
    main: model.onnx
    reads: [program.sh]
    environment: {SECRET: )" << (folder_ / "secret.txt").string()
                                           << R"(}
    tags: [shell.copier]
    limits: {time: 2s, memory: 1GiB}
    parameters:
      mode: {type: text, default: copy, choices: [copy, nothing, broken, fail, slow, spy], help: What it does.}
      level: {type: integer, default: 3, minimum: 1, maximum: 9, help: A number.}
)";
  }
  Ran Apply(const std::string& pass, int deadline_s = 60) {
    return Hone({"apply", model_.string(), "--pass", pass, "-o", (folder_ / "out").string()}, deadline_s,
                {{"HONE_PASSES", (folder_ / "passes.yaml").string()}});
  }
  TempFolder folder_;
  const fs::path model_ = folder_ / "model.onnx";
};

TEST_F(ExternalTest, IsOfferedLikeAnyPassAndRuns) {
  const std::map<std::string, std::string> environment = {{"HONE_PASSES", (folder_ / "passes.yaml").string()}};
  const Ran listed = Hone({"passes", "copier", "--json"}, 60, environment);
  ASSERT_EQ(listed.code, 0) << listed.err;
  EXPECT_EQ(listed.json()["parameters"].size(), 2U);
  const Ran ran = Apply("copier");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(TextOf(folder_ / "out/model.onnx"), TextOf(model_));
  // Another machine's owner declared nothing.
  EXPECT_EQ(Hone({"passes", "copier"}, 60).code, 8);
}

TEST_F(ExternalTest, ParametersOutOfTheirRangesAndFailuresOfTheProgramAreTold) {
  EXPECT_EQ(Apply("copier:level=10").code, 9);
  Ran ran = Apply("copier:mode=fail");
  EXPECT_EQ(ran.code, 9);
  EXPECT_THAT(ran.err, HasSubstr("cannot do this"));
  ran = Apply("copier:mode=nothing");
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("left no file"));
  EXPECT_NE(Apply("copier:mode=broken").code, 0);
  ran = Apply("copier:mode=slow");
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("its declared limit"));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(ExternalTest, ProgramSeesNoFileThatIsNotItsOwn) {
  const Ran ran = Apply("copier:mode=spy");
  if (ran.err.find("not fully confined") != std::string::npos)
    GTEST_SKIP() << "this machine confines no files: " << ran.err;
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("status 7"));
}

TEST_F(ExternalTest, VersionOfTheProgramIsPartOfThePass) {
  const auto version = [&] {
    const Ran ran =
        RunProgram("hone-worker", {"--passes", (folder_ / "passes.yaml").string(), "catalogue", "--json"}, 60);
    const nlohmann::json document = ran.json();
    for (const auto& pass : document["passes"]) {
      if (pass["name"] == "copier") return pass;
    }
    return nlohmann::json();
  };
  const nlohmann::json first = version();
  ASSERT_TRUE(first.is_object());
  EXPECT_EQ(first["program_version"], "copier 1.0");
  EXPECT_EQ(version(), first);
  Declare("1.1");
  EXPECT_NE(version()["version"], first["version"]);
  // A program that tells no version is not offered.
  std::string text = TextOf(folder_ / "passes.yaml");
  text.replace(text.find("/bin/echo"), 9, "/bin/false");
  std::ofstream(folder_ / "passes.yaml") << text;
  EXPECT_TRUE(version().is_null());
}

TEST_F(ExternalTest, WorkerOffersItToItsFleetAndACoordinatorUsesIt) {
  setenv("HONE_PASSES", (folder_ / "passes.yaml").c_str(), 1);
  Coordinator coordinator(folder_.path());
  Worker worker(folder_.path(), "one", coordinator.endpoint());
  unsetenv("HONE_PASSES");
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1));
  std::ofstream(folder_ / "recipe.yaml") << R"(
targets: [{tags: [shell.copier]}]
passes: [copier]
backends: {onnxruntime: {}}
objectives: [{minimize: size_bytes}]
search: {trials: 1}
measure: {pairs: 1, final_pairs: 1, finalists: 1}
)";
  const Ran job = Hone({"submit", model_.string(), "--recipe", (folder_ / "recipe.yaml").string(), "--coordinator",
                        coordinator.endpoint(), "--json"});
  ASSERT_EQ(job.code, 0) << job.err;
  const Ran done = Hone({"wait", job.json()["job"].get<std::string>(), "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(done.code, 0) << done.err << worker.Log();
}

TEST(DeclarationTest, MistakesAreToldWithTheirPlace) {
  struct Row {
    const char* text;
    const char* message;
  };
  constexpr Row kRows[] = {
      {"passes: 3", "must be a list"},
      {"passes: [{name: Bad Name}]", "is no name of a pass"},
      {"passes: [{name: x, sumary: y}]", "did you mean 'summary'"},
      {"passes: [{name: x, summary: y, command: [], version: [v], accepts: [onnx], produces: onnx}]",
       "command must be"},
      {"passes: [{name: x, summary: y, command: [a], version: [v], accepts: [onnx], produces: onnx, parameters: {p: "
       "{type: number}}}]",
       "boolean, integer, real or text"},
      {"passes: [{name: x, summary: y, command: [a], version: [v], accepts: [onnx], produces: onnx, parameters: {p: "
       "{type: integer, maximum: 3, default: 4}}}]",
       "its default"},
      {"passes: [{name: x, summary: y, command: [a], version: [v], accepts: [onnx], produces: onnx, limits: {time: "
       "soon}}]",
       "no duration"},
      {"passes: [&a {name: x}]", "anchor"},
  };
  for (const Row& row : kRows) {
    const auto parsed = ParseExternalPasses(row.text, "passes.yaml");
    ASSERT_FALSE(parsed) << row.text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kConfiguration);
    EXPECT_THAT(parsed.error().message, HasSubstr(row.message));
    EXPECT_EQ(parsed.error().line, 1U) << row.text;
  }
  for (const auto& entry : fs::directory_iterator(fs::path(HONE_SOURCE_DIR) / "recipes/external")) {
    if (entry.path().extension() != ".yaml") continue;
    const auto parsed = ParseExternalPasses(TextOf(entry.path()), entry.path());
    ASSERT_TRUE(parsed) << entry.path() << ": " << parsed.error().message;
    EXPECT_EQ(parsed->size(), 1U);
  }
}

TEST_F(ExternalTest, DeclarationMayNotTakeANameOfHonesOwn) {
  Declare("1.0", "simplify");
  const Ran ran = RunProgram("hone-worker", {"--passes", (folder_ / "passes.yaml").string(), "catalogue"}, 60);
  EXPECT_EQ(ran.code, 78);
  EXPECT_THAT(ran.err, HasSubstr("'simplify' is the name of a pass of hone's own"));
}

// Olive's own pass through the ready declaration, where Olive is installed.
TEST_F(ExternalTest, OlivesPassRunsByTheReadyDeclaration) {
  const fs::path environment = fs::path(HONE_DEPS_FOLDER) / "peers-olive";
  if (!fs::exists(environment / "bin/python")) GTEST_SKIP() << "Olive is not installed under " << environment;
  const fs::path ready = fs::path(HONE_SOURCE_DIR) / "recipes/external";
  std::string text = TextOf(ready / "olive.yaml");
  for (size_t at = text.find("/opt/hone-olive"); at != std::string::npos; at = text.find("/opt/hone-olive"))
    text.replace(at, 15, environment.string());
  std::ofstream(folder_ / "passes.yaml") << text;
  fs::copy_file(ready / "olive_pass.py", folder_ / "olive_pass.py");
  const Ran ran = Apply("olive:pass_name=OnnxFloatToFloat16", 240);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_LT(fs::file_size(folder_ / "out/model.onnx"), fs::file_size(model_) * 2 / 3);
}

}  // namespace
}  // namespace hone::test
