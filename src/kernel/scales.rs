//! Move with several step sizes in turn, for densities whose width varies from place to place.

use super::{Invariant, StepSize, reversed::Transition};
use crate::density::{Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// One sweep of the kernel with each of the steps h f_1, …, h f_m, in this order, h the kernel's own step: leaves ρ invariant, whatever
/// the factors.
///
/// A step chosen by the mean acceptance is that of the walkers which are most. Where ρ is narrower, proposals of that size are nearly
/// all rejected, walkers neither enter nor leave, and log Ẑ lacks that mass without an error bar or an ESS that says so (the neck of
/// [`Funnel`](crate::model::targets::Funnel)). A move costs the sweeps of all factors; its acceptance is their mean.
///
/// ```
/// use jarzynski::kernel::{Hmc, Scales};
/// use jarzynski::{Geometric, Reversed, Transport, model::{Gaussian, targets::Funnel}};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 3], &[3.0; 3])?, target: Funnel::new(3)? };
/// let kernel = Scales::new(Hmc::new(1.0, 2), &[1.0, 0.2, 0.04]);
/// let run = Transport::new(Reversed::new(kernel), 30, 500, 0).quiet().run(&path)?;
/// println!("log Z = {}, exactly 0", run.walkers.log_z());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scales<K> {
    /// The kernel.
    pub kernel: K,
    /// Factors of its step, at least one, each positive.
    pub factors: Vec<f64>,
}

impl<K> Scales<K> {
    /// With these factors.
    pub fn new(kernel: K, factors: &[f64]) -> Self {
        Scales { kernel, factors: factors.to_vec() }
    }
}

impl<K: StepSize> Scales<K> {
    fn of(&self, factor: f64) -> K {
        self.kernel.with_step_size(self.kernel.step_size() * factor)
    }
}

impl<E: Energy + ?Sized, K: Invariant<E> + StepSize> Invariant<E> for Scales<K> {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let each = |factor: &f64, at: &Evaluation| Ok::<_, Infallible>(self.of(*factor).sweep(u, at, rng));
        match Transition::in_turn(self.factors.iter(), at, each) {
            Ok(moved) => moved,
            Err(never) => match never {},
        }
    }

    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Transition::in_turn(self.factors.iter().rev(), at, |factor, at| self.of(*factor).reverse_sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        if self.factors.is_empty() {
            return Err(Error::param("factors", "[]", "at least one factor of the step"));
        }
        self.factors.iter().try_for_each(|factor| self.of(*factor).validate())
    }

    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        self.kernel.check(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Scales", &serde_json::json!({ "kernel": self.kernel.identity()?, "factors": self.factors }))
    }
}

impl<K: StepSize + Clone> StepSize for Scales<K> {
    fn step_size(&self) -> f64 {
        self.kernel.step_size()
    }
    fn with_step_size(&self, step: f64) -> Self {
        Scales { kernel: self.kernel.with_step_size(step), factors: self.factors.clone() }
    }
}
