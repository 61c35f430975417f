// The trials of the jobs that are looked at, kept beside the loop: read once, then only what events say has changed.
// Each row knows the revision that changed it last, so that who comes back is told what is new alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "coordinator/http/questions.h"
#include "proto/wire.pb.h"

namespace hone {

struct TrialRow {
  proto::TrialSummary trial;  // Without what the runtime executed.
  std::string bytes;          // The trial's, to see whether it changed.
  uint64_t revision = 0;
};
using TrialName = std::pair<uint32_t, uint64_t>;  // Study, trial.

struct JobRows {
  uint64_t job = 0;
  std::string life;  // Of these rows: revisions of another are not theirs.
  uint64_t revision = 0;
  proto::JobSummary summary;
  std::map<TrialName, TrialRow> rows;
};

// The server's thread alone.
class JobTrials {
 public:
  using Take = std::function<void(const Result<const JobRows*>&)>;

  JobTrials(Questions& questions, const Clock& clock) : questions_(questions), clock_(clock) {}
  // The job's rows, at least as new as the last event.
  void Get(uint64_t job, Take take);
  void Seen(const proto::Event& event);

 private:
  struct Range {
    uint32_t study = 0;
    uint64_t from = 0;
    uint64_t count = 0;
    bool to_end = false;  // Goes on with pages until there are no more.
  };
  struct Job {
    JobRows rows;
    bool loaded = false;
    bool reload = true;  // All of it.
    bool refreshing = false;
    int64_t refreshed_ms = 0;
    int64_t used_ms = 0;
    std::set<TrialName> changed;
    std::vector<Range> todo;
    std::vector<Take> takes, next;
  };
  void Refresh(Job& job);
  void Plan(Job& job);
  void Go(uint64_t job);
  void TakePage(uint64_t job, const Range& range, const proto::ListTrialsReply& page);
  void Finish(Job& job, const Result<>& result);
  void Forget();

  Questions& questions_;
  const Clock& clock_;
  uint64_t lives_ = 0;
  std::map<uint64_t, Job> jobs_;
};

}  // namespace hone
