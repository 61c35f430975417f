// What commands leave on disk: models in output folders, result.json, and nothing where they fail.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/json_output.h"
#include "common/base/result.h"

namespace hone {

// A folder, made with its parents where it is not there; unless kept, what was made is removed again at the end of the
// object's life.
class NewFolder {
 public:
  // kRejected where a file stands in the way.
  static Result<NewFolder> Make(const std::filesystem::path& folder);
  ~NewFolder();
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  void Keep() { first_made_.clear(); }

 private:
  NewFolder() = default;
  std::filesystem::path first_made_;   // Empty: nothing to remove.
};

// Moves the files of a bundle from `from` to `folder` under their output names (client/model_file.h), the opened file
// last.
Result<WrittenModel> PlaceModel(const proto::Bundle& bundle, const std::filesystem::path& from,
                                const std::filesystem::path& folder, const std::string& stem = "model");
// Downloads a bundle beside its place, then moves it in.
Result<WrittenModel> WriteModel(Client& client, const proto::Bundle& bundle, const std::filesystem::path& folder);
// The best of every study: the first into `folder`, the others into folder/target-2, target-3 ... Files of an earlier
// result.json there that the new result does not have are removed.
Result<std::vector<std::optional<WrittenModel>>> WriteBests(Client& client, const proto::JobSummary& job,
                                                            const std::filesystem::path& folder);
Result<> WriteResultFile(const std::filesystem::path& folder, const Json& result);

}  // namespace hone
