//! Take a gradient step: what every training does with its gradient, once.

use super::optimiser::Optimiser;
use super::{Optim, Schedule};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::fetch;
use tch::{Kind, Tensor, nn};

/// Settings of a descent, wherever they are written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates<'a> {
    pub optim: Optim,
    pub lr: f64,
    pub schedule: Schedule,
    pub group_lr: &'a [f64],
    pub clip: Option<f64>,
    pub steps: usize,
}

impl Rates<'_> {
    /// # Errors
    /// A rate, schedule, bound or factor out of range; more factors than parameter groups.
    pub fn validate(&self, vs: Option<&nn::VarStore>) -> Result<()> {
        non_negative("lr", self.lr)?;
        self.group_lr.iter().try_for_each(|&v| non_negative("group_lr", v))?;
        if let Some(c) = self.clip.filter(|c| *c <= 0.0 || c.is_nan()) {
            return Err(Error::param("clip", c, "a positive gradient norm"));
        }
        if let Some(vs) = vs.filter(|_| !self.group_lr.is_empty()) {
            let groups = Optimiser::groups(vs);
            if self.group_lr.len() > groups {
                let given = format!("{:?}", self.group_lr);
                return Err(Error::param(
                    "group_lr",
                    given,
                    format!("at most {groups} factors, one per parameter group"),
                ));
            }
        }
        self.schedule.validate()?;
        self.optim.validate()
    }
}

/// Refuses what is negative or not finite.
pub(super) fn non_negative(name: &'static str, v: f64) -> Result<()> {
    if v >= 0.0 && v.is_finite() { Ok(()) } else { Err(Error::param(name, v, "a finite number ≥ 0")) }
}

/// An optimiser with its schedule.
#[derive(Debug)]
pub(super) struct Descent {
    optimiser: Optimiser,
    lr: f64,
    schedule: Schedule,
    group_lr: Vec<f64>,
    clip: Option<f64>,
    steps: usize,
}

impl Descent {
    pub fn new(rates: &Rates, vs: &nn::VarStore) -> Self {
        Descent {
            optimiser: Optimiser::new(rates.optim, vs),
            lr: rates.lr,
            schedule: rates.schedule,
            group_lr: rates.group_lr.to_vec(),
            clip: rates.clip,
            steps: rates.steps,
        }
    }

    /// The learning rate of update k.
    pub fn rate(&self, k: usize) -> f64 {
        self.lr * self.schedule.factor(k, self.steps)
    }

    /// Reads 0-dimensional `numbers` and the norm of the gradient in one transfer, and clips the gradient; NaN where there is
    /// none.
    pub fn read(&self, numbers: &[Tensor], grads: &mut [Tensor]) -> (Vec<f64>, f64) {
        let squares = grads.iter().filter(|g| g.defined()).map(|g| g.square().sum(Kind::Double));
        let all: Vec<Tensor> = numbers.iter().map(Tensor::shallow_clone).chain(squares).collect();
        let mut read = fetch(&all);
        let norm = match read.split_off(numbers.len()) {
            squares if squares.is_empty() => f64::NAN,
            squares => squares.iter().sum::<f64>().sqrt(),
        };
        if let Some(max) = self.clip.filter(|max| norm > *max) {
            grads.iter_mut().for_each(|g| *g = &*g * (max / norm));
        }
        (read, norm)
    }

    /// θ_k → θ*.
    pub fn step(&mut self, grads: &[Tensor], k: usize) {
        let (lr, group_lr) = (self.rate(k), &self.group_lr);
        self.optimiser.step(grads, |group| lr * group_lr.get(group).unwrap_or(&1.0));
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        let (steps, memory) = self.optimiser.state();
        memory.iter().for_each(|(name, t)| to.put(format!("optimiser.{name}"), t));
        to.put_json("optimiser", &steps)
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.optimiser.restore(from.json("optimiser")?, |name| from.get(&format!("optimiser.{name}")))
    }
}
