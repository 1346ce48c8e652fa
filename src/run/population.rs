//! Take one set of walkers through the two halves of a kernel step, with its own stream of randomness.

use crate::density::{Evaluation, Model};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel, Move};
use crate::numeric::Rng;
use crate::walkers::{Scheme, Walkers};
use tch::Tensor;

/// Walkers with their randomness and, between the halves, their pending move.
#[derive(Debug)]
pub(crate) struct Population {
    pub walkers: Walkers,
    rng: Rng,
    pending: Option<Move>,
}

impl Population {
    /// Nobody yet.
    pub fn new(rng: Rng) -> Self {
        Population { walkers: Walkers::none(), rng, pending: None }
    }

    /// `n` walkers from the model's base, in proportion to its modes if `stratified`.
    pub fn start<M: Model>(&mut self, model: &M, n: usize, stratified: bool) -> Result<()> {
        self.walkers = Walkers::start(model, n, stratified, &mut self.rng)?;
        Ok(())
    }

    /// Writes walkers and randomness, between two updates.
    pub fn save(&self, to: &mut Checkpoint, name: &str) -> Result<()> {
        self.walkers.save(to, name)?;
        to.put_json(&format!("{name}.rng"), &self.rng)
    }

    /// Restores what [`save`](Population::save) wrote.
    pub fn load<M: Model>(&mut self, model: &M, from: &Checkpoint, name: &str) -> Result<()> {
        let (_, device) = model.options();
        self.walkers = Walkers::restore(from, name, device, |x| model.evaluate(x))?;
        self.rng = from.json(&format!("{name}.rng"))?;
        Ok(())
    }

    /// A whole move at fixed θ.
    pub fn step<M: Model, K: Kernel<M>>(
        &mut self,
        kernel: &K,
        model: &M,
        weighted: bool,
    ) -> (EvalCounts, Option<Tensor>) {
        let step = kernel.step(model, self.walkers.evaluation(), &mut self.rng);
        if weighted {
            let zero = Tensor::zeros_like(&step.increment);
            self.walkers.commit(step.evaluation, &step.increment, &zero);
        } else {
            self.walkers.relocate(step.evaluation);
        }
        (step.cost, step.acceptance)
    }

    /// The forward half, at θ_k.
    pub fn depart<M: Model, K: Kernel<M>>(
        &mut self,
        kernel: &K,
        model: &M,
        weighted: bool,
    ) -> (EvalCounts, Option<Tensor>) {
        let (at, rng) = (self.walkers.evaluation(), &mut self.rng);
        let mut mv = if weighted { kernel.forward(model, at, rng) } else { kernel.forward_unweighted(model, at, rng) };
        let spent = (mv.cost, mv.acceptance.take());
        self.pending = Some(mv);
        spent
    }

    /// Where the energy under θ_k is known and the next weight is decided: y if the kernel evaluated it, else x.
    pub fn known(&self) -> &Evaluation {
        self.pending.as_ref().and_then(|mv| mv.at_y.as_ref()).unwrap_or(self.walkers.evaluation())
    }

    /// The backward half, at θ_{k+1}, and A += α − λ.
    pub fn arrive<M: Model, K: Kernel<M>>(
        &mut self,
        kernel: &K,
        model: &M,
        weighted: bool,
    ) -> (EvalCounts, Option<Tensor>) {
        let Some(mv) = self.pending.take() else { return Default::default() };
        let alpha = mv.alpha.shallow_clone();
        let arrival = kernel.backward(model, self.walkers.evaluation(), mv, &mut self.rng);
        if weighted {
            self.walkers.commit(arrival.evaluation, &alpha, &arrival.lambda);
        } else {
            self.walkers.relocate(arrival.evaluation);
        }
        (arrival.cost, None)
    }

    pub fn resample_below(&mut self, ess_min: f64, scheme: Scheme) -> bool {
        self.walkers.resample_below(ess_min, scheme, &mut self.rng)
    }
}
