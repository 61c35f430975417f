// What this machine can do.
#pragma once

#include "proto/catalogue.pb.h"

namespace hone {

// Passes, backends, fingerprint with the runtimes' versions, and tags: those of the machine and one a backend and
// device
// ("ort.cpu", "openvino.gpu"). May start runtimes to ask for their devices.
proto::Catalogue AssembleCatalogue();

// The fingerprint of AssembleCatalogue alone; equal to it in every measurement.
proto::Fingerprint MachineFingerprint();

}  // namespace hone
