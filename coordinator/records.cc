#include "coordinator/records.h"

#include <fmt/format.h>

#include <span>

namespace hone {
namespace {

template <class State>
struct NameRow {
  State state;
  std::string_view name;
};

constexpr NameRow<proto::JobState> kJobStates[] = {{proto::JOB_RUNNING, "running"},
                                                   {proto::JOB_COMPLETE, "complete"},
                                                   {proto::JOB_FAILED, "failed"},
                                                   {proto::JOB_CANCELLED, "cancelled"}};
constexpr NameRow<proto::TrialState> kTrialStates[] = {
    {proto::TRIAL_WAITING, "waiting"},       {proto::TRIAL_RUNNING, "running"}, {proto::TRIAL_COMPLETE, "complete"},
    {proto::TRIAL_INFEASIBLE, "infeasible"}, {proto::TRIAL_PRUNED, "pruned"},   {proto::TRIAL_FAILED, "failed"}};
constexpr NameRow<StudyPhase> kPhases[] = {
    {StudyPhase::kSearching, "searching"}, {StudyPhase::kFinalists, "finalists"}, {StudyPhase::kDone, "done"}};
constexpr NameRow<AttemptKind> kKinds[] = {
    {AttemptKind::kBuild, "build"}, {AttemptKind::kMeasure, "measure"}, {AttemptKind::kFinal, "final"}};
constexpr NameRow<FinalState> kFinalStates[] = {{FinalState::kNone, "none"},
                                                {FinalState::kWanted, "wanted"},
                                                {FinalState::kDone, "done"},
                                                {FinalState::kFailed, "failed"}};
constexpr NameRow<BuildState> kBuildStates[] = {
    {BuildState::kWanted, "wanted"}, {BuildState::kDone, "done"}, {BuildState::kFailed, "failed"}};
constexpr NameRow<Outcome> kOutcomes[] = {{Outcome::kOpen, "open"},
                                          {Outcome::kDone, "done"},
                                          {Outcome::kFailed, "failed"},
                                          {Outcome::kCrashed, "crashed"},
                                          {Outcome::kTimedOut, "timed_out"},
                                          {Outcome::kOutOfMemory, "out_of_memory"},
                                          {Outcome::kCancelled, "cancelled"},
                                          {Outcome::kReturned, "returned"},
                                          {Outcome::kWorkerLost, "worker_lost"}};
constexpr NameRow<Subject> kSubjects[] = {
    {Subject::kCandidate, "candidate"}, {Subject::kBaseline, "baseline"}, {Subject::kPaired, "paired"}};

template <class State, size_t kCount>
std::string_view Name(const NameRow<State> (&rows)[kCount], State state) {
  for (const auto& row : rows) {
    if (row.state == state) return row.name;
  }
  CHECK_THAT(!"a state without a name");
  return {};
}

template <class State, size_t kCount>
Result<State> Value(const NameRow<State> (&rows)[kCount], std::string_view name) {
  for (const auto& row : rows) {
    if (row.name == name) return row.state;
  }
  return Fail(ErrorCode::kConfiguration, fmt::format("the database holds the unknown state '{}'", name));
}

}  // namespace

std::string_view NameOf(proto::JobState state) { return Name(kJobStates, state); }
std::string_view NameOf(proto::TrialState state) { return Name(kTrialStates, state); }
std::string_view NameOf(StudyPhase phase) { return Name(kPhases, phase); }
std::string_view NameOf(AttemptKind kind) { return Name(kKinds, kind); }
std::string_view NameOf(FinalState state) { return Name(kFinalStates, state); }
std::string_view NameOf(BuildState state) { return Name(kBuildStates, state); }
std::string_view NameOf(Outcome outcome) { return Name(kOutcomes, outcome); }
std::string_view NameOf(Subject subject) { return Name(kSubjects, subject); }

template <>
Result<proto::JobState> StateOf(std::string_view name) {
  return Value(kJobStates, name);
}
template <>
Result<proto::TrialState> StateOf(std::string_view name) {
  return Value(kTrialStates, name);
}
template <>
Result<StudyPhase> StateOf(std::string_view name) {
  return Value(kPhases, name);
}
template <>
Result<AttemptKind> StateOf(std::string_view name) {
  return Value(kKinds, name);
}
template <>
Result<FinalState> StateOf(std::string_view name) {
  return Value(kFinalStates, name);
}
template <>
Result<BuildState> StateOf(std::string_view name) {
  return Value(kBuildStates, name);
}
template <>
Result<Outcome> StateOf(std::string_view name) {
  return Value(kOutcomes, name);
}
template <>
Result<Subject> StateOf(std::string_view name) {
  return Value(kSubjects, name);
}

bool IsBlamed(Outcome outcome) {
  return outcome == Outcome::kCrashed || outcome == Outcome::kTimedOut || outcome == Outcome::kOutOfMemory;
}

}  // namespace hone
