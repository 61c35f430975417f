// ONNX Runtime's quantize_static and quantize_dynamic: their parameters as a map, under the function's name or by
// themselves.
#include "client/importers/draft.h"

namespace hone::importers {
namespace {

Result<> AsInputModel(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  TRY(TextOf(node));
  draft.ledger.Tell(node, Fate::changed, "name the model on the command line");
  return {};
}

const ParameterRules kFunctionRules = {
    {"model_input", AsInputModel},
    {"model_output", Change, "", "name the folder with -o"},
    {"calibration_data_reader", Change, "", "Python does not run in hone: save the samples once as calibration.npz"},
};

const PassRow kStaticFunction = {"quantize_static",
                                 Level::onnx,
                                 "static_int8",
                                 Fate::done,
                                 "",
                                 {&QuantizerRules(), &kFunctionRules},
                                 {{"activations", "int8"}, {"coverage", "all"}, {"weights", "int8"}},
                                 {},
                                 FinishStatic};
const PassRow kDynamicFunction = {"quantize_dynamic", Level::onnx, "dynamic_int8",
                                  Fate::done,         "",          {&QuantizerRules(), &kFunctionRules},
                                  {{"conv", "true"}}, {},          FinishDynamic};

Result<> AddOrtPass(Import& import, const PassRow& row, const ConfigNode& node) {
  TRY_ASSIGN(const Section section, Section::Open(node, row.name, "", import.ledger));
  TRY_ASSIGN(const Alternative alternative, DraftPass(import, row, section, nullptr, {}, false));
  for (const proto::PassChoice& choice : alternative.before) import.AddStage({choice});
  import.AddStage({*alternative.main});
  if (alternative.main->pass() == "static_int8") import.Calibrate("calibration.npz", 0);
  if (section.fields().empty()) import.ledger.Tell(node, Fate::done, row.pass);
  return {};
}

bool IsDynamic(const ConfigNode& root) {
  const ConfigNode* mode = root.Find("quant_mode");
  return mode != nullptr && mode->IsText() && Lower(mode->value.text()) == "dynamic";
}

}  // namespace

Result<Imported> ImportOnnxRuntime(const ConfigNode& root, const ImportOptions& options) {
  Import import(root, options);
  const ConfigNode* of_static = root.Find("quantize_static");
  const ConfigNode* of_dynamic = root.Find("quantize_dynamic");
  const auto& rules = QuantizerRules();
  const bool bare = std::any_of(rules.begin(), rules.end(),
                                [&](const ParameterRule& rule) { return root.Find(rule.key) != nullptr; });
  if (of_static != nullptr || of_dynamic != nullptr) {
    if (of_static != nullptr) TRY(AddOrtPass(import, kStaticFunction, *of_static));
    if (of_dynamic != nullptr) TRY(AddOrtPass(import, kDynamicFunction, *of_dynamic));
  } else if (bare) {
    TRY(AddOrtPass(import, IsDynamic(root) ? kDynamicFunction : kStaticFunction, root));
  } else {
    return FailAt(root,
                  "these are no parameters of ONNX Runtime's quantizer: none of quantize_static, quantize_dynamic, "
                  "extra_options and the others",
                  "`hone import --help` tells what can be imported");
  }
  import.SetBackend("onnxruntime", "", {});
  import.Give("the model, on the command line");
  return import.Finish();
}

}  // namespace hone::importers
