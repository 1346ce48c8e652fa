//! Build the Gaussian mixtures with 25 and 40 modes on which samplers are compared.

use super::at_least;
use crate::error::Result;
use crate::model::Mixture;
use tch::{Device, Kind};

/// 25 modes of equal mass on the grid {−10, −5, 0, 5, 10}², each N(μ, .3 I), as in Sendera et al. 2024 (arXiv 2402.05098).
///
/// [`Base::log_z`](crate::Base::log_z) is that of the energy as [`Mixture`] writes it, not 0: subtract it before comparing with
/// tables for the normalised density. E x = 0 and E x_i² = 50.3 in each coordinate.
///
/// # Errors
/// None at present; that of [`Mixture::with_sigma`].
///
/// ```
/// let modes = jarzynski::model::targets::modes_25().unwrap();
/// assert_eq!(modes.means().size(), [25, 2]);
/// ```
pub fn modes_25() -> Result<Mixture> {
    let side = [-10.0, -5.0, 0.0, 5.0, 10.0];
    let means: Vec<Vec<f64>> = side.iter().flat_map(|a| side.iter().map(|b| vec![*a, *b])).collect();
    Mixture::with_sigma(&means, &[1.0; 25], &[0.3f64.sqrt(); 25], Kind::Double, Device::Cpu)
}

/// 40 modes of equal mass with means uniform in [−40, 40]^d.
///
/// For d = 2 the target of Midgley et al. 2023 (FAB, arXiv 2208.01893) and of those who took it over: the means are
/// `(torch.rand(40, 2) − .5)·80` after `torch.manual_seed(0)`, each mode has the standard deviation log(1 + e) = 1.3133. In other
/// dimensions the means come from the same generator and the modes have variance 1, as in Blessing et al. 2024 (arXiv 2406.07423);
/// publications draw means of their own there, so only what does not depend on them compares with theirs.
///
/// [`Base::log_z`](crate::Base::log_z) is that of the energy as [`Mixture`] writes it, not 0.
///
/// # Errors
/// d below 1.
///
/// ```
/// let modes = jarzynski::model::targets::modes_40(50).unwrap();
/// assert_eq!(modes.means().size(), [40, 50]);
/// ```
pub fn modes_40(d: i64) -> Result<Mixture> {
    let d = at_least("d", d, 1)? as usize;
    let mut twister = Twister::new(0);
    // the published means are rounded to f32 before they are scaled
    let means: Vec<Vec<f64>> =
        (0..40).map(|_| (0..d).map(|_| f64::from((twister.uniform() - 0.5) * 80.0)).collect()).collect();
    let sigma = if d == 2 { (1.0 + 1f64.exp()).ln() } else { 1.0 };
    Mixture::with_sigma(&means, &[1.0; 40], &[sigma; 40], Kind::Double, Device::Cpu)
}

const STATE: usize = 624;

/// The Mersenne twister MT19937 with torch's uniform numbers, which the published means were drawn by; `Rng` has other bits.
struct Twister {
    state: [u32; STATE],
    next: usize,
}

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; STATE];
        for i in 1..STATE {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Twister { state, next: STATE }
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % STATE] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// Uniform in [0, 1) from the lower 24 bits, as libtorch on the CPU.
    fn uniform(&mut self) -> f32 {
        if self.next == STATE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^= y >> 18;
        (y & 0x00ff_ffff) as f32 / 16_777_216.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_means_are_those_that_torch_draws_after_seed_0() {
        // torch.manual_seed(0); torch.rand(10)
        let known = [0.4963, 0.7682, 0.0885, 0.1320, 0.3074, 0.6341, 0.4901, 0.8964, 0.4556, 0.6323];
        let mut twister = Twister::new(0);
        for known in known {
            assert!((twister.uniform() - known).abs() < 5.1e-5);
        }
        let draws: Vec<f32> = (0..2_000).map(|_| twister.uniform()).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
    }
}
