// A model as its trainer left it: a folder with config.json and safetensors, or a GGUF file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/work.pb.h"
#include "worker/checkpoint/gguf.h"
#include "worker/checkpoint/weights.h"

namespace hone {

// A file that is mapped for reading as long as this lives.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& folder, const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  std::string_view bytes() const { return bytes_; }
  // Pages that were read may leave memory until they are looked at again.
  void Release() const;

 private:
  explicit MappedFile(std::string_view bytes) : bytes_(bytes) {}
  std::string_view bytes_;
};

struct Checkpoint {
  nlohmann::json config;      // As in config.json.
  nlohmann::json generation;  // generation_config.json; an empty object where there is none.
  WeightMap weights;          // By their names in Hugging Face checkpoints; they point into `files`.
  bool is_gguf = false;
  TokenizerTexts tokenizer;   // Of GGUF files.
  std::vector<MappedFile> files;
};

// Opens a bundle of format "checkpoint" or "gguf". kRejected, naming file and tensor, for whatever is wrong with it.
// Files are opened beneath the folder alone, through no link.
Result<Checkpoint> OpenCheckpoint(const proto::LocalBundle& bundle);

// A small text file of the bundle; "" where the bundle has none of that path.
Result<std::string> ReadBundled(const proto::LocalBundle& bundle, const std::string& path);
// The same, parsed; an empty object where there is none.
Result<nlohmann::json> ReadBundledJson(const proto::LocalBundle& bundle, const std::string& path);
bool IsBundled(const proto::LocalBundle& bundle, const std::string& path);

// The files that go along with a built model: vocabulary, templates, settings of text generation. In order.
const std::vector<std::string>& CarriedFiles();

}  // namespace hone
