// Statistics equal those of the tensors as ONNX Runtime computes them without optimization, whatever the number of
// threads; observers find what they are for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <set>

#include "common/base/file.h"
#include "worker/backends/backend.h"
#include "worker/calibration/gram.h"
#include "worker/calibration/histogram.h"
#include "worker/calibration/observer.h"
#include "worker/calibration/statistics.h"
#include "worker/data/data_set.h"
#include "worker/model/model.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Samples made in the test.
class Samples : public DataSet {
 public:
  explicit Samples(std::vector<std::vector<Tensor>> samples) : samples_(std::move(samples)) {}
  size_t size() const override { return samples_.size(); }
  Result<std::vector<Tensor>> Get(size_t index) const override { return samples_[index]; }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string digest() const override { return "test"; }

 private:
  std::vector<std::vector<Tensor>> samples_;
  std::vector<int64_t> labels_;
};

Tensor Floats(const std::string& name, std::vector<int64_t> dims, const std::vector<float>& values) {
  Tensor tensor{name, onnx::TensorProto::FLOAT, std::move(dims), {}};
  tensor.bytes.resize(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

std::vector<float> Normal(size_t count, uint32_t seed, float spread = 1, float mean = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

void AddInput(onnx::GraphProto& graph, const std::string& name, const std::vector<int64_t>& dims, int type = 1) {
  auto& input = *graph.add_input();
  input.set_name(name);
  input.mutable_type()->mutable_tensor_type()->set_elem_type(type);
  auto& shape = *input.mutable_type()->mutable_tensor_type()->mutable_shape();
  for (const int64_t dim : dims) {
    if (dim < 0) {
      shape.add_dim()->set_dim_param("d" + std::to_string(shape.dim_size()));
    } else {
      shape.add_dim()->set_dim_value(dim);
    }
  }
}

onnx::NodeProto& AddNode(onnx::GraphProto& graph, const std::string& type, const std::vector<std::string>& inputs,
                         const std::string& output) {
  auto& node = *graph.add_node();
  node.set_op_type(type);
  for (const auto& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

// x [?, width] -> MatMul(w) -> h -> Relu -> r -> MatMul(v) -> y, with weights large enough to be lent.
onnx::ModelProto TwoLayers(int64_t width = 64) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  SetOpset(model, "", 17);
  auto& graph = *model.mutable_graph();
  graph.set_name("two");
  AddInput(graph, "x", {-1, width});
  const auto size = static_cast<size_t>(width * width);
  *graph.add_initializer() = MakeTensor("w", 1, {width, width}, Normal(size, 1, 0.2f));
  *graph.add_initializer() = MakeTensor("v", 1, {width, width}, Normal(size, 2, 0.2f));
  AddNode(graph, "MatMul", {"x", "w"}, "h");
  AddNode(graph, "Relu", {"h"}, "r");
  AddNode(graph, "MatMul", {"r", "v"}, "y");
  AddNode(graph, "Softmax", {"y"}, "p");
  auto& output = *graph.add_output();
  output.set_name("p");
  output.mutable_type()->mutable_tensor_type()->set_elem_type(1);
  return model;
}

Samples RowsOf(size_t samples, int64_t width = 64, size_t most_rows = 7) {
  std::vector<std::vector<Tensor>> all;
  for (size_t i = 0; i < samples; ++i) {
    const auto rows = static_cast<int64_t>(1 + i % most_rows);
    all.push_back({Floats(
        "x", {rows, width},
        Normal(static_cast<size_t>(rows * width), static_cast<uint32_t>(100 + i), 1 + static_cast<float>(i % 5)))});
  }
  return Samples(std::move(all));
}

StatisticsRequest Everything(const std::string& tensor) {
  StatisticsRequest request;
  request.tensor = tensor;
  request.histogram = true;
  request.channel_axis = -1;
  request.gram = true;
  return request;
}

std::string FileBytes(const Statistics& statistics) {
  const auto folder = ScopedFolder::Make(fs::temp_directory_path(), "hone-statistics-");
  EXPECT_TRUE(folder);
  EXPECT_TRUE(SaveStatistics(statistics, folder->path() / "s"));
  const auto bytes = ReadFile(folder->path() / "s", 1 << 30);
  EXPECT_TRUE(bytes);
  return *bytes;
}

uint64_t Total(const Histogram& histogram) {
  uint64_t total = 0;
  for (const uint64_t count : histogram.counts) total += count;
  return total;
}

// The named values of every sample as an ordinary session gives them.
std::vector<std::vector<float>> Reference(onnx::ModelProto model, const DataSet& data, const std::string& name) {
  model.mutable_graph()->clear_output();
  model.mutable_graph()->add_output()->set_name(name);
  const auto session = LoadOnnxBytes(model.SerializeAsString(), 1, false);
  EXPECT_TRUE(session) << session.error().message;
  std::vector<std::vector<float>> all;
  for (size_t i = 0; i < data.size(); ++i) {
    const auto outputs = (*session)->Run(*data.Get(i));
    EXPECT_TRUE(outputs) << outputs.error().message;
    all.push_back(ToFloats(outputs->front()));
  }
  return all;
}

TEST(StatisticsTest, EqualThoseOfTheTensorsThatAnOrdinarySessionGives) {
  const auto model = TwoLayers();
  const Samples data = RowsOf(23);
  const auto statistics = CollectStatistics(model, {Everything("h"), Everything("r"), Everything("x")}, data, {});
  ASSERT_TRUE(statistics) << statistics.error().message;
  ASSERT_EQ(statistics->size(), 3u);
  for (const std::string name : {"h", "r"}) {
    const TensorStatistics& got = statistics->at(name);
    const auto values = Reference(model, data, name);
    float low = kInf, high = -kInf;
    double mean_low = 0, mean_high = 0, moving_low = 0;
    uint64_t count = 0;
    std::vector<double> sums(64), magnitudes(64);
    std::vector<double> gram(64 * 64);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto [least, most] = std::minmax_element(values[i].begin(), values[i].end());
      low = std::min(low, *least);
      high = std::max(high, *most);
      mean_low += *least;
      mean_high += *most;
      moving_low = i == 0 ? *least : moving_low + 0.01 * (*least - moving_low);
      count += values[i].size();
      for (size_t at = 0; at < values[i].size(); at += 64) {
        for (size_t a = 0; a < 64; ++a) {
          sums[a] += values[i][at + a];
          magnitudes[a] += std::fabs(values[i][at + a]);
          for (size_t b = 0; b < 64; ++b) gram[a * 64 + b] += double{values[i][at + a]} * double{values[i][at + b]};
        }
      }
    }
    EXPECT_EQ(got.low, low);
    EXPECT_EQ(got.high, high);
    EXPECT_EQ(got.values, count);
    EXPECT_EQ(got.samples, values.size());
    EXPECT_EQ(got.non_finite, 0u);
    EXPECT_NEAR(got.mean_low, mean_low / 23, 1e-6);
    EXPECT_NEAR(got.mean_high, mean_high / 23, 1e-6);
    EXPECT_NEAR(got.moving_low, moving_low, 1e-6);
    EXPECT_EQ(Total(got.histogram), count);
    ASSERT_EQ(got.channels.mean.size(), 64u);
    EXPECT_EQ(*std::min_element(got.channels.low.begin(), got.channels.low.end()), low);
    for (size_t c = 0; c < 64; ++c) {
      EXPECT_NEAR(got.channels.mean[c], sums[c] * 64 / static_cast<double>(count), 1e-6);
      EXPECT_NEAR(got.channels.mean_magnitude[c], magnitudes[c] * 64 / static_cast<double>(count), 1e-6);
    }
    ASSERT_EQ(got.gram.size(), gram.size());
    EXPECT_EQ(got.gram_rows, count / 64);
    const double largest = *std::max_element(gram.begin(), gram.end());
    for (size_t i = 0; i < gram.size(); ++i) ASSERT_NEAR(got.gram[i], gram[i], 1e-5 * largest);
  }
}

TEST(StatisticsTest, AreTheSameBytesForEveryNumberOfThreads) {
  const auto model = TwoLayers();
  const Samples data = RowsOf(60);
  const std::vector<StatisticsRequest> requests = {Everything("h"), Everything("r"), Everything("y"), Everything("x")};
  std::string first;
  for (const int threads : {1, 2, 3, 5}) {
    CollectOptions options;
    options.threads = threads;
    const auto statistics = CollectStatistics(model, requests, data, options);
    ASSERT_TRUE(statistics) << statistics.error().message;
    const std::string bytes = FileBytes(*statistics);
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first) << threads;
  }
}

TEST(StatisticsTest, RepeatTheBitsOfTheUnoptimizedRuntime) {
  const auto model = TwoLayers(48);
  const Samples data = RowsOf(5, 48);
  StatisticsRequest request;
  request.tensor = "p";
  const auto statistics = CollectStatistics(model, {request}, data, {});
  ASSERT_TRUE(statistics) << statistics.error().message;
  float high = 0;
  for (const auto& values : Reference(model, data, "p"))
    high = std::max(high, *std::max_element(values.begin(), values.end()));
  EXPECT_EQ(statistics->at("p").high, high);
}

TEST(StatisticsTest, CountNonFiniteValuesAndLeaveThemOut) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  SetOpset(model, "", 17);
  AddInput(*model.mutable_graph(), "x", {-1, 4});
  AddNode(*model.mutable_graph(), "Neg", {"x"}, "y");
  model.mutable_graph()->add_output()->set_name("y");
  const Samples data({{Floats("x", {2, 4}, {1, -kInf, 3, 4, 5, 6, kNan, 8})},
                      {Floats("x", {1, 4}, {kNan, kInf, -kInf, kNan})},
                      {Floats("x", {1, 4}, {-2, 0, 1, 2})}});
  const auto statistics = CollectStatistics(model, {Everything("x"), Everything("y")}, data, {});
  ASSERT_TRUE(statistics) << statistics.error().message;
  const TensorStatistics& x = statistics->at("x");
  EXPECT_EQ(x.low, -2);
  EXPECT_EQ(x.high, 8);
  EXPECT_EQ(x.values, 16u);
  EXPECT_EQ(x.non_finite, 6u);
  EXPECT_EQ(x.samples, 2u);
  EXPECT_DOUBLE_EQ(x.mean_low, -0.5);
  EXPECT_DOUBLE_EQ(x.mean_high, 5);
  EXPECT_EQ(Total(x.histogram), 10u);
  EXPECT_EQ(x.gram_rows, 1u);
  EXPECT_EQ(x.channels.high, (std::vector<float>{5, 6, 3, 8}));
  EXPECT_EQ(statistics->at("y").low, -8);
  EXPECT_EQ(statistics->at("y").high, 2);
}

TEST(StatisticsTest, OfAChannelThatIsAlwaysZeroAreZeros) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  SetOpset(model, "", 17);
  AddInput(*model.mutable_graph(), "x", {1, 2, 3});
  AddNode(*model.mutable_graph(), "Identity", {"x"}, "y");
  model.mutable_graph()->add_output()->set_name("y");
  const Samples data({{Floats("x", {1, 2, 3}, {0, 0, 0, 1, 2, 3})}});
  StatisticsRequest request = Everything("y");
  request.channel_axis = 1;
  const auto statistics = CollectStatistics(model, {request}, data, {});
  ASSERT_TRUE(statistics) << statistics.error().message;
  const ChannelStatistics& channels = statistics->at("y").channels;
  EXPECT_EQ(channels.low, (std::vector<float>{0, 1}));
  EXPECT_EQ(channels.high, (std::vector<float>{0, 3}));
  EXPECT_EQ(channels.mean, (std::vector<double>{0, 2}));
}

TEST(StatisticsTest, RefuseWhatCannotBeCollected) {
  const auto model = TwoLayers();
  const Samples none({});
  const Samples data = RowsOf(2);
  StatisticsRequest request;
  request.tensor = "h";
  EXPECT_EQ(CollectStatistics(model, {request}, none, {}).error().code, ErrorCode::kRejected);
  request.tensor = "nothing";
  const auto unknown = CollectStatistics(model, {request}, data, {});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kRejected);
  EXPECT_NE(unknown.error().message.find("'nothing'"), std::string::npos);

  request.tensor = "h";
  request.channel_axis = 0;  // The number of rows.
  const auto channels = CollectStatistics(model, {request}, data, {});
  ASSERT_FALSE(channels);
  EXPECT_EQ(channels.error().code, ErrorCode::kRejected);
  EXPECT_NE(channels.error().message.find("'h'"), std::string::npos);
  request.channel_axis = 2;
  EXPECT_EQ(CollectStatistics(model, {request}, data, {}).error().code, ErrorCode::kRejected);

  CollectOptions options;
  options.gram_bytes = GramBuilder::Bytes(64) * 3 / 2;
  const auto memory = CollectStatistics(model, {Everything("h"), Everything("r"), Everything("y")}, data, options);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::kExhausted);
  EXPECT_NE(memory.error().message.find("'r', 'y'"), std::string::npos) << memory.error().message;
}

TEST(StatisticsTest, TellTheFirstSampleThatFails) {
  const auto model = TwoLayers();
  for (const int threads : {1, 2, 4}) {
    std::vector<std::vector<Tensor>> samples;
    for (int i = 0; i < 12; ++i) {
      const int64_t width = i < 7 ? 64 : 63;
      samples.push_back({Floats("x", {1, width}, Normal(static_cast<size_t>(width), 5))});
    }
    CollectOptions options;
    options.threads = threads;
    const auto statistics =
        CollectStatistics(model, {Everything("h"), Everything("y")}, Samples(std::move(samples)), options);
    ASSERT_FALSE(statistics);
    EXPECT_NE(statistics.error().message.find("calibration sample 7"), std::string::npos) << statistics.error().message;
  }
}

TEST(StatisticsTest, SeeValuesOfOtherTypesThanFloat) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  SetOpset(model, "", 17);
  auto& graph = *model.mutable_graph();
  AddInput(graph, "x", {-1, 4});
  auto& cast = AddNode(graph, "Cast", {"x"}, "half");
  SetIntAttribute(cast, "to", onnx::TensorProto::FLOAT16);
  auto& whole = AddNode(graph, "Cast", {"x"}, "whole");
  SetIntAttribute(whole, "to", onnx::TensorProto::INT64);
  graph.add_output()->set_name("half");
  graph.add_output()->set_name("whole");
  const Samples data({{Floats("x", {1, 4}, {1.5f, -2, 3, 70000})}});
  StatisticsRequest half, integers;
  half.tensor = "half";
  integers.tensor = "whole";
  const auto statistics = CollectStatistics(model, {half, integers}, data, {});
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->at("half").high, 3);
  EXPECT_EQ(statistics->at("half").non_finite, 1u);  // 70000 is infinite in float16.
  EXPECT_EQ(statistics->at("whole").high, 70000);
}

TEST(StatisticsTest, SeeInsideAModelWithSubgraphsAndSharedWeights) {
  onnx::ModelProto model = TwoLayers();
  auto& graph = *model.mutable_graph();
  // A branch that takes a lent weight from outside.
  const auto branch = [&](const std::string& name, const std::string& weight) {
    onnx::GraphProto sub;
    sub.set_name(name);
    AddNode(sub, "MatMul", {"y", weight}, name + "_out");
    sub.add_output()->set_name(name + "_out");
    return sub;
  };
  AddInput(graph, "flag", {}, onnx::TensorProto::BOOL);
  auto& choice = AddNode(graph, "If", {"flag"}, "chosen");
  auto& then_branch = *choice.add_attribute();
  then_branch.set_name("then_branch");
  then_branch.set_type(onnx::AttributeProto::GRAPH);
  *then_branch.mutable_g() = branch("a", "w");
  auto& else_branch = *choice.add_attribute();
  else_branch.set_name("else_branch");
  else_branch.set_type(onnx::AttributeProto::GRAPH);
  *else_branch.mutable_g() = branch("b", "v");
  std::vector<std::vector<Tensor>> samples;
  for (int i = 0; i < 6; ++i) {
    Tensor flag{"flag", onnx::TensorProto::BOOL, {}, {std::byte(i % 2)}};
    samples.push_back({Floats("x", {2, 64}, Normal(128, static_cast<uint32_t>(i))), flag});
  }
  const Samples data(std::move(samples));
  CollectOptions options;
  options.threads = 2;
  StatisticsRequest request;
  request.tensor = "chosen";
  const auto statistics = CollectStatistics(model, {request}, data, options);
  ASSERT_TRUE(statistics) << statistics.error().message;
  float high = 0;
  for (const auto& values : Reference(model, data, "chosen"))
    high = std::max(high, *std::max_element(values.begin(), values.end()));
  EXPECT_EQ(statistics->at("chosen").high, high);
}

TEST(StatisticsFileTest, ComesBackAsItWas) {
  const auto statistics = CollectStatistics(TwoLayers(), {Everything("h"), Everything("x")}, RowsOf(9), {});
  ASSERT_TRUE(statistics);
  const auto folder = ScopedFolder::Make(fs::temp_directory_path(), "hone-statistics-");
  ASSERT_TRUE(folder);
  ASSERT_TRUE(SaveStatistics(*statistics, folder->path() / "s"));
  const auto loaded = LoadStatistics(folder->path() / "s");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(FileBytes(*loaded), FileBytes(*statistics));
  EXPECT_EQ(loaded->at("h").histogram.counts, statistics->at("h").histogram.counts);
  EXPECT_EQ(loaded->at("h").gram, statistics->at("h").gram);
  EXPECT_EQ(loaded->at("h").moving_low, statistics->at("h").moving_low);
}

TEST(StatisticsFileTest, RefusesEveryTruncationAndStrangeBytes) {
  StatisticsRequest request;
  request.tensor = "h";
  request.histogram = true;
  request.channel_axis = -1;
  const auto statistics = CollectStatistics(TwoLayers(), {request}, RowsOf(2), {});
  ASSERT_TRUE(statistics);
  const std::string bytes = FileBytes(*statistics);
  const auto folder = ScopedFolder::Make(fs::temp_directory_path(), "hone-statistics-");
  ASSERT_TRUE(folder);
  const fs::path file = folder->path() / "s";
  const auto load = [&](const std::string& content) {
    std::ofstream(file, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return LoadStatistics(file);
  };
  EXPECT_TRUE(load(bytes));
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 40) {
    const auto loaded = load(bytes.substr(0, size));
    ASSERT_FALSE(loaded) << size;
    EXPECT_EQ(loaded.error().code, ErrorCode::kRejected);
  }
  EXPECT_FALSE(load(bytes + "x"));
  std::mt19937 generator(3);
  for (int i = 0; i < 300; ++i) {
    std::string broken = bytes;
    for (int change = 0; change < 3; ++change) broken[generator() % broken.size()] = static_cast<char>(generator());
    const auto loaded = load(broken);  // Whatever it says, it returns and stays within its memory.
    EXPECT_TRUE(loaded || loaded.error().code == ErrorCode::kRejected);
  }
  EXPECT_EQ(LoadStatistics(folder->path() / "none").error().code, ErrorCode::kNotFound);
}

// --- histogram -------------------------------------------------------------------------------------------------

Histogram HistogramOf(const std::vector<float>& values, size_t piece) {
  HistogramBuilder builder;
  for (size_t begin = 0; begin < values.size(); begin += piece) {
    const size_t size = std::min(piece, values.size() - begin);
    float low = kInf, high = -kInf;
    for (size_t i = begin; i < begin + size; ++i) {
      if (!std::isfinite(values[i])) continue;
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    }
    if (low <= high) builder.Add(values.data() + begin, size, low, high);
  }
  return builder.Finish();
}

TEST(HistogramTest, DoesNotDependOnOrderOrPieces) {
  std::vector<float> values = Normal(3000, 4, 0.01f);
  const auto larger = Normal(500, 5, 300);
  values.insert(values.end(), larger.begin(), larger.end());
  values.insert(values.end(), {1e20f, -1e-30f, -1e-40f, 0.0f, -0.0f, kNan, kInf, -4096.0f, 4096.0f});
  const Histogram forward = HistogramOf(values, 100);
  EXPECT_EQ(Total(forward), values.size() - 2);
  std::reverse(values.begin(), values.end());
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{2500}, values.size()}) {
    const Histogram other = HistogramOf(values, piece);
    EXPECT_EQ(other.width, forward.width);
    EXPECT_EQ(other.first, forward.first);
    EXPECT_EQ(other.counts, forward.counts);
  }
}

TEST(HistogramTest, PutsEachValueIntoTheBinThatHoldsIt) {
  const std::vector<float> values = Normal(2000, 6, 2);
  const Histogram histogram = HistogramOf(values, 64);
  std::vector<uint64_t> counts(histogram.counts.size());
  for (const float value : values)
    ++counts[static_cast<size_t>(static_cast<int64_t>(std::floor(value / histogram.width)) - histogram.first)];
  EXPECT_EQ(histogram.counts, counts);
  EXPECT_GE(histogram.counts.size(), 2048u);
  EXPECT_LE(histogram.counts.size(), 2u * Histogram::kMaxBins);
}

TEST(HistogramTest, HoldsTheExtremesOfFloat) {
  const std::vector<float> values = {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
                                     std::numeric_limits<float>::denorm_min(),
                                     -std::numeric_limits<float>::denorm_min()};
  EXPECT_EQ(Total(HistogramOf(values, 1)), 4u);
  const std::vector<float> tiny = {std::numeric_limits<float>::denorm_min(), 0};
  EXPECT_EQ(Total(HistogramOf(tiny, 1)), 2u);
  const Histogram zeros = HistogramOf({0.0f, -0.0f, 0.0f}, 2);
  EXPECT_EQ(zeros.width, 0);
  EXPECT_EQ(Total(zeros), 3u);
}

// --- observers -------------------------------------------------------------------------------------------------

TensorStatistics StatisticsOf(const std::vector<float>& values) {
  TensorStatistics statistics;
  statistics.values = values.size();
  statistics.samples = 1;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  statistics.low = *low;
  statistics.high = *high;
  statistics.mean_low = statistics.moving_low = *low;
  statistics.mean_high = statistics.moving_high = *high;
  statistics.histogram = HistogramOf(values, values.size());
  return statistics;
}

ObservedRange ObservedBy(const TensorStatistics& statistics, Observer observer, bool symmetric = false) {
  ObserverOptions options;
  options.observer = observer;
  options.symmetric = symmetric;
  return Observe(statistics, options);
}

double SquaredErrorOf(const std::vector<float>& values, const ObservedRange& range) {
  const double low = std::min(0.0f, range.low);
  const double high = std::max(0.0f, range.high);
  const double scale = (high - low) / 255;
  const double zero = std::nearbyint(-low / scale);
  double error = 0;
  for (const float value : values) {
    const double code = std::clamp(std::nearbyint(value / scale) + zero, 0.0, 255.0);
    const double difference = (code - zero) * scale - value;
    error += difference * difference;
  }
  return error;
}

TEST(ObserverTest, PercentileCutsByRank) {
  std::vector<float> values(100000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 1000 - 50;
  ObserverOptions options;
  options.observer = Observer::percentile;
  options.percentile = 99;
  const ObservedRange range = Observe(StatisticsOf(values), options);
  EXPECT_NEAR(range.low, -49.5f, 0.05f);
  EXPECT_NEAR(range.high, 49.5f, 0.05f);
  options.percentile = 100;
  EXPECT_EQ(Observe(StatisticsOf(values), options).high, 49.999f);
}

TEST(ObserverTest, SearchesIgnoreALoneOutlierAndMinMaxDoesNot) {
  std::vector<float> values = Normal(200000, 7);
  values.push_back(30);
  const TensorStatistics statistics = StatisticsOf(values);
  EXPECT_EQ(ObservedBy(statistics, Observer::minmax).high, 30);
  for (const Observer observer : {Observer::percentile, Observer::entropy, Observer::mse}) {
    for (const bool symmetric : {false, true}) {
      const ObservedRange range = ObservedBy(statistics, observer, symmetric);
      // One value in 200,000 costs the sum of squares more than it costs the others.
      EXPECT_LT(range.high, observer == Observer::mse ? 29 : 10) << static_cast<int>(observer);
      EXPECT_GT(range.high, 2.5f) << static_cast<int>(observer);
      EXPECT_GE(range.low, statistics.low);
      EXPECT_LT(range.low, -2.5f) << static_cast<int>(observer);
    }
  }
}

TEST(ObserverTest, EntropyFindsAThresholdThatLosesLessThanBothNeighbours) {
  // Far heavier tails than normal: the best threshold is well inside and well above the bulk.
  std::mt19937 generator(11);
  std::student_t_distribution<float> heavy(3);
  std::vector<float> values(300000);
  for (float& value : values) value = heavy(generator);
  const TensorStatistics statistics = StatisticsOf(values);
  const ObservedRange range = ObservedBy(statistics, Observer::entropy, true);
  const float end = std::max(-range.low, range.high);
  EXPECT_LT(end, 0.5f * std::max(-statistics.low, statistics.high));
  EXPECT_GT(end, 2);
}

TEST(ObserverTest, LeastSquaresBeatsMinMaxAndShrunkenRanges) {
  for (const uint32_t seed : {1u, 2u}) {
    std::vector<float> values = Normal(50000, seed, 1, seed == 1 ? 0 : 1.5f);
    if (seed == 2) {
      for (float& value : values) value = std::max(value, 0.0f);  // As after Relu.
    }
    for (int i = 0; i < 5; ++i) values.push_back(40);
    const TensorStatistics statistics = StatisticsOf(values);
    const ObservedRange best = ObservedBy(statistics, Observer::mse);
    const double least = SquaredErrorOf(values, best);
    EXPECT_LE(least, SquaredErrorOf(values, {statistics.low, statistics.high}));
    for (const float share : {0.7f, 0.9f, 1.1f, 1.4f}) {
      EXPECT_LE(least, 1.03 * SquaredErrorOf(values, {best.low * share, best.high * share})) << share;
      EXPECT_LE(least, 1.03 * SquaredErrorOf(values, {best.low, best.high * share})) << share;
    }
  }
}

TEST(ObserverTest, ZerosDoNotPullTheEndsInwards) {
  std::vector<float> values = Normal(50000, 3);
  const ObservedRange without = ObservedBy(StatisticsOf(values), Observer::mse);
  const ObservedRange entropy_without = ObservedBy(StatisticsOf(values), Observer::entropy, true);
  values.resize(1000000, 0.0f);
  const ObservedRange with = ObservedBy(StatisticsOf(values), Observer::mse);
  const ObservedRange entropy_with = ObservedBy(StatisticsOf(values), Observer::entropy, true);
  EXPECT_NEAR(with.high, without.high, 0.05f * without.high);
  EXPECT_NEAR(with.low, without.low, -0.05f * without.low);
  EXPECT_NEAR(entropy_with.high, entropy_without.high, 0.05f * entropy_without.high);
}

TEST(ObserverTest, DegenerateTensorsGiveWhatWasSeen) {
  for (const std::vector<float>& values : {std::vector<float>(100, 0.0f),
                                           std::vector<float>(100, 2.5f),
                                           std::vector<float>(100, -1.0f),
                                           {1e-40f, 0},
                                           {5.0f, 6.0f, 7.0f},
                                           {-7.0f, -6.0f},
                                           {3e38f, -3e38f}}) {
    const TensorStatistics statistics = StatisticsOf(values);
    for (const char* name : ObserverNames()) {
      for (const bool symmetric : {false, true}) {
        const ObservedRange range = ObservedBy(statistics, *ParseObserver(name), symmetric);
        EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high));
        EXPECT_LE(range.low, range.high);
        EXPECT_GE(range.low, statistics.low);
        EXPECT_LE(range.high, statistics.high);
      }
    }
  }
  const ObservedRange nothing = ObservedBy(TensorStatistics(), Observer::entropy);
  EXPECT_EQ(nothing.low, 0);
  EXPECT_EQ(nothing.high, 0);
}

TEST(ObserverTest, UnknownNamesAreRefusedWithTheNearest) {
  const auto parsed = ParseObserver("percentil");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kRejected);
  EXPECT_NE(parsed.error().message.find("percentile"), std::string::npos);
  for (const char* name : ObserverNames()) EXPECT_TRUE(ParseObserver(name));
}

}  // namespace
}  // namespace hone
