//! Keep all states of the chains that walkers are moved in: waste-free sequential Monte Carlo, and the length of its chains.

use super::Transport;
use super::procedure::Along;
use crate::density::{At, Energy, Evaluation, Path};
use crate::error::{Error, Result};
use crate::kernel::{EvalCounts, Kernel};
use crate::numeric::Rng;
use crate::run::{Health, Outcome, Tally};
use crate::walkers::zero_density;
use tch::{Device, Kind, Tensor};

/// Chains this many times as long as the autocorrelation time of the log-weight.
const LENGTHS: f64 = 5.0;

/// Chains of the pilot.
const CHAINS: usize = 50;

impl<K> Transport<K> {
    /// Waste-free sequential Monte Carlo (Dau & Chopin 2022, arXiv 2011.02328): at each time t_k but the first M = N/P of the N
    /// walkers are drawn in proportion to their weights, each is moved P − 1 times at t_k, and all M·P states are kept as the
    /// walkers that are weighed on the way to t_{k+1}, A = U_k(x) − U_{k+1}(x). `length` is P; it must divide the number of walkers.
    ///
    /// With kernels that leave U_t invariant ([`Reversed`](crate::Reversed)) every state counts at no further cost, where a step of
    /// one move per walker keeps the last alone; others, such as ULA, move with their own weight. log Ẑ = log Z_0 + Σ_k log mean e^A, and Ẑ is unbiased.
    /// Error bars take the states of a chain as dependent, as they do walkers of one ancestor, and need some 50 chains at least.
    ///
    /// ```
    /// use jarzynski::model::{Gaussian, targets::modes_25};
    /// use jarzynski::{Base, Geometric, Mala, Reversed, Transport};
    /// # fn main() -> jarzynski::Result<()> {
    /// let path = Geometric { base: Gaussian::new(&[0.0; 2], &[8.0; 2])?, target: modes_25()? };
    /// let run = Transport::new(Reversed::new(Mala::new(0.3)), 10, 1_000, 0).waste_free(10).quiet().run(&path)?;
    /// println!("log Z = {}, exactly {}", run.walkers.log_z(), path.target.log_z());
    /// # Ok(()) }
    /// ```
    pub fn waste_free(mut self, length: usize) -> Self {
        self.chain = Some(length);
        self
    }

    /// [Waste-free](Transport::waste_free) with chains of five times the largest autocorrelation time, among all times t_k, of the
    /// log-weight along a chain, measured by a pilot of its own seed with 50 chains of `longest` states; at least 2 and at most
    /// `longest`, and a divisor of the number of walkers. How well the pilot's chains mix follows from
    /// [`autocorrelation_time`].
    ///
    /// # Errors
    /// As [`run`](Transport::run); a pilot that does not reach t = 1; no divisor of the number of walkers from 2 to `longest`.
    pub fn waste_free_adapted<P: Path>(self, path: &P, longest: usize) -> Result<Self>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        let divisors: Vec<usize> = (2..=longest).filter(|p| self.walkers.is_multiple_of(*p)).collect();
        let Some(&last) = divisors.last() else {
            let expected = format!("at least 2 and a divisor of the {} walkers below it", self.walkers);
            return Err(Error::param("longest", longest, expected));
        };
        let mut pilot = self.by_ref();
        pilot.seed = Rng::new(self.seed).split(0x7766).seed();
        (pilot.walkers, pilot.chain, pilot.every, pilot.checkpointing) = (CHAINS * longest, Some(longest), 1, None);
        let mut worst = 1.0f64;
        let run = pilot.run_as("pilot", path, &mut |at| {
            if at.step > 1 {
                let weights = at.walkers.log_weights().view([CHAINS as i64, longest as i64]);
                // where all weights are equal there is nothing to wait for
                worst = worst.max(autocorrelation_time(&weights).unwrap_or(1.0));
            }
            Vec::new()
        })?;
        if let Outcome::Diverged { step, cause } = run.outcome {
            let expected = format!("a pilot that arrives; step {step}: {cause}");
            return Err(Error::param("longest", longest, expected));
        }
        let length = divisors.into_iter().find(|p| *p as f64 >= LENGTHS * worst).unwrap_or(last);
        Ok(self.waste_free(length))
    }

    /// # Errors
    /// Chains that do not fit the number of walkers, or settings that do not apply beside them.
    pub(super) fn chains_fit(&self) -> Result<()> {
        let Some(length) = self.chain else { return Ok(()) };
        if length < 2 || !self.walkers.is_multiple_of(length) {
            let expected = format!("at least 2 and a divisor of the {} walkers", self.walkers);
            return Err(Error::param("chain", length, expected));
        }
        if self.ess_min > 0.0 {
            return Err(Error::param("ess_min", self.ess_min, "0: waste-free walkers are resampled at every step"));
        }
        if !self.weighted {
            return Err(Error::param(
                "weighted",
                false,
                "a transport with weights: chains start from resampled walkers",
            ));
        }
        Ok(())
    }
}

impl<K> Along<K> {
    /// Whether the kernel can move at a fixed time, by one move of a few walkers.
    pub(super) fn stands_still<P: Path>(&self, path: &P) -> Result<()>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let Some(length) = self.of.chain else { return Ok(()) };
        let few = self.walkers.evaluation().select(&Tensor::from_slice(&[0i64]).to_device(self.walkers.x().device()));
        let moved = self.of.kernel.step(&At::new(path, 0.0), &few, &mut Rng::new(0));
        if few.u.isfinite().all().int64_value(&[]) != 0 && moved.increment.isnan().any().int64_value(&[]) != 0 {
            let expected = "none for a kernel that moves only while time passes, as those along flows do: `Reversed` ones move \
                            at a fixed time";
            return Err(Error::param("chain", length, expected));
        }
        Ok(())
    }

    /// Step k in chains: N/P resampled walkers, P states of each at t_k, all weighed to t_{k+1}. At the start walkers are
    /// independent draws as they are.
    pub(super) fn chains<P: Path>(&mut self, path: &P, (k, length): (usize, usize), tally: &mut Tally) -> Result<Health>
    where
        K: for<'b> Kernel<At<'b, P>>,
    {
        let (of, walkers, rng) = (&self.of, &mut self.walkers, &mut self.rng);
        let (now, next) = (At::new(path, self.grid.at(k)), At::new(path, self.grid.at(k + 1)));
        let mut gained = walkers.log_weights().zeros_like();
        if k > 0 {
            walkers.resample_in_chains(length, of.scheme, rng);
            tally.resampled += 1;
            let (n, device) = (of.walkers as i64, walkers.x().device());
            let chains = n / length as i64;
            let firsts = Tensor::arange_start_step(0, n, length as i64, (Kind::Int64, device));
            let mut states = vec![walkers.evaluation().select(&firsts)];
            let mut gains = vec![gained.index_select(0, &firsts)];
            for _ in 1..length {
                let moved = of.kernel.step(&now, &states[states.len() - 1], rng);
                tally.add((moved.cost, moved.acceptance));
                gains.push(&gains[gains.len() - 1] + moved.increment);
                states.push(moved.evaluation);
            }
            // from state after state to chain after chain
            let order = Tensor::arange(n, (Kind::Int64, device)).view([length as i64, chains]).tr().reshape([n]);
            walkers.relocate(Evaluation::cat(&states).select(&order));
            gained = Tensor::cat(&gains, 0).index_select(0, &order);
        }
        let there = next.evaluate(walkers.x());
        tally.cost += EvalCounts::evaluation(of.walkers);
        let alpha = walkers.evaluation().u.to_kind(Kind::Double) + gained;
        let lambda = there.u.to_kind(Kind::Double);
        let (alpha, lambda) = zero_density::increment(walkers, alpha, &lambda, &there.u);
        walkers.commit(there, &alpha, &lambda);
        Ok(zero_density::fault(walkers).map_or(Health::Fine, Health::Lost))
    }
}

/// 1 + 2 Σ_l ρ_l, the integrated autocorrelation time of chains `[chains, length]`, in steps: ρ_l are means over all chains around the
/// common mean, summed up to the first pair ρ_{2m} + ρ_{2m+1} that is not positive (Geyer 1992).
///
/// ```
/// use jarzynski::transport::autocorrelation_time;
/// use jarzynski::{Rng, tch::{Device, Kind}};
/// let white = Rng::new(0).normal(&[50, 200], Kind::Double, Device::Cpu);
/// assert!((autocorrelation_time(&white).unwrap() - 1.0).abs() < 0.2);
/// ```
///
/// # Errors
/// Another shape, fewer than 2 states; chains without variance or with numbers that are not finite.
pub fn autocorrelation_time(chains: &Tensor) -> Result<f64> {
    let size = chains.size();
    let length = match size[..] {
        [_, length] if length >= 2 => length,
        _ => {
            let expected = "[chains, length] with length ≥ 2".into();
            return Err(Error::Shape { name: "chains", got: size, expected });
        }
    };
    let x = chains.to_kind(Kind::Double).to_device(Device::Cpu);
    let x = &x - x.mean(Kind::Double);
    let covariance = |lag: i64| {
        let (a, b) = (x.narrow(1, 0, length - lag), x.narrow(1, lag, length - lag));
        (a * b).mean(Kind::Double).double_value(&[])
    };
    let variance = covariance(0);
    if !(variance > 0.0 && variance.is_finite()) {
        return Err(Error::param("variance of the chains", variance, "positive and finite"));
    }
    let mut time = -1.0;
    for lag in (0..length - 1).step_by(2) {
        let pair = (covariance(lag) + covariance(lag + 1)) / variance;
        if pair <= 0.0 {
            break;
        }
        time += 2.0 * pair;
    }
    Ok(time.max(1.0))
}
