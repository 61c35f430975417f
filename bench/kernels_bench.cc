// Speed of the kernels on the processor's best instruction set, in one thread, beside memcpy and a plain loop:
//
//   kernels_bench --benchmark_filter=Quantize
//
// Two sizes: `memory` is 256 MiB of floats, far beyond every cache; `cache` is 256 KiB, which the second cache holds.
// Bandwidth is bytes read and written a second as the kernel's job has it (a copy of n bytes moves 2n; the range of n
// bytes moves n); traffic that the processor adds, such as reading lines before they are written, is not counted, for
// memcpy neither. The plain loops are kernels/reference.h compiled with this program's flags (-O2, no vectors from the
// compiler: g++ 12 vectorizes at -O2 only what costs nothing), which is also what a straightforward loop is.
//
// Times are processor time of the thread, the least of several runs: what other programs take away is no part of them.
//
// Counters: GB/s; of_memcpy = the kernel's bandwidth as a share of memcpy's on the same buffers, measured in the same
// run just before; times_plain = how many times as fast as the plain loop (cache size alone).
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "kernels/block_fit.h"
#include "kernels/block_quantize.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "kernels/histogram.h"
#include "kernels/moments.h"
#include "kernels/nf4.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "kernels/range.h"
#include "kernels/reference.h"

namespace hone::kernels {
namespace {

constexpr size_t kMemoryFloats = size_t{64} << 20;
constexpr size_t kCacheFloats = size_t{64} << 10;
constexpr size_t kChannels = 1024;   // Side by side, as in a matrix.
constexpr size_t kRunChannels = 64;  // One after another, as in a picture.

// Input and room for output, kept from benchmark to benchmark: what a size needs once, all its kernels use.
struct Buffers {
  explicit Buffers(size_t count) : values(count), other(count), out(count * sizeof(float)) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 0.1f);
    std::vector<float> some(1 << 16);
    for (float& value : some) value = normal(generator);
    for (size_t i = 0; i < count; ++i) {
      values[i] = some[(i + i / some.size() * 7) % some.size()];
      other[i] = values[i] * 1.01f;
    }
    std::memset(out.data(), 1, out.size());
  }
  std::vector<float> values;
  std::vector<float> other;
  std::vector<uint8_t> out;
  std::vector<float> scales = std::vector<float>(1 << 22);
  std::vector<uint8_t> zeros = std::vector<uint8_t>(1 << 22);
};

Buffers& BuffersOf(size_t count) {
  static std::unique_ptr<Buffers> kept;
  if (!kept || kept->values.size() != count) {
    kept.reset();
    kept = std::make_unique<Buffers>(count);
  }
  return *kept;
}

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds of the fastest of a few runs.
double Fastest(const std::function<void()>& run, int most, double enough_s) {
  double fastest = 1e9;
  double total = 0;
  for (int i = 0; i < most && (i < 3 || total < enough_s); ++i) {
    const double begin = ThreadSeconds();
    run();
    const double seconds = ThreadSeconds() - begin;
    fastest = std::min(fastest, seconds);
    total += seconds;
  }
  return fastest;
}

// How a kernel is run, plainly and vectorized, and what its job moves for each float of input.
struct Case {
  const char* name;
  double bytes_per_float;
  void (*kernel)(Buffers& buffers);
  void (*plain)(Buffers& buffers);
};

BlockLayout LayoutOf(const Buffers& buffers, int bits, bool symmetric) {
  const size_t columns = buffers.values.size() == kCacheFloats ? 128 : 4096;
  return {buffers.values.size() / columns, columns, 32, bits, symmetric, ScaleFormat::f32};
}
template <int kBits>
void Blocks(Buffers& b) {
  const BlockLayout layout = LayoutOf(b, kBits, false);
  QuantizeBlocks(b.values.data(), layout, 0, layout.columns, b.out.data(), b.scales.data(), b.zeros.data());
}
template <int kBits>
void PlainBlocks(Buffers& b) {
  const BlockLayout layout = LayoutOf(b, kBits, false);
  reference::QuantizeBlocks(b.values.data(), layout, 0, layout.columns, b.out.data(), b.scales.data(), b.zeros.data());
}
template <int kBits>
void RowBlocks(Buffers& b) {
  const BlockLayout layout = LayoutOf(b, kBits, true);
  QuantizeRowBlocks(b.values.data(), layout, 0, layout.columns, b.out.data(), b.scales.data(), nullptr);
}
template <int kBits>
void PlainRowBlocks(Buffers& b) {
  const BlockLayout layout = LayoutOf(b, kBits, true);
  reference::QuantizeRowBlocks(b.values.data(), layout, 0, layout.columns, b.out.data(), b.scales.data(), nullptr);
}

template <class T>
T* Out(Buffers& b) {
  return reinterpret_cast<T*>(b.out.data());
}

constexpr BinSpan kSpan{4096, -2048, 4096};  // All of the values.

struct Moments {
  std::vector<float> low = std::vector<float>(kChannels), high = low;
  std::vector<double> sum = std::vector<double>(kChannels), magnitude = sum;
  std::vector<uint64_t> finite = std::vector<uint64_t>(kChannels);
  ChannelMoments View() { return {low.data(), high.data(), sum.data(), magnitude.data(), finite.data()}; }
};

const Case kCases[] = {
    {"Range", 4, [](Buffers& b) { benchmark::DoNotOptimize(Range(b.values.data(), b.values.size())); },
     [](Buffers& b) { benchmark::DoNotOptimize(reference::Range(b.values.data(), b.values.size())); }},
    {"AbsMax", 4, [](Buffers& b) { benchmark::DoNotOptimize(AbsMax(b.values.data(), b.values.size())); },
     [](Buffers& b) { benchmark::DoNotOptimize(reference::AbsMax(b.values.data(), b.values.size())); }},
    {"ChannelRanges/rows", 4,
     [](Buffers& b) {
       std::vector<FloatRange> ranges(kRunChannels);
       ChannelRanges(b.values.data(), 1, kRunChannels, b.values.size() / kRunChannels, ranges.data());
       benchmark::DoNotOptimize(ranges.data());
     },
     [](Buffers& b) {
       const size_t inner = b.values.size() / kRunChannels;
       for (size_t c = 0; c < kRunChannels; ++c)
         benchmark::DoNotOptimize(reference::Range(b.values.data() + c * inner, inner));
     }},
    {"ChannelRanges/columns", 4,
     [](Buffers& b) {
       std::vector<FloatRange> ranges(kChannels);
       ChannelRanges(b.values.data(), b.values.size() / kChannels, kChannels, 1, ranges.data());
       benchmark::DoNotOptimize(ranges.data());
     },
     [](Buffers& b) {
       std::vector<FloatRange> ranges(kChannels);
       for (size_t i = 0; i < b.values.size(); ++i)
         ranges[i % kChannels].Merge(reference::Range(b.values.data() + i, 1));
       benchmark::DoNotOptimize(ranges.data());
     }},
    {"ChannelAbsMax/columns", 4,
     [](Buffers& b) {
       std::vector<float> magnitudes(kChannels);
       ChannelAbsMax(b.values.data(), b.values.size() / kChannels, kChannels, 1, magnitudes.data());
       benchmark::DoNotOptimize(magnitudes.data());
     },
     [](Buffers& b) {
       std::vector<float> magnitudes(kChannels);
       for (size_t i = 0; i < b.values.size(); ++i)
         magnitudes[i % kChannels] = std::max(magnitudes[i % kChannels], reference::AbsMax(b.values.data() + i, 1));
       benchmark::DoNotOptimize(magnitudes.data());
     }},
    {"Histogram", 4,
     [](Buffers& b) {
       std::vector<uint64_t> counts(kSpan.count);
       CountBins(b.values.data(), b.values.size(), kSpan, counts.data());
       benchmark::DoNotOptimize(counts.data());
     },
     [](Buffers& b) {
       std::vector<uint64_t> counts(kSpan.count);
       reference::CountBins(b.values.data(), b.values.size(), kSpan, counts.data());
       benchmark::DoNotOptimize(counts.data());
     }},
    {"ChannelMoments/columns", 4,
     [](Buffers& b) {
       Moments moments;
       AddChannelMoments(b.values.data(), b.values.size() / kChannels, kChannels, 1, moments.View());
     },
     [](Buffers& b) {
       Moments moments;
       reference::AddChannelMoments(b.values.data(), b.values.size() / kChannels, kChannels, 1, moments.View());
     }},
    {"ChannelMoments/rows", 4,
     [](Buffers& b) {
       Moments moments;
       AddChannelMoments(b.values.data(), 1, kRunChannels, b.values.size() / kRunChannels, moments.View());
     },
     [](Buffers& b) {
       Moments moments;
       reference::AddChannelMoments(b.values.data(), 1, kRunChannels, b.values.size() / kRunChannels, moments.View());
     }},
    {"ErrorStats", 8,
     [](Buffers& b) {
       ErrorStats stats;
       AddErrors(b.values.data(), b.other.data(), b.values.size(), stats);
       benchmark::DoNotOptimize(stats);
     },
     [](Buffers& b) {
       reference::ErrorParts parts;
       reference::AddErrorParts(b.values.data(), b.other.data(), b.values.size(), parts);
       benchmark::DoNotOptimize(parts);
     }},
    {"Quantize/u8", 5, [](Buffers& b) { Quantize(b.values.data(), b.values.size(), 0.003f, 128, Out<uint8_t>(b)); },
     [](Buffers& b) { reference::Quantize(b.values.data(), b.values.size(), 0.003f, 128, Out<uint8_t>(b)); }},
    {"Quantize/s8/away", 5,
     [](Buffers& b) { Quantize(b.values.data(), b.values.size(), 0.003f, 0, Out<int8_t>(b), Rounding::half_away); },
     [](Buffers& b) {
       reference::Quantize(b.values.data(), b.values.size(), 0.003f, 0, Out<int8_t>(b), Rounding::half_away);
     }},
    {"Quantize/u16", 6, [](Buffers& b) { Quantize(b.values.data(), b.values.size(), 1e-5f, 32768, Out<uint16_t>(b)); },
     [](Buffers& b) { reference::Quantize(b.values.data(), b.values.size(), 1e-5f, 32768, Out<uint16_t>(b)); }},
    {"QuantizeColumns/s8", 5,
     [](Buffers& b) {
       static const std::vector<float> scales(kChannels, 0.003f);
       static const std::vector<int32_t> zeros(kChannels, 0);
       QuantizeColumns(b.values.data(), b.values.size() / kChannels, kChannels, scales.data(), zeros.data(),
                       Out<int8_t>(b));
     },
     [](Buffers& b) { reference::Quantize(b.values.data(), b.values.size(), 0.003f, 0, Out<int8_t>(b)); }},
    {"Dequantize/s8", 5, [](Buffers& b) { Dequantize(Out<int8_t>(b), b.values.size(), 0.003f, 0, b.other.data()); },
     [](Buffers& b) { reference::Dequantize(Out<int8_t>(b), b.values.size(), 0.003f, 0, b.other.data()); }},
    {"Blocks/4bit/columns", 4.75, Blocks<4>, PlainBlocks<4>},
    {"Blocks/8bit/columns", 5.25, Blocks<8>, PlainBlocks<8>},
    {"Blocks/2bit/columns", 4.4, Blocks<2>, PlainBlocks<2>},
    {"Blocks/4bit/rows", 4.625, RowBlocks<4>, PlainRowBlocks<4>},
    {"Pack/4bit", 1.5,
     [](Buffers& b) { PackCodes(b.out.data(), b.values.size(), 4, b.out.data() + 2 * b.values.size()); },
     [](Buffers& b) { reference::PackCodes(b.out.data(), b.values.size(), 4, b.out.data() + 2 * b.values.size()); }},
    {"Pack/2bit", 1.25,
     [](Buffers& b) { PackCodes(b.out.data(), b.values.size(), 2, b.out.data() + 2 * b.values.size()); },
     [](Buffers& b) { reference::PackCodes(b.out.data(), b.values.size(), 2, b.out.data() + 2 * b.values.size()); }},
    {"Nf4", 5, [](Buffers& b) { QuantizeNf4(b.values.data(), b.values.size(), 0.4f, b.out.data()); },
     [](Buffers& b) { reference::QuantizeNf4(b.values.data(), b.values.size(), 0.4f, b.out.data()); }},
    {"FloatToHalf/clamp", 6,
     [](Buffers& b) { FloatToHalf(b.values.data(), b.values.size(), Clamp::yes, Out<uint16_t>(b)); },
     [](Buffers& b) { reference::FloatToHalf(b.values.data(), b.values.size(), Clamp::yes, Out<uint16_t>(b)); }},
    {"FloatToBfloat/clamp", 6,
     [](Buffers& b) { FloatToBfloat(b.values.data(), b.values.size(), Clamp::yes, Out<uint16_t>(b)); },
     [](Buffers& b) { reference::FloatToBfloat(b.values.data(), b.values.size(), Clamp::yes, Out<uint16_t>(b)); }},
};

void Run(benchmark::State& state, const Case& which, size_t count) {
  Buffers& buffers = BuffersOf(count);
  const bool in_cache = count == kCacheFloats;
  const double bytes = which.bytes_per_float * static_cast<double>(count);
  const double copied = 2.0 * static_cast<double>(count * sizeof(float));
  const auto copy = [&] { std::memcpy(buffers.out.data(), buffers.values.data(), count * sizeof(float)); };
  const double copy_s = Fastest(copy, 200, in_cache ? 0.05 : 0.6);
  double fastest = 1e9;
  for (auto _ : state) {
    const double begin = ThreadSeconds();
    which.kernel(buffers);
    benchmark::ClobberMemory();
    fastest = std::min(fastest, ThreadSeconds() - begin);
  }
  state.counters["GB/s"] = bytes / fastest / 1e9;
  state.counters["memcpy_GB/s"] = copied / copy_s / 1e9;
  state.counters["of_memcpy"] = bytes / fastest / (copied / copy_s);
  if (in_cache) state.counters["times_plain"] = Fastest([&] { which.plain(buffers); }, 100, 0.02) / fastest;
}

// Searches are bound by arithmetic: their speed is told in values a second.
void Fit(benchmark::State& state, FitRule rule) {
  Buffers& buffers = BuffersOf(kCacheFloats);
  for (auto _ : state) {
    FitBlocks(buffers.values.data(), nullptr, kCacheFloats, 32, {4, false, ScaleFormat::f16, rule},
              buffers.scales.data(), buffers.zeros.data(), buffers.out.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kCacheFloats));
}

void RegisterAll() {
  for (const size_t count : {kCacheFloats, kMemoryFloats}) {
    for (const Case& which : kCases) {
      const std::string name = std::string(which.name) + (count == kCacheFloats ? "/cache" : "/memory");
      auto* registered = benchmark::RegisterBenchmark(
          name.c_str(), [&which, count](benchmark::State& state) { Run(state, which, count); });
      registered->Unit(benchmark::kMicrosecond);
      if (count == kMemoryFloats) registered->Iterations(5);
    }
  }
  benchmark::RegisterBenchmark("FitBlocks/least_squares", [](benchmark::State& s) { Fit(s, FitRule::least_squares); });
  benchmark::RegisterBenchmark("FitBlocks/k_quant", [](benchmark::State& s) { Fit(s, FitRule::k_quant); });
}

}  // namespace
}  // namespace hone::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  hone::kernels::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
