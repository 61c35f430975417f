// A worker's folder: who uses it, and the name that belongs to it.
#pragma once

#include <filesystem>
#include <string>

#include "common/base/result.h"

namespace hone {

// Holds folder/lock for as long as it lives. The kernel releases the lock when the process dies.
class DataFolder {
 public:
  // Makes the folder where it is missing. kConflict, naming the process, if another worker uses it.
  static Result<DataFolder> Open(const std::filesystem::path& folder);
  ~DataFolder();
  DataFolder(DataFolder&& other) noexcept;
  DataFolder& operator=(DataFolder&& other) = delete;

  const std::filesystem::path& path() const { return path_; }

  // The name of this folder's worker: the one kept in folder/name, made from host and path the first time.
  Result<std::string> Name() const;

 private:
  DataFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::filesystem::path path_;   // Absolute.
  int lock_ = -1;
};

// 1 to 128 letters, digits and ".", "_", "-". kUsage otherwise.
Result<> CheckWorkerName(const std::string& name);
// 1 to 64 lower-case letters, digits and ".", "_", "-", ":". kUsage otherwise.
Result<> CheckTag(const std::string& tag);

}  // namespace hone
