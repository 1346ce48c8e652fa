//! Learn a flow from data: a velocity network b_θ and an energy network U_θ on the exact path of a Gaussian.

mod path;

use super::bridge::{Bridge, Start};
use super::time_mlp::TimeMlp;
use super::{Gaussian, Mixture, initialise, widths_in_range};
use crate::density::{described, kind_for, read_model, rows_as, take_parameters, write_model};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, nn};

/// How the score s is represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Score {
    /// s = −∇U_θ of an energy network: generation can be reweighted.
    #[default]
    Energy,
    /// A vector field of its own, the usual choice: generation only, because weights need U itself.
    Field,
}

/// How the velocity b is represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Velocity {
    /// A network, trained by guide (121).
    #[default]
    Net,
    /// b = (ċ/c) x + (ċN²/c − NṄ) s: exact from noise, where X_t and s together fix b. What a diffusion's probability-flow
    /// ODE does; needs c > 0 at t = 0.
    Score,
}

/// The shape of a [`FlowNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowShape {
    /// Hidden widths of both networks.
    pub widths: Vec<i64>,
    /// Sines and cosines of πt, 2πt, … that the networks see beside t.
    pub frequencies: usize,
    /// The score.
    pub score: Score,
    /// The velocity.
    pub velocity: Velocity,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for FlowShape {
    fn default() -> Self {
        FlowShape {
            widths: vec![128, 128, 128],
            frequencies: 3,
            score: Score::Energy,
            velocity: Velocity::Net,
            seed: 0,
        }
    }
}

/// A learned path and its velocity, for [`Transport`](crate::Transport) and every flow kernel.
///
/// With m_t and V_t the mean and the variances (per coordinate) that X_t has by those of the data, and networks f, g whose
/// last layers start at zero:
///
/// ```text
/// U_θ(t, x) = Σ (x − m_t)²/2V_t + ½ Σ log 2πV_t + f_θ(t, x)        s = −∇U_θ
/// b_θ(t, x) = ṁ_t + (V̇_t/2V_t)(x − m_t) + g_θ(t, x)
/// ```
///
/// Untrained it is the exact flow onto a Gaussian with the data's moments. Reweighted walkers are exact for e^{−U_θ(1, ·)},
/// *the learned distribution*, not for the data: they start from the base with A_0 = U_base − U_θ(0, ·), and
/// [`Run::log_z`](crate::Run::log_z) is log ∫e^{−U_θ(1, ·)}.
#[derive(Debug)]
pub struct FlowNet {
    vs: nn::VarStore,
    bridge: Bridge,
    shape: FlowShape,
    base: Origin,
    /// Means and variances of both ends, `[d]` each; those of N(0, I) from noise.
    ends: [(Tensor, Tensor); 2],
    energy: Option<TimeMlp>,
    score: Option<TimeMlp>,
    velocity: Option<TimeMlp>,
    kind: Kind,
}

/// Names of the ends' moments in files.
const MOMENTS: [&str; 4] = ["from.mean", "from.variance", "to.mean", "to.variance"];

/// Where X_0 comes from: N(0, I), or the smoothed points of a data set.
#[derive(Debug)]
enum Origin {
    Noise(Gaussian),
    Points(Mixture),
}

impl FlowNet {
    /// From N(0, I) to the distribution of `data` `[n, d]` (plus smoothing), on the data's device; in f64 where the data are f64,
    /// else in f32.
    ///
    /// # Errors
    /// Settings out of range, data of the wrong shape or not finite.
    pub fn from_noise(bridge: &Bridge, data: &Tensor, shape: &FlowShape) -> Result<Self> {
        bridge.validate(Start::Noise)?;
        let d = width_of("data", data)?;
        let data = &rows_as("data", data, d, (kind_for(data), data.device()))?;
        let base = Gaussian::isotropic(d, 1.0, data.kind(), data.device())?;
        let unit = (data.get(0).zeros_like(), data.get(0).ones_like());
        Self::build(bridge, shape, Origin::Noise(base), [unit, moments(data)], d)
    }

    /// From the distribution of one data set to that of another, both smoothed; walkers start at smoothed points of the first.
    /// On the device of `to`; in f64 where `to` is f64, else in f32.
    ///
    /// # Errors
    /// As [`from_noise`](FlowNet::from_noise); data sets of different width, an interpolation that cannot start from data, a
    /// velocity to be taken from the score.
    pub fn between(bridge: &Bridge, from: &Tensor, to: &Tensor, shape: &FlowShape) -> Result<Self> {
        bridge.validate(Start::Data)?;
        let d = width_of("to", to)?;
        let options = (kind_for(to), to.device());
        let to = &rows_as("to", to, d, options)?;
        let from = &rows_as("from", from, d, options)?;
        if shape.velocity == Velocity::Score {
            return Err(Error::param(
                "velocity",
                "score",
                "`net` between two data sets: the score does not fix b there",
            ));
        }
        let points: Vec<Vec<f64>> = Vec::try_from(from.to_kind(Kind::Double).to_device(Device::Cpu))?;
        let (n, sigma) = (points.len(), vec![bridge.smoothing; points.len()]);
        let smoothed = Mixture::with_sigma(&points, &vec![1.0; n], &sigma, from.kind(), from.device())?;
        Self::build(bridge, shape, Origin::Points(smoothed), [moments(from), moments(to)], d)
    }

    fn build(bridge: &Bridge, shape: &FlowShape, base: Origin, ends: [(Tensor, Tensor); 2], d: i64) -> Result<Self> {
        widths_in_range("widths", &shape.widths)?;
        if shape.velocity == Velocity::Score && bridge.interpolation.at(0.0).c == 0.0 {
            let expected = "`net`: with no data left at t = 0 the score does not fix b there (a diffusion keeps some)";
            return Err(Error::param("velocity", "score", expected));
        }
        let (kind, device) = (ends[1].0.kind(), ends[1].0.device());
        let mut vs = nn::VarStore::new(device);
        let root = vs.root();
        // inputs of order one, whatever the data's unit
        let rms = |(m, v): &(Tensor, Tensor)| (m.square() + v).mean(Kind::Double).double_value(&[]).sqrt();
        let scale = 1.0 / rms(&ends[0]).max(rms(&ends[1])).max(1e-12);
        let net = |name: &str, outputs: i64| {
            TimeMlp::new(&(&root / name), d, &shape.widths, outputs, shape.frequencies, scale)
        };
        let energy = (shape.score == Score::Energy).then(|| net("energy", 1));
        let score = (shape.score == Score::Field).then(|| net("score", d));
        let velocity = (shape.velocity == Velocity::Net).then(|| net("velocity", d));
        if kind == Kind::Double {
            vs.double();
        }
        initialise(&vs, &mut Rng::new(shape.seed).split(0x666c_6f77), Some("last"));
        Ok(FlowNet { vs, bridge: *bridge, shape: shape.clone(), base, ends, energy, score, velocity, kind })
    }

    /// The parameters θ.
    pub fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.ends[1].0.size()[0]
    }

    /// The interpolant that it learns from.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Its shape.
    pub fn shape(&self) -> &FlowShape {
        &self.shape
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> usize {
        self.vs.trainable_variables().iter().map(Tensor::numel).sum()
    }

    /// Kind of its parameters and walkers.
    pub(crate) fn ends_kind(&self) -> Kind {
        self.kind
    }

    /// Whether it starts from a data set.
    pub(crate) fn starts_from_data(&self) -> bool {
        matches!(self.base, Origin::Points(_))
    }

    /// What the flow is beside θ and the moments of its ends, as files and checkpoints hold it.
    pub fn describe(&self) -> Value {
        let from = if self.starts_from_data() { "data" } else { "noise" };
        let FlowShape { widths, frequencies, score, velocity, seed: _ } = &self.shape;
        let constants = json!({
            "from": from, "bridge": self.bridge, "widths": widths, "frequencies": frequencies, "score": score,
            "velocity": velocity,
        });
        described("FlowNet", self.dim(), &self.vs, constants)
    }

    /// Writes the parameters, the [description](FlowNet::describe) and the moments of both ends as safetensors, whatever the
    /// ending of `path`; completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path; `NonFinite` for a parameter that is not.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        let [(m0, v0), (m1, v1)] = &self.ends;
        let ends = [(MOMENTS[0], m0), (MOMENTS[1], v0), (MOMENTS[2], m1), (MOMENTS[3], v1)];
        write_model(path, &self.vs, &self.describe(), &ends)
    }

    /// Reads parameters written by [`save`](FlowNet::save) into a flow made from the same data.
    ///
    /// # Errors
    /// `Io` where there is no file; `Data` where it is no flow's, or that of a flow defined otherwise or made from data with
    /// other moments: the message names what differs. The parameters are then as they were.
    pub fn load(&mut self, path: &std::path::Path) -> Result<()> {
        let file = read_model(path, &self.describe())?;
        let [(m0, v0), (m1, v1)] = &self.ends;
        for (name, own, variance) in
            [(MOMENTS[0], m0, v0), (MOMENTS[1], v0, v0), (MOMENTS[2], m1, v1), (MOMENTS[3], v1, v1)]
        {
            let saved = file.get(name)?.to_kind(self.kind).to_device(self.vs.device());
            if saved.size() != own.size() {
                let expected = format!("{:?}, as the data have that this flow was made from", own.size());
                return Err(Error::Shape { name: "saved moments", got: saved.size(), expected });
            }
            // the same data on another device have moments that differ by rounding
            let scale = if name.ends_with("mean") { variance.sqrt() } else { variance.copy() };
            let rounding = if self.kind == Kind::Double { 1e-12 } else { 1e-6 };
            let off = (&saved - own).abs() / (scale * 1e-4 + own.abs() * rounding).clamp_min(1e-30);
            let (worst, at) = (off.max().double_value(&[]), off.argmax(None, false).int64_value(&[]));
            if worst.is_nan() || worst > 1.0 {
                let place = format!("{name} of coordinate {at} = {}", saved.double_value(&[at]));
                let expected = format!("{}, as the data have that this flow was made from", own.double_value(&[at]));
                return Err(Error::data(path, place, expected));
            }
        }
        take_parameters(&self.vs, "", &file)
    }

    fn start(&self) -> Start {
        if self.starts_from_data() { Start::Data } else { Start::Noise }
    }
}

fn width_of(name: &'static str, data: &Tensor) -> Result<i64> {
    let size = if data.defined() { data.size() } else { vec![] };
    match size[..] {
        [_, d] if d > 0 => Ok(d),
        _ => Err(Error::Shape { name, got: size, expected: "[n, d] with n, d ≥ 1".into() }),
    }
}

/// Mean and variance per coordinate, `[d]` each.
fn moments(data: &Tensor) -> (Tensor, Tensor) {
    let mean = data.mean_dim(0, false, None::<Kind>);
    let variance = (data - &mean).square().mean_dim(0, false, None::<Kind>);
    (mean, variance)
}
