// A real classifier on real pictures, through data set and backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/recipe/value.h"
#include "tests/backends/fixtures.h"
#include "worker/backends/backend.h"

namespace hone::test {
namespace {

class TextAngle : public ::testing::TestWithParam<BackendRow> {};

TEST_P(TextAngle, ClassifiesPicturesOfText) {
  const fs::path models = FromEnvironment("HONE_MODELS");
  ASSERT_FALSE(models.empty());
  auto bundle = BundleOfData(models / "text_images");
  ASSERT_OK(bundle);
  proto::LocalData images;
  *images.mutable_data()->mutable_bundle() = *bundle;
  images.mutable_data()->set_folder((models / "text_images").string());
  images.set_samples(120);
  proto::Preprocess& preprocess = *images.mutable_preprocess();
  preprocess.set_height(48);
  preprocess.set_width(192);
  preprocess.set_resize(proto::Preprocess::PAD_RIGHT);
  preprocess.set_bgr(true);
  preprocess.add_mean(0.5);
  preprocess.add_std(0.5);

  for (const bool pinned : {false, true}) {
    LoadOptions options;
    if (pinned) {
      auto* pin = options.inputs.Add();
      pin->set_name("x");
      for (const int64_t dim : {1, 3, 48, 192}) pin->add_dims(dim);
    }
    auto session = GetParam().load(ModelAt(models / "text_angle.onnx"), options);
    ASSERT_OK(session);
    auto data = OpenDataSet(images, (*session)->inputs());
    ASSERT_OK(data);
    ASSERT_EQ((*data)->size(), 120u);
    size_t right = 0;
    for (size_t i = 0; i < (*data)->size(); ++i) {
      auto sample = (*data)->Get(i);
      ASSERT_OK(sample);
      auto outputs = (*session)->Run(*sample);
      ASSERT_OK(outputs);
      const std::vector<float> scores = Values<float>((*outputs)[0]);
      ASSERT_EQ(scores.size(), 2u);
      right += (scores[1] > scores[0] ? 1 : 0) == (*data)->labels()[i] ? 1 : 0;
    }
    EXPECT_GT(static_cast<double>(right) / static_cast<double>((*data)->size()), 0.95);
  }
}

TEST_P(TextAngle, ExecutionListsItsConvolutions) {
  const fs::path models = FromEnvironment("HONE_MODELS");
  ASSERT_FALSE(models.empty());
  auto session = GetParam().load(ModelAt(models / "text_angle.onnx"), {});
  ASSERT_OK(session);
  auto execution = (*session)->Execution();
  ASSERT_OK(execution);
  const bool convolves = std::any_of(execution->kernels().begin(), execution->kernels().end(), [](const auto& kernel) {
    return kernel.type().find("Conv") != std::string::npos && !kernel.precision().empty();
  });
  EXPECT_TRUE(convolves) << execution->DebugString();
}

INSTANTIATE_TEST_SUITE_P(Every, TextAngle, ::testing::ValuesIn(Backends()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace hone::test
