//! Offer the densities that samplers are compared on, each with what is known of it exactly: log Z, moments, draws.
//!
//! | target | log Z | draws | as in |
//! |---|---|---|---|
//! | [`modes_25`], [`modes_40`] | closed form | exact | Sendera et al. 2024, Midgley et al. 2023 |
//! | [`Funnel`] | 0 | exact | Neal 2003; variance 9 as in Zhang & Chen 2022, Vargas et al. 2023 |
//! | [`Banana`] | 0 | exact | Haario, Saksman, Tamminen 1999 |
//! | [`ManyWell`] | one-dimensional quadrature | exact | Midgley et al. 2023 (pairs), Berner et al. 2024 (separated wells) |
//! | [`Phi4`] | closed form at λ = 0 | exact at λ = 0 | Albergo, Kanwar, Shanahan 2019 |
//! | [`CoxProcess`] | – (quadrature without correlations) | – | Møller, Syversveen, Waagepetersen 1998; the pixel's area stated |
//! | [`BrownianBridge`] | filter and two-dimensional quadrature | – | Sountsov, Radul et al. 2020 (inference gym) |
//! | [`Particles`] | – (quadrature for two) | – | Köhler, Klein, Noé 2020: DW-4, LJ-13 |
//! | [`Ising`] | closed form (Kaufman 1949) | – | [`FairSpins`] as its start |
//! | [`Logistic`] | – (quadrature where p ≤ 2) | – | Neal & Murray; the user's own design matrix |
//!
//! Conventions that circulate, as compared with published code:
//!
//! - 25 modes: N(μ, .3 I), .3 the variance, and log Z = 0 for the normalised mixture (the code beside Sendera et al. 2024).
//! - Cox process: a pixel's area is a = 1/M², 1/1600 on the usual grid, in whitened coordinates as in others (`annealed_flow_transport` and
//!   those who took its `cp_utils` over); log Z is the same in both, and −log y_i! and y_i log a are left out.
//! - Brownian bridge: unknown scales, 30 steps with the middle ten missing, d = 32; log Z does not depend on the coordinates of the scales.
//! - LJ-13: pairs counted once (ε = 1) or twice (ε = 2); DW-4: once. The centre of mass has the density N(0, I/p).
//!
//! References by annealing with weights (HMC, times and steps from pilots; one standard error over independent runs): DW-4
//! 29.673(7), LJ-13 with ε = 1 39.25(3), with ε = 2 59.9(2). We found no published value of either.
//!
//! A target with exact draws is a [`Base`](crate::Base): a reverse run can start from it, so that
//! [`Transport::bracket`](crate::Transport::bracket) bounds log Z from both sides.
//!
//! ```
//! use jarzynski::model::{Gaussian, targets::Funnel};
//! use jarzynski::{Base, Geometric, Mala, Reversed, Rng, Transport};
//! # fn main() -> jarzynski::Result<()> {
//! let path = Geometric { base: Gaussian::new(&[0.0; 3], &[3.0; 3])?, target: Funnel::new(3)? };
//! let run = Transport::new(Reversed::new(Mala::new(0.1)), 20, 500, 0).quiet().run(&path)?;
//! println!("log Z = {}, exactly {}", run.walkers.log_z(), path.target.log_z());
//! let exact = path.target.sample(1_000, &mut Rng::new(1));
//! assert_eq!(exact.size(), [1_000, 3]);
//! # Ok(()) }
//! ```

mod banana;
mod brownian;
mod cox;
mod funnel;
mod ising;
mod lattice;
mod logistic;
mod many_well;
mod mixtures;
mod particles;
mod well;

pub use banana::Banana;
pub use brownian::BrownianBridge;
pub use cox::{CoxField, CoxProcess};
pub use funnel::Funnel;
pub use ising::{FairSpins, Ising};
pub use lattice::Phi4;
pub use logistic::Logistic;
pub use many_well::ManyWell;
pub use mixtures::{modes_25, modes_40};
pub use particles::{PairPotential, Particles};
pub use well::DoubleWell;

use crate::error::{Error, Result};

/// log 2π.
const LOG_2PI: f64 = 1.837_877_066_409_345_3;

fn positive(name: &'static str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::param(name, value, "a positive, finite number"))
    }
}

fn finite(name: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(Error::param(name, value, "a finite number")) }
}

fn at_least(name: &'static str, value: i64, least: i64) -> Result<i64> {
    if value >= least { Ok(value) } else { Err(Error::param(name, value, format!("at least {least}"))) }
}
