// Weights of a model whose writer wants to see all of them in memory at once, where they need not be: each goes to a
// file without a name and is mapped from there, so that its pages come when they are looked at and may leave again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/open_file.h"
#include "common/base/result.h"
#include "worker/decoder/coded_rows.h"

namespace hone {

class WeightsFile {
 public:
  // The file lies in `folder` as long as this lives.
  static Result<WeightsFile> Make(const std::filesystem::path& folder);

  // Keeps the `bytes` bytes, more than none, that `write` sends. The memory is for reading; it lives as long as this
  // or the pointer does.
  Result<std::shared_ptr<void>> Add(uint64_t bytes, const std::function<Result<>(const ByteSink& sink)>& write);
  Result<std::shared_ptr<void>> Add(std::string_view bytes);

  // These bytes are not looked at for now: whole pages of them leave memory where they were mapped here.
  void Release(const char* begin, size_t bytes) const;

 private:
  explicit WeightsFile(TemporaryFile file) : file_(std::move(file)) {}

  TemporaryFile file_;
  uint64_t size_ = 0;
  std::vector<std::shared_ptr<void>> mappings_;
  std::map<const char*, size_t> lengths_;  // Of mappings, by where they begin.
};

}  // namespace hone
