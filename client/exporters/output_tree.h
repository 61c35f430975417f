// Files that appear together: written beside their place, moved in when all of them are there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/file.h"
#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone::exporters {

class OutputTree {
 public:
  // The folder is there. What it holds already stays, but for files of the same names.
  static Result<OutputTree> Begin(const std::filesystem::path& folder);

  // Paths are relative to the folder.
  Result<> Text(const std::filesystem::path& path, std::string_view text);
  // A copy of every file of the model beneath `folder`, the opened file named `stem` with its extension
  // (client/model_file.h). The path of the opened file, or the folder's for a model that is a folder.
  Result<std::filesystem::path> Model(const proto::LocalBundle& model, const std::filesystem::path& folder,
                                      const std::string& stem);
  Result<> File(const std::filesystem::path& from, const std::filesystem::path& path);

  // What the folder held before; "" where the file is not there.
  Result<std::string> Earlier(const std::filesystem::path& path) const;
  // 1 more than the highest number that names a folder in `folder`.
  uint64_t NextVersion(const std::filesystem::path& folder) const;
  const std::filesystem::path& folder() const { return folder_; }

  // Moves everything into place; the paths, in the order in which they were written.
  Result<std::vector<std::string>> Publish();

 private:
  OutputTree(std::filesystem::path folder, ScopedFolder staging)
      : folder_(std::move(folder)), staging_(std::move(staging)) {}
  Result<std::filesystem::path> Place(const std::filesystem::path& path);

  std::filesystem::path folder_;
  ScopedFolder staging_;
  std::vector<std::filesystem::path> written_;
};

}  // namespace hone::exporters
