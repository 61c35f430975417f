// What HTTP costs: answers while a thousand streams are open, and the bytes of many trials.
//
//   http_bench [--streams N] [--trials N]
//
// Starts a real hone-coordinator, a worker that makes its results up, and asks from outside.
#include <fmt/format.h>
#include <sys/resource.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>

#include "tests/coordinator/harness.h"
#include "tests/support/http_client.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

// 21 decisions: as many candidates as are wanted.
constexpr const char* kWide = R"(
passes: [{{choose: [none, half, {{int8: {{per_channel: [true, false]}}}}]}}]
backends: {{onnxruntime: {{intra_op_threads: {{range: [1, 100000]}}}}}}
search: {{sampler: random, seed: 3, trials: {}}}
measure: {{reuse: false, final_pairs: 1, finalists: 1}}
)";

double Milliseconds(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
}

void PrintTimes(const char* what, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  fmt::print("{:44} p50 {:7.2f} ms   p99 {:7.2f} ms   worst {:7.2f} ms   (n = {})\n", what, times[times.size() / 2],
             times[times.size() * 99 / 100], times.back(), times.size());
}

double ResidentMegabytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1000;
  }
  return 0;
}

class Bench {
 public:
  Bench() : coordinator_(folder_.path(), {"", {"--http", "127.0.0.1:0", "--log-level", "warn"}}) {
    const std::string url = nlohmann::json::parse(TextOf(folder_ / "coordinator.ready")).at("http");
    port_ = static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
    dialer_ = std::move(*Dialer::Connect(coordinator_.endpoint()));
  }
  Ask ask() {
    return [this](proto::Frame frame) { return dialer_->Call(std::move(frame), std::chrono::seconds(60)); };
  }

  void Health(const char* what, int count = 1000) {
    std::vector<double> times;
    HttpConnection connection(port_);
    const std::string text = HttpRequestText("GET", "/healthz", {}, "", port_);
    for (int i = 0; i < count; ++i) {
      times.push_back(Milliseconds([&] {
        connection.Send(text);
        (void)connection.Answer();
      }));
    }
    PrintTimes(what, std::move(times));
  }

  void Streams(size_t count) {
    const double before = ResidentMegabytes(coordinator_.process().pid());
    std::vector<std::unique_ptr<HttpConnection>> streams;
    for (size_t i = 0; i < count; ++i) {
      streams.push_back(std::make_unique<HttpConnection>(port_));
      streams.back()->Send(HttpRequestText("GET", "/api/v1/events", {}, "", port_));
      if (streams.back()->Head().status != 200) return (void)fmt::print("stream {} was refused\n", i);
    }
    fmt::print("{} streams are open: {:+.1f} MB in the coordinator\n", count,
               ResidentMegabytes(coordinator_.process().pid()) - before);
    Health("healthz, streams open and quiet");
    FakeWorker worker = WideWorker("w0");
    const double told = Milliseconds([&] {
      (void)worker.Hello();
      for (auto& stream : streams) (void)stream->Until("worker.joined");
    });
    fmt::print("an event reached all of them in {:.1f} ms\n", told);
    const uint64_t job = Submit(300);
    std::vector<double> times;
    HttpConnection connection(port_);
    for (int i = 0; i < 300; ++i) {
      worker.Work(1);
      times.push_back(Milliseconds([&] {
        connection.Send(HttpRequestText("GET", "/healthz", {}, "", port_));
        (void)connection.Answer();
      }));
    }
    PrintTimes("healthz, while trials end and all are told", std::move(times));
    (void)job;
  }

  uint64_t Submit(size_t trials) {
    const auto model = UploadModel(ask(), "the model");
    auto reply = ask()(FrameOf([&](auto& frame) {
      *frame.mutable_submit_job()->mutable_recipe() = Recipe(fmt::format(kWide, trials));
      *frame.mutable_submit_job()->mutable_model() = model;
    }));
    if (!reply) fmt::print("{}\n", reply.error().message);
    return reply ? reply->submit_job_reply().job() : 0;
  }

  // Its backends have the setting that makes the space wide.
  FakeWorker WideWorker(const std::string& name) {
    FakeWorker worker(ask(), name);
    for (auto& backend : *worker.catalogue.mutable_backends()) {
      auto& setting = *backend.add_settings();
      setting.set_name("intra_op_threads");
      setting.set_type(proto::ParameterInfo::INTEGER);
      setting.mutable_minimum()->set_integer(1);
      setting.mutable_maximum()->set_integer(1'000'000);
    }
    return worker;
  }

  void Trials(size_t count) {
    FakeWorker worker = WideWorker("w1");
    worker.slots = 64;
    (void)worker.Hello();
    const uint64_t job = Submit(count);
    const double work = Milliseconds([&] {
      while (worker.Work(64) > 0) {
      }
    });
    fmt::print("{} trials were worked in {:.0f} s\n", count, work / 1000);
    const std::string target = fmt::format("/api/v1/jobs/{}/trials", job);
    for (const char* what : {"trials, first look", "trials, again"}) {
      HttpReply reply;
      const double ms = Milliseconds([&] { reply = HttpCall(port_, "GET", target, {{"Accept-Encoding", "gzip"}}); });
      fmt::print("{:20} {:6} rows   {:8} bytes of JSON   {:8} transferred   {:.0f} ms\n", what,
                 reply.json().value("rows", 0), reply.body.size(), reply.transferred, ms);
    }
  }

 private:
  TempFolder folder_;
  Coordinator coordinator_;
  std::unique_ptr<Dialer> dialer_;
  uint16_t port_ = 0;
};

}  // namespace
}  // namespace hone::test

int main(int argc, char** argv) {
  size_t streams = 1000, trials = 2000;
  CLI::App app("What HTTP costs.");
  app.add_option("--streams", streams);
  app.add_option("--trials", trials);
  CLI11_PARSE(app, argc, argv);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  hone::test::Bench bench;
  bench.Health("healthz, nobody else");
  if (streams > 0) bench.Streams(streams);
  if (trials > 0) bench.Trials(trials);
  return 0;
}
