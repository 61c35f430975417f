#include "worker/data/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "common/base/file.h"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#ifdef HONE_SANITIZED
#define STBI_NO_SIMD   // GCC 12 does not see the immediate operands of its intrinsics through what UBSan adds.
#endif
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace hone {
namespace {

static_assert(STBI_MAX_DIMENSIONS == kPictureMaxSide);

constexpr uint8_t kLetterboxGrey = 114;

struct Size {
  int width;
  int height;
};

int Rounded(double value) { return std::max(1, static_cast<int>(std::lround(value))); }

// Where the resized picture comes to lie on the canvas; what it does not cover is `fill`.
struct Placement {
  Size resized;
  int left = 0;  // Of the resized picture on the canvas; negative where it is cropped.
  int top = 0;
  bool fill_after = false;  // Fill with 0 after normalising, else with grey before.
};

Placement Place(const Picture& picture, const proto::Preprocess& preprocess) {
  const int width = static_cast<int>(preprocess.width());
  const int height = static_cast<int>(preprocess.height());
  const double across = static_cast<double>(width) / picture.width;
  const double down = static_cast<double>(height) / picture.height;
  Placement placement{{width, height}};
  switch (preprocess.resize()) {
    case proto::Preprocess::PAD_RIGHT:
      placement.resized.width = std::clamp(static_cast<int>(std::ceil(picture.width * down)), 1, width);
      placement.fill_after = true;
      break;
    case proto::Preprocess::CENTER_CROP: {
      const double factor = std::max(across, down);
      placement.resized = {std::max(width, Rounded(picture.width * factor)),
                           std::max(height, Rounded(picture.height * factor))};
      placement.left = -((placement.resized.width - width) / 2);
      placement.top = -((placement.resized.height - height) / 2);
      break;
    }
    case proto::Preprocess::LETTERBOX: {
      const double factor = std::min(across, down);
      placement.resized = {std::min(width, Rounded(picture.width * factor)),
                           std::min(height, Rounded(picture.height * factor))};
      placement.left = (width - placement.resized.width) / 2;
      placement.top = (height - placement.resized.height) / 2;
      break;
    }
    default:
      break;  // STRETCH: the canvas is the picture.
  }
  return placement;
}

// For each target position, the two source positions and the weight of the second.
struct Taps {
  std::vector<int> low, high;
  std::vector<float> weight;
};

Taps MakeTaps(int from, int to) {
  Taps taps;
  const double step = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    const double centre = std::clamp((i + 0.5) * step - 0.5, 0.0, static_cast<double>(from - 1));
    const int low = static_cast<int>(centre);
    taps.low.push_back(low);
    taps.high.push_back(std::min(low + 1, from - 1));
    taps.weight.push_back(static_cast<float>(centre - low));
  }
  return taps;
}

// mean or std for a channel: none, one for all, or one each.
double PerChannel(const google::protobuf::RepeatedField<double>& values, int channel, double otherwise) {
  if (values.empty()) return otherwise;
  return values.Get(values.size() == 1 ? 0 : channel);
}

}  // namespace

Result<Picture> DecodePicture(std::string_view bytes, int channels) {
  if (bytes.size() > kPictureMaxBytes) return Fail(ErrorCode::kRejected, "the file is over the bound of 256 MiB");
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int length = static_cast<int>(bytes.size());
  Picture picture;
  int in_file = 0;
  if (stbi_info_from_memory(data, length, &picture.width, &picture.height, &in_file) == 0) {
    return Fail(ErrorCode::kRejected, fmt::format("no readable PNG, JPEG or BMP: {}", stbi_failure_reason()));
  }
  const uint64_t pixels = static_cast<uint64_t>(picture.width) * static_cast<uint64_t>(picture.height);
  // The decoder holds the picture with the file's channels, so these count too.
  const uint64_t widest = static_cast<uint64_t>(std::max(channels, in_file));
  if (picture.width > kPictureMaxSide || picture.height > kPictureMaxSide || pixels * widest > kPictureMaxBytes) {
    return Fail(ErrorCode::kRejected, fmt::format("{}x{} pixels are over the bound (a side of {}, 256 MiB)",
                                                  picture.width, picture.height, kPictureMaxSide));
  }
  std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(data, length, &picture.width, &picture.height, &in_file, channels), stbi_image_free);
  if (!decoded)
    return Fail(ErrorCode::kRejected, fmt::format("no readable PNG, JPEG or BMP: {}", stbi_failure_reason()));
  picture.channels = channels;
  picture.pixels.assign(decoded.get(), decoded.get() + pixels * static_cast<uint64_t>(channels));
  return picture;
}

Result<Picture> ReadPicture(const std::filesystem::path& path, int channels) {
  TRY_ASSIGN(const std::string bytes, ReadFile(path, kPictureMaxBytes));
  return DecodePicture(bytes, channels);
}

Picture ResizePicture(const Picture& picture, int width, int height) {
  if (width == picture.width && height == picture.height) return picture;
  const int channels = picture.channels;
  const Taps across = MakeTaps(picture.width, width);
  const Taps down = MakeTaps(picture.height, height);
  Picture resized{width, height, channels, std::vector<uint8_t>(static_cast<size_t>(width) * height * channels)};
  const auto pixel = [&](int row, int column, int channel) {
    return static_cast<float>(picture.pixels[(static_cast<size_t>(row) * picture.width + column) * channels + channel]);
  };
  size_t place = 0;
  for (int row = 0; row < height; ++row) {
    const int above = down.low[row], below = down.high[row];
    const float vertical = down.weight[row];
    for (int column = 0; column < width; ++column) {
      const int left = across.low[column], right = across.high[column];
      const float horizontal = across.weight[column];
      for (int channel = 0; channel < channels; ++channel) {
        const float upper =
            pixel(above, left, channel) + horizontal * (pixel(above, right, channel) - pixel(above, left, channel));
        const float lower =
            pixel(below, left, channel) + horizontal * (pixel(below, right, channel) - pixel(below, left, channel));
        resized.pixels[place++] = static_cast<uint8_t>(upper + vertical * (lower - upper) + 0.5f);
      }
    }
  }
  return resized;
}

std::vector<float> PictureValues(const Picture& picture, const proto::Preprocess& preprocess) {
  const int width = static_cast<int>(preprocess.width());
  const int height = static_cast<int>(preprocess.height());
  const int channels = picture.channels;
  const double scale = preprocess.scale() == 0 ? 1.0 / 255.0 : preprocess.scale();
  const Placement placement = Place(picture, preprocess);
  const Picture resized = ResizePicture(picture, placement.resized.width, placement.resized.height);

  std::vector<float> values(static_cast<size_t>(width) * height * channels);
  for (int channel = 0; channel < channels; ++channel) {
    const double mean = PerChannel(preprocess.mean(), channel, 0.0);
    const double deviation = PerChannel(preprocess.std(), channel, 1.0);
    const auto normal = [&](uint8_t value) { return static_cast<float>((value * scale - mean) / deviation); };
    const float fill = placement.fill_after ? 0.0f : normal(kLetterboxGrey);
    const int source = preprocess.bgr() ? channels - 1 - channel : channel;
    for (int row = 0; row < height; ++row) {
      const int y = row - placement.top;
      for (int column = 0; column < width; ++column) {
        const int x = column - placement.left;
        const bool covered = x >= 0 && y >= 0 && x < resized.width && y < resized.height;
        const size_t place = preprocess.nhwc() ? (static_cast<size_t>(row) * width + column) * channels + channel
                                               : (static_cast<size_t>(channel) * height + row) * width + column;
        values[place] =
            covered ? normal(resized.pixels[(static_cast<size_t>(y) * resized.width + x) * channels + source]) : fill;
      }
    }
  }
  return values;
}

}  // namespace hone
