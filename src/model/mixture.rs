//! Give the trainable Gaussian mixture: U, ∇U, ∂_θU and log Z all in closed form.

use crate::density::{Base, Differentiable, Energy, Evaluation, Model, floats, rows_for};
use crate::error::{Error, Result};
use crate::numeric::blocks::read;
use crate::numeric::{Fresh, Real, Rng, for_blocks, lanes, on_host, sum_blocks, wide};
use crate::walkers::Scheme;
use serde_json::{Value, json};
use tch::nn::{self, Init};
use tch::{Device, Kind, Tensor};

/// U_θ(x) = −log Σ_j e^{−z_j − |x − μ_j|²/2σ_j²} with z_0 = 0; θ = (means μ_j, z_1 … z_{J−1}); σ_j fixed.
///
/// log Z_θ = log Σ_j e^{−z_j} (2πσ_j²)^{d/2}; mode j has mass ∝ e^{−z_j} σ_j^d. Parameter groups: 0 the means, 1 the z.
#[derive(Debug)]
pub struct Mixture {
    vs: nn::VarStore,
    means: Tensor,
    z: Option<Tensor>,
    sigma: Tensor,
}

impl Mixture {
    /// Unit-variance modes at `means` with masses `weights` (normalised here), f64 on the CPU.
    ///
    /// # Errors
    /// No modes, means of unequal length, a weight that is not positive.
    pub fn new(means: &[Vec<f64>], weights: &[f64]) -> Result<Self> {
        Self::with_sigma(means, weights, &vec![1.0; means.len()], Kind::Double, Device::Cpu)
    }

    /// Modes N(μ_j, σ_j² I) with the given masses, kind and device.
    ///
    /// # Errors
    /// As [`new`](Mixture::new); a σ that is not positive, masses or σ of another number than the means, a mean that is not
    /// finite.
    pub fn with_sigma(means: &[Vec<f64>], weights: &[f64], sigma: &[f64], kind: Kind, device: Device) -> Result<Self> {
        let j = means.len();
        let d = means.first().map_or(0, Vec::len);
        if d == 0 || means.iter().any(|m| m.len() != d) {
            return Err(Error::param(
                "means",
                format!("{means:?}"),
                "at least one mode, all of the same dimension ≥ 1",
            ));
        }
        for (name, v) in [("weights", weights), ("sigma", sigma)] {
            if v.len() != j {
                let expected = format!("one for each of {j} modes");
                return Err(Error::Shape { name, got: vec![v.len() as i64], expected });
            }
            if let Some(bad) = v.iter().find(|w| !(**w > 0.0 && w.is_finite())) {
                return Err(Error::param(name, bad, "positive, finite numbers"));
            }
        }
        if means.iter().flatten().any(|m| !m.is_finite()) {
            return Err(Error::param("means", format!("{means:?}"), "finite numbers"));
        }
        let energy: Vec<f64> = weights.iter().zip(sigma).map(|(w, s)| -w.ln() + d as f64 * s.ln()).collect();
        let z: Vec<f64> = energy.iter().skip(1).map(|e| e - energy[0]).collect();
        let vs = nn::VarStore::new(device);
        let flat: Vec<f64> = means.concat();
        let place = |t: Tensor| t.to_kind(kind).to_device(device);
        let root = vs.root();
        let at = Tensor::from_slice(&flat).view([j as i64, d as i64]);
        let means = variable(&root, "means", &place(at));
        let z = (j > 1).then(|| variable(&root.set_group(1), "z", &place(Tensor::from_slice(&z))));
        Ok(Mixture { vs, means, z, sigma: place(Tensor::from_slice(sigma)) })
    }

    /// Modes' means, `[J, d]`.
    pub fn means(&self) -> Tensor {
        self.means.detach().copy()
    }

    /// Modes' masses, `[J]`, f64, summing to 1.
    pub fn masses(&self) -> Tensor {
        self.log_parts().softmax(0, Kind::Double)
    }

    /// n exact draws, `[n, d]`.
    pub fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        Base::sample(self, n, rng)
    }

    /// A copy that shares nothing.
    ///
    /// # Errors
    /// As [`with_sigma`](Mixture::with_sigma), for parameters that a training has made not finite.
    pub fn frozen(&self) -> Result<Mixture> {
        let (kind, device) = self.options();
        let rows: Vec<Vec<f64>> = Vec::try_from(self.means.detach().to_kind(Kind::Double).to_device(Device::Cpu))?;
        let copy = Mixture::with_sigma(&rows, &host(&self.masses()), &host(&self.sigma), kind, device)?;
        // Masses fix z only up to rounding: copy the bits.
        if let (Some(to), Some(from)) = (&copy.z, &self.z) {
            crate::error::no_grad(|| to.shallow_clone().copy_(from));
        }
        Ok(copy)
    }

    /// −z_j, `[J]`, differentiable.
    fn minus_z(&self) -> Tensor {
        let zero = Tensor::zeros([1], (self.means.kind(), self.means.device()));
        self.z.as_ref().map_or(zero.shallow_clone(), |z| -Tensor::cat(&[&zero, z], 0))
    }

    /// log ∫ of each mode, `[J]`, f64.
    fn log_parts(&self) -> Tensor {
        let log_volume = (self.sigma.to_kind(Kind::Double).square() * (2.0 * std::f64::consts::PI)).log();
        self.minus_z().detach().to_kind(Kind::Double) + log_volume * (0.5 * self.dim() as f64)
    }

    /// −z_j − |x − μ_j|²/2σ_j², `[n, J]`.
    fn exponents(&self, x: &Tensor, means: &Tensor, minus_z: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.means.kind());
        // Differences, not |x|² − 2xμ + |μ|²: for distant modes the latter loses the digits that the weights need.
        let columns: Vec<Tensor> =
            means.unbind(0).iter().map(|m| (x - m).square().sum_dim_intlist(-1, false, None::<Kind>)).collect();
        minus_z - Tensor::stack(&columns, -1) / (self.sigma.square() * 2.0)
    }

    /// Posterior mode probabilities g_j(x) at rows x `[n, d]` of any kind on any device, `[n, J]`.
    ///
    /// # Errors
    /// x of the wrong width or not finite.
    pub fn responsibilities(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.posterior(&rows_for(self, "x", x)?))
    }

    fn posterior(&self, x: &Tensor) -> Tensor {
        crate::error::no_grad(|| self.exponents(x, &self.means, &self.minus_z()).softmax(-1, None::<Kind>))
    }

    /// Whether x can be read row by row: on the host, as the parameters are, and of this mixture's width (another one is refused
    /// further on).
    fn in_rows(&self, x: &Tensor) -> bool {
        on_host(x) && on_host(&self.means) && x.dim() == 2 && x.size()[1] == self.dim()
    }

    /// Σ_i w_i g_j(x_i) x_i, `[J, d]`, and Σ_i w_i g_j(x_i), `[J]`.
    fn weighted_sums(&self, x: &Tensor, w: &Tensor) -> (Tensor, Tensor) {
        if self.in_rows(x) {
            let weights = w.to_kind(Kind::Double).contiguous();
            let all = match x.kind() {
                Kind::Float => self.modes().sums::<f32>(x, read(&weights)),
                _ => self.modes().sums::<f64>(x, read(&weights)),
            };
            let (j, d) = (self.means.size()[0], self.dim());
            let all = Tensor::from_slice(&all).to_kind(x.kind());
            return (all.narrow(0, 0, j * d).view([j, d]), all.narrow(0, j * d, j));
        }
        let weighted = self.posterior(x) * w.to_kind(x.kind()).unsqueeze(-1);
        (weighted.tr().matmul(x), weighted.sum_dim_intlist(0, false, None::<Kind>))
    }

    /// The parameters as numbers, for the row-wise forms.
    fn modes(&self) -> Modes {
        let inverse_variance = host(&self.sigma).iter().map(|s| 1.0 / (s * s)).collect();
        let minus_z = crate::error::no_grad(|| host(&self.minus_z()));
        Modes { d: self.dim() as usize, means: host(&self.means), minus_z, inverse_variance }
    }

    fn mode_counts(&self, n: usize, rng: &mut Rng, scheme: Scheme) -> Vec<i64> {
        let masses = Vec::<f64>::try_from(self.masses().to_device(Device::Cpu)).unwrap_or_default();
        let points: Vec<f64> = match scheme {
            Scheme::Multinomial => rng.uniforms(n),
            _ => {
                let u = rng.uniform();
                (0..n).map(|i| (i as f64 + u) / n as f64).collect()
            }
        };
        let pick = |p: f64| {
            let mut cumulated = 0.0;
            masses.iter().position(|m| {
                cumulated += m;
                p < cumulated
            })
        };
        points.into_iter().map(|p| pick(p).unwrap_or(masses.len().saturating_sub(1)) as i64).collect()
    }

    fn draw(&self, n: usize, rng: &mut Rng, scheme: Scheme) -> Tensor {
        let device = self.means.device();
        let modes = Tensor::from_slice(&self.mode_counts(n, rng, scheme)).to_device(device);
        let noise = rng.normal(&[n as i64, self.dim()], self.means.kind(), device);
        let sigma = self.sigma.index_select(0, &modes).unsqueeze(-1);
        self.means.detach().index_select(0, &modes) + noise * sigma
    }
}

/// All numbers of a tensor, row by row.
fn host(t: &Tensor) -> Vec<f64> {
    Vec::try_from(t.detach().to_device(Device::Cpu).to_kind(Kind::Double).view(-1)).unwrap_or_default()
}

/// Plain numbers of a mixture on the CPU: U, ∇U and ∂_θU row by row, without temporaries.
struct Modes {
    d: usize,
    means: Vec<f64>,
    minus_z: Vec<f64>,
    inverse_variance: Vec<f64>,
}

impl Modes {
    /// U(x), leaving the posterior mode probabilities in `g`.
    #[inline(always)]
    fn energy<T: Real>(&self, x: &[T], g: &mut [f64]) -> f64 {
        for (j, (g, m)) in g.iter_mut().zip(self.means.chunks(self.d)).enumerate() {
            let r2 = lanes(x, m, m, |x, m, _| (x - m) * (x - m));
            *g = self.minus_z[j] - 0.5 * r2 * self.inverse_variance[j];
        }
        let top = g.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        // All −∞ (a walker at infinity): U = +∞, which the walkers' own check reports.
        let total: f64 = g
            .iter_mut()
            .map(|g| {
                *g = (*g - top).exp();
                *g
            })
            .sum();
        g.iter_mut().for_each(|g| *g /= total);
        -(top + total.ln())
    }

    fn evaluate<T: Real>(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (n, d, x) = (x.size()[0], self.d, read::<T>(x));
        let (mut u, mut grad) = (Fresh::<T>::new(&[n]), Fresh::<T>::new(&[n, d as i64]));
        for_blocks(u.elements(), 1, grad.elements(), d, |first, u, grad| {
            evaluate_block(self, &x[first * d..first * d + grad.len()], u, grad);
        });
        (u.tensor(), grad.tensor())
    }

    fn energies<T: Real>(&self, x: &Tensor) -> Tensor {
        let (n, d, x) = (x.size()[0], self.d, read::<T>(x));
        let mut u = Fresh::<T>::new(&[n]);
        for_blocks(u.elements(), 1, &mut vec![(); n as usize], 1, |first, u, _| {
            energy_block(self, &x[first * d..(first + u.len()) * d], u);
        });
        u.tensor()
    }

    /// Σ_i w_i g_j(x_i) x_i (J·d numbers), then Σ_i w_i g_j(x_i) (J numbers).
    fn sums<T: Real>(&self, x: &Tensor, w: &[f64]) -> Vec<f64> {
        let (d, x) = (self.d, read::<T>(x));
        sum_blocks(w.len(), |rows| {
            let mut out = vec![0.0; self.minus_z.len() * (d + 1)];
            sums_block(self, &x[rows.start * d..rows.end * d], &w[rows], &mut out);
            out
        })
    }
}

wide! {
    fn evaluate_block<T: Real>(modes: &Modes, x: &[T], u: &mut [T], grad: &mut [T]) {
        let (d, mut g, mut sum) = (modes.d, vec![0.0; modes.minus_z.len()], vec![0.0; modes.d]);
        for ((x, u), grad) in x.chunks(d).zip(u).zip(grad.chunks_mut(d)) {
            *u = T::of(modes.energy(x, &mut g));
            sum.fill(0.0);
            for ((m, g), inverse) in modes.means.chunks(d).zip(&g).zip(&modes.inverse_variance) {
                let pull = g * inverse;
                sum.iter_mut().zip(x).zip(m).for_each(|((s, x), m)| *s += pull * (x.f() - m));
            }
            grad.iter_mut().zip(&sum).for_each(|(out, s)| *out = T::of(*s));
        }
    }
}

wide! {
    fn energy_block<T: Real>(modes: &Modes, x: &[T], u: &mut [T]) {
        let mut g = vec![0.0; modes.minus_z.len()];
        for (x, u) in x.chunks(modes.d).zip(u) {
            *u = T::of(modes.energy(x, &mut g));
        }
    }
}

wide! {
    fn sums_block<T: Real>(modes: &Modes, x: &[T], w: &[f64], out: &mut [f64]) {
        let (d, mut g) = (modes.d, vec![0.0; modes.minus_z.len()]);
        let (sums, mass) = out.split_at_mut(g.len() * d);
        for (x, w) in x.chunks(d).zip(w) {
            modes.energy(x, &mut g);
            for ((sum, mass), g) in sums.chunks_mut(d).zip(mass.iter_mut()).zip(&g) {
                let wg = w * g;
                sum.iter_mut().zip(x).for_each(|(s, x)| *s += wg * x.f());
                *mass += wg;
            }
        }
    }
}

/// Registers a trainable copy of `t`, of `t`'s own kind.
pub(super) fn variable(path: &nn::Path, name: &str, t: &Tensor) -> Tensor {
    let mut v = path.var(name, &t.size(), Init::Const(0.0));
    if v.kind() != t.kind() {
        v.set_data(&t.copy());
    } else {
        crate::error::no_grad(|| v.copy_(t));
    }
    v
}

impl Differentiable for Mixture {}

impl Energy for Mixture {
    fn energy(&self, x: &Tensor) -> Tensor {
        -self.exponents(x, &self.means, &self.minus_z()).logsumexp(-1, false)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let closed = match x.kind() {
            Kind::Float if self.in_rows(x) => Some(self.modes().evaluate::<f32>(x)),
            Kind::Double if self.in_rows(x) => Some(self.modes().evaluate::<f64>(x)),
            _ => None,
        };
        if let Some((u, grad)) = closed {
            return Evaluation::new(x.shallow_clone(), u, grad);
        }
        crate::error::no_grad(|| {
            let e = self.exponents(x, &self.means, &self.minus_z());
            let u = -e.logsumexp(-1, false);
            // g_j/σ_j², so that ∇U = x Σ_j g_j/σ_j² − Σ_j g_j μ_j/σ_j².
            let g = (e + u.unsqueeze(-1)).exp() / self.sigma.square();
            let x = &floats(x, self.dim(), self.means.kind());
            let grad = x * g.sum_dim_intlist(-1, true, None::<Kind>) - g.matmul(&self.means);
            Evaluation::new(x.shallow_clone(), u, grad)
        })
    }
}

impl Base for Mixture {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.draw(n, rng, Scheme::Multinomial)
    }

    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.draw(n, rng, Scheme::Systematic)
    }

    fn log_z(&self) -> f64 {
        self.log_parts().logsumexp(0, false).double_value(&[])
    }
}

impl Model for Mixture {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(self.frozen()?))
    }

    fn dim(&self) -> i64 {
        self.means.size()[1]
    }

    fn constants(&self) -> Value {
        json!({ "sigma": host(&self.sigma) })
    }

    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        crate::error::no_grad(|| {
            // ∂U/∂μ_j = −g_j (x − μ_j)/σ_j², ∂U/∂z_j = g_j.
            let (sums, mass) = self.weighted_sums(&at.x, w);
            let pull = sums - &self.means * mass.unsqueeze(-1);
            let mut grads = vec![-pull / self.sigma.square().unsqueeze(-1)];
            if self.z.is_some() {
                grads.push(mass.narrow(0, 1, mass.size()[0] - 1));
            }
            grads
        })
    }

    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        let u = match x.kind() {
            Kind::Float if self.in_rows(x) => self.modes().energies::<f32>(x),
            Kind::Double if self.in_rows(x) => self.modes().energies::<f64>(x),
            _ => crate::error::no_grad(|| self.energy(x)),
        };
        Evaluation::new(x.shallow_clone(), u, Tensor::new())
    }

    fn log_z_exact(&self) -> Option<f64> {
        Some(Base::log_z(self))
    }
}
