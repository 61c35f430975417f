#include "worker/data/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/tokenizer.h"
#include "worker/data/convert.h"
#include "worker/data/npz.h"
#include "worker/data/signature.h"

namespace hone {
namespace {

using Text = std::vector<int64_t>;
using nlohmann::json;

constexpr uint64_t kMostBytes = uint64_t{256} << 20;
constexpr uint64_t kMostTokens = 32'000'000;
constexpr int64_t kMostId = INT32_MAX;
constexpr ElementType kInt64 = 7;
constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";
constexpr const char* kPositions = "position_ids";
constexpr const char* kPast = "past_key_values.";
constexpr const char* kForms =
    "give an integer array of one text or a text a row (.npy, or input_ids in an .npz), or JSON lists of ids";

tl::unexpected<Error> Refused(std::string why) { return Fail(ErrorCode::kRejected, std::move(why), kForms); }

// --- reading ---

Result<std::vector<Text>> TextsOf(const Tensor& ids, const Tensor* mask) {
  if (ids.dims.empty() || ids.dims.size() > 2)
    return Refused(fmt::format("token ids of shape {}: neither one text nor a text a row", ShapeText(ids.dims)));
  if (mask != nullptr && mask->dims != ids.dims)
    return Refused(fmt::format("the mask has shape {}, the ids have {}", ShapeText(mask->dims), ShapeText(ids.dims)));
  const auto columns = static_cast<size_t>(ids.dims.back());
  const size_t rows = ids.dims.size() == 1 ? 1 : static_cast<size_t>(ids.dims.front());
  std::vector<Text> texts;
  for (size_t row = 0; row < rows; ++row) {
    Text& text = texts.emplace_back();
    for (size_t i = row * columns; i < (row + 1) * columns; ++i) {
      if (mask == nullptr || mask->data<int64_t>()[i] != 0) text.push_back(ids.data<int64_t>()[i]);
    }
  }
  return texts;
}

Result<Tensor> ArrayOf(const NpzFile& file, const char* name) {
  TRY_ASSIGN(const NpyHeader header, file.Header(name));
  if (header.type == 0 || header.dims.empty())
    return Refused(fmt::format("the array '{}' holds no integers", name));
  TRY_ASSIGN(Tensor rows, file.Rows(name, 0, header.dims[0]));
  return ConvertTensor(std::move(rows), kInt64);
}

Result<std::vector<Text>> ReadNpzTokens(const std::filesystem::path& path) {
  TRY_ASSIGN(const NpzFile file, NpzFile::Open(path));
  if (!file.Has(kIds)) return Refused(fmt::format("there is no array '{}'", kIds));
  TRY_ASSIGN(const Tensor ids, ArrayOf(file, kIds));
  if (!file.Has(kMask)) return TextsOf(ids, nullptr);
  TRY_ASSIGN(const Tensor mask, ArrayOf(file, kMask));
  return TextsOf(ids, &mask);
}

Result<std::vector<Text>> ReadNpyTokens(const std::filesystem::path& path) {
  TRY_ASSIGN(const std::string bytes, ReadFile(path, kMostBytes));
  TRY_ASSIGN(const NpyPreamble preamble, ParseNpyPreamble(std::string_view(bytes).substr(0, kNpyLongestPreamble)));
  if (bytes.size() < preamble.bytes + preamble.header_bytes) return Refused("truncated .npy header");
  TRY_ASSIGN(const NpyHeader header,
             ParseNpyHeader(std::string_view(bytes).substr(preamble.bytes, preamble.header_bytes)));
  if (header.type == 0 || header.big_endian || (header.fortran_order && header.dims.size() > 1))
    return Refused(fmt::format("the array ({}) holds no integers in the order of a text", Printable(header.descr, 64)));
  const std::string_view data = std::string_view(bytes).substr(preamble.bytes + preamble.header_bytes);
  const int64_t elements = ElementCount(header.dims);
  if (elements < 0 || static_cast<uint64_t>(elements) > kMostBytes ||
      static_cast<uint64_t>(elements) * ElementBytes(header.type) != data.size()) {
    return Refused(fmt::format("the header says {} {} and the file holds {} bytes of data", ElementName(header.type),
                               ShapeText(header.dims), data.size()));
  }
  Tensor array{"", header.type, header.dims, std::vector<std::byte>(data.size())};
  if (!data.empty()) std::memcpy(array.bytes.data(), data.data(), data.size());
  TRY_ASSIGN(const Tensor ids, ConvertTensor(std::move(array), kInt64));
  return TextsOf(ids, nullptr);
}

Result<Text> TextOf(const json& list) {
  Text text;
  for (const json& id : list) {
    if (!id.is_number_integer()) return Refused("a list of tokens holds something that is no integer");
    text.push_back(id.is_number_unsigned() && id.get<uint64_t>() > kMostId ? -1 : id.get<int64_t>());
  }
  return text;
}

Result<std::vector<Text>> ReadJsonTokens(const std::filesystem::path& path) {
  TRY_ASSIGN(const std::string bytes, ReadFile(path, kMostBytes));
  TRY_ASSIGN(json value, ParseJson(bytes, "the file", {.bytes = kMostBytes, .values = kMostTokens, .depth = 4}));
  for (const char* key : {"tokens", kIds}) {
    if (value.is_object() && value.contains(key)) value = json(value[key]);
  }
  if (!value.is_array()) return Refused("the file holds no list of token ids");
  std::vector<Text> texts;
  const bool nested = !value.empty() && value.front().is_array();
  if (!nested) {
    TRY_ASSIGN(texts.emplace_back(), TextOf(value));
    return texts;
  }
  for (const json& list : value) {
    if (!list.is_array()) return Refused("the list of texts holds something that is no list");
    TRY_ASSIGN(texts.emplace_back(), TextOf(list));
  }
  return texts;
}

// --- the data set ---

bool IsCache(const InputSignature& input) { return input.name.starts_with(kPast); }

class TokenDataSet : public DataSet {
 public:
  TokenDataSet(std::vector<InputSignature> inputs, std::vector<Text> windows, std::string digest)
      : inputs_(std::move(inputs)), windows_(std::move(windows)), digest_(std::move(digest)) {}

  size_t size() const override { return windows_.size(); }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string digest() const override { return digest_; }
  std::vector<int64_t> Tokens(size_t index) const override { return windows_[index]; }

  Result<std::vector<Tensor>> Get(size_t index) const override {
    CHECK_THAT(index < windows_.size());
    std::vector<Tensor> sample;
    for (const InputSignature& input : inputs_) {
      TRY_ASSIGN(sample.emplace_back(), TokenInput(input, windows_[index], 0));
    }
    return sample;
  }

 private:
  const std::vector<InputSignature> inputs_;
  const std::vector<Text> windows_;
  const std::string digest_;
  const std::vector<int64_t> labels_;
};

// How many tokens the model wants at once.
size_t WindowOf(const std::vector<InputSignature>& inputs, bool& fixed) {
  const auto ids = std::find_if(inputs.begin(), inputs.end(), [](const auto& input) { return input.name == kIds; });
  fixed = ids->dims.size() == 2 && ids->dims[1] > 0;
  return fixed ? static_cast<size_t>(ids->dims[1]) : kTokenWindow;
}

// A remainder too short to hold a token and its follower says nothing.
std::vector<Text> Windows(const std::vector<Text>& texts, size_t window, bool fixed) {
  std::vector<Text> windows;
  for (const Text& text : texts) {
    for (size_t first = 0; first < text.size(); first += window) {
      const size_t count = std::min(window, text.size() - first);
      if (count < (fixed ? window : 2)) break;
      const auto begin = text.begin() + static_cast<std::ptrdiff_t>(first);
      windows.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(count));
    }
  }
  return windows;
}

std::filesystem::path FileOf(const proto::LocalData& data) {
  return std::filesystem::path(data.data().folder()) / data.data().bundle().main();
}

Result<> RequireTokenInputs(const std::vector<InputSignature>& inputs) {
  if (TakesTokens(inputs)) return {};
  return Fail(ErrorCode::kRejected, "token ids alone feed language models, and this model has other inputs",
              "give an .npz with one array a model input");
}

Result<std::unique_ptr<DataSet>> MakeDataSet(const proto::LocalData& data, const std::vector<InputSignature>& inputs,
                                             const std::vector<Text>& texts) {
  bool fixed = false;
  const size_t window = WindowOf(inputs, fixed);
  std::vector<Text> windows = Windows(texts, window, fixed);
  const size_t total = windows.size();
  const size_t from = std::min<size_t>(data.from(), total);
  const size_t count = data.samples() == 0 ? total - from : std::min<size_t>(total - from, data.samples());
  if (count == 0) {
    return Fail(ErrorCode::kRejected,
                fmt::format("no sample is selected: there are {} windows of at most {} tokens and the selection starts "
                            "at {}", total, window, data.from()),
                "give a longer text, or choose a smaller `from`");
  }
  windows = {windows.begin() + static_cast<std::ptrdiff_t>(from),
             windows.begin() + static_cast<std::ptrdiff_t>(from + count)};
  return std::make_unique<TokenDataSet>(
      inputs, std::move(windows), DataDigest(data.data().bundle(), data.from(), data.samples(), data.preprocess()));
}

}  // namespace

Result<std::vector<std::vector<int64_t>>> ReadTokens(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  TRY_ASSIGN(std::vector<Text> texts, extension == ".npz"   ? ReadNpzTokens(file)
                                      : extension == ".npy" ? ReadNpyTokens(file)
                                                            : ReadJsonTokens(file));
  for (const Text& text : texts) {
    const auto wrong = std::find_if(text.begin(), text.end(), [](int64_t id) { return id < 0 || id > kMostId; });
    if (wrong != text.end()) return Refused(fmt::format("token {} of a text is no token id", wrong - text.begin()));
  }
  return texts;
}

bool TakesTokens(const std::vector<InputSignature>& inputs) {
  bool ids = false;
  for (const InputSignature& input : inputs) {
    ids = ids || input.name == kIds;
    if (input.name != kIds && input.name != kMask && input.name != kPositions && !IsCache(input)) return false;
  }
  return ids;
}

bool HoldsTokensAlone(const proto::LocalData& data, const std::vector<InputSignature>& inputs) {
  if (!TakesTokens(inputs)) return false;
  const auto file = NpzFile::Open(FileOf(data));
  return file && file->Has(kIds) &&
         std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) { return !file->Has(input.name); });
}

Result<std::unique_ptr<DataSet>> OpenTokens(const proto::LocalData& data, const std::vector<InputSignature>& inputs) {
  TRY(RequireTokenInputs(inputs));
  TRY_ASSIGN(const std::vector<Text> texts, ReadTokens(FileOf(data)));
  return MakeDataSet(data, inputs, texts);
}

Result<std::unique_ptr<DataSet>> OpenText(const proto::LocalData& data, const std::vector<InputSignature>& inputs,
                                          const proto::LocalBundle& model) {
  TRY(RequireTokenInputs(inputs));
  TRY_ASSIGN(const Tokenizer tokenizer, TokenizerOf(model));
  TRY_ASSIGN(const std::string text, ReadFile(FileOf(data), kMostBytes));
  TRY_ASSIGN(Text ids, tokenizer.Encode(text));
  return MakeDataSet(data, inputs, {std::move(ids)});
}

Result<Tensor> TokenInput(const InputSignature& input, const std::vector<int64_t>& tokens, int64_t length) {
  const auto count = static_cast<int64_t>(tokens.size());
  Tensor tensor{input.name, input.type, {1, count}, {}};
  if (IsCache(input)) {
    if (input.dims.size() != 4 || input.dims[1] < 1 || input.dims[3] < 1)
      return Fail(ErrorCode::kRejected, fmt::format("the cache {} is none that can be made", SignatureText(input)));
    tensor.dims = {1, input.dims[1], length, input.dims[3]};
    tensor.bytes.resize(static_cast<size_t>(tensor.Elements()) * ElementBytes(input.type));
  } else {
    std::vector<int64_t> numbers = tokens;
    if (input.name == kMask) numbers.assign(static_cast<size_t>(length + count), 1);
    for (size_t i = 0; input.name == kPositions && i < numbers.size(); ++i)
      numbers[i] = length + static_cast<int64_t>(i);
    tensor.type = kInt64;
    tensor.dims[1] = static_cast<int64_t>(numbers.size());
    tensor.bytes.resize(numbers.size() * sizeof(int64_t));
    if (!numbers.empty()) std::memcpy(tensor.bytes.data(), numbers.data(), tensor.bytes.size());
    TRY_ASSIGN(tensor, ConvertTensor(std::move(tensor), input.type));
  }
  if (!FitsShape(input.dims, tensor.dims)) {
    return Fail(ErrorCode::kRejected, fmt::format("input {} is to be fed with tokens of shape {}", SignatureText(input),
                                                  ShapeText(tensor.dims)));
  }
  return tensor;
}

}  // namespace hone
