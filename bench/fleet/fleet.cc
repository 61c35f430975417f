// Measures the coordinator with simulated workers: a real hone-coordinator process, real sockets, a real database with
// its fsyncs.
//
//   fleet rate     --workers 64 --trials 100000            durable trials a second, result-to-next-dispatch latency,
//   memory, descriptors fleet register --workers 1000 --seconds 10 --keys      time until all are registered, the
//   coordinator's processor time for heartbeats fleet queue    --jobs 1000 --trials-each 1000          dispatch while
//   1,000,000 trials are queued, the coordinator's memory fleet transfer --workers 4 --megabytes 2000            a
//   model up and down to several, and how long others wait meanwhile fleet restart  --trials 1000000 --running 1000
//   kill -9 with so many trials in the database and in the running job, time until it serves
//
// Prints one JSON document; what happens meanwhile goes to stderr.
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "bench/fleet/worker_crowd.h"
#include "bench/support/coordinator_process.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/strings.h"
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
  uint64_t trials = 100'000, trials_each = 1000, running = 1000, megabytes = 2000;
  bool keys = false;
  std::string sampler = "random";
  fs::path folder;
};

double SecondsSince(SteadyClock::time_point then) {
  return std::chrono::duration<double>(SteadyClock::now() - then).count();
}

double Percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(part * static_cast<double>(values.size())))];
}

json Latency(const std::vector<double>& values) {
  return {{"n", values.size()},
          {"p50_ms", Percentile(values, 0.5)},
          {"p99_ms", Percentile(values, 0.99)},
          {"max_ms", Percentile(values, 1)}};
}

// A coordinator with its workers and a client, with keys where they are asked for.
class Scene {
 public:
  explicit Scene(const Settings& settings) : settings_(settings) {
    crowd_.workers = settings.workers;
    crowd_.settings = settings.settings;
    if (settings.keys) {
      Membership members(settings.folder / "keys");
      for (uint32_t i = 0; i < settings.workers; ++i)
        crowd_.keys.push_back(members.Member(fmt::format("{}-{}", crowd_.name, i), Role::worker));
      client_.keys = members.Member("client", Role::client);
      members.Write();
      keys_ = members.folder();
    }
    coordinator.emplace(settings.folder, keys_);
    coordinator->Start();
  }
  std::unique_ptr<Dialer> Client() const { return Must(Dialer::Connect(coordinator->endpoint(), client_)); }
  CrowdOptions crowd() const {
    CrowdOptions options = crowd_;
    options.endpoint = coordinator->endpoint();
    return options;
  }
  uint64_t Submit(uint64_t trials, uint64_t seed) const;
  // Seconds until it is killed and serves again.
  double KillAndStart() {
    coordinator->Kill();
    return coordinator->Start();
  }

  std::optional<CoordinatorProcess> coordinator;

 private:
  const Settings& settings_;
  fs::path keys_;
  CrowdOptions crowd_;
  DialerOptions client_;
};

uint64_t Scene::Submit(uint64_t trials, uint64_t seed) const {
  const auto dialer = Client();
  const std::string bytes = "a model that nobody opens";
  proto::Frame upload;
  proto::PutChunk& chunk = *upload.mutable_put_chunk();
  chunk.set_digest(DigestOf(bytes));
  chunk.set_size_bytes(bytes.size());
  chunk.set_data(bytes);
  Must(dialer->Call(upload, milliseconds(60'000)));
  std::string yaml = "backends:\n  onnxruntime:\n";
  for (uint32_t i = 0; i < settings_.settings; ++i)
    yaml += fmt::format("    level_{}: {{range: [0, 1000000000]}}\n", i);
  yaml += fmt::format("search: {{sampler: {}, trials: {}, seed: {}}}\n", settings_.sampler, trials, seed);
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
    fmt::print(stderr, "fleet: {} of {} registered within a minute {}\n", crowd.counters().registered, workers,
               crowd.counters().last_error);
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
    fmt::print(stderr, "fleet: no trial ended for 30 s ({} of {} did; errors: {} {})\n", before, trials,
               crowd.counters().errors, crowd.counters().last_error);
    std::exit(4);
  }
}

json Rate(const Settings& settings) {
  const Scene scene(settings);
  const CoordinatorProcess& coordinator = *scene.coordinator;
  WorkerCrowd crowd(scene.crowd());
  Register(crowd, settings.workers);
  scene.Submit(settings.trials, 1);
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
  const Scene scene(settings);
  const CoordinatorProcess& coordinator = *scene.coordinator;
  WorkerCrowd crowd(scene.crowd());
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
  const Scene scene(settings);
  const CoordinatorProcess& coordinator = *scene.coordinator;
  WorkerCrowd crowd(scene.crowd());
  crowd.Pause();
  Register(crowd, settings.workers);
  const double empty = coordinator.ResidentMegabytes();
  const auto start = SteadyClock::now();
  for (uint32_t i = 0; i < settings.jobs; ++i) {
    scene.Submit(settings.trials_each, i + 1);
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

// Copies of a job that has ended, with all that belongs to it, until there are so many trials: a database that has
// grown over months.
void Multiply(const fs::path& file, uint64_t job, uint64_t trials_each, uint64_t trials) {
  sqlite3* database = nullptr;
  const auto run = [&](const std::string& sql) {
    if (sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
      Must(Result<>(Fail(ErrorCode::kFailed, sqlite3_errmsg(database))));
  };
  if (sqlite3_open(file.c_str(), &database) != SQLITE_OK)
    Must(Result<>(Fail(ErrorCode::kFailed, "the database cannot be opened")));
  run("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN");
  const auto columns = [&](const char* table) {
    std::vector<std::string> names;
    const auto add = [](void* to, int, char** row, char**) {
      static_cast<std::vector<std::string>*>(to)->emplace_back(row[0]);
      return 0;
    };
    sqlite3_exec(database, fmt::format("SELECT name FROM pragma_table_info('{}')", table).c_str(), add, &names,
                 nullptr);
    return names;
  };
  // What every copy has of its own: numbers that are moved on by the same step.
  const uint64_t step = 1'000'000;
  for (uint64_t copy = 1; copy * trials_each < trials; ++copy) {
    for (const char* table : {"jobs", "studies", "trials", "attempts", "metrics", "samples", "executions"}) {
      std::vector<std::string> names = columns(table), values;
      for (const std::string& name : names) {
        const bool moved = name == "attempt" || name == "token" || name == "result";
        values.push_back(name == "job"       ? fmt::format("job + {}", copy * step)
                         : moved             ? fmt::format("{} + {}", name, copy * step)
                         : name == "request" ? "NULL"
                                             : name);
      }
      run(fmt::format("INSERT INTO {0} ({1}) SELECT {2} FROM {0} WHERE job = {3}", table, Join(names, ", "),
                      Join(values, ", "), job));
    }
  }
  run("COMMIT");
  sqlite3_close(database);
}

// One job is worked and ended, its rows are multiplied to --trials; then another one runs, and the coordinator is
// killed.
json Restart(const Settings& settings) {
  Scene scene(settings);
  uint64_t job = 0;
  {
    WorkerCrowd crowd(scene.crowd());
    Register(crowd, settings.workers);
    job = scene.Submit(settings.trials_each, 1);
    WorkUntil(crowd, settings.trials_each);
    // Until its finalists are measured again.
    const auto dialer = scene.Client();
    const auto running = [&] {
      proto::Frame ask;
      ask.mutable_get_job()->set_job(job);
      return Must(dialer->Call(ask, milliseconds(60'000))).get_job_reply().job().state() == proto::JOB_RUNNING;
    };
    while (running()) crowd.Turn(milliseconds(20));
  }
  scene.coordinator->Stop();
  Multiply(scene.coordinator->database(), job, settings.trials_each, settings.trials);
  scene.coordinator->Start();
  {
    WorkerCrowd crowd(scene.crowd());
    Register(crowd, settings.workers);
    scene.Submit(2 * settings.running, 2);
    WorkUntil(crowd, settings.running);
  }
  const double serving = scene.KillAndStart();
  const auto start = SteadyClock::now();
  proto::Frame ping;
  ping.mutable_ping();
  Must(scene.Client()->Call(ping, milliseconds(60'000)));
  const double answered = SecondsSince(start);
  WorkerCrowd crowd(scene.crowd());
  Register(crowd, settings.workers);
  WorkUntil(crowd, 1);
  return {{"trials", settings.trials},
          {"of_a_running_job", settings.running},
          {"database_mb", static_cast<double>(fs::file_size(scene.coordinator->database())) / 1e6},
          {"serving_s", serving},
          {"first_answer_after_s", answered},
          {"first_trial_after_s", SecondsSince(start)},
          {"rss_mb", scene.coordinator->ResidentMegabytes()}};
}

// Bytes that this process has read from files and sockets.
uint64_t ReadBytes() {
  std::istringstream in(Must(ReadFile("/proc/self/io", 1 << 12)));
  std::string name;
  uint64_t bytes = 0;
  in >> name >> bytes;
  return bytes;
}

// A file of random bytes goes up once and down to several at once; pings tell how long others wait meanwhile.
json Transfer(const Settings& settings) {
  const Scene scene(settings);
  const CoordinatorProcess& coordinator = *scene.coordinator;
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
  const auto uploader = scene.Client();
  auto start = SteadyClock::now();
  Must(UploadFile(*uploader, source.string(), digest, bytes));
  const double up = SecondsSince(start);
  std::atomic<bool> done = false;
  std::vector<double> pings;
  std::thread pinger([&] {
    const auto dialer = scene.Client();
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
      const auto dialer = scene.Client();
      Must(DownloadFile(*dialer, digest, (settings.folder / fmt::format("worker-{}", i) / "model.bin").string()));
    });
  }
  for (std::thread& thread : downloads) thread.join();
  const double down = SecondsSince(start);
  done = true;
  pinger.join();
  start = SteadyClock::now();
  const uint64_t read = ReadBytes();
  Must(UploadFile(*uploader, source.string(), digest, bytes));
  const uint64_t sent_again = ReadBytes() - read;
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return {{"megabytes", megabytes},
          {"receivers", settings.workers},
          {"up_mb_per_s", megabytes / up},
          {"down_mb_per_s_together", megabytes * settings.workers / down},
          {"ping_meanwhile", Latency(pings)},
          {"known_again_s", SecondsSince(start)},
          {"known_again_bytes_read", sent_again},
          {"rss_mb", coordinator.ResidentMegabytes()}};
}

int Main(int argc, char** argv) {
  RaiseDescriptorLimit();
  CLI::App app("Measures the coordinator with simulated workers.", "fleet");
  app.require_subcommand(1);
  Settings settings;
  json result;
  const auto add = [&](const char* name, const char* help, json (*measure)(const Settings&)) {
    CLI::App& command = *app.add_subcommand(name, help);
    command.add_option("--workers", settings.workers)->capture_default_str()->check(CLI::Range(1, 20'000));
    command.add_option("--trials", settings.trials, "How many are worked")->capture_default_str();
    command.add_option("--settings", settings.settings, "Parameters of the space")
        ->capture_default_str()
        ->check(CLI::Range(1, 64));
    command.add_option("--sampler", settings.sampler)->capture_default_str();
    command.add_option("--jobs", settings.jobs)->capture_default_str();
    command.add_option("--trials-each", settings.trials_each, "Budget of each job")->capture_default_str();
    command.add_option("--running", settings.running, "Trials of the job that runs when the coordinator is killed")
        ->capture_default_str();
    command.add_flag("--keys", settings.keys, "CURVE, and a key of its own for each worker");
    command.add_option("--seconds", settings.seconds)->capture_default_str();
    command.add_option("--megabytes", settings.megabytes, "Of the file that is transferred")->capture_default_str();
    command.add_option("--folder", settings.folder,
                       "For the coordinator's data; a new one otherwise, removed at the end");
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
