// Telling people: one alert for each change, and one when it went away.
#pragma once

#include <string>
#include <vector>

#include "client/console.h"
#include "client/nightly/history.h"
#include "client/nightly/suite.h"

namespace hone {

struct AlertEvent {
  Alert alert;
  std::string text;  // One line for people.
};

// What a night has to tell: regressions that no open alert of the same series and accepted artifact covers, and open
// alerts whose series was judged tonight without the regression (alert.open is false). Muted series are silent; a night
// that could not judge a series changes nothing.
Result<std::vector<AlertEvent>> AlertsOf(NightHistory& history, const NightRecord& night);

// hone.nightly.alert/1
Json AlertJson(const NightRecord& night, const AlertEvent& event);

// Runs the suite's hooks and remembers each alert once all of its hooks took it; one that failed is told of again the
// next night. The command gets the document's path as its last argument and in $HONE_ALERT; the webhook gets the
// document by POST (through curl). What failed, one line each.
Result<std::vector<std::string>> SendAlerts(const Suite& suite, NightHistory& history, const NightRecord& night);

}  // namespace hone
