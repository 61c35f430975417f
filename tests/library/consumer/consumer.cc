// Submits a search, follows it, fetches the best model; then quantizes and measures one here.
//   consumer COORDINATOR MODEL RECIPE OUT
#include <hone/hone.h>

#include <cstdio>

namespace {

int Tell(const hone::sdk::Error& error) {
  std::fprintf(stderr, "%s\n%s\n", error.message.c_str(), error.remedy.c_str());
  return error.code;
}

int Search(const char* coordinator, const char* model, const char* recipe, const char* out) {
  auto session = hone::sdk::Session::Connect({coordinator, ""});
  if (!session) return Tell(session.error());
  hone::sdk::Submission submission;
  submission.model = model;
  submission.recipe = recipe;
  const auto job = session.value().Submit(submission);
  if (!job) return Tell(job.error());
  int events = 0;
  const auto done = session.value().Watch(job.value(), [&events](const hone::sdk::Event&) { return ++events > 0; });
  if (!done) return Tell(done.error());
  const auto path = session.value().Get(job.value(), out);
  if (!path) return Tell(path.error());
  std::printf("state=%s events=%d trials=%zu path=%s\n", done.value().state.c_str(), events,
              session.value().Trials(job.value()).value().size(), path.value().c_str());
  // What is not there is an answer with its code, not an exception.
  return session.value().Status(job.value() + 1000).error().code == 8 ? 0 : 1;
}

int Local(const char* model, const std::string& out) {
  const auto quantized = hone::sdk::Quantize(model, {"dynamic_int8"}, out + "/int8.onnx");
  if (!quantized) return Tell(quantized.error());
  const auto measured = hone::sdk::Benchmark(quantized.value().path, model, "", {"--pairs", "2", "--launches", "1"});
  if (!measured) return Tell(measured.error());
  std::printf("metrics=%zu verdict=%s\n", measured.value().metrics.size(), measured.value().verdict.c_str());
  return measured.value().metrics.empty() || !measured.value().speedup ? 1 : 0;
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) return 2;
  const int searched = Search(words[1], words[2], words[3], words[4]);
  return searched != 0 ? searched : Local(words[2], words[4]);
}
