// A real hone-coordinator on a free port of the loopback, with keys or without, and what it costs.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "common/base/file.h"
#include "common/base/subprocess.h"
#include "common/transport/transport.h"

namespace hone::bench {

// The value, or the end of the program with the reason.
template <class T>
T Must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "{}\n", result.error().message);
  std::exit(4);
}
inline void Must(const Result<>& result) {
  if (result) return;
  fmt::print(stderr, "{}\n", result.error().message);
  std::exit(4);
}

// Each connection takes a descriptor.
inline void RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The keys of a coordinator and of those that it lets in.
class Membership {
 public:
  explicit Membership(const std::filesystem::path& folder)
      : folder_(folder), coordinator_(Must(MakeKeyPair("coordinator"))) {
    Must(WriteKeyPair(folder_, KeyKind::coordinator, coordinator_));
  }
  // Let in by coordinators that start after the next Write.
  DialerKeys Member(const std::string& name, Role role) {
    KeyPair pair = Must(MakeKeyPair(name));
    Must(list_.Allow({pair.public_key, name, role, false}));
    return {pair, coordinator_.public_key};
  }
  void Write() { Must(list_.Write(AllowedFile(folder_))); }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  const std::filesystem::path folder_;
  const KeyPair coordinator_;
  AllowList list_;
};

class CoordinatorProcess {
 public:
  // Its data lie in `folder`; `keys` is a folder with its keys, empty: it serves without.
  explicit CoordinatorProcess(std::filesystem::path folder, std::filesystem::path keys = {})
      : folder_(std::move(folder)), keys_(std::move(keys)) {
    std::filesystem::create_directories(folder_);
  }

  // Seconds until it serves.
  double Start() {
    const auto start = std::chrono::steady_clock::now();
    const std::filesystem::path ready = folder_ / "ready.json";
    std::filesystem::remove(ready);
    ProcessOptions options;
    options.arguments = {(ExecutableFolder() / "hone-coordinator").string(),
                         "--listen",
                         "tcp://127.0.0.1:0",
                         "--data",
                         (folder_ / "data").string(),
                         "--ready-file",
                         ready.string(),
                         "--log-level",
                         "error"};
    options.environment["HONE_KEYS"] = keys_.string();
    process_.emplace(Must(Process::Start(options)));
    while (!std::filesystem::exists(ready)) {
      if (Must(process_->Wait(std::chrono::milliseconds(2))))
        Must(Result<>(Fail(ErrorCode::kFailed, "hone-coordinator does not start")));
    }
    endpoint_ = nlohmann::json::parse(Must(ReadFile(ready, 1 << 16))).at("endpoint");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  void Kill() {
    process_->Signal(SIGKILL);
    process_->Stop(std::chrono::milliseconds(1000));
  }
  void Stop() { process_->Stop(std::chrono::seconds(60)); }
  const std::string& endpoint() const { return endpoint_; }
  uint16_t port() const { return static_cast<uint16_t>(std::stoi(endpoint_.substr(endpoint_.rfind(':') + 1))); }
  std::filesystem::path database() const { return folder_ / "data" / "hone.db"; }

  double ProcessorSeconds() const {
    const std::string text = Must(ReadFile(fmt::format("/proc/{}/stat", process_->pid()), 1 << 16));
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0, system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  double ResidentMegabytes() const {
    std::istringstream in(Must(ReadFile(fmt::format("/proc/{}/statm", process_->pid()), 1 << 12)));
    double size = 0, resident = 0;
    in >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
  }
  size_t Descriptors() const {
    const std::filesystem::directory_iterator all(fmt::format("/proc/{}/fd", process_->pid()));
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

 private:
  const std::filesystem::path folder_;
  const std::filesystem::path keys_;
  std::string endpoint_;
  std::optional<Process> process_;
};

}  // namespace hone::bench
