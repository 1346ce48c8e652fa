// A stand-in for a GPU, for tests on machines without one: registered under libtorch's CUDA key, computing on the CPU.
//
// Every operation copies its arguments to the CPU, runs there, and copies the results back, so that values are the CPU's.
// What it can tell is what a real GPU would refuse or what it would wait for: operands on different devices are an error,
// and each transfer between device and host is counted. It says nothing about speed or about a GPU's rounding.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

namespace {

using at::Tensor;

const c10::Device GPU(c10::DeviceType::CUDA, 0);

std::atomic<uint64_t> fetches{0}, fetched{0}, uploads{0}, uploaded{0}, operations{0};
// set while an operation is computed: its own copies are no transfers
thread_local int inside = 0;

struct Inside {
  Inside() { inside++; }
  ~Inside() { inside--; }
};

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? std::malloc(bytes) : nullptr;
    return {data, data, &std::free, GPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::CUDA;
  c10::DeviceType type() const override { return static_type; }
  c10::Device exchangeDevice(c10::Device) const override { return GPU; }
  c10::Device getDevice() const override { return GPU; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, GPU); }
  c10::Stream getDefaultStream(c10::Device) const override { return getStream(GPU); }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream(GPU); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex current_device() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  void deviceSynchronize(c10::DeviceIndex) const override {}
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return at::detail::getDefaultCPUGenerator(); }
};

// The same memory as a tensor of the CPU.
Tensor host(const Tensor& t) {
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), t.options().device(at::kCPU).requires_grad(false));
}

Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  constexpr c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_generic(size, &memory, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  constexpr c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &memory, keys, c10::dtype_or_default(dtype));
}

const Tensor& resized(const Tensor& self, c10::IntArrayRef size, std::optional<at::MemoryFormat>) {
  int64_t numel = 1;
  for (auto s : size) numel *= s;
  const size_t bytes = (numel + self.storage_offset()) * self.element_size();
  auto* storage = self.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    auto fresh = memory.allocate(bytes);
    if (storage->nbytes()) std::memcpy(fresh.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(fresh));
    storage->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

Tensor& copy(Tensor& self, const Tensor& from, bool) {
  if (!inside && self.device() != from.device()) {
    (from.is_cuda() ? fetches : uploads)++;
    (from.is_cuda() ? fetched : uploaded) += from.numel();
  }
  Tensor to = self.is_cuda() ? host(self) : self;
  to.copy_(from.is_cuda() ? host(from) : from);
  return self;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& self) {
  if (self.sizes() != from.sizes()) resized(self, from.sizes(), std::nullopt);
  Tensor to = self;
  return copy(to, from, false);
}

at::Scalar read(const Tensor& self) {
  if (!inside) {
    fetches++;
    fetched++;
  }
  return host(self).item();
}

// Tensors of one operation on two devices: a GPU takes a single number from the host, and nothing else.
void refuse_mixed(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const auto n = op.schema().arguments().size();
  auto check = [&](const Tensor& t) {
    TORCH_CHECK(!t.defined() || t.is_cuda() || t.dim() == 0, "stand-in GPU: ", op.schema().operator_name(),
                " was given a tensor ", t.sizes(), " on ", t.device(), " beside one on cuda:0");
  };
  for (size_t i = stack.size() - n; i < stack.size(); i++) {
    const auto& v = stack[i];
    if (v.isTensor()) check(v.toTensor());
    if (v.isTensorList()) for (const Tensor& t : v.toTensorVector()) check(t);
    if (v.isOptionalTensorList()) for (const auto& t : v.toOptionalTensorVector()) if (t) check(*t);
  }
}

void on_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  refuse_mixed(op, *stack);
  operations++;
  const Inside here;
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("resize_", resized);
  m.impl("copy_", copy);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", read);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_the_cpu>()); }

}  // namespace

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks)
}

// So far: transfers from the device, numbers in all, transfers to it, numbers in all, operations computed.
extern "C" void standin_counts(uint64_t out[5]) {
  out[0] = fetches;
  out[1] = fetched;
  out[2] = uploads;
  out[3] = uploaded;
  out[4] = operations;
}
