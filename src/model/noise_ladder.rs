//! Learn an energy at every level of noise: the Gaussian with the data's covariance, exactly, and a network for the rest.

use super::time_mlp::TimeMlp;
use super::{Gaussian, initialise, widths_in_range};
use crate::density::{
    Axes, Base, Differentiable, Evaluation, NoisePath, Path, described, floats, kind_for, read_model, rows_as,
    take_parameters, write_model,
};
use crate::error::{Error, Result, guard};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, nn};

/// The shape of a [`NoiseLadder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LadderShape {
    /// Hidden widths of the network.
    pub widths: Vec<i64>,
    /// How many of the data's principal axes the network sees, the leading ones; `None`: those whose standard deviation is at
    /// least half the lowest noise. Along the others the model is the Gaussian.
    pub axes: Option<usize>,
    /// Sines and cosines of the noise level, on a logarithmic scale, that the network sees beside it.
    pub frequencies: usize,
    /// The highest noise level in units of the data's largest standard deviation along an axis.
    pub highest: f64,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for LadderShape {
    fn default() -> Self {
        LadderShape { widths: vec![512, 512], axes: None, frequencies: 3, highest: 2.0, seed: 0 }
    }
}

/// A path of energies from the data under much noise to the data under little, t from 0 to 1, σ(t) falling in equal ratios. With
/// z along the data's principal axes, v their variances and u = z/√(v + σ²),
///
/// ```text
/// U_θ(t, x) = ½ |u|² + ½ Σ log 2π(v + σ²) + f_θ(w, σ),    w = u √v/√(v + σ²)
/// ```
///
/// w, the Gaussian's guess of the clean point in units of the data's spread, is small where noise drowns the data, so that the
/// network f listens to what is left of them; it sees the leading axes alone. f is one number and grows linearly far away, so that
/// the Gaussian keeps e^{−U} normalisable. (f = ⟨net(w), w⟩ learns faster at first, and has wells of large mass away from the data.)
/// Its last layer starts at zero: untrained, the ladder is the Gaussian with the data's covariance at every level, normalised, and
/// a [`Transport`](crate::Transport) with [`Denoise`](crate::kernel::Denoise) has constant weights for any number of steps. Trained
/// by [`DualScoreMatching`](crate::train::DualScoreMatching), weighted walkers at t = 1 are exact for e^{−U_θ(1, ·)}, the model of
/// the data with noise of σ_min, and [`Run::log_z`](crate::Run::log_z) is its log Z.
///
/// ```
/// use jarzynski::{Rng, Transport, kernel::Denoise, model::{LadderShape, Mixture, NoiseLadder}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5])?.sample(500, &mut Rng::new(1));
/// let ladder = NoiseLadder::new(&data, 0.3, &LadderShape { widths: vec![32], ..Default::default() })?;
/// let run = Transport::new(Denoise::new(), 10, 200, 0).quiet().run(&ladder)?;
/// assert!(run.log_z().unwrap().value.abs() < 1e-9);     // nothing learned yet: the Gaussian, normalised
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NoiseLadder {
    vs: nn::VarStore,
    shape: LadderShape,
    axes: Axes,
    /// How many of the axes the network sees, the last ones of `axes`.
    seen: i64,
    /// σ at t = 0 and at t = 1.
    sigma: [f64; 2],
    base: Gaussian,
    net: TimeMlp,
    kind: Kind,
}

impl NoiseLadder {
    /// For `data` `[n, d]` with noise of standard deviation `noise`, on the data's device; in f64 where the data are f64, else in
    /// f32.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape, not finite, or without any variance.
    pub fn new(data: &Tensor, noise: f64, shape: &LadderShape) -> Result<Self> {
        let size = if data.defined() { data.size() } else { vec![] };
        let &[_, d] = size.as_slice() else {
            return Err(Error::Shape { name: "data", got: size, expected: "[n, d] with n, d ≥ 1".into() });
        };
        let data = rows_as("data", data, d, (kind_for(data), data.device()))?;
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::param("noise", noise, "a positive, finite standard deviation"));
        }
        if !(shape.highest > 0.0 && shape.highest.is_finite()) {
            return Err(Error::param("highest", shape.highest, "a positive, finite number"));
        }
        widths_in_range("widths", &shape.widths)?;
        let axes = Axes::of(&data)?;
        let largest = axes.variances().max().double_value(&[]).sqrt() * shape.highest;
        if !(largest > noise && largest.is_finite()) {
            let expected = format!("below {largest}, the highest level: {} times the data's spread", shape.highest);
            return Err(Error::param("noise", noise, expected));
        }
        let seen = seen_axes(&axes, noise, shape.axes)?;
        let (kind, device) = (data.kind(), data.device());
        let mut vs = nn::VarStore::new(device);
        let net = TimeMlp::new(&vs.root(), seen, &shape.widths, 1, shape.frequencies, 1.0);
        if kind == Kind::Double {
            vs.double();
        }
        initialise(&vs, &mut Rng::new(shape.seed).split(0x6c61_6464), Some("last"));
        let base = under_noise(&axes, largest)?.on(kind, device)?;
        Ok(NoiseLadder { vs, shape: shape.clone(), axes, seen, sigma: [largest, noise], base, net, kind })
    }

    /// The parameters θ.
    pub fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.axes.dim()
    }

    /// Its shape.
    pub fn shape(&self) -> &LadderShape {
        &self.shape
    }

    /// The highest and the lowest noise level.
    pub fn levels(&self) -> [f64; 2] {
        self.sigma
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> usize {
        self.vs.trainable_variables().iter().map(Tensor::numel).sum()
    }

    /// Kind of its parameters and walkers.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// d log σ/dt, which is negative.
    pub(crate) fn pace(&self) -> f64 {
        (self.sigma[1] / self.sigma[0]).ln()
    }

    /// f at rows u `[n, d]` and times t `[n or 1, 1]`: `[n]`.
    pub(crate) fn residual(&self, u: &Tensor, t: &Tensor) -> Tensor {
        let leading = |all: &Tensor| all.narrow(-1, self.dim() - self.seen, self.seen);
        let v = leading(self.axes.variances());
        let noise = (t * (2.0 * self.pace())).exp() * self.sigma[0].powi(2);
        let w = leading(u) * v.sqrt() / (noise + &v).sqrt();
        self.net.forward(&w, t).squeeze_dim(-1)
    }

    /// v + σ² along the axes, `[d]`.
    fn spread(&self, t: f64) -> Tensor {
        self.axes.variances() + self.sigma(t).powi(2)
    }

    /// ½ |u|² + ½ Σ log 2π(v + σ²), `[n]` in f64; v + σ² is the same for all rows, `[d]`, or of each, `[n, d]`.
    pub(crate) fn well(u: &Tensor, spread: &Tensor) -> Tensor {
        let norm = (spread.to_kind(Kind::Double) * (2.0 * std::f64::consts::PI)).log();
        let norm = norm.sum_dim_intlist(-1, false, Kind::Double);
        (u.square().sum_dim_intlist(-1, false, Kind::Double) + norm) * 0.5
    }

    fn time(&self, t: f64) -> Tensor {
        Tensor::from_slice(&[t]).to_kind(self.kind).to_device(self.vs.device()).view([1, 1])
    }

    /// Rows in the ladder's own kind, divided by their standard deviations along the axes; these squared.
    fn scaled(&self, t: f64, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let x = floats(x, self.dim(), self.kind).to_kind(self.kind);
        let spread = self.spread(t);
        let u = self.axes.to_axes(&x) / spread.sqrt();
        (x, u, spread)
    }

    /// What the ladder is beside θ and the axes, as files and checkpoints hold it.
    pub fn describe(&self) -> Value {
        let LadderShape { widths, axes: _, frequencies, highest: _, seed: _ } = &self.shape;
        let constants =
            json!({ "widths": widths, "axes": self.seen, "frequencies": frequencies, "lowest": self.sigma[1] });
        described("NoiseLadder", self.dim(), &self.vs, constants)
    }

    /// Writes the parameters, the [description](NoiseLadder::describe), the axes and the highest level as safetensors, whatever
    /// the ending of `path`; completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path; `NonFinite` for a parameter that is not.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        let highest = Tensor::from_slice(&[self.sigma[0]]);
        let [mean, rotation, variances] = self.axes.tensors();
        write_model(path, &self.vs, &self.describe(), &[mean, rotation, variances, ("highest", &highest)])
    }

    /// Reads a ladder written by [`save`](NoiseLadder::save) into one of the same description: its axes and levels too, so that
    /// the data are not needed.
    ///
    /// # Errors
    /// `Io` where there is no file; `Data` where it is no ladder's, or that of one defined otherwise: the message names what
    /// differs. The ladder is then as it was.
    pub fn load(&mut self, path: &std::path::Path) -> Result<()> {
        let file = read_model(path, &self.describe())?;
        let device = self.vs.device();
        let find = |name: &str| -> Result<Tensor> { Ok(file.get(name)?.to_kind(self.kind).to_device(device)) };
        let [mean, rotation, variances] = self.axes.tensors().map(|(name, _)| find(name));
        let axes = Axes::from_parts(mean?, rotation?, variances?)?;
        let highest = file.get("highest")?;
        if highest.size() != [1] {
            return Err(Error::Shape { name: "saved highest level", got: highest.size(), expected: "[1]".into() });
        }
        let highest = highest.double_value(&[0]);
        if !(highest > self.sigma[1] && highest.is_finite()) {
            let expected = format!("a finite level above the lowest, {}", self.sigma[1]);
            return Err(Error::param("saved highest level", highest, expected));
        }
        let base = guard(|| under_noise(&axes, highest)?.on(self.kind, device))?;
        take_parameters(&self.vs, "", &file)?;
        (self.axes, self.base, self.sigma[0]) = (axes, base, highest);
        Ok(())
    }
}

/// How many leading axes the network sees: see [`LadderShape::axes`].
fn seen_axes(axes: &Axes, noise: f64, wanted: Option<usize>) -> Result<i64> {
    let d = axes.dim();
    match wanted {
        Some(n) => i64::try_from(n)
            .ok()
            .filter(|n| (1..=d).contains(n))
            .ok_or_else(|| Error::param("axes", n, format!("1 to {d}"))),
        None => Ok(axes.variances().ge((0.5 * noise).powi(2)).sum(Kind::Int64).int64_value(&[]).max(1)),
    }
}

/// The Gaussian with the covariance that axes tell, under noise of that level; in f64 on the CPU.
fn under_noise(axes: &Axes, sigma: f64) -> Result<Gaussian> {
    let wide = |t: &Tensor| t.to_kind(Kind::Double).to_device(Device::Cpu);
    let spread = wide(&axes.covariance());
    let noise = Tensor::eye(axes.dim(), (Kind::Double, Device::Cpu)) * sigma.powi(2);
    Gaussian::with_covariance(&wide(axes.mean()), &((&spread + spread.tr()) * 0.5 + noise))
}

impl Path for NoiseLadder {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (_, u, spread) = self.scaled(t, x);
        Self::well(&u, &spread) + self.residual(&u, &self.time(t)).to_kind(Kind::Double)
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (x, u, spread) = self.scaled(t, &x.detach());
        let leaf = u.detach().set_requires_grad(true);
        let f = tch::with_grad(|| self.residual(&leaf, &self.time(t)));
        let slope = Tensor::run_backward(&[f.sum(f.kind())], &[&leaf], false, false).swap_remove(0);
        let grad = self.axes.turn_back(&((&u + slope) / spread.sqrt()));
        Evaluation::new(x, Self::well(&u, &spread) + f.detach().to_kind(Kind::Double), grad)
    }
}

impl Differentiable for NoiseLadder {}

impl NoisePath for NoiseLadder {
    fn axes(&self) -> &Axes {
        &self.axes
    }

    fn sigma(&self, t: f64) -> f64 {
        let [highest, lowest] = self.sigma;
        // exactly the data's noise at t = 1
        if t == 1.0 { lowest } else { highest * (lowest / highest).powf(t) }
    }
}
