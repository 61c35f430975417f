// Every operation of docs/openapi.yaml is called, and its real answer held against the document by a validator that is
// not ours (validate.py); what is served and what is described are the same.
#include "client/nightly/history.h"
#include "coordinator/http/routes.h"
#include "tests/http/fixture.h"

namespace hone::test {
namespace {

void WriteHistory(const fs::path& file) {
  auto history = NightHistory::Open(file);
  ASSERT_TRUE(history) << history.error().message;
  for (int i = 0; i < 3; ++i) {
    NightRecord night;
    night.id = "2026-11-2" + std::to_string(i);
    night.suite = "fleet";
    night.started_unix_ms = 1'790'000'000'000 + i * int64_t{86'400'000};
    night.finished_unix_ms = night.started_unix_ms + 60'000;
    SeriesResult& result = night.results.emplace_back();
    result.key = {"mlp", "cpu", "latency_ms_p50", "recipe", "machine", "onnxruntime 1"};
    result.judgement.effect = 0.01 * i;
    result.judgement.interval = {-0.01, 0.03};
    result.accepted = "sha256:1 onnxruntime {}";
    result.accepted_median = 5;
    result.tonight_median = 5.1;
    ASSERT_TRUE(history->Save(night));
  }
  ASSERT_TRUE(history->Annotate("fleet", {1'790'000'000'000, "mlp", "", "", "a new <kernel>", "ann", ""}));
}

class DocumentTest : public HttpTest {
 protected:
  // Calls and notes the answer.
  HttpReply Call(const std::string& method, const std::string& pattern, const std::string& target,
                 const HttpHeaders& headers = {}, const std::string& body = "") {
    const HttpReply reply = HttpCall(port_, method, target, headers, body);
    const bool is_text = reply.Header("content-type") != "application/octet-stream";
    calls_.push_back({{"method", method},
                      {"pattern", pattern},
                      {"status", reply.status},
                      {"type", reply.Header("content-type")},
                      {"body", is_text ? reply.body : ""}});
    return reply;
  }
  Ran Validate() {
    nlohmann::json routes = nlohmann::json::array();
    for (const HttpRoute& route : HttpRoutes())
      routes.push_back(std::string(MethodName(route.method)) + " " + route.pattern);
    std::ofstream(folder_ / "calls.json") << nlohmann::json{{"routes", routes}, {"calls", calls_}}.dump();
    ProcessOptions options;
    options.arguments = {"/usr/bin/python3", fs::path(HONE_TESTS_HTTP) / "validate.py",
                         fs::path(HONE_SOURCE_DIR) / "docs/openapi.yaml", folder_ / "calls.json"};
    const auto output = RunCommand(options, Deadline(60));
    if (!output) return {-1, 0, "", output.error().message};
    return {output->status.code, output->status.signal, output->out, output->err};
  }

  nlohmann::json calls_ = nlohmann::json::array();
};

TEST_F(DocumentTest, EveryOperationAnswersAsTheDocumentSays) {
  const std::string model = "the model";
  HttpHeaders piece = As("ann", {{"Content-Range", "bytes 0-3/9"}, {"Content-Type", "application/octet-stream"}});
  const std::string artifact = "/api/v1/artifacts/" + DigestOf(model);
  Call("PUT", "/api/v1/artifacts/{digest}", artifact, piece, "the ");
  piece["Content-Range"] = "bytes 4-8/9";
  Call("PUT", "/api/v1/artifacts/{digest}", artifact, piece, "model");
  Call("GET", "/api/v1/jobs", "/api/v1/jobs");
  Call("POST", "/api/v1/jobs", "/api/v1/jobs", As("ann"), SubmissionOf());  // No worker yet: refused.
  FakeWorker worker = Worker();
  worker.alter = [](const proto::Lease& lease, proto::Report& report) {
    if (lease.trial() != 3) return;
    report.set_outcome(proto::Report::FAILED);
    report.clear_result();
    report.mutable_error()->set_code(proto::Error::FAILED);
    report.mutable_error()->set_message("made to fail");
  };
  const HttpReply submitted = Call("POST", "/api/v1/jobs", "/api/v1/jobs", As("ann"), SubmissionOf());
  ASSERT_EQ(submitted.status, 201) << submitted.body;
  const std::string job = "/api/v1/jobs/" + submitted.json().at("job").get<std::string>();
  const auto look = [&](const char* suffix) { Call("GET", std::string("/api/v1/jobs/{job}") + suffix, job + suffix); };
  const auto look_at_all = [&] {
    for (const char* suffix : {"", "/trials", "/attempts", "/explain"}) look(suffix);
    for (const char* trial : {"0", "1", "best", "999999"})
      Call("GET", "/api/v1/jobs/{job}/trials/{trial}", job + "/trials/" + trial);
    Call("GET", "/api/v1/jobs/{job}/events", job + "/events?after=0", {{"Accept", "application/json"}});
    Call("GET", "/api/v1/events", "/api/v1/events?after=0", {{"Accept", "application/json"}});
    Call("GET", "/api/v1/compare", "/api/v1/compare?trials=1/baseline,1/1,1/best");
    for (const char* path :
         {"/api/v1/workers", "/api/v1/fleet", "/api/v1/nightly", "/readyz", "/healthz", "/version", "/metrics"})
      Call("GET", path, path);
    Call("GET", "/api/v1/jobs", "/api/v1/jobs?state=running,complete&limit=1");
  };
  look_at_all();
  worker.Work(5);
  look_at_all();
  ASSERT_TRUE(Eventually([&] {
    worker.Work();
    return Get(job).json().value("state", "") == "complete";
  }));
  look_at_all();
  Call("POST", "/api/v1/jobs/{job}/retry", job + "/retry", As("ann"), "{}");
  Call("POST", "/api/v1/jobs/{job}/cancel", job + "/cancel", As("ann"), R"({"reason":"enough"})");
  Call("POST", "/api/v1/workers/{worker}/drain", "/api/v1/workers/w1/drain", As("adam"));
  Call("POST", "/api/v1/workers/{worker}/undrain", "/api/v1/workers/w1/undrain", As("adam"));
  for (const char* method : {"GET", "HEAD"}) Call(method, "/api/v1/artifacts/{digest}", artifact);
  Call("GET", "/api/v1/artifacts/{digest}", artifact, {{"Range", "bytes=4-"}});
  Call("GET", "/api/v1/session", "/api/v1/session", As("ann"));
  Call("POST", "/api/v1/session", "/api/v1/session", {}, nlohmann::json{{"token", tokens_["ann"]}}.dump());
  Call("POST", "/api/v1/session", "/api/v1/session", {}, R"({"token":"wrong"})");
  Call("DELETE", "/api/v1/session", "/api/v1/session");
  Call("GET", "/", "/");
  Call("GET", "/{file}", "/style.css");
  Call("GET", "/{file}", "/nothing.js");
  Call("GET", "/api/v1/openapi.yaml", "/api/v1/openapi.yaml");
  // A suite with two nights, as hone nightly leaves it.
  Call("GET", "/api/v1/nightly/{suite}", "/api/v1/nightly/none");
  coordinator_->Stop();
  const fs::path history = folder_ / "nights.db";
  WriteHistory(history);
  StartWith({"--nightly", history.string()});
  Call("GET", "/api/v1/nightly", "/api/v1/nightly");
  Call("GET", "/api/v1/nightly/{suite}", "/api/v1/nightly/fleet");
  const Ran ran = Validate();
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
}

}  // namespace
}  // namespace hone::test
