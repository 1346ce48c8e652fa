//! Carry the walkers X_k with their log-weights A_k: weights, ESS, log Z, exact averages, commit, resample.

mod bar;
mod coverage;
mod epochs;
mod estimate;
mod export;
mod lineages;
mod mbar;
mod pareto_k;
mod resample;
mod weights;
pub(crate) mod zero_density;

pub use bar::{Bar, bar};
pub(crate) use bar::{Chained, bar_of_chains};
pub use coverage::Coverage;
pub use estimate::Estimate;
pub use mbar::{Mbar, mbar};
pub use resample::Scheme;

use crate::density::{Base, Energy, Evaluation, Model};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use epochs::Epochs;
use std::cell::OnceCell;
use tch::{Device, Kind, Tensor};
use weights::Summary;

/// N walkers with f64 log-weights A; E(g(X_k) e^{A_k}) = (Z_k/Z_0) E_{ρ_k}(g), Prop. 1.
///
/// log Ẑ_k = log Z_0 + L + log mean e^A, where L is the sum of the log-means at past resamplings.
#[derive(Debug)]
pub struct Walkers {
    /// Positions with U and ∇U under the current parameters.
    evaluation: Evaluation,
    log_weights: Tensor,
    banked: f64,
    resamplings: u64,
    self_interacting: bool,
    epochs: Epochs,
    summary: OnceCell<Summary>,
}

/// Whether a user's energy and gradient have one entry per walker: tensors of other shapes would be broadcast.
pub(crate) fn check_shapes(point: &Evaluation, n: usize) -> Result<()> {
    let n = n as i64;
    // an energy of discrete states has no gradient
    let grad = if point.grad().defined() { point.grad().size() } else { point.x.size() };
    for (name, got, expected) in [("energy", point.u.size(), vec![n]), ("gradient of the energy", grad, point.x.size())]
    {
        if got != expected {
            return Err(Error::Shape { name, got, expected: format!("{expected:?} for {n} walkers") });
        }
    }
    Ok(())
}

/// The coordinates in f64, and how many each walker has; none where they cannot be read.
fn on_host(x: &Tensor) -> (Vec<f64>, usize) {
    let flat = x.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
    (Vec::try_from(flat).unwrap_or_default(), x.numel() / x.size().first().copied().unwrap_or(1).max(1) as usize)
}

impl Walkers {
    /// Walkers at `point`, drawn exactly from a distribution with the given log Z_0; A = 0.
    pub fn new(point: Evaluation, log_z0: f64) -> Self {
        let log_weights = Tensor::zeros([point.len() as i64], (Kind::Double, point.x.device()));
        let epochs = Epochs::new(point.len());
        Walkers {
            evaluation: point,
            log_weights,
            banked: log_z0,
            resamplings: 0,
            self_interacting: false,
            epochs,
            summary: OnceCell::new(),
        }
    }

    /// No walkers: what a run without any shows.
    pub(crate) fn none() -> Self {
        let none = |size: &[i64]| Tensor::zeros(size, (Kind::Double, Device::Cpu));
        Walkers::new(Evaluation::new(none(&[0, 0]), none(&[0]), none(&[0, 0])), f64::NAN)
    }

    /// n walkers for `model`: X_0 from its base (in proportion to the modes if `stratified`), A_0 = U_base − U_θ, so
    /// that they are exact for the model's present parameters, whatever these are; A_0 = 0 where the base *is* the model.
    ///
    /// # Errors
    /// n = 0; an energy that is not finite, or not one number per walker.
    pub fn start<M: Model + ?Sized>(model: &M, n: usize, stratified: bool, rng: &mut Rng) -> Result<Self> {
        Self::start_from(model.base()?.as_ref(), model, n, stratified, rng)
    }

    /// As [`start`](Walkers::start) for any energy and a base of one's own.
    ///
    /// # Errors
    /// As [`start`](Walkers::start).
    pub fn start_from<E: Energy + ?Sized>(
        base: &dyn Base,
        energy: &E,
        n: usize,
        stratified: bool,
        rng: &mut Rng,
    ) -> Result<Self> {
        if n == 0 {
            return Err(Error::param("walkers", n, "at least 1"));
        }
        let x = if stratified { base.sample_stratified(n, rng) } else { base.sample(n, rng) };
        let u0 = crate::error::no_grad(|| base.energy(&x)).to_kind(Kind::Double);
        let point = energy.evaluate(&x);
        if u0.size() != [n as i64] {
            return Err(Error::Shape { name: "energy of the base", got: u0.size(), expected: format!("[{n}]") });
        }
        check_shapes(&point, n)?;
        let a = u0 - point.u.to_kind(Kind::Double);
        let mut walkers = Walkers::new(point, base.log_z());
        walkers.reweight(&a);
        if !walkers.is_finite() {
            return Err(Error::NonFinite { what: "energy", place: "at the walkers' start".into() });
        }
        Ok(walkers)
    }

    /// Writes all of them.
    pub(crate) fn save(&self, to: &mut Checkpoint, name: &str) -> Result<()> {
        self.evaluation.save(to, name)?;
        to.put(format!("{name}.log_weights"), &self.log_weights);
        to.put_numbers(format!("{name}.banked"), &[self.banked]);
        self.epochs.save(to, name);
        to.put_json(&format!("{name}.self_interacting"), &self.self_interacting)?;
        to.put_json(&format!("{name}.resamplings"), &self.resamplings)
    }

    /// Restores what [`save`](Walkers::save) wrote.
    pub(crate) fn restore(
        from: &Checkpoint,
        name: &str,
        device: tch::Device,
        evaluate: impl Fn(&Tensor) -> Evaluation,
    ) -> Result<Self> {
        let point = Evaluation::restore(from, name, device, evaluate)?;
        let log_weights = from.get(&format!("{name}.log_weights"))?.to_device(device);
        if log_weights.size() != point.u.size() || log_weights.kind() != Kind::Double {
            let expected = format!("{:?} numbers in f64", point.u.size());
            return Err(Error::Shape { name: "log-weights", got: log_weights.size(), expected });
        }
        let [banked] = from.numbers(&format!("{name}.banked"))?;
        let self_interacting = from.json(&format!("{name}.self_interacting"))?;
        let resamplings = from.json(&format!("{name}.resamplings"))?;
        let epochs = Epochs::load(from, name, point.len())?;
        Ok(Walkers {
            evaluation: point,
            log_weights,
            banked,
            resamplings,
            self_interacting,
            epochs,
            summary: OnceCell::new(),
        })
    }

    /// Number of walkers N.
    pub fn len(&self) -> usize {
        self.evaluation.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions, `[n, d]`.
    pub fn x(&self) -> &Tensor {
        &self.evaluation.x
    }

    /// Positions with U and ∇U under the current parameters.
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// The same without the weights.
    pub fn into_evaluation(self) -> Evaluation {
        self.evaluation
    }

    /// The same, for a gradient in θ, which spends the graph that it holds. Positions and energies belong to the weights: to
    /// move walkers there are [`commit`](Walkers::commit) and [`relocate`](Walkers::relocate).
    pub fn evaluation_mut(&mut self) -> &mut Evaluation {
        &mut self.evaluation
    }

    /// Log-weights A, `[n]`, f64, since the last resampling.
    pub fn log_weights(&self) -> &Tensor {
        &self.log_weights
    }

    /// How often the walkers were resampled.
    pub fn resamplings(&self) -> u64 {
        self.resamplings
    }

    /// A += α − λ, and the walkers move to `point`: the only place where a kernel changes A. Both `[n]`, f64.
    pub fn commit(&mut self, point: Evaluation, alpha: &Tensor, lambda: &Tensor) {
        self.evaluation = point;
        self.reweight(&(alpha - lambda));
    }

    /// Moves without touching A (PCD, CD).
    pub fn relocate(&mut self, point: Evaluation) {
        self.evaluation = point;
    }

    /// A = 0 and log Ẑ unknown: for walkers that will move without weights.
    pub(crate) fn drop_weights(&mut self) {
        self.log_weights = self.log_weights.zeros_like();
        self.banked = f64::NAN;
        self.summary = OnceCell::new();
    }

    /// From now on they drive the parameters under which they are weighed: their log Ẑ is biased, and has no error bar.
    pub(crate) fn drive_parameters(&mut self) {
        self.self_interacting = true;
    }

    /// A += δ `[n]` at fixed positions.
    pub(crate) fn reweight(&mut self, delta: &Tensor) {
        self.log_weights = &self.log_weights + delta;
        self.summary = OnceCell::new();
    }

    /// Draws ancestors in proportion to e^A, adds log mean e^A to L, permutes everything cached per walker, sets A = 0.
    pub fn resample(&mut self, scheme: Scheme, rng: &mut Rng) {
        self.resample_in_chains(1, scheme, rng);
    }

    /// As [`resample`](Walkers::resample), but draws N/`length` ancestors and copies each `length` times in a row: what will be the
    /// states of one chain each, which count as dependent.
    pub(crate) fn resample_in_chains(&mut self, length: usize, scheme: Scheme, rng: &mut Rng) {
        let x = self.evaluation.x.shallow_clone();
        self.resample_by(length, scheme, rng, || on_host(&x));
    }

    /// As [`resample_in_chains`](Walkers::resample_in_chains) where positions may be elsewhere: `positions` gives them, with the width
    /// of each, if they are asked for. Returns the ancestors, ascending.
    pub(crate) fn resample_by(
        &mut self,
        length: usize,
        scheme: Scheme,
        rng: &mut Rng,
        positions: impl Fn() -> (Vec<f64>, usize),
    ) -> Vec<i64> {
        let (w, draws) = (self.weights_on_host(), self.len() / length);
        let starts = scheme.draws(&w, draws, rng);
        let parents: Vec<i64> = starts.into_iter().flat_map(|p| std::iter::repeat_n(p, length)).collect();
        let (ess, k) = (self.ess(), self.pareto_k());
        let chance = |families: &[i64]| (length * length) as f64 * scheme.offspring_variance(&w, draws, families);
        self.epochs.lineages_mut().end((&parents, length), &w, chance, positions);
        self.epochs.end(&parents, ess, k);
        let ancestors = Tensor::from_slice(&parents).to_device(self.evaluation.x.device());
        self.banked += self.on_host().log_mean;
        self.evaluation = self.evaluation.select(&ancestors);
        self.log_weights = self.log_weights.zeros_like();
        self.summary = OnceCell::new();
        self.resamplings += 1;
        parents
    }

    /// Resamples if ESS/N < `ess_min`; says whether it did.
    pub fn resample_below(&mut self, ess_min: f64, scheme: Scheme, rng: &mut Rng) -> bool {
        let low = ess_min > 0.0 && self.ess() < ess_min;
        if low {
            self.resample(scheme, rng);
        }
        low
    }

    /// n equally weighted draws from the walkers, `[n, d]`, by systematic resampling; none where there are no walkers.
    pub fn samples(&self, n: usize, rng: &mut Rng) -> Tensor {
        if self.is_empty() {
            return self.evaluation.x.copy();
        }
        let w = self.weights_on_host();
        // Whole systematic resamplings of N, each in random order: any first n of them are unbiased draws.
        let mut picks = Vec::with_capacity(n);
        while picks.len() < n {
            let drawn = Scheme::Systematic.ancestors(&w, rng);
            let order = rng.permutation(drawn.len());
            picks.extend(order.iter().map(|&i| drawn[i as usize]).take(n - picks.len()));
        }
        self.evaluation.x.index_select(0, &Tensor::from_slice(&picks).to_device(self.evaluation.x.device()))
    }
}
