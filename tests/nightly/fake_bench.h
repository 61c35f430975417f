// Measurements that tests make up: every figure has a level, every launch some noise from its seed.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "client/nightly/night.h"
#include "common/base/digest.h"

namespace hone::test {

class SteppedClock final : public Clock {
 public:
  int64_t SteadyMs() const override { return now_ms; }
  int64_t UnixMs() const override { return now_ms; }
  void NextDay() { now_ms += 86'400'000; }
  int64_t now_ms = 1'795'000'000'000;
};

inline NightArtifact ArtifactOf(const std::string& bytes, const std::string& backend = "onnxruntime") {
  NightArtifact artifact;
  artifact.model.set_format("onnx");
  artifact.model.set_main("model.onnx");
  proto::File& file = *artifact.model.add_files();
  file.set_path("model.onnx");
  file.set_digest(DigestOf(bytes));
  file.set_size_bytes(bytes.size());
  artifact.backend = backend;
  return artifact;
}

class FakeBench final : public NightBench {
 public:
  // What an artifact costs; 1 where nothing is said. By identity.
  std::map<std::string, double> latency;
  std::map<std::string, double> size;
  std::map<std::string, double> drop;
  std::map<std::string, std::string> tonight;       // Bytes of tonight's artifact, by model.
  std::map<std::string, Error> errors;              // By model, or model@target.
  std::map<std::string, std::string> fingerprints;  // By target; "sha256:fp" where nothing is said.
  std::function<void(NightLaunch&, int)> alter;     // The launch and its number in the night.
  double noise = 0.005;
  std::vector<Order> orders;
  std::vector<std::string> kept;

  Result<Subject> Prepare(const SuiteModel& model, const SuiteTarget& target) override {
    for (const std::string& key : {model.name, model.name + "@" + target.name}) {
      if (const auto found = errors.find(key); found != errors.end()) return Fail(found->second);
    }
    return Subject{ArtifactOf(tonight.contains(model.name) ? tonight.at(model.name) : "v1"), "sha256:recipe"};
  }

  Result<std::vector<NightLaunch>> Measure(const Order& order) override {
    orders.push_back(order);
    std::vector<NightLaunch> launches;
    std::mt19937_64 random(order.seed);
    std::normal_distribution<double> normal(1, noise);
    for (uint32_t i = 0; i < order.launches; ++i) {
      NightLaunch launch;
      launch.accepted = FiguresOf(*order.accepted, normal(random));
      launch.tonight = FiguresOf(*order.tonight, normal(random));
      launch.tonight["accuracy_drop"] = At(drop, *order.tonight, 0) - At(drop, *order.accepted, 0);
      launch.worker = "worker-" + order.target->name;
      const auto found = fingerprints.find(order.target->name);
      launch.fingerprint = found == fingerprints.end() ? "sha256:fp" : found->second;
      launch.runtime = "onnxruntime 1";
      if (alter) alter(launch, launches_++);
      launches.push_back(std::move(launch));
    }
    return launches;
  }

  Result<> Keep(const NightArtifact& artifact) override {
    kept.push_back(artifact.Identity());
    return {};
  }

 private:
  static double At(const std::map<std::string, double>& levels, const NightArtifact& artifact, double otherwise) {
    const auto found = levels.find(artifact.Identity());
    return found == levels.end() ? otherwise : found->second;
  }
  std::map<std::string, double> FiguresOf(const NightArtifact& artifact, double noisy) const {
    return {{"latency_ms_p50", 10 * At(latency, artifact, 1) * noisy},
            {"size_bytes", 1000 * At(size, artifact, 1)},
            {"accuracy_drop", 0}};
  }
  int launches_ = 0;
};

}  // namespace hone::test
