// What several tests of common share: a folder of their own, files in it, and children that report through a pipe.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/file.h"
#include "common/base/open_file.h"

namespace hone {

class Scratch : public testing::Test {
 protected:
  std::filesystem::path Path(const std::string& name) const { return folder_.path() / name; }

  std::filesystem::path Write(const std::string& name, std::string_view bytes) const {
    const auto path = Path(name);
    std::filesystem::create_directories(path.parent_path());
    EXPECT_TRUE(WriteFile(path, bytes));
    return path;
  }

  size_t EntriesIn(const std::filesystem::path& folder) const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
  }

 private:
  ScopedFolder folder_ = std::move(*ScopedFolder::Make(testing::TempDir(), "hone-test-"));
};

// A forked child. What it writes to the pipe, the test reads; it ends with the status that its body returns.
class Child {
 public:
  explicit Child(const std::function<int(int pipe)>& body) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      _exit(body(ends[1]));
    }
    close(ends[1]);
    read_ = Descriptor(ends[0]);
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // Blocks for the next byte; '\0' at the end.
  char Read() const {
    char byte = 0;
    return read(read_.get(), &byte, 1) == 1 ? byte : '\0';
  }
  void Kill(int signal) const { kill(pid_, signal); }
  // Exit status, or minus the signal.
  int Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = -1;
  Descriptor read_;
};

inline void Tell(int pipe, char byte) { EXPECT_EQ(write(pipe, &byte, 1), 1); }

template <class T>
ErrorCode CodeOf(const Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? ErrorCode{} : result.error().code;
}

template <class T>
std::string MessageOf(const Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? "" : result.error().message;
}

}  // namespace hone
