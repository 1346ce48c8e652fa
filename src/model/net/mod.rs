//! Give neural energies: a quadratic well plus an MLP or a CNN whose last layer is zero, so that ρ_{θ_0} is Gaussian.

mod layers;

pub(super) use layers::{convolve, linear};

use super::Gaussian;
use crate::density::{
    Base, Differentiable, Energy, Evaluation, Fisher, Model, RowNumbers, Whiten, Whitening, floats, write_model,
};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use tch::nn::{self, ConvConfig};
use tch::{Device, Kind, Tensor};

/// The shape of an [`Mlp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpShape {
    /// Hidden widths.
    pub widths: Vec<i64>,
    /// Standard deviation σ of the well: of ρ_{θ_0}, in the data's units.
    pub sigma: f64,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for MlpShape {
    fn default() -> Self {
        MlpShape { widths: vec![128, 128], sigma: 1.0, seed: 0 }
    }
}

/// The shape of a [`Cnn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnShape {
    /// Channels of the four convolutions.
    pub channels: Vec<i64>,
    /// Standard deviation σ of the well: of ρ_{θ_0}, in the data's units.
    pub sigma: f64,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for CnnShape {
    fn default() -> Self {
        CnnShape { channels: vec![16, 32, 64, 64], sigma: 1.0, seed: 0 }
    }
}

/// A scalar network: rows `[n, d]` → `[n]`.
pub trait NetEnergy: std::fmt::Debug {
    /// The network's output.
    fn forward(&self, x: &Tensor) -> Tensor;
}

/// U_θ(x) = |x|²/2σ² + f_θ(x), f_θ an MLP d → widths → 1 with SiLU.
///
/// The last layer starts at zero: ρ_{θ_0} = N(0, σ² I) exactly, log Z_0 known.
///
/// ```
/// use jarzynski::{Model, model::{Mlp, MlpShape}, tch::{Device, Kind}};
/// let shape = MlpShape { widths: vec![256, 256], ..Default::default() };
/// let model = Mlp::new(64, &shape, Kind::Float, Device::Cpu).unwrap();
/// assert_eq!(model.dim(), 64);
/// ```
#[derive(Debug)]
pub struct Mlp {
    well: Well,
    layers: Vec<nn::Linear>,
}

/// U_θ(x) = |x|²/2σ² + f_θ(x), f_θ the CNN of the 2023 paper: four convolutions of stride 2 (kernels 5/3/3/3), a hidden
/// layer of 64 and a linear read-out, SiLU between: 76,993 parameters for 28×28 images and channels 16-32-64-64.
#[derive(Debug)]
pub struct Cnn {
    well: Well,
    side: i64,
    convs: Vec<nn::Conv2D>,
    head: nn::Linear,
    last: nn::Linear,
}

/// What both nets share: parameters, the quadratic well, the width of a row.
#[derive(Debug)]
struct Well {
    vs: nn::VarStore,
    sigma: f64,
    /// The coordinates of a fitted start, of the net's kind; without one, those of the isotropic well.
    map: Whitening,
    /// What tells a fitted start from any other.
    fitted: Option<String>,
    dim: i64,
    kind: Kind,
    /// What the layers below the last one compute in, where it is not `kind`.
    inner: Option<Kind>,
}

impl Well {
    fn new(dim: i64, sigma: f64, kind: Kind, device: Device) -> Result<Self> {
        if dim < 1 {
            return Err(Error::param("dim", dim, "at least 1"));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(Error::param("sigma", sigma, "a positive, finite width of the well"));
        }
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::param("kind", format!("{kind:?}"), "Kind::Float or Kind::Double"));
        }
        let base = Gaussian::isotropic(dim, sigma, kind, device)?;
        let map = base.whitening().on(kind, device)?;
        Ok(Well { vs: nn::VarStore::new(device), sigma, map, fitted: None, dim, kind, inner: None })
    }

    /// The same with U = |L⁻¹(x − m)|²/2 for the well.
    fn with_start(mut self, start: &Gaussian) -> Result<Self> {
        if start.dim() != self.dim {
            let expected = format!("a start in {} dimensions, as the net's rows", self.dim);
            return Err(Error::Shape { name: "start", got: vec![start.dim()], expected });
        }
        if self.sigma != 1.0 {
            let expected = "1, the default: a fitted start has standard deviations of its own";
            return Err(Error::param("sigma", self.sigma, expected));
        }
        self.map = start.whitening().on(self.kind, self.vs.device())?;
        self.fitted = Some(self.map.identity()?);
        Ok(self)
    }

    /// Rows as an [`Mlp`] takes them: z where the start was fitted, else x.
    fn whitened(&self, x: &Tensor) -> Tensor {
        if self.fitted.is_some() { self.map.whiten(x) } else { x.shallow_clone() }
    }

    fn constants(&self) -> Value {
        let mixed = self.inner.is_some();
        match &self.fitted {
            Some(start) => json!({ "start": start, "mixed": mixed }),
            None => json!({ "sigma": self.sigma, "mixed": mixed }),
        }
    }

    /// Rows in the net's own kind.
    fn own(&self, x: &Tensor) -> Tensor {
        floats(x, self.dim, self.kind).to_kind(self.kind)
    }

    fn energy(&self, x: &Tensor) -> Tensor {
        // a fitted start has σ = 1 in z
        self.whitened(x).square().sum_dim_intlist(-1, false, None::<Kind>) * (0.5 / (self.sigma * self.sigma))
    }

    /// Fills every weight from the library's own generator: the same seed gives the same net, whatever libtorch's state is.
    fn initialise(&mut self, seed: u64, last: &str) {
        if self.kind == Kind::Double {
            self.vs.double();
        }
        initialise(&self.vs, &mut crate::numeric::Rng::new(seed).split(0x6e65_7473), Some(last));
    }
}

/// Until [`initialise`] has filled it: libtorch's own start draws from a generator that other threads may have seeded.
pub(crate) const ZEROS: nn::LinearConfig =
    nn::LinearConfig { ws_init: nn::Init::Const(0.0), bs_init: Some(nn::Init::Const(0.0)), bias: true };

/// Sets the weights of a net of your own from the library's generator, the same on every device, uniform with variance
/// 1/fan-in; biases and the layer named `zero` are set to 0. libtorch's own start draws from a generator that is shared by
/// all threads.
///
/// ```
/// use jarzynski::{Rng, tch::{Device, nn}};
/// let vs = nn::VarStore::new(Device::Cpu);
/// let layer = nn::linear(vs.root() / "last", 3, 2, Default::default());
/// jarzynski::model::initialise(&vs, &mut Rng::new(0), Some("last"));
/// assert_eq!(layer.ws.abs().max().double_value(&[]), 0.0);
/// ```
pub fn initialise(vs: &nn::VarStore, rng: &mut crate::numeric::Rng, zero: Option<&str>) {
    let mut named: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    crate::error::no_grad(|| {
        for (name, mut v) in named {
            let size = v.size();
            if size.len() < 2 || zero.is_some_and(|z| name.split('.').rev().nth(1) == Some(z)) {
                let _ = v.zero_();
                continue;
            }
            // Uniform of variance 1/fan-in: keeps the scale of activations through the layers.
            let fan_in: i64 = size.iter().skip(1).product();
            let bound = (3.0 / fan_in as f64).sqrt();
            let fresh = rng.uniform_tensor(&size, v.kind(), Device::Cpu) * (2.0 * bound) - bound;
            v.copy_(&fresh);
        }
    });
}

pub(crate) fn widths_in_range(name: &'static str, widths: &[i64]) -> Result<()> {
    match widths.iter().find(|w| **w < 1) {
        Some(w) => Err(Error::param(name, w, "at least 1")),
        None if widths.is_empty() => Err(Error::param(name, "[]", "at least one hidden layer")),
        None => Ok(()),
    }
}

impl Mlp {
    /// For rows of `dim` numbers.
    ///
    /// # Errors
    /// A width below 1, no hidden layer, σ ≤ 0, a kind other than `Float` or `Double`.
    pub fn new(dim: i64, shape: &MlpShape, kind: Kind, device: Device) -> Result<Self> {
        let MlpShape { widths, sigma, seed } = shape;
        let (sigma, seed) = (*sigma, *seed);
        widths_in_range("widths", widths)?;
        let mut well = Well::new(dim, sigma, kind, device)?;
        let root = well.vs.root();
        let mut sizes = vec![dim];
        sizes.extend_from_slice(widths);
        sizes.push(1);
        let hidden = widths.len();
        let name = |i: usize| if i == hidden { "last".to_string() } else { format!("hidden{i}") };
        let layers =
            sizes.windows(2).enumerate().map(|(i, w)| nn::linear(&root / name(i), w[0], w[1], ZEROS)).collect();
        well.initialise(seed, "last");
        Ok(Mlp { well, layers })
    }
}

impl Cnn {
    /// For square images of `side` × `side` pixels, as rows.
    ///
    /// # Errors
    /// A side below 8, channels below 1 or not four of them, σ ≤ 0, a kind other than `Float` or `Double`.
    pub fn new(side: i64, shape: &CnnShape, kind: Kind, device: Device) -> Result<Self> {
        let CnnShape { channels, sigma, seed } = shape;
        let (sigma, seed) = (*sigma, *seed);
        widths_in_range("channels", channels)?;
        if channels.len() != 4 {
            return Err(Error::param("channels", format!("{channels:?}"), "four numbers"));
        }
        if side < 8 {
            return Err(Error::param("side", side, "at least 8 pixels"));
        }
        let mut well = Well::new(side * side, sigma, kind, device)?;
        let root = well.vs.root();
        let (mut inputs, mut size, mut convs) = (1, side, Vec::new());
        for (i, &outputs) in channels.iter().enumerate() {
            let (kernel, stride, padding) = if i == 0 { (5, 2, 2) } else { (3, 2, 1) };
            let zero = nn::Init::Const(0.0);
            let config = ConvConfig { stride, padding, ws_init: zero, bs_init: zero, ..Default::default() };
            convs.push(nn::conv2d(&root / format!("conv{i}"), inputs, outputs, kernel, config));
            size = (size + 2 * padding - kernel) / stride + 1;
            inputs = outputs;
        }
        let head = nn::linear(&root / "head", inputs * size * size, 64, ZEROS);
        let last = nn::linear(&root / "last", 64, 1, ZEROS);
        well.initialise(seed, "last");
        Ok(Cnn { well, side, convs, head, last })
    }
}

impl Mlp {
    fn hidden_per_row(&self) -> usize {
        self.layers.iter().rev().skip(1).map(|layer| layer.ws.size()[0] as usize).sum()
    }
}

impl Cnn {
    fn hidden_per_row(&self) -> usize {
        let mut side = self.side as usize;
        let places = self.convs.iter().map(|layer| {
            side = side.div_ceil(2);
            layer.ws.size()[0] as usize * side * side
        });
        places.sum::<usize>() + self.head.ws.size()[0] as usize
    }
}

impl NetEnergy for Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.pass(x, |_, _, _, _| ())
    }
}

impl NetEnergy for Cnn {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.pass(x, |_, _, _, _| ())
    }
}

macro_rules! neural_model {
    ($net:ty) => {
        impl $net {
            /// Mixed precision, for GPUs with units for it: all layers but the last compute in bfloat16, half the memory and
            /// traffic. θ, the last layer, U and ∇U keep their kind, log-weights are f64 as ever.
            ///
            /// Weighted averages stay exact, now for the *rounded* energy: the identity requires of U and of the drift only that
            /// the two halves of a step use the same numbers. What it costs is variance: θ acts in jumps of its bfloat16
            /// rounding, 2⁻⁸ of a weight. (A flow's weights contain the derivative of its velocity, which a rounded velocity
            /// does not have: flows have no such mode.)
            ///
            /// ```
            /// use jarzynski::{Model, model::{Mlp, MlpShape}, tch::{Device, Kind}};
            /// let net = Mlp::new(64, &MlpShape::default(), Kind::Float, Device::Cpu).unwrap().mixed();
            /// assert_eq!(net.options().0, Kind::Float);
            /// ```
            #[must_use]
            pub fn mixed(mut self) -> Self {
                self.well.inner = Some(Kind::BFloat16);
                self
            }

            /// From `start` in place of N(0, σ²I), with weights as they are: U_θ(x) = |z|²/2 + f_θ with z = L⁻¹(x − m) and LLᵀ
            /// the start's covariance, so that ρ_{θ_0} is `start` exactly while the last layer is zero. An [`Mlp`] takes z as
            /// its input, a [`Cnn`] the pixels x. Energies, walkers, data and log Z are those of x all the same, and compare with
            /// those of a model without a fitted start; a kernel moves in z if it is wrapped in
            /// [`Whitened`](crate::kernel::Whitened).
            ///
            /// ```
            /// use jarzynski::{Mala, Method, Model, Reversed, Trainer, kernel::Whitened};
            /// use jarzynski::model::{Gaussian, Mlp, MlpShape};
            /// use jarzynski::tch::{Device, Kind};
            /// # fn main() -> jarzynski::Result<()> {
            /// let digits = jarzynski::data::digits()?.scale(-1.0, 1.0)?;
            /// let shape = MlpShape { widths: vec![16], ..Default::default() };
            /// let start = Gaussian::fit(&digits.x, 0.3)?;
            /// let mut net = Mlp::new(64, &shape, Kind::Float, Device::Cpu)?.with_start(&start)?;
            /// let kernel = Whitened::new(Reversed::new(Mala::new(0.1)));
            /// let run = Trainer::new(kernel, Method::Jarzynski { ess_min: 0.5 })
            ///     .walkers(50).steps(2).data_noise(0.3).quiet().train(&mut net, &digits.x)?;   // data and walkers are pixels
            /// assert_eq!(run.walkers.x().size(), [50, 64]);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            /// A start of another dimension; a `sigma` of the shape other than 1.
            pub fn with_start(self, start: &Gaussian) -> Result<Self> {
                Ok(Self { well: self.well.with_start(start)?, ..self })
            }

            /// Number of trainable parameters.
            pub fn parameter_count(&self) -> usize {
                self.well.vs.trainable_variables().iter().map(Tensor::numel).sum()
            }
        }

        impl Differentiable for $net {}

        impl Whiten for $net {
            fn whitening(&self) -> &Whitening {
                &self.well.map
            }
        }

        impl Energy for $net {
            /// Rows of another kind are converted: data of integers or of another precision are taken as they are.
            fn energy(&self, x: &Tensor) -> Tensor {
                let x = &self.well.own(x);
                self.well.energy(x) + self.forward(x)
            }

            fn evaluate(&self, x: &Tensor) -> Evaluation {
                Evaluation::autograd(self, &self.well.own(x))
            }

            fn row_numbers(&self) -> Option<RowNumbers> {
                // what goes into each SiLU and what comes out of it
                let hidden = 2 * self.hidden_per_row();
                let graph = if self.well.inner.is_some() { hidden / 2 } else { hidden };
                Some(RowNumbers { kept: 2 * self.well.dim as usize, graph })
            }
        }

        impl Model for $net {
            fn vars(&self) -> &nn::VarStore {
                &self.well.vs
            }

            fn vars_mut(&mut self) -> &mut nn::VarStore {
                &mut self.well.vs
            }

            fn base(&self) -> Result<Box<dyn Base>> {
                let device = self.well.vs.device();
                Ok(Box::new(Gaussian::whitened_by(self.well.map.on(self.well.kind, device)?)))
            }

            fn dim(&self) -> i64 {
                self.well.dim
            }

            fn fisher(&self, at: &Evaluation) -> Option<Fisher> {
                let x = self.well.own(&at.x);
                Some(layers::fisher(at.len(), self.well.kind, |seen| self.pass(&x, seen)))
            }

            fn constants(&self) -> Value {
                self.well.constants()
            }

            /// With the fitted start, where there is one: [`Gaussian::load`] reads it from the same file.
            fn save(&self, path: &Path) -> Result<()> {
                let Well { vs, map, fitted, .. } = &self.well;
                write_model(
                    path,
                    vs,
                    &self.describe(),
                    &if fitted.is_some() { map.tensors().to_vec() } else { Vec::new() },
                )
            }
        }
    };
}

neural_model!(Mlp);
neural_model!(Cnn);
