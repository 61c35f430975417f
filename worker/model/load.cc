// Loading ONNX files that nobody vouches for.
//
// The bytes are surveyed first, so that nothing in them asks for more memory than a model may (survey.h), then parsed
// with protobuf's own bounds (2 GiB, 100 levels). What does not parse is looked at once more,
// field by field at the top level alone, to tell a file that is something else from one that was cut off. Then every
// tensor, wherever it hides, must hold exactly the bytes that its type and shape need, so that no later reader has to
// doubt a size. External data is opened by the kernel beneath the model's folder (openat2 with RESOLVE_BENEATH and
// RESOLVE_NO_SYMLINKS); where openat2 is missing or filtered, one component at a time without following links.
#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/open_file.h"
#include "common/base/strings.h"
#include "worker/model/model.h"
#include "worker/model/survey.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxExternalBytes = uint64_t{64} << 30;  // Of all external tensors of a model together.
constexpr size_t kMaxDims = 64;

// --- telling what a file is that does not parse -----------------------------------------------------------------

struct TopField {
  uint32_t number;
  int wire_type;  // 0 varint, 2 length-delimited.
};
// The fields of onnx.ModelProto.
constexpr TopField kModelFields[] = {{1, 0}, {2, 2}, {3, 2},  {4, 2},  {5, 0},  {6, 2},
                                     {7, 2}, {8, 2}, {14, 2}, {20, 2}, {25, 2}, {26, 2}};

bool IsModelField(uint32_t number, int wire_type) {
  return std::any_of(std::begin(kModelFields), std::end(kModelFields),
                     [&](const TopField& field) { return field.number == number && field.wire_type == wire_type; });
}

enum class Shape { other, truncated, corrupt };

// Walks the top-level fields of a file that protobuf refused.
Shape ShapeOf(int fd, uint64_t size) {
  ::lseek(fd, 0, SEEK_SET);
  google::protobuf::io::FileInputStream file(fd);
  google::protobuf::io::CodedInputStream in(&file);
  in.SetTotalBytesLimit(std::numeric_limits<int>::max());
  bool any = false;
  while (true) {
    const auto position = static_cast<uint64_t>(in.CurrentPosition());
    if (position >= size) return any ? Shape::corrupt : Shape::other;
    const uint32_t tag = in.ReadTag();
    if (!IsModelField(tag >> 3, static_cast<int>(tag & 7))) return any ? Shape::corrupt : Shape::other;
    if ((tag & 7) == 0) {
      uint64_t value = 0;
      if (!in.ReadVarint64(&value)) return any ? Shape::truncated : Shape::other;
    } else {
      uint32_t length = 0;
      if (!in.ReadVarint32(&length)) return any ? Shape::truncated : Shape::other;
      const auto here = static_cast<uint64_t>(in.CurrentPosition());
      // The first field alone proves little: a text may begin with a byte that looks like a tag.
      if (length > size - std::min(here, size)) return any || (tag >> 3) == 7 ? Shape::truncated : Shape::other;
      if (!in.Skip(static_cast<int>(length))) return Shape::truncated;
    }
    any = true;
  }
}

std::string FirstBytes(int fd) {
  std::string bytes(64, '\0');
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return bytes;
}

tl::unexpected<Error> RejectUnparsable(const fs::path& file, int fd, uint64_t size) {
  if (FirstBytes(fd).starts_with("version https://git-lfs")) {
    return Fail(ErrorCode::kRejected,
                fmt::format("load {}: this is a Git LFS pointer, not the model itself", file.string()),
                "Fetch the file with `git lfs pull`.");
  }
  switch (ShapeOf(fd, size)) {
    case Shape::truncated:
      return Fail(ErrorCode::kRejected,
                  fmt::format("load {}: the file is truncated: it ends after {} bytes in the middle of the model",
                              file.string(), size),
                  "Copy or download the file again.");
    case Shape::corrupt:
      return Fail(
          ErrorCode::kRejected,
          fmt::format("load {}: the file is damaged: it begins like an ONNX model but does not parse", file.string()),
          "Copy or download the file again.");
    case Shape::other:
      break;
  }
  return Fail(ErrorCode::kRejected, fmt::format("load {}: not an ONNX file", file.string()),
              "Give a model in ONNX format.");
}

Result<onnx::ModelProto> Parse(const fs::path& file) {
  TRY_ASSIGN(const RegularFile source, OpenRegular(file));
  const int fd = source.descriptor.get();
  const uint64_t size = source.size_bytes;
  if (size == 0)
    return Fail(ErrorCode::kRejected, fmt::format("load {}: the file is empty", file.string()),
                "Give a model in ONNX format.");
  auto survey = SurveyModel(fd, size);
  if (!survey) return FailWith("load " + file.string(), std::move(survey.error()));
  onnx::ModelProto model;
  bool parsed = false;
  if (*survey) {
    ::lseek(fd, 0, SEEK_SET);
    google::protobuf::LogSilencer quiet;
    google::protobuf::io::FileInputStream stream(fd, 1 << 18);
    google::protobuf::io::CodedInputStream in(&stream);
    in.SetTotalBytesLimit(std::numeric_limits<int>::max());
    parsed = model.ParseFromCodedStream(&in) && in.ConsumedEntireMessage() && stream.GetErrno() == 0;
  }
  if (!parsed) return RejectUnparsable(file, fd, size);
  return model;
}

// --- sizes --------------------------------------------------------------------------------------------------------

std::string TensorText(const std::string& name) { return fmt::format("tensor '{}'", Printable(name, 200)); }
std::string TensorText(const onnx::TensorProto& tensor) { return TensorText(tensor.name()); }

// How many entries of the typed field a tensor of `elements` elements has.
uint64_t TypedEntries(ElementType type, uint64_t elements) {
  switch (type) {
    case onnx::TensorProto::COMPLEX64:
    case onnx::TensorProto::COMPLEX128:
      return elements * 2;
    case onnx::TensorProto::INT4:
    case onnx::TensorProto::UINT4:
    case onnx::TensorProto::FLOAT4E2M1:
      return (elements + 1) / 2;
    case onnx::TensorProto::INT2:
    case onnx::TensorProto::UINT2:
      return (elements + 3) / 4;
    default:
      return elements;
  }
}

uint64_t TypedSize(const onnx::TensorProto& tensor) {
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
    case onnx::TensorProto::COMPLEX64:
      return static_cast<uint64_t>(tensor.float_data_size());
    case onnx::TensorProto::DOUBLE:
    case onnx::TensorProto::COMPLEX128:
      return static_cast<uint64_t>(tensor.double_data_size());
    case onnx::TensorProto::INT64:
      return static_cast<uint64_t>(tensor.int64_data_size());
    case onnx::TensorProto::UINT32:
    case onnx::TensorProto::UINT64:
      return static_cast<uint64_t>(tensor.uint64_data_size());
    case onnx::TensorProto::STRING:
      return static_cast<uint64_t>(tensor.string_data_size());
    default:
      return static_cast<uint64_t>(tensor.int32_data_size());
  }
}

Result<> CheckTensorSize(const onnx::TensorProto& tensor) {
  if (tensor.has_segment())
    return Fail(ErrorCode::kRejected, TensorText(tensor) + " is stored in segments, which ONNX does not define");
  if (tensor.dims_size() > static_cast<int>(kMaxDims))
    return Fail(ErrorCode::kRejected, fmt::format("{} has {} dimensions", TensorText(tensor), tensor.dims_size()));
  const std::vector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  const int64_t elements = ElementCount(dims);
  if (elements < 0) return Fail(ErrorCode::kRejected, TensorText(tensor) + " has an impossible shape");
  if (tensor.data_type() == onnx::TensorProto::STRING) {
    if (TypedSize(tensor) == static_cast<uint64_t>(elements) && !tensor.has_raw_data()) return {};
    return Fail(ErrorCode::kRejected,
                fmt::format("{} needs {} strings and holds {}", TensorText(tensor), elements, TypedSize(tensor)));
  }
  const Result<uint64_t> bytes = TensorBytes(tensor.data_type(), dims);
  if (!bytes) return FailWith(TensorText(tensor), bytes.error());
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) return {};
  if (tensor.has_raw_data()) {
    if (tensor.raw_data().size() == *bytes) return {};
    return Fail(ErrorCode::kRejected, fmt::format("{} needs {} bytes for its type and shape and holds {}",
                                                  TensorText(tensor), *bytes, tensor.raw_data().size()));
  }
  const uint64_t entries = TypedEntries(tensor.data_type(), static_cast<uint64_t>(elements));
  if (TypedSize(tensor) == entries) return {};
  return Fail(ErrorCode::kRejected, fmt::format("{} needs {} values for its type and shape and holds {}",
                                                TensorText(tensor), entries, TypedSize(tensor)));
}

// --- external data ------------------------------------------------------------------------------------------------

struct ExternalPlace {
  std::string location;  // Relative, safe.
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

Result<uint64_t> ParseCount(const std::string& tensor, const std::string& key, const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{}: external data has the {} '{}'", tensor, key, Printable(text, 64)));
  }
  return value;
}

// Drops "." components; the rest is for IsSafeRelativePath to judge.
std::string WithoutDots(const std::string& location) {
  if (location.starts_with('/')) return location;
  std::vector<std::string> parts = Split(location, '/');
  std::erase(parts, ".");
  return Join(parts, "/");
}

// Beneath the folder by its form, on any system: no root, no drive, no "..", no other separator, no control characters.
bool IsSafeLocation(std::string_view location) {
  return IsSafeRelativePath(location) && location.find('\\') == std::string_view::npos &&
         (location.size() < 2 || location[1] != ':');
}

template <class Entries>
Result<ExternalPlace> PlaceOf(const std::string& tensor, const Entries& entries) {
  ExternalPlace place;
  std::set<std::string> seen;
  for (const auto& [key, value] : entries) {
    if (!seen.insert(key).second) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: external data gives '{}' twice", tensor, Printable(key, 64)));
    }
    if (key == "location") {
      place.location = WithoutDots(value);
    } else if (key == "offset") {
      TRY_ASSIGN(place.offset, ParseCount(tensor, "offset", value));
    } else if (key == "length") {
      TRY_ASSIGN(place.length, ParseCount(tensor, "length", value));
    } else if (key != "checksum") {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}: external data has the unknown key '{}'", tensor, Printable(key, 64)),
                  "Known keys: location, offset, length, checksum. Load the model with onnx and save it again.");
    }
  }
  if (place.location.empty()) return Fail(ErrorCode::kRejected, tensor + ": external data without a location");
  if (!IsSafeLocation(place.location)) {
    return Fail(ErrorCode::kRejected, fmt::format("{}: external data '{}' lies outside the model's folder", tensor,
                                                  Printable(place.location, 200)));
  }
  return place;
}

Result<ExternalPlace> PlaceOf(const onnx::TensorProto& tensor) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& entry : tensor.external_data()) entries.emplace_back(entry.key(), entry.value());
  return PlaceOf(TensorText(tensor), entries);
}

Result<RegularFile> OpenPlace(int folder, const std::string& location, HardLinks hard_links) {
  auto file = OpenRegularBeneath(folder, location, hard_links);
  if (file) return file;
  Error error = std::move(file.error());
  if (error.code == ErrorCode::kNotFound) {
    error.message = fmt::format("external data file '{}' is missing", location);
    error.remedy = "Put the file beside the model.";
  } else {
    error.message = "external data: " + error.message;
  }
  error.code = ErrorCode::kRejected;
  return Fail(std::move(error));
}

Result<> ReadExactly(int fd, uint64_t offset, std::string& target) {
  size_t done = 0;
  while (done < target.size()) {
    const ssize_t got = ::pread(fd, target.data() + done, std::min<size_t>(target.size() - done, 1 << 30),
                                static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(ErrnoError("read", "external data", errno));
    if (got == 0) return Fail(ErrorCode::kRejected, "external data ended early");
    done += static_cast<size_t>(got);
  }
  return {};
}

// Smaller tensors are loaded even where a model is mapped: what shapes are computed from must be in memory.
constexpr uint64_t kMinMappedBytes = 64 << 10;

// Brings external tensors in, or points them to mapped files; keeps one open file a location.
class ExternalReader {
 public:
  // mapped: nullptr to load everything.
  ExternalReader(const fs::path& folder, MappedWeights* mapped)
      : folder_(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), mapped_(mapped) {}

  Result<> Load(onnx::TensorProto& tensor) {
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return {};
    TRY_ASSIGN(const ExternalPlace place, PlaceOf(tensor));
    TRY_ASSIGN(const uint64_t bytes, TensorBytes(tensor.data_type(), {tensor.dims().begin(), tensor.dims().end()}));
    if (place.length && *place.length != bytes) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} needs {} bytes for its type and shape; its external data declares {}",
                              TensorText(tensor), bytes, *place.length));
    }
    total_ += bytes;
    if (bytes > kMaxExternalBytes || total_ > kMaxExternalBytes) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("external data of more than {} in all", HumanBytes(kMaxExternalBytes)));
    }
    TRY_ASSIGN(const RegularFile* file, Open(place.location));
    if (place.offset > file->size_bytes || bytes > file->size_bytes - place.offset) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{}: bytes {} to {} lie beyond the end of '{}', which has {}", TensorText(tensor),
                              place.offset, place.offset + bytes, place.location, file->size_bytes));
    }
    if (mapped_ != nullptr && bytes >= kMinMappedBytes) return Map(tensor, place, bytes, *file);
    std::string* target = tensor.mutable_raw_data();
    target->resize(bytes);
    TRY(ReadExactly(file->descriptor.get(), place.offset, *target));
    tensor.clear_external_data();
    tensor.clear_data_location();
    return {};
  }

 private:
  Result<const RegularFile*> Open(const std::string& location) {
    const auto found = files_.find(location);
    if (found != files_.end()) return &found->second;
    if (!folder_) return Fail(ErrorCode::kRejected, "the model's folder cannot be opened");
    if (files_.size() >= kMaxFiles) files_.clear();
    TRY_ASSIGN(RegularFile file, OpenPlace(folder_.get(), location, HardLinks::allow));
    return &files_.emplace(location, std::move(file)).first->second;
  }

  Result<> Map(onnx::TensorProto& tensor, const ExternalPlace& place, uint64_t bytes, const RegularFile& file) {
    auto known = locations_.find(place.location);
    if (known == locations_.end()) {
      TRY_ASSIGN(std::string location, mapped_->Map(file.descriptor.get(), file.size_bytes));
      known = locations_.emplace(place.location, std::move(location)).first;
    }
    tensor.clear_external_data();
    const std::pair<const char*, std::string> entries[] = {
        {"location", known->second}, {"offset", std::to_string(place.offset)}, {"length", std::to_string(bytes)}};
    for (const auto& [key, value] : entries) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    return {};
  }

  static constexpr size_t kMaxFiles = 128;  // Open at once: some exporters write a file a tensor.
  Descriptor folder_;
  MappedWeights* mapped_;
  std::map<std::string, std::string> locations_;  // Of mapped files, by the location in the model.
  std::map<std::string, RegularFile> files_;
  uint64_t total_ = 0;
};

// "?" and its like say nothing, and two of them need not be equal; a negative number is how some exporters write a free
// dimension.
void ForgetNamelessDimensions(onnx::TypeProto& type) {
  if (!type.has_tensor_type() || !type.tensor_type().has_shape()) return;
  for (auto& dim : *type.mutable_tensor_type()->mutable_shape()->mutable_dim()) {
    const bool nameless = dim.has_dim_param() && std::none_of(dim.dim_param().begin(), dim.dim_param().end(),
                                                              [](unsigned char c) { return std::isalnum(c) != 0; });
    if (nameless || (dim.has_dim_value() && dim.dim_value() < 0)) dim.clear_value();
  }
}

Result<> CheckForm(const fs::path& file, const onnx::ModelProto& model) {
  if (!model.has_graph()) {
    return Fail(ErrorCode::kRejected, fmt::format("load {}: not an ONNX file: it holds no graph", file.string()),
                "Give a model in ONNX format.");
  }
  if (model.opset_import_size() == 0) {
    return Fail(ErrorCode::kRejected,
                fmt::format("load {}: the model imports no opset; the file may be truncated", file.string()));
  }
  if (model.graph().node_size() == 0 && model.graph().output_size() == 0) {
    return Fail(ErrorCode::kRejected, fmt::format("load {}: the graph is empty", file.string()));
  }
  return {};
}

}  // namespace

namespace {

Result<onnx::ModelProto> Load(const fs::path& file, Weights weights, MappedWeights* mapped) try {
  TRY_ASSIGN(onnx::ModelProto model, Parse(file));
  TRY(CheckForm(file, model));
  ExternalReader reader(FolderOf(file), mapped);
  const Result<> read = VisitTensors(model, [&](onnx::TensorProto& tensor) -> Result<> {
    TRY(CheckTensorSize(tensor));
    if (weights == Weights::load) TRY(reader.Load(tensor));
    return {};
  });
  if (!read) return FailWith("load " + file.string(), read.error());
  VisitGraphs(*model.mutable_graph(), [](onnx::GraphProto& graph) {
    for (auto* values : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()}) {
      for (auto& value : *values) {
        if (value.has_type()) ForgetNamelessDimensions(*value.mutable_type());
      }
    }
  });
  return model;
} catch (const std::bad_alloc&) {
  return Fail(ErrorCode::kExhausted, fmt::format("load {}: not enough memory", file.string()));
}

}  // namespace

Result<onnx::ModelProto> LoadOnnx(const fs::path& file, Weights weights) { return Load(file, weights, nullptr); }

Result<onnx::ModelProto> MapOnnx(const fs::path& file, MappedWeights& mapped) {
  return Load(file, Weights::load, &mapped);
}

namespace {

// Calls `visit` with each place that the model names, once for every tensor.
template <class Visit>
Result<> VisitPlaces(const fs::path& onnx_file, const Visit& visit) {
  TRY_ASSIGN(const RegularFile source, OpenRegular(onnx_file));
  auto survey = SurveyModel(source.descriptor.get(), source.size_bytes);
  if (!survey) return Fail(std::move(survey.error()));
  if (!*survey) return RejectUnparsable(onnx_file, source.descriptor.get(), source.size_bytes);
  for (const ExternalTensor& tensor : (*survey)->external) {
    TRY_ASSIGN(const ExternalPlace place, PlaceOf(TensorText(tensor.name), tensor.entries));
    if (tensor.external) TRY(visit(tensor, place));
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> ExternalFiles(const fs::path& onnx_file, HardLinks hard_links) {
  Descriptor folder(::open(FolderOf(onnx_file).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return Fail(ErrnoError("open", FolderOf(onnx_file), errno));
  std::map<std::string, uint64_t> sizes;
  const Result<> visited =
      VisitPlaces(onnx_file, [&](const ExternalTensor& tensor, const ExternalPlace& place) -> Result<> {
        const auto known = sizes.find(place.location);
        if (known == sizes.end()) {
          TRY_ASSIGN(const RegularFile file, OpenPlace(folder.get(), place.location, hard_links));
          sizes.emplace(place.location, file.size_bytes);
        }
        const uint64_t size = sizes.at(place.location);
        const uint64_t length = place.length.value_or(0);
        if (place.offset <= size && length <= size - place.offset) return {};
        return Fail(ErrorCode::kRejected,
                    fmt::format("{}: {} bytes from byte {} on lie beyond the end of '{}', which has {}",
                                TensorText(tensor.name), length, place.offset, place.location, size));
      });
  if (!visited) return FailWith("load " + onnx_file.string(), visited.error());
  std::vector<std::string> locations;
  for (const auto& [location, size] : sizes) locations.push_back(location);
  return locations;
}

}  // namespace hone
