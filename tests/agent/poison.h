// Tasks that misbehave on purpose. The test program is its own runner: its main hands over to the zygote first.
#pragma once

#include <string>

#include "proto/work.pb.h"

namespace hone {

// Does what task.build().step().pass() names; see the table in poison.cc.
proto::TaskResult PoisonTask(const proto::Task& task);

proto::Task PoisonRequest(const std::string& name);

}  // namespace hone
