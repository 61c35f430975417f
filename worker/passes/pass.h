// A pass: a named model -> model transformation. One row a pass in passes/registry.cc; the wrapper (RunPass) does
// everything that all passes need (loading, checking parameters, verification, saving, timing), so a pass holds only
// its idea.
#pragma once

#include <onnx/onnx_pb.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/work.pb.h"
#include "worker/data/data_set.h"

namespace hone {

// What a pass is given. Lives during one run.
struct PassContext {
  const proto::PassInfo* info = nullptr;
  const proto::BuildTask* task = nullptr;
  int threads = 1;                 // Resolved, at least 1.
  std::vector<std::string> notes;  // The pass adds lines for people.
  bool changes_types = false;      // Set by a pass that was asked to change the element types of inputs and outputs.
  bool changes_ports = false;      // ... their names or number.

  // Value of a parameter: as given, else its default. The parameter must be declared and have a value.
  bool Bool(std::string_view name) const;
  int64_t Int(std::string_view name) const;
  double Real(std::string_view name) const;
  std::string Text(std::string_view name) const;
  bool Has(std::string_view name) const;  // Given, or has a default.
};

// Transforms the model in place. Fails with kRejected where the model or a parameter cannot be served, saying what and
// where.
using OnnxPassFunction = Result<> (*)(onnx::ModelProto& model, PassContext& context);
// Reads the files of task->model and writes others into task->output_folder.
using FilePassFunction = Result<proto::Bundle> (*)(PassContext& context);

struct PassRow {
  proto::PassInfo (*info)();
  OnnxPassFunction onnx = nullptr;  // One of the two.
  FilePassFunction files = nullptr;
  // Large external weights come to the pass mapped (MapOnnx), not in raw_data: it reads them through ViewTensor or
  // ReadTensor alone.
  bool maps_weights = false;
};

const std::vector<PassRow>& Passes();
Result<const PassRow*> FindPass(std::string_view name);

// Runs one step: loads, applies, verifies (onnx checker; inputs and outputs keep names and element types), saves,
// reports. Deterministic: same task, same bytes.
Result<proto::BuildResult> RunPass(const proto::BuildTask& task);

// Helpers for info functions.
proto::ParameterInfo BoolParameter(const char* name, bool otherwise, const char* help);
proto::ParameterInfo IntParameter(const char* name, int64_t otherwise, std::vector<int64_t> choices, const char* help);
proto::ParameterInfo RealParameter(const char* name, double otherwise, double low, double high, const char* help);
proto::ParameterInfo TextParameter(const char* name, const char* otherwise, std::vector<const char*> choices,
                                   const char* help);
// The same parameter, with choices that need data.calibration.
proto::ParameterInfo WithCalibrated(proto::ParameterInfo info, std::vector<const char*> choices);
// Values that do not go together: the search never proposes them, and RunPass rejects them with the reason.
proto::Impossible::Term OneOf(const char* parameter, std::vector<proto::Value> values);
proto::Impossible::Term Below(const char* parameter, double number);
proto::Impossible Never(std::vector<proto::Impossible::Term> terms, const char* reason);

}  // namespace hone
