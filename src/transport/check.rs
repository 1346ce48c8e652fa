//! Check a kernel: exact averages under a moving target, and a wrong weight that must be noticed.

use super::Transport;
use crate::density::{At, Base, Differentiable, Energy, Evaluation, Flow, Path};
use crate::error::{Error, Result, guard};
use crate::io::frame::{Rows, mean_se};
use crate::kernel::{Arrival, EvalCounts, Kernel, Move, Reversal};
use crate::model::Gaussian;
use crate::numeric::Rng;
use crate::numeric::fit::log_log;
use crate::run::{Outcome, Run};
use crate::walkers::Walkers;
use polars::prelude::DataFrame;
use tch::{Kind, Tensor};

/// The target of [`check_kernel`]: N(m_t, s_t² I) in two dimensions, m from 0 to .8 and s from 1 to .75, not normalised.
///
/// As a flow it has a velocity that is wrong in both its parts: any b leaves weights exact.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drifting {
    base: Gaussian,
}

const D: i64 = 2;
const PLACE: f64 = 0.8;
const WIDTH: f64 = 0.75;

impl Drifting {
    fn new() -> Result<Self> {
        Ok(Drifting { base: Gaussian::new(&[0.0; D as usize], &[1.0; D as usize])? })
    }

    fn at(t: f64) -> (f64, f64) {
        (PLACE * t, 1.0 + t * (WIDTH - 1.0))
    }
}

impl Path for Drifting {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = Self::at(t);
        ((x - m) / s).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (m, s) = Self::at(t);
        Evaluation::new(x.shallow_clone(), self.energy(t, x), (x - m) / (s * s))
    }
}

impl Differentiable for Drifting {}

impl Flow for Drifting {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = Self::at(t);
        (x - m) * (0.5 * (WIDTH - 1.0) / s) + 0.7 * PLACE
    }
}

/// What [`check_kernel`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Contract {
    /// One row per claim: `claim, measured, wanted, kept` (1 or 0).
    pub table: DataFrame,
    /// Whether every claim was kept.
    pub kept: bool,
    /// The claims that were not, in words.
    pub broken: Vec<String>,
}

const N: usize = 40_000;
const STEPS: usize = 20;

/// A kernel with λ at θ_k instead of θ_{k+1}: the mistake that a weight must not survive.
#[derive(Debug)]
struct Shifted<'k, K>(&'k K);

impl<'a, K: Kernel<At<'a, Drifting>>> Kernel<At<'a, Drifting>> for Shifted<'_, K> {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }

    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let before = At { t: u.t - u.h, ..*u };
        let wrong = self.0.backward(&before, at, mv, rng);
        Arrival::new(wrong.lambda, u.evaluate(&wrong.evaluation.x), wrong.cost)
    }
}

/// A kernel whose reverse steps take the energy of y in λ at θ_k instead of θ_{k+1}.
#[derive(Debug)]
struct Stale<'k, K>(&'k K);

impl<'a, K: Kernel<At<'a, Drifting>>> Kernel<At<'a, Drifting>> for Stale<'_, K> {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }

    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }

    fn reverse(
        &self,
        from: &At<'a, Drifting>,
        to: &At<'a, Drifting>,
        at: &Evaluation,
        rng: &mut Rng,
    ) -> Result<Reversal> {
        let mut step = self.0.reverse(from, to, at, rng)?;
        step.increment = &step.increment + at.u.to_kind(Kind::Double) - from.energy(&at.x).to_kind(Kind::Double);
        Ok(step)
    }
}

/// log-weights A of a reverse run along the path, from exact draws of its end.
fn walk_back<K: for<'a> Kernel<At<'a, Drifting>>>(kernel: &K, path: &Drifting, seed: u64) -> Result<Vec<f64>> {
    let draws = Rng::new(seed).split(1).normal(&[N as i64, D], Kind::Double, tch::Device::Cpu) * WIDTH + PLACE;
    let run = Transport::new(kernel, STEPS, N, seed).every(STEPS).quiet().reverse(path, &draws)?;
    Ok(Vec::try_from(-arrived(kernel, run)?.log_weights())?)
}

/// By how many standard errors log mean e^{−A} on reverse paths misses −log Z_1/Z_0.
fn exponential(reverse: &[f64], exact: f64) -> f64 {
    let (mean, se) = mean_se(&reverse.iter().map(|a| (exact - a).exp()).collect::<Vec<_>>());
    let z = (mean - 1.0) / se.max(1e-12);
    if z.is_nan() { f64::INFINITY } else { z.abs() }
}

/// By how many standard errors p_F(A) e^{A − C} and p_R(A) differ: with p = 1/(1 + e^{A − C}) and any bounded g,
/// E_F (1 − p) g = E_R p g. The farthest of three g that see level, slope and spread of the histograms.
fn crooks(forward: &[f64], reverse: &[f64], exact: f64) -> f64 {
    let p = |a: f64| 1.0 / (1.0 + (a - exact).exp());
    let each: [fn(f64) -> f64; 3] = [|_| 1.0, f64::tanh, |x| (2.0 * x).cos()];
    each.iter().fold(0.0, |worst: f64, g| {
        let (f, f_se) = mean_se(&forward.iter().map(|a| (1.0 - p(*a)) * g(a - exact)).collect::<Vec<_>>());
        let (r, r_se) = mean_se(&reverse.iter().map(|a| p(*a) * g(a - exact)).collect::<Vec<_>>());
        let z = (f - r) / f_se.hypot(r_se).max(1e-12);
        if z.is_nan() { f64::INFINITY } else { worst.max(z.abs()) }
    })
}

/// The walkers after all steps of a transport along the path.
fn walk<K: for<'a> Kernel<At<'a, Drifting>>>(kernel: &K, path: &Drifting, seed: u64) -> Result<Walkers> {
    arrived(kernel, Transport::new(kernel, STEPS, N, seed).every(STEPS).quiet().run(path)?)
}

/// The walkers of a run that finished.
fn arrived(kernel: &impl std::fmt::Debug, run: Run) -> Result<Walkers> {
    match run.outcome {
        Outcome::Finished => Ok(run.walkers),
        Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } => Err(Error::param(
            "kernel",
            format!("{kernel:?}"),
            format!("one that can be followed; step {step}: {cause}"),
        )),
    }
}

/// log Z of the path's end, nats.
fn exact_log_z() -> f64 {
    D as f64 * (WIDTH * (2.0 * std::f64::consts::PI).sqrt()).ln()
}

/// log Ẑ, E|x − m|² and E x_0 against the closed form, in standard errors; the farthest.
fn farthest(walkers: &Walkers) -> Result<f64> {
    let (d, exact) = (D as f64, exact_log_z());
    let z = walkers.log_z();
    let spread = walkers.mean(&(walkers.x() - PLACE).square().sum_dim_intlist(-1, false, None::<Kind>))?;
    let place = walkers.mean(&walkers.x().select(1, 0))?;
    let scores = [
        (z.value - exact) / z.se.max(1e-12),
        (spread.value - d * WIDTH * WIDTH) / spread.se.max(1e-12),
        (place.value - PLACE) / place.se.max(1e-12),
    ];
    Ok(scores.iter().fold(0.0, |w: f64, z| if z.is_nan() { f64::INFINITY } else { w.max(z.abs()) }))
}

/// Root mean square of one step's weight increment at fixed θ.
fn increment<K: for<'a> Kernel<At<'a, Drifting>>>(kernel: &K, path: &Drifting) -> Result<f64> {
    guard(|| {
        let (u, mut rng) = (At::new(path, 0.5), Rng::new(31));
        let (m, s) = Drifting::at(0.5);
        let x = rng.normal(&[N as i64, D], Kind::Double, tch::Device::Cpu) * s + m;
        let step = kernel.step(&u, &u.evaluate(&x), &mut rng);
        Ok(step.increment.square().mean(Kind::Double).double_value(&[]).sqrt())
    })
}

/// Checks a kernel of your own, `family(h)`, at the step h: 20 steps of 40,000 walkers under a target that moves and narrows.
///
/// - *exact*: log Ẑ, the mean and the spread are within 5 standard errors of their closed forms. It holds for any α and λ of
///   normalised densities, however bad the kernel moves.
/// - *a wrong weight is noticed*: the same kernel with λ taken at θ_k must be off by more than 5: the reject twin, without which
///   the first claim would prove nothing.
/// - *reverse runs*, where the kernel implements [`Kernel::reverse`]: log mean e^{−A} on reverse paths is −log Z_K/Z_0, the
///   distributions of A in both directions keep Crooks' identity, and a twin with U_k(y) in λ does not.
/// - *order*: at fixed θ the increment falls as a power of h above ½, so that weights vanish as steps shrink; a kernel that
///   leaves ρ invariant has none at all.
/// - *same seed, same bits*, and *costs*: evaluations are declared.
///
/// ```
/// use jarzynski::{Mala, Reversed, Ula, check_kernel};
/// # fn main() -> jarzynski::Result<()> {
/// assert!(check_kernel(Ula::new, 0.1)?.kept);
/// assert!(check_kernel(|h| Reversed::new(Mala::new(h)), 0.2)?.kept);
/// # Ok(()) }
/// ```
///
/// # Errors
/// What the kernel says of the step, `Torch` where it panics, `Shape` for weights of another shape.
pub fn check_kernel<K, F>(family: F, h: f64) -> Result<Contract>
where
    F: Fn(f64) -> K,
    K: for<'a> Kernel<At<'a, Drifting>>,
{
    let path = Drifting::new()?;
    let kernel = family(h);
    kernel.validate()?;
    let start = guard(|| Ok(At::new(&path, 0.0).evaluate(&path.base().sample(64, &mut Rng::new(1)))))?;
    kernel.check(&At::new(&path, 0.0), &start)?;
    let (mut rows, mut broken) = (Rows::new(&["claim", "measured", "wanted", "kept"]), Vec::new());
    let mut claim = |what: &str, measured: String, wanted: &str, kept: bool| {
        rows.push((what, &measured, wanted, if kept { "yes" } else { "no" }));
        if !kept {
            broken.push(format!("{what}: {measured}, wanted {wanted}"));
        }
    };
    let right = walk(&kernel, &path, 11)?;
    let z = farthest(&right)?;
    claim("exact under a moving target", format!("{z:.1} standard errors off"), "at most 5", z < 5.0);
    let ess = right.ess();
    claim("the check can tell", format!("ESS/N {ess:.3}"), "above .05: a smaller h", ess > 0.05);
    let twin = farthest(&walk(&Shifted(&kernel), &path, 11)?)?;
    claim("a wrong weight is noticed", format!("{twin:.1} standard errors off"), "more than 5", twin > 5.0);
    let (near, last) = At::step(&path, 0.9, 1.0);
    let some = guard(|| Ok(last.evaluate(&start.x)))?;
    match guard(|| kernel.reverse(&near, &last, &some, &mut Rng::new(3))) {
        Err(Error::Param { name: "kernel", expected, .. }) => claim("reverse runs", "none".into(), &expected, true),
        Err(e) => return Err(e),
        Ok(_) => {
            let exact = exact_log_z() - path.base().log_z();
            let forward = Vec::try_from(right.log_weights())?;
            let reverse = walk_back(&kernel, &path, 13)?;
            let z = exponential(&reverse, exact).max(crooks(&forward, &reverse, exact));
            claim("exact on reverse paths", format!("{z:.1} standard errors off"), "at most 5", z < 5.0);
            let wrong = walk_back(&Stale(&kernel), &path, 13)?;
            let twin = exponential(&wrong, exact).max(crooks(&forward, &wrong, exact));
            claim(
                "a wrong reverse run is noticed",
                format!("{twin:.1} standard errors off"),
                "more than 5",
                twin > 5.0,
            );
        }
    }
    let steps: Vec<f64> = (0..5).map(|i| h / 2f64.powi(i)).collect();
    let rms = steps.iter().map(|h| increment(&family(*h), &path)).collect::<Result<Vec<_>>>()?;
    if rms.iter().all(|r| *r < 1e-12) {
        claim("order at fixed θ", "no increment: ρ is left invariant".into(), "above h^.5, or none", true);
    } else {
        let (p, se) = log_log(&steps, &rms).map_or((f64::NAN, f64::NAN), |fit| (fit.slope, fit.se));
        claim("order at fixed θ", format!("h^{p:.2} ± {se:.2}"), "above h^.5, or none", p - 5.0 * se > 0.5 || p > 0.9);
    }
    let again = walk(&kernel, &path, 11)?;
    let same = right.x().equal(again.x()) && right.log_weights().equal(again.log_weights());
    claim("same seed, same bits", if same { "the same" } else { "others" }.into(), "the same", same);
    let other = walk(&kernel, &path, 12)?;
    let differs = !right.x().equal(other.x());
    claim("another seed, other bits", if differs { "others" } else { "the same" }.into(), "others", differs);
    let cost = guard(|| {
        let (now, next) = At::step(&path, 0.0, 0.1);
        let mut rng = Rng::new(2);
        let mv = kernel.forward(&now, &start, &mut rng);
        let mut cost = mv.cost;
        cost += kernel.backward(&next, &start, mv, &mut rng).cost;
        Ok(cost)
    })?;
    let declared = format!("{} forward, {} backward for 64 walkers", cost.forward, cost.backward);
    claim("evaluations are declared", declared, "at least one", cost != EvalCounts::default());
    let kept = broken.is_empty();
    Ok(Contract { table: rows.finish()?, kept, broken })
}
