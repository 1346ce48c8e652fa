//! Choose the scheme, the steps and the noise of a flow: a pilot predicts the weights' variance, short runs confirm the choice.

mod cost_model;
mod variance_model;

pub use cost_model::CostModel;
pub use variance_model::VarianceModel;

use crate::density::{Flow, Noise};
use crate::error::{Error, Result};
use crate::io::frame;
use crate::kernel::{FlowKernel, Langevin};
use crate::numeric::Rng;
use crate::run::Run;
use crate::transport::Transport;
use polars::prelude::DataFrame;
use variance_model::average;

/// How [`Tune::run`] searches.
#[derive(Debug, Clone)]
#[must_use]
pub struct Tune {
    /// Wanted ESS/N at t = 1, in (0, 1).
    pub ess: f64,
    /// Schemes to choose from, by [`FlowKernel::NAMES`].
    pub schemes: Vec<String>,
    /// What an evaluation costs; `None`: [`CostModel::counted`].
    pub cost_model: Option<CostModel>,
    /// Walkers of each pilot run.
    pub walkers: usize,
    /// Most steps of a run.
    pub steps_max: usize,
    /// Seed of all pilots.
    pub seed: u64,
}

/// What [`Tune::run`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tuned {
    /// The scheme with its noise.
    pub kernel: FlowKernel,
    /// Steps K = 1/h.
    pub steps: usize,
    /// The lowest ESS/N of [`CONFIRMING`](Tuned::CONFIRMING) runs with seeds that the search had not used. Weights that no walker
    /// met are missing from an ESS, so that single runs say too much.
    pub ess: f64,
    /// k̂ of the weights, the mean over these runs: above ½ their variance is infinite, and above .7 no ESS is to be relied on.
    pub pareto_k: f64,
    /// `tail` where k̂ is above ½: other runs may have a much lower ESS.
    pub warning: Option<&'static str>,
    /// Cost per walker, in the unit of the cost model.
    pub cost: f64,
    /// Whether the wanted ESS was reached; if not, this is the nearest that was found.
    pub reached: bool,
    /// What the pilot predicts for the weights' variance.
    pub variance: VarianceModel,
    /// Every run made, those that looked for enough steps next, the confirming ones last, one row for all of them:
    /// `scheme, steps, noise, eps, ess, cost`; `eps` is the mean over t.
    pub trials: DataFrame,
}

impl Tuned {
    /// Runs that confirm a choice.
    pub const CONFIRMING: u64 = 8;
}

/// The cheapest way found to an ESS/N of `ess` along `path`: see [`Tune`].
///
/// ```
/// use jarzynski::{model::Interpolant, tune};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Interpolant::new(&[vec![-1.0], vec![1.0]], &[0.4, 0.6], &[0.6, 0.8])?;
/// let best = tune(&path, 0.9, 0)?;
/// println!("{} with {} steps: ESS/N {:.2}", best.kernel.name(), best.steps, best.ess);
/// assert!(best.reached);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Tune::run`].
pub fn tune<P: Flow>(path: &P, ess: f64, seed: u64) -> Result<Tuned> {
    Tune::new(ess, seed).run(path)
}

/// One run: a scheme with a noise, `factor` times the predicted best one, and what came out.
#[derive(Debug, Clone)]
struct Trial {
    scheme: String,
    shape: &'static str,
    factor: f64,
    noise: Noise,
    steps: usize,
    ess: f64,
    cost: f64,
}

impl Trial {
    /// −log ESS, which goes with the weights' variance.
    fn loss(&self) -> f64 {
        if self.ess > 0.0 { -self.ess.ln() } else { f64::INFINITY }
    }
}

/// What all parts of one search share.
struct Search<'a, P> {
    tune: &'a Tune,
    path: &'a P,
    variance: VarianceModel,
    cost_model: CostModel,
    trials: Vec<Trial>,
    /// The best of each scheme, with enough steps for another seed.
    sure: Vec<Trial>,
}

/// A choice, its lowest ESS in runs with fresh seeds, and their mean k̂.
#[derive(Debug)]
struct Confirmed {
    trial: Trial,
    pareto_k: f64,
}

impl Confirmed {
    fn reaches(&self, wanted: f64) -> bool {
        // NaN: weights that hardly differ have no tail
        self.trial.ess >= wanted && (self.pareto_k.is_nan() || self.pareto_k <= HEAVY)
    }
}

/// k̂ above which an ESS says nothing.
const HEAVY: f64 = 0.7;

impl Tune {
    /// All schemes that differ in what they can reach, 2,000 walkers a pilot, at most 512 steps.
    pub fn new(ess: f64, seed: u64) -> Self {
        let schemes = ["escorted", "matched", "euler-ula", "euler-mala", "rk4-ula", "rk4-mala", "ode-euler", "ode-rk4"];
        let schemes = schemes.map(String::from).to_vec();
        Tune { ess, schemes, cost_model: None, walkers: 2_000, steps_max: 512, seed }
    }

    /// Among these schemes only.
    pub fn schemes(mut self, names: &[&str]) -> Self {
        self.schemes = names.iter().map(|s| s.to_string()).collect();
        self
    }

    /// With these costs of an evaluation instead of counted ones.
    pub fn cost_model(mut self, cost_model: CostModel) -> Self {
        self.cost_model = Some(cost_model);
        self
    }

    /// With so many walkers in each pilot run.
    pub fn walkers(mut self, n: usize) -> Self {
        self.walkers = n;
        self
    }

    fn validate(&self) -> Result<()> {
        if !(self.ess > 0.0 && self.ess < 1.0) {
            return Err(Error::param("ess", self.ess, "an ESS/N strictly between 0 and 1"));
        }
        if self.walkers < 100 {
            return Err(Error::param("walkers", self.walkers, "at least 100: fewer say nothing about an ESS"));
        }
        if self.steps_max == 0 {
            return Err(Error::param("steps_max", 0, "at least 1"));
        }
        if self.schemes.is_empty() {
            return Err(Error::param("schemes", "[]", format!("some of {}", FlowKernel::NAMES.join(", "))));
        }
        self.schemes.iter().try_for_each(|name| FlowKernel::named(name, 1.0).map(|_| ()))
    }

    /// Searches, scheme by scheme, for the fewest steps at which some noise gives the wanted ESS.
    ///
    /// 1. The pilot measures the [`VarianceModel`], which predicts where Prop. 2 is good enough, and its best noise.
    /// 2. At a few K, noises around the predicted best one for h = 1/K, constant and as ε(t), are run.
    /// 3. From the best at two K and the order that the scheme declares, −log ESS = V_∞ + C h^{2·order} is solved for the K
    ///    that is needed, which is run and corrected. V_∞ > 0 is what an inexact flow leaves at any h.
    /// 4. The cheapest of each scheme is run again with another seed and four times the walkers; K grows
    ///    where that run misses the wanted ESS.
    /// 5. The cheapest of these is run with eight fresh seeds. If the lowest ESS of these runs is not the wanted one, or k̂ is above .7,
    ///    it gets more steps until it costs more than the next, which then takes its place.
    ///
    /// # Errors
    /// `Param` for settings out of range or a path that no scheme can follow, and what a run refuses.
    pub fn run<P: Flow>(&self, path: &P) -> Result<Tuned> {
        self.validate()?;
        path.weighable()?;
        let variance = VarianceModel::pilot(path, 12, self.walkers.min(1_000), self.seed)?;
        let d = path.base().sample(1, &mut Rng::new(0)).size()[1];
        let cost_model = self.cost_model.unwrap_or(CostModel::counted(d));
        let mut search = Search { tune: self, path, variance, cost_model, trials: Vec::new(), sure: Vec::new() };
        for scheme in &self.schemes {
            search.scheme(scheme)?;
            search.confirm(scheme)?;
        }
        search.finish()
    }
}

impl<P: Flow> Search<'_, P> {
    fn transport(&self, kernel: FlowKernel, steps: usize, walkers: usize, label: u64) -> Result<Run> {
        let seed = Rng::new(self.tune.seed).split(label).seed();
        Transport::new(kernel, steps, walkers, seed).every(steps).run(self.path)
    }

    fn attempt(&self, like: &Trial, steps: usize, walkers: usize, label: u64) -> Result<Trial> {
        let run = self.transport(FlowKernel::named(&like.scheme, like.noise.clone())?, steps, walkers, label)?;
        let ess = if run.finished() { run.walkers.ess() } else { 0.0 };
        Ok(Trial { steps, ess, cost: self.cost_model.of(&run)?, ..like.clone() })
    }

    /// The best of several noises at K steps: a wide ladder at first, then a few beside the best so far.
    fn ladder(&mut self, scheme: &str, steps: usize, near: Option<&Trial>) -> Result<Trial> {
        let (h, kernel) = (1.0 / steps as f64, FlowKernel::named(scheme, 1.0)?);
        let factors: &[f64] = match (&kernel, near) {
            (_, Some(_)) => &[0.6, 1.0, 1.7],
            // rejection makes a large step harmless, and the third term of the variance does not apply
            (FlowKernel::Split(s), None) if s.then == Langevin::Mala => &[0.5, 2.0, 8.0],
            _ => &[0.25, 0.5, 1.0, 2.0],
        };
        let blank =
            |shape, factor, noise| Trial { scheme: scheme.into(), shape, factor, noise, steps, ess: 0.0, cost: 0.0 };
        let of = |shape: &'static str, factor: f64| {
            let noise =
                if shape == "constant" { self.variance.best_noise(h).into() } else { self.variance.best_schedule(h) };
            blank(shape, factor, noise.scaled(factor))
        };
        let candidates: Vec<Trial> = match (kernel.noise(), near) {
            (None, _) => vec![blank("none", 1.0, Noise::Constant(1.0))],
            (_, Some(best)) => factors.iter().map(|f| of(best.shape, f * best.factor)).collect(),
            _ => factors.iter().flat_map(|f| [of("constant", *f), of("ε(t)", *f)]).collect(),
        };
        let mut best: Option<Trial> = None;
        for candidate in candidates {
            let trial = self.attempt(&candidate, steps, self.tune.walkers, 0)?;
            if best.as_ref().is_none_or(|b| trial.ess > b.ess) {
                best = Some(trial.clone());
            }
            self.trials.push(trial);
        }
        Ok(best.unwrap_or_else(|| blank("none", 1.0, Noise::Constant(1.0))))
    }

    /// Steps 2 and 3 of [`Tune::run`] for one scheme.
    fn scheme(&mut self, scheme: &str) -> Result<()> {
        let (wanted, most) = (self.tune.ess, self.tune.steps_max);
        let order = 2.0 * FlowKernel::named(scheme, 1.0)?.order().total;
        // the order in h of every Gaussian scheme is that of Prop. 2, which the pilot predicts; the others need fewer steps
        let mut k = if order > 1.0 { 4 } else { self.expected() / 2 }.clamp(2, most.max(2)).min(most);
        let mut seen: Vec<Trial> = vec![];
        for _ in 0..6 {
            if let Some(last) = seen.last() {
                // no more steps than at the cost of another scheme
                let affordable = (self.limit() / (last.cost / last.steps as f64)).min(most as f64) as usize;
                k = k.min(affordable);
                if k == 0 || seen.iter().any(|t| t.steps == k) {
                    break;
                }
            }
            let near = seen.iter().max_by(|a, b| a.ess.total_cmp(&b.ess)).cloned();
            let best = self.ladder(scheme, k, near.as_ref())?;
            let next = if best.ess >= wanted { k / 2 } else { k * 2 };
            seen.push(best);
            k = solve(&seen, order, -wanted.ln()).unwrap_or(next).clamp(1, most);
        }
        Ok(())
    }

    /// The K at which Prop. 2 is predicted to reach the wanted ESS.
    fn expected(&self) -> usize {
        let enough =
            |k: &usize| self.variance.ess(1.0 / *k as f64, self.variance.best_noise(1.0 / *k as f64)) >= self.tune.ess;
        (1..=self.tune.steps_max).find(enough).unwrap_or(self.tune.steps_max)
    }

    /// The least cost at which the wanted ESS is confirmed so far.
    fn limit(&self) -> f64 {
        let good = self.sure.iter().filter(|t| t.ess >= self.tune.ess).map(|t| t.cost);
        good.fold(f64::INFINITY, f64::min)
    }

    /// Step 4 for one scheme: more steps until another seed agrees, or until it costs more than another scheme.
    fn confirm(&mut self, scheme: &str) -> Result<()> {
        let (wanted, most, limit) = (self.tune.ess, self.tune.steps_max, self.limit());
        let order = 2.0 * FlowKernel::named(scheme, 1.0)?.order().total;
        let own = || self.trials.iter().filter(|t| t.scheme == scheme && t.ess > 0.0);
        let cheapest = own().filter(|t| t.ess >= wanted).min_by(|a, b| a.cost.total_cmp(&b.cost));
        let Some(found) = cheapest.or(own().max_by(|a, b| a.ess.total_cmp(&b.ess))) else { return Ok(()) };
        let mut sure = self.attempt(found, found.steps, 4 * self.tune.walkers, 1)?;
        while sure.ess < wanted && found.ess >= wanted && sure.steps < most && sure.cost < limit {
            let more = (sure.loss() / -wanted.ln()).min(2.0).powf(1.0 / order) * 1.02;
            let steps = ((sure.steps as f64 * more).ceil() as usize).max(sure.steps + 1).min(most);
            sure = self.attempt(found, steps, 4 * self.tune.walkers, 1)?;
        }
        self.sure.push(sure);
        Ok(())
    }

    /// Step 5: runs with fresh seeds, other ones for each try, since the luckiest of several choices would else be taken.
    fn with_fresh_seeds(&self, like: &Trial, steps: usize, tried: u64) -> Result<Confirmed> {
        let kernel = FlowKernel::named(&like.scheme, like.noise.clone())?;
        let (mut trial, mut tails) = (Trial { steps, ess: f64::INFINITY, ..like.clone() }, Vec::new());
        for i in 0..Tuned::CONFIRMING {
            let label = 2 + tried * Tuned::CONFIRMING + i;
            let run = self.transport(kernel.clone(), steps, self.tune.walkers, label)?;
            trial.ess = trial.ess.min(if run.finished() { run.walkers.ess() } else { 0.0 });
            trial.cost = self.cost_model.of(&run)?;
            tails.push(run.walkers.worst_pareto_k());
        }
        let known: Vec<f64> = tails.into_iter().filter(|k| !k.is_nan()).collect();
        Ok(Confirmed { trial, pareto_k: if known.is_empty() { f64::NAN } else { average(&known) } })
    }

    /// The cheapest that fresh seeds confirm, else the best of those that were tried.
    fn finish(mut self) -> Result<Tuned> {
        let (wanted, most) = (self.tune.ess, self.tune.steps_max);
        // those that miss it come last, the best of them first
        let key = |t: &Trial| if t.ess >= wanted { (0_u8, t.cost) } else { (1, -t.ess) };
        let mut waiting = self.sure.clone();
        waiting.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
        let mut tried: Vec<Confirmed> = Vec::new();
        while !waiting.is_empty() && tried.len() < 16 {
            let like = waiting.remove(0);
            let found = self.with_fresh_seeds(&like, like.steps, tried.len() as u64)?;
            let order = 2.0 * FlowKernel::named(&like.scheme, 1.0)?.order().total;
            let reaches = found.reaches(wanted);
            let more = (found.trial.loss() / -wanted.ln()).clamp(1.0, 2.0).powf(1.0 / order) * 1.05;
            let steps = ((like.steps as f64 * more).ceil() as usize).max(like.steps + 1);
            if !reaches && like.ess >= wanted && steps <= most {
                let cost = found.trial.cost * steps as f64 / like.steps as f64;
                let place = waiting.iter().position(|t| t.ess < wanted || t.cost > cost).unwrap_or(waiting.len());
                waiting.insert(place, Trial { steps, cost, ..like });
            }
            tried.push(found);
            if reaches {
                break;
            }
        }
        let best = |a: &&Confirmed, b: &&Confirmed| a.trial.ess.total_cmp(&b.trial.ess);
        let Some(sure) = tried.iter().find(|c| c.reaches(wanted)).or(tried.iter().max_by(best)) else {
            let expected = "a scheme that can follow this path at all: every pilot run ended before t = 1";
            return Err(Error::param("schemes", self.tune.schemes.join(", "), expected));
        };
        let mut table = frame::Rows::new(&["scheme", "steps", "noise", "eps", "ess", "cost"]);
        self.trials.append(&mut self.sure);
        for t in self.trials.iter().chain(tried.iter().map(|c| &c.trial)) {
            let eps = if t.shape == "none" { f64::NAN } else { mean_noise(&t.noise) };
            table.push((&t.scheme, t.steps, t.shape, eps, t.ess, t.cost));
        }
        Ok(Tuned {
            kernel: FlowKernel::named(&sure.trial.scheme, sure.trial.noise.clone())?,
            steps: sure.trial.steps,
            ess: sure.trial.ess,
            pareto_k: sure.pareto_k,
            warning: (sure.pareto_k > 0.5).then_some("tail"),
            cost: sure.trial.cost,
            reached: sure.reaches(wanted),
            variance: self.variance,
            trials: table.finish()?,
        })
    }
}

/// The K at which −log ESS = V_∞ + C K^{−order} is `wanted`, from the last two that were run; a little more, for safety.
fn solve(seen: &[Trial], order: f64, wanted: f64) -> Option<usize> {
    let [.., a, b] = seen else { return None };
    let (pa, pb) = ((a.steps as f64).powf(-order), (b.steps as f64).powf(-order));
    let c = (a.loss() - b.loss()) / (pa - pb);
    let rest = b.loss() - c * pb;
    if !(c > 0.0 && c.is_finite() && wanted > rest) {
        return None;
    }
    Some(((c / (wanted - rest)).powf(1.0 / order) * 1.02).ceil().min(1e6) as usize)
}

fn mean_noise(noise: &Noise) -> f64 {
    average(&(0..64).map(|i| noise.at((i as f64 + 0.5) / 64.0)).collect::<Vec<_>>())
}
