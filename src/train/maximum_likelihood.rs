//! Train a normalised model by maximum likelihood: descend on the mean of −log ρ over data; nothing is sampled.

use super::DescentSettings;
use super::batches::Batches;
use super::minimise::{About, Measured, Minimise, Objective, Update, descent_setters, lacking};
use crate::density::Normalised;
use crate::error::{Result, guard};
use crate::io::{Checkpoint, fingerprint};
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Run, Tally};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use tch::{Kind, nn};

/// Minimises the cross-entropy −E log ρ_θ(x) over data, guide, (54)-(55), for a model that is [`Normalised`] at every θ, such as a
/// [`CouplingFlow`](crate::model::CouplingFlow). For any other energy there is [`Trainer`](crate::Trainer), which samples.
///
/// ```
/// use jarzynski::{Rng, model::{CouplingFlow, CouplingShape, Gaussian, Mixture}, train::MaximumLikelihood};
/// use jarzynski::tch::{Device, Kind};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7])?.sample(500, &mut Rng::new(1));
/// let shape = CouplingShape { couplings: 4, widths: vec![16], ..Default::default() };
/// let mut flow = CouplingFlow::new(&Gaussian::fit(&data, 0.0)?, &shape, Kind::Double, Device::Cpu)?;
/// let run = MaximumLikelihood::new().steps(50).batch(250).lr(0.01).quiet().train(&mut flow, &data)?;
/// let loss = run.column("loss_likelihood")?;
/// assert!(run.finished() && loss[50] < loss[0]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct MaximumLikelihood {
    /// Everything about the descent.
    pub descent: DescentSettings,
    /// Where rows and checkpoints are written, if anywhere.
    #[serde(skip)]
    pub checkpointing: Option<Checkpointing>,
}

descent_setters!(MaximumLikelihood);

impl MaximumLikelihood {
    /// With all settings at their defaults.
    pub fn new() -> Self {
        MaximumLikelihood::default()
    }

    /// Trains `model` in place on `data` `[n, d]`. The run has no walkers.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape or not finite. A model that is not differentiable in θ ends the run.
    pub fn train<M: Normalised>(&self, model: &mut M, data: &tch::Tensor) -> Result<Run> {
        self.train_with(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](MaximumLikelihood::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](MaximumLikelihood::train).
    pub fn train_with<M: Normalised>(
        &self,
        model: &mut M,
        data: &tch::Tensor,
        callback: &mut Callback<M>,
    ) -> Result<Run> {
        self.open(&*model, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](MaximumLikelihood::train).
    pub fn start<M: Normalised>(&self, model: M, data: &tch::Tensor) -> Result<Driver<'static, M>> {
        self.open(model, data)
    }

    fn open<M: Normalised, H: Borrow<M>>(&self, model: H, data: &tch::Tensor) -> Result<Driver<'static, M, H>> {
        let procedure = guard(|| self.procedure(model.borrow(), data))?;
        Driver::open(Box::new(procedure), model, self.checkpointing.as_ref())
    }

    fn procedure<M: Normalised>(&self, model: &M, data: &tch::Tensor) -> Result<Minimise<Likelihoods>> {
        let s = &self.descent;
        s.validate(model.vars())?;
        if model.log_z_exact() != Some(0.0) {
            let found = format!("log_z_exact = {:?}", model.log_z_exact());
            return Err(lacking(&found, "a normalised model says `Some(0.0)`"));
        }
        let data = s.data_noise.rows(model, data)?;
        let found = self.checkpointing.as_ref().map(|_| fingerprint(&data)).transpose()?;
        let parts = [("data", found.into()), ("model", model.describe())];
        let about = About::of(self, s, model.vars().device(), parts);
        let batches = Batches::new(data, s.batch, s.data_noise, Rng::new(s.seed).split(1));
        Ok(Minimise::new(Likelihoods { batches }, model, &s.rates(), about))
    }
}

/// The mean of −log ρ over batches of data.
#[derive(Debug)]
struct Likelihoods {
    batches: Batches,
}

const LOSS: &str = "loss_likelihood";

impl<M: Normalised> Objective<M> for Likelihoods {
    fn name(&self) -> &'static str {
        "maximum likelihood"
    }

    fn vars<'a>(&self, model: &'a M) -> &'a nn::VarStore {
        model.vars()
    }

    fn columns(&self) -> &[&'static str] {
        &[LOSS]
    }

    fn measure(&mut self, model: &M, at: Update, tally: &mut Tally) -> Result<Measured> {
        let x = self.batches.next();
        let n = x.size()[0] as u64;
        let loss = tch::with_grad(|| model.energy(&x).mean(Kind::Double));
        tally.sum(LOSS, &loss);
        tally.cost.forward += n;
        tally.cost.backward += if at.last { 0 } else { n };
        at.descend_from(&loss)
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.batches.save(to, "data")
    }

    fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.batches.load(from, "data")
    }
}
