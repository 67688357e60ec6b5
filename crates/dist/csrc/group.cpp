// Stores and groups of c10d, the library below torch.distributed, for Rust. Every function returns 0,
// or 1 with a message in dist_message(); no exception leaves this file.

#include <ATen/Version.h>
#include <torch/version.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <ATen/cuda/CUDAContext.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <cstdint>
#include <cstring>
#include <new>

using c10d::ProcessGroupGloo;
using std::chrono::milliseconds;

// What the constructors in libtorch 2.11 and 2.13 fill. Another size means that the declarations of gloo no
// longer fit: read the new ProcessGroupGloo.hpp.
#if defined(__x86_64__) && defined(__GLIBCXX__)
static_assert(sizeof(ProcessGroupGloo) == 488, "ProcessGroupGloo has another layout");
#ifdef USE_C10D_NCCL
static_assert(sizeof(c10d::ProcessGroupNCCL) == (TORCH_VERSION_MINOR < 13 ? 0x458 : 0x480),
              "ProcessGroupNCCL has another layout");
#endif
#endif

// libtorch's threshold for messages on stderr.
extern int32_t FLAGS_caffe2_log_level;

namespace {

thread_local std::string message;

template <class F>
int guarded(F compute) noexcept {
  try {
    compute();
    return 0;
  } catch (const c10::Error& error) {
    message = error.what_without_backtrace();
  } catch (const std::exception& error) {
    message = error.what();
  } catch (...) {
    message = "unknown exception";
  }
  return 1;
}

}  // namespace

struct Store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct Group {
  c10::intrusive_ptr<c10d::Backend> group;
};

// An exchange under way. It holds its tensors.
struct Work {
  c10::intrusive_ptr<c10d::Work> work;
};

extern "C" {

const char* dist_message() {
  return message.c_str();
}

void dist_quiet() {
  FLAGS_caffe2_log_level = 3;
}

int dist_engine(char* out, size_t size) {
  return guarded([&] {
    const std::string text = "libtorch " TORCH_VERSION " on " + at::get_cpu_capability();
    std::strncpy(out, text.c_str(), size - 1);
    out[size - 1] = 0;
  });
}

int dist_tcp_store(const char* host, uint16_t port, int serve, int64_t limit, const char* prefix, Store** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve != 0;
    options.waitWorkers = false;
    options.timeout = milliseconds(limit);
    auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new Store{c10::make_intrusive<c10d::PrefixStore>(prefix, store)};
  });
}

int dist_file_store(const char* path, int64_t limit, const char* prefix, Store** out) {
  return guarded([&] {
    // A negative number of workers: nobody removes the file.
    auto store = c10::make_intrusive<c10d::FileStore>(path, -1);
    store->setTimeout(milliseconds(limit));
    *out = new Store{c10::make_intrusive<c10d::PrefixStore>(prefix, store)};
  });
}

int dist_set(Store* store, const char* key, const uint8_t* bytes, size_t count) {
  return guarded([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

int dist_has(Store* store, const char* key, int* out) {
  return guarded([&] { *out = store->store->check({key}) ? 1 : 0; });
}

int dist_get(Store* store, const char* key, void (*take)(void*, const uint8_t*, size_t), void* into) {
  return guarded([&] {
    const std::vector<uint8_t> value = store->store->get(key);
    take(into, value.data(), value.size());
  });
}

int dist_add(Store* store, const char* key, int64_t number, int64_t* out) {
  return guarded([&] { *out = store->store->add(key, number); });
}

int dist_gloo(Store* store, const char* address, int rank, int size, int64_t limit, Group** out) {
  return guarded([&] {
    auto options = ProcessGroupGloo::Options::create(milliseconds(limit));
    options->devices.push_back(
        *address ? ProcessGroupGloo::createDeviceForHostname(address)
                 : ProcessGroupGloo::createDefaultDevice());
    *out = new Group{c10::make_intrusive<ProcessGroupGloo>(store->store, rank, size, options)};
  });
}

#ifdef USE_C10D_NCCL
// The 16 bytes that identify a GPU.
int dist_gpu(int device, uint8_t* out) {
  return guarded([&] { std::memcpy(out, &at::cuda::getDeviceProperties(device)->uuid, 16); });
}

// Its communicator is made by the first exchange, on the GPU of the tensors. An exchange is queued on
// the GPU; what reads its result there waits for it.
int dist_nccl(Store* store, int rank, int size, int64_t limit, Group** out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = milliseconds(limit);
    auto keys = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
    *out = new Group{c10::make_intrusive<c10d::ProcessGroupNCCL>(keys, rank, size, options)};
  });
}
#endif

int dist_patience(Group* group, int64_t limit) {
  return guarded([&] { group->group->setTimeout(milliseconds(limit)); });
}

// The exchanges are begun here, and have ended, or are queued on the GPU, after dist_wait.
int dist_all_gather(Group* group, at::Tensor* out, at::Tensor* in, Work** begun) {
  return guarded([&] { *begun = new Work{group->group->_allgather_base(*out, *in)}; });
}

int dist_all_to_all(Group* group, at::Tensor* out, at::Tensor* in, Work** begun) {
  return guarded([&] {
    std::vector<int64_t> even;
    *begun = new Work{group->group->alltoall_base(*out, *in, even, even)};
  });
}

int dist_all_reduce(Group* group, at::Tensor* sum, Work** begun) {
  return guarded([&] {
    std::vector<at::Tensor> all{*sum};
    *begun = new Work{group->group->allreduce(all)};
  });
}

int dist_wait(Work* work) {
  return guarded([&] { work->work->wait(); });
}

// Lets libtorch construct a group of one in a larger block of memory; returns how many bytes beyond
// the size assumed here it has written.
int dist_excess(size_t* out) {
  return guarded([&] {
    constexpr size_t size = sizeof(ProcessGroupGloo), margin = 256;
    constexpr unsigned char unused = 0xA5;
    alignas(ProcessGroupGloo) static unsigned char block[size + margin];
    std::memset(block, unused, sizeof block);
    auto options = ProcessGroupGloo::Options::create(milliseconds(1000));
    options->devices.push_back(ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    auto* group = new (block) ProcessGroupGloo(c10::make_intrusive<c10d::HashStore>(), 0, 1, options);
    size_t excess = margin;
    while (excess > 0 && block[size + excess - 1] == unused) {
      --excess;
    }
    *out = excess;
    group->~ProcessGroupGloo();
  });
}

void dist_drop_store(Store* store) {
  guarded([&] { delete store; });
}

void dist_drop_group(Group* group) {
  guarded([&] { delete group; });
}

void dist_drop_work(Work* work) {
  guarded([&] { delete work; });
}

}  // extern "C"
