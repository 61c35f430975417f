// Sensitivity: what each group of layers costs in accuracy when it alone is built with a pass, and what it gains in
// time.
#pragma once

#include "common/base/result.h"
#include "proto/work.pb.h"

namespace hone {

// For each step: runs the pass once on the whole model (one calibration), tells what it changed, and compiles one model
// that holds both forms of every group (switches.h); each group is then measured by inference alone. Memory does not
// grow with the number of samples. The same task gives the same losses.
//
// loss is accuracy_drop in the metric asked for (evaluation/accuracy.h), against the original's outputs or labels,
// computed in ONNX Runtime. gain_ms is the sum over the group's operators of their median time alone in ONNX Runtime,
// original less built.
//
// kRejected: a model that is no ONNX, no step, a pass that changes nothing or that gives another format, a step whose
// layers cannot be told apart (smoothing, equalization), data that do not fit.
Result<proto::SensitivityResult> MeasureSensitivity(const proto::SensitivityTask& task);

}  // namespace hone
