// What the passes on OpenVINO's own graph share: reading a model of any format through ov::Core, pinning its inputs,
// writing it back as IR, and the few questions they all ask. No header of this folder but those of OpenVINO passes
// includes this one, since OpenVINO's headers are long.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <openvino/core/model.hpp>
#include <openvino/op/constant.hpp>
#include <regex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/base/result.h"
#include "worker/passes/pass.h"

namespace hone {

// The cause in what OpenVINO threw, without the places in its sources.
std::string OpenvinoCause(const std::exception& error);

// The one place where exceptions of a call end: kExhausted for missing memory, else kRejected with the cause.
template <class Work>
auto CallOpenvino(const char* what, const Work& work) -> Result<decltype(work())> try {
  return work();
} catch (const std::bad_alloc&) {
  return Fail(ErrorCode::kExhausted, fmt::format("{}: not enough memory", what));
} catch (const std::exception& error) {
  return Fail(ErrorCode::kRejected, fmt::format("{}: {}", what, OpenvinoCause(error)));
}

// Names that the result must answer to; empty where the source is no ONNX model.
struct ModelNames {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::unordered_set<std::string> nodes;  // Names that somebody gave.
};

struct OpenvinoModel {
  std::shared_ptr<ov::Model> model;
  ModelNames names;
};

// Reads the task's model with its inputs pinned. An ONNX model is checked by our own rules first. kRejected where it
// cannot be read, kFailed where OpenVINO loses an output.
Result<OpenvinoModel> ReadOpenvinoModel(PassContext& context);

// Whether weights are compressed or quantized already; folding constants would undo that.
bool HoldsNarrowWeights(const ov::Model& model);
Result<> FoldConstants(const std::shared_ptr<ov::Model>& model);

enum class HalfWeights { no, yes };
// Writes model.xml and model.bin into the task's output folder: same model, same bytes.
Result<proto::Bundle> WriteOpenvinoModel(const OpenvinoModel& read, const PassContext& context, HalfWeights half);
// Writes STEM.xml and STEM.bin into a folder as they come, constant after constant, and tells of them; `written` is
// told the memory of each piece that is in the file now. Same model, same bytes.
Result<std::vector<proto::File>> StreamOpenvinoModel(const std::shared_ptr<ov::Model>& model,
                                                     const std::filesystem::path& folder, const std::string& stem,
                                                     const std::function<void(const char*, size_t)>& written);

// Which nodes a pass leaves alone: regular expressions separated by commas, each for a whole name.
class NameFilter {
 public:
  static Result<NameFilter> Make(std::string_view expressions);
  bool Excludes(const ov::Node& node) const;

 private:
  std::vector<std::regex> excluded_;
};

// Counts by layer type what was quantized and why the rest was not, and tells it.
class LayerTally {
 public:
  void Quantized(const ov::Node& node) { ++counts_[node.get_type_name()].done; }
  void Left(const ov::Node& node, const std::string& reason) { ++counts_[node.get_type_name()].left[reason]; }
  int Done() const;
  void Tell(std::vector<std::string>& notes) const;
  // kRejected if nothing was quantized, with the reasons.
  Result<> CheckAny(std::string_view wanted) const;

 private:
  struct Count {
    int done = 0;
    std::map<std::string, int> left;
  };
  std::map<std::string, Count> counts_;
};

}  // namespace hone
