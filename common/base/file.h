// Files, read with a bound and written whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace hone {

// The whole file. kNotFound if it is not there, kRejected if it is larger than max_bytes or no regular file.
Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t max_bytes);

enum class Durable { no, yes };

// Writes through a temporary beside the target and renames it; with Durable::yes file and folder are fsynced. On
// failure the target is as it was. kExhausted when the disk is full.
Result<> WriteFile(const std::filesystem::path& path, std::string_view bytes, Durable durable = Durable::no);

// Creates the folder with its parents.
Result<> MakeFolder(const std::filesystem::path& path);

// Copies by reflink or hard link where the file system can (the target must then never be written in place), else by
// bytes.
Result<> LinkOrCopy(const std::filesystem::path& from, const std::filesystem::path& to);

// A folder that is removed, with what it holds, at the end of the object's life.
class ScopedFolder {
 public:
  // Makes parent/prefixXXXXXX.
  static Result<ScopedFolder> Make(const std::filesystem::path& parent, std::string_view prefix);
  ~ScopedFolder();
  ScopedFolder(ScopedFolder&& other) noexcept;
  ScopedFolder& operator=(ScopedFolder&& other) noexcept;
  const std::filesystem::path& path() const { return path_; }
  // Keeps the folder; it is no longer removed.
  std::filesystem::path Release();

 private:
  explicit ScopedFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// Maps an errno of an operation on a path to an Error ("open /x: No such file or directory").
Error ErrnoError(std::string_view what, const std::filesystem::path& path, int error_number);

}  // namespace hone
