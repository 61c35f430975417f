// A real coordinator that serves HTTP, a worker of the protocol that makes its results up, and those who ask.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/transport/tokens.h"
#include "common/transport/transport.h"
#include "tests/coordinator/harness.h"
#include "tests/support/http_client.h"
#include "tests/support/programs.h"

namespace hone::test {

// Requests over ZeroMQ.
class Wire {
 public:
  explicit Wire(const std::string& endpoint) : dialer_(std::move(*Dialer::Connect(endpoint))) {}
  Ask ask() {
    return
        [this](proto::Frame frame) { return dialer_->Call(std::move(frame), std::chrono::milliseconds(Deadline(20))); };
  }

 private:
  std::unique_ptr<Dialer> dialer_;
};

class HttpTest : public testing::Test {
 protected:
  // Tokens of ann (client), adam (admin), wes (worker) and rex (revoked); the coordinator with more arguments.
  void StartWith(std::vector<std::string> arguments) {
    fs::create_directories(folder_ / "coordinator");
    TokenList list;
    for (const auto& [name, role] : std::map<std::string, Role>{{"ann", Role::client},
                                                                {"bob", Role::client},
                                                                {"adam", Role::admin},
                                                                {"wes", Role::worker},
                                                                {"rex", Role::admin}}) {
      tokens_[name] = *MakeToken();
      ASSERT_TRUE(list.Add({role, name, TokenDigest(tokens_[name])}));
    }
    ASSERT_TRUE(list.Revoke("rex"));
    ASSERT_TRUE(list.Write(folder_ / "coordinator" / "tokens"));
    arguments.insert(arguments.begin(), {"--http", "127.0.0.1:0"});
    Coordinator::Options options;
    options.arguments = std::move(arguments);
    coordinator_ = std::make_unique<Coordinator>(folder_.path(), options);
    FindPort();
    wire_ = std::make_unique<Wire>(coordinator_->endpoint());
  }
  void SetUp() override { StartWith({}); }
  void FindPort() {
    const std::string url = nlohmann::json::parse(TextOf(folder_ / "coordinator.ready")).at("http");
    port_ = static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }

  HttpHeaders As(const std::string& name, HttpHeaders headers = {}) const {
    headers["Authorization"] = "Bearer " + tokens_.at(name);
    return headers;
  }
  HttpReply Get(const std::string& target, const HttpHeaders& headers = {}) const {
    return HttpCall(port_, "GET", target, headers);
  }
  HttpReply Post(const std::string& target, const std::string& body, const HttpHeaders& headers = {}) const {
    return HttpCall(port_, "POST", target, headers, body);
  }
  HttpReply Put(const std::string& bytes, uint64_t first, uint64_t size, const std::string& digest,
                const HttpHeaders& headers) const {
    HttpHeaders all = headers;
    all["Content-Range"] =
        "bytes " + std::to_string(first) + "-" + std::to_string(first + bytes.size() - 1) + "/" + std::to_string(size);
    all["Content-Type"] = "application/octet-stream";
    return HttpCall(port_, "PUT", "/api/v1/artifacts/" + digest, all, bytes);
  }

  // A job as ann submits it over HTTP.
  std::string SubmissionOf(const std::string& recipe = kRecipe, const std::string& model = "the model",
                           const std::string& name = "a <job>") const {
    const nlohmann::json file = {{"path", "model.onnx"}, {"digest", DigestOf(model)}, {"size_bytes", model.size()}};
    return nlohmann::json{
        {"recipe", recipe}, {"name", name}, {"model", {{"format", "onnx"}, {"main", "model.onnx"}, {"files", {file}}}}}
        .dump();
  }
  uint64_t Submit(const std::string& recipe = kRecipe, const std::string& model = "the model") {
    EXPECT_EQ(Put(model, 0, model.size(), DigestOf(model), As("ann")).status, 201);
    const HttpReply reply = Post("/api/v1/jobs", SubmissionOf(recipe, model), As("ann"));
    EXPECT_EQ(reply.status, 201) << reply.body;
    return reply.status == 201 ? std::stoull(reply.json().at("job").get<std::string>()) : 0;
  }
  FakeWorker Worker(const std::string& name = "w1") {
    FakeWorker worker(wire_->ask(), name);
    const auto hello = worker.Hello();
    EXPECT_TRUE(hello) << hello.error().message;
    return worker;
  }
  // A job that was worked to its end.
  uint64_t Finished() {
    FakeWorker worker = Worker();
    const uint64_t job = Submit();
    worker.Work();
    EXPECT_TRUE(Eventually([&] {
      worker.Work();
      return Get("/api/v1/jobs/" + std::to_string(job)).json().value("state", "") != "running";
    }));
    return job;
  }

  TempFolder folder_;
  std::map<std::string, std::string> tokens_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Wire> wire_;
  uint16_t port_ = 0;
};

}  // namespace hone::test
