// One model that holds both forms of every group, with a switch for each: compiled once, it measures them all.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "common/base/result.h"
#include "worker/sensitivity/groups.h"

namespace hone {

// The input that chooses: bool [number of groups]; true is the built form.
struct SwitchedModel {
  onnx::ModelProto model;
  std::string switches;
};

// The original with every change under an If: then the built nodes, else the original's. A branch that is not taken
// costs nothing. With all switches off the model computes what the original does.
Result<SwitchedModel> AddSwitches(const onnx::ModelProto& original, const onnx::ModelProto& built,
                                  const std::vector<Change>& changes, const std::vector<ChangeGroup>& groups);

// One form of one change as a model of its own, for timing. Its inputs are the values that both forms read, in `inputs`
// with their types and shapes.
onnx::ModelProto Alone(const onnx::ModelProto& source, const std::vector<int>& nodes,
                       const std::vector<std::string>& outputs, const std::vector<onnx::ValueInfoProto>& inputs);

// What nodes read that they do not compute themselves and that is no constant; ordered.
std::vector<std::string> ReadFromOutside(const onnx::GraphProto& graph, const Constants& constants,
                                         const std::vector<int>& nodes);

}  // namespace hone
