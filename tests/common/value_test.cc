#include "common/recipe/value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/base/digest.h"
#include "tests/common/scratch.h"

namespace hone {
namespace {

using testing::HasSubstr;
using Parameters = google::protobuf::RepeatedPtrField<proto::Parameter>;

Parameters Given(const std::vector<std::pair<std::string, proto::Value>>& rows) {
  Parameters parameters;
  for (const auto& [name, value] : rows) {
    proto::Parameter& parameter = *parameters.Add();
    parameter.set_name(name);
    *parameter.mutable_value() = value;
  }
  return parameters;
}

proto::Candidate SomeCandidate() {
  proto::Candidate candidate;
  proto::PassStep& first = *candidate.add_pipeline();
  first.set_pass("simplify");
  proto::PassStep& second = *candidate.add_pipeline();
  second.set_pass("static_int8");
  *second.mutable_parameters() =
      Given({{"percentile", RealValue(99.99)}, {"observer", TextValue("entropy")}, {"per_channel", BoolValue(true)}});
  candidate.set_backend("openvino");
  *candidate.mutable_settings() = Given({{"threads", IntValue(2)}, {"hint", TextValue("latency")}});
  return candidate;
}

TEST(ValueTest, TextIsTheShortestThatReadsBack) {
  EXPECT_EQ(ToText(BoolValue(true)), "true");
  EXPECT_EQ(ToText(IntValue(-3)), "-3");
  EXPECT_EQ(ToText(RealValue(0.5)), "0.5");
  EXPECT_EQ(ToText(RealValue(0.1)), "0.1");
  EXPECT_EQ(ToText(RealValue(3)), "3");
  EXPECT_EQ(ToText(RealValue(-0.0)), "0");
  EXPECT_EQ(ToText(RealValue(1e300)), "1e+300");
  EXPECT_EQ(ToText(TextValue("a b")), "a b");
  EXPECT_EQ(ToText(proto::Value()), "");
  for (const double real :
       {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -2.5e-7, 123456789.123, 9007199254740993.0, 1e18, 1e19}) {
    EXPECT_TRUE(Equal(ParseValue(ToText(RealValue(real))), RealValue(real))) << real;
  }
}

TEST(ValueTest, NumbersAreEqualByValueAndOthersByKind) {
  EXPECT_TRUE(Equal(IntValue(1), RealValue(1)));
  EXPECT_TRUE(Equal(RealValue(0.0), RealValue(-0.0)));
  EXPECT_FALSE(Equal(IntValue(1), RealValue(1.5)));
  EXPECT_FALSE(Equal(IntValue(1), TextValue("1")));
  EXPECT_FALSE(Equal(BoolValue(true), IntValue(1)));
  EXPECT_FALSE(Equal(proto::Value(), IntValue(0)));
  EXPECT_TRUE(Equal(proto::Value(), proto::Value()));
  // As doubles these two would be one.
  EXPECT_FALSE(Equal(IntValue(9007199254740993), RealValue(9007199254740992.0)));
  EXPECT_FALSE(Equal(IntValue(std::numeric_limits<int64_t>::max()), RealValue(9223372036854775808.0)));
  EXPECT_TRUE(Equal(IntValue(std::numeric_limits<int64_t>::min()), RealValue(-9223372036854775808.0)));
}

TEST(ValueTest, WordsParseByYamlsRules) {
  EXPECT_EQ(ParseValue("True").boolean(), true);
  EXPECT_EQ(ParseValue("false").kind_case(), proto::Value::kBoolean);
  EXPECT_EQ(ParseValue("-12").integer(), -12);
  EXPECT_EQ(ParseValue("+12").integer(), 12);
  EXPECT_EQ(ParseValue("007").integer(), 7);
  EXPECT_EQ(ParseValue("0x1F").integer(), 31);
  EXPECT_EQ(ParseValue("0o17").integer(), 15);
  EXPECT_EQ(ParseValue("1.0").real(), 1);
  EXPECT_EQ(ParseValue("-.5").real(), -0.5);
  EXPECT_EQ(ParseValue("5.").real(), 5);
  EXPECT_EQ(ParseValue("1e-3").real(), 1e-3);
  EXPECT_EQ(ParseValue("9223372036854775808").real(), 9223372036854775808.0);
  EXPECT_TRUE(std::isinf(ParseValue("-.inf").real()));
  EXPECT_TRUE(std::isnan(ParseValue(".nan").real()));
  for (const char* text : {"", "yes", "on", "tRue", "nan", "inf", "1_000", "0x", "0xg", "+-1", "--1", "1.2.3", "e5",
                           "-", ".", "1e999", "- 1"}) {
    EXPECT_EQ(ParseValue(text).kind_case(), proto::Value::kText) << text;
    EXPECT_EQ(ParseValue(text).text(), text);
  }
}

TEST(CanonicalTest, SameContentGivesTheSameBytes) {
  const Parameters one = Given({{"b", IntValue(1)}, {"a", TextValue("x\"\n\xc3\xa9")}});
  const Parameters other = Given({{"a", TextValue("x\"\n\xc3\xa9")}, {"unset", proto::Value()}, {"b", RealValue(1)}});
  EXPECT_EQ(CanonicalParameters(one), "{\"a\":\"x\\\"\\n\xc3\xa9\",\"b\":1}");
  EXPECT_EQ(CanonicalParameters(one), CanonicalParameters(other));
  EXPECT_EQ(CanonicalParameters({}), "{}");
  EXPECT_NE(CanonicalParameters(Given({{"a", TextValue("1")}})), CanonicalParameters(Given({{"a", IntValue(1)}})));
  EXPECT_NE(CanonicalParameters(Given({{"a", TextValue("true")}})),
            CanonicalParameters(Given({{"a", BoolValue(true)}})));
}

TEST(CanonicalTest, CandidateRoundTrips) {
  const proto::Candidate candidate = SomeCandidate();
  const std::string text = CanonicalCandidate(candidate);
  EXPECT_EQ(text,
            R"({"backend":"openvino","pipeline":[{"params":{},"pass":"simplify"},)"
            R"({"params":{"observer":"entropy","per_channel":true,"percentile":99.99},"pass":"static_int8"}],)"
            R"("settings":{"hint":"latency","threads":2}})");
  const auto parsed = ParseCanonicalCandidate(text);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(CanonicalCandidate(*parsed), text);
}

TEST(CanonicalTest, NumbersRoundTripExactly) {
  for (const double real :
       {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -2.5e-7, 1e18, 1e19, -9223372036854775808.0, 3.0}) {
    proto::Candidate candidate;
    candidate.set_backend("b");
    *candidate.mutable_settings() = Given({{"x", RealValue(real)}});
    const auto parsed = ParseCanonicalCandidate(CanonicalCandidate(candidate));
    ASSERT_TRUE(parsed);
    EXPECT_TRUE(Equal(*Find(parsed->settings(), "x"), RealValue(real))) << real;
    EXPECT_EQ(CanonicalCandidate(*parsed), CanonicalCandidate(candidate));
  }
}

TEST(CanonicalTest, MalformedCandidatesAreRejected) {
  const std::string good = CanonicalCandidate(SomeCandidate());
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_EQ(CodeOf(ParseCanonicalCandidate(good.substr(0, length))), ErrorCode::kRejected) << length;
  }
  for (const char* wrong :
       {"[]", "null", "{}", R"({"backend":1,"pipeline":[],"settings":{}})",
        R"({"backend":"b","pipeline":{},"settings":{}})", R"({"backend":"b","pipeline":[],"settings":[]})",
        R"({"backend":"b","pipeline":[],"settings":{},"more":1})", R"({"backend":"b","pipeline":["p"],"settings":{}})",
        R"({"backend":"b","pipeline":[{"pass":"p"}],"settings":{}})",
        R"({"backend":"b","pipeline":[{"pass":1,"params":{}}],"settings":{}})",
        R"({"backend":"b","pipeline":[],"settings":{"x":null}})",
        R"({"backend":"b","pipeline":[],"settings":{"x":[1]}})",
        R"({"backend":"b","pipeline":[],"settings":{"x":1e999}})"}) {
    EXPECT_EQ(CodeOf(ParseCanonicalCandidate(wrong)), ErrorCode::kRejected) << wrong;
  }
  EXPECT_EQ(CodeOf(ParseCanonicalCandidate(std::string(2 << 20, '['))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(ParseCanonicalCandidate(std::string(1 << 20, '['))), ErrorCode::kRejected);
}

TEST(CandidateTextTest, ReadsLikeASentence) {
  EXPECT_EQ(CandidateText(SomeCandidate()),
            "simplify + static_int8(observer=entropy, per_channel=true, percentile=99.99) on openvino(hint=latency, "
            "threads=2)");
  proto::Candidate original;
  original.set_backend("onnxruntime");
  EXPECT_EQ(CandidateText(original), "original on onnxruntime");
}

TEST(FindTest, UnsetIsAbsent) {
  const Parameters parameters = Given({{"a", proto::Value()}, {"b", IntValue(2)}});
  EXPECT_EQ(Find(parameters, "a"), nullptr);
  EXPECT_EQ(Find(parameters, "c"), nullptr);
  EXPECT_EQ(Find(parameters, "b")->integer(), 2);
}

class CheckTest : public testing::Test {
 protected:
  static proto::ParameterInfo Info(const std::string& name, proto::ParameterInfo::Type type) {
    proto::ParameterInfo info;
    info.set_name(name);
    info.set_type(type);
    return info;
  }
};

TEST_F(CheckTest, TypesAreStrictButAnIntegerIsAReal) {
  using Type = proto::ParameterInfo;
  EXPECT_TRUE(CheckValue(Info("x", Type::REAL), IntValue(1), "pass p"));
  EXPECT_TRUE(CheckValue(Info("x", Type::REAL), RealValue(0.5), "pass p"));
  EXPECT_TRUE(CheckValue(Info("x", Type::BOOLEAN), BoolValue(false), "pass p"));
  EXPECT_TRUE(CheckValue(Info("x", Type::TEXT), TextValue("t"), "pass p"));
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::INTEGER), RealValue(1), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::INTEGER), TextValue("1"), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::BOOLEAN), IntValue(1), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::TEXT), BoolValue(true), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::TEXT), proto::Value(), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::TYPE_UNSPECIFIED), IntValue(1), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::REAL), RealValue(std::nan("")), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::REAL), RealValue(INFINITY), "pass p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(Info("x", Type::TEXT), TextValue(std::string(5000, 'x')), "pass p")),
            ErrorCode::kRejected);
}

TEST_F(CheckTest, ChoicesAreListedAndTheNearestOffered) {
  proto::ParameterInfo info = Info("observer", proto::ParameterInfo::TEXT);
  *info.add_choices() = TextValue("minmax");
  *info.add_choices() = TextValue("entropy");
  EXPECT_TRUE(CheckValue(info, TextValue("entropy"), "pass static_int8"));
  const auto wrong = CheckValue(info, TextValue("entropi"), "pass static_int8");
  EXPECT_EQ(MessageOf(wrong),
            "pass static_int8: parameter 'observer' is 'entropi'; it must be one of minmax, entropy; did you mean "
            "'entropy'?");
  proto::ParameterInfo number = Info("alpha", proto::ParameterInfo::REAL);
  *number.add_choices() = RealValue(1);
  EXPECT_TRUE(CheckValue(number, IntValue(1), "pass p"));
}

TEST_F(CheckTest, BoundsAreInclusive) {
  proto::ParameterInfo info = Info("alpha", proto::ParameterInfo::REAL);
  *info.mutable_minimum() = IntValue(0);
  *info.mutable_maximum() = RealValue(0.5);
  EXPECT_TRUE(CheckValue(info, IntValue(0), "p"));
  EXPECT_TRUE(CheckValue(info, RealValue(0.5), "p"));
  EXPECT_EQ(MessageOf(CheckValue(info, RealValue(0.6), "p")),
            "p: parameter 'alpha' is 0.6; it must be at least 0 and at most 0.5");
  EXPECT_EQ(CodeOf(CheckValue(info, IntValue(-1), "p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckValue(info, RealValue(-1e-300), "p")), ErrorCode::kRejected);
}

TEST_F(CheckTest, UnknownAndRepeatedParametersAreNamed) {
  google::protobuf::RepeatedPtrField<proto::ParameterInfo> infos;
  *infos.Add() = Info("observer", proto::ParameterInfo::TEXT);
  *infos.Add() = Info("percentile", proto::ParameterInfo::REAL);
  EXPECT_TRUE(CheckParameters(infos, Given({{"observer", TextValue("x")}, {"percentile", IntValue(99)}}), "pass p"));
  const auto unknown = CheckParameters(infos, Given({{"obsever", TextValue("x")}}), "pass p");
  EXPECT_EQ(MessageOf(unknown), "pass p has no parameter 'obsever'; did you mean 'observer'?");
  EXPECT_THAT(unknown.error().remedy, HasSubstr("observer, percentile"));
  EXPECT_EQ(CodeOf(CheckParameters(infos, Given({{"observer", TextValue("x")}, {"observer", TextValue("y")}}), "p")),
            ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckParameters(infos, Given({{"observer", IntValue(1)}}), "p")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(CheckParameters({}, Given({{"x", IntValue(1)}}), "p")), ErrorCode::kRejected);
}

TEST(BuildKeyTest, DependsOnWhatThePassUses) {
  proto::PassInfo pass;
  pass.set_name("static_int8");
  pass.set_version(1);
  proto::PassStep step;
  step.set_pass("static_int8");
  *step.mutable_parameters() = Given({{"a", IntValue(1)}, {"b", IntValue(2)}});
  google::protobuf::RepeatedPtrField<proto::InputShape> inputs;
  proto::InputShape& x = *inputs.Add();
  x.set_name("x");
  x.add_dims(1);
  x.add_dims(-1);
  proto::InputShape& y = *inputs.Add();
  y.set_name("y");
  const std::string key = BuildKey(pass, "sha256:m", step, inputs, "sha256:c", 7);
  EXPECT_TRUE(IsDigest(key));

  // Order is no content.
  proto::PassStep reordered;
  *reordered.mutable_parameters() = Given({{"b", RealValue(2)}, {"a", IntValue(1)}});
  inputs.SwapElements(0, 1);
  EXPECT_EQ(BuildKey(pass, "sha256:m", reordered, inputs, "sha256:c", 7), key);
  // Calibration and seed are none of an uncalibrated pass's.
  EXPECT_EQ(BuildKey(pass, "sha256:m", step, inputs, "sha256:d", 8), key);

  EXPECT_NE(BuildKey(pass, "sha256:n", step, inputs, "", 0), key);
  EXPECT_NE(BuildKey(pass, "sha256:m", step, {}, "", 0), key);
  EXPECT_NE(BuildKey(pass, "sha256:m", {}, inputs, "", 0), key);
  proto::PassInfo newer = pass;
  newer.set_version(2);
  EXPECT_NE(BuildKey(newer, "sha256:m", step, inputs, "", 0), key);
  proto::PassInfo calibrated = pass;
  calibrated.set_needs_calibration(true);
  const std::string with_data = BuildKey(calibrated, "sha256:m", step, inputs, "sha256:c", 7);
  EXPECT_NE(with_data, key);
  EXPECT_NE(BuildKey(calibrated, "sha256:m", step, inputs, "sha256:d", 7), with_data);
  EXPECT_NE(BuildKey(calibrated, "sha256:m", step, inputs, "sha256:c", 8), with_data);
  proto::PassInfo helped = pass;
  helped.set_takes_calibration(true);
  EXPECT_NE(BuildKey(helped, "sha256:m", step, inputs, "sha256:c", 7),
            BuildKey(helped, "sha256:m", step, inputs, "", 7));
}

}  // namespace
}  // namespace hone
