//! Train a neural energy on real 8×8 digits with unbalanced classes by the three methods, and weigh the classes.

use super::images::Images;
use super::{Experiment, Output, Work};
use crate::data;
use crate::error::Result;
use crate::model::{Mlp, MlpShape};
use serde::{Deserialize, Serialize};
use tch::Kind;

/// Digits 2, 3, 6 at 4 : 2 : 1 (308 images), |x|²/2σ² + MLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digits(pub Images);

impl Default for Digits {
    fn default() -> Self {
        Digits(Images {
            net: vec![256, 256],
            mixed: false,
            labels: vec![2, 3, 6],
            counts: vec![176, 88, 44],
            noise: 0.3,
            sigma: 1.0,
            h: 0.02,
            moves: 3,
            walkers: 1_024,
            steps: 1_200,
            batch: 308,
            lr: 1e-3,
            ess: 0.95,
            ess_min: 0.5,
            anneal_steps: 1_000,
            anneal_walkers: 1_024,
            classifier_steps: 600,
            every: 5,
            seed: 0,
            seeds: 3,
        })
    }
}

impl Experiment for Digits {
    const NAME: &'static str = "digits";
    const ABOUT: &'static str = "a neural energy on real 8×8 digits, unbalanced classes, by Jarzynski, PCD and CD";

    fn full() -> Self {
        let Digits(small) = Digits::default();
        Digits(Images { steps: 4_000, walkers: 4_096, anneal_steps: 4_000, anneal_walkers: 4_096, seeds: 5, ..small })
    }

    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn run_in(&self, work: &Work) -> Result<Output> {
        let digits = data::digits()?.scale(-1.0, 1.0)?.on(work.device);
        let sigma = self.0.sigma;
        self.0.compare("8×8 digits 2, 3, 6", &digits, work, |seed| {
            let net = Mlp::new(64, &MlpShape { widths: self.0.net.clone(), sigma, seed }, Kind::Float, work.device)?;
            Ok(if self.0.mixed { net.mixed() } else { net })
        })
    }
}
