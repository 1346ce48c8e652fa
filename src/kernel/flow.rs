//! List the schemes that carry walkers along a flow, by name, with the order that each declares.

use super::{Arrival, Escorted, Integrator, Kernel, Langevin, Map, Matched, Move, Ode, Reversal, Split};
use crate::density::{At, Evaluation, Flow, Noise};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};

/// Exponents of the step h with which a scheme's weights vanish on an exact flow, as h → 0 at fixed ε.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Order {
    /// Of the root mean square of one increment A_{k+1} − A_k.
    pub increment: f64,
    /// Of the root mean square of A_T: 1 − ESS/N and Var A_T go with twice this.
    pub total: f64,
}

/// Any of the schemes for flows, for tables, tuning and configurations. All are exact for every h, ε and velocity.
///
/// ```
/// use jarzynski::kernel::FlowKernel;
/// let kernel = FlowKernel::named("rk4-mala", 0.5).unwrap();
/// assert_eq!((kernel.name(), kernel.order().total), ("rk4-mala", 4.0));
/// assert!(FlowKernel::named("rk5", 0.5).unwrap_err().to_string().contains("escorted, midpoint"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FlowKernel {
    /// Prop. 2 and its midpoint and Heun variants.
    Escorted(Escorted),
    /// With the backward covariance of the flow.
    Matched(Matched),
    /// A map with its log-determinant, then ULA or MALA.
    Split(Split),
    /// The map alone.
    Ode(Ode),
}

impl FlowKernel {
    /// All names, Prop. 2 first.
    pub const NAMES: [&str; 10] = [
        "escorted",
        "midpoint",
        "heun",
        "matched",
        "euler-ula",
        "euler-mala",
        "rk4-ula",
        "rk4-mala",
        "ode-euler",
        "ode-rk4",
    ];

    /// The scheme of that name with noise ε (which the two without noise ignore).
    ///
    /// # Errors
    /// No such name.
    pub fn named(name: &str, eps: impl Into<Noise>) -> Result<Self> {
        let split = |map, then, eps| FlowKernel::Split(Split::new(map, then, eps));
        let eps = eps.into();
        Ok(match name {
            "escorted" => FlowKernel::Escorted(Escorted::new(eps)),
            "midpoint" => FlowKernel::Escorted(Escorted::midpoint(eps)),
            "heun" => FlowKernel::Escorted(Escorted::heun(eps)),
            "matched" => FlowKernel::Matched(Matched::new(eps)),
            "euler-ula" => split(Map::Euler, Langevin::Ula, eps),
            "euler-mala" => split(Map::Euler, Langevin::Mala, eps),
            "rk4-ula" => split(Map::Rk4, Langevin::Ula, eps),
            "rk4-mala" => split(Map::Rk4, Langevin::Mala, eps),
            "ode-euler" => FlowKernel::Ode(Ode::new(Map::Euler)),
            "ode-rk4" => FlowKernel::Ode(Ode::new(Map::Rk4)),
            _ => return Err(Error::param("scheme", name, format!("one of {}", Self::NAMES.join(", ")))),
        })
    }

    /// Its name in [`NAMES`](FlowKernel::NAMES).
    pub fn name(&self) -> &'static str {
        match self {
            FlowKernel::Escorted(k) => match k.integrator {
                Integrator::Euler => "escorted",
                Integrator::Midpoint => "midpoint",
                Integrator::Heun => "heun",
            },
            FlowKernel::Matched(_) => "matched",
            FlowKernel::Split(k) => match (k.map, k.then) {
                (Map::Euler, Langevin::Ula) => "euler-ula",
                (Map::Euler, Langevin::Mala) => "euler-mala",
                (Map::Rk4, Langevin::Ula) => "rk4-ula",
                (Map::Rk4, Langevin::Mala) => "rk4-mala",
            },
            FlowKernel::Ode(k) => match k.map {
                Map::Euler => "ode-euler",
                Map::Rk4 => "ode-rk4",
            },
        }
    }

    /// The order that the scheme declares and that the experiment `flow-order` measures.
    pub fn order(&self) -> Order {
        match self {
            FlowKernel::Escorted(k) => k.order(),
            FlowKernel::Matched(k) => k.order(),
            FlowKernel::Split(k) => k.order(),
            FlowKernel::Ode(k) => k.order(),
        }
    }

    /// The noise, where there is one.
    pub fn noise(&self) -> Option<&Noise> {
        match self {
            FlowKernel::Escorted(k) => Some(&k.eps),
            FlowKernel::Matched(k) => Some(&k.eps),
            FlowKernel::Split(k) => Some(&k.eps),
            FlowKernel::Ode(_) => None,
        }
    }

    fn inner<P: Flow + ?Sized>(&self) -> &dyn for<'a> Kernel<At<'a, P>> {
        match self {
            FlowKernel::Escorted(k) => k,
            FlowKernel::Matched(k) => k,
            FlowKernel::Split(k) => k,
            FlowKernel::Ode(k) => k,
        }
    }
}

impl<P: Flow + ?Sized> Kernel<At<'_, P>> for FlowKernel {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.inner::<P>().forward(u, at, rng)
    }
    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.inner::<P>().backward(u, at, mv, rng)
    }
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        self.inner::<P>().reverse(from, to, at, rng)
    }
    fn validate(&self) -> Result<()> {
        self.inner::<P>().validate()
    }
    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        self.inner::<P>().check(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("FlowKernel", self)
    }
}
