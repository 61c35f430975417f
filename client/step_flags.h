// Passes and settings as people write them on a command line.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/work.pb.h"

namespace hone {

using Parameters = google::protobuf::RepeatedPtrField<proto::Parameter>;

// "key=value" words, typed by their declarations, ordered by name. kUsage for a word without '=' or a key given twice;
// kRejected for an unknown key (nearest known one offered) or a value that is not allowed.
Result<Parameters> ParseSettings(const std::vector<std::string>& words,
                                 const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                                 const std::string& owner);

// "static_int8:observer=entropy,per_channel=true"; "exclude=@FILE:K" leaves out the K worst groups of a sensitivity
// document. kRejected for an unknown pass (nearest known one offered).
Result<proto::PassStep> ParsePass(const std::string& word, const proto::Catalogue& catalogue);

// Whether the formats chain: each pass takes what the one before gives. The format at the end; kRejected.
Result<std::string> ChainFormats(const std::vector<proto::PassStep>& steps, const proto::Catalogue& catalogue,
                                 std::string format);

// A word that goes on a list of passes: "fp16", "static_int8:observer=minmax", but not a file.
bool LooksLikePass(const std::string& word);

}  // namespace hone
