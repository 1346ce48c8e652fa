//! Learn an energy at every level of noise: a Gaussian or a mixture of Gaussians, exactly, and a network for the rest.

use super::initialise;
use super::ladder_net::{LadderNet, Net, within};
use crate::density::{
    Axes, Base, DataMixture, Differentiable, Evaluation, Flow, NoisePath, NoisyMixture, Path, described, floats,
    kind_for, read_model, rows_as, take_parameters, write_model,
};
use crate::error::{Error, Result, guard};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Kind, Tensor, nn};

/// The shape of a [`NoiseLadder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LadderShape {
    /// The network.
    pub net: LadderNet,
    /// Its layers below the last one in bfloat16, for processors and GPUs with units for it; parameters stay as they are.
    pub mixed: bool,
    /// Components of the mixture of Gaussians that is known exactly; 1: the Gaussian with the data's covariance. More give samples
    /// that look like the data and masses of modes near theirs; the likelihood is learned a little slower.
    pub components: usize,
    /// How many leading axes the components differ in; `None`: as many as an MLP sees, or stand out of the noise. Along the others they are one Gaussian.
    pub mixture_axes: Option<usize>,
    /// Sines and cosines of the noise level, on a logarithmic scale, that the network sees beside it.
    pub frequencies: usize,
    /// The highest noise level in units of the data's largest standard deviation along an axis.
    pub highest: f64,
    /// Seed of the initial weights and of the mixture's fit.
    pub seed: u64,
}

impl Default for LadderShape {
    fn default() -> Self {
        LadderShape {
            net: LadderNet::mlp(&[512, 512]),
            mixed: false,
            components: 1,
            mixture_axes: None,
            frequencies: 3,
            highest: 2.0,
            seed: 0,
        }
    }
}

/// A path of energies from the data under much noise to the data under little, t from 0 to 1, σ(t) falling in equal ratios. With
/// z along the data's principal axes, v their variances, u = z/√(v + σ²), and ρ_σ the [mixture of Gaussians](DataMixture) that was
/// fitted to the data, under that noise,
///
/// ```text
/// U_θ(t, x) = −log ρ_σ(x) + f_θ(w, σ),    w = u √v/√(v + σ²)
/// ```
///
/// w, a Gaussian's guess of the clean point in units of the data's spread, is small where noise drowns the data, so that the
/// network f listens to what is left of them; an MLP sees the leading axes alone, a CNN the pixels of the guess (see [`LadderNet`]). f is one number and grows linearly far away, so that
/// ρ keeps e^{−U} normalisable. (f = ⟨net(w), w⟩ learns faster at first, and has wells of large mass away from the data.)
/// Its last layer starts at zero: untrained, the ladder is ρ_σ at every level, normalised, and a [`Transport`](crate::Transport) with [`Denoise`](crate::kernel::Denoise) has constant weights for any number of steps. Trained
/// by [`DualScoreMatching`](crate::train::DualScoreMatching), weighted walkers at t = 1 are exact for e^{−U_θ(1, ·)}, the model of
/// the data with noise of σ_min, and [`Run::log_z`](crate::Run::log_z) is its log Z.
///
/// ```
/// use jarzynski::{Rng, Transport, kernel::Denoise, model::{LadderNet, LadderShape, Mixture, NoiseLadder}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5])?.sample(500, &mut Rng::new(1));
/// let ladder = NoiseLadder::new(&data, 0.3, &LadderShape { net: LadderNet::mlp(&[32]), ..Default::default() })?;
/// let run = Transport::new(Denoise::new(), 10, 200, 0).quiet().run(&ladder)?;
/// assert!(run.log_z().unwrap().value.abs() < 1e-9);     // nothing learned yet: the mixture, normalised
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NoiseLadder {
    vs: nn::VarStore,
    shape: LadderShape,
    known: DataMixture,
    /// σ at t = 0 and at t = 1.
    sigma: [f64; 2],
    base: NoisyMixture,
    net: Net,
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
        let axes = Axes::of(&data)?;
        let largest = axes.variances().max().double_value(&[]).sqrt() * shape.highest;
        if !(largest > noise && largest.is_finite()) {
            let expected = format!("below {largest}, the highest level: {} times the data's spread", shape.highest);
            return Err(Error::param("noise", noise, expected));
        }
        let standing_out = axes.variances().ge((0.5 * noise).powi(2)).sum(Kind::Int64).int64_value(&[]).max(1);
        let rows = data.size()[0];
        let count = i64::try_from(shape.components).ok().filter(|c| (1..=rows).contains(c)).ok_or_else(|| {
            Error::param("components", shape.components, format!("1 to {rows}, as many as there are rows"))
        })?;
        let (kind, device) = (data.kind(), data.device());
        let mut vs = nn::VarStore::new(device);
        let net = Net::new(&vs.root(), &shape.net, d, standing_out, shape.frequencies, shape.mixed)?;
        let most = if matches!(shape.net, LadderNet::Mlp { .. }) { net.seen } else { standing_out };
        let differing = shape.mixture_axes.map_or(Ok(most), |n| within("mixture_axes", n, d))?;
        if kind == Kind::Double {
            vs.double();
        }
        initialise(&vs, &mut Rng::new(shape.seed).split(0x6c61_6464), Some("last"));
        let known =
            DataMixture::fit(&data, axes, count, differing, noise, &mut Rng::new(shape.seed).split(0x6d69_7874))?;
        let base = known.under_noise(largest);
        Ok(NoiseLadder { vs, shape: shape.clone(), known, sigma: [largest, noise], base, net, kind })
    }

    /// The parameters θ.
    pub fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.known.axes().dim()
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

    /// How many leading axes matter to f or to the mixture's components: along the others, steps and scores do not depend on θ.
    pub(crate) fn width(&self) -> i64 {
        self.net.seen.max(self.known.width())
    }

    /// f at rows u `[n, d]`, or along [as many](NoiseLadder::width) leading axes, and times t `[n or 1, 1]`: `[n]`.
    pub(crate) fn residual(&self, u: &Tensor, t: &Tensor) -> Tensor {
        let noise = (t * (2.0 * self.pace())).exp() * self.sigma[0].powi(2);
        self.net.forward(self.axes(), u, &noise, t)
    }

    fn time(&self, t: f64) -> Tensor {
        Tensor::from_slice(&[t]).to_kind(self.kind).to_device(self.vs.device()).view([1, 1])
    }

    /// Rows in the ladder's own kind; along the axes; standard deviations there.
    fn scaled(&self, t: f64, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let x = floats(x, self.dim(), self.kind).to_kind(self.kind);
        let z = self.axes().to_axes(&x);
        (x, z, (self.axes().variances() + self.sigma(t).powi(2)).sqrt())
    }

    fn variance(&self, t: f64) -> Tensor {
        Tensor::from_slice(&[self.sigma(t).powi(2)]).to_device(self.vs.device())
    }

    /// What the ladder is beside θ and the axes, as files and checkpoints hold it.
    pub fn describe(&self) -> Value {
        let LadderShape { net, mixed, components, mixture_axes: _, frequencies, highest: _, seed: _ } = &self.shape;
        let mut constants = json!({
            "mixed": mixed, "components": components, "frequencies": frequencies, "lowest": self.sigma[1],
        });
        match net {
            LadderNet::Mlp { widths, axes: _ } => {
                constants["widths"] = json!(widths);
                constants["axes"] = json!(self.net.seen);
            }
            LadderNet::Cnn { channels, image } => {
                constants["channels"] = json!(channels);
                constants["image"] = json!(image);
            }
        }
        described("NoiseLadder", self.dim(), &self.vs, constants)
    }

    /// Writes the parameters, the [description](NoiseLadder::describe), the mixture and the highest level as safetensors, whatever
    /// the ending of `path`; completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path; `NonFinite` for a parameter that is not.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        let highest = Tensor::from_slice(&[self.sigma[0]]);
        let mut known = self.known.tensors();
        known.push(("highest", &highest));
        write_model(path, &self.vs, &self.describe(), &known)
    }

    /// Reads a ladder written by [`save`](NoiseLadder::save) into one of the same description: its mixture and levels too, so
    /// that the data are not needed.
    ///
    /// # Errors
    /// `Io` where there is no file; `Data` where it is no ladder's, or that of one defined otherwise: the message names what
    /// differs. The ladder is then as it was.
    pub fn load(&mut self, path: &std::path::Path) -> Result<()> {
        let file = read_model(path, &self.describe())?;
        let known = self.known.read(|name| file.get(name))?;
        let highest = file.get("highest")?;
        if highest.size() != [1] {
            return Err(Error::Shape { name: "saved highest level", got: highest.size(), expected: "[1]".into() });
        }
        let highest = highest.double_value(&[0]);
        if !(highest > self.sigma[1] && highest.is_finite()) {
            let expected = format!("a finite level above the lowest, {}", self.sigma[1]);
            return Err(Error::param("saved highest level", highest, expected));
        }
        let base = guard(|| Ok(known.under_noise(highest)))?;
        take_parameters(&self.vs, "", &file)?;
        (self.known, self.base, self.sigma[0]) = (known, base, highest);
        Ok(())
    }
}

impl Path for NoiseLadder {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (_, z, spread) = self.scaled(t, x);
        self.known.energy(&z, &self.variance(t)) + self.residual(&(z / spread), &self.time(t)).to_kind(Kind::Double)
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (x, z, spread) = self.scaled(t, &x.detach());
        let known = self.known.at(&z, &self.variance(t));
        let leaf = (z / &spread).detach().set_requires_grad(true);
        let f = tch::with_grad(|| self.residual(&leaf, &self.time(t)));
        let slope = Tensor::run_backward(&[f.sum(f.kind())], &[&leaf], false, false).swap_remove(0);
        let grad = self.axes().turn_back(&(known.grad + slope / spread));
        Evaluation::new(x, known.energy + f.detach().to_kind(Kind::Double), grad)
    }
}

impl Differentiable for NoiseLadder {}

/// The probability flow: points move along dx/dσ = σ∇U_t and would keep the density of the data with noise, if that is e^{−U_t}.
/// Generation without noise, by [`Ode`](crate::kernel::Ode); in many dimensions the Jacobian that its weights need is costly.
impl Flow for NoiseLadder {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let further = x.requires_grad();
        let leaf = if further { x.shallow_clone() } else { x.detach().set_requires_grad(true) };
        let u = tch::with_grad(|| self.energy(t, &leaf).sum(Kind::Double));
        let slope = Tensor::run_backward(&[u], &[&leaf], further, further).swap_remove(0);
        slope * (self.pace() * self.sigma(t).powi(2))
    }
}

impl NoisePath for NoiseLadder {
    fn known(&self) -> &DataMixture {
        &self.known
    }

    fn sigma(&self, t: f64) -> f64 {
        let [highest, lowest] = self.sigma;
        // exactly the data's noise at t = 1
        if t == 1.0 { lowest } else { highest * (lowest / highest).powf(t) }
    }
}
