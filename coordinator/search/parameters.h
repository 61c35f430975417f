// The parameters of one pass or the settings of one backend, as a recipe gives them, checked against what is declared.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/search/space.h"

namespace hone {

struct ParameterPlan {
  Dimension dimension;      // name: the parameter's; conditions count the parameters of this list.
  proto::Value
      preferred;  // The declared default where the recipe allows it, else the first value or the middle of the range.
};

struct ParameterOwner {
  std::string name;         // For messages: "pass 'fp16'", "backend 'openvino'".
  const char* word;         // "parameter" or "setting".
};

struct ParameterRules {
  bool skip = false;
  bool has_calibration = true;   // Values that need calibration data are left out otherwise.
};

// In an order in which every condition names an earlier parameter; a parameter for groups of layers becomes one a
// group. With skip, what is not declared is left out with a note instead of being an error.
Result<std::vector<ParameterPlan>> PlanParameters(const google::protobuf::RepeatedPtrField<proto::Domain>& domains,
                                                  const google::protobuf::RepeatedPtrField<proto::ParameterInfo>& infos,
                                                  const ParameterOwner& owner, const ParameterRules& rules,
                                                  std::vector<std::string>& notes);

// The error, at a place of the recipe.
Error LocatedAt(const proto::Position& position, Error error);
tl::unexpected<Error> RejectAt(const proto::Position& position, std::string message, std::string remedy = {});

}  // namespace hone
