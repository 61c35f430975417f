// A night as people and machines read it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/console.h"
#include "client/nightly/record.h"

namespace hone {

struct NightReport {
  NightRecord night;
  std::map<SeriesKey, std::vector<HistoryPoint>> history;  // Up to that night.
  std::vector<Annotation> annotations;
  AlarmRate control;  // Of all nights.
};

// Indexes of points where the level of the ratios to the accepted artifact changed (E-divisive); accepting another
// artifact begins anew.
std::vector<size_t> LevelChanges(const std::vector<HistoryPoint>& points);

// "+3.1 %", or of a difference "+0.0012".
std::string EffectText(double effect, bool absolute);
// "1.9 % to 4.2 %; 40 pairs; would have seen +2.4 %".
std::string EvidenceText(const SeriesResult& result);
// "1 regression, 11 equivalent".
std::string CountsText(const NightRecord& night);
// "0 of 48 comparisons of an artifact with itself alarmed (95 %: 0 to 7.4 %)".
std::string ControlText(const AlarmRate& control);

std::string NightText(const NightReport& report, size_t width);  // For a terminal.
Json NightJson(const NightReport& report);                       // hone.nightly/1, with raw samples.
std::string JUnitXml(const NightReport& report);                 // Suite: model and target; case: metric.
std::string NightMarkdown(const NightReport& report);            // For a pull request.
std::string NightHtml(const NightReport& report);                // One page that needs nothing else.

}  // namespace hone
