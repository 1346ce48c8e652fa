//! Take a gradient step: what every training does with its gradient, once.

use super::natural::Natural;
use super::optimiser::Optimiser;
use super::{Optim, Schedule};
use crate::density::{Evaluation, Model};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::fetch;
use crate::run::{Health, Tally};
use tch::{Device, Kind, Tensor, nn};

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
        if let (Some(c), Optim::Natural { .. }) = (self.clip, self.optim) {
            return Err(Error::param("clip", c, "none: the ESS limit bounds a natural gradient's step"));
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

impl Rates<'_> {
    /// # Errors
    /// An optimiser that needs walkers, for a training without.
    pub fn without_walkers(&self) -> Result<()> {
        match self.optim {
            Optim::Natural { .. } => Err(Error::param(
                "optim",
                "natural",
                "another one: the Fisher matrix is that of walkers, and there are none",
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses what is negative or not finite.
pub(super) fn non_negative(name: &'static str, v: f64) -> Result<()> {
    if v >= 0.0 && v.is_finite() { Ok(()) } else { Err(Error::param(name, v, "a finite number ≥ 0")) }
}

/// Refuses a count of 0.
pub(super) fn at_least_one(name: &'static str, n: usize) -> Result<()> {
    if n == 0 { Err(Error::param(name, n, "at least 1")) } else { Ok(()) }
}

/// Refuses rows that are further apart than the run is long.
pub(super) fn rows_within(every: usize, steps: usize) -> Result<()> {
    if every > steps && steps > 0 {
        let expected = format!("at most {steps} steps: no row but the first and the last would be recorded");
        return Err(Error::param("every", every, expected));
    }
    Ok(())
}

/// An optimiser with its schedule.
#[derive(Debug)]
pub(super) struct Descent {
    optimiser: Optimiser,
    natural: Option<Natural>,
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
            natural: match rates.optim {
                Optim::Natural { damping, decay, every, .. } => Some(Natural::new(damping, decay, every)),
                _ => None,
            },
            lr: rates.lr,
            schedule: rates.schedule,
            group_lr: rates.group_lr.to_vec(),
            clip: rates.clip,
            steps: rates.steps,
        }
    }

    /// The learning rate of update k.
    pub fn rate(&self, k: usize) -> f64 {
        self.lr * self.factor(k)
    }

    /// Its factor by the schedule.
    pub fn factor(&self, k: usize) -> f64 {
        self.schedule.factor(k, self.steps)
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
            grads.iter_mut().filter(|g| g.defined()).for_each(|g| *g = &*g * (max / norm));
        }
        (read, norm)
    }

    /// Whether the model gives what the optimiser needs.
    ///
    /// # Errors
    /// What is missing.
    pub fn check<M: Model>(&self, model: &M, at: &Evaluation) -> Result<()> {
        self.natural.as_ref().map_or(Ok(()), |_| Natural::check(model, at))
    }

    /// Reads `numbers` as [`read`](Descent::read) does, and turns the gradient into the direction in which the optimiser moves;
    /// walkers with weights w `[n]` (f64, summing to 1).
    pub fn direct<M: Model>(
        &mut self,
        model: &M,
        walkers: (&Evaluation, &Tensor),
        numbers: &[Tensor],
        mut grads: Vec<Tensor>,
        tally: &mut Tally,
    ) -> (Vec<f64>, f64, Vec<Tensor>) {
        if self.natural.is_none() {
            grads = model.precondition(grads);
        }
        let (read, norm) = self.read(numbers, &mut grads);
        if let Some(natural) = &mut self.natural {
            grads = natural.direction(model, walkers, grads, tally);
        }
        (read, norm, grads)
    }

    /// θ_k → θ*.
    pub fn step(&mut self, grads: &[Tensor], k: usize) {
        let (lr, group_lr) = (self.rate(k), &self.group_lr);
        self.optimiser.step(grads, |group| lr * group_lr.get(group).unwrap_or(&1.0));
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.save_as(to, "optimiser")
    }

    pub fn load(&mut self, from: &Checkpoint, device: Device) -> Result<()> {
        self.load_as(from, "optimiser", device)
    }

    /// As [`save`](Descent::save) under another name: one of several.
    pub fn save_as(&self, to: &mut Checkpoint, name: &str) -> Result<()> {
        let (steps, memory) = self.optimiser.state();
        memory.iter().for_each(|(part, t)| to.put(format!("{name}.{part}"), t));
        if let Some(natural) = &self.natural {
            natural.save(to)?;
        }
        to.put_json(name, &steps)
    }

    /// Takes up what [`save_as`](Descent::save_as) wrote.
    pub fn load_as(&mut self, from: &Checkpoint, name: &str, device: Device) -> Result<()> {
        if let Some(natural) = &mut self.natural {
            natural.load(from, device)?;
        }
        self.optimiser.restore(from.json(name)?, |part| from.get(&format!("{name}.{part}")))
    }
}

/// Whether a regression can go on after a batch with that loss and that norm of its gradient. `last`: no step follows.
pub(super) fn health(loss: f64, norm: f64, last: bool) -> Health {
    match (loss.is_finite(), last || norm.is_finite()) {
        (true, true) => Health::Fine,
        (false, _) => Health::LostWithRow(format!("the loss is {loss}")),
        (true, false) => Health::LostWithRow(format!("gradient norm is {norm}")),
    }
}
