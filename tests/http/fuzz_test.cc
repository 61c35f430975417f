// Seeded nonsense to every endpoint: whatever comes, the answer is one, never a 500, and the coordinator goes on.
#include <random>

#include "coordinator/http/routes.h"
#include "tests/http/fixture.h"
#include "tests/support/setting.h"

namespace hone::test {
namespace {

class FuzzTest : public HttpTest {
 protected:
  size_t Below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }
  bool OneIn(size_t count) { return Below(count) == 0; }
  std::string Pick(const std::vector<std::string>& words) { return words[Below(words.size())]; }

  std::string Noise(size_t most) {
    std::string text(Below(most) + 1, ' ');
    for (char& c : text) c = static_cast<char>(OneIn(3) ? Below(256) : 33 + Below(94));
    return text;
  }
  // What stands in a target: anything but its separators' raw bytes.
  std::string TargetNoise(size_t most) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : Noise(most)) {
      const auto byte = static_cast<unsigned char>(c);
      if (OneIn(2) || byte <= 32 || byte >= 127) {
        text += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
      } else {
        text += c;
      }
    }
    return text;
  }
  std::string Word() {
    return OneIn(3) ? TargetNoise(20)
                    : Pick({"0",
                            "1",
                            "2",
                            "-1",
                            "18446744073709551615",
                            "9223372036854775807",
                            "9223372036854775808",
                            "best",
                            "baseline",
                            "w1",
                            "1/1,1/2",
                            "1/best,1/baseline",
                            "running",
                            "complete",
                            "x.1",
                            "%00",
                            "%ff%fe",
                            "..%2f..",
                            "1e9",
                            "0x10",
                            DigestOf("the model"),
                            "sha256:0",
                            "fleet",
                            ""});
  }
  std::string Target(const std::string& pattern) {
    std::string target;
    size_t at = 0;
    while (at < pattern.size()) {
      const size_t open = pattern.find('{', at);
      target += pattern.substr(at, open - at);
      if (open == std::string::npos) break;
      target += Word();
      at = pattern.find('}', open) + 1;
    }
    const size_t parts = OneIn(2) ? 0 : Below(4);
    for (size_t i = 0; i < parts; ++i) {
      target +=
          (i == 0 ? "?" : "&") +
          (OneIn(4)
               ? TargetNoise(8)
               : Pick({"limit", "before", "after", "since", "from", "study", "state", "trials", "name", "owner"})) +
          "=" + Word();
    }
    return target;
  }
  nlohmann::json JsonNoise(int depth) {
    switch (Below(depth > 3 ? 5 : 8)) {
      case 0:
        return nullptr;
      case 1:
        return OneIn(2);
      case 2:
        return std::uniform_int_distribution<int64_t>(INT64_MIN, INT64_MAX)(random_);
      case 3:
        return 1e308 * (OneIn(2) ? 1 : -1);
      case 4:
        return Pick({"", "the model", "onnx", "../x", "model.onnx", DigestOf("the model"), kRecipe,
                     "passes: [{choose: [none]}]", "a: &a [*a]"});
      case 5: {
        nlohmann::json list = nlohmann::json::array();
        for (size_t i = Below(4); i > 0; --i) list.push_back(JsonNoise(depth + 1));
        return list;
      }
      default: {
        nlohmann::json object = nlohmann::json::object();
        for (size_t i = Below(6); i > 0; --i) {
          object[Pick({"recipe", "model", "files", "path", "digest", "size_bytes", "format", "main", "name", "priority",
                       "request", "reason", "study", "trial", "token", "x"})] = JsonNoise(depth + 1);
        }
        return object;
      }
    }
  }
  std::string Body() {
    if (OneIn(3)) return "";
    if (OneIn(4)) return Noise(400);
    std::string text;
    if (OneIn(2)) {
      nlohmann::json submission = nlohmann::json::parse(SubmissionOf());
      submission[Pick({"recipe", "model", "name", "priority", "evaluation", "other"})] = JsonNoise(0);
      text = submission.dump();
    } else {
      text = JsonNoise(0).dump();
    }
    if (OneIn(4)) text[Below(text.size())] = static_cast<char>(Below(256));
    if (OneIn(6)) text.resize(Below(text.size()) + 1);
    return text;
  }
  HttpHeaders Headers() {
    HttpHeaders headers = OneIn(4) ? HttpHeaders() : As(Pick({"ann", "adam", "wes"}));
    // A stream has no end to wait for.
    headers["Accept"] = "application/json";
    if (OneIn(4))
      headers["Range"] = Pick({"bytes=0-", "bytes=-5", "bytes=9-1", "bytes=99999999999999999999-", "bytes=a-b",
                               "bytes=0-0,1-1", "lines=1-2"});
    if (OneIn(4))
      headers["Content-Range"] = Pick({"bytes 0-8/9", "bytes 0-8/8", "bytes 9-0/1", "bytes -1-2/3", "x",
                                       "bytes 0-18446744073709551615/18446744073709551615"});
    if (OneIn(6)) headers["Last-Event-ID"] = Pick({"0", "x", "-1", "99999999999999999999"});
    if (OneIn(6)) headers["Accept-Encoding"] = "gzip";
    if (OneIn(8)) headers["Cookie"] = Pick({"hone_session=", "hone_session=x; a=b", ";;=;", "a"});
    if (OneIn(8)) headers["Content-Type"] = Pick({"application/json; charset=utf-8", "text/plain", ""});
    return headers;
  }

  std::mt19937_64 random_{Setting("HONE_FUZZ_SEED", 11)};
};

TEST_F(FuzzTest, NonsenseToEveryEndpointIsAnsweredAndBreaksNothing) {
  (void)Finished();
  const auto routes = HttpRoutes();
  const uint64_t rounds = Setting("HONE_FUZZ_REQUESTS", 3000);
  std::map<int, int> statuses;
  auto connection = std::make_unique<HttpConnection>(port_);
  for (uint64_t i = 0; i < rounds; ++i) {
    const HttpRoute& route = routes[i % routes.size()];
    const std::string method =
        OneIn(12) ? Pick({"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) : MethodName(route.method);
    const std::string target = Target(route.pattern);
    const std::string body = method == "GET" || method == "HEAD" ? "" : Body();
    if (!connection->open()) connection = std::make_unique<HttpConnection>(port_);
    if (!connection->Send(HttpRequestText(method, target, Headers(), body, port_))) {
      connection = std::make_unique<HttpConnection>(port_);
      continue;
    }
    const HttpReply reply = connection->Answer(method != "HEAD");
    ++statuses[reply.status];
    ASSERT_NE(reply.status, 500) << method << " " << target << "\n" << body << "\n" << reply.body;
    ASSERT_TRUE(coordinator_->Runs()) << method << " " << target << "\n" << body << "\n" << coordinator_->Log();
    if (reply.status == 0 || reply.Header("connection") == "close")
      connection = std::make_unique<HttpConnection>(port_);
  }
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_GT(statuses[200], 0);
  EXPECT_GT(statuses[400], 0);
  EXPECT_GT(statuses[404], 0);
  EXPECT_GT(statuses[422], 0);
  std::string told;
  for (const auto& [status, count] : statuses) told += std::to_string(status) + ": " + std::to_string(count) + "  ";
  std::printf("%llu requests: %s\n", static_cast<unsigned long long>(rounds), told.c_str());
}

TEST_F(FuzzTest, BytesThatAreNoRequestAreSurvived) {
  for (int i = 0; i < 200; ++i) {
    HttpConnection connection(port_, 1);
    std::string bytes = Noise(300);
    if (OneIn(2)) bytes = HttpRequestText("GET", "/api/v1/jobs", {}, "", port_).insert(Below(40), bytes);
    (void)connection.Send(bytes);
    // Gone before an answer.
  }
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_TRUE(coordinator_->Runs()) << coordinator_->Log();
}

}  // namespace
}  // namespace hone::test
