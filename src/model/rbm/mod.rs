//! Give restricted Boltzmann machines with binary or Gaussian visible units, one type for both.

mod base;
mod binary;
mod exact;
mod path;
mod tempering;
mod units;

pub use exact::Exact;
pub use path::RbmPath;
pub use tempering::{Tempered, Tempering};
pub use units::Units;

use crate::density::{Base, Energy, Evaluation, Model, check_rows, first_row};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use base::Independent;
use binary::weighted_means;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

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
    /// Gradients of the centred parametrisation, in which units have the data's means subtracted. Binary units only.
    pub centred: bool,
}

impl Default for RbmShape {
    fn default() -> Self {
        RbmShape { hidden: 128, scale: 0.01, seed: 0, joint: false, centred: false }
    }
}

/// A restricted Boltzmann machine; U, F and the conditionals are those of [`Units`].
///
/// Parameter groups: 0 W, 1 the biases b and c, 2 log σ². Its base is the law of independent units with the data's means
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
    w: Tensor,
    b: Tensor,
    c: Tensor,
    log_var: Option<Tensor>,
    base: Independent,
    joint: bool,
    /// Means of the data, where gradients are centred.
    centre: Option<Tensor>,
}

impl Rbm {
    /// Binary visible units, for data `[n, d_v]` of zeros and ones, with the data's kind and device.
    ///
    /// Errors: data outside {0, 1} ([`Dataset::binarise`](crate::data::Dataset::binarise) makes some), no hidden unit, a
    /// scale that is negative.
    pub fn bernoulli(data: &Tensor, shape: &RbmShape) -> Result<Self> {
        let d = width(data)?;
        check_rows("data", data, d)?;
        check_binary(data)?;
        let (mean, n) = (data.mean_dim(0, false, None::<Kind>), data.size()[0] as f64);
        // half an observation of each kind: a pixel that is never set has a finite bias
        let share = (&mean * n + 0.5) / (n + 1.0);
        let b = share.logit(None::<f64>);
        Self::build(b, None, shape, shape.centred.then_some(mean))
    }

    /// Gaussian visible units with learned variances, for real data `[n, d_v]`.
    ///
    /// Errors: data that are not finite, no hidden unit, a negative scale, centred gradients.
    pub fn gaussian(data: &Tensor, shape: &RbmShape) -> Result<Self> {
        let d = width(data)?;
        check_rows("data", data, d)?;
        if shape.centred {
            return Err(Error::param("centred", true, "false for Gaussian visible units: their means are parameters"));
        }
        let mean = data.mean_dim(0, false, None::<Kind>);
        let variance = (data - &mean).square().mean_dim(0, false, None::<Kind>);
        // a coordinate that never varies has a law all the same
        let floor = variance.mean(Kind::Double).double_value(&[]).max(1e-12) * 1e-4;
        Self::build(mean, Some(variance.clamp_min(floor).log()), shape, None)
    }

    /// With given parameters W `[d_v, d_h]`, b `[d_v]`, c `[d_h]` and, for Gaussian units, σ `[d_v]`.
    ///
    /// Errors: shapes that do not fit, numbers that are not finite, a σ that is not positive.
    pub fn with_parameters(w: &Tensor, b: &Tensor, c: &Tensor, sigma: Option<&Tensor>, joint: bool) -> Result<Self> {
        let size = w.size();
        let &[dv, dh] = size.as_slice() else {
            return Err(Error::Shape { name: "w", got: size, expected: "[visible units, hidden units]".into() });
        };
        for (name, t, d) in [("b", Some(b), dv), ("c", Some(c), dh), ("sigma", sigma, dv)] {
            if let Some(t) = t.filter(|t| t.size() != [d]) {
                return Err(Error::Shape { name, got: t.size(), expected: format!("[{d}], as w is {size:?}") });
            }
        }
        for (what, t) in [("w", Some(w)), ("b", Some(b)), ("c", Some(c)), ("sigma", sigma)] {
            if t.is_some_and(|t| t.isfinite().all().int64_value(&[]) == 0) {
                return Err(Error::NonFinite { what, place: "among the parameters".into() });
            }
        }
        if let Some(s) = sigma.map(|s| s.min().double_value(&[])).filter(|s| *s <= 0.0) {
            return Err(Error::param("sigma", s, "positive standard deviations"));
        }
        let shape = RbmShape { hidden: dh as usize, scale: 0.0, joint, ..Default::default() };
        let log_var = sigma.map(|s| s.square().log());
        let rbm = Self::build(b.shallow_clone(), log_var, &shape, None)?;
        rbm.set(&Units { w: w.shallow_clone(), b: b.shallow_clone(), c: c.shallow_clone(), log_var: None });
        Ok(rbm)
    }

    fn build(b: Tensor, log_var: Option<Tensor>, shape: &RbmShape, centre: Option<Tensor>) -> Result<Self> {
        if shape.hidden == 0 {
            return Err(Error::param("hidden", 0, "at least 1 hidden unit"));
        }
        if !(shape.scale >= 0.0 && shape.scale.is_finite()) {
            return Err(Error::param("scale", shape.scale, "a finite number ≥ 0"));
        }
        let (kind, device, dv, dh) = (b.kind(), b.device(), b.size()[0], shape.hidden as i64);
        let vs = nn::VarStore::new(device);
        let root = vs.root();
        // the same numbers on every device
        let mut rng = Rng::new(shape.seed).split(0x0072_626d).on_host();
        let noise = rng.normal(&[dv, dh], kind, device) * shape.scale;
        let w = super::mixture::variable(&root, "w", &noise);
        let own = root.set_group(1);
        let bias = super::mixture::variable(&own, "b", &b);
        let c = super::mixture::variable(&own, "c", &Tensor::zeros([dh], (kind, device)));
        let learned = log_var.as_ref().map(|l| super::mixture::variable(&root.set_group(2), "log_var", l));
        let base = Independent::new(b.copy(), dh, log_var, shape.joint);
        Ok(Rbm { vs, w, b: bias, c, log_var: learned, base, joint: shape.joint, centre })
    }

    /// Visible and hidden units.
    pub fn dims(&self) -> (i64, i64) {
        (self.w.size()[0], self.w.size()[1])
    }

    /// Whether walkers are (v | h).
    pub fn joint(&self) -> bool {
        self.joint
    }

    /// The present parameters, sharing memory, without gradients: later updates of θ change them; [`Units::copy`] does not.
    pub fn units(&self) -> Units {
        self.attached().detached()
    }

    /// With gradients to the parameters.
    fn attached(&self) -> Units {
        let share = |t: &Tensor| t.shallow_clone();
        Units { w: share(&self.w), b: share(&self.b), c: share(&self.c), log_var: self.log_var.as_ref().map(share) }
    }

    /// Takes over parameters, those of σ² where they are given.
    pub(crate) fn set(&self, units: &Units) {
        crate::error::no_grad(|| {
            self.w.shallow_clone().copy_(&units.w);
            self.b.shallow_clone().copy_(&units.b);
            self.c.shallow_clone().copy_(&units.c);
            if let (Some(to), Some(from)) = (&self.log_var, &units.log_var) {
                to.shallow_clone().copy_(from);
            }
        });
    }

    /// The parameters of the base: W = 0.
    pub(crate) fn base_units(&self) -> Units {
        self.base.units()
    }

    /// Probability of each hidden unit given rows v, `[n, d_h]`: σ(a), (41).
    pub fn hidden_means(&self, v: &Tensor) -> Tensor {
        crate::error::no_grad(|| self.units().hidden_input(v).sigmoid())
    }

    /// Mean of each visible unit given rows h, `[n, d_v]`: σ(g), (42), or m.
    pub fn visible_means(&self, h: &Tensor) -> Tensor {
        crate::error::no_grad(|| {
            let g = self.units().visible_input(h);
            if self.log_var.is_some() { g } else { g.sigmoid() }
        })
    }

    /// Mean-field reconstruction of rows v: the visible means given the hidden means, `[n, d_v]`.
    pub fn reconstruct(&self, v: &Tensor) -> Tensor {
        self.visible_means(&self.hidden_means(v))
    }

    /// log ρ_θ(v) = −F(v) − log Z at rows v `[n, d_v]`, nats, f64. Errors: rows of the wrong width or not finite.
    pub fn log_likelihood(&self, v: &Tensor, log_z: f64) -> Result<Tensor> {
        crate::run::log_prob(self, v, log_z)
    }

    /// Mean over rows of Σ_j log p(v_j | v without j), by one unit per row drawn at random times d_v: the stochastic
    /// pseudo-likelihood, nats. Errors: Gaussian units, rows that are not binary.
    pub fn pseudo_likelihood(&self, v: &Tensor, rng: &mut Rng) -> Result<f64> {
        if self.log_var.is_some() {
            return Err(Error::param("visible units", "Gaussian", "binary ones: a pseudo-likelihood flips them"));
        }
        check_rows("v", v, self.dims().0)?;
        check_binary(v)?;
        let (n, dv) = (v.size()[0], self.dims().0);
        let one = Tensor::from_slice(&rng.indices(dv as usize, n as usize)).to_device(v.device()).unsqueeze(-1);
        let mask = v.zeros_like().scatter_value(1, &one, 1.0);
        let flipped = v + &mask - v * &mask * 2.0;
        let gap = crate::error::no_grad(|| self.energy(&flipped) - self.energy(v));
        // log σ(F(flipped) − F(v))
        Ok(gap.log_sigmoid().mean(Kind::Double).double_value(&[]) * dv as f64)
    }
}

fn width(data: &Tensor) -> Result<i64> {
    let size = data.size();
    if size.len() == 2 && size[1] > 0 {
        return Ok(size[1]);
    }
    Err(Error::Shape { name: "data", got: size, expected: "[n, d] with n, d ≥ 1".into() })
}

fn check_binary(v: &Tensor) -> Result<()> {
    let wrong = |v: &Tensor| (v * (v - 1.0)).ne(0.0);
    let Some(row) = first_row(v, wrong) else { return Ok(()) };
    let column = wrong(&v.narrow(0, row, 1)).nonzero().int64_value(&[0, 1]);
    let value = format!("{} at row {row}, column {column}", v.double_value(&[row, column]));
    Err(Error::param("data", value, "0 or 1 for binary visible units (`Dataset::binarise` makes such data)"))
}

/// What a kernel for two layers asks for: the parameters of this moment.
pub trait Bipartite: Energy {
    /// W, b, c and σ, without gradients.
    fn units(&self) -> Units;
}

impl<E: Bipartite + ?Sized> Bipartite for &E {
    fn units(&self) -> Units {
        (**self).units()
    }
}

impl Bipartite for Rbm {
    fn units(&self) -> Units {
        Rbm::units(self)
    }
}

impl Units {
    fn detached(&self) -> Units {
        let cut = |t: &Tensor| t.detach();
        Units { w: cut(&self.w), b: cut(&self.b), c: cut(&self.c), log_var: self.log_var.as_ref().map(cut) }
    }

    /// (v, h) of joint rows, or v alone.
    pub(crate) fn split(&self, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let (dv, dh) = self.dims();
        match x.size().last() {
            Some(&d) if d == dv + dh => (x.narrow(-1, 0, dv).contiguous(), Some(x.narrow(-1, dv, dh).contiguous())),
            _ => (x.shallow_clone(), None),
        }
    }

    /// U or F at rows, with a kept for what follows.
    pub(crate) fn point(&self, x: &Tensor) -> Evaluation {
        let (v, h) = self.split(x);
        let a = self.hidden_input(&v);
        let u = match &h {
            Some(h) => self.energy(&v, h, &a),
            None => self.free_energy(&v, &a),
        };
        Evaluation::new(x.shallow_clone(), u, Tensor::new()).with_input(a)
    }
}

impl Energy for Rbm {
    /// F at rows v `[n, d_v]`, U at rows (v | h) `[n, d_v + d_h]`.
    fn energy(&self, x: &Tensor) -> Tensor {
        let units = self.attached();
        let (v, h) = units.split(x);
        let a = units.hidden_input(&v);
        h.map_or_else(|| units.free_energy(&v, &a), |h| units.energy(&v, &h, &a))
    }

    /// The same with the hidden units' inputs kept; there is no gradient in x.
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.units().point(x)
    }
}

impl Model for Rbm {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(self.base.same()))
    }

    fn dim(&self) -> i64 {
        self.dims().0
    }

    fn constants(&self) -> serde_json::Value {
        let visible = if self.log_var.is_some() { "gaussian" } else { "binary" };
        serde_json::json!({ "visible": visible, "joint": self.joint, "centred": self.centre.is_some() })
    }

    fn with_hidden(&self, x: &Tensor, rng: &mut Rng) -> Tensor {
        if !self.joint {
            return x.shallow_clone();
        }
        let units = self.units();
        Tensor::cat(&[x, &units.draw_hidden(&units.hidden_input(x), rng)], -1)
    }

    fn check_data(&self, x: &Tensor) -> Result<()> {
        if self.log_var.is_none() { check_binary(x) } else { Ok(()) }
    }

    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        crate::error::no_grad(|| {
            let units = self.units();
            let (v, h) = units.split(&at.x);
            let weight = w.to_kind(v.kind());
            // ∂U/∂W = −uᵀh, and F's the same with the means of h; the last column gives Σ w u
            let p = match (&h, at.input()) {
                (Some(h), _) => Tensor::cat(&[h * weight.unsqueeze(-1), weight.unsqueeze(-1)], -1),
                (None, Some(a)) => weighted_means(a, w),
                (None, None) => weighted_means(&units.hidden_input(&v), w),
            };
            let dh = units.dims().1;
            let both = units.scaled(&v).tr().matmul(&p);
            let (product, visible) = (both.narrow(-1, 0, dh), both.select(-1, dh));
            let hidden = p.sum_dim_intlist(0, false, None::<Kind>).narrow(0, 0, dh);
            let Some(log_var) = &units.log_var else {
                return vec![-product, -visible, -hidden];
            };
            let (away, precision) = (&v - &units.b, (-log_var).exp());
            let spread = away.square().tr().mv(&weight) * &precision * 0.5;
            // ∂F/∂log σ² = −(v − b)²/2σ² + ½ u (W σ(a)), whose second part is the product of W's gradient with W
            let turn = (&product * &units.w).sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
            vec![-product, -away.tr().mv(&weight) * precision, -hidden, turn - spread]
        })
    }

    fn precondition(&self, grads: Vec<Tensor>) -> Vec<Tensor> {
        let (Some(mu), [w, b, c]) = (&self.centre, &grads[..]) else { return grads };
        let units = self.units();
        let mean = (&units.c + mu.matmul(&units.w)).sigmoid();
        let (column, row) = (mu.unsqueeze(-1), mean.unsqueeze(0));
        let w = w - column * c.unsqueeze(0) - b.unsqueeze(-1) * row;
        let (b, c) = (b - w.mv(&mean), c - mu.matmul(&w));
        vec![w, b, c]
    }

    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        self.units().point(x)
    }

    fn log_z_exact(&self) -> Option<f64> {
        let (dv, dh) = self.dims();
        let small = if self.log_var.is_some() { dh } else { dv.min(dh) };
        (small <= 16 && (dv.max(dh) << small) <= 1 << 21).then(|| self.exact_log_z().ok()).flatten()
    }

    fn options(&self) -> (Kind, Device) {
        (self.w.kind(), self.w.device())
    }
}
