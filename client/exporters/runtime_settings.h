// hone's settings of a backend in the words of each runtime and server.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/console.h"
#include "proto/value.pb.h"

namespace hone::exporters {

using Settings = google::protobuf::RepeatedPtrField<proto::Parameter>;

// Properties of ov::Core::compile_model, which OpenVINO Model Server and Triton's backend read too. Always with a hint.
struct OpenvinoProperties {
  std::string device = "CPU";
  std::vector<std::pair<std::string, std::string>> values;
};
OpenvinoProperties OpenvinoPropertiesOf(const Settings& settings);

// One setting of ONNX Runtime: an attribute of its session options, or an entry of its configuration.
struct OnnxruntimeOption {
  std::string python;     // A statement on `options`.
  std::string cpp;        // The same in C++.
  std::string olive_key;  // In Olive's session_options; "" for an entry.
  Json olive_value;
  std::string entry;  // The configuration's key; "" for an attribute.
  std::string entry_value;
  std::string triton_key;  // A parameter of Triton's backend; "" where it knows none.
  std::string triton_value;
};
std::vector<OnnxruntimeOption> OnnxruntimeOptionsOf(const Settings& settings);

}  // namespace hone::exporters
