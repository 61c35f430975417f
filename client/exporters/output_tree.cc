#include "client/exporters/output_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/model_file.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone::exporters {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxEarlierBytes = 16 << 20;

}  // namespace

Result<OutputTree> OutputTree::Begin(const fs::path& folder) {
  TRY_ASSIGN(ScopedFolder staging, ScopedFolder::Make(folder, ".hone-export-"));
  return OutputTree(folder, std::move(staging));
}

Result<fs::path> OutputTree::Place(const fs::path& path) {
  const fs::path place = staging_.path() / path;
  TRY(MakeFolder(place.parent_path()));
  if (std::find(written_.begin(), written_.end(), path) == written_.end()) written_.push_back(path);
  return place;
}

Result<> OutputTree::Text(const fs::path& path, std::string_view text) {
  TRY_ASSIGN(const fs::path place, Place(path));
  return WriteFile(place, text);
}

Result<> OutputTree::File(const fs::path& from, const fs::path& path) {
  TRY_ASSIGN(const fs::path place, Place(path));
  std::error_code failure;
  fs::copy_file(from, place, fs::copy_options::overwrite_existing, failure);
  if (failure) return Fail(ErrnoError("copy", from, failure.value()));
  return {};
}

Result<fs::path> OutputTree::Model(const proto::LocalBundle& model, const fs::path& folder, const std::string& stem) {
  const proto::Bundle& bundle = model.bundle();
  const std::vector<std::string> names = OutputNames(bundle, stem);
  fs::path opened = folder;
  for (int i = 0; i < bundle.files_size(); ++i) {
    const fs::path path = folder / names[static_cast<size_t>(i)];
    TRY(File(PathIn(model.folder(), bundle.files(i)), path));
    if (bundle.files(i).path() == bundle.main()) opened = path;
  }
  return opened;
}

Result<std::string> OutputTree::Earlier(const fs::path& path) const {
  std::error_code failure;
  if (!fs::exists(folder_ / path, failure)) return std::string();
  return ReadFile(folder_ / path, kMaxEarlierBytes);
}

uint64_t OutputTree::NextVersion(const fs::path& folder) const {
  uint64_t highest = 0;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / folder, failure)) {
    const Result<int64_t> number = ParseInteger(entry.path().filename().string());
    if (number && *number > 0 && entry.is_directory(failure))
      highest = std::max(highest, static_cast<uint64_t>(*number));
  }
  return highest + 1;
}

Result<std::vector<std::string>> OutputTree::Publish() {
  std::vector<std::string> paths;
  for (const fs::path& path : written_) {
    const fs::path target = folder_ / path;
    TRY(MakeFolder(target.parent_path()));
    std::error_code failure;
    fs::rename(staging_.path() / path, target, failure);
    if (failure) return Fail(ErrnoError("write", target, failure.value()));
    paths.push_back((folder_ == "." ? path : target).string());
  }
  return paths;
}

}  // namespace hone::exporters
