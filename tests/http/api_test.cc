// What the API says is what the coordinator knows: the same as the command says, as columns, as changes, as bytes.
#include "tests/http/fixture.h"

namespace hone::test {
namespace {

using ApiTest = HttpTest;

std::string JobPath(uint64_t job) { return "/api/v1/jobs/" + std::to_string(job); }

TEST_F(ApiTest, DocumentsAreThoseThatTheCommandPrints) {
  const uint64_t job = Finished();
  const std::string number = std::to_string(job);
  const auto told = [&](const std::string& path) { return Get(path).json(); };
  const auto printed = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--coordinator", coordinator_->endpoint(), "--json"});
    const Ran ran = Hone(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.json();
  };
  nlohmann::json status = told(JobPath(job));
  for (const char* more : {"recipe", "model_files", "calibration", "evaluation"}) {
    EXPECT_TRUE(status.contains(more)) << more;
    status.erase(more);
  }
  EXPECT_EQ(status, printed({"status", number}));
  EXPECT_EQ(told(JobPath(job) + "/explain"), printed({"explain", number}));
  EXPECT_EQ(told("/api/v1/jobs").at("jobs"), printed({"jobs"}).at("jobs"));
  const nlohmann::json compared = told("/api/v1/compare?trials=" + number + "/1," + number + "/best");
  const nlohmann::json command = printed({"compare", number + "/1", number});
  for (const auto& [name, value] : compared.at("pairs").at(0).items()) EXPECT_EQ(value, command.at(name)) << name;
}

TEST_F(ApiTest, ColumnsHoldEveryTrialAndTheCursorWhatIsNew) {
  FakeWorker worker = Worker();
  const uint64_t job = Submit();
  worker.Work(4);
  const nlohmann::json first = Get(JobPath(job) + "/trials").json();
  const auto rows = [](const nlohmann::json& columns) { return columns.at("rows").get<size_t>(); };
  EXPECT_EQ(first.at("schema"), "hone.trials.columns/1");
  EXPECT_EQ(rows(first), first.at("total").get<size_t>());
  for (const char* name :
       {"trial", "study", "trial_state", "pipeline", "settings", "backend", "worker", "wall_s", "pareto"}) {
    EXPECT_EQ(first.at(name).size(), rows(first)) << name;
  }
  for (const auto& [name, column] : first.at("metrics").items()) EXPECT_EQ(column.size(), rows(first)) << name;
  const std::string cursor = first.at("cursor");
  EXPECT_EQ(rows(Get(JobPath(job) + "/trials?since=" + cursor).json()), 0u);
  ASSERT_TRUE(Eventually([&] {
    worker.Work();
    return Get(JobPath(job)).json().at("state") == "complete";
  }));
  const nlohmann::json changed = Get(JobPath(job) + "/trials?since=" + cursor).json();
  const nlohmann::json all = Get(JobPath(job) + "/trials").json();
  EXPECT_EQ(all.at("state"), "complete");
  EXPECT_EQ(changed.at("reset"), false);
  EXPECT_GT(rows(changed), 0u);
  EXPECT_LE(rows(changed), rows(all));
  EXPECT_EQ(rows(all), kCandidates + 1);
  // Rows that were not told as changed are as they were.
  std::set<uint64_t> news = changed.at("trial").get<std::set<uint64_t>>();
  for (size_t i = 0; i < rows(first); ++i) {
    if (news.count(first.at("trial")[i].get<uint64_t>()) > 0) continue;
    EXPECT_EQ(first.at("words")[first.at("trial_state")[i].get<size_t>()],
              all.at("words")[all.at("trial_state")[i].get<size_t>()]);
  }
  EXPECT_EQ(Get(JobPath(job) + "/trials?since=another.3").json().at("reset"), true);
  const nlohmann::json page = Get(JobPath(job) + "/trials?limit=3&from=2").json();
  EXPECT_EQ(rows(page), 3u);
  EXPECT_EQ(page.at("next"), 5);
  EXPECT_EQ(page.at("trial")[0], 2);
  EXPECT_EQ(rows(Get(JobPath(job) + "/trials?state=failed").json()), 0u);
  const nlohmann::json some = Get(JobPath(job) + "/trials?metrics=speedup,size_bytes").json();
  EXPECT_EQ(some.at("metrics").size(), 2u);
  EXPECT_EQ(some.at("metrics").at("speedup"), all.at("metrics").at("speedup"));
}

TEST_F(ApiTest, ATrialHasItsSamplesItsAttemptsAndWhatRepeatsIt) {
  const uint64_t job = Finished();
  const nlohmann::json trial = Get(JobPath(job) + "/trials/best").json();
  EXPECT_GT(trial.at("samples").at("candidate.latency_ms").size(), 0u);
  EXPECT_GT(trial.at("baseline").at("metrics").at("latency_ms_p50"), 0);
  EXPECT_FALSE(trial.at("attempts_log").empty());
  EXPECT_NE(trial.at("command").get<std::string>().find("hone"), std::string::npos);
  const std::string digest = trial.at("model_files").at("files").at(0).at("digest");
  const HttpReply model = Get("/api/v1/artifacts/" + digest);
  EXPECT_EQ(DigestOf(model.body), digest);
  const HttpReply part = Get("/api/v1/artifacts/" + digest, {{"Range", "bytes=2-4"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, model.body.substr(2, 3));
  EXPECT_EQ(Get("/api/v1/artifacts/" + digest, {{"Range", "bytes=99999-"}}).status, 416);
  EXPECT_EQ(Get("/api/v1/artifacts/" + digest, {{"If-None-Match", model.Header("etag")}}).status, 304);
  const nlohmann::json attempts = Get(JobPath(job) + "/attempts").json();
  EXPECT_EQ(attempts.at("attempt").size(), attempts.at("rows").get<size_t>());
  EXPECT_GT(attempts.at("rows").get<size_t>(), kCandidates);
}

TEST_F(ApiTest, ASubmissionThatIsWrongSaysWhereAndOneThatIsRepeatedIsTheSameJob) {
  FakeWorker worker = Worker();
  (void)Submit();
  nlohmann::json submission = nlohmann::json::parse(SubmissionOf());
  submission["recipe"] = "passes: [half]\nsaerch: {}\n";
  const HttpReply wrong = Post("/api/v1/jobs", submission.dump(), As("ann"));
  EXPECT_EQ(wrong.status, 422);
  EXPECT_EQ(wrong.Header("content-type"), "application/problem+json");
  EXPECT_EQ(wrong.json().at("position").at("line"), 2);
  EXPECT_EQ(wrong.json().at("code"), 9);
  EXPECT_NE(wrong.body.find("did you mean 'search'"), std::string::npos) << wrong.body;
  submission["recipe"] = kRecipe;
  submission["recepie"] = 1;
  EXPECT_EQ(Post("/api/v1/jobs", submission.dump(), As("ann")).status, 422);
  submission.erase("recepie");
  submission["request"] = "once";
  const HttpReply first = Post("/api/v1/jobs", submission.dump(), As("ann"));
  EXPECT_EQ(first.Header("location"), "/api/v1/jobs/" + first.json().at("job").get<std::string>());
  EXPECT_EQ(Post("/api/v1/jobs", submission.dump(), As("ann")).json().at("job"), first.json().at("job"));
  EXPECT_EQ(Get("/api/v1/jobs/99").status, 404);
  EXPECT_EQ(Get("/api/v1/jobs/99").json().at("name"), "not_found");
}

TEST_F(ApiTest, ANameIsTextWhateverItHolds) {
  FakeWorker worker = Worker();
  (void)Submit();
  const std::string hostile = "<script>alert(1)</script>\"'&\xE2\x80\xAE";
  EXPECT_EQ(Post("/api/v1/jobs", SubmissionOf(kRecipe, "the model", hostile), As("ann")).status, 201);
  const HttpReply reply = Get("/api/v1/jobs");
  EXPECT_TRUE(reply.Header("content-type").starts_with("application/json"));
  EXPECT_EQ(reply.json().at("jobs").at(0).at("name").get<std::string>().find("<script>alert(1)</script>"), 0u);
}

TEST_F(ApiTest, JobsAreFoundByPagesAndFilters) {
  FakeWorker worker = Worker();
  for (int i = 0; i < 23; ++i) {
    EXPECT_NE(Submit(), 0u);
  }
  EXPECT_EQ(Post("/api/v1/jobs/7/cancel", "", As("ann")).status, 200);
  std::vector<std::string> seen;
  nlohmann::json next = "0";
  while (!next.is_null()) {
    const nlohmann::json page = Get("/api/v1/jobs?limit=5&before=" + next.get<std::string>()).json();
    for (const auto& job : page.at("jobs")) seen.push_back(job.at("job"));
    next = page.at("next");
  }
  ASSERT_EQ(seen.size(), 23u);
  EXPECT_EQ(seen.front(), "23");
  EXPECT_EQ(seen.back(), "1");
  const nlohmann::json cancelled = Get("/api/v1/jobs?state=cancelled").json().at("jobs");
  ASSERT_EQ(cancelled.size(), 1u);
  EXPECT_EQ(cancelled.at(0).at("job"), "7");
  EXPECT_EQ(Get("/api/v1/jobs?owner=ann&limit=100").json().at("jobs").size(), 23u);
  EXPECT_EQ(Get("/api/v1/jobs?owner=eve").json().at("jobs").size(), 0u);
  EXPECT_EQ(Get("/api/v1/jobs?state=runing").status, 400);
}

TEST_F(ApiTest, AFileOfThePageIsSentOnceAndCompressed) {
  const HttpReply plain = Get("/");
  const HttpReply packed = Get("/", {{"Accept-Encoding", "gzip, br"}});
  EXPECT_EQ(plain.body, packed.body);
  EXPECT_EQ(packed.Header("content-encoding"), "gzip");
  EXPECT_LT(packed.transferred, plain.transferred);
  EXPECT_EQ(plain.body, TextOf(fs::path(HONE_SOURCE_DIR) / "coordinator/page/index.html"));
  EXPECT_EQ(Get("/", {{"If-None-Match", plain.Header("etag")}}).status, 304);
  EXPECT_EQ(Get("/style.css").Header("content-type"), "text/css; charset=utf-8");
  EXPECT_EQ(HttpCall(port_, "HEAD", "/style.css").Header("content-length"),
            std::to_string(Get("/style.css").body.size()));
}

TEST_F(ApiTest, FiguresCountWhatHappens) {
  (void)Finished();
  const std::string text = Get("/metrics").body;
  EXPECT_NE(text.find("hone_jobs_finished_total{outcome=\"complete\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("hone_workers{state=\"ready\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("hone_trials{state=\"running\"} 0\n"), std::string::npos) << text;
  // What the Grafana dashboard asks for is there.
  const std::string dashboard = TextOf(fs::path(HONE_SOURCE_DIR) / "ops/grafana/hone.json");
  std::set<std::string> asked;
  for (size_t at = dashboard.find("hone_"); at != std::string::npos; at = dashboard.find("hone_", at + 1)) {
    asked.insert(dashboard.substr(at, dashboard.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at) - at));
  }
  EXPECT_GT(asked.size(), 12u);
  for (const std::string& name : asked) EXPECT_NE(text.find("\n" + name), std::string::npos) << name;
}

}  // namespace
}  // namespace hone::test
