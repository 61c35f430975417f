// Speed of the kernels on the processor's best instruction set: kernels_bench --benchmark_filter=Quantize
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/block_quantize.h"
#include "kernels/error_stats.h"
#include "kernels/half.h"
#include "kernels/quantize.h"
#include "kernels/range.h"

namespace hone::kernels {
namespace {

std::vector<float> Weights(size_t count) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

void Report(benchmark::State& state, size_t values) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * values));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * values * sizeof(float)));
}

void BM_Range(benchmark::State& state) {
  const auto values = Weights(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(Range(values.data(), values.size()));
  Report(state, values.size());
}
BENCHMARK(BM_Range)->Arg(4096)->Arg(1 << 22);

void BM_ColumnRanges(benchmark::State& state) {
  const size_t channels = static_cast<size_t>(state.range(0));
  const auto values = Weights(1024 * channels);
  std::vector<FloatRange> ranges(channels);
  for (auto _ : state) ChannelRanges(values.data(), 1024, channels, 1, ranges.data());
  Report(state, values.size());
}
BENCHMARK(BM_ColumnRanges)->Arg(384)->Arg(4096);

void BM_QuantizeInt8(benchmark::State& state) {
  const auto values = Weights(static_cast<size_t>(state.range(0)));
  std::vector<int8_t> codes(values.size());
  for (auto _ : state) Quantize(values.data(), values.size(), 0.003f, 0, codes.data());
  Report(state, values.size());
}
BENCHMARK(BM_QuantizeInt8)->Arg(4096)->Arg(1 << 22);

void BM_QuantizeInt8PerChannel(benchmark::State& state) {
  const size_t channels = static_cast<size_t>(state.range(0));
  const auto values = Weights(1024 * channels);
  const std::vector<float> scales(channels, 0.003f);
  const std::vector<int32_t> zero_points(channels, 0);
  std::vector<int8_t> codes(values.size());
  for (auto _ : state) QuantizeColumns(values.data(), 1024, channels, scales.data(), zero_points.data(), codes.data());
  Report(state, values.size());
}
BENCHMARK(BM_QuantizeInt8PerChannel)->Arg(384)->Arg(4096);

void BM_FloatToHalf(benchmark::State& state) {
  const auto values = Weights(static_cast<size_t>(state.range(0)));
  std::vector<uint16_t> halves(values.size());
  for (auto _ : state) FloatToHalf(values.data(), values.size(), Clamp::yes, halves.data());
  Report(state, values.size());
}
BENCHMARK(BM_FloatToHalf)->Arg(4096)->Arg(1 << 22);

void BM_QuantizeBlocks(benchmark::State& state) {
  const BlockLayout layout{
      1024, 1024, static_cast<size_t>(state.range(1)), static_cast<int>(state.range(0)), true, ScaleFormat::f32};
  const auto weights = Weights(layout.rows * layout.columns);
  std::vector<uint8_t> codes(layout.CodeBytes());
  std::vector<float> scales(layout.ScaleCount());
  for (auto _ : state) QuantizeBlocks(weights.data(), layout, 0, layout.columns, codes.data(), scales.data(), nullptr);
  Report(state, weights.size());
}
BENCHMARK(BM_QuantizeBlocks)->Args({4, 32})->Args({4, 128})->Args({8, 128});

void BM_AddErrors(benchmark::State& state) {
  const auto values = Weights(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    ErrorStats stats;
    AddErrors(values.data(), values.data(), values.size(), stats);
    benchmark::DoNotOptimize(stats);
  }
  Report(state, values.size());
}
BENCHMARK(BM_AddErrors)->Arg(4096)->Arg(1 << 22);

}  // namespace
}  // namespace hone::kernels

BENCHMARK_MAIN();
