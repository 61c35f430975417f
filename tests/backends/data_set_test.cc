#include "worker/data/data_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "tests/backends/fixtures.h"
#include "worker/data/npy.h"
#include "worker/data/npz.h"

namespace hone::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ReadAll(const fs::path& path) {
  auto bytes = ReadFile(path, 1 << 20);
  EXPECT_OK(bytes);
  return *bytes;
}

// --- npy -------------------------------------------------------------------------------------------------------

TEST(NpyHeaderTest, KeysInAnyOrderAreRead) {
  auto header = ParseNpyHeader("{'shape': (3, 4), 'fortran_order': True, 'descr': '>i2'}   \n");
  ASSERT_OK(header);
  EXPECT_EQ(header->type, 5);
  EXPECT_TRUE(header->big_endian);
  EXPECT_TRUE(header->fortran_order);
  EXPECT_THAT(header->dims, ElementsAre(3, 4));
}

TEST(NpyHeaderTest, ScalarsAndOldLongSizesAreRead) {
  EXPECT_THAT(ParseNpyHeader("{'descr': '|u1', 'fortran_order': False, 'shape': ()}")->dims, ElementsAre());
  EXPECT_THAT(ParseNpyHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }")->dims, ElementsAre(3, 4));
}

TEST(NpyHeaderTest, TypesThatAreNoNumbersHaveNoType) {
  for (const char* descr : {"'<U12'", "'|S4'", "'|O'", "'<M8[ns]'", "'<c8'", "[('a', '<f4'), ('b', '<i4', (2,))]",
                            "'=f4'", "'|f4'", "''"}) {
    auto header = ParseNpyHeader(std::string("{'descr': ") + descr + ", 'fortran_order': False, 'shape': (1,)}");
    ASSERT_OK(header);
    EXPECT_EQ(header->type, 0) << descr;
  }
}

TEST(NpyHeaderTest, MalformedDictionariesAreRejected) {
  for (const char* text : {
           "",
           "{",
           "{}",
           "{'descr': '<f4'}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
           "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} import os",
           "{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
           "{'descr': '<f\\x34', 'fortran_order': False, 'shape': (1,)}",
           "{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (1,)}",
       }) {
    EXPECT_FALSE(ParseNpyHeader(text)) << text;
  }
}

TEST(NpyHeaderTest, PreambleBoundsTheHeader) {
  EXPECT_FALSE(ParseNpyPreamble("PK\x03\x04 not an array"));
  EXPECT_FALSE(ParseNpyPreamble(std::string("\x93NUMPY\x04\x00\x10\x00\x00\x00", 12)));
  EXPECT_FALSE(ParseNpyPreamble(std::string("\x93NUMPY\x02\x00\x00\x00\x00\x7f", 12)));
  auto first = ParseNpyPreamble(std::string("\x93NUMPY\x01\x00\x76\x00{'", 12));
  ASSERT_OK(first);
  EXPECT_EQ(first->bytes, 10u);
  EXPECT_EQ(first->header_bytes, 0x76u);
}

// --- npz -------------------------------------------------------------------------------------------------------

const std::vector<InputSignature> kImage = {{"x", kFloat32, {-1, 2}}};

TEST(NpzTest, FirstAxisGivesSamplesOfBatchOne) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"x", FloatArray({3, 2}, {0, 1, 2, 3, 4, 5})}, {"labels", Int64Array({3}, {7, 8, 9})}});
  auto data = OpenDataSet(NpzAt(folder / "d.npz"), kImage);
  ASSERT_OK(data);
  ASSERT_EQ((*data)->size(), 3u);
  EXPECT_THAT((*data)->labels(), ElementsAre(7, 8, 9));
  auto sample = (*data)->Get(1);
  ASSERT_OK(sample);
  EXPECT_EQ((*sample)[0].name, "x");
  EXPECT_THAT((*sample)[0].dims, ElementsAre(1, 2));
  EXPECT_THAT(Values<float>((*sample)[0]), ElementsAre(2, 3));
  EXPECT_TRUE((*data)->Expected(0)->empty());
}

TEST(NpzTest, SelectionCutsSamplesAndLabels) {
  Folder folder;
  WriteNpz(folder / "d.npz",
           {{"x", FloatArray({4, 2}, {0, 1, 2, 3, 4, 5, 6, 7})}, {"labels", Int64Array({4}, {0, 1, 2, 3})}});
  proto::LocalData part = NpzAt(folder / "d.npz");
  part.set_from(1);
  part.set_samples(2);
  auto data = OpenDataSet(part, kImage);
  ASSERT_OK(data);
  EXPECT_EQ((*data)->size(), 2u);
  EXPECT_THAT((*data)->labels(), ElementsAre(1, 2));
  EXPECT_THAT(Values<float>((*(*data)->Get(1))[0]), ElementsAre(4, 5));
  EXPECT_NE((*data)->digest(), (*OpenDataSet(NpzAt(folder / "d.npz"), kImage))->digest());
  part.set_from(4);
  EXPECT_REJECTED(OpenDataSet(part, kImage), "no sample is selected: there are 4 and the selection starts at 4");
}

TEST(NpzTest, OneRankMoreGivesOneEntryASample) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"x", FloatArray({2, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})}});
  auto data = OpenDataSet(NpzAt(folder / "d.npz"), kImage);
  ASSERT_OK(data);
  ASSERT_EQ((*data)->size(), 2u);
  auto sample = (*data)->Get(1);
  EXPECT_THAT((*sample)[0].dims, ElementsAre(3, 2));
  EXPECT_THAT(Values<float>((*sample)[0]), ElementsAre(6, 7, 8, 9, 10, 11));
}

TEST(NpzTest, FixedFirstDimensionTakesAsManyRows) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"x", FloatArray({5, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})}});
  auto data = OpenDataSet(NpzAt(folder / "d.npz"), {{"x", kFloat32, {2, 2}}});
  ASSERT_OK(data);
  ASSERT_EQ((*data)->size(), 2u);
  EXPECT_THAT(Values<float>((*(*data)->Get(1))[0]), ElementsAre(4, 5, 6, 7));
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "d.npz"), {{"x", kFloat32, {6, 2}}}), "holds no whole sample");
}

TEST(NpzTest, ScalarInputsTakeOneEntryASample) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"s", Int64Array({3}, {4, 5, 6})}});
  auto data = OpenDataSet(NpzAt(folder / "d.npz"), {{"s", kInt32, {}}});
  ASSERT_OK(data);
  auto sample = (*data)->Get(2);
  EXPECT_TRUE((*sample)[0].dims.empty());
  EXPECT_THAT(Values<int32_t>((*sample)[0]), ElementsAre(6));
}

TEST(NpzTest, FaultsOfArraysNameInputAndShapes) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"input_id", Int64Array({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7})},
                              {"mask", Int64Array({3, 4}, std::vector<int64_t>(12, 1))},
                              {"text", Array{"<U2", {2}, std::string(16, 'a')}}});
  const auto open = [&](const std::vector<InputSignature>& inputs) {
    return OpenDataSet(NpzAt(folder / "d.npz"), inputs);
  };
  EXPECT_REJECTED(open({{"input_ids", kInt64, {-1, 4}}}),
                  "there is no array for input input_ids int64 [?,4]; did you mean 'input_id'?");
  EXPECT_REJECTED(open({{"mask", kInt64, {-1, 5}}}),
                  "input mask int64 [?,5] is to be fed, and array 'mask' has shape [3,4]");
  EXPECT_REJECTED(open({{"mask", kInt64, {}}}), "array 'mask' has shape [3,4]");
  EXPECT_REJECTED(open({{"mask", kFloat32, {-1, 4}}}), "float32 is wanted and int64 was found");
  EXPECT_REJECTED(open({{"input_id", kInt64, {-1, 4}}, {"mask", kInt64, {-1, 4}}}),
                  "'input_id' has 2 samples and 'mask' has 3");
  EXPECT_REJECTED(open({{"text", kInt64, {-1}}}), "array 'text' has type <U2");
  EXPECT_REJECTED(open({}), "no inputs");
  // Arrays that no input asks for, the text among them, are passed over.
  EXPECT_OK(open({{"mask", kInt64, {-1, 4}}}));
}

TEST(NpzTest, LabelsOfAnotherLengthOrKindAreRejected) {
  Folder folder;
  WriteNpz(folder / "a.npz", {{"x", FloatArray({2, 2}, {0, 1, 2, 3})}, {"labels", Int64Array({3}, {0, 1, 2})}});
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "a.npz"), kImage),
                  "array 'labels' has int64 [3], and one integer for each of 2 samples");
  WriteNpz(folder / "b.npz", {{"x", FloatArray({2, 2}, {0, 1, 2, 3})}, {"labels", FloatArray({2}, {0, 1})}});
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "b.npz"), kImage), "int64 is wanted and float32 was found");
}

TEST(NpzTest, BrokenFilesAreRejectedWhereverTheyBreak) {
  Folder folder;
  WriteNpz(folder / "good.npz", {{"x", FloatArray({40, 2}, std::vector<float>(80, 1.5f))}});
  const std::string good = ReadAll(folder / "good.npz");
  for (const size_t length : {size_t{0}, size_t{1}, size_t{30}, good.size() / 2, good.size() - 1}) {
    folder.Write("cut.npz", good.substr(0, length));
    auto opened = OpenDataSet(NpzAt(folder / "cut.npz"), kImage);
    ASSERT_FALSE(opened) << length;
    EXPECT_EQ(opened.error().code, ErrorCode::kRejected) << opened.error().message;
    EXPECT_THAT(opened.error().message, HasSubstr("data cut.npz: "));
  }
  // Every flipped byte is noticed, or changes nothing that is read.
  const auto expected = Values<float>((*(*OpenDataSet(NpzAt(folder / "good.npz"), kImage))->Get(39))[0]);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    folder.Write("bad.npz", bad);
    auto opened = OpenDataSet(NpzAt(folder / "bad.npz"), kImage);
    if (!opened) {
      ASSERT_EQ(opened.error().code, ErrorCode::kRejected) << at << ": " << opened.error().message;
    } else {
      ASSERT_EQ(Values<float>((*(*opened)->Get((*opened)->size() - 1))[0]), expected) << at;
    }
  }
}

TEST(NpzTest, ShapesMustSayWhatTheEntryHolds) {
  Folder folder;
  WriteNpz(folder / "d.npz", {{"x", Array{"<f4", {1000000, 2}, std::string(16, '\0')}}});
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "d.npz"), kImage),
                  "the header says float32 [1000000,2] and the entry holds 16 bytes of data");
  WriteNpz(folder / "o.npz", {{"x", Array{"<f4", {int64_t{1} << 62, int64_t{1} << 62}, std::string(16, '\0')}}});
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "o.npz"), kImage), "the entry holds 16 bytes of data");
  WriteNpz(folder / "e.npz", {{"x", FloatArray({0, 2}, {})}});
  EXPECT_REJECTED(OpenDataSet(NpzAt(folder / "e.npz"), kImage), "holds no whole sample");
}

TEST(NpzTest, WhatNumpyWritesIsReadAsNumpyMeansIt) {
  Folder folder;
  ASSERT_TRUE(RunPython(R"(
import sys, numpy as np
base = np.arange(24).reshape(4, 3, 2)
np.savez(sys.argv[1], f4=base.astype('f4'), f8=base.astype('f8'), f2=base.astype('f2'), big=base.astype('>f4'),
         fortran=np.asfortranarray(base.astype('f4')), bits=(base % 2).astype(bool), i4=base.astype('<i4'),
         i8big=base.astype('>i8'), u1=base.astype('u1'), i1=base.astype('i1'), u2=base.astype('u2'),
         u4=base.astype('u4'), u8=base.astype('u8'), labels=np.arange(4, dtype='u1')[:, None])
np.savez_compressed(sys.argv[2], f4=base.astype('f4'))
with open(sys.argv[3] + '.npy', 'wb') as file:
    np.lib.format.write_array(file, base.astype('f4'), version=(3, 0))
import zipfile
with zipfile.ZipFile(sys.argv[3], 'w') as z:
    z.write(sys.argv[3] + '.npy', 'f4.npy')
)",
                        {folder / "a.npz", folder / "b.npz", folder / "c.npz"}));
  struct Case {
    const char* file;
    const char* name;
    ElementType wanted;
  };
  for (const Case& c :
       {Case{"a.npz", "f4", kFloat32}, Case{"a.npz", "f8", kFloat32}, Case{"a.npz", "f2", kFloat16},
        Case{"a.npz", "f2", kFloat32}, Case{"a.npz", "big", kFloat32}, Case{"a.npz", "fortran", kFloat32},
        Case{"a.npz", "i4", kInt64}, Case{"a.npz", "i8big", kInt32}, Case{"a.npz", "u1", kInt64},
        Case{"a.npz", "i1", kUint8}, Case{"a.npz", "u2", kInt32}, Case{"a.npz", "u4", kInt64},
        Case{"a.npz", "u8", kInt32}, Case{"b.npz", "f4", kFloat32}, Case{"c.npz", "f4", kFloat32}}) {
    proto::LocalData part = NpzAt(folder / c.file);
    part.set_from(1);
    part.set_samples(2);
    auto data = OpenDataSet(part, {{c.name, c.wanted, {-1, 3, 2}}});
    ASSERT_TRUE(data) << c.name << ": " << data.error().message;
    auto sample = (*data)->Get(1);
    EXPECT_EQ((*sample)[0].type, c.wanted);
    EXPECT_THAT(ToFloats((*sample)[0]), ElementsAre(12, 13, 14, 15, 16, 17)) << c.name;
    if (std::string(c.file) != "a.npz") continue;
    EXPECT_THAT((*data)->labels(), ElementsAre(1, 2));
  }
  auto bits = OpenDataSet(NpzAt(folder / "a.npz"), {{"bits", kBool, {-1, 3, 2}}});
  ASSERT_OK(bits);
  EXPECT_THAT(ToFloats((*(*bits)->Get(0))[0]), ElementsAre(0, 1, 0, 1, 0, 1));
}

// --- ONNX test data --------------------------------------------------------------------------------------------

std::string TensorFile(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& values) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  for (const int64_t dim : dims) tensor.add_dims(dim);
  for (const float value : values) tensor.add_float_data(value);
  return tensor.SerializeAsString();
}

proto::LocalData TestDataAt(const Folder& folder, const std::vector<std::string>& files) {
  proto::LocalData data;
  *data.mutable_data() = BundleOf("onnx_test_data", "", folder.path(), files);
  return data;
}

TEST(OnnxTestDataTest, FoldersAreSamplesInTheirNumbersOrder) {
  Folder folder;
  std::vector<std::string> files;
  for (const int number : {0, 2, 10}) {
    const std::string set = "test_data_set_" + std::to_string(number) + "/";
    const auto value = static_cast<float>(number);
    folder.Write(set + "input_0.pb", TensorFile("b", {1, 2}, {value, value}));
    folder.Write(set + "input_1.pb", TensorFile("a", {1}, {-value}));
    folder.Write(set + "output_0.pb", TensorFile("y", {1}, {value * 2}));
    for (const char* name : {"input_0.pb", "input_1.pb", "output_0.pb"}) files.push_back(set + name);
  }
  // The tensors' names decide, not their numbers.
  auto data = OpenDataSet(TestDataAt(folder, files), {{"a", kFloat32, {-1}}, {"b", kFloat32, {1, 2}}});
  ASSERT_OK(data);
  ASSERT_EQ((*data)->size(), 3u);
  auto sample = (*data)->Get(2);
  EXPECT_THAT(Values<float>((*sample)[0]), ElementsAre(-10));
  EXPECT_THAT(Values<float>((*sample)[1]), ElementsAre(10, 10));
  auto expected = (*data)->Expected(1);
  ASSERT_OK(expected);
  EXPECT_EQ((*expected)[0].name, "y");
  EXPECT_THAT(Values<float>((*expected)[0]), ElementsAre(4));
}

TEST(OnnxTestDataTest, FaultsNameTheFile) {
  Folder folder;
  folder.Write("test_data_set_0/input_0.pb", TensorFile("x", {3}, {1, 2, 3}));
  folder.Write("test_data_set_1/input_0.pb", "\xff\xff no tensor");
  const std::vector<InputSignature> wide = {{"x", kFloat32, {4}}};
  EXPECT_REJECTED(OpenDataSet(TestDataAt(folder, {"test_data_set_0/input_0.pb"}), wide),
                  "input_0.pb for input x float32 [4]: it has shape [3]");
  EXPECT_REJECTED(OpenDataSet(TestDataAt(folder, {"test_data_set_1/input_0.pb"}), {{"x", kFloat32, {3}}}),
                  "is no TensorProto");
  EXPECT_REJECTED(
      OpenDataSet(TestDataAt(folder, {"test_data_set_0/input_0.pb"}), {{"x", kFloat32, {3}}, {"z", kFloat32, {3}}}),
      "no input_1.pb for input z");
  EXPECT_REJECTED(OpenDataSet(TestDataAt(folder, {"readme.txt"}), wide), "no test_data_set_N folder");
}

// --- stand-ins -------------------------------------------------------------------------------------------------

TEST(SyntheticTest, SamplesFollowFromSeedAndIndexAlone) {
  const std::vector<InputSignature> inputs = {{"x", kFloat32, {4, 8}},
                                              {"attention_mask", kInt64, {2, 16}},
                                              {"ids", kInt32, {1, 16}},
                                              {"h", kFloat16, {4}},
                                              {"flag", kBool, {}}};
  auto data = SyntheticDataSet(inputs, 3, 7);
  auto again = SyntheticDataSet(inputs, 3, 7);
  auto other = SyntheticDataSet(inputs, 3, 8);
  ASSERT_OK(data);
  EXPECT_EQ((*data)->digest(), (*again)->digest());
  EXPECT_NE((*data)->digest(), (*other)->digest());
  auto sample = (*data)->Get(2);
  ASSERT_OK(sample);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ((*sample)[i].type, inputs[i].type);
    EXPECT_EQ((*sample)[i].dims, inputs[i].dims);
    EXPECT_EQ((*sample)[i].bytes, (*(*again)->Get(2))[i].bytes);
  }
  EXPECT_NE((*sample)[0].bytes, (*(*data)->Get(1))[0].bytes);
  EXPECT_NE((*sample)[0].bytes, (*(*other)->Get(2))[0].bytes);
  for (const int64_t value : Values<int64_t>((*sample)[1])) EXPECT_TRUE(value == 0 || value == 1);
  EXPECT_EQ(Values<int64_t>((*sample)[1])[0], 1);
}

TEST(SyntheticTest, FreeDimensionsAreNamedWithTheFlagThatPinsThem) {
  auto data = SyntheticDataSet({{"x", kFloat32, {1, -1, 3}}}, 1, 0);
  EXPECT_REJECTED(data, "input x float32 [1,?,3] has a free dimension");
  EXPECT_THAT(data.error().remedy, HasSubstr("--input x=1,1,3"));
  EXPECT_REJECTED(SyntheticDataSet({{"x", 8, {1}}}, 1, 0), "no stand-in data");
  EXPECT_REJECTED(SyntheticDataSet({{"x", kFloat32, {int64_t{1} << 40, int64_t{1} << 40}}}, 1, 0), "too large");
}

TEST(DataSetTest, UnknownFormatIsRejected) {
  proto::LocalData data;
  *data.mutable_data() = BundleOf("parquet", "d.parquet", "/nowhere", {"d.parquet"});
  EXPECT_REJECTED(OpenDataSet(data, kImage), "format 'parquet' is not known (there are npz, onnx_test_data, images, tokens)");
}

TEST(DataSetTest, DigestTellsEverythingThatChangesSamples) {
  const proto::Bundle bundle = BundleOf("npz", "d", "/", {"d"}).bundle();
  proto::Preprocess plain, other;
  other.set_bgr(true);
  const std::string digest = DataDigest(bundle, 0, 10, plain);
  EXPECT_NE(digest, DataDigest(bundle, 1, 10, plain));
  EXPECT_NE(digest, DataDigest(bundle, 0, 11, plain));
  EXPECT_NE(digest, DataDigest(bundle, 0, 10, other));
  EXPECT_EQ(digest, DataDigest(bundle, 0, 10, plain));
}

}  // namespace
}  // namespace hone::test
