#include "tests/client/fake_service.h"

#include <stdexcept>

namespace hone::test {

FakeService::FakeService(Handler handler) : handler_(std::move(handler)) {
  auto folder = ScopedFolder::Make(std::filesystem::temp_directory_path(), "hone-fake-");
  if (!folder) throw std::runtime_error(folder.error().message);
  folder_ = std::make_unique<ScopedFolder>(std::move(*folder));
  endpoint_ = "ipc://" + (folder_->path() / "c").string();
  auto listener = Listener::Bind(endpoint_);
  if (!listener) throw std::runtime_error(listener.error().message);
  listener_ = std::move(*listener);
  thread_ = std::thread([this] {
    while (!stop_) {
      for (const Listener::Incoming& incoming : listener_->Receive(std::chrono::milliseconds(20), 100)) {
        proto::Frame reply;
        handler_(incoming.frame, reply);
        if (reply.body_case() == proto::Frame::BODY_NOT_SET) continue;
        reply.set_protocol(kProtocol);
        reply.set_request(incoming.frame.request());
        listener_->Send(incoming.peer, reply);
      }
    }
  });
}

FakeService::~FakeService() { Stop(); }

void FakeService::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

}  // namespace hone::test
