// ONNX models in memory: loading hostile bytes safely, saving, and the graph questions that passes ask again and again.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/open_file.h"
#include "common/base/result.h"
#include "proto/artifact.pb.h"
#include "proto/work.pb.h"
#include "worker/model/tensor.h"

namespace hone {

enum class Weights { load, leave_external };

// Parses an .onnx file and (Weights::load) brings external data in. kRejected with the cause for what is no valid
// model: not protobuf
// ("not an ONNX file"), truncated, no graph, no opset, external data outside the folder (links included), beyond its
// file's end, or a declared size that does not fit shape and type. The bytes are checked with onnx's checker by
// CheckModel, not here.
Result<onnx::ModelProto> LoadOnnx(const std::filesystem::path& file, Weights weights = Weights::load);

// Keeps the files mapped that models of MapOnnx refer to. Copies of such a model may live longer, but their mapped
// weights cannot be read any more. One thread may map while others read.
class MappedWeights {
 public:
  MappedWeights() = default;
  ~MappedWeights();
  MappedWeights(const MappedWeights&) = delete;
  MappedWeights& operator=(const MappedWeights&) = delete;

  // Bytes of all files that were mapped.
  uint64_t Bytes() const;
  // Maps a file that is open for reading and returns the location that stands for it in external data.
  Result<std::string> Map(int descriptor, uint64_t size_bytes);

 private:
  std::vector<uint64_t> ids_;
};

// As LoadOnnx(file, Weights::load), but large external tensors stay in their files, mapped and read only when somebody
// looks at them: memory holds what is in use, not the model. They remain external (data_location) with a location that
// ViewTensor, ReadTensor, CheckModel and SaveOnnx know; a pass replaces a weight by adding another. What shapes are
// computed from is small and is loaded.
Result<onnx::ModelProto> MapOnnx(const std::filesystem::path& file, MappedWeights& mapped);

// Whether the tensor lies in a mapped file.
bool IsMapped(const onnx::TensorProto& tensor);
bool HasMapped(const onnx::ModelProto& model);
// Bytes of the model with its mapped tensors.
uint64_t ModelBytes(const onnx::ModelProto& model);

// The distinct external-data locations that a model names, as relative paths that stay beneath its folder, ordered.
// Each is there, is reached without a link, and holds what is said to lie in it. kRejected otherwise. The model is
// surveyed, not parsed. HardLinks::refuse is for a folder that hone did not make: a file that has other names may be
// another's.
Result<std::vector<std::string>> ExternalFiles(const std::filesystem::path& onnx_file,
                                               HardLinks hard_links = HardLinks::allow);

// Writes model.onnx into folder, deterministically; tensors of at least 1 KiB go to model.onnx.data when the whole
// would pass 1.9 GB or some are mapped. Mapped tensors stream from their files. Returns the bundle (format onnx).
Result<proto::Bundle> SaveOnnx(const onnx::ModelProto& model, const std::filesystem::path& folder);
// The same, taking the model apart instead of copying a large one.
Result<proto::Bundle> SaveOnnx(onnx::ModelProto&& model, const std::filesystem::path& folder);

// onnx::checker on the model, whatever its size, with its message as kRejected.
Result<> CheckModel(const onnx::ModelProto& model);

// onnx shape inference with data propagation; unknown operators are passed over. Never fails on a model that the
// checker accepts; what cannot be inferred stays absent.
void InferShapes(onnx::ModelProto& model);

// Values of small integer tensors (shapes and what is computed from them) that inference could tell exactly, by name.
using KnownValues = std::map<std::string, std::vector<int64_t>>;

// Forgets the shapes that the model records, except those of inputs and of what inference cannot know (operators of
// other domains), and infers them anew: what an exporter traced with other inputs does not survive. Declared output
// shapes stay where nothing better is known.
void ReinferShapes(onnx::ModelProto& model, KnownValues* known = nullptr);

// Declared inputs that are no initializers.
std::vector<const onnx::ValueInfoProto*> RealInputs(const onnx::GraphProto& graph);
// -1 for a free dimension; nullopt if the rank is unknown.
std::optional<std::vector<int64_t>> DimsOf(const onnx::ValueInfoProto& value);

// Pins free dimensions of inputs and their symbolic names throughout. kRejected for an unknown input, a wrong rank, or
// a pin that contradicts a fixed dimension.
Result<> PinInputs(onnx::ModelProto& model, const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs);

int64_t OpsetVersion(const onnx::ModelProto& model, std::string_view domain = "");
void SetOpset(onnx::ModelProto& model, std::string_view domain, int64_t version);

// The newest opset of the default domain that the onnx library knows.
int64_t NewestOpset();

// Visits the graph and every graph in attributes beneath it, outer before inner.
void VisitGraphs(onnx::GraphProto& graph, const std::function<void(onnx::GraphProto&)>& visit);
void VisitGraphs(const onnx::GraphProto& graph, const std::function<void(const onnx::GraphProto&)>& visit);
// Visits every tensor of the model wherever it is kept: initializers, attributes, sparse tensors, functions, training
// graphs. Stops at the first failure and returns it.
Result<> VisitTensors(onnx::ModelProto& model, const std::function<Result<>(onnx::TensorProto&)>& visit);

// Bytes that a tensor of this type and shape takes, sub-byte elements packed. kRejected for an unknown type, strings, a
// negative dimension or an overflow.
Result<uint64_t> TensorBytes(ElementType type, const std::vector<int64_t>& dims);

// The value of a tensor with whole-byte elements, whichever field holds it. Fails for external tensors that were
// neither loaded nor mapped.
Result<Tensor> ReadTensor(const onnx::TensorProto& tensor);

// The bytes of a tensor where they lie: in raw_data, in a mapped file, or (typed fields) in a copy that the view holds.
// Elements of less than a byte are packed as in raw_data. Valid while the tensor and its mapping are.
class TensorView {
 public:
  TensorView() = default;
  TensorView(ElementType type, std::vector<int64_t> dims, std::string_view bytes)
      : type_(type), dims_(std::move(dims)), bytes_(bytes) {}
  explicit TensorView(Tensor owned);
  TensorView(TensorView&&) = default;
  TensorView& operator=(TensorView&&) = default;

  ElementType type() const { return type_; }
  const std::vector<int64_t>& dims() const { return dims_; }
  std::string_view bytes() const { return bytes_; }

 private:
  ElementType type_ = 0;
  std::vector<int64_t> dims_;
  std::vector<std::byte> owned_;
  std::string_view bytes_;
};
// Fails as ReadTensor does.
Result<TensorView> ViewTensor(const onnx::TensorProto& tensor);
// The tensor's bytes may leave memory until they are looked at again. Does nothing for a tensor that is not mapped.
void ReleasePages(const onnx::TensorProto& tensor);

onnx::TensorProto MakeTensor(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                             std::string_view bytes);
// The same, taking the bytes.
onnx::TensorProto MakeTensorFrom(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                                 std::string&& bytes);
template <class T>
onnx::TensorProto MakeTensor(const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                             const std::vector<T>& values) {
  return MakeTensor(name, type, dims,
                    std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
}

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name);
int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t otherwise);
void SetIntAttribute(onnx::NodeProto& node, std::string_view name, int64_t value);
// Node "MatMul 'encoder/q'", for messages; unnamed nodes are told by their first output.
std::string NodeText(const onnx::NodeProto& node);

// Names, producers and consumers of one graph, built once; pointers stay valid while nodes and initializers are not
// added or removed. Uses in subgraphs count as consumers (with node = the If/Loop/Scan node and input = -1).
struct Use {
  int node = -1;
  int input = -1;
};
class GraphIndex {
 public:
  explicit GraphIndex(const onnx::GraphProto& graph);
  const onnx::TensorProto* Initializer(const std::string& name) const;  // nullptr if none.
  int Producer(const std::string& value) const;                         // Node index or -1.
  const std::vector<Use>& Consumers(const std::string& value) const;
  bool IsGraphOutput(const std::string& name) const;
  bool IsGraphInput(const std::string& name) const;
  // A name that nothing in the graph (or its subgraphs) has; it is taken from then on.
  std::string FreshName(const std::string& wish);

 private:
  std::unordered_map<std::string, const onnx::TensorProto*> initializers_;
  std::unordered_map<std::string, int> producers_;
  std::unordered_map<std::string, std::vector<Use>> consumers_;
  std::unordered_map<std::string, int> taken_;
  std::unordered_map<std::string, int> outputs_;
  std::unordered_map<std::string, int> inputs_;
};

// Names that the subgraphs of a node take from the graph around it, ordered.
std::vector<std::string> CapturedNames(const onnx::NodeProto& node);
// Renames what the subgraphs of a node take from outside; names that a subgraph defines itself stay.
void RenameCaptured(onnx::NodeProto& node, const std::unordered_map<std::string, std::string>& names);

// Stable topological order; kRejected for a cycle.
Result<> SortNodes(onnx::GraphProto& graph);
// Drops initializers and nodes that no output needs. Returns how many nodes went.
int RemoveUnused(onnx::GraphProto& graph);

}  // namespace hone
