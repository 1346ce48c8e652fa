//! Give a normalizing flow of affine couplings: exact density, exact draws, and the inverse of both.

mod bridge;
mod layer;

pub use bridge::FlowBridge;

use super::{Gaussian, initialise, widths_in_range};
use crate::density::{
    Base, Differentiable, Energy, Evaluation, Model, Normalised, Whiten, Whitening, floats, write_model,
};
use crate::error::{Error, Result, guard, no_grad};
use crate::numeric::Rng;
use layer::{Coupling, none, parts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// The shape of a [`CouplingFlow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CouplingShape {
    /// Couplings K: each changes half of the coordinates, and two in a row change all of them.
    pub couplings: usize,
    /// Hidden widths of the network of each coupling.
    pub widths: Vec<i64>,
    /// Bound on |s|: a coupling stretches a coordinate by a factor between e^{−bound} and e^{bound}.
    pub bound: f64,
    /// Seed of the initial weights, and of the halves where there are more than two coordinates.
    pub seed: u64,
}

impl Default for CouplingShape {
    fn default() -> Self {
        CouplingShape { couplings: 8, widths: vec![64, 64], bound: 2.0, seed: 0 }
    }
}

/// A normalizing flow (RealNVP, arXiv 1605.08803; guide, section 3.4): x = m + L f_K ∘ … ∘ f_1(z), z ~ N(0, I), with affine
/// couplings
///
/// ```text
/// f_k:  z_A ← z_A,  z_B ← z_B e^{s_k(z_A)} + m_k(z_A),     log |det ∂f_k| = Σ_j s_kj,  |s_kj| < bound
/// U_θ(x) = −log ρ_θ(x) = |z|²/2 + (d/2) log 2π + log det L + Σ_k log |det ∂f_k|          guide, Lemma 3.3 and (57)
/// ```
///
/// N(m, LLᵀ) is the `start`, fitted to data: since the couplings' last layers are 0 at first, the untrained flow is the start
/// exactly. The density is normalised at every θ: log Z = 0. [`MaximumLikelihood`](crate::train::MaximumLikelihood) trains it
/// without sampling, and as a [`Base`] it starts walkers of any other energy.
///
/// ```
/// use jarzynski::{Base, Model, Rng, density::log_prob};
/// use jarzynski::model::{CouplingFlow, CouplingShape, Gaussian};
/// use jarzynski::tch::{Device, Kind};
/// # fn main() -> jarzynski::Result<()> {
/// let start = Gaussian::new(&[1.0, 0.0], &[2.0, 0.5])?;
/// let flow = CouplingFlow::new(&start, &CouplingShape::default(), Kind::Double, Device::Cpu)?;
/// let x = flow.sample(100, &mut Rng::new(0));
/// let gap = log_prob(&flow, &x, 0.0)? - start.log_prob(&x)?;      // nothing learned yet
/// assert!(gap.abs().max().double_value(&[]) < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct CouplingFlow {
    vs: nn::VarStore,
    start: Whitening,
    /// What tells the start from any other.
    fitted: String,
    shape: CouplingShape,
    layers: Vec<Coupling>,
    kind: Kind,
}

impl CouplingFlow {
    /// From a start of two dimensions at least.
    ///
    /// # Errors
    /// A start in one dimension, no couplings, a width below 1, no hidden layer, a bound that is not positive, a kind other than
    /// `Float` or `Double`.
    pub fn new(start: &Gaussian, shape: &CouplingShape, kind: Kind, device: Device) -> Result<Self> {
        let d = start.dim();
        if d < 2 {
            return Err(Error::param("dim", d, "at least 2: a coupling changes some coordinates given the others"));
        }
        if shape.couplings == 0 {
            return Err(Error::param("couplings", 0, "at least 1"));
        }
        widths_in_range("widths", &shape.widths)?;
        if !(shape.bound > 0.0 && shape.bound.is_finite()) {
            return Err(Error::param("bound", shape.bound, "a positive, finite bound on the log of a stretch"));
        }
        let start = start.whitening().on(kind, device)?;
        let mut vs = nn::VarStore::new(device);
        let root = vs.root();
        let mut rng = Rng::new(shape.seed).split(0x666c_6f77);
        let mut halves = [vec![], vec![]];
        let layers = (0..shape.couplings)
            .map(|k| {
                if k % 2 == 0 {
                    halves = parts(d, &mut rng);
                } else {
                    halves.swap(0, 1);
                }
                Coupling::new(&(&root / format!("coupling{k}")), [&halves[0], &halves[1]], &shape.widths, shape.bound)
            })
            .collect();
        if kind == Kind::Double {
            vs.double();
        }
        initialise(&vs, &mut rng, Some("last"));
        Ok(CouplingFlow { fitted: start.identity()?, vs, start, shape: shape.clone(), layers, kind })
    }

    /// Its shape.
    pub fn shape(&self) -> &CouplingShape {
        &self.shape
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> usize {
        self.vs.trainable_variables().iter().map(Tensor::numel).sum()
    }

    /// The Gaussian that the untrained flow is, of the flow's kind and on its device.
    ///
    /// # Errors
    /// None of its own; what libtorch refuses.
    pub fn start(&self) -> Result<Gaussian> {
        Ok(Gaussian::whitened_by(self.start.on(self.kind, self.vs.device())?))
    }

    /// Rows in the flow's own kind.
    fn own(&self, x: &Tensor) -> Tensor {
        floats(x, self.start.dim(), self.kind).to_kind(self.kind)
    }

    /// z through the couplings after the first `from` up to the first `to`, or back through their inverses; with the
    /// log-determinant of the map, `[n]` in f64.
    fn through(&self, from: usize, to: usize, z: &Tensor) -> (Tensor, Tensor) {
        let begin = (z.shallow_clone(), none(z.size()[0], z.device()));
        let then = |(z, sum): (Tensor, Tensor), layer: &Coupling| {
            let (z, log_det) = layer.apply(&z, to < from);
            (z, sum + log_det)
        };
        match from <= to {
            true => self.layers[from..to].iter().fold(begin, then),
            false => self.layers[to..from].iter().rev().fold(begin, then),
        }
    }

    /// The map of couplings `from` + 1 to `to` in the data's coordinates, x → m + L f_to ∘ … ∘ f_{from+1}(L⁻¹(x − m)), with its
    /// log-determinant, `[n]` in f64; for `to` < `from` the inverse. Numbers above K count as K. Differentiable.
    pub fn carry(&self, from: usize, to: usize, x: &Tensor) -> (Tensor, Tensor) {
        let most = self.layers.len();
        let (z, log_det) = self.through(from.min(most), to.min(most), &self.start.whiten(&self.own(x)));
        (self.start.colour(&z), log_det)
    }

    /// The generative direction: rows z `[n, d]` of N(0, I) → x `[n, d]` and log |det ∂x/∂z|, `[n]` in f64. Differentiable.
    pub fn generate(&self, z: &Tensor) -> (Tensor, Tensor) {
        let (z, log_det) = self.through(0, self.layers.len(), &self.own(z));
        (self.start.colour(&z), log_det + self.start.log_det())
    }

    /// The normalizing direction, the inverse: rows x `[n, d]` → z `[n, d]` and log |det ∂z/∂x|, `[n]` in f64. Differentiable.
    pub fn normalise(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (z, log_det) = self.through(self.layers.len(), 0, &self.start.whiten(&self.own(x)));
        (z, log_det - self.start.log_det())
    }

    /// A copy that shares nothing.
    ///
    /// # Errors
    /// None of its own; what libtorch refuses.
    pub fn frozen(&self) -> Result<CouplingFlow> {
        let mut copy = CouplingFlow::new(&self.start()?, &self.shape, self.kind, self.vs.device())?;
        copy.vs.copy(&self.vs)?;
        Ok(copy)
    }
}

impl Differentiable for CouplingFlow {}

impl Normalised for CouplingFlow {}

/// The coordinates of its start.
impl Whiten for CouplingFlow {
    fn whitening(&self) -> &Whitening {
        &self.start
    }
}

impl Energy for CouplingFlow {
    /// −log ρ_θ, in f64, normalised. Rows of another kind are converted.
    fn energy(&self, x: &Tensor) -> Tensor {
        let (z, log_det) = self.normalise(x);
        let constant = 0.5 * self.start.dim() as f64 * (2.0 * std::f64::consts::PI).ln();
        z.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5 + constant - log_det
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        Evaluation::autograd(self, &self.own(x))
    }
}

impl Base for CouplingFlow {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        no_grad(|| self.generate(&rng.normal(&[n as i64, self.start.dim()], self.kind, self.vs.device())).0)
    }

    fn log_z(&self) -> f64 {
        0.0
    }
}

impl Model for CouplingFlow {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    fn base(&self) -> Result<Box<dyn Base>> {
        guard(|| Ok(Box::new(self.frozen()?) as Box<dyn Base>))
    }

    fn dim(&self) -> i64 {
        self.start.dim()
    }

    fn copy(&self) -> Option<Self> {
        guard(|| self.frozen()).ok()
    }

    fn log_z_exact(&self) -> Option<f64> {
        Some(0.0)
    }

    fn constants(&self) -> Value {
        let CouplingShape { couplings, widths, bound, seed } = &self.shape;
        // with two coordinates the seed decides nothing but the initial weights
        let halves = (self.dim() > 2).then_some(seed);
        json!({ "start": self.fitted, "couplings": couplings, "widths": widths, "bound": bound, "halves": halves })
    }

    /// With the start: [`Gaussian::load`] reads it from the same file.
    fn save(&self, path: &Path) -> Result<()> {
        write_model(path, &self.vs, &self.describe(), &self.start.tensors())
    }
}
