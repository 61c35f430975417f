// Artifacts coming in, chunk by chunk.
#include "coordinator/uploads.h"

#include <gmock/gmock.h>

#include <fstream>

#include "common/base/file.h"

namespace hone {
namespace {

class UploadsTest : public ::testing::Test {
 protected:
  UploadsTest() {
    auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-uploads-");
    EXPECT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    auto store = FileStore::Open(folder_->path());
    EXPECT_TRUE(store);
    store_.emplace(std::move(*store));
    Open();
  }
  void Open() {
    auto uploads = Uploads::Open(options_, *store_, folder_->path() / "partial");
    ASSERT_TRUE(uploads);
    uploads_.emplace(std::move(*uploads));
  }
  auto Put(uint64_t offset, uint64_t size) {
    return uploads_->Append(digest_, bytes_.size(), offset, std::string_view(bytes_).substr(offset, size));
  }

  CoordinatorOptions options_;
  std::optional<ScopedFolder> folder_;
  std::optional<FileStore> store_;
  std::optional<Uploads> uploads_;
  const std::string bytes_ = std::string(100'000, 'a') + std::string(50'000, 'b');
  const std::string digest_ = DigestOf(bytes_);
};

TEST_F(UploadsTest, LastChunkMakesTheArtifact) {
  EXPECT_EQ(Put(0, 60'000)->received_bytes, 60'000U);
  EXPECT_FALSE(store_->Has(digest_));
  const auto last = Put(60'000, 90'000);
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->complete);
  ASSERT_TRUE(store_->Has(digest_));
  EXPECT_EQ(*store_->Read(digest_, 99'999, 2), "ab");
  // A resent chunk is answered with what is there.
  EXPECT_TRUE(Put(0, 60'000)->complete);
}

TEST_F(UploadsTest, ChunkBelowIsAnsweredAndChunkAboveIsAConflict) {
  ASSERT_TRUE(Put(0, 60'000));
  EXPECT_EQ(Put(0, 10)->received_bytes, 60'000U);
  const auto above = Put(70'000, 10);
  ASSERT_FALSE(above);
  EXPECT_EQ(above.error().code, ErrorCode::kConflict);
}

TEST_F(UploadsTest, InterruptedUploadGoesOnInAnotherLifeAndIsVerifiedInSlices) {
  options_.verify_slice_bytes = 40'000;
  ASSERT_TRUE(Put(0, 100'000));
  Open();
  const auto last = Put(100'000, 50'000);
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->verifying);
  int slices = 0;
  std::vector<Uploads::Verified> verified;
  while (verified.empty() && ++slices < 100) {
    EXPECT_TRUE(uploads_->busy());
    uploads_->Work();
    verified = uploads_->TakeVerified();
  }
  EXPECT_GT(slices, 2);
  ASSERT_EQ(verified.size(), 1U);
  EXPECT_TRUE(verified[0].result);
  EXPECT_FALSE(uploads_->busy());
  EXPECT_TRUE(store_->Has(digest_));
}

TEST_F(UploadsTest, DamagedPartialFileIsRejectedAndDropped) {
  ASSERT_TRUE(Put(0, 100'000));
  std::ofstream(folder_->path() / "partial" / digest_.substr(7), std::ios::in | std::ios::out | std::ios::binary)
      << "z";
  Open();
  ASSERT_TRUE(Put(100'000, 50'000));
  std::vector<Uploads::Verified> verified;
  while (verified.empty()) {
    uploads_->Work();
    verified = uploads_->TakeVerified();
  }
  ASSERT_FALSE(verified[0].result);
  EXPECT_EQ(verified[0].result.error().code, ErrorCode::kRejected);
  EXPECT_FALSE(store_->Has(digest_));
  // It can be sent again.
  EXPECT_EQ(Put(0, 100'000)->received_bytes, 100'000U);
  EXPECT_TRUE(Put(100'000, 50'000)->complete);
}

TEST_F(UploadsTest, WrongContentLiesAboutSizesAndBadDigestsAreRejected) {
  ASSERT_TRUE(uploads_->Append(digest_, 3, 0, "abc"));
  uploads_->Work();
  const auto wrong = uploads_->TakeVerified();
  ASSERT_EQ(wrong.size(), 1U);
  ASSERT_FALSE(wrong[0].result);
  EXPECT_EQ(wrong[0].result.error().code, ErrorCode::kRejected);
  EXPECT_FALSE(store_->Has(digest_));
  EXPECT_FALSE(uploads_->Append("sha256:short", 3, 0, "abc"));
  EXPECT_FALSE(uploads_->Append("sha256:../../../../etc/passwd", 3, 0, "abc"));
  EXPECT_FALSE(uploads_->Append(digest_, 3, 2, "abc"));
  EXPECT_FALSE(uploads_->Append(digest_, 3, UINT64_MAX, "abc"));
  EXPECT_FALSE(uploads_->Append(digest_, UINT64_MAX, 0, "abc"));
  EXPECT_FALSE(uploads_->Append(DigestOf(""), 0, 0, ""));
  // Whoever lied about the size does not keep others from uploading.
  ASSERT_TRUE(uploads_->Append(digest_, 1'000'000, 0, "abc"));
  EXPECT_EQ(Put(0, 100'000)->received_bytes, 100'000U);
  EXPECT_TRUE(Put(100'000, 50'000)->complete);
}

TEST_F(UploadsTest, FilesOfOneChunkAreFinishedTogetherEachWithItsOwnVerdict) {
  options_.open_uploads = 3;
  std::vector<std::string> texts = {"one", "two", "three", "four", "five", "six", "seven"};
  for (const auto& text : texts) {
    const auto state = uploads_->Append(DigestOf(text), text.size(), 0, text);
    ASSERT_TRUE(state);
    EXPECT_TRUE(state->verifying);
  }
  ASSERT_TRUE(uploads_->Append(DigestOf("truth"), 3, 0, "lie"));
  uploads_->Work();
  EXPECT_FALSE(uploads_->busy());
  const auto verified = uploads_->TakeVerified();
  EXPECT_EQ(verified.size(), texts.size() + 1);
  for (const auto& one : verified) EXPECT_EQ(one.result.has_value(), one.digest != DigestOf("truth"));
  for (const auto& text : texts) EXPECT_TRUE(store_->Has(DigestOf(text)));
  EXPECT_FALSE(store_->Has(DigestOf("truth")));
}

TEST_F(UploadsTest, ManyUploadsAtOnceCloseTheLeastRecentlyUsed) {
  options_.open_uploads = 2;
  ASSERT_TRUE(Put(0, 100'000));
  for (const char* text : {"one one", "two two", "three three"}) {
    ASSERT_TRUE(uploads_->Append(DigestOf(text), std::string(text).size(), 0, std::string_view(text).substr(0, 3)));
  }
  // It was closed meanwhile, so what lies there is hashed again.
  ASSERT_TRUE(Put(100'000, 50'000)->verifying);
  while (uploads_->busy()) uploads_->Work();
  EXPECT_TRUE(store_->Has(digest_));
}

}  // namespace
}  // namespace hone
