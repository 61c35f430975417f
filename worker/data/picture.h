// Pictures as numbers: decoding, resizing and normalising, one picture at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/recipe.pb.h"

namespace hone {

// 8-bit pixels, row by row, channels interleaved (RGB or grey).
struct Picture {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<uint8_t> pixels;
};

constexpr int kPictureMaxSide = 16384;
constexpr uint64_t kPictureMaxBytes = uint64_t{256} << 20;

// PNG, JPEG or BMP, as RGB (channels 3) or grey (1); transparency is dropped, EXIF orientation is not applied.
// kRejected for anything else, broken bytes, a side over 16384 or more than 256 MiB of pixels.
Result<Picture> DecodePicture(std::string_view bytes, int channels);
Result<Picture> ReadPicture(const std::filesystem::path& path, int channels);

// Bilinear between pixel centres without antialiasing, rounded to 8 bits: what OpenCV's INTER_LINEAR gives.
Picture ResizePicture(const Picture& picture, int width, int height);

// The values a model is fed, in the order of `nhwc`; preprocess.height and width must be set. Resizes as asked, then
// scale, then (value - mean) / std a channel in the order fed (after `bgr`). Padding: PAD_RIGHT fills with 0 after
// normalising (the convention of PaddleOCR), LETTERBOX with grey 114 before (the convention of YOLO).
std::vector<float> PictureValues(const Picture& picture, const proto::Preprocess& preprocess);

}  // namespace hone
