#include "worker/decoder/data_file.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>

#include "common/base/file.h"

namespace hone {
namespace {

constexpr uint64_t kLargeBytes = 1 << 20;
constexpr uint64_t kPage = 4096;      // Lets runtimes map tensors.
constexpr uint64_t kCacheLine = 64;
constexpr const char* kModelFile = "model.onnx";
constexpr const char* kDataFile = "model.onnx.data";

}  // namespace

Result<DataFile> DataFile::Make(const std::filesystem::path& folder, const std::string& name) {
  TRY_ASSIGN(TemporaryFile file, TemporaryFile::Make(folder));
  return DataFile(std::move(file), folder, name);
}

Result<uint64_t> DataFile::Begin(uint64_t bytes) {
  static const std::string kZeros(kPage, '\0');
  const uint64_t alignment = bytes >= kLargeBytes ? kPage : kCacheLine;
  TRY(Put(std::string_view(kZeros).substr(0, (alignment - size_ % alignment) % alignment)));
  return size_;
}

Result<> DataFile::Put(std::string_view bytes) {
  hasher_.Update(bytes);
  size_ += bytes.size();
  return WriteAll(file_.fd(), bytes, folder_ / name_);
}

Result<proto::File> DataFile::Commit() {
  TRY(file_.Commit(folder_ / name_));
  proto::File file;
  file.set_path(name_);
  file.set_digest(hasher_.Finish());
  file.set_size_bytes(size_);
  return file;
}

Result<proto::File> WriteOutput(const std::filesystem::path& folder, const std::string& name, std::string_view bytes) {
  TRY(WriteFile(folder / name, bytes));
  proto::File file;
  file.set_path(name);
  file.set_digest(DigestOf(bytes));
  file.set_size_bytes(bytes.size());
  return file;
}

Result<proto::File> WriteModelFile(const onnx::ModelProto& model, const std::filesystem::path& folder,
                                   const std::string& name) {
  constexpr size_t kMostBytes = 1'900'000'000;
  if (model.ByteSizeLong() > kMostBytes)
    return Fail(ErrorCode::kRejected, "the graph without its weights is too large for an ONNX file");
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!model.SerializeToCodedStream(&coded)) return Fail(ErrorCode::kBug, "the graph cannot be written");
  }
  return WriteOutput(folder, name, bytes);
}

Result<DataFile> MakeModelData(const std::filesystem::path& folder) { return DataFile::Make(folder, kDataFile); }

Result<proto::Bundle> CommitModel(const onnx::ModelProto& model, DataFile& data, const std::filesystem::path& folder,
                                  std::vector<proto::File> beside) {
  TRY_ASSIGN(proto::File weights, data.Commit());
  beside.push_back(std::move(weights));
  TRY_ASSIGN(proto::File graph, WriteModelFile(model, folder, kModelFile));
  beside.push_back(std::move(graph));
  return BundleOf("onnx", kModelFile, std::move(beside));
}

proto::Bundle BundleOf(const std::string& format, const std::string& main, std::vector<proto::File> files) {
  std::sort(files.begin(), files.end(), [](const proto::File& a, const proto::File& b) { return a.path() < b.path(); });
  proto::Bundle bundle;
  bundle.set_format(format);
  bundle.set_main(main);
  for (proto::File& file : files) *bundle.add_files() = std::move(file);
  return bundle;
}

}  // namespace hone
