// Olive's graph surgeons and what becomes of each: one row a surgeon.
#include <fmt/format.h>

#include <algorithm>

#include "client/importers/olive_parts.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::importers {
namespace {

enum class Way {
  surgery,      // graph_surgeries has the surgeon under the same name.
  input_dims,   // The same, with a dimension's place and name behind it.
  output_dims,
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

constexpr const char* kSurgery = "graph_surgeries";
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
    {"GemmToMatMulAdd", Way::surgery, kSurgery},
    {"MatMulAddToGemm", Way::surgery, kSurgery},
    {"ReciprocalMulToDiv", Way::surgery, kSurgery},
    {"RemoveMemcpy", Way::surgery, kSurgery},
    {"RenameInputDims", Way::input_dims, kNames},
    {"RenameOutputDims", Way::output_dims, kNames},
    {"RenameInputs", Way::differently, kPorts},
    {"RenameOutputs", Way::differently, kPorts},
    {"ReorderInputs", Way::differently, kPorts},
    {"ReplaceAttentionMaskValue", Way::differently, "static_int8 and fp16 deal with infinite masks by themselves"},
    {"TieWordEmbeddings", Way::surgery, kSurgery},
    {"ShareEmbeddingLmHead", Way::surgery, kSurgery},
    {"QuantizeEmbeddingInt8", Way::embeddings, "weights_int8: op_types=Gather"},
    {"PowReduceSumPowDiv2LpNorm", Way::surgery, kSurgery},
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
    {"PackedAttentionToLoopMHA", Way::surgery, kSurgery},
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

// "RenameInputDims:0.1>sequence"; "" where the place is told in another way or the name cannot be written so.
Result<std::string> DimensionWords(const SurgeonRow& row, const ConfigNode& node) {
  const ConfigNode* port = node.Find(row.way == Way::input_dims ? "input_idx" : "output_idx");
  const ConfigNode* dimension = node.Find("dim_idx");
  const ConfigNode* name = node.Find("dim_name");
  if (port == nullptr || port->IsNull() || dimension == nullptr || name == nullptr) return std::string();
  TRY_ASSIGN(const int64_t place, IntOf(*port, 0, 10'000));
  TRY_ASSIGN(const int64_t axis, IntOf(*dimension, 0, 100));
  TRY_ASSIGN(const std::string text, TextOf(*name));
  if (text.empty() || text.find_first_of("+:>,") != std::string::npos) return std::string();
  return fmt::format("{}:{}.{}>{}", row.name, place, axis, text);
}

// 8-bit tables belong to the pass that makes the other weights' blocks, where one stands before.
bool QuantizeEmbeddingsBefore(Draft& draft) {
  proto::Stage* stage = draft.import.WeightStage();
  if (stage == nullptr) return false;
  const auto blocks = [](const proto::PassChoice& option) {
    const auto& list = option.parameters();
    const bool is_bnb4 = std::any_of(list.begin(), list.end(), [](const proto::Domain& domain) {
      return domain.name() == "form" && domain.choices_size() == 1 && domain.choices(0).text() == "bnb4";
    });
    return option.pass() == "weights_int4" && !is_bnb4;
  };
  if (!std::all_of(stage->options().begin(), stage->options().end(), blocks)) return false;
  for (proto::PassChoice& option : *stage->mutable_options()) SetChoice(option, "embeddings", TextValue("int8"));
  return true;
}

// The surgeons of graph_surgeries that were named since the last other pass.
struct Surgeries {
  std::vector<std::string> words;

  void Flush(std::vector<proto::PassChoice>& into) {
    if (words.empty()) return;
    SetChoice(into.emplace_back(), "surgeries", TextValue(Join(words, "+")));
    into.back().set_pass("graph_surgeries");
    words.clear();
  }
};

Result<> TakeSurgeon(Draft& draft, Surgeries& surgeries, const ConfigNode& node) {
  if (!node.IsMap()) return WrongKind(node, "a map with the key 'surgeon'");
  const ConfigNode* name = node.Find("surgeon");
  if (name == nullptr) return FailAt(node, fmt::format("'{}' has no key 'surgeon'", node.path));
  TRY_ASSIGN(const std::string wanted, TextOf(*name));
  std::vector<std::string> known;
  for (const SurgeonRow& row : kSurgeons) {
    known.emplace_back(row.name);
    if (Lower(wanted) != Lower(row.name)) continue;
    switch (row.way) {
      case Way::surgery:
        surgeries.words.emplace_back(row.name);
        draft.ledger.Tell(node, Fate::done, row.text);
        break;
      case Way::input_dims:
      case Way::output_dims: {
        TRY_ASSIGN(const std::string words, DimensionWords(row, node));
        if (!words.empty()) surgeries.words.push_back(words);
        draft.ledger.Tell(node, words.empty() ? Fate::ignored : Fate::done, words.empty() ? row.text : kSurgery);
        break;
      }
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
        if (QuantizeEmbeddingsBefore(draft)) {
          draft.ledger.Tell(node, Fate::changed, "weights_int4: embeddings=int8");
          break;
        }
        surgeries.Flush(draft.before);
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
  Surgeries surgeries;
  for (const ConfigNode& item : node.items) TRY(TakeSurgeon(draft, surgeries, item));
  surgeries.Flush(draft.pass.empty() ? draft.before : draft.after);
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
