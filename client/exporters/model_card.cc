#include "client/exporters/model_card.h"

#include <fmt/format.h>

#include <set>

#include "client/text_output.h"
#include "common/artifact/bundle.h"
#include "common/base/strings.h"
#include "common/recipe/value.h"

namespace hone::exporters {
namespace {

// A cell of a table: no pipes, one line.
std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : Printable(text, 500)) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

std::string ShapeOf(const proto::TensorInfo& tensor) {
  return "[" + Join(std::vector<std::string>(tensor.dims().begin(), tensor.dims().end()), ", ") + "]";
}

std::string PortsText(const proto::InspectResult& info) {
  std::string text = "| | name | type | shape |\n|---|---|---|---|\n";
  for (const proto::TensorInfo& input : info.inputs())
    text += fmt::format("| input | `{}` | {} | {} |\n", Cell(input.name()), input.type(), Cell(ShapeOf(input)));
  for (const proto::TensorInfo& output : info.outputs())
    text += fmt::format("| output | `{}` | {} | {} |\n", Cell(output.name()), output.type(), Cell(ShapeOf(output)));
  return text;
}

std::string StepsText(const proto::GetOriginReply& origin) {
  if (origin.steps_size() == 0) return "Nothing: these are the bytes of the original.\n";
  std::string text;
  int number = 0;
  for (const auto& step : origin.steps()) {
    const std::string params = CanonicalParameters(step.step().parameters());
    text += fmt::format("{}. `{}`{} (version {}{})", ++number, step.step().pass(),
                        params == "{}" ? "" : " with `" + Cell(params) + "`", step.version(),
                        step.program_version().empty() ? "" : ", " + Cell(step.program_version()));
    text += step.has_model() ? fmt::format(": `{}`\n", BundleId(step.model())) : "\n";
  }
  for (const std::string& note : origin.trial().notes()) text += fmt::format("- {}\n", Printable(note, 500));
  return text;
}

std::string IntervalText(const proto::Metric* metric, std::string_view name) {
  if (metric == nullptr) return "-";
  std::string text = MetricText(name, metric);
  if (metric->has_low() && metric->has_high())
    text += fmt::format(" [{}, {}]", HumanNumber(metric->low()), HumanNumber(metric->high()));
  if (metric->samples() > 0) text += fmt::format(", n={}", metric->samples());
  return text;
}

std::string FiguresText(const proto::GetOriginReply& origin) {
  const proto::TrialSummary& trial = origin.trial();
  if (trial.metrics_size() == 0) return "Not measured.\n";
  std::set<std::string> names;
  for (const proto::Metric& metric : trial.metrics()) names.insert(metric.name());
  std::string text = "| metric | this model | the original |\n|---|---|---|\n";
  for (const std::string& name : names) {
    text += fmt::format("| {} | {} | {} |\n", name, IntervalText(FindMetric(trial.metrics(), name), name),
                        IntervalText(FindMetric(origin.baseline().metrics(), name), name));
  }
  if (trial.has_speedup()) {
    text += fmt::format("\nSpeed-up over the original, measured in turns: {}.\n", SpeedupText(trial));
  }
  return text + "Brackets are 99 % intervals, n counts samples.\n";
}

std::string MachineText(const proto::GetOriginReply& origin) {
  if (!origin.has_fingerprint()) return "Unknown.\n";
  const proto::Fingerprint& machine = origin.fingerprint();
  std::string text = fmt::format("{}, {} cores allowed, {} of memory, governor {}, kernel {}.\n", machine.cpu_model(),
                                 machine.cores_allowed(), HumanBytes(machine.memory_bytes()),
                                 machine.governor().empty() ? "not told" : machine.governor(), machine.kernel());
  std::vector<std::string> versions;
  for (const proto::Parameter& version : machine.versions())
    versions.push_back(version.name() + " " + ToText(version.value()));
  return text + fmt::format("Versions: {}. Fingerprint: `{}`.\n", Join(versions, ", "), machine.digest());
}

std::string DigestsText(const Exported& exported) {
  std::string text = "| file | SHA-256 | bytes |\n|---|---|---|\n";
  for (const proto::File& file : exported.model.bundle().files()) {
    text += fmt::format("| `{}` | `{}` | {} |\n", Cell(file.path()), file.digest(), file.size_bytes());
  }
  return text;
}

}  // namespace

std::string ModelCard(const Exported& exported, const std::string& format, const Notes& notes) {
  std::string text = fmt::format("# {}\n\nMade by hone from `{}`, laid out for {}. It is meant for {}", exported.name,
                                 Cell(exported.source_name), format, exported.backend);
  text += fmt::format(" with {}.\n\n## Inputs and outputs\n\n{}\n", SettingsText(exported.settings),
                      PortsText(exported.info));
  if (exported.origin) {
    text += fmt::format("## What was done\n\n{}\n## Figures\n\n{}\n## Machine\n\n{}\n", StepsText(*exported.origin),
                        FiguresText(*exported.origin), MachineText(*exported.origin));
  } else {
    text +=
        "## What was done\n\nThe file was exported as it is; its manifest tells the steps that made it where they are "
        "known. It was not measured.\n\n";
  }
  if (!notes.empty()) {
    text += "## To know\n\n";
    for (const std::string& note : notes) text += fmt::format("- {}\n", note);
    text += "\n";
  }
  text += fmt::format("## Digests\n\nUnder their names before the export:\n\n{}\n", DigestsText(exported));
  text += "`hone reproduce hone.manifest.json` makes the same bytes again and checks every digest on the way.\n\n";
  text += fmt::format("## Licence\n\n{}\n",
                      exported.license.empty()
                          ? "Not stated. That of the original model and of the data it was made with applies."
                          : exported.license);
  return text;
}

}  // namespace hone::exporters
