// A folder of pictures as a data set.
//
// Labels: labels.csv in the folder (lines "file,label"; a header line "file,label" is passed over), else the first
// folder on each picture's path, else none. Where every label is a number it is taken as it is; otherwise names count
// from 0 in the order of the alphabet.
#pragma once

#include <memory>
#include <vector>

#include "common/base/result.h"
#include "worker/data/data_set.h"

namespace hone {

// See OpenDataSet. Needs a preprocessing block; its height and width may be left out where the input fixes them.
Result<std::unique_ptr<DataSet>> OpenImages(const proto::LocalData& data, const std::vector<InputSignature>& inputs);

}  // namespace hone
