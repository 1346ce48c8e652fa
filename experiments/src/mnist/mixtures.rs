//! Fit mixtures of Gaussians with full covariances to noisy images by expectation maximisation: what learned energies must beat.

use jarzynski::numeric::Rng;
use jarzynski::tch::{Kind, Tensor};

/// Images that each covariance is shrunk to the common one by.
const SHRUNK: f64 = 60.0;
/// Iterations.
const ROUNDS: usize = 20;

/// A mixture in the leading principal axes of the data, times one Gaussian in the others; normalised. f64.
pub(super) struct Mixtures {
    mean: Tensor,
    /// Principal axes as columns, the leading ones last, and the variances along them with the noise.
    rotation: Tensor,
    variances: Tensor,
    /// Leading axes.
    seen: i64,
    log_shares: Vec<f64>,
    /// Of each component along the leading axes: mean `[seen]`, Cholesky factor of the covariance with the noise `[seen, seen]`.
    parts: Vec<(Tensor, Tensor)>,
}

fn half_square(rows: &Tensor) -> Tensor {
    rows.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
}

fn log_norm(variances: &Tensor) -> f64 {
    0.5 * (variances * (2.0 * std::f64::consts::PI)).log().sum(Kind::Double).double_value(&[])
}

impl Mixtures {
    /// Of `count` components, for clean rows `[n, d]` under Gaussian noise.
    pub fn fit(data: &Tensor, noise: f64, count: usize, seen: i64, rng: &mut Rng) -> Self {
        let data = data.to_kind(Kind::Double);
        let (n, d) = (data.size()[0], data.size()[1]);
        let mean = data.mean_dim(0, false, Kind::Double);
        let away = &data - &mean;
        let (variances, rotation) = (away.tr().matmul(&away) / n as f64).linalg_eigh("L");
        let leading = away.matmul(&rotation).narrow(1, d - seen, seen).contiguous();
        let noises = Tensor::eye(seen, (Kind::Double, data.device())) * noise.powi(2);
        // every image begins with the nearest of `count` of them
        let picked = Tensor::from_slice(&rng.permutation(n as usize)[..count.min(n as usize)]).to_device(data.device());
        let nearest = Tensor::cdist(&leading, &leading.index_select(0, &picked), 2.0, None::<i64>).argmin(1, false);
        let mut shares = nearest.one_hot(count as i64).to_kind(Kind::Double);
        let mut found = Mixtures {
            mean,
            rotation,
            variances: variances.clamp_min(0.0) + noise.powi(2),
            seen,
            log_shares: Vec::new(),
            parts: Vec::new(),
        };
        for _ in 0..ROUNDS {
            let scatter = |k: i64| {
                let share = shares.select(1, k).unsqueeze(1);
                let size = share.sum(Kind::Double).double_value(&[]);
                let center = (&share * &leading).sum_dim_intlist(0, false, Kind::Double) / size.max(1e-9);
                let away = &leading - &center;
                ((&away * &share).tr().matmul(&away), center, size)
            };
            let all: Vec<_> = (0..count as i64).map(scatter).collect();
            let common = all.iter().map(|(scatter, ..)| scatter).sum::<Tensor>() / n as f64;
            found.log_shares = all.iter().map(|(_, _, size)| (size.max(1e-9) / n as f64).ln()).collect();
            let covariance = |s: &Tensor, size: f64| (s + &common * SHRUNK) / (size + SHRUNK) + &noises;
            found.parts = all
                .iter()
                .map(|(s, m, size)| (m.shallow_clone(), covariance(s, *size).linalg_cholesky(false)))
                .collect();
            let noisy = &leading + rng.normal(&leading.size(), Kind::Double, data.device()) * noise;
            shares = found.log_joint(&noisy).softmax(1, Kind::Double);
        }
        found
    }

    /// log of share times density of each component at rows along the leading axes, `[n, count]`.
    fn log_joint(&self, z: &Tensor) -> Tensor {
        let columns: Vec<Tensor> = (self.parts.iter().zip(&self.log_shares))
            .map(|((mean, factor), log_share)| {
                let white = factor.linalg_solve_triangular(&(z - mean).tr(), false, true, false).tr();
                let norm = log_norm(&factor.diagonal(0, 0, 1).square());
                log_share - norm - half_square(&white)
            })
            .collect();
        Tensor::stack(&columns, 1)
    }

    /// −log of the density at rows x `[n, d]`: `[n]` in f64.
    pub fn energy(&self, x: &Tensor) -> Tensor {
        let z = (x.to_kind(Kind::Double) - &self.mean).matmul(&self.rotation);
        let rest = self.mean.size()[0] - self.seen;
        let (others, v) = (z.narrow(1, 0, rest), self.variances.narrow(0, 0, rest));
        let mixture = self.log_joint(&z.narrow(1, rest, self.seen)).logsumexp(1, false);
        half_square(&(others / v.sqrt())) + log_norm(&v) - mixture
    }

    /// Draws `[n, d]`, f64.
    pub fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let place = (Kind::Double, self.mean.device());
        let d = self.mean.size()[0];
        let xi = rng.normal(&[n as i64, d], place.0, place.1);
        let rest = d - self.seen;
        let edges: Vec<f64> = (self.log_shares.iter())
            .scan(0.0, |sum, l| {
                *sum += l.exp();
                Some(*sum)
            })
            .collect();
        let u = rng.uniform_tensor(&[n as i64, 1], place.0, place.1);
        let last = edges.len() as i64 - 1;
        let which = u.gt_tensor(&Tensor::from_slice(&edges).to_device(place.1)).sum_dim_intlist(1, false, Kind::Int64);
        let which = which.clamp_max(last);
        let noise = xi.narrow(1, rest, self.seen);
        let mut leading = noise.zeros_like();
        for (k, (mean, factor)) in self.parts.iter().enumerate() {
            let of = mean + noise.matmul(&factor.tr());
            leading = of.where_self(&which.eq(k as i64).unsqueeze(1), &leading);
        }
        let others = xi.narrow(1, 0, rest) * self.variances.narrow(0, 0, rest).sqrt();
        Tensor::cat(&[others, leading], 1).matmul(&self.rotation.tr()) + &self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jarzynski::tch::Device;

    #[test]
    fn a_mixture_is_normalised_and_its_draws_have_its_density() {
        let mut rng = Rng::new(1);
        let mut random = |n: i64| rng.normal(&[n, 2], Kind::Double, Device::Cpu);
        let data = Tensor::cat(&[random(300) * 0.5 - 2.0, random(100) * 0.3 + 2.0], 0);
        let fit = Mixtures::fit(&data, 0.2, 2, 1, &mut Rng::new(2));
        // its integral by a grid
        let (points, width) = (400, 16.0);
        let axis = Tensor::linspace(-width / 2.0, width / 2.0, points, (Kind::Double, Device::Cpu));
        let grid = Tensor::cartesian_prod(&[&axis, &axis]);
        let cell = (width / (points - 1) as f64).powi(2);
        let total = |energy: &Tensor| (-energy).exp().sum(Kind::Double).double_value(&[]) * cell;
        let energy = fit.energy(&grid);
        assert!((total(&energy) - 1.0).abs() < 1e-10, "{}", total(&energy));
        // Twin: without one component's norm.
        assert!((total(&(energy.shallow_clone() + 0.1)) - 1.0).abs() > 0.05);
        // mean of −log ρ over draws against the same integral
        let entropy = (&energy * (-&energy).exp()).sum(Kind::Double).double_value(&[]) * cell;
        let drawn = fit.energy(&fit.sample(4_000, &mut Rng::new(3)));
        let z = (drawn.mean(Kind::Double).double_value(&[]) - entropy)
            / (drawn.std(true).double_value(&[]) / 4_000f64.sqrt());
        assert!(z.abs() < 5.0, "{z}");
    }
}
