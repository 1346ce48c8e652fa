//! Name the paths along which deterministic maps with known log-determinants carry walkers.

use crate::density::Path;
use tch::Tensor;

/// A path with a one-to-one map between any two of its times, such as the layers of a normalizing flow.
///
/// The weights of a [`Mapped`](crate::kernel::Mapped) kernel are exact for *any* such maps; the nearer they carry ρ_t to ρ_{t'},
/// the less the weights vary.
pub trait Maps: Path {
    /// T(x) of rows x `[n, d]` from the time `from` to the time `to`, and log |det ∂T(x)|, `[n]` in f64. To an earlier time: the
    /// inverse map with its own log-determinant.
    fn carry(&self, from: f64, to: f64, x: &Tensor) -> (Tensor, Tensor);
}

impl<P: Maps + ?Sized> Maps for &P {
    fn carry(&self, from: f64, to: f64, x: &Tensor) -> (Tensor, Tensor) {
        (**self).carry(from, to, x)
    }
}
