#include "worker/model/survey.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/wire_format_lite.h>
#include <onnx/onnx_pb.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "common/base/strings.h"

namespace hone {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Longest key or value of external data that is kept; a location has at most 1024 bytes.
constexpr uint64_t kMaxEntryBytes = 4096;

struct CountRow {
  const Descriptor* type;
  uint64_t Survey::* count;
  uint64_t ModelBounds::* bound;
  const char* what;
};

const std::vector<CountRow>& CountRows() {
  static const std::vector<CountRow> rows = {
      {onnx::NodeProto::descriptor(), &Survey::nodes, &ModelBounds::nodes, "nodes"},
      {onnx::TensorProto::descriptor(), &Survey::tensors, &ModelBounds::tensors, "tensors"},
      {onnx::AttributeProto::descriptor(), &Survey::attributes, &ModelBounds::attributes, "attributes"},
      {onnx::ValueInfoProto::descriptor(), &Survey::values, &ModelBounds::values, "described values"},
      {onnx::FunctionProto::descriptor(), &Survey::functions, &ModelBounds::functions, "functions"},
  };
  return rows;
}

class Surveyor {
 public:
  Surveyor(CodedInputStream& in, const ModelBounds& bounds) : in_(in), bounds_(bounds) {}

  // False where the bytes are malformed, or a bound was passed: error() tells.
  bool Walk(const Descriptor* type, uint64_t depth, uint64_t subgraphs) {
    if (!Within(depth, bounds_.depth, "levels of messages within messages") ||
        !Within(subgraphs, bounds_.subgraph_depth + 1, "levels of graphs within graphs")) {
      return false;
    }
    while (const uint32_t tag = in_.ReadTag()) {
      const FieldDescriptor* field = type->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      const bool delimited = WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
      if (field == nullptr && !Count(survey_.unknown_fields, bounds_.unknown_fields, "unknown fields")) return false;
      if (field != nullptr && delimited) {
        if (!Delimited(*field, depth, subgraphs)) return false;
      } else if (!ReadLocation(field, tag)) {
        return false;
      }
    }
    return in_.ConsumedEntireMessage();
  }

  const std::optional<Error>& error() const { return error_; }
  Survey& survey() { return survey_; }

 private:
  bool Delimited(const FieldDescriptor& field, uint64_t depth, uint64_t subgraphs) {
    uint32_t length = 0;
    if (!in_.ReadVarint32(&length) || length > static_cast<uint32_t>(std::numeric_limits<int>::max())) return false;
    if (field.type() == FieldDescriptor::TYPE_MESSAGE)
      return Message(field, static_cast<int>(length), depth, subgraphs);
    if (field.type() == FieldDescriptor::TYPE_STRING) return Text(field, length);
    return in_.Skip(static_cast<int>(length));
  }

  bool Message(const FieldDescriptor& field, int length, uint64_t depth, uint64_t subgraphs) {
    const Descriptor& type = *field.message_type();
    if (!CountMessage(type)) return false;
    const bool tensor = &type == onnx::TensorProto::descriptor();
    const bool graph = &type == onnx::GraphProto::descriptor();
    if (tensor) tensor_ = {};
    if (&type == onnx::StringStringEntryProto::descriptor()) entry_ = {};
    const auto limit = in_.PushLimit(length);
    // A message that promises more than is left of its parent ends early and is not consumed.
    const bool fits = in_.BytesUntilLimit() == length;
    const bool walked = fits && Walk(&type, depth + 1, subgraphs + (graph ? 1 : 0)) && in_.BytesUntilLimit() == 0;
    in_.PopLimit(limit);
    if (!walked) return false;
    const bool place = field.containing_type() == onnx::TensorProto::descriptor() && field.name() == "external_data";
    if (place) tensor_.entries.push_back(std::move(entry_));
    // A message field that is given twice is merged by the parser, so a place counts wherever it is given.
    if (tensor && (tensor_.external || !tensor_.entries.empty())) survey_.external.push_back(std::move(tensor_));
    return true;
  }

  bool CountMessage(const Descriptor& type) {
    if (!Count(survey_.messages, bounds_.messages, "messages")) return false;
    for (const CountRow& row : CountRows()) {
      if (row.type == &type) return Count(survey_.*row.count, bounds_.*row.bound, row.what);
    }
    return true;
  }

  bool Text(const FieldDescriptor& field, uint32_t length) {
    if (!Count(survey_.names, bounds_.names, "names")) return false;
    const bool entry = field.containing_type() == onnx::StringStringEntryProto::descriptor();
    const bool document = field.name() == "doc_string" || (entry && field.name() == "value");
    if (!Within(length, document ? bounds_.document_bytes : bounds_.name_bytes, "bytes in one text")) return false;
    const bool tensor_name = field.containing_type() == onnx::TensorProto::descriptor() && field.name() == "name";
    if (!entry && !tensor_name) return in_.Skip(static_cast<int>(length));
    std::string text;
    const uint32_t kept = std::min<uint32_t>(length, kMaxEntryBytes);
    if (!in_.ReadString(&text, static_cast<int>(kept)) || !in_.Skip(static_cast<int>(length - kept))) return false;
    if (tensor_name) {
      tensor_.name = std::move(text);
    } else {
      (field.name() == "key" ? entry_.first : entry_.second) = std::move(text);
    }
    return true;
  }

  // Everything that is no text and no message; of it only TensorProto.data_location says something.
  bool ReadLocation(const FieldDescriptor* field, uint32_t tag) {
    const bool location = field != nullptr && field->containing_type() == onnx::TensorProto::descriptor() &&
                          field->name() == "data_location" &&
                          WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_VARINT;
    if (!location) return WireFormatLite::SkipField(&in_, tag);
    uint64_t value = 0;
    if (!in_.ReadVarint64(&value)) return false;
    tensor_.external = value == onnx::TensorProto::EXTERNAL;
    return true;
  }

  bool Count(uint64_t& count, uint64_t bound, const char* what) { return Within(++count, bound, what); }

  bool Within(uint64_t found, uint64_t bound, const char* what) {
    if (found <= bound) return true;
    if (!error_) {
      error_ = Error{ErrorCode::kRejected,
                     fmt::format("the model has {} or more {}; at most {} are taken", found, what, bound),
                     "No model that is known here comes near that; the file may have been made to do harm"};
    }
    return false;
  }

  CodedInputStream& in_;
  const ModelBounds& bounds_;
  Survey survey_;
  ExternalTensor tensor_;                      // The one being walked: tensors do not nest.
  std::pair<std::string, std::string> entry_;
  std::optional<Error> error_;
};

}  // namespace

Result<std::optional<Survey>> SurveyModel(int descriptor, uint64_t size_bytes, const ModelBounds& bounds) {
  if (size_bytes > bounds.bytes) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} is more than the {} that an ONNX file can hold", HumanBytes(size_bytes),
                            HumanBytes(bounds.bytes)),
                "Save the model with external data.");
  }
  lseek(descriptor, 0, SEEK_SET);
  google::protobuf::io::FileInputStream file(descriptor, 1 << 16);
  CodedInputStream in(&file);
  in.SetTotalBytesLimit(std::numeric_limits<int>::max());
  Surveyor surveyor(in, bounds);
  const bool walked = surveyor.Walk(onnx::ModelProto::descriptor(), 0, 0);
  if (surveyor.error()) return Fail(*surveyor.error());
  if (!walked || file.GetErrno() != 0) return std::optional<Survey>();
  return std::optional<Survey>(std::move(surveyor.survey()));
}

}  // namespace hone
