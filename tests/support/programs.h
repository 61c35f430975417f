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
inline Ran Hone(std::vector<std::string> arguments, int deadline_s = 120,
                std::map<std::string, std::string> environment = {}, const fs::path& folder = {}) {
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

// "" where there is no such file.
inline std::string TextOf(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// One of the daemons, writing its log into `folder`/<name>.log.
class Daemon {
 public:
  void Kill() {
    process_->Signal(SIGKILL);
    (void)process_->Wait(Deadline(10));
    process_.reset();
  }
  // Asks it to end; it must do so well.
  void Stop() {
    process_->Signal(SIGCONT);
    const ExitStatus status = process_->Stop(Deadline(20));
    EXPECT_EQ(status.signal, 0) << Log();
    EXPECT_EQ(status.code, 0) << Log();
    process_.reset();
  }
  // Whether it still runs; a daemon that ends by itself is a failure of its own.
  bool Runs() {
    const auto ended = process_->Wait(std::chrono::milliseconds(0));
    return ended && !*ended;
  }
  Process& process() { return *process_; }
  // The end of it.
  std::string Log() const {
    constexpr size_t kEnd = 20'000;
    const std::string text = TextOf(log_);
    return text.substr(text.size() - std::min(text.size(), kEnd));
  }

 protected:
  Daemon(const fs::path& folder, const std::string& name) : log_(folder / (name + ".log")) {}
  void Run(const std::string& program, std::vector<std::string> arguments) {
    ProcessOptions options;
    options.arguments = {Program(program).string()};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    options.environment["HONE_KEYS"] = "";
    options.stdout_file = options.stderr_file = log_;
    auto process = Process::Start(options);
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(std::move(*process));
  }

 private:
  const fs::path log_;
  std::optional<Process> process_;
};

// A coordinator on a free port of the loopback, which stays the same over its lives.
class Coordinator : public Daemon {
 public:
  struct Options {
    fs::path data;                          // "": `folder`/coordinator.
    std::vector<std::string> arguments;     // Beside where it listens and keeps its data.
  };
  explicit Coordinator(const fs::path& folder) : Coordinator(folder, Options()) {}
  Coordinator(const fs::path& folder, Options options)
      : Daemon(folder, "coordinator"),
        ready_(folder / "coordinator.ready"),
        data_(options.data.empty() ? folder / "coordinator" : options.data),
        arguments_(std::move(options.arguments)) {
    Start();
  }
  void Start() {
    fs::remove(ready_);
    std::vector<std::string> arguments = {"--listen",     endpoint_,      "--data",
                                          data_.string(), "--ready-file", ready_.string()};
    arguments.insert(arguments.end(), arguments_.begin(), arguments_.end());
    Run("hone-coordinator", std::move(arguments));
    ASSERT_TRUE(Eventually([&] { return fs::exists(ready_); })) << Log();
    endpoint_ = nlohmann::json::parse(TextOf(ready_)).at("endpoint");
  }
  const std::string& endpoint() const { return endpoint_; }
  uint16_t port() const { return static_cast<uint16_t>(std::stoi(endpoint_.substr(endpoint_.rfind(':') + 1))); }
  const fs::path& data() const { return data_; }
  fs::path database() const { return data_ / "hone.db"; }

 private:
  const fs::path ready_;
  const fs::path data_;
  const std::vector<std::string> arguments_;
  std::string endpoint_ = "tcp://127.0.0.1:0";
};

class Worker : public Daemon {
 public:
  Worker(const fs::path& folder, const std::string& name, const std::string& endpoint,
         const std::vector<std::string>& tags = {})
      : Daemon(folder, name),
        arguments_({"--coordinator", endpoint, "--data", (folder / name).string(), "--name", name}) {
    for (const auto& tag : tags) {
      arguments_.push_back("--tag");
      arguments_.push_back(tag);
    }
    Start();
  }
  void Start() { Run("hone-worker", arguments_); }

 private:
  std::vector<std::string> arguments_;
};

// Waits until the coordinator lists so many ready workers.
inline bool WorkersReady(const std::string& endpoint, size_t count) {
  return Eventually(
      [&] {
        const Ran ran = Hone({"workers", "--coordinator", endpoint, "--json"});
        if (ran.code != 0) return false;
        const nlohmann::json workers = ran.json().at("workers");
        const auto ready = std::count_if(workers.begin(), workers.end(), [](const auto& worker) {
          return worker.at("state") == "ready" || worker.at("state") == "busy";
        });
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
