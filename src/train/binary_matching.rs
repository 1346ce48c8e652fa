//! Learn an energy of zeros and ones from its differences between rows and their neighbours, in which one bit is another.

use super::descent::at_least_one;
use super::minimise::{About, Measured, Minimise, Objective, Update, descent_setters};
use super::{DataNoise, DescentSettings, batches::Batches};
use crate::density::Model;
use crate::error::{Error, Result, guard};
use crate::io::{Checkpoint, fingerprint};
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Run, Tally};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use tch::{Kind, Tensor, nn};

/// What is averaged over the data, with Δ_j(x) = U(x with bit j flipped) − U(x). At the population each has its minimum where the
/// model is the data's distribution; none needs log Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BinaryObjective {
    /// −Σ_j log p(x_j | the other bits) = Σ_j log(1 + e^{−Δ_j}) (Besag 1975).
    PseudoLikelihood,
    /// Σ_j (1 − p(x_j | the other bits))² = Σ_j σ(−Δ_j)² (Hyvärinen 2007, Some extensions of score matching).
    RatioMatching,
    /// Σ_j e^{−Δ_j/2}: the rate at which probability leaves the data under dynamics that flip one bit and keep e^{−U} (minimum
    /// probability flow, Sohl-Dickstein et al. 2011, arXiv 0906.4779). Neighbours that are data themselves count too.
    ProbabilityFlow,
}

impl BinaryObjective {
    fn column(self) -> &'static [&'static str] {
        match self {
            BinaryObjective::PseudoLikelihood => &["loss_pseudo_likelihood"],
            BinaryObjective::RatioMatching => &["loss_ratio"],
            BinaryObjective::ProbabilityFlow => &["loss_probability_flow"],
        }
    }

    /// The term of each Δ, and its derivative.
    fn term(self, delta: &Tensor) -> (Tensor, Tensor) {
        match self {
            BinaryObjective::PseudoLikelihood => (-delta.log_sigmoid(), -(-delta).sigmoid()),
            BinaryObjective::RatioMatching => {
                let square = (-delta).sigmoid().square();
                let slope = &square * delta.sigmoid() * -2.0;
                (square, slope)
            }
            BinaryObjective::ProbabilityFlow => {
                let flow = (delta * -0.5).exp();
                let slope = &flow * -0.5;
                (flow, slope)
            }
        }
    }
}

/// Trains any [`Model`] of zeros and ones on data by one of the [objectives](BinaryObjective), which compare each row with its d
/// neighbours ([`Model::flips`]). Like score matching they see energies nearby alone: masses of modes that differ in many bits are
/// determined weakly, and log Z is not learned; [`Ais`](crate::Ais) estimates it.
///
/// ```
/// use jarzynski::{Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}, train::BinaryMatching};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[500, 6], Kind::Float, Device::Cpu).round();
/// let mut rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 4, scale: 0.5, ..Default::default() })?;
/// let run = BinaryMatching::pseudo_likelihood().steps(50).lr(0.05).quiet().train(&mut rbm, &data)?;
/// let loss = run.column("loss_pseudo_likelihood")?;
/// assert!(run.finished() && loss[50] < loss[0]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct BinaryMatching {
    /// What is minimised.
    pub objective: BinaryObjective,
    /// Bits of every row that one update compares, drawn anew for each: an unbiased estimate at less cost. `None`: all d.
    pub units: Option<usize>,
    /// Everything else.
    pub descent: DescentSettings,
    /// Where rows and checkpoints are written, if anywhere.
    #[serde(skip)]
    pub checkpointing: Option<Checkpointing>,
}

impl Default for BinaryMatching {
    fn default() -> Self {
        BinaryMatching::pseudo_likelihood()
    }
}

descent_setters!(BinaryMatching);

impl BinaryMatching {
    /// With that objective, all else by default.
    pub fn new(objective: BinaryObjective) -> Self {
        BinaryMatching { objective, units: None, descent: DescentSettings::default(), checkpointing: None }
    }

    /// [`BinaryObjective::PseudoLikelihood`].
    pub fn pseudo_likelihood() -> Self {
        Self::new(BinaryObjective::PseudoLikelihood)
    }

    /// [`BinaryObjective::RatioMatching`].
    pub fn ratio_matching() -> Self {
        Self::new(BinaryObjective::RatioMatching)
    }

    /// [`BinaryObjective::ProbabilityFlow`].
    pub fn probability_flow() -> Self {
        Self::new(BinaryObjective::ProbabilityFlow)
    }

    /// Bits of every row that one update compares.
    pub fn units(self, units: usize) -> Self {
        BinaryMatching { units: Some(units), ..self }
    }

    /// Trains `model` in place on `data` `[n, d]` of zeros and ones, or of probabilities where bits are drawn from them
    /// ([`DataNoise::Bits`]). The run has no walkers.
    ///
    /// # Errors
    /// A model of other rows than zeros and ones; settings out of range; data of the wrong shape or other numbers.
    pub fn train<M: Model>(&self, model: &mut M, data: &Tensor) -> Result<Run> {
        self.train_with(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](BinaryMatching::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](BinaryMatching::train).
    pub fn train_with<M: Model>(&self, model: &mut M, data: &Tensor, callback: &mut Callback<M>) -> Result<Run> {
        self.open(&*model, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](BinaryMatching::train).
    pub fn start<M: Model>(&self, model: M, data: &Tensor) -> Result<Driver<'static, M>> {
        self.open(model, data)
    }

    fn open<M: Model, H: Borrow<M>>(&self, model: H, data: &Tensor) -> Result<Driver<'static, M, H>> {
        let procedure = guard(|| self.procedure(model.borrow(), data))?;
        Driver::open(Box::new(procedure), model, self.checkpointing.as_ref())
    }

    fn validate<M: Model>(&self, model: &M) -> Result<()> {
        if !model.is_binary() {
            let name = model.describe()["model"].as_str().unwrap_or("of another kind").to_string();
            return Err(Error::param(
                "model",
                name,
                "a model of zeros and ones: `Model::is_binary` says that it is one",
            ));
        }
        at_least_one("units", self.units.unwrap_or(1))?;
        if let Some(units) = self.units.filter(|units| *units as i64 > model.dim()) {
            return Err(Error::param("units", units, format!("at most the {} bits of a row", model.dim())));
        }
        if matches!(self.descent.data_noise, DataNoise::Gaussian(sigma) if sigma != 0.0) {
            let expected = "none, or bits: rows are zeros and ones";
            return Err(Error::param("data_noise", format!("{:?}", self.descent.data_noise), expected));
        }
        self.descent.validate(model.vars())
    }

    fn procedure<M: Model>(&self, model: &M, data: &Tensor) -> Result<Minimise<Flips>> {
        let s = &self.descent;
        self.validate(model)?;
        let data = s.data_noise.rows(model, data)?;
        let found = self.checkpointing.as_ref().map(|_| fingerprint(&data)).transpose()?;
        let parts = [("data", found.into()), ("model", model.describe())];
        let about = About::of(self, s, model.vars().device(), parts);
        let root = Rng::new(s.seed);
        let batches = Batches::new(data, s.batch, s.data_noise, root.split(1));
        let flips = Flips { objective: self.objective, units: self.units, batches, rng: root.split(2) };
        Ok(Minimise::new(flips, model, &s.rates(), about))
    }
}

/// The objective on batches of data.
#[derive(Debug)]
struct Flips {
    objective: BinaryObjective,
    units: Option<usize>,
    batches: Batches,
    rng: Rng,
}

impl<M: Model> Objective<M> for Flips {
    fn name(&self) -> &'static str {
        "binary matching"
    }

    fn vars<'a>(&self, model: &'a M) -> &'a nn::VarStore {
        model.vars()
    }

    fn columns(&self) -> &[&'static str] {
        self.objective.column()
    }

    fn measure(&mut self, model: &M, at: Update, tally: &mut Tally) -> Result<Measured> {
        let x = self.batches.next();
        let (n, d) = (x.size()[0], x.size()[1]);
        let units = match self.units {
            Some(k) => self.rng.permutation(d as usize)[..k].to_vec(),
            None => (0..d).collect(),
        };
        let share = d as f64 / (n as f64 * units.len() as f64);
        let mut loss = Tensor::zeros([1], (Kind::Double, x.device()));
        let grads = model.flips(&x, &units, &mut |delta| {
            let (term, slope) = self.objective.term(delta);
            loss = &loss + term.sum(Kind::Double) * share;
            (!at.last).then(|| slope * share)
        });
        let loss = loss.squeeze();
        tally.sum(self.objective.column()[0], &loss);
        let rows = n as u64 * (units.len() as u64 + 1);
        tally.cost.forward += rows;
        tally.cost.backward += if at.last { 0 } else { rows };
        Ok(Measured { loss, grads: model.precondition(grads) })
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.batches.save(to, "data")?;
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.batches.load(from, "data")?;
        self.rng = from.json("rng")?;
        Ok(())
    }
}
