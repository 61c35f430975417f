#include "worker/data/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "common/artifact/bundle.h"
#include "common/base/file.h"
#include "common/base/strings.h"
#include "worker/data/convert.h"
#include "worker/data/picture.h"
#include "worker/data/signature.h"

namespace hone {
namespace {

constexpr ElementType kFloat32 = 1, kUint8 = 2, kFloat16 = 10, kBfloat16 = 16;
// Prepared samples kept in memory, since a set is evaluated once a candidate.
constexpr size_t kKeptBytes = size_t{512} << 20;
constexpr uint64_t kMaxCsvBytes = uint64_t{64} << 20;
constexpr const char* kLabelsFile = "labels.csv";

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool IsPicturePath(const std::string& path) {
  const std::string extension = LowerCase(std::filesystem::path(path).extension().string());
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg" || extension == ".bmp";
}

// Picture paths and, for each, the word that labels it; words is empty where nothing labels them.
struct Listing {
  std::vector<std::string> paths;
  std::vector<std::string> words;
};

// "file,label" lines; the file may be quoted the CSV way.
Result<std::map<std::string, std::string>> ParseLabelsFile(const std::string& text) {
  std::map<std::string, std::string> labels;
  uint32_t line_number = 0;
  for (const std::string& raw : Split(text, '\n')) {
    ++line_number;
    const std::string_view line = Trim(raw);
    if (line.empty() || (line_number == 1 && LowerCase(std::string(line)) == "file,label")) continue;
    const size_t comma = line.rfind(',');
    const auto unquoted = [](std::string_view word) {
      word = Trim(word);
      if (word.size() >= 2 && word.front() == '"' && word.back() == '"') word = word.substr(1, word.size() - 2);
      return std::string(word);
    };
    if (comma == std::string_view::npos || unquoted(line.substr(comma + 1)).empty()) {
      return Fail(Error{ErrorCode::kRejected,
                        fmt::format("'{}' is no line of the form file,label", Printable(line, 200)), "", kLabelsFile,
                        line_number});
    }
    if (!labels.emplace(unquoted(line.substr(0, comma)), unquoted(line.substr(comma + 1))).second) {
      return Fail(Error{ErrorCode::kRejected,
                        fmt::format("'{}' is labelled twice", Printable(unquoted(line.substr(0, comma)), 200)), "",
                        kLabelsFile, line_number});
    }
  }
  return labels;
}

Result<> LabelByFile(const std::map<std::string, std::string>& labels, Listing& listing) {
  std::set<std::string> known(listing.paths.begin(), listing.paths.end());
  for (const auto& [path, label] : labels) {
    if (!known.contains(path)) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("{} labels '{}', and there is no such picture", kLabelsFile, Printable(path, 256)));
    }
  }
  for (const std::string& path : listing.paths) {
    const auto found = labels.find(path);
    if (found == labels.end())
      return Fail(ErrorCode::kRejected, fmt::format("{} has no label for '{}'", kLabelsFile, Printable(path, 256)));
    listing.words.push_back(found->second);
  }
  return {};
}

Result<> LabelByFolder(Listing& listing) {
  const auto in_folder = [](const std::string& path) { return path.find('/') != std::string::npos; };
  const auto inside = std::count_if(listing.paths.begin(), listing.paths.end(), in_folder);
  if (inside == 0) return {};
  if (static_cast<size_t>(inside) != listing.paths.size()) {
    const auto lone = std::find_if_not(listing.paths.begin(), listing.paths.end(), in_folder);
    return Fail(ErrorCode::kRejected,
                fmt::format("some pictures lie in class folders and '{}' does not", Printable(*lone, 256)),
                "put every picture into a folder named for its class, or none");
  }
  for (const std::string& path : listing.paths) listing.words.push_back(path.substr(0, path.find('/')));
  return {};
}

Result<Listing> ListPictures(const proto::LocalBundle& bundle) {
  Listing listing;
  const proto::File* labels_file = nullptr;
  for (const proto::File& file : bundle.bundle().files()) {
    if (file.path() == kLabelsFile) labels_file = &file;
    if (IsPicturePath(file.path())) listing.paths.push_back(file.path());
  }
  if (listing.paths.empty()) return Fail(ErrorCode::kRejected, "the folder holds no PNG, JPEG or BMP picture");
  std::sort(listing.paths.begin(), listing.paths.end());
  if (labels_file == nullptr) {
    TRY(LabelByFolder(listing));
    return listing;
  }
  TRY_ASSIGN(const std::string text, ReadFile(PathIn(bundle.folder(), *labels_file), kMaxCsvBytes));
  TRY_ASSIGN(const auto labels, ParseLabelsFile(text));
  TRY(LabelByFile(labels, listing));
  return listing;
}

std::vector<int64_t> LabelsOf(const std::vector<std::string>& words) {
  std::vector<int64_t> labels;
  for (const std::string& word : words) {
    const Result<int64_t> number = ParseInteger(word);
    if (!number || *number < 0) break;
    labels.push_back(*number);
  }
  if (labels.size() == words.size()) return labels;
  std::map<std::string, int64_t> classes;
  for (const std::string& word : words) classes.emplace(word, 0);
  int64_t next = 0;
  for (auto& [word, label] : classes) label = next++;
  labels.clear();
  for (const std::string& word : words) labels.push_back(classes.at(word));
  return labels;
}

// Pictures of classes lie one class after the other; taken in turns, a part of the set holds every class as the whole
// does.
void Interleave(Listing& listing) {
  if (listing.words.empty()) return;
  std::map<std::string, std::vector<size_t>> by_class;
  for (size_t i = 0; i < listing.paths.size(); ++i) by_class[listing.words[i]].push_back(i);
  Listing mixed;
  for (size_t turn = 0; mixed.paths.size() < listing.paths.size(); ++turn) {
    for (const auto& [word, members] : by_class) {
      if (turn >= members.size()) continue;
      mixed.paths.push_back(listing.paths[members[turn]]);
      mixed.words.push_back(word);
    }
  }
  listing = std::move(mixed);
}

// The preprocessing with every value settled, and the shape it gives.
struct Plan {
  InputSignature input;
  proto::Preprocess preprocess;
  int channels = 3;
  int64_t pictures = 1;  // A feed holds.
};

std::vector<std::byte> PixelBytes(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::lround(std::clamp(values[i], 0.0f, 255.0f)));
  return bytes;
}

class ImageDataSet : public DataSet {
 public:
  ImageDataSet(std::string folder, std::vector<std::string> paths, std::vector<int64_t> labels, Plan plan,
               std::string digest)
      : folder_(std::move(folder)),
        paths_(std::move(paths)),
        labels_(std::move(labels)),
        plan_(std::move(plan)),
        digest_(std::move(digest)),
        kept_(size()) {}

  size_t size() const override { return paths_.size() / static_cast<size_t>(plan_.pictures); }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string digest() const override { return digest_; }

  Result<std::vector<Tensor>> Get(size_t index) const override {
    CHECK_THAT(index < size());
    {
      const std::lock_guard lock(mutex_);
      if (kept_[index]) return std::vector<Tensor>{*kept_[index]};
    }
    TRY_ASSIGN(Tensor tensor, Prepare(index));
    const std::lock_guard lock(mutex_);
    if (!kept_[index] && kept_bytes_ + tensor.bytes.size() <= kKeptBytes) {
      kept_bytes_ += tensor.bytes.size();
      kept_[index] = tensor;
    }
    std::vector<Tensor> sample;
    sample.push_back(std::move(tensor));
    return sample;
  }

 private:
  Result<Tensor> Prepare(size_t index) const {
    const int64_t height = plan_.preprocess.height(), width = plan_.preprocess.width();
    Tensor tensor{plan_.input.name, kFloat32, {plan_.pictures, plan_.channels, height, width}, {}};
    if (plan_.preprocess.nhwc()) tensor.dims = {plan_.pictures, height, width, plan_.channels};
    std::vector<float> values;
    for (int64_t i = 0; i < plan_.pictures; ++i) {
      const std::string& path = paths_[index * static_cast<size_t>(plan_.pictures) + static_cast<size_t>(i)];
      const auto picture = ReadPicture(std::filesystem::path(folder_) / path, plan_.channels);
      if (!picture) return FailWith(fmt::format("picture '{}'", Printable(path, 256)), picture.error());
      const std::vector<float> one = PictureValues(*picture, plan_.preprocess);
      values.insert(values.end(), one.begin(), one.end());
    }
    if (plan_.input.type == kUint8) {
      tensor.type = kUint8;
      tensor.bytes = PixelBytes(values);
      return tensor;
    }
    tensor.bytes.resize(values.size() * sizeof(float));
    std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
    return ConvertTensor(std::move(tensor), plan_.input.type);
  }

  const std::string folder_;
  const std::vector<std::string> paths_;
  const std::vector<int64_t> labels_;
  const Plan plan_;
  const std::string digest_;
  mutable std::mutex mutex_;
  mutable std::vector<std::optional<Tensor>> kept_;  // Guarded by mutex_.
  mutable size_t kept_bytes_ = 0;                    // Guarded by mutex_.
};

Result<InputSignature> ChooseInput(const proto::Preprocess& preprocess, const std::vector<InputSignature>& inputs) {
  std::vector<std::string> names;
  for (const InputSignature& input : inputs) names.push_back(input.name);
  if (inputs.size() != 1) {
    return Fail(ErrorCode::kRejected,
                fmt::format("pictures feed one input, and the model has {} ({})", inputs.size(),
                            Printable(Join(names, ", "), 512)),
                "use an .npz with one array a model input");
  }
  if (!preprocess.input().empty() && preprocess.input() != names[0]) {
    return Fail(ErrorCode::kRejected, fmt::format("preprocess names the input '{}', and the model's is '{}'",
                                                  Printable(preprocess.input(), 256), Printable(names[0], 256)));
  }
  return inputs[0];
}

// Height or width: as the recipe says, else as the input fixes it.
Result<uint32_t> SettleSide(const char* name, uint32_t wish, int64_t fixed, const InputSignature& input) {
  if (wish == 0 && fixed < 0) {
    return Fail(ErrorCode::kRejected,
                fmt::format("preprocess has no {}, and input {} leaves it free", name, SignatureText(input)),
                fmt::format("add {} to preprocess", name));
  }
  if (wish != 0 && fixed >= 0 && static_cast<int64_t>(wish) != fixed) {
    return Fail(ErrorCode::kRejected,
                fmt::format("preprocess has {} {}, and input {} wants {}", name, wish, SignatureText(input), fixed));
  }
  const int64_t side = wish != 0 ? static_cast<int64_t>(wish) : fixed;
  if (side < 1 || side > kPictureMaxSide) {
    return Fail(ErrorCode::kRejected,
                fmt::format("preprocess: a {} of {} is outside 1..{}", name, side, kPictureMaxSide));
  }
  return static_cast<uint32_t>(side);
}

Result<> CheckNumbers(const proto::Preprocess& preprocess, int channels) {
  const auto counted = [&](int count) { return count <= 1 || count == channels; };
  if (!counted(preprocess.mean_size()) || !counted(preprocess.std_size())) {
    return Fail(ErrorCode::kRejected,
                fmt::format("preprocess has {} mean and {} std values for {} channels", preprocess.mean_size(),
                            preprocess.std_size(), channels),
                "give one value, or one a channel");
  }
  const auto finite = [](double value) { return std::isfinite(value); };
  const auto usable = [](double value) { return std::isfinite(value) && value != 0; };
  if (!finite(preprocess.scale()) || !std::all_of(preprocess.mean().begin(), preprocess.mean().end(), finite) ||
      !std::all_of(preprocess.std().begin(), preprocess.std().end(), usable)) {
    return Fail(ErrorCode::kRejected, "preprocess: scale and mean must be finite numbers, and std finite and not 0");
  }
  return {};
}

Result<Plan> MakePlan(const proto::LocalData& data, const std::vector<InputSignature>& inputs) {
  // An empty block says as little about the pictures as none.
  if (!data.has_preprocess() || data.preprocess().ByteSizeLong() == 0) {
    return Fail(ErrorCode::kRejected, "pictures need a preprocess block in the recipe",
                "add preprocess: {height: ..., width: ..., mean: ..., std: ...} beside the data's path");
  }
  Plan plan;
  plan.preprocess = data.preprocess();
  TRY_ASSIGN(plan.input, ChooseInput(plan.preprocess, inputs));
  const std::vector<int64_t>& dims = plan.input.dims;
  if (dims.size() != 4)
    return Fail(ErrorCode::kRejected,
                fmt::format("input {} takes no pictures: its rank is not 4", SignatureText(plan.input)));
  const bool nhwc = plan.preprocess.nhwc();
  const int64_t channels = dims[nhwc ? 3 : 1];
  if (channels >= 0 && channels != 1 && channels != 3) {
    return Fail(
        ErrorCode::kRejected,
        fmt::format("input {} wants {} channels, and pictures have 1 or 3", SignatureText(plan.input), channels),
        nhwc ? "remove nhwc if channels come first" : "set nhwc: true in preprocess if channels come last");
  }
  plan.channels = channels < 0 ? 3 : static_cast<int>(channels);
  plan.pictures = dims[0] < 0 ? 1 : dims[0];
  if (plan.pictures == 0)
    return Fail(ErrorCode::kRejected, fmt::format("input {} takes no picture at all", SignatureText(plan.input)));
  TRY_ASSIGN(const uint32_t height, SettleSide("height", plan.preprocess.height(), dims[nhwc ? 1 : 2], plan.input));
  TRY_ASSIGN(const uint32_t width, SettleSide("width", plan.preprocess.width(), dims[nhwc ? 2 : 3], plan.input));
  plan.preprocess.set_height(height);
  plan.preprocess.set_width(width);
  TRY(CheckNumbers(plan.preprocess, plan.channels));
  const ElementType type = plan.input.type;
  if (type != kFloat32 && type != kFloat16 && type != kBfloat16 && type != kUint8) {
    return Fail(ErrorCode::kRejected, fmt::format("input {} takes no pictures: its type is neither float nor uint8",
                                                  SignatureText(plan.input)));
  }
  if (type == kUint8 &&
      (plan.preprocess.scale() != 1 || plan.preprocess.mean_size() != 0 || plan.preprocess.std_size() != 0)) {
    return Fail(ErrorCode::kRejected, fmt::format("input {} takes pixels as they are", SignatureText(plan.input)),
                "set scale: 1 in preprocess, without mean and std");
  }
  return plan;
}

}  // namespace

Result<std::unique_ptr<DataSet>> OpenImages(const proto::LocalData& data, const std::vector<InputSignature>& inputs) {
  TRY_ASSIGN(Plan plan, MakePlan(data, inputs));
  TRY_ASSIGN(Listing listing, ListPictures(data.data()));
  Interleave(listing);
  std::vector<int64_t> labels = LabelsOf(listing.words);
  if (!labels.empty() && plan.pictures > 1) {
    return Fail(ErrorCode::kRejected,
                fmt::format("input {} takes {} pictures at once, and labels need one at a time",
                            SignatureText(plan.input), plan.pictures),
                "use a model whose first dimension is free or 1");
  }
  const uint64_t total = listing.paths.size() / static_cast<uint64_t>(plan.pictures);
  const uint64_t from = std::min<uint64_t>(data.from(), total);
  const uint64_t count = data.samples() == 0 ? total - from : std::min<uint64_t>(total - from, data.samples());
  if (count == 0) {
    return Fail(ErrorCode::kRejected,
                fmt::format("no sample is selected: {} pictures make {} samples, and the selection starts at {}",
                            listing.paths.size(), total, data.from()),
                "choose a smaller `from`");
  }
  const auto cut = [&](auto& all, uint64_t step) {
    all.erase(all.begin() + static_cast<std::ptrdiff_t>((from + count) * step), all.end());
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(from * step));
  };
  cut(listing.paths, static_cast<uint64_t>(plan.pictures));
  if (!labels.empty()) cut(labels, 1);
  return std::make_unique<ImageDataSet>(
      data.data().folder(), std::move(listing.paths), std::move(labels), std::move(plan),
      DataDigest(data.data().bundle(), data.from(), data.samples(), data.preprocess()));
}

}  // namespace hone
