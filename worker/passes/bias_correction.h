// Before: y = W^ x + b               W^: the weight as its codes hold it
// After:  y = W^ x + b + (W - W^) E[x]
//
// Closed form of bias correction (Nagel et al., 2019; what NNCF finds by running each layer alone): rounding a weight
// shifts the mean of its outputs by a number that follows from the means of its inputs. Every layer is corrected, also
// where a bias element is zero. Needs channel means of what the layers read.
#pragma once

#include "worker/calibration/statistics.h"
#include "worker/passes/qdq_plan.h"

namespace hone {

struct CorrectionReport {
  int corrected = 0;  // Biases changed or added.
  int added = 0;      // Of them, Add nodes behind a MatMul.
};

// Corrects Conv, Gemm and MatMul whose constant weight the plan quantizes. A Conv or Gemm without a bias gets one. A
// MatMul gives its correction to the constant that is added behind it; where none is, to an Add of its own if the shift
// is a noticeable part of the weight's error. Constants and nodes are new afterwards: plan again, on another
// QuantizationGraph of the model.
Result<CorrectionReport> CorrectBiases(QuantizationGraph& graph, const QdqPlan& plan, const QdqOptions& options,
                                       const Statistics& statistics);

}  // namespace hone
