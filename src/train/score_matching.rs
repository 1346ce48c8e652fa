//! Learn an energy by score matching: compare ∇U with the data's score, which needs no log Z; nothing is sampled.

use super::minimise::{About, Measured, Minimise, Objective, Update, descent_setters, lacking};
use super::{DataNoise, DescentSettings, batches::Batches};
use crate::density::{Differentiable, Model};
use crate::error::{Error, Result, guard};
use crate::io::{Checkpoint, fingerprint};
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Run, Tally};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use tch::{Kind, Tensor, nn};

/// What stands for the data's score, guide, section 6.2. All but the first have the same expectation, the Fisher divergence
/// ½E|∇U + ∇log ρ_*|² less what does not depend on θ (Hyvärinen 2005), and need second derivatives of U.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ScoreObjective {
    /// ½E|σ∇U(x + σξ) − ξ|² with ξ ~ N(0, I) (Vincent 2011): the energy of the data convolved with N(0, σ²I).
    Denoising {
        /// Standard deviation σ of the noise, in the data's units; above 0.
        sigma: f64,
    },
    /// E(½|∇U|² − ΔU), the Laplacian by d backward passes: for few dimensions.
    Exact,
    /// E(½|∇U|² − vᵀ∇²U v) with random signs v, E vvᵀ = I: Hutchinson's estimate of the trace, one backward pass for each probe.
    /// Song et al. 2019 (arXiv 1905.07088) call it sliced score matching with variance reduction, SSM-VR.
    Hutchinson {
        /// Vectors v for each point, at least 1.
        probes: usize,
    },
    /// E(½(v·∇U)² − vᵀ∇²U v), sliced score matching as in Song et al. 2019, (7): with more variance than Hutchinson's, at the same
    /// cost.
    Sliced {
        /// Vectors v for each point, at least 1.
        probes: usize,
    },
}

impl ScoreObjective {
    fn column(self) -> &'static [&'static str] {
        match self {
            ScoreObjective::Denoising { .. } => &["loss_denoising"],
            _ => &["loss_fisher"],
        }
    }

    fn validate(self, noise: DataNoise) -> Result<()> {
        match self {
            ScoreObjective::Denoising { sigma } if !(sigma > 0.0 && sigma.is_finite()) => {
                Err(Error::param("sigma", sigma, "a positive, finite standard deviation"))
            }
            ScoreObjective::Denoising { .. } if noise != DataNoise::default() => {
                let expected = "none: denoising adds noise of its own, of standard deviation `sigma`";
                Err(Error::param("data_noise", format!("{noise:?}"), expected))
            }
            ScoreObjective::Hutchinson { probes: 0 } | ScoreObjective::Sliced { probes: 0 } => {
                Err(Error::param("probes", 0, "at least 1"))
            }
            _ => Ok(()),
        }
    }

    /// The loss on rows `x` `[n, d]`, 0-dimensional, with its graph through θ where `graph`; and the passes that it took over the
    /// rows.
    fn loss<M: Model>(self, model: &M, x: &Tensor, graph: bool, rng: &mut Rng) -> Result<(Tensor, u64)> {
        let sum = |t: &Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
        if let ScoreObjective::Denoising { sigma } = self {
            let noise = rng.normal(&x.size(), x.kind(), x.device());
            let (_, slope) = slope(model, &(x + &noise * sigma), graph)?;
            return Ok((sum(&(slope * sigma - noise).square()).mean(None::<Kind>) * 0.5, 1));
        }
        let (leaf, slope) = slope(model, x, true)?;
        // ∇(v·∇U) for each row; undefined where ∇U does not depend on x
        let turned = |of: &Tensor| -> Result<Tensor> {
            let mut found = Tensor::f_run_backward(&[of.sum(None::<Kind>)], &[&leaf], true, graph)?;
            Ok(Some(found.swap_remove(0)).filter(Tensor::defined).unwrap_or_else(|| leaf.zeros_like()))
        };
        let square = || sum(&slope.square()) * 0.5;
        let (rows, passes) = match self {
            ScoreObjective::Hutchinson { probes } | ScoreObjective::Sliced { probes } => {
                let sliced = matches!(self, ScoreObjective::Sliced { .. });
                let mut total = if sliced { slope.select(1, 0).zeros_like() } else { square() * probes as f64 };
                for _ in 0..probes {
                    let v = rng.uniform_tensor(&x.size(), x.kind(), x.device()).ge(0.5).to_kind(x.kind()) * 2.0 - 1.0;
                    let along = sum(&(&slope * &v));
                    total = &total - sum(&(turned(&along)? * v));
                    if sliced {
                        total = &total + along.square() * 0.5;
                    }
                }
                (total / probes as f64, probes)
            }
            _ => {
                let mut total = square();
                for j in 0..x.size()[1] {
                    total = &total - turned(&slope.select(1, j))?.select(1, j);
                }
                (total, x.size()[1] as usize)
            }
        };
        Ok((rows.mean(None::<Kind>), 1 + passes as u64))
    }
}

/// Rows that a graph begins at, and ∇U there, with its own graph where `graph`.
fn slope<M: Model>(model: &M, x: &Tensor, graph: bool) -> Result<(Tensor, Tensor)> {
    let leaf = x.detach().set_requires_grad(true);
    let u = tch::with_grad(|| model.energy(&leaf));
    if !u.requires_grad() {
        return Err(lacking("an energy without a graph", "an energy by differentiable operations on x"));
    }
    let slope = Tensor::f_run_backward(&[u.sum(u.kind())], &[&leaf], true, graph)?.swap_remove(0);
    if !slope.defined() || (graph && !slope.requires_grad()) {
        let expected = "an energy that can be differentiated in x and then in θ: score matching compares slopes";
        return Err(lacking("∇U without a graph through θ", expected));
    }
    Ok((leaf, slope))
}

/// Trains any differentiable [`Model`] on data by one of the [objectives](ScoreObjective). They see ∇U alone: masses of separated
/// modes are invisible to them (guide, Fig. 4), and log Z is not learned. [`anneal`](crate::anneal) measures it.
///
/// ```
/// use jarzynski::{Rng, ScoreMatching, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.5, 0.5])?.sample(500, &mut Rng::new(1));
/// let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?;
/// let run = ScoreMatching::denoising(0.5).steps(50).lr(0.1).quiet().train(&mut model, &data)?;
/// let loss = run.column("loss_denoising")?;
/// assert!(run.finished() && loss[50] < loss[0]);
///
/// let run = ScoreMatching::exact().steps(50).lr(0.1).quiet().train(&mut model, &data)?;
/// let loss = run.column("loss_fisher")?;
/// assert!(run.finished() && loss[50] < loss[0]);
/// # Ok(()) }
/// ```
///
/// A model of discrete states is refused when it is compiled:
///
/// ```compile_fail,E0277
/// use jarzynski::{ScoreMatching, model::{Rbm, RbmShape}, tch::{Device, Kind, Tensor}};
/// let data = Tensor::ones([4, 3], (Kind::Float, Device::Cpu));
/// let mut rbm = Rbm::bernoulli(&data, &RbmShape::default()).unwrap();
/// let run = ScoreMatching::exact().train(&mut rbm, &data);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ScoreMatching {
    /// What stands for the data's score.
    pub objective: ScoreObjective,
    /// Everything else.
    pub descent: DescentSettings,
    /// Where rows and checkpoints are written, if anywhere.
    #[serde(skip)]
    pub checkpointing: Option<Checkpointing>,
}

impl Default for ScoreMatching {
    fn default() -> Self {
        ScoreMatching::denoising(0.1)
    }
}

descent_setters!(ScoreMatching);

impl ScoreMatching {
    /// With that objective, all else by default.
    pub fn new(objective: ScoreObjective) -> Self {
        ScoreMatching { objective, descent: DescentSettings::default(), checkpointing: None }
    }

    /// With noise of standard deviation `sigma`: [`ScoreObjective::Denoising`].
    pub fn denoising(sigma: f64) -> Self {
        Self::new(ScoreObjective::Denoising { sigma })
    }

    /// With the Laplacian as it is: [`ScoreObjective::Exact`].
    pub fn exact() -> Self {
        Self::new(ScoreObjective::Exact)
    }

    /// With that many random vectors for each Laplacian: [`ScoreObjective::Hutchinson`].
    pub fn hutchinson(probes: usize) -> Self {
        Self::new(ScoreObjective::Hutchinson { probes })
    }

    /// Along that many random directions for each point: [`ScoreObjective::Sliced`].
    pub fn sliced(probes: usize) -> Self {
        Self::new(ScoreObjective::Sliced { probes })
    }

    /// Trains `model` in place on `data` `[n, d]`. The run has no walkers.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape or not finite. A model whose ∇U is not differentiable in θ ends the run.
    pub fn train<M: Model + Differentiable>(&self, model: &mut M, data: &Tensor) -> Result<Run> {
        self.train_with(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](ScoreMatching::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](ScoreMatching::train).
    pub fn train_with<M>(&self, model: &mut M, data: &Tensor, callback: &mut Callback<M>) -> Result<Run>
    where
        M: Model + Differentiable,
    {
        self.open(&*model, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](ScoreMatching::train).
    pub fn start<M: Model + Differentiable>(&self, model: M, data: &Tensor) -> Result<Driver<'static, M>> {
        self.open(model, data)
    }

    fn open<M: Model, H: Borrow<M>>(&self, model: H, data: &Tensor) -> Result<Driver<'static, M, H>> {
        let procedure = guard(|| self.procedure(model.borrow(), data))?;
        Driver::open(Box::new(procedure), model, self.checkpointing.as_ref())
    }

    fn procedure<M: Model>(&self, model: &M, data: &Tensor) -> Result<Minimise<Scores>> {
        let s = &self.descent;
        self.objective.validate(s.data_noise)?;
        s.validate(model.vars())?;
        let data = s.data_noise.rows(model, data)?;
        let found = self.checkpointing.as_ref().map(|_| fingerprint(&data)).transpose()?;
        let parts = [("data", found.into()), ("model", model.describe())];
        let about = About::of(self, s, model.vars().device(), parts);
        let root = Rng::new(s.seed);
        let batches = Batches::new(data, s.batch, s.data_noise, root.split(1));
        let scores = Scores { objective: self.objective, batches, rng: root.split(2) };
        Ok(Minimise::new(scores, model, &s.rates(), about))
    }
}

/// The objective on batches of data.
#[derive(Debug)]
struct Scores {
    objective: ScoreObjective,
    batches: Batches,
    rng: Rng,
}

impl<M: Model> Objective<M> for Scores {
    fn name(&self) -> &'static str {
        "score matching"
    }

    fn vars<'a>(&self, model: &'a M) -> &'a nn::VarStore {
        model.vars()
    }

    fn columns(&self) -> &[&'static str] {
        self.objective.column()
    }

    fn measure(&mut self, model: &M, at: Update, tally: &mut Tally) -> Result<Measured> {
        let (x, last) = (self.batches.next(), at.last);
        let (loss, passes) = self.objective.loss(model, &x, !last, &mut self.rng)?;
        let n = x.size()[0] as u64;
        tally.sum(self.objective.column()[0], &loss);
        tally.cost.forward += n;
        tally.cost.backward += (passes + u64::from(!last)) * n;
        at.descend_from(&loss)
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
