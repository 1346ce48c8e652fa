//! State the contract of a transition kernel: its forward half computes α, its backward half λ, and A += α − λ.
//!
//! To add a kernel: one file here that implements [`Kernel`] (or [`Invariant`], and wrap it in [`Reversed`]) with its way back
//! for reverse runs, one `pub use`, one row in `tests/it/kernels.rs`. A kernel of your own, in your own crate or a notebook:
//! [`check_kernel`](crate::transport::check_kernel).

mod barker;
mod composed;
mod crank_nicolson;
mod denoise;
mod escorted;
mod flow;
mod gibbs;
mod gibbs_with_gradients;
mod hmc;
mod jumps;
mod langevin;
mod mala;
mod mapped;
mod matched;
mod ode;
mod random_walk;
mod reversal;
mod reversed;
mod scales;
mod split;
mod stepped;
mod ula;
mod underdamped;
mod whitened;

pub use barker::Barker;
pub use crank_nicolson::CrankNicolson;
pub use denoise::Denoise;
pub(crate) use denoise::pull;
pub use escorted::{Escorted, Integrator, zeta};
pub use flow::{FlowKernel, Order};
pub use gibbs::{Gibbs, GibbsReverse};
pub use gibbs_with_gradients::{GibbsWithGradients, States};
pub use hmc::Hmc;
pub use jumps::Jumps;
pub use mala::Mala;
pub use mapped::Mapped;
pub use matched::Matched;
pub use ode::{Map, Ode};
pub use random_walk::RandomWalk;
pub use reversal::Reversal;
pub use reversed::{Invariant, Reversed, Transition};
pub use scales::Scales;
pub use split::{Langevin, Split};
pub use stepped::{StepSize, Stepped};
pub use ula::{ReverseAt, Ula};
pub use underdamped::Underdamped;
pub use whitened::{InWhitened, Whitened};

use crate::density::{Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use crate::walkers::Walkers;
use serde_json::Value;
use std::ops::AddAssign;
use tch::Tensor;

/// Evaluations, counted in rows (images, for a net on images).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EvalCounts {
    /// Rows sent forward through U.
    pub forward: u64,
    /// Rows sent backward, to x or to θ.
    pub backward: u64,
    /// Rows at which a velocity b was evaluated.
    pub drift: u64,
    /// Rows at which b and its Jacobian were evaluated together.
    pub jacobian: u64,
}

impl EvalCounts {
    /// One evaluation of U and ∇U at `n` rows.
    pub fn evaluation(n: usize) -> Self {
        EvalCounts { forward: n as u64, backward: n as u64, ..Default::default() }
    }

    /// One evaluation of U, ∇U and b at `n` rows.
    pub fn arrival(n: usize) -> Self {
        EvalCounts { drift: n as u64, ..EvalCounts::evaluation(n) }
    }
}

impl AddAssign for EvalCounts {
    fn add_assign(&mut self, o: EvalCounts) {
        self.forward += o.forward;
        self.backward += o.backward;
        self.drift += o.drift;
        self.jacobian += o.jacobian;
    }
}

/// What [`Kernel::forward`] passes to [`Kernel::backward`] across the change of θ.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Move {
    /// Where the walkers go, `[n, d]`.
    pub y: Tensor,
    /// α = U_k(x) − log f_k(x→y), up to a constant shared with λ, `[n]`, f64.
    pub alpha: Tensor,
    /// y under θ_k, where the kernel had to evaluate it.
    pub at_y: Option<Evaluation>,
    /// Mean acceptance probability, for kernels that reject: one number, left where the walkers are.
    pub acceptance: Option<Tensor>,
    /// Passes spent.
    pub cost: EvalCounts,
    /// Why the move cannot be weighed, if it cannot: ends the run.
    pub fault: Option<String>,
}

impl Move {
    /// To `y` `[n, d]` with α `[n]` (f64), after the evaluations that `cost` counts.
    pub fn new(y: Tensor, alpha: Tensor, cost: EvalCounts) -> Self {
        Move { y, alpha, at_y: None, acceptance: None, cost, fault: None }
    }

    /// With y evaluated under θ_k.
    pub fn evaluated(self, at_y: Evaluation) -> Self {
        Move { at_y: Some(at_y), ..self }
    }

    /// With the mean acceptance probability of a kernel that rejects, 0-dimensional.
    pub fn accepted(self, acceptance: Tensor) -> Self {
        Move { acceptance: Some(acceptance), ..self }
    }

    /// With the reason why it cannot be weighed: ends the run.
    pub fn unweighable(self, fault: impl Into<String>) -> Self {
        Move { fault: Some(fault.into()), ..self }
    }
}

/// What [`Kernel::backward`] returns.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Arrival {
    /// λ = U_{k+1}(y) − log r_{k+1}(y→x), up to the same constant, `[n]`, f64.
    pub lambda: Tensor,
    /// Where the walkers are now, evaluated under θ_{k+1} and kept for the next move.
    pub evaluation: Evaluation,
    /// Mean acceptance probability, for kernels that reject in this half.
    pub acceptance: Option<Tensor>,
    /// Passes spent.
    pub cost: EvalCounts,
}

impl Arrival {
    /// λ `[n]` (f64), and where the walkers are, evaluated under θ_{k+1}, after the evaluations that `cost` counts.
    pub fn new(lambda: Tensor, evaluation: Evaluation, cost: EvalCounts) -> Self {
        Arrival { lambda, evaluation, acceptance: None, cost }
    }

    /// With the mean acceptance probability of a kernel that rejects in this half, 0-dimensional.
    pub fn accepted(self, acceptance: Tensor) -> Self {
        Arrival { acceptance: Some(acceptance), ..self }
    }
}

/// A step with the curvature that bounds it: stable while h times the curvature is below 2.
#[derive(Debug)]
pub struct BoundedStep<E: ?Sized> {
    /// The step h.
    pub h: f64,
    /// The largest curvature of U at rows x `[n, d]`, in the coordinates that the kernel moves in.
    pub curvature: fn(&E, &Tensor) -> f64,
}

/// A normalised forward density f paired with a normalised backward density r, for energies of type `E`.
///
/// Any such pair makes A += α − λ exact (Prop. 1, eqs (24)-(26)); the choice of r decides only the variance.
/// What a kernel needs from the energy is a bound of its impl. A kernel owns its step *and* its noise.
pub trait Kernel<E: Energy + ?Sized>: std::fmt::Debug {
    /// At θ_k: propose y from `at` and compute α.
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move;

    /// As [`forward`](Kernel::forward) for walkers without weights: α need not be computed. For PCD and CD.
    fn forward_unweighted(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        self.forward(u, at, rng)
    }

    /// At θ_{k+1}: compute λ for the move from `at` and evaluate the energy at y.
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival;

    /// One whole move at fixed θ: the evaluation at y and the weight increment α − λ.
    fn step(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Step {
        let mv = self.forward(u, at, rng);
        let alpha = mv.alpha.shallow_clone();
        let (acceptance, mut cost) = (mv.acceptance.as_ref().map(Tensor::shallow_clone), mv.cost);
        let arrival = self.backward(u, at, mv, rng);
        cost += arrival.cost;
        let acceptance = acceptance.or(arrival.acceptance);
        Step { evaluation: arrival.evaluation, increment: alpha - arrival.lambda, acceptance, cost }
    }

    /// One step of walkers with weights, the algorithm's box: forward at `from`, θ_k, backward at `to`, θ_{k+1}, and
    /// A += α − λ. Returns the evaluations spent.
    ///
    /// ```
    /// use jarzynski::{Kernel, Rng, Ula, Walkers, model::Gaussian};
    /// # fn main() -> jarzynski::Result<()> {
    /// let (mut rng, kernel) = (Rng::new(0), Ula::new(0.1));
    /// let narrowing = |k: usize| Gaussian::new(&[0.0], &[1.0 - 0.05 * k as f64]);
    /// let mut walkers = Walkers::start_from(&narrowing(0)?, &narrowing(0)?, 1_000, false, &mut rng)?;
    /// for k in 0..10 {
    ///     kernel.advance(&narrowing(k)?, &narrowing(k + 1)?, &mut walkers, &mut rng);
    /// }
    /// let exact = 0.5 * (2.0 * std::f64::consts::PI).ln() + 0.5f64.ln();
    /// let z = walkers.log_z();
    /// assert!(((z.value - exact) / z.se).abs() < 5.0);
    /// # Ok(()) }
    /// ```
    fn advance(&self, from: &E, to: &E, walkers: &mut Walkers, rng: &mut Rng) -> EvalCounts {
        let mv = self.forward(from, walkers.evaluation(), rng);
        let (alpha, mut cost) = (mv.alpha.shallow_clone(), mv.cost);
        let arrival = self.backward(to, walkers.evaluation(), mv, rng);
        cost += arrival.cost;
        walkers.commit(arrival.evaluation, &alpha, &arrival.lambda);
        cost
    }

    /// One step of a reverse run: from y, which `at` evaluates under θ_{k+1} (`to`), draws x ~ r_{k+1}(y → ·) and returns it
    /// evaluated under θ_k (`from`) with α − λ of the pair (x, y). `from` and `to` are what the two halves of the forward step
    /// get.
    ///
    /// A path from ρ_K down to ρ_0 that moves by r has, with the same A as a forward one, E_R e^{−A} = Z_0/Z_K, and the two
    /// distributions of A cross at log Z_K/Z_0 (Crooks): see [`Transport::bracket`](crate::Transport::bracket).
    ///
    /// # Errors
    /// By default: a kernel that does not say how its backward density is drawn from is named and refused.
    fn reverse(&self, _from: &E, _to: &E, _at: &Evaluation, _rng: &mut Rng) -> Result<Reversal> {
        Err(reversal::irreversible(&format!("{self:?}"), "Kernel::reverse"))
    }

    /// The step h of a kernel that is unstable where h times the curvature of U is above 2; training records h times the
    /// curvature in `h_curvature`.
    fn bounded_step(&self) -> Option<BoundedStep<E>> {
        None
    }

    /// Checks the kernel's own parameters. Called once before a run.
    ///
    /// # Errors
    /// Parameters out of range; by default none.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Checks that the energy gives what the kernel needs, in the right shape. Called once, where the walkers start.
    ///
    /// # Errors
    /// What is missing or of the wrong shape; by default none.
    fn check(&self, _u: &E, _at: &Evaluation) -> Result<()> {
        Ok(())
    }

    /// What tells this kernel from any other: its name and all of its settings. A checkpointed run is continued only by a kernel
    /// with the same; a run without checkpoints does not need it. [`identify`] writes it in one line.
    ///
    /// # Errors
    /// By default: a kernel that does not implement this has no identity.
    fn identity(&self) -> Result<Value> {
        Err(unidentified(&format!("{self:?}")))
    }
}

/// What [`Kernel::identity`] says of a kernel whose settings serde can write: `{ name: settings }`.
///
/// ```
/// use jarzynski::kernel::{Kernel, Ula, identify};
/// use jarzynski::model::Mixture;
/// let same = identify("Ula", &Ula::new(0.1)).unwrap();
/// assert_eq!(same, Kernel::<Mixture>::identity(&Ula::new(0.1)).unwrap());
/// assert_ne!(same, Kernel::<Mixture>::identity(&Ula::new(0.2)).unwrap());
/// ```
///
/// # Errors
/// Settings that JSON cannot hold.
pub fn identify(name: &str, settings: &impl serde::Serialize) -> Result<Value> {
    let settings = serde_json::to_value(settings)
        .map_err(|e| Error::param("kernel", format!("{name} ({e})"), "settings that JSON can hold"))?;
    Ok(serde_json::json!({ name: settings }))
}

fn unidentified(kernel: &str) -> Error {
    let expected = "a kernel that says what it is, so that no other one continues its checkpoints: implement `identity` for it, \
                    by `identify(\"its name\", self)` where it is `Serialize`";
    Error::param("kernel", kernel, expected)
}

impl<E: Energy + ?Sized, K: Kernel<E> + ?Sized> Kernel<E> for &K {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        (**self).forward(u, at, rng)
    }
    fn forward_unweighted(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        (**self).forward_unweighted(u, at, rng)
    }
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        (**self).backward(u, at, mv, rng)
    }
    fn step(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Step {
        (**self).step(u, at, rng)
    }
    fn reverse(&self, from: &E, to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        (**self).reverse(from, to, at, rng)
    }
    fn bounded_step(&self) -> Option<BoundedStep<E>> {
        (**self).bounded_step()
    }
    fn validate(&self) -> Result<()> {
        (**self).validate()
    }
    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        (**self).check(u, at)
    }
    fn identity(&self) -> Result<Value> {
        (**self).identity()
    }
}

/// A whole move at fixed θ.
#[derive(Debug)]
pub struct Step {
    /// Where the walkers are.
    pub evaluation: Evaluation,
    /// α − λ, `[n]`, f64.
    pub increment: Tensor,
    /// Mean acceptance probability, for kernels that reject.
    pub acceptance: Option<Tensor>,
    /// Passes spent.
    pub cost: EvalCounts,
}
