#include "common/artifact/file_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "common/base/digest.h"
#include "tests/common/scratch.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class FileStoreTest : public Scratch {
 protected:
  FileStore Open() const {
    auto store = FileStore::Open(Path("store"));
    EXPECT_TRUE(store);
    return std::move(*store);
  }
  static std::string Bytes(const FileStore& store, const std::string& digest) {
    return store.Read(digest, 0, 1 << 20).value_or("(none)");
  }
  size_t Partials() const { return EntriesIn(Path("store/partial")); }

  const std::string content_ = "0123456789";
  const std::string digest_ = DigestOf(content_);
};

TEST_F(FileStoreTest, UploadInChunksIsStoredReadOnlyUnderItsDigest) {
  FileStore store = Open();
  EXPECT_EQ(store.Append(digest_, 10, 0, "0123").value(), 4u);
  EXPECT_FALSE(store.Has(digest_));
  EXPECT_EQ(store.Received(digest_), 4u);
  EXPECT_EQ(store.Append(digest_, 10, 4, "456789").value(), 10u);
  EXPECT_TRUE(store.Has(digest_));
  EXPECT_EQ(store.Size(digest_).value(), 10u);
  EXPECT_EQ(Bytes(store, digest_), content_);
  EXPECT_EQ(static_cast<int>(fs::status(store.PathOf(digest_)).permissions()), 0444);
  const std::string hex = digest_.substr(7);
  EXPECT_EQ(store.PathOf(digest_), fs::absolute(Path("store")) / hex.substr(0, 2) / hex.substr(2, 2) / hex);
  EXPECT_EQ(Partials(), 0u);
}

TEST_F(FileStoreTest, UploadTruncatedAnywhereResumesAfterARestart) {
  for (size_t cut = 1; cut < content_.size(); ++cut) {
    const std::string content = content_ + std::to_string(cut);
    const std::string digest = DigestOf(content);
    EXPECT_EQ(Open().Append(digest, content.size(), 0, content.substr(0, cut)).value(), cut);
    FileStore again = Open();
    EXPECT_EQ(again.Received(digest), cut);
    EXPECT_EQ(again.Append(digest, content.size(), cut, content.substr(cut)).value(), content.size());
    EXPECT_EQ(Bytes(again, digest), content);
  }
}

TEST_F(FileStoreTest, UploadCorruptAnywhereIsRejectedAndCanBeRepeated) {
  FileStore store = Open();
  for (size_t position = 0; position < content_.size(); ++position) {
    std::string corrupt = content_;
    corrupt[position] ^= 1;
    ASSERT_TRUE(store.Append(digest_, 10, 0, corrupt.substr(0, 5)));
    EXPECT_EQ(CodeOf(store.Append(digest_, 10, 5, corrupt.substr(5))), ErrorCode::kRejected);
    EXPECT_EQ(store.Received(digest_), 0u);
    EXPECT_FALSE(store.Has(digest_));
    EXPECT_EQ(Partials(), 0u);
  }
  EXPECT_EQ(store.Append(digest_, 10, 0, content_).value(), 10u);
}

TEST_F(FileStoreTest, RepeatedChunkChangesNothing) {
  FileStore store = Open();
  ASSERT_TRUE(store.Append(digest_, 10, 0, "01234"));
  EXPECT_EQ(store.Append(digest_, 10, 0, "xxxxx").value(), 5u);
  EXPECT_EQ(store.Append(digest_, 10, 3, "xxxxxxx").value(), 5u);
  EXPECT_EQ(store.Append(digest_, 10, 5, "").value(), 5u);
  EXPECT_EQ(store.Append(digest_, 10, 5, "56789").value(), 10u);
  EXPECT_EQ(store.Append(digest_, 10, 5, "56789").value(), 10u);
  EXPECT_EQ(store.Append(digest_, 10, 0, "wrong").value(), 10u);
  EXPECT_EQ(Bytes(store, digest_), content_);
}

TEST_F(FileStoreTest, GapIsAConflict) {
  FileStore store = Open();
  ASSERT_TRUE(store.Append(digest_, 10, 0, "01234"));
  EXPECT_EQ(CodeOf(store.Append(digest_, 10, 6, "6789")), ErrorCode::kConflict);
  EXPECT_EQ(store.Received(digest_), 5u);
}

TEST_F(FileStoreTest, ChunksThatCannotBeAreRejected) {
  FileStore store = Open();
  EXPECT_EQ(CodeOf(store.Append(digest_, 0, 0, "")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Append(digest_, 10, 0, "01234567890")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Append(digest_, 10, 11, "")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Append(digest_, 10, UINT64_MAX, "0123456789")), ErrorCode::kRejected);
  EXPECT_EQ(Partials(), 0u);
}

TEST_F(FileStoreTest, UploadUnderAnotherSizeCannotBlockTheTrueOne) {
  FileStore store = Open();
  ASSERT_TRUE(store.Append(digest_, 1000, 0, std::string(500, 'x')));
  EXPECT_EQ(CodeOf(store.Append(digest_, 10, 4, "456789")), ErrorCode::kConflict);
  EXPECT_EQ(store.Append(digest_, 10, 0, content_).value(), 10u);
  EXPECT_EQ(CodeOf(store.Append(digest_, 11, 0, "x")), ErrorCode::kRejected);
}

TEST_F(FileStoreTest, PartialThatWasWholeBeforeACrashIsVerifiedAtTheNextChunk) {
  FileStore store = Open();
  Write("store/partial/" + digest_.substr(7), content_);
  EXPECT_EQ(store.Append(digest_, 10, 0, "0123").value(), 10u);
  EXPECT_EQ(Bytes(store, digest_), content_);

  const std::string other = DigestOf("abc");
  Write("store/partial/" + other.substr(7), "abx");
  EXPECT_EQ(CodeOf(store.Append(other, 3, 3, "")), ErrorCode::kRejected);
  EXPECT_EQ(store.Append(other, 3, 0, "abc").value(), 3u);
}

TEST_F(FileStoreTest, TextThatIsNoDigestNeverBecomesAPath) {
  FileStore store = Open();
  Write("secret", "secret");
  for (const std::string& wrong :
       std::vector<std::string>{"", "sha256:", "sha256:../../secret", "../secret", "sha256:" + std::string(64, 'g')}) {
    EXPECT_FALSE(store.Has(wrong));
    EXPECT_EQ(CodeOf(store.Size(wrong)), ErrorCode::kNotFound);
    EXPECT_EQ(CodeOf(store.Read(wrong, 0, 10)), ErrorCode::kNotFound);
    EXPECT_EQ(CodeOf(store.Append(wrong, 10, 0, "x")), ErrorCode::kRejected);
    EXPECT_EQ(CodeOf(store.Export(wrong, Path("out"))), ErrorCode::kNotFound);
    EXPECT_EQ(store.Received(wrong), 0u);
    EXPECT_TRUE(store.PathOf(wrong).empty());
  }
}

TEST_F(FileStoreTest, FullDiskKeepsWhatWasHeld) {
  {
    FileStore store = Open();
    ASSERT_TRUE(store.Append(digest_, 10, 0, "01"));
  }
  const std::string large(100'000, 'x');
  Child child([&](int) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    FileStore store = Open();
    if (!store.Append(DigestOf(large), large.size(), 0, large.substr(0, 900))) return 1;
    const auto full = store.Append(DigestOf(large), large.size(), 900, large.substr(900));
    if (full || full.error().code != ErrorCode::kExhausted) return 2;
    return store.Received(DigestOf(large)) == 900 ? 0 : 3;
  });
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(Open().Append(DigestOf(large), large.size(), 900, large.substr(900)).value(), large.size());
}

TEST_F(FileStoreTest, ReadsAnyPartAndNothingBeyond) {
  FileStore store = Open();
  ASSERT_EQ(store.Put(content_).value(), digest_);
  EXPECT_EQ(store.Read(digest_, 3, 4).value(), "3456");
  EXPECT_EQ(store.Read(digest_, 8, 100).value(), "89");
  EXPECT_EQ(store.Read(digest_, 10, 100).value(), "");
  EXPECT_EQ(CodeOf(store.Read(digest_, 11, 1)), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Read(DigestOf("other"), 0, 1)), ErrorCode::kNotFound);
}

TEST_F(FileStoreTest, PutAndImportAreIdempotentAndRefuseEmptiness) {
  FileStore store = Open();
  EXPECT_EQ(store.Put(content_).value(), digest_);
  EXPECT_EQ(store.Put(content_).value(), digest_);
  EXPECT_EQ(store.Import(Write("file", content_)).value(), digest_);
  EXPECT_EQ(CodeOf(store.Put("")), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Import(Write("empty", ""))), ErrorCode::kRejected);
  EXPECT_EQ(CodeOf(store.Import(Path("nothing"))), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(store.Import(Path("."))), ErrorCode::kRejected);
  EXPECT_EQ(Partials(), 0u);
}

TEST_F(FileStoreTest, ImportedFileIsIndependentOfItsSource) {
  FileStore store = Open();
  const fs::path source = Write("file", content_);
  ASSERT_TRUE(store.Import(source, digest_));
  EXPECT_EQ(CodeOf(store.Import(source, DigestOf("other"))), ErrorCode::kRejected);
  // Written in place, as a person's tool may do.
  FILE* file = fopen(source.c_str(), "r+");
  fputs("XXXX", file);
  fclose(file);
  EXPECT_EQ(Bytes(store, digest_), content_);
  EXPECT_NE(static_cast<int>(fs::status(source).permissions()), 0444);
}

TEST_F(FileStoreTest, ExportPlacesTheArtifactOverWhatWasThere) {
  FileStore store = Open();
  ASSERT_TRUE(store.Put(content_));
  Write("out/below/model.onnx", "old");
  ASSERT_TRUE(store.Export(digest_, Path("out/below/model.onnx")));
  EXPECT_EQ(ReadFile(Path("out/below/model.onnx"), 100).value(), content_);
  ASSERT_TRUE(store.Export(digest_, Path("new/model.onnx")));
  fs::remove_all(Path("new"));
  EXPECT_EQ(Bytes(store, digest_), content_);
}

TEST_F(FileStoreTest, UploadsNobodyContinuedAreRemovedInTheEnd) {
  ASSERT_TRUE(Open().Append(digest_, 10, 0, "01"));
  const std::string other = DigestOf("other");
  ASSERT_TRUE(Open().Append(other, 5, 0, "ot"));
  fs::last_write_time(Path("store/partial") / other.substr(7),
                      fs::file_time_type::clock::now() - std::chrono::hours(24 * 8));
  FileStore store = Open();
  EXPECT_EQ(store.Received(digest_), 2u);
  EXPECT_EQ(store.Received(other), 0u);
}

TEST_F(FileStoreTest, TwoProcessesMayUploadTheSameArtifact) {
  std::string content;
  for (int i = 0; i < 2000; ++i) content += std::to_string(i);
  const std::string digest = DigestOf(content);
  Open();
  const auto upload = [&](int) {
    FileStore store = Open();
    while (!store.Has(digest)) {
      const uint64_t offset = store.Received(digest);
      const auto held = store.Append(digest, content.size(), offset, std::string_view(content).substr(offset, 7));
      if (!held && held.error().code != ErrorCode::kConflict) return 1;
    }
    return Bytes(store, digest) == content ? 0 : 2;
  };
  Child first(upload), second(upload);
  EXPECT_EQ(first.Wait(), 0);
  EXPECT_EQ(second.Wait(), 0);
  EXPECT_EQ(Partials(), 0u);
}

TEST_F(FileStoreTest, StoreInPlaceOfAFileIsRefused) {
  Write("file", "x");
  EXPECT_FALSE(FileStore::Open(Path("file")));
}

}  // namespace
}  // namespace hone
