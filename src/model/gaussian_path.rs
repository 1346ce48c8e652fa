//! Give the path between two Gaussians in closed form, straight or by independent coupling: where flows are exact.

use super::{Gaussian, Interpolation};
use crate::density::{Base, Differentiable, Evaluation, Flow, Path, floats};
use crate::error::{Error, Result};
use tch::{Device, Kind, Tensor};

/// How the end points of [`GaussianPath`] belong together.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Coupling {
    /// The optimal map: every point moves on a straight line at constant speed, m and s are linear in t. An Euler step of
    /// b carries ρ_t onto ρ_{t+h} exactly, so that a map with its determinant and MALA have zero weights.
    Straight,
    /// X_t = a(t) X_0 + c(t) X_1 with X_0 and X_1 independent.
    Independent(Interpolation),
}

/// ρ_t = N(m_t, diag s_t²) from N(m_0, diag s_0²) to N(m_1, diag s_1²), with b = ṁ + (ṡ/s)(x − m).
///
/// U is normalised, so that log Z_t = 0 at all t.
#[derive(Debug)]
pub struct GaussianPath {
    base: Gaussian,
    from: (Tensor, Tensor),
    to: (Tensor, Tensor),
    coupling: Coupling,
    /// Whether m_0 = 0.
    centred: bool,
}

/// m, ṁ, s² and κ = ṡ/s at one time, `[d]` each.
struct Moments {
    m: Tensor,
    mm: Tensor,
    variance: Tensor,
    kappa: Tensor,
}

impl GaussianPath {
    /// Means and standard deviations of both ends, per coordinate, f64 on the CPU.
    ///
    /// # Errors
    /// Ends of different dimension, and what [`Gaussian::new`] refuses.
    pub fn new(from: (&[f64], &[f64]), to: (&[f64], &[f64]), coupling: Coupling) -> Result<Self> {
        let (base, end) = (Gaussian::new(from.0, from.1)?, Gaussian::new(to.0, to.1)?);
        if base.dim() != end.dim() {
            let expected = format!("{} coordinates, as the path's start has", base.dim());
            return Err(Error::Shape { name: "the path's end", got: vec![end.dim()], expected });
        }
        if let Coupling::Independent(interpolation) = coupling {
            interpolation.validate()?;
        }
        let place = |v: (&[f64], &[f64])| (Tensor::from_slice(v.0), Tensor::from_slice(v.1));
        let centred = from.0.iter().all(|m| *m == 0.0);
        Ok(GaussianPath { base, from: place(from), to: place(to), coupling, centred })
    }

    /// With walkers of another kind, on another device.
    ///
    /// # Errors
    /// A kind other than `Float` or `Double`.
    pub fn on(self, kind: Kind, device: Device) -> Result<Self> {
        let place = |(m, s): (Tensor, Tensor)| (m.to_kind(kind).to_device(device), s.to_kind(kind).to_device(device));
        Ok(GaussianPath { base: self.base.on(kind, device)?, from: place(self.from), to: place(self.to), ..self })
    }

    fn moments(&self, t: f64) -> Moments {
        let ((m0, s0), (m1, s1)) = (&self.from, &self.to);
        match self.coupling {
            Coupling::Straight => {
                let s = s0 * (1.0 - t) + s1 * t;
                Moments { m: m0 * (1.0 - t) + m1 * t, mm: m1 - m0, kappa: (s1 - s0) / &s, variance: s.square() }
            }
            Coupling::Independent(i) => {
                let at = i.at(t);
                let (a, variance) = (at.a2.sqrt(), s0.square() * at.a2 + s1.square() * at.c * at.c);
                // ȧm_0 is needed only where m_0 is not zero: aȧ/a is infinite where a = √(1 − t²) ends
                let slope = if self.centred { 0.0 } else { at.aa / a };
                let kappa = (s0.square() * at.aa + s1.square() * at.c * at.cc) / &variance;
                Moments { m: m0 * a + m1 * at.c, mm: m0 * slope + m1 * at.cc, variance, kappa }
            }
        }
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.base.dim()
    }
}

impl Path for GaussianPath {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.from.0.kind());
        let at = self.moments(t);
        let norm = (&at.variance * (2.0 * std::f64::consts::PI)).log().sum(Kind::Double) * 0.5;
        ((x - &at.m).square() / &at.variance).sum_dim_intlist(-1, false, None::<Kind>) * 0.5 + norm
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (x, at) = (&floats(x, self.dim(), self.from.0.kind()), self.moments(t));
        Evaluation::new(x.shallow_clone(), self.energy(t, x), (x - &at.m) / &at.variance)
    }

    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.from.0.kind());
        let at = self.moments(t);
        let away = x - &at.m;
        let each = &at.kappa - &away * &at.mm / &at.variance - away.square() * &at.kappa / &at.variance;
        each.sum_dim_intlist(-1, false, Kind::Double)
    }
}

impl Differentiable for GaussianPath {}

impl Flow for GaussianPath {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let x = &floats(x, self.dim(), self.from.0.kind());
        let at = self.moments(t);
        (x - &at.m) * &at.kappa + &at.mm
    }

    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        let (n, d) = (x.size()[0], self.dim());
        (self.velocity(t, x), self.moments(t).kappa.diag(0).unsqueeze(0).expand([n, d, d], false))
    }
}
