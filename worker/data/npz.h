// Arrays of a NumPy .npz: a zip of stored or deflated .npy entries, read hostile-proof, and the data set on them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"
#include "worker/data/npy.h"

namespace hone {

// All arrays of one file together, and one array's declared bytes.
constexpr uint64_t kNpzMaxBytes = uint64_t{16} << 30;

// An open .npz. One thread at a time.
class NpzFile {
 public:
  // kRejected for what is no zip, has repeated or too many entries, or declares more bytes than it can hold.
  static Result<NpzFile> Open(const std::filesystem::path& path);
  ~NpzFile();
  NpzFile(NpzFile&&) noexcept;
  NpzFile& operator=(NpzFile&&) noexcept;

  // Names of arrays (entries that end in .npy, without it), in the order of the file.
  const std::vector<std::string>& names() const;
  bool Has(const std::string& name) const;
  // kRejected if the entry is no valid .npy or its shape is not what its bytes hold.
  Result<NpyHeader> Header(const std::string& name) const;
  // The rows [first, first + count) of the first axis, row-major and little-endian; the whole entry is read and its
  // checksum verified. The header must have a type and at least one dimension.
  Result<Tensor> Rows(const std::string& name, int64_t first, int64_t count) const;

 private:
  struct State;
  explicit NpzFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// See OpenDataSet.
Result<std::unique_ptr<DataSet>> OpenNpz(const proto::LocalData& data, const std::vector<InputSignature>& inputs);

}  // namespace hone
