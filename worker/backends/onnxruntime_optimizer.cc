#include "worker/backends/onnxruntime_optimizer.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <exception>
#include <new>

#include "worker/backends/settings.h"

namespace hone {
namespace {

// These fuse into operators that ONNX Runtime keeps in ONNX's domain and ONNX does not have.
constexpr const char* kForeignFusions = "SimplifiedLayerNormFusion";

}  // namespace

Result<> WriteOptimized(const std::filesystem::path& model, OptimizerLevel level,
                        const std::filesystem::path& optimized) {
  constexpr const char* kAttempt = "optimize the model in ONNX Runtime";
  try {
    // Made at the first use and never destroyed, like the backend's.
    static Ort::Env* const environment = new Ort::Env(ORT_LOGGING_LEVEL_ERROR, "hone");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    options.SetGraphOptimizationLevel(level == OptimizerLevel::basic ? ORT_ENABLE_BASIC : ORT_ENABLE_EXTENDED);
    options.SetOptimizedModelFilePath(optimized.c_str());
    options.AddConfigEntry(kOrtSessionOptionsDisableSpecifiedOptimizers, kForeignFusions);
    options.AddConfigEntry(kOrtSessionOptionsConfigDisablePrepacking, "1");
    options.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersFileName,
                           (optimized.filename().string() + ".data").c_str());
    options.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersMinSizeInBytes, "1024");
    const Ort::Session session(*environment, model.c_str(), options);
    return {};
  } catch (const std::bad_alloc&) {
    return Fail(RuntimeError(ErrorCode::kRejected, kAttempt, "std::bad_alloc"));
  } catch (const std::exception& thrown) {
    return Fail(RuntimeError(ErrorCode::kRejected, kAttempt, thrown.what()));
  }
}

}  // namespace hone
