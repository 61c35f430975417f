// Requests on a schedule. Lower bounds alone are tested against the clock: a busy machine only makes things later.
#include "worker/evaluation/open_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

namespace hone {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A session whose inferences last as long as `first_ms` says for the first of them that counts, and no time after that.
class FakeSession final : public Session {
 public:
  double first_ms = 0;
  int fails_at = -100;  // Number of the inference; warm-up is negative.
  uint32_t lanes = 0;

  const std::vector<InputSignature>& inputs() const override { return inputs_; }
  const std::vector<std::string>& outputs() const override { return outputs_; }
  Result<std::vector<Tensor>> Run(const std::vector<Tensor>&) override { return std::vector<Tensor>(); }
  Result<> Bind(const std::vector<Tensor>&) override { return {}; }
  Result<> RunBound() override { return {}; }
  Result<Throughput> RunMany(uint32_t, uint32_t) override { return Throughput(); }
  uint32_t AdvisedRequests() const override { return 1; }
  Result<proto::Profile> Profile(uint32_t) override { return proto::Profile(); }
  Result<proto::Execution> Execution() override { return proto::Execution(); }

  Result<std::unique_ptr<Lane>> NewLane() override {
    ++lanes;
    return std::make_unique<FakeLane>(*this);
  }

 private:
  class FakeLane final : public Lane {
   public:
    explicit FakeLane(FakeSession& session) : session_(session) {}
    Result<> Run() override {
      const int number = session_.runs_++ - kWarmRuns;
      if (number == session_.fails_at) return Fail(ErrorCode::kFailed, "broken");
      const auto end =
          SteadyClock::now() + std::chrono::duration<double, std::milli>(number == 0 ? session_.first_ms : 0);
      while (SteadyClock::now() < end) {
      }
      return {};
    }

   private:
    static constexpr int kWarmRuns = 2;
    FakeSession& session_;
  };
  std::atomic<int> runs_{0};
  std::vector<InputSignature> inputs_;
  std::vector<std::string> outputs_;
};

proto::InstanceRequest::OpenLoop PlanOf(double rate_per_s, uint32_t arrivals) {
  proto::InstanceRequest::OpenLoop plan;
  plan.set_rate_per_s(rate_per_s);
  plan.set_arrivals(arrivals);
  plan.set_even(true);
  plan.set_limit_ms(60'000);
  return plan;
}

TEST(ArrivalTimesTest, EvenOnesKeepTheirDistance) {
  const std::vector<double> times = ArrivalTimes(100, 5, true, 1);
  ASSERT_EQ(times.size(), 5U);
  for (size_t i = 0; i < times.size(); ++i) EXPECT_NEAR(times[i], 0.01 * static_cast<double>(i), 1e-12);
}

TEST(ArrivalTimesTest, RandomOnesComeFromTheSeedAndHaveTheRate) {
  const std::vector<double> times = ArrivalTimes(100, 20'000, false, 7);
  EXPECT_EQ(times, ArrivalTimes(100, 20'000, false, 7));
  EXPECT_NE(times, ArrivalTimes(100, 20'000, false, 8));
  EXPECT_NEAR(times.back() / 20'000, 0.01, 0.0003);
  // Of a Poisson process, 1 - 1/e of the distances are shorter than their mean.
  int shorter = 0;
  for (size_t i = 1; i < times.size(); ++i) shorter += times[i] - times[i - 1] < 0.01 ? 1 : 0;
  EXPECT_NEAR(shorter / 20'000.0, 0.632, 0.01);
}

TEST(OpenLoopTest, RequestsThatWaitedForASlowOneSayHowLong) {
  FakeSession session;
  session.first_ms = 40;
  const auto reply = RunOpenLoop(session, PlanOf(1000, 20));
  ASSERT_TRUE(reply) << reply.error().message;
  ASSERT_EQ(reply->latency_ms_size(), 20);
  EXPECT_EQ(reply->requests(), 1U);
  EXPECT_EQ(reply->unserved(), 0U);
  for (int i = 0; i < 20; ++i) {
    // The one lane was taken until 40 ms after the first arrival. A closed loop would have told the times of service.
    EXPECT_GE(reply->latency_ms(i), 40 - 1.0 * i - 0.01) << i;
    EXPECT_GE(reply->latency_ms(i), reply->service_ms(i)) << i;
  }
  EXPECT_GE(reply->seconds(), 0.04 - 1e-5);
}

TEST(OpenLoopTest, WhatCannotBeginInTimeIsNotServed) {
  FakeSession session;
  proto::InstanceRequest::OpenLoop plan = PlanOf(1, 5);
  plan.set_limit_ms(1);
  const auto reply = RunOpenLoop(session, plan);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_GE(reply->unserved(), 4U);
  EXPECT_EQ(reply->latency_ms_size() + static_cast<int>(reply->unserved()), 5);
}

TEST(OpenLoopTest, AsManyLanesAsAskedForServe) {
  FakeSession session;
  proto::InstanceRequest::OpenLoop plan = PlanOf(10'000, 200);
  plan.set_requests(3);
  const auto reply = RunOpenLoop(session, plan);
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(session.lanes, 3U);
  EXPECT_EQ(reply->requests(), 3U);
  EXPECT_EQ(reply->latency_ms_size(), 200);
}

TEST(OpenLoopTest, AFailedInferenceIsTheAnswer) {
  FakeSession session;
  session.fails_at = 3;
  const auto reply = RunOpenLoop(session, PlanOf(10'000, 20));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message, "broken");
}

TEST(OpenLoopTest, ARateOfNothingIsRejected) {
  FakeSession session;
  EXPECT_EQ(RunOpenLoop(session, PlanOf(0, 20)).error().code, ErrorCode::kRejected);
  EXPECT_EQ(RunOpenLoop(session, PlanOf(10, 0)).error().code, ErrorCode::kRejected);
}

}  // namespace
}  // namespace hone
