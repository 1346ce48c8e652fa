//! Give a generative adversarial network: guide, section 3.2, with the non-saturating loss and a gradient penalty on data.

use super::fit::{Network, Scale, forward, mlp};
use jarzynski::Rng;
use jarzynski::model::initialise;
use jarzynski::tch::{self, Kind, Tensor, nn};

/// G: z ~ N(0, I) of `latent` dimensions → x, and the log-odds D of x to be data. Each step updates D, then G:
///
/// ```text
/// D:  E_* softplus(−D) + E_z softplus(D(G)) + (γ/2) E_* |∇D|²       (28), and the penalty R1 (arXiv 1801.04406)
/// G:  E_z softplus(−D(G))                                          non-saturating (arXiv 1406.2661)
/// ```
#[derive(Debug)]
pub(super) struct Gan {
    vs: nn::VarStore,
    generator: Vec<nn::Linear>,
    critic: Vec<nn::Linear>,
    scale: Scale,
    /// The factor γ of the penalty.
    penalty: f64,
}

impl Gan {
    /// For rows of `data`, in whose scale it computes; both networks have these hidden widths.
    pub fn new(data: &Tensor, noise: f64, latent: i64, widths: &[i64], penalty: f64, seed: u64) -> Self {
        let (d, vs) = (data.size()[1], nn::VarStore::new(data.device()));
        let sizes = |from: i64, to: i64| [&[from], widths, &[to]].concat();
        let critic = mlp(vs.root() / "critic", &sizes(d, 1));
        let generator = mlp(vs.root() / "generator", &sizes(latent, d));
        initialise(&vs, &mut Rng::new(seed).split(0x0067_616e), None);
        Gan { vs, generator, critic, scale: Scale::of(data, noise), penalty }
    }

    /// n draws in the scaled coordinates, with their graph.
    fn draw(&self, n: i64, rng: &mut Rng) -> Tensor {
        let latent = self.generator[0].ws.size()[1];
        let z = rng.normal(&[n, latent], self.scale.mean.kind(), self.scale.mean.device());
        forward(&self.generator, &z)
    }

    /// E |∇D|² at rows, with its graph through the critic.
    fn slope(&self, x: &Tensor) -> Tensor {
        let leaf = x.detach().set_requires_grad(true);
        let total = forward(&self.critic, &leaf).sum(Kind::Float);
        let slope = Tensor::run_backward(&[total], &[&leaf], true, true).swap_remove(0);
        slope.square().sum_dim_intlist(-1, false, Kind::Float).mean(Kind::Float)
    }
}

impl Network for Gan {
    const NAME: &'static str = "gan";
    const LOSSES: &'static [&'static str] = &["critic", "generator"];
    const BETAS: [f64; 2] = [0.5, 0.99];

    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn loss(&self, which: usize, x: &Tensor, rng: &mut Rng) -> Tensor {
        let fake = self.draw(x.size()[0], rng);
        if which == 1 {
            return (-forward(&self.critic, &fake)).softplus().mean(Kind::Float);
        }
        let x = self.scale.scaled(x);
        let real = (-forward(&self.critic, &x)).softplus().mean(Kind::Float);
        real + forward(&self.critic, &fake.detach()).softplus().mean(Kind::Float)
            + self.slope(&x) * (0.5 * self.penalty)
    }

    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.scale.unscaled(&self.draw(n as i64, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generative::fit::Fit;
    use jarzynski::Checkpointing;
    use jarzynski::tch::Device;
    use jarzynski::train::Schedule;

    fn data() -> Tensor {
        Rng::new(1).normal(&[1_000, 2], Kind::Float, Device::Cpu) * 0.5 + 3.0
    }

    fn fit(steps: usize, checkpointing: Option<Checkpointing>) -> Fit {
        Fit { steps, batch: 128, lr: 2e-3, schedule: Schedule::Constant, noise: 0.1, seed: 0, checkpointing }
    }

    fn gan() -> Gan {
        Gan::new(&data(), 0.1, 2, &[16, 16], 1.0, 0)
    }

    #[test]
    fn each_update_moves_its_own_network_and_the_penalty_is_the_slope_of_the_critic() {
        let net = gan();
        let before: Vec<Tensor> = net.generator.iter().chain(&net.critic).map(|l| l.ws.copy()).collect();
        let x = data();
        let loss = net.loss(0, &x, &mut Rng::new(2));
        let g = Tensor::run_backward(&[&loss], &[&net.critic[0].ws], false, false);
        assert!(g[0].abs().max().double_value(&[]) > 0.0);
        let (_, net) = fit(3, None).train(net, &x).unwrap();
        let after = net.generator.iter().chain(&net.critic).map(|l| &l.ws);
        assert!(before.iter().zip(after).all(|(a, b)| !a.equal(b)), "both were updated");
        // |∇D|² by differences in f32
        let one = net.scale.scaled(&x.narrow(0, 0, 1));
        let d = |x: &Tensor| tch::no_grad(|| forward(&net.critic, x)).double_value(&[0, 0]);
        let step =
            |j: i64| Tensor::from_slice(&[if j == 0 { 1e-2f32 } else { 0.0 }, if j == 1 { 1e-2f32 } else { 0.0 }]);
        let numeric: f64 = (0..2).map(|j| ((d(&(&one + step(j))) - d(&(&one - step(j)))) / 2e-2).powi(2)).sum();
        let found = net.slope(&one).double_value(&[]);
        assert!((found - numeric).abs() < 1e-2 * numeric.max(1e-3), "{found} {numeric}");
    }

    #[test]
    fn it_learns_where_the_data_are_and_goes_on_bit_for_bit() {
        let x = data();
        let (run, whole) = fit(400, None).train(gan(), &x).unwrap();
        assert!(run.finished());
        let drawn = whole.sample(2_000, &mut Rng::new(5));
        let place = (drawn.mean_dim(0, false, Kind::Float) - 3.0).abs().max().double_value(&[]);
        assert!(place < 0.3, "{place}");
        let dir = tempfile::tempdir().unwrap();
        let part = Checkpointing::new(dir.path()).pause_after_steps(150);
        assert!(!fit(400, Some(part)).train(gan(), &x).unwrap().0.finished());
        let (run, rest) = fit(400, Some(Checkpointing::resume_or_start(dir.path()))).train(gan(), &x).unwrap();
        assert!(run.finished());
        assert!(rest.sample(50, &mut Rng::new(5)).equal(&whole.sample(50, &mut Rng::new(5))));
    }
}
