// Weights that stay in their files.
//
// A table of the process holds the mappings by number. A mapped tensor keeps the form of external data, with a location
// that holds the number and begins with a byte sequence that no file of a model can have (LoadOnnx takes relative paths
// alone), so the tensor may be copied and moved like any other. Files are mapped privately and read-only.
#include "worker/model/mapped.h"

#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <cerrno>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "common/base/file.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr std::string_view kPrefix = "/hone/mapped/";

struct Table {
  std::shared_mutex mutex;
  uint64_t next = 1;
  std::map<uint64_t, std::string_view> files;
};

Table& TheTable() {
  static Table table;
  return table;
}

bool ParseNumber(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string_view FileOf(std::string_view location) {
  uint64_t id = 0;
  if (!location.starts_with(kPrefix) || !ParseNumber(location.substr(kPrefix.size()), id)) return {};
  Table& table = TheTable();
  const std::shared_lock lock(table.mutex);
  const auto found = table.files.find(id);
  return found == table.files.end() ? std::string_view() : found->second;
}

}  // namespace

std::string_view MappedBytes(const onnx::TensorProto& tensor) {
  if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return {};
  std::string_view file;
  uint64_t offset = 0;
  uint64_t length = 0;
  bool sound = true;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") file = FileOf(entry.value());
    if (entry.key() == "offset") sound = sound && ParseNumber(entry.value(), offset);
    if (entry.key() == "length") sound = sound && ParseNumber(entry.value(), length);
  }
  if (!sound || file.data() == nullptr || offset > file.size() || length > file.size() - offset) return {};
  return file.substr(offset, length);
}

MappedWeights::~MappedWeights() {
  Table& table = TheTable();
  const std::unique_lock lock(table.mutex);
  for (const uint64_t id : ids_) {
    const std::string_view bytes = table.files.at(id);
    ::munmap(const_cast<char*>(bytes.data()), bytes.size());
    table.files.erase(id);
  }
}

uint64_t MappedWeights::Bytes() const {
  Table& table = TheTable();
  const std::shared_lock lock(table.mutex);
  uint64_t bytes = 0;
  for (const uint64_t id : ids_) bytes += table.files.at(id).size();
  return bytes;
}

Result<std::string> MappedWeights::Map(int descriptor, uint64_t size_bytes) {
  CHECK_THAT(size_bytes > 0);
  void* start = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  if (start == MAP_FAILED) return Fail(ErrnoError("map", "external data", errno));
  Table& table = TheTable();
  const std::unique_lock lock(table.mutex);
  const uint64_t id = table.next++;
  table.files.emplace(id, std::string_view(static_cast<const char*>(start), size_bytes));
  ids_.push_back(id);
  return std::string(kPrefix) + std::to_string(id);
}

bool IsMapped(const onnx::TensorProto& tensor) { return MappedBytes(tensor).data() != nullptr; }

bool HasMapped(const onnx::ModelProto& model) {
  bool any = false;
  // VisitTensors hands tensors out to be changed; this one only looks.
  const Result<> visited =
      VisitTensors(const_cast<onnx::ModelProto&>(model), [&](onnx::TensorProto& tensor) -> Result<> {
        any = any || IsMapped(tensor);
        return {};
      });
  CHECK_THAT(visited);
  return any;
}

uint64_t ModelBytes(const onnx::ModelProto& model) {
  uint64_t bytes = model.ByteSizeLong();
  const Result<> visited =
      VisitTensors(const_cast<onnx::ModelProto&>(model), [&](onnx::TensorProto& tensor) -> Result<> {
        bytes += MappedBytes(tensor).size();
        return {};
      });
  CHECK_THAT(visited);
  return bytes;
}

void ReleasePages(const onnx::TensorProto& tensor) {
  const std::string_view bytes = MappedBytes(tensor);
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace hone
