//! Define what Gibbs sampling, annealing, tempering and exact sums need of a model with two layers of units.

use crate::density::{At, Energy, Evaluation, Path};
use crate::error::Result;
use crate::numeric::Rng;
use std::fmt::Debug;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// One of the two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The units v that data are compared with.
    Visible,
    /// The units h that are summed out.
    Hidden,
}

/// Two layers of units under one θ, the units of each independent given the other layer: ρ(v, h) = e^{−U(v, h)}/Z.
///
/// What [`Gibbs`](crate::Gibbs), [`Ais`](crate::Ais) and [`Tempering`](crate::Tempering) call; [`Units`](crate::model::Units)
/// implements it with dense weights for all kinds of visible units of an [`Rbm`](crate::model::Rbm). A model of your own, with
/// convolutions say, needs this trait, [`Bipartite`] and [`Model`](crate::Model).
///
/// Rows: v `[n, d_v]`, h `[n, d_h]`; energies and log-probabilities are `[n]` in f64, nats. The *inputs* are what the
/// conditionals are functions of: a of v for the hidden units, g of h for the visible ones, in a shape that the implementation
/// chooses, one row per walker.
///
/// The energy and the conditionals must belong together: log p(h | v) = F(v) − U(v, h).
pub trait Layers: Debug + Sized {
    /// Widths d_v and d_h of a row of each layer.
    fn dims(&self) -> (i64, i64);

    /// a of v: what p(h | v) is a function of.
    fn hidden_input(&self, v: &Tensor) -> Tensor;

    /// g of h: what p(v | h) is a function of.
    fn visible_input(&self, h: &Tensor) -> Tensor;

    /// h ~ p(h | v) from its input a.
    fn draw_hidden(&self, a: &Tensor, rng: &mut Rng) -> Tensor;

    /// v ~ p(v | h).
    fn draw_visible(&self, h: &Tensor, rng: &mut Rng) -> Tensor;

    /// log p(h | v), with a of v.
    fn log_hidden(&self, h: &Tensor, a: &Tensor) -> Tensor;

    /// log p(v | h), with g of h.
    fn log_visible(&self, v: &Tensor, g: &Tensor) -> Tensor;

    /// U(v, h), with a of v.
    fn joint_energy(&self, v: &Tensor, h: &Tensor, a: &Tensor) -> Tensor;

    /// F(v) = −log Σ_h e^{−U(v, h)}, with a of v.
    fn free_energy(&self, v: &Tensor, a: &Tensor) -> Tensor;

    /// At inverse temperature β in [0, 1]; the two layers are independent at β = 0.
    #[must_use]
    fn tempered(&self, beta: f64) -> Self;

    /// Parameters (1 − t)·θ + t·θ′ with θ′ those of `other`, sharing memory with neither.
    #[must_use]
    fn between(&self, other: &Self, t: f64) -> Self;

    /// The same parameters in the same memory.
    #[must_use]
    fn share(&self) -> Self;

    /// Whether rows v, finite and of the right width, are states of the visible units.
    ///
    /// # Errors
    /// A row with a state that has no probability, such as .5 for a binary unit; the message names it.
    fn check_visible(&self, v: &Tensor) -> Result<()>;

    /// States of a layer as a whole; infinite where its units are continuous.
    fn state_count(&self, layer: Layer) -> f64;

    /// Those states of a layer that have the given numbers, one row each; called where [`state_count`](Layers::state_count) is
    /// finite.
    fn states(&self, layer: Layer, numbers: Range<i64>) -> Tensor;

    /// log Σ e^{−U} over the other layer at states of `layer`: −F(v) at visible ones.
    fn log_weights(&self, layer: Layer, states: &Tensor) -> Tensor;

    /// log Z where the layers are independent; without a meaning elsewhere.
    fn log_z_independent(&self) -> f64 {
        // every state gives it: log Σ_v e^{−U(v, h)} − log p(h)
        let v = self.draw_visible(&self.hidden_zeros(1), &mut Rng::new(0));
        let a = self.hidden_input(&v);
        let h = self.draw_hidden(&a, &mut Rng::new(1));
        (self.log_weights(Layer::Hidden, &h) - self.log_hidden(&h, &a)).double_value(&[0])
    }

    /// `n` rows of zeros as wide as the hidden layer, of the kind and on the device of the parameters.
    fn hidden_zeros(&self, n: i64) -> Tensor;

    /// The same numbers, sharing nothing.
    #[must_use]
    fn copy(&self) -> Self {
        self.between(self, 0.0)
    }

    /// (v, h) of rows (v | h), or v alone.
    fn split(&self, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let (dv, dh) = self.dims();
        match x.size().last() {
            Some(&d) if d == dv + dh => (x.narrow(-1, 0, dv).contiguous(), Some(x.narrow(-1, dv, dh).contiguous())),
            _ => (x.shallow_clone(), None),
        }
    }

    /// F at rows v, U at rows (v | h), with a kept for what follows; no gradient.
    fn evaluate_rows(&self, x: &Tensor) -> Evaluation {
        let (v, h) = self.split(x);
        let a = self.hidden_input(&v);
        let u = match &h {
            Some(h) => self.joint_energy(&v, h, &a),
            None => self.free_energy(&v, &a),
        };
        Evaluation::new(x.shallow_clone(), u, Tensor::new()).with_input(a)
    }
}

/// An energy with two layers at this moment: a model, or a path at one time. What [`Gibbs`](crate::Gibbs) requires.
pub trait Bipartite: Energy {
    /// What its layers are.
    type Layers: Layers;

    /// The layers under the present parameters, without gradients.
    fn layers(&self) -> Self::Layers;

    /// Independent layers near these, from which [`Ais`](crate::Ais) starts: those at β = 0 unless a model knows nearer ones.
    fn start(&self) -> Self::Layers {
        self.layers().tempered(0.0)
    }

    /// Whether walkers are rows (v | h) with U, rather than v with F.
    fn joint(&self) -> bool {
        false
    }
}

impl<E: Bipartite + ?Sized> Bipartite for &E {
    type Layers = E::Layers;
    fn layers(&self) -> E::Layers {
        (**self).layers()
    }
    fn start(&self) -> E::Layers {
        (**self).start()
    }
    fn joint(&self) -> bool {
        (**self).joint()
    }
}

/// A path whose energies have two layers at every time, so that [`Gibbs`](crate::Gibbs) can move along it.
///
/// At any t the path's energy must be what these layers give, F at rows v, U at rows (v | h):
///
/// ```
/// use jarzynski::density::{BipartitePath, Independent, Layers};
/// use jarzynski::{Base, Evaluation, Gibbs, Path, model::Units, tch::Tensor, transport};
///
/// /// Inverse temperature t² instead of t.
/// struct Slow { base: Independent<Units>, end: Units }
/// impl Path for Slow {
///     fn base(&self) -> &dyn Base { &self.base }
///     fn energy(&self, t: f64, x: &Tensor) -> Tensor { self.evaluate(t, x).u }
///     fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation { self.layers_at(t).evaluate_rows(x) }
/// }
/// impl BipartitePath for Slow {
///     type Layers = Units;
///     fn layers_at(&self, t: f64) -> Units { self.end.tempered(t * t) }
/// }
/// # fn main() -> jarzynski::Result<()> {
/// let (w, b) = (Tensor::from_slice(&[0.5, -0.3]).view([2, 1]), Tensor::from_slice(&[0.1, 0.2]));
/// let end = Units::ising(&w, &b, &Tensor::from_slice(&[0.4]))?;
/// let path = Slow { base: Independent::new(end.tempered(0.0), false), end };
/// assert!(transport(Gibbs::new(), &path, 10, 100, 0)?.finished());
/// # Ok(()) }
/// ```
pub trait BipartitePath: Path {
    /// What its layers are.
    type Layers: Layers;

    /// The layers at t in [0, 1].
    fn layers_at(&self, t: f64) -> Self::Layers;
}

impl<P: BipartitePath + ?Sized> Bipartite for At<'_, P> {
    type Layers = P::Layers;
    fn layers(&self) -> P::Layers {
        self.path.layers_at(self.t)
    }
}

/// The numbers in `range` as states of binary units, the lowest bit first, `[m, units]` in f64.
pub(crate) fn bits(units: i64, range: Range<i64>, device: Device) -> Tensor {
    let place = (Kind::Int64, device);
    let index = Tensor::arange_start(range.start, range.end, place).unsqueeze(-1);
    index.bitwise_right_shift(&Tensor::arange(units, place)).bitwise_and(1).to_kind(Kind::Double)
}

/// The numbers in `range` written in base `base`, the lowest digit first, `[m, digits]` in f64.
pub(crate) fn digits(digits: i64, base: i64, range: Range<i64>, device: Device) -> Tensor {
    let powers: Vec<i64> = (0..digits as u32).map(|j| base.saturating_pow(j)).collect();
    let index = Tensor::arange_start(range.start, range.end, (Kind::Int64, device)).unsqueeze(-1);
    let place = Tensor::from_slice(&powers).to_device(device);
    index.divide_tensor_mode(&place, "floor").remainder(base).to_kind(Kind::Double)
}
