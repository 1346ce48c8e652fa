//! Move between discrete states by Gibbs with gradients: one coordinate changes, chosen by what the gradient says of it.

use super::{EvalCounts, Invariant, reversed::Transition};
use crate::density::{Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The states of walkers, and what changes in one move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum States {
    /// Each coordinate 0 or 1: one of them is flipped.
    Bits,
    /// Each coordinate −1 or +1: one of them is flipped.
    Spins,
    /// Sites of q coordinates each, of which one is 1 and the others are 0: one site takes another value.
    OneHot {
        /// q ≥ 2.
        values: i64,
    },
}

/// Locally informed proposals for discrete states (Grathwohl et al. 2021, arXiv 2102.04509; Zanella 2020): among all x′ that differ from x
/// in one coordinate (or one site),
///
/// ```text
/// q(x → x′) ∝ e^{½ δ(x, x′)},   δ(x, x′) = −∇U(x)·(x′ − x) ≈ U(x) − U(x′)
/// accepted with probability min(1, e^{U(x) − U(x′)} q(x′ → x)/q(x → x′))
/// ```
///
/// Leaves ρ invariant and is reversible, however rough the expansion is; where U is linear in each coordinate (Ising and Potts models,
/// Boltzmann machines) it is exact in each. ∇U is that of the formula for U, evaluated at real x: U must be written so that autograd, or a
/// closed form in [`Energy::evaluate`], gives it. One evaluation for a change of one coordinate, whatever the dimension, where a random
/// choice is mostly rejected; a chain for a lattice needs many `sweeps` of [`Reversed`](super::Reversed).
///
/// ```
/// use jarzynski::kernel::{GibbsWithGradients, States};
/// use jarzynski::model::targets::{FairSpins, Ising};
/// use jarzynski::{Geometric, Reversed, Transport};
/// # fn main() -> jarzynski::Result<()> {
/// let target = Ising::new(4, 0.3)?;
/// let path = Geometric { base: FairSpins::new(16)?, target };
/// let kernel = Reversed::sweeps(GibbsWithGradients::new(States::Spins), 8);
/// let run = Transport::new(kernel, 30, 1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();
/// assert!(((z.value - path.target.log_z_exact()) / z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GibbsWithGradients {
    /// The states of walkers.
    pub states: States,
}

impl GibbsWithGradients {
    /// For walkers with these states.
    pub fn new(states: States) -> Self {
        GibbsWithGradients { states }
    }

    /// log q of every move from rows x `[n, d]` with ∇U(x) `grad`, `[n, d]`, f64: entry i is the move that flips coordinate i, or that
    /// makes it the 1 of its site; −∞ where it is 1 already.
    pub fn log_proposals(&self, x: &Tensor, grad: &Tensor) -> Tensor {
        let (x, slope) = (x.to_kind(Kind::Double), grad.to_kind(Kind::Double));
        let gain = match self.states {
            States::Bits => (&x * 2.0 - 1.0) * &slope,
            States::Spins => &x * &slope * 2.0,
            States::OneHot { values } => {
                let by_site = [x.size()[0], -1, values];
                let (here, slope) = (x.reshape(by_site), slope.reshape(by_site));
                let now = (&here * &slope).sum_dim_intlist(-1, true, Kind::Double);
                (now - &slope).masked_fill(&here.gt(0.5), f64::NEG_INFINITY).reshape(x.size())
            }
        };
        (gain * 0.5).log_softmax(-1, Kind::Double)
    }

    /// Where move `chosen` `[n, 1]` leads.
    fn moved(&self, x: &Tensor, chosen: &Tensor) -> Tensor {
        match self.states {
            States::Bits => x.scatter(-1, chosen, &(1.0 - x.gather(-1, chosen, false))),
            States::Spins => x.scatter(-1, chosen, &-x.gather(-1, chosen, false)),
            States::OneHot { values } => {
                let site = chosen.divide_scalar_mode(values, "floor");
                let by_site = x.reshape([x.size()[0], -1, values]);
                let index = site.unsqueeze(-1).expand([-1, 1, values], false);
                let one = Tensor::zeros([x.size()[0], 1, values], (x.kind(), x.device()));
                let value = (chosen - site * values).unsqueeze(-1);
                by_site.scatter(1, &index, &one.scatter_value(-1, &value, 1.0)).reshape(x.size())
            }
        }
    }

    /// The move that undoes `chosen` at x: the same coordinate, or the value that its site had.
    fn undone(&self, x: &Tensor, chosen: &Tensor) -> Tensor {
        let States::OneHot { values } = self.states else { return chosen.shallow_clone() };
        let site = chosen.divide_scalar_mode(values, "floor");
        let index = site.unsqueeze(-1).expand([-1, 1, values], false);
        let had = x.reshape([x.size()[0], -1, values]).gather(1, &index, false).argmax(-1, false);
        site * values + had
    }
}

/// The evaluation with a gradient: an energy of discrete states may have been evaluated without.
fn with_gradient<E: Energy + ?Sized>(u: &E, x: &Tensor) -> Evaluation {
    let there = u.evaluate(x);
    if there.grad().defined() { there } else { Evaluation::autograd(u, x) }
}

impl<E: Energy + ?Sized> Invariant<E> for GibbsWithGradients {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let completed = (!at.grad().defined()).then(|| Evaluation::autograd(u, &at.x));
        let here = completed.as_ref().unwrap_or(at);
        let proposals = self.log_proposals(&here.x, here.grad());
        // the largest of log q + Gumbel noise is distributed as q
        let uniform = rng.uniform_tensor(&proposals.size(), Kind::Double, here.x.device());
        let gumbel = -(-(uniform.clamp_min(f64::MIN_POSITIVE)).log()).log();
        let chosen = (&proposals + gumbel).argmax(-1, true);
        let there = with_gradient(u, &self.moved(&here.x, &chosen));
        let back = self.log_proposals(&there.x, there.grad());
        let undone = self.undone(&here.x, &chosen);
        let of = |log: &Tensor, which: &Tensor| log.gather(-1, which, false).squeeze_dim(-1);
        let log_ratio =
            here.u.to_kind(Kind::Double) - there.u.to_kind(Kind::Double) + of(&back, &undone) - of(&proposals, &chosen);
        let mut moved = Transition::metropolis(here, there, &log_ratio, rng);
        if completed.is_some() {
            moved.cost += EvalCounts::evaluation(at.len());
        }
        moved
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        match self.states {
            States::OneHot { values } if values < 2 => {
                Err(Error::param("values", values, "at least 2 values of a site"))
            }
            _ => Ok(()),
        }
    }

    /// Walkers that have these states.
    fn check(&self, _u: &E, at: &Evaluation) -> Result<()> {
        let x = &at.x;
        let (right, expected) = match self.states {
            States::Bits => (x.eq(0.0).logical_or(&x.eq(1.0)), "coordinates that are 0 or 1".to_string()),
            States::Spins => (x.abs().eq(1.0), "coordinates that are −1 or 1".into()),
            States::OneHot { values } => {
                let expected = format!("sites of {values} coordinates, one of them 1 and the others 0");
                if x.size()[1] % values != 0 {
                    return Err(Error::Shape { name: "walkers", got: x.size(), expected });
                }
                let sites = x.reshape([x.size()[0], -1, values]);
                let one = sites
                    .sum_dim_intlist(-1, true, None::<Kind>)
                    .eq(1.0)
                    .logical_and(&sites.amax([-1i64].as_slice(), true).eq(1.0));
                (one.logical_and(&sites.eq(0.0).logical_or(&sites.eq(1.0))), expected)
            }
        };
        let wrong = right.logical_not().view(-1).nonzero();
        if wrong.size()[0] == 0 {
            return Ok(());
        }
        let place = wrong.int64_value(&[0, 0]);
        let (row, column) = (place / x.size()[1], place % x.size()[1]);
        let value = format!("{} in row {row}, column {column}", x.double_value(&[row, column]));
        Err(Error::param("walkers", value, expected))
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("GibbsWithGradients", self)
    }
}
