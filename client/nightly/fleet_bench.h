// A night's measurements from a fleet: jobs at a coordinator.
//
// A launch is a job of its own: its baseline is the accepted artifact, its one candidate tonight's. The worker starts a
// process for each, times blocks of both in turns, in an order drawn from the seed, alone on its machine; the next
// launch has new processes. So a pair of launches runs under one lease on one machine within seconds, and what lies
// between pairs does not matter.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "client/client.h"
#include "client/console.h"
#include "client/job_request.h"
#include "client/nightly/night.h"

namespace hone {

// Copies a model's files into a folder of its digest beneath `artifacts`.
Result<> CopyArtifact(const proto::LocalBundle& model, const std::filesystem::path& artifacts);

class FleetBench final : public NightBench {
 public:
  // Files of accepted artifacts are kept in folders by digest beneath `artifacts`.
  FleetBench(const Suite& suite, Client& client, Console& console, std::filesystem::path artifacts)
      : suite_(suite), client_(client), console_(console), artifacts_(std::move(artifacts)) {}

  Result<Subject> Prepare(const SuiteModel& model, const SuiteTarget& target) override;
  Result<std::vector<NightLaunch>> Measure(const Order& order) override;
  Result<> Keep(const NightArtifact& artifact) override;

 private:
  Result<JobRequest> RequestOf(const SuiteModel& model, const SuiteTarget& target);
  Client::Submission LaunchOf(const Order& order, uint32_t number);
  Result<NightLaunch> ReadLaunch(const proto::JobSummary& job, const proto::TrialSummary& candidate);
  Result<NightLaunch> Wait(uint64_t job);
  Result<proto::JobSummary> Follow(uint64_t job);
  proto::LocalBundle Locate(const proto::Bundle& model) const;
  std::filesystem::path FolderOf(const proto::Bundle& model) const;

  const Suite& suite_;
  Client& client_;
  Console& console_;
  std::filesystem::path artifacts_;
  std::map<std::string, JobRequest> requests_;            // By model's and target's name.
  std::map<std::string, std::filesystem::path> folders_;  // Of models on this machine, by digest.
};

}  // namespace hone
