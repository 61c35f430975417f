// static_int8 and calibrate beyond the plain placement: observers, 16-bit codes, smoothing, equalization, bias
// correction, what is left out on request, kept statistics, and data and models that break other quantizers.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "tests/quantization/pass_fixture.h"

namespace hone::test {
namespace {

class StaticInt8Test : public PassTest {
 protected:
  // Of the QuantizeLinear of a value; negative where there is none.
  static float ScaleOf(const Built& built, const std::string& value) {
    for (const auto& node : built.model.graph().node()) {
      if (node.op_type() == "QuantizeLinear" && node.input(0) == value)
        return *ReadTensor(*built.Initializer(node.input(1)))->data<float>();
    }
    return -1;
  }

  // Mean of the differences between what two models give, an output channel (the last dimension) at a time.
  std::vector<double> MeanErrors(const fs::path& original, const Built& built, const fs::path& data, size_t channels) {
    const auto wanted = Outputs(LocalFile(original, "onnx"), "onnxruntime", data);
    const auto got = Outputs(built.bundle, "onnxruntime", data);
    EXPECT_TRUE(wanted && got);
    std::vector<double> means(channels, 0);
    if (!wanted || !got || wanted->size() != got->size()) return means;
    for (size_t i = 0; i < got->size(); ++i)
      means[i % channels] += ((*got)[i] - (*wanted)[i]) / static_cast<double>(got->size() / channels);
    return means;
  }

  // The largest difference, relative to the largest value.
  double LargestError(const fs::path& original, const proto::LocalBundle& other, const fs::path& data) {
    const auto wanted = Outputs(LocalFile(original, "onnx"), "onnxruntime", data);
    const auto got = Outputs(other, "onnxruntime", data);
    EXPECT_TRUE(wanted && got);
    double error = 0;
    double largest = 0;
    for (size_t i = 0; wanted && got && i < wanted->size(); ++i) {
      error = std::max(error, static_cast<double>(std::fabs((*wanted)[i] - (*got)[i])));
      largest = std::max(largest, static_cast<double>(std::fabs((*wanted)[i])));
    }
    return error / largest;
  }

  bool Holds(const proto::LocalBundle& bundle, const std::string& path) const {
    const auto& files = bundle.bundle().files();
    return std::any_of(files.begin(), files.end(), [&](const proto::File& file) { return file.path() == path; });
  }
};

double Energy(const std::vector<double>& values) {
  double energy = 0;
  for (const double value : values) energy += value * value;
  return energy;
}

// x[4,16] -> LayerNormalization -> MatMul, MatMul, with three channels of large gain.
ModelBuilder OutlierModel(bool residual) {
  ModelBuilder b(17, 11);
  b.Input("x", {4, 16}).Output("y", {4, 8}).Output("z", {4, 8});
  std::vector<float> gain(16, 0.5f);
  gain[3] = 40;
  gain[7] = -25;
  gain[12] = 60;
  b.Constant("gain", {16}, gain).Weight("shift", {16}, 0.1f).Weight("w1", {16, 8}, 0.3f).Weight("w2", {16, 8}, 0.3f);
  b.Node("LayerNormalization", {"x", "gain", "shift"}, {"n"});
  b.Node("MatMul", {"n", "w1"}, {"y"});
  b.Node("MatMul", {"n", "w2"}, {"z"});
  if (residual) {
    b.Output("r", {4, 16});
    b.Node("Add", {"n", "x"}, {"r"});
  }
  return b;
}

struct OutlierData : StaticInt8Test {
  void SetUp() override {
    StaticInt8Test::SetUp();
    data = Path("data.npz");
    WriteNpz(data, {{"x", NormalArray({64, 16}, 3)}});
  }
  fs::path data;
};

// ---- observers and code types

TEST_F(StaticInt8Test, EveryObserverOfARecipeIsAcceptedAndKeepsTheModel) {
  const fs::path model = Save(ConvNet(16, 8));
  WriteNpz(Path("data.npz"), {{"image", NormalArray({8, 3, 16, 16}, 9)}});
  for (const char* observer : {"minmax", "moving_average", "mean_minmax", "percentile", "entropy", "mse"}) {
    Parameters parameters = {{"observer", TextValue(observer)}, {"smooth_alpha", RealValue(0.5)}};
    if (std::string(observer) == "percentile") parameters["percentile"] = RealValue(99.99);
    for (const char* activations : {"uint8", "int8"}) {
      parameters["activations"] = TextValue(activations);
      const auto built = Apply(model, "static_int8", parameters, Path("data.npz"));
      ASSERT_TRUE(built) << observer << ": " << built.error().message;
      EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 12) << observer << " " << activations;
    }
  }
}

TEST_F(StaticInt8Test, PercentileLeavesOneOutlierOut) {
  ModelBuilder b;
  b.Input("x", {1, 64}).Output("y", {1, 8});
  b.Weight("w", {64, 8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  Array inputs = NormalArray({64, 64}, 5);
  reinterpret_cast<float*>(inputs.bytes.data())[100] = 1000;
  WriteNpz(Path("data.npz"), {{"x", inputs}});
  const auto all = Apply(model, "static_int8", {}, Path("data.npz"));
  const auto most = Apply(model, "static_int8",
                          {{"observer", TextValue("percentile")}, {"percentile", RealValue(99.9)}}, Path("data.npz"));
  ASSERT_TRUE(all && most);
  EXPECT_GT(ScaleOf(*all, "x"), 3.9f);
  EXPECT_LT(ScaleOf(*most, "x"), 0.05f);
}

TEST_F(StaticInt8Test, SixteenBitCodesNeedOpset21AndRoundLess) {
  const fs::path model = Save(ConvNet(16, 8));
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({8, 3, 16, 16}, 9)}});
  const auto eight = Apply(model, "static_int8", {}, data);
  ASSERT_TRUE(eight) << eight.error().message;
  for (const char* activations : {"uint16", "int16"}) {
    const auto built =
        Apply(model, "static_int8", {{"activations", TextValue(activations)}, {"per_channel", BoolValue(true)}}, data);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_EQ(OpsetVersion(built->model), 21);
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), Sqnr(model, *eight, "onnxruntime", data) + 3) << activations;
    const auto rejected = Apply(
        model, "static_int8", {{"activations", TextValue(activations)}, {"layout", TextValue("openvino")}}, data);
    ASSERT_FALSE(rejected);
    EXPECT_EQ(rejected.error().code, ErrorCode::kRejected);
  }
}

// ---- smoothing

TEST_F(OutlierData, SmoothingFoldsIntoTheNormalizationThatNothingElseReads) {
  const fs::path model = Save(OutlierModel(false));
  const Parameters quantized = {{"layout", TextValue("openvino")}};
  const auto plain = Apply(model, "static_int8", quantized, data);
  Parameters smooth = quantized;
  smooth["smooth_alpha"] = RealValue(0.5);
  const auto built = Apply(model, "static_int8", smooth, data);
  ASSERT_TRUE(plain && built) << built.error().message;
  EXPECT_TRUE(built->HasNote("1 inputs of products smoothed, 1 of them in what computes them"))
      << Join(built->notes, "\n");
  EXPECT_EQ(built->Count("Mul"), 0);
  for (const char* backend : {"onnxruntime", "openvino"})
    EXPECT_GT(Sqnr(model, *built, backend, data), Sqnr(model, *plain, backend, data) + 3) << backend;
}

TEST_F(OutlierData, SmoothingTakesAMulWhereOthersReadTheValue) {
  const fs::path model = Save(OutlierModel(true));
  const auto built = Apply(model, "static_int8",
                           {{"layout", TextValue("openvino")}, {"smooth_alpha", RealValue(0.5)}}, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->HasNote("1 inputs of products smoothed, 0 of them"));
  EXPECT_EQ(built->Count("Mul"), 1);
  // Whoever adds the value reads it as it was.
  EXPECT_EQ(built->Node("r_node")->input(0), "n");
  EXPECT_GT(Sqnr(model, *built, "openvino", data), 25);
}

// What follows from the channels is what running the smoothed model shows.
TEST_F(OutlierData, RangesOfSmoothedValuesFollowFromTheChannels) {
  const fs::path model = Save(OutlierModel(false));
  const Parameters parameters = {{"layout", TextValue("openvino")}, {"smooth_alpha", RealValue(0.5)}};
  const auto built = Apply(model, "static_int8", parameters, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_FALSE(built->HasNote("measured again"));
  Parameters percentile = parameters;
  percentile["observer"] = TextValue("percentile");
  percentile["percentile"] = RealValue(100);
  const auto again = Apply(model, "static_int8", percentile, data);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->HasNote("measured again")) << Join(again->notes, "\n");
  EXPECT_NEAR(ScaleOf(*again, "n") / ScaleOf(*built, "n"), 1, 0.02);
}

// Channels that never fire have no outliers; the others' factors are what they would be without them.
TEST_F(OutlierData, ChannelsThatAreAlwaysZeroDoNotRuinSmoothing) {
  ModelBuilder b(17, 11);
  b.Input("x", {4, 16}).Output("y", {4, 8}).Output("s", {4, 16});
  std::vector<float> keep(16, 1);
  for (const size_t dead : {0, 2, 5, 9, 11, 15}) keep[dead] = 0;
  keep[7] = 40;
  b.Constant("keep", {16}, keep).Weight("w", {16, 8}, 0.3f);
  b.Node("Mul", {"x", "keep"}, {"n"});
  b.Node("Relu", {"n"}, {"s"});
  b.Node("MatMul", {"s", "w"}, {"y"});
  const fs::path model = Save(b);
  for (const char* layout : {"onnxruntime", "openvino"}) {
    const auto built = Apply(
        model, "static_int8",
        {{"layout", TextValue(layout)}, {"per_channel", BoolValue(true)}, {"smooth_alpha", RealValue(0.5)}}, data);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("1 inputs of products smoothed")) << layout;
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 15) << layout;
  }
}

TEST_F(OutlierData, SmoothingALinearPairWorksWithSharedAndTransposedWeights) {
  ModelBuilder b(17, 11);
  b.Input("x", {4, 16}).Output("y", {4, 16}).Output("z", {4, 16});
  b.Weight("w", {16, 16}, 0.3f).Weight("c", {16}, 0.2f);
  SetIntAttribute(*b.Node("Gemm", {"x", "w", "c"}, {"h"}), "transB", 1);
  b.Node("Sigmoid", {"h"}, {"s"});
  b.Node("MatMul", {"s", "w"}, {"y"});
  b.Node("MatMul", {"x", "w"}, {"z"});
  const fs::path model = Save(b);
  const auto built = Apply(model, "static_int8",
                           {{"layout", TextValue("openvino")}, {"smooth_alpha", RealValue(0.7)}}, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), 30);
  EXPECT_GT(Sqnr(model, *built, "openvino", data), 30);
}

TEST_F(OutlierData, SearchedSmoothingTakesWhatPromisesLeast) {
  const fs::path model = Save(OutlierModel(false));
  const auto sqnr = [&](double alpha, bool search) {
    const auto built = Apply(model, "static_int8",
                             {{"layout", TextValue("openvino")},
                              {"smooth_alpha", RealValue(alpha)},
                              {"smooth_search", BoolValue(search)}},
                             data);
    EXPECT_TRUE(built) << built.error().message;
    return built ? Sqnr(model, *built, "onnxruntime", data) : 0;
  };
  const double searched = sqnr(1, true);
  EXPECT_GT(searched, sqnr(0, false) + 3);
  EXPECT_GT(searched, sqnr(1, false) - 1);
  EXPECT_GT(searched, sqnr(0.5, false) - 1);
}

// The first product reads values of which one channel takes nearly the whole range; the second does not.
TEST_F(OutlierData, ProductsThatRoundingCostsMostAreKept) {
  ModelBuilder b(17, 11);
  b.Input("x", {4, 16}).Output("y", {4, 8}).Output("z", {4, 8});
  std::vector<float> gain(16, 1.0f);
  gain[5] = 500;
  b.Constant("gain", {16}, gain).Weight("w1", {16, 8}, 0.3f).Weight("w2", {16, 8}, 0.3f);
  float* first = reinterpret_cast<float*>(b.graph()->mutable_initializer(1)->mutable_raw_data()->data());
  for (int i = 0; i < 8; ++i) first[5 * 8 + i] = 1e-4f;
  b.Node("Mul", {"x", "gain"}, {"loud"});
  b.Node("MatMul", {"loud", "w1"}, {"y"});
  b.Node("MatMul", {"x", "w2"}, {"z"});
  const fs::path model = Save(b);
  for (const char* layout : {"onnxruntime", "openvino"}) {
    const auto built = Apply(model, "static_int8",
                             {{"layout", TextValue(layout)}, {"keep_worst", IntValue(1)},
                              {"coverage", TextValue("products")}},
                             data);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("'y' kept in float")) << Join(built->notes, "\n");
    EXPECT_TRUE(built->HasNote("1 of 2 MatMul quantized"));
    EXPECT_EQ(built->Node("y_node")->input(1), "w1");
  }
}

// ---- equalization

// Conv -> Relu -> depthwise Conv -> Relu -> Conv, the channels of the first far from each other.
ModelBuilder UnequalModel() {
  ModelBuilder b(17, 21);
  b.Input("image", {1, 3, 12, 12}).Output("y", {1, 4, 12, 12});
  b.Weight("k1", {8, 3, 1, 1}, 0.5f).Weight("c1", {8}, 0.1f).Weight("k2", {8, 1, 3, 3}, 0.4f).Weight("c2", {8}, 0.1f);
  b.Weight("k3", {4, 8, 1, 1}, 0.3f);
  float* first = reinterpret_cast<float*>(b.graph()->mutable_initializer(0)->mutable_raw_data()->data());
  for (int channel = 0; channel < 8; ++channel) {
    for (int i = 0; i < 3; ++i) first[channel * 3 + i] *= std::pow(3.0f, static_cast<float>(channel - 4));
  }
  float* last = reinterpret_cast<float*>(b.graph()->mutable_initializer(4)->mutable_raw_data()->data());
  for (int i = 0; i < 32; ++i) last[i] *= std::pow(3.0f, static_cast<float>(4 - i % 8));
  b.Node("Conv", {"image", "k1", "c1"}, {"a"});
  b.Node("Relu", {"a"}, {"ar"});
  auto* depthwise = b.Node("Conv", {"ar", "k2", "c2"}, {"d"});
  ModelBuilder::Ints(depthwise, "pads", {1, 1, 1, 1});
  SetIntAttribute(*depthwise, "group", 8);
  b.Node("Relu", {"d"}, {"dr"});
  b.Node("Conv", {"dr", "k3"}, {"y"});
  return b;
}

TEST_F(StaticInt8Test, EqualizationHelpsOneScaleAWeight) {
  const fs::path model = Save(UnequalModel());
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({16, 3, 12, 12}, 9)}});
  const auto plain = Apply(model, "static_int8", {}, data);
  const auto built = Apply(model, "static_int8", {{"equalize", BoolValue(true)}}, data);
  ASSERT_TRUE(plain && built) << built.error().message;
  EXPECT_TRUE(built->HasNote("2 pairs of layers equalized")) << Join(built->notes, "\n");
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", data), Sqnr(model, *plain, "onnxruntime", data) + 6);
}

TEST_F(StaticInt8Test, EqualizationDoesNotChangeTheFloatModel) {
  const fs::path model = Save(UnequalModel());
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({4, 3, 12, 12}, 9)}});
  // Everything but one product stays in float, and 16 bits are nearly exact.
  const auto built = Apply(model, "static_int8",
                           {{"equalize", BoolValue(true)},
                            {"activations", TextValue("int16")},
                            {"op_types", TextValue("Conv")},
                            {"per_channel", BoolValue(true)}},
                           data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_LT(LargestError(model, built->bundle, data), 0.03);
}

// ---- bias correction

// Inputs with a mean, weights that one scale rounds coarsely.
struct ShiftedData : StaticInt8Test {
  void SetUp() override {
    StaticInt8Test::SetUp();
    data = Path("data.npz");
    Array inputs = NormalArray({64, 24}, 3);
    float* values = reinterpret_cast<float*>(inputs.bytes.data());
    for (size_t i = 0; i < 64 * 24; ++i) values[i] = std::fabs(values[i]) + 2;
    WriteNpz(data, {{"x", inputs}});
  }
  static void Coarsen(ModelBuilder& b) {
    float* values = reinterpret_cast<float*>(b.graph()->mutable_initializer(0)->mutable_raw_data()->data());
    for (int channel = 0; channel < 6; ++channel) values[channel] = 20 + 0.1f * static_cast<float>(channel);
  }
  fs::path data;
};

TEST_F(ShiftedData, CorrectionTakesTheMeanErrorBackEvenWhereABiasElementIsZero) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 24}).Output("y", {1, 6});
  b.Weight("w", {24, 6}, 0.3f).Constant("bias", {6}, {0.5f, 0, -0.25f, 0, 1, 2});
  Coarsen(b);
  b.Node("Gemm", {"x", "w", "bias"}, {"y"});
  const fs::path model = Save(b);
  const auto plain = Apply(model, "static_int8", {}, data);
  const auto built = Apply(model, "static_int8", {{"bias_correction", BoolValue(true)}}, data);
  ASSERT_TRUE(plain && built) << built.error().message;
  EXPECT_TRUE(built->HasNote("1 biases corrected, 0 of them")) << Join(built->notes, "\n");
  EXPECT_LT(Energy(MeanErrors(model, *built, data, 6)), 0.05 * Energy(MeanErrors(model, *plain, data, 6)));
}

TEST_F(ShiftedData, ProductWithoutABiasGetsAnAddOnlyWhereItPays) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 24}).Output("y", {1, 6});
  b.Weight("w", {24, 6}, 0.3f);
  Coarsen(b);
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  const Parameters parameters = {{"bias_correction", BoolValue(true)}, {"layout", TextValue("openvino")}};
  const auto built = Apply(model, "static_int8", parameters, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Count("Add"), 1) << Join(built->notes, "\n");
  const auto plain = Apply(model, "static_int8", {{"layout", TextValue("openvino")}}, data);
  ASSERT_TRUE(plain);
  EXPECT_LT(Energy(MeanErrors(model, *built, data, 6)), 0.1 * Energy(MeanErrors(model, *plain, data, 6)));

  // Inputs around zero: there is nothing to take back.
  Array centred = NormalArray({64, 24}, 4);
  float* values = reinterpret_cast<float*>(centred.bytes.data());
  for (size_t i = 0; i < 32 * 24; ++i) values[32 * 24 + i] = -values[i];
  WriteNpz(Path("centred.npz"), {{"x", centred}});
  const auto without = Apply(model, "static_int8", parameters, Path("centred.npz"));
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(without->Count("Add"), 0);
}

TEST_F(ShiftedData, CorrectionGoesIntoTheConstantThatIsAddedBehind) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 24}).Output("y", {1, 6}).Output("u", {1, 6});
  b.Weight("w", {24, 6}, 0.3f).Weight("c", {6}, 0.3f);
  Coarsen(b);
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.Node("Add", {"c", "h"}, {"y"});
  b.Node("Neg", {"c"}, {"u"});  // Reads the constant too and must keep it.
  const fs::path model = Save(b);
  const Parameters plain_parameters = {{"layout", TextValue("openvino")}};
  Parameters parameters = plain_parameters;
  parameters["bias_correction"] = BoolValue(true);
  const auto built = Apply(model, "static_int8", parameters, data);
  const auto plain = Apply(model, "static_int8", plain_parameters, data);
  ASSERT_TRUE(built && plain) << built.error().message;
  EXPECT_EQ(built->Count("Add"), 1);
  EXPECT_NE(built->Initializer("c"), nullptr);
  EXPECT_LT(Energy(MeanErrors(model, *built, data, 6)), 0.1 * Energy(MeanErrors(model, *plain, data, 6)));
}

// ---- what is left out

TEST_F(StaticInt8Test, PartsOfTheGraphAndItsEndsAreLeftOut) {
  const fs::path model = Save(Transformer(-10000));
  WriteTokens(Path("data.npz"), 4, 16, 5, 1);
  const auto count = [&](Parameters parameters) {
    parameters["layout"] = TextValue("openvino");
    const auto built = Apply(model, "static_int8", parameters, Path("data.npz"));
    EXPECT_TRUE(built) << built.error().message;
    return built ? built->Count("QuantizeLinear") * 100 + built->Count("DequantizeLinear") : -1;
  };
  // Two layers of four products: 4 activations (q, k and v share one) and 8 weights.
  EXPECT_EQ(count({}), 412);
  EXPECT_EQ(count({{"keep_first", IntValue(3)}}), 308);
  EXPECT_EQ(count({{"keep_last", IntValue(1)}}), 310);
  EXPECT_EQ(count({{"exclude_between", TextValue("x0->norma")}}), 206);
  EXPECT_EQ(count({{"exclude_between", TextValue(" qma_node -> rawa , outb->hidden")}}), 411);
  const auto unknown = Apply(model, "static_int8", {{"exclude_between", TextValue("x0->nowhere")}}, Path("data.npz"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kRejected);
  EXPECT_NE(unknown.error().message.find("'nowhere'"), std::string::npos) << unknown.error().message;
  for (const char* text : {"x0", "hidden->x0"}) {
    const auto rejected = Apply(model, "static_int8", {{"exclude_between", TextValue(text)}}, Path("data.npz"));
    ASSERT_FALSE(rejected) << text;
    EXPECT_EQ(rejected.error().code, ErrorCode::kRejected);
  }
}

TEST_F(StaticInt8Test, ResidualsReadTheFloatValuesInTheOpenvinoLayout) {
  const fs::path model = Save(Transformer(-10000));
  WriteTokens(Path("data.npz"), 4, 16, 5, 1);
  const auto built = Apply(model, "static_int8", {{"layout", TextValue("openvino")}}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_EQ(built->Node("resb_node")->input(1), "norma");
  EXPECT_NE(built->Node("qmb_node")->input(0), "norma");
}

// What lies between the products of a transformer stays in float; the graph decides, and a recipe may.
TEST_F(StaticInt8Test, TransformersAreQuantizedAtTheirProductsAndConvolutionsThroughout) {
  const fs::path model = Save(Transformer(-10000), "transformer.onnx");
  WriteTokens(Path("tokens.npz"), 4, 16, 5, 1);
  const auto chosen = Apply(model, "static_int8", {}, Path("tokens.npz"));
  const auto all = Apply(model, "static_int8", {{"coverage", TextValue("all")}}, Path("tokens.npz"));
  ASSERT_TRUE(chosen && all) << chosen.error().message;
  EXPECT_EQ(chosen->Count("QuantizeLinear"), 4);
  EXPECT_GT(all->Count("QuantizeLinear"), 20);
  EXPECT_EQ(chosen->Node("resb_node")->input(1), "norma");
  EXPECT_GT(Sqnr(model, *chosen, "onnxruntime", Path("tokens.npz")),
            Sqnr(model, *all, "onnxruntime", Path("tokens.npz")) + 3);
  const fs::path conv = Save(ConvNet(16, 8), "conv.onnx");
  WriteNpz(Path("image.npz"), {{"image", NormalArray({4, 3, 16, 16}, 9)}});
  const auto whole = Apply(conv, "static_int8", {}, Path("image.npz"));
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_TRUE(whole->HasNote("1 of 1 GlobalAveragePool quantized")) << Join(whole->notes, "\n");
}

// Between the convolutions of a residual block memory holds codes: both sides of the sum are quantized, and the block's
// input is read as codes by all.
TEST_F(StaticInt8Test, SumsOfConvolutionsAreQuantizedInTheOpenvinoLayout) {
  ModelBuilder b(17, 3);
  b.Input("image", {1, 8, 8, 8}).Output("y", {1, 8, 8, 8});
  for (const char* name : {"k1", "k2", "k3"}) b.Weight(name, {8, 8, 1, 1}, 0.3f);
  b.Weight("kd", {8, 1, 3, 3}, 0.3f);
  b.Node("Conv", {"image", "k1"}, {"a"});
  b.Node("Relu", {"a"}, {"ar"});
  b.Node("Conv", {"ar", "k2"}, {"c"});
  b.Node("Add", {"c", "ar"}, {"sum"});
  b.Node("Relu", {"sum"}, {"sr"});
  auto* depthwise = b.Node("Conv", {"sr", "kd"}, {"d"});
  ModelBuilder::Ints(depthwise, "pads", {1, 1, 1, 1});
  SetIntAttribute(*depthwise, "group", 8);
  b.Node("Conv", {"d", "k3"}, {"y"});
  const fs::path model = Save(b);
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({8, 8, 8, 8}, 9)}});
  const auto built = Apply(model, "static_int8", {{"layout", TextValue("openvino")}}, data);
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->HasNote("1 of 1 Add quantized")) << Join(built->notes, "\n");
  EXPECT_TRUE(built->HasNote("1 Conv left in float: depthwise"));
  EXPECT_EQ(built->Count("QuantizeLinear"), 4);  // image, ar, c and d.
  EXPECT_EQ(built->Node("sum_node")->input(1), built->Node("c_node")->input(0));
  for (const char* backend : {"onnxruntime", "openvino"}) EXPECT_GT(Sqnr(model, *built, backend, data), 25) << backend;
  const auto whole =
      Apply(model, "static_int8", {{"layout", TextValue("openvino")}, {"depthwise", TextValue("yes")}}, data);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_TRUE(whole->HasNote("4 of 4 Conv quantized"));
  const auto products =
      Apply(model, "static_int8", {{"layout", TextValue("openvino")}, {"coverage", TextValue("products")}}, data);
  ASSERT_TRUE(products) << products.error().message;
  EXPECT_EQ(products->Node("sum_node")->input(1), "ar");
}

// ---- shared scales

// ONNX Runtime's quantizer gives each part a scale of its own and rounds twice.
TEST_F(StaticInt8Test, PartsOfAConcatShareOneScaleWithTheWhole) {
  ModelBuilder b(17, 3);
  b.Input("image", {1, 3, 8, 8}).Output("y", {1, 8, 8, 8});
  b.Weight("k1", {4, 3, 1, 1}, 0.2f).Weight("k2", {4, 3, 1, 1}, 2.0f).Weight("k3", {8, 8, 1, 1}, 0.3f);
  b.Node("Conv", {"image", "k1"}, {"a"});
  b.Node("Conv", {"image", "k2"}, {"c"});
  SetIntAttribute(*b.Node("Concat", {"a", "c"}, {"j"}), "axis", 1);
  b.Node("Conv", {"j", "k3"}, {"y"});
  const fs::path model = Save(b);
  WriteNpz(Path("data.npz"), {{"image", NormalArray({8, 3, 8, 8}, 9)}});
  const auto built = Apply(model, "static_int8", {}, Path("data.npz"));
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_GT(ScaleOf(*built, "j"), 0);
  EXPECT_EQ(ScaleOf(*built, "a"), ScaleOf(*built, "j"));
  EXPECT_EQ(ScaleOf(*built, "c"), ScaleOf(*built, "j"));
  EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 25);
}

// ---- kept statistics

TEST_F(OutlierData, KeptStatisticsGiveTheSameBytesAsFreshOnes) {
  const fs::path model = Save(OutlierModel(false));
  const auto calibrated = Apply(model, "calibrate", {}, data);
  ASSERT_TRUE(calibrated) << calibrated.error().message;
  EXPECT_TRUE(Holds(calibrated->bundle, "statistics.bin"));
  EXPECT_EQ(*ReadFile(calibrated->file, 1 << 20), *ReadFile(model, 1 << 20));
  const std::vector<Parameters> cases = {
      {},
      {{"observer", TextValue("entropy")}, {"layout", TextValue("openvino")}},
      {{"observer", TextValue("percentile")}, {"smooth_alpha", RealValue(0.5)}},
      {{"smooth_alpha", RealValue(0.95)}, {"bias_correction", BoolValue(true)}, {"layout", TextValue("openvino")}},
  };
  for (const Parameters& parameters : cases) {
    const auto fresh = Apply(model, "static_int8", parameters, data);
    const auto kept = ApplyTo(calibrated->bundle, "static_int8", parameters, data);
    ASSERT_TRUE(fresh && kept) << kept.error().message;
    EXPECT_TRUE(kept->HasNote("taken from statistics.bin")) << Join(kept->notes, "\n");
    EXPECT_FALSE(Holds(kept->bundle, "statistics.bin"));
    EXPECT_EQ(*ReadFile(fresh->file, 1 << 20), *ReadFile(kept->file, 1 << 20));
  }
}

TEST_F(StaticInt8Test, EqualizedValuesAreMeasuredAgainInSpiteOfKeptStatistics) {
  const fs::path model = Save(UnequalModel());
  const fs::path data = Path("data.npz");
  WriteNpz(data, {{"image", NormalArray({4, 3, 12, 12}, 9)}});
  const auto calibrated = Apply(model, "calibrate", {}, data);
  ASSERT_TRUE(calibrated) << calibrated.error().message;
  const Parameters parameters = {{"equalize", BoolValue(true)}, {"bias_correction", BoolValue(true)}};
  const auto fresh = Apply(model, "static_int8", parameters, data);
  const auto kept = ApplyTo(calibrated->bundle, "static_int8", parameters, data);
  ASSERT_TRUE(fresh && kept) << kept.error().message;
  EXPECT_EQ(*ReadFile(fresh->file, 1 << 20), *ReadFile(kept->file, 1 << 20));
}

TEST_F(OutlierData, BrokenStatisticsAreRejectedAndOtherStepsDropThem) {
  const fs::path model = Save(OutlierModel(false));
  const auto calibrated = Apply(model, "calibrate", {}, data);
  ASSERT_TRUE(calibrated) << calibrated.error().message;
  const auto simple = ApplyTo(calibrated->bundle, "simplify");
  ASSERT_TRUE(simple) << simple.error().message;
  EXPECT_FALSE(Holds(simple->bundle, "statistics.bin"));
  const fs::path file = fs::path(calibrated->bundle.folder()) / "statistics.bin";
  fs::resize_file(file, fs::file_size(file) / 2);
  const auto broken = ApplyTo(calibrated->bundle, "static_int8", {}, data);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::kRejected) << broken.error().message;
  const auto without = Apply(model, "calibrate");
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, ErrorCode::kRejected);
}

// ---- hostile models and data

// ONNX Runtime's min-max gives such a mask a scale of infinity; its entropy calibrator crashes.
TEST_F(StaticInt8Test, MaskOfMinusInfinityStaysInFloatForEveryObserver) {
  const float inf = std::numeric_limits<float>::infinity();
  ModelBuilder b(17, 3);
  b.Input("x", {1, 8, 8}).Input("open", {1, 8, 8}, onnx::TensorProto::BOOL).Output("y", {1, 8, 8});
  b.Weight("w", {8, 8}, 0.5f).Weight("v", {8, 8}, 0.5f).Constant("closed", {}, {-inf}).Constant("zero", {}, {0});
  b.Node("MatMul", {"x", "w"}, {"scores"});
  b.Node("Where", {"open", "zero", "closed"}, {"mask"});
  b.Node("Add", {"scores", "mask"}, {"masked"});
  b.Node("Softmax", {"masked"}, {"weights"});
  b.Node("MatMul", {"weights", "v"}, {"y"});
  const fs::path model = Save(b);
  std::string open(4 * 64, 1);
  for (size_t i = 0; i < open.size(); i += 3) open[i] = 0;
  WriteNpz(Path("data.npz"), {{"x", NormalArray({4, 8, 8}, 3)}, {"open", {"|b1", {4, 8, 8}, open}}});
  for (const char* observer : {"minmax", "mean_minmax", "entropy", "percentile", "mse"}) {
    for (const char* layout : {"onnxruntime", "openvino"}) {
      const auto built = Apply(model, "static_int8", {{"observer", TextValue(observer)}, {"layout", TextValue(layout)}},
                               Path("data.npz"));
      ASSERT_TRUE(built) << observer << ": " << built.error().message;
      EXPECT_LT(ScaleOf(*built, "mask"), 0);
      EXPECT_LT(ScaleOf(*built, "masked"), 0);
      EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 20) << observer << " " << layout;
      EXPECT_GT(Sqnr(model, *built, "openvino", Path("data.npz")), 20) << observer << " " << layout;
    }
  }
}

TEST_F(StaticInt8Test, NonFiniteCalibrationValuesAreLeftOutOfTheRangesAndTold) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 16}).Output("y", {1, 8});
  b.Weight("w", {16, 16}, 0.3f).Weight("v", {16, 8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.Node("Relu", {"h"}, {"r"});
  b.Node("MatMul", {"r", "v"}, {"y"});
  const fs::path model = Save(b);
  Array clean = NormalArray({32, 16}, 5);
  WriteNpz(Path("clean.npz"), {{"x", clean}});
  reinterpret_cast<float*>(clean.bytes.data())[40] = std::numeric_limits<float>::quiet_NaN();
  WriteNpz(Path("data.npz"), {{"x", clean}});
  for (const char* observer : {"minmax", "entropy"}) {
    const auto built = Apply(model, "static_int8", {{"observer", TextValue(observer)}}, Path("data.npz"));
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("were not finite; its range leaves them out")) << Join(built->notes, "\n");
    EXPECT_TRUE(built->HasNote("2 of 2 MatMul quantized"));
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("clean.npz")), 20);
  }
}

TEST_F(StaticInt8Test, ChannelsOfZerosAndOfOneSignAreExactEnough) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 16}).Output("y", {1, 8});
  b.Weight("w", {16, 8}, 0.3f);
  float* values = reinterpret_cast<float*>(b.graph()->mutable_initializer(0)->mutable_raw_data()->data());
  for (int row = 0; row < 16; ++row) {
    values[row * 8] = 0;                                              // A channel of zeros.
    values[row * 8 + 1] = 10 + 0.01f * static_cast<float>(row);       // All positive, hardly any spread.
    values[row * 8 + 2] = -3 - 0.001f * static_cast<float>(row * 2);  // All negative.
  }
  b.Node("MatMul", {"x", "w"}, {"y"});
  const fs::path model = Save(b);
  Array inputs = NormalArray({32, 16}, 5);
  for (size_t i = 0; i < 32; ++i) reinterpret_cast<float*>(inputs.bytes.data())[i * 16 + 4] = 0;
  WriteNpz(Path("data.npz"), {{"x", inputs}});
  for (const char* layout : {"onnxruntime", "openvino"}) {
    for (const bool extras : {false, true}) {
      const auto built = Apply(model, "static_int8",
                               {{"layout", TextValue(layout)},
                                {"per_channel", BoolValue(true)},
                                {"smooth_alpha", RealValue(extras ? 0.5 : 0)},
                                {"bias_correction", BoolValue(extras)}},
                               Path("data.npz"));
      ASSERT_TRUE(built) << built.error().message;
      EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 28) << layout << extras;
      EXPECT_GT(Sqnr(model, *built, "openvino", Path("data.npz")), 28) << layout << extras;
      const auto got = Outputs(built->bundle, "onnxruntime", Path("data.npz"));
      ASSERT_TRUE(got);
      for (size_t i = 0; i < got->size(); i += 8) EXPECT_EQ((*got)[i], 0);
    }
  }
}

TEST_F(StaticInt8Test, WhatBranchesAndLoopsReadKeepsItsValues) {
  ModelBuilder b(17, 3);
  b.Input("x", {1, 8}).Input("which", {}, onnx::TensorProto::BOOL).Output("y", {1, 8});
  b.Weight("w", {8, 8}, 0.3f).Weight("v", {8, 8}, 0.3f);
  b.Node("MatMul", {"x", "w"}, {"h"});
  b.Node("Relu", {"h"}, {"r"});
  b.If("which", "s", {"MatMul", {"r", "w"}}, {"Add", {"r", "r"}});
  b.Node("MatMul", {"s", "v"}, {"y"});
  const fs::path model = Save(b);
  std::string which(16, 0);
  for (size_t i = 0; i < which.size(); i += 2) which[i] = 1;
  WriteNpz(Path("data.npz"), {{"x", NormalArray({16, 8}, 5)}, {"which", {"|b1", {16}, which}}});
  for (const char* layout : {"onnxruntime", "openvino"}) {
    const auto built = Apply(model, "static_int8",
                             {{"layout", TextValue(layout)},
                              {"smooth_alpha", RealValue(0.5)},
                              {"bias_correction", BoolValue(true)},
                              {"equalize", BoolValue(true)}},
                             Path("data.npz"));
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_TRUE(built->HasNote("inside If, Loop or Scan left in float")) << Join(built->notes, "\n");
    EXPECT_NE(built->Initializer("w"), nullptr);
    EXPECT_GT(Sqnr(model, *built, "onnxruntime", Path("data.npz")), 25) << layout;
  }
}

TEST_F(StaticInt8Test, LoopsAndScansKeepTheirValuesWhileTheRestIsQuantized) {
  const fs::path model = Save(LoopAndScan(3));
  WriteNpz(Path("data.npz"), {{"x", NormalArray({64, 8}, 5)}});
  for (const char* layout : {"onnxruntime", "openvino"}) {
    const auto built = Apply(model, "static_int8",
                             {{"layout", TextValue(layout)}, {"bias_correction", BoolValue(true)}}, Path("data.npz"));
    ASSERT_TRUE(built) << layout << ": " << built.error().message;
    EXPECT_TRUE(built->HasNote("4 nodes inside If, Loop or Scan left in float")) << Join(built->notes, "\n");
    EXPECT_TRUE(built->HasNote("2 of 2 MatMul quantized")) << Join(built->notes, "\n");
    EXPECT_GT(Sqnr(model, *built, layout, Path("data.npz")), 25) << layout;
  }
}

}  // namespace
}  // namespace hone::test
