// Who is let in, and what is kept out: roles by endpoint, other sites' pages, foreign names, paths that lead elsewhere,
// clients that dawdle.
#include "coordinator/http/routes.h"
#include "tests/http/fixture.h"

namespace hone::test {
namespace {

using DoorTest = HttpTest;

// The pattern with parameters that fit its form.
std::string TargetOf(const std::string& pattern) {
  static const std::map<std::string, std::string> kExamples = {
      {"{job}", "1"},         {"{trial}", "1"}, {"{worker}", "w1"}, {"{suite}", "s"}, {"{digest}", DigestOf("x")},
      {"{file}", "style.css"}};
  std::string target = pattern;
  for (const auto& [name, value] : kExamples) {
    const size_t at = target.find(name);
    if (at != std::string::npos) target.replace(at, name.size(), value);
  }
  return target;
}

bool IsStream(const HttpRoute& route) { return std::string_view(route.pattern).ends_with("/events"); }

TEST_F(DoorTest, EveryRoleMayDoWhatTheTableSaysAndNothingElse) {
  FakeWorker worker = Worker();
  int asked = 0;
  for (const HttpRoute& route : HttpRoutes()) {
    for (const std::string who : {"", "ann", "adam", "wes", "rex", "nobody"}) {
      HttpHeaders headers;
      if (who == "nobody") headers["Authorization"] = "Bearer hone_wrong";
      if (!who.empty() && who != "nobody") headers = As(who);
      if (IsStream(route)) headers["Accept"] = "application/json";
      const HttpReply reply = HttpCall(port_, MethodName(route.method), TargetOf(route.pattern), headers);
      const bool known = who == "ann" || who == "adam" || who == "wes";
      const bool open = route.access == HttpAccess::open;
      const bool may = open || (who.empty() && route.access == HttpAccess::read) || who == "adam" ||
                       (who == "ann" && route.access != HttpAccess::drain);
      const int refusal = known ? 403 : 401;
      const std::string what =
          std::string(MethodName(route.method)) + " " + route.pattern + " as '" + who + "': " + reply.body;
      if (may) {
        EXPECT_NE(reply.status, 403) << what;
        const bool logs_in = open && route.method == EVHTTP_REQ_POST;
        EXPECT_EQ(reply.status == 401, logs_in) << what;
      } else {
        EXPECT_EQ(reply.status, refusal) << what;
      }
      EXPECT_NE(reply.status, 0) << what;
      EXPECT_NE(reply.status, 500) << what;
      EXPECT_EQ(reply.Header("x-content-type-options"), "nosniff") << what;
      EXPECT_NE(reply.Header("content-security-policy").find("default-src 'none'"), std::string::npos) << what;
      ++asked;
    }
  }
  EXPECT_GT(asked, 150);
}

TEST_F(DoorTest, AnotherSitesPageChangesNothing) {
  const uint64_t job = Finished();
  const std::string cancel = "/api/v1/jobs/" + std::to_string(job) + "/cancel";
  const std::string self = "http://127.0.0.1:" + std::to_string(port_);
  const HttpHeaders cookie = {{"Cookie", "hone_session=" + tokens_["ann"]}};
  const auto with = [&](HttpHeaders headers, const HttpHeaders& more) {
    headers.insert(more.begin(), more.end());
    return Post(cancel, "{}", headers).status;
  };
  EXPECT_EQ(with(cookie, {{"Origin", self}}), 200);
  EXPECT_EQ(with(cookie, {{"Sec-Fetch-Site", "same-origin"}}), 200);
  EXPECT_EQ(with(cookie, {}), 403);
  EXPECT_EQ(with(cookie, {{"Origin", "https://evil.example"}}), 403);
  EXPECT_EQ(with(cookie, {{"Origin", "null"}}), 403);
  EXPECT_EQ(with(cookie, {{"Origin", self}, {"Sec-Fetch-Site", "cross-site"}}), 403);
  EXPECT_EQ(with(As("ann"), {{"Origin", "https://evil.example"}}), 403);
  EXPECT_EQ(with(As("ann"), {}), 200);
  // What a form can send is not taken as JSON.
  EXPECT_EQ(Post(cancel, "{}", As("ann", {{"Content-Type", "text/plain"}})).status, 400);
  const HttpReply in = Post("/api/v1/session", nlohmann::json{{"token", tokens_["ann"]}}.dump());
  EXPECT_NE(in.Header("set-cookie").find("HttpOnly; SameSite=Strict"), std::string::npos) << in.Header("set-cookie");
  EXPECT_EQ(in.body.find(tokens_["ann"]), std::string::npos);
}

TEST_F(DoorTest, ANameThatSomebodyElseGaveThisMachineIsNotAnswered) {
  EXPECT_EQ(Get("/api/v1/jobs", {{"Host", "evil.example"}}).status, 421);
  EXPECT_EQ(Get("/", {{"Host", "evil.example:5780"}}).status, 421);
  EXPECT_EQ(Get("/", {{"Host", ""}}).status, 421);
  EXPECT_EQ(Get("/", {{"Host", "localhost:" + std::to_string(port_)}}).status, 200);
  EXPECT_EQ(Get("/", {{"Host", "[::1]"}}).status, 200);
}

TEST_F(DoorTest, APathThatLeadsElsewhereFindsNothing) {
  for (const char* path : {"/../tokens", "/..%2ftokens", "/%2e%2e/%2e%2e/etc/passwd", "/plots/../../../tokens",
                           "//etc/passwd", "/./index.html", "/api/v1/artifacts/..%2f..%2ftokens",
                           "/api/v1/artifacts/sha256:../../tokens", "/tokens", "/index.html%00.css", "/\\..\\tokens"}) {
    const HttpReply reply = Get(path, As("adam"));
    EXPECT_TRUE(reply.status == 404 || reply.status == 400) << path << ": " << reply.status;
    EXPECT_EQ(reply.body.find("root:"), std::string::npos) << path;
    EXPECT_EQ(reply.body.find("SHA-256"), std::string::npos) << path;
  }
}

TEST_F(DoorTest, ClientsThatDawdleHoldNothingUp) {
  std::vector<std::unique_ptr<HttpConnection>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<HttpConnection>(port_));
    ASSERT_TRUE(slow.back()->Send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "));
  }
  for (int i = 0; i < 20; ++i) {
    for (auto& one : slow) (void)one->Send("a");
    EXPECT_EQ(Get("/healthz").status, 200);
  }
}

TEST_F(DoorTest, RequestsBeyondTheBoundsAreRefused) {
  EXPECT_NE(Get("/healthz", {{"X-Long", std::string(64 << 10, 'x')}}).status, 200);
  const HttpReply large = Post("/api/v1/jobs", "{\"recipe\":\"" + std::string(3 << 20, 'x') + "\"}", As("ann"));
  EXPECT_TRUE(large.status == 413 || large.status == 400 || large.status == 0) << large.status;
  EXPECT_EQ(Put(std::string((1 << 20) + 1, 'x'), 0, 1 << 22, DigestOf("y"), As("ann")).status, 413);
  EXPECT_EQ(Get("/api/v1/jobs?limit=1&limit=2").status, 400);
  EXPECT_EQ(Get("/api/v1/jobs?limit=101").status, 400);
  EXPECT_EQ(Get("/healthz").status, 200);
}

TEST_F(DoorTest, AJobOfAnotherIsCancelledByAnAdministratorAlone) {
  FakeWorker worker = Worker();
  const std::string job = "/api/v1/jobs/" + std::to_string(Submit());
  EXPECT_EQ(Get(job).json().at("owner"), "ann");
  EXPECT_EQ(Post(job + "/cancel", "", As("bob")).status, 403);
  EXPECT_EQ(Post(job + "/cancel", "", As("adam")).status, 200);
  EXPECT_EQ(Get(job).json().at("state"), "cancelled");
}

TEST_F(DoorTest, BehindAProxyNothingIsToldWithoutAToken) {
  coordinator_->Stop();
  StartWith({"--http-behind-proxy"});
  EXPECT_EQ(Get("/api/v1/jobs").status, 401);
  EXPECT_EQ(Get("/metrics").status, 401);
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_EQ(Get("/api/v1/jobs", As("ann", {{"Host", "hone.example"}})).status, 200);
  EXPECT_EQ(Get("/readyz").json().at("checks").at(0).at("detail"), nullptr);
}

TEST_F(DoorTest, WithACertificateItSpeaksTlsAlone) {
  const std::string key = (folder_ / "key.pem").string(), certificate = (folder_ / "cert.pem").string();
  const auto run = [](std::vector<std::string> words) {
    ProcessOptions options;
    options.arguments = std::move(words);
    const auto output = RunCommand(options, Deadline(30));
    return output ? *output : CommandOutput{{-1, 0}, "", output.error().message};
  };
  const auto made =
      run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
           "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate});
  ASSERT_EQ(made.status.code, 0) << made.err;
  coordinator_->Stop();
  StartWith({"--http-tls-cert", certificate, "--http-tls-key", key});
  const std::string url = "https://127.0.0.1:" + std::to_string(port_);
  const auto asked = run({"curl", "-sS", "--cacert", certificate, url + "/version"});
  EXPECT_EQ(nlohmann::json::parse(asked.out, nullptr, false).value("program", ""), "hone-coordinator") << asked.err;
  const auto old = run({"curl", "-sS", "--cacert", certificate, "--tls-max", "1.1", url + "/version"});
  EXPECT_NE(old.status.code, 0);
  EXPECT_EQ(Get("/version").status, 0);
  coordinator_->Stop();
  const Ran unfit =
      RunProgram("hone-coordinator", {"--listen", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--http-tls-cert", key,
                                      "--http-tls-key", certificate, "--data", (folder_ / "other").string()});
  EXPECT_EQ(unfit.code, 78) << unfit.err;
}

TEST_F(DoorTest, OffTheLoopbackItTakesTlsOrAProxy) {
  const Ran ran = RunProgram("hone-coordinator", {"--listen", "tcp://127.0.0.1:0", "--http", "0.0.0.0:0", "--data",
                                                  (folder_ / "other").string()});
  EXPECT_EQ(ran.code, 78) << ran.err;
  EXPECT_NE(ran.err.find("--http-tls-cert"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace hone::test
