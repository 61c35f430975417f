#include "worker/data/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/backends/fixtures.h"
#include "worker/data/npz.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A 24-bit BMP; pixel(x, y) gives red, green, blue.
template <class Pixel>
std::string Bmp(int width, int height, Pixel pixel) {
  const auto number = [](uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  std::string rows;
  for (int y = height - 1; y >= 0; --y) {
    std::string row;
    for (int x = 0; x < width; ++x) {
      const std::array<uint8_t, 3> rgb = pixel(x, y);
      row += {static_cast<char>(rgb[2]), static_cast<char>(rgb[1]), static_cast<char>(rgb[0])};
    }
    row.resize((row.size() + 3) / 4 * 4);
    rows += row;
  }
  return "BM" + number(static_cast<uint32_t>(54 + rows.size()), 4) + number(0, 4) + number(54, 4) + number(40, 4) +
         number(width, 4) + number(height, 4) + number(1, 2) + number(24, 2) + number(0, 4) +
         number(static_cast<uint32_t>(rows.size()), 4) + number(2835, 4) + number(2835, 4) + number(0, 4) +
         number(0, 4) + rows;
}
std::string Plain(int width, int height, std::array<uint8_t, 3> rgb) {
  return Bmp(width, height, [&](int, int) { return rgb; });
}

proto::Preprocess Size(uint32_t height, uint32_t width) {
  proto::Preprocess preprocess;
  preprocess.set_height(height);
  preprocess.set_width(width);
  return preprocess;
}

TEST(PictureTest, BmpDecodesToRgb) {
  auto picture = DecodePicture(
      Bmp(2, 1, [](int x, int) { return std::array<uint8_t, 3>{static_cast<uint8_t>(10 + x), 20, 30}; }), 3);
  ASSERT_OK(picture);
  EXPECT_EQ(picture->width, 2);
  EXPECT_THAT(picture->pixels, ElementsAre(10, 20, 30, 11, 20, 30));
}

TEST(PictureTest, BrokenAndForeignBytesAreRejected) {
  const std::string good = Plain(8, 8, {1, 2, 3});
  for (const std::string& bytes :
       {std::string(), std::string("GIF89a"), good.substr(0, 20), std::string("\x89PNG\r\n\x1a\n")}) {
    EXPECT_REJECTED(DecodePicture(bytes, 3), "no readable PNG, JPEG or BMP");
  }
  // A header that claims 16384 x 16384 pixels, and one beyond any bound.
  std::string large = good;
  large.replace(18, 8, std::string("\x00\x40\x00\x00\x00\x40\x00\x00", 8));
  EXPECT_FALSE(DecodePicture(large, 3));
  large.replace(18, 8, std::string("\x00\x00\x00\x7f\x00\x00\x00\x7f", 8));
  EXPECT_FALSE(DecodePicture(large, 3));
}

TEST(PictureTest, ResizeInterpolatesBetweenPixelCentres) {
  // Two pixels 0 and 100 to four: centres at -0.25, 0.25, 0.75, 1.25.
  const Picture two{2, 1, 1, {0, 100}};
  EXPECT_THAT(ResizePicture(two, 4, 1).pixels, ElementsAre(0, 25, 75, 100));
  // Four to two takes the middle of each pair.
  EXPECT_THAT(ResizePicture(Picture{4, 1, 1, {0, 10, 20, 40}}, 2, 1).pixels, ElementsAre(5, 30));
}

TEST(PictureTest, PadRightFillsWithZeroAfterNormalising) {
  const Picture white{4, 4, 1, std::vector<uint8_t>(16, 255)};
  proto::Preprocess preprocess = Size(2, 6);
  preprocess.set_resize(proto::Preprocess::PAD_RIGHT);
  preprocess.add_mean(0.5);
  preprocess.add_std(0.5);
  EXPECT_THAT(PictureValues(white, preprocess), ElementsAre(1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0));
}

TEST(PictureTest, LetterboxFillsAroundWithGrey) {
  const Picture white{4, 2, 1, std::vector<uint8_t>(8, 255)};
  proto::Preprocess preprocess = Size(4, 4);
  preprocess.set_resize(proto::Preprocess::LETTERBOX);
  preprocess.set_scale(1);
  EXPECT_THAT(PictureValues(white, preprocess),
              ElementsAre(114, 114, 114, 114, 255, 255, 255, 255, 255, 255, 255, 255, 114, 114, 114, 114));
}

TEST(PictureTest, CenterCropKeepsTheMiddle) {
  Picture wide{6, 2, 1, {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}};
  proto::Preprocess preprocess = Size(2, 2);
  preprocess.set_resize(proto::Preprocess::CENTER_CROP);
  preprocess.set_scale(1);
  EXPECT_THAT(PictureValues(wide, preprocess), ElementsAre(2, 3, 2, 3));
}

TEST(PictureTest, ChannelsFollowOrderAndLayout) {
  const Picture pixel{1, 1, 3, {10, 20, 30}};
  proto::Preprocess preprocess = Size(1, 1);
  preprocess.set_scale(1);
  preprocess.add_mean(1);
  preprocess.add_mean(2);
  preprocess.add_mean(3);
  EXPECT_THAT(PictureValues(pixel, preprocess), ElementsAre(9, 18, 27));
  preprocess.set_bgr(true);
  EXPECT_THAT(PictureValues(pixel, preprocess), ElementsAre(29, 18, 7));
  const Picture row{2, 1, 3, {1, 2, 3, 4, 5, 6}};
  proto::Preprocess last = Size(1, 2);
  last.set_scale(1);
  EXPECT_THAT(PictureValues(row, last), ElementsAre(1, 4, 2, 5, 3, 6));
  last.set_nhwc(true);
  EXPECT_THAT(PictureValues(row, last), ElementsAre(1, 2, 3, 4, 5, 6));
}

// --- folders ---------------------------------------------------------------------------------------------------

proto::LocalData ImagesAt(const Folder& folder, const std::vector<std::string>& files) {
  proto::LocalData data;
  *data.mutable_data() = BundleOf("images", "", folder.path(), files);
  *data.mutable_preprocess() = Size(2, 2);
  data.mutable_preprocess()->set_scale(1);
  return data;
}
const std::vector<InputSignature> kPixels = {{"pixels", kFloat32, {-1, 3, -1, -1}}};

// Pictures whose red tells their number, in the order given.
std::vector<std::string> WritePictures(const Folder& folder, std::vector<std::string> files) {
  uint8_t red = 0;
  for (const std::string& file : files) folder.Write(file, Plain(3, 3, {red++, 0, 0}));
  return files;
}
float RedOf(const DataSet& data, size_t index) { return Values<float>((*data.Get(index))[0])[0]; }

TEST(ImagesTest, NumberedClassFoldersAreTheirNumbers) {
  Folder folder;
  const auto files = WritePictures(folder, {"10/a.bmp", "10/b.bmp", "9/a.bmp"});
  auto data = OpenDataSet(ImagesAt(folder, files), kPixels);
  ASSERT_OK(data);
  // Classes take turns, so that a part of the set is like the whole.
  EXPECT_THAT((*data)->labels(), ElementsAre(10, 9, 10));
  EXPECT_EQ(RedOf(**data, 0), 0);
  EXPECT_EQ(RedOf(**data, 1), 2);
  EXPECT_EQ(RedOf(**data, 2), 1);
  EXPECT_THAT((*(*data)->Get(0))[0].dims, ElementsAre(1, 3, 2, 2));
}

TEST(ImagesTest, NamedClassFoldersCountInAlphabeticalOrder) {
  Folder folder;
  const auto files = WritePictures(folder, {"cat/a.bmp", "dog/a.bmp", "ant/a.bmp"});
  auto data = OpenDataSet(ImagesAt(folder, files), kPixels);
  ASSERT_OK(data);
  EXPECT_THAT((*data)->labels(), ElementsAre(0, 1, 2));
  EXPECT_EQ(RedOf(**data, 0), 2);
}

TEST(ImagesTest, LabelsFileLabelsEveryPictureOrIsRejected) {
  Folder folder;
  auto files = WritePictures(folder, {"a.bmp", "b.bmp"});
  files.push_back("labels.csv");
  folder.Write("labels.csv", "file,label\r\nb.bmp,4\r\n\"a.bmp\",3\r\n");
  auto data = OpenDataSet(ImagesAt(folder, files), kPixels);
  ASSERT_OK(data);
  EXPECT_THAT((*data)->labels(), ElementsAre(3, 4));
  folder.Write("labels.csv", "a.bmp,3\n");
  EXPECT_REJECTED(OpenDataSet(ImagesAt(folder, files), kPixels), "labels.csv has no label for 'b.bmp'");
  folder.Write("labels.csv", "a.bmp,3\nb.bmp,1\nc.bmp,1\n");
  EXPECT_REJECTED(OpenDataSet(ImagesAt(folder, files), kPixels), "labels 'c.bmp', and there is no such picture");
  folder.Write("labels.csv", "a.bmp,3\nb.bmp\n");
  auto broken = OpenDataSet(ImagesAt(folder, files), kPixels);
  EXPECT_REJECTED(broken, "'b.bmp' is no line of the form file,label");
  EXPECT_EQ(broken.error().line, 2u);
}

TEST(ImagesTest, UnlabelledPicturesHaveNoLabels) {
  Folder folder;
  const auto files = WritePictures(folder, {"a.bmp", "b.bmp"});
  auto data = OpenDataSet(ImagesAt(folder, files), kPixels);
  ASSERT_OK(data);
  EXPECT_EQ((*data)->size(), 2u);
  EXPECT_TRUE((*data)->labels().empty());
}

TEST(ImagesTest, WhatDoesNotFitIsRejectedWithItsRemedy) {
  Folder folder;
  const auto files = WritePictures(folder, {"0/a.bmp", "1/b.bmp"});
  proto::LocalData bare = ImagesAt(folder, files);
  bare.clear_preprocess();
  auto rejected = OpenDataSet(bare, kPixels);
  EXPECT_REJECTED(rejected, "pictures need a preprocess block");
  EXPECT_THAT(rejected.error().remedy, HasSubstr("preprocess:"));
  const proto::LocalData data = ImagesAt(folder, files);
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kFloat32, {1, 3, 2, 2}}, {"b", kFloat32, {1, 3, 2, 2}}}),
                  "pictures feed one input, and the model has 2 (a, b)");
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kFloat32, {1, 3, 8, 2}}}),
                  "preprocess has height 2, and input a float32 [1,3,8,2] wants 8");
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kFloat32, {1, 2, 2, 3}}}), "wants 2 channels");
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kFloat32, {1, 12}}}), "its rank is not 4");
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kInt64, {1, 3, 2, 2}}}), "neither float nor uint8");
  EXPECT_REJECTED(OpenDataSet(data, {{"a", kFloat32, {2, 3, 2, 2}}}), "labels need one at a time");
  proto::LocalData zero = data;
  zero.mutable_preprocess()->add_std(0);
  EXPECT_REJECTED(OpenDataSet(zero, kPixels), "std finite and not 0");
  proto::LocalData free = data;
  free.mutable_preprocess()->clear_height();
  EXPECT_REJECTED(OpenDataSet(free, kPixels), "preprocess has no height");
  folder.Write("0/a.bmp", "not a picture");
  auto opened = OpenDataSet(data, kPixels);
  ASSERT_OK(opened);
  EXPECT_REJECTED((*opened)->Get(0), "picture '0/a.bmp'");
}

TEST(ImagesTest, PixelsFeedByteAndHalfInputs) {
  Folder folder;
  const auto files = WritePictures(folder, {"a.bmp", "b.bmp"});
  auto bytes = OpenDataSet(ImagesAt(folder, files), {{"p", kUint8, {1, 3, 2, 2}}});
  ASSERT_OK(bytes);
  EXPECT_EQ(Values<uint8_t>((*(*bytes)->Get(1))[0])[0], 1);
  auto halves = OpenDataSet(ImagesAt(folder, files), {{"p", kFloat16, {1, 3, 2, 2}}});
  ASSERT_OK(halves);
  EXPECT_EQ(ToFloats((*(*halves)->Get(1))[0])[0], 1.0f);
}

// A second opinion on decoding and every way of resizing, computed with Pillow and NumPy.
TEST(ImagesTest, ValuesAreWhatNumpyComputes) {
  const fs::path models = FromEnvironment("HONE_MODELS");
  ASSERT_FALSE(models.empty());
  const fs::path picture = models / "text_images" / "0" / "00000.png";
  Folder folder;
  ASSERT_TRUE(RunPython(R"(
import sys, math, numpy as np
from PIL import Image
image = np.asarray(Image.open(sys.argv[1]).convert('RGB')).astype(np.float64)
def axis(n, m):
    c = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    low = np.floor(c).astype(int)
    return low, np.minimum(low + 1, n - 1), c - low
def resize(a, w, h):
    low, high, f = axis(a.shape[0], h)
    a = a[low] * (1 - f)[:, None, None] + a[high] * f[:, None, None]
    low, high, f = axis(a.shape[1], w)
    a = a[:, low] * (1 - f)[None, :, None] + a[:, high] * f[None, :, None]
    return np.floor(a + 0.5)
H, W = 48, 192
h, w = image.shape[:2]
norm = lambda a: ((a[:, :, ::-1] / 255 - 0.5) / 0.5).transpose(2, 0, 1)
out = {'stretch': norm(resize(image, W, H))}
rw = min(W, math.ceil(w * H / h))
pad = np.zeros((3, H, W)); pad[:, :, :rw] = norm(resize(image, rw, H)); out['pad_right'] = pad
s = max(W / w, H / h); cw, ch = max(W, round(w * s)), max(H, round(h * s)); big = resize(image, cw, ch)
y, x = (ch - H) // 2, (cw - W) // 2; out['center_crop'] = norm(big[y:y + H, x:x + W])
s = min(W / w, H / h); lw, lh = min(W, round(w * s)), min(H, round(h * s)); box = np.full((H, W, 3), 114.0)
y, x = (H - lh) // 2, (W - lw) // 2; box[y:y + lh, x:x + lw] = resize(image, lw, lh); out['letterbox'] = norm(box)
np.savez(sys.argv[2], **{k: v.astype('f4')[None] for k, v in out.items()})
)",
                        {picture, folder / "expected.npz"}));
  auto expected = NpzFile::Open(folder / "expected.npz");
  ASSERT_OK(expected);
  auto decoded = ReadPicture(picture, 3);
  ASSERT_OK(decoded);
  proto::Preprocess preprocess = Size(48, 192);
  preprocess.set_bgr(true);
  preprocess.add_mean(0.5);
  preprocess.add_std(0.5);
  const std::pair<const char*, proto::Preprocess::Resize> modes[] = {{"stretch", proto::Preprocess::STRETCH},
                                                                     {"pad_right", proto::Preprocess::PAD_RIGHT},
                                                                     {"center_crop", proto::Preprocess::CENTER_CROP},
                                                                     {"letterbox", proto::Preprocess::LETTERBOX}};
  for (const auto& [name, mode] : modes) {
    preprocess.set_resize(mode);
    const std::vector<float> values = PictureValues(*decoded, preprocess);
    auto rows = expected->Rows(name, 0, 1);
    ASSERT_OK(rows);
    const std::vector<float> wanted = Values<float>(*rows);
    ASSERT_EQ(values.size(), wanted.size());
    size_t apart = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      // One step of 8 bits where rounding met a tie.
      ASSERT_NEAR(values[i], wanted[i], 2.0 / 255 + 1e-5) << name << " at " << i;
      apart += std::abs(values[i] - wanted[i]) > 1e-5 ? 1 : 0;
    }
    EXPECT_LT(apart, values.size() / 1000) << name;
  }
}

}  // namespace
}  // namespace hone::test
