// A client that keeps a coordinator busy and remembers what it was told.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "common/transport/transport.h"
#include "tests/chaos/client_log.h"

namespace hone::test {

// Submits small jobs so that there is always work, some twice under one key, cancels a few, and reads what becomes of
// them.
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
