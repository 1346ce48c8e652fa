//! Give a variational autoencoder with Gaussian encoder and decoder: guide, section 3.1; its bounds on the likelihood.

use super::fit::{Network, Scale, forward, mlp};
use jarzynski::model::initialise;
use jarzynski::tch::{self, Kind, Tensor, nn};
use jarzynski::{Estimate, Rng};

/// p(x | z) = N(μ_θ(z), diag σ_θ²(z)), z ~ N(0, I) of `latent` dimensions, q(z | x) = N(μ_φ(x), diag σ_φ²(x)): guide, (13) and (24).
#[derive(Debug)]
pub(super) struct Vae {
    vs: nn::VarStore,
    encoder: Vec<nn::Linear>,
    decoder: Vec<nn::Linear>,
    scale: Scale,
}

/// Σ_j log N(x_j; μ_j, σ_j²) over the last dimension.
fn log_normal(x: &Tensor, mean: &Tensor, log_sigma: &Tensor) -> Tensor {
    let each = ((x - mean) / log_sigma.exp()).square() * -0.5 - log_sigma - 0.5 * (2.0 * std::f64::consts::PI).ln();
    each.sum_dim_intlist(-1, false, Kind::Double)
}

impl Vae {
    /// For rows of `data`, in whose scale it computes; both networks have these hidden widths.
    pub fn new(data: &Tensor, noise: f64, latent: i64, widths: &[i64], seed: u64) -> Self {
        let (d, vs) = (data.size()[1], nn::VarStore::new(data.device()));
        let sizes = |from: i64, to: i64| [&[from], widths, &[2 * to]].concat();
        let encoder = mlp(vs.root() / "encoder", &sizes(d, latent));
        let decoder = mlp(vs.root() / "decoder", &sizes(latent, d));
        initialise(&vs, &mut Rng::new(seed).split(0x0076_6165), None);
        Vae { vs, encoder, decoder, scale: Scale::of(data, noise) }
    }

    /// Mean and log σ, the latter between e^{−5} and e^{2}.
    fn law(layers: &[nn::Linear], x: &Tensor) -> (Tensor, Tensor) {
        let out = forward(layers, x).chunk(2, -1);
        (out[0].shallow_clone(), ((&out[1] + 1.5) / 3.5).tanh() * 3.5 - 1.5)
    }

    /// log p(x, z) − log q(z | x) for K draws z of q at each row, `[K, n]`: its mean is the ELBO, (16). In the scaled coordinates.
    fn log_ratios(&self, x: &Tensor, k: i64, rng: &mut Rng) -> Tensor {
        let (mean, log_sigma) = Self::law(&self.encoder, x);
        let noise = rng.normal(&[k, x.size()[0], mean.size()[1]], x.kind(), x.device());
        let z = &mean + log_sigma.exp() * noise;
        let (to, spread) = Self::law(&self.decoder, &z);
        let prior = log_normal(&z, &z.zeros_like(), &z.zeros_like());
        log_normal(x, &to, &spread) + prior - log_normal(&z, &mean, &log_sigma)
    }

    /// The importance-weighted bound E log (1/K) Σ_k p(x, z_k)/q(z_k | x) ≤ log p(x) at each row, `[n]`; K = 1 is the ELBO.
    pub fn bound(&self, x: &Tensor, k: i64, rng: &mut Rng) -> Tensor {
        let _guard = tch::no_grad_guard();
        let volume = self.scale.deviation.log().sum(Kind::Double);
        let rows = |x: &Tensor| self.log_ratios(&self.scale.scaled(x), k, rng).logsumexp(0, false) - (k as f64).ln();
        Tensor::cat(&x.split(100, 0).iter().map(rows).collect::<Vec<_>>(), 0) - volume
    }

    /// The gap between the two bounds, averaged over rows: how much the ELBO is below.
    pub fn gap(&self, x: &Tensor, k: i64, rng: &mut Rng) -> Estimate {
        let gap = self.bound(x, k, rng) - self.bound(x, 1, rng);
        super::data::mean(&gap)
    }
}

impl Network for Vae {
    const NAME: &'static str = "vae";
    const LOSSES: &'static [&'static str] = &["elbo"];
    const BETAS: [f64; 2] = [0.9, 0.999];

    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    /// −ELBO with one draw by reparametrisation, (26)-(27).
    fn loss(&self, _which: usize, x: &Tensor, rng: &mut Rng) -> Tensor {
        -self.log_ratios(&self.scale.scaled(x), 1, rng).mean(Kind::Double)
    }

    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let _guard = tch::no_grad_guard();
        let (kind, device) = (self.scale.mean.kind(), self.scale.mean.device());
        let latent = self.decoder[0].ws.size()[1];
        let (mean, log_sigma) = Self::law(&self.decoder, &rng.normal(&[n as i64, latent], kind, device));
        let noise = rng.normal(&mean.size(), kind, device);
        self.scale.unscaled(&(mean + log_sigma.exp() * noise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generative::fit::Fit;
    use jarzynski::tch::Device;
    use jarzynski::train::Schedule;

    /// A trained VAE of correlated Gaussian data, with held-out rows.
    fn trained() -> (Vae, Tensor) {
        let draw = |seed| {
            let z = Rng::new(seed).normal(&[2_000, 2], Kind::Float, Device::Cpu);
            let mix = Tensor::from_slice(&[1.0f32, 0.8, 0.0, 0.6]).view([2, 2]);
            z.matmul(&mix)
        };
        let vae = Vae::new(&draw(1), 0.0, 1, &[16], 0);
        let schedule = Schedule::Cosine { end: 0.0 };
        let fit = Fit { steps: 2_000, batch: 200, lr: 1e-2, schedule, noise: 0.0, seed: 0, checkpointing: None };
        let (run, vae) = fit.train(vae, &draw(1)).unwrap();
        assert!(run.finished());
        (vae, draw(2))
    }

    #[test]
    fn the_bounds_are_below_the_data_s_own_likelihood_and_rise_with_k() {
        let (vae, x) = trained();
        // log N(0, C) of the data, log det C = 2 log .6
        let inverse = Tensor::from_slice(&[1.0f32, 0.8, 0.0, 0.6]).view([2, 2]).inverse();
        let z = x.matmul(&inverse);
        let exact = log_normal(&z, &z.zeros_like(), &z.zeros_like()) - 0.6f64.ln();
        let of = |k| super::super::data::mean(&vae.bound(&x, k, &mut Rng::new(3)));
        let (elbo, bound, best) = (of(1), of(100), super::super::data::mean(&exact));
        assert!(bound.value > elbo.value && best.value > bound.value - 5.0 * bound.se, "{elbo} {bound} {best}");
        assert!(best.value - bound.value < 0.1, "{bound} {best}");
        assert!(vae.gap(&x, 100, &mut Rng::new(3)).value > 0.0);
        // the twin: without the volume of the scale it is no density in x
        let wrong = bound.value + vae.scale.deviation.log().sum(Kind::Double).double_value(&[]) + 0.6f64.ln().abs();
        assert!((best.value - wrong).abs() > 0.1);
    }

    #[test]
    fn its_bound_is_that_of_a_density_of_mass_1() {
        let (vae, _) = trained();
        let n = 121;
        let axis = Tensor::linspace(-6.0, 6.0, n, (Kind::Float, Device::Cpu));
        let grid = Tensor::stack(&[axis.repeat_interleave_self_int(n, 0, None), axis.repeat([n])], 1);
        let total = vae.bound(&grid, 200, &mut Rng::new(4)).exp().sum(Kind::Double).double_value(&[]) * 0.01;
        assert!((total - 1.0).abs() < 0.02, "{total}");
    }
}
