#include "client/result_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "client/model_file.h"
#include "common/artifact/bundle.h"
#include "common/base/file.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResultFile = "result.json";
constexpr uint64_t kMaxResultBytes = 256ull << 20;

// The files of models that an earlier result.json of this folder lists, beneath the folder.
std::set<fs::path> EarlierFiles(const fs::path& folder) {
  std::set<fs::path> files;
  const Result<std::string> text = ReadFile(folder / kResultFile, kMaxResultBytes);
  if (!text) return files;
  const Json result = Json::parse(*text, nullptr, false);
  if (!result.is_object() || result.value("schema", "") != "hone.result/1" || !result.contains("studies")) return files;
  for (const Json& study : result["studies"]) {
    if (!study.is_object() || !study.contains("best") || !study["best"].is_object() || !study["best"].contains("files"))
      continue;
    for (const Json& name : study["best"]["files"]) {
      if (!name.is_string()) continue;
      // Listed by the name that the folder had then; a model lies in it, or in target-N for a further target.
      const fs::path listed = name.get<std::string>();
      const fs::path parent = listed.parent_path().filename();
      const bool further = parent.string().compare(0, 7, "target-") == 0;
      const fs::path file = further ? folder / parent / listed.filename() : folder / listed.filename();
      if (fs::is_regular_file(fs::symlink_status(file))) files.insert(file.lexically_normal());
    }
  }
  return files;
}

}  // namespace

Result<NewFolder> NewFolder::Make(const fs::path& folder) {
  NewFolder made;
  fs::path missing;
  std::error_code failure;
  for (fs::path at = fs::absolute(folder).lexically_normal(); !at.empty() && !fs::exists(at, failure);
       at = at.parent_path()) {
    if (!at.filename().empty()) missing = at;
    if (at == at.parent_path()) break;
  }
  if (missing.empty() && !fs::is_directory(folder, failure)) {
    return Fail(ErrorCode::kRejected, fmt::format("{} is a file, not a folder", folder.string()),
                "name another folder with -o");
  }
  made.first_made_ = missing;
  TRY(MakeFolder(folder));
  return made;
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!first_made_.empty()) fs::remove_all(first_made_, ignored);
}

NewFolder::NewFolder(NewFolder&& other) noexcept : first_made_(std::move(other.first_made_)) {
  other.first_made_.clear();
}

Result<WrittenModel> PlaceModel(const proto::Bundle& bundle, const fs::path& from, const fs::path& folder,
                                const std::string& stem) {
  const std::vector<std::string> names = OutputNames(bundle, stem);
  WrittenModel written;
  // "out.onnx" and not "./out.onnx": paths are told as a person would write them.
  const fs::path place = folder == "." ? fs::path() : folder;
  std::vector<int> order;
  for (int i = 0; i < bundle.files_size(); ++i) order.push_back(i);
  std::stable_partition(order.begin(), order.end(), [&](int i) { return bundle.files(i).path() != bundle.main(); });
  for (const int i : order) {
    const fs::path target = place / names[static_cast<size_t>(i)];
    TRY(MakeFolder(target.parent_path().empty() ? fs::path(".") : target.parent_path()));
    std::error_code failure;
    fs::rename(PathIn(from, bundle.files(i)), target, failure);
    if (failure) return Fail(ErrnoError("write", target, failure.value()));
  }
  for (int i = 0; i < bundle.files_size(); ++i) {
    const std::string path = (place / names[static_cast<size_t>(i)]).string();
    written.files.push_back(path);
    if (bundle.files(i).path() == bundle.main()) written.path = path;
  }
  // A folder format (SavedModel) is opened by its folder.
  if (written.path.empty()) written.path = folder.string();
  return written;
}

Result<WrittenModel> WriteModel(Client& client, const proto::Bundle& bundle, const fs::path& folder) {
  TRY(CheckBundle(bundle));
  TRY(MakeFolder(folder));
  TRY_ASSIGN(const ScopedFolder scratch, ScopedFolder::Make(folder, ".incoming-"));
  TRY(client.Fetch(bundle, scratch.path()));
  return PlaceModel(bundle, scratch.path(), folder);
}

Result<std::vector<std::optional<WrittenModel>>> WriteBests(Client& client, const proto::JobSummary& job,
                                                            const fs::path& folder) {
  std::set<fs::path> stale = EarlierFiles(folder);
  std::vector<std::optional<WrittenModel>> written;
  for (int i = 0; i < job.studies_size(); ++i) {
    const proto::StudySummary& study = job.studies(i);
    written.emplace_back();
    if (!study.has_best() || study.best().model().files_size() == 0) continue;
    const fs::path place = i == 0 ? folder : folder / fmt::format("target-{}", i + 1);
    TRY_ASSIGN(written.back(), WriteModel(client, study.best().model(), place));
    for (const std::string& file : written.back()->files) stale.erase(fs::path(file).lexically_normal());
  }
  std::error_code ignored;
  for (const fs::path& file : stale) fs::remove(file, ignored);
  return written;
}

Result<> WriteResultFile(const fs::path& folder, const Json& result) {
  return WriteFile(folder / kResultFile, result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n",
                   Durable::yes);
}

}  // namespace hone
