//! Turn a gradient into the natural gradient, F⁻¹∂H, with the Fisher matrix in Kronecker factors (K-FAC) under the walkers.

use crate::density::{Block, Evaluation, Fisher, Model, Moments};
use crate::error::{Error, Result, no_grad};
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::run::Tally;
use tch::{Kind, Tensor};

/// Running factors of F with their damped inverses.
///
/// For a small step δ, Var(U_θ − U_{θ+δ}) = δᵀFδ under ρ_θ, and the conditional ESS is 1/(1 + δᵀFδ) to leading order: among all
/// steps of one ESS, the natural gradient's lowers the cross-entropy most.
#[derive(Debug)]
pub(super) struct Natural {
    damping: f64,
    decay: f64,
    every: usize,
    /// Updates so far.
    seen: u64,
    /// Means and covariances, summed with weights decay^age.
    factors: Vec<Moments>,
    /// For each block: of one factor, or of two.
    inverses: Vec<Vec<Tensor>>,
}

impl Natural {
    pub fn new(damping: f64, decay: f64, every: usize) -> Self {
        Natural { damping, decay, every, seen: 0, factors: Vec::new(), inverses: Vec::new() }
    }

    /// Whether the model's factors are those of all its parameters.
    ///
    /// # Errors
    /// A model without factors; a parameter without a block, or with two.
    pub fn check<M: Model>(model: &M, at: &Evaluation) -> Result<()> {
        let refused = |expected: String| Err(Error::param("optim", "natural", expected));
        let Some(fisher) = model.fisher(at) else {
            return refused("a model that gives the factors of its Fisher matrix: `Model::fisher`".into());
        };
        let names = model.vars().variables();
        for p in model.vars().trainable_variables() {
            let blocks = fisher.blocks.iter().filter(|b| same(parameter(b), &p)).count();
            if blocks != 1 {
                let name = names.iter().find(|(_, v)| same(v, &p)).map_or("?", |(name, _)| name);
                return refused(format!("one block of `Model::fisher` for the parameter {name}: there are {blocks}"));
            }
        }
        Ok(())
    }

    /// F⁻¹ g for a gradient g under walkers with weights w `[n]` (f64, summing to 1).
    pub fn direction<M: Model>(
        &mut self,
        model: &M,
        (at, w): (&Evaluation, &Tensor),
        grads: Vec<Tensor>,
        tally: &mut Tally,
    ) -> Vec<Tensor> {
        let Some(fisher) = model.fisher(at) else { return grads };
        tally.cost += EvalCounts::evaluation(fisher.rows as usize);
        no_grad(|| {
            self.update(&fisher, w);
            // the first factors are of one population: their inverses are soon replaced
            let (seen, every) = (self.seen, self.every as u64);
            if seen.is_multiple_of(every) || (seen < every && seen.is_power_of_two()) || self.inverses.is_empty() {
                self.invert(&fisher);
            }
            let params = model.vars().trainable_variables();
            self.solve(&fisher, &params, grads)
        })
    }

    fn update(&mut self, fisher: &Fisher, w: &Tensor) {
        let fresh = fisher.factors.iter().map(|f| f.moments(w));
        let (decay, share) = (self.decay, 1.0 - self.decay);
        let mix = |old: &Tensor, new: Tensor| old * decay + new * share;
        self.factors = match self.seen {
            0 => fresh.map(|m| Moments { mean: m.mean * share, covariance: m.covariance * share }).collect(),
            _ => fresh
                .zip(&self.factors)
                .map(|(m, old)| Moments {
                    mean: mix(&old.mean, m.mean),
                    covariance: mix(&old.covariance, m.covariance),
                })
                .collect(),
        };
        self.seen += 1;
    }

    /// What the sums are divided by, so that they are averages.
    fn norm(&self) -> f64 {
        1.0 - self.decay.powf(self.seen as f64)
    }

    fn invert(&mut self, fisher: &Fisher) {
        let (norm, damping) = (self.norm(), self.damping);
        let covariance = |i: usize| self.factors[i].covariance.to_kind(Kind::Double) / norm;
        let mean_variance = |c: &Tensor| (c.trace().double_value(&[]) / c.size()[0] as f64).max(1e-300);
        let inverse_of = |c: &Tensor, damping: f64, like: &Tensor| {
            let damped = c + Tensor::eye(c.size()[0], (Kind::Double, c.device())) * damping;
            // contiguous, as a checkpoint gives it back: products of other layouts round differently
            damped.linalg_cholesky(false).cholesky_inverse(false).to_kind(like.kind()).contiguous()
        };
        self.inverses = fisher
            .blocks
            .iter()
            .map(|block| match block {
                Block::Whole { parameter, factor, .. } => vec![inverse_of(&covariance(*factor), damping, parameter)],
                Block::Product { weights, left, right, .. } => {
                    let (l, r) = (covariance(*left), covariance(*right));
                    // the damping is shared so that both factors are changed alike; below a last layer of zeros there are no
                    // gradients yet
                    let (root, ratio) = (damping.sqrt(), mean_variance(&l) / mean_variance(&r));
                    let balance = ratio.sqrt().clamp(1e-4, 1e4);
                    vec![inverse_of(&l, root * balance, weights), inverse_of(&r, root / balance, weights)]
                }
            })
            .collect();
    }

    /// Centred: with β the bias of one side and m the mean of the other side's statistic, ∂H/∂W − ∂H/∂β mᵀ is the gradient of W
    /// at fixed β + Wm, and β follows by −ΔW m.
    fn solve(&self, fisher: &Fisher, params: &[Tensor], grads: Vec<Tensor>) -> Vec<Tensor> {
        let place = |of: &Tensor| params.iter().position(|p| same(p, of));
        let mut steps: Vec<Tensor> = grads.iter().map(Tensor::zeros_like).collect();
        let scaled = |t: Tensor, scale: &Option<Tensor>| match scale {
            Some(scale) => t * scale,
            None => t,
        };
        // gradients in β, and the steps of the biases
        let mut betas: Vec<Option<Tensor>> = grads.iter().map(|_| None).collect();
        for (block, inverses) in fisher.blocks.iter().zip(&self.inverses) {
            if let (Block::Whole { parameter, scale, .. }, Some(p)) = (block, place(parameter(block))) {
                let g = scaled(grads[p].shallow_clone(), scale);
                steps[p] = inverses[0].mv(&g.view(-1)).view_as(parameter);
                betas[p] = Some(g);
            }
        }
        for (block, inverses) in fisher.blocks.iter().zip(&self.inverses) {
            let (Block::Product { weights, left, right, biases }, Some(p)) = (block, place(parameter(block))) else {
                continue;
            };
            let mean = |i: usize| &self.factors[i].mean / self.norm();
            let matrix = [self.factors[*left].mean.size()[0], -1];
            let [of_left, of_right] = biases.each_ref().map(|b| b.as_ref().and_then(&place));
            let (left, right) = (mean(*left), mean(*right));
            let mut g = grads[p].reshape(matrix).copy();
            if let Some(beta) = of_left.and_then(|b| betas[b].as_ref()) {
                g -= beta.outer(&right);
            }
            if let Some(beta) = of_right.and_then(|b| betas[b].as_ref()) {
                g -= left.outer(beta);
            }
            let step = inverses[0].matmul(&g).matmul(&inverses[1]);
            if let Some(b) = of_left {
                steps[b] = &steps[b] - step.mv(&right);
            }
            if let Some(b) = of_right {
                steps[b] = &steps[b] - step.tr().mv(&left);
            }
            steps[p] = step.view_as(weights);
        }
        for block in &fisher.blocks {
            if let (Block::Whole { scale: Some(scale), .. }, Some(p)) = (block, place(parameter(block))) {
                steps[p] = &steps[p] * scale;
            }
        }
        steps
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        for (i, m) in self.factors.iter().enumerate() {
            to.put(format!("fisher.{i}.mean"), &m.mean);
            to.put(format!("fisher.{i}.covariance"), &m.covariance);
        }
        for (i, j, t) in
            self.inverses.iter().enumerate().flat_map(|(i, b)| b.iter().enumerate().map(move |(j, t)| (i, j, t)))
        {
            to.put(format!("fisher.{i}.inverse.{j}"), t);
        }
        to.put_json("fisher", &self.seen)
    }

    pub fn load(&mut self, from: &Checkpoint, device: tch::Device) -> Result<()> {
        let find = |name: String| from.find(&name).map(|t| t.to_device(device));
        self.seen = from.json("fisher")?;
        self.factors = (0..)
            .map_while(|i| {
                let (mean, covariance) = (find(format!("fisher.{i}.mean"))?, find(format!("fisher.{i}.covariance"))?);
                Some(Moments { mean, covariance })
            })
            .collect();
        let block = |i: usize| (0..).map_while(|j| find(format!("fisher.{i}.inverse.{j}"))).collect::<Vec<_>>();
        self.inverses = (0..).map(block).take_while(|b| !b.is_empty()).collect();
        Ok(())
    }
}

fn parameter(block: &Block) -> &Tensor {
    match block {
        Block::Product { weights, .. } => weights,
        Block::Whole { parameter, .. } => parameter,
    }
}

/// Whether two tensors are one variable: views without gradients share its memory.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.data_ptr() == b.data_ptr()
}

#[cfg(test)]
mod tests;
