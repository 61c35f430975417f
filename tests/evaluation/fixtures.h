// Models and data of these tests, as tasks name them.
#pragma once

#include <map>
#include <string>

#include "common/artifact/bundle.h"
#include "proto/work.pb.h"
#include "tests/support/programs.h"
#include "tests/support/tiny_models.h"

namespace hone::test {

inline proto::LocalBundle ModelIn(const TempFolder& folder, const std::string& name, const ModelBuilder& builder) {
  builder.Save(folder / name);
  proto::LocalBundle local;
  *local.mutable_bundle() = BundleOfModel(folder / name, {}).value();
  local.set_folder(folder.path().string());
  return local;
}

inline proto::LocalData DataIn(const TempFolder& folder, const std::string& name,
                               const std::map<std::string, Array>& arrays) {
  WriteNpz(folder / name, arrays);
  proto::LocalData data;
  *data.mutable_data()->mutable_bundle() = BundleOfData(folder / name).value();
  data.mutable_data()->set_folder(folder.path().string());
  return data;
}

inline std::map<std::string, double> ByName(const google::protobuf::RepeatedPtrField<proto::Metric>& metrics) {
  std::map<std::string, double> values;
  for (const auto& metric : metrics) values[metric.name()] = metric.value();
  return values;
}

}  // namespace hone::test
