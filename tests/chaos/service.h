// A real coordinator process behind the proxy, and a client that keeps it busy and remembers what it was told.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "common/base/subprocess.h"
#include "common/transport/transport.h"
#include "tests/chaos/client_log.h"
#include "tests/chaos/tcp_proxy.h"
#include "tests/support/programs.h"

namespace hone::test {

// The process, on a port that stays the same over its lives.
class Service {
 public:
  struct Options {
    fs::path data;
    fs::path logs;
    uint32_t lease_ms = 1000;
    std::string reserve = "1MiB";
  };
  explicit Service(Options options) : options_(std::move(options)) { Start(); }

  void Start() {
    const fs::path ready = options_.logs / "coordinator.ready";
    fs::remove(ready);
    ProcessOptions process;
    process.arguments = {Program("hone-coordinator").string(), "--listen", listen_, "--data", options_.data.string(), "--ready-file", ready.string(),
                         "--lease-ms", std::to_string(options_.lease_ms), "--reserve", options_.reserve};
    process.stdout_file = process.stderr_file = options_.logs / "coordinator.log";
    auto started = Process::Start(process);
    ASSERT_TRUE(started) << started.error().message;
    process_.emplace(std::move(*started));
    ASSERT_TRUE(Eventually([&] { return fs::exists(ready); })) << Log();
    std::ifstream file(ready);
    listen_ = nlohmann::json::parse(file).at("endpoint");
  }
  void Kill() {
    process_->Signal(SIGKILL);
    (void)process_->Wait(Deadline(10));
    process_.reset();
  }
  void Stop() {
    process_->Signal(SIGCONT);
    const ExitStatus status = process_->Stop(Deadline(20));
    EXPECT_EQ(status.signal, 0) << Log();
    EXPECT_EQ(status.code, 0) << Log();
    process_.reset();
  }
  // Whether it still runs; a coordinator that ends by itself is a failure of its own.
  bool Runs() {
    const auto ended = process_->Wait(std::chrono::milliseconds(0));
    return ended && !*ended;
  }
  Process& process() { return *process_; }
  const fs::path& data() const { return options_.data; }
  uint16_t port() const { return static_cast<uint16_t>(std::stoi(listen_.substr(listen_.rfind(':') + 1))); }
  std::string Log() const {
    std::ifstream file(options_.logs / "coordinator.log");
    std::stringstream text;
    text << file.rdbuf();
    const std::string all = text.str();
    return all.substr(all.size() - std::min<size_t>(all.size(), 4000));
  }

 private:
  const Options options_;
  std::string listen_ = "tcp://127.0.0.1:0";
  std::optional<Process> process_;
};

// Submits small jobs so that there is always work, some twice under one key, cancels a few, and reads what becomes of them.
class SimClient {
 public:
  struct Options {
    std::string endpoint;
    uint64_t seed = 1;
    size_t most_running = 3;
    std::string tag = "sim";
  };
  SimClient(Options options, ClientLog& log);
  ~SimClient();
  // No more jobs; what runs may end.
  void Rest() { resting_ = true; }
  uint64_t jobs() const { return jobs_; }

 private:
  void Run();
  Result<> Step();
  Result<> Submit();
  Result<> Look();
  Result<proto::Frame> Call(proto::Frame frame);

  const Options options_;
  ClientLog& log_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> resting_{false};
  std::atomic<uint64_t> jobs_{0};
  std::unique_ptr<Dialer> dialer_;
  std::unique_ptr<Dialer> second_;          // For submissions that come twice.
  std::optional<proto::Frame> submission_;  // Being made; sent until it is answered.
  uint64_t submissions_ = 0;
  uint64_t last_event_ = 0;
  std::vector<uint64_t> running_;
  std::mt19937_64 random_;
  std::thread thread_;
};

}  // namespace hone::test
