// A look over the bytes of an ONNX file before anything is made of them.
//
// Two bytes can ask the parser for an object of hundreds, so a file within every size limit may still ask for a hundred
// times the memory. The survey walks the wire format along onnx's own schema, skips what it does not need (weights are
// seeked over), makes nothing, and counts against bounds far above what real models hold. It also tells where the model
// says that external data lie, which is all that is needed to check them: a large model is not parsed for that.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace hone {

struct ModelBounds {
  uint64_t bytes = 0x7fffffff;            // Of the file: what protobuf can parse.
  uint64_t nodes = 1'000'000;             // In all graphs and functions.
  uint64_t tensors = 1'000'000;           // Initializers and constants.
  uint64_t attributes = 5'000'000;
  uint64_t values = 2'000'000;            // Described inputs, outputs and values.
  uint64_t functions = 10'000;
  uint64_t messages = 20'000'000;         // Of any kind.
  uint64_t names = 10'000'000;            // Texts of any kind.
  uint64_t unknown_fields = 100'000;      // That this onnx does not know.
  uint64_t name_bytes = 1 << 20;          // Of one text ...
  uint64_t document_bytes = 64 << 20;     // ... or, of documentation and metadata.
  uint64_t subgraph_depth = 24;           // Graphs within graphs.
  uint64_t depth = 100;                   // Messages within messages.
};

struct ExternalTensor {
  std::string name;
  bool external = false;        // Not: it gives a place without saying that its data lie there.
  std::vector<std::pair<std::string, std::string>> entries;   // Keys and values, as written.
};

struct Survey {
  uint64_t nodes = 0, tensors = 0, attributes = 0, values = 0, functions = 0, messages = 0, names = 0,
           unknown_fields = 0;
  std::vector<ExternalTensor> external;   // Tensors that give a place elsewhere, or say that they have one.
};

// Surveys an open file from its beginning; its position is lost. kRejected, naming the bound and what was found, where
// one is passed. Empty where the bytes are no well-formed message: what is wrong with them is the parser's to say.
Result<std::optional<Survey>> SurveyModel(int descriptor, uint64_t size_bytes, const ModelBounds& bounds = {});

}  // namespace hone
