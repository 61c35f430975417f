// What the runtime executes held against what passes claim.
#include "worker/evaluation/claims.h"

#include <gmock/gmock.h>

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Kernel {
  const char* type;
  const char* precision;
  const char* kernel = "";
  uint32_t count = 1;
};

proto::Execution Executed(const std::vector<Kernel>& kernels) {
  proto::Execution execution;
  execution.set_backend("runtime");
  for (const Kernel& kernel : kernels) {
    auto* added = execution.add_kernels();
    added->set_type(kernel.type);
    added->set_precision(kernel.precision);
    added->set_kernel(kernel.kernel);
    added->set_count(kernel.count);
  }
  return execution;
}

struct Verdict {
  std::string failure;
  std::vector<std::string> notes;
};

Verdict Check(const std::vector<std::string>& precisions, const proto::Execution& execution) {
  google::protobuf::RepeatedPtrField<proto::Claim> claims;
  claims.Add()->set_pass("pass");
  for (const auto& precision : precisions) claims[0].add_precisions(precision);
  Verdict verdict;
  const auto kept = CheckClaims(claims, execution, verdict.notes);
  if (!kept) {
    EXPECT_EQ(kept.error().code, ErrorCode::kFailed);
    verdict.failure = kept.error().message;
  }
  return verdict;
}

TEST(ClaimsTest, AnInt8PassWhoseProductsAllRunInFloatFailsWithThePrecisionsFound) {
  const Verdict verdict = Check({"int8"}, Executed({{"FullyConnected", "f32", "brgemm_avx512_f32", 6},
                                                    {"MatMul", "bf16", "", 2},
                                                    {"Eltwise", "u8", "", 3},
                                                    {"Convert", "u8", "ref_I8", 48},
                                                    {"FakeQuantize", "u8", "", 4}}));
  EXPECT_THAT(verdict.failure, HasSubstr("pass 'pass' claims int8"));
  EXPECT_THAT(verdict.failure, HasSubstr("8 products run in f32, bf16"));
}

TEST(ClaimsTest, ProductsInIntegersKeepTheClaimInBothRuntimes) {
  for (const char* type :
       {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "ConvInteger", "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM", "QAttention", "MatMulNBits", "Convolution", "FullyConnected", "MatMul"}) {
    const Verdict verdict = Check({"int8"}, Executed({{type, "u8", "", 2}, {"Add", "f32", "", 2}}));
    EXPECT_EQ(verdict.failure, "") << type;
    EXPECT_THAT(verdict.notes, IsEmpty()) << type;
  }
}

TEST(ClaimsTest, FloatProductsBesideInt8OnesAreNoted) {
  const Verdict verdict =
      Check({"int8"}, Executed({{"FullyConnected", "i8", "brgemm_avx512_i8", 5}, {"MatMul", "f32", "", 2}}));
  EXPECT_EQ(verdict.failure, "");
  EXPECT_THAT(verdict.notes, ElementsAre("pass: 5 of 7 products run in 8 bits or fewer"));
}

TEST(ClaimsTest, CompressedWeightsCountWhateverIsComputedIn) {
  EXPECT_EQ(Check({"int4"}, Executed({{"FullyConnected", "f32", "brgemm_avx512_f32 weights u4", 3}})).failure, "");
  EXPECT_EQ(Check({"int4"}, Executed({{"FullyConnected", "i4", "brgemm_avx512_f32", 3}})).failure, "");
  EXPECT_EQ(Check({"int4"}, Executed({{"MatMulNBits", "u2", "cpu", 1}})).failure, "");
}

TEST(ClaimsTest, FourBitWeightsWidenedToEightOrFloatFailAnInt4Claim) {
  EXPECT_THAT(Check({"int4"}, Executed({{"FullyConnected", "u8", "brgemm weights u8", 3}})).failure, HasSubstr("int4"));
  EXPECT_THAT(Check({"int4"}, Executed({{"FullyConnected", "f32", "brgemm_avx512_f32", 3}})).failure,
              HasSubstr("int4"));
  // A pass that makes 8 or 4 bits is content with either.
  EXPECT_EQ(Check({"int8", "int4"}, Executed({{"FullyConnected", "u8", "brgemm weights u8", 3}})).failure, "");
}

TEST(ClaimsTest, WeightsWidenedAtEveryInferenceAreNotedUnlessActivationsAreQuantizedAroundThem) {
  const Verdict stored = Check({"int8"}, Executed({{"DequantizeLinear", "i8", "cpu", 4}, {"MatMul", "f32", "cpu", 4}}));
  EXPECT_EQ(stored.failure, "");
  EXPECT_THAT(stored.notes, ElementsAre("pass: 0 of 4 products run in 8 bits or fewer",
                                        "pass: 4 weights are widened to float at every inference"));
  const Verdict around = Check({"int8"}, Executed({{"QuantizeLinear", "f32", "cpu", 4},
                                                   {"DequantizeLinear", "i8", "cpu", 8},
                                                   {"MatMul", "f32", "cpu", 4}}));
  EXPECT_THAT(around.failure, HasSubstr("executes none of it"));
}

TEST(ClaimsTest, NarrowTablesBesideFloatProductsKeepNoClaim) {
  const Verdict verdict =
      Check({"int8"}, Executed({{"FullyConnected", "f32", "", 36}, {"Gather", "u8", "ref_any_I8 weights u8", 2}}));
  EXPECT_THAT(verdict.failure, HasSubstr("36 products run in f32"));
}

TEST(ClaimsTest, TablesCountWhereTheirRowsAreNarrowAndThereIsNothingElse) {
  EXPECT_EQ(Check({"int8"}, Executed({{"Gather", "u8", "ref_any_I8 weights u8", 1}, {"Eltwise", "f32"}})).failure, "");
  EXPECT_EQ(Check({"int8"}, Executed({{"GatherBlockQuantized", "u4", "cpu", 1}})).failure, "");
  EXPECT_NE(
      Check({"int8"}, Executed({{"EmbedLayerNormalization", "f32", "cpu", 1}, {"MatMul", "f32", "cpu", 1}})).failure,
      "");
}

TEST(ClaimsTest, HalfFloatsThatAreWidenedAreNotedAndNeverFail) {
  const Verdict widened = Check({"fp16"}, Executed({{"MatMul", "f32", "cpu", 2}, {"Cast", "f16", "cpu", 0}}));
  EXPECT_EQ(widened.failure, "");
  const Verdict silent = Check({"fp16"}, Executed({{"MatMul", "f32", "cpu", 2}}));
  EXPECT_THAT(silent.notes, ElementsAre(HasSubstr("16-bit floats are widened")));
  EXPECT_THAT(Check({"bf16"}, Executed({{"FullyConnected", "bf16", "", 2}})).notes, IsEmpty());
}

TEST(ClaimsTest, NoClaimAndNoReadingContradictNothing) {
  EXPECT_EQ(Check({}, Executed({{"MatMul", "f32"}})).failure, "");
  EXPECT_EQ(Check({"int8"}, Executed({})).failure, "");
}

}  // namespace
}  // namespace hone::test
