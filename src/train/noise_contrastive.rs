//! Learn an energy and its log Z by noise-contrastive estimation: tell data from draws of a distribution that is known.

use super::descent::{Descent, Rates, non_negative};
use super::minimise::{About, Measured, Minimise, Objective, Update, descent_setters};
use super::{DescentSettings, batches::Batches};
use crate::density::{Base, Model, rows_for};
use crate::error::{Error, Result, guard, no_grad};
use crate::io::{Checkpoint, fingerprint};
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Row, Run, Tally};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Borrow;
use tch::{Device, Kind, Tensor, nn};

/// Trains any [`Model`], and log Z beside θ, as the classifier of data x and noise y ~ p_n with ν draws of noise for each data point
/// (Gutmann and Hyvärinen 2012; guide, section 6.2 with ν = 1):
///
/// ```text
/// G(x) = −U_θ(x) − c − log p_n(x),   −E_* log σ(G(x) − log ν) − ν E_n log(1 − σ(G(y) − log ν))
/// ```
///
/// The minimum has e^{−U_θ − c} = ρ_*, so that c = log Z and masses of separated modes are learned too, wherever the noise has mass.
/// The noise is drawn anew at every update. It is any [`Base`]: a Gaussian fitted to the data
/// ([`Gaussian::fit`](crate::model::Gaussian::fit)), a mixture, the base of a model. Noise that misses a part of the data, or is
/// narrower than they are, leaves an estimate of large variance; the loss does not show it.
///
/// c is recorded as `log_z_learned`, and [`Run::log_z_learned`] gives the last: log Z of the model that was learned as far as it is
/// the data's distribution, without an error bar. [`anneal`](crate::anneal) measures log Z of any model.
///
/// ```
/// use jarzynski::{Model, NoiseContrastive, Rng, Schedule, log_prob, model::{Gaussian, Mixture}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7])?.sample(2_000, &mut Rng::new(1));
/// let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?;
/// let noise = Gaussian::fit(&data, 0.0)?;
/// let nce = NoiseContrastive::new().ratio(2.0).steps(300).lr(0.05).schedule(Schedule::Cosine { end: 0.0 }).quiet();
/// let run = nce.train(&mut model, &data, &noise)?;
/// let log_z = run.log_z_learned().unwrap();
/// assert!((log_z - model.log_z_exact().unwrap()).abs() < 0.2);
/// let held_out = log_prob(&model, &data, log_z)?;
/// # assert_eq!(held_out.size(), [2_000]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct NoiseContrastive {
    /// Draws of noise per data point, ν > 0; a batch has the nearest whole number of them, at least one.
    pub ratio: f64,
    /// log Z at the start, nats; `None`: estimated with the noise of one batch, log mean e^{−U}/p_n.
    pub log_z: Option<f64>,
    /// Factor of the learning rate for log Z.
    pub log_z_lr: f64,
    /// Everything else. `clip` bounds the gradient in θ alone.
    pub descent: DescentSettings,
    /// Where rows and checkpoints are written, if anywhere.
    #[serde(skip)]
    pub checkpointing: Option<Checkpointing>,
}

impl Default for NoiseContrastive {
    fn default() -> Self {
        let descent = DescentSettings::default();
        NoiseContrastive { ratio: 1.0, log_z: None, log_z_lr: 1.0, descent, checkpointing: None }
    }
}

descent_setters!(NoiseContrastive);

impl NoiseContrastive {
    /// With as many draws of noise as data points, all else by default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws of noise per data point, ν.
    pub fn ratio(self, ratio: f64) -> Self {
        NoiseContrastive { ratio, ..self }
    }

    /// log Z at the start, nats.
    pub fn log_z(self, log_z: f64) -> Self {
        NoiseContrastive { log_z: Some(log_z), ..self }
    }

    /// Factor of the learning rate for log Z.
    pub fn log_z_lr(self, log_z_lr: f64) -> Self {
        NoiseContrastive { log_z_lr, ..self }
    }

    /// Trains `model` in place on `data` `[n, d]` against `noise`. The run has no walkers.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape or not finite; noise that is not of the model's rows.
    pub fn train<M: Model, N: Base>(&self, model: &mut M, data: &Tensor, noise: &N) -> Result<Run> {
        self.train_with(model, data, noise, &mut |_| Vec::new())
    }

    /// As [`train`](NoiseContrastive::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](NoiseContrastive::train).
    pub fn train_with<M: Model, N: Base>(
        &self,
        model: &mut M,
        data: &Tensor,
        noise: &N,
        callback: &mut Callback<M>,
    ) -> Result<Run> {
        self.open(&*model, data, noise)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](NoiseContrastive::train).
    pub fn start<'a, M: Model + 'a, N: Base + 'a>(&self, model: M, data: &Tensor, noise: N) -> Result<Driver<'a, M>> {
        self.open(model, data, noise)
    }

    fn open<'a, M, H, N>(&self, model: H, data: &Tensor, noise: N) -> Result<Driver<'a, M, H>>
    where
        M: Model + 'a,
        H: Borrow<M>,
        N: Base + 'a,
    {
        let procedure = guard(|| self.procedure(model.borrow(), data, noise))?;
        Driver::open(Box::new(procedure), model, self.checkpointing.as_ref())
    }

    fn validate(&self) -> Result<()> {
        if !(self.ratio > 0.0 && self.ratio.is_finite()) {
            return Err(Error::param("ratio", self.ratio, "a positive, finite number of draws per data point"));
        }
        if let Some(c) = self.log_z.filter(|c| !c.is_finite()) {
            return Err(Error::param("log_z", c, "a finite number"));
        }
        non_negative("log_z_lr", self.log_z_lr)
    }

    fn procedure<M: Model, N: Base>(&self, model: &M, data: &Tensor, noise: N) -> Result<Minimise<Contrast<N>>> {
        let s = &self.descent;
        self.validate()?;
        s.validate(model.vars())?;
        let data = s.data_noise.rows(model, data)?;
        let root = Rng::new(s.seed);
        // what tells one noise from another, wherever it comes from
        let tried = noise.sample(64, &mut Rng::new(0x006e_6f69_7365));
        let place = (tried.kind(), tried.device());
        let drawn = rows_for(model, "noise", &tried)?;
        let own = Noise { law: noise, place };
        let known = no_grad(|| own.log_density(&drawn));
        if !bool::try_from(known.isfinite().all())? {
            let place = "at draws of its own".into();
            return Err(Error::NonFinite { what: "log-density of the noise", place });
        }
        let mut parts = vec![("model", model.describe())];
        if self.checkpointing.is_some() {
            parts.push(("data", fingerprint(&data)?.into()));
            parts.push(("noise", json!([fingerprint(&drawn)?, fingerprint(&known)?])));
        }
        let size = s.batch.unwrap_or(data.size()[0] as usize);
        let about = About::of(self, s, model.vars().device(), parts);
        let batches = Batches::new(data, s.batch, s.data_noise, root.split(1));
        let contrast = Contrast {
            draws: ((self.ratio * size as f64).round() as usize).max(1),
            batches,
            noise: own,
            rng: root.split(2),
            given: self.log_z,
            log_z: LogZ::new(&s.rates(), self.log_z_lr),
        };
        Ok(Minimise::new(contrast, model, &s.rates(), about))
    }
}

/// A distribution with the kind and the place of its numbers.
struct Noise<N> {
    law: N,
    place: (Kind, Device),
}

impl<N: Base> Noise<N> {
    /// log p_n at rows of any kind on any device, `[n]`, in f64, where the rows are.
    fn log_density(&self, x: &Tensor) -> Tensor {
        let u = self.law.energy(&x.to_device(self.place.1).to_kind(self.place.0));
        (-u.to_kind(Kind::Double) - self.law.log_z()).to_device(x.device())
    }
}

/// log Z as a parameter, in f64 on the CPU, with an optimiser of its own.
#[derive(Debug)]
struct LogZ {
    value: Tensor,
    _store: nn::VarStore,
    descent: Descent,
    grad: Tensor,
}

impl LogZ {
    fn new(rates: &Rates, factor: f64) -> Self {
        let mut store = nn::VarStore::new(Device::Cpu);
        let value = store.root().var("log_z", &[1], nn::Init::Const(0.0));
        store.double();
        let own = Rates { lr: rates.lr * factor, group_lr: &[], clip: None, ..rates.clone() };
        LogZ { value, descent: Descent::new(&own, &store), _store: store, grad: Tensor::new() }
    }

    fn value(&self) -> f64 {
        self.value.double_value(&[0])
    }

    fn set(&self, to: f64) {
        no_grad(|| drop(self.value.shallow_clone().fill_(to)));
    }
}

/// The objective on batches of data and fresh noise.
struct Contrast<N> {
    batches: Batches,
    noise: Noise<N>,
    /// Draws of noise per batch.
    draws: usize,
    rng: Rng,
    given: Option<f64>,
    log_z: LogZ,
}

impl<N> std::fmt::Debug for Contrast<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contrast")
            .field("draws", &self.draws)
            .field("log_z", &self.log_z.value())
            .finish_non_exhaustive()
    }
}

impl<N: Base> Contrast<N> {
    /// Rows of noise as the model takes them, `[draws, d]`.
    fn draw<M: Model>(&mut self, model: &M) -> Tensor {
        let (kind, device) = model.options();
        self.noise.law.sample(self.draws, &mut self.rng).detach().to_device(device).to_kind(kind)
    }
}

const COLUMN: &str = "loss_contrastive";

impl<M: Model, N: Base> Objective<M> for Contrast<N> {
    fn name(&self) -> &'static str {
        "noise contrastive"
    }

    fn vars<'a>(&self, model: &'a M) -> &'a nn::VarStore {
        model.vars()
    }

    fn columns(&self) -> &[&'static str] {
        &[COLUMN]
    }

    fn begin(&mut self, model: &M, tally: &mut Tally) -> Result<()> {
        let start = self.given.unwrap_or_else(|| {
            let y = self.draw(model);
            tally.cost.forward += self.draws as u64;
            no_grad(|| {
                let log_ratio = -model.energy(&y).to_kind(Kind::Double) - self.noise.log_density(&y);
                log_ratio.logsumexp(0, false).double_value(&[]) - (self.draws as f64).ln()
            })
        });
        if !start.is_finite() {
            return Err(Error::NonFinite { what: "log Z at the start", place: "by draws of the noise".into() });
        }
        self.log_z.set(start);
        Ok(())
    }

    fn measure(&mut self, model: &M, at: Update, tally: &mut Tally) -> Result<Measured> {
        let x = self.batches.next();
        let y = self.draw(model);
        let (n, m) = (x.size()[0], y.size()[0]);
        let ratio = m as f64 / n as f64;
        let rows = Tensor::cat(&[x, y], 0);
        let mut seen = model.evaluate_data(&rows);
        let (loss, w) = no_grad(|| {
            let log_odds =
                -seen.u.to_kind(Kind::Double) - self.log_z.value() - self.noise.log_density(&rows) - ratio.ln();
            let (data, noise) = (log_odds.narrow(0, 0, n), log_odds.narrow(0, n, m));
            let loss = -data.log_sigmoid().mean(Kind::Double) - (-&noise).log_sigmoid().mean(Kind::Double) * ratio;
            // ∂/∂U of each row, and ∂/∂c by their sum
            (loss, Tensor::cat(&[(-data).sigmoid(), -noise.sigmoid()], 0) / n as f64)
        });
        let both = (n + m) as u64;
        tally.sum(COLUMN, &loss);
        tally.cost.forward += both;
        let mut grads = Vec::new();
        if !at.last {
            self.log_z.grad = w.sum(Kind::Double).view(1).to_device(Device::Cpu);
            grads = model.precondition(model.param_grad(&mut seen, &w));
            tally.cost.backward += both;
        }
        Ok(Measured { loss, grads })
    }

    fn moved(&mut self, k: usize) {
        self.log_z.descent.step(std::slice::from_ref(&self.log_z.grad), k);
    }

    fn row(&mut self, row: &mut Row) {
        row.put("log_z_learned", self.log_z.value());
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.batches.save(to, "data")?;
        to.put_numbers("log_z", &[self.log_z.value()]);
        self.log_z.descent.save_as(to, "log_z.optimiser")?;
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.batches.load(from, "data")?;
        let [value] = from.numbers("log_z")?;
        self.log_z.set(value);
        self.log_z.descent.load_as(from, "log_z.optimiser", Device::Cpu)?;
        self.rng = from.json("rng")?;
        Ok(())
    }
}
