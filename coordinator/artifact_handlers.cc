// Artifacts over the wire, and Ping.
#include <fmt/format.h>

#include <algorithm>

#include "common/base/digest.h"
#include "common/base/strings.h"
#include "coordinator/coordinator.h"

namespace hone {
namespace {

constexpr int kMaxDigests = 100'000;

}  // namespace

Result<Coordinator::Answer> Coordinator::HandlePing(const Request& request, proto::Frame* reply) {
  proto::PingReply& pong = *reply->mutable_ping_reply();
  pong.set_version(HONE_VERSION);
  pong.set_unix_ms(static_cast<uint64_t>(clock_.UnixMs()));
  pong.set_workers(static_cast<uint32_t>(fleet_.Live().size()));
  pong.set_protocol(kProtocol);
  pong.set_role(RoleName(request.identity.role));
  pong.set_disk(ballast_.Reason());
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleFindMissing(const Request& request, proto::Frame* reply) {
  const proto::FindMissing& asked = request.frame.find_missing();
  if (asked.digests_size() > kMaxDigests) {
    return Fail(ErrorCode::kRejected,
                fmt::format("{} digests at once; at most {} are taken", asked.digests_size(), kMaxDigests));
  }
  proto::FindMissingReply& missing = *reply->mutable_find_missing_reply();
  for (const std::string& digest : asked.digests()) {
    if (!IsDigest(digest)) return Fail(ErrorCode::kRejected, fmt::format("'{}' is no digest", Printable(digest, 100)));
    if (!artifacts_.Has(digest)) missing.add_digests(digest);
  }
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandlePutChunk(const Request& request, proto::Frame* reply) {
  const proto::PutChunk& chunk = request.frame.put_chunk();
  if (!artifacts_.Has(chunk.digest())) TRY(CheckRoom());
  TRY_ASSIGN(const auto state, uploads_.Append(chunk.digest(), chunk.size_bytes(), chunk.offset(), chunk.data()));
  if (state.verifying) {
    parked_uploads_.push_back({request.peer, request.frame.request(), chunk.digest()});
    return Answer::kLater;
  }
  if (state.complete) TRY(store_.NoteArtifact(chunk.digest(), chunk.size_bytes(), clock_.UnixMs()));
  reply->mutable_put_chunk_reply()->set_received_bytes(state.received_bytes);
  reply->mutable_put_chunk_reply()->set_complete(state.complete);
  return Answer::kNow;
}

Result<Coordinator::Answer> Coordinator::HandleGetChunk(const Request& request, proto::Frame* reply) {
  const proto::GetChunk& chunk = request.frame.get_chunk();
  if (!IsDigest(chunk.digest()))
    return Fail(ErrorCode::kRejected, fmt::format("'{}' is no digest", Printable(chunk.digest(), 100)));
  const uint64_t wanted = chunk.max_bytes() == 0 ? kChunkBytes : std::min<uint64_t>(chunk.max_bytes(), kChunkBytes);
  TRY_ASSIGN(const uint64_t size, artifacts_.Size(chunk.digest()));
  TRY_ASSIGN(std::string data, artifacts_.Read(chunk.digest(), chunk.offset(), wanted));
  proto::GetChunkReply& part = *reply->mutable_get_chunk_reply();
  part.set_size_bytes(size);
  part.set_offset(chunk.offset());
  part.set_data(std::move(data));
  return Answer::kNow;
}

}  // namespace hone
