// What `--json` prints, held against the published schemas: answers of a real coordinator and worker. And: no verdict
// that measured nothing is 0.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

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

// A coordinator with a worker, the files of a small search, and the command beside them.
class DocumentsTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(WorkersReady(coordinator_.endpoint(), 1)); }

  Ran Run(std::vector<std::string> words) {
    words.push_back("--json");
    return Hone(words, 120, environment_, folder_.path());
  }
  // Of a finished job of the small search.
  std::string Job() {
    const Ran submitted = Run({"submit", model_, "--recipe", recipe_, "--trials", "3"});
    ExpectDocument(submitted, "submit");
    const std::string job = submitted.json().at("job");
    ExpectDocument(Run({"watch", job}), "status");
    return job;
  }

  TempFolder folder_;
  const SmallSearch search_{folder_.path()};
  Coordinator coordinator_{folder_.path()};
  Worker worker_{folder_.path(), "lab-1", coordinator_.endpoint()};
  const std::map<std::string, std::string> environment_ = {
      {"HONE_COORDINATOR", coordinator_.endpoint()}, {"HONE_KEYS", ""}, {"HOME", folder_.path().string()}};
  const std::string model_ = search_.model().string();
  const std::string recipe_ = search_.recipe().string();
};

TEST_F(DocumentsTest, AnswersAboutAJobKeepToTheirSchemas) {
  ExpectDocument(Run({"check", recipe_}), "check");
  // Nothing was measured yet, and the plan says so.
  ExpectDocument(Run({"plan", model_, "--recipe", recipe_}), "plan", 3);
  const std::string job = Job();
  for (const char* name : {"status", "trials", "best", "pareto", "explain", "logs"})
    ExpectDocument(Run({name, job}), name);
  ExpectDocument(Run({"compare", job + "/baseline", job}), "compare", Run({"compare", job + "/baseline", job}).code);
  ExpectDocument(Run({"get", job, "-o", (folder_ / "out").string()}), "result");
  ExpectDocument(Run({"get", job + "/0", "-o", (folder_ / "baseline").string()}), "trial");
  ExpectDocument(Run({"report", job, "--html", (folder_ / "job.html").string()}), "report.written");
  const Ran plan = Run({"plan", model_, "--recipe", recipe_, "--resolve", "1%"});
  ExpectDocument(plan, "plan");
  EXPECT_GT(plan.json().at("trial_s").at("median"), 0);
  ExpectDocument(Run({"cancel", job}), "cancel");
  ExpectDocument(Run({"status", "99"}), "error", 8);

  // Events as they are, and lines with one end; a replay ends in the same line.
  const Ran events = Hone({"watch", job, "--events", "jsonl"}, 60, environment_);
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
  EXPECT_EQ(end_of(Hone({"watch", job}, 60, environment_).out),
            end_of(Hone({"watch", job, "--replay", "1000x"}, 60, environment_).out));
  const Ran compact = Hone({"watch", job, "--compact"}, 60, environment_);
  EXPECT_EQ(compact.out.find("event=trial.complete"), std::string::npos) << compact.out;
}

TEST_F(DocumentsTest, AnswersAboutModelsMachinesAndSettingsKeepToTheirSchemas) {
  const std::string data = (folder_ / "data.npz").string(), half = (folder_ / "half.onnx").string();
  ExpectDocument(Run({"passes", "fp16"}), "pass");
  ExpectDocument(Run({"inspect", model_}), "inspect");
  ExpectDocument(Run({"apply", model_, "--pass", "fp16", "-o", half}), "apply");
  ExpectDocument(Run({"benchmark", model_, "--pairs", "2", "--launches", "1"}), "benchmark");
  ExpectDocument(Run({"evaluate", half, "--against", model_, "--data", data}), "evaluate");
  ExpectDocument(Run({"sensitivity", model_, "--data", data, "--no-time"}), "sensitivity");
  ExpectDocument(Run({"export", model_, "--format", "folder", "-o", (folder_ / "served").string()}), "export");
  std::ofstream(folder_ / "olive.json") << R"({"input_model": {"type": "ONNXModel", "model_path": "mlp.onnx"},
      "passes": {"h": {"type": "OnnxFloatToFloat16"}}})";
  const Ran imported = Run({"import", "olive", (folder_ / "olive.json").string()});
  ExpectDocument(imported, "import", imported.code);
  for (const char* name : {"jobs", "workers", "passes", "backends", "doctor"}) {
    const Ran ran = Run({name});
    ExpectDocument(ran, name, std::string(name) == "doctor" ? ran.code : 0);
  }
  ExpectDocument(Run({"drain", "lab-1"}), "drain");
  ExpectDocument(Run({"config", "show"}), "config");
  ExpectDocument(Run({"config", "path"}), "config.path");
  ExpectDocument(Run({"context", "add", "lab", "--coordinator", "tcp://lab:1"}), "contexts.change");
  ExpectDocument(Run({"context"}), "contexts");
  ExpectDocument(Run({"completion", "bash"}), "completion");
  ExpectDocument(Hone({"help", "--json"}), "help");
  const std::string store = coordinator_.data().string();
  ExpectDocument(Run({"fsck", store}), "fsck");
  ExpectDocument(Run({"backup", store, "-o", (folder_ / "backup.db").string()}), "backup");
}

TEST_F(DocumentsTest, AnswersAboutNightsKeepToTheirSchemas) {
  const std::string suite = (folder_ / "nights.yaml").string(), half = (folder_ / "half.onnx").string();
  std::ofstream(suite) << R"(
models: [{name: a, model: mlp.onnx}]
targets: [{name: any, tags: [cpu]}]
metrics: {latency_ms_p50: 2%, size_bytes: 1%}
measure: {pairs: 1, most_pairs: 1, blocks: 1, stolen: 100%}
)";
  ASSERT_EQ(Run({"apply", model_, "--pass", "fp16", "-o", half}).code, 0);
  ExpectDocument(Run({"nightly", "run", suite, "-q"}), "nightly");
  ExpectDocument(Run({"nightly", "report", suite}), "nightly");
  ExpectDocument(Run({"nightly", "history", suite}), "nightly.history");
  ExpectDocument(Run({"nightly", "annotate", suite, "--text", "a new kernel"}), "nightly.change");
  ExpectDocument(Run({"nightly", "accept", suite}), "nightly.change");
  const Ran bisect =
      Run({"nightly", "bisect", suite, "--metric", "size_bytes", "--artifact", model_, "--artifact", half});
  ExpectDocument(bisect, "nightly.bisect", bisect.code);
}

// What an export holds is made again; what a changed source makes is told apart.
TEST_F(DocumentsTest, AnswersOfReproduceKeepToTheirSchema) {
  const std::string job = Job();
  std::string trial = "/0";
  const nlohmann::json trials = Run({"trials", job}).json().at("trials");
  for (const auto& one : trials) {
    if (one.at("state") == "complete" && !one.at("pipeline").empty())
      trial = fmt::format("/{}", one.at("trial").get<int>());
  }
  const fs::path served = folder_ / "served";
  ExpectDocument(Run({"export", job + trial, "--format", "folder", "-o", served.string()}), "export");
  std::string manifest;
  for (const auto& file : fs::recursive_directory_iterator(served)) {
    if (file.path().filename() == "hone.manifest.json") manifest = file.path().string();
  }
  const Ran ran = Run({"reproduce", manifest, "--model", model_, "-o", (folder_ / "again").string()});
  ExpectDocument(ran, "reproduce");
  EXPECT_EQ(ran.json().at("same"), true);
}

TEST_F(DocumentsTest, EveryMistakeOfARecipeIsToldInOneRun) {
  const std::string bad = (folder_ / "bad.yaml").string();
  std::ofstream(bad) << R"(data: {evaluation: {path: data.npz}}
passes:
  - simplfy
  - choose: [none, fp61, {static_int8: {obsrver: minmax, activations: int9}}]
backends: {openvno: {}, onnxruntime: {inter_op_thread: 1}}
search: {trials: 3, sampler: randm}
)";
  const std::vector<std::string> places = {"3:5", "4:20", "4:41", "4:58", "5:12", "5:39", "6:1"};
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"check", bad},
        {"plan", model_, "--recipe", bad},
        {"submit", model_, "--recipe", bad},
        {"submit", model_, "--recipe", bad, "--dry-run"},
        {"optimize", model_, "--recipe", bad, "-o", (folder_ / "out").string()}}) {
    const Ran ran = Run(words);
    ExpectDocument(ran, "error", 9);
    const nlohmann::json document = ran.json();
    std::vector<std::string> told;
    const auto tell = [&](const nlohmann::json& error) {
      told.push_back(fmt::format("{}:{}", error.at("line").dump(), error.at("column").dump()));
    };
    tell(document);
    for (const auto& other : document.at("others")) tell(other);
    EXPECT_EQ(told, places) << words[0] << "\n" << ran.err;
  }
  EXPECT_TRUE(Run({"jobs"}).json().at("jobs").empty());
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(DocumentsTest, ADryRunTellsTheSearchAndChangesNothing) {
  const std::vector<std::string> submit = {"submit", model_, "--recipe", recipe_, "--trials", "3", "--dry-run"};
  const Ran before = Run(submit);
  ExpectDocument(before, "plan");
  EXPECT_EQ(before.json().at("studies").at(0).at("trials"), 3);
  EXPECT_EQ(before.json().at("studies").at(0).at("workers").at(0), "lab-1");
  EXPECT_EQ(before.json().at("data").at("evaluation").at("samples"), 8);
  EXPECT_EQ(before.json().at("budget").at("trials"), 3);
  EXPECT_EQ(before.json().at("earlier").at("jobs"), 0);
  EXPECT_TRUE(Run({"jobs"}).json().at("jobs").empty());
  Job();
  EXPECT_EQ(Run(submit).json().at("earlier").at("jobs"), 1);
  const Ran text = Hone(submit, 60, environment_);
  EXPECT_EQ(text.code, 0);
  for (const char* part : {"goal      minimize size_bytes", "budget    3 trials", "reuse     3 trials of 1 earlier",
                           "dry run   nothing was submitted"}) {
    EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
  }
  const fs::path out = folder_ / "out";
  const Ran here = Run({"optimize", model_, "--recipe", recipe_, "-o", out.string(), "--dry-run"});
  ExpectDocument(here, "plan");
  EXPECT_TRUE(here.json().at("earlier").is_null());
  EXPECT_FALSE(fs::exists(out));
}

TEST(KeysAndTokensTest, AnswersKeepToTheirSchemas) {
  TempFolder folder;
  const std::string keys = (folder / "keys").string(), tokens = (folder / "tokens").string();
  const auto run = [&](std::vector<std::string> words) {
    words.push_back("--json");
    return Hone(words, 60, {{"HOME", folder.path().string()}, {"HONE_KEYS", ""}}, folder.path());
  };
  ExpectDocument(run({"keys", "new", "lab", "--role", "coordinator", "--keys", keys}), "key");
  ExpectDocument(run({"keys", "new", "client", "--keys", keys}), "key");
  ExpectDocument(run({"keys", "show", "client", "--keys", keys}), "key");
  ExpectDocument(run({"keys", "list", "--keys", keys}), "keys");
  const std::string key = run({"keys", "new", "anna", "--keys", (folder / "anna").string()}).json().at("public");
  ExpectDocument(run({"keys", "allow", "anna", "--key", key, "--keys", keys}), "keys.change");
  ExpectDocument(run({"keys", "revoke", "anna", "--keys", keys}), "keys.change");
  ExpectDocument(run({"token", "create", "ci", "--tokens", tokens}), "token");
  ExpectDocument(run({"token", "list", "--tokens", tokens}), "tokens");
  ExpectDocument(run({"token", "revoke", "ci", "--tokens", tokens}), "tokens.change");
}

// The page's table and the folder of schemas name the same documents.
TEST(SchemasTest, EachIsToldInThePage) {
  const fs::path docs = fs::path(HONE_SOURCE_DIR) / "docs";
  const std::string page = TextOf(docs / "cli.md");
  const std::regex name("`hone\\.([a-z.]+)/1`");
  std::set<std::string> told, there;
  for (auto at = std::sregex_iterator(page.begin(), page.end(), name); at != std::sregex_iterator(); ++at)
    told.insert((*at)[1]);
  for (const auto& file : fs::directory_iterator(docs / "json")) {
    const std::string whole = file.path().filename().string();
    there.insert(whole.substr(0, whole.find(".schema.json")));
  }
  EXPECT_EQ(told, there);
}

// --- verdicts that measured nothing --------------------------------------------------------------------------------

// A coordinator whose job 3 is over and found nothing; its trials were never timed.
void Fruitless(const proto::Frame& request, proto::Frame& reply) {
  if (request.has_ping()) reply.mutable_ping_reply();
  if (request.has_get_catalogue()) *reply.mutable_get_catalogue_reply()->mutable_catalogue() = SmallCatalogue();
  if (request.has_list_jobs()) reply.mutable_list_jobs_reply();
  if (request.has_watch_events()) reply.mutable_watch_events_reply()->set_state(proto::JOB_COMPLETE);
  if (request.has_retry_job()) reply.mutable_retry_job_reply()->set_trials(2);
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
  ExpectDocument(Hone({"retry", "3", "--json"}, 60, {{"HONE_COORDINATOR", service.endpoint()}}), "retry");
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
