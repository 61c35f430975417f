#include "common/base/strings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/common/scratch.h"

namespace hone {
namespace {

TEST(NearestWordTest, TyposFindTheirWord) {
  const std::vector<std::string> words = {"observer", "activations", "per_channel", "fp16", "percentile"};
  EXPECT_EQ(NearestWord("obsever", words), "observer");      // Deletion.
  EXPECT_EQ(NearestWord("obbserver", words), "observer");    // Insertion.
  EXPECT_EQ(NearestWord("observar", words), "observer");     // Replacement.
  EXPECT_EQ(NearestWord("obesrver", words), "observer");     // Swap counts once.
  EXPECT_EQ(NearestWord("activaiton", words), "activations");
  EXPECT_EQ(NearestWord("pf16", words), "fp16");
  EXPECT_EQ(NearestWord("observer", words), "observer");
}

TEST(NearestWordTest, FarWordsAreNotOffered) {
  const std::vector<std::string> words = {"fp16", "observer", "a"};
  EXPECT_EQ(NearestWord("fp32", words), std::nullopt);        // Two edits of four letters.
  EXPECT_EQ(NearestWord("bobservre", {"observer"}), "observer");
  EXPECT_EQ(NearestWord("oxxervex", words), std::nullopt);    // Three edits of eight letters.
  EXPECT_EQ(NearestWord("", {"ab"}), std::nullopt);
  EXPECT_EQ(NearestWord("", {"a"}), "a");
  EXPECT_EQ(NearestWord("x", {}), std::nullopt);
  EXPECT_EQ(NearestWord("abcdefghijklmnopqrst", {"abcdefghijklmnop____"}), std::nullopt);  // Never more than three.
  EXPECT_EQ(NearestWord("abcdefghijklmnopqrst", {"abcdefghijklmnopq___"}), "abcdefghijklmnopq___");
  EXPECT_EQ(NearestWord(std::string(1'000'000, 'a'), {std::string(1'000'000, 'a')}), std::nullopt);
}

TEST(NearestWordTest, TheNearestAndOfThoseTheFirstWins) {
  EXPECT_EQ(NearestWord("minmaxx", {"minmix", "minmax"}), "minmax");
  EXPECT_EQ(NearestWord("minmox", {"minmix", "minmax"}), "minmix");
  EXPECT_EQ(DidYouMean("minmox", {"minmix"}), "; did you mean 'minmix'?");
  EXPECT_EQ(DidYouMean("entropy", {"minmix"}), "");
}

TEST(TextTest, SplitJoinAndTrim) {
  EXPECT_EQ(Split("a,,b,", ','), (std::vector<std::string>{"a", "", "b", ""}));
  EXPECT_EQ(Split("", ','), (std::vector<std::string>{""}));
  EXPECT_EQ(Join({"a", "", "b"}, ", "), "a, , b");
  EXPECT_EQ(Join({}, ", "), "");
  EXPECT_EQ(Trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(Trim("  "), "");
}

TEST(HumanTest, Bytes) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.0 kB");
  EXPECT_EQ(HumanBytes(24'600'000), "24.6 MB");
  EXPECT_EQ(HumanBytes(999'949), "999.9 kB");
  EXPECT_EQ(HumanBytes(999'999), "1.0 MB");
  EXPECT_EQ(HumanBytes(std::numeric_limits<uint64_t>::max()), "18.4 EB");
}

TEST(HumanTest, Durations) {
  EXPECT_EQ(HumanDuration(0), "0 ms");
  EXPECT_EQ(HumanDuration(850), "850 ms");
  EXPECT_EQ(HumanDuration(4200), "4.2 s");
  EXPECT_EQ(HumanDuration(59'949), "59.9 s");
  EXPECT_EQ(HumanDuration(59'970), "1m00s");
  EXPECT_EQ(HumanDuration(252'000), "4m12s");
  EXPECT_EQ(HumanDuration(3'599'700), "1h00m");
  EXPECT_EQ(HumanDuration(7'500'000), "2h05m");
  EXPECT_EQ(HumanDuration(-850), "-850 ms");
  EXPECT_EQ(HumanDuration(std::numeric_limits<int64_t>::min()).substr(0, 1), "-");
}

TEST(HumanTest, NumbersHaveThreeSignificantDigits) {
  EXPECT_EQ(HumanNumber(0), "0");
  EXPECT_EQ(HumanNumber(1), "1");
  EXPECT_EQ(HumanNumber(4.6), "4.6");
  EXPECT_EQ(HumanNumber(3.14159), "3.14");
  EXPECT_EQ(HumanNumber(-0.0123456), "-0.0123");
  EXPECT_EQ(HumanNumber(9.999), "10");
  EXPECT_EQ(HumanNumber(99.96), "100");
  EXPECT_EQ(HumanNumber(123.4), "123");
  EXPECT_EQ(HumanNumber(12345), "12300");
  EXPECT_EQ(HumanNumber(0.00012345), "0.000123");
  EXPECT_EQ(HumanNumber(1.5e12), "1.5e+12");
  EXPECT_EQ(HumanNumber(1e-9), "1e-09");
  EXPECT_EQ(HumanNumber(std::nan("")), "nan");
}

TEST(ParseTest, Integers) {
  EXPECT_EQ(ParseInteger("42").value(), 42);
  EXPECT_EQ(ParseInteger("-9223372036854775808").value(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(ParseInteger("+7").value(), 7);
  for (const char* wrong : {"", " 1", "1 ", "1.0", "0x10", "+-1", "+", "-", "9223372036854775808", "one"}) {
    EXPECT_EQ(CodeOf(ParseInteger(wrong)), ErrorCode::kRejected) << wrong;
  }
}

TEST(ParseTest, Reals) {
  EXPECT_EQ(ParseReal("0.1").value(), 0.1);
  EXPECT_EQ(ParseReal("-1e-3").value(), -1e-3);
  EXPECT_EQ(ParseReal("+2").value(), 2);
  EXPECT_EQ(ParseReal(".5").value(), 0.5);
  for (const char* wrong : {"", "nan", "inf", "-inf", "1e999", "1,5", "1 ", "0x1p3", "--1", "+-1", "+nan", "1e"}) {
    EXPECT_EQ(CodeOf(ParseReal(wrong)), ErrorCode::kRejected) << wrong;
  }
}

TEST(ParseTest, Durations) {
  EXPECT_EQ(ParseDuration("90").value(), 90'000);
  EXPECT_EQ(ParseDuration("1.5").value(), 1'500);
  EXPECT_EQ(ParseDuration("10m").value(), 600'000);
  EXPECT_EQ(ParseDuration("90s").value(), 90'000);
  EXPECT_EQ(ParseDuration("1h30m").value(), 5'400'000);
  EXPECT_EQ(ParseDuration(" 500ms ").value(), 500);
  EXPECT_EQ(ParseDuration("1d2h3m4s5ms").value(), 93'784'005);
  EXPECT_EQ(ParseDuration("0").value(), 0);
  for (const char* wrong :
       {"", "m", "1x", "-5s", "30m1h", "1m1m", "1h30", "5 s 3", "1..5s", "1e3s", "inf", "99999999999999999d"}) {
    EXPECT_EQ(CodeOf(ParseDuration(wrong)), ErrorCode::kRejected) << wrong;
  }
}

TEST(ParseTest, Bytes) {
  EXPECT_EQ(ParseBytes("1000").value(), 1000u);
  EXPECT_EQ(ParseBytes("512MB").value(), 512'000'000u);
  EXPECT_EQ(ParseBytes("2GiB").value(), 2'147'483'648u);
  EXPECT_EQ(ParseBytes("1.5 kb").value(), 1500u);
  EXPECT_EQ(ParseBytes("18446744073709551615").value(), std::numeric_limits<uint64_t>::max());
  for (const char* wrong : {"", "MB", "-1", "12 parsecs", "1MB2", "18446744073709551616", "99999999TiB", "0x10"}) {
    EXPECT_EQ(CodeOf(ParseBytes(wrong)), ErrorCode::kRejected) << wrong;
  }
}

TEST(PrintableTest, ControlsAndBrokenTextBecomeQuestionMarks) {
  EXPECT_EQ(Printable("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(Printable("a\x1b[31m\n\tb\x7f"), "a?[31m??b?");
  EXPECT_EQ(Printable("\xc3"), "?");
  EXPECT_EQ(Printable("\xc0\x80"), "??");                  // Overlong zero.
  EXPECT_EQ(Printable("\xed\xa0\x80"), "???");             // A surrogate.
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "????");        // Beyond Unicode.
  EXPECT_EQ(Printable("\xc2\x9b" "31m"), "?31m");          // The one-character form of ESC [.
  EXPECT_EQ(Printable("a\xe2\x80\xae" "b"), "a?b");        // Right-to-left override.
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a?b");
}

TEST(PrintableTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdefg", 6), "abc...");
  EXPECT_EQ(Printable("ab\xe2\x82\xac" "cd", 6), "ab...");
  EXPECT_EQ(Printable("abc", 2), "ab");
  for (size_t bound = 0; bound < 12; ++bound) {
    const std::string cut = Printable("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80", bound);
    EXPECT_LE(cut.size(), bound);
    EXPECT_TRUE(IsUtf8(cut));
  }
}

TEST(Utf8Test, OnlyBrokenBytesAreReplaced) {
  EXPECT_TRUE(IsUtf8("line\n\xc3\xa9"));
  EXPECT_FALSE(IsUtf8("\xff"));
  EXPECT_EQ(ToUtf8("line\n\xc3\xa9\xff"), "line\n\xc3\xa9?");
}

}  // namespace
}  // namespace hone
