// An engine that loads and runs a model. One row a backend in backends/registry.cc; a missing engine has no row.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "proto/catalogue.pb.h"
#include "proto/recipe.pb.h"
#include "proto/work.pb.h"
#include "worker/data/data_set.h"
#include "worker/model/tensor.h"

namespace hone {

struct LoadOptions {
  google::protobuf::RepeatedPtrField<proto::Parameter> settings;   // Checked against BackendInfo by Load.
  google::protobuf::RepeatedPtrField<proto::InputShape> inputs;    // Pins.
  std::string cache_folder;                                        // For compiled blobs; "" = none.
  bool profiling = false;                                          // For Session::Profile; every run is slower.
};

// A compiled model. One thread at a time, except RunMany.
class Session {
 public:
  virtual ~Session() = default;
  virtual const std::vector<InputSignature>& inputs() const = 0;
  virtual const std::vector<std::string>& outputs() const = 0;

  // One inference; inputs in the order of inputs(). Outputs in the order of outputs(), owned by the caller.
  virtual Result<std::vector<Tensor>> Run(const std::vector<Tensor>& inputs) = 0;

  // For timing: Bind copies the inputs once; RunBound runs with them, allocating nothing of ours and copying nothing
  // out.
  virtual Result<> Bind(const std::vector<Tensor>& inputs) = 0;
  virtual Result<> RunBound() = 0;

  // Throughput: `requests` in flight (0: as many as the runtime advises) with the bound inputs until `duration_ms` has
  // passed; inferences finished and the exact time go to the result.
  struct Throughput {
    uint64_t inferences = 0;
    double seconds = 0;
    uint32_t requests = 0;
  };
  virtual Result<Throughput> RunMany(uint32_t requests, uint32_t duration_ms) = 0;

  // A place for inferences with the bound inputs, for a thread of its own beside others; the session outlives it.
  class Lane {
   public:
    virtual ~Lane() = default;
    virtual Result<> Run() = 0;
  };
  virtual Result<std::unique_ptr<Lane>> NewLane() = 0;
  // How many inferences at once the runtime advises.
  virtual uint32_t AdvisedRequests() const = 0;

  // Time of each operator over `runs` (at least 1) inferences with the bound inputs, by the runtime's own profiler. For
  // a session that was loaded for profiling, once.
  virtual Result<proto::Profile> Profile(uint32_t runs) = 0;

  // What is really executed, read back from the runtime. May run the model once (profiling).
  virtual Result<proto::Execution> Execution() = 0;
};

struct BackendRow {
  const char* name;
  proto::BackendInfo (*info)();
  Result<std::unique_ptr<Session>> (*load)(const proto::LocalBundle& model, const LoadOptions& options);
};

const std::vector<BackendRow>& Backends();
// kRejected with the names there are.
Result<const BackendRow*> FindBackend(std::string_view name);

// Loads an ONNX model from memory in ONNX Runtime with one thread pool of `threads` (0: all allowed cores); for
// constant folding and calibration. optimize=false is ORT_DISABLE_ALL.
Result<std::unique_ptr<Session>> LoadOnnxBytes(std::string_view model, int threads, bool optimize);
// The same from a file, for models over 2 GB.
Result<std::unique_ptr<Session>> LoadOnnxFile(const std::filesystem::path& model, int threads, bool optimize);

}  // namespace hone
