// The rules of Olive's passes, family by family: what the table in olive_passes.cc is made of.
#pragma once

#include "client/importers/draft.h"

namespace hone::importers {

// Of parameters that name Python.
inline constexpr const char* kNoPython = "Python does not run in hone; give the ONNX file, and samples as an .npz";

using Finish = Result<> (*)(Draft& draft);

struct WeightRules {
  const ParameterRules* blocks;  // OnnxBlockWiseRtnQuantization and its kin.
  const ParameterRules* torch;   // Quantizers of PyTorch models.
  const ParameterRules* bnb4;
  const ParameterRules* builder;  // Exporters that quantize.
  const ParameterRules* inc;
  Finish finish, finish_builder, finish_inc;
};
const WeightRules& OliveWeightRules();

struct GraphRules {
  const ParameterRules* half;
  const ParameterRules* transformers;
  const ParameterRules* peephole;
  const ParameterRules* fixed_shape;
  const ParameterRules* opset;
  const ParameterRules* to_pairs;
  const ParameterRules* qnn_preprocess;
  const ParameterRules* io_types;
  const ParameterRules* discrepancy;
  const ParameterRules* tuning;
  Finish finish_transformers, finish_fixed_shape, finish_to_pairs, finish_tuning;
};
const GraphRules& OliveGraphRules();

struct OpenvinoRules {
  const ParameterRules* to_ir;
  const ParameterRules* io_update;
  const ParameterRules* int8;
  const ParameterRules* compression;
  const ParameterRules* optimum;
  const ParameterRules* symmetric;
  Finish finish_input_shapes, finish_compression;
};
const OpenvinoRules& OliveOpenvinoRules();

// Names and shapes of inputs, which FinishX or PinByShape reads once all are there.
Result<> TakeShapes(Draft& draft, const ConfigNode& node, const ParameterRule& rule);
Result<> PinByShape(Draft& draft, const char* names_key, const char* shapes_key);

}  // namespace hone::importers
