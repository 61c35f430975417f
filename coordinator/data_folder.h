// The coordinator's folder belongs to one process at a time.
#pragma once

#include <filesystem>
#include <string>

#include "common/base/open_file.h"
#include "common/base/result.h"

namespace hone {

// Holds the lock on a data folder; the kernel releases it when the process ends, however it ends.
class DataFolder {
 public:
  // Makes the folder if it is not there. kConflict, naming the process that holds it, if it is in use; kConfiguration
  // if it cannot be written.
  static Result<DataFolder> Acquire(const std::filesystem::path& folder);

 private:
  explicit DataFolder(Descriptor lock) : lock_(std::move(lock)) {}
  Descriptor lock_;
};

}  // namespace hone
