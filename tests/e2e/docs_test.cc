// The documents tell what the programs do now.
#include <gtest/gtest.h>

#include "tests/support/programs.h"

namespace hone::test {
namespace {

std::string Text(const std::string& path) {
  std::ifstream file(fs::path(HONE_SOURCE_DIR) / path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(DocsTest, EveryPassAndParameterIsDocumented) {
  const std::string page = Text("docs/passes.md");
  const auto passes = Hone({"passes", "--json"}).json().at("passes").get<std::vector<nlohmann::json>>();
  EXPECT_GE(passes.size(), 9U);
  for (const auto& pass : passes) {
    EXPECT_NE(page.find("### " + pass.at("name").get<std::string>()), std::string::npos) << pass.at("name");
    for (const auto& parameter : pass.at("parameters")) {
      EXPECT_NE(page.find("| `" + parameter.at("name").get<std::string>() + "` |"), std::string::npos)
          << pass.at("name") << parameter.at("name");
      EXPECT_NE(page.find(parameter.at("help").get<std::string>().substr(0, 20)), std::string::npos)
          << pass.at("name") << parameter.at("name");
    }
  }
}

TEST(DocsTest, EveryBackendSettingIsDocumented) {
  const std::string page = Text("docs/passes.md");
  const auto backends = Hone({"backends", "--json"}).json().at("backends").get<std::vector<nlohmann::json>>();
  for (const auto& backend : backends) {
    for (const auto& setting : backend.at("settings")) {
      EXPECT_NE(page.find("| `" + setting.at("name").get<std::string>() + "` |"), std::string::npos)
          << backend.at("name") << setting.at("name");
    }
  }
}

}  // namespace
}  // namespace hone::test
