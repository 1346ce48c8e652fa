//! Factorise the Fisher matrix of an energy, F = Cov(∂_θU), into covariances of small statistics: what natural gradients need.

use crate::error::no_grad;
use tch::{Kind, Tensor};

/// The blocks of F under the walkers, one for each layer: a Kronecker product of two covariances for a matrix of weights
/// (K-FAC), one covariance for a vector.
///
/// A model of your own names its layers in [`Model::fisher`](crate::Model::fisher), with the rows that went into each and the
/// gradients of U that came back to its output:
///
/// ```
/// use jarzynski::{Energy, Rng, density::Fisher, tch::{self, Device, Kind, Tensor, nn::{self, Module}}};
/// # let vs = nn::VarStore::new(Device::Cpu);
/// # let (first, last) = (nn::linear(vs.root(), 2, 8, Default::default()), nn::linear(vs.root(), 8, 1, Default::default()));
/// # let x = Rng::new(0).normal(&[100, 2], Kind::Float, Device::Cpu);
/// // U(x) = |x|²/2 + last(tanh(first(x)))
/// let (before, hidden, after) = tch::with_grad(|| {
///     let before = first.forward(&x);
///     let hidden = before.tanh();
///     let after = last.forward(&hidden);
///     (before, hidden, after)
/// });
/// let g = Tensor::run_backward(&[after.sum(Kind::Float)], &[&before, &after], false, false);
/// let fisher = Fisher::new()
///     .linear(&first.ws, first.bs.as_ref(), &x, &g[0])
///     .linear(&last.ws, last.bs.as_ref(), &hidden, &g[1]);
/// ```
#[derive(Debug, Default)]
pub struct Fisher {
    pub(crate) factors: Vec<Factor>,
    pub(crate) blocks: Vec<Block>,
    /// Rows that were sent through the model for it.
    pub(crate) rows: u64,
}

/// Rows of a statistic whose covariance is a factor.
#[derive(Debug)]
pub(crate) struct Factor {
    /// `[n · positions, d]`.
    pub(crate) rows: Tensor,
    /// Rows per walker: the places that a convolution visits.
    positions: i64,
    /// Whether the mean is subtracted, else this is the second moment.
    centred: bool,
    /// What the second moment is multiplied by.
    scale: f64,
}

/// One block of F.
#[derive(Debug)]
pub(crate) enum Block {
    /// For weights W, as a matrix `[left, right]`: F ≈ factor `left` ⊗ factor `right`.
    ///
    /// A bias of the length of one side takes up the mean of the *other* side's statistic: gradients are those of the centred
    /// parametrisation, in which W and that bias do not interfere.
    Product { weights: Tensor, left: usize, right: usize, biases: [Option<Tensor>; 2] },
    /// For a vector of parameters, which is `scale` times the one whose gradient the factor is the covariance of.
    Whole { parameter: Tensor, factor: usize, scale: Option<Tensor> },
}

/// Mean and covariance of a [`Factor`] under weights.
#[derive(Debug)]
pub(crate) struct Moments {
    /// `[d]`.
    pub mean: Tensor,
    /// `[d, d]`; the second moment where the factor is not centred.
    pub covariance: Tensor,
}

impl Fisher {
    /// No blocks yet.
    #[must_use]
    pub fn new() -> Self {
        Fisher::default()
    }

    /// A layer y = x Wᵀ + b of a net: `weights` W `[d_out, d_in]`, or of any shape that flattens to it; its inputs `[n, d_in]` and
    /// ∂U/∂y `[n, d_out]`, one row per walker in the walkers' order. Weights that are used at several positions, as those of a
    /// convolution: `[n, positions, d_in]` and `[n, positions, d_out]`.
    #[must_use]
    pub fn linear(self, weights: &Tensor, bias: Option<&Tensor>, inputs: &Tensor, gradients: &Tensor) -> Self {
        let (mut fisher, positions) = (self, if inputs.dim() == 3 { inputs.size()[1] } else { 1 });
        let flat = |t: &Tensor| t.detach().reshape([-1, t.size().last().copied().unwrap_or(1)]);
        // gradients at different positions are taken as independent, inputs as alike
        let right =
            fisher.push(Factor { rows: flat(inputs), positions, centred: bias.is_some(), scale: positions as f64 });
        let left = fisher.push(Factor { rows: flat(gradients), positions, centred: false, scale: 1.0 });
        if let Some(bias) = bias {
            let rows = gradients.detach();
            let factor = match positions {
                1 => left,
                _ => fisher.push(Factor {
                    rows: rows.sum_dim_intlist(1, false, None::<Kind>),
                    positions: 1,
                    centred: false,
                    scale: 1.0,
                }),
            };
            fisher.blocks.push(Block::Whole { parameter: bias.shallow_clone(), factor, scale: None });
        }
        let biases = [bias.map(Tensor::shallow_clone), None];
        fisher.blocks.push(Block::Product { weights: weights.shallow_clone(), left, right, biases });
        fisher
    }

    /// Parameters `[d]` with ∂U/∂θ `[n, d]`, one row per walker: the whole of their block of F.
    #[must_use]
    pub fn parameter(self, parameter: &Tensor, gradients: &Tensor) -> Self {
        let mut fisher = self;
        let factor = fisher.covariance(gradients);
        fisher.blocks.push(Block::Whole { parameter: parameter.shallow_clone(), factor, scale: None });
        fisher
    }

    /// Says that `rows` rows were sent forward and backward through U for this.
    #[must_use]
    pub fn evaluated(self, rows: usize) -> Self {
        Fisher { rows: self.rows + rows as u64, ..self }
    }

    /// The number of a factor that is the covariance of rows `[n, d]`.
    pub(crate) fn covariance(&mut self, rows: &Tensor) -> usize {
        self.push(Factor { rows: rows.detach(), positions: 1, centred: true, scale: 1.0 })
    }

    fn push(&mut self, factor: Factor) -> usize {
        self.factors.push(factor);
        self.factors.len() - 1
    }
}

impl Factor {
    /// Under weights w `[n]`, f64, that sum to 1.
    pub fn moments(&self, w: &Tensor) -> Moments {
        no_grad(|| {
            let kind = self.rows.kind();
            let share = if self.positions == 1 {
                w.shallow_clone()
            } else {
                (w / self.positions as f64).repeat_interleave_self_int(self.positions, 0, None::<i64>)
            };
            let share = share.to_kind(kind);
            let mean = self.rows.tr().mv(&share);
            let away = if self.centred { &self.rows - &mean } else { self.rows.shallow_clone() };
            let half = away * (share * self.scale).sqrt().unsqueeze(-1);
            Moments { mean, covariance: half.tr().matmul(&half) }
        })
    }
}
