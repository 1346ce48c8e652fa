//! Give the path from noise to a Gaussian mixture in closed form: U, ∇U, b, J_b and ∂_tU, batched, in any dimension.

use super::{Coefficients, Gaussian, Interpolation, Mixture};
use crate::density::{Base, Differentiable, Evaluation, Flow, Path, floats};
use crate::error::{Error, Result};
use crate::numeric::blocks::read;
use crate::numeric::{FEW, Fresh, Real, lanes, on_host, wide};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// X_t = a(t) z + c(t) x₁, z ~ N(0, I), x₁ ~ Σ_j w_j N(μ_j, σ_j² I), independent.
///
/// With v_j = a² + c²σ_j², posterior weights g_j(x) ∝ w_j N(x; cμ_j, v_j I) and κ_j = (aȧ + cċσ_j²)/v_j:
///
/// ```text
/// U = −log Σ w_j N(x; cμ_j, v_j I)                 normalised: log Z_t = 0 at all t
/// ∇U = Σ g_j (x − cμ_j)/v_j                        b = Σ g_j B_j,  B_j = ċμ_j + κ_j (x − cμ_j)
/// J_b = Σ g_j [κ_j I + B_j (S_j − s)ᵀ]             S_j = −(x − cμ_j)/v_j,  s = −∇U
/// ```
///
/// b solves ∂_tρ + ∇·(bρ) = 0; it is the probability-flow velocity where the interpolation is a diffusion.
///
/// ```
/// use jarzynski::{Flow, Path, model::{Interpolant, Interpolation}, tch::Tensor};
/// let path = Interpolant::new(&[vec![-4.0], vec![4.0]], &[0.3, 0.7], &[1.0, 1.0]).unwrap();
/// let x = Tensor::from_slice(&[0.5]).view([1, 1]);
/// let b = path.velocity(0.0, &x).double_value(&[0, 0]);
/// assert!((b - (0.7 * 4.0 - 0.3 * 4.0 - 0.5)).abs() < 1e-12);    // E x₁ − x at t = 0
/// let diffusion = path.along(Interpolation::diffusion()).unwrap();
/// assert!(diffusion.energy(0.0, &x).double_value(&[0]) > 1.0);
/// ```
#[derive(Debug)]
pub struct Interpolant {
    base: Gaussian,
    interpolation: Interpolation,
    means: Vec<f64>,
    weights: Vec<f64>,
    sigma: Vec<f64>,
    kind: Kind,
    device: Device,
}

impl Interpolant {
    /// From N(0, I) to modes N(μ_j, σ_j² I) with masses `weights` (normalised here), linear, f64 on the CPU.
    ///
    /// # Errors
    /// No modes, means of unequal length, lengths that differ, a weight or σ that is not positive.
    pub fn new(means: &[Vec<f64>], weights: &[f64], sigma: &[f64]) -> Result<Self> {
        // the mixture's own checks, with its messages
        let target = Mixture::with_sigma(means, weights, sigma, Kind::Double, Device::Cpu)?;
        let total: f64 = weights.iter().sum();
        Ok(Interpolant {
            base: Gaussian::isotropic(crate::density::Model::dim(&target), 1.0, Kind::Double, Device::Cpu)?,
            interpolation: Interpolation::Linear,
            means: means.concat(),
            weights: weights.iter().map(|w| w / total).collect(),
            sigma: sigma.to_vec(),
            kind: Kind::Double,
            device: Device::Cpu,
        })
    }

    /// With another interpolation.
    ///
    /// # Errors
    /// Rates of a diffusion out of range.
    pub fn along(self, interpolation: Interpolation) -> Result<Self> {
        interpolation.validate()?;
        Ok(Interpolant { interpolation, ..self })
    }

    /// With walkers of another kind, on another device.
    ///
    /// # Errors
    /// A kind other than `Float` or `Double`.
    pub fn on(self, kind: Kind, device: Device) -> Result<Self> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::param("kind", format!("{kind:?}"), "Kind::Float or Kind::Double"));
        }
        Ok(Interpolant { base: Gaussian::isotropic(self.dim(), 1.0, kind, device)?, kind, device, ..self })
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.base.dim()
    }

    /// The distribution at t = 1.
    ///
    /// # Errors
    /// As [`Mixture::with_sigma`].
    pub fn target(&self) -> Result<Mixture> {
        let means: Vec<Vec<f64>> = self.means.chunks(self.dim() as usize).map(<[f64]>::to_vec).collect();
        Mixture::with_sigma(&means, &self.weights, &self.sigma, self.kind, self.device)
    }

    /// The components of ρ_t as numbers.
    fn components(&self, t: f64) -> Components {
        let d = self.dim() as usize;
        let Coefficients { a2, c, aa, cc } = self.interpolation.at(t);
        let variance: Vec<f64> = self.sigma.iter().map(|s| a2 + c * c * s * s).collect();
        let log_norm = |(w, v): (&f64, &f64)| w.ln() - 0.5 * d as f64 * (2.0 * std::f64::consts::PI * v).ln();
        Components {
            d,
            log_norm: self.weights.iter().zip(&variance).map(log_norm).collect(),
            means: self.means.iter().map(|m| c * m).collect(),
            pull: self.means.iter().map(|m| cc * m).collect(),
            kappa: self.sigma.iter().zip(&variance).map(|(s, v)| (aa + c * cc * s * s) / v).collect(),
            precision: variance.iter().map(|v| 1.0 / v).collect(),
        }
    }

    /// Whether x can be read row by row: on the host, and of this path's width (another one is refused before).
    fn in_rows(&self, x: &Tensor) -> bool {
        on_host(x) && x.dim() == 2 && x.size()[1] == self.dim()
    }

    /// The same by tensor operations, on any device and differentiable.
    fn parts(&self, t: f64, x: &Tensor) -> Parts {
        let at = self.components(t);
        let (k, d) = (at.kappa.len() as i64, at.d as i64);
        // all of them in one transfer
        let all = [&at.precision, &at.kappa, &at.log_norm, &at.means, &at.pull].map(Vec::as_slice).concat();
        let (all, mut from) = (Tensor::from_slice(&all).to_kind(x.kind()).to_device(x.device()), 0);
        let mut next = |n: i64| {
            from += n;
            all.narrow(0, from - n, n)
        };
        let (precision, kappa, log_norm) = (next(k), next(k), next(k));
        let (means, pull) = (next(k * d).view([k, d]), next(k * d).view([k, d]));
        let away = x.unsqueeze(1) - means;
        let square = away.square().sum_dim_intlist(-1, false, None::<Kind>);
        let exponent = log_norm - &square * &precision * 0.5;
        let u = -exponent.logsumexp(-1, false);
        let g = (exponent + u.unsqueeze(-1)).exp();
        Parts { u, g, away, square, precision, kappa, pull }
    }
}

/// ρ_t = Σ_j N(cμ_j, v_j I), and what b needs, on the host.
struct Components {
    d: usize,
    /// log w_j − (d/2) log 2πv_j.
    log_norm: Vec<f64>,
    /// cμ_j, row by row.
    means: Vec<f64>,
    /// ċμ_j, row by row.
    pull: Vec<f64>,
    /// κ_j.
    kappa: Vec<f64>,
    /// 1/v_j.
    precision: Vec<f64>,
}

/// U `[n]`, g `[n, J]`, x − cμ_j `[n, J, d]` and its square `[n, J]`, 1/v_j, κ_j `[J]`, ċμ_j `[J, d]`.
struct Parts {
    u: Tensor,
    g: Tensor,
    away: Tensor,
    square: Tensor,
    precision: Tensor,
    kappa: Tensor,
    pull: Tensor,
}

impl Parts {
    /// Σ_j g_j f_j: f `[n, J, d]` → `[n, d]`.
    fn mean(&self, f: &Tensor) -> Tensor {
        (self.g.unsqueeze(-1) * f).sum_dim_intlist(1, false, None::<Kind>)
    }

    fn grad(&self) -> Tensor {
        self.mean(&(&self.away * self.precision.unsqueeze(-1)))
    }

    /// B_j, `[n, J, d]`.
    fn velocities(&self) -> Tensor {
        &self.away * self.kappa.unsqueeze(-1) + &self.pull
    }
}

impl Components {
    /// U(x), leaving the posterior weights in `g`.
    #[inline(always)]
    fn energy<T: Real>(&self, x: &[T], g: &mut [f64]) -> f64 {
        for (((g, m), log_norm), precision) in
            g.iter_mut().zip(self.means.chunks(self.d)).zip(&self.log_norm).zip(&self.precision)
        {
            *g = log_norm - 0.5 * precision * lanes(x, m, m, |x, m, _| (x - m) * (x - m));
        }
        let top = g.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let mut total = 0.0;
        for g in g.iter_mut() {
            *g = (*g - top).exp();
            total += *g;
        }
        g.iter_mut().for_each(|g| *g /= total);
        -(top + total.ln())
    }

    fn arrive<T: Real>(&self, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let (n, d, rows) = (x.size()[0], self.d as i64, read::<T>(x));
        let (mut u, mut grad, mut b) = (Fresh::<T>::new(&[n]), Fresh::<T>::new(&[n, d]), Fresh::<T>::new(&[n, d]));
        let wide = BLOCK * self.d;
        if n as usize <= FEW {
            arrive_block(self, rows, u.elements(), grad.elements(), b.elements());
        } else {
            let blocks = (u.elements().par_chunks_mut(BLOCK))
                .zip(grad.elements().par_chunks_mut(wide))
                .zip(b.elements().par_chunks_mut(wide));
            blocks.zip(rows.par_chunks(wide)).for_each(|(((u, grad), b), x)| arrive_block(self, x, u, grad, b));
        }
        (u.tensor(), grad.tensor(), b.tensor())
    }

    /// b and J_b · tangents; the tangents `[n, d, m]`, none for the identity.
    fn push<T: Real>(&self, x: &Tensor, tangents: Option<&Tensor>) -> (Tensor, Tensor) {
        let (n, d, rows) = (x.size()[0], self.d as i64, read::<T>(x));
        let m = tangents.map_or(d, |v| v.size()[2]);
        let (mut b, mut j) = (Fresh::<T>::new(&[n, d]), Fresh::<T>::new(&[n, d, m]));
        let (wide, area) = (BLOCK * self.d, BLOCK * self.d * m as usize);
        let v = tangents.map_or(&[][..], |v| read::<T>(v));
        if n as usize <= FEW {
            push_block(self, rows, v, b.elements(), j.elements());
        } else {
            let each = |i: usize, x: &[T], b: &mut [T], j: &mut [T]| {
                let own = if v.is_empty() { v } else { &v[i * area..i * area + j.len()] };
                push_block(self, x, own, b, j);
            };
            let blocks = (b.elements().par_chunks_mut(wide)).zip(j.elements().par_chunks_mut(area));
            blocks.zip(rows.par_chunks(wide)).enumerate().for_each(|(i, ((b, j), x))| each(i, x, b, j));
        }
        (b.tensor(), j.tensor())
    }
}

/// Rows per block.
const BLOCK: usize = 512;

wide! {
    fn arrive_block<T: Real>(c: &Components, x: &[T], u: &mut [T], grad: &mut [T], b: &mut [T]) {
        let (d, mut g) = (c.d, vec![0.0; c.kappa.len()]);
        let (mut slope, mut drift) = (vec![0.0; d], vec![0.0; d]);
        for (((x, u), grad), b) in x.chunks(d).zip(u).zip(grad.chunks_mut(d)).zip(b.chunks_mut(d)) {
            *u = T::of(c.energy(x, &mut g));
            slope.fill(0.0);
            drift.fill(0.0);
            for (k, g) in g.iter().enumerate() {
                let (m, pull) = (&c.means[k * d..(k + 1) * d], &c.pull[k * d..(k + 1) * d]);
                let (gp, gk) = (g * c.precision[k], g * c.kappa[k]);
                for (((slope, drift), x), (m, pull)) in
                    slope.iter_mut().zip(drift.iter_mut()).zip(x).zip(m.iter().zip(pull))
                {
                    let away = x.f() - m;
                    *slope += gp * away;
                    *drift += g * pull + gk * away;
                }
            }
            grad.iter_mut().zip(&slope).for_each(|(out, v)| *out = T::of(*v));
            b.iter_mut().zip(&drift).for_each(|(out, v)| *out = T::of(*v));
        }
    }
}

wide! {
    fn push_block<T: Real>(c: &Components, x: &[T], tangents: &[T], b: &mut [T], j: &mut [T]) {
        let (d, mut g) = (c.d, vec![0.0; c.kappa.len()]);
        let (mut slope, mut drift, mut own) = (vec![0.0; d], vec![0.0; d], vec![0.0; d]);
        let m = j.len() / b.len().max(1) * d;
        let width = m / d;
        let (mut tilt, mut across, mut jac) = (vec![0.0; d], vec![0.0; width], vec![0.0; m]);
        for (row, ((x, b), j)) in x.chunks(d).zip(b.chunks_mut(d)).zip(j.chunks_mut(m)).enumerate() {
            c.energy(x, &mut g);
            slope.fill(0.0);
            drift.fill(0.0);
            jac.fill(0.0);
            for (k, g) in g.iter().enumerate() {
                let gp = g * c.precision[k];
                slope.iter_mut().zip(x).zip(&c.means[k * d..]).for_each(|((s, x), m)| *s += gp * (x.f() - m));
            }
            let v = if tangents.is_empty() { tangents } else { &tangents[row * m..(row + 1) * m] };
            let mut trace = 0.0;
            for (k, g) in g.iter().enumerate() {
                let (mean, pull) = (&c.means[k * d..(k + 1) * d], &c.pull[k * d..(k + 1) * d]);
                for i in 0..d {
                    let away = x[i].f() - mean[i];
                    own[i] = g * (pull[i] + c.kappa[k] * away);
                    drift[i] += own[i];
                    tilt[i] = slope[i] - c.precision[k] * away;
                }
                trace += g * c.kappa[k];
                // (S_j − s)ᵀ times the tangents
                if v.is_empty() {
                    across.copy_from_slice(&tilt);
                } else {
                    across.fill(0.0);
                    for (v, tilt) in v.chunks(width).zip(&tilt) {
                        across.iter_mut().zip(v).for_each(|(a, v)| *a += tilt * v.f());
                    }
                }
                for (out, own) in jac.chunks_mut(width).zip(&own) {
                    out.iter_mut().zip(&across).for_each(|(out, a)| *out += own * a);
                }
            }
            if v.is_empty() {
                jac.iter_mut().step_by(d + 1).for_each(|out| *out += trace);
            } else {
                jac.iter_mut().zip(v).for_each(|(out, v)| *out += trace * v.f());
            }
            b.iter_mut().zip(&drift).for_each(|(out, v)| *out = T::of(*v));
            j.iter_mut().zip(&jac).for_each(|(out, v)| *out = T::of(*v));
        }
    }
}

impl Path for Interpolant {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.parts(t, &floats(x, self.dim(), self.kind)).u
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.arrive(t, x)
    }

    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        // ∂_t log N(x; cμ, vI) = −dκ + (x − cμ)·ċμ/v + |x − cμ|²κ/v
        let p = self.parts(t, &floats(x, self.dim(), self.kind).to_kind(Kind::Double));
        let along = (&p.away * &p.pull).sum_dim_intlist(-1, false, None::<Kind>);
        let each = (along + &p.square * &p.kappa) * &p.precision - &p.kappa * self.dim() as f64;
        -(each * &p.g).sum_dim_intlist(-1, false, None::<Kind>)
    }
}

impl Differentiable for Interpolant {}

impl Flow for Interpolant {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.kind);
        if self.in_rows(x) && !x.requires_grad() {
            return match x.kind() {
                Kind::Float => self.components(t).arrive::<f32>(x).2,
                _ => self.components(t).arrive::<f64>(x).2,
            };
        }
        let p = self.parts(t, x);
        p.mean(&p.velocities())
    }

    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        let x = &floats(x, self.dim(), self.kind);
        if self.in_rows(x) {
            return match x.kind() {
                Kind::Float => self.components(t).push::<f32>(x, None),
                _ => self.components(t).push::<f64>(x, None),
            };
        }
        crate::error::no_grad(|| {
            let p = self.parts(t, x);
            let (each, d) = (p.velocities(), self.dim());
            let tilt = p.grad().unsqueeze(1) - &p.away * p.precision.unsqueeze(-1);
            let outer = (&each * p.g.unsqueeze(-1)).transpose(1, 2).matmul(&tilt);
            let trace = p.g.matmul(&p.kappa.unsqueeze(-1)).unsqueeze(-1);
            (p.mean(&each), outer + Tensor::eye(d, (x.kind(), x.device())) * trace)
        })
    }

    fn push(&self, t: f64, x: &Tensor, tangents: &Tensor) -> (Tensor, Tensor) {
        let x = &floats(x, self.dim(), self.kind);
        let fits = on_host(tangents) && tangents.kind() == x.kind() && tangents.dim() == 3;
        if self.in_rows(x) && fits && tangents.size()[..2] == x.size() {
            return match x.kind() {
                Kind::Float => self.components(t).push::<f32>(x, Some(tangents)),
                _ => self.components(t).push::<f64>(x, Some(tangents)),
            };
        }
        let (b, j) = self.linearise(t, x);
        (b, j.matmul(tangents))
    }

    fn arrive(&self, t: f64, x: &Tensor) -> Evaluation {
        let x = &floats(x, self.dim(), self.kind);
        if self.in_rows(x) {
            let (u, grad, b) = match x.kind() {
                Kind::Float => self.components(t).arrive::<f32>(x),
                _ => self.components(t).arrive::<f64>(x),
            };
            return Evaluation::new(x.shallow_clone(), u, grad).with_drift(b);
        }
        crate::error::no_grad(|| {
            let p = self.parts(t, x);
            Evaluation::new(x.shallow_clone(), p.u.shallow_clone(), p.grad()).with_drift(p.mean(&p.velocities()))
        })
    }
}
