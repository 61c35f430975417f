// Graphs written as text, passes applied to them, and results compared in ONNX Runtime.
#pragma once

#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "worker/model/model.h"
#include "worker/passes/pass.h"

namespace hone::test {

namespace fs = std::filesystem;

// A folder that goes with the test.
class Folder {
 public:
  Folder();
  const fs::path& path() const { return folder_.path(); }
  fs::path Write(const std::string& name, std::string_view bytes) const;

 private:
  ScopedFolder folder_;
};

// ONNX's textual form (onnx/docs/Syntax.md). Throws on a syntax error.
onnx::ModelProto Parse(const std::string& text);

// fp32 initializer with normal values from a seed.
onnx::TensorProto RandomWeights(const std::string& name, const std::vector<int64_t>& dims, uint32_t seed,
                                float spread = 0.5F);

// y = x + w, shapes [2,3], with w inside; and with w in a file, placed as the entries of its external data say.
using Entries = std::vector<std::pair<std::string, std::string>>;
onnx::ModelProto SmallSum();
onnx::ModelProto ExternalSum(const Entries& entries);

using Pins = std::map<std::string, std::vector<int64_t>>;
using Parameters = std::map<std::string, std::string>;  // Values as YAML scalars.

// A task for a model that lies in `folder`.
proto::BuildTask TaskFor(const std::string& pass, const fs::path& folder, const fs::path& output,
                         const Parameters& parameters = {}, const Pins& pins = {});

struct Applied {
  onnx::ModelProto model;
  std::vector<std::string> notes;
};
// Saves the model, runs the pass as a worker does, loads the result.
Result<Applied> Apply(const onnx::ModelProto& model, const std::string& pass, const Parameters& parameters = {},
                      const Pins& pins = {});

// Seeded inputs; free dimensions become `free`.
std::vector<Tensor> RandomInputs(const onnx::ModelProto& model, uint32_t seed, int64_t free = 2);

// Outputs in ONNX Runtime, unoptimized.
Result<std::vector<Tensor>> RunModel(const onnx::ModelProto& model, const std::vector<Tensor>& inputs);

// Runs both on the same inputs; every element within tolerance * max(1, |expected|).
void ExpectSameResults(const onnx::ModelProto& expected, const onnx::ModelProto& actual, double tolerance,
                       int64_t free = 2);

int CountOps(const onnx::ModelProto& model, const std::string& op_type);
const onnx::TensorProto* FindInitializer(const onnx::ModelProto& model, const std::string& name);

// models/text_angle.onnx of the machine's dependencies; fails the test where it is missing.
fs::path TextAngle();

}  // namespace hone::test
