#include "worker/data/data_set.h"

#include <fmt/format.h>

#include <new>

#include "common/artifact/bundle.h"
#include "common/base/digest.h"
#include "common/base/strings.h"
#include "worker/data/images.h"
#include "worker/data/npz.h"
#include "worker/data/onnx_test_data.h"
#include "worker/data/tokens.h"

namespace hone {
namespace {

struct FormatRow {
  const char* format;
  Result<std::unique_ptr<DataSet>> (*open)(const proto::LocalData& data, const std::vector<InputSignature>& inputs);
};

constexpr const char* kText = "text";

Result<std::unique_ptr<DataSet>> OpenNpzOrTokens(const proto::LocalData& data,
                                                 const std::vector<InputSignature>& inputs) {
  return HoldsTokensAlone(data, inputs) ? OpenTokens(data, inputs) : OpenNpz(data, inputs);
}

constexpr FormatRow kFormats[] = {{"npz", OpenNpzOrTokens},
                                  {"onnx_test_data", OpenOnnxTestData},
                                  {"images", OpenImages},
                                  {"tokens", OpenTokens}};

// What people know the data set by.
std::string ShownName(const proto::LocalBundle& data) {
  if (!data.bundle().main().empty()) return Printable(data.bundle().main(), 256);
  return Printable(std::filesystem::path(data.folder()).filename().string(), 256);
}

Result<std::unique_ptr<DataSet>> OpenWith(const FormatRow& row, const proto::LocalData& data,
                                          const std::vector<InputSignature>& inputs) {
  try {
    return row.open(data, inputs);
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kExhausted, "no memory for the samples", "select fewer samples");
  }
}

std::string Numbers(const google::protobuf::RepeatedField<double>& values) {
  std::vector<std::string> words;
  for (const double value : values) words.push_back(fmt::format("{}", value));
  return Join(words, ",");
}

}  // namespace

Result<std::vector<Tensor>> DataSet::Expected(size_t) const { return std::vector<Tensor>{}; }
std::vector<int64_t> DataSet::Tokens(size_t) const { return {}; }

Result<std::unique_ptr<DataSet>> OpenDataSet(const proto::LocalData& data, const std::vector<InputSignature>& inputs,
                                             const proto::LocalBundle* model) {
  const std::string& format = data.data().bundle().format();
  if (format == kText && model != nullptr) {
    auto opened = OpenText(data, inputs, *model);
    if (!opened) return FailWith(fmt::format("data {}", ShownName(data.data())), std::move(opened.error()));
    return opened;
  }
  for (const FormatRow& row : kFormats) {
    if (format != row.format) continue;
    auto opened = OpenWith(row, data, inputs);
    if (!opened) return FailWith(fmt::format("data {}", ShownName(data.data())), std::move(opened.error()));
    return opened;
  }
  std::vector<std::string> names;
  for (const FormatRow& row : kFormats) names.push_back(row.format);
  return Fail(ErrorCode::kRejected, fmt::format("data {}: format '{}' is not known (there are {})",
                                                ShownName(data.data()), Printable(format, 64), Join(names, ", ")));
}

std::string DataDigest(const proto::Bundle& bundle, uint64_t from, uint64_t samples,
                       const proto::Preprocess& preprocess) {
  // The format counts: the same bytes read in another way are other samples.
  return DigestOf(fmt::format(
      "data {} {}\nfrom {} samples {}\ninput {} size {}x{} resize {} bgr {} mean {} std {} scale {} nhwc {}\n",
      bundle.format(), BundleId(bundle), from, samples, preprocess.input(), preprocess.height(), preprocess.width(),
      static_cast<int>(preprocess.resize()), preprocess.bgr(), Numbers(preprocess.mean()), Numbers(preprocess.std()),
      preprocess.scale(), preprocess.nhwc()));
}

}  // namespace hone
