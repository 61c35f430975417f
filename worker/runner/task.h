// Executes one piece of work in this process: the only place where models and data are parsed.
#pragma once

#include "proto/work.pb.h"

namespace hone {

// Never throws and never fails itself: a failure of the work is the result's error.
proto::TaskResult RunTask(const proto::Task& task);

}  // namespace hone
