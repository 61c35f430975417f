// Text that came out of a model, made fit to travel.
#pragma once

#include <google/protobuf/message.h>

namespace hone {

// Replaces every byte that is no UTF-8 in the message's text fields by '?'. A receiver refuses a whole message for one
// such byte, and names inside models may hold anything.
void MakeWellFormed(google::protobuf::Message& message);

}  // namespace hone
