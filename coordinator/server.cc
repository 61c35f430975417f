#include "coordinator/server.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/base/service_notify.h"
#include "coordinator/coordinator.h"
#include "coordinator/data_folder.h"
#include "coordinator/http/http_server.h"
#include "coordinator/redis/feed.h"
#include "coordinator/redis/share.h"

namespace hone {
namespace {

using std::chrono::milliseconds;

// Messages of one round, and how long their gathering may take: replies wait for the round's commit.
constexpr size_t kRoundMessages = 1024;
constexpr milliseconds kGather{2};

std::atomic<int> stop_signal{0};
std::atomic<int> wake_fd{-1};

void OnSignal(int signal) {
  stop_signal = signal;
  const uint64_t one = 1;
  const int fd = wake_fd;
  if (fd >= 0) {
    const auto ignored = ::write(fd, &one, sizeof one);
    (void)ignored;
  }
}

void InstallSignals(int event_fd) {
  wake_fd = event_fd;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// Everything that arrives within kGather of the first message.
std::vector<Listener::Incoming> Gather(Listener& listener, milliseconds wait) {
  auto incoming = listener.Receive(wait, kRoundMessages);
  const auto end = std::chrono::steady_clock::now() + kGather;
  while (!incoming.empty() && incoming.size() < kRoundMessages && std::chrono::steady_clock::now() < end) {
    auto more = listener.Receive(milliseconds(0), kRoundMessages - incoming.size());
    if (more.empty()) break;
    incoming.insert(incoming.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return incoming;
}

// What is wrong with the configuration, whatever the library called it.
Error AsConfiguration(Error error) {
  if (error.code != ErrorCode::kConflict) error.code = ErrorCode::kConfiguration;
  return error;
}

// Each connection takes a descriptor; those that only sit there must not keep others out.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) spdlog::debug("up to {} descriptors", limit.rlim_max);
}

Result<> WriteReady(const std::filesystem::path& file, const std::string& endpoint, const HttpServer* http) {
  if (file.empty()) return {};
  nlohmann::json ready = {{"endpoint", endpoint}, {"pid", ::getpid()}};
  if (http != nullptr) ready["http"] = http->url();
  if (const auto written = WriteFile(file, ready.dump() + "\n"); !written)
    return Fail(AsConfiguration(written.error()));
  return {};
}

// To whoever asked.
void Deliver(std::vector<Outgoing> outgoing, Listener& listener, HandOver* http) {
  for (Outgoing& out : outgoing) {
    if (http != nullptr && out.peer == kHttpPeer) {
      http->Reply(std::move(out.frame));
    } else {
      listener.Send(out.peer, std::move(out.frame));
    }
  }
}

LoopFigures FiguresOf(Coordinator& coordinator) {
  const CoordinatorCounters& counters = coordinator.counters();
  LoopFigures figures{counters.rounds,
                      counters.messages,
                      counters.failed_rounds,
                      counters.late_reports,
                      counters.lost_leases,
                      0,
                      0,
                      0,
                      ""};
  if (coordinator.ballast().spent()) figures.disk = coordinator.ballast().Reason();
  if (const auto running = coordinator.CountRunning()) {
    figures.running_jobs = running->jobs;
    figures.waiting_trials = running->trials.waiting();
    figures.running_trials = running->trials.running();
  }
  return figures;
}

// What HTTP asks, in a round of its own, so that its cost is known; and what happened, for those who watch.
void ServeHttp(Coordinator& coordinator, Listener& listener, HandOver& http, bool busy, uint64_t& told) {
  const auto begun = std::chrono::steady_clock::now();
  auto questions = http.TakeQuestions(busy);
  if (!questions.empty()) Deliver(coordinator.Round(std::move(questions)), listener, &http);
  http.Tell(coordinator.EventsSince(told));
  if (http.figures_wanted()) http.Tell(FiguresOf(coordinator));
  http.Charge(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun));
  http.Turned();
}

Result<> Loop(Coordinator& coordinator, Listener& listener, Feed* feed, HandOver* http, ServiceNotifier& notifier) {
  uint64_t told = 0;
  if (const auto last = coordinator.store().LastEvent(0)) told = *last > 0 ? *last - 1 : 0;
  while (stop_signal == 0) {
    notifier.Beat(SystemClock().SteadyMs());
    if (feed != nullptr) feed->Tell(coordinator);
    const milliseconds wait = coordinator.NextRound();
    auto incoming = Gather(listener, http != nullptr ? http->Wait(wait) : wait);
    const bool busy = !incoming.empty();
    Deliver(coordinator.Round(std::move(incoming)), listener, http);
    if (http != nullptr) ServeHttp(coordinator, listener, *http, busy, told);
    if (coordinator.fatal()) return Fail(*coordinator.fatal());
  }
  return {};
}

// nullptr where it is not asked for.
Result<std::unique_ptr<HttpServer>> StartHttp(const ServerOptions& options, int wake_loop, const Clock& clock) {
  if (options.http.listen.empty()) return nullptr;
  HttpOptions http = options.http;
  http.data = options.coordinator.data;
  http.keys = !options.keys.empty();
  if (http.tokens.empty()) http.tokens = http.data / "tokens";
  return HttpServer::Start(std::move(http), wake_loop, clock);
}

}  // namespace

Result<> Serve(const ServerOptions& options, const Clock& clock) {
  TRY_ASSIGN(const DataFolder folder, DataFolder::Acquire(options.coordinator.data));
  auto coordinator = Coordinator::Open(options.coordinator, clock);
  if (!coordinator) return Fail(AsConfiguration(coordinator.error()));
  ListenerOptions listening;
  if (!options.keys.empty()) {
    auto keys = LoadListenerKeys(options.keys);
    if (!keys) return Fail(AsConfiguration(keys.error()));
    listening.keys = std::move(*keys);
  }
  RaiseDescriptorLimit();
  auto listener = Listener::Bind(options.listen, listening);
  if (!listener) return Fail(AsConfiguration(listener.error()));
  InstallSignals((*listener)->EventFd());
  std::unique_ptr<RedisShare> share;
  if (options.redis) {
    TRY_ASSIGN(share, RedisShare::Start(*options.redis, options.coordinator.data / "artifacts"));
    (*coordinator)->Use(share.get());
  }
  // Moves on what an earlier life left, before anybody asks.
  (void)(*coordinator)->Round({});
  auto http = StartHttp(options, (*listener)->EventFd(), clock);
  if (!http) return Fail(AsConfiguration(http.error()));
  if (*http) spdlog::info("the API and the dashboard are at {}", (*http)->url());
  TRY(WriteReady(options.ready_file, (*listener)->endpoint(), http->get()));
  spdlog::info("serving at {}{}, data in {}", (*listener)->endpoint(), options.keys.empty() ? "" : " with keys",
               options.coordinator.data.string());
  std::unique_ptr<Feed> feed;
  if (options.redis) feed = std::make_unique<Feed>(*options.redis, **coordinator, (*listener)->endpoint());
  ServiceNotifier notifier = ServiceNotifier::FromEnvironment();
  notifier.Ready("serving at " + (*listener)->endpoint());
  const auto result = Loop(**coordinator, **listener, feed.get(), *http ? &(*http)->hand_over() : nullptr, notifier);
  notifier.Stopping();
  wake_fd = -1;
  if (!options.ready_file.empty()) {
    std::error_code ignored;
    std::filesystem::remove(options.ready_file, ignored);
  }
  if (result) spdlog::info("ended by signal {}", stop_signal.load());
  return result;
}

}  // namespace hone
