// The external data of a model that is being made: tensor after tensor, hashed on its way to the disk, never in memory.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/digest.h"
#include "common/base/open_file.h"
#include "common/base/result.h"
#include "proto/artifact.pb.h"

namespace hone {

struct Extent {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

class DataFile {
 public:
  static Result<DataFile> Make(const std::filesystem::path& folder, const std::string& name);

  const std::string& name() const { return name_; }
  // Goes on to where a tensor of so many bytes may begin: large ones on pages of their own.
  Result<uint64_t> Begin(uint64_t bytes);
  Result<> Put(std::string_view bytes);
  uint64_t size() const { return size_; }
  // Gives the file its name. Nothing may be put afterwards.
  Result<proto::File> Commit();

 private:
  DataFile(TemporaryFile file, std::filesystem::path folder, std::string name)
      : file_(std::move(file)), folder_(std::move(folder)), name_(std::move(name)) {}

  TemporaryFile file_;
  std::filesystem::path folder_;
  std::string name_;
  uint64_t size_ = 0;
  Hasher hasher_;
};

// Writes a small file and tells of it.
Result<proto::File> WriteOutput(const std::filesystem::path& folder, const std::string& name, std::string_view bytes);

// The graph of a model, the same bytes for the same graph. kRejected where it is larger than protobuf can read.
Result<proto::File> WriteModelFile(const onnx::ModelProto& model, const std::filesystem::path& folder,
                                   const std::string& name);

// A model of a graph and its data: the file that the data go to, and both with what lies beside them.
Result<DataFile> MakeModelData(const std::filesystem::path& folder);
Result<proto::Bundle> CommitModel(const onnx::ModelProto& model, DataFile& data, const std::filesystem::path& folder,
                                  std::vector<proto::File> beside);

// Files in the order of their paths.
proto::Bundle BundleOf(const std::string& format, const std::string& main, std::vector<proto::File> files);

}  // namespace hone
