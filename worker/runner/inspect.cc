#include "worker/runner/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

struct FormatRow {
  const char* format;
  // nullptr: of a checkpoint, which is looked at as a whole.
  Result<> (*inspect)(const fs::path& file, HardLinks hard_links, proto::InspectResult& result);
};
constexpr FormatRow kFormats[] = {
    {"onnx", InspectOnnx},          {"openvino_ir", InspectOpenVino}, {"tflite", InspectOpenVino},
    {"tensorflow", InspectOpenVino}, {"paddle", InspectOpenVino}, {"checkpoint", nullptr}, {"gguf", nullptr},
};

Result<const FormatRow*> FindFormat(const std::string& format) {
  std::vector<std::string> names;
  for (const FormatRow& row : kFormats) {
    if (format == row.format) return &row;
    names.push_back(row.format);
  }
  return Fail(ErrorCode::kRejected,
              fmt::format("unknown model format '{}'{}", Printable(format), DidYouMean(format, names)),
              "Known formats: " + Join(names, ", "));
}

bool IsComplete(const proto::Bundle& bundle) {
  return bundle.files_size() > 0 && std::all_of(bundle.files().begin(), bundle.files().end(),
                                                [](const proto::File& file) { return IsDigest(file.digest()); });
}

// The files by digest where the bundle has digests, else the main file's own.
Result<> Identify(const proto::LocalBundle& model, const fs::path& main, proto::InspectResult& result) {
  const proto::Bundle& bundle = model.bundle();
  if (IsComplete(bundle)) {
    result.set_digest(BundleId(bundle));
    result.set_size_bytes(BundleBytes(bundle));
    return {};
  }
  std::error_code error;
  const uint64_t bytes = fs::file_size(main, error);
  if (error) return Fail(ErrorCode::kNotFound, fmt::format("open {}: {}", main.string(), error.message()));
  TRY_ASSIGN(const std::string digest, DigestOfFile(main));
  result.set_digest(digest);
  result.set_size_bytes(bytes);
  return {};
}

}  // namespace

Result<proto::InspectResult> Inspect(const proto::LocalBundle& model) {
  TRY_ASSIGN(const FormatRow* const row, FindFormat(model.bundle().format()));
  // A SavedModel is its folder.
  const std::string& main_path = model.bundle().main();
  if (!main_path.empty() && !IsSafeRelativePath(main_path)) {
    return Fail(ErrorCode::kRejected,
                fmt::format("the model's path '{}' does not stay beneath its folder", Printable(main_path)));
  }
  const fs::path main = main_path.empty() ? fs::path(model.folder()) : fs::path(model.folder()) / main_path;
  proto::InspectResult result;
  result.set_format(row->format);
  TRY(Identify(model, main, result));
  if (row->inspect == nullptr) {
    TRY(InspectCheckpoint(model, result));
    return result;
  }
  TRY(row->inspect(main, IsComplete(model.bundle()) ? HardLinks::allow : HardLinks::refuse, result));
  // What is not in the bundle is not in its digest, and could be anything tomorrow.
  for (const std::string& external : result.external_files()) {
    const auto& files = model.bundle().files();
    if (!IsComplete(model.bundle()) ||
        std::any_of(files.begin(), files.end(), [&](const auto& file) { return file.path() == external; }))
      continue;
    return Fail(ErrorCode::kRejected,
                fmt::format("the external data file '{}' is no part of the model's bundle", Printable(external)));
  }
  return result;
}

void OperatorCounts::WriteTo(google::protobuf::RepeatedPtrField<proto::InspectResult::Operator>& operators) const {
  std::vector<std::pair<std::string, uint32_t>> rows(counts_.begin(), counts_.end());
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [type, count] : rows) {
    proto::InspectResult::Operator& row = *operators.Add();
    row.set_type(type);
    row.set_count(count);
  }
}

void ParameterCounts::Add(const std::string& type, uint64_t elements, uint64_t bytes) {
  elements_ += elements;
  bytes_[type] += bytes;
}

void ParameterCounts::WriteTo(proto::InspectResult& result) const {
  uint64_t total = 0;
  for (const auto& [type, bytes] : bytes_) {
    total += bytes;
    proto::Parameter& row = *result.add_parameter_types();
    row.set_name(type);
    *row.mutable_value() = IntValue(static_cast<int64_t>(bytes));
  }
  result.set_parameters(elements_);
  result.set_parameters_bytes(total);
}

}  // namespace hone
