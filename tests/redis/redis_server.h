// A real redis-server on a free port of the loopback, with a user of its own for coordinators.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <csignal>
#include <fstream>

#include "common/base/open_file.h"
#include "coordinator/redis/connection.h"
#include "tests/support/programs.h"

namespace hone::test {

using namespace std::chrono_literals;

inline constexpr const char* kServer = "/usr/bin/redis-server";

inline uint16_t FreePort() {
  const Descriptor probe(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  socklen_t size = sizeof address;
  EXPECT_EQ(getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

class RedisTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kServer)) GTEST_SKIP() << "redis-server is not installed (ops/setup)";
    spdlog::set_level(spdlog::level::off);
    std::signal(SIGPIPE, SIG_IGN);
    port_ = FreePort();
    std::ofstream acl(folder_ / "users.acl");
    acl << "user default off\nuser root on >rootword ~* +@all\nuser hone on >p@ss/word ~hone:* +xadd +set +get +strlen "
           "+getrange +setrange +expire +del +auth +select +ping\n";
    acl.close();
    Start();
  }
  void Start() {
    ProcessOptions options;
    options.arguments = {kServer,
                         "--port",
                         std::to_string(port_),
                         "--bind",
                         "127.0.0.1",
                         "--save",
                         "",
                         "--appendonly",
                         "no",
                         "--dir",
                         folder_.path().string(),
                         "--aclfile",
                         (folder_ / "users.acl").string(),
                         "--unixsocket",
                         Socket()};
    options.stdout_file = options.stderr_file = folder_ / "redis.log";
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    server_.emplace(std::move(*process));
    ASSERT_TRUE(Eventually([&] { return !AskRoot({"PING"}).empty(); }));
  }
  void Kill() {
    server_->Signal(SIGKILL);
    (void)server_->Wait(10s);
    server_.reset();
  }
  std::string Socket() const { return (folder_ / "redis.sock").string(); }
  std::string Url(const std::string& login = "hone:p%40ss%2Fword") const {
    return "redis://" + login + "@127.0.0.1:" + std::to_string(port_) + "/0";
  }
  // A number or a text as text; "" where there is no answer.
  std::string AskRoot(const std::vector<std::string>& words) const {
    redisContext* context = redisConnectWithTimeout("127.0.0.1", port_, {5, 0});
    std::string text;
    if (context != nullptr && context->err == 0) {
      freeReplyObject(redisCommand(context, "AUTH root rootword"));
      std::vector<const char*> pointers;
      for (const auto& word : words) pointers.push_back(word.c_str());
      if (auto* reply = static_cast<redisReply*>(
              redisCommandArgv(context, static_cast<int>(words.size()), pointers.data(), nullptr))) {
        text = reply->type == REDIS_REPLY_INTEGER ? std::to_string(reply->integer)
               : reply->str != nullptr            ? reply->str
                                                  : "";
        freeReplyObject(reply);
      }
    }
    if (context != nullptr) redisFree(context);
    return text;
  }
  TempFolder folder_;
  uint16_t port_ = 0;
  std::optional<Process> server_;
};

}  // namespace hone::test
