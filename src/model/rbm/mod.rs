//! Give restricted Boltzmann machines, one type for all kinds of visible units.

mod bernoulli;
mod binary;
mod exact;
mod fisher;
mod flips;
mod gaussian;
mod ising;
mod ladder;
mod model;
mod potts;
mod tempering;
mod units;
mod visible;

pub use bernoulli::Bernoulli;
pub use exact::{Exact, exact_draws, exact_log_z};
pub use gaussian::Normal;
pub use ising::Ising;
pub use potts::{Potts, one_hot};
pub use tempering::{Replicas, Tempered, Tempering};
pub use units::Units;
pub use visible::Visible;

use crate::density::{Energy, Independent, Layers, Model, check_rows};
use crate::error::{Error, Result, no_grad};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};
use units::sum;

/// The shape of an [`Rbm`] and what its walkers carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RbmShape {
    /// Hidden units.
    pub hidden: usize,
    /// Standard deviation of the initial weights. At 0 the gradient of W vanishes but for sampling noise.
    pub scale: f64,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Whether walkers are (v | h), with U, instead of v with the free energy F: what the paper's kernels need. Collapsed
    /// weights are valid for functions of v only, so that v is then all a walker has.
    pub joint: bool,
    /// Gradients of the centred parametrisation, in which units have the data's means subtracted. Not for Gaussian units.
    pub centred: bool,
}

impl Default for RbmShape {
    fn default() -> Self {
        RbmShape { hidden: 128, scale: 0.01, seed: 0, joint: false, centred: false }
    }
}

/// A restricted Boltzmann machine; U, F and the conditionals are those of [`Units`].
///
/// Visible units are binary ([`bernoulli`](Rbm::bernoulli)), real ([`gaussian`](Rbm::gaussian)), spins ([`ising`](Rbm::ising)) or
/// have q states ([`potts`](Rbm::potts)); another kind is an implementation of [`Visible`] and [`from_units`](Rbm::from_units).
/// Hidden units are binary.
///
/// Parameter groups: 0 W, 1 the biases b and c, 2 log σ². Its base is the distribution of independent units with the data's means
/// (and variances): W = 0, sampled exactly, log Z_0 known; walkers carry A_0 = F_0 − F_θ.
///
/// ```
/// use jarzynski::{Gibbs, Method, Trainer, Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[500, 6], Kind::Float, Device::Cpu).round();
/// let mut rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 4, ..Default::default() })?;
/// let run = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 })
///     .walkers(500).steps(50).lr(0.05).quiet().train(&mut rbm, &data)?;
/// let (monitor, exact) = (run.log_z().unwrap(), rbm.exact_log_z()?);
/// assert!((monitor.value - exact).abs() < 5.0 * monitor.se + 1e-3);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Rbm {
    vs: nn::VarStore,
    /// The variables of `vs`, with gradients.
    units: Units,
    base: Independent<Units>,
    joint: bool,
    /// Means of the data, where gradients are centred.
    centre: Option<Tensor>,
}

impl Rbm {
    /// With given parameters W `[d_v, d_h]`, b `[d_v]`, c `[d_h]` and, for Gaussian units, σ `[d_v]`; binary ones without.
    ///
    /// # Errors
    /// Shapes that do not fit, numbers that are not finite, a σ that is not positive.
    pub fn with_parameters(w: &Tensor, b: &Tensor, c: &Tensor, sigma: Option<&Tensor>, joint: bool) -> Result<Self> {
        let units = match sigma {
            Some(sigma) => Units::gaussian(w, b, c, sigma)?,
            None => Units::bernoulli(w, b, c)?,
        };
        Self::from_units(&units, joint)
    }

    /// With given parameters, copied, and walkers (v | h) if `joint`.
    ///
    /// # Errors
    /// No hidden unit.
    pub fn from_units(units: &Units, joint: bool) -> Result<Self> {
        let shape = RbmShape { hidden: units.dims().1 as usize, scale: 0.0, joint, ..Default::default() };
        let visible = units.visible.with_parameter(units.visible.parameter().map(|(_, t)| t.shallow_clone()));
        let rbm = Self::build(units.b.shallow_clone(), visible, &shape, None)?;
        rbm.set(units);
        Ok(rbm)
    }

    fn build(b: Tensor, visible: Box<dyn Visible>, shape: &RbmShape, centre: Option<Tensor>) -> Result<Self> {
        if shape.hidden == 0 {
            return Err(Error::param("hidden", 0, "at least 1 hidden unit"));
        }
        if !(shape.scale >= 0.0 && shape.scale.is_finite()) {
            return Err(Error::param("scale", shape.scale, "a finite number ≥ 0"));
        }
        let (kind, device, dv, dh) = (b.kind(), b.device(), b.size()[0], shape.hidden as i64);
        let base = Independent::new(Units::independent(&b, dh, visible.as_ref()), shape.joint);
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        // the same numbers on every device
        let mut rng = Rng::new(shape.seed).split(0x0072_626d).on_host();
        let noise = rng.normal(&[dv, dh], kind, device) * shape.scale;
        let w = super::mixture::variable(&root, "w", &noise);
        let biases = root.set_group(1);
        let b = super::mixture::variable(&biases, "b", &b);
        let c = super::mixture::variable(&biases, "c", &Tensor::zeros([dh], (kind, device)));
        let own = visible.parameter().map(|(name, t)| super::mixture::variable(&root.set_group(2), name, t));
        let units = Units { w, b, c, visible: visible.with_parameter(own) };
        Ok(Rbm { vs, units, base, joint: shape.joint, centre })
    }

    /// Widths of the visible and of the hidden layer.
    pub fn dims(&self) -> (i64, i64) {
        self.units.dims()
    }

    /// Whether walkers are (v | h).
    pub fn joint(&self) -> bool {
        self.joint
    }

    /// The present parameters, sharing memory, without gradients: later updates of θ change them; [`Units::copy`] does not.
    pub fn units(&self) -> Units {
        self.units.detached()
    }

    /// Takes over recorded parameters, those of the visible kind where they are given; the base stays.
    ///
    /// ```
    /// use jarzynski::{Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}};
    /// # fn main() -> jarzynski::Result<()> {
    /// let data = Rng::new(0).uniform_tensor(&[50, 6], Kind::Double, Device::Cpu).round();
    /// let rbm = |hidden, scale| Rbm::bernoulli(&data, &RbmShape { hidden, scale, ..Default::default() });
    /// let (one, other) = (rbm(4, 0.0)?, rbm(4, 1.0)?);
    /// one.set_units(&other.units())?;
    /// assert_eq!(one.exact_log_z()?, other.exact_log_z()?);
    /// assert!(rbm(5, 0.0)?.set_units(&other.units()).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Shape` for parameters of another machine.
    pub fn set_units(&self, units: &Units) -> Result<()> {
        let own = &self.units;
        let visible = |u: &Units| u.visible.parameter().map_or(vec![], |(_, t)| t.size());
        let pairs = [
            ("W", own.w.size(), units.w.size()),
            ("b", own.b.size(), units.b.size()),
            ("c", own.c.size(), units.c.size()),
            ("parameter of the visible units", visible(own), visible(units)),
        ];
        for (name, own, got) in pairs {
            if own != got {
                return Err(Error::Shape { name, got, expected: format!("{own:?}") });
            }
        }
        self.set(units);
        Ok(())
    }

    /// Takes over parameters, those of the visible kind where they are given.
    pub(crate) fn set(&self, units: &Units) {
        let own = self.units.visible.parameter().zip(units.visible.parameter());
        let all = [(&self.units.w, &units.w), (&self.units.b, &units.b), (&self.units.c, &units.c)];
        no_grad(|| {
            for (to, from) in all.into_iter().chain(own.map(|((_, to), (_, from))| (to, from))) {
                to.shallow_clone().copy_(from);
            }
        });
    }

    /// Rows `[n, d]` with finite entries, in the kind and on the device of the parameters: every public function that takes rows
    /// calls it.
    fn rows(&self, name: &'static str, x: &Tensor, d: i64) -> Result<Tensor> {
        check_rows(name, x, d)?;
        let (kind, device) = self.options();
        Ok(x.to_device(device).to_kind(kind))
    }

    /// As [`rows`](Rbm::rows) for rows v that are states of the visible units.
    fn data_rows(&self, name: &'static str, v: &Tensor) -> Result<Tensor> {
        let v = self.rows(name, v, self.dims().0)?;
        self.units.visible.check(&v)?;
        Ok(v)
    }

    /// Probability of each hidden unit given rows v `[n, d_v]`, `[n, d_h]`: σ(a), (41). v may be means.
    ///
    /// # Errors
    /// Rows of the wrong width or not finite.
    pub fn hidden_means(&self, v: &Tensor) -> Result<Tensor> {
        let v = self.rows("v", v, self.dims().0)?;
        Ok(no_grad(|| self.units.hidden_input(&v).sigmoid()))
    }

    /// Mean of each visible unit given rows h `[n, d_h]`, `[n, d_v]`: σ(g), (42), for binary units. h may be means.
    ///
    /// # Errors
    /// Rows of the wrong width or not finite.
    pub fn visible_means(&self, h: &Tensor) -> Result<Tensor> {
        let h = self.rows("h", h, self.dims().1)?;
        Ok(no_grad(|| self.units.visible.mean(&self.units.visible_input(&h))))
    }

    /// Mean-field reconstruction of rows v: the visible means given the hidden means, `[n, d_v]`.
    ///
    /// # Errors
    /// Rows of the wrong width or not finite.
    pub fn reconstruct(&self, v: &Tensor) -> Result<Tensor> {
        self.visible_means(&self.hidden_means(v)?)
    }

    /// log ρ_θ(v) = −F(v) − log Z at rows v `[n, d_v]`, nats, f64.
    ///
    /// # Errors
    /// Rows of the wrong width, not finite, or no states of the visible units.
    pub fn log_likelihood(&self, v: &Tensor, log_z: f64) -> Result<Tensor> {
        let v = self.data_rows("v", v)?;
        Ok(no_grad(|| -self.energy(&v)) - log_z)
    }

    /// Mean over rows of Σ_j log p(v_j | v without j), by one unit j per row drawn at random times the number of units: the
    /// stochastic pseudo-likelihood, nats.
    ///
    /// # Errors
    /// Gaussian units; rows of the wrong width, not finite, or no states of the visible units.
    pub fn pseudo_likelihood(&self, v: &Tensor, rng: &mut Rng) -> Result<f64> {
        let visible = &self.units.visible;
        if visible.levels().is_none() {
            let expected = "discrete ones: a pseudo-likelihood compares the states of one unit at a time";
            return Err(Error::param("visible units", visible.name(), expected));
        }
        let v = self.data_rows("v", v)?;
        let units = v.size()[1] / visible.columns();
        let one = rng.indices(units as usize, v.size()[0] as usize);
        let one = Tensor::from_slice(&one).to_device(v.device()).unsqueeze(-1);
        // log p(v_j | rest) = −F(v) − log Σ e^{−F} over the states of unit j
        let minus_f = |v: &Tensor| -self.energy(v);
        no_grad(|| {
            let all: Vec<Tensor> =
                [minus_f(&v)].into_iter().chain(visible.alternatives(&v, &one).iter().map(minus_f)).collect();
            let log_p = Tensor::stack(&all, 0).log_softmax(0, Kind::Double).get(0);
            Ok(log_p.mean(Kind::Double).double_value(&[]) * units as f64)
        })
    }
}

/// Whether data are `[n, d]` with n, d ≥ 1 and finite entries.
fn check_width(data: &Tensor) -> Result<()> {
    let size = data.size();
    if size.len() == 2 && size[1] > 0 {
        return check_rows("data", data, size[1]);
    }
    Err(Error::Shape { name: "data", got: size, expected: "[n, d] with n, d ≥ 1".into() })
}

/// Whether data are states of the visible units, of any width.
fn check_start(data: &Tensor, visible: &dyn Visible) -> Result<()> {
    check_width(data)?;
    visible.check(data)
}
