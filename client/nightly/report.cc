#include "client/nightly/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "client/json_output.h"
#include "client/nightly/markup.h"
#include "client/table.h"
#include "common/base/strings.h"
#include "common/statistics/change_points.h"

namespace hone {
namespace {

constexpr NightVerdict kVerdicts[] = {NightVerdict::regression,   NightVerdict::error,       NightVerdict::environment,
                                      NightVerdict::inconclusive, NightVerdict::improvement, NightVerdict::equivalent};

Json KeyJson(const SeriesKey& key) {
  return {{"model", key.model},   {"target", key.target},           {"metric", key.metric},
          {"recipe", key.recipe}, {"fingerprint", key.fingerprint}, {"runtime", key.runtime}};
}

Json ResultJson(const SeriesResult& result) {
  const Judgement& judgement = result.judgement;
  Json json = KeyJson(result.key);
  json["verdict"] = NameOf(judgement.verdict);
  json["reason"] = result.reason.empty() ? Json(nullptr) : Json(result.reason);
  json["effect"] = judgement.effect;
  json["effect_is"] = result.absolute ? "difference" : "share";
  json["ci99"] = {judgement.interval.low, judgement.interval.high};
  json["pairs"] = judgement.pairs;
  json["smallest_effect"] = NumberOrNull(judgement.smallest_effect);
  json["p"] = judgement.p;
  json["threshold"] = result.threshold;
  json["confirmed"] = result.confirmed;
  json["muted"] = result.muted ? Json(result.mute_reason) : Json(nullptr);
  json["worker"] = result.worker;
  json["accepted"] = {
      {"artifact", result.accepted}, {"median", result.accepted_median}, {"samples", result.accepted_samples}};
  json["tonight"] = {
      {"artifact", result.tonight}, {"median", result.tonight_median}, {"samples", result.tonight_samples}};
  return json;
}

// Text of XML: what XML 1.0 cannot hold becomes '?'.
std::string Xml(std::string_view text) {
  std::string safe;
  for (const char c : EscapeMarkup(ToUtf8(text))) {
    if (c == '\n') {
      safe += "&#10;";
    } else {
      safe += static_cast<unsigned char>(c) < 0x20 && c != '\t' ? '?' : c;
    }
  }
  return safe;
}

// What JUnit calls each verdict; nullptr: passed.
const char* JUnitElement(const SeriesResult& result) {
  if (result.muted) return "skipped";
  switch (result.judgement.verdict) {
    case NightVerdict::regression:
      return "failure";
    case NightVerdict::error:
      return "error";
    case NightVerdict::inconclusive:
    case NightVerdict::environment:
      return "skipped";
    case NightVerdict::improvement:
    case NightVerdict::equivalent:
      break;
  }
  return nullptr;
}

std::string Summary(const SeriesResult& result) {
  std::string text(NameOf(result.judgement.verdict));
  if (result.judgement.pairs > 0)
    text += fmt::format(": {} ({})", EffectText(result.judgement.effect, result.absolute), EvidenceText(result));
  if (!result.reason.empty()) text += ": " + result.reason;
  if (result.muted) text += fmt::format(" [muted{}]", result.mute_reason.empty() ? "" : ": " + result.mute_reason);
  return text;
}

std::string JUnitCase(const SeriesResult& result, const NightRecord& night) {
  const std::string suite = fmt::format("{}.{}.{}", night.suite, result.key.model, result.key.target);
  std::string xml =
      fmt::format("    <testcase name=\"{}\" classname=\"{}\" time=\"0\">", Xml(result.key.metric), Xml(suite));
  if (const char* element = JUnitElement(result); element != nullptr) {
    const bool typed = std::string_view(element) != "skipped";
    const std::string type = typed ? fmt::format(" type=\"{}\"", NameOf(result.judgement.verdict)) : "";
    xml += fmt::format("<{0}{1} message=\"{2}\"/>", element, type, Xml(Summary(result)));
  }
  return xml + "</testcase>\n";
}

// What people read below the cases; the strictest of the schemas has no place for text in a case that passed.
std::string JUnitOutput(const std::vector<const SeriesResult*>& results) {
  std::string text;
  for (const SeriesResult* result : results) {
    text += fmt::format("{}: {}; accepted {} ({}), tonight {} ({}); {}, {}\n", result->key.metric, Summary(*result),
                        HumanNumber(result->accepted_median), result->accepted, HumanNumber(result->tonight_median),
                        result->tonight, result->key.runtime, result->worker);
  }
  return Xml(text);
}

std::string JUnitSuite(const std::vector<const SeriesResult*>& results, const NightReport& report, size_t number) {
  const NightRecord& night = report.night;
  const auto count = [&](std::string_view wanted) {
    return std::count_if(results.begin(), results.end(), [&](const SeriesResult* result) {
      const char* element = JUnitElement(*result);
      return element != nullptr && element == wanted;
    });
  };
  const std::string when = TimeJson(static_cast<uint64_t>(night.started_unix_ms)).get<std::string>().substr(0, 19);
  std::string xml = fmt::format(
      "  <testsuite name=\"{}\" package=\"{}\" id=\"{}\" timestamp=\"{}\" hostname=\"{}\" tests=\"{}\" failures=\"{}\" "
      "errors=\"{}\" "
      "skipped=\"{}\" time=\"{:.3f}\">\n    <properties>\n",
      Xml(results[0]->key.model + " on " + results[0]->key.target), Xml(night.suite), number, when,
      Xml(results[0]->worker.empty() ? "none" : results[0]->worker), results.size(), count("failure"), count("error"),
      count("skipped"), static_cast<double>(night.finished_unix_ms - night.started_unix_ms) / 1000);
  const auto property = [&](const std::string& name, const std::string& value) {
    xml += fmt::format("      <property name=\"{}\" value=\"{}\"/>\n", Xml(name), Xml(value));
  };
  property("night", night.id);
  property("false_alarms", ControlText(report.control));
  for (const SeriesResult* result : results) {
    const std::string metric = result->key.metric;
    property(metric + ".effect", fmt::format("{:.6g}", result->judgement.effect));
    property(metric + ".ci99",
             fmt::format("{:.6g} {:.6g}", result->judgement.interval.low, result->judgement.interval.high));
    property(metric + ".pairs", std::to_string(result->judgement.pairs));
    property(metric + ".smallest_effect", fmt::format("{:.6g}", result->judgement.smallest_effect));
  }
  xml += "    </properties>\n";
  for (const SeriesResult* result : results) xml += JUnitCase(*result, night);
  return xml +
         fmt::format("    <system-out>{}</system-out>\n    <system-err/>\n  </testsuite>\n", JUnitOutput(results));
}

// Text of a Markdown table's cell.
std::string Cell(std::string_view text) { return MarkdownCell(Printable(text, 500)); }

}  // namespace

std::vector<size_t> LevelChanges(const std::vector<HistoryPoint>& points) {
  std::vector<EffectAgainst> effects;
  for (const HistoryPoint& point : points) effects.push_back({point.accepted, point.effect});
  return LevelChanges(effects);
}

std::string EffectText(double effect, bool absolute) {
  if (!std::isfinite(effect)) return "any";
  return absolute ? fmt::format("{:+.4g}", effect) : fmt::format("{:+.1f} %", effect * 100);
}

std::string EvidenceText(const SeriesResult& result) {
  const Judgement& judgement = result.judgement;
  if (result.exact) return fmt::format("exact; threshold {}", EffectText(result.threshold, result.absolute));
  return fmt::format(
      "{} to {}; {} pairs; would have seen {}", EffectText(judgement.interval.low, result.absolute),
      EffectText(judgement.interval.high, result.absolute), judgement.pairs,
      std::isfinite(judgement.smallest_effect) ? EffectText(judgement.smallest_effect, result.absolute) : "nothing");
}

std::string CountsText(const NightRecord& night) {
  std::vector<std::string> parts;
  for (const NightVerdict verdict : kVerdicts) {
    const auto is = [&](const SeriesResult& result) { return result.judgement.verdict == verdict; };
    if (const auto n = std::count_if(night.results.begin(), night.results.end(), is); n > 0)
      parts.push_back(fmt::format("{} {}", n, NameOf(verdict)));
  }
  return parts.empty() ? "nothing was measured" : Join(parts, ", ");
}

std::string ControlText(const AlarmRate& control) {
  if (control.comparisons == 0) return "no artifact was compared with itself yet";
  return fmt::format("{} of {} comparisons of an artifact with itself alarmed (95 %: {:.2g} to {:.2g} %)",
                     control.alarms, control.comparisons, control.interval.low * 100, control.interval.high * 100);
}

std::string NightText(const NightReport& report, size_t width) {
  Table table(
      {{"model"}, {"target"}, {"metric"}, {"verdict"}, {"effect", Align::right}, {"evidence", Align::left, true}});
  for (const SeriesResult& result : report.night.results) {
    const bool has_figures = result.judgement.pairs > 0;
    const std::string evidence = has_figures ? EvidenceText(result) : "";
    table.Row({result.key.model, result.key.target, result.key.metric,
               std::string(NameOf(result.judgement.verdict)) + (result.muted ? " (muted)" : ""),
               has_figures ? EffectText(result.judgement.effect, result.absolute) : "",
               evidence + (evidence.empty() || result.reason.empty() ? "" : "; ") + Printable(result.reason)});
  }
  return fmt::format("{}\nnight {} of {}: {}\n{}\n", table.Text(width), report.night.id, report.night.suite,
                     CountsText(report.night), ControlText(report.control));
}

Json NightJson(const NightReport& report) {
  const NightRecord& night = report.night;
  Json results = Json::array();
  for (const SeriesResult& result : night.results) results.push_back(ResultJson(result));
  Json controls = Json::array();
  for (const ControlResult& control : night.controls) {
    controls.push_back({{"model", control.model},
                        {"target", control.target},
                        {"metric", control.metric},
                        {"alarm", control.alarm},
                        {"effect", control.effect},
                        {"pairs", control.pairs}});
  }
  Json machines = Json::array();
  for (const MachineHealth& machine : night.health) {
    machines.push_back({{"target", machine.target},
                        {"worker", machine.worker},
                        {"fingerprint", machine.fingerprint},
                        {"launches", machine.launches},
                        {"disturbed", machine.disturbed},
                        {"canary_ms", machine.canary_ms > 0 ? Json(machine.canary_ms) : Json(nullptr)},
                        {"notes", machine.notes}});
  }
  return {{"schema", "hone.nightly/1"},
          {"suite", night.suite},
          {"night", night.id},
          {"started", TimeJson(static_cast<uint64_t>(night.started_unix_ms))},
          {"finished", TimeJson(static_cast<uint64_t>(night.finished_unix_ms))},
          {"exit_code", night.exit_code},
          {"results", results},
          {"control",
           {{"comparisons", report.control.comparisons},
            {"alarms", report.control.alarms},
            {"rate", report.control.rate},
            {"ci95", {report.control.interval.low, report.control.interval.high}},
            {"tonight", controls}}},
          {"machines", machines}};
}

std::string JUnitXml(const NightReport& report) {
  std::map<std::pair<std::string, std::string>, std::vector<const SeriesResult*>> suites;
  for (const SeriesResult& result : report.night.results)
    suites[{result.key.model, result.key.target}].push_back(&result);
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  size_t number = 0;
  for (const auto& [key, results] : suites) xml += JUnitSuite(results, report, number++);
  return xml + "</testsuites>\n";
}

std::string NightMarkdown(const NightReport& report) {
  const NightRecord& night = report.night;
  std::string text = fmt::format(
      "### {}: {}\n\n| model | target | metric | verdict | effect | evidence |\n|---|---|---|---|---|---|\n",
      Cell(night.suite), CountsText(night));
  for (const NightVerdict verdict : kVerdicts) {
    for (const SeriesResult& result : night.results) {
      if (result.judgement.verdict != verdict) continue;
      const bool bad = verdict == NightVerdict::regression && !result.muted;
      const bool has_figures = result.judgement.pairs > 0;
      text += fmt::format("| {} | {} | {} | {}{}{}{} | {} | {}{}{} |\n", Cell(result.key.model),
                          Cell(result.key.target), Cell(result.key.metric), bad ? "**" : "", NameOf(verdict),
                          bad ? "**" : "", result.muted ? " (muted)" : "",
                          has_figures ? EffectText(result.judgement.effect, result.absolute) : "",
                          has_figures ? EvidenceText(result) : "", has_figures && !result.reason.empty() ? "; " : "",
                          Cell(result.reason));
    }
  }
  text += fmt::format("\nNight {}. {}.\n", night.id, ControlText(report.control));
  for (const MachineHealth& machine : night.health) {
    if (machine.disturbed == 0 && machine.notes.empty()) continue;
    text += fmt::format("{}: {} of {} launches were disturbed and repeated ({}).\n",
                        Cell(machine.worker.empty() ? machine.target : machine.worker), machine.disturbed,
                        machine.launches, Cell(Join(machine.notes, "; ")));
  }
  return text;
}

}  // namespace hone
