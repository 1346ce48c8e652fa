//! Represent a velocity for any path of energies by a network of position, time and, gated, the energy's gradient.

mod path;

pub use path::{WithDrift, continuity_residual};

use super::time_mlp::TimeMlp;
use super::{initialise, widths_in_range};
use crate::density::{Path, described, read_model, take_parameters, write_model};
use crate::error::{Error, Result, guard, no_grad};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, nn};

/// The shape of a [`DriftNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftShape {
    /// Hidden widths.
    pub widths: Vec<i64>,
    /// Sines and cosines of πt, 2πt, … that the network sees beside t.
    pub frequencies: usize,
    /// Whether ∇U_t enters the velocity, each component multiplied by an output of the network. Its divergence then needs second
    /// derivatives of U.
    pub gradient: bool,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for DriftShape {
    fn default() -> Self {
        DriftShape { widths: vec![64, 64], frequencies: 3, gradient: true, seed: 0 }
    }
}

/// Intervals of t between which what is tabulated is linear.
const INTERVALS: i64 = 64;

/// Draws of the base that tell the unit of length.
const DRAWS: usize = 1_024;

/// A velocity b_θ(t, x) for a path of energies, learned without data by [`DriftTrainer`](crate::train::DriftTrainer):
///
/// ```text
/// b_θ(t, x) = ℓ g_θ(t, x/ℓ) − v(t) a_θ(t, x/ℓ) ∇U_t(x)
/// ```
///
/// with networks g, a of d outputs each (products by component), ℓ the root mean square coordinate of the base, and v_i(t) a table
/// that training sets to 1/E(∂_iU_t)², which is the variance of a Gaussian ρ_t: contraction towards separate modes is a gate that
/// hardly depends on x. The last layer starts at zero, so that an untrained b is 0.
///
/// Beside it there is a table of ∂_tF_t, F_t = −log Z_t, see [`log_z_ratio`](DriftNet::log_z_ratio).
#[derive(Debug)]
pub struct DriftNet {
    vs: nn::VarStore,
    net: TimeMlp,
    shape: DriftShape,
    /// ℓ.
    length: f64,
    d: i64,
    /// log v at t = j/64, `[65, d]`.
    mobility: Tensor,
    /// ∂_tF_t at t = j/64, `[65]`.
    rates: Tensor,
}

impl DriftNet {
    /// For walkers of the width, kind and device of the path's base.
    ///
    /// # Errors
    /// No hidden layer, a width below 1, a base that cannot be sampled.
    pub fn new<P: Path + ?Sized>(path: &P, shape: &DriftShape) -> Result<Self> {
        widths_in_range("widths", &shape.widths)?;
        let x = guard(|| Ok(path.base().sample(DRAWS, &mut Rng::new(0x6c65))))?;
        let size = x.size();
        let &[_, d] = &size[..] else {
            return Err(Error::Shape { name: "draws of the base", got: size, expected: "[n, d]".into() });
        };
        let length = x.square().mean(Kind::Double).double_value(&[]).sqrt();
        if !(length > 0.0 && length.is_finite()) {
            return Err(Error::param("base", length, "draws with a positive, finite mean square"));
        }
        let mut vs = nn::VarStore::new(x.device());
        let root = vs.root();
        let outputs = if shape.gradient { 2 * d } else { d };
        let net = TimeMlp::new(&(&root / "drift"), d, &shape.widths, outputs, shape.frequencies, 1.0 / length);
        let table = |name: &str, size: &[i64]| root.zeros_no_train(name, size);
        let (mut mobility, mut rates) = (table("mobility", &[INTERVALS + 1, d]), table("rates", &[INTERVALS + 1]));
        if x.kind() == Kind::Double {
            vs.double();
        }
        initialise(&vs, &mut Rng::new(shape.seed).split(0x6472), Some("last"));
        no_grad(|| {
            let _ = mobility.zero_();
            let _ = rates.zero_();
        });
        Ok(DriftNet { vs, net, shape: shape.clone(), length, d, mobility, rates })
    }

    /// The parameters θ and the two tables.
    pub fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.d
    }

    /// Its shape.
    pub fn shape(&self) -> &DriftShape {
        &self.shape
    }

    /// log Z_1 − log Z_0 of the path as the training has found it beside the drift, −∫∂_tF_t dt by trapezia between 65 times: a
    /// thermodynamic integration over the walkers of the training. It has no error bar and the bias of walkers that are not in
    /// equilibrium; the estimate to report is that of a [`Transport`](crate::Transport).
    pub fn log_z_ratio(&self) -> f64 {
        let all = self.rates.sum(Kind::Double).double_value(&[]);
        let ends = 0.5 * (self.rates.double_value(&[0]) + self.rates.double_value(&[INTERVALS]));
        -(all - ends) / INTERVALS as f64
    }

    /// What the net is beside θ, as files and checkpoints hold it.
    pub fn describe(&self) -> Value {
        let DriftShape { widths, frequencies, gradient, seed: _ } = &self.shape;
        let constants = json!({
            "widths": widths, "frequencies": frequencies, "gradient": gradient, "length": self.length,
        });
        described("DriftNet", self.d, &self.vs, constants)
    }

    /// Writes the parameters, the tables and the [description](DriftNet::describe) as safetensors, whatever the ending of `path`;
    /// completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path; `NonFinite` for a parameter that is not.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        write_model(path, &self.vs, &self.describe(), &[])
    }

    /// Reads parameters written by [`save`](DriftNet::save) into a net made for the same path with the same shape.
    ///
    /// # Errors
    /// `Io` where there is no file; `Data` where it is no net's, or that of another: the message names what differs. The parameters
    /// are then as they were.
    pub fn load(&mut self, path: &std::path::Path) -> Result<()> {
        take_parameters(&self.vs, "", &read_model(path, &self.describe())?)
    }

    /// Kind and device of its parameters.
    pub(crate) fn options(&self) -> (Kind, Device) {
        (self.mobility.kind(), self.mobility.device())
    }

    /// Rows t `[n, 1]` of a table, linear between its times.
    fn between(&self, table: &Tensor, t: &Tensor) -> Tensor {
        let place = t.view(-1).clamp(0.0, 1.0) * INTERVALS as f64;
        let i = place.floor().clamp_max((INTERVALS - 1) as f64);
        let share = (place - &i).unsqueeze(-1);
        let i = i.to_kind(Kind::Int64);
        let (a, b) = (table.index_select(0, &i), table.index_select(0, &(&i + 1)));
        &a + (b - &a) * share
    }

    /// v(t) for t `[n, 1]`, `[n, d]`.
    pub(crate) fn mobility(&self, t: &Tensor) -> Tensor {
        self.between(&self.mobility, t).exp()
    }

    /// Sets v at equally spaced times from E(∂_iU_t)², one row `[d]` for each of t = k/K.
    pub(crate) fn set_mobility(&self, squares: &[Tensor]) {
        let last = squares.len() - 1;
        let rows: Vec<Tensor> = (0..=INTERVALS as usize)
            .map(|j| {
                let place = j as f64 * last as f64 / INTERVALS as f64;
                let i = (place as usize).min(last.saturating_sub(1));
                let share = place - i as f64;
                // infinite and vanishing gradients alike give no scale
                let log = |k: usize| -squares[k.min(last)].clamp(1e-12, 1e12).log();
                log(i) * (1.0 - share) + log(i + 1) * share
            })
            .collect();
        let fresh = Tensor::stack(&rows, 0).to_kind(self.options().0);
        no_grad(|| self.mobility.shallow_clone().copy_(&fresh));
    }

    /// Moves the tabulated ∂_tF_t at the times at most `reach` from t towards what a batch says; takes it as it is where there is
    /// nothing yet.
    pub(crate) fn learn_rate(&self, (t, reach): (f64, f64), rate: &Tensor, share: f64) {
        let place = |t: f64| (t.clamp(0.0, 1.0) * INTERVALS as f64).round() as i64;
        let (first, last) = (place(t - reach), place(t + reach));
        let mut held = self.rates.narrow(0, first, last - first + 1);
        let rate = rate.to_kind(self.options().0);
        let fresh = (&held * (1.0 - share) + &rate * share).where_self(&held.ne(0.0), &rate);
        no_grad(|| held.copy_(&fresh));
    }

    /// b at rows with times t `[n or 1, 1]` and the gradients of U there.
    pub(crate) fn at(&self, t: &Tensor, x: &Tensor, grad: &Tensor) -> Tensor {
        let out = self.net.forward(x, t);
        self.compose(&out, t, grad)
    }

    fn compose(&self, out: &Tensor, t: &Tensor, grad: &Tensor) -> Tensor {
        let g = out.narrow(1, 0, self.d) * self.length;
        if !self.shape.gradient {
            return g;
        }
        g - out.narrow(1, self.d, self.d) * self.mobility(t) * grad
    }

    /// b, and its Jacobian without the part with second derivatives of U, applied to tangents `[n, d, m]` (itself for none):
    /// `[n, d]`, `[n, d, m]`; and v a, by which the rows of the Hessian are multiplied and taken off, `[n, d]`.
    pub(crate) fn push(
        &self,
        t: &Tensor,
        x: &Tensor,
        grad: &Tensor,
        tangents: Option<&Tensor>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let (out, j) = self.net.push(x, t, tangents);
        let (b, straight) = (self.compose(&out, t, grad), j.narrow(1, 0, self.d) * self.length);
        if !self.shape.gradient {
            return (b, straight, None);
        }
        let v = self.mobility(t);
        let gated = j.narrow(1, self.d, self.d) * (&v * grad).unsqueeze(-1);
        (b, straight - gated, Some(out.narrow(1, self.d, self.d) * v))
    }
}
