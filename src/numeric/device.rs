//! Choose a device by name, and read numbers from it in as few transfers as decisions need.

use crate::error::{Error, Result};
use tch::{Device, Kind, Tensor};

/// The device called `cpu`, `cuda`, `cuda:0`, …; models made on it run there, walkers and data follow them.
///
/// ```
/// assert_eq!(jarzynski::numeric::device("cpu").unwrap(), jarzynski::tch::Device::Cpu);
/// assert!(jarzynski::numeric::device("gpu").unwrap_err().to_string().contains("cpu, cuda or cuda:N"));
/// ```
///
/// # Errors
/// A name of another form; a CUDA device that this machine or this libtorch does not have.
pub fn device(name: &str) -> Result<Device> {
    let bad = || Error::param("device", name, "cpu, cuda or cuda:N");
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(bad)?,
    };
    load_cuda();
    let there = tch::Cuda::device_count();
    if (index as i64) < there {
        return Ok(Device::Cuda(index));
    }
    Err(Error::param("device", name, format!("a device that is there: libtorch sees {there} CUDA devices")))
}

/// Linkers drop libtorch_cuda.so because nothing refers to it; without it libtorch sees no GPU.
#[cfg(target_os = "linux")]
fn load_cuda() {
    unsafe extern "C" {
        fn dlopen(name: *const std::ffi::c_char, flags: std::ffi::c_int) -> *mut std::ffi::c_void;
    }
    const NOW_AND_GLOBAL: std::ffi::c_int = 0x102;
    // SAFETY: a constant, terminated name; a library that is not there is a null pointer that nobody uses.
    unsafe { dlopen(c"libtorch_cuda.so".as_ptr(), NOW_AND_GLOBAL) };
}

#[cfg(not(target_os = "linux"))]
fn load_cuda() {}

/// The values of 0-dimensional tensors, those on a device in one transfer: each one waits until the device has caught up.
pub(crate) fn fetch(numbers: &[Tensor]) -> Vec<f64> {
    let far: Vec<Tensor> =
        numbers.iter().filter(|t| t.device() != Device::Cpu).map(|t| t.to_kind(Kind::Double)).collect();
    let read = match far.len() {
        0 => vec![],
        1 => vec![far[0].double_value(&[])],
        n => Vec::try_from(Tensor::stack(&far, 0).to_device(Device::Cpu)).unwrap_or_else(|_| vec![f64::NAN; n]),
    };
    let mut read = read.into_iter();
    let mut value = |t: &Tensor| match t.device() {
        Device::Cpu => t.double_value(&[]),
        _ => read.next().unwrap_or(f64::NAN),
    };
    numbers.iter().map(&mut value).collect()
}
