// Olive's graph surgeons and what becomes of each: one row a surgeon.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

enum class Way {
  simplify,     // The pass does it among other things.
  needless,     // The numbers are the same without it.
  differently,  // hone does it elsewhere, or the result differs in what the text says.
  embeddings,   // weights_int8 on the tables alone.
  before,       // hone has no such rewrite: the file that is given must have it.
};

struct SurgeonRow {
  const char* name;
  Way way;
  const char* text;
};

constexpr const char* kSame = "the same numbers in other operators, for compilers that hone does not run";
constexpr const char* kNames = "names of dimensions alone; hone pins dimensions by the inputs they belong to";
constexpr const char* kPorts =
    "inputs and outputs keep their names and order: name the arrays of your data after the model's";
constexpr const char* kBefore = "hone has no such rewrite";
constexpr const char* kQnn = "a form that one NPU's compiler wants; the runtimes here take the model as it is";

constexpr SurgeonRow kSurgeons[] = {
    {"DeduplicateSubgraphInitializers", Way::simplify, "simplify merges equal constants"},
    {"DeduplicateNodes", Way::simplify, "simplify merges equal nodes"},
    {"RemoveInitializerFromInputs", Way::simplify, "simplify"},
    {"InferShapes", Way::simplify, "simplify infers shapes"},
    {"RemoveShapes", Way::needless, "hone infers shapes again where it changes them"},
    {"RemoveAllTensorValueShapes", Way::needless, "hone infers shapes again where it changes them"},
    {"RemoveIntermediarySqueezeAndUnsqueeze", Way::simplify, "simplify removes what changes nothing"},
    {"GemmToMatMulAdd", Way::needless, "hone's passes quantize Gemm as it is"},
    {"MatMulAddToGemm", Way::needless, "ONNX Runtime fuses it when it loads the model"},
    {"ReciprocalMulToDiv", Way::needless, kSame},
    {"RemoveMemcpy", Way::needless, "hone's passes write no copies between devices"},
    {"RenameInputDims", Way::needless, kNames},
    {"RenameOutputDims", Way::needless, kNames},
    {"RenameInputs", Way::differently, kPorts},
    {"RenameOutputs", Way::differently, kPorts},
    {"ReorderInputs", Way::differently, kPorts},
    {"ReplaceAttentionMaskValue", Way::differently, "static_int8 and fp16 deal with infinite masks by themselves"},
    {"TieWordEmbeddings", Way::differently,
     "the numbers are the same; the two tables stay apart, so the file is larger by one of them"},
    {"ShareEmbeddingLmHead", Way::differently,
     "the numbers are the same; the two tables stay apart, so the file is larger by one of them"},
    {"QuantizeEmbeddingInt8", Way::embeddings, "weights_int8: op_types=Gather"},
    {"PowReduceSumPowDiv2LpNorm", Way::needless, kSame},
    {"RMSNormToL2Norm", Way::needless, kSame},
    {"SimplifiedLayerNormToRMSNorm", Way::needless, kSame},
    {"SimplifiedLayerNormToL2Norm", Way::needless, kSame},
    {"DecomposeQuickGelu", Way::needless, kSame},
    {"DecomposeRotaryEmbedding", Way::needless, kSame},
    {"RemoveGidxFromMatMulNBits", Way::needless, "hone's blocks have no group indices"},
    {"MatMulToTransposeConvTranspose", Way::needless, kQnn},
    {"Non4DModelInputs", Way::needless, kQnn},
    {"Non4DModelOutputs", Way::needless, kQnn},
    {"StandaloneReduceSum", Way::needless, kQnn},
    {"Gather", Way::needless, kQnn},
    {"GatherElements", Way::needless, kQnn},
    {"Non4DInitializers", Way::needless, kQnn},
    {"Non4DReshape", Way::needless, kQnn},
    {"Non4DExpand", Way::needless, kQnn},
    {"Non4DTranspose", Way::needless, kQnn},
    {"Non4DSlice", Way::needless, kQnn},
    {"Non4DLpNorm", Way::needless, kQnn},
    {"Flatten", Way::needless, kQnn},
    {"ReshapeReduceSum", Way::needless, kQnn},
    {"ReshapeClipReduceSum", Way::needless, kQnn},
    {"ReduceMax", Way::needless, kQnn},
    {"PackedAttentionToLoopMHA", Way::before, kBefore},
    {"PackedAttentionToPackedMHA", Way::before, kBefore},
    {"AttentionMaskToSequenceLengths", Way::before, kBefore},
    {"RemoveRopeMultiCache", Way::before, kBefore},
    {"ReplaceErfWithTanh", Way::before, kBefore},
    {"ZeroOutInput", Way::before, kBefore},
    {"RemoveInputs", Way::before, kBefore},
    {"ExposeOutputs", Way::before, kBefore},
    {"ExposeQuantizedOutput", Way::before, kBefore},
    {"AddIntermediateTensorsToOutputs", Way::before, kBefore},
    {"RemoveQDQ", Way::before, kBefore},
    {"QDQToClip", Way::before, kBefore},
    {"RemoveDeqLin", Way::before, kBefore},
};

// A rewrite that hone lacks belongs to the making of the file while nothing else was done to it.
void TellBefore(Draft& draft, const ConfigNode& node, const SurgeonRow& row) {
  if (draft.import.HasWork() || !draft.before.empty()) {
    draft.ledger.Tell(node, Fate::impossible,
                      fmt::format("{}; run Olive's GraphSurgeries pass with it on the result", row.text));
    return;
  }
  draft.import.Give(fmt::format("the ONNX file as it is after Olive's surgeon {}", row.name));
  draft.ledger.Tell(node, Fate::changed, fmt::format("{}: give the ONNX file as it is after it", row.text));
}

Result<> TakeSurgeon(Draft& draft, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map with the key 'surgeon'");
  const ConfigNode* name = node.Find("surgeon");
  if (name == nullptr) return FailAt(node, fmt::format("'{}' has no key 'surgeon'", node.path));
  TRY_ASSIGN(const std::string wanted, TextOf(*name));
  std::vector<std::string> known;
  for (const SurgeonRow& row : kSurgeons) {
    known.emplace_back(row.name);
    if (Lower(wanted) != Lower(row.name)) continue;
    switch (row.way) {
      case Way::simplify:
        if (draft.before.empty()) draft.before.emplace_back().set_pass("simplify");
        draft.ledger.Tell(node, Fate::changed, row.text);
        break;
      case Way::needless:
        draft.ledger.Tell(node, Fate::ignored, row.text);
        break;
      case Way::differently:
        draft.ledger.Tell(node, Fate::changed, row.text);
        break;
      case Way::embeddings:
        draft.pass = "weights_int8";
        draft.Set("op_types", TextValue("Gather"));
        draft.ledger.Tell(node, Fate::changed, row.text);
        break;
      case Way::before:
        TellBefore(draft, node, row);
        break;
    }
    return {};
  }
  return FailAt(*name, fmt::format("there is no surgeon '{}'{}", Printable(wanted, 100), DidYouMean(wanted, known)));
}

Result<> AsSurgeries(Draft& draft, const ConfigNode& node, const ParameterRule&) {
  if (!node.IsList()) return WrongKind(node, "a list of surgeons");
  if (node.items.empty()) draft.ledger.Tell(node, Fate::ignored, "is empty");
  for (const ConfigNode& item : node.items) TRY(TakeSurgeon(draft, item));
  return {};
}

const ParameterRules kRules = {
    {"surgeries", AsSurgeries},
    {"remove_duplicate_initializers", IgnoreBool, "", "simplify merges equal constants"},
};

}  // namespace

const ParameterRules& SurgeryRules() { return kRules; }

std::vector<std::string> SurgeonNames() {
  std::vector<std::string> names;
  for (const SurgeonRow& row : kSurgeons) names.emplace_back(row.name);
  return names;
}

}  // namespace hone::importers
