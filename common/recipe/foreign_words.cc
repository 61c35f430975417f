#include "common/recipe/foreign_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "common/base/strings.h"

namespace hone {
namespace {

constexpr size_t kLongestForeignWord = 64;

// Without leading dashes, in lower case, with '-' where others have '_', '.' or a space.
std::string PlainWord(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  std::string plain;
  for (const char c : word) {
    const bool parts = c == '_' || c == '.' || c == ' ';
    plain += parts ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain;
}

bool HasWord(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

const std::vector<ForeignWord>& ForeignWords() {
  using enum WordKind;
  static const std::vector<ForeignWord> rows = {
      // Olive and optimum-cli, benchmark_app and trtexec, and what command lines of services are used to.
      {command, "quantize quantise ptq compress", "apply|optimize"},
      {command, "run auto-opt auto-optimize autotune tune search finetune workflow", "optimize"},
      {command, "bench benchmark-app trtexec perf perf-analyzer profile measure time timing", "benchmark"},
      {command, "convert ovc mo onnx2tf polygraphy transform", "apply"},
      {command, "eval accuracy accuracy-check metrics test", "evaluate"},
      {command, "validate lint verify", "check|evaluate"},
      {command, "info summary describe model", "inspect"},
      {command, "show state", "status"},
      {command, "ls list ps queue history", "jobs"},
      {command, "start create push launch", "submit"},
      {command, "stop kill abort delete", "cancel"},
      {command, "download fetch pull", "get"},
      {command, "tail follow monitor progress", "watch"},
      {command, "nodes machines fleet devices agents hosts", "workers"},
      {command, "cordon pause", "drain"},
      {command, "diff", "compare"},
      {command, "front frontier", "pareto"},
      {command, "estimate cost forecast dry-run", "plan"},
      {command, "repro", "reproduce"},
      {command, "layers layerwise", "sensitivity|benchmark --profile"},
      {command, "why reason", "explain"},
      {command, "login auth credentials", "keys|token"},
      {command, "settings preferences", "config"},
      {command, "generate-passes list-passes operators", "passes"},
      {command, "providers runtimes engines", "backends"},

      // A precision as an option of its own.
      {option, "fp16 half float16 f16", "--precision fp16", "optimize submit plan"},
      {option, "bf16 bfloat16", "--precision bf16", "optimize submit plan"},
      {option, "fp32 float32 f32", "--precision fp32", "optimize submit plan"},
      {option, "int8 8bit i8", "--precision int8", "optimize submit plan"},
      {option, "int4 4bit i4", "--precision int4", "optimize submit plan"},
      {option, "best", "--precision auto", "optimize submit plan"},
      {option, "fp16 half float16 f16", "--pass fp16", "apply"},
      {option, "int8 8bit i8", "--pass dynamic_int8|--pass static_int8", "apply"},
      {option, "int4 4bit i4", "--pass weights_int4", "apply"},
      {option, "fp16 half float16 f16 infer-precision", "--set inference_precision=f16", "benchmark"},
      {option, "bf16 bfloat16", "--set inference_precision=bf16", "benchmark"},
      // What is measured, and how long.
      {option, "iterations niter iters runs num-runs repeat repeats loops avgruns", "--pairs"},
      {option, "duration timeout time-limit max-time t", "--time|--timeout"},
      {option, "warm-up warmup", "--launches"},
      {option, "streams nstreams infstreams num-streams", "--sweep streams"},
      {option, "nireq concurrency infer-requests batch-requests", "--requests"},
      {option, "pc perf-counts report-type dump-profile profiling-verbosity separate-profile-run", "--profile"},
      {option, "hint perf-hint config-option load-config", "--set"},
      {option, "baseline against reference", "--vs"},
      // Models, data and where they go.
      {option, "model onnx m model-path model-name-or-path model-script", "MODEL"},
      {option, "shape shapes input-shape input-shapes min-shapes opt-shapes max-shapes data-shape b batch batch-size",
       "--input"},
      {option, "dataset data-dir data-path data-name eval-data validation-data val i load-inputs", "--data"},
      {option, "calib calib-data calibration-data calibration-dataset calib-dataset", "--calibration"},
      {option, "output-dir output-path output-model output-file save-engine out dest", "--output"},
      {option, "config c run-config recipe-file workflow", "--recipe"},
      {option, "algorithm algorithms implementation pass-name quant-mode", "--pass"},
      // Engines and cores.
      {option, "device d provider providers ep execution-provider execution-providers accelerator", "--backend"},
      {option, "nthreads num-threads nt intra-op-num-threads intra-op-threads inference-num-threads", "--threads"},
      // Searches.
      {option, "max-drop accuracy-drop drop tolerance max-accuracy-loss accuracy-loss", "--max-accuracy-drop"},
      {option, "n-trials num-trials max-trials max-samples search-iters", "--trials"},
      {option, "objective goal optimize-for target-metric", "--minimize|--maximize"},
      {option, "random-seed", "--seed"},
      // Services and terminals.
      {option, "host server url endpoint address connect", "--coordinator"},
      {option, "silent no-progress", "--quiet"},
      {option, "no-color nocolor no-colour colour", "--color never"},
      {option, "output-format report-format", "--format|--json"},
      {option, "check-only validate-only plan preview what-if", "--dry-run"},
      {option, "n last max-count", "--limit"},

      {metric, "latency latency-ms time-ms p50 median-latency latency-ms-median latency-avg avg-latency",
       "latency_ms_p50"},
      {metric, "p90 latency-p90", "latency_ms_p90"},
      {metric, "p99 latency-p99 tail-latency", "latency_ms_p99"},
      {metric, "throughput fps qps ips rps samples-per-second", "throughput_per_s"},
      {metric, "speed-up acceleration", "speedup"},
      {metric, "size model-size disk-size size-on-disk size-mb file-size", "size_bytes"},
      {metric, "memory ram rss peak-memory memory-mb", "memory_bytes"},
      {metric, "load load-time startup startup-time first-inference", "load_ms"},
      {metric, "accuracy-score acc top-1 top1-accuracy accuracy-top1", "top1|top1_agreement"},
      {metric, "top-5 top5-accuracy accuracy-top5", "top5"},
      {metric, "f1-score f1score f1-macro", "f1"},
      {metric, "max-drop drop accuracy-loss max-accuracy-drop degradation", "accuracy_drop"},
      {metric, "cosine-similarity cos similarity", "cosine"},
      {metric, "sqnr psnr snr", "sqnr_db"},
      {metric, "mean-squared-error l2", "mse"},
      {metric, "max-abs-error linf max-absolute-error", "max_error"},
      {metric, "ppl", "perplexity"},
      {metric, "ttft time-to-first-token first-token-latency", "time_to_first_token_ms"},
      {metric, "tps tokens-per-s tokens-per-second decode-throughput", "decode_tokens_per_s"},
      {metric, "prefill-throughput prefill-tokens-per-s", "prompt_tokens_per_s"},

      {precision, "8bit 8-bit i8 u8 uint8 qint8 quint8 int-8 w8a8 w8 8", "int8"},
      {precision, "4bit 4-bit i4 u4 uint4 int-4 w4 w4a16 nf4 4", "int4"},
      {precision, "half float16 16bit 16-bit fp-16 16", "fp16"},
      {precision, "bfloat16 bf-16", "bf16"},
      {precision, "float32 float single full 32bit 32-bit fp-32 32 none", "fp32"},
      {precision, "mixed best any all default", "auto"},

      {pass, "onnxquantization quantize quantization int8 8bit incquantization vitisaiquantization",
       "static_int8|dynamic_int8"},
      {pass, "onnxdynamicquantization incdynamicquantization dynamic quantize-dynamic", "dynamic_int8"},
      {pass, "onnxstaticquantization incstaticquantization static quantize-static ptq nncf", "static_int8"},
      {pass, "openvinoquantization openvinoquantizationwithaccuracy", "openvino_int8"},
      {pass, "openvinoweightcompression compress-weights weight-compression", "openvino_weights"},
      {pass, "openvinoconversion ovc mo", "openvino_ir"},
      {pass, "onnxfloattofloat16 float16 half", "fp16"},
      {pass, "orttransformersoptimization transformers-optimization", "fuse_transformer"},
      {pass, "ort-optimization graph-optimization", "ort_optimize"},
      {pass, "onnxmatmul4quantizer onnxblockwisertnquantization matmulnbits int4 4bit gptq awq rtn hqq",
       "weights_int4"},
      {pass, "onnxpeepholeoptimizer onnxsim onnx-simplifier simplifier onnxscriptfusion", "simplify"},
      {pass, "onnxopversionconversion opset version-converter", "convert_opset"},
      {pass, "dynamictofixedshape fixed-shape", "fix_shapes"},
      {pass, "graphsurgeries", "graph_surgeries"},

      {backend, "ort onnx onnxrt onnx-runtime cpuexecutionprovider", "onnxruntime"},
      {backend, "ov vino open-vino openvinoexecutionprovider", "openvino"},
      {backend, "cpu", "onnxruntime|openvino"},
  };
  return rows;
}

std::vector<std::string> OffersFor(WordKind kind, std::string_view word, const std::vector<std::string>& known,
                                   std::string_view command_name) {
  std::vector<std::string> offers;
  if (word.size() > kLongestForeignWord) return offers;
  const std::string plain = PlainWord(word);
  for (const std::string& one : known) {
    if (one != word && plain.size() > 1 && PlainWord(one) == plain) offers.push_back(one);
  }
  if (!offers.empty()) return offers;
  for (const ForeignWord& row : ForeignWords()) {
    if (row.kind != kind || !HasWord(Split(row.words, ' '), plain)) continue;
    if (*row.commands != '\0' && !HasWord(Split(row.commands, ' '), command_name)) continue;
    for (const std::string& offer : Split(row.offers, '|')) {
      if (HasWord(known, Split(offer, ' ').front()) && !HasWord(offers, offer)) offers.push_back(offer);
    }
  }
  return offers;
}

std::string DidYouMean(WordKind kind, std::string_view word, const std::vector<std::string>& known,
                       std::string_view command_name) {
  const std::vector<std::string> offers = OffersFor(kind, word, known, command_name);
  return offers.empty() ? DidYouMean(word, known) : fmt::format("; did you mean '{}'?", Join(offers, "' or '"));
}

}  // namespace hone
