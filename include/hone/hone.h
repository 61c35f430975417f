// libhone: searches for the best deployable form of a model, from C++ programs. docs/library.md has an example of each
// call.
//
//   hone::sdk::Session session = hone::sdk::Session::Connect({"tcp://lab-1:5710"}).value();
//   auto job = session.Submit({.model = "model.onnx", .recipe = "recipe.yaml"}).value();
//   auto done = session.Watch(job).value();
//   session.Get(job, "out");
//
// Nothing throws. A call answers with an Outcome: a value, or an Error that names the thing and the remedy. The library
// is built with hidden symbols but those below, which carry a version: a program that was linked with one release runs
// with later ones of the same SONAME.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#if defined(__GNUC__)
#define HONE_SDK_EXPORT __attribute__((visibility("default")))
#else
#define HONE_SDK_EXPORT
#endif

namespace hone::sdk {
inline namespace v1 {

// `code` is the exit code that the `hone` command would end with (hone-exit-codes(7)).
struct Error {
  int code = 70;
  std::string message;
  std::string remedy;
  std::string file;        // Of a mistake in a file; line and column count from 1.
  uint32_t line = 0;
  uint32_t column = 0;
};

template <class T>
class Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Outcome(Error error) : state_(std::in_place_index<1>, std::move(error)) {}      // NOLINT(google-explicit-constructor)
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // Throw std::bad_variant_access where the outcome is the other.
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Done {};

struct Metric {
  std::string name;                          // latency_ms_p50, size_bytes, accuracy ...
  double value = 0;
  std::optional<double> low, high;           // 99 %
  uint64_t samples = 0;
};

struct Trial {
  uint64_t number = 0;                       // 0: the baseline.
  uint32_t target = 1;
  std::string state;                         // waiting, running, complete, infeasible, pruned, failed
  std::string candidate;                     // "static_int8(per_channel=true) on openvino(hint=latency)"
  std::vector<Metric> metrics;
  std::optional<Metric> speedup;             // Over the baseline measured beside it.
  std::string reason;
};

struct Target {
  std::vector<std::string> tags;
  uint32_t complete = 0, infeasible = 0, pruned = 0, failed = 0;
  std::optional<Trial> baseline, best;
};

struct Job {
  uint64_t id = 0;
  std::string name;
  std::string state;                         // running, complete, failed, cancelled
  std::string error;
  std::vector<Target> targets;
  bool is_over() const { return state != "running"; }
};

struct Event {
  uint64_t sequence = 0;
  int64_t unix_ms = 0;
  std::string kind;                          // job.submitted, trial.complete, worker.lost ...
  std::string text;
  uint64_t trial = 0;
};

struct Submission {
  std::string model;                         // "": the recipe's.
  std::string recipe;                        // "": the built-in recipe.
  std::string data;                          // "": the recipe's.
  std::string calibration;
  std::string name;
  std::optional<uint64_t> trials;
  std::optional<uint64_t> seed;
};

struct Connection {
  std::string coordinator;                   // "": HONE_COORDINATOR, else tcp://127.0.0.1:5710.
  std::string keys;                          // The folder of this machine's keys; "": HONE_KEYS, else without.
};

// One connection to a coordinator. One thread at a time.
class HONE_SDK_EXPORT Session {
 public:
  static Outcome<Session> Connect(const Connection& connection = {});
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  // Uploads what the coordinator lacks; the job's number.
  Outcome<uint64_t> Submit(const Submission& submission);
  Outcome<Job> Status(uint64_t job);
  Outcome<std::vector<Job>> Jobs(uint32_t limit = 20);
  Outcome<std::vector<Trial>> Trials(uint64_t job);
  // Until the job is over. `heard` gets every event and ends the watch, not the job, by giving back false (code 130).
  // Code 10 after `timeout_s`.
  Outcome<Job> Watch(uint64_t job, const std::function<bool(const Event&)>& heard = {}, double timeout_s = 0);
  // The best model of the first target into a folder; the path of the file to open.
  Outcome<std::string> Get(uint64_t job, const std::string& folder);
  Outcome<Done> Cancel(uint64_t job, const std::string& reason = {});

 private:
  struct Body;
  explicit Session(std::unique_ptr<Body> body);
  std::unique_ptr<Body> body_;
};

// --- on this machine, without a coordinator: by the programs hone and hone-worker
// --------------------------------------

struct Quantized {
  std::string path;
  uint64_t size_bytes = 0;
};
// Passes in order, such as "static_int8:observer=entropy"; `calibration` may be "" where no pass needs it.
HONE_SDK_EXPORT Outcome<Quantized> Quantize(const std::string& model, const std::vector<std::string>& passes,
                                            const std::string& output, const std::string& calibration = {});

struct Measurement {
  std::vector<Metric> metrics;
  std::optional<Metric> speedup;             // Over `other`.
  std::string verdict;                       // faster, slower, equal, undecided; "" without another.
};
// One model, or two interleaved where `other` is not "".
HONE_SDK_EXPORT Outcome<Measurement> Benchmark(const std::string& model, const std::string& other = {},
                                               const std::string& backend = {},
                                               const std::vector<std::string>& more_arguments = {});

// "0.1.0"
HONE_SDK_EXPORT std::string Version();

}  // namespace v1
}  // namespace hone::sdk
