// Limits of FakeQuantize and codes of weights equal to NNCF's on the same models and samples. golden/nncf.json was made
// by make_nncf_golden.py and names NNCF's version.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/fake_quantize.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/openvino.hpp>

#include "tests/openvino/fixture.h"

namespace hone::test {
namespace {

using Json = nlohmann::json;

const Json& GoldenResults() {
  static const Json golden = [] {
    std::ifstream file(Golden("nncf.json"));
    return Json::parse(file);
  }();
  return golden;
}

std::vector<float> ConstantFloats(const ov::Node& node, size_t port) {
  const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node.get_input_node_shared_ptr(port));
  return constant ? constant->cast_vector<float>() : std::vector<float>{};
}

std::string Hexadecimal(const void* data, size_t size) {
  std::string text;
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

class NncfParityTest : public OpenvinoPassTest {
 protected:
  std::shared_ptr<ov::Model> Read(const Built& made) {
    return core_.read_model(fs::path(made.bundle.folder()) / made.bundle.bundle().main());
  }

  // The same numbers to the last bits: NNCF adds up its means in float32, we in double.
  static void ExpectNear(const std::vector<float>& ours, const Json& theirs, const std::string& what) {
    ASSERT_EQ(ours.size(), theirs.size()) << what;
    for (size_t i = 0; i < ours.size(); ++i) {
      const float wanted = theirs[i].get<float>();
      EXPECT_NEAR(ours[i], wanted, 5e-7F * std::max(1e-6F, std::fabs(wanted))) << what << " " << i;
    }
  }

  void Compare(const std::string& name, const std::string& model, Parameters parameters) {
    SCOPED_TRACE(name);
    parameters["smooth_alpha"] = RealValue(0.95);
    const auto made =
        Make(LocalFile(Golden(model + ".onnx"), "onnx"), "openvino_int8", parameters, Golden(model + ".npz"));
    ASSERT_TRUE(made) << made.error().message;
    const Json& golden = GoldenResults().at("int8").at(name);
    CompareLimits(*Read(*made), golden.at("limits"));
    CompareWeights(*Read(*made), golden.at("weights"));
  }

  static void CompareLimits(const ov::Model& model, const Json& golden) {
    std::map<std::string, std::vector<std::shared_ptr<ov::op::v0::FakeQuantize>>> ours;
    for (const auto& node : model.get_ordered_ops()) {
      if (const auto quantizer = ov::as_type_ptr<ov::op::v0::FakeQuantize>(node))
        ours[node->get_input_node_ptr(0)->get_friendly_name()].push_back(quantizer);
    }
    for (auto& [name, quantizers] : ours) {
      ASSERT_TRUE(golden.contains(name)) << "only ours: " << name;
      ASSERT_EQ(quantizers.size(), golden[name].size()) << name;
      std::sort(quantizers.begin(), quantizers.end(),
                [](const auto& a, const auto& b) { return ConstantFloats(*a, 2) < ConstantFloats(*b, 2); });
      for (size_t i = 0; i < quantizers.size(); ++i) {
        ExpectNear(ConstantFloats(*quantizers[i], 1), golden[name][i]["low"], name + " low");
        ExpectNear(ConstantFloats(*quantizers[i], 2), golden[name][i]["high"], name + " high");
        EXPECT_EQ(quantizers[i]->get_levels(), golden[name][i]["levels"].get<size_t>());
      }
    }
    for (const auto& [name, limits] : golden.items()) EXPECT_TRUE(ours.contains(name)) << "only theirs: " << name;
  }

  static void CompareWeights(const ov::Model& model, const Json& golden) {
    size_t compared = 0;
    for (const auto& node : model.get_ordered_ops()) {
      const auto codes = ov::as_type_ptr<ov::op::v0::Constant>(node);
      if (!codes || codes->get_element_type() != ov::element::i8) continue;
      const auto only_reader = [](const ov::Node& from) {
        return from.get_output_target_inputs(0).begin()->get_node();
      };
      const ov::Node* multiply = only_reader(*only_reader(*node));
      if (!ov::is_type<ov::op::v1::Multiply>(multiply)) continue;  // A table: looked up before it is widened.
      const std::string reader = only_reader(*multiply)->get_friendly_name();
      if (!golden.contains(reader)) continue;
      EXPECT_EQ(Hexadecimal(codes->get_data_ptr(), codes->get_byte_size()), golden[reader]["codes"].get<std::string>())
          << reader;
      ExpectNear(ConstantFloats(*multiply, 1), golden[reader]["scales"], reader + " scales");
      ++compared;
    }
    // All but a table, which NNCF widens before the lookup.
    EXPECT_GE(compared + 1, golden.size());
  }

  ov::Core core_;
};

TEST_F(NncfParityTest, LimitsAndInt8CodesOfATransformer) {
  Compare("transformer", "transformer", {});
  Compare("transformer_performance", "transformer", {{"preset", TextValue("performance")}});
}

TEST_F(NncfParityTest, LimitsAndInt8CodesOfConvolutionsWithConcatAndDepthwise) {
  Compare("convnet", "convnet", {});
  Compare("convnet_mixed", "convnet", {{"preset", TextValue("mixed")}});
}

TEST_F(NncfParityTest, CodesOfCompressedWeights) {
  for (const char* mode : {"int8_asym", "int8_sym", "int4_asym", "int4_sym", "nf4"}) {
    SCOPED_TRACE(mode);
    const auto made = Make(LocalFile(Golden("transformer.onnx"), "onnx"), "openvino_weights",
                           {{"mode", TextValue(mode)}, {"group_size", IntValue(16)}, {"all_layers", BoolValue(true)}});
    ASSERT_TRUE(made) << made.error().message;
    const Json& golden = GoldenResults().at("weights").at(mode);
    size_t compared = 0;
    const auto model = Read(*made);
    for (const auto& node : model->get_ordered_ops()) {
      const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
      const std::string name = node->get_friendly_name();
      if (!constant || !golden.contains(name)) continue;
      EXPECT_EQ(constant->get_element_type().get_type_name(), golden[name]["type"].get<std::string>()) << name;
      std::string codes;
      const auto* bytes = static_cast<const uint8_t*>(constant->get_data_ptr());
      const size_t count = ov::shape_size(constant->get_shape());
      for (size_t i = 0; i < count; ++i) {
        const bool packed = constant->get_element_type().bitwidth() == 4;
        const int code = packed ? (bytes[i / 2] >> (i % 2 == 0 ? 0 : 4)) & 15 : bytes[i];
        codes += fmt::format("{:02x}", code);
      }
      EXPECT_EQ(codes, golden[name]["codes"].get<std::string>()) << name;
      ++compared;
    }
    EXPECT_EQ(compared, golden.size());
  }
}

}  // namespace
}  // namespace hone::test
