#include "worker/data/onnx_test_data.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/data/convert.h"
#include "worker/data/signature.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr uint64_t kMaxTensorFileBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxTotalBytes = uint64_t{4} << 30;

// The N of "prefixN" or "prefixN.pb".
std::optional<int64_t> NumberAfter(std::string_view text, std::string_view prefix, std::string_view suffix) {
  if (!text.starts_with(prefix) || !text.ends_with(suffix) || text.size() <= prefix.size() + suffix.size())
    return std::nullopt;
  const Result<int64_t> number = ParseInteger(text.substr(prefix.size(), text.size() - prefix.size() - suffix.size()));
  if (!number || *number < 0) return std::nullopt;
  return *number;
}

// Files of one folder by their number.
struct SetFiles {
  std::map<int64_t, proto::File> inputs;
  std::map<int64_t, proto::File> outputs;
};

std::map<int64_t, SetFiles> GroupFiles(const proto::Bundle& bundle) {
  std::map<int64_t, SetFiles> sets;
  for (const proto::File& file : bundle.files()) {
    const std::filesystem::path path(file.path());
    const auto set = NumberAfter(path.parent_path().filename().string(), "test_data_set_", "");
    const std::string name = path.filename().string();
    if (!set) continue;
    if (const auto input = NumberAfter(name, "input_", ".pb")) sets[*set].inputs[*input] = file;
    if (const auto output = NumberAfter(name, "output_", ".pb")) sets[*set].outputs[*output] = file;
  }
  return sets;
}

Result<Tensor> ReadTensorFile(const std::string& folder, const proto::File& file) {
  const std::string shown = Printable(file.path(), 256);
  TRY_ASSIGN(const std::string bytes, ReadFile(PathIn(folder, file), kMaxTensorFileBytes));
  onnx::TensorProto proto;
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetTotalBytesLimit(static_cast<int>(kMaxTensorFileBytes));
  if (!proto.ParseFromCodedStream(&coded) || !coded.ConsumedEntireMessage() ||
      proto.data_type() == onnx::TensorProto::UNDEFINED) {
    return Fail(ErrorCode::kRejected, fmt::format("{} is no TensorProto", shown));
  }
  auto tensor = ReadTensor(proto);
  if (!tensor) return FailWith(shown, tensor.error());
  tensor->name = proto.name();
  return tensor;
}

struct TestSample {
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
};

class OnnxTestDataSet : public DataSet {
 public:
  OnnxTestDataSet(std::vector<TestSample> samples, std::string digest)
      : samples_(std::move(samples)), digest_(std::move(digest)) {}

  size_t size() const override { return samples_.size(); }
  const std::vector<int64_t>& labels() const override { return no_labels_; }
  std::string digest() const override { return digest_; }
  Result<std::vector<Tensor>> Get(size_t index) const override {
    CHECK_THAT(index < samples_.size());
    return samples_[index].inputs;
  }
  Result<std::vector<Tensor>> Expected(size_t index) const override {
    CHECK_THAT(index < samples_.size());
    return samples_[index].outputs;
  }

 private:
  const std::vector<TestSample> samples_;
  const std::vector<int64_t> no_labels_;
  const std::string digest_;
};

// The tensor for each input: by name where names match, else by number.
Result<std::vector<Tensor>> MatchInputs(std::map<int64_t, Tensor> tensors, const std::vector<InputSignature>& inputs) {
  std::vector<Tensor> matched;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto found = std::find_if(tensors.begin(), tensors.end(),
                              [&](const auto& entry) { return entry.second.name == inputs[i].name; });
    if (found == tensors.end()) found = tensors.find(static_cast<int64_t>(i));
    if (found == tensors.end())
      return Fail(ErrorCode::kRejected, fmt::format("no input_{}.pb for input {}", i, SignatureText(inputs[i])));
    Tensor tensor = found->second;
    tensor.name = inputs[i].name;
    const std::string place = fmt::format("input_{}.pb for input {}", found->first, SignatureText(inputs[i]));
    if (!FitsShape(inputs[i].dims, tensor.dims)) {
      return Fail(ErrorCode::kRejected, fmt::format("{}: it has shape {}", place, ShapeText(tensor.dims)));
    }
    auto converted = ConvertTensor(std::move(tensor), inputs[i].type);
    if (!converted) return FailWith(place, converted.error());
    matched.push_back(std::move(*converted));
  }
  return matched;
}

Result<TestSample> ReadSample(const std::string& folder, const SetFiles& files,
                              const std::vector<InputSignature>& inputs) {
  TestSample sample;
  std::map<int64_t, Tensor> tensors;
  for (const auto& [number, file] : files.inputs) {
    TRY_ASSIGN(tensors[number], ReadTensorFile(folder, file));
  }
  TRY_ASSIGN(sample.inputs, MatchInputs(std::move(tensors), inputs));
  for (const auto& [number, file] : files.outputs) {
    TRY_ASSIGN(Tensor tensor, ReadTensorFile(folder, file));
    sample.outputs.push_back(std::move(tensor));
  }
  return sample;
}

}  // namespace

Result<std::unique_ptr<DataSet>> OpenOnnxTestData(const proto::LocalData& data,
                                                  const std::vector<InputSignature>& inputs) {
  const std::map<int64_t, SetFiles> sets = GroupFiles(data.data().bundle());
  if (sets.empty()) return Fail(ErrorCode::kRejected, "there is no test_data_set_N folder with input_K.pb files");
  std::vector<TestSample> samples;
  uint64_t place = 0;
  uint64_t total_bytes = 0;
  for (const auto& [number, files] : sets) {
    const uint64_t index = place++;
    if (index < data.from() || (data.samples() != 0 && index - data.from() >= data.samples())) continue;
    auto sample = ReadSample(data.data().folder(), files, inputs);
    if (!sample) return FailWith(fmt::format("test_data_set_{}", number), sample.error());
    for (const Tensor& tensor : sample->inputs) total_bytes += tensor.bytes.size();
    for (const Tensor& tensor : sample->outputs) total_bytes += tensor.bytes.size();
    if (total_bytes > kMaxTotalBytes) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the tensors are over the bound of {} together", HumanBytes(kMaxTotalBytes)),
                  "select fewer samples");
    }
    samples.push_back(std::move(*sample));
  }
  if (samples.empty()) {
    return Fail(
        ErrorCode::kRejected,
        fmt::format("no sample is selected: there are {} and the selection starts at {}", sets.size(), data.from()),
        "choose a smaller `from`");
  }
  return std::make_unique<OnnxTestDataSet>(
      std::move(samples), DataDigest(data.data().bundle(), data.from(), data.samples(), data.preprocess()));
}

}  // namespace hone
