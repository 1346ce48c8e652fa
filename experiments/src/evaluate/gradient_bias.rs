//! Follow a recorded path of an RBM's parameters with populations that do not drive it: the error of each method's gradient.

use jarzynski::Result;
use jarzynski::density::Model;
use jarzynski::kernel::{Gibbs, Kernel};
use jarzynski::model::{Rbm, Units};
use jarzynski::numeric::Rng;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::walkers::{Scheme, Walkers};

/// Populations that follow a path of parameters without driving it.
pub(crate) struct GradientBias {
    method: &'static str,
    populations: Vec<Walkers>,
    rng: Rng,
}

impl GradientBias {
    pub fn start(method: &'static str, rbm: &Rbm, populations: usize, n: usize, seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed).split(0x9a55);
        let one = |_| Walkers::start(rbm, n, false, &mut rng);
        Ok(GradientBias { method, populations: (0..populations).map(one).collect::<Result<_>>()?, rng })
    }

    /// From θ to θ′ as in a training step.
    pub fn follow(&mut self, from: &Units, to: &Units, ess_min: f64) {
        let kernel = Gibbs::new();
        for w in &mut self.populations {
            match self.method {
                "jarzynski" => {
                    kernel.advance(from, to, w, &mut self.rng);
                    w.resample_below(ess_min, Scheme::Systematic, &mut self.rng);
                }
                "pcd-1" => {
                    let mv = kernel.forward_unweighted(from, w.evaluation(), &mut self.rng);
                    let arrival = kernel.backward(to, w.evaluation(), mv, &mut self.rng);
                    w.relocate(arrival.evaluation);
                }
                // CD starts from the data at every update
                _ => {}
            }
        }
    }

    /// Each population's estimate of −E_θ[∂_θU], flat, `[populations, parameters]`.
    pub fn gradients(&mut self, rbm: &Rbm, data: &Tensor) -> Tensor {
        let mut all = Vec::new();
        for w in &mut self.populations {
            if self.method == "cd-1" {
                let rows =
                    Tensor::from_slice(&self.rng.indices(data.size()[0] as usize, w.len())).to_device(data.device());
                let start = rbm.evaluate_data(&data.index_select(0, &rows));
                w.relocate(Gibbs::new().step(rbm, &start, &mut self.rng).evaluation);
            }
            let uniform = w.log_weights().full_like(-1.0 / w.len() as f64);
            let weights = if self.method == "jarzynski" { -w.weights() } else { uniform };
            all.push(flat(&rbm.param_grad(w.evaluation_mut(), &weights)));
        }
        Tensor::stack(&all, 0)
    }
}

/// All gradients in one row, f64.
pub(crate) fn flat(grads: &[Tensor]) -> Tensor {
    Tensor::cat(&grads.iter().map(|g| g.to_kind(Kind::Double).flatten(0, -1)).collect::<Vec<_>>(), 0)
}
