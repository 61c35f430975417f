#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/recipe/value.h"
#include "tests/agent/fake_coordinator.h"
#include "worker/cgroup.h"
#include "worker/fingerprint.h"
#include "worker/supervisor/artifact_cache.h"
#include "worker/supervisor/data_folder.h"
#include "worker/supervisor/spool.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;

class PartsTest : public testing::Test {
 protected:
  PartsTest() : folder_(ScopedFolder::Make(fs::temp_directory_path(), "parts-").value()) {}
  fs::path Path(const std::string& name) const { return folder_.path() / name; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(Path(name).parent_path());
    std::ofstream(Path(name)) << text;
  }
  // Makes a file look last used so many seconds after 1970.
  void UsedAt(const fs::path& path, time_t seconds) const {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  ScopedFolder folder_;
};

proto::Report ReportOf(uint64_t lease) {
  proto::Report report;
  report.set_lease(lease);
  report.set_outcome(proto::Report::DONE);
  return report;
}

// --- spool
// ---------------------------------------------------------------------------------------------------------------------

using SpoolTest = PartsTest;

TEST_F(SpoolTest, WhatWasKeptIsThereAfterAReopenUntilForgotten) {
  {
    Spool spool = Spool::Open(Path("spool")).value();
    ASSERT_TRUE(spool.Keep(ReportOf(1)));
    ASSERT_TRUE(spool.Keep(ReportOf(2)));
    spool.Forget(1);
  }
  const Spool spool = Spool::Open(Path("spool")).value();
  EXPECT_FALSE(spool.Holds(1));
  ASSERT_TRUE(spool.Holds(2));
  EXPECT_EQ(spool.reports().at(2).outcome(), proto::Report::DONE);
}

TEST_F(SpoolTest, DamagedReportIsSetAside) {
  {
    Spool spool = Spool::Open(Path("spool")).value();
    ASSERT_TRUE(spool.Keep(ReportOf(1)));
  }
  Write("spool/7.pb", "\xff\xff");
  Write("spool/8.pb", ReportOf(9).SerializeAsString());
  const Spool spool = Spool::Open(Path("spool")).value();
  EXPECT_EQ(spool.reports().size(), 1u);
  EXPECT_TRUE(fs::exists(Path("spool/7.pb.bad")));
  EXPECT_TRUE(fs::exists(Path("spool/8.pb.bad")));
}

// --- data folder
// ---------------------------------------------------------------------------------------------------------------

using DataFolderTest = PartsTest;

TEST_F(DataFolderTest, SecondUserIsToldWhoHasIt) {
  const auto first = DataFolder::Open(Path("data"));
  ASSERT_TRUE(first);
  const auto second = DataFolder::Open(Path("data"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(getpid())));
}

TEST_F(DataFolderTest, LockOfADeadUserIsFree) {
  { ASSERT_TRUE(DataFolder::Open(Path("data"))); }
  EXPECT_TRUE(DataFolder::Open(Path("data")));
}

TEST_F(DataFolderTest, NameIsMadeOnceAndKept) {
  const auto data = DataFolder::Open(Path("data"));
  const std::string name = data->Name().value();
  EXPECT_TRUE(CheckWorkerName(name)) << name;
  EXPECT_EQ(data->Name().value(), name);
  Write("data/name", "renamed-by-hand\n");
  EXPECT_EQ(data->Name().value(), "renamed-by-hand");
}

TEST_F(DataFolderTest, FileInTheFoldersPlaceIsAnError) {
  Write("data", "a file");
  EXPECT_FALSE(DataFolder::Open(Path("data")));
}

// --- artifact cache
// ------------------------------------------------------------------------------------------------------------

using ArtifactCacheTest = PartsTest;

TEST_F(ArtifactCacheTest, BundleIsDownloadedOnceAndPlacedEachTime) {
  FakeCoordinator coordinator(folder_.path());
  ArtifactCache cache = ArtifactCache::Open(Path("cache"), 1 << 20).value();
  const auto dialer = Dialer::Connect(coordinator.endpoint()).value();
  const proto::Bundle bundle = coordinator.Store("deep/model.onnx", "bytes of a model");
  ASSERT_TRUE(cache.Fetch(*dialer, bundle, Path("first"), {}));
  coordinator.Change([](auto& behaviour) { behaviour.answer_transfers = false; });
  ASSERT_TRUE(cache.Fetch(*dialer, bundle, Path("second"), {}));
  for (const char* place : {"first", "second"})
    EXPECT_EQ(ReadFile(Path(place) / "deep/model.onnx", 100).value(), "bytes of a model");
}

TEST_F(ArtifactCacheTest, PruneRemovesTheLeastRecentlyUsed) {
  for (const char* name : {"a", "b", "c"}) Write(std::string("files/deep/") + name, std::string(100, 'x'));
  UsedAt(Path("files/deep/a"), 3000);
  UsedAt(Path("files/deep/b"), 1000);
  UsedAt(Path("files/deep/c"), 2000);
  EXPECT_EQ(PruneFolder(Path("files"), 250), 200u);
  EXPECT_FALSE(fs::exists(Path("files/deep/b")));
  EXPECT_EQ(PruneFolder(Path("files"), 100), 100u);
  EXPECT_TRUE(fs::exists(Path("files/deep/a")));
  EXPECT_EQ(PruneFolder(Path("nowhere"), 0), 0u);
}

TEST_F(ArtifactCacheTest, PlacedFilesOutliveThePrune) {
  FakeCoordinator coordinator(folder_.path());
  ArtifactCache cache = ArtifactCache::Open(Path("cache"), 1).value();
  const auto dialer = Dialer::Connect(coordinator.endpoint()).value();
  const proto::Bundle bundle = coordinator.Store("model.onnx", "more than one byte");
  ASSERT_TRUE(cache.Fetch(*dialer, bundle, Path("work"), {}));
  cache.Prune();
  EXPECT_FALSE(cache.store().Has(bundle.files(0).digest()));
  EXPECT_EQ(ReadFile(Path("work/model.onnx"), 100).value(), "more than one byte");
}

TEST_F(ArtifactCacheTest, FileThatDiffersFromItsBundleIsNotTaken) {
  ArtifactCache cache = ArtifactCache::Open(Path("cache"), 1 << 20).value();
  proto::Bundle bundle;
  proto::File& file = *bundle.add_files();
  file.set_path("model.onnx");
  file.set_size_bytes(4);
  file.set_digest(DigestOf("good"));
  EXPECT_EQ(cache.Take(bundle, Path("out")).error().code, ErrorCode::kRejected);  // Missing.
  Write("out/model.onnx", "evil");
  EXPECT_EQ(cache.Take(bundle, Path("out")).error().code, ErrorCode::kRejected);
  Write("out/model.onnx", "longer");
  EXPECT_EQ(cache.Take(bundle, Path("out")).error().code, ErrorCode::kRejected);
  Write("out/model.onnx", "good");
  EXPECT_TRUE(cache.Take(bundle, Path("out")));
  EXPECT_TRUE(cache.store().Has(DigestOf("good")));
}

TEST_F(ArtifactCacheTest, LinkedFolderInAResultIsNotFollowed) {
  ArtifactCache cache = ArtifactCache::Open(Path("cache"), 1 << 20).value();
  Write("elsewhere/model.onnx", "good");
  fs::create_directories(Path("out"));
  fs::create_directory_symlink(Path("elsewhere"), Path("out/sub"));
  proto::Bundle bundle;
  proto::File& file = *bundle.add_files();
  file.set_path("sub/model.onnx");
  file.set_size_bytes(4);
  file.set_digest(DigestOf("good"));
  EXPECT_EQ(cache.Take(bundle, Path("out")).error().code, ErrorCode::kRejected);
}

// --- control groups
// ------------------------------------------------------------------------------------------------------------

using CgroupTest = PartsTest;

TEST_F(CgroupTest, SmallestLimitOnTheWayUpCountsInVersion2) {
  Write("proc/self/cgroup", "0::/outer/inner\n");
  Write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  Write("sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
  Write("sys/fs/cgroup/outer/memory.max", "1000000\n");
  Write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/outer/inner/memory.max", "2000000\n");
  const CgroupLimits limits = ReadCgroupLimits(folder_.path());
  EXPECT_DOUBLE_EQ(limits.cores.value(), 1.5);
  EXPECT_EQ(limits.memory_bytes.value(), 1000000u);
}

TEST_F(CgroupTest, OwnGroupIsItsFolderInTheMountOfVersion2) {
  EXPECT_EQ(OwnControlGroup(folder_.path()), std::nullopt);
  Write("proc/self/cgroup", "4:memory:/other\n0::/outer/inner\n");
  Write("proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 23 0:27 /outer /sys/fs/cgroup/unified rw "
        "- cgroup2 cgroup2 rw\n");
  EXPECT_EQ(OwnControlGroup(folder_.path()), std::nullopt);
  fs::create_directories(Path("sys/fs/cgroup/unified/inner"));
  EXPECT_EQ(OwnControlGroup(folder_.path()), Path("sys/fs/cgroup/unified/inner"));
}

TEST_F(CgroupTest, MaxLimitsNothing) {
  Write("proc/self/cgroup", "0::/\n");
  Write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("sys/fs/cgroup/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/memory.max", "max\n");
  const CgroupLimits limits = ReadCgroupLimits(folder_.path());
  EXPECT_FALSE(limits.cores);
  EXPECT_FALSE(limits.memory_bytes);
}

TEST_F(CgroupTest, ControllersOfVersion1HaveTheirOwnMounts) {
  Write("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n");
  Write("proc/self/mountinfo",
        "31 30 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu\\040acct ro - cgroup cgroup rw,cpu,cpuacct\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n");
  Write("sys/fs/cgroup/cpu acct/docker/abc/cpu.cfs_quota_us", "50000\n");
  Write("sys/fs/cgroup/cpu acct/docker/abc/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/cpu acct/docker/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu acct/docker/cpu.cfs_period_us", "100000\n");
  const CgroupLimits limits = ReadCgroupLimits(folder_.path());
  EXPECT_DOUBLE_EQ(limits.cores.value(), 0.5);
  EXPECT_EQ(limits.memory_bytes.value(), 5000000u);
}

TEST_F(CgroupTest, NothingReadableLimitsNothing) {
  const CgroupLimits limits = ReadCgroupLimits(Path("empty"));
  EXPECT_FALSE(limits.cores);
  EXPECT_FALSE(limits.memory_bytes);
}

// --- fingerprint
// ---------------------------------------------------------------------------------------------------------------

TEST(FingerprintTest, MachineIsDescribedTheSameTwice) {
  proto::Fingerprint first = DetectFingerprint();
  proto::Fingerprint second = DetectFingerprint();
  SealFingerprint(first);
  SealFingerprint(second);
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  EXPECT_TRUE(IsDigest(first.digest()));
  EXPECT_FALSE(first.cpu_model().empty());
  EXPECT_GE(first.cores_allowed(), 1u);
  EXPECT_GT(first.memory_bytes(), uint64_t{64} << 20);
}

TEST(FingerprintTest, DigestFollowsWhatChangesMeasurementsOnly) {
  proto::Fingerprint fingerprint = DetectFingerprint();
  SealFingerprint(fingerprint);
  const std::string digest = fingerprint.digest();

  proto::Fingerprint renamed = fingerprint;
  renamed.set_hostname("another");
  renamed.set_machine("another");
  SealFingerprint(renamed);
  EXPECT_EQ(renamed.digest(), digest);

  proto::Fingerprint governed = fingerprint;
  governed.set_governor("powersave-by-hand");
  SealFingerprint(governed);
  EXPECT_NE(governed.digest(), digest);

  proto::Fingerprint upgraded = fingerprint;
  upgraded.add_versions()->set_name("openvino");
  *upgraded.mutable_versions(0)->mutable_value() = TextValue("2026.4.1");
  SealFingerprint(upgraded);
  EXPECT_NE(upgraded.digest(), digest);
}

TEST(FingerprintTest, VersionsCountInAnyOrder) {
  proto::Fingerprint one;
  proto::Fingerprint other;
  for (const char* name : {"a", "b"}) one.add_versions()->set_name(name);
  for (const char* name : {"b", "a"}) other.add_versions()->set_name(name);
  SealFingerprint(one);
  SealFingerprint(other);
  EXPECT_EQ(one.digest(), other.digest());
}

TEST(FingerprintTest, TagsNameProcessorAndFeaturesOnce) {
  const std::vector<std::string> tags = DetectTags();
  EXPECT_EQ(tags[0], "cpu");
  EXPECT_TRUE(tags[1] == "x86_64" || tags[1] == "aarch64") << tags[1];
  EXPECT_EQ(std::set<std::string>(tags.begin(), tags.end()).size(), tags.size());
  for (const std::string& tag : tags) EXPECT_TRUE(CheckTag(tag)) << tag;
}

TEST(FingerprintTest, FeaturesAreOrdered) {
  const std::vector<std::string> features = CpuFeatures();
  EXPECT_TRUE(std::is_sorted(features.begin(), features.end()));
}

}  // namespace
}  // namespace hone
