// A night has two passes. In the first every model on every target is measured in a session of launches against what is
// accepted, with more launches while nothing is decided, and what is accepted against itself (the control). In the
// second, later, what looks like a finding is measured again in a fresh session, and only what both say is called. Then
// all series of the night are corrected together.
//
// What is never blamed on an artifact: bytes that are the same as the accepted ones, a machine that is another than
// last time, launches that were disturbed, a metric whose control alarmed in the same night, a machine whose canary
// runs at another speed than in the nights before. All those are the verdict `environment`.
#include "client/nightly/night.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "common/base/digest.h"
#include "common/base/strings.h"

namespace hone {
namespace {

// Launches in a session may be repeated this many times over before the machine counts as unfit.
constexpr uint32_t kMostRepeats = 1;

// The canary is compared with the nights before: not before there are so many, not with more, and only what is more
// than this share and beyond the spread that those nights had is a change of the machine.
constexpr size_t kFewestCanaryNights = 3;
constexpr int kMostCanaryNights = 7;
constexpr double kCanaryShare = 0.03;
constexpr double kCanarySpreads = 4;

bool EndsTheNight(const Error& error) {
  return error.code == ErrorCode::kInterrupted || error.code == ErrorCode::kUnreachable ||
         error.code == ErrorCode::kDenied;
}

uint64_t SeedOf(const std::string& text) { return std::stoull(DigestOf(text).substr(7, 15), nullptr, 16); }

std::vector<double> Figures(const std::vector<NightLaunch>& launches, std::map<std::string, double> NightLaunch::* side,
                            const std::string& metric) {
  std::vector<double> figures;
  for (const NightLaunch& launch : launches) {
    const auto other = side == &NightLaunch::accepted ? &NightLaunch::tonight : &NightLaunch::accepted;
    const auto found = (launch.*side).find(metric);
    // Both or none: figures are pairs.
    if (found != (launch.*side).end() && (launch.*other).contains(metric)) figures.push_back(found->second);
  }
  return figures;
}

// The launches of two artifacts on one machine.
struct Session {
  std::vector<NightLaunch> launches;
  uint32_t asked = 0;
  uint32_t disturbed = 0;
  std::set<std::string> disturbances;
  bool unfit = false;
};

std::vector<double> CanaryTimes(std::initializer_list<const Session*> sessions) {
  std::vector<double> times;
  for (const Session* session : sessions) {
    for (const NightLaunch& launch : session->launches) {
      if (launch.canary_ms > 0) times.push_back(launch.canary_ms);
    }
  }
  return times;
}

// What the canary says of the machine, against the nights before; "" where it is as it was or they are too few.
std::string DriftText(const std::vector<double>& tonight, const std::vector<double>& before) {
  if (tonight.empty() || before.size() < kFewestCanaryNights) return "";
  const double usual = Median(before);
  std::vector<double> distances;
  for (const double time : before) distances.push_back(std::abs(std::log(time / usual)));
  const double spread = 1.4826 * Median(distances);
  const double change = std::log(Median(tonight) / usual);
  if (std::abs(change) <= std::max(std::log(1 + kCanaryShare), kCanarySpreads * spread)) return "";
  return fmt::format(
      "the machine itself runs at another speed: its canary took {:.3f} ms, in the nights before {:.3f} ms ({:+.1f} %)",
      Median(tonight), usual, (std::exp(change) - 1) * 100);
}

// One model on one target.
struct Examination {
  const SuiteModel* model = nullptr;
  const SuiteTarget* target = nullptr;
  NightBench::Subject subject;
  NightArtifact accepted;
  bool same = false;          // Tonight's artifact is the accepted one.
  std::string other_machine;  // Why this is another machine than last time; "" where it is not.
  std::string drift;          // How the machine's speed differs from other nights'; "" where it does not.
  Session session;
  Session fresh;
  Session control;
  Session fresh_control;
};

class Night {
 public:
  Night(const Suite& suite, NightHistory& history, NightBench& bench, const Clock& clock, const NightOptions& options)
      : suite_(suite), history_(history), bench_(bench), clock_(clock), options_(options) {}

  Result<NightRecord> Run() {
    record_.suite = suite_.name;
    record_.started_unix_ms = clock_.UnixMs();
    record_.id = options_.id.empty() ? NewId() : options_.id;
    TRY(FirstPass());
    TRY(SecondPass());
    for (const Examination& examination : examinations_) TellHealth(examination);
    const auto place = [](const SeriesResult& result) { return std::tie(result.key.model, result.key.target); };
    std::stable_sort(record_.results.begin(), record_.results.end(),
                     [&](const SeriesResult& a, const SeriesResult& b) { return place(a) < place(b); });
    CorrectAll();
    TRY(ApplyMutes());
    record_.finished_unix_ms = clock_.UnixMs();
    record_.exit_code = NightExitCode(record_.results);
    TRY(history_.Save(record_));
    return std::move(record_);
  }

 private:
  std::string NewId() const {
    const auto seconds = static_cast<std::time_t>(record_.started_unix_ms / 1000);
    return fmt::format("{:%Y-%m-%dT%H-%M-%S}-{:03}Z", fmt::gmtime(seconds), record_.started_unix_ms % 1000);
  }

  void Note(const std::string& line) const {
    if (options_.note) options_.note(line);
  }

  Result<> FirstPass() {
    for (const SuiteModel& model : suite_.models) {
      if (!options_.model.empty() && options_.model != model.name) continue;
      for (const SuiteTarget* target : suite_.TargetsOf(model)) {
        if (!options_.target.empty() && options_.target != target->name) continue;
        Examination examination;
        examination.model = &model;
        examination.target = target;
        const Result<> examined = Examine(examination);
        if (examined) {
          examinations_.push_back(std::move(examination));
          continue;
        }
        if (EndsTheNight(examined.error())) return examined;
        Note(fmt::format("{} on {}: {}", model.name, target->name, examined.error().message));
        AddErrors(examination, examined.error());
      }
    }
    return {};
  }

  Result<> Examine(Examination& e) {
    Note(fmt::format("{} on {}: preparing", e.model->name, e.target->name));
    TRY_ASSIGN(e.subject, bench_.Prepare(*e.model, *e.target));
    TRY(history_.NoteTonight(suite_.name, e.model->name, e.target->name, e.subject.artifact, record_.id));
    TRY_ASSIGN(auto accepted, history_.Accepted(suite_.name, e.model->name, e.target->name));
    if (!accepted) {
      accepted = e.subject.artifact;
      TRY(bench_.Keep(*accepted));
      TRY(history_.Accept(suite_.name, e.model->name, e.target->name, *accepted, "the first of its series",
                          clock_.UnixMs()));
      Note(fmt::format("{} on {}: nothing was accepted yet; tonight's artifact is from now on", e.model->name,
                       e.target->name));
    }
    e.accepted = std::move(*accepted);
    e.same = e.accepted.Identity() == e.subject.artifact.Identity();
    TRY(Launch(e, e.subject.artifact, "first", suite_.pairs, NightBench::Detail::whole, e.session));
    TRY(CompareMachines(e));
    TRY(Extend(e));
    if (!e.same && options_.control)
      TRY(Launch(e, e.accepted, "control", suite_.pairs, NightBench::Detail::timing, e.control));
    return {};
  }

  // Adds `count` sound launches to a session: disturbed ones are repeated, as long as there is hope.
  Result<> Launch(const Examination& e, const NightArtifact& artifact, const std::string& what, uint32_t count,
                  NightBench::Detail first, Session& session) {
    const uint32_t wanted = static_cast<uint32_t>(session.launches.size()) + count;
    const uint32_t most = session.asked + count * (1 + kMostRepeats);
    while (session.launches.size() < wanted && session.asked < most) {
      NightBench::Order order{e.model, e.target, &e.accepted, &artifact, 0, 0, first};
      order.launches = std::min(wanted - static_cast<uint32_t>(session.launches.size()), most - session.asked);
      order.seed =
          SeedOf(fmt::format("{}\n{}\n{}\n{}\n{}", record_.id, e.model->name, e.target->name, what, session.asked));
      Note(fmt::format("{} on {}: {} launches, {} session", e.model->name, e.target->name, order.launches, what));
      TRY_ASSIGN(std::vector<NightLaunch> launches, bench_.Measure(order));
      session.asked += order.launches;
      first = NightBench::Detail::timing;
      for (NightLaunch& launch : launches) Sort(std::move(launch), session);
    }
    session.unfit = session.launches.size() < wanted;
    return {};
  }

  static void Sort(NightLaunch launch, Session& session) {
    const NightLaunch* one = session.launches.empty() ? nullptr : &session.launches.front();
    // A pair is of one machine in any case; all pairs of a session are of one kind of machine.
    if (one != nullptr && one->fingerprint != launch.fingerprint) {
      launch.disturbances.push_back("it ran on another kind of machine than the launches before it");
    }
    if (launch.disturbances.empty()) {
      session.launches.push_back(std::move(launch));
      return;
    }
    ++session.disturbed;
    session.disturbances.insert(launch.disturbances.begin(), launch.disturbances.end());
  }

  Result<> CompareMachines(Examination& e) {
    if (e.session.launches.empty()) return {};
    TRY_ASSIGN(const std::string last, history_.LastFingerprint(suite_.name, e.model->name, e.target->name));
    const std::string& now = e.session.launches.front().fingerprint;
    if (last.empty() || last == now) return {};
    e.other_machine = fmt::format("the machine's fingerprint is {}, it was {}: this night begins a new series",
                                  now.substr(0, 15), last.substr(0, 15));
    return {};
  }

  // While a metric is undecided, up to the most pairs.
  Result<> Extend(Examination& e) {
    const auto undecided = [&](const SuiteMetric& metric) {
      return !metric.metric->exact && JudgeMetric(e.session, metric).verdict == NightVerdict::inconclusive;
    };
    while (!e.same && !e.session.unfit && e.session.launches.size() < suite_.most_pairs &&
           std::any_of(suite_.metrics.begin(), suite_.metrics.end(), undecided)) {
      const uint32_t left = suite_.most_pairs - static_cast<uint32_t>(e.session.launches.size());
      TRY(Launch(e, e.subject.artifact, "first", std::min(left, suite_.pairs), NightBench::Detail::timing, e.session));
    }
    return {};
  }

  JudgeOptions OptionsOf(const SuiteMetric& metric) const {
    JudgeOptions options;
    options.delta = metric.threshold;
    options.seed = SeedOf(record_.id + metric.metric->name);
    return options;
  }

  static std::vector<double> Ratios(const Session& session, const SuiteMetric& metric) {
    const std::string name = metric.metric->name;
    return LogRatios(Figures(session.launches, &NightLaunch::accepted, name),
                     Figures(session.launches, &NightLaunch::tonight, name), metric.metric->better);
  }

  Judgement JudgeMetric(const Session& session, const SuiteMetric& metric) const {
    return Judge(Ratios(session, metric), OptionsOf(metric));
  }

  bool HasFinding(const Session& session) const {
    return std::any_of(suite_.metrics.begin(), suite_.metrics.end(), [&](const SuiteMetric& metric) {
      return !metric.metric->exact && IsFinding(JudgeMetric(session, metric).verdict);
    });
  }

  Result<> SecondPass() {
    for (Examination& e : examinations_) {
      const Result<> confirmed = ConfirmFindings(e);
      if (confirmed) {
        AddResults(e);
        continue;
      }
      if (EndsTheNight(confirmed.error())) return confirmed;
      AddErrors(e, confirmed.error());
    }
    return {};
  }

  Result<> ConfirmFindings(Examination& e) {
    const bool blames = e.other_machine.empty() && !e.session.unfit;
    if (blames && HasFinding(e.session)) {
      TRY(Launch(e, e.subject.artifact, "fresh", suite_.pairs, NightBench::Detail::timing, e.fresh));
    }
    if (HasFinding(e.control))
      TRY(Launch(e, e.accepted, "fresh control", suite_.pairs, NightBench::Detail::timing, e.fresh_control));
    if (e.session.launches.empty()) return {};
    TRY_ASSIGN(const std::vector<double> before,
               history_.Canaries(suite_.name, e.session.launches.front().fingerprint, kMostCanaryNights));
    e.drift = DriftText(CanaryTimes({&e.session, &e.fresh}), before);
    return {};
  }

  void AddResults(const Examination& e) {
    for (const SuiteMetric& metric : suite_.metrics) {
      SeriesResult result = NewResult(e, metric);
      const NightLaunch* first = e.session.launches.empty() ? nullptr : &e.session.launches.front();
      if (first != nullptr) {
        result.key.fingerprint = first->fingerprint;
        result.key.runtime = first->runtime;
        result.worker = first->worker;
      }
      metric.metric->exact ? AddExact(e, metric, result) : AddNoisy(e, metric, result);
      record_.results.push_back(std::move(result));
    }
  }

  SeriesResult NewResult(const Examination& e, const SuiteMetric& metric) const {
    SeriesResult result;
    result.key.model = e.model->name;
    result.key.target = e.target->name;
    result.key.metric = metric.metric->name;
    result.key.recipe = e.subject.recipe;
    result.threshold = metric.threshold;
    result.exact = metric.metric->exact;
    result.absolute = metric.metric->absolute;
    if (!e.accepted.empty()) result.accepted = e.accepted.Identity();
    if (!e.subject.artifact.empty()) result.tonight = e.subject.artifact.Identity();
    return result;
  }

  // The same on every machine and in every launch.
  static void AddExact(const Examination& e, const SuiteMetric& metric, SeriesResult& result) {
    const std::string name = metric.metric->name;
    const std::vector<double> accepted = Figures(e.session.launches, &NightLaunch::accepted, name);
    const std::vector<double> tonight = Figures(e.session.launches, &NightLaunch::tonight, name);
    if (accepted.empty()) {
      result.reason = "the worker gave no figure";
      return;
    }
    result.accepted_median = accepted.front();
    result.tonight_median = tonight.front();
    const double sign = metric.metric->better == Better::lower ? 1 : -1;
    const double change = tonight.front() - accepted.front();
    result.judgement =
        JudgeExact(sign * (metric.metric->absolute ? change : change / accepted.front()), metric.threshold);
    if (!e.same || !IsFinding(result.judgement.verdict)) return;
    result.judgement.verdict = NightVerdict::environment;
    result.reason = "the artifact is the accepted one, byte for byte, and its figure changed";
  }

  void AddNoisy(const Examination& e, const SuiteMetric& metric, SeriesResult& result) {
    const std::string name = metric.metric->name;
    const auto control = AddControl(e, metric);
    for (const Session* session : {&e.session, &e.fresh}) {
      const auto accepted = Figures(session->launches, &NightLaunch::accepted, name);
      const auto tonight = Figures(session->launches, &NightLaunch::tonight, name);
      result.accepted_samples.insert(result.accepted_samples.end(), accepted.begin(), accepted.end());
      result.tonight_samples.insert(result.tonight_samples.end(), tonight.begin(), tonight.end());
    }
    if (result.accepted_samples.empty()) {
      result.reason = e.session.unfit ? Disturbed(e.session) : "the worker gave no figure";
      if (e.session.unfit) result.judgement.verdict = NightVerdict::environment;
      return;
    }
    result.accepted_median = Median(result.accepted_samples);
    result.tonight_median = Median(result.tonight_samples);
    const std::vector<double> first = Ratios(e.session, metric);
    result.judgement = Judge(first, OptionsOf(metric));
    const NightVerdict before = result.judgement.verdict;
    if (IsFinding(before) && !e.fresh.launches.empty()) {
      result.judgement = Confirm(first, Ratios(e.fresh, metric), OptionsOf(metric));
      result.confirmed = IsFinding(result.judgement.verdict);
      if (!result.confirmed)
        result.reason = fmt::format("a fresh session did not confirm the {} of the first", NameOf(before));
    }
    Excuse(e, control, result);
    if (!e.same || result.judgement.verdict != NightVerdict::inconclusive) return;
    result.judgement.verdict = NightVerdict::equivalent;
    result.reason = "the artifact is the accepted one, byte for byte";
  }

  // What is not the artifact's doing.
  static void Excuse(const Examination& e, const std::optional<ControlResult>& control, SeriesResult& result) {
    std::string reason;
    const bool finding = IsFinding(result.judgement.verdict);
    if (!e.other_machine.empty()) {
      reason = e.other_machine;
    } else if (e.session.unfit) {
      reason = Disturbed(e.session);
    } else if (e.same && finding) {
      reason = "the artifact is the accepted one, byte for byte: whatever changed is the machine";
    } else if (finding && e.fresh.unfit) {
      reason = Disturbed(e.fresh);
    } else if (finding && !e.drift.empty()) {
      reason = e.drift;
    } else if (finding && control && control->alarm) {
      reason = fmt::format("what is accepted differs from itself by {:.1f} % in the same night", control->effect * 100);
    }
    if (reason.empty()) return;
    result.judgement.verdict = NightVerdict::environment;
    result.reason = reason;
  }

  static std::string Disturbed(const Session& session) {
    return fmt::format("{} of {} launches were disturbed: {}", session.disturbed, session.asked,
                       Join({session.disturbances.begin(), session.disturbances.end()}, "; "));
  }

  // Where tonight's artifact is the accepted one, its own session is the control.
  std::optional<ControlResult> AddControl(const Examination& e, const SuiteMetric& metric) {
    const std::vector<double> first = Ratios(e.same ? e.session : e.control, metric);
    if (first.empty()) return std::nullopt;
    const Judgement judgement = Confirm(first, Ratios(e.same ? e.fresh : e.fresh_control, metric), OptionsOf(metric));
    record_.controls.push_back({e.model->name, e.target->name, metric.metric->name, IsFinding(judgement.verdict),
                                judgement.effect, judgement.pairs});
    return record_.controls.back();
  }

  void AddErrors(const Examination& e, const Error& error) {
    for (const SuiteMetric& metric : suite_.metrics) {
      SeriesResult result = NewResult(e, metric);
      result.judgement.verdict =
          error.code == ErrorCode::kEnvironment ? NightVerdict::environment : NightVerdict::error;
      result.reason = error.message;
      record_.results.push_back(std::move(result));
    }
  }

  static void AddOnce(const std::string& note, std::vector<std::string>& notes) {
    if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
  }

  void TellHealth(const Examination& e) {
    for (const Session* session : {&e.session, &e.fresh, &e.control, &e.fresh_control}) {
      if (session->asked == 0) continue;
      const NightLaunch empty;
      const NightLaunch& one = session->launches.empty() ? empty : session->launches.front();
      const auto same = [&](const MachineHealth& m) {
        return m.target == e.target->name && m.worker == one.worker && m.fingerprint == one.fingerprint;
      };
      auto machine = std::find_if(record_.health.begin(), record_.health.end(), same);
      if (machine == record_.health.end()) {
        record_.health.push_back({e.target->name, one.worker, one.fingerprint, 0, 0, {}, 0});
        machine = record_.health.end() - 1;
      }
      machine->launches += session->asked;
      machine->disturbed += session->disturbed;
      // Of several models that a machine measured, the last one's: it is the same computation.
      if (const std::vector<double> canary = CanaryTimes({session}); !canary.empty())
        machine->canary_ms = Median(canary);
      if (!e.drift.empty()) AddOnce(e.drift, machine->notes);
      for (const std::string& note : session->disturbances) AddOnce(note, machine->notes);
    }
  }

  void CorrectAll() {
    std::vector<Judgement*> night;
    std::vector<SeriesResult*> noisy;
    for (SeriesResult& result : record_.results) {
      const NightVerdict verdict = result.judgement.verdict;
      if (result.exact || verdict == NightVerdict::environment || verdict == NightVerdict::error) continue;
      night.push_back(&result.judgement);
      noisy.push_back(&result);
    }
    CorrectMany(night, suite_.q);
    for (SeriesResult* result : noisy) {
      if (!result->confirmed || IsFinding(result->judgement.verdict)) continue;
      result->confirmed = false;
      result->reason = fmt::format("among the {} series of this night it could be chance", noisy.size());
    }
  }

  Result<> ApplyMutes() {
    TRY_ASSIGN(const std::vector<Mute> mutes, history_.Mutes(suite_.name, clock_.UnixMs()));
    for (SeriesResult& result : record_.results) {
      for (const Mute& mute : mutes) {
        const bool meant = (mute.model.empty() || mute.model == result.key.model) &&
                           (mute.target.empty() || mute.target == result.key.target) &&
                           (mute.metric.empty() || mute.metric == result.key.metric);
        if (!meant) continue;
        result.muted = true;
        result.mute_reason = mute.reason;
      }
    }
    return {};
  }

  const Suite& suite_;
  NightHistory& history_;
  NightBench& bench_;
  const Clock& clock_;
  const NightOptions& options_;
  NightRecord record_;
  std::vector<Examination> examinations_;
};

}  // namespace

Result<NightRecord> RunNight(const Suite& suite, NightHistory& history, NightBench& bench, const Clock& clock,
                             const NightOptions& options) {
  return Night(suite, history, bench, clock, options).Run();
}

}  // namespace hone
