//! Give a mixture of two Gaussians on the line in closed form, number by number and by tensors.

use jarzynski::numeric::Rng;
use jarzynski::tch::{Device, Kind, Tensor};

/// A normalised mixture of two Gaussians on the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub mass: [f64; 2],
    pub mean: [f64; 2],
    pub sigma: [f64; 2],
}

impl Pair {
    /// log ρ(x) and ∇log ρ(x).
    pub fn log_and_score(&self, x: f64) -> (f64, f64) {
        let half_log_2pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
        let part = |j: usize| {
            let r = (x - self.mean[j]) / self.sigma[j];
            (self.mass[j].ln() - half_log_2pi - self.sigma[j].ln() - 0.5 * r * r, -r / self.sigma[j])
        };
        let ((l0, s0), (l1, s1)) = (part(0), part(1));
        let top = l0.max(l1);
        let (e0, e1) = ((l0 - top).exp(), (l1 - top).exp());
        (top + (e0 + e1).ln(), (e0 * s0 + e1 * s1) / (e0 + e1))
    }

    pub fn density(&self, x: f64) -> f64 {
        self.log_and_score(x).0.exp()
    }

    /// As [`log_and_score`](Pair::log_and_score) at each of x `[n]`, by tensor operations.
    pub fn log_and_score_at(&self, x: &Tensor) -> (Tensor, Tensor) {
        let half_log_2pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
        let part = |j: usize| {
            let r = (x - self.mean[j]) / self.sigma[j];
            let log = r.square() * -0.5 + (self.mass[j].ln() - half_log_2pi - self.sigma[j].ln());
            (log, r / -self.sigma[j])
        };
        let ((l0, s0), (l1, s1)) = (part(0), part(1));
        let first = (&l0 - &l1).sigmoid();
        (l0.logaddexp(&l1), &s1 + (&s0 - &s1) * first)
    }

    /// n draws, `[n]`, f64.
    pub fn sample(&self, n: usize, device: Device, rng: &mut Rng) -> Tensor {
        let place = |v: &[f64]| Tensor::from_slice(v).to_device(device);
        let part = place(&rng.uniforms(n)).ge(self.mass[0]).to_kind(Kind::Int64);
        let of_part = |v: [f64; 2]| place(&v).index_select(0, &part);
        of_part(self.mean) + of_part(self.sigma) * rng.normal(&[n as i64], Kind::Double, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_numbers_agree() {
        let pair = Pair { mass: [0.9, 0.1], mean: [-5.0, 5.0], sigma: [1.0, 0.5] };
        let x = pair.sample(2_000, Device::Cpu, &mut Rng::new(1));
        let (log, score) = pair.log_and_score_at(&x);
        for i in 0..2_000 {
            let (l, s) = pair.log_and_score(x.double_value(&[i]));
            assert!((log.double_value(&[i]) - l).abs() < 1e-12 * (1.0 + l.abs()), "{l}");
            assert!((score.double_value(&[i]) - s).abs() < 1e-12 * (1.0 + s.abs()), "{s}");
        }
    }
}
