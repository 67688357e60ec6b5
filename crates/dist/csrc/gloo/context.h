// c10d's header holds four of gloo's classes by pointer and has one of them as a base. libtorch
// contains gloo, but does not ship its headers; these declarations suffice, since no object of these
// classes is made or destroyed outside of libtorch.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {

struct Context {
  virtual ~Context();
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {
struct Device {
  virtual ~Device() = 0;
};
struct UnboundBuffer {
  virtual ~UnboundBuffer() = 0;
};
}  // namespace transport

namespace rendezvous {
struct Store {
  virtual ~Store();
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& limit) {
    (void)limit;
    wait(keys);
  }
};
}  // namespace rendezvous

}  // namespace gloo
