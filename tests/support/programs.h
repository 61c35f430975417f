// The real programs, run by tests: a temporary folder, `hone` with captured output, daemons on free ports.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/file.h"
#include "common/base/subprocess.h"

namespace hone::test {

namespace fs = std::filesystem;

// Sanitized builds are slower; a deadline is a bound on failure, never a verdict about speed.
inline std::chrono::seconds Deadline(int seconds) {
#ifdef HONE_SANITIZED
  return std::chrono::seconds(seconds * 6);
#else
  return std::chrono::seconds(seconds);
#endif
}

inline fs::path Program(const std::string& name) { return fs::path(HONE_BIN_DIR) / name; }

class TempFolder {
 public:
  TempFolder() {
    auto made = ScopedFolder::Make(fs::temp_directory_path(), "hone-test-");
    if (!made) throw std::runtime_error(made.error().message);
    folder_.emplace(std::move(*made));
  }
  fs::path operator/(const std::string& name) const { return folder_->path() / name; }
  const fs::path& path() const { return folder_->path(); }

 private:
  std::optional<ScopedFolder> folder_;
};

struct Ran {
  int code = -1;
  int signal = 0;
  std::string out;
  std::string err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

inline Ran RunProgram(const std::string& program, std::vector<std::string> arguments, int deadline_s = 120,
               std::map<std::string, std::string> environment = {}, const fs::path& folder = {}) {
  ProcessOptions options;
  options.arguments = {Program(program).string()};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.environment = std::move(environment);
  options.folder = folder;
  auto output = RunCommand(options, Deadline(deadline_s));
  Ran ran;
  if (!output) {
    ADD_FAILURE() << program << ": " << output.error().message;
    return ran;
  }
  ran.code = output->status.code;
  ran.signal = output->status.signal;
  ran.out = output->out;
  ran.err = output->err;
  return ran;
}
inline Ran Hone(std::vector<std::string> arguments, int deadline_s = 120, std::map<std::string, std::string> environment = {},
                const fs::path& folder = {}) {
  return RunProgram("hone", std::move(arguments), deadline_s, std::move(environment), folder);
}

// Asks again until the condition holds or the deadline passes; the answer is the condition's.
inline bool Eventually(const std::function<bool()>& condition, std::chrono::seconds deadline = Deadline(30)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// A coordinator on a free TCP port with its data in `folder`/coordinator.
class Coordinator {
 public:
  explicit Coordinator(const fs::path& folder, std::string listen = "tcp://127.0.0.1:0") : folder_(folder), listen_(std::move(listen)) { Start(); }

  void Start() {
    const fs::path ready = folder_ / "coordinator.ready";
    fs::remove(ready);
    ProcessOptions options;
    options.arguments = {Program("hone-coordinator").string(), "--listen", listen_, "--data", data().string(), "--ready-file", ready.string()};
    options.stdout_file = options.stderr_file = folder_ / "coordinator.log";
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(std::move(*process));
    ASSERT_TRUE(Eventually([&] { return fs::exists(ready); })) << Log();
    std::ifstream file(ready);
    endpoint_ = nlohmann::json::parse(file).at("endpoint");
    // A restart must be found at the same place.
    listen_ = endpoint_;
  }
  void Kill() {
    process_->Signal(SIGKILL);
    (void)process_->Wait(Deadline(10));
    process_.reset();
  }
  const std::string& endpoint() const { return endpoint_; }
  fs::path data() const { return folder_ / "coordinator"; }
  Process& process() { return *process_; }
  std::string Log() const {
    std::ifstream file(folder_ / "coordinator.log");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  fs::path folder_;
  std::string listen_;
  std::string endpoint_;
  std::optional<Process> process_;
};

class Worker {
 public:
  Worker(const fs::path& folder, const std::string& name, const std::string& endpoint, std::vector<std::string> tags = {})
      : folder_(folder), name_(name), endpoint_(endpoint), tags_(std::move(tags)) {
    Start();
  }
  void Start() {
    ProcessOptions options;
    options.arguments = {Program("hone-worker").string(), "--coordinator", endpoint_, "--data", (folder_ / name_).string(), "--name", name_};
    for (const auto& tag : tags_) {
      options.arguments.push_back("--tag");
      options.arguments.push_back(tag);
    }
    options.stdout_file = options.stderr_file = folder_ / (name_ + ".log");
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(std::move(*process));
  }
  void Kill() {
    process_->Signal(SIGKILL);
    (void)process_->Wait(Deadline(10));
    process_.reset();
  }
  Process& process() { return *process_; }
  std::string Log() const {
    std::ifstream file(folder_ / (name_ + ".log"));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  fs::path folder_;
  std::string name_;
  std::string endpoint_;
  std::vector<std::string> tags_;
  std::optional<Process> process_;
};

// Waits until the coordinator lists so many ready workers.
inline bool WorkersReady(const std::string& endpoint, size_t count) {
  return Eventually(
      [&] {
        const Ran ran = Hone({"workers", "--coordinator", endpoint, "--json"});
        if (ran.code != 0) return false;
        const nlohmann::json workers = ran.json().at("workers");
        const auto ready = std::count_if(workers.begin(), workers.end(),
                                         [](const auto& worker) { return worker.at("state") == "ready" || worker.at("state") == "busy"; });
        return static_cast<size_t>(ready) >= count;
      },
      Deadline(60));
}

// Rows of a query on a database that another process may have open.
inline std::vector<std::vector<std::string>> Query(const fs::path& database, const std::string& sql) {
  sqlite3* db = nullptr;
  std::vector<std::vector<std::string>> rows;
  if (sqlite3_open_v2(database.c_str(), &db, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) {
    ADD_FAILURE() << "open " << database << ": " << sqlite3_errmsg(db);
    sqlite3_close(db);
    return rows;
  }
  sqlite3_busy_timeout(db, 5000);
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    ADD_FAILURE() << sql << ": " << sqlite3_errmsg(db);
  } else {
    while (sqlite3_step(statement) == SQLITE_ROW) {
      std::vector<std::string> row;
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        const auto* text = sqlite3_column_text(statement, i);
        row.emplace_back(text == nullptr ? "" : reinterpret_cast<const char*>(text));
      }
      rows.push_back(std::move(row));
    }
  }
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return rows;
}

}  // namespace hone::test
