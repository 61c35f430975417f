// A coordinator that answers from a script, behind a real listener on its own thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "common/base/file.h"
#include "common/transport/transport.h"

namespace hone::test {

class FakeService {
 public:
  // Fills the reply's body; a reply without a body is not sent (a coordinator that stays silent). Called on the
  // service's thread.
  using Handler = std::function<void(const proto::Frame& request, proto::Frame& reply)>;
  explicit FakeService(Handler handler);
  ~FakeService();
  // Ends the service's thread: from then on what the handler wrote is the caller's to read. May be said twice.
  void Stop();
  const std::string& endpoint() const { return endpoint_; }

 private:
  Handler handler_;
  std::unique_ptr<ScopedFolder> folder_;
  std::string endpoint_;
  std::unique_ptr<Listener> listener_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace hone::test
