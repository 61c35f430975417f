// Measures the coordinator with simulated workers: a real hone-coordinator process, real sockets, a real database with its fsyncs.
//
//   fleet rate     --workers 64 --trials 100000            durable trials a second, result-to-next-dispatch latency, memory, descriptors
//   fleet register --workers 1000 --seconds 10             time until all are registered, the coordinator's processor time for heartbeats
//   fleet queue    --jobs 1000 --trials-each 1000          dispatch while 1,000,000 trials are queued, the coordinator's memory
//   fleet transfer --workers 4 --megabytes 2000            a model up and down to several, and how long others wait meanwhile
//   fleet restart  --trials 100000                         kill -9 with so many trials in the database of a running job, time until it serves
//
// Prints one JSON document; what happens meanwhile goes to stderr.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "bench/fleet/worker_crowd.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/subprocess.h"
#include "common/recipe/recipe_yaml.h"
#include "common/transport/transport.h"

namespace hone::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using nlohmann::json;
namespace fs = std::filesystem;

struct Settings {
  uint32_t workers = 64, settings = 1, jobs = 1, seconds = 10;
  uint64_t trials = 100'000, trials_each = 1000, megabytes = 2000;
  std::string sampler = "random";
  fs::path folder;
};

double SecondsSince(SteadyClock::time_point then) { return std::chrono::duration<double>(SteadyClock::now() - then).count(); }

template <class T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "fleet: {}\n", result.error().message);
  std::exit(4);
}

double Percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(part * static_cast<double>(values.size())))];
}

json Latency(const std::vector<double>& values) {
  return {{"n", values.size()}, {"p50_ms", Percentile(values, 0.5)}, {"p99_ms", Percentile(values, 0.99)}, {"max_ms", Percentile(values, 1)}};
}

class CoordinatorProcess {
 public:
  explicit CoordinatorProcess(fs::path folder) : folder_(std::move(folder)) { fs::create_directories(folder_); }

  // Seconds until it answers a ping.
  double Start() {
    const auto start = SteadyClock::now();
    const fs::path ready = folder_ / "ready.json";
    fs::remove(ready);
    ProcessOptions options;
    options.arguments = {(ExecutableFolder() / "hone-coordinator").string(), "--listen", "tcp://127.0.0.1:0", "--data",
                         (folder_ / "data").string(), "--ready-file", ready.string(), "--log-level", "error"};
    process_.emplace(Must(Process::Start(options)));
    while (!fs::exists(ready)) {
      if (Must(process_->Wait(milliseconds(2)))) std::exit(4);
    }
    std::ifstream in(ready);
    endpoint_ = json::parse(in).at("endpoint");
    auto dialer = Must(Dialer::Connect(endpoint_));
    proto::Frame ping;
    ping.mutable_ping();
    Must(dialer->Call(ping, milliseconds(60'000)));
    return SecondsSince(start);
  }
  void Kill() {
    process_->Signal(SIGKILL);
    process_->Stop(milliseconds(1000));
  }
  const std::string& endpoint() const { return endpoint_; }

  double ProcessorSeconds() const {
    std::string text = Must(ReadFile(fmt::format("/proc/{}/stat", process_->pid()), 1 << 16));
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0, system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  double ResidentMegabytes() const {
    std::ifstream in(fmt::format("/proc/{}/statm", process_->pid()));
    double size = 0, resident = 0;
    in >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
  }
  size_t Descriptors() const {
    const fs::directory_iterator all(fmt::format("/proc/{}/fd", process_->pid()));
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

 private:
  fs::path folder_;
  std::string endpoint_;
  std::optional<Process> process_;
};

uint64_t Submit(const std::string& endpoint, const Settings& settings, uint64_t trials, uint64_t seed) {
  auto dialer = Must(Dialer::Connect(endpoint));
  const std::string bytes = "a model that nobody opens";
  proto::Frame upload;
  proto::PutChunk& chunk = *upload.mutable_put_chunk();
  chunk.set_digest(DigestOf(bytes));
  chunk.set_size_bytes(bytes.size());
  chunk.set_data(bytes);
  Must(dialer->Call(upload, milliseconds(60'000)));
  std::string yaml = "backends:\n  onnxruntime:\n";
  for (uint32_t i = 0; i < settings.settings; ++i) yaml += fmt::format("    level_{}: {{range: [0, 1000000000]}}\n", i);
  yaml += fmt::format("search: {{sampler: {}, trials: {}, seed: {}}}\n", settings.sampler, trials, seed);
  proto::Frame submit;
  *submit.mutable_submit_job()->mutable_recipe() = Must(ParseRecipe(yaml, "fleet.yaml"));
  proto::Bundle& model = *submit.mutable_submit_job()->mutable_model();
  model.set_format("onnx");
  model.set_main("model.onnx");
  proto::File& file = *model.add_files();
  file.set_path("model.onnx");
  file.set_digest(DigestOf(bytes));
  file.set_size_bytes(bytes.size());
  return Must(dialer->Call(submit, milliseconds(60'000))).submit_job_reply().job();
}

void Register(WorkerCrowd& crowd, uint32_t workers) {
  crowd.Start();
  const auto start = SteadyClock::now();
  while (crowd.counters().registered < workers) {
    crowd.Turn(milliseconds(100));
    if (SecondsSince(start) < 60) continue;
    fmt::print(stderr, "fleet: {} of {} registered within a minute {}\n", crowd.counters().registered, workers, crowd.counters().last_error);
    std::exit(4);
  }
}

// Until so many trials are acknowledged, or no trial was for 30 seconds.
void WorkUntil(WorkerCrowd& crowd, uint64_t trials) {
  auto last = SteadyClock::now();
  auto told = last;
  uint64_t before = crowd.counters().trials;
  while (crowd.counters().trials < trials) {
    crowd.Turn(milliseconds(100));
    if (crowd.counters().trials != before) last = SteadyClock::now();
    before = crowd.counters().trials;
    if (SecondsSince(told) > 5) {
      told = SteadyClock::now();
      fmt::print(stderr, "fleet: {} trials\n", before);
    }
    if (SecondsSince(last) < 30) continue;
    fmt::print(stderr, "fleet: no trial ended for 30 s ({} of {} did; errors: {} {})\n", before, trials, crowd.counters().errors,
               crowd.counters().last_error);
    std::exit(4);
  }
}

CrowdOptions CrowdAt(const std::string& endpoint, const Settings& settings) {
  CrowdOptions options;
  options.endpoint = endpoint;
  options.workers = settings.workers;
  options.settings = settings.settings;
  return options;
}

json Rate(const Settings& settings) {
  CoordinatorProcess coordinator(settings.folder);
  coordinator.Start();
  WorkerCrowd crowd(CrowdAt(coordinator.endpoint(), settings));
  Register(crowd, settings.workers);
  Submit(coordinator.endpoint(), settings, settings.trials, 1);
  // The first tenth warms up; memory and descriptors must not grow from there.
  WorkUntil(crowd, settings.trials / 10);
  const double memory = coordinator.ResidentMegabytes();
  const size_t descriptors = coordinator.Descriptors();
  const double processor = coordinator.ProcessorSeconds();
  const uint64_t from = crowd.counters().trials;
  crowd.counters().dispatch_ms.clear();
  const auto start = SteadyClock::now();
  WorkUntil(crowd, settings.trials);
  const double seconds = SecondsSince(start);
  const auto done = static_cast<double>(crowd.counters().trials - from);
  return {{"trials", settings.trials},
          {"workers", settings.workers},
          {"sampler", settings.sampler},
          {"trials_per_s", done / seconds},
          {"coordinator_cpu_us_per_trial", (coordinator.ProcessorSeconds() - processor) / done * 1e6},
          {"result_to_next_dispatch", Latency(crowd.counters().dispatch_ms)},
          {"rss_mb_at_a_tenth", memory},
          {"rss_mb_at_the_end", coordinator.ResidentMegabytes()},
          {"descriptors_at_a_tenth", descriptors},
          {"descriptors_at_the_end", coordinator.Descriptors()}};
}

json RegisterAll(const Settings& settings) {
  CoordinatorProcess coordinator(settings.folder);
  coordinator.Start();
  WorkerCrowd crowd(CrowdAt(coordinator.endpoint(), settings));
  const auto start = SteadyClock::now();
  Register(crowd, settings.workers);
  const double registered = SecondsSince(start);
  const double processor = coordinator.ProcessorSeconds();
  const auto from = SteadyClock::now();
  while (SecondsSince(from) < settings.seconds) crowd.Turn(milliseconds(100));
  const double share = (coordinator.ProcessorSeconds() - processor) / SecondsSince(from);
  return {{"workers", settings.workers}, {"registered_s", registered}, {"heartbeat_cpu_share_of_a_core", share},
          {"rss_mb", coordinator.ResidentMegabytes()}, {"errors", crowd.counters().errors}};
}

json Queue(const Settings& settings) {
  CoordinatorProcess coordinator(settings.folder);
  coordinator.Start();
  WorkerCrowd crowd(CrowdAt(coordinator.endpoint(), settings));
  crowd.Pause();
  Register(crowd, settings.workers);
  const double empty = coordinator.ResidentMegabytes();
  const auto start = SteadyClock::now();
  for (uint32_t i = 0; i < settings.jobs; ++i) {
    Submit(coordinator.endpoint(), settings, settings.trials_each, i + 1);
    crowd.Turn(milliseconds(0));
  }
  const double submitted = SecondsSince(start);
  crowd.Resume();
  // Every job's baseline comes first.
  WorkUntil(crowd, settings.jobs);
  crowd.counters().dispatch_ms.clear();
  const uint64_t from = crowd.counters().trials;
  const auto working = SteadyClock::now();
  WorkUntil(crowd, from + settings.trials);
  return {{"queued_trials", uint64_t{settings.jobs} * settings.trials_each},
          {"jobs", settings.jobs},
          {"workers", settings.workers},
          {"submit_s", submitted},
          {"trials_per_s", static_cast<double>(settings.trials) / SecondsSince(working)},
          {"result_to_next_dispatch", Latency(crowd.counters().dispatch_ms)},
          {"rss_mb_empty", empty},
          {"rss_mb", coordinator.ResidentMegabytes()}};
}

json Restart(const Settings& settings) {
  CoordinatorProcess coordinator(settings.folder);
  coordinator.Start();
  {
    WorkerCrowd crowd(CrowdAt(coordinator.endpoint(), settings));
    Register(crowd, settings.workers);
    // The job goes on after the restart.
    Submit(coordinator.endpoint(), settings, 2 * settings.trials, 1);
    WorkUntil(crowd, settings.trials);
  }
  coordinator.Kill();
  const double serving = coordinator.Start();
  WorkerCrowd crowd(CrowdAt(coordinator.endpoint(), settings));
  const auto start = SteadyClock::now();
  Register(crowd, settings.workers);
  WorkUntil(crowd, 1);
  return {{"trials", settings.trials}, {"serving_s", serving}, {"first_trial_after_s", SecondsSince(start)},
          {"rss_mb", coordinator.ResidentMegabytes()}};
}

// A file of random bytes goes up once and down to several at once; pings tell how long others wait meanwhile.
json Transfer(const Settings& settings) {
  CoordinatorProcess coordinator(settings.folder);
  coordinator.Start();
  const fs::path source = settings.folder / "model.bin";
  const uint64_t bytes = settings.megabytes * 1'000'000;
  {
    std::ofstream out(source, std::ios::binary);
    std::mt19937_64 random(7);
    std::vector<uint64_t> block(1 << 17);
    for (uint64_t written = 0; written < bytes;) {
      for (uint64_t& word : block) word = random();
      const uint64_t size = std::min<uint64_t>(bytes - written, block.size() * sizeof(uint64_t));
      out.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(size));
      written += size;
    }
  }
  const std::string digest = Must(DigestOfFile(source));
  auto uploader = Must(Dialer::Connect(coordinator.endpoint()));
  auto start = SteadyClock::now();
  if (const auto sent = UploadFile(*uploader, source.string(), digest, bytes); !sent) Must(Result<int>(tl::unexpected(sent.error())));
  const double up = SecondsSince(start);
  std::atomic<bool> done = false;
  std::vector<double> pings;
  std::thread pinger([&] {
    auto dialer = Must(Dialer::Connect(coordinator.endpoint()));
    while (!done) {
      proto::Frame ping;
      ping.mutable_ping();
      const auto sent = SteadyClock::now();
      Must(dialer->Call(ping, milliseconds(60'000)));
      pings.push_back(1000 * SecondsSince(sent));
    }
  });
  start = SteadyClock::now();
  std::vector<std::thread> downloads;
  for (uint32_t i = 0; i < settings.workers; ++i) {
    downloads.emplace_back([&, i] {
      auto dialer = Must(Dialer::Connect(coordinator.endpoint()));
      const auto got = DownloadFile(*dialer, digest, (settings.folder / fmt::format("worker-{}", i) / "model.bin").string());
      if (!got) Must(Result<int>(tl::unexpected(got.error())));
    });
  }
  for (std::thread& thread : downloads) thread.join();
  const double down = SecondsSince(start);
  done = true;
  pinger.join();
  start = SteadyClock::now();
  if (const auto again = UploadFile(*uploader, source.string(), digest, bytes); !again) Must(Result<int>(tl::unexpected(again.error())));
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return {{"megabytes", megabytes},
          {"receivers", settings.workers},
          {"up_mb_per_s", megabytes / up},
          {"down_mb_per_s_together", megabytes * settings.workers / down},
          {"ping_meanwhile", Latency(pings)},
          {"known_again_s", SecondsSince(start)},
          {"rss_mb", coordinator.ResidentMegabytes()}};
}

int Main(int argc, char** argv) {
  CLI::App app("Measures the coordinator with simulated workers.", "fleet");
  app.require_subcommand(1);
  Settings settings;
  json result;
  const auto add = [&](const char* name, const char* help, json (*measure)(const Settings&)) {
    CLI::App& command = *app.add_subcommand(name, help);
    command.add_option("--workers", settings.workers)->capture_default_str()->check(CLI::Range(1, 20'000));
    command.add_option("--trials", settings.trials, "How many are worked")->capture_default_str();
    command.add_option("--settings", settings.settings, "Parameters of the space")->capture_default_str()->check(CLI::Range(1, 64));
    command.add_option("--sampler", settings.sampler)->capture_default_str();
    command.add_option("--jobs", settings.jobs)->capture_default_str();
    command.add_option("--trials-each", settings.trials_each, "Budget of each job")->capture_default_str();
    command.add_option("--seconds", settings.seconds)->capture_default_str();
    command.add_option("--megabytes", settings.megabytes, "Of the file that is transferred")->capture_default_str();
    command.add_option("--folder", settings.folder, "For the coordinator's data; a new one otherwise, removed at the end");
    command.callback([&result, &settings, measure] {
      const bool own = settings.folder.empty();
      if (own) {
        std::string folder = (fs::temp_directory_path() / "hone-fleet-XXXXXX").string();
        if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
        settings.folder = folder;
      }
      result = measure(settings);
      if (own) fs::remove_all(settings.folder);
    });
  };
  add("rate", "Durable trials a second", Rate);
  add("register", "Many workers at once, and their heartbeats", RegisterAll);
  add("queue", "Dispatch with many jobs queued", Queue);
  add("transfer", "A model to several workers (--workers) at once", Transfer);
  add("restart", "A coordinator killed and started again", Restart);
  CLI11_PARSE(app, argc, argv);
  fmt::print("{}\n", result.dump(2));
  return 0;
}

}  // namespace
}  // namespace hone::bench

int main(int argc, char** argv) { return hone::bench::Main(argc, argv); }
