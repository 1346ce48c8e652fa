//! Numbers below the theory: random streams, row-parallel loops, devices, thread counts, fits.

pub(crate) mod blocks;
pub mod device;
pub mod fit;
#[cfg(feature = "mpi")]
mod mpi;
pub(crate) mod rng;
pub(crate) mod threads;
mod world;

pub(crate) use blocks::{FEW, Fresh, Real, combine, for_blocks, gap_square, lanes, on_host, sum_blocks, wide};
pub use device::device;
pub(crate) use device::fetch;
pub use rng::Rng;
pub(crate) use rng::{Lanes, Words};
pub use threads::{Threads, side_by_side};
pub use world::World;
