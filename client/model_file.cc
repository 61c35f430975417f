#include "client/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "client/hub_snapshot.h"
#include "client/local_task.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using Pins = google::protobuf::RepeatedPtrField<proto::InputShape>;

// A file that is not there is bad input to a command, whatever it is to the library below.
Error AsRejected(Error error) {
  if (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kUsage) error.code = ErrorCode::kRejected;
  return error;
}

Result<> RequireThere(const fs::path& path, std::string_view what) {
  std::error_code failure;
  if (path.empty()) return Fail(ErrorCode::kRejected, fmt::format("no {} was named", what));
  if (!fs::exists(path, failure)) {
    const std::string why = failure ? failure.message() : "there is no such file";
    return Fail(ErrorCode::kRejected, fmt::format("{} {}: {}", what, Printable(path.string()), why));
  }
  return {};
}

// The folder that a bundle's paths are relative to: a folder bundle lies in itself, a file beside its neighbours.
std::string FolderOf(const fs::path& path) {
  const fs::path absolute = fs::absolute(path).lexically_normal();
  return fs::is_directory(absolute) ? absolute.string() : absolute.parent_path().string();
}

Result<proto::InspectResult> Inspect(const proto::InspectTask& inspect) {
  proto::Task task;
  *task.mutable_inspect() = inspect;
  TRY_ASSIGN(proto::TaskResult result, RunLocalTask(task));
  return std::move(*result.mutable_inspect());
}

const proto::TensorInfo* FindInput(const proto::InspectResult& info, const std::string& name) {
  for (const proto::TensorInfo& input : info.inputs()) {
    if (input.name() == name) return &input;
  }
  return nullptr;
}

bool IsCheckpoint(const proto::InspectResult& info) { return info.format() == "checkpoint" || info.format() == "gguf"; }

// A row of logits for each token, from a cache of keys and values or from a checkpoint that gets one.
bool IsLanguageModel(const proto::InspectResult& info) {
  const bool rows = std::any_of(info.outputs().begin(), info.outputs().end(), [](const proto::TensorInfo& output) {
    return output.name() == "logits" && output.dims_size() == 3;
  });
  const bool cached = std::any_of(info.inputs().begin(), info.inputs().end(), [](const proto::TensorInfo& input) {
    return input.name().starts_with("past_key_values.");
  });
  // Encoders that tag tokens give rows of logits too.
  const bool decoder = IsCheckpoint(info) && info.producer().ends_with("ForCausalLM");
  return rows && FindInput(info, "input_ids") != nullptr && (cached || decoder);
}

std::string ShapeText(const proto::TensorInfo& input) {
  return "[" + Join(std::vector<std::string>(input.dims().begin(), input.dims().end()), ",") + "]";
}

std::optional<int64_t> FixedDim(const std::string& dim) {
  const Result<int64_t> value = ParseInteger(dim);
  return value && *value >= 0 ? std::optional<int64_t>(*value) : std::nullopt;
}

// What the person would write to pin everything: "x=1,3,48,192", free dimensions as 1.
std::string PinExample(const proto::TensorInfo& input) {
  std::vector<std::string> dims;
  for (const std::string& dim : input.dims()) dims.push_back(FixedDim(dim) ? dim : "1");
  return input.name() + "=" + Join(dims, ",");
}

Result<> CheckPin(const proto::InspectResult& info, const proto::InputShape& pin) {
  const proto::TensorInfo* input = FindInput(info, pin.name());
  if (input == nullptr) {
    std::vector<std::string> names;
    for (const proto::TensorInfo& known : info.inputs()) names.push_back(known.name());
    return Fail(ErrorCode::kRejected,
                fmt::format("the model has no input '{}'{}", pin.name(), DidYouMean(pin.name(), names)),
                "its inputs: " + Join(names, ", "));
  }
  if (input->dims_size() != pin.dims_size()) {
    return Fail(ErrorCode::kRejected, fmt::format("input '{}' has {} dimensions {}, the pin {}", pin.name(),
                                                  input->dims_size(), ShapeText(*input), pin.dims_size()));
  }
  for (int d = 0; d < pin.dims_size(); ++d) {
    const std::optional<int64_t> fixed = FixedDim(input->dims(d));
    if (fixed && pin.dims(d) >= 0 && pin.dims(d) != *fixed) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("dimension {} of input '{}' is fixed at {}; it cannot be pinned to {}", d, pin.name(),
                              *fixed, pin.dims(d)));
    }
  }
  return {};
}

}  // namespace

bool IsEncoderCheckpoint(const proto::InspectResult& info) { return IsCheckpoint(info) && !IsLanguageModel(info); }

Result<ModelFile> OpenModel(const fs::path& path) {
  TRY(RequireThere(path, "model"));
  ModelFile model;
  model.path = path.has_filename() ? path : path.parent_path();   // "checkpoint/" is called "checkpoint".
  fs::path read = path;
  if (IsHubSnapshot(path)) {
    Result<ScopedFolder> plain = PlainSnapshot(path);
    if (!plain) return FailWith("model " + Printable(path.string()), std::move(plain.error()));
    model.plain = std::make_shared<ScopedFolder>(std::move(*plain));
    read = model.plain->path();
  }
  Result<proto::Bundle> bundle = BundleOfModel(read, ExternalFilesOf);
  if (!bundle) return FailWith("model " + Printable(path.string()), AsRejected(std::move(bundle.error())));
  *model.local.mutable_bundle() = std::move(*bundle);
  model.local.set_folder(FolderOf(read));

  proto::InspectTask inspect;
  *inspect.mutable_model() = model.local;
  Result<proto::InspectResult> info = Inspect(inspect);
  if (!info) return FailWith("model " + Printable(path.string()), std::move(info.error()));
  model.info = std::move(*info);
  return model;
}

Result<proto::LocalBundle> OpenData(const fs::path& path) {
  TRY(RequireThere(path, "data"));
  proto::LocalBundle local;
  Result<proto::Bundle> bundle = BundleOfData(path);
  if (!bundle) return FailWith("data " + Printable(path.string()), AsRejected(std::move(bundle.error())));
  *local.mutable_bundle() = std::move(*bundle);
  local.set_folder(FolderOf(path));
  return local;
}

Result<std::vector<proto::InputShape>> ParsePins(const std::vector<std::string>& words) {
  std::vector<proto::InputShape> pins;
  for (const std::string& word : words) {
    // The last '=': names may hold one, dimensions cannot.
    const size_t equals = word.rfind('=');
    const auto malformed = [&](std::string_view why) {
      return Fail(ErrorCode::kUsage, fmt::format("--input {}: {}", word, why),
                  "write NAME=1,3,224,224 with '?' for what stays free");
    };
    if (equals == std::string::npos || equals == 0) return malformed("no name and shape");
    proto::InputShape pin;
    pin.set_name(word.substr(0, equals));
    for (const std::string& dim : Split(std::string_view(word).substr(equals + 1), ',')) {
      if (dim == "?" || dim == "-1") {
        pin.add_dims(-1);
        continue;
      }
      const Result<int64_t> value = ParseInteger(dim);
      if (!value || *value < 1 || *value > (int64_t{1} << 32))
        return malformed(fmt::format("'{}' is no dimension", dim));
      pin.add_dims(*value);
    }
    for (const proto::InputShape& other : pins) {
      if (other.name() == pin.name()) return malformed("the input is pinned twice");
    }
    pins.push_back(std::move(pin));
  }
  return pins;
}

Result<> CheckPins(const proto::InspectResult& info, const Pins& pins) {
  for (const proto::InputShape& pin : pins) TRY(CheckPin(info, pin));
  return {};
}

Result<> RequireKnownShapes(const proto::InspectResult& info, const Pins& pins) {
  if (IsLanguageModel(info)) return {};
  for (const proto::TensorInfo& input : info.inputs()) {
    for (int d = 0; d < input.dims_size(); ++d) {
      if (FixedDim(input.dims(d))) continue;
      bool pinned = false;
      for (const proto::InputShape& pin : pins) {
        pinned = pinned || (pin.name() == input.name() && d < pin.dims_size() && pin.dims(d) >= 0);
      }
      if (pinned) continue;
      return Fail(
          ErrorCode::kRejected,
          fmt::format("input '{}' {} has a free dimension: number {} ('{}'), and there is no data to tell its size",
                      input.name(), ShapeText(input), d, input.dims(d)),
          fmt::format("pin it, for example --input {}, or give --data", PinExample(input)));
    }
  }
  return {};
}

Result<uint64_t> CountSamples(const ModelFile& model, const Pins& pins, const proto::LocalData& data) {
  proto::InspectTask inspect;
  *inspect.mutable_model() = model.local;
  *inspect.mutable_inputs() = pins;
  *inspect.add_data() = data;
  Result<proto::InspectResult> info = Inspect(inspect);
  if (!info) {
    const std::string& main = data.data().bundle().main();
    const fs::path path = main.empty() ? fs::path(data.data().folder()) : fs::path(data.data().folder()) / main;
    return FailWith("data " + Printable(path.string()), std::move(info.error()));
  }
  if (info->data_samples_size() != 1) return Fail(ErrorCode::kBug, "the runner did not count the data set");
  return info->data_samples(0);
}

std::vector<std::string> OutputNames(const proto::Bundle& bundle, const std::string& stem) {
  std::vector<std::string> names;
  const fs::path main = bundle.main();
  for (const proto::File& file : bundle.files()) {
    const fs::path path = file.path();
    const bool folder_format = (bundle.format() == "tensorflow" && bundle.files_size() > 1) || IsInParts(bundle);
    const bool follows =
        bundle.format() != "onnx" && path.parent_path() == main.parent_path() && path.stem() == main.stem();
    const bool renamed = !folder_format && (file.path() == bundle.main() || follows);
    names.push_back(renamed ? (path.parent_path() / (stem + path.extension().string())).string() : file.path());
  }
  return names;
}

}  // namespace hone
