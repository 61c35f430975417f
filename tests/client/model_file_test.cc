#include "client/model_file.h"

#include <gmock/gmock.h>

#include "client/hub_snapshot.h"
#include "client/job_request.h"
#include "tests/client/fixtures.h"
#include "tests/support/programs.h"

namespace hone::test {
namespace {

proto::InspectResult OneInput(const std::vector<std::string>& dims) {
  proto::InspectResult info;
  proto::TensorInfo& input = *info.add_inputs();
  input.set_name("image");
  input.set_type("float32");
  for (const std::string& dim : dims) input.add_dims(dim);
  return info;
}

google::protobuf::RepeatedPtrField<proto::InputShape> Pins(const std::vector<std::string>& words) {
  const auto pins = ParsePins(words);
  EXPECT_TRUE(pins) << pins.error().message;
  return {pins->begin(), pins->end()};
}

TEST(PinTest, ShapesAreRead) {
  const auto pins = Pins({"image=1,3,?,64", "a=b=2"});
  ASSERT_EQ(pins.size(), 2);
  EXPECT_EQ(pins[0].name(), "image");
  EXPECT_EQ((std::vector<int64_t>(pins[0].dims().begin(), pins[0].dims().end())), (std::vector<int64_t>{1, 3, -1, 64}));
  EXPECT_EQ(pins[1].name(), "a=b");
}

TEST(PinTest, MalformedShapesAreUsageErrors) {
  for (const char* word :
       {"image", "=1", "image=", "image=1,,2", "image=0", "image=-2", "image=x", "image=99999999999999"}) {
    const auto pins = ParsePins({word});
    ASSERT_FALSE(pins) << word;
    EXPECT_EQ(pins.error().code, ErrorCode::kUsage);
  }
  EXPECT_FALSE(ParsePins({"a=1", "a=2"}));
}

TEST(PinTest, MustNameAnInputAndFitIt) {
  const proto::InspectResult info = OneInput({"?", "3", "64"});
  EXPECT_TRUE(CheckPins(info, Pins({"image=1,3,64"})));
  const auto unknown = CheckPins(info, Pins({"imag=1,3,64"}));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kRejected);
  EXPECT_NE(unknown.error().message.find("'image'"), std::string::npos);
  EXPECT_FALSE(CheckPins(info, Pins({"image=1,3"})));
  EXPECT_FALSE(CheckPins(info, Pins({"image=1,4,64"})));
}

TEST(PinTest, FreeDimensionIsNamedWithTheFlagThatPinsIt) {
  const proto::InspectResult info = OneInput({"batch", "3"});
  const auto free = RequireKnownShapes(info, {});
  ASSERT_FALSE(free);
  EXPECT_EQ(free.error().code, ErrorCode::kRejected);
  EXPECT_NE(free.error().message.find("'image'"), std::string::npos);
  EXPECT_NE(free.error().message.find("'batch'"), std::string::npos);
  EXPECT_NE(free.error().remedy.find("--input image=1,3"), std::string::npos);
  EXPECT_TRUE(RequireKnownShapes(info, Pins({"image=1,3"})));
  EXPECT_FALSE(RequireKnownShapes(info, Pins({"image=?,3"})));
  EXPECT_TRUE(RequireKnownShapes(OneInput({"1", "3"}), {}));
}

TEST(OpenTest, WhatIsMissingIsRejectedByName) {
  const auto model = OpenModel("/nowhere/model.onnx");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kRejected);
  EXPECT_NE(model.error().message.find("/nowhere/model.onnx"), std::string::npos);
  EXPECT_EQ(OpenData("/nowhere/data.npz").error().code, ErrorCode::kRejected);
  EXPECT_EQ(ReadRecipe("/nowhere/recipe.yaml").error().code, ErrorCode::kRejected);
}

TEST(OutputNamesTest, OnnxKeepsTheNamesOfItsWeights) {
  proto::Bundle bundle;
  bundle.set_format("onnx");
  bundle.set_main("net.onnx");
  *bundle.add_files() = FileOf("net.onnx");
  *bundle.add_files() = FileOf("net.onnx.data");
  *bundle.add_files() = FileOf("weights/a.bin");
  EXPECT_EQ(OutputNames(bundle), (std::vector<std::string>{"model.onnx", "net.onnx.data", "weights/a.bin"}));
}

TEST(OutputNamesTest, WeightsOfAnIrFollowItsName) {
  proto::Bundle bundle;
  bundle.set_format("openvino_ir");
  bundle.set_main("net.xml");
  *bundle.add_files() = FileOf("net.bin");
  *bundle.add_files() = FileOf("net.xml");
  EXPECT_EQ(OutputNames(bundle), (std::vector<std::string>{"model.bin", "model.xml"}));
  EXPECT_EQ(OutputNames(bundle, "int8"), (std::vector<std::string>{"int8.bin", "int8.xml"}));
}

TEST(CalibrationShareTest, AtMostHalfAndAtMost128) {
  EXPECT_EQ(CalibrationShare(0), 0U);
  EXPECT_EQ(CalibrationShare(1), 0U);
  EXPECT_EQ(CalibrationShare(40), 20U);
  EXPECT_EQ(CalibrationShare(256), 128U);
  EXPECT_EQ(CalibrationShare(10'000), 128U);
}

// A repository in the hub's cache: links of a revision to blobs.
class HubTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(snapshot_ / "1_Pooling");
    fs::create_directories(repository_ / "blobs");
    Add("config.json", "ab12", "../../blobs/ab12");
    Add("1_Pooling/config.json", "cd34", "../../../blobs/cd34");
    Add("model.safetensors", "ef56", "../../blobs/ef56");
    Add("pytorch_model.bin", "0778", "../../blobs/0778");
  }
  void Add(const std::string& name, const std::string& blob, const std::string& target) {
    std::ofstream(repository_ / "blobs" / blob) << name;
    fs::create_symlink(target, snapshot_ / name);
  }
  TempFolder folder_;
  const fs::path repository_ = fs::canonical(folder_.path()) / "models--tiny";
  const fs::path snapshot_ = repository_ / "snapshots" / "2a7f";
};

TEST_F(HubTest, ARevisionBecomesAFolderOfPlainFiles) {
  ASSERT_TRUE(IsHubSnapshot(snapshot_));
  EXPECT_TRUE(IsHubSnapshot(snapshot_.string() + "/"));
  EXPECT_FALSE(IsHubSnapshot(repository_));
  fs::path place;
  {
    const auto plain = PlainSnapshot(snapshot_);
    ASSERT_TRUE(plain) << plain.error().message;
    place = plain->path();
    for (const char* name : {"config.json", "1_Pooling/config.json", "model.safetensors"}) {
      EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(place / name))) << name;
      EXPECT_EQ(TextOf(place / name), name);
    }
    EXPECT_FALSE(fs::exists(place / "pytorch_model.bin"));
  }
  EXPECT_FALSE(fs::exists(place));
  EXPECT_EQ(TextOf(snapshot_ / "config.json"), "config.json");
}

TEST_F(HubTest, ALinkThatLeadsElsewhereIsRefused) {
  std::ofstream(folder_ / "secret.json") << "mine";
  fs::create_symlink(folder_ / "secret.json", snapshot_ / "tokenizer.json");
  const auto out = PlainSnapshot(snapshot_);
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, ErrorCode::kRejected);
  EXPECT_THAT(out.error().message, testing::HasSubstr("leads out of the hub's cache"));
  fs::remove(snapshot_ / "tokenizer.json");
  fs::remove(repository_ / "blobs" / "ef56");
  const auto gone = PlainSnapshot(snapshot_);
  ASSERT_FALSE(gone);
  EXPECT_THAT(gone.error().message, testing::HasSubstr("leads to nothing"));
}

}  // namespace
}  // namespace hone::test
