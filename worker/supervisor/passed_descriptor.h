// A message over a local socket with a descriptor beside it (SCM_RIGHTS, unix(7)).
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "common/base/open_file.h"

namespace hone {

// Without one where `descriptor` is negative. False if the message did not go out whole.
bool SendWithDescriptor(int socket, const void* message, size_t size, int descriptor);

// As recv with MSG_DONTWAIT. `descriptor` is what came beside the message, closed on exec; unset if nothing did.
ssize_t ReceiveWithDescriptor(int socket, void* message, size_t size, Descriptor& descriptor);

}  // namespace hone
