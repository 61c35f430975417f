#include "coordinator/http/figures.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <system_error>

namespace hone {
namespace {

constexpr double kBuckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};

class Page {
 public:
  Page& Head(const char* name, const char* type, const char* help) {
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    return *this;
  }
  void Line(std::string_view name, std::string_view labels, double value) {
    text_ += fmt::format("{}{} {:.15g}\n", name, labels.empty() ? "" : fmt::format("{{{}}}", labels), value);
  }
  void One(const char* name, const char* type, const char* help, double value) {
    Head(name, type, help).Line(name, "", value);
  }
  void Each(const char* name, const char* help, const char* label, const std::map<std::string, uint64_t>& counts,
            const char* type = "counter") {
    Head(name, type, help);
    for (const auto& [value, count] : counts) Line(name, Label(label, value), static_cast<double>(count));
  }
  static std::string Label(std::string_view name, std::string_view value) {
    std::string escaped;
    for (const char c : value) {
      if (c == '\\' || c == '"') escaped += '\\';
      escaped += c == '\n' ? ' ' : c;
    }
    return fmt::format("{}=\"{}\"", name, escaped);
  }
  std::string& text() { return text_; }

 private:
  std::string text_;
};

double FileBytes(const std::filesystem::path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  return error ? 0 : static_cast<double>(size);
}

void PutStorage(Page& page, const std::filesystem::path& data) {
  struct statvfs disk {};
  const bool known = statvfs(data.c_str(), &disk) == 0;
  page.One("hone_db_size_bytes", "gauge", "Size of the database.", FileBytes(data / "hone.db"));
  page.One("hone_wal_size_bytes", "gauge", "Size of its write-ahead log.", FileBytes(data / "hone.db-wal"));
  page.One("hone_store_free_bytes", "gauge", "Free space on the disk of the data folder.",
           known ? static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) : 0);
}

void PutProcess(Page& page, int64_t started_unix_ms) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  std::error_code error;
  const auto descriptors =
      std::distance(std::filesystem::directory_iterator("/proc/self/fd", error), std::filesystem::directory_iterator());
  page.One("process_cpu_seconds_total", "counter", "Processor time used.",
           seconds(usage.ru_utime) + seconds(usage.ru_stime));
  page.One("process_resident_memory_bytes", "gauge", "Memory held.",
           resident * static_cast<double>(sysconf(_SC_PAGESIZE)));
  page.One("process_open_fds", "gauge", "Open descriptors.", static_cast<double>(descriptors));
  page.One("process_start_time_seconds", "gauge", "When the process began, in Unix time.",
           static_cast<double>(started_unix_ms) / 1000);
}

void PutWorkers(Page& page, const std::vector<proto::WorkerSummary>& workers) {
  std::map<std::string, uint64_t> states = {{"ready", 0}, {"busy", 0}, {"draining", 0}, {"lost", 0}};
  for (const auto& worker : workers) ++states[worker.state()];
  page.Each("hone_workers", "Workers by state.", "state", states, "gauge");
  page.Head("hone_worker_last_seen_timestamp_seconds", "gauge", "When a worker was last heard, in Unix time.");
  for (const auto& worker : workers) {
    page.Line("hone_worker_last_seen_timestamp_seconds", Page::Label("worker", worker.name()),
              static_cast<double>(worker.last_seen_unix_ms()) / 1000);
  }
}

}  // namespace

void Figures::CountRequest(const std::string& route, int status, double seconds) {
  ++requests_[{route, status}];
  Timing& timing = timings_[route];
  timing.buckets.resize(std::size(kBuckets));
  const auto bucket = std::lower_bound(std::begin(kBuckets), std::end(kBuckets), seconds) - std::begin(kBuckets);
  if (static_cast<size_t>(bucket) < timing.buckets.size()) ++timing.buckets[static_cast<size_t>(bucket)];
  ++timing.count;
  timing.seconds += seconds;
}

void Figures::CountEvent(const proto::Event& event) {
  const size_t dot = event.kind().find('.');
  if (dot == std::string::npos) return;
  const std::string about = event.kind().substr(0, dot), what = event.kind().substr(dot + 1);
  const auto count = [&](std::map<std::string, uint64_t>& counts, const std::string& name) {
    const auto found = counts.find(name);
    if (found != counts.end()) ++found->second;
  };
  if (about == "trial") count(trials_, what);
  if (about == "job") count(jobs_, what);
  if (about == "attempt") count(attempts_, what);
  if (what == "reused") count(reused_, about);
}

std::string Figures::Text(const Now& now) const {
  Page page;
  page.Head("hone_build_info", "gauge", "The program.")
      .Line("hone_build_info", Page::Label("version", HONE_VERSION), 1);
  page.One("hone_jobs_running", "gauge", "Jobs that run.", static_cast<double>(loop_.running_jobs));
  page.Each("hone_jobs_finished_total", "Jobs that ended since the coordinator began.", "outcome", jobs_);
  page.Each("hone_trials", "Trials of running jobs that are not done.", "state",
            {{"waiting", loop_.waiting_trials}, {"running", loop_.running_trials}}, "gauge");
  page.Each("hone_trials_finished_total", "Trials that ended since the coordinator began.", "outcome", trials_);
  page.Each("hone_attempts_ended_total", "Pieces of work that ended badly.", "outcome", attempts_);
  page.Each("hone_reused_total", "Pieces of work that were found done.", "kind", reused_);
  page.One("hone_leases_expired_total", "counter", "Leases of workers that fell silent.",
           static_cast<double>(loop_.lost_leases));
  page.One("hone_results_late_total", "counter", "Reports that came after their lease.",
           static_cast<double>(loop_.late_reports));
  PutWorkers(page, now.workers);
  page.One("hone_rounds_total", "counter", "Turns of the coordinator's loop.", static_cast<double>(loop_.rounds));
  page.One("hone_messages_total", "counter", "Messages it handled.", static_cast<double>(loop_.messages));
  page.One("hone_rounds_failed_total", "counter", "Turns that the database refused.",
           static_cast<double>(loop_.failed_rounds));
  page.One("hone_disk_full", "gauge", "1 while nothing new is taken for want of room.", loop_.disk.empty() ? 0 : 1);
  PutStorage(page, now.data);
  page.One("hone_events_clients", "gauge", "Open event streams.", static_cast<double>(now.event_streams));
  page.One("hone_events_gaps_total", "counter", "Times a stream was told of events that are gone.",
           static_cast<double>(now.event_gaps));
  page.One("hone_http_connections", "gauge", "Open connections.", static_cast<double>(now.connections));
  page.Head("hone_http_requests_total", "counter", "Requests by route and status.");
  for (const auto& [key, count] : requests_) {
    page.Line("hone_http_requests_total",
              Page::Label("route", key.first) + "," + Page::Label("code", std::to_string(key.second)),
              static_cast<double>(count));
  }
  page.Head("hone_http_request_duration_seconds", "histogram", "Time to the answer.");
  for (const auto& [route, timing] : timings_) {
    const std::string label = Page::Label("route", route);
    uint64_t sum = 0;
    for (size_t i = 0; i < timing.buckets.size(); ++i) {
      sum += timing.buckets[i];
      page.Line("hone_http_request_duration_seconds_bucket", label + fmt::format(",le=\"{}\"", kBuckets[i]),
                static_cast<double>(sum));
    }
    page.Line("hone_http_request_duration_seconds_bucket", label + ",le=\"+Inf\"", static_cast<double>(timing.count));
    page.Line("hone_http_request_duration_seconds_sum", label, timing.seconds);
    page.Line("hone_http_request_duration_seconds_count", label, static_cast<double>(timing.count));
  }
  page.Each("hone_auth_failures_total", "Requests that were refused.", "reason", auth_failures_);
  PutProcess(page, now.started_unix_ms);
  return std::move(page.text());
}

}  // namespace hone
