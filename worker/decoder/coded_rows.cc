#include "worker/decoder/coded_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "common/base/strings.h"
#include "kernels/block_quantize.h"
#include "kernels/half.h"
#include "kernels/pack.h"
#include "kernels/range.h"
#include "worker/passes/quantization_graph.h"

namespace hone {
namespace {

// Rows that a thread takes at a time.
constexpr uint64_t kTileRows = 128;
// Floats in memory at a time; elements of a row that no block of any type straddles.
constexpr uint64_t kStripeFloats = 8 << 20;
constexpr uint64_t kWholeBlocks = 256;
constexpr uint64_t kSampleRows = 192;

// The first failure of several threads.
class FirstFailure {
 public:
  void Take(const Result<>& result) {
    if (result) return;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = result.error();
  }
  Result<> status() const { return error_ ? Result<>(Fail(*error_)) : Result<>(); }

 private:
  std::mutex mutex_;
  std::optional<Error> error_;
};

// Rows of a stripe, in whole tiles; as many as fit into memory, and one tile at least.
uint64_t StripeRows(uint64_t columns) {
  const uint64_t rows = kStripeFloats / std::max<uint64_t>(1, columns);
  return std::max(kTileRows, rows / kTileRows * kTileRows);
}

// Runs work(first row, rows) for the tiles of a stripe.
Result<> ForTiles(uint64_t rows, int threads, const std::function<Result<>(uint64_t first, uint64_t count)>& work) {
  FirstFailure failure;
  ParallelFor(threads, (rows + kTileRows - 1) / kTileRows, [&](size_t tile) {
    const uint64_t first = tile * kTileRows;
    failure.Take(work(first, std::min(kTileRows, rows - first)));
  });
  return failure.status();
}

Result<> Send(const std::vector<float>& values, uint64_t count, bool half, std::vector<uint16_t>& halves,
              const ByteSink& sink) {
  if (!half) return sink({reinterpret_cast<const char*>(values.data()), count * sizeof(float)});
  halves.resize(count);
  kernels::FloatToHalf(values.data(), count, kernels::Clamp::yes, halves.data());
  return sink({reinterpret_cast<const char*>(halves.data()), count * sizeof(uint16_t)});
}

CodeShape ShapeOf(const RowSource& source, uint64_t rows, const Coding& coding) {
  CodeShape shape;
  shape.rows = source.columns;  // Summed over.
  shape.columns = rows;
  shape.group = coding.group;
  shape.bits = coding.bits;
  shape.symmetric = coding.symmetric;
  shape.half_scales = coding.half_scales;
  return shape;
}

kernels::BlockLayout LayoutOf(const CodeShape& shape) {
  kernels::BlockLayout layout;
  layout.rows = shape.rows;
  layout.columns = shape.columns;
  layout.block = shape.group;
  layout.bits = shape.bits;
  layout.symmetric = shape.symmetric;
  if (shape.half_scales) layout.scale_format = kernels::ScaleFormat::f16;
  return layout;
}

std::vector<float> Turned(const std::vector<float>& values, uint64_t rows, uint64_t columns) {
  std::vector<float> turned(values.size());
  constexpr uint64_t kSide = 32;
  for (uint64_t begin = 0; begin < columns; begin += kSide) {
    const uint64_t end = std::min(begin + kSide, columns);
    for (uint64_t row = 0; row < rows; ++row) {
      for (uint64_t c = begin; c < end; ++c) turned[c * rows + row] = values[row * columns + c];
    }
  }
  return turned;
}

// One tile's codes, scales and zero points, to where they belong.
struct TileOut {
  uint8_t* codes;
  float* scales;
  uint8_t* zeros;  // nullptr where symmetric.
};

void CodeTile(const std::vector<float>& values, const CodeShape& shape, GridMethod method, const TileOut& out) {
  if (method == GridMethod::range) {
    kernels::QuantizeRowBlocks(values.data(), LayoutOf(shape), 0, shape.columns, out.codes, out.scales, out.zeros);
    return;
  }
  const std::vector<float> turned = Turned(values, shape.columns, shape.rows);
  const BlockCodes codes = Encode(turned.data(), shape, FindGrids(turned.data(), shape, method, nullptr));
  PackByColumn(codes, out.codes);
  ScalesByColumn(codes, out.scales);
  if (out.zeros != nullptr) PackZerosByColumn(codes, out.zeros);
}

// A row of blocks as codes of MatMulNBits. scales and offsets: one a group.
void RepackRow(std::string_view row, const WeightTypeInfo& info, uint8_t* codes, float* scales, float* offsets) {
  UnpackedBlock block;
  const uint32_t groups = info.elements / info.group;
  const int middle = 1 << (info.bits - 1);
  for (size_t at = 0; at < row.size(); at += info.bytes) {
    info.unpack(reinterpret_cast<const uint8_t*>(row.data()) + at, block);
    for (uint32_t i = 0; i < info.elements; ++i) block.codes[i] = static_cast<uint8_t>(block.codes[i] + info.shift);
    kernels::PackCodes(block.codes, info.elements, info.bits, codes);
    codes += kernels::PackedBytes(info.elements, info.bits);
    for (uint32_t group = 0; group < groups; ++group) {
      *scales++ = block.scales[group];
      if (!info.has_least) continue;
      *offsets++ = block.least[group] + static_cast<float>(middle - info.shift - info.zero) * block.scales[group];
    }
  }
}

}  // namespace

uint64_t RowSource::Rows() const {
  uint64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  return rows;
}

std::string RowSource::Name() const {
  std::vector<std::string> names;
  for (const Part& part : parts) names.push_back(part.name);
  return Join(names, ", ");
}

Result<> RowSource::Read(uint64_t first, uint64_t count, uint64_t begin, uint64_t end, float* values) const {
  for (const Part& part : parts) {
    if (first >= part.rows) {
      first -= part.rows;
      continue;
    }
    const uint64_t some = std::min(count, part.rows - first);
    ReadRows(*part.weight, part.first + first, some, begin, end, values);
    if (kernels::Range(values, some * (end - begin)).non_finite > 0) {
      return Fail(ErrorCode::kRejected,
                  fmt::format("the tensor '{}' holds NaN or infinities", Printable(part.name, 200)));
    }
    values += some * (end - begin);
    count -= some;
    first = 0;
    if (count == 0) break;
  }
  CHECK_THAT(count == 0);
  return {};
}

const WeightTypeInfo* RowSource::Blocks() const {
  const WeightType type = parts.front().weight->type;
  const bool alike =
      std::all_of(parts.begin(), parts.end(), [&](const Part& part) { return part.weight->type == type; });
  return alike && parts.front().weight->IsBlocks() ? &InfoOf(type) : nullptr;
}

Result<> WriteRows(const RowSource& source, bool half, int threads, const ByteSink& sink) {
  const uint64_t rows = source.Rows();
  const uint64_t stripe = std::min(rows, StripeRows(source.columns));
  std::vector<float> values(stripe * source.columns);
  std::vector<uint16_t> halves;
  for (uint64_t first = 0; first < rows; first += stripe) {
    const uint64_t count = std::min(stripe, rows - first);
    TRY(ForTiles(count, threads, [&](uint64_t row, uint64_t some) {
      return source.Read(first + row, some, 0, source.columns, values.data() + row * source.columns);
    }));
    TRY(Send(values, count * source.columns, half, halves, sink));
  }
  return {};
}

Result<> WriteTurned(const RowSource& source, bool half, int threads, const ByteSink& sink) {
  const uint64_t rows = source.Rows();
  const uint64_t fitting = kStripeFloats / std::max<uint64_t>(1, rows) / kWholeBlocks * kWholeBlocks;
  const uint64_t stripe = std::min(source.columns, std::max(kWholeBlocks, fitting));
  std::vector<float> turned(stripe * rows);
  std::vector<uint16_t> halves;
  for (uint64_t begin = 0; begin < source.columns; begin += stripe) {
    const uint64_t width = std::min(stripe, source.columns - begin);
    const auto turn = [&](uint64_t row, uint64_t some) -> Result<> {
      std::vector<float> tile(some * width);
      TRY(source.Read(row, some, begin, begin + width, tile.data()));
      for (uint64_t c = 0; c < width; ++c) {
        for (uint64_t r = 0; r < some; ++r) turned[c * rows + row + r] = tile[r * width + c];
      }
      return {};
    };
    TRY(ForTiles(rows, threads, turn));
    TRY(Send(turned, width * rows, half, halves, sink));
  }
  return {};
}

uint64_t CodeBytes(const RowSource& source, int bits, size_t group) {
  const uint64_t groups = (source.columns + group - 1) / group;
  return source.Rows() * groups * group * static_cast<uint64_t>(bits) / 8;
}

std::string RequantizedNote(size_t matrices) {
  return fmt::format("{} matrices were quantized a second time; precision=stored keeps their codes", matrices);
}

Result<CodedGrid> WriteCodes(const RowSource& source, const Coding& coding, int threads, const ByteSink& sink) {
  const uint64_t rows = source.Rows();
  const CodeShape whole = ShapeOf(source, rows, coding);
  const uint64_t row_bytes = CodeBytes(source, coding.bits, coding.group) / rows;
  const uint64_t zero_bytes = coding.symmetric ? 0 : PackedZeroBytes(whole);
  CodedGrid grid;
  grid.scales.resize(rows * whole.Groups());
  grid.zeros.resize(rows * zero_bytes);
  const uint64_t stripe = std::min(rows, StripeRows(source.columns));
  std::vector<uint8_t> codes(stripe * row_bytes);
  for (uint64_t first = 0; first < rows; first += stripe) {
    const uint64_t count = std::min(stripe, rows - first);
    const auto code = [&](uint64_t row, uint64_t some) -> Result<> {
      std::vector<float> values(some * source.columns);
      TRY(source.Read(first + row, some, 0, source.columns, values.data()));
      const TileOut out{codes.data() + row * row_bytes, grid.scales.data() + (first + row) * whole.Groups(),
                        coding.symmetric ? nullptr : grid.zeros.data() + (first + row) * zero_bytes};
      CodeTile(values, ShapeOf(source, some, coding), coding.method, out);
      return {};
    };
    TRY(ForTiles(count, threads, code));
    TRY(sink({reinterpret_cast<const char*>(codes.data()), count * row_bytes}));
  }
  return grid;
}

Result<CodedGrid> WriteBlocks(const RowSource& source, int threads, const ByteSink& sink) {
  const WeightTypeInfo& info = *source.Blocks();
  const uint64_t rows = source.Rows();
  const uint64_t groups = source.columns / info.group;
  const uint64_t row_bytes = kernels::PackedBytes(source.columns, info.bits);
  CodedGrid grid;
  grid.scales.resize(rows * groups);
  grid.offsets.resize(info.has_least ? rows * groups : 0);
  uint64_t done = 0;
  for (const RowSource::Part& part : source.parts) {
    const uint64_t stripe = std::min(part.rows, StripeRows(source.columns));
    std::vector<uint8_t> codes(stripe * row_bytes);
    for (uint64_t first = 0; first < part.rows; first += stripe) {
      const uint64_t count = std::min(stripe, part.rows - first);
      TRY(ForTiles(count, threads, [&](uint64_t row, uint64_t some) -> Result<> {
        std::vector<float> offsets(groups);
        for (uint64_t r = row; r < row + some; ++r) {
          const uint64_t at = done + first + r;
          RepackRow(part.weight->Row(part.first + first + r), info, codes.data() + r * row_bytes,
                    grid.scales.data() + at * groups, offsets.data());
          for (uint64_t group = 0; info.has_least && group < groups; ++group)
            grid.offsets[group * rows + at] = offsets[group];
        }
        return {};
      }));
      TRY(sink({reinterpret_cast<const char*>(codes.data()), count * row_bytes}));
    }
    done += part.rows;
  }
  const bool finite = kernels::Range(grid.scales.data(), grid.scales.size()).non_finite == 0 &&
                      kernels::Range(grid.offsets.data(), grid.offsets.size()).non_finite == 0;
  if (!finite)
    return Fail(ErrorCode::kRejected,
                fmt::format("the tensor '{}' holds NaN or infinities", Printable(source.Name(), 400)));
  return grid;
}

Result<double> CodingNoise(const RowSource& source, const Coding& coding) {
  const uint64_t rows = std::min(kSampleRows, source.Rows());
  std::vector<float> values(rows * source.columns);
  for (uint64_t i = 0; i < rows; ++i)
    TRY(source.Read(i * source.Rows() / rows, 1, 0, source.columns, values.data() + i * source.columns));
  const std::vector<float> turned = Turned(values, rows, source.columns);
  const CodeShape shape = ShapeOf(source, rows, coding);
  const std::vector<float> decoded =
      Decode(Encode(turned.data(), shape, FindGrids(turned.data(), shape, GridMethod::range, nullptr)));
  double noise = 0;
  double signal = 0;
  for (size_t i = 0; i < turned.size(); ++i) {
    const double error = static_cast<double>(turned[i]) - static_cast<double>(decoded[i]);
    noise += error * error;
    signal += static_cast<double>(turned[i]) * static_cast<double>(turned[i]);
  }
  return signal > 0 ? noise / signal : 0;
}

Result<SharedBits> BitsBySensitivity(const std::vector<NamedRows>& matrices, const Coding& coding, double ratio) {
  const auto elements = [&](size_t i) {
    return static_cast<double>(matrices[i].source.Rows() * matrices[i].source.columns);
  };
  std::vector<double> noise(matrices.size());
  std::vector<size_t> order(matrices.size());
  double all = 0;
  for (size_t i = 0; i < matrices.size(); ++i) {
    TRY_ASSIGN(noise[i], CodingNoise(matrices[i].source, coding));
    order[i] = i;
    all += elements(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return noise[a] < noise[b]; });
  SharedBits shared;
  double taken = 0;
  size_t raised = 0;
  for (const size_t i : order) {
    const bool few = taken + elements(i) <= ratio * all * (1 + 1e-9);
    shared.bits[matrices[i].name] = few ? coding.bits : kBackupBits;
    if (few) taken += elements(i);
    else ++raised;
  }
  shared.note =
      fmt::format("{} of {} matrices in {} bits, the most sensitive ones", raised, matrices.size(), kBackupBits);
  return shared;
}

}  // namespace hone
