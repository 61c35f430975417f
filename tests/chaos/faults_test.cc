// Faults by a seed over real processes: a coordinator that is killed, stopped and filled up, workers and clients that
// reach it through a proxy that cuts, delays, stalls and repeats. Afterwards everything is let go on to its end, and
// what was acknowledged must be there (fsck with the client log), nothing twice, everything sound.
//
//   HONE_FAULTS=1000 HONE_CHAOS_SEED=7 build/release/bin/chaos_tests --gtest_filter='FaultsTest.*'
//
// Without them: 30 faults of seed 1. A run prints its seed and its counts; the same seed gives the same sequence of
// faults (what the processes were doing at that moment is theirs).
#include <gtest/gtest.h>

#include <csignal>
#include <random>

#include "coordinator/fsck.h"
#include "tests/chaos/sim_client.h"
#include "tests/chaos/sim_worker.h"
#include "tests/chaos/tcp_proxy.h"
#include "tests/support/programs.h"
#include "tests/support/setting.h"
#include "tests/support/small_disk.h"

namespace hone::test {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

class FaultsTest : public ::testing::Test {
 protected:
  FaultsTest() : disk_(folder_ / "disk", 160), log_(folder_ / "acknowledged") {
    if (!disk_.mounted()) fmt::print("no disk can be mounted here ({}): it is not filled in this run\n", disk_.why());
  }

  void Begin(uint64_t seed) {
    seed_ = seed;
    random_.seed(seed);
    coordinator_.emplace(folder_.path(),
                         Coordinator::Options{folder_ / "disk" / "data", {"--lease-ms", "1000", "--reserve", "1MiB"}});
    proxy_.emplace(coordinator_->port(), seed + 1);
    for (uint64_t i = 0; i < 3; ++i) {
      workers_.push_back(std::make_unique<SimWorker>(
          SimWorker::Options{
              .endpoint = proxy_->endpoint(), .name = fmt::format("sim{}", i), .seed = seed * 10 + i, .repeats = 10},
          log_));
    }
    client_.emplace(SimClient::Options{.endpoint = proxy_->endpoint(), .seed = seed}, log_);
  }
  int64_t Events() {
    return std::stoll(Query(coordinator_->database(), "SELECT coalesce(max(sequence), 0) FROM events")[0][0]);
  }
  // The next fault comes when the search has gone a little further, or is held up by the one before.
  void Proceed() {
    const int64_t until = Events() + static_cast<int64_t>(random_() % 12);
    const auto end = Steady::now() + milliseconds(250);
    while (Events() < until && Steady::now() < end) std::this_thread::sleep_for(milliseconds(3));
  }
  // Lets everything end, and looks whether all is there.
  void Settle() {
    proxy_->Set({});
    disk_.Free();
    client_->Rest();
    const fs::path database = coordinator_->database();
    const bool ended = Eventually(
        [&] { return Query(database, "SELECT 1 FROM jobs WHERE state = 'running' LIMIT 1").empty(); }, Deadline(120));
    EXPECT_TRUE(ended) << coordinator_->Log();
    client_.reset();
    for (auto& worker : workers_) worker->Kill();
    FsckOptions options;
    options.log = log_.file();
    options.limits.lease_ms = 1000;
    const auto running = Fsck(coordinator_->data(), options);
    ASSERT_TRUE(running) << running.error().message;
    EXPECT_TRUE(running->ok()) << FsckJson(*running);
    coordinator_->Stop();
    const auto report = Fsck(coordinator_->data(), options);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->ok()) << FsckJson(*report);
    // As many results as trials, whatever was sent how often.
    EXPECT_TRUE(Query(database,
                      "SELECT job, trial FROM attempts WHERE outcome = 'done' AND kind = 'measure' GROUP BY job, "
                      "study, trial HAVING count(*) > 1")
                    .empty());
    EXPECT_TRUE(Query(database, "SELECT request FROM jobs GROUP BY request HAVING count(*) > 1").empty());
  }
  void Tell(const std::map<std::string, int>& faults) {
    std::string text;
    for (const auto& [name, count] : faults) text += fmt::format(" {} {}", name, count);
    uint64_t repeated = 0;
    for (const auto& worker : workers_) repeated += worker->repeated();
    const auto totals =
        Query(coordinator_->database(),
              "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM trials), (SELECT count(*) FROM attempts), "
              "(SELECT coalesce(sum(late_reports), 0) FROM attempts), (SELECT count(*) FROM attempts WHERE outcome = "
              "'worker_lost')")[0];
    fmt::print(
        "seed {}:{}\n  acknowledged: {}\n  jobs {}, trials {}, attempts {}, reports that came too late {} (repeated on "
        "purpose {}), leases lost {}\n",
        seed_, text, log_.Text(), totals[0], totals[1], totals[2], totals[3], repeated, totals[4]);
  }

  // --- the faults ---

  void KillCoordinator() {
    coordinator_->Kill();
    coordinator_->Start();
  }
  void StopCoordinator() {
    coordinator_->process().Signal(SIGSTOP);
    std::this_thread::sleep_for(milliseconds(20 + random_() % 700));
    coordinator_->process().Signal(SIGCONT);
  }
  void EndCoordinator() {
    coordinator_->Stop();
    coordinator_->Start();
  }
  SimWorker& AnyWorker() { return *workers_[random_() % workers_.size()]; }
  void KillWorker() { AnyWorker().Restart(); }
  void FreezeWorker() { AnyWorker().Freeze(milliseconds(200 + random_() % 1800)); }
  void CutAll() { proxy_->CutAll(); }
  void CutLater() { proxy_->CutAfter(1 + random_() % 20'000); }
  void Delay() {
    proxy_->Set({.delay = milliseconds(random_() % 120), .loss = 0.2 * static_cast<double>(random_() % 2)});
  }
  void Stall() { proxy_->Stall(milliseconds(100 + random_() % 900)); }
  void Slow() { proxy_->Set({.bytes_per_s = 20'000 + random_() % 200'000}); }
  void Clear() { proxy_->Set({}); }
  void Replay() { proxy_->Replay(); }
  // Full for a while, in which a coordinator may die as well.
  void FillDisk() {
    if (!disk_.mounted()) return Replay();
    disk_.Fill();
    Proceed();
    if (random_() % 4 == 0) KillCoordinator();
    Proceed();
    disk_.Free();
  }

  struct Fault {
    const char* name;
    int weight;
    void (FaultsTest::*strike)();
  };
  static constexpr Fault kFaults[] = {
      {"kill coordinator", 3, &FaultsTest::KillCoordinator}, {"stop coordinator", 2, &FaultsTest::StopCoordinator},
      {"end coordinator", 1, &FaultsTest::EndCoordinator},   {"kill worker", 6, &FaultsTest::KillWorker},
      {"freeze worker", 3, &FaultsTest::FreezeWorker},       {"cut all", 4, &FaultsTest::CutAll},
      {"cut in a frame", 6, &FaultsTest::CutLater},          {"delay", 2, &FaultsTest::Delay},
      {"stall", 2, &FaultsTest::Stall},                      {"slow", 1, &FaultsTest::Slow},
      {"clear", 2, &FaultsTest::Clear},                      {"replay", 4, &FaultsTest::Replay},
      {"full disk", 1, &FaultsTest::FillDisk},
  };
  const Fault& Choose() {
    int sum = 0;
    for (const Fault& fault : kFaults) sum += fault.weight;
    int at = static_cast<int>(random_() % static_cast<uint64_t>(sum));
    for (const Fault& fault : kFaults) {
      if ((at -= fault.weight) < 0) return fault;
    }
    return kFaults[0];
  }

  TempFolder folder_;
  SmallDisk disk_;
  ClientLog log_;
  uint64_t seed_ = 0;
  std::mt19937_64 random_;
  std::optional<Coordinator> coordinator_;
  std::optional<TcpProxy> proxy_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::optional<SimClient> client_;
};

TEST_F(FaultsTest, NothingAcknowledgedIsLostAndNothingHappensTwice) {
  const uint64_t faults = Setting("HONE_FAULTS", 30);
  Begin(Setting("HONE_CHAOS_SEED", 1));
  std::map<std::string, int> struck;
  for (uint64_t i = 0; i < faults && !HasFatalFailure(); ++i) {
    Proceed();
    const Fault& fault = Choose();
    ++struck[fault.name];
    (this->*fault.strike)();
    ASSERT_TRUE(coordinator_->Runs()) << "after fault " << i << " (" << fault.name << ") of seed " << seed_ << "\n"
                                      << coordinator_->Log();
  }
  Settle();
  Tell(struck);
  EXPECT_GT(log_.ok("report"), faults);
}

}  // namespace
}  // namespace hone::test
