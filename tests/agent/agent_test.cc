#include "worker/supervisor/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "tests/agent/fake_coordinator.h"
#include "tests/agent/poison.h"
#include "tests/support/service_manager.h"
#include "worker/supervisor/spool.h"

namespace hone {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::HasSubstr;
using Heard = FakeCoordinator::Heard;

bool HasReport(const Heard& heard, uint64_t lease) { return heard.reports.contains(lease); }

class AgentTest : public testing::Test {
 protected:
  AgentTest()
      : folder_(ScopedFolder::Make(std::filesystem::temp_directory_path(), "agent-").value()),
        coordinator_(folder_.path()) {
    options_.coordinator = coordinator_.endpoint();
    options_.data_folder = folder_.path() / "worker";
    options_.memory_bytes = uint64_t{1} << 30;
    options_.cache_bytes = 64 << 20;
    options_.stop_grace = milliseconds(10000);
    options_.farewell = milliseconds(200);
  }
  ~AgentTest() override { StopAgent(2); }

  void StartAgent() {
    auto agent = Agent::Open(options_);
    ASSERT_TRUE(agent) << agent.error().message;
    agent_ = std::move(*agent);
    thread_ = std::thread([this] { served_ = agent_->Serve(); });
  }

  // Asks to stop so many times, and waits for the end.
  void StopAgent(int requests) {
    if (!agent_) return;
    for (int i = 0; i < requests; ++i) agent_->RequestStop();
    thread_.join();
    agent_.reset();
  }

  proto::Lease BuildLease(uint64_t id, const std::string& poison) {
    proto::Lease lease;
    lease.set_id(id);
    lease.set_token(id + 1000);
    lease.set_timeout_ms(20000);
    *lease.mutable_build()->mutable_model() = coordinator_.Store("model.onnx", "the original");
    lease.mutable_build()->mutable_step()->set_pass(poison);
    return lease;
  }

  // Offers a lease and gives its report.
  proto::Report Work(const proto::Lease& lease) {
    coordinator_.Offer(lease);
    EXPECT_TRUE(coordinator_.Await([&](const Heard& heard) { return HasReport(heard, lease.id()); }));
    const Heard heard = coordinator_.Look();
    return HasReport(heard, lease.id()) ? heard.reports.at(lease.id()).front() : proto::Report{};
  }

  std::filesystem::path SpoolFile(uint64_t lease) const {
    return options_.data_folder / "spool" / (std::to_string(lease) + ".pb");
  }

  ScopedFolder folder_;
  FakeCoordinator coordinator_;
  AgentOptions options_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  Result<> served_;
};

TEST_F(AgentTest, TheServiceManagerHearsWhetherTheCoordinatorIsThere) {
  test::ServiceManager manager;
  StartAgent();
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return !heard.synchronizations.empty(); }));
  EXPECT_EQ(manager.Heard(), "READY=1\nSTATUS=looks for " + coordinator_.endpoint());
  EXPECT_EQ(manager.Heard(), "READY=1\nSTATUS=takes work of " + coordinator_.endpoint());
}

TEST_F(AgentTest, HelloTellsNameTagsAndCatalogue) {
  options_.tags = {"rack:7"};
  StartAgent();
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return !heard.hellos.empty(); }));
  const proto::WorkerHello hello = coordinator_.Look().hellos.front();
  EXPECT_EQ(hello.name(), agent_->name());
  EXPECT_FALSE(hello.session().empty());
  EXPECT_EQ(hello.slots(), 1u);
  EXPECT_THAT(hello.tags(), Contains("rack:7"));
  EXPECT_THAT(hello.tags(), Contains("cpu"));
  EXPECT_THAT(hello.catalogue().tags(), Contains("cpu"));
}

TEST_F(AgentTest, NameStaysWithTheFolderAndSessionDoesNot) {
  for (int start = 0; start < 2; ++start) {
    StartAgent();
    ASSERT_TRUE(
        coordinator_.Await([&](const Heard& heard) { return heard.hellos.size() > static_cast<size_t>(start); }));
    StopAgent(1);
  }
  const Heard heard = coordinator_.Look();
  EXPECT_EQ(heard.hellos.front().name(), heard.hellos.back().name());
  EXPECT_NE(heard.hellos.front().session(), heard.hellos.back().session());
}

TEST_F(AgentTest, BuildIsFetchedRunUploadedAndReported) {
  StartAgent();
  const proto::Report report = Work(BuildLease(7, "build"));
  EXPECT_EQ(report.outcome(), proto::Report::DONE) << report.error().message();
  EXPECT_EQ(report.token(), 1007u);
  ASSERT_EQ(report.result().build().model().files_size(), 1);
  EXPECT_EQ(report.result().build().model().files(0).digest(), DigestOf("built from the original"));
  EXPECT_TRUE(coordinator_.Has(DigestOf("built from the original")));
}

TEST_F(AgentTest, WhatWasBuiltHereIsNotFetchedForItsMeasurement) {
  StartAgent();
  const proto::Report built = Work(BuildLease(1, "build"));
  ASSERT_EQ(built.outcome(), proto::Report::DONE);
  coordinator_.Change([](auto& behaviour) { behaviour.answer_transfers = false; });
  proto::Lease lease;
  lease.set_id(2);
  *lease.mutable_measure()->mutable_model() = built.result().build().model();
  lease.mutable_measure()->set_backend("onnxruntime");
  *lease.mutable_measure()->mutable_baseline_model() = BuildLease(1, "").build().model();
  const proto::Report measured = Work(lease);
  EXPECT_EQ(measured.outcome(), proto::Report::DONE);
  EXPECT_THAT(measured.result().measure().notes(), Contains("with baseline"));
}

TEST_F(AgentTest, BaselineIsMeasuredAlone) {
  StartAgent();
  proto::Lease lease;
  lease.set_id(2);
  *lease.mutable_measure()->mutable_model() = coordinator_.Store("model.onnx", "m");
  *lease.mutable_measure()->mutable_baseline_model() = lease.measure().model();
  lease.mutable_measure()->set_is_baseline(true);
  EXPECT_THAT(Work(lease).result().measure().notes(), Contains("alone"));
}

TEST_F(AgentTest, EveryEndHasItsOutcome) {
  struct Row {
    const char* poison;
    proto::Report::Outcome outcome;
    int signal;
    const char* message;
  };
  constexpr Row rows[] = {
      {"segfault", proto::Report::CRASHED, SIGSEGV, "signal 11"},
      {"abort", proto::Report::CRASHED, SIGABRT, "signal 6"},
      {"exit_without_result", proto::Report::CRASHED, 0, "left no result"},
      {"refuse", proto::Report::FAILED, 0, "the model is no model"},
      {"wrong_kind", proto::Report::FAILED, 0, "another question"},
      {"build_link", proto::Report::FAILED, 0, "no regular file"},
      {"escape", proto::Report::FAILED, 0, "the built model"},
      {"build", proto::Report::DONE, 0, ""},
  };
  StartAgent();
  uint64_t id = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.poison);
    const proto::Report report = Work(BuildLease(++id, row.poison));
    EXPECT_EQ(report.outcome(), row.outcome);
    EXPECT_EQ(report.signal(), row.signal);
    EXPECT_THAT(report.error().message(), HasSubstr(row.message));
  }
}

TEST_F(AgentTest, TimeOutAndMemoryLimitOfTheLeaseAreKept) {
  StartAgent();
  proto::Lease slow = BuildLease(1, "loop");
  slow.set_timeout_ms(150);
  EXPECT_EQ(Work(slow).outcome(), proto::Report::TIMED_OUT);
  proto::Lease large = BuildLease(2, "hog");
  large.set_memory_bytes(150 << 20);
  const proto::Report report = Work(large);
  EXPECT_EQ(report.outcome(), proto::Report::OUT_OF_MEMORY);
  EXPECT_GT(report.peak_memory_bytes(), uint64_t{100} << 20);
}

TEST_F(AgentTest, BundleThatLeavesItsFolderIsRefused) {
  StartAgent();
  proto::Lease lease = BuildLease(1, "build");
  lease.mutable_build()->mutable_model()->mutable_files(0)->set_path("../../../escaped");
  lease.mutable_build()->mutable_model()->set_main("../../../escaped");
  const proto::Report report = Work(lease);
  EXPECT_EQ(report.outcome(), proto::Report::FAILED);
  EXPECT_EQ(report.error().code(), proto::Error::REJECTED);
}

TEST_F(AgentTest, ArtifactThatTheCoordinatorLacksFailsTheLease) {
  StartAgent();
  proto::Lease lease = BuildLease(1, "build");
  lease.mutable_build()->mutable_model()->mutable_files(0)->set_digest(DigestOf("never stored"));
  const proto::Report report = Work(lease);
  EXPECT_EQ(report.outcome(), proto::Report::FAILED);
  EXPECT_EQ(report.error().code(), proto::Error::NOT_FOUND);
}

TEST_F(AgentTest, DroppedLeaseIsCancelled) {
  StartAgent();
  coordinator_.Offer(BuildLease(1, "loop"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  coordinator_.Drop(1);
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return HasReport(heard, 1); }));
  EXPECT_EQ(coordinator_.Look().reports.at(1).front().outcome(), proto::Report::CANCELLED);
  EXPECT_EQ(Work(BuildLease(2, "build")).outcome(), proto::Report::DONE);
}

TEST_F(AgentTest, LeaseGivenTwiceIsWorkedOnce) {
  StartAgent();
  const proto::Lease lease = BuildLease(1, "build");
  coordinator_.Change([](auto& behaviour) { behaviour.acknowledge = false; });
  Work(lease);
  const size_t files = coordinator_.Look().reports.size();
  coordinator_.Offer(lease);
  EXPECT_EQ(Work(BuildLease(2, "build")).outcome(), proto::Report::DONE);
  EXPECT_EQ(coordinator_.Look().reports.size(), files + 1);
}

TEST_F(AgentTest, HeartbeatsGoOnWhileATaskRuns) {
  StartAgent();
  coordinator_.Offer(BuildLease(1, "loop"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  const size_t before = coordinator_.Look().synchronizations.size();
  EXPECT_TRUE(coordinator_.Await([&](const Heard& heard) { return heard.synchronizations.size() >= before + 5; }));
  EXPECT_EQ(coordinator_.Look().synchronizations.back().holding(0).lease(), 1u);
  EXPECT_EQ(coordinator_.Look().synchronizations.back().free_slots(), 0u);
}

TEST_F(AgentTest, HeartbeatsGoOnWhileATransferHangs) {
  StartAgent();
  coordinator_.Change([](auto& behaviour) { behaviour.answer_transfers = false; });
  coordinator_.Offer(BuildLease(1, "build"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("fetching"); }));
  const size_t before = coordinator_.Look().synchronizations.size();
  EXPECT_TRUE(coordinator_.Await([&](const Heard& heard) { return heard.synchronizations.size() >= before + 5; }));
}

TEST_F(AgentTest, ReportIsSentAgainUntilAcknowledged) {
  StartAgent();
  coordinator_.Change([](auto& behaviour) { behaviour.acknowledge = false; });
  Work(BuildLease(1, "build"));
  EXPECT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.reports.at(1).size() >= 3; }));
  EXPECT_TRUE(std::filesystem::exists(SpoolFile(1)));
  coordinator_.Change([](auto& behaviour) { behaviour.acknowledge = true; });
  // The acknowledged report is gone before the next lease's is there.
  EXPECT_EQ(Work(BuildLease(2, "build")).outcome(), proto::Report::DONE);
  EXPECT_FALSE(std::filesystem::exists(SpoolFile(1)));
}

TEST_F(AgentTest, RestartedWorkerDeliversWhatWasNotAcknowledged) {
  coordinator_.Change([](auto& behaviour) { behaviour.acknowledge = false; });
  StartAgent();
  Work(BuildLease(1, "build"));
  const std::string first_session = coordinator_.Look().hellos.back().session();
  StopAgent(1);
  ASSERT_TRUE(std::filesystem::exists(SpoolFile(1)));
  coordinator_.Change([](auto& behaviour) { behaviour.acknowledge = true; });
  StartAgent();
  ASSERT_TRUE(coordinator_.Await([&](const Heard& heard) {
    const auto& last = heard.synchronizations.back();
    return heard.hellos.back().session() != first_session && last.session() != first_session &&
           last.reports_size() == 0;
  }));
  const Heard heard = coordinator_.Look();
  EXPECT_EQ(heard.reports.at(1).back().result().build().model().files(0).digest(), DigestOf("built from the original"));
  StopAgent(1);
  EXPECT_FALSE(std::filesystem::exists(SpoolFile(1)));
}

TEST_F(AgentTest, ForgottenSessionSaysHelloAgainAndKeepsItsLease) {
  StartAgent();
  coordinator_.Offer(BuildLease(1, "loop"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  coordinator_.ForgetSessions();
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.hellos.size() == 2; }));
  const size_t before = coordinator_.Look().synchronizations.size();
  ASSERT_TRUE(coordinator_.Await([&](const Heard& heard) { return heard.synchronizations.size() > before + 1; }));
  const Heard heard = coordinator_.Look();
  EXPECT_EQ(heard.hellos[0].session(), heard.hellos[1].session());
  EXPECT_EQ(heard.synchronizations.back().holding(0).lease(), 1u);
}

TEST_F(AgentTest, CoordinatorThatDiesAndReturnsGetsTheReport) {
  StartAgent();
  proto::Lease lease = BuildLease(1, "loop");
  lease.set_timeout_ms(500);
  coordinator_.Offer(lease);
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  coordinator_.Die();
  coordinator_.Serve();
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return HasReport(heard, 1); }));
  EXPECT_EQ(coordinator_.Look().reports.at(1).front().outcome(), proto::Report::TIMED_OUT);
}

TEST_F(AgentTest, WorkerThatStartsFirstWaitsForItsCoordinator) {
  coordinator_.Die();
  StartAgent();
  coordinator_.Serve();
  EXPECT_EQ(Work(BuildLease(1, "build")).outcome(), proto::Report::DONE);
}

TEST_F(AgentTest, DrainingWorkerOffersNoSlot) {
  StartAgent();
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return !heard.synchronizations.empty(); }));
  coordinator_.SetDrain(true);
  EXPECT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.synchronizations.back().free_slots() == 0; }));
  coordinator_.SetDrain(false);
  EXPECT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.synchronizations.back().free_slots() == 1; }));
}

TEST_F(AgentTest, StopLetsTheWorkInHandEnd) {
  StartAgent();
  proto::Lease lease = BuildLease(1, "loop");
  lease.set_timeout_ms(700);
  coordinator_.Offer(lease);
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  StopAgent(1);
  ASSERT_TRUE(served_);
  const Heard heard = coordinator_.Look();
  ASSERT_TRUE(HasReport(heard, 1));
  EXPECT_EQ(heard.reports.at(1).front().outcome(), proto::Report::TIMED_OUT);
  EXPECT_TRUE(heard.synchronizations.back().stopping());
  EXPECT_FALSE(std::filesystem::exists(SpoolFile(1)));
}

TEST_F(AgentTest, StopReturnsTheWorkWhenTheGraceIsOver) {
  options_.stop_grace = milliseconds(300);
  StartAgent();
  coordinator_.Offer(BuildLease(1, "loop"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  StopAgent(1);
  ASSERT_TRUE(HasReport(coordinator_.Look(), 1));
  EXPECT_EQ(coordinator_.Look().reports.at(1).front().outcome(), proto::Report::RETURNED);
}

TEST_F(AgentTest, SecondStopReturnsTheWorkAtOnce) {
  options_.stop_grace = std::chrono::hours(1);
  StartAgent();
  coordinator_.Offer(BuildLease(1, "loop_with_family"));
  ASSERT_TRUE(coordinator_.Await([](const Heard& heard) { return heard.phases.contains("running"); }));
  StopAgent(2);
  ASSERT_TRUE(HasReport(coordinator_.Look(), 1));
  EXPECT_EQ(coordinator_.Look().reports.at(1).front().outcome(), proto::Report::RETURNED);
}

TEST_F(AgentTest, StopWithoutACoordinatorEnds) {
  coordinator_.Die();
  StartAgent();
  StopAgent(1);
  EXPECT_TRUE(served_);
}

TEST_F(AgentTest, RefusalEndsTheAgentWithItsReason) {
  proto::Error refusal;
  refusal.set_code(proto::Error::REJECTED);
  refusal.set_message("this worker is too old");
  coordinator_.Change([&](auto& behaviour) { behaviour.refusal = refusal; });
  StartAgent();
  thread_.join();
  agent_.reset();
  ASSERT_FALSE(served_);
  EXPECT_EQ(served_.error().code, ErrorCode::kRejected);
  EXPECT_THAT(served_.error().message, HasSubstr("too old"));
}

TEST_F(AgentTest, FolderInUseIsAConflictThatNamesTheProcess) {
  StartAgent();
  const auto second = Agent::Open(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(getpid())));
}

TEST_F(AgentTest, LeftOverWorkFoldersAreRemovedAtTheStart) {
  const auto left = options_.data_folder / "work" / "17-old";
  std::filesystem::create_directories(left);
  std::ofstream(left / "model.onnx") << "x";
  StartAgent();
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST_F(AgentTest, MalformedTagNameOrEndpointIsAUsageError) {
  for (const auto& [name, tag, endpoint] :
       {std::tuple{"a b", "gpu", "tcp://127.0.0.1:1"}, std::tuple{"a", "Big Box", "tcp://127.0.0.1:1"},
        std::tuple{"a", "gpu", "somewhere"}}) {
    AgentOptions options = options_;
    options.name = name;
    options.tags = {tag};
    options.coordinator = endpoint;
    const auto agent = Agent::Open(options);
    ASSERT_FALSE(agent);
    EXPECT_EQ(agent.error().code, ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace hone
