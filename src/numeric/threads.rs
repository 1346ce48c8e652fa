//! Fix how many threads libtorch splits an operation among, so that bits belong to the settings and not to the machine.

use crate::error::Result;
use rayon::prelude::*;
use tch::Device;

/// Sets libtorch's thread count and restores the old one when dropped.
///
/// libtorch's reductions and convolutions round differently for different *requested* thread counts, whatever the number
/// of cores that serve them. A run therefore requests its own number; the library's own loops never depend on it.
///
/// ```
/// use jarzynski::numeric::{Threads, side_by_side};
/// let _one = Threads::request(1);                       // before many runs, each too small for two threads
/// let squares = side_by_side(vec![1, 2, 3], jarzynski::tch::Device::Cpu, |n| Ok(n * n))?;
/// assert_eq!(squares, [1, 4, 9]);
/// # Ok::<(), jarzynski::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the old number comes back when this is dropped"]
pub struct Threads {
    before: i32,
}

impl Threads {
    /// Requests `n` threads, at least 1 and at most 1024, for the whole process.
    pub fn request(n: usize) -> Self {
        let before = tch::get_num_threads();
        tch::set_num_threads(n.clamp(1, 1024) as i32);
        Threads { before }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}

/// What `f` returns for each of `items`, in their order: on all cores on the CPU; one after the other on a GPU, where the
/// operations of all threads wait in one queue.
///
/// # Errors
/// The first of `f`.
pub fn side_by_side<T: Send, R: Send>(
    items: Vec<T>,
    device: Device,
    f: impl Fn(T) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    match device {
        Device::Cpu => items.into_par_iter().map(f).collect(),
        _ => items.into_iter().map(f).collect(),
    }
}
