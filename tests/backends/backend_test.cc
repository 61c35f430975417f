// The contract of Session, on every backend there is; then what each runtime alone shows.
#include "worker/backends/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "common/recipe/value.h"
#include "tests/backends/fixtures.h"

namespace hone::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void Set(LoadOptions& options, const std::string& name, proto::Value value) {
  auto* parameter = options.settings.Add();
  parameter->set_name(name);
  *parameter->mutable_value() = std::move(value);
}
void Pin(LoadOptions& options, const std::string& name, const std::vector<int64_t>& dims) {
  auto* pin = options.inputs.Add();
  pin->set_name(name);
  for (const int64_t dim : dims) pin->add_dims(dim);
}

const proto::Value* EffectiveOf(const proto::Execution& execution, const std::string& name) {
  return Find(execution.effective(), name);
}

// y = relu(x w1 + b1) w2 + b2, as tiny_models' Mlp has it.
std::vector<float> MlpReference(const onnx::ModelProto& model, const std::vector<float>& x, int64_t batch) {
  const auto weight = [&](const std::string& name) {
    for (const auto& tensor : model.graph().initializer()) {
      if (tensor.name() != name) continue;
      std::vector<float> values(tensor.raw_data().size() / sizeof(float));
      std::memcpy(values.data(), tensor.raw_data().data(), tensor.raw_data().size());
      return values;
    }
    return std::vector<float>{};
  };
  const auto layer = [&](const std::vector<float>& in, const std::vector<float>& w, const std::vector<float>& b) {
    const size_t columns = b.size(), rows = in.size() / static_cast<size_t>(batch);
    std::vector<float> out;
    for (size_t n = 0; n < static_cast<size_t>(batch); ++n) {
      for (size_t j = 0; j < columns; ++j) {
        double sum = b[j];
        for (size_t i = 0; i < rows; ++i) sum += static_cast<double>(in[n * rows + i]) * w[i * columns + j];
        out.push_back(static_cast<float>(sum));
      }
    }
    return out;
  };
  std::vector<float> hidden = layer(x, weight("w1"), weight("b1"));
  for (float& value : hidden) value = std::max(value, 0.0f);
  return layer(hidden, weight("w2"), weight("b2"));
}

std::vector<float> Ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i) * 0.37f);
  return values;
}

class BackendContract : public ::testing::TestWithParam<BackendRow> {
 protected:
  // Floats as written: OpenVINO would take bf16 where the processor has it.
  LoadOptions Exact() const {
    LoadOptions options;
    if (std::string(GetParam().name) == "openvino") Set(options, "inference_precision", TextValue("f32"));
    return options;
  }
  Result<std::unique_ptr<Session>> LoadModel(const ModelBuilder& builder, const LoadOptions& options) {
    builder.Save(folder_ / "m.onnx");
    return GetParam().load(ModelAt(folder_ / "m.onnx"), options);
  }

  Folder folder_;
};

TEST_P(BackendContract, InfoTellsVersionDevicesFormatsAndSettings) {
  const proto::BackendInfo info = GetParam().info();
  EXPECT_EQ(info.name(), GetParam().name);
  EXPECT_FALSE(info.version().empty());
  EXPECT_THAT(info.devices(), Contains("CPU"));
  EXPECT_THAT(info.formats(), Contains("onnx"));
  EXPECT_EQ(info.reference(), info.name() == "onnxruntime");
  std::set<std::string> names;
  for (const auto& setting : info.settings()) {
    EXPECT_TRUE(names.insert(setting.name()).second) << setting.name();
    EXPECT_NE(setting.type(), proto::ParameterInfo::TYPE_UNSPECIFIED) << setting.name();
    EXPECT_TRUE(setting.help().ends_with(".")) << setting.name();
    if (setting.default_value().kind_case() == proto::Value::KIND_NOT_SET) continue;
    EXPECT_OK(CheckValue(setting, setting.default_value(), "test"));
  }
}

TEST_P(BackendContract, NamesKeepTheOrderOfTheGraph) {
  ModelBuilder b;
  b.Input("zebra", {2, 3}).Input("apple", {2, 3}).Input("unused", {1}, onnx::TensorProto::INT64);
  b.Output("second", {2, 3}).Output("first", {2, 3}).Output("kept", {2, 3});
  b.Node("Relu", {"zebra"}, {"kept"});
  b.Node("Identity", {"kept"}, {"second"});
  b.Node("Add", {"apple", "kept"}, {"first"});
  auto session = LoadModel(b, Exact());
  ASSERT_OK(session);
  ASSERT_EQ((*session)->inputs().size(), 3u);
  EXPECT_EQ((*session)->inputs()[0].name, "zebra");
  EXPECT_EQ((*session)->inputs()[1].name, "apple");
  EXPECT_EQ((*session)->inputs()[2].name, "unused");
  EXPECT_EQ((*session)->inputs()[2].type, kInt64);
  EXPECT_THAT((*session)->outputs(), ElementsAre("second", "first", "kept"));
  auto outputs = (*session)->Run({MakeTensorOf<float>(kFloat32, {2, 3}, {-1, 2, -3, 4, -5, 6}),
                                  MakeTensorOf<float>(kFloat32, {2, 3}, {1, 1, 1, 1, 1, 1}),
                                  MakeTensorOf<int64_t>(kInt64, {1}, {0})});
  ASSERT_OK(outputs);
  EXPECT_EQ((*outputs)[1].name, "first");
  EXPECT_THAT(Values<float>((*outputs)[0]), ElementsAre(0, 2, 0, 4, 0, 6));
  EXPECT_THAT(Values<float>((*outputs)[1]), ElementsAre(1, 3, 1, 5, 1, 7));
  EXPECT_THAT(Values<float>((*outputs)[2]), ElementsAre(0, 2, 0, 4, 0, 6));
}

TEST_P(BackendContract, RunComputesTheModel) {
  const ModelBuilder b = Mlp(-1, 16, 32, 4);
  auto session = LoadModel(b, Exact());
  ASSERT_OK(session);
  EXPECT_THAT((*session)->inputs()[0].dims, ElementsAre(-1, 16));
  for (const int64_t batch : {1, 3, 1}) {
    const std::vector<float> x = Ramp(static_cast<size_t>(batch) * 16);
    auto outputs = (*session)->Run({MakeTensorOf<float>(kFloat32, {batch, 16}, x)});
    ASSERT_OK(outputs);
    EXPECT_THAT((*outputs)[0].dims, ElementsAre(batch, 4));
    const std::vector<float> wanted = MlpReference(const_cast<ModelBuilder&>(b).model(), x, batch);
    const std::vector<float> found = Values<float>((*outputs)[0]);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-4);
  }
}

TEST_P(BackendContract, OutputsOutliveTheNextRunAndTheSession) {
  std::vector<Tensor> kept;
  {
    auto session = LoadModel(Mlp(1, 16, 32, 4), Exact());
    ASSERT_OK(session);
    kept = *(*session)->Run({MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16))});
    const std::vector<float> first = Values<float>(kept[0]);
    ASSERT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 16}, std::vector<float>(16, 5.0f))}));
    EXPECT_EQ(Values<float>(kept[0]), first);
  }
  EXPECT_EQ(kept[0].bytes.size(), 16u);
}

TEST_P(BackendContract, PinsShowInTheSignature) {
  LoadOptions options = Exact();
  Pin(options, "x", {2, 16});
  auto session = LoadModel(Mlp(-1, 16, 32, 4), options);
  ASSERT_OK(session);
  EXPECT_THAT((*session)->inputs()[0].dims, ElementsAre(2, 16));
  ASSERT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {2, 16}, Ramp(32))}));
  EXPECT_REJECTED((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16))}),
                  "input x float32 [2,16] was given float32 [1,16]");
}

TEST_P(BackendContract, OnePinOfManyKeepsTheOthersFree) {
  ModelBuilder b;
  b.Input("x", {-1, -1}).Output("y", {-1, -1});
  b.Node("Relu", {"x"}, {"y"});
  LoadOptions options = Exact();
  Pin(options, "x", {-1, 4});
  auto session = LoadModel(b, options);
  ASSERT_OK(session);
  EXPECT_THAT((*session)->inputs()[0].dims, ElementsAre(-1, 4));
  for (const int64_t rows : {1, 5})
    EXPECT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {rows, 4}, Ramp(static_cast<size_t>(rows) * 4))}));
}

TEST_P(BackendContract, PinsAgainstTheModelAreRejected) {
  const ModelBuilder b = Mlp(-1, 16, 32, 4);
  const auto load = [&](const std::string& name, const std::vector<int64_t>& dims) {
    LoadOptions options;
    Pin(options, name, dims);
    return LoadModel(b, options);
  };
  EXPECT_REJECTED(load("X", {1, 16}), "the model has no such input; did you mean 'x'?");
  EXPECT_REJECTED(load("x", {1}), "the input has 2 dimensions [?,16]");
  EXPECT_REJECTED(load("x", {1, 17}), "the model fixes dimension 1 at 16");
  EXPECT_REJECTED(load("x", {0, 16}), "a size must be at least 1");
}

TEST_P(BackendContract, FormatsAndSettingsItDoesNotKnowAreRejected) {
  Mlp().Save(folder_ / "m.onnx");
  auto other = ModelAt(folder_ / "m.onnx");
  other.mutable_bundle()->set_format("coreml");
  EXPECT_REJECTED(GetParam().load(other, {}), "the model's format is 'coreml'");
  const auto load = [&](const std::string& name, proto::Value value) {
    LoadOptions options;
    Set(options, name, std::move(value));
    return GetParam().load(ModelAt(folder_ / "m.onnx"), options);
  };
  EXPECT_REJECTED(load("execution_moed", TextValue("x")), "execution_mode");
  EXPECT_REJECTED(load("execution_mode", TextValue("fast")), "execution_mode");
  EXPECT_REJECTED(load("execution_mode", IntValue(1)), "execution_mode");
}

TEST_P(BackendContract, WhatIsNoModelIsRejectedWithTheRuntimesWords) {
  for (const std::string& bytes : {std::string("this is no model"), std::string()}) {
    folder_.Write("bad.onnx", bytes);
    auto session = GetParam().load(ModelAt(folder_ / "bad.onnx"), {});
    ASSERT_FALSE(session);
    EXPECT_EQ(session.error().code, ErrorCode::kRejected) << session.error().message;
    EXPECT_EQ(session.error().message.find('\n'), std::string::npos);
  }
  auto missing = GetParam().load(ModelAt(folder_ / "missing.onnx"), {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  ModelBuilder unknown;
  unknown.Input("x", {1}).Output("y", {1});
  unknown.Node("NoSuchOperator", {"x"}, {"y"});
  auto session = LoadModel(unknown, {});
  EXPECT_REJECTED(session, "NoSuchOperator");
}

TEST_P(BackendContract, FeedsThatDoNotFitAreRejected) {
  auto session = LoadModel(Mlp(1, 16, 32, 4), Exact());
  ASSERT_OK(session);
  EXPECT_REJECTED((*session)->Run({}), "it has 1 inputs, and 0 tensors were given");
  EXPECT_REJECTED((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 15}, Ramp(15))}), "was given float32 [1,15]");
  EXPECT_REJECTED((*session)->Run({MakeTensorOf<double>(kFloat64, {1, 16}, std::vector<double>(16))}),
                  "was given float64 [1,16]");
  EXPECT_REJECTED((*session)->Bind({MakeTensorOf<float>(kFloat32, {16}, Ramp(16))}), "was given float32 [16]");
  Tensor lying = MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16));
  lying.bytes.pop_back();
  auto refused = (*session)->Run({lying});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBug);
}

TEST_P(BackendContract, EveryPlainElementTypeIsFedAndRead) {
  // x + x on each type that both runtimes add in.
  struct Case {
    int type;
    std::vector<std::byte> one, two;
  };
  const auto bytes = [](auto value) {
    std::vector<std::byte> raw(sizeof(value));
    std::memcpy(raw.data(), &value, sizeof(value));
    return raw;
  };
  for (const Case& c : {Case{1, bytes(1.0f), bytes(2.0f)}, Case{11, bytes(1.0), bytes(2.0)},
                        Case{6, bytes(int32_t{1}), bytes(int32_t{2})}, Case{7, bytes(int64_t{1}), bytes(int64_t{2})},
                        Case{10, bytes(uint16_t{0x3c00}), bytes(uint16_t{0x4000})}}) {
    ModelBuilder b;
    b.Input("x", {1}, c.type).Output("y", {1}, c.type);
    b.Node("Add", {"x", "x"}, {"y"});
    auto session = LoadModel(b, Exact());
    ASSERT_TRUE(session) << c.type << ": " << session.error().message;
    EXPECT_EQ((*session)->inputs()[0].type, c.type);
    auto outputs = (*session)->Run({Tensor{"", c.type, {1}, c.one}});
    ASSERT_TRUE(outputs) << c.type << ": " << outputs.error().message;
    EXPECT_EQ((*outputs)[0].type, c.type);
    EXPECT_EQ((*outputs)[0].bytes, c.two) << c.type;
  }
}

TEST_P(BackendContract, BoolsScalarsAndEmptyTensorsPass) {
  ModelBuilder b;
  b.Input("flag", {}, onnx::TensorProto::BOOL)
      .Input("past", {1, -1})
      .Input("x", {1, 2})
      .Output("no", {}, onnx::TensorProto::BOOL)
      .Output("y", {1, -1});
  b.Node("Not", {"flag"}, {"no"});
  auto* concat = b.Node("Concat", {"past", "x"}, {"y"});
  auto* axis = concat->add_attribute();
  axis->set_name("axis");
  axis->set_type(onnx::AttributeProto::INT);
  axis->set_i(1);
  auto session = LoadModel(b, Exact());
  ASSERT_OK(session);
  auto outputs = (*session)->Run({MakeTensorOf<uint8_t>(kBool, {}, {1}), MakeTensorOf<float>(kFloat32, {1, 0}, {}),
                                  MakeTensorOf<float>(kFloat32, {1, 2}, {3, 4})});
  ASSERT_OK(outputs);
  EXPECT_TRUE((*outputs)[0].dims.empty());
  EXPECT_THAT(Values<uint8_t>((*outputs)[0]), ElementsAre(0));
  EXPECT_THAT((*outputs)[1].dims, ElementsAre(1, 2));
  EXPECT_THAT(Values<float>((*outputs)[1]), ElementsAre(3, 4));
}

TEST_P(BackendContract, StringInputsAreRejectedByName) {
  ModelBuilder b;
  b.Input("words", {1}, onnx::TensorProto::STRING).Output("y", {1}, onnx::TensorProto::STRING);
  b.Node("Identity", {"words"}, {"y"});
  auto session = LoadModel(b, {});
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, ErrorCode::kRejected);
  EXPECT_THAT(session.error().message, HasSubstr("words"));
}

TEST_P(BackendContract, BoundInputsAreRunAloneAndTogether) {
  auto session = LoadModel(Mlp(-1, 16, 32, 4), Exact());
  ASSERT_OK(session);
  {
    const std::vector<Tensor> inputs = {MakeTensorOf<float>(kFloat32, {2, 16}, Ramp(32))};
    ASSERT_OK((*session)->Bind(inputs));
  }
  for (int i = 0; i < 3; ++i) ASSERT_OK((*session)->RunBound());
  // A run between with other inputs disturbs nothing.
  ASSERT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16))}));
  ASSERT_OK((*session)->RunBound());
  for (const uint32_t requests : {0u, 1u, 3u}) {
    auto measured = (*session)->RunMany(requests, 40);
    ASSERT_OK(measured);
    EXPECT_GE(measured->inferences, measured->requests);
    EXPECT_GE(measured->seconds, 0.04);
    EXPECT_GE(measured->requests, 1u);
    EXPECT_TRUE(requests == 0 || measured->requests == requests);
  }
  ASSERT_OK((*session)->Bind({MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16))}));
  EXPECT_OK((*session)->RunBound());
}

TEST_P(BackendContract, FailuresWhileRunningComeBackAsErrors) {
  // Whether the free sizes agree is known only when the model runs.
  ModelBuilder b;
  b.Input("x", {-1, -1}).Input("y", {-1, -1}).Output("z", {-1, -1});
  b.Node("MatMul", {"x", "y"}, {"z"});
  auto session = LoadModel(b, Exact());
  ASSERT_OK(session);
  const std::vector<Tensor> apart = {MakeTensorOf<float>(kFloat32, {2, 3}, Ramp(6)),
                                     MakeTensorOf<float>(kFloat32, {4, 5}, Ramp(20))};
  auto ran = (*session)->Run(apart);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, ErrorCode::kFailed);
  ASSERT_OK((*session)->Bind(apart));
  EXPECT_FALSE((*session)->RunBound());
  EXPECT_FALSE((*session)->RunMany(2, 50));
  // And the session goes on.
  EXPECT_OK((*session)->Run(
      {MakeTensorOf<float>(kFloat32, {2, 3}, Ramp(6)), MakeTensorOf<float>(kFloat32, {3, 5}, Ramp(15))}));
}

TEST_P(BackendContract, ExecutionTellsKernelsPrecisionsAndSettings) {
  LoadOptions options = Exact();
  const bool ort = std::string(GetParam().name) == "onnxruntime";
  const std::string threads = ort ? "intra_op_threads" : "threads";
  Set(options, threads, IntValue(1));
  auto session = LoadModel(ConvNet(), options);
  ASSERT_OK(session);
  auto execution = (*session)->Execution();
  ASSERT_OK(execution);
  EXPECT_EQ(execution->backend(), GetParam().name);
  EXPECT_EQ(execution->version(), GetParam().info().version());
  ASSERT_NE(EffectiveOf(*execution, threads), nullptr);
  EXPECT_EQ(EffectiveOf(*execution, threads)->integer(), 1);
  uint32_t convolutions = 0;
  uint32_t last = UINT32_MAX;
  for (const auto& kernel : execution->kernels()) {
    EXPECT_LE(kernel.count(), last);
    last = kernel.count();
    if (kernel.type().find("Conv") == std::string::npos || kernel.type() == "Convert") continue;
    EXPECT_EQ(kernel.precision(), "f32") << kernel.type();
    convolutions += kernel.count();
  }
  EXPECT_EQ(convolutions, 2u);
  // The session still runs.
  EXPECT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 3, 32, 32}, Ramp(3072))}));
}

INSTANTIATE_TEST_SUITE_P(Every, BackendContract, ::testing::ValuesIn(Backends()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(BackendsTest, UnknownNamesListThoseThereAre) {
  EXPECT_OK(FindBackend("openvino"));
  auto found = FindBackend("onnxruntim");
  EXPECT_REJECTED(found, "did you mean 'onnxruntime'?");
  EXPECT_THAT(found.error().remedy, HasSubstr("onnxruntime, openvino"));
}

const BackendRow& Row(const char* name) { return **FindBackend(name); }

uint32_t CountOf(const proto::Execution& execution, const std::string& type, const std::string& precision) {
  uint32_t count = 0;
  for (const auto& kernel : execution.kernels()) {
    if (kernel.type() == type && kernel.precision() == precision) count += kernel.count();
  }
  return count;
}

// x -> DynamicQuantizeLinear -> MatMulInteger with int8 weights -> Cast -> Mul.
ModelBuilder DynamicInt8() {
  ModelBuilder b;
  b.Input("x", {1, 8}).Output("y", {1, 4});
  auto* weight = b.graph()->add_initializer();
  weight->set_name("w");
  weight->set_data_type(onnx::TensorProto::INT8);
  weight->add_dims(8);
  weight->add_dims(4);
  weight->set_raw_data(std::string(32, '\x03'));
  b.Constant("ws", {}, {0.5f});
  b.Node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  b.Node("MatMulInteger", {"q", "w", "z"}, {"i"});
  auto* cast = b.Node("Cast", {"i"}, {"f"});
  auto* to = cast->add_attribute();
  to->set_name("to");
  to->set_type(onnx::AttributeProto::INT);
  to->set_i(onnx::TensorProto::FLOAT);
  b.Node("Mul", {"s", "ws"}, {"scale"});
  b.Node("Mul", {"f", "scale"}, {"y"});
  return b;
}

TEST(OnnxRuntimeTest, ExecutionShowsFusedInt8AndItsAbsence) {
  Folder folder;
  DynamicInt8().Save(folder / "m.onnx");
  auto fused = Row("onnxruntime").load(ModelAt(folder / "m.onnx"), {});
  ASSERT_OK(fused);
  auto execution = (*fused)->Execution();
  ASSERT_OK(execution);
  EXPECT_EQ(CountOf(*execution, "DynamicQuantizeMatMul", "i8"), 1u) << execution->DebugString();
  LoadOptions options;
  Set(options, "graph_optimization", TextValue("disabled"));
  auto plain = Row("onnxruntime").load(ModelAt(folder / "m.onnx"), options);
  ASSERT_OK(plain);
  execution = (*plain)->Execution();
  ASSERT_OK(execution);
  EXPECT_EQ(CountOf(*execution, "MatMulInteger", "u8"), 1u) << execution->DebugString();
  EXPECT_EQ(CountOf(*execution, "Cast", "i32"), 1u) << execution->DebugString();
  EXPECT_EQ(CountOf(*execution, "Mul", "f32"), 2u) << execution->DebugString();
  EXPECT_EQ(EffectiveOf(*execution, "graph_optimization")->text(), "disabled");
}

TEST(OnnxRuntimeTest, EverySettingIsTaken) {
  Folder folder;
  Mlp().Save(folder / "m.onnx");
  const proto::BackendInfo backend = Row("onnxruntime").info();
  for (const auto& info : backend.settings()) {
    std::vector<proto::Value> values(info.choices().begin(), info.choices().end());
    if (info.type() == proto::ParameterInfo::BOOLEAN) values = {BoolValue(true), BoolValue(false)};
    if (values.empty()) values = {info.type() == proto::ParameterInfo::REAL ? RealValue(0.5) : IntValue(2)};
    for (const proto::Value& value : values) {
      LoadOptions options;
      Set(options, info.name(), value);
      auto session = Row("onnxruntime").load(ModelAt(folder / "m.onnx"), options);
      ASSERT_TRUE(session) << info.name() << "=" << ToText(value) << ": " << session.error().message;
      EXPECT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 64}, Ramp(64))}));
    }
  }
}

TEST(OnnxRuntimeTest, OneNameForTwoPinnedSizesIsLeftToTheInputs) {
  // Exporters write "?" or one name for sizes that differ.
  Folder folder;
  ModelBuilder b;
  b.Input("x", {-1, -1, -1}).Output("y", {-1, -1, -1});
  b.Node("Relu", {"x"}, {"y"});
  for (auto* value : {b.graph()->mutable_input(0), b.graph()->mutable_output(0)}) {
    auto* shape = value->mutable_type()->mutable_tensor_type()->mutable_shape();
    shape->mutable_dim(0)->set_dim_param("?");
    shape->mutable_dim(1)->set_dim_param("side");
    shape->mutable_dim(2)->set_dim_param("side");
  }
  b.Save(folder / "m.onnx");
  LoadOptions options;
  Pin(options, "x", {1, 2, 3});
  for (const BackendRow& row : Backends()) {
    auto session = row.load(ModelAt(folder / "m.onnx"), options);
    ASSERT_TRUE(session) << row.name << ": " << session.error().message;
    EXPECT_THAT((*session)->inputs()[0].dims, ElementsAre(1, 2, 3));
    auto outputs = (*session)->Run({MakeTensorOf<float>(kFloat32, {1, 2, 3}, Ramp(6))});
    ASSERT_TRUE(outputs) << row.name << ": " << outputs.error().message;
  }
}

TEST(OnnxRuntimeTest, ModelsLoadFromMemoryAndFile) {
  Folder folder;
  ModelBuilder b = Mlp(-1, 16, 32, 4);
  b.Save(folder / "m.onnx");
  const std::string bytes = b.model().SerializeAsString();
  for (const bool optimize : {false, true}) {
    auto memory = LoadOnnxBytes(bytes, 1, optimize);
    auto file = LoadOnnxFile(folder / "m.onnx", 0, optimize);
    ASSERT_OK(memory);
    ASSERT_OK(file);
    const std::vector<Tensor> inputs = {MakeTensorOf<float>(kFloat32, {1, 16}, Ramp(16))};
    const auto first = Values<float>((*(*memory)->Run(inputs))[0]);
    const auto second = Values<float>((*(*file)->Run(inputs))[0]);
    for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(first[i], second[i], 1e-5);
    EXPECT_OK((*file)->Execution());
    EXPECT_FALSE((*memory)->Execution());
  }
  EXPECT_REJECTED(LoadOnnxBytes("no model", 1, true), "load the model in ONNX Runtime");
  EXPECT_FALSE(LoadOnnxFile(folder / "missing.onnx", 1, true));
}

TEST(OpenVinoTest, EffectivePrecisionIsReadBack) {
  Folder folder;
  ConvNet().Save(folder / "m.onnx");
  LoadOptions options;
  Set(options, "inference_precision", TextValue("f32"));
  Set(options, "hint", TextValue("throughput"));
  Set(options, "cpu_pinning", BoolValue(false));
  auto session = Row("openvino").load(ModelAt(folder / "m.onnx"), options);
  ASSERT_OK(session);
  auto execution = (*session)->Execution();
  ASSERT_OK(execution);
  EXPECT_EQ(EffectiveOf(*execution, "inference_precision")->text(), "f32");
  EXPECT_EQ(EffectiveOf(*execution, "hint")->text(), "throughput");
  EXPECT_FALSE(EffectiveOf(*execution, "cpu_pinning")->boolean());
  EXPECT_EQ(EffectiveOf(*execution, "device")->text(), "CPU");
  bool named = false;
  for (const auto& kernel : execution->kernels())
    named = named || (kernel.type() == "Convolution" && !kernel.kernel().empty());
  EXPECT_TRUE(named) << execution->DebugString();
}

TEST(OpenVinoTest, EverySettingIsTaken) {
  Folder folder;
  Mlp().Save(folder / "m.onnx");
  const proto::BackendInfo backend = Row("openvino").info();
  for (const auto& info : backend.settings()) {
    if (info.name() == "cache") continue;
    std::vector<proto::Value> values(info.choices().begin(), info.choices().end());
    if (info.type() == proto::ParameterInfo::BOOLEAN) values = {BoolValue(true), BoolValue(false)};
    if (values.empty()) values = {info.type() == proto::ParameterInfo::REAL ? RealValue(0.5) : IntValue(2)};
    for (const proto::Value& value : values) {
      // This one is for several devices.
      if (ToText(value) == "cumulative_throughput") continue;
      LoadOptions options;
      Set(options, info.name(), value);
      auto session = Row("openvino").load(ModelAt(folder / "m.onnx"), options);
      ASSERT_TRUE(session) << info.name() << "=" << ToText(value) << ": " << session.error().message;
      EXPECT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 64}, Ramp(64))}));
    }
  }
}

TEST(OpenVinoTest, CacheNeedsAFolderAndFillsIt) {
  Folder folder;
  Mlp().Save(folder / "m.onnx");
  LoadOptions options;
  Set(options, "cache", BoolValue(true));
  EXPECT_REJECTED(Row("openvino").load(ModelAt(folder / "m.onnx"), options), "no cache folder");
  fs::create_directories(folder / "cache");
  options.cache_folder = folder / "cache";
  for (int i = 0; i < 2; ++i) {
    auto session = Row("openvino").load(ModelAt(folder / "m.onnx"), options);
    ASSERT_OK(session);
    ASSERT_OK((*session)->Run({MakeTensorOf<float>(kFloat32, {1, 64}, Ramp(64))}));
    EXPECT_FALSE(fs::is_empty(folder / "cache"));
  }
}

}  // namespace
}  // namespace hone::test
