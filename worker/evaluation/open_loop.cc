#include "worker/evaluation/open_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>
#include <thread>

namespace hone {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr uint32_t kMostLanes = 256;
constexpr uint32_t kMostArrivals = 10'000'000;
constexpr uint32_t kWarmRunsOfALane = 2;
// Sleeping threads wake late by tens of microseconds; the rest of the way is spun.
constexpr std::chrono::microseconds kSpin{150};

double SecondsBetween(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

void WaitUntil(SteadyClock::time_point time) {
  if (time - SteadyClock::now() > kSpin) std::this_thread::sleep_until(time - kSpin);
  while (SteadyClock::now() < time) {
  }
}

// What the lanes share. A request belongs to the lane that took its number, so its times are written by one thread.
struct Queue {
  std::vector<double> arrivals_s;
  std::vector<double> latency_ms;  // Negative: not served.
  std::vector<double> service_ms;
  SteadyClock::time_point begin;
  SteadyClock::time_point limit;
  std::atomic<uint32_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::optional<Error> failure;  // Guarded by mutex.
};

void Serve(Session::Lane& lane, Queue& queue) {
  while (!queue.stop) {
    const uint32_t number = queue.next++;
    if (number >= queue.arrivals_s.size()) return;
    const auto after =
        std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(queue.arrivals_s[number]));
    const SteadyClock::time_point arrival = queue.begin + after;
    if (arrival > queue.limit || SteadyClock::now() > queue.limit) return;
    WaitUntil(arrival);
    const SteadyClock::time_point start = SteadyClock::now();
    if (const auto ran = lane.Run(); !ran) {
      queue.stop = true;
      const std::lock_guard lock(queue.mutex);
      queue.failure = ran.error();
      return;
    }
    const SteadyClock::time_point end = SteadyClock::now();
    queue.latency_ms[number] = SecondsBetween(arrival, end) * 1000;
    queue.service_ms[number] = SecondsBetween(start, end) * 1000;
  }
}

Result<std::vector<std::unique_ptr<Session::Lane>>> WarmLanes(Session& session, uint32_t count) {
  std::vector<std::unique_ptr<Session::Lane>> lanes;
  for (uint32_t i = 0; i < count; ++i) {
    TRY_ASSIGN(std::unique_ptr<Session::Lane> lane, session.NewLane());
    for (uint32_t run = 0; run < kWarmRunsOfALane; ++run) TRY(lane->Run());
    lanes.push_back(std::move(lane));
  }
  return lanes;
}

Result<> ServeAll(std::vector<std::unique_ptr<Session::Lane>>& lanes, Queue& queue) {
  {
    std::vector<std::jthread> threads;
    try {
      for (const auto& lane : lanes) threads.emplace_back([&queue, &lane] { Serve(*lane, queue); });
    } catch (const std::system_error& error) {
      queue.stop = true;
      return Fail(ErrorCode::kExhausted, fmt::format("start {} threads for requests: {}", lanes.size(), error.what()));
    }
  }
  if (queue.failure) return Fail(*queue.failure);
  return {};
}

}  // namespace

std::vector<double> ArrivalTimes(double rate_per_s, uint32_t arrivals, bool even, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> times;
  double time = 0;
  for (uint32_t i = 0; i < arrivals; ++i) {
    times.push_back(time);
    // 53 bits in (0, 1]; std::exponential_distribution differs between libraries.
    const double uniform = (static_cast<double>(random() >> 11) + 1) * 0x1p-53;
    time += even ? 1 / rate_per_s : -std::log(uniform) / rate_per_s;
  }
  return times;
}

Result<proto::InstanceReply::OpenLoop> RunOpenLoop(Session& session, const proto::InstanceRequest::OpenLoop& plan) {
  if (!(plan.rate_per_s() > 0) || plan.arrivals() == 0 || plan.arrivals() > kMostArrivals) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} requests at {} a second: both must be positive, and at most {} requests",
                            plan.arrivals(), plan.rate_per_s(), kMostArrivals));
  }
  const uint32_t wanted = plan.requests() > 0 ? plan.requests() : session.AdvisedRequests();
  TRY_ASSIGN(auto lanes, WarmLanes(session, std::clamp(wanted, 1u, kMostLanes)));
  Queue queue;
  queue.arrivals_s = ArrivalTimes(plan.rate_per_s(), plan.arrivals(), plan.even(), plan.seed());
  queue.latency_ms.assign(plan.arrivals(), -1);
  queue.service_ms.assign(plan.arrivals(), -1);
  // The threads are up before the first request arrives.
  queue.begin = SteadyClock::now() + std::chrono::milliseconds(5);
  queue.limit = queue.begin + std::chrono::milliseconds(plan.limit_ms());
  TRY(ServeAll(lanes, queue));

  proto::InstanceReply::OpenLoop reply;
  reply.set_requests(static_cast<uint32_t>(lanes.size()));
  double last_end_s = 0;
  uint32_t unserved = 0;
  for (size_t i = 0; i < queue.arrivals_s.size(); ++i) {
    if (queue.latency_ms[i] < 0) {
      ++unserved;
      continue;
    }
    reply.add_latency_ms(queue.latency_ms[i]);
    reply.add_service_ms(queue.service_ms[i]);
    last_end_s = std::max(last_end_s, queue.arrivals_s[i] + queue.latency_ms[i] / 1000);
  }
  reply.set_unserved(unserved);
  reply.set_seconds(last_end_s);
  return reply;
}

}  // namespace hone
