// Values, parameters and candidates in one canonical text each: what goes into digests, the database and messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"
#include "proto/value.pb.h"
#include "proto/work.pb.h"

namespace hone {

proto::Value BoolValue(bool value);
proto::Value IntValue(int64_t value);
proto::Value RealValue(double value);
proto::Value TextValue(std::string value);

// Of a number of either kind: where a REAL is declared, an integer is a legal value.
double RealOf(const proto::Value& value);

// For people and keys: true, 3, 0.5 (shortest form that reads back equal; an integral real reads as an integer), text
// as it is, "" for none.
std::string ToText(const proto::Value& value);
// Numbers compare by value (1 == 1.0); other kinds by kind and content.
bool Equal(const proto::Value& a, const proto::Value& b);
// YAML 1.2's core scalar rules for an unquoted word: true/false, integers, reals, else text.
proto::Value ParseValue(std::string_view text);

// {"name":value,...} ordered by name; numbers as ToText writes them; parameters without a value left out. Same content,
// same bytes.
std::string CanonicalParameters(const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters);
// {"backend":...,"pipeline":[{"params":{...},"pass":...}],"settings":{...}}
std::string CanonicalCandidate(const proto::Candidate& candidate);
Result<proto::Candidate> ParseCanonicalCandidate(std::string_view json);
// For people: "static_int8(observer=entropy) on openvino(hint=latency)", "original on onnxruntime".
std::string CandidateText(const proto::Candidate& candidate);

// Finds a parameter; nullptr if it is not there or has no value.
const proto::Value* Find(const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters, std::string_view name);

// The declaration of a parameter; of NAME.K where NAME is declared for each group of layers, that one. nullptr if there
// is none.
const proto::ParameterInfo* FindInfo(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                                     std::string_view name);

// Type (an integer serves as a REAL), choices and bounds of one value against its declaration. kRejected with the
// allowed values in the message.
Result<> CheckValue(const proto::ParameterInfo& info, const proto::Value& value, std::string_view owner);
// Every parameter known (nearest name offered), every value allowed.
Result<> CheckParameters(const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                         const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters,
                         std::string_view owner);

// Whether a term of proto::Impossible holds for a value; for one without a case it does not.
bool TermHolds(const proto::Impossible::Term& term, const proto::Value& value);
// kRejected with the reason of the first rule whose terms all hold.
Result<> CheckTogether(const google::protobuf::RepeatedPtrField<proto::Impossible>& rules,
                       const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                       const google::protobuf::RepeatedPtrField<proto::Parameter>& parameters, std::string_view owner);

// The id of a build: sha256 over input bundle id, pass, version, canonical parameters, input pins, calibration digest
// and seed (each only where the pass uses it: calibration and seed where needs_ or takes_calibration). Of a pass that
// is a program its version is part of it.
std::string BuildKey(const proto::PassInfo& pass, const std::string& input_bundle_id, const proto::PassStep& step,
                     const google::protobuf::RepeatedPtrField<proto::InputShape>& inputs,
                     const std::string& calibration_digest, uint64_t seed);

}  // namespace hone
