// The program itself: usage, help, exit codes, where words go.
#include <gtest/gtest.h>

#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

TEST(HoneTest, HelpAndVersionAreAnswers) {
  const Ran help = Hone({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.err, "");
  EXPECT_LE(std::count(help.out.begin(), help.out.end(), '\n'), 40);
  const Ran version = Hone({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out.rfind("hone ", 0), 0U);
  EXPECT_NE(Hone({"help", "exit-codes"}).out.find("130"), std::string::npos);
  EXPECT_NE(Hone({"help", "apply"}).out.find("--pass"), std::string::npos);
}

TEST(HoneTest, EveryCommandHasHelp) {
  const std::string help = Hone({"--help"}).out;
  for (const char* name : {"optimize", "apply",  "benchmark", "evaluate", "inspect", "passes", "backends",
                           "submit",   "check",  "jobs",      "status",   "watch",   "wait",   "trials",
                           "best",     "pareto", "get",       "cancel",   "workers", "drain",  "doctor"}) {
    EXPECT_NE(help.find(std::string("  ") + name), std::string::npos) << name;
    const Ran ran = Hone({name, "--help"});
    EXPECT_EQ(ran.code, 0) << name;
    EXPECT_NE(ran.out.find(std::string("hone ") + name), std::string::npos);
    EXPECT_NE(ran.out.find("--json"), std::string::npos) << name;
  }
}

TEST(HoneTest, UsageErrorsAreTwoAndGoToStderr) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{},
        {"optimise"},
        {"--frobnicate"},
        {"optimize"},
        {"apply", "m.onnx"},
        {"status"},
        {"status", "first"},
        {"jobs", "--limit", "0"},
        {"benchmark", "m.onnx", "--expect", "magic"},
        {"benchmark", "m.onnx", "--expect", "faster"},
        {"benchmark", "m.onnx", "--rate", "-1"},
        {"benchmark", "m.onnx", "--even"},
        {"benchmark", "m.onnx", "--sweep", "threads"},
        {"benchmark", "m.onnx", "--vs", "n.onnx", "--sweep", "threads=1,2", "--expect", "equal"},
        {"evaluate", "m.onnx", "--against", "n.onnx"},
        {"help", "nothing"},
        {"jobs", "--coordinator", "nonsense"}}) {
    const Ran ran = Hone(words);
    EXPECT_EQ(ran.code, 2) << (words.empty() ? "" : words[0]) << ": " << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_EQ(ran.err.rfind("hone: ", 0), 0U) << ran.err;
  }
  EXPECT_NE(Hone({"optimise"}).err.find("'optimize'"), std::string::npos);
  EXPECT_NE(Hone({"optimize", "m.onnx", "-o", "x", "--calibraton", "d"}).err.find("'--calibration'"),
            std::string::npos);
}

TEST(HoneTest, ErrorsAreJsonWhereJsonWasAskedFor) {
  const Ran ran = Hone({"inspect", "/nowhere/model.onnx", "--json"});
  EXPECT_EQ(ran.code, 9);
  EXPECT_EQ(ran.json().at("schema"), "hone.error/1");
  EXPECT_EQ(ran.json().at("code"), 9);
  EXPECT_NE(ran.json().at("message").get<std::string>().find("/nowhere/model.onnx"), std::string::npos);
  EXPECT_NE(ran.err.find("/nowhere/model.onnx"), std::string::npos);
  EXPECT_EQ(Hone({"inspect", "--json"}).json().at("code"), 2);
}

TEST(HoneTest, MissingInputsAreRejectedAndLeaveNothing) {
  TempFolder folder;
  const std::string out = (folder / "out").string();
  EXPECT_EQ(Hone({"optimize", "/nowhere/model.onnx", "-o", out}).code, 9);
  EXPECT_EQ(Hone({"optimize", "/nowhere/model.onnx", "--recipe", "/nowhere/r.yaml", "-o", out}).code, 9);
  EXPECT_EQ(Hone({"apply", "/nowhere/model.onnx", "--pass", "fp16", "-o", out}).code, 9);
  std::ofstream(folder / "recipe.yaml") << "serach: {trials: 3}\n";
  const Ran recipe =
      Hone({"optimize", "/nowhere/model.onnx", "--recipe", (folder / "recipe.yaml").string(), "-o", out});
  EXPECT_EQ(recipe.code, 9);
  EXPECT_NE(recipe.err.find("recipe.yaml:1:1"), std::string::npos) << recipe.err;
  EXPECT_FALSE(fs::exists(out));
}

TEST(HoneTest, UnreachableCoordinatorIsSixAndNamed) {
  TempFolder folder;
  const std::string endpoint = "ipc://" + (folder / "nobody").string();
  for (const std::vector<std::string>& words : {std::vector<std::string>{"jobs"}, {"watch", "1"}}) {
    std::vector<std::string> arguments = words;
    arguments.insert(arguments.end(), {"--coordinator", endpoint});
    const Ran ran = Hone(arguments);
    EXPECT_EQ(ran.code, 6) << words[0];
    EXPECT_NE(ran.err.find(endpoint), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("hone-coordinator"), std::string::npos) << ran.err;
  }
}

// A coordinator with one finished job.
void OneJob(const proto::Frame& request, proto::Frame& reply) {
  if (request.has_ping()) reply.mutable_ping_reply();
  if (request.has_get_job() && request.get_job().job() == 3)
    *reply.mutable_get_job_reply()->mutable_job() = FinishedJob();
  if (request.has_get_job() && request.get_job().job() != 3) {
    reply.mutable_error()->set_code(proto::Error::NOT_FOUND);
    reply.mutable_error()->set_message("there is no such job");
  }
  if (request.has_watch_events()) reply.mutable_watch_events_reply()->set_state(proto::JOB_COMPLETE);
  if (request.has_list_workers()) reply.mutable_list_workers_reply()->add_workers()->set_name("lab-1");
  if (request.has_list_trials()) *reply.mutable_list_trials_reply()->add_trials() = Trial(0, proto::TRIAL_COMPLETE);
}

TEST(HoneTest, QuestionsAboutAJobAnswerInTextAndJson) {
  FakeService service(OneJob);
  const std::map<std::string, std::string> environment = {{"HONE_COORDINATOR", service.endpoint()}};
  struct { const char* command; const char* schema;
  } kCases[] = {{"status", "hone.status/1"}, {"best", "hone.best/1"},   {"pareto", "hone.pareto/1"},
                {"trials", "hone.trials/1"}, {"wait", "hone.status/1"}, {"watch", "hone.status/1"}};
  for (const auto& row : kCases) {
    const Ran text = Hone({row.command, "3"}, 60, environment);
    EXPECT_EQ(text.code, 0) << row.command << text.err;
    EXPECT_FALSE(text.out.empty()) << row.command;
    const Ran json = Hone({row.command, "3", "--json"}, 60, environment);
    EXPECT_EQ(json.code, 0) << row.command;
    EXPECT_EQ(json.json().at("schema"), row.schema);
    EXPECT_EQ(json.json().at("job"), "3");
  }
  EXPECT_EQ(Hone({"status", "4"}, 60, environment).code, 8);
  EXPECT_EQ(Hone({"get", "3/99", "-o", "/nowhere/out"}, 60, environment).code, 8);
  EXPECT_EQ(Hone({"workers", "--json"}, 60, environment).json().at("workers").at(0).at("name"), "lab-1");
}

}  // namespace
}  // namespace hone::test
