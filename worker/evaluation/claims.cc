// What counts is products (and the weights they read): a mask of booleans runs in 8 bits in every model, and quantizing
// around a float product proves nothing. So kernels have roles, told by the table below; names are those of the
// runtimes.
#include "worker/evaluation/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "common/base/strings.h"

namespace hone {
namespace {

enum class LayerRole {
  product,  // Computes sums of products of what it reads.
  table,    // Looks rows up; counts where its weights are narrow and there are no products.
  widening, // Turns narrow weights into floats at every inference.
  other,
};

struct RoleRow {
  std::string_view type;  // The beginning of the kernel's type.
  LayerRole role;
};
// The first row that fits counts.
constexpr RoleRow kRoles[] = {
    // ONNX Runtime
    {"QLinearConv", LayerRole::product},
    {"QLinearMatMul", LayerRole::product},
    {"QGemm", LayerRole::product},
    {"QAttention", LayerRole::product},
    {"QMoE", LayerRole::product},
    {"MatMul", LayerRole::product},  // MatMulInteger, MatMulIntegerToFloat, MatMulNBits too; OpenVINO's as well.
    {"DynamicQuantizeMatMul", LayerRole::product},
    {"DynamicQuantizeLSTM", LayerRole::product},
    {"FusedMatMul", LayerRole::product},
    {"FusedGemm", LayerRole::product},
    {"FusedConv", LayerRole::product},
    {"NhwcFusedConv", LayerRole::product},
    {"Gemm", LayerRole::product},
    {"Convert", LayerRole::other},
    {"Conv", LayerRole::product},  // ConvInteger, ConvTranspose, Convolution too.
    {"Attention", LayerRole::product},
    {"MultiHeadAttention", LayerRole::product},
    {"GroupQueryAttention", LayerRole::product},
    {"LSTM", LayerRole::product},
    {"GRU", LayerRole::product},
    {"Einsum", LayerRole::product},
    {"GatherBlockQuantized", LayerRole::table},
    {"QEmbedLayerNormalization", LayerRole::table},
    {"DequantizeLinear", LayerRole::widening},
    // OpenVINO
    {"FullyConnected", LayerRole::product},
    {"Deconvolution", LayerRole::product},
    {"GroupConvolution", LayerRole::product},
    {"RNN", LayerRole::product},
    {"AUGRU", LayerRole::product},
    {"MHA", LayerRole::product},
    {"ScaledDotProductAttention", LayerRole::product},
    {"Gather", LayerRole::table},
    {"Embedding", LayerRole::table},
};

LayerRole RoleOf(std::string_view type) {
  // Embedding tables looked up by one of ONNX Runtime's own fused layers are no narrow tables.
  if (type.starts_with("EmbedLayerNormalization")) return LayerRole::other;
  for (const RoleRow& row : kRoles) {
    if (type.starts_with(row.type)) return row.role;
  }
  return LayerRole::other;
}

struct BitsRow {
  std::string_view precision;
  int bits;
};
constexpr BitsRow kBits[] = {{"u8", 8}, {"i8", 8}, {"s8", 8}, {"u4", 4}, {"i4", 4},     {"nf4", 4},
                             {"f4e2m1", 4}, {"u2", 2}, {"i2", 2}, {"u1", 1}, {"f8e4m3", 8}, {"f8e5m2", 8}};

std::optional<int> BitsNamed(std::string_view precision) {
  for (const BitsRow& row : kBits) {
    if (precision == row.precision) return row.bits;
  }
  return std::nullopt;
}

// The narrowest thing that a kernel tells: what it computes in, or the weights that it reads.
std::optional<int> BitsOf(const proto::Execution::Kernel& kernel) {
  constexpr std::string_view kWeights = "weights ";
  std::optional<int> bits = BitsNamed(kernel.precision());
  const size_t at = kernel.kernel().find(kWeights);
  if (at == std::string::npos) return bits;
  const auto weights = BitsNamed(std::string_view(kernel.kernel()).substr(at + kWeights.size()));
  if (!bits || (weights && *weights < *bits)) bits = weights;
  return bits;
}

struct Tally {
  uint32_t products = 0;
  uint32_t narrow_products = 0;
  uint32_t narrow_tables = 0;
  uint32_t widened = 0;      // Weights made float at every inference.
  bool quantizes = false;    // Activations are turned into codes by layers of their own.
};

Tally Count(const proto::Execution& execution, int bits) {
  Tally tally;
  for (const auto& kernel : execution.kernels()) {
    const LayerRole role = RoleOf(kernel.type());
    const std::optional<int> width = BitsOf(kernel);
    const bool is_narrow = width && *width <= bits;
    tally.quantizes = tally.quantizes || kernel.type() == "QuantizeLinear";
    if (role == LayerRole::product) {
      tally.products += kernel.count();
      if (is_narrow) tally.narrow_products += kernel.count();
    } else if (is_narrow && role == LayerRole::table) {
      tally.narrow_tables += kernel.count();
    } else if (is_narrow && role == LayerRole::widening) {
      tally.widened += kernel.count();
    }
  }
  return tally;
}

struct ClaimRow {
  std::string_view precision;
  int bits;
};
constexpr ClaimRow kNarrowClaims[] = {{"int8", 8}, {"int4", 4}, {"int2", 2}};

// The most bits that any of the claim's precisions allows; nullopt where one of them is no narrow one.
std::optional<int> BitsClaimed(const proto::Claim& claim) {
  std::optional<int> bits;
  for (const auto& precision : claim.precisions()) {
    const auto row = std::find_if(std::begin(kNarrowClaims), std::end(kNarrowClaims),
                                  [&](const ClaimRow& narrow) { return narrow.precision == precision; });
    if (row == std::end(kNarrowClaims)) return std::nullopt;
    bits = std::max(bits.value_or(0), row->bits);
  }
  return bits;
}

std::string PrecisionsOf(const proto::Execution& execution) {
  std::vector<std::string> names;
  for (const auto& kernel : execution.kernels()) {
    if (RoleOf(kernel.type()) != LayerRole::product || kernel.precision().empty()) continue;
    if (std::find(names.begin(), names.end(), kernel.precision()) == names.end()) names.push_back(kernel.precision());
  }
  return names.empty() ? "no precision that it tells" : Join(names, ", ");
}

Result<> CheckNarrow(const proto::Claim& claim, int bits, const proto::Execution& execution,
                     std::vector<std::string>& notes) {
  const Tally tally = Count(execution, bits);
  const bool widens = tally.widened > 0 && !tally.quantizes;
  // Tables speak for a model that has nothing else; small ones beside float products do not.
  const bool only_tables = tally.products == 0 && tally.narrow_tables > 0;
  if (tally.narrow_products == 0 && !only_tables && !widens) {
    return Fail(ErrorCode::kFailed,
                fmt::format("pass '{}' claims {} and {} executes none of it: its {} products run in {}", claim.pass(),
                            Join({claim.precisions().begin(), claim.precisions().end()}, " or "), execution.backend(),
                            tally.products, PrecisionsOf(execution)),
                "Use the pass with another runtime, or another pass for this one.");
  }
  if (tally.narrow_products < tally.products)
    notes.push_back(fmt::format("{}: {} of {} products run in {} bits or fewer", claim.pass(), tally.narrow_products,
                                tally.products, bits));
  if (widens)
    notes.push_back(fmt::format("{}: {} weights are widened to float at every inference", claim.pass(), tally.widened));
  return {};
}

bool RunsIn(const proto::Execution& execution, std::string_view precision) {
  return std::any_of(execution.kernels().begin(), execution.kernels().end(),
                     [&](const auto& kernel) { return kernel.precision() == precision; });
}

}  // namespace

Result<> CheckClaims(const google::protobuf::RepeatedPtrField<proto::Claim>& claims, const proto::Execution& execution,
                     std::vector<std::string>& notes) {
  // A runtime that tells nothing contradicts nothing.
  if (execution.kernels().empty()) return {};
  for (const proto::Claim& claim : claims) {
    if (const auto bits = BitsClaimed(claim)) {
      TRY(CheckNarrow(claim, *bits, execution, notes));
      continue;
    }
    const auto& wanted = claim.precisions();
    const auto is_half = [](const std::string& precision) { return precision == "fp16" || precision == "bf16"; };
    if (wanted.empty() || !std::all_of(wanted.begin(), wanted.end(), is_half)) continue;
    if (!RunsIn(execution, "f16") && !RunsIn(execution, "bf16"))
      notes.push_back(fmt::format("{}: 16-bit floats are widened; no layer runs in them here", claim.pass()));
  }
  return {};
}

}  // namespace hone
