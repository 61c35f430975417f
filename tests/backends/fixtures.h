// What the tests of data and backends share: bundles of files on disk, tensors from values, the machine's models and
// peers.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/subprocess.h"
#include "tests/support/tiny_models.h"
#include "worker/data/data_set.h"
#include "worker/model/tensor.h"

namespace hone::test {

namespace fs = std::filesystem;

constexpr ElementType kFloat32 = 1, kUint8 = 2, kInt32 = 6, kInt64 = 7, kBool = 9, kFloat16 = 10, kFloat64 = 11;

class Folder {
 public:
  Folder() {
    auto made = ScopedFolder::Make(fs::temp_directory_path(), "hone-test-");
    if (!made) throw std::runtime_error(made.error().message);
    folder_.emplace(std::move(*made));
  }
  const fs::path& path() const { return folder_->path(); }
  fs::path operator/(const std::string& name) const { return folder_->path() / name; }
  void Write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((path() / name).parent_path());
    std::ofstream(path() / name, std::ios::binary) << bytes;
  }

 private:
  std::optional<ScopedFolder> folder_;
};

// A bundle over files that lie in `folder`; digests are not looked at by what is tested here.
inline proto::LocalBundle BundleOf(const std::string& format, const std::string& main, const fs::path& folder,
                                   const std::vector<std::string>& files) {
  proto::LocalBundle local;
  local.set_folder(folder.string());
  local.mutable_bundle()->set_format(format);
  local.mutable_bundle()->set_main(main);
  for (const std::string& file : files) {
    auto* added = local.mutable_bundle()->add_files();
    added->set_path(file);
    added->set_digest("sha256:" + std::string(64, '0'));
    added->set_size_bytes(1);
  }
  return local;
}
inline proto::LocalBundle ModelAt(const fs::path& file) {
  return BundleOf("onnx", file.filename(), file.parent_path(), {file.filename()});
}
inline proto::LocalData NpzAt(const fs::path& file) {
  proto::LocalData data;
  *data.mutable_data() = BundleOf("npz", file.filename(), file.parent_path(), {file.filename()});
  return data;
}

template <class T>
Tensor MakeTensorOf(ElementType type, std::vector<int64_t> dims, const std::vector<T>& values) {
  Tensor tensor{"", type, std::move(dims), {}};
  tensor.bytes.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

template <class T>
std::vector<T> Values(const Tensor& tensor) {
  return std::vector<T>(tensor.data<T>(), tensor.data<T>() + tensor.bytes.size() / sizeof(T));
}

// The folder a variable of the environment names; fails the test where ctest was not asked or the set-up is missing.
inline fs::path FromEnvironment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || !fs::exists(value)) {
    ADD_FAILURE() << variable << " names no folder: run ops/setup --models --peers, and the tests through ctest";
    return {};
  }
  return value;
}

// Runs a Python script of the peers with arguments.
inline bool RunPython(const std::string& script, const std::vector<std::string>& arguments) {
  const fs::path peers = FromEnvironment("HONE_PEERS");
  if (peers.empty()) return false;
  ProcessOptions options;
  options.arguments = {(peers / "bin" / "python").string(), "-c", script};
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  const auto ran = RunCommand(options, std::chrono::seconds(120));
  if (!ran || ran->status.code != 0) {
    ADD_FAILURE() << (ran ? ran->err : ran.error().message);
    return false;
  }
  return true;
}

}  // namespace hone::test

#define ASSERT_OK(result) ASSERT_TRUE(result) << (result).error().message
#define EXPECT_OK(result) EXPECT_TRUE(result) << (result).error().message
#define EXPECT_REJECTED(result, words)                                         \
  do {                                                                         \
    const auto& rejected_result = (result);                                    \
    ASSERT_FALSE(rejected_result);                                             \
    EXPECT_EQ(rejected_result.error().code, ::hone::ErrorCode::kRejected);     \
    EXPECT_THAT(rejected_result.error().message, ::testing::HasSubstr(words)); \
  } while (false)
