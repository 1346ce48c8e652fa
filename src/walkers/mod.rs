//! Carry the walkers X_k with their log-weights A_k: weights, ESS, log Z, exact averages, commit, resample.

mod epochs;
mod export;
mod pareto_k;
mod resample;
pub(crate) mod zero_density;

pub use resample::Scheme;

use crate::density::{Base, Energy, Evaluation, Model};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::{Rng, fetch};
use epochs::Epochs;
use std::cell::OnceCell;
use tch::{Device, Kind, Tensor};

/// A number with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// One standard error; NaN where none can be given.
    pub se: f64,
    /// The code of a [`Warning`](crate::Warning) of the run that it comes from, if one says that the error is not to be trusted.
    pub warning: Option<&'static str>,
}

impl Estimate {
    /// A value and one standard error, NaN where none is known.
    pub fn new(value: f64, se: f64) -> Self {
        Estimate { value, se, warning: None }
    }

    /// With the code of what makes its error doubtful, if anything does.
    pub fn doubted(self, warning: Option<&'static str>) -> Self {
        Estimate { warning, ..self }
    }
}

/// `0.43845 ± 0.00196`: two to three digits of the error, and the value to the same place; the value alone where no
/// error is known; `(warning: tail)` where the error is not to be trusted.
impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.se > 0.0 && self.se.is_finite();
        let places = if known { (2.0 - self.se.log10().ceil()).clamp(0.0, 15.0) as usize } else { 5 };
        write!(f, "{:.places$}", self.value)?;
        if !self.se.is_nan() {
            write!(f, " ± {:.places$}", self.se)?;
        }
        self.warning.map_or(Ok(()), |code| write!(f, " (warning: {code})"))
    }
}

/// N walkers with f64 log-weights A; E(g(X_k) e^{A_k}) = (Z_k/Z_0) E_{ρ_k}(g), Prop. 1.
///
/// log Ẑ_k = log Z_0 + L + log mean e^A, where L banks the log-means of past resamplings.
#[derive(Debug)]
pub struct Walkers {
    /// Positions with U and ∇U under the current parameters.
    evaluation: Evaluation,
    log_weights: Tensor,
    banked: f64,
    banked_variance: f64,
    resamplings: u64,
    epochs: Epochs,
    summary: OnceCell<Summary>,
}

/// What everything else is computed from, once per change of A.
#[derive(Debug)]
struct Summary {
    /// softmax(A).
    weights: Tensor,
    /// max A, Σ e^{A − max A} and Σ w², where the weights are.
    sums: [Tensor; 3],
    told: OnceCell<Told>,
}

/// What the sums say, once they have been read from their device.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// log mean e^A.
    log_mean: f64,
    /// (Σ w)² / (N Σ w²).
    ess: f64,
}

impl Told {
    fn of(n: usize, top: f64, total: f64, square: f64) -> Self {
        let n = n as f64;
        let log_mean = if top.is_finite() { (total / n).ln() + top } else { top };
        Told { log_mean, ess: 1.0 / (n * square) }
    }
}

/// Whether a user's energy and gradient have one entry per walker: others would broadcast into nonsense.
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

/// Sum in blocks, so that libtorch's split among threads cannot change the bits.
fn sum(t: &Tensor) -> Tensor {
    const BLOCK: i64 = 16384;
    if t.size()[0] <= BLOCK {
        return t.sum(Kind::Double);
    }
    t.split(BLOCK, 0).iter().map(|b| b.sum(Kind::Double)).reduce(|a, b| a + b).unwrap_or_default()
}

impl Walkers {
    /// Walkers at `point`, drawn exactly from a law with the given log Z_0; A = 0.
    pub fn new(point: Evaluation, log_z0: f64) -> Self {
        let log_weights = Tensor::zeros([point.len() as i64], (Kind::Double, point.x.device()));
        let epochs = Epochs::new(point.len());
        Walkers {
            evaluation: point,
            log_weights,
            banked: log_z0,
            banked_variance: 0.0,
            resamplings: 0,
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
    /// Errors: n = 0; an energy that is not finite.
    pub fn start<M: Model + ?Sized>(model: &M, n: usize, stratified: bool, rng: &mut Rng) -> Result<Self> {
        Self::start_from(model.base()?.as_ref(), model, n, stratified, rng)
    }

    /// As [`start`](Walkers::start) for any energy and a base of one's own.
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
        to.put_numbers(format!("{name}.banked"), &[self.banked, self.banked_variance]);
        self.epochs.save(to, name);
        to.put_json(&format!("{name}.resamplings"), &self.resamplings)
    }

    /// Takes up what [`save`](Walkers::save) wrote.
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
        let [banked, banked_variance] = from.numbers(&format!("{name}.banked"))?;
        let resamplings = from.json(&format!("{name}.resamplings"))?;
        let epochs = Epochs::load(from, name, point.len())?;
        Ok(Walkers {
            evaluation: point,
            log_weights,
            banked,
            banked_variance,
            resamplings,
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

    /// Normalised weights softmax(A), `[n]`, f64.
    pub fn weights(&self) -> Tensor {
        self.summary().weights.copy()
    }

    /// Effective sample size as a fraction of N: (Σ w)² / (N Σ w²), in (0, 1].
    pub fn ess(&self) -> f64 {
        self.told().ess
    }

    /// k̂, how heavy the tail of the weights is: below ½ their variance is finite and error bars hold; above .7 neither the ESS
    /// nor an error bar says anything. An ESS cannot see weights that no walker has met; this looks at how fast the largest
    /// ones grow. NaN for equal weights or fewer than 25 walkers.
    ///
    /// The shape of a generalised Pareto law fitted to the largest 3√N weights, as in Pareto-smoothed importance sampling.
    pub fn pareto_k(&self) -> f64 {
        let a = Vec::<f64>::try_from(self.log_weights.to_device(tch::Device::Cpu)).unwrap_or_default();
        pareto_k::pareto_shape(&a)
    }

    /// The largest k̂ of all epochs, those that a resampling ended and the present one; NaN where none can be told.
    pub fn worst_pareto_k(&self) -> f64 {
        let worst = self.pareto_k().max(self.epochs.worst_k());
        if worst == f64::NEG_INFINITY { f64::NAN } else { worst }
    }

    /// Walkers of the start from which the present ones descend. Walkers of one ancestor are not independent: error bars after
    /// resampling, which count them as if they were, are too short where moves do not mix them.
    pub fn lineages(&self) -> usize {
        self.epochs.lineages()
    }

    /// The lowest ESS/N since the last call, that before each resampling included.
    pub(crate) fn take_lowest_ess(&mut self) -> f64 {
        self.ess().min(self.epochs.take_lowest_ess())
    }

    fn summary(&self) -> &Summary {
        self.summary.get_or_init(|| {
            if self.is_empty() {
                let none = || Tensor::from(f64::NAN);
                return Summary {
                    weights: self.log_weights.copy(),
                    sums: [none(), none(), none()],
                    told: OnceCell::new(),
                };
            }
            let top = self.log_weights.max();
            let e = (&self.log_weights - &top).exp();
            let total = sum(&e);
            let weights = e / &total;
            let square = sum(&(&weights * &weights));
            Summary { weights, sums: [top, total, square], told: OnceCell::new() }
        })
    }

    fn told(&self) -> Told {
        let summary = self.summary();
        *summary.told.get_or_init(|| match fetch(&summary.sums)[..] {
            [top, total, square] => Told::of(self.len(), top, total, square),
            _ => Told { log_mean: f64::NAN, ess: f64::NAN },
        })
    }

    /// Reads from the device, in one transfer, what decisions about several populations hang on, and says which are finite;
    /// their ESS and log Ẑ are known afterwards.
    pub(crate) fn look(all: &[&Walkers]) -> Vec<bool> {
        let numbers = |w: &&Walkers| {
            let [top, total, square] = &w.summary().sums;
            [w.evaluation.u.sum(Kind::Double), top.shallow_clone(), total.shallow_clone(), square.shallow_clone()]
        };
        let read = fetch(&all.iter().flat_map(numbers).collect::<Vec<_>>());
        let finite = |(w, read): (&&Walkers, &[f64])| {
            let _ = w.summary().told.set(Told::of(w.len(), read[1], read[2], read[3]));
            // A sum is NaN or infinite as soon as one term is; A = −∞ alone is a walker of weight zero, which is legitimate.
            read[0].is_finite() && read[1].is_finite()
        };
        all.iter().zip(read.chunks(4)).map(finite).collect()
    }

    /// log Ẑ = log Z_0 + L + log mean e^A, nats, with the standard error √(Σ_epochs (N/ESS − 1)/N).
    ///
    /// Within one epoch (no resampling yet) this is the delta method. Across epochs it adds their variances, as if each
    /// began from an equilibrated population; where nothing mixes between modes that is optimistic: use replicates.
    /// For *training* walkers log Ẑ is biased low besides (their θ depends on them): see [`Run::log_z`](crate::Run::log_z).
    pub fn log_z(&self) -> Estimate {
        let se = (self.banked_variance + self.epoch_variance()).sqrt();
        Estimate::new(self.banked + self.told().log_mean, se)
    }

    /// NaN for a single walker, which says nothing about its own error.
    fn epoch_variance(&self) -> f64 {
        if self.len() == 1 {
            return f64::NAN;
        }
        (1.0 / self.ess() - 1.0).max(0.0) / self.len() as f64
    }

    /// E_{ρ_k}(g) by weighted average, with its delta-method standard error. `g` `[n]`: g at each walker.
    ///
    /// A `Bool` g is an indicator. If no walker meets it, or every one does, the delta method would say 0 ± 0; the error is then
    /// 3/(N·ESS), so that value ± error is the 95 % bound of the rule of three.
    ///
    /// Errors: a length other than N.
    pub fn mean(&self, g: &Tensor) -> Result<Estimate> {
        if g.size() != [self.len() as i64] {
            return Err(Error::Shape { name: "g", got: g.size(), expected: format!("[{}]", self.len()) });
        }
        let indicator = g.kind() == Kind::Bool;
        let g = if indicator { g.to_kind(Kind::Double) } else { g.shallow_clone() };
        let (w, g) = (&self.summary().weights, self.with_weight(&g).to_kind(Kind::Double));
        let value = sum(&(w * &g));
        let square = sum(&(w * (g - &value)).square());
        let read = fetch(&[value, square]);
        let (value, se) = (read[0], read[1].sqrt());
        let certain = indicator && (value <= 0.0 || value >= 1.0 - 1e-12);
        Ok(match (self.len(), certain) {
            (1, _) => Estimate::new(value, f64::NAN),
            (n, true) => Estimate::new(value.round(), 3.0 / (n as f64 * self.ess())),
            _ => Estimate::new(value, se),
        })
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

    /// A += δ `[n]` at fixed positions.
    pub(crate) fn reweight(&mut self, delta: &Tensor) {
        self.log_weights = &self.log_weights + delta;
        self.summary = OnceCell::new();
    }

    /// g with 0 in place of what it is at walkers of weight zero, such as those in a wall, U = +∞: 0 · ∞ is 0, as in the
    /// integral.
    pub(crate) fn with_weight(&self, g: &Tensor) -> Tensor {
        g.masked_fill(&self.summary().weights.eq(0.0), 0.0)
    }

    /// Whether energies and log-weights are numbers and at least one weight is positive.
    pub fn is_finite(&self) -> bool {
        !self.is_empty() && Walkers::look(&[self]) == [true]
    }

    /// Draws ancestors in proportion to e^A, banks log mean e^A, permutes everything cached per walker, sets A = 0.
    pub fn resample(&mut self, scheme: Scheme, rng: &mut Rng) {
        let w = Vec::<f64>::try_from(self.summary().weights.to_device(tch::Device::Cpu)).unwrap_or_default();
        let parents = scheme.ancestors(&w, rng);
        self.epochs.end(&parents, self.ess(), self.pareto_k());
        let ancestors = Tensor::from_slice(&parents).to_device(self.evaluation.x.device());
        self.banked_variance += self.epoch_variance();
        self.banked += self.told().log_mean;
        self.evaluation = self.evaluation.select(&ancestors);
        self.log_weights = self.log_weights.zeros_like();
        self.summary = OnceCell::new();
        self.resamplings += 1;
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
        let w = Vec::<f64>::try_from(self.summary().weights.to_device(tch::Device::Cpu)).unwrap_or_default();
        // Whole combs of N teeth, each in random order: any first n of them are fair draws.
        let mut picks = Vec::with_capacity(n);
        while picks.len() < n {
            let drawn = Scheme::Systematic.ancestors(&w, rng);
            let order = rng.permutation(drawn.len());
            picks.extend(order.iter().map(|&i| drawn[i as usize]).take(n - picks.len()));
        }
        self.evaluation.x.index_select(0, &Tensor::from_slice(&picks).to_device(self.evaluation.x.device()))
    }

    /// Conditional ESS of adding δ to A: (Σ w e^δ)² / Σ w e^{2δ}, in (0, 1]; 0 where δ is not finite.
    pub(crate) fn conditional_ess(&self, delta: &Tensor) -> f64 {
        let (w, d) = (&self.summary().weights, delta - delta.max());
        let e = d.exp();
        let read = fetch(&[sum(&(w * &e)), sum(&(w * &e * &e))]);
        let c = read[0] * read[0] / read[1];
        if c.is_finite() { c } else { 0.0 }
    }
}
