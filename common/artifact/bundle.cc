#include "common/artifact/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <vector>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxFiles = 100000;
constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxPartBytes = 255;      // NAME_MAX.
constexpr size_t kMaxEntries = 1000000;    // Looked at beneath one folder.
constexpr int kMaxDepth = 32;
constexpr size_t kHashBytes = 1 << 20;

enum class Kind { kAbsent, kFile, kFolder, kLink, kSpecial };

Result<Kind> KindOf(const fs::path& path, Links links = Links::refuse) {
  struct stat status {};
  if ((links == Links::follow ? stat : lstat)(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Kind::kAbsent;
    return Fail(ErrnoError("stat", path, errno));
  }
  if (S_ISREG(status.st_mode)) return Kind::kFile;
  if (S_ISDIR(status.st_mode)) return Kind::kFolder;
  return S_ISLNK(status.st_mode) ? Kind::kLink : Kind::kSpecial;
}

// Of what a person named: a link to a file or a folder is what it leads to.
Result<Kind> NamedKindOf(const fs::path& path) {
  TRY_ASSIGN(const Kind kind, KindOf(path, Links::follow));
  return kind == Kind::kAbsent ? KindOf(path) : Result<Kind>(kind);  // A link to nothing is refused as a link.
}

Result<> RefuseLinksAndSpecials(const fs::path& path, Kind kind) {
  if (kind == Kind::kLink) {
    std::error_code error;
    const fs::path target = fs::weakly_canonical(path, error);
    return Fail(ErrorCode::kRejected, fmt::format("{} is a symbolic link", path.string()),
                error ? "Give the file itself" : fmt::format("Give the file itself: {}", target.string()));
  }
  if (kind == Kind::kSpecial) {
    return Fail(ErrorCode::kRejected, fmt::format("{} is neither a file nor a folder", path.string()));
  }
  return {};
}

std::string LowerExtension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return extension;
}

// The path without "." parts and slashes at its end, so that it has a name.
fs::path Normal(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

// The file that a person named may be a link: it is what was asked for. All others are reached from the folder, without
// links.
struct Root {
  fs::path path;
  Descriptor folder;
  std::string named;                        // "" where a folder was named.
  HardLinks hard_links = HardLinks::allow;  // Of the others.
};

Result<Root> OpenRoot(const fs::path& path, std::string named, HardLinks hard_links) {
  Root root{path, Descriptor(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), std::move(named), hard_links};
  if (!root.folder) return Fail(ErrnoError("open folder", path, errno));
  return root;
}

Result<RegularFile> OpenFileOf(const Root& root, const std::string& relative) {
  if (relative == root.named) return OpenRegular(root.path / relative, Links::follow);
  auto file = OpenRegularBeneath(root.folder.get(), relative, root.hard_links, root.path);
  if (!file && file.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kNotFound, fmt::format("{} is not there", (root.path / relative).string()),
                "Keep every file of the model beside it, under the name that it gives");
  }
  return file;
}

// Hashes one file of a bundle: the bytes of one descriptor, opened once.
Result<proto::File> Describe(const Root& root, const std::string& relative) {
  if (!IsSafeRelativePath(relative)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("'{}' cannot be the path of a file of a bundle", Printable(relative, 200)),
                "Paths lie beneath the folder, have at most 1024 bytes of UTF-8, and no control characters");
  }
  const fs::path path = root.path / relative;
  TRY_ASSIGN(const RegularFile file, OpenFileOf(root, relative));
  Hasher hasher;
  std::vector<char> buffer(static_cast<size_t>(std::clamp<uint64_t>(file.size_bytes, 1, kHashBytes)));
  uint64_t size_bytes = 0;
  while (true) {
    TRY_ASSIGN(const size_t count, ReadSome(file.descriptor.get(), buffer.data(), buffer.size(), path));
    if (count == 0) break;
    hasher.Update({buffer.data(), count});
    size_bytes += count;
  }
  if (size_bytes == 0) return Fail(ErrorCode::kRejected, fmt::format("{} is empty", path.string()));
  proto::File described;
  described.set_path(relative);
  described.set_digest(hasher.Finish());
  described.set_size_bytes(size_bytes);
  return described;
}

Result<proto::Bundle> MakeBundle(const std::string& format, const std::string& main, const fs::path& folder,
                                 std::vector<std::string> paths, HardLinks hard_links = HardLinks::allow) {
  TRY_ASSIGN(const Root root, OpenRoot(folder, main, hard_links));
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  proto::Bundle bundle;
  bundle.set_format(format);
  bundle.set_main(main);
  for (const std::string& path : paths) {
    TRY_ASSIGN(*bundle.add_files(), Describe(root, path));
  }
  TRY(CheckBundle(bundle));
  return bundle;
}

// Relative paths of the files beneath root that `wanted` takes, hidden ones left out.
Result<std::vector<std::string>> FilesBeneath(const fs::path& root,
                                              const std::function<bool(const fs::path&)>& wanted) {
  std::vector<std::string> paths;
  size_t entries = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(root, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (++entries > kMaxEntries || entry.depth() > kMaxDepth) {
      return Fail(ErrorCode::kRejected, fmt::format("{} holds more than {} entries or is deeper than {} folders",
                                                    root.string(), kMaxEntries, kMaxDepth));
    }
    const fs::path relative = entry->path().lexically_relative(root);
    TRY_ASSIGN(const Kind kind, KindOf(entry->path()));
    if (entry->path().filename().string().starts_with('.')) {
      entry.disable_recursion_pending();
      continue;
    }
    if (kind == Kind::kFolder || !wanted(relative)) continue;
    TRY(RefuseLinksAndSpecials(entry->path(), kind));
    paths.push_back(relative.string());
    if (paths.size() > kMaxFiles) {
      return Fail(ErrorCode::kRejected, fmt::format("{} holds more than {} files", root.string(), kMaxFiles));
    }
  }
  if (error) return Fail(ErrnoError("list folder", root, error.value()));
  return paths;
}

// A model format told by its file's name.
struct ModelFormat {
  std::string_view extension;
  std::string_view format;
  std::string_view companion;   // Extension of the file of weights beside it.
};
constexpr ModelFormat kModelFormats[] = {
    {".onnx", "onnx", ""},
    {".xml", "openvino_ir", ".bin"},
    {".tflite", "tflite", ""},
    {".pdmodel", "paddle", ".pdiparams"},
    {".pb", "tensorflow", ""},
    {".gguf", "gguf", ""},
};

const ModelFormat* FindModelFormat(const fs::path& path) {
  const std::string extension = LowerExtension(path);
  const auto row = std::find_if(std::begin(kModelFormats), std::end(kModelFormats),
                                [&](const ModelFormat& candidate) { return candidate.extension == extension; });
  return row == std::end(kModelFormats) ? nullptr : &*row;
}

Error UnknownModel(const fs::path& path) {
  return Error{ErrorCode::kRejected, fmt::format("{} is no model whose format hone knows by its name", path.string()),
               "Give a .onnx, .xml (with .bin), .tflite, .pdmodel (with .pdiparams), .pb or .gguf file, a TensorFlow "
               "SavedModel folder, a folder with config.json and safetensors, or one that the pass split wrote"};
}

constexpr const char* kFirstPart = "part_0/model.onnx";

Result<proto::Bundle> BundleOfSavedModel(const fs::path& folder) {
  TRY_ASSIGN(const Kind kind, KindOf(folder / "saved_model.pb"));
  if (kind == Kind::kAbsent) return Fail(UnknownModel(folder));
  TRY_ASSIGN(auto paths, FilesBeneath(folder, [](const fs::path&) { return true; }));
  return MakeBundle("tensorflow", "", folder, std::move(paths));
}

Result<proto::Bundle> BundleOfFolder(const fs::path& folder) {
  constexpr const char* kConfig = "config.json";
  TRY_ASSIGN(const Kind parts, KindOf(folder / kPartsFile));
  TRY_ASSIGN(const Kind first, KindOf(folder / kFirstPart));
  if (parts == Kind::kFile && first == Kind::kFile) {
    TRY_ASSIGN(auto paths, FilesBeneath(folder, [](const fs::path&) { return true; }));
    return MakeBundle("onnx", kFirstPart, folder, std::move(paths));
  }
  TRY_ASSIGN(const Kind config, KindOf(folder / kConfig));
  TRY_ASSIGN(const Kind saved, KindOf(folder / "saved_model.pb"));
  if (config == Kind::kAbsent && saved == Kind::kAbsent) {
    std::error_code failure;
    for (const auto& entry : fs::directory_iterator(folder, failure)) {
      if (LowerExtension(entry.path()) != ".safetensors") continue;
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} holds {} but no config.json, which tells what model it is", folder.string(),
                              Printable(entry.path().filename().string(), 200)),
                  "Put the checkpoint's config.json beside its weights");
    }
  }
  if (config == Kind::kAbsent || saved != Kind::kAbsent) return BundleOfSavedModel(folder);
  TRY_ASSIGN(auto paths, FilesBeneath(folder, IsOfCheckpoint));
  std::erase_if(paths, [&](const std::string& path) {
    std::error_code failure;
    return fs::file_size(folder / path, failure) == 0 && !failure;   // An empty template says nothing.
  });
  return MakeBundle("checkpoint", kConfig, folder, std::move(paths));
}

// The weights beside a model. An empty file stands for a model without weights and is left out.
Result<std::optional<std::string>> CompanionOf(const fs::path& path, const ModelFormat& format) {
  if (format.companion.empty()) return std::optional<std::string>();
  fs::path companion = path;
  companion.replace_extension(format.companion);
  TRY_ASSIGN(const Kind kind, KindOf(companion));
  if (kind == Kind::kAbsent) {
    return Fail(ErrorCode::kNotFound, fmt::format("{} is not there", companion.string()),
                fmt::format("Keep {} beside {}", companion.filename().string(), path.filename().string()));
  }
  TRY(RefuseLinksAndSpecials(companion, kind));
  TRY_ASSIGN(const RegularFile file, OpenRegular(companion, Links::refuse));
  if (file.size_bytes == 0) return std::optional<std::string>();
  return std::optional<std::string>(companion.filename().string());
}

// Layout of ONNX's own tests: test_data_set_0/input_0.pb, test_data_set_0/output_0.pb ...
bool IsNumbered(std::string_view name, std::string_view prefix, std::string_view suffix) {
  if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix))
    return false;
  const std::string_view digits = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsOnnxTestData(const fs::path& relative) {
  const std::string name = relative.filename().string();
  return std::distance(relative.begin(), relative.end()) == 2 &&
         IsNumbered(relative.begin()->string(), "test_data_set_", "") &&
         (IsNumbered(name, "input_", ".pb") || IsNumbered(name, "output_", ".pb"));
}

bool IsImage(const fs::path& path) {
  constexpr std::string_view kExtensions[] = {".png", ".jpg", ".jpeg", ".bmp"};
  const std::string extension = LowerExtension(path);
  return std::find(std::begin(kExtensions), std::end(kExtensions), extension) != std::end(kExtensions);
}

Result<proto::Bundle> BundleOfDataFolder(const fs::path& folder) {
  TRY_ASSIGN(auto tests, FilesBeneath(folder, IsOnnxTestData));
  if (!tests.empty()) return MakeBundle("onnx_test_data", "", folder, std::move(tests));
  TRY_ASSIGN(auto images,
             FilesBeneath(folder, [](const fs::path& path) { return IsImage(path) || path == "labels.csv"; }));
  if (std::any_of(images.begin(), images.end(), [](const std::string& path) { return IsImage(path); })) {
    return MakeBundle("images", "", folder, std::move(images));
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("{} is no data set: it holds neither test_data_set_N folders nor images", folder.string()),
              "Give an .npz file, a folder that holds test_data_set_0, or a folder of png, jpg or bmp images");
}

Result<> CheckFile(const proto::File& file) {
  const std::string shown = Printable(file.path(), 200);
  if (!IsSafeRelativePath(file.path()))
    return Fail(ErrorCode::kRejected, fmt::format("bundle: unsafe path '{}'", shown));
  if (!IsDigest(file.digest())) {
    return Fail(ErrorCode::kRejected,
                fmt::format("bundle: the digest of '{}' is malformed: '{}'", shown, Printable(file.digest(), 80)));
  }
  if (file.size_bytes() == 0) return Fail(ErrorCode::kRejected, fmt::format("bundle: '{}' is empty", shown));
  return {};
}

// "a" and "a/b" cannot both be files.
Result<> CheckNoFileIsFolder(const proto::Bundle& bundle) {
  std::unordered_set<std::string_view> paths;
  for (const proto::File& file : bundle.files()) paths.insert(file.path());
  for (const proto::File& file : bundle.files()) {
    const std::string_view path = file.path();
    for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash))) {
        return Fail(ErrorCode::kRejected,
                    fmt::format("bundle: '{}' is both a file and a folder", path.substr(0, slash)));
      }
    }
  }
  return {};
}

}  // namespace

std::string BundleId(const proto::Bundle& bundle) {
  if (bundle.files_size() == 1) return bundle.files(0).digest();
  std::vector<const proto::File*> files;
  for (const proto::File& file : bundle.files()) files.push_back(&file);
  std::sort(files.begin(), files.end(),
            [](const proto::File* a, const proto::File* b) { return a->path() < b->path(); });
  Hasher hasher;
  for (const proto::File* file : files)
    hasher.Update(fmt::format("{} {} {}\n", file->path(), file->digest(), file->size_bytes()));
  return hasher.Finish();
}

uint64_t BundleBytes(const proto::Bundle& bundle) {
  uint64_t bytes = 0;
  for (const proto::File& file : bundle.files()) bytes += file.size_bytes();
  return bytes;
}

bool IsInParts(const proto::Bundle& bundle) {
  return std::any_of(bundle.files().begin(), bundle.files().end(),
                     [](const proto::File& file) { return file.path() == kPartsFile; });
}

bool IsSafeRelativePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || !IsUtf8(path)) return false;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(path.begin(), path.end(), is_control)) return false;
  const std::vector<std::string> parts = Split(path, '/');
  return std::none_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.empty() || part == "." || part == ".." || part.size() > kMaxPartBytes;
  });
}

Result<> CheckBundle(const proto::Bundle& bundle) {
  if (bundle.files_size() < 1 || bundle.files_size() > kMaxFiles) {
    return Fail(ErrorCode::kRejected,
                fmt::format("bundle: it has {} files; 1 to {} are allowed", bundle.files_size(), kMaxFiles));
  }
  uint64_t bytes = 0;
  bool has_main = bundle.main().empty();
  const std::string* last = nullptr;
  for (const proto::File& file : bundle.files()) {
    TRY(CheckFile(file));
    if (last != nullptr && *last >= file.path()) {
      return Fail(ErrorCode::kRejected, fmt::format("bundle: '{}' is repeated or not in order", file.path()));
    }
    if (file.size_bytes() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - bytes) {
      return Fail(ErrorCode::kRejected, "bundle: its sizes are beyond 63 bits");
    }
    bytes += file.size_bytes();
    has_main = has_main || file.path() == bundle.main();
    last = &file.path();
  }
  if (!has_main) {
    return Fail(ErrorCode::kRejected,
                fmt::format("bundle: its main file '{}' is not among its files", Printable(bundle.main(), 200)));
  }
  return CheckNoFileIsFolder(bundle);
}

bool IsOfCheckpoint(const fs::path& relative) {
  constexpr std::string_view kExtensions[] = {".json", ".safetensors", ".jinja"};
  constexpr std::string_view kNames[] = {"merges.txt", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt"};
  const std::string name = relative.filename().string();
  if (name.starts_with("consolidated") || std::distance(relative.begin(), relative.end()) > 2) return false;
  // Of the folders inside, those of sentence embedders tell what follows the encoder (1_Pooling/config.json).
  if (relative.has_parent_path()) return name == "config.json";
  return std::find(std::begin(kExtensions), std::end(kExtensions), LowerExtension(relative)) != std::end(kExtensions) ||
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

Result<proto::Bundle> BundleOfModel(
    const fs::path& given, const std::function<Result<std::vector<std::string>>(const fs::path&)>& external_files) {
  const fs::path path = Normal(given);
  TRY_ASSIGN(const Kind kind, NamedKindOf(path));
  if (kind == Kind::kAbsent) return Fail(ErrorCode::kNotFound, fmt::format("model {} is not there", path.string()));
  TRY(RefuseLinksAndSpecials(path, kind));
  if (kind == Kind::kFolder) return BundleOfFolder(path);
  const ModelFormat* format = FindModelFormat(path);
  if (format == nullptr) return Fail(UnknownModel(path));
  const std::string main = path.filename().string();
  std::vector<std::string> paths = {main};
  TRY_ASSIGN(const auto companion, CompanionOf(path, *format));
  if (companion) paths.push_back(*companion);
  if (format->format == "onnx" && external_files) {
    TRY_ASSIGN(const auto external, external_files(path));
    paths.insert(paths.end(), external.begin(), external.end());
  }
  return MakeBundle(std::string(format->format), main, FolderOf(path), std::move(paths), HardLinks::refuse);
}

Result<proto::Bundle> BundleOfData(const fs::path& given) {
  const fs::path path = Normal(given);
  TRY_ASSIGN(const Kind kind, NamedKindOf(path));
  if (kind == Kind::kAbsent) return Fail(ErrorCode::kNotFound, fmt::format("data set {} is not there", path.string()));
  TRY(RefuseLinksAndSpecials(path, kind));
  if (kind == Kind::kFolder) return BundleOfDataFolder(path);
  const std::string extension = LowerExtension(path);
  constexpr std::pair<const char*, const char*> kFormats[] = {
      {".npz", "npz"}, {".npy", "tokens"}, {".json", "tokens"}, {".txt", "text"}};
  const auto known = std::find_if(std::begin(kFormats), std::end(kFormats),
                                  [&](const auto& row) { return extension == row.first; });
  if (known == std::end(kFormats)) {
    return Fail(ErrorCode::kRejected, fmt::format("{} is no data set: its name does not end in .npz", path.string()),
                "Give an .npz file, a folder that holds test_data_set_0, a folder of images, or for language models a "
                "text (.txt) or token ids (.npy, .json)");
  }
  const std::string main = path.filename().string();
  return MakeBundle(known->second, main, FolderOf(path), {main});
}

fs::path PathIn(const fs::path& folder, const proto::File& file) {
  CHECK_THAT(IsSafeRelativePath(file.path()));
  return fs::absolute(folder) / file.path();
}

}  // namespace hone
