#include "coordinator/http/nightly.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "common/base/strings.h"
#include "common/sqlite/database.h"
#include "common/statistics/change_points.h"

namespace hone {
namespace {

// Nights of one series, the newest: years of them.
constexpr size_t kMostNights = 2000;

struct Point {
  std::string night, verdict, accepted;
  int64_t unix_ms = 0;
  double effect = 0, low = 0, high = 0, accepted_median = 0, tonight_median = 0;
};

struct Series {
  std::vector<Point> points;  // Oldest first.
  double threshold = 0;       // Of the newest, this and the next.
  bool absolute = false;
};

// Nights that begin another level.
Json ChangesJson(const std::vector<Point>& points) {
  std::vector<EffectAgainst> effects;
  for (const Point& point : points) effects.push_back({point.accepted, point.effect});
  Json changes = Json::array();
  for (const size_t change : LevelChanges(effects)) changes.push_back(points[change].night);
  return changes;
}

Json PointsJson(const std::vector<Point>& points) {
  Json nights = Json::array();
  for (const Point& point : points) {
    nights.push_back({{"night", point.night},
                      {"time", TimeJson(static_cast<uint64_t>(point.unix_ms))},
                      {"verdict", point.verdict},
                      {"effect", NumberOrNull(point.effect)},
                      {"ci99", {NumberOrNull(point.low), NumberOrNull(point.high)}},
                      {"accepted", point.accepted},
                      {"accepted_median", NumberOrNull(point.accepted_median)},
                      {"tonight_median", NumberOrNull(point.tonight_median)}});
  }
  return nights;
}

using SeriesName = std::vector<std::string>;  // model, target, metric, recipe, fingerprint, runtime

Result<std::map<SeriesName, Series>> ReadSeries(Database& database, const std::string& suite) {
  std::map<SeriesName, Series> all;
  TRY(database.Each(
      "SELECT model, target, metric, recipe, fingerprint, runtime, n.night, n.started_unix_ms, accepted, verdict, "
      "effect, low, high, "
      "accepted_median, tonight_median, threshold, absolute FROM results JOIN nights n USING (night) "
      "WHERE n.suite = ? AND fingerprint <> '' ORDER BY n.started_unix_ms, n.night",
      [&](const Row& row) {
        SeriesName name;
        for (int i = 0; i < 6; ++i) name.push_back(row.Text(i));
        Series& series = all[name];
        series.points.push_back({row.Text(6), row.Text(9), row.Text(8), row.Int(7), row.Real(10), row.Real(11),
                                 row.Real(12), row.Real(13), row.Real(14)});
        series.threshold = row.Real(15);
        series.absolute = row.Int(16) != 0;
      },
      suite));
  for (auto& [name, series] : all) {
    if (series.points.size() > kMostNights)
      series.points.erase(series.points.begin(), series.points.end() - kMostNights);
  }
  return all;
}

Result<Json> AnnotationsJson(Database& database, const std::string& suite) {
  Json list = Json::array();
  TRY(database.Each(
      "SELECT unix_ms, model, target, metric, text, author, link FROM annotations WHERE suite = ? ORDER BY unix_ms",
      [&](const Row& row) {
        list.push_back({{"time", TimeJson(row.Unsigned(0))},
                        {"model", TextOrNull(row.Text(1))},
                        {"target", TextOrNull(row.Text(2))},
                        {"metric", TextOrNull(row.Text(3))},
                        {"text", row.Text(4)},
                        {"author", TextOrNull(row.Text(5))},
                        {"link", TextOrNull(row.Text(6))}});
      },
      suite));
  return list;
}

Result<Json> VerdictsJson(Database& database, const std::string& night) {
  Json verdicts = Json::object();
  TRY(database.Each(
      "SELECT verdict, COUNT(*) FROM results WHERE night = ? GROUP BY verdict ORDER BY verdict",
      [&](const Row& row) { verdicts[row.Text(0)] = row.Int(1); }, night));
  return verdicts;
}

}  // namespace

Result<Json> NightlySuitesJson(const std::filesystem::path& file) {
  Json suites = Json::array();
  if (file.empty()) return Json{{"schema", "hone.nightly.suites/1"}, {"suites", suites}};
  TRY_ASSIGN(Database database, Database::OpenToRead(file));
  TRY(
      database.Each("SELECT suite, COUNT(*), night, MAX(started_unix_ms), finished_unix_ms, exit_code FROM nights "
                    "GROUP BY suite ORDER BY suite",
                    [&](const Row& row) {
                      suites.push_back({{"suite", row.Text(0)},
                                        {"nights", row.Int(1)},
                                        {"last",
                                         {{"night", row.Text(2)},
                                          {"started", TimeJson(row.Unsigned(3))},
                                          {"finished", TimeJson(row.Unsigned(4))},
                                          {"exit_code", row.Int(5)}}}});
                    }));
  for (Json& suite : suites) {
    TRY_ASSIGN(suite["last"]["verdicts"], VerdictsJson(database, suite["last"]["night"].get<std::string>()));
  }
  return Json{{"schema", "hone.nightly.suites/1"}, {"suites", suites}};
}

Result<Json> NightlyHistoryJson(const std::filesystem::path& file, const std::string& suite) {
  const auto unknown = [&] {
    return Fail(ErrorCode::kNotFound, fmt::format("no night of a suite '{}' is known", Printable(suite, 200)),
                "GET /api/v1/nightly lists them.");
  };
  if (file.empty()) return unknown();
  TRY_ASSIGN(Database database, Database::OpenToRead(file));
  TRY_ASSIGN(const auto all, ReadSeries(database, suite));
  if (all.empty()) return unknown();
  Json list = Json::array();
  for (const auto& [name, series] : all) {
    list.push_back({{"model", name[0]},
                    {"target", name[1]},
                    {"metric", name[2]},
                    {"recipe", name[3]},
                    {"fingerprint", name[4]},
                    {"runtime", name[5]},
                    {"effect_is", series.absolute ? "difference" : "share"},
                    {"threshold", NumberOrNull(series.threshold)},
                    {"changes", ChangesJson(series.points)},
                    {"nights", PointsJson(series.points)}});
  }
  TRY_ASSIGN(const Json annotations, AnnotationsJson(database, suite));
  return Json{{"schema", "hone.nightly.history/1"}, {"suite", suite}, {"series", list}, {"annotations", annotations}};
}

}  // namespace hone
