// The graph gets a node "Tap" on every tapped value, an operator of ours that calls back and computes nothing:
//
//   X -> MatMul -> Y -> Add -> Z        X -> MatMul -> Y -> Add -> Z
//                                                      |           `-> Tap(1)
//                                                      `-> Tap(0)
//
// Nothing is copied out, and the runtime reuses the memory of Y once its readers are done: a run takes what an ordinary
// inference takes, however many tensors are looked at. Which run a call belongs to comes as one more input of the
// model, the address of its context.
//
// One session serves all threads: with one thread of its own, Run computes in the thread that calls it, and weights are
// held once. Large weights are lent to the runtime in place; the model that it parses holds the graph alone, in a
// folder where the file that weights would be in is empty (the runtime wants to see one, and never reads it).
//
// ONNX Runtime orders nodes depth first from the last leaf to the first. Taps are appended in reverse, so that the tap
// nearest to the inputs is reached first and each value is looked at as soon as it is there.
#include "worker/calibration/tapped_model.h"

#include <fmt/format.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <new>
#include <optional>
#include <utility>

#include "common/base/file.h"
#include "worker/backends/settings.h"
#include "worker/data/signature.h"
#include "worker/model/model.h"

namespace hone {
namespace {

constexpr const char* kDomain = "hone.calibration";
constexpr const char* kTapType = "Tap";
constexpr const char* kIndexAttribute = "index";
// Smaller weights may be read while the graph is resolved (shapes, axes), so they stay inside it.
constexpr size_t kLeastLentBytes = 4096;
constexpr const char* kLentFile = "lent";

struct RunContext {
  TapVisitor* visitor = nullptr;
  Result<> outcome;
};

struct TapKernel {
  explicit TapKernel(int64_t index) : tap(static_cast<size_t>(index)) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) try {
    const Ort::KernelContext context(raw);
    const Ort::ConstValue value = context.GetInput(0);
    auto& run = *reinterpret_cast<RunContext*>(static_cast<intptr_t>(*context.GetInput(1).GetTensorData<int64_t>()));
    context.GetOutput(0, {0});
    const auto info = value.GetTensorTypeAndShapeInfo();
    const TappedValue view{static_cast<ElementType>(info.GetElementType()), info.GetShape(), value.GetTensorRawData(),
                           info.GetElementCount()};
    run.outcome = run.visitor->Visit(tap, view);
    return run.outcome ? nullptr : Ort::Status("stopped by the visitor", ORT_FAIL).release();
  } catch (const std::bad_alloc&) {
    return Ort::Status("std::bad_alloc", ORT_FAIL).release();
  } catch (const std::exception& thrown) {
    return Ort::Status(thrown.what(), ORT_FAIL).release();
  }

  size_t tap;
};

struct TapOperator : Ort::CustomOpBase<TapOperator, TapKernel, true> {
  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const try {
    *kernel = new TapKernel(Ort::ConstKernelInfo(info).GetAttribute<int64_t>(kIndexAttribute));
    return nullptr;
  } catch (const std::exception& thrown) {
    return Ort::Status(thrown.what(), ORT_FAIL).release();
  }
  const char* GetName() const { return kTapType; }
  size_t GetInputTypeCount() const { return 2; }
  ONNXTensorElementDataType GetInputType(size_t index) const {
    return index == 0 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
};

// Never destroyed, since sessions may outlive other statics.
Ort::Env& Environment() {
  static Ort::Env* const environment = new Ort::Env(ORT_LOGGING_LEVEL_ERROR, "hone-calibration");
  return *environment;
}

const TapOperator& Operator() {
  static const TapOperator* const instance = new TapOperator;
  return *instance;
}

struct Bytes {
  const void* data = nullptr;
  size_t size = 0;
};

// The value of a tensor where it lies, in memory or in a mapped file, as the runtime wants it.
Bytes BytesInPlace(const onnx::TensorProto& tensor) {
  if (IsMapped(tensor)) {
    const auto view = ViewTensor(tensor);
    return view ? Bytes{view->bytes().data(), view->bytes().size()} : Bytes{};
  }
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) return {};
  if (!tensor.raw_data().empty()) {
    if (std::endian::native != std::endian::little) return {};
    return {tensor.raw_data().data(), tensor.raw_data().size()};
  }
  const auto field = [](const auto& values) { return Bytes{values.data(), values.size() * sizeof(*values.data())}; };
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
      return field(tensor.float_data());
    case onnx::TensorProto::DOUBLE:
      return field(tensor.double_data());
    case onnx::TensorProto::INT32:
      return field(tensor.int32_data());
    case onnx::TensorProto::INT64:
      return field(tensor.int64_data());
    default:
      return {};
  }
}

bool CanBeLent(const onnx::TensorProto& tensor, const Bytes& bytes) {
  if (bytes.size < kLeastLentBytes || ElementBytes(tensor.data_type()) == 0) return false;
  const auto wanted = TensorBytes(tensor.data_type(), {tensor.dims().begin(), tensor.dims().end()});
  return wanted && *wanted == bytes.size;
}

struct Lent {
  const onnx::TensorProto* tensor;
  Bytes bytes;
};

// The model without its outputs and without the large weights, which become references that nobody follows.
onnx::ModelProto WithoutWeights(const onnx::ModelProto& model, std::vector<Lent>& lent) {
  onnx::ModelProto light;
  light.set_ir_version(std::max<int64_t>(model.ir_version(), 4));  // Initializers need be no inputs.
  *light.mutable_opset_import() = model.opset_import();
  *light.mutable_functions() = model.functions();
  const onnx::GraphProto& graph = model.graph();
  onnx::GraphProto& target = *light.mutable_graph();
  target.set_name(graph.name());
  *target.mutable_node() = graph.node();
  *target.mutable_value_info() = graph.value_info();
  *target.mutable_sparse_initializer() = graph.sparse_initializer();
  for (const auto* input : RealInputs(graph)) *target.add_input() = *input;
  // What an output declares helps where the runtime cannot infer a type.
  for (const auto& output : graph.output()) *target.add_value_info() = output;
  for (const auto& tensor : graph.initializer()) {
    onnx::TensorProto& copy = *target.add_initializer();
    const Bytes bytes = BytesInPlace(tensor);
    if (!CanBeLent(tensor, bytes)) {
      copy = tensor;
      continue;
    }
    copy.set_name(tensor.name());
    copy.set_data_type(tensor.data_type());
    *copy.mutable_dims() = tensor.dims();
    copy.set_data_location(onnx::TensorProto::EXTERNAL);
    auto& location = *copy.add_external_data();
    location.set_key("location");
    location.set_value(kLentFile);
    lent.push_back({&tensor, bytes});
  }
  return light;
}

// Brings what is still mapped into the model.
Result<> LoadMapped(onnx::ModelProto& light) {
  return VisitTensors(light, [](onnx::TensorProto& tensor) -> Result<> {
    if (!IsMapped(tensor)) return {};
    TRY_ASSIGN(const TensorView view, ViewTensor(tensor));
    tensor = MakeTensor(tensor.name(), view.type(), view.dims(), view.bytes());
    return {};
  });
}

// Makes the taps the model's outputs and drops what they do not need. Returns the name of the input for the run's
// context.
std::string AddTaps(const std::vector<std::string>& taps, onnx::ModelProto& light) {
  onnx::GraphProto& graph = *light.mutable_graph();
  for (const std::string& tap : taps) graph.add_output()->set_name(tap);
  RemoveUnused(graph);
  graph.clear_output();

  GraphIndex index(graph);
  std::vector<size_t> order(taps.size());
  for (size_t i = 0; i < taps.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(index.Producer(taps[a]), a) > std::pair(index.Producer(taps[b]), b);
  });
  const std::string run = index.FreshName("hone_run");
  onnx::ValueInfoProto& input = *graph.add_input();
  input.set_name(run);
  input.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
  input.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(1);
  for (const size_t tap : order) {
    const std::string done = index.FreshName(fmt::format("hone_tap_{}", tap));
    onnx::NodeProto& node = *graph.add_node();
    node.set_op_type(kTapType);
    node.set_domain(kDomain);
    node.set_name(done);
    node.add_input(taps[tap]);
    node.add_input(run);
    node.add_output(done);
    SetIntAttribute(node, kIndexAttribute, static_cast<int64_t>(tap));
    onnx::ValueInfoProto& output = *graph.add_output();
    output.set_name(done);
    output.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  }
  SetOpset(light, kDomain, 1);
  return run;
}

class OnnxRuntimeTappedModel : public TappedModel {
 public:
  // Before any other call; may throw.
  Result<> Prepare(const onnx::ModelProto& model, const std::vector<std::string>& taps) {
    for (const auto* input : RealInputs(model.graph())) {
      const auto dims = DimsOf(*input);
      inputs_.push_back(
          {input->name(), input->type().tensor_type().elem_type(), dims.value_or(std::vector<int64_t>())});
      has_rank_.push_back(dims.has_value());
    }
    if (taps.empty()) return {};  // Inputs alone are looked at: there is nothing to compute.
    std::vector<Lent> lent;
    onnx::ModelProto light = WithoutWeights(model, lent);
    TRY(LoadMapped(light));
    run_name_ = AddTaps(taps, light);
    for (const auto& output : light.graph().output()) outputs_.push_back(output.name());
    for (const std::string& output : outputs_) output_names_.push_back(output.c_str());
    for (const InputSignature& input : inputs_) input_names_.push_back(input.name.c_str());
    input_names_.push_back(run_name_.c_str());

    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    options.SetInterOpNumThreads(1);
    options.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
    options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);  // Failures come back as errors, which tell more.
    domain_ = Ort::CustomOpDomain(kDomain);
    domain_.Add(&Operator());
    options.Add(domain_);
    LendWeights(light, lent, options);
    TRY_ASSIGN(const ScopedFolder folder,
               ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-calibration-"));
    const std::filesystem::path file = folder.path() / "model.onnx";
    TRY(WriteFile(file, light.SerializeAsString()));
    TRY(WriteFile(folder.path() / kLentFile, ""));
    light.Clear();
    session_ = Ort::Session(Environment(), file.c_str(), options);
    return {};
  }

  const std::vector<InputSignature>& inputs() const override { return inputs_; }

  Result<> Run(const std::vector<Tensor>& inputs, TapVisitor& visitor) override {
    TRY(Check(inputs));
    if (output_names_.empty()) return {};
    RunContext run{&visitor, {}};
    int64_t address = static_cast<int64_t>(reinterpret_cast<intptr_t>(&run));
    const int64_t one = 1;
    try {
      std::vector<Ort::Value> values;
      for (const Tensor& input : inputs)
        values.push_back(Borrow(input.bytes.data(), input.bytes.size(), input.dims, input.type));
      values.push_back(Ort::Value::CreateTensor<int64_t>(Cpu(), &address, 1, &one, 1));
      session_.Run(Ort::RunOptions{nullptr}, input_names_.data(), values.data(), values.size(), output_names_.data(),
                   output_names_.size());
    } catch (const std::bad_alloc&) {
      return Fail(RuntimeError(ErrorCode::kFailed, "run the model in ONNX Runtime", "std::bad_alloc"));
    } catch (const std::exception& thrown) {
      if (!run.outcome) return run.outcome;
      return Fail(RuntimeError(ErrorCode::kFailed, "run the model in ONNX Runtime", thrown.what()));
    }
    return {};
  }

 private:
  static const Ort::MemoryInfo& Cpu() {
    static const Ort::MemoryInfo* const info =
        new Ort::MemoryInfo(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault));
    return *info;
  }

  // The runtime takes tensors by a pointer to mutable memory and does not write into inputs and weights.
  static Ort::Value Borrow(const void* data, size_t bytes, const std::vector<int64_t>& dims, ElementType type) {
    static std::byte nothing;
    return Ort::Value::CreateTensor(Cpu(), bytes == 0 ? &nothing : const_cast<void*>(data), bytes, dims.data(),
                                    dims.size(), static_cast<ONNXTensorElementDataType>(type));
  }

  void LendWeights(const onnx::ModelProto& light, const std::vector<Lent>& lent, Ort::SessionOptions& options) {
    const GraphIndex index(light.graph());
    for (const auto& [tensor, bytes] : lent) {
      if (index.Initializer(tensor->name()) == nullptr) continue;
      weights_.push_back(
          Borrow(bytes.data, bytes.size, {tensor->dims().begin(), tensor->dims().end()}, tensor->data_type()));
      options.AddInitializer(tensor->name().c_str(), weights_.back());
    }
  }

  // An input without a rank takes every shape.
  Result<> Check(const std::vector<Tensor>& inputs) const {
    std::vector<InputSignature> wanted = inputs_;
    for (size_t i = 0; i < wanted.size() && i < inputs.size(); ++i) {
      if (!has_rank_[i]) wanted[i].dims = inputs[i].dims;
    }
    return CheckFeed(wanted, inputs);
  }

  std::vector<InputSignature> inputs_;
  std::vector<bool> has_rank_;
  std::string run_name_;
  std::vector<std::string> outputs_;
  std::vector<const char*> input_names_;  // Of inputs_ and run_name_; of outputs_.
  std::vector<const char*> output_names_;
  std::vector<Ort::Value> weights_;  // Outlive the session, as the domain does.
  Ort::CustomOpDomain domain_{nullptr};
  Ort::Session session_{nullptr};
};

}  // namespace

Result<std::unique_ptr<TappedModel>> TappedModel::Open(const onnx::ModelProto& model,
                                                       const std::vector<std::string>& taps) {
  constexpr const char* kAttempt = "load the model in ONNX Runtime for calibration";
  try {
    auto tapped = std::make_unique<OnnxRuntimeTappedModel>();
    TRY(tapped->Prepare(model, taps));
    return tapped;
  } catch (const std::bad_alloc&) {
    return Fail(RuntimeError(ErrorCode::kRejected, kAttempt, "std::bad_alloc"));
  } catch (const std::exception& thrown) {
    return Fail(RuntimeError(ErrorCode::kRejected, kAttempt, thrown.what()));
  }
}

}  // namespace hone
