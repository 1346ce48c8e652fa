//! Choose a device by name, and load libtorch's CUDA part where the installed libtorch has one.

use crate::{Error, Result};
use tch::Device;

/// The device called `cpu`, `cuda`, `cuda:0`, …; models made on it run there, walkers and data follow them.
///
/// ```
/// assert_eq!(jarzynski::device("cpu").unwrap(), jarzynski::tch::Device::Cpu);
/// assert!(jarzynski::device("gpu").unwrap_err().to_string().contains("cpu, cuda or cuda:N"));
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
