#include "worker/checkpoint/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/safetensors.h"

namespace hone {
namespace {

using nlohmann::json;

constexpr uint64_t kMostVocabularyBytes = 256 << 20;  // Of a vocabulary.
constexpr uint64_t kMostConfigBytes = 8 << 20;
constexpr const char* kConfig = "config.json";
constexpr const char* kGeneration = "generation_config.json";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";

Result<RegularFile> OpenIn(const std::string& folder, const std::string& path) {
  const Descriptor root(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return Fail(ErrnoError("open", folder, errno));
  return OpenRegularBeneath(root.get(), path, HardLinks::allow, folder);
}

// The files that hold the weights, by the index where there is one.
Result<std::vector<std::string>> WeightFiles(const proto::LocalBundle& bundle) {
  std::set<std::string> files;
  if (IsBundled(bundle, kIndex)) {
    TRY_ASSIGN(const json index, ReadBundledJson(bundle, kIndex));
    const auto map = index.find("weight_map");
    if (map == index.end() || !map->is_object())
      return Fail(ErrorCode::kRejected, fmt::format("{}: it has no weight_map", kIndex));
    for (const auto& [tensor, file] : map->items()) {
      const std::string path = file.is_string() ? file.get<std::string>() : "";
      if (!IsBundled(bundle, path)) {
        return Fail(ErrorCode::kRejected, fmt::format("{}: the tensor '{}' is said to lie in '{}', which is not there",
                                                      kIndex, Printable(tensor, 200), Printable(path, 200)));
      }
      files.insert(path);
    }
  } else if (IsBundled(bundle, kSingle)) {
    files.insert(kSingle);
  } else {
    for (const proto::File& file : bundle.bundle().files()) {
      if (file.path().ends_with(".safetensors")) files.insert(file.path());
    }
  }
  if (files.empty()) {
    return Fail(ErrorCode::kRejected, "the folder has no weights: no .safetensors file",
                "Weights in other formats (pytorch_model.bin) run code when they are read; save them as safetensors.");
  }
  return std::vector<std::string>(files.begin(), files.end());
}

Result<Checkpoint> OpenFolder(const proto::LocalBundle& bundle) {
  Checkpoint checkpoint;
  if (!IsBundled(bundle, kConfig)) return Fail(ErrorCode::kRejected, "the folder has no config.json");
  TRY_ASSIGN(checkpoint.config, ReadBundledJson(bundle, kConfig));
  TRY_ASSIGN(checkpoint.generation, ReadBundledJson(bundle, kGeneration));
  TRY_ASSIGN(const std::vector<std::string> paths, WeightFiles(bundle));
  for (const std::string& path : paths) {
    TRY_ASSIGN(MappedFile file, MappedFile::Open(bundle.folder(), path));
    TRY(ReadSafetensors(file.bytes(), path, checkpoint.weights));
    checkpoint.files.push_back(std::move(file));
  }
  return checkpoint;
}

Result<Checkpoint> OpenGgufFile(const proto::LocalBundle& bundle) {
  Checkpoint checkpoint;
  checkpoint.is_gguf = true;
  checkpoint.generation = json::object();
  TRY_ASSIGN(MappedFile file, MappedFile::Open(bundle.folder(), bundle.bundle().main()));
  TRY_ASSIGN(Gguf gguf, ReadGguf(file.bytes(), bundle.bundle().main()));
  TRY_ASSIGN(checkpoint.config, ConfigOfGguf(gguf));
  checkpoint.tokenizer = TokenizerOfGguf(gguf);
  checkpoint.weights = std::move(gguf.weights);
  checkpoint.files.push_back(std::move(file));
  return checkpoint;
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::string& folder, const std::string& path) {
  if (!IsSafeRelativePath(path))
    return Fail(ErrorCode::kRejected,
                fmt::format("the path '{}' does not stay beneath the folder", Printable(path, 200)));
  TRY_ASSIGN(const RegularFile file, OpenIn(folder, path));
  if (file.size_bytes == 0) return Fail(ErrorCode::kRejected, fmt::format("{}: it is empty", path));
  void* start = ::mmap(nullptr, file.size_bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, file.descriptor.get(), 0);
  if (start == MAP_FAILED) return Fail(ErrnoError("map", path, errno));
  return MappedFile({static_cast<const char*>(start), file.size_bytes});
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

void MappedFile::Release() const { ::madvise(const_cast<char*>(bytes_.data()), bytes_.size(), MADV_DONTNEED); }

Result<Checkpoint> OpenCheckpoint(const proto::LocalBundle& bundle) {
  return bundle.bundle().format() == "gguf" ? OpenGgufFile(bundle) : OpenFolder(bundle);
}

bool IsBundled(const proto::LocalBundle& bundle, const std::string& path) {
  const auto& files = bundle.bundle().files();
  return std::any_of(files.begin(), files.end(), [&](const proto::File& file) { return file.path() == path; });
}

Result<std::string> ReadBundled(const proto::LocalBundle& bundle, const std::string& path) {
  if (!IsBundled(bundle, path)) return std::string();
  if (!IsSafeRelativePath(path))
    return Fail(ErrorCode::kRejected,
                fmt::format("the path '{}' does not stay beneath the folder", Printable(path, 200)));
  TRY_ASSIGN(const RegularFile file, OpenIn(bundle.folder(), path));
  if (file.size_bytes > kMostVocabularyBytes)
    return Fail(ErrorCode::kRejected,
                fmt::format("{}: it has {} bytes; {} are allowed", path, file.size_bytes, kMostVocabularyBytes));
  std::string text(file.size_bytes, '\0');
  size_t read = 0;
  while (read < text.size()) {
    TRY_ASSIGN(const size_t some, ReadSome(file.descriptor.get(), text.data() + read, text.size() - read, path));
    if (some == 0) break;
    read += some;
  }
  text.resize(read);
  return text;
}

Result<json> ReadBundledJson(const proto::LocalBundle& bundle, const std::string& path) {
  if (!IsBundled(bundle, path)) return json::object();
  TRY_ASSIGN(const std::string text, ReadBundled(bundle, path));
  TRY_ASSIGN(json value, ParseJson(text, path, {.bytes = kMostConfigBytes, .values = 1'000'000, .depth = 32}));
  if (!value.is_object()) return Fail(ErrorCode::kRejected, fmt::format("{}: it is no object", path));
  return value;
}

const std::vector<std::string>& CarriedFiles() {
  static const std::vector<std::string> kFiles = {"added_tokens.json",
                                                  "chat_template.jinja",
                                                  "chat_template.json",
                                                  "generation_config.json",
                                                  "merges.txt",
                                                  "sentencepiece.bpe.model",
                                                  "special_tokens_map.json",
                                                  "tokenizer.json",
                                                  "tokenizer.model",
                                                  "tokenizer_config.json",
                                                  "vocab.json",
                                                  "vocab.txt"};
  return kFiles;
}

}  // namespace hone
