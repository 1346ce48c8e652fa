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
//! | [`Logistic`] | – (quadrature where p ≤ 2) | – | Neal & Murray; the user's own design matrix |
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
mod cox;
mod funnel;
mod lattice;
mod logistic;
mod many_well;
mod mixtures;
mod well;

pub use banana::Banana;
pub use cox::{CoxField, CoxProcess};
pub use funnel::Funnel;
pub use lattice::Phi4;
pub use logistic::Logistic;
pub use many_well::ManyWell;
pub use mixtures::{modes_25, modes_40};
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
