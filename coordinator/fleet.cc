#include "coordinator/fleet.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/strings.h"
#include "common/recipe/sandbox_level.h"

namespace hone {
namespace {

// Old processes of one name that may still knock; more are forgotten.
constexpr size_t kSupersededKept = 8;

void AddMissing(google::protobuf::RepeatedPtrField<std::string>* to,
                const google::protobuf::RepeatedPtrField<std::string>& from) {
  for (const auto& text : from) {
    if (std::find(to->begin(), to->end(), text) == to->end()) *to->Add() = text;
  }
}

}  // namespace

bool HasTags(const Worker& worker, const std::vector<std::string>& tags) {
  const auto& own = worker.record.tags;
  return std::all_of(tags.begin(), tags.end(), [&](const auto& tag) { return HasTag(own, tag); });
}

bool Offers(const Worker& worker, const Need& need) {
  const proto::Catalogue& catalogue = worker.record.catalogue;
  const auto has_backend = [&](const std::string& name) {
    return std::any_of(catalogue.backends().begin(), catalogue.backends().end(),
                       [&](const auto& info) { return info.name() == name; });
  };
  const auto is_pass = [&](const proto::PassInfo& info) {
    return info.name() == need.pass && info.version() == need.version;
  };
  return HasTags(worker, need.tags) && std::all_of(need.backends.begin(), need.backends.end(), has_backend) &&
         (need.pass.empty() || std::any_of(catalogue.passes().begin(), catalogue.passes().end(), is_pass));
}

void Fleet::Load(std::vector<WorkerRecord> records) {
  for (WorkerRecord& record : records) {
    Worker& worker = workers_[record.name];
    worker.record = std::move(record);
  }
}

Result<Fleet::Welcome> Fleet::Hello(WorkerRecord record, int64_t now_ms) {
  if (const auto found = sessions_.find(record.session); found != sessions_.end() && found->second != record.name) {
    return Fail(ErrorCode::kRejected,
                fmt::format("session '{}' belongs to worker '{}'", record.session, found->second));
  }
  Worker& worker = workers_[record.name];
  const bool same = worker.record.session == record.session;
  if (!same && worker.live && worker.superseded.count(record.session) > 0) {
    return Fail(ErrorCode::kConflict, fmt::format("another process works under the name '{}' since", record.name),
                "Give each worker its own --name.");
  }
  Welcome welcome;
  welcome.worker = &worker;
  welcome.replaced = !worker.record.session.empty() && !same;
  welcome.was_live = worker.live;
  if (welcome.replaced) {
    sessions_.erase(worker.record.session);
    if (worker.superseded.size() >= kSupersededKept) worker.superseded.clear();
    worker.superseded.insert(worker.record.session);
  }
  if (worker.record.first_seen_unix_ms != 0) {
    record.first_seen_unix_ms = worker.record.first_seen_unix_ms;
    record.draining = worker.record.draining;
  }
  worker.record = std::move(record);
  worker.live = true;
  worker.stopping = false;
  worker.told_draining = false;
  worker.seen_ms = now_ms;
  sessions_[worker.record.session] = worker.record.name;
  ++generation_;
  return welcome;
}

Worker* Fleet::FindName(const std::string& name) {
  const auto found = workers_.find(name);
  return found == workers_.end() ? nullptr : &found->second;
}

Worker* Fleet::FindSession(const std::string& session) {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? nullptr : FindName(found->second);
}

void Fleet::Heard(Worker& worker, int64_t now_ms, int64_t unix_ms) {
  if (!worker.live) ++generation_;
  worker.live = true;
  worker.seen_ms = now_ms;
  worker.record.last_seen_unix_ms = unix_ms;
}

void Fleet::SetStopping(Worker& worker, bool stopping) {
  if (worker.stopping != stopping) ++generation_;
  worker.stopping = stopping;
}

void Fleet::SetDraining(Worker& worker, bool draining) {
  if (worker.record.draining != draining) ++generation_;
  worker.record.draining = draining;
}

std::vector<Worker*> Fleet::TakeSilent(int64_t now_ms, int64_t lease_ms) {
  std::vector<Worker*> silent;
  for (auto& [name, worker] : workers_) {
    if (!worker.live || worker.seen_ms + lease_ms > now_ms) continue;
    worker.live = false;
    ++generation_;
    silent.push_back(&worker);
  }
  return silent;
}

void Fleet::Forgive(int64_t ms) {
  for (auto& [name, worker] : workers_) worker.seen_ms += ms;
}

std::vector<const Worker*> Fleet::Live() const { return Matching({}); }

std::vector<const Worker*> Fleet::Matching(const std::vector<std::string>& tags) const {
  std::vector<const Worker*> matching;
  for (const auto& [name, worker] : workers_) {
    if (worker.live && HasTags(worker, tags)) matching.push_back(&worker);
  }
  return matching;
}

proto::Catalogue UnionOf(const std::vector<const Worker*>& workers) {
  std::map<std::string, proto::PassInfo> passes;
  std::map<std::string, proto::BackendInfo> backends;
  std::set<std::string> tags;
  for (const Worker* worker : workers) {
    const proto::Catalogue& catalogue = worker->record.catalogue;
    for (const auto& pass : catalogue.passes()) {
      auto [found, is_new] = passes.emplace(pass.name(), pass);
      if (!is_new && pass.version() > found->second.version()) found->second = pass;
    }
    for (const auto& backend : catalogue.backends()) {
      auto [found, is_new] = backends.emplace(backend.name(), backend);
      if (is_new) continue;
      AddMissing(found->second.mutable_devices(), backend.devices());
      AddMissing(found->second.mutable_formats(), backend.formats());
    }
    tags.insert(worker->record.tags.begin(), worker->record.tags.end());
  }
  proto::Catalogue all;
  for (auto& [name, pass] : passes) *all.add_passes() = std::move(pass);
  for (auto& [name, backend] : backends) *all.add_backends() = std::move(backend);
  for (const auto& tag : tags) all.add_tags(tag);
  if (workers.size() == 1) *all.mutable_fingerprint() = workers.front()->record.catalogue.fingerprint();
  return all;
}

std::string TagsText(const std::vector<const Worker*>& workers) {
  constexpr size_t kShown = 16;
  std::vector<std::string> texts;
  for (const Worker* worker : workers) {
    if (texts.size() == kShown) {
      texts.push_back(fmt::format("and {} more workers", workers.size() - kShown));
      break;
    }
    texts.push_back(fmt::format("{} has {}", worker->record.name, Join(worker->record.tags, ", ")));
  }
  return Join(texts, "; ");
}

}  // namespace hone
