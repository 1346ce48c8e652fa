//! Choose the times of a transport, and the step of its kernel at each, by a pilot run with walkers of its own.

use super::Transport;
use crate::density::{At, Path};
use crate::error::{Error, Result, guard, no_grad};
use crate::kernel::{EvalCounts, Kernel, StepSize, Stepped};
use crate::numeric::Rng;
use crate::walkers::{Scheme, Walkers, zero_density};
use tch::Kind;

/// A pilot run: walkers of its own go along the path, and where they stand at t the next time is the one at which the conditional
/// ESS of the change of energy, (Σ w e^δ)²/Σ w e^{2δ} with δ = U_t − U_{t′}, is a given share (Zhou, Johansen, Aston 2016). On the way
/// the step of a kernel that rejects is adapted to a target acceptance at each time.
///
/// Times and steps are fixed afterwards, and the run that is weighed has other walkers: its weights are exact and Ẑ is unbiased.
/// Chosen on the way by the walkers that are weighed, they depend on the walkers, and Ẑ is biased (by O(1/N), tested in
/// `tests/it/pilot.rs`).
///
/// [`Transport::adapted`] spaces a given *number* of times by the thermodynamic length instead; here the number follows from the
/// share: about ℓ √(share/(1 − share)) for a path of length ℓ.
///
/// ```
/// use jarzynski::kernel::Hmc;
/// use jarzynski::model::{Gaussian, targets::ManyWell};
/// use jarzynski::transport::Pilot;
/// use jarzynski::{Base, Geometric, Reversed};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 4], &[2.0; 4])?, target: ManyWell::pairs(4)? };
/// let found = Pilot::new(200, 1).share(0.9).acceptance(0.7).run(Reversed::new(Hmc::new(1.0, 3)), &path)?;
/// let run = found.transport(1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();
/// assert!(((z.value - path.target.log_z()) / z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Pilot {
    /// Walkers of the pilot; some hundred tell the times well enough.
    pub walkers: usize,
    /// The conditional ESS at which the next time is, as a fraction in (0, 1).
    pub share: f64,
    /// The mean acceptance to which the step is adapted, in (0, 1); none leaves the step as it is, as for kernels that do not reject.
    pub acceptance: Option<f64>,
    /// The number of times beyond which the pilot gives up.
    pub most: usize,
    /// Seed. A run with the same seed has other random numbers.
    pub seed: u64,
}

/// What a pilot run found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Piloted<K> {
    /// The kernel with a step for each time.
    pub kernel: Stepped<K>,
    /// Times 0 = t_0 < … < t_K = 1.
    pub times: Vec<f64>,
    /// The acceptance at each time but the last, with the step that was settled on; NaN for kernels that do not reject.
    pub acceptance: Vec<f64>,
    /// Evaluations that the pilot spent.
    pub cost: EvalCounts,
}

impl<K: Clone> Piloted<K> {
    /// A run along these times with this kernel, N `walkers`, never resampled.
    pub fn transport(&self, walkers: usize, seed: u64) -> Transport<Stepped<K>> {
        Transport::new(self.kernel.clone(), self.times.len() - 1, walkers, seed).times(&self.times)
    }
}

impl<K> Piloted<K> {
    /// The same with K times in place of those found, as dense where these are dense: what the run has evaluations for. Between the
    /// times found t is linear in their number; the step is a function of t as before.
    ///
    /// # Errors
    /// K = 0.
    pub fn in_steps(mut self, steps: usize) -> Result<Self> {
        if steps == 0 {
            return Err(Error::param("steps", 0, "at least 1"));
        }
        let found = self.times.len() - 1;
        let at = |k: usize| {
            let place = k as f64 * found as f64 / steps as f64;
            let i = (place as usize).min(found - 1);
            self.times[i] + (self.times[i + 1] - self.times[i]) * (place - i as f64)
        };
        let mut times: Vec<f64> = (0..=steps).map(at).collect();
        (times[0], times[steps]) = (0.0, 1.0);
        self.times = times;
        Ok(self)
    }
}

/// Moves at one time until the acceptance is near its target, at the first time and later.
const TRIALS: [usize; 2] = [60, 12];
/// How near.
const NEAR: f64 = 0.05;
/// Trials of the next time.
const SEARCH: usize = 30;
/// Below this ESS/N the pilot's walkers are resampled.
const ESS_MIN: f64 = 0.5;

impl Pilot {
    /// With so many walkers, a conditional ESS of .9 from time to time, and the kernel's own step.
    pub fn new(walkers: usize, seed: u64) -> Self {
        Pilot { walkers, share: 0.9, acceptance: None, most: 10_000, seed }
    }

    /// With another conditional ESS from time to time: nearer to 1 gives more times.
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Adapts the step to this mean acceptance; .57 for MALA and Barker, .65 for HMC and .234 for a random walk are best in high
    /// dimension.
    pub fn acceptance(mut self, acceptance: f64) -> Self {
        self.acceptance = Some(acceptance);
        self
    }

    fn validate(&self) -> Result<()> {
        if self.walkers < 2 {
            return Err(Error::param("walkers", self.walkers, "at least 2: one walker has no conditional ESS"));
        }
        for (name, value) in [("share", Some(self.share)), ("acceptance", self.acceptance)] {
            if let Some(bad) = value.filter(|v| !(*v > 0.0 && *v < 1.0)) {
                return Err(Error::param(name, bad, "a fraction above 0 and below 1"));
            }
        }
        Ok(())
    }

    /// Goes along `path` with `kernel`, whose own step is the first to be tried.
    ///
    /// # Errors
    /// Fewer than 2 walkers, a share or an acceptance outside (0, 1); a kernel that does not reject where an acceptance is wanted; more
    /// than `most` times; what the path or the kernel refuses, and energies that are not finite on the way.
    pub fn run<P: Path, K>(&self, kernel: K, path: &P) -> Result<Piloted<K>>
    where
        K: for<'a> Kernel<At<'a, P>> + StepSize,
    {
        self.validate()?;
        Kernel::<At<P>>::validate(&kernel)?;
        path.weighable()?;
        guard(|| self.guarded(kernel, path))
    }

    fn guarded<P: Path, K>(&self, kernel: K, path: &P) -> Result<Piloted<K>>
    where
        K: for<'a> Kernel<At<'a, P>> + StepSize,
    {
        let mut rng = Rng::new(self.seed).split(0x9170);
        let start = At::new(path, 0.0);
        let mut walkers = Walkers::start_from(path.base(), &start, self.walkers, false, &mut rng)?;
        kernel.check(&start, walkers.evaluation())?;
        let mut cost = EvalCounts::evaluation(self.walkers);
        let (mut t, mut step, mut ahead) = (0.0, kernel.step_size(), 1.0);
        let (mut times, mut knots, mut acceptance) = (vec![0.0], vec![], vec![]);
        while t < 1.0 {
            if times.len() > self.most {
                let expected = format!("enough to arrive: the pilot is at t = {t}. A smaller share takes fewer times");
                return Err(Error::param("most", self.most, expected));
            }
            acceptance.push(self.settle(&kernel, &At::new(path, t), &mut step, &mut walkers, &mut rng, &mut cost)?);
            knots.push([t, step]);
            let next = self.next_time(path, t, ahead, &walkers, &mut cost);
            ahead = next - t;
            let (now, then) = At::step(path, t, next);
            cost += advance(&kernel.with_step_size(step), &now, &then, &mut walkers, &mut rng);
            if let Some(fault) = zero_density::fault(&walkers) {
                return Err(Error::NonFinite { what: "pilot run", place: format!("at t = {next}: {fault}") });
            }
            // walkers of weight zero count in the acceptance but say nothing
            let ess_min = if walkers.evaluation().u.isfinite().all().int64_value(&[]) == 0 { 1.0 } else { ESS_MIN };
            walkers.resample_below(ess_min, Scheme::Systematic, &mut rng);
            t = next;
            times.push(t);
        }
        Ok(Piloted { kernel: Stepped::new(kernel, &knots), times, acceptance, cost })
    }

    /// Moves the walkers at a fixed time, which costs an invariant kernel no weight, with a step that follows their acceptance.
    fn settle<P: Path, K>(
        &self,
        kernel: &K,
        u: &At<P>,
        step: &mut f64,
        walkers: &mut Walkers,
        rng: &mut Rng,
        cost: &mut EvalCounts,
    ) -> Result<f64>
    where
        K: for<'a> Kernel<At<'a, P>> + StepSize,
    {
        let Some(target) = self.acceptance else { return Ok(f64::NAN) };
        let (mut accepted, mut gain, mut before) = (f64::NAN, 1.5, 0.0);
        let trials = TRIALS[usize::from(u.t > 0.0)];
        for trial in 1..=trials {
            let moved = kernel.with_step_size(*step).step(u, walkers.evaluation(), rng);
            *cost += moved.cost;
            let Some(acceptance) = moved.acceptance else {
                let expected = "none for a kernel that does not reject: its step is not adapted";
                return Err(Error::param("acceptance", target, expected));
            };
            let none = moved.increment.zeros_like();
            walkers.commit(moved.evaluation, &moved.increment, &none);
            accepted = acceptance.double_value(&[]);
            if (accepted - target).abs() < NEAR || trial == trials {
                break;
            }
            // Kesten's rule: whoever overshoots takes smaller steps from then on
            let excess = accepted - target;
            if excess * before < 0.0 {
                gain *= 0.5;
            }
            before = excess;
            *step *= (gain * excess).exp();
        }
        Ok(accepted)
    }

    /// The farthest time at which the conditional ESS is still `share`, within a few percent of the step to it.
    fn next_time<P: Path>(&self, path: &P, t: f64, ahead: f64, walkers: &Walkers, cost: &mut EvalCounts) -> f64 {
        let here = walkers.evaluation().u.to_kind(Kind::Double);
        let mut ess_at = |next: f64| {
            cost.forward += self.walkers as u64;
            let there = no_grad(|| path.energy(next, walkers.x())).to_kind(Kind::Double);
            walkers.conditional_ess(&walkers.with_weight(&(&here - there)))
        };
        let loss = |ess: f64| 1.0 / ess - 1.0;
        if ess_at(1.0) >= self.share {
            return 1.0;
        }
        let (mut low, mut high, mut trial) = (0.0, 1.0 - t, ahead.min(0.5 * (1.0 - t)));
        for _ in 0..SEARCH {
            let ess = ess_at(t + trial);
            if ess >= self.share {
                low = trial;
                if loss(ess) > 0.95 * loss(self.share) {
                    break;
                }
            } else {
                high = trial;
            }
            // the loss grows as the square of the step
            let guess = trial * (0.975 * loss(self.share) / loss(ess)).sqrt();
            trial = if guess > low && guess < high { guess } else { 0.5 * (low + high) };
        }
        // no step is small enough where energies are infinite from here on: those walkers are lost at once
        let step = if low > 0.0 { low } else { high };
        // a step that is lost in rounding would not end
        let next = (t + step).max(t + 1e-12);
        if next < 1.0 { next } else { 1.0 }
    }
}

/// One step of the walkers, as in a run: those at zero density have weight zero.
fn advance<P: Path, K>(kernel: &K, now: &At<P>, then: &At<P>, walkers: &mut Walkers, rng: &mut Rng) -> EvalCounts
where
    K: for<'a> Kernel<At<'a, P>>,
{
    let moved = kernel.forward(now, walkers.evaluation(), rng);
    let (alpha, mut cost) = (moved.alpha.shallow_clone(), moved.cost);
    let arrival = kernel.backward(then, walkers.evaluation(), moved, rng);
    cost += arrival.cost;
    let (alpha, lambda) = zero_density::increment(walkers, alpha, &arrival.lambda, &arrival.evaluation.u);
    walkers.commit(arrival.evaluation, &alpha, &lambda);
    cost
}
