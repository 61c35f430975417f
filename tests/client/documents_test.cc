// What `--json` prints, held against the published schemas: answers of a real coordinator and worker. And: no verdict
// that measured nothing is 0.
#include <gtest/gtest.h>

#include "tests/client/fake_service.h"
#include "tests/client/fixtures.h"
#include "tests/support/json_schema.h"
#include "tests/support/programs.h"
#include "tests/support/small_search.h"

namespace hone::test {
namespace {

void ExpectDocument(const Ran& ran, const std::string& schema, int code = 0) {
  EXPECT_EQ(ran.code, code) << schema << "\n" << ran.err;
  const auto document = nlohmann::json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(document.is_object()) << schema << "\n" << ran.out << ran.err;
  const fs::path file = fs::path(HONE_SOURCE_DIR) / "docs/json" / (schema + ".schema.json");
  const auto rules = nlohmann::json::parse(TextOf(file), nullptr, false);
  ASSERT_TRUE(rules.is_object()) << file;
  EXPECT_EQ(SchemaFault(rules, document), "") << schema << "\n" << ran.out.substr(0, 2000);
}

TEST(DocumentsTest, RealAnswersKeepToTheirSchemas) {
  TempFolder folder;
  const SmallSearch search(folder.path());
  Coordinator coordinator(folder.path());
  Worker worker(folder.path(), "lab-1", coordinator.endpoint());
  ASSERT_TRUE(WorkersReady(coordinator.endpoint(), 1));
  const std::map<std::string, std::string> environment = {
      {"HONE_COORDINATOR", coordinator.endpoint()}, {"HONE_KEYS", ""}, {"HOME", folder.path().string()}};
  const auto run = [&](std::vector<std::string> words) {
    words.push_back("--json");
    return Hone(words, 120, environment, folder.path());
  };
  const std::string model = search.model().string(), recipe = search.recipe().string();
  ExpectDocument(run({"check", recipe}), "check");
  // Nothing was measured yet, and the plan says so.
  ExpectDocument(run({"plan", model, "--recipe", recipe}), "plan", 3);
  const Ran submitted = run({"submit", model, "--recipe", recipe, "--trials", "3"});
  ExpectDocument(submitted, "submit");
  const std::string job = submitted.json().at("job");
  ExpectDocument(run({"watch", job}), "status");
  for (const char* name : {"status", "trials", "best", "pareto", "explain", "logs"})
    ExpectDocument(run({name, job}), name);
  ExpectDocument(run({"compare", job + "/baseline", job}), "compare", run({"compare", job + "/baseline", job}).code);
  ExpectDocument(run({"get", job, "-o", (folder / "out").string()}), "result");
  const Ran plan = run({"plan", model, "--recipe", recipe, "--resolve", "1%"});
  ExpectDocument(plan, "plan");
  EXPECT_GT(plan.json().at("trial_s").at("median"), 0);
  for (const char* name : {"jobs", "workers", "passes", "backends", "doctor"}) {
    const Ran ran = run({name});
    ExpectDocument(ran, name, std::string(name) == "doctor" ? ran.code : 0);
  }
  ExpectDocument(run({"passes", "fp16"}), "pass");
  ExpectDocument(run({"inspect", model}), "inspect");
  ExpectDocument(run({"apply", model, "--pass", "fp16", "-o", (folder / "half.onnx").string()}), "apply");
  ExpectDocument(run({"benchmark", model, "--pairs", "2", "--launches", "1"}), "benchmark");
  ExpectDocument(run({"cancel", job}), "cancel");
  ExpectDocument(run({"drain", "lab-1"}), "drain");
  ExpectDocument(run({"config", "show"}), "config");
  ExpectDocument(run({"config", "path"}), "config.path");
  ExpectDocument(run({"context", "add", "lab", "--coordinator", "tcp://lab:1"}), "contexts.change");
  ExpectDocument(run({"context"}), "contexts");
  ExpectDocument(run({"completion", "bash"}), "completion");
  ExpectDocument(run({"status", "99"}), "error", 8);
  ExpectDocument(Hone({"help", "--json"}), "help");

  // Events as they are, and lines with one end; a replay ends in the same line.
  const Ran events = Hone({"watch", job, "--events", "jsonl"}, 60, environment);
  const auto rules = nlohmann::json::parse(TextOf(fs::path(HONE_SOURCE_DIR) / "docs/json/event.schema.json"));
  std::stringstream lines(events.out);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_EQ(SchemaFault(rules, nlohmann::json::parse(line)), "") << line;
  EXPECT_GT(count, 3U);
  const auto end_of = [](const std::string& text) {
    const size_t at = text.find(" event=end ");
    EXPECT_NE(at, std::string::npos) << text;
    EXPECT_EQ(text.find(" event=end ", at + 1), std::string::npos) << text;
    return at == std::string::npos ? "" : text.substr(at);
  };
  EXPECT_EQ(end_of(Hone({"watch", job}, 60, environment).out),
            end_of(Hone({"watch", job, "--replay", "1000x"}, 60, environment).out));
  const Ran compact = Hone({"watch", job, "--compact"}, 60, environment);
  EXPECT_EQ(compact.out.find("event=trial.complete"), std::string::npos) << compact.out;
}

// --- verdicts that measured nothing --------------------------------------------------------------------------------

// A coordinator whose job 3 is over and found nothing; its trials were never timed.
void Fruitless(const proto::Frame& request, proto::Frame& reply) {
  if (request.has_ping()) reply.mutable_ping_reply();
  if (request.has_get_catalogue()) *reply.mutable_get_catalogue_reply()->mutable_catalogue() = SmallCatalogue();
  if (request.has_list_jobs()) reply.mutable_list_jobs_reply();
  if (request.has_watch_events()) reply.mutable_watch_events_reply()->set_state(proto::JOB_COMPLETE);
  if (request.has_list_trials()) {
    *reply.mutable_list_trials_reply()->add_trials() = Trial(0, proto::TRIAL_FAILED);
    *reply.mutable_list_trials_reply()->add_trials() = Trial(1, proto::TRIAL_FAILED);
  }
  if (!request.has_get_job()) return;
  proto::JobSummary& job = *reply.mutable_get_job_reply()->mutable_job();
  job = FinishedJob();
  job.mutable_studies(0)->clear_best();
  job.mutable_studies(0)->clear_pareto();
}

TEST(VerdictTest, NothingMeasuredIsNeverYes) {
  FakeService service(Fruitless);
  struct { std::vector<std::string> words; int code; } kRows[] = {
      {{"wait", "3"}, 1},           {{"watch", "3"}, 1},
      {{"best", "3"}, 1},           {{"pareto", "3"}, 1},
      {{"compare", "3", "3/0"}, 8}, {{"compare", "3/0", "3/1"}, 3},
      {{"compare", "3/0", "3/1", "--expect", "equal"}, 3},
      {{"compare", "3/0", "3/1", "--fresh"}, 3},
      {{"get", "3", "-o", "/nowhere/out"}, 1},
  };
  for (const auto& row : kRows) {
    const Ran ran = Hone(row.words, 60, {{"HONE_COORDINATOR", service.endpoint()}});
    EXPECT_EQ(ran.code, row.code) << row.words[0] << " " << row.words[1] << "\n" << ran.err << ran.out;
    EXPECT_NE(ran.code, 0);
  }
}

// A night over a suite without models, and a measurement that had no time for a single pair.
TEST(VerdictTest, EmptySuitesAndMeasurementsWithoutTimeAreNotYes) {
  TempFolder folder;
  const SmallSearch search(folder.path());
  std::ofstream(folder / "suite.yaml") << "models: []\n";
  EXPECT_NE(Hone({"nightly", "run", (folder / "suite.yaml").string()}, 60, {}, folder.path()).code, 0);
  const Ran hurried = Hone({"benchmark", search.model().string(), "--vs", search.model().string(), "--pairs", "1",
                            "--launches", "1", "--expect", "faster"});
  EXPECT_NE(hurried.code, 0) << hurried.out << hurried.err;
}

}  // namespace
}  // namespace hone::test
