// Writing ONNX files: the same model gives the same bytes, hashed on their way to the disk.
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <utility>

#include "common/base/digest.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "worker/model/model.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxInlineBytes =
    1'900'000'000;                            // protobuf ends at 2 GiB; this leaves room for what is counted late.
constexpr uint64_t kMinExternalBytes = 1024;  // Smaller tensors stay in the graph: shapes, scales.
constexpr uint64_t kAlignment = 4096;         // Lets runtimes map tensors from the file.
constexpr const char* kModelName = "model.onnx";
constexpr const char* kDataName = "model.onnx.data";

// Hashes what it writes.
class FileWriter : public google::protobuf::io::CopyingOutputStream {
 public:
  FileWriter(TemporaryFile file, fs::path target) : file_(std::move(file)), target_(std::move(target)) {}

  bool Write(const void* buffer, int size) override {
    return Put({static_cast<const char*>(buffer), static_cast<size_t>(size)}).has_value();
  }

  // After a failure nothing more is written; Commit tells.
  Result<> Put(std::string_view bytes) {
    if (!written_) return written_;
    hasher_.Update(bytes);
    size_ += bytes.size();
    written_ = WriteAll(file_.fd(), bytes, target_);
    return written_;
  }

  Result<> Align() {
    static const std::string kZeros(kAlignment, '\0');
    return Put(std::string_view(kZeros).substr(0, (kAlignment - size_ % kAlignment) % kAlignment));
  }

  uint64_t size() const { return size_; }

  Result<proto::File> Commit() {
    TRY(written_);
    TRY(file_.Commit(target_));
    proto::File file;
    file.set_path(target_.filename().string());
    file.set_digest(hasher_.Finish());
    file.set_size_bytes(size_);
    return file;
  }

 private:
  TemporaryFile file_;
  fs::path target_;
  Result<> written_;
  uint64_t size_ = 0;
  Hasher hasher_;
};

void AddEntry(onnx::TensorProto& tensor, const char* key, const std::string& value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}

void PointTo(onnx::TensorProto& tensor, uint64_t offset, uint64_t bytes) {
  AddEntry(tensor, "location", kDataName);
  AddEntry(tensor, "offset", std::to_string(offset));
  AddEntry(tensor, "length", std::to_string(bytes));
}

// Copies a tensor from its mapped file, piece by piece, so that memory never holds the whole.
Result<> MoveMapped(onnx::TensorProto& tensor, FileWriter& file) {
  constexpr size_t kPiece = 16 << 20;
  TRY_ASSIGN(const TensorView view, ViewTensor(tensor));
  TRY(file.Align());
  const uint64_t offset = file.size();
  for (size_t at = 0; at < view.bytes().size(); at += kPiece) {
    TRY(file.Put(view.bytes().substr(at, kPiece)));
    if (at % (4 * kPiece) == 0) ReleasePages(tensor);
  }
  ReleasePages(tensor);
  const size_t bytes = view.bytes().size();
  tensor.clear_external_data();
  PointTo(tensor, offset, bytes);
  return {};
}

// Moves the bytes of large tensors into a file beside the model.
Result<proto::File> MoveWeightsOut(onnx::ModelProto& model, const fs::path& folder) {
  TRY_ASSIGN(TemporaryFile temporary, TemporaryFile::Make(folder));
  FileWriter file(std::move(temporary), folder / kDataName);
  const Result<> moved = VisitTensors(model, [&](onnx::TensorProto& tensor) -> Result<> {
    if (IsMapped(tensor)) return MoveMapped(tensor, file);
    if (tensor.data_type() == onnx::TensorProto::STRING || tensor.ByteSizeLong() < kMinExternalBytes) return {};
    if (!tensor.has_raw_data()) {
      if (ElementBytes(tensor.data_type()) == 0) return {};
      TRY_ASSIGN(const Tensor value, ReadTensor(tensor));
      tensor = MakeTensor(tensor.name(), value.type, value.dims,
                          {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
    }
    TRY(file.Align());
    PointTo(tensor, file.size(), tensor.raw_data().size());
    TRY(file.Put(tensor.raw_data()));
    tensor.clear_raw_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    return {};
  });
  TRY(moved);
  return file.Commit();
}

Result<proto::File> WriteModel(const onnx::ModelProto& model, const fs::path& folder) {
  TRY_ASSIGN(TemporaryFile temporary, TemporaryFile::Make(folder));
  FileWriter file(std::move(temporary), folder / kModelName);
  bool written = false;
  {
    google::protobuf::io::CopyingOutputStreamAdaptor stream(&file, 1 << 20);
    {
      google::protobuf::io::CodedOutputStream out(&stream);
      out.SetSerializationDeterministic(true);
      written = model.SerializePartialToCodedStream(&out) && !out.HadError();
    }
    written = stream.Flush() && written;
  }
  TRY(file.Put({}));
  if (!written)
    return Fail(ErrorCode::kFailed,
                fmt::format("write {}: the model could not be serialized", (folder / kModelName).string()));
  return file.Commit();
}

Result<proto::Bundle> Write(const onnx::ModelProto& model, const fs::path& folder,
                            const std::optional<proto::File>& data) {
  proto::Bundle bundle;
  bundle.set_format("onnx");
  bundle.set_main(kModelName);
  TRY_ASSIGN(*bundle.add_files(), WriteModel(model, folder));
  if (data) *bundle.add_files() = *data;
  return bundle;
}

bool FitsOneFile(const onnx::ModelProto& model) {
  return model.ByteSizeLong() <= kMaxInlineBytes && !HasMapped(model);
}

}  // namespace

Result<proto::Bundle> SaveOnnx(const onnx::ModelProto& model, const fs::path& folder) {
  if (FitsOneFile(model)) return Write(model, folder, std::nullopt);
  return SaveOnnx(onnx::ModelProto(model), folder);
}

Result<proto::Bundle> SaveOnnx(onnx::ModelProto&& model, const fs::path& folder) {
  if (FitsOneFile(model)) return Write(model, folder, std::nullopt);
  TRY_ASSIGN(const proto::File data, MoveWeightsOut(model, folder));
  if (model.ByteSizeLong() > kMaxInlineBytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("save the model: {} remain beside the external data", HumanBytes(model.ByteSizeLong())));
  }
  return Write(model, folder, data);
}

}  // namespace hone
