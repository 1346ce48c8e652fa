//! Record what a resampling discards: the ESS before it, the tail of the weights, the ancestors of the walkers.

use super::lineages::Lineages;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use tch::Tensor;

/// What is known of past epochs, the steps between resamplings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Epochs {
    /// Walker of the start from which each walker descends, ascending.
    ancestors: Vec<i64>,
    /// Distinct ones among them.
    left: usize,
    /// What variances are estimated from.
    lineages: Lineages,
    /// Lowest ESS/N before a resampling since the last call of [`take_lowest_ess`](Epochs::take_lowest_ess); 1 where there was
    /// none.
    lowest_ess: f64,
    /// Largest k̂ before a resampling; −∞ where there was none.
    worst_k: f64,
}

impl Epochs {
    pub fn new(n: usize) -> Self {
        Epochs {
            ancestors: (0..n as i64).collect(),
            left: n,
            lineages: Lineages::new(n),
            lowest_ess: 1.0,
            worst_k: f64::NEG_INFINITY,
        }
    }

    /// An epoch ends with this ESS/N and k̂; walker i is replaced by a copy of `parents[i]`, ascending.
    pub fn end(&mut self, parents: &[i64], ess: f64, k: f64) {
        self.ancestors = parents.iter().filter_map(|p| self.ancestors.get(*p as usize).copied()).collect();
        self.left = distinct(&self.ancestors);
        self.lowest_ess = self.lowest_ess.min(ess);
        // NaN: equal weights or too few walkers have no tail
        self.worst_k = self.worst_k.max(k);
    }

    /// Walkers of the start that have descendants.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Walker of the start from which each descends.
    pub fn ancestors(&self) -> &[i64] {
        &self.ancestors
    }

    pub fn lineages(&self) -> &Lineages {
        &self.lineages
    }

    pub fn lineages_mut(&mut self) -> &mut Lineages {
        &mut self.lineages
    }

    pub fn worst_k(&self) -> f64 {
        self.worst_k
    }

    /// The lowest ESS/N before a resampling since the last call.
    pub fn take_lowest_ess(&mut self) -> f64 {
        std::mem::replace(&mut self.lowest_ess, 1.0)
    }

    pub fn save(&self, to: &mut Checkpoint, name: &str) {
        to.put(format!("{name}.ancestors"), &Tensor::from_slice(&self.ancestors));
        to.put_numbers(format!("{name}.epochs"), &[self.lowest_ess, self.worst_k]);
        self.lineages.save(to, name);
    }

    pub fn load(from: &Checkpoint, name: &str, n: usize) -> Result<Self> {
        let ancestors = Vec::<i64>::try_from(from.get(&format!("{name}.ancestors"))?)?;
        if ancestors.len() != n || ancestors.windows(2).any(|w| w[0] > w[1]) {
            return Err(Error::param("ancestors", ancestors.len(), format!("{n} numbers that do not fall")));
        }
        let [lowest_ess, worst_k] = from.numbers(&format!("{name}.epochs"))?;
        let lineages = Lineages::load(from, name, n)?;
        Ok(Epochs { left: distinct(&ancestors), ancestors, lineages, lowest_ess, worst_k })
    }
}

/// How many different numbers there are; ascending.
fn distinct(ancestors: &[i64]) -> usize {
    ancestors.windows(2).filter(|w| w[0] != w[1]).count() + usize::from(!ancestors.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineages_only_die_out() {
        let mut epochs = Epochs::new(6);
        epochs.end(&[0, 0, 2, 3, 3, 3], 0.4, 0.2);
        assert_eq!((epochs.left(), epochs.ancestors.as_slice()), (3, [0, 0, 2, 3, 3, 3].as_slice()));
        epochs.end(&[0, 1, 1, 4, 5, 5], 0.3, f64::NAN);
        assert_eq!((epochs.left(), epochs.ancestors.as_slice()), (2, [0, 0, 0, 3, 3, 3].as_slice()));
        assert_eq!((epochs.take_lowest_ess(), epochs.take_lowest_ess(), epochs.worst_k()), (0.3, 1.0, 0.2));
        let mut held = Checkpoint::default();
        epochs.save(&mut held, "w");
        assert_eq!(Epochs::load(&held, "w", 6).unwrap(), epochs);
        assert!(Epochs::load(&held, "w", 5).is_err());
    }
}
